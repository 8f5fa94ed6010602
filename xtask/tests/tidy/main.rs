//! Habits of the code base and its documents that a machine can check.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod calls;
mod codes;
mod documents;
mod imports;
mod modules;
mod purity;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

use crate::sources::{files, none, root};

/// Lines beyond which a file has more than one subject
const LONGEST: usize = 600;

fn rust_files() -> Vec<(PathBuf, String)> {
    files().into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "rs")).collect()
}

#[test]
fn file_starts_with_what_is_in_it() {
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
fn file_length_is_at_most_600_lines() {
    let offenders: Vec<_> = rust_files()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LONGEST)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    none(&offenders, "a file has one subject");
}

#[test]
fn sources_cite_no_requirement_number() {
    // The numbers mean nothing to a reader; docs/validation.md and its command have them.
    let offenders: Vec<_> = rust_files()
        .into_iter()
        .filter(|(path, text)| !path.ends_with("src/validation.rs") && text.contains(concat!("FR", "-")))
        .map(|(path, _)| path.display().to_string())
        .collect();
    none(&offenders, "a comment says the rule, not its number");
}

#[test]
fn rust_version_in_the_documents_is_the_one_that_cargo_checks() {
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

#[test]
fn unsafe_code_is_allowed_in_one_file() {
    let allowing = concat!("allow(", "unsafe_code");
    let found: Vec<_> = rust_files()
        .into_iter()
        .filter(|(_, text)| text.split_whitespace().collect::<String>().contains(allowing))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_eq!(found, ["clients/python/src/arrow_c.rs"], "Arrow's C interface is the one reason");
    let forbids = |text: &str| text.contains("[lints]\nworkspace = true");
    let other: Vec<_> = files()
        .into_iter()
        .filter(|(path, text)| path.ends_with("Cargo.toml") && text.contains("[package]") && !forbids(text))
        .map(|(path, _)| path.display().to_string())
        .filter(|path| path != "clients/python/Cargo.toml" && !path.contains("fuzz"))
        .collect();
    none(&other, "a package has the workspace's lints, which forbid unsafe code");
}

/// The code of an error, and the variant that has it
fn codes(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    let mut variants: Vec<String> = Vec::new();
    for line in source.lines() {
        let trimmed = line.trim();
        if trimmed.contains("fn code(") && trimmed.contains("&'static str") {
            inside = true;
        } else if inside && line == "    }" {
            inside = false;
        } else if inside {
            // `Self::A { .. } | Self::B => "word",`, which may stand on several lines
            let (pattern, word) = trimmed.split_once("=>").unwrap_or((trimmed, ""));
            let named = pattern.split("Self::").skip(1);
            variants.extend(named.map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect()));
            if let Some(code) = word.split('"').nth(1) {
                found.extend(variants.drain(..).map(|variant| (variant, code.to_owned())));
            } else if !word.is_empty() {
                // It hands out another error's code.
                variants.clear();
            }
        } else if let Some((variant, rest)) = trimmed.split_once(" = \"")
            && let Some((code, rest)) = rest.split_once("\", ")
            && (rest.starts_with("true, ") || rest.starts_with("false, "))
        {
            // A row of the macro that declares kinds
            found.push((variant.to_owned(), code.to_owned()));
        }
    }
    found
}

/// Whether a text holds this word, and not only as a part of another
fn names(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

#[test]
fn public_errors_are_each_named_by_a_test_or_a_vector() {
    let files = files();
    let in_crate = |path: &Path| path.components().nth(1).map(|name| name.as_os_str().to_owned());
    let of_tests =
        |path: &Path| path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
    let vectors: String =
        files.iter().filter(|(path, _)| path.starts_with("testdata")).map(|(_, text)| text.as_str()).collect();
    let (mut offenders, mut seen) = (Vec::new(), 0);
    for (path, text) in &files {
        if !path.starts_with("crates") || of_tests(path) || path.extension().is_none_or(|end| end != "rs") {
            continue;
        }
        let source = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (variant, code) in codes(source) {
            seen += 1;
            let named = files.iter().any(|(other, text)| {
                let tests = if of_tests(other) {
                    Some(text.as_str())
                } else {
                    text.split_once("#[cfg(test)]").map(|halves| halves.1)
                };
                in_crate(other) == in_crate(path)
                    && tests.is_some_and(|tests| names(tests, &variant) || tests.contains(&format!("\"{code}\"")))
            });
            if !named && !vectors.contains(&format!("\"{code}\"")) {
                offenders.push(format!("{}: {variant} ({code})", path.display()));
            }
        }
    }
    assert!(seen > 50, "only {seen} codes found: `fn code` is written in another way now");
    none(&offenders, "an error that no test names may have any code");
}

/// Where packages come from is the user's setting: a mirror, a proxy, a vendored folder
#[test]
fn registry_hosts_are_named_in_no_file() {
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
