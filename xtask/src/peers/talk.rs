//! A running peer: JSON lines to it and from it, its own words kept for when it fails.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::{Context, Failure, Outcome};
use crate::interrupt;
use crate::vectors::parse;

/// How often a wait looks up to see whether it was interrupted
const GLANCE: Duration = Duration::from_millis(50);

/// Lines of its standard error that are quoted when it fails
const QUOTED: usize = 12;

/// A peer's process; dropping it ends it
#[derive(Debug)]
pub(crate) struct Talk {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Lines that came while another one was waited for
    early: VecDeque<Value>,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Talk {
    /// Starts it
    pub(crate) fn start(name: &str, command: &mut Command) -> Outcome<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                // Nobody listens any more: the peer is being ended.
                lines.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
            });
        }
        let said = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stderr) = child.stderr.take() {
            let said = Arc::clone(&said);
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    if said.len() == QUOTED {
                        said.pop_front();
                    }
                    said.push_back(line);
                }
            });
        }
        let stdin = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, stdin, lines, early: VecDeque::new(), said })
    }

    /// Sends it a line
    pub(crate) fn tell(&mut self, line: &Value) -> Outcome<()> {
        let told = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}").and_then(|()| stdin.flush()));
        match told {
            Some(Ok(())) => Ok(()),
            _ => Err(self.quote("does not listen any more")),
        }
    }

    /// Waits for a line of which `pick` makes something; others are kept for later
    pub(crate) fn hear<T>(&mut self, patience: Duration, pick: impl Fn(&Value) -> Option<T>) -> Outcome<T> {
        if let Some((at, found)) = self.early.iter().enumerate().find_map(|(at, line)| Some((at, pick(line)?))) {
            self.early.remove(at);
            return Ok(found);
        }
        let end = Instant::now() + patience;
        loop {
            interrupt::check()?;
            match self.lines.recv_timeout(GLANCE) {
                Ok(text) => {
                    let line = parse(&text).map_err(|error| {
                        let start: String = text.chars().take(200).collect();
                        self.quote(&format!("printed what is no JSON line ({error}): {start}"))
                    })?;
                    match pick(&line) {
                        Some(found) => return Ok(found),
                        None => self.early.push_back(line),
                    }
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.quote(&format!("said nothing of it within {} s", patience.as_secs())));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.quote("ended")),
            }
        }
    }

    /// Whether its process is gone
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Lets it end by itself, for a moment
    pub(crate) fn end(mut self) {
        drop(self.stdin.take());
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn quote(&self, what: &str) -> Failure {
        // What it said last may still be on its way through the pipe.
        thread::sleep(GLANCE);
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Failure::new(said.iter().fold(format!("{} {what}", self.name), |text, line| format!("{text}\n  | {line}")))
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // Both fail only when it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
