//! `cargo xtask ci`: everything CI does, one command a step, the same on a desk.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use fs_err as fs;

use crate::Xtask;
use crate::interrupt;
use crate::workspace::{between, root};

/// Where a fork on GitHub finds the steps
const WORKFLOW: &str = ".github/workflows/ci.yml";

/// What stands around the list of commands in the workflow
const AROUND: (&str, &str) = ("        command:\n", "    steps:\n");

/// Each step is a command that also runs alone: `cargo xtask` and these words
///
/// Cheap and telling first. Steps that compile alike stand together. The last runs the tests, so that a log ends with
/// their summary.
const STEPS: &[&[&str]] = &[
    &["fmt"],
    &["spelling"],
    &["validation"],
    &["unused"],
    &["deny"],
    &["clippy"],
    &["doc"],
    &["api", "--check"],
    &["features"],
    &["semver"],
    &["package"],
    &["demo"],
    &["walkthrough"],
    &["examples"],
    &["operations"],
    // Julia and Dart come from places that not every machine can reach; the others always can be had.
    &["conformance", "--require", "rust,python,python-pure,node,browser,micropython"],
    // As above: Julia and Dart are checked where they can be had.
    &["clients", "--require", "python,javascript,micropython"],
    &["chaos"],
    &["fuzz"],
    &["coverage"],
];

/// Runs all steps; the first that fails ends it
pub(crate) fn run() -> Result<()> {
    let mut taken: Vec<(&str, Duration)> = Vec::new();
    for words in STEPS {
        let name = words[0];
        // Before the last: what it prints comes last.
        if taken.len() + 1 == STEPS.len() {
            print_table(&taken);
        }
        println!("\n== {}", words.join(" "));
        let began = Instant::now();
        let step = Xtask::try_parse_from([&["xtask"][..], *words].concat())?;
        let outcome = interrupt::check().and_then(|()| step.run());
        taken.push((name, began.elapsed()));
        if let Err(failure) = outcome {
            print_table(&taken);
            bail!("step `{name}`: {failure:#}");
        }
    }
    Ok(())
}

/// `cargo xtask workflow`: writes the steps into GitHub's workflow, one job each
pub(crate) fn write_workflow() -> Result<()> {
    let written = with_steps(&workflow()?)?;
    Ok(fs::write(root().join(WORKFLOW), written)?)
}

fn workflow() -> Result<String> {
    Ok(fs::read_to_string(root().join(WORKFLOW))?)
}

/// The workflow with these steps as its commands
fn with_steps(workflow: &str) -> Result<String> {
    let commands: String = STEPS.iter().map(|words| format!("          - {}\n", words.join(" "))).collect();
    let (start, end) = AROUND;
    between(workflow, start, end, &commands).with_context(|| format!("{WORKFLOW} has no list of commands"))
}

fn print_table(taken: &[(&str, Duration)]) {
    println!("\n{:<24}{:>8}", "step", "seconds");
    for (name, time) in taken {
        println!("{name:<24}{:>8.1}", time.as_secs_f64());
    }
    let total: Duration = taken.iter().map(|(_, time)| *time).sum();
    println!("{:<24}{:>8.1}", "so far", total.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn workflow_has_the_same_steps() {
        let found = workflow().unwrap();
        assert!(found == with_steps(&found).unwrap(), "{WORKFLOW} is out of date: run `cargo xtask workflow`");
    }

    #[test]
    fn steps_are_commands() {
        Xtask::command().debug_assert();
        for words in STEPS {
            Xtask::try_parse_from([&["xtask"][..], *words].concat()).unwrap();
        }
    }

    #[test]
    fn workflow_with_other_steps_is_written_anew() {
        let old = "a:\n        command:\n          - fmt\n    steps:\n      - run: b\n";
        let new = with_steps(old).unwrap();
        assert!(new.starts_with("a:\n        command:\n          - fmt\n          - spelling\n"), "{new}");
        assert!(new.ends_with("          - coverage\n    steps:\n      - run: b\n"), "{new}");
        assert!(with_steps("a:\n").is_err());
    }
}
