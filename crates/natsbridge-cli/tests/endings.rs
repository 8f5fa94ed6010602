//! Programs that are asked to end while messages wait, and the connection that breaks: nothing is lost in silence.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use natsbridge_testkit::nats_server::NatsServer;
use support::{Ended, Running, World, publish, run};

fn signal(running: &Running, name: &str) {
    assert!(Command::new("kill").args([name, &running.id().to_string()]).status().unwrap().success());
}

fn message(number: usize) -> String {
    format!(r#"{{"msg_id":"m{number}","payloads":[]}}"#)
}

/// Publishes small messages and waits until the server has them
fn publish_many(nats: &NatsServer, subject: &str, numbers: std::ops::Range<usize>) {
    publish_all(nats, subject, numbers.map(message));
}

fn publish_all(nats: &NatsServer, subject: &str, messages: impl Iterator<Item = String>) {
    let mut stream = TcpStream::connect(("127.0.0.1", nats.port())).unwrap();
    let mut text = "CONNECT {\"verbose\":false}\r\n".to_owned();
    for message in messages {
        text.push_str(&format!("PUB {subject} {}\r\n{message}\r\n", message.len()));
    }
    text.push_str("PING\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(stream));
    assert!(lines.map(Result::unwrap).any(|line| line == "PONG"));
}

/// A number of the summary, such as `received 5`
fn number(ended: &Ended, word: &str) -> u64 {
    let words: Vec<_> = ended.stderr.split([' ', ',', '\n']).filter(|word| !word.is_empty()).collect();
    let found = words.windows(2).find_map(|pair| pair[1].parse().ok().filter(|_: &u64| pair[0] == word));
    found.unwrap_or_else(|| panic!("no {word}: {}", ended.stderr))
}

/// A program of which more messages wait than it can print, and that is asked to end
fn ended_with_waiting(words: &[&str], waiting: usize) -> (World, Ended) {
    let world = World::start();
    let receiver = Running::start(&mut world.program(words));
    receiver.said("s");
    // Stopped, so that the messages wait however fast it is.
    signal(&receiver, "-STOP");
    publish_many(&world.nats, "s", 0..waiting);
    signal(&receiver, "-TERM");
    signal(&receiver, "-CONT");
    let ended = receiver.ended();
    (world, ended)
}

#[test]
fn waiting_messages_are_printed_when_the_receiver_stops() {
    let (_world, ended) = ended_with_waiting(&["receive", "s", "--json"], 20_000);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!((number(&ended, "received"), number(&ended, "unhandled")), (20_000, 0), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 20_000);
}

#[test]
fn waiting_messages_not_printed_in_time_are_counted() {
    let (_world, ended) = ended_with_waiting(&["receive", "s", "--json", "--grace", "0s"], 20_000);
    assert_eq!(ended.code, Some(9), "{}", ended.stderr);
    let (received, unhandled) = (number(&ended, "received"), number(&ended, "unhandled"));
    assert_eq!(received + unhandled, 20_000, "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), usize::try_from(received).unwrap());
    assert!(unhandled > 0 && ended.stderr.contains("--grace"), "{}", ended.stderr);
}

#[test]
fn waiting_messages_are_recorded_or_counted() {
    let (world, ended) = ended_with_waiting(&["record", "s", "--to", "all"], 20_000);
    assert_eq!((ended.code, number(&ended, "recorded")), (Some(0), 20_000), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(world.path("all")).unwrap().lines().count(), 20_001);
    let (_world, ended) = ended_with_waiting(&["record", "s", "--to", "none", "--grace", "0s"], 20_000);
    assert_eq!(ended.code, Some(9), "{}", ended.stderr);
    assert_eq!(number(&ended, "recorded") + number(&ended, "unhandled"), 20_000, "{}", ended.stderr);
}

#[test]
fn waiting_requests_are_handled_or_counted() {
    let (_world, ended) = ended_with_waiting(&["reply", "s", "--exec", "true"], 20);
    assert_eq!((ended.code, number(&ended, "handled")), (Some(0), 20), "{}", ended.stderr);
    let words = ["reply", "s", "--grace", "1s", "--exec", "sleep", "--", "30"];
    let (_world, ended) = ended_with_waiting(&words, 20);
    assert_eq!((ended.code, number(&ended, "handled")), (Some(9), 0), "{}", ended.stderr);
    assert_eq!(number(&ended, "unhandled"), 20, "{}", ended.stderr);
}

#[test]
fn waiting_messages_are_printed_when_the_time_is_over() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--for", "500ms"]);
    signal(&receiver, "-STOP");
    publish_many(&world.nats, "s", 0..2_000);
    thread::sleep(Duration::from_millis(600));
    signal(&receiver, "-CONT");
    let ended = receiver.ended();
    assert_eq!((ended.code, number(&ended, "received")), (Some(0), 2_000), "{}", ended.stderr);
}

#[test]
fn members_of_a_group_that_restart_in_turn_lose_nothing() {
    let world = World::start();
    let start = || world.receiver(&["s", "--queue", "g"]);
    let mut members = [start(), start()];
    let port = world.nats.port();
    let total = 6_000;
    let publisher = thread::spawn(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"CONNECT {\"verbose\":false}\r\n").unwrap();
        for number in 0..total {
            let message = message(number);
            stream.write_all(format!("PUB s {}\r\n{message}\r\n", message.len()).as_bytes()).unwrap();
            // A thousand a second.
            thread::sleep(Duration::from_millis(1));
        }
        stream
    });
    let mut seen = BTreeSet::new();
    let mut take = |ended: Ended| {
        assert_eq!((ended.code, number(&ended, "unhandled")), (Some(0), 0), "{}", ended.stderr);
        for line in ended.stdout.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(seen.insert(line["msg_id"].as_str().unwrap().to_owned()), "twice: {line}");
        }
    };
    for round in 0..10 {
        let old = std::mem::replace(&mut members[round % 2], start());
        signal(&old, "-TERM");
        take(old.ended());
    }
    let stream = publisher.join().unwrap();
    // Behind the last message of the publisher.
    publish(&world.nats, "other", b"");
    drop(stream);
    for member in members {
        signal(&member, "-TERM");
        take(member.ended());
    }
    assert_eq!(seen.len(), total);
}

