//! `natsbridge receive`: prints every message of a subject, for people or as JSON lines.

mod ahead;
mod convert;
mod count;
mod preview;
mod report;
mod run;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use natsbridge::wire::ReceivePolicy;
use natsbridge::{Bridge, Subscriber};

use crate::connection::{Connection, Meaning};
use crate::failure::Failure;
use crate::global::Global;
use crate::metrics::Metrics;
use crate::signals::Stop;
use crate::{output, progress, session, stores, units};
use ahead::Order;
use convert::TableFile;
pub(crate) use report::{Printing, Report};
use run::{End, Run, Tally};
pub(crate) use show::Form;

/// Receive messages and print them
///
/// Links are downloaded and checked, those of several messages at once. A
/// message that can't be read is printed as an error and counts as one; the
/// next one follows. Ctrl-C and SIGTERM end the subscription and let what has
/// arrived be printed, within --grace; a second one ends the program at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Receive {
    /// Subject to subscribe to; `*` matches one token, `>` one or more at the end
    subject: String,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = units::count)]
    count: Option<u64>,
    /// End after this time; messages that have arrived are still printed
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    lasting: Option<Duration>,
    /// How long to go on with messages that have arrived, once it ends
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "10s")]
    grace: Duration,
    #[command(flatten)]
    saving: Saving,
    /// Refuse payloads that are larger than this, such as 50MB
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_size: Option<u64>,
    /// How long the links of one message may take; large ones get more
    ///
    /// One second more for each megabyte behind the links.
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "60s")]
    message_timeout: Duration,
    /// Print in the order of arrival, however long a message's links take
    ///
    /// Without --ordered and --unordered, a message whose links still load
    /// delays later ones for 5 seconds; then those that are complete go first.
    #[arg(long, conflicts_with = "unordered")]
    ordered: bool,
    /// Print each message as soon as it is complete
    #[arg(long)]
    unordered: bool,
    /// Share the messages with the other receivers of this group
    #[arg(long, value_name = "GROUP")]
    queue: Option<String>,
    /// Acknowledge each message after printing, or tell its sender what is wrong
    ///
    /// The acknowledgement is sent after printing. If this program is killed
    /// before that, the message is repeated and may be printed again after a
    /// restart. Within one run a repeat is not printed again, as long as it
    /// is among the last 65,536 messages that were acknowledged.
    #[arg(long)]
    ack: bool,
    /// Identify this receiver by a UUID, the same one after a restart
    ///
    /// A sender that waits for several acknowledgements tells receivers apart
    /// by it; without one, a restarted receiver counts twice.
    #[arg(long, value_name = "UUID", value_parser = session::uuid)]
    id: Option<String>,
    /// Send acknowledgements only to subjects of this filter (repeatable)
    ///
    /// The sender of a message chooses the subject of its acknowledgement. Use
    /// '_INBOX.>' to allow what senders choose by default.
    #[arg(long, value_name = "FILTER", requires = "ack")]
    reply_to: Vec<String>,
    /// Download from this origin too, besides the file server
    #[arg(long, value_name = "URL")]
    allow_origin: Vec<String>,
    #[command(flatten)]
    metrics: Metrics,
    /// Print one JSON line per message
    #[arg(long)]
    json: bool,
}

// Where payloads are saved, and as what. No comment for rustdoc: clap would take it for the command's own help.
#[derive(Debug, Clone, Args)]
pub(crate) struct Saving {
    /// Save every payload as a file in this folder, made if it is absent
    ///
    /// A file appears under its name when it is complete and checked; if the
    /// name is taken, it gets a number. Pictures, sounds and films without an
    /// extension get the one of their content.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Save tables as files of this kind, whatever they came as
    ///
    /// A table that has no form in such a file stays as it came.
    #[arg(long, value_name = "KIND", requires = "save")]
    save_tables: Option<TableFile>,
}

impl Saving {
    /// Makes the folder, and removes what receivers left in it that were killed while they saved
    pub(crate) async fn prepare(&self) -> Result<(), Failure> {
        let Some(dir) = &self.save else { return Ok(()) };
        if dir.is_file() {
            let why = format!("--save can't be used: {} is a file, not a folder; choose another name", dir.display());
            return Err(Failure::Usage(output::harmless(&why)));
        }
        let refused = |source| Failure::system(format!("cannot make the folder {}", dir.display()), source);
        std::fs::create_dir_all(dir).map_err(refused)?;
        sweep(dir).await;
        Ok(())
    }
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
  natsbridge receive lab.results --save tables --save-tables csv
  natsbridge receive jobs --ack --json >> jobs.ndjson
";

/// What a break of the connection means
const MEANING: Meaning = Meaning {
    gone: "Messages published meanwhile do not reach this receiver, unless their senders repeat them (send --ack).",
    back: "It receives again; what was published meanwhile may be missing.",
};

impl Receive {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        session::check_subscription(&self.subject, self.queue.as_ref())?;
        let mut config = global.config().await?;
        config = stores::allow(config, &self.allow_origin)?;
        if let Some(size) = self.max_size {
            config = config.checks(ReceivePolicy::default().max_payload_size(size));
        }
        if let Some(id) = &self.id {
            config = config.sender_id(id);
        }
        config = config.message_timeout(self.message_timeout);
        config = session::allow_replies(config, &self.reply_to)?;
        self.metrics.serve()?;
        config = progress::watch(config);
        self.saving.prepare().await?;
        let bridge = Global::connect(config).await?;
        let connection = Connection::watch(bridge.events(), bridge.broker_url().to_owned(), MEANING);
        let stop = Stop::watch();
        let inbox = tokio::select! {
            inbox = self.listen(&bridge) => inbox?,
            // Nothing was promised yet.
            _ = stop.requested() => return Ok(()),
        };
        let mut run = Run::new(&self, &bridge, &connection, &stop, inbox);
        output::note(&format!("subscribed to {}", self.subject));
        crate::notify::ready();

        let end = run.run().await;
        let Run { inbox, tally: Tally { seen, unread, acknowledged, unhandled }, .. } = run;
        let connected = connection.is_up();
        // What follows is our own leaving.
        drop(connection);
        if connected {
            session::end(&bridge).await;
        }
        if !matches!(end, Err(Failure::OutputClosed)) {
            let losses = session::losses(&inbox, self.queue.is_some());
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
    match natsbridge::store::remove_unfinished(dir).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, dir = %dir.display(), "unfinished files of killed programs are removed"),
        Err(error) => tracing::warn!(%error, dir = %dir.display(), "unfinished files of killed programs may stay"),
    }
}
