//! Habits of the code base that a machine can check.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines beyond which a file has more than one subject
const LONGEST: usize = 600;

/// Every file of the checkout that is kept, with its content where it is text
fn files() -> Vec<(PathBuf, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                let hidden = name.starts_with('.') && ![".cargo", ".ci", ".github"].contains(&name.as_str());
                if !hidden && !["target", "node_modules", "__pycache__"].contains(&name.as_str()) {
                    folders.push(entry.path());
                }
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                found.push((entry.path().strip_prefix(&root).unwrap().to_path_buf(), text));
            }
        }
    }
    assert!(found.len() > 20, "only {} files found under {}", found.len(), root.display());
    found
}

fn rust_files() -> Vec<(PathBuf, String)> {
    files().into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "rs")).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Fails with every offender at once, so that one run shows all there is to do
fn none(offenders: &[String], rule: &str) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

#[test]
fn a_file_starts_with_what_lives_there() {
    let offenders: Vec<_> = rust_files()
        .into_iter()
        .filter(|(_, text)| {
            let mut in_attribute = false;
            let first = text.lines().map(str::trim).find(|line| {
                let skipped = in_attribute || line.starts_with("#![") || line.is_empty();
                in_attribute = (in_attribute || line.starts_with("#![")) && !line.ends_with(']');
                !skipped
            });
            first.and_then(|line| line.strip_prefix("//!")).is_none_or(|words| words.trim().is_empty())
        })
        .map(|(path, _)| path.display().to_string())
        .collect();
    none(&offenders, "a file's first words are `//!` and what lives there");
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let offenders: Vec<_> = rust_files()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LONGEST)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    none(&offenders, "a file has one subject");
}

#[test]
fn an_ignored_test_says_why() {
    let bare = concat!("#[", "ignore]");
    let offenders: Vec<_> = rust_files()
        .into_iter()
        .filter(|(_, text)| text.lines().any(|line| line.trim().starts_with(bare)))
        .map(|(path, _)| path.display().to_string())
        .collect();
    none(&offenders, "`ignore` has a reason");
}

#[test]
fn readme_and_walkthrough_name_the_rust_version_that_cargo_checks() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let declared = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'))
        .expect("Cargo.toml has a rust-version");
    for page in ["README.md", "docs/walkthrough.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let named: Vec<&str> = text
            .match_indices("Rust 1.")
            .map(|(at, _)| &text[at + 5..])
            .map(|rest| rest.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap().trim_end_matches('.'))
            .collect();
        assert!(!named.is_empty(), "{page} says `Rust {declared}` somewhere");
        assert!(named.iter().all(|version| *version == declared), "{page} names {named:?}, Cargo.toml {declared}");
    }
}

/// Where packages come from is the user's setting: a mirror, a proxy, a vendored folder
#[test]
fn no_file_names_a_registry_host() {
    let hosts = ["pypi.", "files.pythonhosted", "registry.", "index.crates", "static.crates", "deb.", "proxy.golang"];
    let addresses: Vec<String> =
        hosts.iter().flat_map(|host| ["http", "https"].map(|scheme| format!("{scheme}://{host}"))).collect();
    let offenders: Vec<_> = files()
        .into_iter()
        .filter(|(_, text)| addresses.iter().any(|address| text.contains(address)))
        .map(|(path, _)| path.display().to_string())
        .collect();
    none(&offenders, "no address of a package registry");
}
