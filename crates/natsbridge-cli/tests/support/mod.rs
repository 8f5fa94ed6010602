//! The real program, real servers and a raw NATS client for the tests of the command line; every wait is bounded.

#![allow(dead_code, unreachable_pub, reason = "shared by test files, each of which uses a part of it")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use natsbridge_testkit::nats_server::NatsServer;
use natsbridge_testkit::process::{Output, Process};
use natsbridge_testkit::scripted_http::{Reply, Request, ScriptedHttp};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// How long anything may take; far more than it does
const PATIENCE: Duration = Duration::from_secs(60);

/// The program without the caller's own settings
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natsbridge"));
    for name in [
        "NATS_URL",
        "NATS_CREDS",
        "NATS_NKEY",
        "NATS_TOKEN",
        "NATS_USER",
        "NATS_PASSWORD",
        "NATS_CA",
        "NATS_CERT",
        "NATS_KEY",
        "NATS_TLS_FIRST",
        "NATS_INBOX_PREFIX",
        "FILESERVER_URL",
        "FILESERVER_TOKEN",
        "FILESERVER_CA",
        "SIZE_THRESHOLD",
        "RUST_LOG",
        "NO_COLOR",
        "S3_URL",
        "STORE_URL",
    ] {
        command.env_remove(name);
    }
    // The caller's profile in use is not ours.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").stdin(Stdio::null());
    command
}

/// A running program, ended with its owner
pub struct Running(Process);

/// How a program ended, and what it printed that was not read before
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(Process::start(command).unwrap())
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The standard input of a program that was given a pipe
    pub fn stdin(&mut self) -> ChildStdin {
        self.0.stdin().unwrap()
    }

    /// A line that a program which has ended left on standard output
    pub fn line_left(&self) -> Option<String> {
        self.0.line(Output::Out, PATIENCE).ok()
    }

    /// The next line on standard output
    pub fn line(&self) -> String {
        self.0
            .line(Output::Out, PATIENCE)
            .unwrap_or_else(|error| panic!("no line ({error}); on standard error: {:?}", self.0.unread(Output::Err)))
    }

    /// The next line on standard output, as JSON
    pub fn json(&self) -> Json {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Waits for a line with this text on standard error
    pub fn said(&self, text: &str) {
        while !self.0.line(Output::Err, PATIENCE).unwrap_or_else(|error| panic!("no `{text}`: {error}")).contains(text)
        {
        }
    }

    /// Ends it as a power cut would
    pub fn kill(&mut self) {
        self.0.kill();
    }

    pub fn ended(mut self) -> Ended {
        let start = Instant::now();
        let status = self.0.wait(PATIENCE).unwrap();
        let status = status.unwrap_or_else(|| panic!("it did not end; said: {:?}", self.0.unread(Output::Err)));
        let took = start.elapsed();
        Ended { code: status.code(), stdout: self.rest(Output::Out), stderr: self.rest(Output::Err), took }
    }

    /// What is left in a pipe whose writer has ended
    fn rest(&self, output: Output) -> String {
        let mut text = String::new();
        loop {
            match self.0.line(output, PATIENCE) {
                Ok(line) => text.extend([line.as_str(), "\n"]),
                Err(RecvTimeoutError::Disconnected) => return text,
                Err(RecvTimeoutError::Timeout) => panic!("the pipe stays open"),
            }
        }
    }
}

/// Runs the program to its end
pub fn run(command: &mut Command) -> Ended {
    let start = Instant::now();
    let mut ended = Running::start(command).ended();
    ended.took = start.elapsed();
    ended
}

/// A nats-server, a file server and a folder to work in
pub struct World {
    pub nats: NatsServer,
    pub files: Running,
    pub files_url: String,
    pub folder: TempDir,
}

