//! Traffic that is watched, recorded, sent again and measured, on real servers and in a real terminal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;
use support::{Ended, Running, World, publish, run};

fn stop(running: Running) -> Ended {
    assert!(Command::new("kill").args(["-TERM", &running.id().to_string()]).status().unwrap().success());
    running.ended()
}

/// A recorder that listens already
fn recorder(world: &World, words: &[&str]) -> Running {
    let recorder = Running::start(&mut world.program(["record"].iter().chain(words)));
    recorder.said("recording ");
    recorder
}

#[test]
fn recording_is_replayed_byte_for_byte() {
    let world = World::start();
    let odd: [&[u8]; 4] =
        [b"{ \"payloads\": [] }\n", b"", b"\xff\x00\n", "{\"msg_id\":\"ü\",\"payloads\":[]}".as_bytes()];
    let first = recorder(&world, &["a.>", "--to", "one.ndjson", "--count", "5", "--json"]);
    for (n, payload) in odd.iter().enumerate() {
        publish(&world.nats, &format!("a.{n}"), payload);
    }
    assert_eq!(run(&mut world.program(["send", "a.sent", "--text", "note=hello"])).code, Some(0));
    let ended = first.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("recorded 5, dropped 0"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "{\"recorded\":5,\"dropped\":0}\n");

    let second = recorder(&world, &["a.>", "--to", "two.ndjson", "--count", "5"]);
    let sent = run(&mut world.program(["replay", "one.ndjson", "--speed", "max", "--json"]));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    assert_eq!(serde_json::from_str::<Json>(&sent.stdout).unwrap()["sent"], 5);
    assert_eq!(second.ended().code, Some(0));
    let told = |name: &str| -> Vec<Json> {
        let text = std::fs::read_to_string(world.path(name)).unwrap();
        let lines = text.lines().skip(1).map(|line| serde_json::from_str::<Json>(line).unwrap());
        lines
            .map(|mut line| {
                line.as_object_mut().unwrap().remove("at_us").unwrap();
                line
            })
            .collect()
    };
    assert_eq!(told("one.ndjson"), told("two.ndjson"));
    assert_eq!(told("one.ndjson")[2]["payload_base64"], "/wAK");

    let receiver = world.receiver(&["other", "--count", "5"]);
    let sent = run(&mut world.program(["replay", "one.ndjson", "--speed", "1000", "--to-subject", "other"]));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let last = [(); 5].map(|()| receiver.json())[4].clone();
    assert_eq!((&last["payloads"][0]["value"], &last["send_to"]), (&"hello".into(), &"a.sent".into()));
}

#[test]
fn pauses_between_messages_are_kept_at_the_speed_asked_for() {
    let world = World::start();
    let lines = [
        r#"{"natsbridge_record":1,"subject":"s","started":"2026-01-01T00:00:00.000Z"}"#,
        r#"{"at_us":0,"subject":"s","payload":"{\"payloads\":[]}"}"#,
        r#"{"at_us":1200000,"subject":"s","payload":"{\"payloads\":[]}"}"#,
    ];
    world.file("r.ndjson", lines.join("\n"));
    for (speed, least, most) in [("4", 300, 1_100), ("1", 1_200, 5_000), ("max", 0, 1_000)] {
        let sent = run(&mut world.program(["replay", "r.ndjson", "--speed", speed]));
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        let range = Duration::from_millis(least)..Duration::from_millis(most);
        assert!(range.contains(&sent.took), "{speed}: {:?}", sent.took);
    }
}

#[test]
fn recording_is_not_overwritten_and_a_wrong_line_is_named() {
    let world = World::start();
    world.file("there.ndjson", "mine");
    let refused = run(&mut world.program(["record", "s", "--to", "there.ndjson"]));
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert_eq!(std::fs::read(world.path("there.ndjson")).unwrap(), b"mine");
    let wrong = run(&mut world.program(["replay", "there.ndjson"]));
    assert!(wrong.code == Some(5) && wrong.stderr.contains("there.ndjson, line 1"), "{}", wrong.stderr);
    world.file("cut.ndjson", "{\"natsbridge_record\":1}\n{\"at_us\":0,\"subject\":\"s\"}\n");
    let wrong = run(&mut world.program(["replay", "cut.ndjson"]));
    assert!(wrong.code == Some(5) && wrong.stderr.contains("line 2: it has neither"), "{}", wrong.stderr);
    assert_eq!(run(&mut world.program(["replay", "cut.ndjson", "--speed", "0"])).code, Some(2));
}

