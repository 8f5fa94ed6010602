//! `cargo xtask test`: every test, against the real servers they need.

use std::env;

use crate::failure::Outcome;
use crate::process;
use crate::tools;
use crate::workspace::cargo;

/// Runs doc tests, then the runner: its own summary is the last thing printed
///
/// Arguments go to the runner (nextest, or `cargo test` where there is none) and choose what it runs; doc tests are
/// then left out.
pub(crate) fn run(args: &[&str]) -> Outcome<()> {
    let nats_server = tools::nats_server()?;
    let nanio = tools::nanio()?;
    println!("nats-server: {}\nS3 server:   {}", nats_server.display(), nanio.display());
    if env::var_os("PLIK_URL").is_none() {
        println!("PLIK_URL not set: contract suite not run against a real Plik");
    }
    if env::var_os("AZURITE_BLOB_STORAGE_URL").is_none() {
        println!("AZURITE_BLOB_STORAGE_URL not set: contract suite not run against Azure's emulator");
    }

    let with_servers = |words: &[&str]| {
        let mut command = cargo();
        command.args(words).env("NATS_SERVER", &nats_server).env("NANIO", &nanio);
        command
    };
    if args.is_empty() {
        process::run(&mut with_servers(&["test", "--doc", "--workspace", "--all-features"]))?;
    }
    let nextest = tools::has_nextest();
    let mut runner = if nextest {
        with_servers(&["nextest", "run", "--all-features", "--no-fail-fast"])
    } else {
        with_servers(&["test", "--all-features", "--no-fail-fast"])
    };
    // Cargo lets --workspace win over a chosen package.
    let chosen = args.iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    if !chosen {
        runner.arg("--workspace");
    }
    if args.is_empty() && !nextest {
        // Doc tests ran above.
        runner.args(["--lib", "--bins", "--tests"]);
    }
    process::run(runner.args(args))
}
