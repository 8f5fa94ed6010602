//! What receivers show of large and odd values, of links that load slowly, and to whom they answer.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use arrow_array::{ArrayRef, Date32Array, DictionaryArray, Int64Array, NullArray, RecordBatch, StringArray};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use natsbridge::Table;
use serde_json::{Value as Json, json};
use support::{Running, World, publish, run};

/// The most that a program may have had in memory, in bytes
fn peak(running: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Asks for no answer, so that none is taken for a repeat
fn unanswered(payloads: &Json) -> String {
    envelope(payloads).replace("answers", "")
}

fn envelope(payloads: &Json) -> String {
    json!({ "msg_id": "m", "sender_id": "x", "reply_to": "answers", "payloads": payloads }).to_string()
}

fn direct(payload_type: &str, bytes: &[u8]) -> Json {
    json!({ "dataname": "d", "payload_type": payload_type, "transport": "direct", "encoding": "base64",
            "data": BASE64_STANDARD.encode(bytes), "size": bytes.len() })
}

fn table(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    Table::from(batch.unwrap()).to_ipc().unwrap().to_vec()
}

#[test]
fn small_messages_with_huge_values_show_in_bounded_memory() {
    let world = World::start();
    let receiver = world.receiver(&["s"]);
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(200_000)]));
    let keys = arrow_array::Int8Array::from(vec![0; 100]);
    let cases = [
        table(vec![("n", Arc::new(NullArray::new(500_000)))]),
        table(vec![("long", Arc::new(DictionaryArray::new(keys, long)))]),
    ];
    for bytes in cases {
        assert!(bytes.len() < 700_000, "{}", bytes.len());
        publish(&world.nats, "s", unanswered(&json!([direct("arrowtable", &bytes)])).as_bytes());
    }
    publish(
        &world.nats,
        "s",
        unanswered(&json!([direct("jsontable", &[b"[", &b"{},".repeat(200_000)[..], b"{}]"].concat())])).as_bytes(),
    );
    let first = receiver.line();
    assert!(first.contains("{\"n\":null},{\"n\":null}"), "{}", &first[..500]);
    let second = receiver.json();
    assert_eq!(second["payloads"][0]["value"].as_array().unwrap().len(), 100);
    assert_eq!(receiver.json()["payloads"][0]["value"].as_array().unwrap().len(), 200_001);
    let peak = peak(&receiver);
    assert!(peak < 128_000_000, "{peak} bytes");
}

#[test]
fn payloads_of_one_message_share_the_limit_of_what_is_shown() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--count", "1"]);
    let nulls = direct("arrowtable", &table(vec![("n", Arc::new(NullArray::new(500_000)))]));
    let mut payloads = vec![nulls; 15];
    payloads.push(direct("text", b""));
    publish(&world.nats, "s", unanswered(&Json::from(payloads)).as_bytes());
    let line = receiver.line();
    let unshown = line.matches(r#""unshown":{"code":"too_large""#).count();
    assert!(line.len() < 70_000_000 && (3..6).contains(&unshown), "{} bytes, {unshown} not shown", line.len());
    // What is no longer than its payload is shown all the same.
    let last = &line[line.len() - 300..];
    assert!(last.contains(r#""value":"""#), "{last}");
}

#[test]
fn waiting_messages_are_held_in_bounded_memory() {
    let world = World::start();
    let (listener, link) = silent();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let receiver = world.receiver(&["s", "--ordered", "--allow-origin", &origin, "--message-timeout", "4s"]);
    publish(&world.nats, "s", unanswered(&link).as_bytes());
    // A list of lists takes far more memory than its text.
    let metadata = json!({ "a": vec![Vec::<u8>::new(); 200_000] });
    let message = json!({ "metadata": metadata, "payloads": [] }).to_string();
    for _ in 0..30 {
        publish(&world.nats, "s", message.as_bytes());
    }
    assert_eq!(receiver.json()["error"]["code"], "timeout");
    for _ in 0..30 {
        assert!(receiver.line().contains("[[],[],"));
    }
    let peak = peak(&receiver);
    assert!(peak < 128_000_000, "{peak} bytes");
}

#[test]
fn large_text_link_is_not_loaded_to_be_shown() {
    let world = World::start();
    world.file("text", "x".repeat(150_000_000));
    let receiver = world.receiver(&["s", "--count", "1"]);
    assert_eq!(run(&mut world.program(["send", "s", "--text", "t=@text"])).code, Some(0));
    let line = receiver.json();
    let payload = &line["payloads"][0];
    assert_eq!((&payload["value"], &payload["unshown"]["code"]), (&Json::Null, &json!("too_large")), "{payload}");
    assert_eq!(payload["size"], 150_000_000);
}

#[test]
fn table_without_json_form_is_saved_shown_and_acknowledged() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--ack", "--save", "saved", "--count", "2"]);
    let answers = world.receiver(&["answers", "--count", "2"]);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let twice = table(vec![("a", Arc::clone(&numbers)), ("a", Arc::clone(&numbers))]);
    let dates = table(vec![("n", numbers), ("day", Arc::new(Date32Array::from(vec![i32::MAX])))]);
    for (n, bytes) in [twice, dates].iter().enumerate() {
        let message = envelope(&json!([direct("arrowtable", bytes)])).replace("\"m\"", &format!("\"m{n}\""));
        publish(&world.nats, "s", message.as_bytes());
    }
    let line = receiver.json();
    let payload = &line["payloads"][0];
    assert_eq!((&payload["value"], &payload["unshown"]["code"]), (&Json::Null, &json!("unconvertible")), "{payload}");
    assert!(
        std::path::Path::new(payload["path"].as_str().unwrap()).is_absolute() || world.path("saved/d.arrow").exists()
    );
    assert_eq!(receiver.json()["payloads"][0]["value"][0]["n"], 1);
    for _ in 0..2 {
        assert_eq!(answers.json()["msg_purpose"], "ACK");
    }
    let ended = receiver.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(answers.ended().code, Some(0));
}

#[test]
fn payloads_beyond_the_largest_size_are_refused() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--ack", "--max-size", "10kB", "--count", "1"]);
    let answers = world.receiver(&["answers", "--count", "1"]);
    publish(&world.nats, "s", envelope(&json!([direct("text", &[b'x'; 20_000])])).as_bytes());
    assert_eq!(receiver.json()["error"]["code"], "too_large");
    assert_eq!(answers.json()["metadata"]["code"], "too_large");
    assert_eq!(receiver.ended().code, Some(6));
}

