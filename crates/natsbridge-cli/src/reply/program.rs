//! The program that replies: given a message's first payload, its output is the reply, within limits of time and size.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use natsbridge::{Error, Message, Payload};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

use crate::failure::{Failure, chain};
use crate::output;
use crate::scratch::Scratch;

/// The longest reply, in bytes: it is held in memory
const MAX_REPLY: u64 = 64 * 1024 * 1024;

/// Bytes of standard error that are searched for a first line
const FIRST_LINE: usize = 4_096;

/// sysexits.h: the same input may succeed later
const EX_TEMPFAIL: i32 = 75;

/// What is run for each message
#[derive(Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) timeout: Duration,
    /// Whether the program gets the secrets in our environment
    pub(super) pass_secrets: bool,
    /// Where links lie while a program reads them
    pub(super) scratch: Scratch,
}

/// Why there is no reply; becomes a NACK (specification, section 6)
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    /// What this program's user is told
    pub(super) reason: String,
    /// What the message's sender is told
    pub(super) told: String,
    pub(super) retryable: bool,
}

impl Refusal {
    fn handler(reason: impl Into<String>, retryable: bool) -> Self {
        Self::new("handler", reason, retryable)
    }

    fn new(code: &'static str, reason: impl Into<String>, retryable: bool) -> Self {
        let reason = reason.into();
        Self { code, told: reason.clone(), reason, retryable }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (told, retryable) = (error.nack_reason(), error.is_retryable());
        Self { code: error.code(), reason: chain(&error).join(": "), told, retryable }
    }
}

/// Finds out whether there is such a program, as far as that is known before it is run
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let shown = || output::harmless(&path.to_string_lossy());
    let found = if path.components().count() > 1 {
        path.is_file()
    } else {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        // Windows looks in further places, and adds extensions.
        cfg!(windows) || std::env::split_paths(&folders).any(|folder| folder.join(path).is_file())
    };
    if found {
        return Ok(());
    }
    let hint = if path.to_string_lossy().contains(' ') {
        "; --exec takes the program alone, its arguments stand behind `--`"
    } else if Path::new(".").join(path).is_file() {
        "; write ./ before the name of a file in this folder"
    } else {
        ""
    };
    Err(Failure::Usage(format!("--exec can't be used: there is no program `{}`{hint}", shown())))
}

impl Program {
    /// Runs the program for a message; one that takes too long is killed
    pub(super) async fn answer(&self, message: &Message) -> Result<Vec<u8>, Refusal> {
        let mut input = Input::of(message.payloads().first(), &self.scratch).await?;
        let mut child = self
            .start(message)
            .map_err(|error| Refusal::handler(format!("cannot start {}: {error}", self.path.display()), true))?;
        let run = async {
            let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let (_, answer, words) = tokio::join!(input.write(stdin), limited(stdout), first_line(stderr));
            Ok::<_, io::Error>((answer?, words, child.wait().await?))
        };
        let (answer, words, status) = match tokio::time::timeout(self.timeout, run).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => return Err(Refusal::handler(format!("the program can't be followed: {error}"), true)),
            Err(_) => {
                let reason = format!("the program took longer than {}", humantime::format_duration(self.timeout));
                return Err(Refusal::new("timeout", reason, true));
            }
        };
        let Some(answer) = answer else {
            let reason = format!("the reply is longer than {MAX_REPLY} bytes");
            return Err(Refusal::new("too_large", reason, false));
        };
        if status.success() {
            return Ok(answer);
        }
        let reason = if words.is_empty() { format!("the program ended with {status}") } else { words };
        // One that was killed did not decide against the message.
        Err(Refusal::handler(reason, status.code().is_none_or(|code| code == EX_TEMPFAIL)))
    }

    fn start(&self, message: &Message) -> io::Result<Child> {
        let header = message.header();
        let first = message.payloads().first();
        let mut command = Command::new(&self.path);
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, text) in [
            ("NATSBRIDGE_SUBJECT", message.subject().as_str()),
            ("NATSBRIDGE_MSG_ID", header.msg_id()),
            ("NATSBRIDGE_CORRELATION_ID", header.correlation_id()),
            ("NATSBRIDGE_PURPOSE", header.msg_purpose().as_str()),
            ("NATSBRIDGE_SENDER_NAME", header.sender_name()),
            ("NATSBRIDGE_SENDER_ID", header.sender_id()),
            ("NATSBRIDGE_DATANAME", first.map_or("", Payload::name)),
            ("NATSBRIDGE_PAYLOAD_TYPE", first.map_or("", |first| first.payload_type().as_str())),
        ] {
            // A stranger's text; with a zero in it, no program could be started.
            command.env(name, text.replace('\0', "\u{fffd}"));
        }
        if !self.pass_secrets {
            for (name, value) in std::env::vars_os() {
                if is_secret(&name.to_string_lossy(), &value.to_string_lossy()) {
                    command.env_remove(name);
                }
            }
        }
        // Ctrl-C is for us: the programs that run get to finish.
        #[cfg(unix)]
        command.process_group(0);
        command.kill_on_drop(true).spawn()
    }
}