impl World {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nats = NatsServer::start().unwrap();
        let stored = folder.path().join("stored");
        let files = Running::start(program().args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(&stored));
        let first = files.line();
        let files_url = first.strip_prefix("listening on ").unwrap_or_else(|| panic!("{first}")).to_owned();
        Self { nats, files, files_url, folder }
    }

    /// The program, told where the servers are, in the working folder
    pub fn program<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, words: I) -> Command {
        let mut command = program();
        command.env("NATS_URL", self.nats.url()).env("FILESERVER_URL", &self.files_url);
        command.current_dir(self.folder.path()).args(words);
        command
    }

    /// A receiver that has subscribed
    pub fn receiver(&self, words: &[&str]) -> Running {
        let receiver = Running::start(&mut self.program(["receive", "--json"].iter().chain(words)));
        receiver.said("subscribed to ");
        receiver
    }

    /// Writes an input
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Makes an input of zeros that takes no room on the disk
    pub fn sparse(&self, name: &str, len: u64) {
        std::fs::File::create(self.path(name)).unwrap().set_len(len).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The number of uploads that the file server holds
    pub fn uploads(&self) -> usize {
        entries(&self.path("stored/uploads")).len()
    }
}

/// A scripted HTTP server and what it runs on
pub struct Scripted {
    pub server: ScriptedHttp,
    _runtime: tokio::runtime::Runtime,
}

impl Scripted {
    pub fn start(router: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(ScriptedHttp::routed(router)).unwrap();
        Self { server, _runtime: runtime }
    }

    /// A file server whose downloads stop in the middle
    pub fn stalling() -> Self {
        Self::start(|_| Some(Reply::ok(vec![7; 8_000_000]).stall_after(6_000_000)))
    }

    /// A message with a link to it
    pub fn message(&self) -> String {
        json!({ "msg_id": "stalls", "payloads": [{ "dataname": "large", "payload_type": "binary", "transport": "link",
                "encoding": "none", "data": format!("{}/large", self.server.url()), "size": 8_000_000 }] })
        .to_string()
    }
}

/// A file below a folder that a download is being written to, as soon as there is one
pub fn unfinished(folder: &Path) -> PathBuf {
    fn find(folder: &Path) -> Option<PathBuf> {
        std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
            let (path, metadata) = (entry.path(), entry.metadata().ok()?);
            match metadata.is_dir() {
                true => find(&path),
                false => (path.extension() == Some(OsStr::new("part")) && metadata.len() > 0).then_some(path),
            }
        })
    }
    let start = Instant::now();
    loop {
        if let Some(path) = find(folder) {
            return path;
        }
        assert!(start.elapsed() < PATIENCE, "no download began");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Names of what is in a folder
pub fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Waits until a download into the folder has begun; returns how far it is
pub fn downloading(folder: &Path) -> u64 {
    let start = Instant::now();
    loop {
        for name in entries(folder) {
            let len = std::fs::metadata(folder.join(&name)).map_or(0, |metadata| metadata.len());
            if name.ends_with(".part") && len > 0 {
                return len;
            }
        }
        assert!(start.elapsed() < PATIENCE, "no download began");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Publishes bytes as they are, by NATS's text protocol, and waits until the server has processed them
pub fn publish(nats: &NatsServer, subject: &str, payload: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", nats.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("CONNECT {{\"verbose\":false}}\r\nPUB {subject} {}\r\n", payload.len());
    stream.write_all(&[head.as_bytes(), payload, b"\r\nPING\r\n"].concat()).unwrap();
    let mut answers = BufReader::new(stream).lines().map(Result::unwrap);
    let end = answers.find(|line| line.starts_with("PONG") || line.starts_with("-ERR"));
    assert_eq!(end.as_deref(), Some("PONG"));
}

/// The message that arrives on a subject while something is done, as it crosses NATS
pub fn captured(nats: &NatsServer, subject: &str, work: impl FnOnce()) -> String {
    asked(nats, subject, work).1
}

/// The same, with the subject that NATS wants its reply on
pub fn asked(nats: &NatsServer, subject: &str, work: impl FnOnce()) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", nats.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("CONNECT {{\"verbose\":false}}\r\nSUB {subject} 1\r\nPING\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "PONG"));
    work();
    let head = lines.find(|line| line.starts_with("MSG ")).unwrap();
    let words: Vec<_> = head.split(' ').collect();
    let reply = if words.len() == 5 { words[3] } else { "" };
    (reply.to_owned(), lines.next().unwrap())
}