/// A file server that never answers
fn silent() -> (std::net::TcpListener, Json) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let link = json!([{ "dataname": "d", "payload_type": "binary", "transport": "link", "encoding": "none",
                        "data": url, "size": 10, "metadata": {} }]);
    (listener, link)
}

#[test]
fn message_whose_links_hang_delays_others_for_seconds_only() {
    let world = World::start();
    let (listener, link) = silent();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let hanging = envelope(&link).replace("\"m\"", "\"hangs\"");
    let whole = envelope(&json!([direct("text", b"whole")]));
    for (words, first) in [(&["--unordered"][..], "m"), (&[], "m"), (&["--ordered"], "hangs")] {
        let words = [&["s", "--count", "2", "--allow-origin", &origin, "--message-timeout", "8s"], words].concat();
        let receiver = world.receiver(&words);
        publish(&world.nats, "s", hanging.as_bytes());
        publish(&world.nats, "s", whole.as_bytes());
        assert_eq!(receiver.json()["msg_id"], first, "{words:?}");
        let second = receiver.json();
        let hung = if first == "m" { second } else { continue };
        assert_eq!(hung["error"]["code"], "timeout", "{hung}");
    }
}

#[test]
fn replies_go_to_listed_subjects_and_receiver_keeps_its_name() {
    let world = World::start();
    let id = "3f2b8c1e-6f0a-4c57-9f3e-2d8a51b7c0de";
    let receiver = world.receiver(&["s", "--ack", "--id", id, "--reply-to", "allowed.>", "--count", "2"]);
    let answers = world.receiver(&[">", "--for", "3s"]);
    for (n, subject) in ["other", "allowed.x"].iter().enumerate() {
        let message = envelope(&json!([])).replace("answers", subject).replace("\"m\"", &format!("\"m{n}\""));
        publish(&world.nats, "s", message.as_bytes());
    }
    assert_eq!(receiver.ended().code, Some(0));
    let ended = answers.ended();
    let acks: Vec<Json> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let acks: Vec<_> = acks.iter().filter(|line| line["msg_purpose"] == "ACK").collect();
    assert_eq!(acks.len(), 1, "{}", ended.stdout);
    assert_eq!((&acks[0]["send_to"], &acks[0]["sender_id"]), (&json!("allowed.x"), &json!(id)));
    assert_eq!(run(&mut world.program(["receive", "s", "--id", "me"])).code, Some(2));
}

#[test]
fn replying_program_gets_no_secrets_and_a_private_folder() {
    let world = World::start();
    world.sparse("large", 2_000_000);
    let temporary = world.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let script =
        "cat >/dev/null; env | grep -c -e AWS_SECRET -e FILESERVER_TOKEN; ls -ld \"$TMPDIR\"/natsbridge-* | cut -c1-10";
    for (words, secrets) in [(&[][..], "0"), (&["--pass-secrets"], "2")] {
        let mut reply = world.program(["reply", "s"].iter().chain(words));
        reply.args(["--exec", "sh", "--", "-c", script]);
        reply.env("TMPDIR", &temporary).env("AWS_SECRET_ACCESS_KEY", "a").env("FILESERVER_TOKEN", "b");
        let service = Running::start(&mut reply);
        service.said("replying to s");
        let asked = run(&mut world.program(["request", "s", "--file", "f=@large", "--json"]));
        let answer: Json = serde_json::from_str(&asked.stdout).unwrap_or_else(|_| panic!("{}", asked.stderr));
        assert_eq!(answer["payloads"][0]["value"], format!("{secrets}\ndrwx------\n"), "{answer}");
        drop(service);
    }
    assert!(std::fs::metadata(&temporary).unwrap().permissions().mode() & 0o777 != 0);
}
