//! How a command fails: what is said on standard error, and the exit code (`natsbridge --help`).

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use natsbridge::broker::{BrokerError, BrokerErrorKind};
use natsbridge::server::ServerError;
use natsbridge::store::{FetchError, StoreError, StoreErrorKind};

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
    #[error("payload `{}`: {problem}", natsbridge::wire::shown(dataname))]
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
    #[error("{}, line {line}: {why}", output::harmless(file))]
    Recording { file: String, line: u64, why: String },
    /// Checks of the doctor that failed
    #[error("{failed} of {of} checks failed")]
    Unhealthy { failed: usize, of: usize, exit_code: u8 },
    /// What `inspect` found wrong
    #[error("the message has {problems} {}", if *.problems == 1 { "problem" } else { "problems" })]
    Unsound { problems: usize },
    /// A request without a reply
    #[error(transparent)]
    Unanswered(natsbridge::Error),
    /// A request whose reply is a NACK
    #[error("refused by {} ({}): {}", output::harmless(receiver), output::harmless(code), output::harmless(reason))]
    Refused { receiver: String, code: String, reason: String },
    /// Probes that did not come back in time often enough
    #[error("only {share:.1} % of the messages came back within {}", humantime::format_duration(*.within))]
    Late { share: f64, within: std::time::Duration },
    /// The end of `--for`
    #[error("{seen} of {wanted} messages came in time{}", if *.unread > 0 { ", and not all could be read" } else { "" })]
    TimeRanOut { seen: u64, wanted: u64, unread: u64 },
    /// Messages that had arrived when the program had to end
    #[error("{unhandled} {} arrived and {} not handled before the end; give more time with --grace",
        if *.unhandled == 1 { "message" } else { "messages" }, if *.unhandled == 1 { "was" } else { "were" })]
    Unhandled { unhandled: u64 },
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

    /// Standard output can't be written; that nobody reads it any more is no failure
    pub(crate) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::system("cannot write to standard output", error),
        }
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
        for (depth, message) in self.texts().into_iter().enumerate() {
            let before = if depth == 0 { "" } else { "\n  caused by: " };
            // Writing to a string can't fail.
            let _ = write!(text, "{before}{}", output::hanging(&message, 12, "    "));
        }
        if let Some(advice) = self.advice() {
            let _ = write!(text, "\n  help: {}", output::hanging(&advice, 8, "    "));
        }
        output::note(&text);
        ExitCode::from(self.exit_code())
    }

    /// What is said of it: the text and its causes, without what the advice says again
    pub(crate) fn texts(&self) -> Vec<String> {
        let mut texts = chain(self);
        let Self::Bridge(natsbridge::Error::Broker(error)) = self else { return texts };
        let kind = error.kind();
        if matches!(
            kind,
            BrokerErrorKind::Refused
                | BrokerErrorKind::Unresolved
                | BrokerErrorKind::TimedOut
                | BrokerErrorKind::TlsNotOffered
        ) {
            texts.truncate(1);
        }
        if let (BrokerErrorKind::Refused | BrokerErrorKind::Unresolved, [text]) = (kind, &mut texts[..]) {
            text.truncate(text.find("; ").unwrap_or(text.len()));
        }
        texts
    }

    fn exit_code(&self) -> u8 {
        use natsbridge::Error;
        match self {
            Self::OutputClosed => 0,
            Self::System { .. } | Self::Stopped => 1,
            Self::Usage(_) | Self::Bridge(Error::Config(_) | Error::Subject(_)) => 2,
            Self::Server(error) if error.code() == "fileserver_config" => 2,
            Self::ConnectionClosed => 3,
            Self::Bridge(Error::Broker(error)) => match error.kind() {
                BrokerErrorKind::InvalidOptions | BrokerErrorKind::InvalidSubject => 2,
                BrokerErrorKind::TooLarge => 5,
                _ => 3,
            },
            Self::Bridge(Error::Store(error)) if error.kind() == StoreErrorKind::LocalFile => 5,
            Self::Bridge(Error::Store(_) | Error::Fetch(_)) | Self::Server(_) => 4,
            Self::Bridge(Error::Delivery(_)) => 8,
            Self::Bridge(_) | Self::Input { .. } | Self::Recording { .. } => 5,
            Self::Unhealthy { exit_code, .. } => *exit_code,
            Self::Unread { .. } | Self::Unsound { .. } => 6,
            Self::TimeRanOut { .. } => 7,
            Self::Unanswered(_) | Self::Refused { .. } | Self::Late { .. } => 8,
            Self::Unhandled { .. } => 9,
            Self::Lines { first, .. } => first.exit_code(),
        }
    }

    /// What to do, where the error itself can't know the program's options
    pub(crate) fn advice(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Bridge(natsbridge::Error::Broker(error)) => broker_advice(error).map(Cow::from),
            Self::Bridge(natsbridge::Error::Store(error)) => store_advice(error),
            Self::Unanswered(natsbridge::Error::Broker(error)) if error.kind() == BrokerErrorKind::TimedOut => {
                Some("wait longer with --timeout".into())
            }
            Self::Bridge(natsbridge::Error::Fetch(error)) => fetch_advice(error).map(Cow::from),
            Self::Lines { first, .. } => first.advice(),
            _ => None,
        }
    }
}

