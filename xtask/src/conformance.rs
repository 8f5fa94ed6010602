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
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use serde_json::json;

use crate::peers::{self, NAMES, Peer};
use crate::process::{self, abreast};
use crate::vectors::run::{Tally, tally};
use damage::Survived;
use matrix::Cell;
use sabotage::Rule;
use stage::Stage;

/// What was asked for on the command line
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The languages that take part; all of them unless told otherwise
    #[arg(long, value_delimiter = ',', value_parser = peers::named, default_values = NAMES)]
    peers: Vec<&'static str>,
    /// Fail where one of these can't be had
    #[arg(long, value_delimiter = ',', value_parser = peers::named)]
    require: Vec<&'static str>,
    /// Where the results go
    #[arg(long)]
    json: Option<PathBuf>,
    /// For people who doubt that the matrix can fail: what to do to every message between two peers
    #[arg(long)]
    sabotage: Option<Rule>,
    /// Only the languages' own tests and damaged messages
    #[arg(long, value_parser = ["damage"])]
    only: Option<String>,
}

/// Runs it all, prints a table, and fails where anything failed or a required peer is missing
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(name) = options.require.iter().find(|name| !options.peers.contains(name)) {
        bail!("{name} is required, and --peers leaves it out");
    }
    let damage_only = options.only.is_some();
    let mut present = Vec::new();
    let mut absent = Vec::new();
    for (name, found) in peers::find(&options.peers) {
        match found {
            Ok(peer) => present.push(peer),
            Err(why) if options.require.contains(&name) => {
                bail!("{name} is required and can't be had: {why:#}");
            }
            Err(why) => absent.push((name, format!("{why:#}"))),
        }
    }

    let began = Instant::now();
    let tallies = if damage_only { Vec::new() } else { abreast(&present, tally).into_iter().collect::<Result<_>>()? };
    report::print_vectors(&tallies);
    println!("in {:.0} s", began.elapsed().as_secs_f64());

    let began = Instant::now();
    let (own, survived) = hardened(&present)?;
    report::print_hardened(&own, &survived);
    println!("in {:.0} s", began.elapsed().as_secs_f64());

    let hard = survived.iter().map(|peer| peer.failed.len()).sum::<usize>()
        + own.iter().filter(|(_, outcome)| outcome.is_err()).count();
    if damage_only {
        return if hard == 0 { Ok(()) } else { Err(anyhow!("{hard} cases failed")) };
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
        fs_err::write(path, format!("{whole:#}\n"))?;
    }
    let failed = tallies.iter().map(|tally| tally.failed.len()).sum::<usize>()
        + hard
        + cells.iter().map(|cell| cell.failed.len()).sum::<usize>();
    if failed == 0 { Ok(()) } else { Err(anyhow!("{failed} cases failed")) }
}

/// Whether each language's own tests passed
type OwnTests = Vec<(&'static str, Result<()>)>;

/// The tests in each peer's own language, and damaged messages for each, two peers at a time
fn hardened(peers: &[Peer]) -> Result<(OwnTests, Vec<Survived>)> {
    let mut own = Vec::new();
    let mut survived = Vec::new();
    // Rust's own tests are the workspace's, and its fuzz targets do what is done to the others here.
    let others: Vec<_> = peers.iter().filter(|peer| peer.name != "rust").collect();
    for (peer, tests, damage) in abreast(&others, |peer| (peer.name, own_tests(peer), damage::survive(peer))) {
        own.extend(tests.map(|outcome| (peer, outcome)));
        survived.push(damage?);
    }
    Ok((own, survived))
}

/// Runs the tests of a peer in its own language; the browser has those of Node
fn own_tests(peer: &Peer) -> Option<Result<()>> {
    (peer.name != "browser").then(|| process::output(&mut peer.command(&["check"])).map(drop))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    /// The matrix is worth something only if it can fail
    #[test]
    fn changes_to_a_message_on_its_way_are_all_seen() {
        let rust = peers::locate("rust").unwrap();
        let names = ["text", "mixed", "names", "text by link"];
        let cases: Vec<_> = cases::all().into_iter().filter(|case| names.contains(&case.name)).collect();
        let mut stage = Stage::set(&[rust]).unwrap();
        let whole = matrix::run(&mut stage, &cases).unwrap().remove(0);
        assert!(whole.failed.is_empty() && whole.passed == names.len(), "{whole:?}");
        for rule in Rule::value_variants() {
            stage.sabotage(*rule).unwrap();
            let cell = matrix::run(&mut stage, &cases).unwrap().remove(0);
            assert!(!cell.failed.is_empty(), "{rule:?} went unseen");
        }
    }
}
