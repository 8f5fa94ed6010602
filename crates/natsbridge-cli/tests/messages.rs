//! Messages from one process to another over real servers: what arrives is what was sent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::as_conversions, reason = "test code")]

mod support;

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use natsbridge::store::Digest;
use serde_json::{Value as Json, json};
use support::{Running, World, run};

fn field(message: &Json, name: &str) -> Vec<Json> {
    message["payloads"].as_array().unwrap().iter().map(|payload| payload[name].clone()).collect()
}

#[test]
fn message_with_every_type_arrives_as_it_was_sent() {
    let world = World::start();
    let large: Vec<u8> = (0..1_500_000_u32).map(|n| (n * 7 / 3) as u8).collect();
    world.file("big.bin", &large);
    world.file("a.csv", "id,volts,note\n9007199254740993,0.5,Grüße\n2,,\n");
    world.file("rows.json", r#"[{"b":1},{"a":null,"b":2}]"#);
    for name in ["p.png", "t.wav", "c.mp4"] {
        world.file(name, format!("{name}\0\r\n\u{ff}"));
    }
    let receiver = world.receiver(&["lab.>", "--count", "1", "--save", "saved"]);
    let mut send =
        world.program(["send", "lab.run", "--text", "note=Grüße, 世界", "--dict", "run={\"id\":18446744073709551615}"]);
    send.args(["--table", "data=@a.csv", "--table", "rows=@rows.json", "--image", "photo=@p.png"]);
    send.args(["--audio", "tone=@t.wav", "--video", "clip=@c.mp4", "--file", "big=@big.bin", "--sender-name", "me"]);
    send.args([
        "--receiver-name",
        "you",
        "--reply-to",
        "re.lab",
        "--reply-to-msg-id",
        "m1",
        "--purpose",
        "updateStatus",
    ]);
    send.args(["--correlation-id", "c1"]);
    let sent = run(&mut send);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    assert!(sent.stdout.contains("big") && sent.stdout.contains("link"), "{}", sent.stdout);

    let message = receiver.json();
    let ended = receiver.ended();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
    let types = ["text", "dictionary", "arrowtable", "jsontable", "image", "audio", "video", "binary"];
    assert_eq!(field(&message, "payload_type"), types);
    assert_eq!(field(&message, "dataname"), ["note", "run", "data", "rows", "photo", "tone", "clip", "big"]);
    let values = [
        json!("Grüße, 世界"),
        json!({"id": u64::MAX}),
        json!([{"id": 9_007_199_254_740_993_u64, "volts": 0.5, "note": "Grüße"}, {"id": 2, "volts": null, "note": null}]),
        json!([{"b": 1}, {"a": null, "b": 2}]),
    ];
    assert_eq!(field(&message, "value")[..4], values);
    assert!(field(&message, "value")[4..].iter().all(|value| value.is_null()));
    for payload in message["payloads"].as_array().unwrap() {
        let saved = fs::read(world.path(payload["path"].as_str().unwrap())).unwrap();
        assert_eq!(payload["sha256"], Digest::of(&saved).to_string(), "{payload}");
        assert_eq!(payload["size"], saved.len(), "{payload}");
    }
    assert_eq!(message["payloads"][7]["sha256"], Digest::of(&large).to_string());
    assert_eq!(message["payloads"][7]["transport"], "link");
    let said =
        ["sender_name", "receiver_name", "reply_to", "reply_to_msg_id", "msg_purpose", "correlation_id", "send_to"];
    assert_eq!(said.map(|name| &message[name]), ["me", "you", "re.lab", "m1", "updateStatus", "c1", "lab.run"]);
}

#[test]
fn payloads_too_large_together_travel_one_as_a_link() {
    let world = World::start();
    world.file("a", vec![1; 499_999]);
    world.file("b", vec![2; 499_999]);
    let receiver = world.receiver(&["s", "--count", "1"]);
    let sent = run(&mut world.program(["send", "s", "--file", "a=@a", "--file", "b=@b", "--json"]));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let said: Json = serde_json::from_str(&sent.stdout).unwrap();
    let message = receiver.json();
    assert_eq!(field(&message, "transport"), ["link", "direct"]);
    let digests = [vec![1; 499_999], vec![2; 499_999]].map(|bytes| Digest::of(&bytes).to_string());
    assert_eq!(field(&message, "sha256"), digests);
    for name in ["sha256", "transport", "size"] {
        assert_eq!(field(&said, name), field(&message, name));
    }
    assert_eq!(said["msg_id"], message["msg_id"]);
    assert!(!sent.stdout.contains("http://127.0.0.1:"), "the line holds neither data nor links: {}", sent.stdout);
    assert_eq!(receiver.ended().code, Some(0));
}

#[test]
fn message_that_cannot_fit_is_refused_and_nothing_is_uploaded() {
    let world = World::start();
    world.file("a", vec![1; 50_001]);
    let sent = run(&mut world.program(["send", "s", "--receiver", "micropython", "--text", "n=x", "--file", "a=@a"]));
    assert_eq!(sent.code, Some(5), "{}", sent.stderr);
    assert!(["`a`", "50001", "50000"].iter().all(|text| sent.stderr.contains(text)), "{}", sent.stderr);
    assert_eq!(world.uploads(), 0);

    // A link would be made of the first, were it not that the many names alone exceed the message.
    world.file("big", vec![1; 600_000]);
    let mut send = world.program(["send", "s", "--file", "big=@big"]);
    for n in 0..11 {
        send.args(["--text", &format!("{n}{}=x", "n".repeat(100_000))]);
    }
    let sent = run(&mut send);
    assert_eq!(sent.code, Some(5), "{}", sent.stderr.get(..2_000).unwrap_or(&sent.stderr));
    assert!(sent.stderr.contains("1048576"));
    assert_eq!(world.uploads(), 0);
}

#[test]
fn standard_input_is_a_payload_of_any_type() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--count", "4"]);
    let large = vec![b'x'; 700_000];
    let cases: [(&str, &[u8], &str, Json); 4] = [
        ("--text", "Grüße".as_bytes(), "text", json!("Grüße")),
        ("--table", b"a,b\n1,x\n", "arrowtable", json!([{"a": 1, "b": "x"}])),
        ("--table", b"{\"a\":1}\n", "jsontable", json!([{"a": 1}])),
        ("--file", &large, "binary", Json::Null),
    ];
    for (option, input, payload_type, value) in cases {
        let mut child =
            world.program(["send", "s", option, "in=@-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        assert!(child.wait().unwrap().success(), "{option}");
        let payload = receiver.json()["payloads"][0].clone();
        assert_eq!((&payload["payload_type"], &payload["value"]), (&json!(payload_type), &value), "{option}");
        if payload_type == "binary" {
            assert_eq!((&payload["transport"], &payload["size"]), (&json!("link"), &json!(700_000)));
        }
    }
    assert_eq!(receiver.ended().code, Some(0));
}

#[test]
fn payloads_keep_command_line_order_and_values_their_escapes() {
    let world = World::start();
    world.file("v", "from a file");
    let receiver = world.receiver(&["s", "--count", "1"]);
    let mut send =
        world.program(["send", "s", "--file", "z=@v", "--text", "b=@v", "--dict", "a=[1]", "--file", "z=@v"]);
    assert_eq!(run(send.args(["--text", "c=@@v", "--text", "d=1=2", "--text", "e="])).code, Some(0));
    let message = receiver.json();
    assert_eq!(field(&message, "dataname"), ["z", "b", "a", "z", "c", "d", "e"]);
    let values = [json!(null), json!("from a file"), json!([1]), json!(null), json!("@v"), json!("1=2"), json!("")];
    assert_eq!(field(&message, "value"), values);
}

#[test]
fn links_and_tables_are_made_as_the_options_say() {
    let world = World::start();
    world.file("t.csv", "a\n1\n");
    let receiver = world.receiver(&["s", "--count", "3"]);
    let mut send = world.program(["send", "s", "--table", "t=@t.csv", "--table-as", "jsontable", "--threshold", "1kB"]);
    let sent = run(send.args([
        "--json",
        "--digest-direct",
        "--text",
        &format!("long={}", "x".repeat(1_000)),
        "--link-ttl",
        "90s",
        "--one-shot",
        "--receiver-id",
        "7a512910-bf40-4c64-a088-d2975d3d09ed",
    ]));
    let said: Json = serde_json::from_str(&sent.stdout).unwrap_or_else(|_| panic!("{}", sent.stderr));
    assert_eq!(field(&said, "payload_type"), ["jsontable", "text"]);
    assert_eq!(field(&said, "transport"), ["direct", "link"]);
    assert_eq!(said["payloads"][1]["metadata"]["one_shot"], true);
    assert_eq!(said["payloads"][0]["metadata"]["sha256"], said["payloads"][0]["sha256"]);
    assert_eq!(receiver.json()["payloads"][0]["value"], json!([{"a": 1}]));

    let refused = run(&mut world.program(["send", "s", "--table", "t=@t.csv", "--receiver", "browser"]));
    assert_eq!(refused.code, Some(5));
    assert!(refused.stderr.contains("jsontable"), "{}", refused.stderr);
    let converted =
        world.program(["send", "s", "--table", "t=@t.csv", "--receiver", "browser", "--convert-tables"]).status();
    assert!(converted.unwrap().success());
    assert_eq!(receiver.json()["payloads"][0]["payload_type"], "jsontable");

    world.file("r.ndjson", "{\"a\":1}\n{\"a\":2}\n");
    let sent = run(&mut world.program(["send", "s", "--table", "t=@r.ndjson", "--table-as", "arrowtable"]));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    assert_eq!(receiver.json()["payloads"][0]["payload_type"], "arrowtable");
}

#[cfg(target_os = "linux")]
#[test]
fn large_link_is_saved_without_being_held_in_memory() {
    let world = World::start();
    let len = 200_000_000;
    world.sparse("large", len);
    let receiver = world.receiver(&["s", "--count", "2", "--save", "saved"]);
    assert_eq!(run(&mut world.program(["send", "s", "--file", "large=@large"])).code, Some(0));
    let message = receiver.json();
    assert_eq!(fs::metadata(world.path(message["payloads"][0]["path"].as_str().unwrap())).unwrap().len(), len);
    for (who, process) in [("receiver", &receiver), ("file server", &world.files)] {
        let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        assert!(peak < 80_000, "the {who} took {peak} kB for a file of {len} bytes");
    }
}

#[test]
fn subscriber_of_everything_sees_no_replies_of_nats_clients() {
    let world = World::start();
    let receiver = world.receiver(&[">", "--count", "2"]);
    for note in ["a", "b"] {
        assert_eq!(run(&mut world.program(["send", "s", "--text", &format!("note={note}")])).code, Some(0));
        assert_eq!(receiver.json()["payloads"][0]["value"], note);
    }
    assert_eq!(receiver.ended().code, Some(0));
}

#[test]
fn members_of_a_queue_share_the_messages() {
    let world = World::start();
    let members = [(); 2].map(|()| world.receiver(&["s", "--queue", "g", "--for", "1s"]));
    for n in 0..20 {
        support::publish(&world.nats, "s", format!(r#"{{"msg_id":"{n}","payloads":[]}}"#).as_bytes());
    }
    let counts = members.map(|member| {
        let ended = Running::ended(member);
        assert_eq!(ended.code, Some(0));
        ended.stdout.lines().count()
    });
    assert_eq!(counts.iter().sum::<usize>(), 20);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn output_for_people_fits_80_columns_without_escapes() {
    let world = World::start();
    let mut receive = world.program(["receive", "s", "--count", "1", "--save", "saved"]);
    let receiver = Running::start(&mut receive);
    receiver.said("subscribed to ");
    world.file("t.csv", "a,b\n1,x\n");
    let name = "\u{1b}[31m世界".repeat(30);
    let mut send = world.program([
        "send",
        "s",
        "--text",
        &format!("{name}={}", "long \u{7} text ".repeat(40)),
        "--table",
        "t=@t.csv",
    ]);
    let sent = run(send.args(["--dict", "d={\"a\":1}", "--sender-name", &name]));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let ended = receiver.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for line in sent.stdout.lines().chain(ended.stdout.lines()).filter(|line| !line.contains("saved as")) {
        assert!(unicode_width::UnicodeWidthStr::width(line) <= 80, "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    assert!(
        ended.stdout.contains("1 row of 2 columns\n    a  b\n    1  x\n") && ended.stdout.contains("saved/d.json"),
        "{}",
        ended.stdout
    );
}
