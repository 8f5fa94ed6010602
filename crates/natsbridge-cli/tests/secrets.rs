//! Planted secrets: no command shows one, whether it fails or works, however much it logs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::process::Command;

use natsbridge_testkit::nats_server::NatsServer;
use support::{Running, World, program, run};

/// In every place where a secret may stand: nothing else that is printed can hold it
const SECRET: &str = "kXq7wZ";

/// Commands that end by themselves with these servers, whatever they find
const COMMANDS: [&[&str]; 12] = [
    &["send", "s", "--text", "a=b"],
    &["send", "s", "--file", "large=@large"],
    &["send", "s", "--text", "a=b", "--ack", "1", "--timeout", "200ms"],
    &["request", "s", "--text", "a=b", "--timeout", "200ms"],
    &["receive", "s", "--for", "300ms"],
    &["watch", "s", "--for", "300ms"],
    &["record", "s", "--for", "300ms", "--to", "-"],
    &["replay", "record.ndjson"],
    &["inspect", "envelope.json"],
    &["inspect", "--subject", "s", "--timeout", "300ms"],
    &["doctor", "s"],
    &["bench", "--messages", "100", "--link-size", "1MB"],
];

/// Runs every command with these variables, in which `SECRET` stands for the secret, logging everything
fn check(world: &World, variables: &[&str]) {
    for words in COMMANDS {
        let mut command: Command = world.program(words);
        command.arg("-vv").env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1");
        for variable in variables {
            let (name, value) = variable.split_once('=').unwrap();
            command.env(name, value.replace("SECRET", SECRET));
        }
        let ended = run(&mut command);
        let shown = format!("{}{}", ended.stdout, ended.stderr);
        let line = shown.lines().find(|line| line.contains(SECRET));
        assert_eq!(line, None, "{words:?} with {variables:?}");
        assert!(ended.code.is_some(), "{words:?} died");
    }
}

fn prepared() -> World {
    let world = World::start();
    world.file("large", vec![0; 600_000]);
    let envelope = format!(
        r#"{{"broker_url":"nats://ann:{SECRET}@127.0.0.1:9","payloads":[{{"dataname":"d","payload_type":"binary",
        "transport":"link","size":1,"data":"http://ann:{SECRET}@127.0.0.1:9/f?token={SECRET}"}}]}}"#
    );
    world.file("envelope.json", envelope);
    world.file(
        "record.ndjson",
        "{\"natsbridge_record\":1}\n{\"at_us\":0,\"subject\":\"s\",\"payload\":\"{\\\"payloads\\\":[]}\"}\n",
    );
    world
}

#[test]
fn secrets_of_unreachable_servers_are_not_shown() {
    let world = prepared();
    check(
        &world,
        &[
            "NATS_URL=nats://ann:SECRET@127.0.0.1:9?x=SECRET",
            "FILESERVER_URL=http://ann:SECRET@127.0.0.1:9/?token=SECRET",
            "FILESERVER_TOKEN=SECRET",
        ],
    );
    check(&world, &["NATS_URL=nats://SECRET@127.0.0.1:9", "FILESERVER_TOKEN=SECRET"]);
}

#[test]
fn secrets_right_or_wrong_are_not_shown() {
    let world = prepared();
    let mut serve = program();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(world.path("closed"));
    let files = Running::start(serve.env("FILESERVER_TOKEN", SECRET).env("RUST_LOG", "trace"));
    let files_url = files.line().replace("listening on ", "FILESERVER_URL=");
    let nats = NatsServer::builder().user("ann", SECRET).start().unwrap();
    let in_url = format!("NATS_URL={}", nats.url().replace("nats://", "nats://ann:SECRET@"));
    check(&world, &[&in_url, &files_url, "FILESERVER_TOKEN=SECRET"]);
    check(&world, &[&in_url, &files_url, "FILESERVER_TOKEN=wrongSECRET"]);
    let url = format!("NATS_URL={}", nats.url());
    check(&world, &[&url, "NATS_USER=ann", "NATS_PASSWORD=SECRET"]);
    check(&world, &[&url, "NATS_USER=ann", "NATS_PASSWORD=wrongSECRET"]);
    check(&world, &[&url, "NATS_TOKEN=SECRET"]);
    assert!(Command::new("kill").args(["-TERM", &files.id().to_string()]).status().unwrap().success());
    let ended = files.ended();
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(SECRET), "{}", ended.stderr);
}

#[test]
fn secrets_that_cannot_be_used_are_not_shown() {
    let world = prepared();
    world.file("unusable", SECRET);
    for variables in [
        &["NATS_URL=http://ann:SECRET@x"][..],
        &["NATS_URL=nats://ann:SECRET@127.0.0.1:99999"],
        &["NATS_URL=nats://ann:SECRET@a,nats://ann:bSECRET@b"],
        &["FILESERVER_URL=ftp://ann:SECRET@x"],
        &["FILESERVER_URL=http://ann:SECRET@127.0.0.1:99999"],
        &["FILESERVER_TOKEN=SECRET\n"],
        &["NATS_CREDS=unusable"],
        &["NATS_NKEY=unusable"],
        &["NATS_TOKEN=SECRET", "NATS_USER=ann"],
        &["NATS_PASSWORD=SECRET"],
    ] {
        check(&world, variables);
    }
}

#[test]
fn secret_among_the_arguments_is_not_repeated() {
    let world = prepared();
    for (option, value) in [
        ("--nats", "nats://ann:SECRET@127.0.0.1:9"),
        ("--nats", "nats//ann:SECRET@127.0.0.1"),
        ("--fileserver", "http://ann:SECRET@127.0.0.1:9"),
        ("--fileserver", "ann:SECRET@127.0.0.1:9"),
        ("--s3", "s3://ann:SECRET@bucket"),
        ("--s3", "ann:SECRET@bucket"),
    ] {
        for words in [&["send", "s", "--file", "large=@large"][..], &["inspect", "envelope.json"]] {
            let mut command = world.program(words);
            command.args([option, &value.replace("SECRET", SECRET), "-vv"]).env("RUST_LOG", "trace");
            // Where keys are found they are not looked for on the network.
            command.envs([("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_REGION", "x")]);
            let ended = run(command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_ALLOW_HTTP", "true"));
            let shown = format!("{}{}", ended.stdout, ended.stderr);
            let line = shown.lines().find(|line| line.contains(SECRET));
            assert_eq!(line, None, "{option} {value}");
        }
    }
}
