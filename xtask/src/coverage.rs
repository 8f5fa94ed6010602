//! `cargo xtask coverage`: every test, counting the lines they reach, and the least that is enough.
//!
//! Counted is the published code, whoever runs it: unit tests, integration tests, the processes that they start, and the
//! vectors. Not counted: `tests/` and `examples/`, and the crates that nobody depends on (test support, benchmark, chaos,
//! peer, xtask), whose code runs in other commands. Documentation tests run first and are not counted: stable Rust does
//! not instrument them.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;
use crate::test;
use crate::tools;
use crate::workspace::{members, root};

/// Percent of lines that tests must reach in core, and in all published crates together
///
/// The report counts test modules inside of files too, which are reached by definition and a tenth of all: with them
/// 91 and 87 are 90 and 85 of the rest.
const LEAST_OF_CORE: &str = "91";
const LEAST_OF_ALL: &str = "87";

pub(crate) fn run() -> Result<()> {
    let servers = test::Servers::locate()?;
    test::documentation(&servers)?;

    // What is left of an earlier build would be counted as lines that nobody reaches.
    process::run(counting()?.args(["llvm-cov", "clean", "--workspace"]))?;
    let mut runner = counting()?;
    runner.args(["llvm-cov", if tools::has_nextest() { "nextest" } else { "test" }]);
    runner.args(["--no-report", "--locked", "--workspace", "--all-features", "--no-fail-fast"]);
    let summing_up = |line: &str| line.trim_start().starts_with("Summary [");
    let summary = process::run_and_keep(servers.name(&mut runner), summing_up)?;

    let (published, others): (Vec<_>, Vec<_>) = members()?.into_iter().partition(|package| package.published);
    let mut left_out: Vec<_> = others.into_iter().map(|package| package.name).collect();
    check(&left_out, LEAST_OF_ALL)
        .with_context(|| format!("tests reach too little of all: {LEAST_OF_ALL} % is the least"))?;
    left_out.extend(published.into_iter().map(|package| package.name).filter(|name| name != "natsbridge-core"));
    check(&left_out, LEAST_OF_CORE)
        .with_context(|| format!("tests reach too little of core: {LEAST_OF_CORE} % is the least"))?;
    // Again, since it is what a log should end with.
    println!("\n{}", summary.unwrap_or_default());
    Ok(())
}

/// Prints the lines of each file but those of these crates, and fails where they are too few
fn check(left_out: &[String], least: &str) -> Result<()> {
    let files = format!("/({})/(src|examples|tests)/", left_out.join("|"));
    let words = ["llvm-cov", "report", "--fail-under-lines", least, "--ignore-filename-regex", &files];
    process::run(counting()?.args(words))
}

/// cargo-llvm-cov, told where things are
fn counting() -> Result<Command> {
    let mut command = Command::new(tools::LLVM_COV.locate()?);
    command.current_dir(root()).env("CARGO_LLVM_COV_SETUP", "no");
    // Programs that are instrumented are built apart: cargo can't tell them from others. The second is for tests that
    // build programs themselves.
    let folder = root().join("target/coverage");
    command.env("CARGO_LLVM_COV_TARGET_DIR", &folder).env("CARGO_TARGET_DIR", folder);
    if let Some(programs) = tools::llvm()? {
        for (variable, program) in programs {
            command.env(variable, program);
        }
    }
    // Processes of a program write into a few files in turn; one file each would be gigabytes.
    command.env("LLVM_PROFILE_FILE_NAME", "natsbridge-%4m.profraw");
    Ok(command)
}
