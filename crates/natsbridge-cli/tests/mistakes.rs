//! Mistakes that people make at the command line, each with what they are told: once, with what to do, before connecting.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use support::{program, run};

/// Commands and what they print
const MISTAKES: &str = include_str!("mistakes.txt");

/// Inputs that the mistakes are made with
fn inputs(folder: &Path) {
    let write = |name: &str, content: &[u8]| fs::write(folder.join(name), content).unwrap();
    write("photo.png", b"\x89PNG\r\n\x1a\n");
    write("run.csv", b"n,note\n1,a\n");
    write("uneven.csv", b"n,note\n1\n");
    write("table.txt", b"n,note\n1,a\n");
    write("object.json", b"{\"n\":1}\n");
    write("table.json", b"n,note\n1,a\n");
    write("table.ndjson", b"\"n\",\"note\"\n1,\"a\"\n");
    write("twins.csv", b"n,x,n,\n1,2,3,4\n");
    write("latin.csv", b"name\nGr\xfc\xdfe\n");
    write("latin.txt", b"Gr\xfc\xdfe\n");
    write("run.xlsx", b"PK\x03\x04");
    write("run.parquet", b"n,note\n");
    write(
        "twice.ndjson",
        b"{\"natsbridge_record\":1}\n{\"at_us\":0,\"subject\":\"a\",\"subject\":\"b\",\"payload\":\"{}\"}\n",
    );
    fs::create_dir(folder.join("folder")).unwrap();
}

struct Mistake {
    command: &'static str,
    expected: &'static str,
}

fn mistakes() -> Vec<Mistake> {
    let blocks = MISTAKES.split("\n$ ").map(|block| block.trim_start_matches("$ "));
    let blocks = blocks.skip(1).map(|block| block.split_once('\n').unwrap_or((block, "")));
    blocks.map(|(command, expected)| Mistake { command, expected: expected.trim_end() }).collect()
}

/// What a command prints and how it ends, with no server anywhere
fn told(folder: &Path, command: &str) -> String {
    let mut shell = program();
    let binary = Path::new(env!("CARGO_BIN_EXE_natsbridge")).parent().unwrap().to_owned();
    let path =
        std::env::join_paths(std::iter::once(binary).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let mut words = std::process::Command::new("sh");
    words.args(["-c", &format!("{command} 2>&1")]);
    for (name, value) in shell.env("PATH", path.unwrap()).get_envs() {
        match value {
            Some(value) => words.env(name, value),
            None => words.env_remove(name),
        };
    }
    // Nothing listens there: what is found later than connecting is told otherwise.
    words.env("NATS_URL", "nats://127.0.0.1:9").env("FILESERVER_URL", "http://127.0.0.1:9");
    words.env("XDG_CONFIG_HOME", folder.join("config")).env_remove("NATS_TOKEN");
    let ended = run(words.current_dir(folder).stdin(Stdio::null()));
    let printed = ended.stdout.replace(&*folder.to_string_lossy(), "…");
    format!("{printed}[exit {}]", ended.code.unwrap())
}

#[test]
fn every_mistake_is_told_once_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    // As the system names it, through no link.
    let folder = folder.path().canonicalize().unwrap();
    inputs(&folder);
    let mistakes = mistakes();
    assert!(mistakes.len() >= 40, "{}", mistakes.len());
    let mut all = MISTAKES.split("\n$ ").next().unwrap().to_owned();
    let mut wrong = Vec::new();
    for Mistake { command, expected } in &mistakes {
        let told = told(&folder, command);
        all.push_str(&format!("\n$ {command}\n{told}\n"));
        if told != *expected {
            wrong.push(format!("$ {command}\n{told}\nexpected:\n{expected}\n"));
        }
    }
    // `BLESS=1 cargo test` writes the file anew, to be read before it is kept.
    if std::env::var_os("BLESS").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes.txt"), all).unwrap();
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_mistake_is_told_twice_or_in_the_programs_own_terms() {
    for Mistake { command, expected } in mistakes() {
        assert_eq!(expected.matches("error: ").count(), 1, "{command}: {expected}");
        for debug in ["Error {", "Error(", "Os {", "kind: ", "Some(", "Err(", "os error", "\\n", "::"] {
            assert!(!expected.contains(debug), "{command}: {debug}: {expected}");
        }
        let codes = ["[exit 1]", "[exit 2]", "[exit 5]"];
        assert!(codes.iter().any(|code| expected.ends_with(code)), "{command}: {expected}");
        assert!(!expected.contains("hunter2"), "{command}: {expected}");
        // A word in a row is a name; four of them that come again say the same again.
        let words: Vec<_> = expected.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let runs: Vec<_> = words.windows(5).collect();
        for (at, run) in runs.iter().enumerate() {
            let again = runs.get(at + 1..).unwrap_or_default().contains(run);
            assert!(!again, "{command}: said twice: {run:?}\n{expected}");
        }
        for line in expected.lines().filter(|line| line.starts_with("  caused by: ")) {
            assert!(line.len() > 14, "{command}: {expected}");
        }
    }
}
