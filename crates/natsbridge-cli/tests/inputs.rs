//! Inputs as people have them: CSV of every making, other encodings, pipes, and mistakes that are named before anything is sent.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use support::{Ended, World, run};

fn utf16(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Sends with something on standard input
fn piped(command: &mut Command, input: &[u8]) -> Ended {
    let mut running = support::Running::start(command.stdin(Stdio::piped()));
    running.stdin().write_all(input).unwrap();
    running.ended()
}

#[test]
fn csv_cells_arrive_as_they_were_written() {
    let world = World::start();
    let cells = [
        ("zip", "02134"),
        ("phone", "+4930123456"),
        ("at", "2026-03-29T01:30:00+0100"),
        ("far", "1e400"),
        ("big", "123456789012345678901234567890"),
        ("id", "1_000"),
        ("hex", "0x1F"),
        ("none", "NaN"),
        ("day", "29.03.2026"),
        ("version", "1.10"),
        ("minus", "-0"),
    ];
    let row = |at: usize| cells.map(|cell| if at == 0 { cell.0 } else { cell.1 }).join(";");
    // One more version, so that not all have as many digits.
    let text = format!("{}\n{}\n{}1.9;\n", row(0), row(1), ";".repeat(9));
    let receiver = world.receiver(&["s", "--count", "3"]);
    world.file("t.csv", &text);
    world.file("wide.csv", utf16(&text));
    for words in
        [&["--table", "t=@t.csv"][..], &["--table", "t=@wide.csv"], &["--table", "t=@t.csv", "--delimiter", ";"]]
    {
        let sent = run(&mut world.program(["send", "s"].iter().chain(words)));
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        let payload = receiver.json()["payloads"][0].clone();
        assert_eq!(payload["payload_type"], "arrowtable");
        for (column, cell) in cells {
            assert_eq!(payload["value"][0][column], cell, "{payload}");
        }
    }
    assert_eq!(receiver.ended().code, Some(0));
}

#[test]
fn byte_order_mark_is_skipped_before_every_kind_of_json() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--count", "7"]);
    for (option, name, text, value) in [
        ("--dict", "d.json", "{\"a\":1}", json!({"a": 1})),
        ("--table", "t.json", "[{\"a\":1}]", json!([{"a": 1}])),
        ("--table", "t.ndjson", "{\"a\":1}\n{\"a\":2}\n", json!([{"a": 1}, {"a": 2}])),
    ] {
        let marked = format!("\u{feff}{text}");
        world.file(name, &marked);
        let from_file = run(&mut world.program(["send", "s", option, &format!("p=@{name}")]));
        let from_stdin = piped(&mut world.program(["send", "s", option, "p=@-"]), marked.as_bytes());
        for sent in [from_file, from_stdin] {
            assert_eq!(sent.code, Some(0), "{name}: {}", sent.stderr);
            assert_eq!(receiver.json()["payloads"][0]["value"], value, "{name}");
        }
    }
    let sent = piped(&mut world.program(["send", "s", "--lines"]), "\u{feff}one\n".as_bytes());
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    assert_eq!(receiver.json()["payloads"][0]["value"], "one");
    assert_eq!(receiver.ended().code, Some(0));

    let line = "{\"at_us\":0,\"subject\":\"s\",\"payload\":\"{}\"}\n";
    let record = &format!("\u{feff}{{\"natsbridge_record\":1}}\n{line}\u{feff}{line}");
    world.file("r.ndjson", record);
    let from_file = run(&mut world.program(["replay", "r.ndjson"]));
    let from_stdin = piped(&mut world.program(["replay", "-"]), record.as_bytes());
    for sent in [from_file, from_stdin] {
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        assert!(sent.stdout.starts_with("sent 2 messages"), "{}", sent.stdout);
    }
}

