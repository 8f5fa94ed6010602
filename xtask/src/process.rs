//! Child processes: owned, bounded in time, ended with their owner, and quoted when they fail.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::panic::resume_unwind;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use natsbridge_testkit::process;
pub(crate) use natsbridge_testkit::process::{Line, Output};

use crate::interrupt;

/// How often a wait looks up to see whether it was interrupted
const GLANCE: Duration = Duration::from_millis(20);

/// Lines kept of each process; more than any of them prints in a demo
const KEPT: usize = 200;

/// Lines quoted when a process fails
const QUOTED: usize = 15;

/// The moment at which waiting turns into a failure
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    end: Instant,
    limit: Duration,
}

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        Self { end: Instant::now() + limit, limit }
    }

    /// Fails once it has passed
    pub(crate) fn check(self, name: &str, doing: &str) -> Result<()> {
        if Instant::now() < self.end {
            return Ok(());
        }
        Err(anyhow!("{name} {doing} within {} s", self.limit.as_secs()))
    }
}

/// A running child that says its name when it fails; killed with its owner
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: process::Process,
    seen: VecDeque<Line>,
}

impl Process {
    /// Starts a program with nothing on its standard input
    pub(crate) fn spawn(name: &'static str, command: &mut Command) -> Result<Self> {
        Self::start(name, command.stdin(Stdio::null()))
    }

    /// Starts a program that is written to
    pub(crate) fn spawn_fed(name: &'static str, command: &mut Command) -> Result<(Self, ChildStdin)> {
        let mut started = Self::start(name, command.stdin(Stdio::piped()))?;
        let stdin = started.child.stdin().with_context(|| format!("{name} has no input"))?;
        Ok((started, stdin))
    }

    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = process::Process::start(command);
        let child = child.with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        Ok(Self { name, child, seen: VecDeque::new() })
    }

    /// The operating system's number for it
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads until `pick` finds what it looks for in a line
    pub(crate) fn wait_for<T>(&mut self, deadline: Deadline, pick: impl Fn(&Line) -> Option<T>) -> Result<T> {
        loop {
            interrupt::check()?;
            deadline.check(self.name, "was not ready").map_err(|failure| self.quote(&failure))?;
            match self.child.next_line(GLANCE, |_| true) {
                Ok(line) => {
                    let found = pick(&line);
                    self.keep(line);
                    if let Some(found) = found {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let failure = anyhow!("{} ended before it was ready", self.name);
                    return Err(self.quote(&failure));
                }
            }
        }
    }

    /// Waits until it has ended well; returns what it printed on its standard output
    pub(crate) fn wait(&mut self, deadline: Deadline) -> Result<Vec<String>> {
        let status = loop {
            if let Some(status) = self.poll()? {
                break status;
            }
            deadline.check(self.name, "did not end").map_err(|failure| self.quote(&failure))?;
            if let Ok(line) = self.child.next_line(GLANCE, |_| true) {
                self.keep(line);
            }
        };
        // What it printed last may still be in the pipe, which closes with it.
        while let Ok(line) = self.child.next_line(Duration::from_secs(1), |_| true) {
            self.keep(line);
        }
        if !status.success() {
            let failure = anyhow!("{} failed ({status})", self.name);
            return Err(self.quote(&failure));
        }
        let printed = self.seen.iter().filter(|line| line.output == Output::Out);
        Ok(printed.map(|line| line.text.clone()).collect())
    }

    /// Fails if it has ended; empties its output so that it never blocks on a full pipe
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        while let Ok(line) = self.child.next_line(Duration::ZERO, |_| true) {
            self.keep(line);
        }
        match self.poll()? {
            None => Ok(()),
            Some(status) => {
                let failure = anyhow!("{} ended ({status})", self.name);
                Err(self.quote(&failure))
            }
        }
    }

    fn poll(&mut self) -> Result<Option<ExitStatus>> {
        interrupt::check()?;
        self.child.ended().with_context(|| format!("cannot wait for {}", self.name))
    }

    fn keep(&mut self, line: Line) {
        if self.seen.len() == KEPT {
            self.seen.pop_front();
        }
        self.seen.push_back(line);
    }

    /// The failure, followed by the last lines of this process
    fn quote(&self, failure: &Error) -> Error {
        let skipped = self.seen.len().saturating_sub(QUOTED);
        let mut text = format!("{failure:#}");
        for line in self.seen.iter().skip(skipped) {
            text.push_str("\n  | ");
            text.push_str(&line.text);
        }
        Error::msg(text)
    }
}

