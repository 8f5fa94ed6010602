//! Acknowledged messages from process to process: lost servers, killed receivers, and what is said at the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Instant;

use support::{Running, World, run};

/// A sender of lines, and its standard input
fn lines(command: &mut Command) -> (Running, ChildStdin) {
    let mut sender = Running::start(command.stdin(Stdio::piped()));
    let stdin = sender.stdin();
    (sender, stdin)
}

fn line(receiver: &Running) -> String {
    receiver.json()["payloads"][0]["value"].as_str().unwrap().to_owned()
}

#[test]
fn acknowledged_lines_survive_a_restart_printed_once_each() {
    let mut world = World::start();
    let receiver = world.receiver(&["s", "--ack", "--count", "6000"]);
    let (sender, mut stdin) = lines(&mut world.program(["send", "s", "--lines", "--ack", "1"]));
    let mut seen = Vec::new();
    for n in 0..3_000 {
        writeln!(stdin, "{n}").unwrap();
    }
    seen.extend((0..1_000).map(|_| line(&receiver)));
    world.nats.restart().unwrap();
    for n in 3_000..6_000 {
        writeln!(stdin, "{n}").unwrap();
    }
    drop(stdin);
    seen.extend((1_000..6_000).map(|_| line(&receiver)));
    let all: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(all, (0..6_000).map(|n| n.to_string()).collect());
    let ended = receiver.ended();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("received 6000, unreadable 0, acknowledged 6000"), "{}", ended.stderr);
    let ended = sender.ended();
    // The last acknowledgements can be lost with a receiver that has ended; all others were made good.
    assert!(ended.stderr.contains("read 6000 lines, sent 6000, acknowledged "), "{}", ended.stderr);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn killed_receiver_loses_no_acknowledged_line() {
    let world = World::start();
    let (sender, mut stdin) = lines(&mut world.program(["send", "s", "--lines=row", "--ack", "1", "--json"]));
    let mut seen = BTreeSet::new();
    let mut receiver = world.receiver(&["s", "--ack"]);
    let writer = std::thread::spawn(move || {
        for n in 0..2_000 {
            writeln!(stdin, "{n}").unwrap();
        }
    });
    for kill_after in [100, 400] {
        for _ in 0..kill_after {
            seen.insert(line(&receiver));
        }
        receiver.kill();
        // What it printed before it died was printed, whether or not anyone was told.
        while let Some(rest) = receiver.line_left() {
            let json: Option<serde_json::Value> = serde_json::from_str(&rest).ok();
            seen.extend(json.and_then(|json| Some(json["payloads"][0]["value"].as_str()?.to_owned())));
        }
        receiver = world.receiver(&["s", "--ack"]);
    }
    while seen.len() < 2_000 {
        seen.insert(line(&receiver));
    }
    writer.join().unwrap();
    let ended = sender.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&said["sent"], &said["acknowledged"], &said["lost"]), (&2_000.into(), &2_000.into(), &0.into()));
}

#[test]
fn lines_keep_their_order_at_thousands_a_second() {
    let world = World::start();
    for words in [&["send", "s", "--lines"][..], &["send", "s", "--lines", "--ack", "1"]] {
        let receiver = world.receiver(&["s", "--count", "10000", "--ack"]);
        let start = Instant::now();
        let (sender, mut stdin) = lines(&mut world.program(words));
        stdin.write_all((0..10_000).map(|n| format!("{n}\r\n")).collect::<String>().as_bytes()).unwrap();
        drop(stdin);
        for n in 0..10_000 {
            assert_eq!(line(&receiver), n.to_string());
        }
        let took = start.elapsed();
        // Unoptimised, and with other tests beside it; a release build acknowledges some 16,000 a second.
        assert!(took.as_secs() < 20, "10,000 lines took {took:?}");
        let (receiver, sender) = (receiver.ended(), sender.ended());
        assert_eq!((receiver.code, sender.code), (Some(0), Some(0)), "{}{}", receiver.stderr, sender.stderr);
        assert!(sender.stderr.ends_with(" 10000, repeated 0, lost 0\n"), "{}", sender.stderr);
        assert!(receiver.stderr.contains("repeated 0, lost 0"), "{}", receiver.stderr);
    }
}

