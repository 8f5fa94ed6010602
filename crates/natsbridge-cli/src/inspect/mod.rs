//! `natsbridge inspect`: what a message says, and what is wrong with it, without downloading anything.

mod findings;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use natsbridge::Purpose;
use natsbridge::broker::{Broker as _, SubjectFilter};
use natsbridge::wire::{Envelope, Header, redacted};
use serde_json::{Value as Json, json};

use crate::encoding;
use crate::failure::Failure;
use crate::global::Global;
use crate::listing::{self, NOTE_COLUMNS, Row};
use crate::output::{self, Style};
use crate::send::input;
use crate::{session, stores, units};
use findings::{Findings, Problem, Seen};

/// Show what a message says, and what is wrong with it
///
/// The message is an envelope's JSON from a file, from standard input, or the
/// next one on a subject. Digests are checked; links are checked with HEAD
/// requests, which do not use up a link that works only once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Inspect {
    /// File that holds the message, `-` for standard input [default: -]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Take the next message on this subject instead
    #[arg(long, value_name = "SUBJECT", conflicts_with = "file")]
    subject: Option<String>,
    /// How long to wait for it
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "30s")]
    timeout: Duration,
    /// Send no request to a file server
    #[arg(long)]
    no_links: bool,
    /// Check links to this origin too, besides those to the file server
    #[arg(long, value_name = "URL")]
    allow_origin: Vec<String>,
    /// Print one JSON line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Ends with 6 when it finds problems. URLs are shown without their query, which
may be a signature.

Examples:
  natsbridge inspect message.json
  natsbridge inspect --subject 'lab.>' --timeout 1m
  nats sub lab.results --count 1 --raw | natsbridge inspect --json
";

/// The largest message that is read: NATS takes none above 64 MiB
const MOST: u64 = 256 * 1024 * 1024;

impl Inspect {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let config = stores::allow(global.config().await?, &self.allow_origin)?;
        let bytes = match &self.subject {
            Some(subject) => self.next_on(subject, config.connect_options().clone()).await?,
            None => self.read()?,
        };
        let fetcher = if self.no_links { None } else { Some(config.to_fetcher()?) };
        let envelope = match Envelope::from_json(&bytes) {
            Ok(envelope) => envelope,
            Err(error) => {
                let encoding = encoding::unmarked(&bytes).err().map(|why| Problem::encoding(&why));
                return self.unreadable(&encoding.unwrap_or_else(|| Problem::of(&error.into())));
            }
        };
        let findings = Findings::of(&bytes, &envelope, fetcher.as_ref()).await;
        if self.json {
            output::line(&output::json(&to_json(&envelope, &findings))).map_err(Failure::output)?;
        } else {
            output::line(&to_text(&envelope, &findings)).map_err(Failure::output)?;
        }
        match findings.problems.len() {
            0 => Ok(()),
            problems => Err(Failure::Unsound { problems }),
        }
    }

    /// What is no envelope has one problem
    fn unreadable(&self, problem: &Problem) -> Result<(), Failure> {
        if self.json {
            output::line(&output::json(&json!({ "problems": [problem.to_json()] }))).map_err(Failure::output)?;
        } else {
            output::line(&problem.to_text(output::stdout_style())).map_err(Failure::output)?;
        }
        Err(Failure::Unsound { problems: 1 })
    }

    fn read(&self) -> Result<Bytes, Failure> {
        let path = self.file.as_ref().filter(|path| path.as_os_str() != "-");
        let read = match path {
            Some(path) => std::fs::File::open(path)
                .map_err(|error| input::looked_for(path, error))
                .and_then(|mut file| input::bounded(&mut file, MOST)),
            None => input::bounded(&mut io::stdin().lock(), MOST),
        };
        let what = path.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
        let bytes = read.map_err(|source| Failure::system(format!("cannot read {what}"), source))?;
        // An editor's byte-order mark; on the wire there is none.
        Ok(match encoding::unmarked(&bytes) {
            Ok(unmarked) if unmarked.len() < bytes.len() => Bytes::copy_from_slice(unmarked),
            _ => bytes.into(),
        })
    }

    /// The next message as it crosses NATS, also where it is no envelope
    async fn next_on(&self, subject: &str, nats: natsbridge::ConnectOptions) -> Result<Bytes, Failure> {
        let filter = SubjectFilter::new(subject).map_err(natsbridge::Error::from)?;
        let broker = nats.connect().await.map_err(natsbridge::Error::from)?;
        let mut messages = broker.subscribe(filter, None).await.map_err(natsbridge::Error::from)?;
        output::note(&format!("subscribed to {subject}"));
        let next = async {
            loop {
                let delivery = messages.next().await.ok_or(Failure::ConnectionClosed)?;
                // Replies between NATS clients, which `>` lets us overhear.
                if subject.starts_with("_INBOX.") || !delivery.subject.as_str().starts_with("_INBOX.") {
                    return Ok(delivery.payload);
                }
            }
        };
        let timed_out = |_| Failure::TimeRanOut { seen: 0, wanted: 1, unread: 0 };
        tokio::time::timeout(self.timeout, next).await.map_err(timed_out)?
    }
}