/// Runs a command on this terminal until it has ended; ends it when interrupted
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start `{shown}`"))?;
    Owned(child).end(&shown)
}

/// As [`run`]; returns the last line of its standard error that is wanted
pub(crate) fn run_and_keep(command: &mut Command, wanted: fn(&str) -> bool) -> Result<Option<String>> {
    let shown = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let said = child.stderr.take().map(|stderr| {
        thread::spawn(move || {
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            lines.inspect(|line| eprintln!("{line}")).filter(|line| wanted(line)).last()
        })
    });
    Owned(child).end(&shown)?;
    Ok(said.and_then(|said| said.join().ok().flatten()))
}

/// Runs a command quietly and returns its standard output
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({})\n{}", output.status, said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Does the same with each, two at a time: most of them wait most of the time
pub(crate) fn abreast<T: Sync, R: Send>(items: &[T], job: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let both = |pair: &[T]| {
        thread::scope(|scope| {
            let running: Vec<_> = pair.iter().map(|item| scope.spawn(|| job(item))).collect();
            running.into_iter().map(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic))).collect::<Vec<_>>()
        })
    };
    items.chunks(2).flat_map(both).collect()
}

/// A child on this terminal, ended with its owner
struct Owned(Child);

impl Owned {
    /// Waits until it has ended well
    fn end(mut self, shown: &str) -> Result<()> {
        loop {
            match self.0.try_wait().with_context(|| format!("cannot wait for `{shown}`"))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("`{shown}` failed ({status})"),
                None => interrupt::check()?,
            }
            thread::sleep(GLANCE);
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command line, for people: not quoted for a shell
fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    command.get_args().fold(program, |line, word| format!("{line} {}", word.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Process {
        Process::spawn("sh", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn output_before_a_process_ends_is_returned_whole() {
        let printed = sh("seq 100; echo note >&2").wait(Deadline::after(Duration::from_secs(10))).unwrap();
        assert_eq!(printed, (1..=100).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn last_wanted_line_is_kept_and_a_failure_is_one() {
        let run = |script: &str| run_and_keep(Command::new("sh").args(["-c", script]), |line| line.starts_with("Sum"));
        assert_eq!(run("echo Sum 1 >&2; echo Sum 2 >&2; echo done >&2").unwrap().unwrap(), "Sum 2");
        assert_eq!(run("echo done >&2").unwrap(), None);
        let failure = run("echo Sum >&2; exit 100").unwrap_err();
        assert!(failure.to_string().ends_with("failed (exit status: 100)"), "{failure}");
    }

    #[test]
    fn failed_process_is_quoted() {
        let failure = sh("echo no such bucket >&2; exit 3").wait(Deadline::after(Duration::from_secs(10))).unwrap_err();
        assert_eq!(failure.to_string(), "sh failed (exit status: 3)\n  | no such bucket");
    }

    #[test]
    fn process_that_ends_before_it_is_ready_is_quoted() {
        let deadline = Deadline::after(Duration::from_secs(10));
        let failure = sh("echo port in use").wait_for::<()>(deadline, |_| None).unwrap_err();
        assert_eq!(failure.to_string(), "sh ended before it was ready\n  | port in use");
    }

    #[test]
    fn silent_process_fails_at_its_deadline_and_is_killed() {
        let mut process = sh("exec sleep 60");
        let proc = std::path::PathBuf::from(format!("/proc/{}", process.id()));
        let failure = process.wait_for::<()>(Deadline::after(Duration::from_millis(50)), |_| None).unwrap_err();
        assert_eq!(failure.to_string(), "sh was not ready within 0 s");
        drop(process);
        assert!(!proc.exists(), "{} is still there", proc.display());
    }
}
