//! How a command fails: what is said on standard error, and the exit code (`natsbridge --help`).

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use natsbridge::server::ServerError;
use natsbridge::{BrokerErrorKind, StoreErrorKind};

use crate::output;

/// Why a command did not do what it was asked
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Sending or receiving
    #[error(transparent)]
    Bridge(#[from] natsbridge::Error),
    /// The embedded file server
    #[error(transparent)]
    Server(#[from] ServerError),
    /// An argument that can't be used
    #[error("{0}")]
    Usage(String),
    /// An input that can't be read as what it is meant to be
    #[error("payload `{}`: {problem}", natsbridge::shown(dataname))]
    Input { dataname: String, problem: String, source: Option<Box<dyn StdError + Send + Sync>> },
    /// Messages that came and could not be read
    #[error("{unread} of {seen} messages could not be read")]
    Unread { unread: u64, seen: u64 },
    /// Lines of `send --lines` that were not sent, or not acknowledged
    #[error("{failed} of {total} lines are not known to have arrived; the first of them")]
    Lines {
        failed: u64,
        total: u64,
        #[source]
        first: Box<Self>,
    },
    /// Lines of `send --lines` that a signal left unsent
    #[error("a signal came before they were sent")]
    Stopped,
    /// A record that can't be sent again
    #[error("{file}, line {line}: {why}")]
    Recording { file: String, line: u64, why: String },
    /// Checks of the doctor that failed
    #[error("{failed} of {of} checks failed")]
    Unhealthy { failed: usize, of: usize, exit_code: u8 },
    /// What `inspect` found wrong
    #[error("the message has {problems} {}", if *.problems == 1 { "problem" } else { "problems" })]
    Unsound { problems: usize },
    /// A request that nobody answers
    #[error(transparent)]
    Unanswered(natsbridge::Error),
    /// A request whose answer is a NACK
    #[error("the request was refused: {code}: {}", output::harmless(reason))]
    Refused { code: String, reason: String },
    /// The end of `--for`
    #[error("{seen} of {wanted} messages came in time{}", if *.unread > 0 { ", and not all could be read" } else { "" })]
    TimeRanOut { seen: u64, wanted: u64, unread: u64 },
    /// The connection was closed from the other side for good
    #[error("NATS closed the connection for good")]
    ConnectionClosed,
    /// The operating system refuses something
    #[error("{doing}")]
    System { doing: String, source: io::Error },
    /// Whoever read standard output is gone
    #[error("standard output is closed")]
    OutputClosed,
}

impl Failure {
    pub(crate) fn system(doing: impl Into<String>, source: io::Error) -> Self {
        Self::System { doing: doing.into(), source }
    }

    pub(crate) fn input(dataname: &str, problem: impl Into<String>) -> Self {
        Self::Input { dataname: dataname.to_owned(), problem: problem.into(), source: None }
    }

    /// Adds the cause of a bad input
    pub(crate) fn because(self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        match self {
            Self::Input { dataname, problem, .. } => Self::Input { dataname, problem, source: Some(cause.into()) },
            other => other,
        }
    }

    /// Says what went wrong, cause by cause, and what to do; gives the exit code
    pub(crate) fn report(&self) -> ExitCode {
        if matches!(self, Self::OutputClosed) {
            return ExitCode::SUCCESS;
        }
        let mut text = format!("{} ", output::stderr_style().red("error:"));
        for (depth, message) in chain(self).into_iter().enumerate() {
            // Writing to a string can't fail.
            let _ = if depth == 0 { write!(text, "{message}") } else { write!(text, "\n  caused by: {message}") };
        }
        if let Some(advice) = self.advice() {
            let _ = write!(text, "\n  help: {advice}");
        }
        output::note(&text);
        ExitCode::from(self.exit_code())
    }

    fn exit_code(&self) -> u8 {
        use natsbridge::Error;
        match self {
            Self::OutputClosed => 0,
            Self::System { .. } | Self::Stopped => 1,
            Self::Usage(_)
            | Self::Bridge(Error::Config(_) | Error::Subject(_))
            | Self::Server(ServerError::Config { .. }) => 2,
            Self::ConnectionClosed => 3,
            Self::Bridge(Error::Broker(error)) => match error.kind() {
                BrokerErrorKind::InvalidOptions | BrokerErrorKind::InvalidSubject => 2,
                BrokerErrorKind::TooLarge { .. } => 5,
                _ => 3,
            },
            Self::Bridge(Error::Store(error)) if error.kind() == StoreErrorKind::LocalFile => 5,
            Self::Bridge(Error::Store(_) | Error::Fetch(_)) | Self::Server(_) => 4,
            Self::Bridge(Error::Delivery(_)) => 8,
            Self::Bridge(_) | Self::Input { .. } | Self::Recording { .. } => 5,
            Self::Unhealthy { exit_code, .. } => *exit_code,
            Self::Unread { .. } | Self::Unsound { .. } => 6,
            Self::TimeRanOut { .. } => 7,
            Self::Unanswered(_) | Self::Refused { .. } => 8,
            Self::Lines { first, .. } => first.exit_code(),
        }
    }

    /// What to do, where the error itself can't know the program's options
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Bridge(natsbridge::Error::Broker(error)) => match error.kind() {
                BrokerErrorKind::Refused | BrokerErrorKind::Unresolved | BrokerErrorKind::Unreachable => {
                    Some("start nats-server there, or name another with --nats or NATS_URL")
                }
                BrokerErrorKind::Unauthorized => Some(
                    "give credentials with --creds, --nkey, or in NATS_TOKEN, NATS_USER and NATS_PASSWORD, or NATS_URL",
                ),
                BrokerErrorKind::TlsUntrusted => {
                    Some("name the file with that authority's certificate with --tls-ca or NATS_CA")
                }
                BrokerErrorKind::TlsClientCertificate => {
                    Some("name a certificate and its key with --tls-cert and --tls-key, or NATS_CERT and NATS_KEY")
                }
                BrokerErrorKind::Tls => Some("where the server begins with TLS (`handshake_first`), give --tls-first"),
                _ => None,
            },
            Self::Bridge(natsbridge::Error::Store(error)) => match error.kind() {
                StoreErrorKind::Unreachable | StoreErrorKind::Timeout => {
                    Some("start one with `natsbridge serve`, or name another with --fileserver or FILESERVER_URL")
                }
                StoreErrorKind::Refused => Some("put the file server's token into FILESERVER_TOKEN"),
                _ => None,
            },
            Self::Lines { first, .. } => first.advice(),
            _ => None,
        }
    }
}

/// An error's text and those of its causes, outermost first
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Some libraries' errors end with their cause, word for word.
        if texts.last().is_none_or(|last| !last.ends_with(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_every_level_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("IO error: {0}")]
        struct Repeating(#[source] io::Error);

        let failure = Failure::input("a", "can't be read").because(Repeating(io::Error::other("no space")));
        assert_eq!(chain(&failure), ["payload `a`: can't be read", "IO error: no space"]);
    }
}