/// Whether a variable holds what this program logs in with, or where that is
fn is_secret(name: &str, value: &str) -> bool {
    const SECRETS: [&str; 6] =
        ["NATS_CREDS", "NATS_NKEY", "NATS_TOKEN", "NATS_PASSWORD", "NATS_KEY", "FILESERVER_TOKEN"];
    const ADDRESSES: [&str; 3] = ["NATS_URL", "FILESERVER_URL", "S3_URL"];
    // Windows does not tell upper from lower case.
    let name = name.to_ascii_uppercase();
    SECRETS.contains(&&*name) || name.starts_with("AWS_") || (ADDRESSES.contains(&&*name) && value.contains('@'))
}

/// What the program reads
enum Input {
    Bytes(bytes::Bytes),
    /// In a folder that only this user may look into, which goes with it
    File {
        file: tokio::fs::File,
        _folder: TempDir,
    },
}

impl Input {
    /// The first payload; a link is downloaded into a file, so that it need not fit the memory
    async fn of(first: Option<&Payload>, scratch: &Scratch) -> Result<Self, Error> {
        let Some(first) = first else { return Ok(Self::Bytes(bytes::Bytes::new())) };
        match first.part().and_then(|part| part.bytes()) {
            Some(bytes) => Ok(Self::Bytes(bytes.clone())),
            None => {
                let failed = |path: PathBuf, source| Error::file(first.name(), "write", path, source);
                let folder = scratch.folder().map_err(|error| failed(std::env::temp_dir(), error))?;
                let saved = first.save(folder.path()).await?;
                let file = tokio::fs::File::open(&saved.path).await.map_err(|error| failed(saved.path, error))?;
                Ok(Self::File { file, _folder: folder })
            }
        }
    }

    /// Writes all of it, unless the program has seen enough
    async fn write(&mut self, stdin: Option<ChildStdin>) {
        let Some(mut stdin) = stdin else { return };
        let written = match self {
            Self::Bytes(bytes) => stdin.write_all(bytes).await,
            Self::File { file, .. } => tokio::io::copy(file, &mut stdin).await.map(drop),
        };
        if let Err(error) = written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            tracing::warn!(%error, "a program's standard input could not be written");
        }
    }
}

/// All of it; `None` where it is longer than a reply may be, which ends the program by a broken pipe
async fn limited(stdout: Option<impl AsyncRead + Unpin>) -> io::Result<Option<Vec<u8>>> {
    let mut answer = Vec::new();
    let Some(stdout) = stdout else { return Ok(Some(answer)) };
    stdout.take(MAX_REPLY + 1).read_to_end(&mut answer).await?;
    let len = u64::try_from(answer.len()).unwrap_or(u64::MAX);
    Ok((len <= MAX_REPLY).then_some(answer))
}

/// The first line; everything is passed on to our own standard error
async fn first_line(stderr: Option<impl AsyncRead + Unpin>) -> String {
    let mut first = Vec::new();
    let Some(mut stderr) = stderr else { return String::new() };
    let mut chunk = [0; FIRST_LINE];
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        let room = FIRST_LINE - first.len();
        first.extend_from_slice(&chunk[..read.min(room)]);
        // That nobody reads it is no failure.
        let _ = io::stderr().lock().write_all(&chunk[..read]);
    }
    let line = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_from_other_variables() {
        for (name, value) in [
            ("NATS_PASSWORD", "x"),
            ("FILESERVER_TOKEN", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("aws_session_token", "x"),
            ("NATS_URL", "nats://ann:hunter2@h"),
            ("FILESERVER_URL", "http://bob:hunter2@h"),
        ] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in
            [("NATS_URL", "nats://h:4222"), ("NATSBRIDGE_SUBJECT", "s"), ("PATH", "/bin"), ("HOME", "@")]
        {
            assert!(!is_secret(name, value), "{name}");
        }
    }
}
