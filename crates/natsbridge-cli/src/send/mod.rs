//! `natsbridge send`: one message from the command line, confirmed before the program ends.

mod parts;
mod table;

use std::time::Duration;

use clap::{Args, ValueEnum};
use natsbridge::{Draft, Envelope, Life, Payload, Purpose, Receiver};
use serde_json::{Value as Json, json};

use crate::failure::Failure;
use crate::global::Global;
use crate::listing::{self, Row};
use crate::{output, progress, receive, units};
use parts::Parts;

/// Send one message
///
/// Payloads travel in the order in which they stand on the command line. VALUE
/// is the payload itself, or `@FILE` for a file's content; `@-` is standard
/// input, and `@@x` is the text `@x`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Send {
    /// Subject to publish on, such as lab.results
    subject: String,
    #[command(flatten)]
    parts: Parts,
    /// Send all tables as this type, whatever their files
    #[arg(long, value_name = "TYPE", help_heading = "Payloads")]
    table_as: Option<TableType>,
    /// Name of the receiving program
    #[arg(long, value_name = "NAME")]
    receiver_name: Option<String>,
    /// Identifier of the one receiver; its links can be read once
    #[arg(long, value_name = "ID")]
    receiver_id: Option<String>,
    /// Subject that answers are to be sent to
    #[arg(long, value_name = "SUBJECT")]
    reply_to: Option<String>,
    /// Identifier of the message that this one answers
    #[arg(long, value_name = "ID")]
    reply_to_msg_id: Option<String>,
    /// Identifier of the flow it belongs to; a new one unless given
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Why it is sent: chat, ACK, NACK, updateStatus, shutdown
    #[arg(long, value_name = "WORD", default_value = "chat")]
    purpose: String,
    /// This program's name in the message
    #[arg(long, value_name = "NAME")]
    sender_name: Option<String>,
    /// Kind of receiver that it has to suit
    #[arg(long, value_name = "KIND", default_value = "desktop")]
    receiver: ReceiverKind,
    /// Turn Arrow tables into JSON tables where the receiver can't read Arrow
    #[arg(long)]
    convert_tables: bool,
    /// Give small payloads a SHA-256 too; links always have one
    #[arg(long)]
    digest_direct: bool,
    /// Have links work for the first reader only
    #[arg(long)]
    one_shot: bool,
    /// How long links work, such as 90s, 24h or 7d [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    link_ttl: Option<Duration>,
    #[arg(long, value_name = "BYTES", value_parser = units::size, help = THRESHOLD)]
    threshold: Option<u64>,
    /// Print one JSON line instead of a table: the envelope without its data
    #[arg(long)]
    json: bool,
}

const THRESHOLD: &str = "Size from which a payload becomes a link [env: SIZE_THRESHOLD] [default: 500000]";

const EXAMPLES: &str = "\
Tables: .csv and .arrow go as arrowtable, .json (array of objects) and .ndjson
(an object per line) as jsontable. Columns of a .csv become integers, floats,
booleans, dates, times or text; empty cells are null; times with an offset
become UTC. On standard input the format is found out.

Examples:
  natsbridge send chat.room --text msg='hello, world'
  natsbridge send lab.results --dict run='{\"id\": 7}' --table data=@run7.csv \\
      --video clip=@run7.mp4 --receiver-name archive
  tar c logs | natsbridge send backup.logs --file logs.tar=@- --link-ttl 7d
";

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum ReceiverKind {
    /// Takes every type, and links
    Desktop,
    /// Takes no Arrow tables
    Browser,
    /// Takes no Arrow tables, no links, 50,000 bytes a payload
    MicroPython,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum TableType {
    ArrowTable,
    JsonTable,
}

impl Send {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut config = global.config()?;
        if let Some(name) = &self.sender_name {
            config.sender_name.clone_from(name);
        }
        if let Some(bytes) = self.threshold {
            config.limits.size_threshold = bytes;
        }
        progress::watch(&mut config)?;
        let ready = self.parts.read(self.table_as)?;
        let bridge = Global::connect(config).await?;
        let (draft, spooled) = ready.add_to(self.address(bridge.message(&*self.subject)));
        let envelope = draft.send_confirmed().await?;
        drop(spooled);
        // It is confirmed: that the connection does not end in order harms nothing.
        if let Err(error) = bridge.drain().await {
            tracing::warn!(%error, "the connection to NATS did not end in order");
        }
        if self.json { output::line(&as_json(&envelope).to_string()) } else { print(&envelope) }
    }

    /// Everything that a message says besides its payloads
    fn address(&self, mut draft: Draft) -> Draft {
        type Setter = fn(Draft, String) -> Draft;
        let texts: [(&Option<String>, Setter); 5] = [
            (&self.receiver_name, Draft::receiver_name),
            (&self.receiver_id, Draft::receiver_id),
            (&self.reply_to, Draft::reply_to),
            (&self.reply_to_msg_id, Draft::reply_to_msg_id),
            (&self.correlation_id, Draft::correlation_id),
        ];
        for (text, set) in texts {
            if let Some(text) = text {
                draft = set(draft, text.clone());
            }
        }
        draft = draft.purpose(Purpose::from(&*self.purpose)).receiver(match self.receiver {
            ReceiverKind::Desktop => Receiver::Desktop,
            ReceiverKind::Browser => Receiver::Browser,
            ReceiverKind::MicroPython => Receiver::MicroPython,
        });
        if self.one_shot || self.link_ttl.is_some() {
            let ttl = self.link_ttl.unwrap_or(Life::DEFAULT_TTL);
            // As by default: a link for exactly one receiver can be read once (wire.md, "Links and their life").
            let one_shot = self.one_shot || self.receiver_id.as_ref().is_some_and(|id| !id.is_empty());
            draft = draft.life(if one_shot { Life::one_shot(ttl) } else { Life::expiring(ttl) });
        }
        if self.convert_tables {
            draft = draft.convert_tables();
        }
        if self.digest_direct {
            draft = draft.digest_direct();
        }
        draft
    }
}

/// The envelope's fields, and its payloads without their data
fn as_json(envelope: &Envelope) -> Json {
    let mut fields = receive::header_fields(envelope.header());
    let payloads = envelope.payloads().iter().map(|payload| {
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
    Json::Object(fields)
}

fn print(envelope: &Envelope) -> Result<(), Failure> {
    let style = output::stdout_style();
    let header = envelope.header();
    let mut text = format!("sent to {}\n", style.bold(&output::harmless(header.send_to())));
    text.push_str(&format!("  message      {}\n", output::harmless(header.msg_id())));
    text.push_str(&format!("  correlation  {}", output::harmless(header.correlation_id())));
    if !envelope.payloads().is_empty() {
        text.push_str(&format!("\n\n{}", listing::heading(style)));
    }
    for payload in envelope.payloads() {
        let row = Row {
            dataname: payload.dataname(),
            payload_type: payload.payload_type(),
            size: payload.size(),
            transport: payload.transport(),
            sha256: digest(payload),
        };
        text.push('\n');
        text.push_str(&row.line(style));
    }
    output::line(&text)
}

fn digest(payload: &Payload) -> Option<natsbridge::Digest> {
    payload.sha256().or_else(|| payload.bytes().map(|bytes| natsbridge::Digest::of(bytes)))
}