#[test]
fn unacknowledged_message_has_its_own_exit_code() {
    let world = World::start();
    let deaf = world.receiver(&["s", "--count", "3"]);
    let ended = run(&mut world.program(["send", "s", "--text", "a=b", "--ack", "1", "--timeout", "300ms"]));
    assert_eq!(ended.code, Some(8), "{}", ended.stderr);
    assert!(ended.stderr.contains("0 of 1 acknowledgements"), "{}", ended.stderr);
    let (sender, mut stdin) = lines(&mut world.program(["send", "s", "--lines", "--ack", "2", "--timeout", "300ms"]));
    stdin.write_all(b"one\ntwo").unwrap();
    drop(stdin);
    let ended = sender.ended();
    assert_eq!(ended.code, Some(8), "{}", ended.stderr);
    assert!(ended.stderr.contains("sent 2, acknowledged 0") && ended.stderr.contains("lost 2"), "{}", ended.stderr);
    assert_eq!(deaf.ended().code, Some(0));
}

#[test]
fn message_is_acknowledged_by_as_many_receivers_as_asked() {
    let world = World::start();
    let receivers = [(); 2].map(|()| world.receiver(&["s", "--ack", "--count", "1"]));
    let sent = run(&mut world.program(["send", "s", "--text", "a=b", "--ack", "2", "--json"]));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let said: serde_json::Value = serde_json::from_str(&sent.stdout).unwrap();
    assert_eq!(said["acks"].as_array().unwrap().len(), 2);
    for receiver in receivers {
        assert_eq!(receiver.ended().code, Some(0));
    }
}

#[test]
fn json_of_what_was_sent_and_acknowledged_commands_no_terminal() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--ack", "--count", "1"]);
    let sent = run(&mut world.program(["send", "s", "--text", "a\u{202e}\u{9b}\u{7f}=b", "--ack", "1", "--json"]));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    assert!(sent.stdout.contains("a\\u202e\\u009b\\u007f"), "{}", sent.stdout);
    let line = sent.stdout.trim_end();
    assert_eq!(natsbridge::wire::harmless(line), line);
    assert_eq!(receiver.ended().code, Some(0));
}

#[test]
fn unreadable_message_is_refused_with_its_code() {
    let world = World::start();
    world.file("large", vec![0; 600_000]);
    let mut receive = world.program(["receive", "--json", "s", "--ack", "--count", "1"]);
    let receiver = Running::start(receive.env("FILESERVER_URL", "http://127.0.0.1:9"));
    receiver.said("subscribed to ");
    let sent = run(&mut world.program(["send", "s", "--file", "large=@large", "--ack", "1"]));
    assert_eq!(sent.code, Some(8), "{}", sent.stderr);
    assert!(sent.stderr.contains("blocked_origin"), "{}", sent.stderr);
    let ended = receiver.ended();
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert!(ended.stderr.contains("received 1, unreadable 1, acknowledged 0"), "{}", ended.stderr);
}

#[test]
fn line_that_is_no_text_is_named_and_the_others_are_sent() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--count", "3"]);
    let (sender, mut stdin) = lines(&mut world.program(["send", "s", "--lines"]));
    stdin.write_all(b"one\n\xff\n\nthree").unwrap();
    drop(stdin);
    assert_eq!([(); 3].map(|()| line(&receiver)), ["one", "", "three"]);
    let ended = sender.ended();
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("line 2: ") && ended.stderr.contains("UTF-8"), "{}", ended.stderr);
    assert!(ended.stderr.contains("read 4 lines, sent 3, confirmed 3"), "{}", ended.stderr);
}

#[test]
fn lines_stopped_by_a_signal_are_reported_and_end_in_order() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--count", "1"]);
    let (sender, mut stdin) = lines(&mut world.program(["send", "s", "--lines"]));
    stdin.write_all(b"one\n").unwrap();
    assert_eq!(line(&receiver), "one");
    assert!(Command::new("kill").args(["-TERM", &sender.id().to_string()]).status().unwrap().success());
    let ended = sender.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("sent 1, confirmed 1"), "{}", ended.stderr);
    drop(stdin);
}

#[test]
fn option_counts_even_where_its_variable_is_wrong() {
    let world = World::start();
    let mut send = world.program(["send", "s", "--text", "a=b", "--nats", &world.nats.url()]);
    send.args(["--fileserver", &world.files_url]).env("NATS_URL", "http://x").env("FILESERVER_URL", "files");
    let sent = run(&mut send);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
}

