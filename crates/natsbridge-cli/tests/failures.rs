//! What is said and done when something is missing, dead or dies: a clear error, a distinct exit code, never a hang.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use natsbridge_testkit::nats_server::NatsServer;
use serde_json::json;
use support::{Running, Scripted, World, captured, downloading, entries, program, publish, run, unfinished};

/// A port where nothing listens
fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn dead_nats_server_is_named_without_password_in_six_seconds() {
    // One refuses, the other accepts and stays silent.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [dead_port(), silent.local_addr().unwrap().port()];
    let check = |port: u16, words: &[&str], in_variable: bool| {
        let url = format!("nats://user:hunter2@127.0.0.1:{port}");
        let mut command = program();
        command.args(words);
        if in_variable {
            command.env("NATS_URL", &url)
        } else {
            command.args(["--nats", &url])
        };
        let ended = run(&mut command);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(ended.took < Duration::from_secs(6), "{:?}", ended.took);
        assert!(ended.stderr.contains(&format!("127.0.0.1:{port}")), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
        assert!(!format!("{}{}", ended.stdout, ended.stderr).contains("hunter2"), "{}", ended.stderr);
    };
    std::thread::scope(|scope| {
        for port in ports {
            for words in [&["send", "s", "--text", "a=b"][..], &["receive", "s"]] {
                for in_variable in [true, false] {
                    scope.spawn(move || check(port, words, in_variable));
                }
            }
        }
    });
}

#[test]
fn refused_login_says_how_to_give_another() {
    let nats = NatsServer::builder().token("right").start().unwrap();
    let url = nats.url().replace("nats://", "nats://hunter2@");
    let ended = run(program().args(["send", "s", "--text", "a=b"]).env("NATS_URL", url));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("--creds") && !ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[test]
fn bad_variable_or_argument_is_named() {
    for (name, value) in [
        ("SIZE_THRESHOLD", "half"),
        ("FILESERVER_URL", "files"),
        ("FILESERVER_URL", "http://"),
        ("FILESERVER_TOKEN", "hunter2\nhunter2"),
        ("NATS_URL", "http://hunter2@x"),
        ("NATS_URL", "nats://"),
        ("NATS_URL", "nats://ann:hun/ter2@x"),
        ("NATS_CREDS", "no/such/file"),
        ("NATS_NKEY", "no/such/file"),
        ("NATS_CA", "no/such/file"),
    ] {
        let ended = run(program().args(["send", "s", "--text", "a=b"]).env(name, value));
        assert_eq!(ended.code, Some(2), "{name}: {}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
        assert!(ended.stderr.contains(name), "{}", ended.stderr);
    }
    for words in [
        &["send", "s", "--fileserver", "files"][..],
        &["send", "s", "--text", "nameless"],
        &["send", "s", "--image", "a=b.png"],
        &["send", "s", "--link-ttl", "soon"],
        &["send", "s", "--text", "a=b", "--link-ttl", "0s"],
        &["send", "s", "--text", "a=b", "--ack", "1", "--timeout", "0s"],
        &["request", "s", "--text", "a=b", "--timeout", "0s"],
        &["send", "s", "--text", "a=b", "--reply-to", "a b"],
        &["send", "s", "--text", "a=b", "--reply-to", "a.*"],
        &["send", "s", "--text", "a=b", "--reply-to", ""],
        &["send", "s", "--lines="],
        &["send"],
        &["receive", "s", "--count", "0"],
        &["serve"],
        &["serve", "--dir", "d", "--max-size", "much"],
        &["nothing"],
        &["send", "s", "--text", "a=b", "--s3", "s3://pay loads?endpoint=http://127.0.0.1:9"],
        &["send", "s", "--text", "a=b", "--s3", "s3://payloads?endpoint=127.0.0.1"],
        &["send", "s", "--text", "a=b", "--s3", "s3://payloads?endpoint"],
    ] {
        let ended = run(program().args(words));
        assert_eq!(ended.code, Some(2), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("error: "), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn unreadable_input_is_named_with_its_payload() {
    let world = World::start();
    world.file("bad.json", "[1");
    world.file("bad.csv", "a,b\n1\n");
    world.file("bad.txt", b"\xff");
    for (words, text) in [
        (["--file", "p=@absent"], "absent"),
        (["--file", "p=@."], "directory"),
        (["--dict", "p={"], "JSON"),
        (["--table", "p=@bad.json"], "table"),
        (["--table", "p=@bad.csv"], "table"),
        (["--table", "p=@bad.txt"], ".csv"),
        (["--text", "p=@bad.txt"], "UTF-8"),
    ] {
        let ended = run(&mut world.program(["send", "s"].iter().chain(&words)));
        assert_eq!(ended.code, Some(5), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("payload `p`") && ended.stderr.contains(text), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn dead_file_server_fails_the_send_with_attempts_and_cause() {
    let world = World::start();
    world.file("large", vec![0; 600_000]);
    let url = format!("http://127.0.0.1:{}", dead_port());
    let ended = run(world.program(["send", "s", "--file", "large=@large"]).env("FILESERVER_URL", &url));
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    for text in ["payload `large`", url.as_str(), "after 6 attempts", "caused by", "natsbridge serve"] {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
}

#[test]
fn wrong_token_fails_the_send_and_says_where_it_goes() {
    let world = World::start();
    world.file("large", vec![0; 600_000]);
    let mut serve = program();
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
        .arg(world.path("closed"))
        .env("FILESERVER_TOKEN", "right");
    let files = Running::start(&mut serve);
    let url = files.line().replace("listening on ", "");
    for (token, code) in [("hunter2", 4), ("right", 0)] {
        let mut send = world.program(["send", "s", "--file", "large=@large"]);
        let ended = run(send.env("FILESERVER_URL", &url).env("FILESERVER_TOKEN", token));
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(code == 0 || ended.stderr.contains("FILESERVER_TOKEN"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}

#[test]
fn file_server_dying_during_a_download_is_an_error_line() {
    let mut world = World::start();
    let len = 400_000_000;
    world.sparse("large", len);
    std::fs::create_dir(world.path("saved")).unwrap();
    let receiver = world.receiver(&["s", "--count", "2", "--save", "saved"]);
    assert_eq!(run(&mut world.program(["send", "s", "--file", "large=@large"])).code, Some(0));
    let so_far = downloading(&world.path("saved"));
    world.files.kill();
    assert!(so_far < len);
    let line = receiver.json();
    assert_eq!(line["error"]["code"], "download_retry_exceeded", "{line}");
    assert_eq!(line["error"]["dataname"], "large");
    assert_eq!(entries(&world.path("saved")), Vec::<String>::new());
    publish(&world.nats, "s", br#"{"msg_id":"next","payloads":[]}"#);
    assert_eq!(receiver.json()["msg_id"], "next");
    assert_eq!(receiver.ended().code, Some(6));
}

#[test]
fn receiver_killed_during_a_download_leaves_no_final_file() {
    let world = World::start();
    let len = 400_000_000;
    world.sparse("large", len);
    std::fs::create_dir(world.path("saved")).unwrap();
    let mut receiver = world.receiver(&["s", "--save", "saved"]);
    assert_eq!(run(&mut world.program(["send", "s", "--file", "large=@large"])).code, Some(0));
    assert!(downloading(&world.path("saved")) < len);
    receiver.kill();
    let left = entries(&world.path("saved"));
    let unfinished =
        |name: &str| name.starts_with(".natsbridge-") && (name.ends_with(".part") || name.ends_with(".lock"));
    assert!(left.iter().all(|name| unfinished(name)), "{left:?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_receiver_and_file_server_in_order() {
    for signal in ["-INT", "-TERM"] {
        let world = World::start();
        let receiver = world.receiver(&["s"]);
        publish(&world.nats, "s", br#"{"msg_id":"m","payloads":[]}"#);
        assert_eq!(receiver.json()["msg_id"], "m");
        for process in [receiver, world.files] {
            assert!(Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap().success());
            let ended = process.ended();
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        }
    }
}

#[cfg(unix)]
#[test]
fn receiver_stopped_during_a_download_removes_its_part() {
    let world = World::start();
    let files = Scripted::stalling();
    let receiver = world.receiver(&["s", "--save", "saved", "--grace", "0s", "--allow-origin", &files.server.url()]);
    publish(&world.nats, "s", files.message().as_bytes());
    unfinished(&world.path("saved"));
    assert!(Command::new("kill").args(["-TERM", &receiver.id().to_string()]).status().unwrap().success());
    let ended = receiver.ended();
    assert_eq!(ended.code, Some(9), "{}", ended.stderr);
    assert!(ended.stderr.contains("received 0") && ended.stderr.contains("unhandled 1"), "{}", ended.stderr);
    assert_eq!(entries(&world.path("saved")), Vec::<String>::new());
}

#[test]
fn parts_of_a_killed_receiver_go_when_the_next_one_starts() {
    let world = World::start();
    let files = Scripted::stalling();
    let url = files.server.url();
    let start = || {
        let receiver = world.receiver(&["s", "--save", "saved", "--allow-origin", &url]);
        publish(&world.nats, "s", files.message().as_bytes());
        unfinished(&world.path("saved"));
        receiver
    };
    let mut killed = start();
    killed.kill();
    let left = entries(&world.path("saved"));
    assert!(left.iter().any(|name| name.ends_with(".part")), "{left:?}");
    let _living = start();
    let now = entries(&world.path("saved"));
    assert!(!now.iter().any(|name| left.contains(name)), "{now:?}");
    // What a living one writes stays.
    let _next = world.receiver(&["other", "--save", "saved"]);
    assert_eq!(entries(&world.path("saved")), now);
}

#[cfg(unix)]
#[test]
fn links_for_a_program_are_private_and_go_with_a_killed_reply() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::start();
    let files = Scripted::stalling();
    let temporary = world.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let start = || {
        let mut reply = world.program(["reply", "s", "--allow-origin", &files.server.url(), "--exec", "cat"]);
        let reply = Running::start(reply.env("TMPDIR", &temporary));
        reply.said("replying to s");
        reply
    };
    let mut killed = start();
    publish(&world.nats, "s", files.message().as_bytes());
    let file = unfinished(&temporary);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = std::fs::metadata(file.parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    killed.kill();
    assert!(file.exists());
    let _next = start();
    assert_eq!(entries(&temporary), Vec::<String>::new());
}

#[test]
fn folder_that_cannot_be_made_is_named() {
    let world = World::start();
    world.file("taken", "");
    let ended = run(&mut world.program(["receive", "s", "--save", "taken/inside"]));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot make the folder taken/inside"), "{}", ended.stderr);
    for words in [&["serve", "--listen", "127.0.0.1:0", "--dir", "taken"][..], &["files", "sweep", "--dir", "taken"]] {
        let ended = run(&mut world.program(words));
        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        assert!(ended.stderr.contains("a file, not a folder; choose another name"), "{}", ended.stderr);
    }
}

#[test]
fn time_over_without_all_messages_has_its_own_exit_code() {
    let world = World::start();
    let receiver = world.receiver(&["s", "--for", "300ms", "--count", "2"]);
    publish(&world.nats, "s", br#"{"msg_id":"m","payloads":[]}"#);
    let ended = receiver.ended();
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert!(ended.stderr.contains("1 of 2 messages"), "{}", ended.stderr);
    let quiet = world.receiver(&["s", "--for", "100ms"]).ended();
    assert_eq!((quiet.code, quiet.stdout.as_str()), (Some(0), ""), "{}", quiet.stderr);
}

#[test]
fn reader_that_goes_away_ends_the_program_quietly() {
    let world = World::start();
    let mut child = world.program(["receive", "s"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut String::new()).unwrap();
    publish(&world.nats, "s", br#"{"msg_id":"m","payloads":[]}"#);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    assert_eq!(rest, "");

    let mut help = program().args(["send", "--help"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(help.stdout.take());
    let output = help.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn folder_in_use_is_not_swept_and_a_free_one_is() {
    let mut world = World::start();
    let sweep = |world: &World| run(&mut world.program(["files", "sweep", "--dir", "stored"]));
    let busy = sweep(&world);
    assert_eq!(busy.code, Some(4));
    assert!(busy.stderr.contains("in use"), "{}", busy.stderr);
    world.file("large", vec![0; 600_000]);
    assert_eq!(run(&mut world.program(["send", "s", "--file", "a=@large", "--link-ttl", "1s"])).code, Some(0));
    assert_eq!(world.uploads(), 1);
    world.files.kill();
    let start = std::time::Instant::now();
    while world.uploads() > 0 {
        let swept = sweep(&world);
        assert_eq!(swept.code, Some(0), "{}", swept.stderr);
        assert!(start.elapsed() < Duration::from_secs(20), "{}", swept.stdout);
    }
    assert_eq!(run(&mut world.program(["files", "sweep", "--dir", "absent"])).code, Some(4));
    assert_eq!(json!(sweep(&world).stdout), "0 uploads erased, 0 B\n");
    let told = run(&mut world.program(["files", "sweep", "--dir", "stored", "--json"])).stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&told).unwrap(), json!({ "uploads": 0, "bytes": 0 }));
}

#[test]
fn server_of_another_protocol_is_reported_as_such() {
    let nats = NatsServer::start().unwrap();
    for (scheme, named) in [("tls", "TLS"), ("ws", "WebSocket"), ("wss", "TLS")] {
        let url = format!("{scheme}://127.0.0.1:{}", nats.port());
        let ended = run(program().args(["send", "s", "--text", "a=b"]).env("NATS_URL", &url));
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains(named) && ended.stderr.contains("nats://"), "{scheme}: {}", ended.stderr);
        let wrong = ["start nats-server", "give --tls-first"];
        assert!(!wrong.iter().any(|text| ended.stderr.contains(text)), "{scheme}: {}", ended.stderr);
    }
}

#[test]
fn address_of_the_other_server_is_told_once() {
    let world = World::start();
    world.file("large", vec![0; 600_000]);
    let tls = world.files_url.replace("http://", "https://");
    let nats = world.nats.url();
    for (url, told) in [
        (
            tls,
            "\n  caused by: the server there does not speak TLS; use http:// in place of https://\n  help: correct --file",
        ),
        (nats.replace("nats://", "http://"), "\n  help: no file server is at that port (is it NATS?); correct --file"),
    ] {
        let ended = run(world.program(["send", "s", "--file", "large=@large"]).env("FILESERVER_URL", url));
        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
    let url = world.files_url.replace("http://", "nats://");
    let ended = run(world.program(["send", "s", "--text", "a=b"]).env("NATS_URL", &url));
    let told =
        "no NATS server replies there; check the address, firewalls and the port, which may be the file server's";
    assert!(ended.stderr.starts_with(&format!("error: could not connect to {url}")), "{}", ended.stderr);
    assert!(ended.stderr.ends_with(&format!(": {told}\n")) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
}

#[test]
fn nobody_there_is_told_once() {
    let ended = run(program().args(["send", "s", "--text", "a=b", "--nats", "nats://127.0.0.1:9"]));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let told = "could not connect to nats://127.0.0.1:9: nothing accepts connections there\n  help: start nats-server, or name \
                another server with --nats, --profile or NATS_URL";
    assert_eq!(ended.stderr, format!("error: {told}\n"));
    let nats = NatsServer::start().unwrap();
    let words = ["request", "s", "--text", "a=b", "--timeout", "100ms"];
    let mut ended = None;
    captured(&nats, "s", || ended = Some(run(program().args(words).env("NATS_URL", nats.url()))));
    let told = "no reply to the request to `s` within 100ms: the responder is slow, or has ended with an error; look at what \
                it says\n  help: wait longer with --timeout";
    assert_eq!(ended.unwrap().stderr, format!("error: {told}\n"));
}