#[test]
fn other_encodings_are_named() {
    let world = World::start();
    world.file("latin.csv", b"name\nGr\xfc\xdfe\n");
    world.file("bare.csv", &utf16("a,b\n1,2\n")[2..]);
    world.file("wide.txt", utf16("hello"));
    world.file("bare.txt", &utf16("hello")[2..]);
    world.file("bare.ndjson", &utf16("{\"natsbridge_record\":1}\n")[2..]);
    world.file("latin.json", b"{\"a\":\"\xfc\"}");
    world.file("wide.ndjson", utf16("{\"natsbridge_record\":1}\n"));
    for (words, name) in [
        (&["send", "s", "--table", "t=@latin.csv"][..], "Latin-1"),
        (&["send", "s", "--table", "t=@bare.csv"], "UTF-16LE"),
        (&["send", "s", "--text", "t=@wide.txt"], "UTF-16LE"),
        (&["send", "s", "--dict", "t=@latin.json"], "Latin-1"),
        (&["send", "s", "--text", "t=@bare.txt"], "UTF-16LE"),
        (&["replay", "wide.ndjson"], "UTF-16LE"),
        (&["replay", "bare.ndjson"], "UTF-16LE"),
    ] {
        let ended = run(&mut world.program(words));
        assert_eq!(ended.code, Some(5), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(name) && ended.stderr.contains("iconv"), "{words:?}: {}", ended.stderr);
    }
    for start in [0, 2] {
        let ended = piped(&mut world.program(["send", "s", "--lines"]), &utf16("one\ntwo\n")[start..]);
        assert_eq!(ended.code, Some(5), "{}", ended.stderr);
        assert!(ended.stderr.contains("UTF-16LE") && ended.stderr.contains("sent 0"), "{}", ended.stderr);
    }
    for file in ["wide.ndjson", "bare.ndjson"] {
        let ended = run(&mut world.program(["inspect", file]));
        assert_eq!(ended.code, Some(6), "{}", ended.stderr);
        assert!(ended.stdout.contains("UTF-16LE") && ended.stdout.contains("iconv"), "{}", ended.stdout);
    }
}

#[test]
fn numbers_that_would_arrive_changed_are_refused() {
    let world = World::start();
    for number in ["123456789012345678901234567890", "1e400", "0.1000000000000000055511151231257827"] {
        world.file("t.ndjson", format!("{{\"n\":{number}}}\n"));
        for words in [["--dict", &*format!("d={{\"n\":{number}}}")], ["--table", "t=@t.ndjson"]] {
            let ended = run(&mut world.program(["send", "s"].iter().chain(&words)));
            assert_eq!(ended.code, Some(5), "{words:?}: {}", ended.stderr);
            assert!(ended.stderr.contains("write it as text"), "{words:?}: {}", ended.stderr);
        }
    }
    let twice = run(&mut world.program(["send", "s", "--dict", "d={\"a\":1,\"a\":2}"]));
    assert!(twice.code == Some(5) && twice.stderr.contains("`a` occurs twice"), "{}", twice.stderr);
    let receiver = world.receiver(&["s", "--count", "1"]);
    let line = "{\"n\": 123456789012345678901234567890}";
    assert_eq!(piped(&mut world.program(["send", "s", "--lines"]), line.as_bytes()).code, Some(0));
    assert_eq!(receiver.json()["payloads"][0]["value"], line);
}

#[test]
fn pipes_are_read_once_however_they_are_given() {
    let world = World::start();
    let large = vec![b'x'; 700_000];
    world.file("large", &large);
    world.file("t.csv", "a,b\n1,x\n");
    let receiver = world.receiver(&["s", "--count", "7", "--save", "saved"]);
    let pipe = world.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (option, content) in [("--file", &large[..]), ("--image", b"png"), ("--video", &large), ("--text", b"hello")] {
        let writer = std::thread::spawn({
            let (pipe, content) = (pipe.clone(), content.to_vec());
            move || fs::write(pipe, content).unwrap()
        });
        let sent = run(&mut world.program(["send", "s", option, "p=@pipe"]));
        assert_eq!(sent.code, Some(0), "{option}: {}", sent.stderr);
        writer.join().unwrap();
        let payload = receiver.json()["payloads"][0].clone();
        assert_eq!(payload["size"], content.len(), "{option}: {payload}");
        assert_eq!(fs::read(world.path(payload["path"].as_str().unwrap())).unwrap(), content, "{option}");
    }
    let program = env!("CARGO_BIN_EXE_natsbridge");
    for (script, size) in [("--file p=@<(cat large)", Json::from(700_000)), ("--table p=@<(cat t.csv)", Json::Null)] {
        let shell = world.program([""; 0]);
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("exec {program} send s {script}")]).current_dir(world.folder.path());
        bash.envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let sent = run(bash.stdin(Stdio::null()));
        assert_eq!(sent.code, Some(0), "{script}: {}", sent.stderr);
        let payload = receiver.json()["payloads"][0].clone();
        if size.is_null() {
            assert_eq!(payload["value"], json!([{"a": 1, "b": "x"}]));
        } else {
            assert_eq!(payload["size"], size, "{payload}");
        }
    }
    let sent = piped(&mut world.program(["send", "s", "--file", "p=@/dev/stdin"]), &large);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    assert_eq!(receiver.json()["payloads"][0]["size"], 700_000);
    assert_eq!(receiver.ended().code, Some(0));
    // One after the other would wait for a second writer for ever.
    let twice = run(&mut world.program(["send", "s", "--file", "a=@pipe", "--text", "b=@pipe"]));
    assert!(twice.code == Some(2) && twice.stderr.contains("one payload only"), "{}", twice.stderr);
}

