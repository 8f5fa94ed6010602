//! `natsbridge send`: one message from the command line, or one for each line of standard input.

mod columns;
mod csv;
pub(crate) mod exact;
pub(crate) mod input;
mod lines;
mod message;
mod parts;
mod table;

use std::time::Duration;

use clap::Args;
use natsbridge::broker::Subject;
use natsbridge::wire::{Envelope, Header};
use natsbridge::{Bridge, DeliverOptions, MessageBuilder};
use serde_json::{Value as Json, json};

use crate::failure::Failure;
use crate::global::Global;
use crate::listing::{self, Row};
use crate::metrics::Metrics;
use crate::{output, progress, session, units};
pub(crate) use message::MessageArgs;

/// Send a message, or one for each line of standard input
///
/// Payloads keep the order of the command line. VALUE is the payload itself, or
/// `@FILE` for a file's content; `@-` is standard input, and `@@x` is the text
/// `@x`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Send {
    /// Subject to publish to, such as lab.results
    subject: String,
    // First, so that payloads come first in the help; last among them.
    /// Send a message without a payload
    #[arg(long, help_heading = "Payloads", display_order = 900)]
    empty: bool,
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "line")]
    #[arg(help = LINES, long_help = LINES_LONG, help_heading = "Payloads", display_order = 901)]
    lines: Option<String>,
    /// Repeat until this many receivers have acknowledged
    #[arg(long, value_name = "N", value_parser = acks, help_heading = "Delivery")]
    ack: Option<usize>,
    /// How long to wait for the acknowledgements
    #[arg(long, value_name = "TIME", value_parser = units::some_time, requires = "ack", help_heading = "Delivery")]
    #[arg(default_value = "30s")]
    timeout: Duration,
    /// Subject that replies are to be sent to
    #[arg(long, value_name = "SUBJECT", conflicts_with = "ack", help_heading = "Delivery")]
    reply_to: Option<String>,
    #[command(flatten)]
    message: MessageArgs,
    /// Print JSON instead of a table: the envelope without its data
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten, next_help_heading = "Output")]
    metrics: Metrics,
}

const LINES: &str = "Send each line of standard input as a text message";
const LINES_LONG: &str = "\
Send each line of standard input as a text message

Its payload is called NAME, or `line`. Up to 256 messages wait for
their acknowledgements at once; without --ack, the program waits for
the server's confirmation after every 1,000. At the end, standard
error says how many were sent, repeated and lost; --json adds one
JSON line on standard output.";

const EXAMPLES: &str = "\
Tables: .csv, .tsv, .parquet and .arrow go as arrowtable, .json (array of
objects) and .ndjson (an object per line) as jsontable. A column of a .csv
becomes integers, floats, booleans, dates or times if every cell can be written
again from its value: 1.10 and 2.50 become floats, since all have two decimals.
With a 1.9 beside 1.10, a 02134, +49 30 1, 1e400 or a time with an offset, the
column stays text; with --csv-text all do. Empty cells are null. On standard
input and pipes the format is detected.

With --ack, messages survive a restart of the NATS server. Receivers have to
acknowledge, as `natsbridge receive --ack` does.

Examples:
  natsbridge send chat.room --text msg='hello, world'
  natsbridge send lab.results --dict run='{\"id\": 7}' --table data=@run7.csv \\
      --video clip=@run7.mp4 --receiver-name archive
  natsbridge send jobs --text job=@job.txt --ack 1 --timeout 5s
  tail -f app.log | natsbridge send logs.app --lines --ack 1
  tar c logs | natsbridge send backup.logs --file logs.tar=@- --link-ttl 7d
";

/// Reads a number of acknowledgements
fn acks(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|acks| *acks > 0).ok_or_else(|| "write a number from 1 on".to_owned())
}

