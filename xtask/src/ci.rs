//! `cargo xtask ci`: everything CI does, one command a step, the same on a desk.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::conformance;
use crate::demo;
use crate::examples;
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::process;
use crate::test;
use crate::tools;
use crate::walkthrough;
use crate::workspace::{cargo, root};

type Step = (&'static str, fn() -> Outcome<()>);

/// Cheap and telling first; tests last, so that a log ends with their summary
const STEPS: [Step; 11] = [
    ("format", format),
    ("spelling", spelling),
    ("clippy, all features", clippy_all),
    ("clippy, no features", clippy_none),
    ("documentation", documentation),
    ("dependencies", dependencies),
    ("demo", demo::run),
    ("walkthrough", walkthrough::run),
    ("examples", examples_in_other_languages),
    ("conformance", languages),
    ("tests", tests),
];

/// Runs all steps; the first that fails ends it
pub(crate) fn run() -> Outcome<()> {
    let mut taken: Vec<(&str, Duration)> = Vec::new();
    for (name, step) in STEPS {
        if name == "tests" {
            print_table(&taken);
        }
        println!("\n== {name}");
        let began = Instant::now();
        let outcome = interrupt::check().and_then(|()| step());
        taken.push((name, began.elapsed()));
        if let Err(failure) = outcome {
            print_table(&taken);
            return Err(Failure::new(format!("step `{name}`: {failure}")));
        }
    }
    Ok(())
}

fn print_table(taken: &[(&str, Duration)]) {
    println!("\n{:<24}{:>8}", "step", "seconds");
    for (name, time) in taken {
        println!("{name:<24}{:>8.1}", time.as_secs_f64());
    }
    let total: Duration = taken.iter().map(|(_, time)| *time).sum();
    println!("{:<24}{:>8.1}", "so far", total.as_secs_f64());
}

fn format() -> Outcome<()> {
    process::run(cargo().args(["fmt", "--all", "--check"]))
}

fn spelling() -> Outcome<()> {
    process::run(Command::new(tools::typos()?).current_dir(root()))
}

fn clippy_all() -> Outcome<()> {
    let words = ["clippy", "--locked", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    process::run(cargo().args(words))
}

fn clippy_none() -> Outcome<()> {
    let words = ["clippy", "--locked", "--workspace", "--all-targets", "--no-default-features", "--", "-D", "warnings"];
    process::run(cargo().args(words))
}

fn documentation() -> Outcome<()> {
    let words = ["doc", "--locked", "--workspace", "--all-features", "--no-deps", "--document-private-items"];
    process::run(cargo().args(words).env("RUSTDOCFLAGS", "-Dwarnings"))
}

/// Advisories are left out: their database is fetched from the network, so the answer would change by the day
fn dependencies() -> Outcome<()> {
    let deny = tools::cargo_deny()?;
    process::run(Command::new(deny).current_dir(root()).args([
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))
}

/// Julia and Dart come from places that not every machine can reach; the others always can be had
fn languages() -> Outcome<()> {
    conformance::run(&["--require", "rust,python,node,browser,micropython"])
}

fn examples_in_other_languages() -> Outcome<()> {
    examples::run(None)
}

fn tests() -> Outcome<()> {
    test::run(&[])
}
