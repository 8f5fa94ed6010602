//! The program under test as child processes: started, signalled, killed, and listened to.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Outcome;

/// How long a program may take to be ready
const READY: Duration = Duration::from_secs(30);

/// One run of `natsbridge`
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Lines,
    notes: Lines,
}

/// What one run left behind
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: Vec<String>,
    pub(crate) notes: Vec<String>,
}

impl Ended {
    /// The number that stands behind a word in the last line that has it, such as `lost 3`
    pub(crate) fn number(&self, word: &str) -> Option<u64> {
        self.notes.iter().rev().find_map(|line| number_after(line, word))
    }

    /// The last lines that it wrote for people, for a failure's text
    pub(crate) fn quoted(&self) -> String {
        let from = self.notes.len().saturating_sub(8);
        self.notes.iter().skip(from).fold(String::new(), |text, line| text + "\n    | " + line)
    }
}

fn number_after(line: &str, word: &str) -> Option<u64> {
    let mut words = line.split([' ', ',', ';', ':', '(', ')']).filter(|word| !word.is_empty());
    words.by_ref().find(|found| *found == word)?;
    words.next()?.parse().ok()
}

impl Program {
    /// Starts it with nothing of the caller's own settings
    pub(crate) fn start(program: &Path, words: &[&str], settings: &[(&str, String)]) -> Outcome<Self> {
        let mut command = Command::new(program);
        command.args(words).env_clear();
        for name in ["PATH", "HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err("a child without output".into());
        };
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, output: Lines::of(stdout), notes: Lines::of(stderr) })
    }

    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Waits until a line with this text was written, on either output
    pub(crate) async fn ready(&self, text: &str) -> Outcome<()> {
        let (mut output, mut notes) = (self.output.seen.subscribe(), self.notes.seen.subscribe());
        let has = |lines: &Vec<String>| lines.iter().any(|line| line.contains(text));
        let seen = async {
            tokio::select! {
                Ok(_) = output.wait_for(has) => true,
                Ok(_) = notes.wait_for(has) => true,
                else => false,
            }
        };
        if timeout(READY, seen).await.unwrap_or(false) {
            return Ok(());
        }
        let said = self.notes.seen.borrow().join("\n    | ");
        Err(format!("a program never said `{text}`:\n    | {said}").into())
    }

    /// Lines on standard output so far
    pub(crate) fn lines(&self) -> watch::Receiver<Vec<String>> {
        self.output.seen.subscribe()
    }

    pub(crate) fn terminate(&self) -> Outcome<()> {
        self.signal(Signal::TERM)
    }

    fn signal(&self, signal: Signal) -> Outcome<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(pid.ok_or("the program has ended already")?, signal)?;
        Ok(())
    }

    pub(crate) async fn kill(mut self) -> Outcome<Ended> {
        // Fails only where it has ended by itself.
        let _ = self.child.start_kill();
        self.end(Duration::from_secs(10)).await
    }

    /// Waits until it has ended by itself
    pub(crate) async fn end(mut self, patience: Duration) -> Outcome<Ended> {
        drop(self.stdin.take());
        let Ok(status) = timeout(patience, self.child.wait()).await else {
            let said = self.notes.seen.borrow().join("\n    | ");
            return Err(format!("a program did not end within {patience:?}:\n    | {said}").into());
        };
        Ok(Ended { status: status?, output: self.output.all().await, notes: self.notes.all().await })
    }
}

/// Lines of one output, kept as they come
struct Lines {
    seen: watch::Sender<Vec<String>>,
    reading: JoinHandle<()>,
}

impl Lines {
    fn of(output: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let seen = watch::Sender::new(Vec::new());
        let writer = seen.clone();
        let reading = tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                writer.send_modify(|seen| seen.push(line));
            }
        });
        Self { seen, reading }
    }

    async fn all(self) -> Vec<String> {
        // The pipe closes with the process, or with what it left running.
        let _ = timeout(Duration::from_secs(5), self.reading).await;
        self.seen.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn numbers_are_found_after_their_label() {
        let line = "received 12, unreadable 0, acknowledged 12, repeated 1, lost 3 (2 dropped: read too slowly)";
        assert_eq!(number_after(line, "received"), Some(12));
        assert_eq!(number_after(line, "lost"), Some(3));
        assert_eq!(number_after(line, "unhandled"), None);
    }
}
