//! Messages from strangers: each bad one is one line with its own code, and the next good one is still received.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use natsbridge::wire::Part;
use natsbridge::{PayloadType, Rows, Table, Value};
use serde_json::{Map, Value as Json, json};
use support::{World, publish};

/// An envelope with one payload, whose fields these replace
fn envelope(fields: &Json) -> Vec<u8> {
    let mut payload = json!({
        "id": "p", "dataname": "bad", "payload_type": "binary", "transport": "direct", "encoding": "base64",
        "size": 3, "data": "AAEC", "metadata": {},
    });
    payload.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({ "msg_id": "m", "send_to": "s", "payloads": [payload] }).to_string().into_bytes()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain(&[0; 2]).take(3).fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = if place <= chunk.len() { DIGITS[word >> (18 - 6 * place) & 63] } else { b'=' };
            text.push(char::from(digit));
        }
    }
    text
}

/// A table as an Arrow IPC stream
fn arrow() -> Vec<u8> {
    let row = |n: i64| Map::from_iter([("n".to_owned(), json!(n)), ("s".to_owned(), json!("text"))]);
    let table = Table::from_rows(&Rows::new((0..100).map(row).collect())).unwrap();
    Part::new("t", PayloadType::ArrowTable, Value::Table(table)).unwrap().bytes().unwrap().to_vec()
}

fn table(bytes: &[u8]) -> Vec<u8> {
    envelope(&json!({ "payload_type": "arrowtable", "data": base64(bytes), "size": bytes.len() }))
}

#[test]
fn bad_message_is_one_line_with_its_code_and_the_next_arrives() {
    let world = World::start();
    let link = |url: String| envelope(&json!({ "transport": "link", "encoding": "none", "data": url, "size": 3 }));
    let whole = arrow();
    // The length of the first message's metadata, far beyond the input.
    let mut hostile = whole.clone();
    hostile[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
    let dead = "00".repeat(32);
    let cases: Vec<(&str, Vec<u8>, &str, bool)> = vec![
        ("no JSON", b"hello".to_vec(), "not_json", false),
        ("nothing", Vec::new(), "not_json", false),
        ("not UTF-8", b"{\"payloads\":[],\"send_to\":\"\xff\"}".to_vec(), "not_json", false),
        ("no payloads", b"{}".to_vec(), "missing_field", false),
        ("type", envelope(&json!({ "payload_type": "picture" })), "unknown_payload_type", true),
        ("transport", envelope(&json!({ "transport": "pigeon" })), "unknown_transport", true),
        ("base64", envelope(&json!({ "data": "!!!!" })), "base64", true),
        ("digest", envelope(&json!({ "metadata": { "sha256": dead } })), "digest", true),
        ("UTF-8", envelope(&json!({ "payload_type": "text", "data": "/w==" })), "undecodable", true),
        ("rows", envelope(&json!({ "payload_type": "jsontable", "data": base64(b"{}") })), "undecodable", true),
        ("cut table", table(&whole[..whole.len() / 2]), "undecodable", true),
        ("hostile table", table(&hostile), "undecodable", true),
        ("gone", link(format!("{}/file/aaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbb/x", world.files_url)), "not_found", true),
        ("origin", link("http://169.254.169.254/latest/meta-data?secret=hunter2".into()), "blocked_origin", true),
        ("scheme", link("file:///etc/passwd".into()), "blocked_origin", true),
    ];
    let count = (cases.len() * 2).to_string();
    for save in [false, true] {
        let mut words = vec!["s", "--count", &count];
        words.extend(if save { &["--save", "saved"][..] } else { &[] });
        let receiver = world.receiver(&words);
        for (what, message, code, named) in &cases {
            publish(&world.nats, "s", message);
            publish(&world.nats, "s", &envelope(&json!({ "dataname": what })));
            let line = receiver.json();
            assert_eq!(line["error"]["code"], *code, "{what}: {line}");
            assert_eq!(line["error"]["dataname"], if *named { json!("bad") } else { Json::Null }, "{what}: {line}");
            assert!(!line["error"]["message"].as_str().unwrap().contains("hunter2"), "{line}");
            assert_eq!(line["payloads"], json!([]), "{what}");
            let next = receiver.json();
            assert_eq!((&next["payloads"][0]["dataname"], next.get("error")), (&json!(what), None), "after {what}");
        }
        let ended = receiver.ended();
        assert_eq!(ended.code, Some(6), "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("{} of {count} messages could not be read", cases.len())),
            "{}",
            ended.stderr
        );
    }
    let good = cases.len();
    assert_eq!(support::entries(&world.path("saved")).len(), good, "only what is whole has a name");
}

#[test]
fn link_of_another_type_is_an_error_and_leaves_no_file() {
    let world = World::start();
    world.file("bytes", vec![0xff; 600_000]);
    let sent = support::captured(&world.nats, "elsewhere", || {
        let sent = support::run(&mut world.program(["send", "elsewhere", "--file", "bad=@bytes"]));
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    });
    let receiver = world.receiver(&["s", "--count", "1", "--save", "saved"]);
    publish(&world.nats, "s", sent.replace("\"binary\"", "\"text\"").as_bytes());
    let line = receiver.json();
    assert_eq!((&line["error"]["code"], &line["error"]["dataname"]), (&json!("undecodable"), &json!("bad")), "{line}");
    assert_eq!(receiver.ended().code, Some(6));
    assert_eq!(support::entries(&world.path("saved")), Vec::<String>::new());
}

#[test]
fn readable_payloads_are_printed_beside_the_error() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--count", "1"]);
    let message = json!({ "msg_id": "m", "sender_name": "stranger", "payloads": [
        { "dataname": "a", "payload_type": "text", "transport": "direct", "encoding": "none", "data": "hi" },
        { "dataname": "b", "payload_type": "text", "transport": "direct", "encoding": "base64", "data": "/w==" },
        { "dataname": "c", "payload_type": "text", "transport": "direct", "encoding": "none", "data": "there" },
    ] });
    publish(&world.nats, "s", message.to_string().as_bytes());
    let line = receiver.json();
    assert_eq!((&line["msg_id"], &line["sender_name"]), (&json!("m"), &json!("stranger")));
    assert_eq!(line["error"]["dataname"], "b");
    let values: Vec<_> = line["payloads"].as_array().unwrap().iter().map(|payload| &payload["value"]).collect();
    assert_eq!(values, ["hi", "there"]);
    assert_eq!(receiver.ended().code, Some(6));
}

