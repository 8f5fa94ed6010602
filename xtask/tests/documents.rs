//! What the documents name is there: the tests that they give as evidence, and the files that they link to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold none of the project's own documents
const FOREIGN: [&str; 3] = ["target", "node_modules", "__pycache__"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every file of the checkout that ends so
fn files(end: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
                    folders.push(entry.path());
                }
            } else if name.ends_with(end) {
                found.push((entry.path(), fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// What stands in backticks in a line of text
fn code_in(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Tests are sentences: many words with underscores between them
fn is_test_name(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(plain) && word.matches('_').count() >= 3 && !word.ends_with("_total")
}

#[test]
fn documents_name_tests_that_exist() {
    let sources = files(".rs");
    let functions: BTreeSet<&str> = sources
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| line.trim_start().split_once("fn ")?.1.split_once('('))
        .map(|(name, _)| name)
        .collect();
    let documents =
        ["docs/architecture.md", "docs/security.md"].map(|name| fs::read_to_string(root().join(name)).unwrap());
    let named: Vec<&str> =
        documents.iter().flat_map(|text| text.lines()).flat_map(code_in).filter(|w| is_test_name(w)).collect();
    assert!(named.len() > 30, "only {} names of tests were found", named.len());
    let absent: Vec<_> = named.iter().filter(|name| !functions.contains(**name)).collect();
    assert!(absent.is_empty(), "named as evidence, and not there: {absent:#?}");
}

#[test]
fn documents_link_to_files_that_exist() {
    let mut broken = Vec::new();
    let mut count = 0;
    for (document, text) in files(".md") {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            // The plots are written by `cargo xtask bench --docs`.
            if path.is_empty() || path.contains("://") || path.starts_with("benchmarks/") {
                continue;
            }
            count += 1;
            if !document.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(count > 20, "only {count} links were found");
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The first two cells of each row of a table in the specification whose first cell is a network
fn networks_in(specification: &str) -> BTreeSet<(&str, &str)> {
    specification
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(network, _)| {
            network.contains('/') && network.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':')
        })
        .map(|(network, rest)| (network, rest.split(" |").next().unwrap_or_default()))
        .collect()
}

#[test]
fn specification_and_test_data_forbid_the_same_networks() {
    let specification = fs::read_to_string(root().join("docs/specification.md")).unwrap();
    let addresses = fs::read_to_string(root().join("testdata/addresses.json")).unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&addresses).unwrap();
    let rows = |list: &str| addresses[list].as_array().unwrap().clone();
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    let forbidden = rows("forbidden").iter().map(|row| (text(row, "network"), text(row, "what"))).collect::<Vec<_>>();
    let embedding =
        rows("embedding").iter().map(|row| (text(row, "network"), row["bit"].to_string())).collect::<Vec<_>>();
    let wanted: BTreeSet<_> = forbidden.iter().chain(&embedding).map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert!(wanted.len() > 20, "only {} networks were found", wanted.len());
    assert_eq!(networks_in(&specification), wanted);
}
