//! The checks that are one command of somebody else's: format, spelling, lints, documentation, features, dependencies.

use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::tools;
use crate::workspace::{cargo, libraries, root};

/// `cargo xtask fmt`
pub(crate) fn fmt() -> Result<()> {
    process::run(cargo().args(["fmt", "--all", "--check"]))
}

/// `cargo xtask spelling`
pub(crate) fn spelling() -> Result<()> {
    process::run(Command::new(tools::TYPOS.locate()?).current_dir(root()))
}

/// `cargo xtask clippy`: with all features, and with none
pub(crate) fn clippy() -> Result<()> {
    for features in ["--all-features", "--no-default-features"] {
        println!("clippy {features}");
        let words = ["clippy", "--locked", "--workspace", "--all-targets", features, "--", "-D", "warnings"];
        process::run(cargo().args(words))?;
    }
    Ok(())
}

/// `cargo xtask doc`
pub(crate) fn doc() -> Result<()> {
    let words = ["doc", "--locked", "--workspace", "--all-features", "--no-deps", "--document-private-items"];
    process::run(cargo().args(words).env("RUSTDOCFLAGS", "-Dwarnings"))
}

/// `cargo xtask features`: every published library with no feature, with each one alone, and with all
///
/// Libraries only: cargo then leaves the features out that tests would switch on, and the program has none.
pub(crate) fn features() -> Result<()> {
    let mut hack = Command::new(tools::HACK.locate()?);
    hack.current_dir(root()).args(["hack", "clippy", "--locked", "--quiet", "--lib", "--each-feature"]);
    for package in libraries()? {
        hack.args(["--package", &package.name]);
    }
    // Not by RUSTFLAGS, which would compile all dependencies again.
    process::run(hack.args(["--", "-D", "warnings"]))
}

/// `cargo xtask deny`: licences, sources, and who may depend on what
///
/// Advisories are left out: their database is fetched from the network, so the answer would change by the day.
pub(crate) fn deny() -> Result<()> {
    let words = ["check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    process::run(Command::new(tools::DENY.locate()?).current_dir(root()).args(words))
}

/// `cargo xtask unused`: dependencies that no line names
pub(crate) fn unused() -> Result<()> {
    process::run(Command::new(tools::MACHETE.locate()?).current_dir(root()))
}
