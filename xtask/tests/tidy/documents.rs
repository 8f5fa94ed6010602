//! What the documents name is there: the tests that they give as evidence, and the files that they link to.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sources::{files, none, root};

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
    let files = files();
    let sources = files.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "rs"));
    let functions: BTreeSet<&str> = sources
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| line.trim_start().split_once("fn ")?.1.split_once('('))
        .map(|(name, _)| name)
        .collect();
    let documents =
        ["docs/architecture.md", "docs/security.md"].map(|name| fs::read_to_string(root().join(name)).unwrap());
    let named: Vec<&str> =
        documents.iter().flat_map(|text| text.lines()).flat_map(code_in).filter(|w| is_test_name(w)).collect();
    assert!(named.len() > 30, "only {} names of tests were found", named.len());
    let absent: Vec<_> = named.iter().filter(|name| !functions.contains(**name)).map(ToString::to_string).collect();
    none(&absent, "a test that a document names as evidence is there");
}

#[test]
fn documents_link_to_files_that_exist() {
    let mut broken = Vec::new();
    let mut count = 0;
    for (document, text) in files().iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "md")) {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            // The plots are written by `cargo xtask bench --docs`.
            if path.is_empty() || path.contains("://") || path.starts_with("benchmarks/") {
                continue;
            }
            count += 1;
            if !root().join(document.parent().unwrap()).join(path).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(count > 20, "only {count} links were found");
    none(&broken, "a link of a document leads to a file");
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

/// The part of a text file that people read: comments of Rust, prose of documents
fn prose<'a>(path: &Path, text: &'a str) -> Vec<&'a str> {
    let mut fenced = false;
    let of_document = |line: &&str| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced
    };
    match path.extension().and_then(OsStr::to_str) {
        Some("rs") => text.lines().filter_map(|line| line.split_once("//")).map(|(_, comment)| comment).collect(),
        Some("md") => text.lines().filter(of_document).collect(),
        _ => Vec::new(),
    }
}

/// Names of files in a line: source, documents and settings of ours
fn file_names(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !c.is_alphanumeric() && !"_-./:".contains(c));
    words.map(|word| word.trim_start_matches([':', '-']).trim_end_matches(['.', ':', '-'])).filter(|word| {
        let (stem, end) = word.rsplit_once('.').unwrap_or_default();
        !stem.is_empty() && ["rs", "md", "py", "mjs", "toml"].contains(&end) && !word.contains("://")
    })
}

#[test]
fn comments_and_documents_name_files_that_exist() {
    let files = files();
    // A site, and files that a reader makes.
    let foreign = ["docs.rs", "send.py", "receive.py", "walk/lab.py", "walk/squares.py", "walk/lab/src/main.rs"];
    let exists = |from: &Path, name: &str| {
        let there = |(path, _): &(PathBuf, String)| path.ends_with(name);
        let crate_of = |(path, _): &(PathBuf, String)| path.to_string_lossy().ends_with(&format!("natsbridge-{name}"));
        root().join(from.parent().unwrap()).join(name).exists()
            || files.iter().any(|file| there(file) || crate_of(file))
    };
    let mut offenders = Vec::new();
    for (path, text) in &files {
        for name in prose(path, text).into_iter().flat_map(file_names) {
            if !foreign.contains(&name) && !exists(path, name) {
                offenders.push(format!("{}: {name}", path.display()));
            }
        }
    }
    none(&offenders, "a file that a comment or a document names is there");
}
