//! Large payloads in a bucket instead of a file server, on a real S3 server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::process::Command;

use natsbridge::store::Digest;
use natsbridge_testkit::nanio::Nanio;
use support::{Running, World, run};

fn with_keys<'a>(command: &'a mut Command, url: &str) -> &'a mut Command {
    command.env("S3_URL", url).env("AWS_ACCESS_KEY_ID", Nanio::ACCESS_KEY).env("AWS_REGION", "us-east-1");
    command.env("AWS_SECRET_ACCESS_KEY", Nanio::SECRET_KEY).env_remove("FILESERVER_URL")
}

#[test]
fn bucket_carries_a_large_payload_with_or_without_keys_to_read() {
    let world = World::start();
    let s3 = Nanio::start().unwrap();
    let url = format!("s3://{}/lab?endpoint={}", Nanio::BUCKET, s3.url());
    let large: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    world.file("large", &large);
    let receivers = [
        Running::start(with_keys(&mut world.program(["receive", "s", "--json", "--count", "1"]), &url)),
        Running::start(&mut world.program(["receive", "s", "--json", "--count", "1", "--allow-origin", &s3.url()])),
    ];
    for receiver in &receivers {
        receiver.said("subscribed to ");
    }
    let sent = run(with_keys(&mut world.program(["send", "s", "--file", "large=@large"]), &url));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    for receiver in receivers {
        let message = receiver.json();
        let payload = &message["payloads"][0];
        assert_eq!((&payload["transport"], &payload["size"]), (&"link".into(), &large.len().into()), "{message}");
        assert_eq!(payload["sha256"], Digest::of(&large).to_string());
        assert_eq!(receiver.ended().code, Some(0));
    }
    assert_eq!(world.uploads(), 0);
}

#[test]
fn bucket_that_cannot_be_used_is_named_without_its_keys() {
    let world = World::start();
    for url in ["payloads", "s3://", "s3://key:hunter2@payloads", "s3://payloads?key=hunter2"] {
        let ended = run(&mut world.program(["send", "s", "--text", "a=b", "--s3", url]));
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("--s3") && !ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}
