//! The help texts: they fit a terminal, show real examples, and hold no colours where none are wanted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use support::{program, run};

const COMMANDS: [&[&str]; 23] = [
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
    &["probe"],
    &["doctor"],
    &["profile"],
    &["profile", "save"],
    &["profile", "use"],
    &["profile", "list"],
    &["profile", "show"],
    &["profile", "remove"],
    &["completions"],
    &["man"],
];

#[test]
fn help_of_every_command_fits_80_columns_and_has_examples() {
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
fn commands_with_output_print_it_as_json_too() {
    for command in COMMANDS {
        // These two write a shell's and a reader's own format, and the first two are no commands by themselves.
        if [&[][..], &["files"], &["completions"], &["man"]].contains(&command) {
            continue;
        }
        // These print one sentence, and that only for people.
        if command.starts_with(&["profile"]) && !["list", "show"].iter().any(|shown| command.contains(shown)) {
            continue;
        }
        let help = run(program().args(command).arg("-h")).stdout;
        assert!(help.contains("--json"), "{command:?}: {help}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn terminal_gets_colours_unless_no_color_is_set() {
    let coloured = |no_color: Option<&str>| {
        // util-linux's script gives the program a real terminal.
        let mut terminal = std::process::Command::new("script");
        let command = format!("{} doctor", env!("CARGO_BIN_EXE_natsbridge"));
        terminal.args(["-qec", &command, "/dev/null"]).stdin(std::process::Stdio::null());
        terminal.env("NATS_URL", "nats://127.0.0.1:9").env("FILESERVER_URL", "http://127.0.0.1:9");
        terminal
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env_remove("S3_URL")
            .envs(no_color.map(|on| ("NO_COLOR", on)));
        let shown = run(&mut terminal).stdout;
        assert!(shown.contains("fail") && shown.contains("error:"), "{shown}");
        shown.contains('\u{1b}')
    };
    assert_eq!([None, Some(""), Some("1")].map(coloured), [true, true, false]);
}

#[test]
fn program_alone_is_one_screen_and_payloads_come_first() {
    let alone = run(&mut program());
    assert_eq!((alone.code, alone.stdout.as_str()), (Some(2), ""));
    assert!(alone.stderr.lines().count() <= 24, "{}", alone.stderr);
    for command in ["send", "request"] {
        let help = run(program().args([command, "--help"])).stdout;
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text}: {help}"));
        assert!(at("--text") < at("--json") && at("--file") < at("--nats") && at("--nats") < at("--verbose"));
        assert!(help.contains("\nPayloads:\n") && !help.contains("\nOptions:\n"), "{help}");
    }
}

#[test]
fn options_are_only_where_they_do_something() {
    for (command, absent) in [
        (&["watch"][..], &["--fileserver", "--s3", "--store"][..]),
        (&["record"], &["--fileserver", "--s3", "--store"]),
        (&["replay"], &["--fileserver", "--s3", "--store"]),
        (&["serve"], &["--nats", "--profile", "--s3"]),
        (&["files", "sweep"], &["--nats", "--fileserver", "--verbose"]),
        (&["completions"], &["--nats", "--fileserver", "--verbose"]),
        (&["man"], &["--nats", "--fileserver", "--verbose"]),
    ] {
        let help = run(program().args(command).arg("--help")).stdout;
        for option in absent {
            assert!(
                !help.contains(&format!("{option} ")) && !help.contains(&format!("{option}\n")),
                "{command:?}: {option}"
            );
        }
    }
}

#[test]
fn short_names_are_the_same_commands() {
    for (short, long) in [("pub", "send"), ("sub", "receive"), ("req", "request"), ("publish", "send")] {
        let [short, long] = [short, long].map(|name| run(program().args([name, "--help"])));
        assert_eq!((short.code, short.stdout), (Some(0), long.stdout));
    }
}

#[test]
fn exit_codes_are_all_documented() {
    let help = run(program().arg("--help")).stdout;
    let codes = help.split("Exit codes:\n").nth(1).unwrap();
    let lines: Vec<_> = codes.lines().take(10).collect();
    for (code, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("  {code}  ")), "{line}");
    }
    assert!(lines.len() == 10 && codes.contains("130 and 143"), "{codes}");
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

/// Commands and their options in a document's code, wherever a line of a shell or of text holds them
fn shown_in(document: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let document = document.replace("\\\n", " ");
    let mut fenced = false;
    let code = document.lines().flat_map(|line| {
        fenced ^= line.starts_with("```");
        if fenced { vec![line] } else { line.split('`').skip(1).step_by(2).collect() }
    });
    let mut shown = Vec::new();
    for words in code.flat_map(|code| code.split("natsbridge ").skip(1)) {
        let words = words.split(['|', '>', ';', '`', ')', '#']).next().unwrap_or_default();
        let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
        let begins =
            |command: &&&[&str]| !command.is_empty() && words.iter().zip(**command).all(|(word, known)| word == known);
        // `files sweep` comes after `files`.
        let command = COMMANDS.iter().rev().find(|command| words.len() >= command.len() && begins(command));
        if let Some(command) = command {
            let options = words.iter().filter(|word| word.starts_with("--"));
            let options = options.filter_map(|word| word.split(['=', ',', '.', ':']).next().map(str::to_owned));
            shown.push((command.iter().map(|word| (*word).to_owned()).collect(), options.collect()));
        }
    }
    shown
}

#[test]
fn documents_show_commands_and_options_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let documents = [
        "README.md",
        "crates/natsbridge-cli/README.md",
        "docs/runbook.md",
        "docs/walkthrough.md",
        "docs/operations/README.md",
        "docs/moving-from.md",
        "docs/questions.md",
    ];
    let mut seen = 0;
    for name in documents.iter().chain(&["clients/javascript/web/README.md"]) {
        for (command, options) in shown_in(&std::fs::read_to_string(root.join(name)).unwrap()) {
            let help = run(program().args(&command).arg("--help")).stdout;
            for option in options.iter().filter(|option| option.len() > 2) {
                seen += 1;
                let there = [" ", "\n", "["].iter().any(|end| help.contains(&format!("{option}{end}")));
                assert!(there, "{name}: {command:?} has no {option}");
            }
        }
    }
    assert!(seen > 20, "only {seen} options were found");
}

#[cfg(target_os = "linux")]
#[test]
fn error_of_usage_fits_a_terminal() {
    for words in [
        "receive s --for 10",
        "send s --text hello",
        "send s --text a=b --timeout 5s",
        "send s hello",
        "--nats nats://localhost:4222 send s --text a=b",
    ] {
        let mut terminal = std::process::Command::new("script");
        let command = format!("{} {words}", env!("CARGO_BIN_EXE_natsbridge"));
        terminal.args(["-qec", &command, "/dev/null"]).stdin(std::process::Stdio::null());
        let ended = run(terminal.env("TERM", "xterm").env("NO_COLOR", "1"));
        assert!(ended.code == Some(2) && ended.stdout.starts_with("error: "), "{}", ended.stdout);
        for line in ended.stdout.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
