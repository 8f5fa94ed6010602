//! `cargo xtask test`: every test, against the real servers they need.

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

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
    pub(crate) fn locate() -> Result<Self> {
        let (nats, s3) = (tools::NATS_SERVER.locate()?, tools::NANIO.locate()?);
        println!("nats-server: {}\nS3 server:   {}", nats.display(), s3.display());
        for (test, why) in skipped() {
            println!("skipped: {test}: {why}");
        }
        Ok(Self { nats, s3 })
    }

    /// Tells a command where they are
    pub(crate) fn name<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("NATS_SERVER", &self.nats).env("NANIO", &self.s3)
    }
}

/// Tests that do nothing in some places, whether this is one, and why
type Condition = (&'static str, fn() -> bool, &'static str);

const CONDITIONS: [Condition; 5] = [
    (
        "natsbridge-fileserver::plik_store_keeps_the_contract_on_a_real_plik",
        || env::var_os("PLIK_URL").is_none(),
        "PLIK_URL names no Plik; the recorded answers of a real one and the embedded server are tested",
    ),
    (
        "natsbridge-fileserver::azure_container_keeps_the_contract_on_azurite",
        || env::var_os("AZURITE_BLOB_STORAGE_URL").is_none(),
        "AZURITE_BLOB_STORAGE_URL names no emulator of Azure's storage",
    ),
    (
        "natsbridge-fileserver::keys_that_are_missing_are_named_without_a_request",
        || has_variable("AWS_"),
        "a variable AWS_… is set, and the test is about their absence",
    ),
    (
        "natsbridge-fileserver::metadata_services_are_not_asked_for_keys_by_default",
        || has_variable("GOOGLE_"),
        "a variable GOOGLE_… is set, and the test is about their absence",
    ),
    (
        "natsbridge::config",
        || TcpListener::bind((Ipv4Addr::LOCALHOST, 4222)).is_err(),
        "port 4222 is taken, and the program of the test has it written in it",
    ),
];

fn has_variable(start: &str) -> bool {
    env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with(start))
}

/// The tests that do nothing on this machine now
fn skipped() -> impl Iterator<Item = (&'static str, &'static str)> {
    CONDITIONS.iter().filter(|(_, skips, _)| skips()).map(|(test, _, why)| (*test, *why))
}

/// Runs doc tests, then the runner: its own summary is the last thing printed
///
/// Arguments go to the runner (nextest, or `cargo test` where there is none) and choose what it runs; doc tests are
/// then left out.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let servers = Servers::locate()?;
    // Cargo lets --workspace win over a chosen package.
    let chosen = args.iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    println!(
        "compiling with all features and the tests, so that each test has what it is about and everything is compiled \
         once; some minutes the first time"
    );
    if args.is_empty() {
        println!("\nfirst the examples in the documentation: each is a program of its own, linked with the libraries");
        documentation(&servers)?;
        println!("\nthen all other tests; the libraries are compiled again, with their own tests inside");
    }
    let nextest = tools::has_nextest();
    let mut runner = cargo();
    if nextest {
        runner.args(["nextest", "run"]);
    } else {
        runner.arg("test");
    }
    runner.args(["--all-features", "--no-fail-fast"]);
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
pub(crate) fn documentation(servers: &Servers) -> Result<()> {
    process::run(servers.name(&mut cargo()).args(["test", "--doc", "--workspace", "--all-features"]))
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;
    use crate::workspace::root;

    #[test]
    fn conditions_name_tests_that_are_there() {
        for (test, _, why) in CONDITIONS {
            let (package, name) = test.split_once("::").unwrap();
            let folder = root().join("crates").join(package).join("tests");
            let mut sources = String::new();
            let mut folders = vec![folder];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                    } else {
                        sources.push_str(&fs::read_to_string(path).unwrap_or_default());
                    }
                }
            }
            assert!(sources.contains(&format!("fn {name}()")), "{test}: {why}");
        }
    }
}
