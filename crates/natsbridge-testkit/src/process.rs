//! Child processes: their lines are read as they come, every wait is bounded, and each is killed with its owner.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait looks whether the process has ended
const GLANCE: Duration = Duration::from_millis(5);

/// Where a line was printed
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a process has two outputs")]
pub enum Output {
    /// Standard output
    Out,
    /// Standard error
    Err,
}

/// One line that a process printed
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Line {
    /// Where it was printed
    pub output: Output,
    /// The line without its end
    pub text: String,
}

/// A running child whose outputs are read all the time, so that it never waits for room in a pipe
///
/// Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<Line>,
    unread: RefCell<VecDeque<Line>>,
}

impl Process {
    /// Starts a program; its standard input is as the command says
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            forward(stdout, Output::Out, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, Output::Err, sender);
        }
        Ok(Self { child, lines, unread: RefCell::default() })
    }

    /// The operating system's number for it
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, once, where the command asked for a pipe
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Takes the next line that is wanted; lines before it that are not wanted stay for later calls
    ///
    /// # Errors
    /// None came in time, or both outputs are closed.
    pub fn next_line(&self, patience: Duration, wanted: impl Fn(&Line) -> bool) -> Result<Line, RecvTimeoutError> {
        let mut unread = self.unread.borrow_mut();
        if let Some(line) = unread.iter().position(&wanted).and_then(|at| unread.remove(at)) {
            return Ok(line);
        }
        let end = Instant::now() + patience;
        loop {
            let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()))?;
            if wanted(&line) {
                return Ok(line);
            }
            unread.push_back(line);
        }
    }

    /// Takes the next line of one output
    ///
    /// # Errors
    /// None came in time, or both outputs are closed.
    pub fn line(&self, output: Output, patience: Duration) -> Result<String, RecvTimeoutError> {
        self.next_line(patience, |line| line.output == output).map(|line| line.text)
    }

    /// Takes every line of one output that has come and was not taken
    pub fn unread(&self, output: Output) -> Vec<String> {
        std::iter::from_fn(|| self.line(output, Duration::ZERO).ok()).collect()
    }

    /// How it ended, if it has
    ///
    /// # Errors
    /// The system does not tell.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until it has ended; none if it did not in time
    ///
    /// # Errors
    /// The system does not tell.
    pub fn wait(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let end = Instant::now() + patience;
        loop {
            match self.child.try_wait()? {
                None if Instant::now() < end => thread::sleep(GLANCE),
                ended => return Ok(ended),
            }
        }
    }

    /// Ends it as a power cut would; does nothing to one that has ended
    pub fn kill(&mut self) {
        // Both fail only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn forward(stream: impl Read + Send + 'static, output: Output, lines: Sender<Line>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if lines.send(Line { output, text }).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Process {
        Process::start(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn lines_of_one_output_do_not_take_those_of_the_other() {
        let mut process = sh("echo a; echo b >&2; echo c; exit 3");
        assert_eq!(process.line(Output::Err, PATIENCE).unwrap(), "b");
        assert_eq!(process.wait(PATIENCE).unwrap().and_then(|status| status.code()), Some(3));
        assert_eq!(process.line(Output::Out, PATIENCE).unwrap(), "a");
        assert_eq!(process.line(Output::Out, PATIENCE).unwrap(), "c");
        assert_eq!(process.line(Output::Out, PATIENCE), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn silent_process_is_late_and_killed_with_its_owner() {
        let mut process = sh("exec sleep 60");
        assert_eq!(process.line(Output::Out, Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
        assert!(process.wait(Duration::ZERO).unwrap().is_none());
        let proc = std::path::PathBuf::from(format!("/proc/{}", process.id()));
        drop(process);
        assert!(!proc.exists(), "{} is still there", proc.display());
    }
}
