//! Programs as first-time users write them: each runs as a process of its own and prints what it should.
//!
//! `acks`, `events`, `in_memory`, `kinds`, `own_broker`, `own_store`, `queue_group`, `received`, `replies`, `save_all`,
//! `subjects` and `tables` were first written without a look at the library. Of these, `own_broker`, `own_store`, `acks`,
//! `replies`, `received` and `events` were changed afterwards, where the library asks for something else.
#![cfg(all(feature = "arrow", feature = "server"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    unused_qualifications,
    reason = "programs as users write them"
)]

use std::fmt::Debug;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use natsbridge::server::{FileServer, ServerConfig, ServerHandle};
use natsbridge::{Bridge, Config, ErrorKind, MessageBuilder};
use natsbridge_testkit::nats_server::NatsServer;
use tempfile::TempDir;

mod acks;
mod config;
mod events;
mod in_memory;
mod kinds;
mod listen;
mod own_broker;
mod own_connection;
mod own_store;
mod progress;
mod queue_group;
mod received;
mod replies;
mod request;
mod rows;
mod save_all;
mod serve_message;
mod serve_typed;
mod subjects;
mod tables;
mod values;

/// How long a program may take; far more than it does
const PATIENCE: Duration = Duration::from_secs(60);
/// The variable that makes a test the program itself
const PROGRAM: &str = "FIRST_GUESS";
/// The line after which the program prints
const BEGIN: &str = "--- the program's output";

/// A program that runs, with the servers it talks to
struct Program {
    child: Child,
    lines: Receiver<String>,
    runtime: tokio::runtime::Runtime,
    bridge: Bridge,
    folder: TempDir,
    _servers: (NatsServer, ServerHandle, TempDir),
}

impl Program {
    /// Starts the program; the process that is started comes here too, and becomes the program
    fn start<E: Debug>(name: &str, main: fn() -> Result<(), E>) -> Self {
        Self::start_in(name, main, |_| {})
    }

