//! `natsbridge receive`: prints every message of a subject, for people or as JSON lines.

mod ahead;
mod count;
mod report;
mod session;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use natsbridge::broker::SubjectFilter;
use natsbridge::wire::Header;
use natsbridge::{Bridge, Error, Subscriber};
use serde_json::{Map, Value as Json};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::global::{self, Global};
use crate::metrics::Metrics;
use crate::signals::Stop;
use crate::{output, progress, send, units};
use ahead::Order;
pub(crate) use report::{Form, Printing, Report};
use session::{End, Session, Tally};

/// Receive messages and print them
///
/// Links are downloaded and checked, those of several messages at once. A
/// message that can't be read is printed as an error and counts as one; the
/// next one follows. Ctrl-C and SIGTERM end the subscription and let what has
/// arrived be printed, within --grace; a second one ends the program at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Receive {
    /// Subject to listen to; `*` is one word, `>` all that follow
    subject: String,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time; messages that have come are still printed
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    lasting: Option<Duration>,
    /// How long messages that have come may take at the end
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "10s")]
    grace: Duration,
    /// Save every payload as a file in this folder, made if it is absent
    ///
    /// A file appears under its name when it is whole and checked; a name that
    /// is taken gets a number.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Refuse payloads that are larger than this, such as 50MB
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_size: Option<u64>,
    /// How long the links of one message may take; large ones get more
    ///
    /// One second more for each megabyte that the message says its links hold.
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "60s")]
    message_timeout: Duration,
    /// Print in the order of arrival, however long a message's links take
    ///
    /// Without --ordered and --unordered, a message whose links still load
    /// holds up later ones for 5 seconds; then those that are whole go first.
    #[arg(long, conflicts_with = "unordered")]
    ordered: bool,
    /// Print each message as soon as it is whole
    #[arg(long)]
    unordered: bool,
    /// Share the messages with the other receivers of this group
    #[arg(long, value_name = "GROUP")]
    queue: Option<String>,
    /// Tell each sender that its message is printed, or why it can't be read
    ///
    /// The acknowledgement is sent after printing. If this program is killed
    /// before that, the message is repeated and may be printed again after a
    /// restart. Within one run a repeat is not printed again, as long as it
    /// is among the last 65,536 messages that were acknowledged.
    #[arg(long)]
    ack: bool,
    /// Name this receiver with a UUID that outlives a restart
    ///
    /// A sender that waits for several acknowledgements tells receivers apart
    /// by it; without one, a receiver that is started again counts twice.
    #[arg(long, value_name = "UUID", value_parser = uuid)]
    id: Option<String>,
    /// Send acknowledgements only to subjects of this filter (repeatable)
    ///
    /// The sender of a message names the subject for its acknowledgement. Such
    /// as '_INBOX.>', which senders use unless they name another.
    #[arg(long, value_name = "FILTER", requires = "ack")]
    reply_to: Vec<String>,
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
bytes. It is null too for links above 64 MiB, where the values of one message
fill more than 64 MiB of JSON together, and for a table's cell that JSON can't
show: then `unshown` says why, with code (too_large or unconvertible), message
and columns. A message that can't be read has `error` with code, message,
dataname and, where an option would mend it, help, and the payloads that could
be read.

Ends with 9 when messages had come that were not printed within --grace; the
last line on standard error counts them as unhandled.

Examples:
  natsbridge receive 'lab.>'
  natsbridge receive lab.results --count 1 --for 10s --json | jq .payloads
  natsbridge receive 'cam.*' --save pictures --queue savers --max-size 50MB
  natsbridge receive jobs --ack --json >> jobs.ndjson
";

/// Reads a UUID
pub(crate) fn uuid(text: &str) -> Result<String, String> {
    let sound = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if sound {
        return Ok(text.to_ascii_lowercase());
    }
    Err("write a UUID, such as 3f2b8c1e-6f0a-4c57-9f3e-2d8a51b7c0de; `uuidgen` makes one".to_owned())
}

/// The filters of `--reply-to`
pub(crate) fn reply_subjects(filters: &[String]) -> Result<Vec<SubjectFilter>, Failure> {
    let filter = |text: &String| SubjectFilter::new(text.as_str()).map_err(Error::from);
    Ok(filters.iter().map(filter).collect::<Result<_, _>>()?)
}

