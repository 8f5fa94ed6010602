//! `cargo xtask ci`: everything CI does, one command a step, the same on a desk.

use std::time::{Duration, Instant};

use crate::command;
use crate::failure::{Failure, Outcome};
use crate::interrupt;

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
    // Julia and Dart come from places that not every machine can reach; the others always can be had.
    &["conformance", "--require", "rust,python,node,browser,micropython"],
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

fn print_table(taken: &[(&str, Duration)]) {
    println!("\n{:<24}{:>8}", "step", "seconds");
    for (name, time) in taken {
        println!("{name:<24}{:>8.1}", time.as_secs_f64());
    }
    let total: Duration = taken.iter().map(|(_, time)| *time).sum();
    println!("{:<24}{:>8.1}", "so far", total.as_secs_f64());
}