/// What to do about a link whose origin is not allowed; another refused link is followed with no option
pub(crate) fn fetch_advice(error: &FetchError) -> Option<String> {
    let origin = error.refused_origin()?;
    Some(format!("if you trust it: --allow-origin {origin}"))
}

/// What to do about NATS, by the kind of failure and the kind of address that was tried
fn broker_advice(error: &BrokerError) -> Option<&'static str> {
    let text = error.to_string();
    let websocket = text.contains("ws://") || text.contains("wss://");
    Some(match error.kind() {
        // These name the setting's value, which several options and variables can give.
        BrokerErrorKind::InvalidOptions if text.contains("NATS server URL") || text.contains("of NATS") => {
            "the address comes from --nats or NATS_URL"
        }
        BrokerErrorKind::InvalidOptions if text.contains("credentials file") => {
            "the file is named by --creds or NATS_CREDS"
        }
        BrokerErrorKind::InvalidOptions if text.contains("nkey") => "the file is named by --nkey or NATS_NKEY",
        BrokerErrorKind::InvalidOptions if text.starts_with("the file ") => {
            "files are named by --nkey, --tls-ca, --tls-cert and --tls-key, or NATS_NKEY, NATS_CA, NATS_CERT and NATS_KEY"
        }
        BrokerErrorKind::Unresolved => "check the host's name in --nats or NATS_URL, and DNS",
        BrokerErrorKind::Refused if websocket => {
            "check the port in --nats or NATS_URL: a server listens for WebSockets on a port of their own"
        }
        BrokerErrorKind::Refused => "start nats-server, or name another server with --nats, --profile or NATS_URL",
        BrokerErrorKind::Unreachable => "check the address in --nats or NATS_URL, and what is between here and there",
        BrokerErrorKind::TlsFirst => "give --tls-first, or NATS_TLS_FIRST=true",
        BrokerErrorKind::TlsNotOffered => {
            "TLS is asked for by --tls-ca, --tls-cert, --tls-first, their variables, and tls:// or wss:// in --nats or NATS_URL"
        }
        BrokerErrorKind::Unauthorized => {
            "give credentials with --creds, --nkey, or in NATS_TOKEN, NATS_USER and NATS_PASSWORD, or NATS_URL"
        }
        BrokerErrorKind::TlsUntrusted => "name the file with that authority's certificate with --tls-ca or NATS_CA",
        BrokerErrorKind::TlsClientCertificate => {
            "name a certificate and its key with --tls-cert and --tls-key, or NATS_CERT and NATS_KEY"
        }
        _ => return None,
    })
}

