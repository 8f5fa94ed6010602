//! `natsbridge reply`: answers each message of a subject with what a program makes of it.

mod program;

use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use natsbridge::{Bridge, Draft, Error, Inbox, Incoming, PayloadType, Purpose};
use serde_json::json;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::global::{self, Global};
use crate::metrics::Metrics;
use crate::{listing, output, receive, send, signals, units};
use program::{Program, Refusal};

/// Answer each message with what a program makes of it
///
/// The program reads the message's first payload on standard input; what it
/// writes goes back as a text called `reply`, or as bytes where it is no text.
/// One that fails makes a NACK with the first line of its standard error. Ctrl-C
/// and SIGTERM take no new messages and let those that run finish.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Reply {
    /// Subject to listen to; `*` is one word, `>` all that follow
    subject: String,
    /// Program to run for each message, without a shell
    #[arg(long, value_name = "PROGRAM")]
    exec: PathBuf,
    /// Arguments of the program, after `--`
    #[arg(last = true, value_name = "ARGUMENT")]
    args: Vec<OsString>,
    /// How long the program may take; then it is killed
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "30s")]
    timeout: Duration,
    /// Programs that run at once; further messages wait
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = jobs)]
    jobs: usize,
    /// Share the messages with the other members of this group
    #[arg(long, value_name = "GROUP")]
    queue: Option<String>,
    /// Follow links to this origin too, besides the file server's
    #[arg(long, value_name = "URL")]
    allow_origin: Vec<String>,
    #[command(flatten)]
    metrics: Metrics,
    /// Print one JSON line a message
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
The program finds in its environment NATSBRIDGE_SUBJECT, _MSG_ID,
_CORRELATION_ID, _PURPOSE, _SENDER_NAME, _SENDER_ID, _DATANAME and
_PAYLOAD_TYPE. Exit code 75 says that the same message may succeed later; any
other but 0 refuses it for good.

Examples:
  natsbridge reply math.upper --exec tr -- a-z A-Z
  natsbridge reply 'lab.*' --exec ./analyse.py --jobs 2 --timeout 5m
  natsbridge reply jobs --exec ./work.sh --queue workers --json
";

/// Reads a number of programs
fn jobs(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|jobs| *jobs > 0).ok_or_else(|| "write a number from 1 on".to_owned())
}

/// What became of the messages
#[derive(Default)]
struct Tally {
    handled: u64,
    answered: u64,
    refused: u64,
    unread: u64,
}

/// What became of one message
struct Handled {
    message: Incoming,
    /// Bytes of the answer
    outcome: Result<usize, Refusal>,
    /// Whether its sender was told
    told: bool,
    took: Duration,
}

impl Reply {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut config = global.config().await?;
        for url in &self.allow_origin {
            global::origin("--allow-origin", url)?;
        }
        config.allowed_origins.clone_from(&self.allow_origin);
        self.metrics.serve()?;
        let bridge = Global::connect(config).await?;
        let inbox = match &self.queue {
            Some(group) => bridge.subscribe_queue(&self.subject, group).await?,
            None => bridge.subscribe(&self.subject).await?,
        };
        bridge.confirm().await?;
        // The first payload is fetched when its program starts, straight into a file where it is a link.
        let mut inbox = inbox.lazy();
        output::note(&format!("answering {}", self.subject));

