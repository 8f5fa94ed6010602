//! `cargo xtask ci`: everything CI does, one command a step, the same on a desk.

use std::fs;
use std::time::{Duration, Instant};

use crate::command;
use crate::failure::{Context, Failure, Outcome};
use crate::interrupt;
use crate::workspace::root;

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
pub(crate) fn run() -> Outcome<()> {
    let mut taken: Vec<(&str, Duration)> = Vec::new();
    for words in STEPS {
        let name = words[0];
        // Before the last: what it prints comes last.
        if taken.len() + 1 == STEPS.len() {
            print_table(&taken);
        }
        println!("\n== {}", words.join(" "));
        let began = Instant::now();
        let outcome = interrupt::check().and_then(|()| command(words));
        taken.push((name, began.elapsed()));
        if let Err(failure) = outcome {
            print_table(&taken);
            return Err(Failure::new(format!("step `{name}`: {failure}")));
        }
    }
    Ok(())
}

/// `cargo xtask workflow`: writes the steps into GitHub's workflow, one job each
pub(crate) fn write_workflow() -> Outcome<()> {
    let written = with_steps(&workflow()?)?;
    fs::write(root().join(WORKFLOW), written).context(|| format!("cannot write {WORKFLOW}"))
}

fn workflow() -> Outcome<String> {
    fs::read_to_string(root().join(WORKFLOW)).context(|| format!("cannot read {WORKFLOW}"))
}

/// The workflow with these steps as its commands
fn with_steps(workflow: &str) -> Outcome<String> {
    let (start, end) = AROUND;
    let split = workflow.split_once(start).and_then(|(head, rest)| Some((head, rest.split_once(end)?.1)));
    let (head, tail) = split.ok_or_else(|| Failure::new(format!("{WORKFLOW} has no list of commands")))?;
    let commands: String = STEPS.iter().map(|words| format!("          - {}\n", words.join(" "))).collect();
    Ok([head, start, &commands, end, tail].concat())
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
    use super::*;

    #[test]
    fn workflow_has_the_same_steps() {
        let found = workflow().unwrap();
        assert!(found == with_steps(&found).unwrap(), "{WORKFLOW} is out of date: run `cargo xtask workflow`");
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
