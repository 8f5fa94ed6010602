//! `natsbridge receive`: prints every message of a subject, for people or as JSON lines.

mod report;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use natsbridge::{Bridge, Header, Inbox, ReceiveError};
use serde_json::{Map, Value as Json};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::global::{self, Global};
use crate::metrics::Metrics;
use crate::{output, progress, send, signals, units};
pub(crate) use report::{Form, Report};

/// Receive messages and print them
///
/// Links are downloaded and checked. A message that can't be read is printed as
/// an error and counts as one; the next one follows. Ctrl-C and SIGTERM end it
/// in order.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Receive {
    /// Subject to listen to; `*` is one word, `>` all that follow
    subject: String,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time; a message that has come is still finished
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    lasting: Option<Duration>,
    /// Save every payload as a file in this folder, made if it is absent
    ///
    /// A file appears under its name when it is whole and checked; a name that
    /// is taken gets a number.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Share the messages with the other receivers of this group
    #[arg(long, value_name = "GROUP")]
    queue: Option<String>,
    /// Tell each sender that its message is printed, or why it can't be read
    ///
    /// It is told once the line is written, so a killed receiver is sent the
    /// message again, and may print it again in its next life. Within one life a
    /// repeat is not printed again.
    #[arg(long)]
    ack: bool,
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
JSON lines hold the envelope's fields and `payloads`, each with dataname,
payload_type, transport, size, sha256, value and path. `value` is a string for
text, JSON for dictionaries, an array of row objects for tables, and null for
bytes and for saved links above 64 MiB. A message that can't be read has `error`
with code, message and dataname, and the payloads that could be read.

Examples:
  natsbridge receive 'lab.>'
  natsbridge receive lab.results --count 1 --for 10s --json | jq .payloads
  natsbridge receive 'cam.*' --save pictures --queue savers
  natsbridge receive jobs --ack --json >> jobs.ndjson
";

/// What ended the listening
enum End {
    Counted,
    Time,
    Stopped,
    Closed,
}

/// What came so far
#[derive(Default)]
struct Tally {
    seen: u64,
    unread: u64,
    acknowledged: u64,
}

/// What came again and what did not come, as far as that is known
pub(crate) fn losses(inbox: &Inbox, shared: bool) -> String {
    let (losses, dropped) = (inbox.losses(), inbox.dropped());
    if shared {
        // The other members' messages look like gaps.
        return format!("dropped {dropped}; repeats and losses are not known in a group");
    }
    // What was dropped here is missing to the senders' numbers too, unless it was the last, or has no number.
    let mut text = format!("repeated {}, lost {}", losses.duplicates, losses.missing.max(dropped));
    if dropped > 0 {
        text.push_str(&format!(" ({dropped} dropped: read too slowly)"));
    }
    text
}

impl Receive {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut config = global.config().await?;
        for url in &self.allow_origin {
            global::origin("--allow-origin", url)?;
        }
        config.allowed_origins.clone_from(&self.allow_origin);
        self.metrics.serve()?;
        progress::watch(&mut config)?;
        if let Some(dir) = &self.save {
            let refused = |source| Failure::system(format!("cannot make the folder {}", dir.display()), source);
            std::fs::create_dir_all(dir).map_err(refused)?;
        }
        let bridge = Global::connect(config).await?;
        let mut inbox = self.listen(&bridge).await?;
        output::note(&format!("listening on {}", self.subject));

        let mut tally = Tally::default();
        let end = self.print_all(&bridge, &mut inbox, &mut tally).await;
        send::end(&bridge).await;
        let Tally { seen, unread, acknowledged } = tally;
        if !matches!(end, Err(Failure::OutputClosed)) {
            let losses = losses(&inbox, self.queue.is_some());
            output::note(&format!("received {seen}, unreadable {unread}, acknowledged {acknowledged}, {losses}"));
        }
        match (end?, self.count) {
            (End::Closed, _) => Err(Failure::ConnectionClosed),
            (End::Time, Some(wanted)) => Err(Failure::TimeRanOut { seen, wanted, unread }),
            _ if unread > 0 => Err(Failure::Unread { unread, seen }),
            _ => Ok(()),
        }
    }

    async fn listen(&self, bridge: &Bridge) -> Result<Inbox, Failure> {
        let inbox = match &self.queue {
            Some(group) => bridge.subscribe_queue(&self.subject, group).await?,
            None => bridge.subscribe(&self.subject).await?,
        };
        // Once the server has confirmed, nothing that is sent from now on is missed.
        bridge.confirm().await?;
        // Each payload is fetched when its line is made: into memory or straight into its file.
        Ok(inbox.lazy())
    }

    async fn print_all(&self, bridge: &Bridge, inbox: &mut Inbox, tally: &mut Tally) -> Result<End, Failure> {
        let deadline = self.lasting.map(|lasting| Instant::now() + lasting);
        let form = if self.json { Form::Json } else { Form::People };
        let mut stopped = pin!(signals::stopped());
        while self.count.is_none_or(|count| tally.seen < count) {
            let message = tokio::select! {
                biased;
                () = &mut stopped => return Ok(End::Stopped),
                message = inbox.next() => match message {
                    Some(message) => message,
                    None => return Ok(End::Closed),
                },
                () = until(deadline) => return Ok(End::Time),
            };
            let message = match message {
                Err(error) if is_last(&error) => return Err((*error.error).into()),
                message => message,
            };
            let report = tokio::select! {
                biased;
                () = &mut stopped => return Ok(End::Stopped),
                report = Report::of(&message, self.save.as_deref(), form) => report,
            };
            tally.seen += 1;
            tally.unread += u64::from(report.is_error());
            output::line(&report.to_text(form))?;
            if self.ack {
                tally.acknowledged += u64::from(report.acknowledge(bridge, &message).await && !report.is_error());
            }
        }
        Ok(End::Counted)
    }
}

/// Whether it is about the subscription and not about a message: nothing more comes
pub(crate) fn is_last(error: &ReceiveError) -> bool {
    matches!(*error.error, natsbridge::Error::Broker(_))
}

/// Returns at this time; never where there is none
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The envelope's fields in wire order, without its payloads
pub(crate) fn header_fields(header: &Header) -> Map<String, Json> {
    let purpose = header.msg_purpose();
    let texts = [
        ("correlation_id", header.correlation_id()),
        ("msg_id", header.msg_id()),
        ("timestamp", header.timestamp()),
        ("send_to", header.send_to()),
        ("msg_purpose", purpose.as_str()),
        ("sender_name", header.sender_name()),
        ("sender_id", header.sender_id()),
        ("receiver_name", header.receiver_name()),
        ("receiver_id", header.receiver_id()),
        ("reply_to", header.reply_to()),
        ("reply_to_msg_id", header.reply_to_msg_id()),
        ("broker_url", header.broker_url()),
    ];
    let mut fields: Map<_, _> = texts.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
    fields.insert("metadata".to_owned(), header.metadata().clone().into());
    fields
}
