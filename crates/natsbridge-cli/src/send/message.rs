//! The options of a message besides its subject: payloads, names and limits, for `send` and `request`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use natsbridge::{Config, LinkLifetime, MessageBuilder, Purpose};

use super::csv;
use super::parts::{Parts, Ready};
use super::table::{self, TableType};
use crate::failure::Failure;
use crate::units;

/// The options of a message
#[derive(Debug, Args)]
pub(crate) struct MessageArgs {
    #[command(flatten)]
    parts: Parts,
    /// Send all tables as this type, whatever the file's format
    #[arg(long, value_name = "TYPE", help_heading = "Payloads")]
    table_as: Option<TableType>,
    /// Character between the cells of a CSV, or `tab`; detected by default
    #[arg(long, value_name = "CHAR", value_parser = csv::delimiter, help_heading = "Payloads")]
    delimiter: Option<u8>,
    /// Keep every cell of a CSV as text
    #[arg(long, help_heading = "Payloads")]
    csv_text: bool,
    /// Turn Arrow tables into JSON tables where the receiver can't read Arrow
    #[arg(long, help_heading = "Payloads")]
    convert_tables: bool,
    /// Add a SHA-256 to small payloads too; links always have one
    #[arg(long, help_heading = "Payloads")]
    digest_direct: bool,
    #[arg(long, value_name = "SIZE", value_parser = units::size, help = THRESHOLD, help_heading = "Links")]
    threshold: Option<u64>,
    /// How long links work, such as 90s, 24h or 7d [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = units::some_time, help_heading = "Links")]
    link_ttl: Option<Duration>,
    /// Make links work once, for one reader; needs --receiver-id
    #[arg(long, help_heading = "Links")]
    one_shot: bool,
    /// Refuse to send what this kind of receiver can't read
    #[arg(long, value_name = "KIND", default_value = "desktop", help_heading = "Message")]
    receiver: ReceiverKind,
    /// Name of the receiving program
    #[arg(long, value_name = "NAME", help_heading = "Message")]
    receiver_name: Option<String>,
    /// Identifier of the only receiver; without --ack or --reply-to, its links
    /// work once
    #[arg(long, value_name = "ID", help_heading = "Message")]
    receiver_id: Option<String>,
    /// This program's name in the message
    #[arg(long, value_name = "NAME", help_heading = "Message")]
    sender_name: Option<String>,
    /// Identifier of the message that this one replies to
    #[arg(long, value_name = "ID", help_heading = "Message")]
    reply_to_msg_id: Option<String>,
    /// Identifier shared by messages that belong together; new by default
    #[arg(long, value_name = "ID", help_heading = "Message")]
    correlation_id: Option<String>,
    /// Purpose: chat, ACK, NACK, updateStatus, shutdown
    #[arg(long, value_name = "WORD", default_value = "chat", help_heading = "Message")]
    purpose: String,
}

const THRESHOLD: &str =
    "Size from which a payload becomes a link, such as 0.5MB [env: SIZE_THRESHOLD, in bytes] [default: 500kB]";

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

impl MessageArgs {
    /// Puts what holds for the whole connection into its settings
    pub(crate) fn settle(&self, mut config: Config) -> Config {
        if let Some(name) = &self.sender_name {
            config = config.sender_name(name);
        }
        if let Some(bytes) = self.threshold {
            config = config.size_threshold(bytes);
        }
        config
    }

    /// Refuses wishes that contradict each other, before anything is read or sent
    ///
    /// A link that can be read once is for exactly one named receiver, and never for a message that may be sent again
    /// (specification, section 8). `asks` names what makes it one, such as an option for acknowledgements.
    pub(crate) fn check(&self, asks: Option<&str>) -> Result<(), Failure> {
        let why = match asks {
            _ if !self.one_shot => return Ok(()),
            Some(asks) => format!(
                "--one-shot contradicts {asks}: a message that asks for a reply may be sent again, and a link that was \
                 read once would be gone by then; leave --one-shot out"
            ),
            None if self.has_receiver_id() => return Ok(()),
            None => "--one-shot needs --receiver-id: without it, every subscriber may read the link, and all \
                     but the first would find it gone; name the one receiver, or leave --one-shot out"
                .to_owned(),
        };
        Err(Failure::Usage(why))
    }

    fn has_receiver_id(&self) -> bool {
        self.receiver_id.as_ref().is_some_and(|id| !id.is_empty())
    }

    /// Reads the payloads, so that a bad one is found before anything is sent
    pub(crate) fn read(&self) -> Result<Ready, Failure> {
        self.parts.read(table::How { wanted: self.table_as, delimiter: self.delimiter, text: self.csv_text })
    }

    /// Refuses a message that says nothing, unless that was asked for
    pub(crate) fn check_payloads(&self, empty: bool) -> Result<(), Failure> {
        let why = match (empty, self.is_empty()) {
            (true, false) => "--empty sends a message without a payload; leave the payloads out",
            // A purpose such as `shutdown` says all there is to say.
            (false, true) if self.is_chat() => {
                "there is no payload; give one, such as --text note='hello', or --empty for a message without any"
            }
            _ => return Ok(()),
        };
        Err(Failure::Usage(why.to_owned()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    fn is_chat(&self) -> bool {
        Purpose::from(&*self.purpose) == Purpose::Chat
    }

    /// Everything that a message says besides its payloads
    pub(crate) fn address(&self, mut draft: MessageBuilder, asks: bool) -> MessageBuilder {
        type Setter = fn(MessageBuilder, String) -> MessageBuilder;
        let texts: [(&Option<String>, Setter); 4] = [
            (&self.receiver_name, MessageBuilder::receiver_name),
            (&self.receiver_id, MessageBuilder::receiver_id),
            (&self.reply_to_msg_id, MessageBuilder::reply_to_msg_id),
            (&self.correlation_id, MessageBuilder::correlation_id),
        ];
        for (text, set) in texts {
            if let Some(text) = text {
                draft = set(draft, text.clone());
            }
        }
        draft = draft.purpose(Purpose::from(&*self.purpose)).receiver(match self.receiver {
            ReceiverKind::Desktop => natsbridge::ReceiverKind::Desktop,
            ReceiverKind::Browser => natsbridge::ReceiverKind::Browser,
            ReceiverKind::MicroPython => natsbridge::ReceiverKind::MicroPython,
        });
        if self.one_shot || self.link_ttl.is_some() {
            let ttl = self.link_ttl.unwrap_or(LinkLifetime::DEFAULT_TTL);
            // As by default: a link for exactly one receiver can be read once, unless its message asks for an answer.
            let one_shot = !asks && self.has_receiver_id();
            draft =
                draft.link_lifetime(if one_shot { LinkLifetime::one_shot(ttl) } else { LinkLifetime::expiring(ttl) });
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
