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
        format!(
            "POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}Content-Length: 2\r\n\r\n{{}}"
        ),
    )
}

fn add(address: &str, created: &Json, content: &[u8]) -> String {
    let (id, token) = (created["id"].as_str().unwrap(), created["uploadToken"].as_str().unwrap());
    let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    let body = [head.as_bytes(), content, b"\r\n--b--\r\n"].concat();
    let head = format!(
        "POST /file/{id} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-UploadToken: {token}\r\nContent-Type: multipart/form-data; boundary=b\r\n\
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
fn token_from_the_environment_guards_uploads_and_is_not_shown() {
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

/// Megabytes of memory that the process has in use
fn memory(server: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1000
}

#[test]
fn slow_readers_take_little_memory_and_give_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path()).env_remove("FILESERVER_TOKEN");
    let (server, address) = serve(&mut command);
    let created = body(&create(&address, ""));
    let stored = body(&add(&address, &created, &vec![7; 16_000_000]));
    let idle = memory(&server);
    let path = format!("/file/{}/{}/a", created["id"].as_str().unwrap(), stored["id"].as_str().unwrap());
    let mut readers = Vec::new();
    for _ in 0..1000 {
        let mut reader = TcpStream::connect(&address).unwrap();
        reader.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        reader.write_all(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).unwrap();
        readers.push(reader);
    }
    let mut some = [0; 20_000];
    let mut most = 0;
    for _ in 0..3 {
        readers.iter_mut().for_each(|reader| reader.read_exact(&mut some).unwrap());
        most = most.max(memory(&server));
    }
    assert!(most < 100, "{most} MB for 1,000 slow readers, {idle} MB before");
    drop(readers);
    let begun = Instant::now();
    let kept = idle + (most - idle) / 2 + 5;
    while memory(&server) > kept {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} MB stay of {most}, {idle} before", memory(&server));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn file_size_limit_fails_the_upload_and_serves_on() {
    let dir = tempfile::tempdir().unwrap();
    // No file beyond 64 KiB (`ulimit` counts blocks of 512 or 1,024 bytes). The system sends SIGXFSZ, which would end it.
    let script = "ulimit -f 64; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_natsbridge"), "serve", "--listen", "127.0.0.1:0", "--dir"])
        .arg(dir.path());
    let (server, address) = serve(command.env_remove("FILESERVER_TOKEN").stdin(Stdio::null()));
    for _ in 0..3 {
        let created = body(&create(&address, ""));
        let answer = add(&address, &created, &vec![7; 3_000_000]);
        assert!(answer.starts_with("HTTP/1.1 507") && answer.ends_with("allows no file of this size\n"), "{answer}");
        let small = add(&address, &created, b"small");
        assert!(small.starts_with("HTTP/1.1 200"), "{small}");
    }
    let begun = Instant::now();
    while stored(dir.path()) != 3 * 5 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} bytes stay", stored(dir.path()));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(
        ask(&address, "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 200")
    );
    drop(server);
}

/// A file system of its own in memory, as long as this lives
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Nothing where this user may not mount one
    #[allow(clippy::print_stderr, reason = "says why there is nothing to see")]
    fn of(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        eprintln!("nothing to see: this user may not mount a small file system");
        None
    }

    /// Fills it to the last byte
    fn fill(&self) -> std::path::PathBuf {
        let path = self.0.path().join("filler");
        let mut filler = fs::File::create(&path).unwrap();
        for piece in [65_536, 4_096, 1] {
            while filler.write_all(&vec![0; piece]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn by_path(address: &str, method: &str, path: &str, headers: &str) -> String {
    ask(address, format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n"))
}

#[test]
fn full_disk_refuses_uploads_and_nothing_else() {
    let Some(disk) = SmallDisk::of("4m") else { return };
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(disk.0.path()).env_remove("FILESERVER_TOKEN");
    let (server, address) = serve(&mut command);
    let path = |created: &Json, stored: &str| {
        format!("/file/{}/{}/a", created["id"].as_str().unwrap(), body(stored)["id"].as_str().unwrap())
    };
    let once = body(&ask(
        &address,
        "POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 17\r\n\r\n{\"oneShot\": true}",
    ));
    let once = path(&once, &add(&address, &once, &[8; 300_000]));
    let created = body(&create(&address, ""));
    let kept = path(&created, &add(&address, &created, &[9; 1_000_000]));

    // Too large: the cause is named, and the space is back with the answer.
    for _ in 0..3 {
        let answer = add(&address, &created, &vec![7; 6_000_000]);
        assert!(
            answer.starts_with("HTTP/1.1 507") && answer.contains("no space left on the file server's disk"),
            "{answer}"
        );
    }
    let fits = add(&address, &created, &vec![7; 2_000_000]);
    assert!(fits.starts_with("HTTP/1.1 200"), "{fits}");

    // Not one byte is left.
    disk.fill();
    let answer = create(&address, "");
    assert!(answer.starts_with("HTTP/1.1 507"), "{answer}");
    let answer = add(&address, &created, b"small");
    assert!(answer.starts_with("HTTP/1.1 507"), "{answer}");
    // A one-shot is whole, and used up.
    let answer = by_path(&address, "GET", &once, "");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.matches('\u{8}').count() == 300_000, "cut one-shot");
    let begun = Instant::now();
    while !by_path(&address, "GET", &once, "").contains("deleted") {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
    disk.fill();
    // What is deleted makes room.
    let token = format!("X-UploadToken: {}\r\n", created["uploadToken"].as_str().unwrap());
    let answer = by_path(&address, "DELETE", &kept, &token);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = by_path(&address, "GET", &kept, "");
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("deleted"), "{answer}");
    let answer = add(&address, &created, &[7; 500_000]);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let upload = format!("/upload/{}", created["id"].as_str().unwrap());
    disk.fill();
    assert!(by_path(&address, "DELETE", &upload, &token).starts_with("HTTP/1.1 200"));
    assert!(create(&address, "").starts_with("HTTP/1.1 200"));
    drop(server);
}

#[test]
fn addresses_are_taken_as_people_write_them() {
    for listen in ["0", ":0", "localhost:0", "127.0.0.1:0"] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program();
        command.args(["serve", "--listen", listen, "--max-total", "1MB", "--public-url", "https://files.example/x/"]);
        command.args(["--cors", "HTTPS://app.example/", "--host", "files.lab", "--metrics", listen]);
        let (server, address) = serve(command.arg("--dir").arg(dir.path()).env_remove("FILESERVER_TOKEN"));
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        assert!(create(&address, "Origin: https://app.example\r\n").contains("https://files.example/x\""));
        assert!(create(&address, "Origin: https://evil.example\r\n").starts_with("HTTP/1.1 403"));
        let answer = add(&address, &body(&create(&address, "")), &vec![7; 3_000_000]);
        assert!(answer.starts_with("HTTP/1.1 507"), "{answer}");
        drop(server);
    }
    for (option, value) in
        [("--listen", "here"), ("--listen", "0.0.0.0"), ("--listen", "files.lab:1"), ("--cors", "x.example")]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program();
        command.args(["serve", option, value, "--dir"]).arg(dir.path());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(value), "{said}");
    }
}
