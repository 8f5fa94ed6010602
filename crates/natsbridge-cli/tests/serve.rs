//! `natsbridge serve` as a process: what others on its machine see of it, and a disk that is full.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use support::{Running, program};

const TOKEN: &str = "pl4nt3d-server-token";

/// Starts it and waits for its address
fn serve(command: &mut Command) -> (Running, String) {
    let server = Running::start(command);
    let line = server.line();
    let address = line.strip_prefix("listening on http://").expect("its address").to_owned();
    (server, address)
}

fn ask(address: &str, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // It may answer and close before it has all.
    let _ = stream.write_all(request.as_ref());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn create(address: &str, headers: &str) -> String {
    ask(
        address,
        format!("POST /upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}Content-Length: 2\r\n\r\n{{}}"),
    )
}

fn add(address: &str, created: &Json, content: &[u8]) -> String {
    let (id, token) = (created["id"].as_str().unwrap(), created["uploadToken"].as_str().unwrap());
    let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    let body = [head.as_bytes(), content, b"\r\n--b--\r\n"].concat();
    let head = format!(
        "POST /file/{id} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-UploadToken: {token}\r\nContent-Type: multipart/form-data; boundary=b\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    ask(address, [head.as_bytes(), &body].concat())
}

fn body(answer: &str) -> Json {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Bytes of content in all uploads
fn stored(dir: &Path) -> u64 {
    let uploads = fs::read_dir(dir.join("uploads")).unwrap().map(|upload| upload.unwrap().path());
    let files = uploads.flat_map(|upload| fs::read_dir(upload).unwrap()).map(Result::unwrap);
    let content = files.filter(|file| !file.file_name().to_string_lossy().contains("record"));
    content.map(|file| file.metadata().map_or(0, |found| found.len())).sum()
}

#[test]
fn the_token_from_the_environment_guards_uploads_and_is_seen_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--dir"];
    let mut command = program();
    command.args(arguments).arg(dir.path()).env("FILESERVER_TOKEN", TOKEN).env("RUST_LOG", "trace");
    let (server, address) = serve(&mut command);
    assert!(create(&address, "").starts_with("HTTP/1.1 400"));
    assert!(create(&address, "X-PlikToken: guess\r\n").starts_with("HTTP/1.1 403"));
    let created = create(&address, &format!("X-PlikToken: {TOKEN}\r\n"));
    assert!(created.starts_with("HTTP/1.1 200"), "{created}");
    assert!(add(&address, &body(&created), b"content").starts_with("HTTP/1.1 200"));

    // What `ps` prints, and the thread names beside it.
    let process = format!("/proc/{}", server.id());
    let title = fs::read(format!("{process}/cmdline")).unwrap();
    assert!(String::from_utf8_lossy(&title).contains("serve"));
    let threads = fs::read_dir(format!("{process}/task")).unwrap();
    let names = threads.map(|thread| fs::read(thread.unwrap().path().join("comm")).unwrap_or_default());
    let listed = Command::new("ps").args(["-o", "args=", "-p", &server.id().to_string()]).output();
    for seen in names.chain([title]).chain(listed.map(|output| output.stdout)) {
        assert!(!String::from_utf8_lossy(&seen).contains("pl4nt3d"));
    }
    for secret in [TOKEN, body(&created)["uploadToken"].as_str().unwrap()] {
        let kept = Command::new("grep").args(["-r", "--", secret]).arg(dir.path()).stdout(Stdio::null()).status();
        assert_eq!(kept.unwrap().code(), Some(1), "a secret is on the disk");
    }
    assert!(Command::new("kill").arg(server.id().to_string()).status().unwrap().success());
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("/upload"), "the log was to be looked through: {}", ended.stderr);
    for said in [&ended.stdout, &ended.stderr] {
        assert!(!said.contains("pl4nt3d") && !said.contains(body(&created)["uploadToken"].as_str().unwrap()), "{said}");
    }
}

#[test]
fn a_full_disk_fails_the_upload_cleans_up_and_serves_on() {
    let dir = tempfile::tempdir().unwrap();
    // No file beyond 64 KiB (`ulimit` counts blocks of 512 or 1,024 bytes): writing fails as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_natsbridge"), "serve", "--listen", "127.0.0.1:0", "--dir"])
        .arg(dir.path());
    let (server, address) = serve(command.env_remove("FILESERVER_TOKEN").stdin(Stdio::null()));
    for _ in 0..3 {
        let created = body(&create(&address, ""));
        let answer = add(&address, &created, &vec![7; 3_000_000]);
        assert!(answer.starts_with("HTTP/1.1 500") && answer.ends_with("internal server error\n"), "{answer}");
        let small = add(&address, &created, b"small");
        assert!(small.starts_with("HTTP/1.1 200"), "{small}");
    }
    let begun = Instant::now();
    while stored(dir.path()) != 3 * 5 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} bytes stay", stored(dir.path()));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(ask(&address, "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200"));
    drop(server);
}