/// What came again and what did not come, as far as that is known
pub(crate) fn losses(inbox: &Subscriber, shared: bool) -> String {
    let (losses, dropped) = (inbox.losses(), inbox.dropped());
    if shared {
        // The other members' messages look like gaps.
        let interrupted = interrupted(inbox.interruptions(), "is not known");
        return format!("dropped {dropped}{interrupted}; repeats and losses are not known in a group");
    }
    // What was dropped here is missing to the senders' numbers too, unless it was the last, or has no number.
    let mut text = format!("repeated {}, lost {}", losses.duplicates, losses.missing.max(dropped));
    if dropped > 0 {
        text.push_str(&format!(" ({dropped} dropped: read too slowly)"));
    }
    text + &interrupted(inbox.interruptions(), "is counted where senders number their messages")
}

/// That a subscription was cut off, so that nobody takes what is counted for all there was
pub(crate) fn interrupted(times: u64, meanwhile: &str) -> String {
    match times {
        0 => String::new(),
        1 => format!(" (interrupted once: what was published meanwhile {meanwhile})"),
        _ => format!(" (interrupted {times} times: what was published meanwhile {meanwhile})"),
    }
}

impl Receive {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut config = global.config().await?;
        for url in &self.allow_origin {
            global::origin("--allow-origin", url)?;
        }
        config.allowed_origins.clone_from(&self.allow_origin);
        if let Some(size) = self.max_size {
            config.checks = config.checks.max_payload_size(size);
        }
        if let Some(id) = &self.id {
            config.sender_id = Some(id.clone());
        }
        config.message_timeout = self.message_timeout;
        config.reply_subjects = reply_subjects(&self.reply_to)?;
        self.metrics.serve()?;
        config = progress::watch(config);
        if let Some(dir) = &self.save {
            let refused = |source| Failure::system(format!("cannot make the folder {}", dir.display()), source);
            std::fs::create_dir_all(dir).map_err(refused)?;
            sweep(dir).await;
        }
        let bridge = Global::connect(config).await?;
        let connection = Connection::watch(bridge.events(), bridge.broker_url().to_owned());
        let stop = Stop::watch();
        let inbox = tokio::select! {
            inbox = self.listen(&bridge) => inbox?,
            // Nothing was promised yet.
            _ = stop.requested() => return Ok(()),
        };
        let mut session = Session::new(&self, &bridge, &connection, &stop, inbox);
        output::note(&format!("listening on {}", self.subject));

        let end = session.run().await;
        let Session { inbox, tally: Tally { seen, unread, acknowledged, unhandled }, .. } = session;
        let connected = connection.is_up();
        // What follows is our own leaving.
        drop(connection);
        if connected {
            send::end(&bridge).await;
        }
        if !matches!(end, Err(Failure::OutputClosed)) {
            let losses = losses(&inbox, self.queue.is_some());
            output::note(&format!(
                "received {seen}, unreadable {unread}, acknowledged {acknowledged}, {losses}, unhandled {unhandled}"
            ));
        }
        match (end?, self.count) {
            (End::Counted, _) if unread > 0 => Err(Failure::Unread { unread, seen }),
            (End::Counted, _) => Ok(()),
            (End::Closed, _) => Err(Failure::ConnectionClosed),
            _ if unhandled > 0 => Err(Failure::Unhandled { unhandled }),
            (End::Time, Some(wanted)) => Err(Failure::TimeRanOut { seen, wanted, unread }),
            _ if unread > 0 => Err(Failure::Unread { unread, seen }),
            _ => Ok(()),
        }
    }

    async fn listen(&self, bridge: &Bridge) -> Result<Subscriber, Failure> {
        let inbox = match &self.queue {
            Some(group) => bridge.queue_subscribe(&self.subject, group).await?,
            None => bridge.subscribe(&self.subject).await?,
        };
        // Once the server has confirmed, nothing that is sent from now on is missed.
        bridge.confirm().await?;
        // Each payload is fetched when its line is made: into memory or straight into its file.
        Ok(inbox.lazy())
    }

    const fn order(&self) -> Order {
        match (self.ordered, self.unordered) {
            (true, _) => Order::Strict,
            (_, true) => Order::Free,
            _ => Order::Patient,
        }
    }
}

/// Removes what receivers left in a folder that were killed while they saved
async fn sweep(dir: &Path) {
    match natsbridge::remove_unfinished(dir).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, dir = %dir.display(), "unfinished files of killed programs are removed"),
        Err(error) => tracing::warn!(%error, dir = %dir.display(), "unfinished files of killed programs may stay"),
    }
}

/// Whether it is about the subscription and not about a message: nothing more comes
pub(crate) fn is_last(error: &Error) -> bool {
    matches!(error, Error::Broker(_))
}

/// Ends the subscription at once, and counts the messages that have arrived and that nobody reads any more
pub(crate) async fn left_unread(inbox: &mut Subscriber) -> u64 {
    inbox.drain_within(Duration::ZERO);
    while inbox.next().await.is_some() {}
    inbox.unhandled()
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