#[test]
fn long_text_of_a_stranger_takes_a_few_lines() {
    let world = World::start();
    let receiver = support::Running::start(&mut world.program(["receive", "s", "--count", "2"]));
    receiver.said("subscribed to ");
    let long = "a".repeat(200_000);
    let link = json!({ "transport": "link", "encoding": "none", "data": format!("http://{long}/x"), "size": 3 });
    publish(&world.nats, "s", &envelope(&link));
    let fields = ["correlation_id", "sender_name", "msg_purpose", "timestamp"];
    let mut message: Map<String, Json> = fields.iter().map(|field| ((*field).to_owned(), json!(long))).collect();
    message.insert("payloads".to_owned(), json!([]));
    publish(&world.nats, "s", Json::from(message).to_string().as_bytes());
    let ended = receiver.ended();
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert!(ended.stdout.len() + ended.stderr.len() < 4_000, "{}", ended.stdout.len() + ended.stderr.len());
}

#[test]
fn origin_not_allowed_is_reported_with_its_option_once() {
    let world = World::start();
    let link = |url: &str| envelope(&json!({ "transport": "link", "encoding": "none", "data": url, "size": 3 }));
    let receiver = world.receiver(&["s", "--count", "2"]);
    let people = support::Running::start(&mut world.program(["receive", "s", "--count", "2"]));
    people.said("subscribed to ");
    for (url, help) in [("http://files.test:8080/x", true), ("file:///etc/passwd", false)] {
        publish(&world.nats, "s", &link(url));
        let error = receiver.json()["error"].clone();
        let message = error["message"].as_str().unwrap();
        assert!(!message.contains("--allow-origin"), "{error}");
        let expected = if help { json!("if you trust it: --allow-origin http://files.test:8080") } else { Json::Null };
        assert_eq!(error["help"], expected, "{error}");
        let allowed = format!("does not download from http://files.test:8080 (allowed: {}", world.files_url);
        assert_eq!(message.contains(&allowed), help, "{error}");
    }
    let text = people.ended().stdout;
    assert_eq!(text.matches("--allow-origin").count(), 1, "{text}");
    assert!(text.contains("  help: if you trust it: --allow-origin http://files.test:8080\n"), "{text}");
}