impl Send {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        self.check()?;
        let mut config = global.config().await?;
        config = self.message.settle(config);
        self.metrics.serve()?;
        config = progress::watch(config);
        if let Some(name) = &self.lines {
            let bridge = Global::connect(config).await?;
            let (summary, done) = lines::send(&bridge, name, self.deliver_options(), || self.draft(&bridge)).await;
            session::end(&bridge).await;
            output::note(&summary.to_string());
            if self.json {
                output::line(&output::json(&summary.to_json())).map_err(Failure::output)?;
            }
            return done;
        }
        let ready = self.message.read()?;
        let bridge = Global::connect(config).await?;
        let (draft, spooled) = ready.add_to(self.draft(&bridge));
        let sent = match self.deliver_options() {
            None => draft.send_confirmed().await.map(|envelope| Sent { envelope, acks: Vec::new(), repeats: 0 }),
            Some(options) => draft.deliver(&options).await.map(|delivered| Sent {
                envelope: delivered.envelope,
                acks: delivered.acks,
                repeats: delivered.repeats,
            }),
        };
        drop(spooled);
        session::end(&bridge).await;
        let sent = sent?;
        if self.json { output::line(&output::json(&sent.to_json())).map_err(Failure::output) } else { sent.print() }
    }

    /// Refuses what can't be meant, before anything is read or sent
    fn check(&self) -> Result<(), Failure> {
        if self.lines.is_some() && (self.empty || !self.message.is_empty()) {
            let why = "--lines takes its texts from standard input; leave --empty and the other payloads out";
            return Err(Failure::Usage(why.to_owned()));
        }
        if self.lines.as_ref().is_some_and(String::is_empty) {
            let why = "--lines= names no payload: write --lines=NAME, or --lines alone for `line`";
            return Err(Failure::Usage(why.to_owned()));
        }
        session::check_subject(&self.subject)?;
        if let Some(Err(why)) = self.reply_to.as_ref().map(Subject::new) {
            return Err(Failure::Usage(format!("--reply-to can't be used: {why}")));
        }
        if self.lines.is_none() {
            self.message.check_payloads(self.empty)?;
        }
        if self.lines.is_none() && self.metrics.is_asked() {
            let why = "--metrics goes with --lines: a single message is sent before anybody can read its metrics";
            return Err(Failure::Usage(why.to_owned()));
        }
        self.message.check(self.asks())
    }

    /// The option by which it asks for an answer, if any
    fn asks(&self) -> Option<&'static str> {
        if self.ack.is_some() { Some("--ack") } else { self.reply_to.as_ref().map(|_| "--reply-to") }
    }

    fn draft(&self, bridge: &Bridge) -> MessageBuilder {
        let draft = self.message.address(bridge.message(&*self.subject), self.asks().is_some());
        match &self.reply_to {
            Some(subject) => draft.reply_to(subject),
            None => draft,
        }
    }

    fn deliver_options(&self) -> Option<DeliverOptions> {
        self.ack.map(|acks| DeliverOptions::default().acks(acks).deadline(self.timeout))
    }
}

/// A message that is on its way, and who has acknowledged it
struct Sent {
    envelope: Envelope,
    acks: Vec<Header>,
    repeats: u32,
}

impl Sent {
    /// The envelope's fields, its payloads without their data, and the acknowledgements
    fn to_json(&self) -> Json {
        let mut fields = session::header_fields(self.envelope.header());
        let payloads = self.envelope.payloads().iter().map(|payload| {
            json!({
                "id": payload.id(),
                "dataname": payload.dataname(),
                "payload_type": payload.payload_type(),
                "transport": payload.transport(),
                "encoding": payload.encoding(),
                "size": payload.size(),
                "sha256": digest(payload).map(|digest| digest.to_string()),
                "metadata": payload.metadata(),
            })
        });
        fields.insert("payloads".to_owned(), payloads.collect());
        let acks = self.acks.iter();
        let acks = acks.map(|ack| json!({ "sender_name": ack.sender_name(), "sender_id": ack.sender_id() }));
        fields.insert("acks".to_owned(), acks.collect());
        fields.insert("repeats".to_owned(), self.repeats.into());
        Json::Object(fields)
    }

    fn print(&self) -> Result<(), Failure> {
        let style = output::stdout_style();
        let header = self.envelope.header();
        let mut lines = vec![
            format!("sent to {}", style.bold(&output::harmless(header.send_to()))),
            format!("  message      {}", output::harmless(header.msg_id())),
            format!("  correlation  {}", output::harmless(header.correlation_id())),
        ];
        for ack in &self.acks {
            let by = format!("  acknowledged by {} {}", ack.sender_name(), ack.sender_id());
            lines.push(output::cut(&output::harmless(&by), listing::NOTE_COLUMNS));
        }
        if !self.envelope.payloads().is_empty() {
            lines.push(format!("\n{}", listing::heading(style)));
        }
        for payload in self.envelope.payloads() {
            let row = Row {
                dataname: payload.dataname(),
                payload_type: payload.payload_type(),
                size: payload.size(),
                transport: payload.transport(),
                sha256: digest(payload),
            };
            lines.push(row.line(style));
        }
        output::line(&lines.join("\n")).map_err(Failure::output)
    }
}

fn digest(payload: &natsbridge::wire::Payload) -> Option<natsbridge::store::Digest> {
    payload.sha256().or_else(|| payload.bytes().map(|bytes| natsbridge::store::Digest::of(bytes)))
}
