//! `natsbridge reply`: replies to each message of a subject with what a program makes of it.

mod program;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use natsbridge::wire::ReceivePolicy;
use natsbridge::{Bridge, Error, HandlerError, Message, MessageBuilder, Purpose, Subscriber};
use serde_json::json;
use tokio::time::Instant;

use crate::connection::{Connection, Meaning};
use crate::failure::Failure;
use crate::global::Global;
use crate::metrics::Metrics;
use crate::scratch::Scratch;
use crate::signals::Stop;
use crate::{listing, output, progress, session, stores, units};
use program::{Program, Refusal};

/// Reply to each message with the output of a program
///
/// The program reads the message's first payload on standard input. Its output
/// is sent back as a text called `reply`, or as bytes if it is not UTF-8. If the
/// program fails, the sender gets a NACK with the first line of its standard
/// error. Ctrl-C and SIGTERM end the subscription; messages that have arrived
/// still get a reply, within --grace. A second one ends this program at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Reply {
    /// Subject to subscribe to; `*` matches one token, `>` one or more at the end
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
    /// How long to go on with messages that have arrived, once it ends
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "10s")]
    grace: Duration,
    /// Programs to run at the same time; further messages wait
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = jobs)]
    jobs: usize,
    /// Share the messages with the other members of this group
    #[arg(long, value_name = "GROUP")]
    queue: Option<String>,
    /// Refuse payloads that are larger than this, such as 50MB
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_size: Option<u64>,
    /// How long the links of one message may take; large ones get more
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "60s")]
    message_timeout: Duration,
    /// Send replies only to subjects of this filter (repeatable)
    ///
    /// The sender of a message chooses the subject of the reply. Use
    /// '_INBOX.>' to allow what senders choose by default.
    #[arg(long, value_name = "FILTER")]
    reply_to: Vec<String>,
    /// Pass this program's passwords and tokens on to the other program
    ///
    /// By default these are removed from its environment: NATS_PASSWORD,
    /// NATS_TOKEN, NATS_CREDS, NATS_NKEY, NATS_KEY, FILESERVER_TOKEN, AWS_*, and
    /// URLs that contain a password.
    #[allow(clippy::doc_markdown, reason = "the help shows variables as they are typed")]
    #[arg(long)]
    pass_secrets: bool,
    /// Download from this origin too, besides the file server
    #[arg(long, value_name = "URL")]
    allow_origin: Vec<String>,
    #[command(flatten)]
    metrics: Metrics,
    /// Print one JSON line per message
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
The program's environment has NATSBRIDGE_SUBJECT, _MSG_ID, _CORRELATION_ID,
_PURPOSE, _SENDER_NAME, _SENDER_ID, _DATANAME and _PAYLOAD_TYPE. Exit code 75
means that the same message may succeed later; any other code but 0 refuses it
for good.

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
    replied: u64,
    refused: u64,
    unread: u64,
    /// Arrived, and not replied to when the program had to end
    unhandled: u64,
}

/// What became of one message
struct Handled {
    message: Message,
    /// Bytes of the reply
    outcome: Result<usize, Refusal>,
    /// Whether its sender was told
    told: bool,
    took: Duration,
}

/// What a break of the connection means
const MEANING: Meaning = Meaning {
    gone: "Requests sent meanwhile get no reply from here.",
    back: "It replies again; requests that were sent meanwhile have no reply.",
};

impl Reply {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        session::check_subscription(&self.subject, self.queue.as_ref())?;
        program::check(&self.exec)?;
        let mut config = global.config().await?;
        config = stores::allow(config, &self.allow_origin)?;
        if let Some(size) = self.max_size {
            config = config.checks(ReceivePolicy::default().max_payload_size(size));
        }
        config = config.message_timeout(self.message_timeout);
        config = session::allow_replies(config, &self.reply_to)?;
        self.metrics.serve()?;
        config = progress::watch(config);
        let bridge = Global::connect(config).await?;
        let connection = Connection::watch(bridge.events(), bridge.broker_url().to_owned(), MEANING);
        let stop = Stop::watch();
        let mut inbox = tokio::select! {
            inbox = self.listen(&bridge) => inbox?,
            // Nothing was promised yet.
            _ = stop.requested() => return Ok(()),
        };
        let program = Program {
            path: self.exec.clone(),
            args: self.args.clone(),
            timeout: self.timeout,
            pass_secrets: self.pass_secrets,
            scratch: Scratch::new(),
        };
        output::note(&format!("replying to {}", self.subject));
        crate::notify::ready();

