//! `cargo xtask fuzz`: each fuzz target for a while, from the vectors as seeds; a find is kept and said how to repeat.

mod seeds;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Error, Result};
use fs_err::{self as fs, File};

use crate::process::{self, abreast};
use crate::tools;
use crate::workspace::{cargo, root, rustc};

/// What a stranger may send: each target's name, and the longest input that is tried, in bytes
///
/// Words that a format knows and chance would hardly find are in `dictionaries/`.
const TARGETS: [(&str, u32); 9] = [
    ("envelope", 8192),
    ("json", 8192),
    ("arrow", 65536),
    ("base64", 1024),
    ("link", 512),
    ("address", 256),
    ("server", 16384),
    ("upload", 16384),
    ("dataname", 1024),
];

/// What was asked for on the command line
#[derive(Debug, clap::Args)]
pub(crate) struct Wishes {
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// One target instead of all
    #[arg(value_parser = TARGETS.map(|target| target.0))]
    target: Option<String>,
    /// One input to run once, instead of fuzzing
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
}

/// Builds all targets once, then runs those asked for, a few at a time; fails when one has found something
pub(crate) fn run(wishes: &Wishes) -> Result<()> {
    let programs = build()?;
    if let (Some(input), Some(name)) = (&wishes.input, &wishes.target) {
        return process::run(fuzzer(&programs.join(name)).arg(input));
    }
    println!("{:<12}{:>10}{:>14}{:>10}{:>10}", "target", "seconds", "executions", "seeds", "corpus");
    let wanted: Vec<_> =
        TARGETS.into_iter().filter(|target| wishes.target.as_ref().is_none_or(|name| name == target.0)).collect();
    let job = |(name, longest): &(&str, u32)| fuzz(name, *longest, &programs.join(name), wishes.seconds);
    abreast(&wanted, job).into_iter().collect()
}

/// The crate of the targets
fn home() -> PathBuf {
    root().join("crates/natsbridge-core/fuzz")
}

/// Everything of ours under `target`, so that a clean removes it
fn place() -> PathBuf {
    root().join("target/fuzz")
}

/// Compiles the targets and says in which folder they are
fn build() -> Result<PathBuf> {
    // cargo-fuzz itself would rewrite a lock file that is behind, and say nothing.
    process::output(cargo().current_dir(home()).args(["metadata", "--locked", "--format-version", "1"]))?;
    println!("building the fuzz targets (the first time takes some minutes)");
    let mut build = Command::new(tools::FUZZ.locate()?);
    build.current_dir(home()).args(["fuzz", "build", "--fuzz-dir", ".", "--target-dir"]).arg(place());
    // The sanitizer is an option that a stable compiler knows and hides.
    process::run(build.env("RUSTC_BOOTSTRAP", "1"))?;
    Ok(place().join(rustc("host:")?).join("release"))
}

/// A target's program with the limits that every run has
fn fuzzer(program: &Path) -> Command {
    let mut command = Command::new(program);
    // What is not freed at the end of an input is a server's thread or cache here, not a leak.
    command.current_dir(root()).env("ASAN_OPTIONS", "detect_leaks=0").args(["-timeout=10", "-rss_limit_mb=2048"]);
    command
}

/// Runs one target for a while; what it finds is kept
fn fuzz(name: &str, longest: u32, program: &Path, seconds: u64) -> Result<()> {
    let folder = |what: &str| {
        let folder = place().join(what).join(name);
        fs::create_dir_all(&folder)?;
        Ok::<_, Error>(folder)
    };
    let (corpus, seeded, finds) = (folder("corpus")?, folder("seeds")?, folder("finds")?);
    let seeds = seeds::write(name, &seeded)?;
    let dictionary = home().join("dictionaries").join(name).with_extension("dict");
    let log = place().join(format!("{name}.log"));
    let out = File::create(&log)?.into_file();

    let mut command = fuzzer(program);
    command.args(["-print_final_stats=1", "-detect_leaks=0", "-use_value_profile=1"]);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={longest}"));
    command.arg(format!("-artifact_prefix={}/", finds.display())).arg(format!("-dict={}", dictionary.display()));
    command.arg(&corpus).arg(&seeded).stdout(Stdio::null()).stderr(out);
    let outcome = process::run(&mut command);
    let said = fs::read(&log)?;
    let said = String::from_utf8_lossy(&said);
    outcome.map_err(|failure| Error::msg(report(name, &said, &failure)))?;

    let kept = fs::read_dir(&corpus).map_or(0, Iterator::count);
    println!("{name:<12}{seconds:>10}{:>14}{seeds:>10}{kept:>10}", executions(&said).unwrap_or("?"));
    Ok(())
}

/// How many inputs were tried, in the fuzzer's own words
fn executions(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).map(str::trim)
}

/// What was found, where it is and how to see it again
fn report(name: &str, said: &str, failure: &Error) -> String {
    let Some(input) = said.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path)
    else {
        let last: Vec<_> = said.lines().rev().take(15).collect();
        return format!("{failure:#}\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    };
    let telling = |line: &&str| ["panicked at", "ERROR:", "SUMMARY:"].iter().any(|word| line.contains(word));
    let lines: Vec<&str> = said.lines().collect();
    let mut quoted = String::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| telling(line)) {
        // A panic's message is on the line after its place.
        let message = lines.get(at + 1).copied().unwrap_or_default();
        quoted.push_str(&format!("\n  | {line}\n  | {message}"));
    }
    format!(
        "`{name}` found something{quoted}\nthe input is {input}\nsee it again: cargo xtask fuzz {name} --input {input}\n\
         then make it a vector or a test that fails, and mend what it shows"
    )
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn finding_is_reported_with_its_place_and_command_to_repeat() {
        let said = "thread '<unnamed>' panicked at core/src/x.rs:7:5:\nindex out of bounds\n==1== ERROR: libFuzzer: deadly signal\n\
                    SUMMARY: libFuzzer: deadly signal\nartifact_prefix='finds/'; Test unit written to finds/crash-1\n";
        let report = report("arrow", said, &anyhow!("failed"));
        for part in
            ["index out of bounds", "the input is finds/crash-1\n", "cargo xtask fuzz arrow --input finds/crash-1"]
        {
            assert!(report.contains(part), "{report}");
        }
        assert_eq!(executions("stat::number_of_executed_units: 812\n"), Some("812"));
    }

    #[test]
    fn targets_all_have_seeds_and_are_declared() {
        let manifest = fs::read_to_string(home().join("Cargo.toml")).unwrap();
        for (name, _) in TARGETS {
            let folder = crate::workspace::TempFolder::create().unwrap();
            assert!(seeds::write(name, folder.path()).unwrap() > 3, "{name}");
            assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
            assert!(home().join(format!("dictionaries/{name}.dict")).is_file(), "{name}");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    }
}