    fn start_in<E: Debug>(name: &str, main: fn() -> Result<(), E>, prepare: impl FnOnce(&TempDir)) -> Self {
        if env::var(PROGRAM).is_ok_and(|program| program == name) {
            println!("\n{BEGIN}");
            match main() {
                Ok(()) => std::process::exit(0),
                Err(error) => {
                    println!("Error: {error:?}");
                    std::process::exit(1)
                }
            }
        }
        let server = NatsServer::start().expect("a real nats-server");
        let (folder, stored) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        prepare(&folder);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let files = ServerConfig::new(stored.path()).listen(([127, 0, 0, 1], 0).into());
        let files = runtime.block_on(async { FileServer::bind(files).await.unwrap().start() });
        let bridge = runtime.block_on(Bridge::connect(Config::new(&server.url()))).unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("programs::{name}"), "--nocapture", "--test-threads=1"])
            .env(PROGRAM, name)
            .env("NATS_URL", server.url())
            .env("FILESERVER_URL", files.url())
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let printed = stdout.lines().map_while(Result::ok).skip_while(|line| line != BEGIN).skip(1);
            printed.for_each(|line| drop(sender.send(line)));
        });
        Self { child, lines, runtime, bridge, folder, _servers: (server, files, stored) }
    }

    /// Sends a message as soon as the program has subscribed to its subject
    fn tell(&self, message: impl Fn(&Bridge) -> MessageBuilder) {
        let deadline = Instant::now() + PATIENCE;
        self.runtime.block_on(async {
            while let Err(error) = message(&self.bridge).request(Duration::from_millis(100)).await {
                match error.kind() {
                    ErrorKind::NoResponders if Instant::now() < deadline => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    // It arrived, and is not replied to.
                    ErrorKind::TimedOut => break,
                    _ => panic!("{error:?}"),
                }
            }
        });
    }

    /// Compares the program's next lines
    fn prints(&self, expected: &[&str]) {
        for line in expected {
            assert_eq!(self.lines.recv_timeout(PATIENCE).as_deref(), Ok(*line));
        }
    }

    /// Waits for the program's end, and compares the rest of its lines
    fn ends(mut self, expected: &[&str]) -> TempDir {
        self.prints(expected);
        assert_eq!(self.lines.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
        assert!(self.child.wait().unwrap().success());
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Some run until they are stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

mod programs {
    use super::*;

    #[test]
    fn acks() {
        Program::start("acks", acks::main).ends(&["delivered", "Refused nacked"]);
    }

    /// Its address is written in it, so it is only right where a server listens there
    #[test]
    fn config() {
        match NatsServer::builder().port(4222).start() {
            Ok(_server) => drop(Program::start("config", config::main).ends(&[])),
            Err(error) => println!("not run, as there can be no nats-server at port 4222: {error}"),
        }
    }

    #[test]
    fn events() {
        Program::start("events", events::main).ends(&["closed"]);
    }

    #[test]
    fn in_memory() {
        Program::start("in_memory", in_memory::main).ends(&["hello, Ada from a"]);
    }

    #[test]
    fn kinds() {
        let advice = ["start the service", "wait longer", "check the payload's name Some(\"nope\")"];
        Program::start("kinds", kinds::main).ends(&advice);
    }

    #[test]
    fn listen() {
        let program = Program::start("listen", listen::main);
        for note in ["one", "two", "three"] {
            program.tell(|bridge| bridge.message("lab.notes").text("note", note));
        }
        program.ends(&["one", "two", "three"]);
    }

    #[test]
    fn own_broker() {
        Program::start("own_broker", own_broker::main).ends(&["hi after 1 published"]);
    }

    #[test]
    fn own_connection() {
        let program = Program::start("own_connection", own_connection::main);
        let line = program.lines.recv_timeout(PATIENCE).unwrap();
        assert!(line.strip_suffix(" bytes").is_some_and(|bytes| bytes.parse::<u32>().is_ok()), "{line}");
        program.ends(&[]);
    }

    #[test]
    fn own_store() {
        Program::start("own_store", own_store::main).ends(&["1000 bytes"]);
    }

    #[test]
    fn progress() {
        let film = |folder: &TempDir| fs::write(folder.path().join("run7.mp4"), vec![7; 1_000_000]).unwrap();
        let folder = Program::start_in("progress", progress::main, film).ends(&["films/film (1000000 bytes)"]);
        assert_eq!(fs::read(folder.path().join("films/film")).unwrap(), vec![7; 1_000_000]);
    }

    #[test]
    fn queue_group() {
        let jobs = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]";
        Program::start("queue_group", queue_group::main).ends(&[jobs]);
    }

    #[test]
    fn received() {
        Program::start("received", received::main).ends(&["note text Text(\"hi\")"]);
    }

    #[test]
    fn replies() {
        Program::start("replies", replies::main).ends(&["which size?", "shirt of size XL"]);
    }

    #[test]
    fn request() {
        Program::start("request", request::main).ends(&["None"]);
    }

    #[test]
    fn rows() {
        let program = Program::start("rows", rows::main);
        let rows = serde_json::json!([{"t": 1, "volts": 0.5}, {"t": 2, "volts": 4.5}]);
        program.tell(|bridge| bridge.message("lab.tables").rows("readings", &rows));
        program.ends(&["2 readings to t = Some(2), at most 4.5 V"]);
    }

    #[test]
    fn save_all() {
        let folder = Program::start("save_all", save_all::main).ends(&[
            "page.txt 3 bytes",
            "page (2).txt 3 bytes",
            "blob 3 bytes",
        ]);
        assert_eq!(fs::read(folder.path().join("saved/page (2).txt")).unwrap(), b"two");
    }

    #[test]
    fn serve_message() {
        let program = Program::start("serve_message", serve_message::main);
        let image = || program.bridge.message("vision.measure").image("first", vec![1, 2, 3]).image("second", vec![4]);
        let reply = program.ask(image);
        assert_eq!(reply.text("note").unwrap(), "measured");
        let sizes: serde_json::Value = reply.get("sizes").unwrap();
        assert_eq!(sizes, serde_json::json!([{"name": "first", "bytes": 3}, {"name": "second", "bytes": 1}]));
    }

    #[test]
    fn serve_typed() {
        let program = Program::start("serve_typed", serve_typed::main);
        let reply = program.ask(|| program.bridge.message("math.double").dictionary("number", 21));
        assert_eq!(reply.get::<u64>("reply").unwrap(), 42);
    }

    #[test]
    fn subjects() {
        Program::start("subjects", subjects::main).ends(&["lab.a 2, lab.b 1"]);
    }

    #[test]
    fn tables() {
        Program::start("tables", tables::main).ends(&["3 rows, columns [\"t\", \"volts\"]"]);
    }

    #[test]
    fn values() {
        let program = Program::start("values", values::main);
        program.tell(|bridge| {
            let message = bridge.message("lab.mixed").text("note", "one").text("note", "two");
            message.binary("raw", vec![1, 2, 3]).dictionary("number", 7)
        });
        program.prints(&["note: one", "note: two", "raw: 3 bytes"]);
    }
}

impl Program {
    /// Asks the program, as soon as it serves
    fn ask(&self, question: impl Fn() -> MessageBuilder) -> natsbridge::Message {
        let deadline = Instant::now() + PATIENCE;
        self.runtime.block_on(async {
            loop {
                match question().request(Duration::from_secs(10)).await {
                    Ok(reply) => return reply,
                    Err(error) if error.kind() == ErrorKind::NoResponders && Instant::now() < deadline => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        })
    }
}

mod face {
    use std::collections::BTreeSet;

    /// Names that the crate's root re-exports; modules are counted by none
    fn root_names() -> BTreeSet<String> {
        let source = include_str!("../../src/lib.rs");
        let uses = source.lines().collect::<Vec<_>>().join("\n");
        let mut names = BTreeSet::new();
        for item in uses.split("\npub use ").skip(1).map(|rest| rest.split(';').next().unwrap_or_default()) {
            let list = item.split_once('{').map_or(item, |(_, list)| list.trim_end_matches('}'));
            names.extend(list.split(',').map(|name| name.trim().rsplit("::").next().unwrap_or_default().to_owned()));
        }
        names.remove("");
        names
    }

    #[test]
    fn root_has_at_most_40_names() {
        let names = root_names();
        assert!(names.contains("Bridge") && names.contains("Value"), "{names:?}");
        assert!(names.len() <= 40, "{} names; move some into a module: {names:?}", names.len());
    }
}
