//! The help texts: they fit a terminal, show real examples, and hold no colours where none are wanted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use support::{program, run};

const COMMANDS: [&[&str]; 16] = [
    &[],
    &["send"],
    &["receive"],
    &["request"],
    &["reply"],
    &["serve"],
    &["files"],
    &["files", "sweep"],
    &["watch"],
    &["inspect"],
    &["record"],
    &["replay"],
    &["bench"],
    &["doctor"],
    &["completions"],
    &["man"],
];

#[test]
fn every_help_fits_eighty_columns_and_has_examples() {
    for command in COMMANDS {
        for option in ["-h", "--help"] {
            let help = run(program().args(command).arg(option));
            assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{command:?}");
            for line in help.stdout.lines() {
                assert!(line.chars().count() <= 80, "{command:?} {option}: {line}");
                assert!(!line.contains('\u{1b}'), "{command:?} {option}: {line}");
            }
            assert!(help.stdout.contains("Examples:") || command == ["files"], "{command:?}");
        }
    }
}

#[test]
fn every_exit_code_is_documented() {
    let help = run(program().arg("--help")).stdout;
    let codes = help.split("Exit codes:\n").nth(1).unwrap();
    for (code, line) in codes.lines().enumerate() {
        assert!(line.starts_with(&format!("  {code}  ")), "{line}");
    }
    assert_eq!(codes.lines().count(), 9);
}

#[test]
fn examples_are_commands_that_the_program_takes() {
    for command in COMMANDS {
        let help = run(program().args(command).arg("--help")).stdout.replace("\\\n", "");
        let Some((_, examples)) = help.split_once("Examples:\n") else { continue };
        for example in examples.lines().take_while(|line| !line.is_empty()) {
            let Some((_, words)) = example.split_once("natsbridge ") else { continue };
            let words = words.split(['|', '>']).next().unwrap().split("    (").next().unwrap();
            // `--help` behind valid words prints help; behind wrong ones, an error.
            let words: Vec<_> = words.split_whitespace().map(|word| word.replace(['\'', '"'], "")).collect();
            if words.iter().any(|word| word.contains("hello,") || word.ends_with("=run") || word.contains("run={")) {
                continue; // Words with spaces in quotes are a shell's to take apart.
            }
            let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
            let ended = run(program().args(&words[..end]).arg("--help"));
            assert_eq!(ended.code, Some(0), "{example}: {}", ended.stderr);
        }
    }
}