        let mut tally = Tally::default();
        let done = self.answer_all(&bridge, &mut inbox, &mut tally).await;
        send::end(&bridge).await;
        let closed = done?;
        let Tally { handled, answered, refused, unread } = tally;
        let losses = receive::losses(&inbox, self.queue.is_some());
        output::note(&format!(
            "handled {handled}, answered {answered}, refused {refused}, unreadable {unread}, {losses}"
        ));
        if closed { Err(Failure::ConnectionClosed) } else { Ok(()) }
    }

    /// Answers until a signal comes; says whether the connection was closed before
    async fn answer_all(&self, bridge: &Bridge, inbox: &mut Inbox, tally: &mut Tally) -> Result<bool, Failure> {
        let program = Program { path: self.exec.clone(), args: self.args.clone(), timeout: self.timeout };
        let mut running = FuturesUnordered::new();
        let mut stopped = pin!(signals::stopped());
        let (mut taking, mut closed) = (true, false);
        while taking || !running.is_empty() {
            tokio::select! {
                biased;
                () = &mut stopped, if taking => taking = false,
                Some(handled) = running.next() => self.told(&handled, tally)?,
                message = inbox.next(), if taking && running.len() < self.jobs => match message {
                    None => (taking, closed) = (false, true),
                    // An answer is not answered: two programs would go on for ever.
                    Some(Ok(message)) if matches!(message.header().msg_purpose(), Purpose::Ack | Purpose::Nack) => {}
                    Some(Ok(message)) => running.push(handle(&program, message)),
                    Some(Err(last)) if receive::is_last(&last) => return Err((*last.error).into()),
                    Some(Err(unread)) => {
                        tally.unread += 1;
                        tracing::warn!(error = %unread, subject = unread.subject, "a message can't be read");
                        if let Err(error) = bridge.nack(&unread).await {
                            tracing::debug!(%error, "its sender is not told");
                        }
                    }
                }
            }
        }
        Ok(closed)
    }

    fn told(&self, handled: &Handled, tally: &mut Tally) -> Result<(), Failure> {
        let Handled { message, outcome, told, took } = handled;
        tally.handled += 1;
        tally.answered += u64::from(outcome.is_ok() && *told);
        tally.refused += u64::from(outcome.is_err());
        let header = message.header();
        if self.json {
            let refusal = outcome.as_ref().err();
            let line = json!({
                "subject": message.subject(),
                "msg_id": header.msg_id(),
                "correlation_id": header.correlation_id(),
                "sender_name": header.sender_name(),
                "answered": told,
                "size": outcome.as_ref().ok(),
                "code": refusal.map(|refusal| refusal.code),
                "reason": refusal.map(|refusal| &refusal.reason),
                "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            });
            return output::line(&line.to_string());
        }
        let what = match outcome {
            Ok(size) if *told => {
                format!(
                    "answered with {} in {} ms",
                    units::shown(u64::try_from(*size).unwrap_or(u64::MAX)),
                    took.as_millis()
                )
            }
            Ok(_) => format!("done in {} ms; no answer was asked for", took.as_millis()),
            Err(refusal) => format!("refused ({}): {}", refusal.code, refusal.reason),
        };
        let line = format!("{}, from {}: {what}", message.subject(), header.sender_name());
        output::line(&output::cut(&output::harmless(&line), listing::COLUMNS))
    }
}

/// Runs the program for a message and tells its sender
async fn handle(program: &Program, message: Incoming) -> Handled {
    let start = Instant::now();
    let outcome = program.answer(&message).await;
    let size = outcome.as_ref().map_or(0, Vec::len);
    let told = match &outcome {
        Ok(answer) => reply(&message, answer).await,
        Err(Refusal { code, reason, retryable }) => message.nack(code, reason, *retryable).await,
    };
    let told = match told {
        Ok(()) => true,
        // Whoever names no subject for answers does not want one.
        Err(Error::NoReplySubject { .. }) => false,
        Err(error) => {
            tracing::warn!(%error, msg_id = message.header().msg_id(), "an answer could not be sent");
            false
        }
    };
    Handled { message, outcome: outcome.map(|_| size), told, took: start.elapsed() }
}

async fn reply(message: &Incoming, answer: &[u8]) -> Result<(), Error> {
    let draft: Draft = match std::str::from_utf8(answer) {
        Ok(text) => message.reply()?.text("reply", text),
        Err(_) => message.reply()?.value("reply", PayloadType::Binary, answer.to_vec()),
    };
    draft.send().await?;
    // Remembers the message, so that a repeat does not run the program again; who asked has the answer by now.
    message.ack().await
}
