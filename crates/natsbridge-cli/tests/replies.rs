//! Requests and the programs that answer them: real processes on both sides, with their failures and their limits.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use support::{Ended, Running, World, asked, captured, publish, run};

/// A service that answers with a shell command's output
fn service(world: &World, options: &[&str], script: &str) -> Running {
    let mut reply = world.program(["reply", "s", "--json"].iter().chain(options));
    let service = Running::start(reply.args(["--exec", "sh", "--", "-c", script]));
    service.said("replying to s");
    service
}

fn ask(world: &World, words: &[&str]) -> Ended {
    run(&mut world.program(["request", "s", "--json"].iter().chain(words)))
}

/// A request that waits for its answer
fn asking(world: &World) -> Running {
    Running::start(&mut world.program(["request", "s", "--json", "--text", "a=b"]))
}

fn json_of(ended: &Ended) -> Json {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", ended.stdout, ended.stderr))
}

fn stop(service: Running) -> Ended {
    assert!(Command::new("kill").args(["-TERM", &service.id().to_string()]).status().unwrap().success());
    service.ended()
}

#[test]
fn program_replies_with_its_output_and_gets_the_message() {
    let world = World::start();
    let script = "tr a-z A-Z; printf ' %s %s %s %s' \
        \"$NATSBRIDGE_SUBJECT\" \"$NATSBRIDGE_DATANAME\" \"$NATSBRIDGE_PAYLOAD_TYPE\" \"$NATSBRIDGE_SENDER_NAME\"";
    let service = service(&world, &[], script);
    let answered = ask(&world, &["--text", "word=hello", "--sender-name", "me", "--correlation-id", "c1"]);
    assert_eq!(answered.code, Some(0), "{}", answered.stderr);
    let answer = json_of(&answered);
    assert_eq!(answer["payloads"][0]["value"], "HELLO s word text me");
    assert_eq!((&answer["msg_purpose"], &answer["correlation_id"]), (&json!("chat"), &json!("c1")));
    let line = service.json();
    assert_eq!(line["msg_id"], answer["reply_to_msg_id"]);
    assert_eq!((&line["replied"], &line["size"]), (&json!(true), &json!(20)));
    let ended = stop(service);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("handled 1, replied 1, refused 0, unreadable 0, repeated 0, lost 0"),
        "{}",
        ended.stderr
    );
}

#[test]
fn failing_program_refuses_with_its_first_line() {
    let world = World::start();
    let service = service(&world, &[], "read -r code; echo \"no job $code\" >&2; echo more >&2; exit $code");
    for (code, retryable) in [("3", false), ("75", true)] {
        let refused = ask(&world, &["--text", &format!("code={code}")]);
        assert_eq!(refused.code, Some(8), "{}", refused.stderr);
        assert!(refused.stderr.contains(&format!(" (handler): no job {code}\n")), "{}", refused.stderr);
        let metadata = &json_of(&refused)["metadata"];
        assert_eq!(metadata["retryable"], retryable, "{metadata}");
        assert_eq!(service.json()["reason"], format!("no job {code}"));
    }
    // People find it on one output.
    let refused = run(&mut world.program(["request", "s", "--text", "code=3"]));
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(8), ""), "{}", refused.stderr);
    assert_eq!(refused.stderr.matches("no job 3").count(), 1, "{}", refused.stderr);
    assert!(stop(service).stderr.contains("replied 0, refused 3"));
}

