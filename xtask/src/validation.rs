//! `cargo xtask validation`: `docs/validation.md` has a row for each requirement, and the evidence that it names exists.
//!
//! Evidence stands in backticks, in one of these forms, or is a link to a heading:
//!
//! | form | is |
//! |---|---|
//! | `natsbridge-core::types_all_come_back_as_they_were` | a test of that crate |
//! | `bench: latency` | a group of measures of `cargo xtask bench` |
//! | `conformance: mixed` | a case that every language sends to every other |
//! | `cargo xtask coverage` | a command |
//! | `testdata/send/text*.json` | a file; a star stands for any text in its name |

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use fs_err as fs;

use clap::CommandFactory as _;

use crate::Xtask;
use crate::links;
use crate::vectors::skips;
use crate::workspace::{entries, members, name_of, root};

const FILE: &str = "docs/validation.md";

/// Every requirement: the letters, and the numbers from the first to the last
const REQUIREMENTS: [(&str, u16, u16); 6] =
    [("FR", 1, 14), ("NFR", 101, 108), ("NFR", 201, 203), ("NFR", 301, 303), ("NFR", 401, 405), ("AC", 1, 10)];

pub(crate) fn run() -> Result<()> {
    let text = fs::read_to_string(root().join(FILE))?;
    let faults = faults(&text, &Evidence::gather()?);
    if !faults.is_empty() {
        bail!("{FILE}:\n  {}", faults.join("\n  "));
    }
    println!("{FILE}: each of {} requirements has evidence, and all of it exists", requirements().len());
    Ok(())
}

fn requirements() -> BTreeSet<String> {
    REQUIREMENTS
        .iter()
        .flat_map(|(letters, first, last)| (*first..=*last).map(move |number| format!("{letters}-{number:03}")))
        .collect()
}

/// What the table gets wrong
fn faults(text: &str, there: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    let mut missing = requirements();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let id = cells[0];
        if ["requirement", "figure"].contains(&id) || id.starts_with("--") {
            continue;
        }
        let known = missing.remove(id);
        if !known && requirements().contains(id) {
            faults.push(format!("{id} has two rows"));
        }
        let [_, _, shown] = cells[..] else {
            faults.push(format!("{id}: a row has three cells"));
            continue;
        };
        let words: Vec<_> = shown.split('`').skip(1).step_by(2).collect();
        let links = links::of(shown);
        if words.is_empty() && links.is_empty() {
            faults.push(format!("{id}: no evidence"));
        }
        faults.extend(words.iter().filter_map(|word| Some(format!("{id}: {}", there.lacks(word)?))));
        faults.extend(links.iter().filter_map(|link| Some(format!("{id}: {}", links::broken(FILE, link)?))));
    }
    faults.extend(missing.iter().map(|id| format!("{id} has no row")));
    faults
}

/// What a row may name
#[derive(Debug, Default)]
struct Evidence {
    /// Names of tests, by crate
    tests: BTreeMap<String, BTreeSet<String>>,
    /// Source of the benchmark and of the conformance run
    bench: String,
    conformance: String,
}

impl Evidence {
    fn gather() -> Result<Self> {
        let mut there = Self::default();
        for package in members()? {
            let manifest = package.manifest["manifest_path"].as_str().unwrap_or_default();
            let home = Path::new(manifest).with_file_name("");
            let mut tests = BTreeSet::new();
            for folder in ["src", "tests"] {
                visit(&home.join(folder), &mut |source| tests.extend(tests_of(source)))?;
            }
            there.tests.insert(package.name, tests);
        }
        visit(&root().join("crates/natsbridge-bench/src"), &mut |source| there.bench.push_str(source))?;
        visit(&root().join("xtask/src/conformance"), &mut |source| there.conformance.push_str(source))?;
        Ok(there)
    }

