//! `--store`: payloads on a server that takes HTTP PUT, sent and received from the command line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::HashMap;
use std::sync::Mutex;

use natsbridge_testkit::scripted_http::{Reply, Request};
use support::{Running, Scripted, World, run};

/// A folder of `WebDAV` that asks for a token, or a user and a password
fn folder(asked: &'static str) -> Scripted {
    let files: Mutex<HashMap<String, Vec<u8>>> = Mutex::default();
    Scripted::start(move |request: &Request| {
        let mut files = files.lock().unwrap();
        if request.header("authorization") != Some(asked) {
            return Some(Reply::new(401, &[], ""));
        }
        Some(match request.method.as_str() {
            "PUT" => {
                files.insert(request.target.clone(), request.body.to_vec());
                Reply::new(201, &[], "")
            }
            _ => files.get(&request.target).map_or_else(|| Reply::new(404, &[], ""), Reply::ok),
        })
    })
}

#[test]
fn payload_goes_to_the_store_and_comes_from_it_with_its_credentials() {
    let world = World::start();
    world.file("large", vec![7; 600_000]);
    for (asked, with_user, path) in [
        ("Bearer hunter2", false, "/in"),
        ("Bearer hunter2", false, "/in/{id}.bin?k=v"),
        // ann:hunter2
        ("Basic YW5uOmh1bnRlcjI=", true, "/in/"),
    ] {
        let files = folder(asked);
        let mut url = format!("{}{path}", files.server.url());
        if with_user {
            url = url.replace("http://", "http://ann:hunter2@");
        }
        let command = |words: &[&str]| {
            let mut command = world.program(words);
            command.env_remove("FILESERVER_URL").env("STORE_URL", &url);
            if !with_user {
                command.env("FILESERVER_TOKEN", "hunter2");
            }
            command
        };
        let receiver = Running::start(&mut command(&["receive", "s", "--json", "--count", "1"]));
        receiver.said("subscribed to ");
        let sent = run(&mut command(&["send", "s", "--file", "f=@large"]));
        assert_eq!(sent.code, Some(0), "{path}: {}", sent.stderr);
        let line = receiver.json();
        assert_eq!(line["payloads"][0]["size"], 600_000, "{line}");
        assert!(!line.to_string().contains("hunter2"), "{line}");
        assert_eq!(receiver.ended().code, Some(0));
        let put = files.server.requests().into_iter().find(|request| request.method == "PUT").unwrap();
        assert!(put.target.starts_with("/in/"), "{}", put.target);
    }
}

#[test]
fn refused_and_dead_stores_say_what_to_do() {
    let world = World::start();
    world.file("large", vec![7; 600_000]);
    let files = folder("Bearer other");
    let send = |url: &str| {
        let mut command = world.program(["send", "s", "--file", "f=@large", "--store", url]);
        command.env("FILESERVER_TOKEN", "hunter2");
        run(&mut command)
    };
    let refused = send(&format!("{}/in", files.server.url()));
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains("FILESERVER_TOKEN") && !refused.stderr.contains("hunter2"), "{}", refused.stderr);
    let dead = send("http://127.0.0.1:9/in");
    assert_eq!(dead.code, Some(4), "{}", dead.stderr);
    assert!(dead.stderr.contains("--store") && !dead.stderr.contains("natsbridge serve"), "{}", dead.stderr);
    let both =
        run(world.program(["send", "s", "--text", "a=b"]).env("STORE_URL", "http://a/b").env("S3_URL", "s3://c"));
    assert!(both.code == Some(2) && both.stderr.contains("STORE_URL"), "{}", both.stderr);
}
