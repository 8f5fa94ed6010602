//! The way of one payload, as docs/architecture.md lists it: short, and of functions that exist.

use std::collections::BTreeSet;
use std::fs;

use crate::sources::{none, root};

/// The headings of the two lists
const LISTS: [&str; 2] = ["## One send", "## One receive"];

/// Functions and files that a reader needs at most for one list
const MOST: (usize, usize) = (12, 8);

/// The calls of a section: each line is ``1. `crates/natsbridge/src/builder.rs` · `MessageBuilder::send` — what it does``
///
/// The second name is `function`, or `Type::function` for one in a type's `impl` block.
fn calls<'a>(document: &'a str, heading: &str) -> Vec<(&'a str, &'a str)> {
    let section = document.split_once(&format!("\n{heading}\n")).map_or("", |(_, rest)| rest);
    let section = section.split("\n## ").next().unwrap_or_default();
    let numbered = section.lines().filter_map(|line| line.split_once(". ").filter(|(n, _)| n.parse::<u8>().is_ok()));
    let named = numbered.map(|(_, call)| {
        let call = call.strip_prefix('`').and_then(|call| call.split_once("` · `"));
        let (file, rest) = call.unwrap_or_else(|| panic!("{heading}: a line is \"1. `file` · `function` — …\""));
        (file, rest.split('`').next().unwrap_or_default())
    });
    named.collect()
}

/// Whether a source defines this function
fn defines(source: &str, function: &str) -> bool {
    let (of, name) = function.rsplit_once("::").map_or((None, function), |(of, name)| (Some(of), name));
    let mut block = None;
    source.lines().any(|line| {
        if line.starts_with("impl") || line.starts_with("pub trait") || line.starts_with("trait") {
            block = Some(line);
        } else if line == "}" {
            block = None;
        }
        let words = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect();
        let (line, block): (Vec<String>, Option<Vec<String>>) = (words(line), block.map(words));
        let named = line.windows(2).any(|pair| pair == ["fn", name]);
        named && of.is_none_or(|of| block.is_some_and(|block| block.iter().any(|word| word == of)))
    })
}

/// What a list gets wrong
fn faults(calls: &[(&str, &str)], source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let functions: BTreeSet<_> = calls.iter().collect();
    let files: BTreeSet<_> = calls.iter().map(|(file, _)| file).collect();
    if calls.is_empty() {
        faults.push("it is not there".to_owned());
    }
    if functions.len() != calls.len() {
        faults.push("a function is listed twice".to_owned());
    }
    if functions.len() > MOST.0 || files.len() > MOST.1 {
        faults.push(format!("{} functions in {} files; {} in {}", functions.len(), files.len(), MOST.0, MOST.1));
    }
    for (file, function) in calls {
        match source(file) {
            None => faults.push(format!("there is no {file}")),
            Some(source) if !defines(&source, function) => faults.push(format!("{file} has no `{function}`")),
            Some(_) => {}
        }
    }
    faults
}

#[test]
fn listed_calls_are_few_and_exist() {
    let document = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let read = |file: &str| fs::read_to_string(root().join(file)).ok();
    let of = |heading: &str| {
        let faults = faults(&calls(&document, heading), read);
        faults.into_iter().map(|fault| format!("docs/architecture.md, {heading}: {fault}")).collect::<Vec<_>>()
    };
    none(&LISTS.map(of).concat(), "the way of one payload is a list of calls");
}

#[test]
fn unsound_lists_of_calls_are_found() {
    let document = "# Title\n\n## One send\n\n1. `a.rs` · `A::b` — does\n2. `a.rs` · `c`\n\n## One receive\n";
    let listed = calls(document, LISTS[0]);
    assert_eq!(listed, [("a.rs", "A::b"), ("a.rs", "c")]);
    assert!(calls(document, LISTS[1]).is_empty());
    let source = |text: &'static str| move |file: &str| (file == "a.rs").then(|| text.to_owned());
    let sound = source("impl<T> A<T> {\n    pub async fn b(&self) {}\n}\nfn c<T>() {}\n");
    assert_eq!(faults(&listed, sound), [""; 0]);
    assert_eq!(faults(&listed, source("impl B {\n    fn b() {}\n}\nfn c() {}\n")), ["a.rs has no `A::b`"]);
    assert_eq!(faults(&listed, source("impl A {\n    fn b() {}\n}\nfn cd() {}\n")), ["a.rs has no `c`"]);
    assert_eq!(faults(&[("b.rs", "b")], sound), ["there is no b.rs"]);
    assert_eq!(faults(&[("a.rs", "c"), ("a.rs", "c")], sound), ["a function is listed twice"]);
    assert_eq!(faults(&[], sound), ["it is not there"]);
    assert_eq!(faults(&[("a.rs", "c"); 14], sound).len(), 1);
}