/// What to do about the store that is configured: its name says which it is
fn store_advice(error: &StoreError) -> Option<Cow<'static, str>> {
    let store = error.store();
    let plik = store.starts_with("plik at ");
    let put = store.starts_with("http store");
    let local = ["//localhost", "//127.", "//[::1]"].iter().any(|host| store.contains(host));
    let setting = match (plik, put) {
        (true, _) => "--fileserver or FILESERVER_URL",
        (_, true) => "--store or STORE_URL",
        _ => "the endpoint of --s3 or S3_URL",
    };
    let said = chain(error).pop().unwrap_or_default();
    if said.starts_with(NO_HTTP) {
        return Some(format!("no file server is at that port (is it NATS?); correct {setting}").into());
    }
    if said.starts_with(NO_TLS) || said.contains("https:// in place of http://") {
        return Some(format!("correct {setting}").into());
    }
    // It runs, and has said what is wrong.
    let answered = chain(error).iter().any(|text| text.starts_with("the server answered "));
    let advice = match error.kind() {
        StoreErrorKind::Unreachable | StoreErrorKind::Timeout | StoreErrorKind::Rejected if put => {
            "check the address and the folder in --store or STORE_URL, and that the server takes PUT there"
        }
        StoreErrorKind::Refused if put => {
            "put a token into FILESERVER_TOKEN, or a user and a password into the URL of --store or STORE_URL"
        }
        StoreErrorKind::Unreachable | StoreErrorKind::Timeout if !plik => {
            "check the endpoint, the region and the bucket in --s3 or S3_URL, and that the store runs"
        }
        StoreErrorKind::Unreachable if answered => {
            "the server's own log says more; --fileserver or FILESERVER_URL can name another"
        }
        StoreErrorKind::Unreachable | StoreErrorKind::Timeout if local => {
            "start one with `natsbridge serve`, or name another with --fileserver or FILESERVER_URL"
        }
        StoreErrorKind::Unreachable | StoreErrorKind::Timeout => {
            "check that the file server runs there, or name another with --fileserver or FILESERVER_URL"
        }
        StoreErrorKind::Refused if plik => "put the file server's token into FILESERVER_TOKEN",
        StoreErrorKind::Refused => {
            "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the region, and what the keys may do with the bucket"
        }
        StoreErrorKind::Untrusted => {
            "name the file with that authority's certificate with --fileserver-ca or FILESERVER_CA"
        }
        StoreErrorKind::Rejected if plik => {
            "check that --fileserver or FILESERVER_URL leads to a Plik or to `natsbridge serve`"
        }
        StoreErrorKind::Rejected => "check the bucket, the endpoint and the region in --s3 or S3_URL",
        _ if error.code() == "credentials" => "put the keys into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        _ => return None,
    };
    Some(advice.into())
}

const NO_TLS: &str = "the server there does not speak TLS";
const NO_HTTP: &str = "the server there does not speak HTTP";

/// What libraries say of a server of another protocol, and what it means
const FOREIGN: [(&str, &str); 3] = [
    ("received corrupt message of type InvalidContentType", NO_TLS),
    ("invalid HTTP version parsed", NO_HTTP),
    ("received unexpected message from connection", NO_HTTP),
];

/// An error's text for people, harmless on a terminal
fn text_of(error: &(dyn StdError + 'static)) -> String {
    let text = plain(error.to_string());
    match FOREIGN.iter().find(|(said, _)| *said == text) {
        Some((_, meaning)) => (*meaning).to_owned(),
        None => natsbridge::wire::harmless(&text).into_owned(),
    }
}

/// An error's text without the system's number for it, which says nothing more: ` (os error 2)`
pub(crate) fn plain(mut text: String) -> String {
    const BEFORE: &str = " (os error ";
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(BEFORE)).map(|at| from + at) {
        let number = text.get(at + BEFORE.len()..).unwrap_or_default();
        let digits = number.len() - number.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 && number.get(digits..).is_some_and(|rest| rest.starts_with(')')) {
            text.replace_range(at..at + BEFORE.len() + digits + 1, "");
        } else {
            from = at + 1;
        }
    }
    text
}

/// What levels of the HTTP client say of what they only pass on
const PASSED_ON: [&str; 5] = [
    "error sending request",
    "client error (Connect)",
    "client error (SendRequest)",
    "tcp connect error",
    "error reading a body from connection",
];