        let mut tally = Tally::default();
        let done = self.reply_all(&bridge, &program, &connection, &stop, &mut inbox, &mut tally).await;
        let connected = connection.is_up();
        // What follows is our own leaving.
        drop(connection);
        if connected {
            session::end(&bridge).await;
        }
        let Tally { handled, replied, refused, unread, unhandled } = tally;
        if !matches!(done, Err(Failure::OutputClosed)) {
            let losses = session::losses(&inbox, self.queue.is_some());
            output::note(&format!(
                "handled {handled}, replied {replied}, refused {refused}, unreadable {unread}, {losses}, \
                 unhandled {unhandled}"
            ));
        }
        match done? {
            true => Err(Failure::ConnectionClosed),
            false if unhandled > 0 => Err(Failure::Unhandled { unhandled }),
            false => Ok(()),
        }
    }

    async fn listen(&self, bridge: &Bridge) -> Result<Subscriber, Failure> {
        let inbox = match &self.queue {
            Some(group) => bridge.queue_subscribe(&self.subject, group).await?,
            None => bridge.subscribe(&self.subject).await?,
        };
        bridge.confirm().await?;
        // The first payload is fetched when its program starts, straight into a file where it is a link.
        Ok(inbox.lazy())
    }

    /// Replies until the end; says whether the connection was closed before a signal came
    async fn reply_all(
        &self,
        bridge: &Bridge,
        program: &Program,
        connection: &Connection,
        stop: &Stop,
        inbox: &mut Subscriber,
        tally: &mut Tally,
    ) -> Result<bool, Failure> {
        let mut running = FuturesUnordered::new();
        let (mut taking, mut ending, mut over) = (true, false, false);
        while !over && (taking || !running.is_empty()) {
            tokio::select! {
                biased;
                _ = stop.requested(), if !ending => {
                    inbox.drain();
                    ending = true;
                }
                Some(handled) = running.next() => self.told(&handled, tally)?,
                () = stop.over(self.grace) => over = true,
                message = inbox.next(), if taking && running.len() < self.jobs => match message {
                    None => taking = false,
                    // A reply gets no reply: two programs would go on for ever.
                    Some(Ok(message)) if matches!(message.header().msg_purpose(), Purpose::Ack | Purpose::Nack) => {}
                    Some(Ok(message)) => running.push(handle(program, message)),
                    Some(Err(last)) if session::is_last(&last) => return Err(last.into()),
                    Some(Err(unread)) => {
                        tally.unread += 1;
                        if let Err(error) = bridge.nack(&unread).await {
                            tracing::debug!(%error, "its sender is not told");
                        }
                    }
                },
                // What is still on its way can't come any more.
                () = connection.broken(), if ending && taking && running.is_empty() => taking = false,
            }
        }
        // Programs that still run end with their futures.
        tally.unhandled += u64::try_from(running.len()).unwrap_or(u64::MAX);
        if over {
            tally.unhandled += session::left_unread(inbox).await;
        }
        Ok(!ending && !over)
    }

    fn told(&self, handled: &Handled, tally: &mut Tally) -> Result<(), Failure> {
        let Handled { message, outcome, told, took } = handled;
        tally.handled += 1;
        tally.replied += u64::from(outcome.is_ok() && *told);
        tally.refused += u64::from(outcome.is_err());
        let header = message.header();
        if self.json {
            let refusal = outcome.as_ref().err();
            let line = json!({
                "subject": message.subject().as_str(),
                "msg_id": header.msg_id(),
                "correlation_id": header.correlation_id(),
                "sender_name": header.sender_name(),
                "replied": told,
                "size": outcome.as_ref().ok(),
                "code": refusal.map(|refusal| refusal.code),
                "reason": refusal.map(|refusal| &refusal.reason),
                "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            });
            return output::line(&output::json(&line)).map_err(Failure::output);
        }
        let from = output::harmless(&format!("{}, from {}", message.subject(), header.sender_name()));
        let line = match outcome {
            Ok(size) if *told => {
                let size = units::shown(u64::try_from(*size).unwrap_or(u64::MAX));
                output::cut(&format!("{from}: replied with {size} in {} ms", took.as_millis()), listing::COLUMNS)
            }
            Ok(_) => {
                let done = format!(": done in {} ms; no reply was asked for", took.as_millis());
                output::cut(&from, listing::COLUMNS - done.len()) + &done
            }
            Err(refusal) => {
                // Names may be long; the reason is never cut.
                let from = output::cut(&from, listing::COLUMNS / 2);
                let line = format!("{from}: refused ({}): {}", refusal.code, output::harmless(&refusal.reason));
                output::wrapped(&line, listing::COLUMNS - 2).join("\n  ")
            }
        };
        output::line(&line).map_err(Failure::output)
    }
}

/// Runs the program for a message and tells its sender
async fn handle(program: &Program, message: Message) -> Handled {
    let start = Instant::now();
    let outcome = program.answer(&message).await;
    let size = outcome.as_ref().map_or(0, Vec::len);
    let told = match &outcome {
        Ok(answer) => reply(&message, answer).await,
        Err(Refusal { code, told, retryable, .. }) => {
            let error = HandlerError::new(told).code(*code);
            message.nack(if *retryable { error } else { error.permanent() }).await
        }
    };
    let told = match told {
        Ok(()) => true,
        // Whoever names no subject for replies does not want one.
        Err(Error::NoReplySubject { .. }) => false,
        Err(error) => {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, msg_id = message.header().msg_id(), "a reply could not be sent");
            false
        }
    };
    Handled { message, outcome: outcome.map(|_| size), told, took: start.elapsed() }
}

async fn reply(message: &Message, answer: &[u8]) -> Result<(), Error> {
    let draft: MessageBuilder = match std::str::from_utf8(answer) {
        Ok(text) => message.reply().text("reply", text),
        Err(_) => message.reply().binary("reply", answer.to_vec()),
    };
    draft.send().await?;
    // Remembers the message, so that a repeat does not run the program again; who asked has the reply by now.
    message.ack().await
}
