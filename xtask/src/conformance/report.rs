//! The tables that the command prints, at most 80 columns wide.

use std::collections::BTreeMap;

use anyhow::Result;

use super::damage::Survived;
use super::matrix::Cell;
use crate::vectors::run::Tally;

/// Failures that are printed
const SHOWN: usize = 60;

/// What became of the vectors, language by language
pub(super) fn print_vectors(tallies: &[Tally]) {
    println!("\n{:<14}{:>8}{:>8}{:>9}", "vectors", "passed", "failed", "skipped");
    for Tally { peer, passed, failed, skipped } in tallies {
        println!("{peer:<14}{passed:>8}{:>8}{:>9}", failed.len(), skipped.len());
    }
    let reasons = tallies.iter().flat_map(|tally| tally.skipped.iter().map(|(_, why)| (tally.peer.to_owned(), why)));
    print_reasons(reasons);
    tallies.iter().for_each(Tally::print_failures);
}

/// What became of the languages' own tests and of damaged messages
pub(super) fn print_hardened(own: &[(&str, Result<()>)], survived: &[Survived]) {
    println!("\n{:<14}{:>8}{:>8}{:>11}", "damaged", "told", "failed", "own tests");
    for Survived { peer, told, failed } in survived {
        let tests = own.iter().find(|(name, _)| name == peer).map(|(_, outcome)| outcome.is_ok());
        let tests = tests.map_or("-", |passed| if passed { "passed" } else { "failed" });
        println!("{peer:<14}{told:>8}{:>8}{tests:>11}", failed.len());
    }
    survived.iter().for_each(Survived::print_failures);
    for (name, outcome) in own {
        if let Err(failure) = outcome {
            println!("  {name}: its own tests: {failure:#}");
        }
    }
}

/// Senders × receivers: cases that passed, of those that were tried
pub(super) fn print_cells(cells: &[Cell], absent: &[(&str, String)]) {
    let Some(first) = cells.first() else { return };
    let row = cells.iter().take_while(|cell| cell.sender == first.sender);
    let receivers: Vec<&str> = row.map(|cell| cell.receiver).collect();
    print!("\n{:<12}", "from \\ to");
    receivers.iter().for_each(|receiver| print!("{:>8}", short(receiver)));
    println!();
    for row in cells.chunks(receivers.len().max(1)) {
        print!("{:<12}", row.first().map_or("", |cell| cell.sender));
        for cell in row {
            print!("{:>8}", format!("{}/{}", cell.passed, cell.passed + cell.failed.len()));
        }
        println!();
    }
    let reasons = cells
        .iter()
        .flat_map(|cell| cell.skipped.iter().map(|(_, why)| (format!("{} to {}", cell.sender, cell.receiver), why)));
    print_reasons(reasons);
    for (name, why) in absent {
        println!("skipped: {name}: {why}");
    }
    let failures = cells.iter().flat_map(|cell| cell.failed.iter().map(move |failure| (cell, failure)));
    for (cell, (case, why)) in failures.take(SHOWN) {
        let why: String = why.chars().take(600).collect();
        println!("  {} to {}: {case}: {why}", cell.sender, cell.receiver);
    }
}

/// A name that fits its column
fn short(peer: &str) -> &str {
    match peer {
        "python-pure" => "py-pure",
        "micropython" => "micropy",
        other => other,
    }
}

/// How many cases were skipped for which reason
fn print_reasons<'a>(skips: impl Iterator<Item = (String, &'a String)>) {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (who, why) in skips {
        reasons.entry(why).or_default().push(who);
    }
    for (why, mut who) in reasons {
        let cases = who.len();
        who.sort();
        who.dedup();
        let shown = if who.len() > 3 { format!("{} pairs", who.len()) } else { who.join(", ") };
        println!("skipped: {cases} of {shown}: {why}");
    }
}