#[test]
fn repeated_message_never_has_a_one_shot_link() {
    let world = World::start();
    world.file("large", vec![0; 600_000]);
    let id = "7a512910-bf40-4c64-a088-d2975d3d09ed";
    let receiver = world.receiver(&["s", "--ack", "--count", "4"]);
    for (words, one_shot) in [
        (&["--link-ttl", "1h", "--ack", "1"][..], false),
        (&["--ack", "1"], false),
        (&["--link-ttl", "1h", "--reply-to", "r"], false),
        (&["--link-ttl", "1h"], true),
    ] {
        let mut send = world.program(["send", "s", "--json", "--file", "f=@large", "--receiver-id", id]);
        let sent = run(send.args(words));
        assert_eq!(sent.code, Some(0), "{words:?}: {}", sent.stderr);
        let said: serde_json::Value = serde_json::from_str(&sent.stdout).unwrap();
        let metadata = &said["payloads"][0]["metadata"];
        assert_eq!(metadata["one_shot"] == true, one_shot, "{words:?}: {metadata}");
    }
    assert_eq!(receiver.ended().code, Some(0));
}

#[test]
fn options_that_contradict_are_refused_before_connecting() {
    let id = ["--receiver-id", "7a512910-bf40-4c64-a088-d2975d3d09ed"];
    let file = ["--text", "a=b"];
    for (command, words, named) in [
        ("send", [&file[..], &["--one-shot"]].concat(), "--receiver-id"),
        ("send", [&file[..], &["--one-shot", "--receiver-id", ""]].concat(), "--receiver-id"),
        ("send", [&file[..], &["--one-shot", "--ack", "1"]].concat(), "--ack"),
        ("send", [&file[..], &id, &["--one-shot", "--ack", "2", "--link-ttl", "1h"]].concat(), "--ack"),
        ("send", vec!["--lines", "--one-shot"], "--receiver-id"),
        ("send", [&["--lines", "--one-shot", "--ack", "1"][..], &id].concat(), "--ack"),
        ("send", [&file[..], &id, &["--one-shot", "--reply-to", "r"]].concat(), "--reply-to"),
        ("request", [&file[..], &["--one-shot"]].concat(), "request"),
        ("request", [&file[..], &id, &["--one-shot"]].concat(), "request"),
    ] {
        // Nothing listens there.
        let ended = run(support::program().args([command, "s"]).args(&words).env("NATS_URL", "nats://127.0.0.1:9"));
        assert_eq!(ended.code, Some(2), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("--one-shot") && ended.stderr.contains(named), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn lines_never_sent_are_counted_as_lost() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--ack", "--count", "2"]);
    let mut send = world.program(["send", "s", "--lines", "--ack", "1", "--threshold", "100", "--timeout", "2s"]);
    send.env("FILESERVER_URL", "http://127.0.0.1:9");
    let (sender, mut stdin) = lines(&mut send);
    writeln!(stdin, "one\n{}\nthree\n{}", "x".repeat(200), "y".repeat(200)).unwrap();
    drop(stdin);
    let ended = sender.ended();
    assert_ne!(ended.code, Some(0), "{}", ended.stderr);
    let told = "read 4 lines, sent 2, acknowledged 2, repeated 0, lost 2, of which 2 never sent";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert!(ended.stderr.contains("2 of 4 lines are not known to have arrived"), "{}", ended.stderr);
    assert_eq!(receiver.ended().code, Some(0));

    let mut send = world.program(["send", "s", "--lines", "--json", "--threshold", "100"]);
    let (sender, mut stdin) = lines(send.env("FILESERVER_URL", "http://127.0.0.1:9"));
    writeln!(stdin, "one\n{}", "x".repeat(200)).unwrap();
    drop(stdin);
    let ended = sender.ended();
    let said: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&said["lines"], &said["confirmed"], &said["lost"], &said["unsent"]),
        (&2.into(), &1.into(), &1.into(), &1.into())
    );
}

#[test]
fn lines_read_before_a_signal_are_sent() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--count", "3000"]);
    let (sender, mut stdin) = lines(&mut world.program(["send", "s", "--lines"]));
    let text: String = (0..3_000).map(|n| format!("{n}\n")).collect();
    stdin.write_all(text.as_bytes()).unwrap();
    assert_eq!(line(&receiver), "0");
    assert!(Command::new("kill").args(["-TERM", &sender.id().to_string()]).status().unwrap().success());
    let ended = sender.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.trim_end().ends_with("repeated 0, lost 0"), "{}", ended.stderr);
}