/// A receiver whose standard output nobody reads, with more in it than a pipe holds
fn blocked(world: &World, words: &[&str]) -> std::process::Child {
    let mut receive = world.program(["receive", "s", "--json"].iter().chain(words));
    let mut child = receive.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains("subscribed to"), "{line}");
    child.stderr = Some(said.into_inner());
    publish_many(&world.nats, "s", 0..5_000);
    child
}

fn terminate(child: &std::process::Child) {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn second_signal_ends_a_program_whose_output_is_blocked() {
    let world = World::start();
    let mut child = blocked(&world, &["--grace", "1h"]);
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it still runs");
        terminate(&child);
        thread::sleep(Duration::from_millis(30));
    };
    assert_eq!(status.code(), Some(143));
}

#[test]
fn blocked_output_delays_the_end_by_the_grace_at_most() {
    let world = World::start();
    let child = blocked(&world, &["--grace", "300ms"]);
    terminate(&child);
    let start = Instant::now();
    // Reads its output only after its end.
    let mut child = child;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it still runs");
        thread::sleep(Duration::from_millis(10));
    };
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let ended = Ended { code: status.code(), stdout: String::new(), stderr: said, took: start.elapsed() };
    assert_eq!(ended.code, Some(9), "{}", ended.stderr);
    assert_eq!(number(&ended, "received") + number(&ended, "unhandled"), 5_000, "{}", ended.stderr);
}

