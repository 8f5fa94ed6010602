//! A running peer: JSON lines to it and from it, its own words kept for when it fails.

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow};
use natsbridge_testkit::process::{Output, Process};
use serde_json::Value;

use crate::interrupt;
use crate::vectors::parse;

/// How often a wait looks up to see whether it was interrupted
const GLANCE: Duration = Duration::from_millis(50);

/// Lines of its standard error that are quoted when it fails
const QUOTED: usize = 12;

/// A peer's process; dropping it ends it
#[derive(Debug)]
pub(crate) struct Talk {
    name: &'static str,
    child: Process,
    stdin: Option<ChildStdin>,
    /// Lines that came while another one was waited for
    early: VecDeque<Value>,
}

impl Talk {
    /// Starts it
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let mut child =
            Process::start(command.stdin(Stdio::piped())).with_context(|| format!("cannot start {name}"))?;
        let stdin = child.stdin();
        Ok(Self { name, child, stdin, early: VecDeque::new() })
    }

    /// Sends it a line
    pub(crate) fn tell(&mut self, line: &Value) -> Result<()> {
        let told = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}").and_then(|()| stdin.flush()));
        match told {
            Some(Ok(())) => Ok(()),
            _ => Err(self.quote("does not listen any more")),
        }
    }

    /// Waits for a line of which `pick` makes something; others are kept for later
    pub(crate) fn hear<T>(&mut self, patience: Duration, pick: impl Fn(&Value) -> Option<T>) -> Result<T> {
        if let Some((at, found)) = self.early.iter().enumerate().find_map(|(at, line)| Some((at, pick(line)?))) {
            self.early.remove(at);
            return Ok(found);
        }
        let end = Instant::now() + patience;
        loop {
            interrupt::check()?;
            match self.child.line(Output::Out, GLANCE) {
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
        !matches!(self.child.ended(), Ok(None))
    }

    /// Lets it end by itself, for a moment
    pub(crate) fn end(mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait(Duration::from_secs(3));
    }

    fn quote(&self, what: &str) -> Error {
        // What it said last may still be on its way through the pipe.
        thread::sleep(GLANCE);
        let said = self.child.unread(Output::Err);
        let last = said.iter().skip(said.len().saturating_sub(QUOTED));
        anyhow!(last.fold(format!("{} {what}", self.name), |text, line| format!("{text}\n  | {line}")))
    }
}
