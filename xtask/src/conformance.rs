//! `cargo xtask conformance`: the vectors against every language, then every sender to every receiver over real servers.

mod cases;
mod chains;
mod damage;
mod matrix;
mod nats;
mod report;
mod sabotage;
mod stage;

use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use serde_json::json;

use crate::failure::{Context, Failure, Outcome};
use crate::peers::{self, NAMES, Peer};
use crate::process;
use crate::vectors::run::{Tally, tally};
use damage::Survived;
use matrix::Cell;
use sabotage::Rule;
use stage::Stage;

/// What was asked for on the command line
#[derive(Debug, Default)]
struct Options {
    peers: Vec<&'static str>,
    required: Vec<&'static str>,
    json: Option<PathBuf>,
    /// For people who doubt that the matrix can fail: what to do to every message between two peers
    sabotage: Option<Rule>,
    /// Only the languages' own tests and damaged messages
    hardness_only: bool,
}

impl Options {
    fn read(args: &[&str]) -> Outcome<Self> {
        let mut options = Self { peers: NAMES.to_vec(), ..Self::default() };
        for pair in args.chunks(2) {
            match pair {
                ["--peers", list] => options.peers = peers::named(list)?,
                ["--require", list] => options.required = peers::named(list)?,
                ["--json", file] => options.json = Some(PathBuf::from(file)),
                ["--only", "damage"] => options.hardness_only = true,
                ["--sabotage", rule] => options.sabotage = Some(Rule::named(rule)?),
                other => return Err(Failure::new(format!("conformance does not know {}", other.join(" ")))),
            }
        }
        let missing = options.required.iter().find(|name| !options.peers.contains(name));
        match missing {
            Some(name) => Err(Failure::new(format!("{name} is required, and --peers leaves it out"))),
            None => Ok(options),
        }
    }
}

/// Runs it all, prints a table, and fails where anything failed or a required peer is missing
pub(crate) fn run(args: &[&str]) -> Outcome<()> {
    let options = Options::read(args)?;
    let mut present = Vec::new();
    let mut absent = Vec::new();
    for (name, found) in peers::find(&options.peers) {
        match found {
            Ok(peer) => present.push(peer),
            Err(why) if options.required.contains(&name) => {
                return Err(Failure::new(format!("{name} is required and can't be had: {why}")));
            }
            Err(why) => absent.push((name, why.to_string())),
        }
    }

    let began = Instant::now();
    let tallies = if options.hardness_only { Vec::new() } else { vectors(&present)? };
    report::print_vectors(&tallies);
    println!("in {:.0} s", began.elapsed().as_secs_f64());

    let began = Instant::now();
    let (own, survived) = hardened(&present)?;
    report::print_hardened(&own, &survived);
    println!("in {:.0} s", began.elapsed().as_secs_f64());

    let hard = survived.iter().map(|peer| peer.failed.len()).sum::<usize>()
        + own.iter().filter(|(_, outcome)| outcome.is_err()).count();
    if options.hardness_only {
        return if hard == 0 { Ok(()) } else { Err(Failure::new(format!("{hard} cases failed"))) };
    }
    let mut stage = Stage::set(&present)?;
    if let Some(rule) = options.sabotage {
        stage.sabotage(rule)?;
    }
    let began = Instant::now();
    let mut cells = matrix::run(&mut stage, &cases::all())?;
    if options.sabotage.is_none() {
        chains::run(&mut stage, &mut cells)?;
    }
    report::print_cells(&cells, &absent);
    println!("in {:.0} s", began.elapsed().as_secs_f64());

    if let Some(path) = &options.json {
        let whole = json!({
            "cells": cells.iter().map(Cell::json).collect::<Vec<_>>(),
            "vectors": tallies.iter().map(Tally::json).collect::<Vec<_>>(),
            "absent": absent.iter().map(|(name, why)| json!({"peer": name, "reason": why})).collect::<Vec<_>>(),
        });
        std::fs::write(path, format!("{whole:#}\n")).context(|| format!("cannot write {}", path.display()))?;
    }
    let failed = tallies.iter().map(|tally| tally.failed.len()).sum::<usize>()
        + hard
        + cells.iter().map(|cell| cell.failed.len()).sum::<usize>();
    if failed == 0 { Ok(()) } else { Err(Failure::new(format!("{failed} cases failed"))) }
}

/// Every peer against the vectors, two at a time: most of them wait for their own start most of the time
fn vectors(peers: &[Peer]) -> Outcome<Vec<Tally>> {
    let mut tallies = Vec::new();
    for pair in peers.chunks(2) {
        let outcomes = thread::scope(|scope| {
            let running: Vec<_> = pair.iter().map(|peer| scope.spawn(|| tally(peer))).collect();
            running.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for outcome in outcomes {
            tallies.push(outcome.map_err(|_| Failure::new("a vector run ended in a panic"))??);
        }
    }
    Ok(tallies)
}

/// Whether each language's own tests passed
type OwnTests = Vec<(&'static str, Outcome<()>)>;

/// The tests in each peer's own language, and damaged messages for each, two peers at a time
fn hardened(peers: &[Peer]) -> Outcome<(OwnTests, Vec<Survived>)> {
    let mut own = Vec::new();
    let mut survived = Vec::new();
    // Rust's own tests are the workspace's, and its fuzz targets do what is done to the others here.
    let others: Vec<_> = peers.iter().filter(|peer| peer.name != "rust").collect();
    for pair in others.chunks(2) {
        let outcomes = thread::scope(|scope| {
            let both = |peer: &&Peer| (own_tests(peer), damage::survive(peer));
            let running: Vec<_> = pair.iter().map(|peer| scope.spawn(move || both(peer))).collect();
            running.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for (peer, outcome) in pair.iter().zip(outcomes) {
            let (tests, damage) = outcome.map_err(|_| Failure::new("a run of damaged messages ended in a panic"))?;
            own.extend(tests.map(|outcome| (peer.name, outcome)));
            survived.push(damage?);
        }
    }
    Ok((own, survived))
}

/// Runs the tests of a peer in its own language; the browser has those of Node
fn own_tests(peer: &Peer) -> Option<Outcome<()>> {
    (peer.name != "browser").then(|| process::output(&mut peer.command(&["check"])).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_named() {
        let options = Options::read(&["--peers", "rust,node", "--require", "node", "--json", "x.json"]).unwrap();
        assert_eq!((options.peers, options.required), (vec!["rust", "node"], vec!["node"]));
        for (args, said) in [
            (&["--peers", "cobol"][..], "no peer `cobol`"),
            (&["--peers", "rust", "--require", "dart"], "dart is required"),
            (&["--peer", "rust"], "does not know --peer"),
            (&["--sabotage", "gently"], "no sabotage `gently`"),
        ] {
            let error = Options::read(args).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    /// The matrix is worth something only if it can fail
    #[test]
    fn changes_to_a_message_on_its_way_are_all_seen() {
        let rust = peers::locate("rust").unwrap();
        let names = ["text", "mixed", "names", "text by link"];
        let cases: Vec<_> = cases::all().into_iter().filter(|case| names.contains(&case.name)).collect();
        let mut stage = Stage::set(&[rust]).unwrap();
        let whole = matrix::run(&mut stage, &cases).unwrap().remove(0);
        assert!(whole.failed.is_empty() && whole.passed == names.len(), "{whole:?}");
        for rule in Rule::ALL {
            stage.sabotage(rule).unwrap();
            let cell = matrix::run(&mut stage, &cases).unwrap().remove(0);
            assert!(!cell.failed.is_empty(), "{rule:?} went unseen");
        }
    }
}