#[test]
fn broken_connection_and_its_return_are_reported_once() {
    let mut world = World::start();
    world.file("recorded", "");
    std::fs::remove_file(world.path("recorded")).unwrap();
    let commands: [&[&str]; 4] =
        [&["receive", "s"], &["watch", "s"], &["reply", "s", "--exec", "true"], &["record", "s", "--to", "recorded"]];
    let running = commands.map(|words| Running::start(&mut world.program(words)));
    for program in &running {
        program.said(" s");
    }
    world.nats.restart().unwrap();
    let mut summaries = 0;
    for program in running {
        program.said("disconnected from nats://127.0.0.1");
        program.said("reconnected to nats://127.0.0.1");
        signal(&program, "-TERM");
        let ended = program.ended();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(!ended.stderr.contains("connected"), "{}", ended.stderr);
        // The table of `watch` has no summary.
        let told = ended.stderr.contains("(interrupted once: what was published meanwhile is");
        assert!(told || ended.stderr.is_empty(), "{}", ended.stderr);
        summaries += usize::from(told);
    }
    assert_eq!(summaries, 3);
}

#[test]
fn subscription_cut_off_by_the_server_reports_possible_loss() {
    let mut world = World::start();
    world.nats = NatsServer::builder().config("max_payload: 100000, max_pending: 200000").start().unwrap();
    let receiver = world.receiver(&["s"]);
    signal(&receiver, "-STOP");
    // More than the system's buffers hold.
    let total = 500;
    let long = "x".repeat(90_000);
    let message = |n| format!(r#"{{"msg_id":"m{n}","metadata":{{"long":"{long}"}},"payloads":[]}}"#);
    publish_all(&world.nats, "s", (0..total).map(message));
    signal(&receiver, "-CONT");
    receiver.said("reconnected to");
    signal(&receiver, "-TERM");
    let ended = receiver.ended();
    assert!(number(&ended, "received") < u64::try_from(total).unwrap(), "the server cut nothing off: {}", ended.stderr);
    assert!(ended.stderr.contains("lost 0 (interrupted once: what was published meanwhile"), "{}", ended.stderr);
}

#[test]
fn signal_ends_a_program_that_is_not_connected_at_once() {
    let mut world = World::start();
    let commands: [&[&str]; 4] =
        [&["receive", "s"], &["watch", "s"], &["reply", "s", "--exec", "true"], &["record", "s", "--to", "recorded"]];
    let running = commands.map(|words| Running::start(&mut world.program(words)));
    for program in &running {
        program.said(" s");
    }
    world.nats.kill();
    for program in running {
        program.said("disconnected from");
        signal(&program, "-INT");
        let ended = program.ended();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.took < Duration::from_secs(4), "{:?} {}", ended.took, ended.stderr);
    }
}

#[test]
fn revoked_permission_is_reported_a_few_times_only() {
    let world = World::start();
    let config = |publish: &str| {
        let permissions = format!("permissions: {{ publish: [{publish}], subscribe: [\"s\", \"_INBOX.>\"] }}");
        format!(
            "authorization {{ users: [{{ user: \"ann\", password: \"pw\", {permissions} }}, {{ user: \"bob\", password: \"pw\" }}] }}"
        )
    };
    let nats = NatsServer::builder().config(&config("\"_INBOX.>\"")).start().unwrap();
    let url = |user: &str| nats.url().replace("nats://", &format!("nats://{user}:pw@"));
    let mut receive = world.program(["receive", "s", "--ack", "--json", "--count", "500"]);
    let receiver = Running::start(receive.env("NATS_URL", url("ann")));
    receiver.said("subscribed to");
    let lines: String = (0..500).map(|n| format!("{n}\n")).collect();
    world.file("lines", lines);
    let mut send = world.program(["send", "s", "--lines", "--reply-to", "forbidden"]);
    send.env("NATS_URL", url("bob")).stdin(std::fs::File::open(world.path("lines")).unwrap());
    assert_eq!(run(&mut send).code, Some(0));
    let ended = receiver.ended();
    assert_eq!(number(&ended, "received"), 500, "{}", ended.stderr);
    assert!(ended.stderr.len() < 4_000, "{} bytes: {}", ended.stderr.len(), ended.stderr);
}
