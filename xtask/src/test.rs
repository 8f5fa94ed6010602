//! `cargo xtask test`: every test, against the real servers they need.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Outcome;
use crate::process;
use crate::tools;
use crate::workspace::cargo;

/// Servers that tests start
#[derive(Debug)]
pub(crate) struct Servers {
    nats: PathBuf,
    s3: PathBuf,
}

impl Servers {
    /// Finds or installs them, and says which they are
    pub(crate) fn locate() -> Outcome<Self> {
        let (nats, s3) = (tools::nats_server()?, tools::nanio()?);
        println!("nats-server: {}\nS3 server:   {}", nats.display(), s3.display());
        if env::var_os("PLIK_URL").is_none() {
            println!("PLIK_URL not set: contract suite not run against a real Plik");
        }
        if env::var_os("AZURITE_BLOB_STORAGE_URL").is_none() {
            println!("AZURITE_BLOB_STORAGE_URL not set: contract suite not run against Azure's emulator");
        }
        Ok(Self { nats, s3 })
    }

    /// Tells a command where they are
    pub(crate) fn name<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("NATS_SERVER", &self.nats).env("NANIO", &self.s3)
    }
}

/// Runs doc tests, then the runner: its own summary is the last thing printed
///
/// Arguments go to the runner (nextest, or `cargo test` where there is none) and choose what it runs; doc tests are
/// then left out.
pub(crate) fn run(args: &[&str]) -> Outcome<()> {
    let servers = Servers::locate()?;
    if args.is_empty() {
        documentation(&servers)?;
    }
    let nextest = tools::has_nextest();
    let mut runner = cargo();
    if nextest {
        runner.args(["nextest", "run"]);
    } else {
        runner.arg("test");
    }
    runner.args(["--all-features", "--no-fail-fast"]);
    // Cargo lets --workspace win over a chosen package.
    let chosen = args.iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    if !chosen {
        runner.arg("--workspace");
    }
    if args.is_empty() && !nextest {
        // Doc tests ran above.
        runner.args(["--lib", "--bins", "--tests"]);
    }
    process::run(servers.name(&mut runner).args(args))
}

/// Runs the examples of the documentation
pub(crate) fn documentation(servers: &Servers) -> Outcome<()> {
    process::run(servers.name(&mut cargo()).args(["test", "--doc", "--workspace", "--all-features"]))
}
