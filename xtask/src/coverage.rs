//! `cargo xtask coverage`: every test, counting the lines they reach, and the least that is enough.
//!
//! Counted is the published code, whoever runs it: unit tests, integration tests, the processes that they start, and the
//! vectors. Not counted: test modules (they are reached by definition), `tests/` and `examples/` for the same reason,
//! `natsbridge-testkit` (support for tests), `natsbridge-bench` and `xtask` (nobody depends on them, and most of their
//! code runs in `cargo xtask bench` or `ci`, not in tests). Documentation tests run first and are not counted: stable
//! Rust does not instrument them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context, Failure, Outcome};
use crate::process;
use crate::test;
use crate::tools;
use crate::workspace::{published, root};

/// Percent of lines that tests must reach in a crate
const LEAST: (&str, f64) = ("natsbridge-core", 90.0);
/// Percent of lines that tests must reach in all counted crates together
const LEAST_OF_ALL: f64 = 85.0;

/// Files shown with the most lines that no test reaches
const SHOWN: usize = 10;

/// Lines of a file or a crate
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Lines {
    all: u32,
    reached: u32,
}

impl Lines {
    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.reached += other.reached;
    }

    fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { 100.0 * f64::from(self.reached) / f64::from(self.all) }
    }
}

pub(crate) fn run() -> Outcome<()> {
    let servers = test::Servers::locate()?;
    test::documentation(&servers)?;

    // What is left of an earlier build would be counted as lines that nobody reaches.
    process::run(counting()?.args(["llvm-cov", "clean", "--workspace"]))?;
    let mut runner = counting()?;
    runner.args(["llvm-cov", if tools::has_nextest() { "nextest" } else { "test" }]);
    runner.args(["--no-report", "--locked", "--workspace", "--all-features", "--no-fail-fast"]);
    let summing_up = |line: &str| line.trim_start().starts_with("Summary [");
    let summary = process::run_and_keep(servers.name(&mut runner), summing_up)?;

    let report = folder().join("lines.info");
    process::output(counting()?.args(["llvm-cov", "report", "--lcov", "--output-path"]).arg(&report))?;
    let text = fs::read_to_string(&report).context(|| format!("cannot read {}", report.display()))?;
    let faults = judge(&crates(&read(&text)?)?);
    println!("each line: {}", report.display());
    if !faults.is_empty() {
        return Err(Failure::new(faults.join("\n")));
    }
    // Again, since it is what a log should end with.
    println!("\n{}", summary.unwrap_or_default());
    Ok(())
}

/// Where instrumented programs are built: cargo can't tell them from others, and what is in `target` is for use
fn folder() -> PathBuf {
    root().join("target/coverage")
}

/// cargo-llvm-cov, told where things are
fn counting() -> Outcome<Command> {
    let mut command = Command::new(tools::llvm_cov()?);
    command.current_dir(root()).env("CARGO_LLVM_COV_SETUP", "no");
    // The second for tests that build programs themselves.
    command.env("CARGO_LLVM_COV_TARGET_DIR", folder()).env("CARGO_TARGET_DIR", folder());
    if let Some(programs) = tools::llvm()? {
        for (variable, program) in programs {
            command.env(variable, program);
        }
    }
    // Processes of a program write into a few files in turn; one file each would be gigabytes.
    command.env("LLVM_PROFILE_FILE_NAME", "natsbridge-%4m.profraw");
    Ok(command)
}

/// Counted lines of each file, from a report in the format of lcov
fn read(report: &str) -> Outcome<BTreeMap<String, Lines>> {
    let own = format!("{}/", root().display());
    let mut files = BTreeMap::new();
    let mut current: Option<(String, u32)> = None;
    for line in report.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            current = match path.strip_prefix(&own) {
                Some(path) => {
                    let source = fs::read_to_string(root().join(path)).context(|| format!("cannot read {path}"))?;
                    Some((path.to_owned(), tests_begin(&source)))
                }
                None => None,
            };
        } else if let (Some((path, end)), Some(words)) = (&current, line.strip_prefix("DA:")) {
            let (number, hits) = words.split_once(',').unwrap_or_default();
            let number: u32 = number.parse().context(|| format!("the report's line `{line}`"))?;
            if number < *end {
                let reached = u32::from(hits != "0");
                files.entry(path.clone()).or_insert_with(Lines::default).add(Lines { all: 1, reached });
            }
        }
    }
    Ok(files)
}