fn to_json(envelope: &Envelope, findings: &Findings) -> Json {
    let mut fields = session::header_fields(envelope.header());
    // It must not, but may hold a password; that it does is among the problems.
    fields.insert("broker_url".to_owned(), redacted(envelope.header().broker_url()).into());
    let payloads = envelope.payloads().iter().zip(&findings.payloads).map(|(payload, found)| {
        json!({
            "id": payload.id(),
            "dataname": payload.dataname(),
            "payload_type": payload.payload_type(),
            "transport": payload.transport(),
            "size": payload.size(),
            "sha256": found.digest.map(|digest| digest.to_string()),
            "digest": found.digest_word(),
            "url": payload.url().map(redacted),
            "link": found.link.as_ref().map(Seen::to_json),
            "metadata": payload.metadata(),
        })
    });
    fields.insert("payloads".to_owned(), payloads.collect());
    fields.insert("problems".to_owned(), findings.problems.iter().map(Problem::to_json).collect());
    Json::Object(fields)
}

fn to_text(envelope: &Envelope, findings: &Findings) -> String {
    let style = output::stdout_style();
    let mut lines = header_lines(envelope.header(), style);
    if !envelope.payloads().is_empty() {
        lines.extend([String::new(), listing::heading(style)]);
    }
    for (payload, found) in envelope.payloads().iter().zip(&findings.payloads) {
        let row = Row {
            dataname: payload.dataname(),
            payload_type: payload.payload_type(),
            size: payload.size(),
            transport: payload.transport(),
            sha256: found.digest,
        };
        lines.push(row.line(style));
        if let Some(url) = payload.url() {
            lines.push(listing::note(&redacted(url)));
        }
        lines.push(listing::note(&found.to_text()));
    }
    lines.push(String::new());
    match findings.problems.len() {
        0 => lines.push("no problems found".to_owned()),
        _ => lines.extend(findings.problems.iter().map(|problem| problem.to_text(style))),
    }
    lines.join("\n")
}

fn header_lines(header: &Header, style: Style) -> Vec<String> {
    let purpose: Purpose = header.msg_purpose();
    let both = |name: &str, id: &str| format!("{name} {id}").trim().to_owned();
    let to = both(header.receiver_name(), header.receiver_id());
    let metadata = header.metadata();
    let fields = [
        ("subject", header.send_to().to_owned()),
        ("message", header.msg_id().to_owned()),
        ("correlation", header.correlation_id().to_owned()),
        ("sent", header.timestamp().to_owned()),
        ("purpose", purpose.as_str().to_owned()),
        ("from", both(header.sender_name(), header.sender_id())),
        ("to", if to.is_empty() { "everyone".to_owned() } else { to }),
        ("reply to", header.reply_to().to_owned()),
        ("in reply to", header.reply_to_msg_id().to_owned()),
        ("broker", redacted(header.broker_url())),
        ("metadata", if metadata.is_empty() { String::new() } else { Json::Object(metadata.clone()).to_string() }),
    ];
    let shown = fields.into_iter().filter(|(_, text)| !text.is_empty());
    shown
        .map(|(name, text)| {
            let text = output::cut(&output::harmless(&text), NOTE_COLUMNS - 12);
            format!("{} {text}", style.dim(&format!("{name:<12}")))
        })
        .collect()
}