#[test]
fn slow_program_is_killed() {
    let world = World::start();
    let service = service(&world, &["--timeout", "300ms"], "echo $$; echo $$ >pid; exec sleep 60");
    let refused = ask(&world, &["--text", "a=b"]);
    assert_eq!(refused.code, Some(8), "{}", refused.stderr);
    assert!(refused.stderr.contains("timeout"), "{}", refused.stderr);
    let pid = std::fs::read_to_string(world.path("pid")).unwrap();
    let start = Instant::now();
    // Killed at once; it is gone as soon as it is waited for.
    while Command::new("kill").args(["-0", pid.trim()]).stderr(std::process::Stdio::null()).status().unwrap().success()
    {
        assert!(start.elapsed() < Duration::from_secs(20), "{pid} still runs");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(service.json()["code"], "timeout");
}

#[test]
fn subject_without_subscribers_and_silent_one_are_told_apart() {
    let world = World::start();
    let nobody = ask(&world, &["--text", "a=b"]);
    assert_eq!(nobody.code, Some(8), "{}", nobody.stderr);
    assert!(nobody.stderr.contains("nobody subscribes"), "{}", nobody.stderr);
    assert!(nobody.took < Duration::from_secs(4), "{:?}", nobody.took);
    let _deaf = world.receiver(&["s"]);
    let silent = ask(&world, &["--text", "a=b", "--timeout", "200ms"]);
    assert_eq!(silent.code, Some(8), "{}", silent.stderr);
    assert!(silent.stderr.contains("within 200ms"), "{}", silent.stderr);
}

#[test]
fn programs_running_at_once_are_limited_as_asked() {
    let world = World::start();
    let script = "mkdir -p run; touch run/$$; ls run | wc -l; sleep 0.2; rm run/$$";
    let service = service(&world, &["--jobs", "2"], script);
    let asked: Vec<_> = (0..6).map(|_| asking(&world)).collect();
    let answers = asked.into_iter().map(|asked| json_of(&asked.ended()));
    let counts: Vec<u64> =
        answers.map(|answer| answer["payloads"][0]["value"].as_str().unwrap().trim().parse().unwrap()).collect();
    assert_eq!(counts.iter().max(), Some(&2), "{counts:?}");
    assert!(stop(service).stderr.contains("handled 6, replied 6"));
}

#[test]
fn large_payload_is_read_as_a_stream_and_bytes_return_as_bytes() {
    let world = World::start();
    world.sparse("large", 3_000_000);
    let service = service(&world, &[], "wc -c; head -c 4 /dev/zero | tr '\\0' '\\377'");
    let answer = json_of(&ask(&world, &["--file", "large=@large"]));
    assert_eq!(answer["payloads"][0]["payload_type"], "binary");
    assert_eq!(answer["payloads"][0]["size"], "3000000\n".len() + 4);
    drop(service);
}

#[test]
fn program_runs_once_for_a_repeated_message() {
    let world = World::start();
    let service = service(&world, &["--jobs", "1"], "echo run >>runs; sleep 0.7");
    // Repeated while the program runs, and again when it has answered.
    let message = captured(&world.nats, "s", || {
        let sent = run(&mut world.program(["send", "s", "--text", "a=b", "--ack", "1", "--json"]));
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        let sent: Json = serde_json::from_str(&sent.stdout).unwrap();
        assert!(sent["repeats"].as_u64() > Some(0), "the test shows nothing unless it was repeated: {sent}");
    });
    publish(&world.nats, "s", message.as_bytes());
    assert_eq!(ask(&world, &["--text", "a=b"]).code, Some(0));
    stop(service);
    assert_eq!(std::fs::read_to_string(world.path("runs")).unwrap(), "run\nrun\n");
}

#[test]
fn running_program_finishes_and_replies_after_a_signal() {
    let world = World::start();
    let service = service(&world, &[], "echo begun >&2; sleep 0.5; echo done");
    let asked = asking(&world);
    service.said("begun");
    let ended = stop(service);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(json_of(&asked.ended())["payloads"][0]["value"], "done\n");
}

#[test]
fn message_without_reply_subject_is_handled_and_output_fits() {
    let world = World::start();
    let mut reply = world.program(["reply", "s", "--exec", "cat"]);
    let service = Running::start(&mut reply);
    service.said("replying to s");
    let name = "\u{1b}[2J世界".repeat(30);
    assert_eq!(run(&mut world.program(["send", "s", "--text", "a=b", "--sender-name", &name])).code, Some(0));
    let line = service.line();
    assert!(unicode_width::UnicodeWidthStr::width(&*line) <= 80 && !line.contains('\u{1b}'), "{line:?}");
    publish(&world.nats, "s", b"no envelope");
    publish(&world.nats, "s", br#"{"msg_id":"empty","sender_name":"x","payloads":[]}"#);
    let line = service.line();
    assert!(line.contains("done in") && line.contains("no reply was asked for"), "{line}");
    let ended = stop(service);
    assert!(ended.stderr.contains("handled 2, replied 0, refused 0, unreadable 1"), "{}", ended.stderr);
}

#[test]
fn replies_go_to_listed_subjects_alone() {
    let world = World::start();
    let service = service(&world, &["--reply-to", "allowed.>"], "echo done");
    let answers = world.receiver(&[">", "--for", "3s"]);
    for (n, subject) in ["other", "allowed.x"].iter().enumerate() {
        let message = json!({ "msg_id": format!("m{n}"), "sender_id": "x", "reply_to": subject, "payloads": [] });
        publish(&world.nats, "s", message.to_string().as_bytes());
    }
    let answered: Vec<_> =
        (0..2).map(|_| service.json()).map(|line| (line["msg_id"].clone(), line["replied"].clone())).collect();
    for line in [(json!("m0"), json!(false)), (json!("m1"), json!(true))] {
        assert!(answered.contains(&line), "{answered:?}");
    }
    let seen = answers.ended().stdout;
    let to: Vec<Json> =
        seen.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()["send_to"].clone()).collect();
    assert!(to.contains(&json!("allowed.x")) && !to.contains(&json!("other")), "{seen}");
}

#[test]
fn long_refusal_is_printed_whole_to_a_pipe() {
    let world = World::start();
    let words = "why ".repeat(60);
    let service = Running::start(&mut world.program([
        "reply",
        "s",
        "--exec",
        "sh",
        "--",
        "-c",
        &format!("echo {words} >&2; exit 3"),
    ]));
    service.said("replying to s");
    assert_eq!(ask(&world, &["--text", "a=b"]).code, Some(8));
    let line = service.line();
    assert!(line.ends_with(&format!("refused (handler): {}", words.trim_end())), "{line}");
}

#[test]
fn table_in_a_reply_is_saved_and_people_read_what_it_replies_to() {
    let world = World::start();
    world.file("run.csv", "n,note\n1,a\n");
    for json in [false, true] {
        let mut asking = None;
        let (inbox, envelope) = asked(&world.nats, "lab.fit", || {
            let words = ["request", "lab.fit", "--text", "a=b", "--save", "kept", "--save-tables", "csv"];
            let mut request = world.program(words.iter().chain(json.then_some(&"--json")));
            asking = Some(Running::start(&mut request));
        });
        let request: Json = serde_json::from_str(&envelope).unwrap();
        let msg_id = request["msg_id"].as_str().unwrap();
        let sent = run(&mut world.program(["send", &inbox, "--reply-to-msg-id", msg_id, "--table", "t=@run.csv"]));
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        let ended = asking.unwrap().ended();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        if json {
            let reply = json_of(&ended);
            assert_eq!((&reply["send_to"], &reply["payloads"][0]["path"]), (&json!(inbox), &json!("kept/t (2).csv")));
        } else {
            assert!(
                ended.stdout.starts_with("reply to lab.fit\n") && !ended.stdout.contains("_INBOX"),
                "{}",
                ended.stdout
            );
            assert!(ended.stdout.contains("    saved as kept/t.csv\n"), "{}", ended.stdout);
        }
    }
    assert_eq!(std::fs::read_to_string(world.path("kept/t.csv")).unwrap(), "n,note\n1,a\n");
}
