//! What operators and shells get from the program: metrics, completions, manual pages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use natsbridge_testkit::certificates::Authority;
use support::{Running, World, program, publish, run};

fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn file_server_tells_programs_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = program();
    serve.args(["serve", "--json", "--listen", "127.0.0.1:0", "--dir"]).arg(folder.path());
    let server = Running::start(&mut serve);
    let url = server.json()["url"].as_str().unwrap().to_owned();
    let answer = TcpStream::connect(url.strip_prefix("http://").unwrap());
    assert!(answer.is_ok(), "{url}");
}

#[test]
fn port_check_of_a_load_balancer_is_no_refused_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let certificate = Authority::new("ours").unwrap().server("localhost", false).unwrap();
    std::fs::write(path("files.pem"), certificate.pem).unwrap();
    std::fs::write(path("files.key"), certificate.key).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut serve = program();
    serve.args(["serve", "--json", "--listen", "127.0.0.1:0", "--metrics", &address, "--dir"]).arg(path("files"));
    serve.arg("--tls-cert").arg(path("files.pem")).arg("--tls-key").arg(path("files.key"));
    let server = Running::start(&mut serve);
    let url = server.json()["url"].as_str().unwrap().to_owned();
    let files = url.strip_prefix("https://").unwrap();
    for _ in 0..8 {
        drop(TcpStream::connect(files).unwrap());
    }
    // One that does not speak TLS is refused; when it is counted, those before it are through.
    let mut plain = TcpStream::connect(files).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let _ = plain.read_to_end(&mut Vec::new());
    let began = Instant::now();
    let (text, counted) = loop {
        let text = metrics(&address);
        let refused = "fileserver_refusals_total{reason=\"handshake\"} ";
        let counted: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(refused)).map(str::to_owned).collect();
        if counted != ["0"] || began.elapsed() > Duration::from_secs(10) {
            break (text, counted);
        }
        // The refusal reaches the client before it is counted.
        sleep(Duration::from_millis(20));
    };
    assert_eq!(counted, ["1"], "{text}");
}

#[test]
fn receiver_serves_its_counters_to_prometheus() {
    let world = World::start();
    // Free for now: Prometheus has to know the port, so the program takes no free one by itself.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let receiver = world.receiver(&["s", "--ack", "--metrics", &address]);
    publish(&world.nats, "s", br#"{"msg_id":"m","reply_to":"r","payloads":[]}"#);
    assert_eq!(receiver.json()["msg_id"], "m");
    world.file("large", vec![0; 600_000]);
    assert_eq!(run(&mut world.program(["send", "s", "--file", "large=@large", "--ack", "1"])).code, Some(0));
    let text = metrics(&address);
    for line in
        ["messages_received_total 2", "acks_sent_total 2", "file_download_duration_seconds_count{outcome=\"ok\"} 1"]
    {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains("# HELP messages_received_total"), "{text}");

    let second = run(&mut world.program(["receive", "s", "--metrics", &address]));
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains(&address), "{}", second.stderr);
}

#[test]
fn completions_name_every_command_and_are_valid_bash() {
    for shell in ["bash", "zsh", "fish"] {
        let made = run(program().args(["completions", shell]));
        assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""), "{shell}");
        for command in ["send", "receive", "request", "reply", "serve"] {
            assert!(made.stdout.contains(command), "{shell}: {command}");
        }
        if shell == "bash" {
            let mut bash = std::process::Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
            bash.stdin.take().unwrap().write_all(made.stdout.as_bytes()).unwrap();
            assert!(bash.wait().unwrap().success());
        }
    }
}

#[test]
fn manual_pages_are_printed_and_written() {
    let page = run(program().args(["man", "send"]));
    assert_eq!((page.code, page.stderr.as_str()), (Some(0), ""));
    assert!(page.stdout.contains(".TH natsbridge-send 1") && page.stdout.contains("\\-\\-ack"), "{}", page.stdout);
    let whole = run(program().arg("man")).stdout;
    assert!(whole.contains(".TH natsbridge 1") && whole.contains("FILESERVER_TOKEN"), "{whole}");
    assert_eq!(run(program().args(["man", "nothing"])).code, Some(2));

    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(program().args(["man", "--dir"]).arg(folder.path().join("new"))).code, Some(0));
    let pages = support::entries(&folder.path().join("new"));
    for name in ["natsbridge.1", "natsbridge-receive.1", "natsbridge-files-sweep.1"] {
        assert!(pages.iter().any(|page| page == name), "{pages:?}");
    }
}
