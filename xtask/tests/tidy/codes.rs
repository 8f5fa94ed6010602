//! The codes of errors: those that the library and the program give are those that the specification lists.

use std::collections::BTreeSet;
use std::fs;

use crate::rust_files;
use crate::sources::root;

/// Crates whose errors reach users
const CRATES: [&str; 5] =
    ["natsbridge", "natsbridge-core", "natsbridge-nats", "natsbridge-fileserver", "natsbridge-cli"];

/// What precedes a code where it is given in one place
const MARKS: [&str; 7] = [
    ".code(\"",
    "code: \"",
    "Refusal::new(\"",
    "Err((\"",
    "Problem::payload(payload, \"",
    "problem(\"",
    "Self::new(\"",
];

/// A text that is a code
fn code(text: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (!text.is_empty() && text.chars().all(plain)).then_some(text)
}

/// The codes in a source file, without its tests and examples
fn codes_of(text: &str) -> Vec<&str> {
    let text = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    // A function that maps failures to codes, to the end of its block.
    for body in text.split("fn code(").skip(1).filter(|body| body.starts_with("&self)") || body.starts_with("self)")) {
        let body = body.split("\n    }\n").next().unwrap_or_default();
        found.extend(body.split('"').skip(1).step_by(2).filter_map(code));
    }
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for mark in MARKS {
            found.extend(line.split(mark).skip(1).filter_map(|rest| code(rest.split_once('"')?.0)));
        }
        // A row of the macro that declares kinds: `Name = "code", true, "text";`.
        if let Some((_, rest)) = line.split_once(" = \"")
            && let Some((kind, rest)) = rest.split_once("\", ")
            && (rest.starts_with("true, \"") || rest.starts_with("false, \""))
        {
            found.push(kind);
        }
    }
    found
}

#[test]
fn specification_lists_the_codes_that_are_given() {
    let files = rust_files();
    let sources =
        files.iter().filter(|(path, _)| CRATES.iter().any(|name| path.starts_with(format!("crates/{name}/src"))));
    let given: BTreeSet<&str> = sources.flat_map(|(_, text)| codes_of(text)).collect();
    let specification = fs::read_to_string(root().join("docs/specification.md")).unwrap();
    let (_, section) = specification.split_once("\n## 9. ").unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    let listed: BTreeSet<&str> = cells.flat_map(|(cell, _)| cell.trim_end_matches('`').split("` `")).collect();
    assert!(listed.len() > 60, "only {} codes were found", listed.len());
    let only = |these: &BTreeSet<&str>, those: &BTreeSet<&str>| {
        these.difference(those).map(|code| (*code).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((only(&given, &listed), only(&listed, &given)), (Vec::new(), Vec::new()), "given alone, listed alone");
}