#[test]
fn mistakes_are_reported_with_a_remedy_before_connecting() {
    let world = World::start();
    world.file("t.parquet", b"PAR1");
    world.file("renamed.csv", b"PAR1\x15\x04");
    world.file("one.json", "{\"a\":1}");
    world.file("notes.txt", "a,b\n1,2\n");
    world.file("uneven.csv", "a,b\n1,2\n3\n");
    assert!(Command::new("mkfifo").arg(world.path("pipe")).status().unwrap().success());
    for (words, code, text) in [
        (&["--table", "t=@t.parquet"][..], 5, "Parquet"),
        (&["--table", "t=@renamed.csv"], 5, "Parquet"),
        (&["--table", "t=@one.json"], 5, "send it with --dict"),
        (&["--table", "t=@notes.txt"], 5, "rename it"),
        (&["--table", "t=@uneven.csv"], 5, "line 3"),
        (&["--file", "t=@."], 5, "directory"),
        (&["--file", "t=@absent"], 5, "absent"),
        (&["--file", "t=@"], 5, "no file is named"),
        // The pipe has no writer, and is not waited for.
        (&["--file", "p=@pipe", "--text", "t=@absent"], 5, "absent"),
        (&["--file", "t=notes.txt"], 2, "t=@FILE"),
        (&["--dict", "t={} {}"], 5, "--table"),
        (&[], 2, "--empty"),
        (&["--empty", "--text", "a=b"], 2, "--empty"),
        (&["--lines", "--empty"], 2, "--empty"),
    ] {
        // Nothing listens there.
        let mut send = world.program(["send", "s"].iter().chain(words));
        let ended = run(send.env("NATS_URL", "nats://127.0.0.1:9"));
        assert_eq!(ended.code, Some(code), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(text), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn message_without_payload_is_sent_when_asked_for() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--count", "2"]);
    for words in [["--empty", "--json"], ["--purpose", "shutdown"]] {
        let sent = run(&mut world.program(["send", "s"].iter().chain(&words)));
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        assert_eq!(receiver.json()["payloads"], json!([]));
    }
}

#[test]
fn payloads_of_one_name_are_warned_of() {
    let world = World::start();
    let words =
        ["send", "s", "--text", "a\u{1b}[2J=1", "--text", "b=2", "--text", "a\u{1b}[2J=3", "--text", "a\u{1b}[2J=4"];
    let sent = run(&mut world.program(words));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    assert_eq!(sent.stderr.matches("more than one payload is called").count(), 1, "{}", sent.stderr);
    assert!(!sent.stderr.contains('\u{1b}'), "{:?}", sent.stderr);
}

#[test]
fn replayed_one_shot_links_are_warned_of() {
    let world = World::start();
    let envelope = "{\\\"payloads\\\":[{\\\"dataname\\\":\\\"a\\\",\\\"payload_type\\\":\\\"binary\\\",\\\"transport\\\":\\\"link\\\",\
        \\\"data\\\":\\\"http://127.0.0.1:9/x\\\",\\\"metadata\\\":{\\\"one_shot\\\":true}}]}";
    world.file(
        "r.ndjson",
        format!("{{\"natsbridge_record\":1}}\n{{\"at_us\":0,\"subject\":\"s\",\"payload\":\"{envelope}\"}}\n\n"),
    );
    let ended = run(&mut world.program(["replay", "r.ndjson"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("warning: 1 of these messages"), "{}", ended.stderr);
}