    /// Why this is no evidence
    fn lacks(&self, word: &str) -> Option<String> {
        if let Some((package, test)) = word.split_once("::") {
            let there = self.tests.get(package).is_some_and(|tests| tests.contains(test));
            return (!there).then(|| format!("{package} has no test {test}"));
        }
        if let Some(group) = word.strip_prefix("bench: ") {
            let there = self.bench.contains(&format!("\"{group}\""));
            return (!there).then(|| format!("the benchmark has no group {group}"));
        }
        if let Some(case) = word.strip_prefix("conformance: ") {
            let there = self.conformance.contains(&format!("\"{case}\""));
            return (!there).then(|| format!("the conformance run has no case {case}"));
        }
        if let Some(command) = word.strip_prefix("cargo xtask ") {
            let name = command.split(' ').next().unwrap_or_default();
            let there = Xtask::command().find_subcommand(name).is_some();
            return (!there).then(|| format!("there is no command {command}"));
        }
        if word.contains('/') {
            return (!exists(word)).then(|| format!("there is no file {word}"));
        }
        Some(format!("`{word}` is no evidence: not a test, measure, case, command or file"))
    }
}

/// The names of a file's tests
fn tests_of(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
            names.push(rest.split(['(', '<']).next().unwrap_or_default().to_owned());
            marked = false;
        }
    }
    names
}

/// Whether a file is there; a star in its name stands for any text
fn exists(pattern: &str) -> bool {
    let path = root().join(pattern);
    let named = |file: &PathBuf| skips::matches(&name_of(&path), &name_of(file));
    path.exists() || path.parent().is_some_and(|folder| entries(folder).unwrap_or_default().iter().any(named))
}

/// Shows every Rust file below a folder
fn visit(folder: &Path, show: &mut dyn FnMut(&str)) -> Result<()> {
    for path in entries(folder).unwrap_or_default() {
        if path.is_dir() {
            visit(&path, show)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            show(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_all_have_evidence_that_exists() {
        let text = fs::read_to_string(root().join(FILE)).unwrap();
        assert_eq!(faults(&text, &Evidence::gather().unwrap()), Vec::<String>::new());
    }

    #[test]
    fn evidence_missing_or_made_up_is_found() {
        let there = Evidence::gather().unwrap();
        let rows = |rows: &str| {
            let mut found = faults(rows, &there);
            found.retain(|fault| !fault.ends_with("has no row"));
            found
        };
        let one = |shown: &str| rows(&format!("| FR-001 | text | {shown} |\n"));
        let sound = "`xtask::evidence_missing_or_made_up_is_found`, `bench: latency`, `conformance: mixed`, \
                     `cargo xtask coverage`, `testdata/send/text*.json`, [map](architecture.md#the-map)";
        assert_eq!(one(sound), Vec::<String>::new());
        assert_eq!(faults("", &there).len(), requirements().len());
        for unsound in [
            "none",
            "`natsbridge-core::no_such_test`",
            "`natsbridge-nowhere::evidence_missing_or_made_up_is_found`",
            "`bench: beauty`",
            "`conformance: nothing like it`",
            "`cargo xtask pray`",
            "`testdata/send/no_such*.json`",
            "`somehow`",
            "[map](architecture.md#no-such-heading)",
            "[map](nowhere.md)",
        ] {
            assert_eq!(one(unsound).len(), 1, "{unsound}: {:?}", one(unsound));
        }
        let twice = "| FR-001 | a | `cargo xtask ci` |\n| FR-001 | a | `cargo xtask ci` |\n";
        assert_eq!(rows(twice), ["FR-001 has two rows"]);
    }

    #[test]
    fn functions_count_as_tests_only_when_marked() {
        let source =
            "#[test]\nfn a() {}\nfn b() {}\n#[tokio::test(flavor = \"x\")]\n#[ignore = \"why\"]\nasync fn c() {}\n";
        assert_eq!(tests_of(source), ["a", "c"]);
    }
}
