//! `cargo xtask fuzz`: each fuzz target for a while, from the vectors as seeds; a find is kept and said how to repeat.

mod seeds;

use std::fs::{self, File};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::failure::{Context, Failure, Outcome};
use crate::process;
use crate::tools;
use crate::workspace::{cargo, root};

/// How long each target runs unless told otherwise, in seconds
const SECONDS: u64 = 60;

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
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish<'a> {
    seconds: Option<u64>,
    target: Option<&'a str>,
    /// One input to run once, instead of fuzzing
    input: Option<&'a str>,
}

impl<'a> Wish<'a> {
    fn read(words: &[&'a str]) -> Outcome<Self> {
        let mut wish = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().copied().ok_or_else(|| Failure::new(format!("{word} needs a value")));
            match *word {
                "--seconds" => wish.seconds = Some(value()?.parse().context(|| "--seconds".to_owned())?),
                "--input" => wish.input = Some(value()?),
                name if TARGETS.iter().any(|target| target.0 == name) => wish.target = Some(name),
                other => {
                    let names: Vec<_> = TARGETS.iter().map(|target| target.0).collect();
                    return Err(Failure::new(format!("no target `{other}`; there are {}", names.join(", "))));
                }
            }
        }
        match wish {
            Self { input: Some(_), target: None, .. } => {
                Err(Failure::new("--input needs the target that is to run it"))
            }
            wish => Ok(wish),
        }
    }
}

/// Targets that run side by side
const ABREAST: usize = 2;

/// Builds all targets once, then runs those asked for, a few at a time; fails when one has found something
pub(crate) fn run(words: &[&str]) -> Outcome<()> {
    let wish = Wish::read(words)?;
    let programs = build()?;
    if let (Some(input), Some(name)) = (wish.input, wish.target) {
        return process::run(fuzzer(&programs.join(name)).arg(input));
    }
    println!("{:<12}{:>10}{:>14}{:>10}{:>10}", "target", "seconds", "executions", "seeds", "corpus");
    let wanted: Vec<_> = TARGETS.into_iter().filter(|target| wish.target.is_none_or(|name| name == target.0)).collect();
    let seconds = wish.seconds.unwrap_or(SECONDS);
    for few in wanted.chunks(ABREAST) {
        let outcomes = thread::scope(|scope| {
            let start = |(name, longest): &(&'static str, u32)| {
                let (program, name, longest) = (programs.join(name), *name, *longest);
                scope.spawn(move || fuzz(name, longest, &program, seconds))
            };
            let running: Vec<_> = few.iter().map(start).collect();
            let ended = running.into_iter().map(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic)));
            ended.collect::<Vec<_>>()
        });
        outcomes.into_iter().collect::<Outcome<()>>()?;
    }
    Ok(())
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
fn build() -> Outcome<PathBuf> {
    // cargo-fuzz itself would rewrite a lock file that is behind, and say nothing.
    process::output(cargo().current_dir(home()).args(["metadata", "--locked", "--format-version", "1"]))?;
    println!("building the fuzz targets (the first time takes some minutes)");
    let mut build = Command::new(tools::fuzz()?);
    build.current_dir(home()).args(["fuzz", "build", "--fuzz-dir", ".", "--target-dir"]).arg(place());
    // The sanitizer is an option that a stable compiler knows and hides.
    process::run(build.env("RUSTC_BOOTSTRAP", "1"))?;
    let said = process::output(Command::new("rustc").args(["--version", "--verbose"]))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Failure::new("rustc does not name its host"))?;
    Ok(place().join(host).join("release"))
}

/// A target's program with the limits that every run has
fn fuzzer(program: &Path) -> Command {
    let mut command = Command::new(program);
    // What is not freed at the end of an input is a server's thread or cache here, not a leak.
    command.current_dir(root()).env("ASAN_OPTIONS", "detect_leaks=0").args(["-timeout=10", "-rss_limit_mb=2048"]);
    command
}

/// Runs one target for a while; what it finds is kept
fn fuzz(name: &str, longest: u32, program: &Path, seconds: u64) -> Outcome<()> {
    let folder = |what: &str| {
        let folder = place().join(what).join(name);
        fs::create_dir_all(&folder).context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    };
    let (corpus, seeded, finds) = (folder("corpus")?, folder("seeds")?, folder("finds")?);
    let seeds = seeds::write(name, &seeded)?;
    let dictionary = home().join("dictionaries").join(name).with_extension("dict");
    let log = place().join(format!("{name}.log"));
    let out = File::create(&log).context(|| format!("cannot write {}", log.display()))?;

    let mut command = fuzzer(program);
    command.args(["-print_final_stats=1", "-detect_leaks=0", "-use_value_profile=1"]);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={longest}"));
    command.arg(format!("-artifact_prefix={}/", finds.display())).arg(format!("-dict={}", dictionary.display()));
    command.arg(&corpus).arg(&seeded).stdout(Stdio::null()).stderr(out);
    let outcome = process::run(&mut command);
    let said = fs::read(&log).context(|| format!("cannot read {}", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    outcome.map_err(|failure| Failure::new(report(name, &said, &failure)))?;

    let kept = fs::read_dir(&corpus).map_or(0, Iterator::count);
    println!("{name:<12}{seconds:>10}{:>14}{seeds:>10}{kept:>10}", executions(&said).unwrap_or("?"));
    Ok(())
}

/// How many inputs were tried, in the fuzzer's own words
fn executions(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).map(str::trim)
}

/// What was found, where it is and how to see it again
fn report(name: &str, said: &str, failure: &Failure) -> String {
    let Some(input) = said.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path)
    else {
        let last: Vec<_> = said.lines().rev().take(15).collect();
        return format!("{failure}\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
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
    use super::*;

    #[test]
    fn target_is_read_and_a_wrong_one_names_what_there_is() {
        let wish = Wish::read(&["--seconds", "5", "arrow"]).unwrap();
        assert_eq!(wish, Wish { seconds: Some(5), target: Some("arrow"), input: None });
        assert!(Wish::read(&["sparrow"]).unwrap_err().to_string().contains("arrow, base64"));
        for wrong in [&["--seconds"][..], &["--seconds", "soon"], &["--input", "file"]] {
            assert!(Wish::read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn finding_is_reported_with_its_place_and_command_to_repeat() {
        let said = "thread '<unnamed>' panicked at core/src/x.rs:7:5:\nindex out of bounds\n==1== ERROR: libFuzzer: deadly signal\n\
                    SUMMARY: libFuzzer: deadly signal\nartifact_prefix='finds/'; Test unit written to finds/crash-1\n";
        let report = report("arrow", said, &Failure::new("failed"));
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