/// An error's text and those of its causes, outermost first, harmless on a terminal
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut texts = vec![text_of(error)];
    let mut next = error.source();
    while let Some(cause) = next {
        // What a library quotes may be a stranger's.
        let text = text_of(cause);
        // Some libraries' errors hold their causes, word for word; some of ours are told by a level above; and some levels
        // of the HTTP client say nothing that the next one does not say better.
        let says_nothing = cause.source().is_some() && PASSED_ON.contains(&&*text);
        if !says_nothing && texts.iter().all(|told| !told.contains(&text)) {
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
    fn error_chain_says_every_level_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("IO error: {0}")]
        struct Repeating(#[source] io::Error);

        let failure = Failure::input("a", "can't be read").because(Repeating(io::Error::other("no space")));
        assert_eq!(chain(&failure), ["payload `a`: can't be read", "IO error: no space"]);
    }

    #[test]
    fn advice_is_given_once_and_its_cause_is_not_repeated() {
        let said = |kind, text: &str| {
            let error = BrokerError::new(kind, format!("could not connect to x: {text}")).with_source("the cause");
            Failure::Bridge(error.into()).texts().join(" / ")
        };
        let unresolved = said(BrokerErrorKind::Unresolved, "the host name has no address; check its spelling, and DNS");
        assert_eq!(unresolved, "could not connect to x: the host name has no address");
        let late = said(BrokerErrorKind::TimedOut, "no reply; check the address");
        assert_eq!(late, "could not connect to x: no reply; check the address");
        assert_eq!(said(BrokerErrorKind::Unreachable, "a; b"), "could not connect to x: a; b / the cause");
    }

    #[test]
    fn number_of_a_system_error_is_left_out() {
        for (text, left) in [
            ("a: No such file (os error 2)", "a: No such file"),
            ("a (os error 2): b (os error 13)!", "a: b!"),
            ("a (os error x) (os error 2)", "a (os error x)"),
            ("a", "a"),
        ] {
            assert_eq!(plain(text.to_owned()), left);
        }
    }

    #[test]
    fn strangers_text_in_an_error_commands_no_terminal() {
        let failure = Failure::input("a\u{1b}[2J", "b").because("\u{1b}]0;x\u{7}\r\n\u{202e}\u{2028}");
        let text = chain(&failure).join(": ");
        let harmful = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{2028}');
        assert!(!text.chars().any(harmful), "{text:?}");
    }

    #[test]
    fn advice_fits_the_store_that_is_configured() {
        let advice = |kind, store: &str| {
            Failure::Bridge(StoreError::new(kind, store).with_dataname("a").into()).advice().unwrap_or_default()
        };
        let bucket = "s3 bucket payloads";
        for (kind, store, holds) in [
            (StoreErrorKind::Refused, bucket, "AWS_ACCESS_KEY_ID"),
            (StoreErrorKind::Refused, "plik at http://files.test", "FILESERVER_TOKEN"),
            (StoreErrorKind::Unreachable, bucket, "--s3"),
            (StoreErrorKind::Unreachable, "plik at http://localhost:8080", "natsbridge serve"),
            (StoreErrorKind::Timeout, "plik at http://files.test", "--fileserver"),
            (StoreErrorKind::Rejected, "plik at http://files.test", "Plik"),
        ] {
            assert!(advice(kind, store).contains(holds), "{kind:?}, {store}");
        }
        for kind in [StoreErrorKind::Refused, StoreErrorKind::Unreachable, StoreErrorKind::Rejected] {
            let text = advice(kind, bucket);
            assert!(!text.contains("FILESERVER") && !text.contains("serve`"), "{text}");
        }
        assert!(!advice(StoreErrorKind::Unreachable, "plik at http://files.test").contains("serve`"));
        let busy = StoreError::new(StoreErrorKind::Unreachable, "plik at http://localhost:8080")
            .with_source("the server answered 429 Too Many Requests");
        let text = Failure::Bridge(busy.into()).advice().unwrap_or_default();
        assert!(text.contains("--fileserver") && !text.contains("serve`"), "{text}");
    }

    #[test]
    fn advice_fits_the_address_of_nats() {
        let advice = |kind, url: &str| {
            let error = BrokerError::new(kind, format!("could not connect to {url}: it failed"));
            Failure::Bridge(error.into()).advice().unwrap_or_default()
        };
        let refused = advice(BrokerErrorKind::Refused, "nats://localhost:4222");
        assert!(refused.contains("start nats-server") && refused.contains("--nats"), "{refused}");
        assert!(advice(BrokerErrorKind::TlsFirst, "nats://localhost:4222").contains("--tls-first"));
        for (kind, url) in [
            (BrokerErrorKind::Unresolved, "nats://nowhere.test:4222"),
            (BrokerErrorKind::Refused, "ws://localhost:8443"),
            (BrokerErrorKind::Unreachable, "nats://files.test:4222"),
        ] {
            let text = advice(kind, url);
            assert!(
                !text.is_empty() && !text.contains("start nats-server") && !text.contains("--tls-first"),
                "{url}: {text}"
            );
        }
    }
}
