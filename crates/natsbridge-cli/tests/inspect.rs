//! Messages under inspection: what they say is shown, what is wrong is marked, and no link is used up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value as Json, json};
use support::{Ended, Running, World, captured, publish, run};

fn inspected(world: &World, words: &[&str]) -> Ended {
    run(&mut world.program(["inspect"].iter().chain(words)))
}

fn codes(ended: &Ended) -> Vec<String> {
    let json: Json = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}{}", ended.stdout, ended.stderr));
    let problems = json["problems"].as_array().unwrap().iter();
    problems.map(|problem| problem["code"].as_str().unwrap().to_owned()).collect()
}

/// A message with a text and a one-shot link, as it crosses NATS
fn message(world: &World) -> Json {
    world.file("large", vec![7; 600_000]);
    let json = captured(&world.nats, "s", || {
        let mut send = world.program(["send", "s", "--text", "note=hello", "--file", "large=@large", "--one-shot"]);
        send.args(["--digest-direct", "--receiver-id", "7a512910-bf40-4c64-a088-d2975d3d09ed"]);
        assert_eq!(run(&mut send).code, Some(0));
    });
    serde_json::from_str(&json).unwrap()
}

#[test]
fn sound_message_has_no_problems_and_its_one_shot_link_stays() {
    let world = World::start();
    world.file("m.json", message(&world).to_string());
    for _ in 0..2 {
        let ended = inspected(&world, &["m.json", "--json"]);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        let found: Json = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(found["send_to"], "s");
        assert_eq!((&found["payloads"][0]["digest"], &found["payloads"][0]["size"]), (&json!("right"), &json!(5)));
        let link = &found["payloads"][1]["link"];
        assert_eq!((&link["state"], &link["size"]), (&json!("there"), &json!(600_000)), "{link}");
    }
    assert_eq!(world.uploads(), 1);
    let ended = inspected(&world, &["m.json"]);
    assert!(ended.stdout.contains("no problems found"), "{}", ended.stdout);
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ended.stdout);
}

#[test]
fn faults_are_marked_each_with_its_code() {
    let world = World::start();
    let good = message(&world);
    type Change = fn(&mut Json);
    let cases: [(&str, Change); 9] = [
        ("digest", |m| m["payloads"][0]["data"] = "SGVsbG8=".into()),
        ("digest", |m| m["payloads"][0]["metadata"]["sha256"] = "none".into()),
        ("size_mismatch", |m| m["payloads"][0]["size"] = 6.into()),
        ("size_mismatch", |m| m["payloads"][1]["size"] = 599_999.into()),
        ("not_found", |m| {
            let url = m["payloads"][1]["data"].as_str().unwrap().replace("/file/", "/file/x");
            m["payloads"][1]["data"] = url.into();
        }),
        ("expired", |m| m["payloads"][1]["metadata"]["expires_at"] = "2020-01-01T00:00:00.000Z".into()),
        ("secret", |m| m["broker_url"] = "nats://ann:hunter2@h:4222".into()),
        ("field", |m| m["timestamp"] = "yesterday".into()),
        ("field", |m| m["sender_id"] = Json::Null),
    ];
    for (code, change) in cases {
        let mut bad = good.clone();
        change(&mut bad);
        world.file("m.json", bad.to_string());
        let ended = inspected(&world, &["m.json", "--json"]);
        assert_eq!(ended.code, Some(6), "{code}: {}{}", ended.stdout, ended.stderr);
        assert_eq!(codes(&ended), [code], "{}", ended.stdout);
        assert!(!ended.stdout.contains("hunter2"), "{}", ended.stdout);
        let people = inspected(&world, &["m.json"]).stdout;
        assert!(people.contains("problem: ") && !people.contains("hunter2"), "{people}");
    }
}

#[test]
fn expiry_of_a_link_is_told_by_its_offset() {
    let world = World::start();
    let mut message = message(&world);
    // By the clock of a place two hours ahead or behind.
    for (minutes, offset, found) in [(90, "+02:00", &["expired"][..]), (-90, "-02:00", &[])] {
        let clock = time::OffsetDateTime::now_utc() + time::Duration::minutes(minutes);
        let clock = clock.format(&time::format_description::well_known::Rfc3339).unwrap();
        message["payloads"][1]["metadata"]["expires_at"] = format!("{}{offset}", clock.trim_end_matches('Z')).into();
        world.file("m.json", message.to_string());
        assert_eq!(codes(&inspected(&world, &["m.json", "--json"])), found, "{offset}");
    }
}

#[test]
fn byte_order_mark_before_a_message_is_skipped() {
    let world = World::start();
    world.file("m.json", format!("\u{feff}{}", message(&world)));
    let ended = inspected(&world, &["m.json"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn long_problem_is_printed_whole_to_a_pipe() {
    let world = World::start();
    let mut message = message(&world);
    let name = "long name ".repeat(7);
    message["payloads"][0]["dataname"] = name.trim_end().into();
    message["payloads"][0]["size"] = 6.into();
    world.file("m.json", message.to_string());
    let ended = inspected(&world, &["m.json"]);
    let problem = format!("problem: payload `{}`: the message says 6 bytes and holds 5", name.trim_end());
    assert!(problem.len() > 80 && ended.stdout.lines().any(|line| line == problem), "{}", ended.stdout);
}

#[test]
fn links_to_strangers_or_with_no_links_are_not_asked_for() {
    let world = World::start();
    let mut message = message(&world);
    world.file("m.json", message.to_string());
    let quiet: Json = serde_json::from_str(&inspected(&world, &["m.json", "--json", "--no-links"]).stdout).unwrap();
    assert_eq!(quiet["payloads"][1]["link"]["state"], "not_asked");
    // Nothing would answer there in time, had it been asked.
    message["payloads"][1]["data"] = "http://169.254.169.254/latest?X-Amz-Signature=hunter2".into();
    world.file("m.json", message.to_string());
    let ended = inspected(&world, &["m.json", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("not_asked") && !ended.stdout.contains("hunter2"), "{}", ended.stdout);
}

#[test]
fn message_is_taken_from_standard_input_or_from_a_subject() {
    let world = World::start();
    let text = message(&world).to_string();
    let mut child = world.program(["inspect", "--json"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());

    let waiting = Running::start(&mut world.program(["inspect", "--subject", ">", "--json"]));
    waiting.said("subscribed to ");
    publish(&world.nats, "s", b"hello");
    assert_eq!(codes(&waiting.ended()), ["not_json"]);
    let silent = inspected(&world, &["--subject", "s", "--timeout", "100ms"]);
    assert_eq!(silent.code, Some(7), "{}", silent.stderr);
    assert_eq!(inspected(&world, &["absent.json"]).code, Some(1));
}