#[test]
fn benchmark_reports_rates_and_latencies_and_leaves_no_file() {
    let world = World::start();
    let words = ["bench", "--messages", "2000", "--link-size", "2MB", "--json"];
    let ended = run(&mut world.program(words));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told: Json = serde_json::from_str(&ended.stdout).unwrap();
    for name in ["messages_a_second", "p50_us", "p99_us", "upload_bytes_a_second", "download_bytes_a_second"] {
        assert!(told[name].as_f64().unwrap() > 0.0, "{told}");
    }
    assert!(told["p50_us"].as_u64() <= told["p99_us"].as_u64(), "{told}");
    assert_eq!(world.uploads(), 0);
    let people = run(world.program(&words[..5]).env("SIZE_THRESHOLD", "2000")).stdout;
    assert!(people.contains("a second") && people.contains("MB/s"), "{people}");
    assert_eq!(run(&mut world.program(["bench", "--size", "600kB"])).code, Some(2));
}

#[test]
fn watched_subject_is_reported_each_second() {
    let world = World::start();
    let watch = Running::start(&mut world.program(["watch", "lab.>", "--json"]));
    watch.said("watching ");
    world.file("large", vec![0; 600_000]);
    for words in [&["send", "lab.a", "--text", "note=hello"][..], &["send", "lab.b", "--file", "large=@large"]] {
        assert_eq!(run(&mut world.program(words)).code, Some(0));
    }
    publish(&world.nats, "lab.c", b"no envelope");
    let told = loop {
        let line = watch.json();
        if line["unreadable"] == 1 {
            break line;
        }
    };
    assert_eq!((&told["messages"], &told["direct"], &told["links"]), (&2.into(), &1.into(), &1.into()), "{told}");
    assert_eq!(told["subjects"]["lab.b"]["bytes"], 600_000);
    assert_eq!((&told["missing"], &told["repeated"]), (&0.into(), &0.into()));
    let ended = stop(watch);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let plain = run(&mut world.program(["watch", "lab.>", "--for", "100ms"]));
    assert_eq!(plain.stdout, "0 messages, 0 msg/s, 0 B/s, direct 0, link 0, delay -, missing 0\n");
}

/// Ends of the table's columns behind the subject
#[cfg(target_os = "linux")]
const ENDS: [usize; 7] = [29, 37, 47, 57, 65, 72, 80];

#[cfg(target_os = "linux")]
#[test]
fn watch_table_is_redrawn_in_place_on_80_columns() {
    let world = World::start();
    let program = env!("CARGO_BIN_EXE_natsbridge");
    // util-linux's script gives the program a real terminal, and vt100 shows what stands on its screen.
    let mut terminal = Command::new("script");
    terminal.args(["-qefc", &format!("stty cols 80 rows 24; exec {program} watch '>' --for 4s"), "/dev/null"]);
    terminal.env("NATS_URL", world.nats.url()).env("TERM", "xterm").env_remove("NO_COLOR").env_remove("S3_URL");
    let watch = Running::start(terminal.stdin(std::process::Stdio::null()));
    // The terminal shows standard error as well.
    let first = watch.line();
    assert!(first.contains("watching >"), "{first}");
    let names = ["x".repeat(80), "世界".repeat(20), "a".to_owned()];
    for n in 0..30 {
        publish(&world.nats, &format!("lab.{n}.{}", names[n % 3]), br#"{"msg_id":"m","payloads":[]}"#);
    }
    publish(&world.nats, "lab.broken", b"no envelope");
    let ended = watch.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);

    let mut parser = vt100::Parser::new(24, 80, 0);
    for line in std::iter::once(first.as_str()).chain(ended.stdout.lines()) {
        parser.process(format!("{line}\r\n").as_bytes());
        let screen = parser.screen();
        assert!((0..24).all(|row| !screen.row_wrapped(row)), "a line is too long: {}", screen.contents());
    }
    let screen = parser.screen();
    let rows: Vec<Vec<char>> = (0..24)
        .map(|row| {
            let cells = (0..80).map(|column| screen.cell(row, column).unwrap());
            // The second half of a wide character is a cell without content.
            cells.map(|cell| cell.contents().chars().next().unwrap_or(' ')).collect()
        })
        .collect();
    let begins = |row: &[char], text: &str| row.iter().take(text.len()).eq(text.chars().collect::<Vec<_>>().iter());
    let count = |text| rows.iter().filter(|row| begins(row, text)).count();
    let shown = screen.contents();
    assert_eq!(
        (count("watching >"), count("subject "), count("all "), count("missing 0, repeated 0, unreadable 1 ")),
        (1, 1, 1, 1),
        "{shown}"
    );
    assert_eq!((count("lab."), count("and 15 more subjects")), (15, 1), "{shown}");
    for row in rows.iter().filter(|row| ["subject ", "lab.", "all "].iter().any(|text| begins(row, text))) {
        for end in ENDS {
            let stands = row[end - 1] != ' ' && row.get(end).is_none_or(|next| *next == ' ');
            assert!(stands, "column {end}: {}", row.iter().collect::<String>());
        }
    }
    let all: String = rows.iter().find(|row| begins(row, "all ")).unwrap().iter().collect();
    assert_eq!(all.split_whitespace().nth(1), Some("30"), "{shown}");
}