/// The number of the line where a file's test module begins, beyond its end if it has none
fn tests_begin(source: &str) -> u32 {
    let mut numbered = (1..).zip(source.lines());
    numbered.find(|(_, line)| *line == "#[cfg(test)]").map_or(u32::MAX, |(number, _)| number)
}

/// The files of each published crate
fn crates(files: &BTreeMap<String, Lines>) -> Outcome<BTreeMap<String, BTreeMap<&str, Lines>>> {
    let mut crates: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for package in published()? {
        let sources = format!("crates/{}/src/", package.name);
        let of_tests = |path: &str| Path::new(path).file_name().is_some_and(|name| name == "tests.rs");
        let own = files.iter().filter(|(path, _)| path.starts_with(&sources) && !of_tests(path));
        crates.insert(package.name, own.map(|(path, lines)| (path.as_str(), *lines)).collect());
    }
    Ok(crates)
}

/// Prints the table; returns what is below the least
fn judge(crates: &BTreeMap<String, BTreeMap<&str, Lines>>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |name: &str, lines: Lines, least: Option<f64>| {
        let asked = least.map_or_else(String::new, |least| format!("{least:.0} %"));
        println!("{name:<24}{:>8}{:>10}{:>8.1} %{asked:>8}", lines.all, lines.reached, lines.percent());
        if let Some(least) = least.filter(|least| lines.percent() < *least) {
            faults.push(format!("tests reach {:.1} % of {name}; {least:.0} % is the least", lines.percent()));
        }
    };
    println!("\n{:<24}{:>8}{:>10}{:>10}{:>8}", "lines", "all", "reached", "", "least");
    let mut total = Lines::default();
    for (name, files) in crates {
        let mut sum = Lines::default();
        files.values().for_each(|lines| sum.add(*lines));
        total.add(sum);
        check(name, sum, (LEAST.0 == name).then_some(LEAST.1));
    }
    check("all", total, Some(LEAST_OF_ALL));

    let mut files: Vec<_> = crates.values().flatten().map(|(path, lines)| (lines.all - lines.reached, path)).collect();
    files.sort_unstable_by(|a, b| b.cmp(a));
    println!("\nmost lines not reached");
    for (missed, path) in files.iter().take(SHOWN) {
        println!("{missed:>6}  {path}");
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_test_modules_and_of_others_are_not_counted() {
        let source = "//! File.\nfn a() {}\n#[cfg(test)]\nmod tests {}\n";
        assert_eq!(tests_begin(source), 3);
        assert_eq!(tests_begin("fn a() {}\n"), u32::MAX);

        let own = root().join("xtask/src/failure.rs");
        let report = format!(
            "SF:{}\nDA:2,0\nDA:3,7\nend_of_record\nSF:/elsewhere/lib.rs\nDA:1,1\nend_of_record\n",
            own.display()
        );
        let files = read(&report).unwrap();
        assert_eq!(files, BTreeMap::from([("xtask/src/failure.rs".to_owned(), Lines { all: 2, reached: 1 })]));
    }

    #[test]
    fn coverage_too_low_in_core_or_in_all_is_a_fault() {
        let crates = |core: u32, other: u32| {
            let one = |path, reached| BTreeMap::from([(path, Lines { all: 100, reached })]);
            BTreeMap::from([("natsbridge-core".to_owned(), one("a", core)), ("natsbridge".to_owned(), one("b", other))])
        };
        assert!(judge(&crates(90, 80)).is_empty());
        assert_eq!(judge(&crates(89, 95)), ["tests reach 89.0 % of natsbridge-core; 90 % is the least"]);
        assert_eq!(judge(&crates(99, 70)), ["tests reach 84.5 % of all; 85 % is the least"]);
    }
}
