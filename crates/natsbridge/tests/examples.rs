//! The examples, each run as its first lines say, against real servers: what they print is what they promise.
//!
//! Those that need another language are run by `cargo xtask examples`; `testing` is a test itself.
#![cfg(all(feature = "arrow", feature = "server"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::env;
use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use natsbridge::server::{FileServer, ServerConfig};
use natsbridge_testkit::nats_server::NatsServer;
use natsbridge_testkit::process::Process;

/// How long an example may run; far more than it does
const PATIENCE: Duration = Duration::from_secs(60);

/// A running example, ended with its owner
struct Example {
    process: Process,
    stdin: Option<ChildStdin>,
}

impl Example {
    fn start(name: &str, args: &[&str], servers: &[(&str, &str)]) -> Self {
        // Cargo builds the examples of a package with its tests, into the folder beside them.
        let here = env::current_exe().unwrap();
        let folder = here.parent().and_then(|deps| deps.parent()).unwrap().join("examples");
        let program = folder.join(name).with_extension(env::consts::EXE_EXTENSION);
        let mut command = Command::new(&program);
        for name in ["NATS_CREDS", "FILESERVER_URL", "FILESERVER_TOKEN", "FILESERVER_CA", "SIZE_THRESHOLD"] {
            command.env_remove(name);
        }
        command.args(args).envs(servers.iter().copied()).env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        let process = Process::start(command.stdin(Stdio::piped()));
        let mut process = process.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self { stdin: process.stdin(), process }
    }

    /// The next line; `None` once both its outputs are closed
    fn next(&self) -> Option<String> {
        match self.process.next_line(PATIENCE, |_| true) {
            Ok(line) => Some(line.text),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it prints nothing for {} s", PATIENCE.as_secs()),
        }
    }

    fn line(&self) -> String {
        self.next().expect("it prints another line")
    }

    /// Reads until a line begins so
    fn until(&self, start: &str) -> String {
        loop {
            let line = self.line();
            if line.starts_with(start) {
                return line;
            }
        }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Ends its input, and waits until it has ended well; returns what it printed since
    fn ended(mut self) -> Vec<String> {
        drop(self.stdin.take());
        let left: Vec<_> = std::iter::from_fn(|| self.next()).collect();
        let status = self.process.wait(PATIENCE).unwrap().expect("it ends");
        assert!(status.success(), "{status}: {left:?}");
        left
    }
}

#[test]
fn chat_example_lets_two_programs_talk() {
    let server = NatsServer::start().expect("a real nats-server");
    let url = server.url();
    let enter = |name| Example::start("chat", &[name], &[("NATS_URL", &url)]);
    let (mut alice, mut bob) = (enter("alice"), enter("bob"));
    for guest in [&alice, &bob] {
        assert_eq!(guest.line(), "you are in the room");
    }
    alice.type_line("hello, bob");
    assert_eq!(bob.line(), "alice: hello, bob");
    bob.type_line("grüß dich");
    assert_eq!(alice.line(), "bob: grüß dich", "the first line that alice sees: not her own");
    assert!(alice.ended().is_empty());
    assert!(bob.ended().is_empty());
}

#[test]
fn dashboard_example_shows_every_reading_of_two_sensors() {
    let server = NatsServer::start().expect("a real nats-server");
    let url = server.url();
    let servers = [("NATS_URL", url.as_str())];
    let dashboard = Example::start("dashboard", &["6"], &servers);
    assert_eq!(dashboard.line(), "sensor        readings   last °C   mean °C   lost");
    for name in ["cellar", "kitchen"] {
        assert_eq!(Example::start("sensor", &[name, "3"], &servers).ended(), ["sent 3 readings"]);
    }
    let row = |name: &str, number, last, mean| format!("{name:<12} {number:>9} {last:>9} {mean:>9}      0");
    let rows = |name| [row(name, 1, "21.0", "21.0"), row(name, 2, "21.3", "21.1"), row(name, 3, "21.6", "21.3")];
    assert_eq!(dashboard.ended(), [rows("cellar"), rows("kitchen")].concat());
}

#[test]
fn service_example_replies_and_refuses() {
    let server = NatsServer::start().expect("a real nats-server");
    let url = server.url();
    let servers = [("NATS_URL", url.as_str())];
    let service = Example::start("request_reply", &["serve"], &servers);
    assert_eq!(service.line(), "serving math.statistics");
    assert_eq!(Example::start("request_reply", &["ask", "3", "4", "8"], &servers).ended(), ["mean 5, largest 8"]);
    let mut refused = Example::start("request_reply", &["ask"], &servers);
    let said = refused.line();
    assert!(said.contains("no numbers were given") && said.contains("empty"), "{said}");
    assert!(!refused.process.wait(PATIENCE).unwrap().expect("it ends").success());
}

#[test]
fn large_file_example_arrives_whole_and_shows_its_progress() {
    let server = NatsServer::start().expect("a real nats-server");
    let stored = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let files = runtime.block_on(FileServer::bind(ServerConfig::new(stored.path()).listen(([127, 0, 0, 1], 0).into())));
    let files = runtime.block_on(async { files.unwrap().start() });
    let url = server.url();
    let servers = [("NATS_URL", url.as_str()), ("FILESERVER_URL", files.url())];

    let folder = tempfile::tempdir().unwrap();
    let [sent, saved] = ["sent", "saved"].map(|name| folder.path().join(name));
    for path in [&sent, &saved] {
        std::fs::create_dir(path).unwrap();
    }
    let original = sent.join("film.bin");
    let bytes: Vec<u8> = (0..20_000_000_u32).flat_map(|n| n.to_le_bytes().into_iter().take(1)).collect();
    std::fs::write(&original, &bytes).unwrap();

    let receiver = Example::start("large_file", &["receive", saved.to_str().unwrap()], &servers);
    assert_eq!(receiver.line(), "waiting for a file");
    let sender = Example::start("large_file", &["send", original.to_str().unwrap()], &servers);
    assert_eq!(receiver.line(), "0 of 20000000 bytes");
    let told = receiver.until("saved ");
    assert!(told.contains("film.bin, 20000000 bytes, sha256 "), "{told}");
    assert!(receiver.ended().is_empty());
    let told = sender.ended();
    let (last, before) = told.split_last().unwrap();
    assert_eq!(last, "film.bin was received");
    assert!(before.len() > 10 && before.iter().all(|line| line.ends_with(" of 20000000 bytes")), "{before:?}");
    assert!(std::fs::read(saved.join("film.bin")).unwrap() == bytes, "another film arrived");
}
