//! `natsbridge record` and `natsbridge replay`: a subject's messages in a file, byte for byte, and sent again.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use clap::Args;
use natsbridge::Error;
use natsbridge::broker::{Broker as _, NatsBroker, Publish, RawMessage, Subject, SubjectFilter, Subscription};
use natsbridge::wire::Envelope;
use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;

use crate::connection::{Connection, Meaning};
use crate::encoding::{self, NotText};
use crate::failure::Failure;
use crate::global::Global;
use crate::send::{exact, input};
use crate::signals::{self, Stop};
use crate::{output, session, units};

/// Messages that are written, or sent, before the next look at signals and confirmations
const BATCH: usize = 1_000;

/// The longest line of a record: NATS takes messages of at most 64 MiB, which base64 makes a third longer
const MAX_LINE: u64 = 128 * 1024 * 1024;

/// Record the messages of a subject in a file
///
/// Each message becomes a JSON line with its time, subject and bytes. Links are
/// not downloaded: they work as long as the file server keeps the files. Ctrl-C
/// and SIGTERM end the subscription; messages that have arrived are still
/// recorded, within --grace. A second one ends the program at once.
#[derive(Debug, Args)]
#[command(after_help = RECORD_EXAMPLES)]
pub(crate) struct Record {
    /// Subject to subscribe to; `*` matches one token, `>` one or more at the end
    subject: String,
    /// File to write, which must not exist yet; `-` for standard output
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = units::count)]
    count: Option<u64>,
    /// End after this time; messages that have arrived are still recorded
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    lasting: Option<Duration>,
    /// How long to go on with messages that have arrived, once it ends
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "10s")]
    grace: Duration,
    /// Print at the end what was recorded as a JSON line
    #[arg(long)]
    json: bool,
}

const RECORD_EXAMPLES: &str = "\
The first line is {\"natsbridge_record\":1,\"subject\":…,\"started\":…}; each further
one has at_us (microseconds since then), subject, and payload, or payload_base64
for what is not UTF-8.

Examples:
  natsbridge record 'lab.>' --to monday.ndjson
  natsbridge record lab.results --to - --for 10s | jq -r .payload
";

/// Send recorded messages again
///
/// The messages keep their identifiers and times, so a receiver does not handle
/// a message again that it has acknowledged.
#[derive(Debug, Args)]
#[command(after_help = REPLAY_EXAMPLES)]
pub(crate) struct Replay {
    /// File that `natsbridge record` wrote, `-` for standard input
    file: PathBuf,
    /// How many times as fast as recorded, or `max` for no pauses
    #[arg(long, value_name = "X", default_value = "1", value_parser = speed)]
    speed: Speed,
    /// Send them all on this subject instead of their own
    #[arg(long, value_name = "SUBJECT")]
    to_subject: Option<String>,
    /// Print what was sent as a JSON line
    #[arg(long)]
    json: bool,
}

const REPLAY_EXAMPLES: &str = "\
Examples:
  natsbridge replay monday.ndjson
  natsbridge replay monday.ndjson --speed 10 --to-subject test.lab
  natsbridge replay monday.ndjson --speed max --json
";

/// Times as fast as recorded; `None` is without pauses
#[derive(Debug, Clone, Copy)]
struct Speed(Option<f64>);

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed(None));
    }
    let times = text.parse().ok().filter(|times: &f64| times.is_finite() && *times > 0.0);
    times.map(|times| Speed(Some(times))).ok_or_else(|| "write a number above 0, such as 0.5 or 10, or max".to_owned())
}

async fn connect(global: &Global) -> Result<NatsBroker, Failure> {
    Ok(global.config().await?.connect_options().clone().connect().await.map_err(Error::from)?)
}

/// What a break of the connection means
const MEANING: Meaning = Meaning {
    gone: "What is published meanwhile is not recorded.",
    back: "It records again; what was published meanwhile is missing.",
};

impl Record {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let filter = SubjectFilter::new(&*self.subject).map_err(Error::from)?;
        if self.to.as_os_str() != "-" && self.to.symlink_metadata().is_ok() {
            let file = output::harmless(&self.to.to_string_lossy());
            let why = io::Error::new(io::ErrorKind::AlreadyExists, "the file exists; name another one, or remove it");
            return Err(Failure::system(format!("cannot write {file}"), why));
        }
        let broker = connect(global).await?;
        let connection = Connection::watch(broker.events(), broker.server_url(), MEANING);
        let stop = Stop::watch();
        let mut messages = broker.subscribe(filter, None).await.map_err(Error::from)?;
        let mut file: Box<dyn io::Write + Send> = if self.to.as_os_str() == "-" {
            Box::new(io::stdout())
        } else {
            Box::new(BufWriter::new(File::create_new(&self.to).map_err(|error| self.unwritable(error))?))
        };
        let head = json!({
            "natsbridge_record": 1,
            "subject": self.subject,
            "started": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        });
        writeln!(file, "{head}").and_then(|()| file.flush()).map_err(|error| self.unwritable(error))?;
        output::note(&format!("recording {}", self.subject));
        let recorded = self.record(&connection, &stop, &mut messages, &mut file).await;
        let connected = connection.is_up();
        // What follows is our own leaving.
        drop(connection);
        if connected && let Err(error) = broker.drain().await {
            tracing::warn!(%error, "the connection to NATS did not end in order");
        }
        let recorded = recorded?;
        let (dropped, interruptions) = (messages.dropped(), messages.interruptions());
        // Where --count ended it, more was not asked for.
        let unhandled = if self.count == Some(recorded) { 0 } else { messages.pending() };
        if self.json && self.to.as_os_str() != "-" {
            let mut told = json!({ "recorded": recorded, "dropped": dropped });
            if unhandled > 0 {
                told["unhandled"] = unhandled.into();
            }
            if interruptions > 0 {
                told["interruptions"] = interruptions.into();
            }
            output::line(&output::json(&told)).map_err(Failure::output)?;
        }
        let interrupted = session::interrupted(interruptions, "is not known");
        output::note(&format!("recorded {recorded}, dropped {dropped}{interrupted}, unhandled {unhandled}"));
        match u64::try_from(unhandled).unwrap_or(u64::MAX) {
            0 => Ok(()),
            unhandled => Err(Failure::Unhandled { unhandled }),
        }
    }

    async fn record(
        &self,
        connection: &Connection,
        stop: &Stop,
        messages: &mut Subscription,
        file: &mut (dyn io::Write + Send),
    ) -> Result<u64, Failure> {
        let start = Instant::now();
        let deadline = self.lasting.and_then(|lasting| start.checked_add(lasting));
        let (mut recorded, mut last, mut ending) = (0, None, false);
        loop {
            let left = self.count.map_or(u64::MAX, |count| count - recorded);
            let limit = usize::try_from(left).unwrap_or(usize::MAX).min(BATCH);
            if limit == 0 {
                return Ok(recorded);
            }
            let asked = async {
                tokio::select! {
                    _ = stop.requested() => {}
                    () = session::until(deadline) => {}
                }
            };
            let batch = tokio::select! {
                biased;
                () = asked, if !ending => {
                    messages.drain();
                    (last, ending) = (Instant::now().checked_add(self.grace), true);
                    continue;
                }
                () = session::until(last) => return Ok(recorded),
                batch = messages.next_batch(limit) => batch,
                // What is still on its way can't come any more.
                () = connection.broken(), if ending => return Ok(recorded),
            };
            if batch.is_empty() {
                if ending {
                    return Ok(recorded);
                }
                return Err(messages.take_error().map_or(Failure::ConnectionClosed, |error| Error::from(error).into()));
            }
            let at = start.elapsed().as_micros();
            for delivery in &batch {
                // Replies between NATS clients, which `>` lets us overhear.
                if delivery.subject.as_str().starts_with("_INBOX.") && !self.subject.starts_with("_INBOX.") {
                    continue;
                }
                writeln!(file, "{}", output::json(&to_line(at, delivery))).map_err(|error| self.unwritable(error))?;
                recorded += 1;
            }
            // At once, so that a killed recorder loses nothing that it was shown.
            file.flush().map_err(|error| self.unwritable(error))?;
        }
    }

    fn unwritable(&self, error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe && self.to.as_os_str() == "-" {
            return Failure::OutputClosed;
        }
        Failure::system(format!("cannot write {}", self.to.display()), error)
    }
}

fn to_line(at_us: u128, delivery: &RawMessage) -> Json {
    let mut line = Map::new();
    line.insert("at_us".to_owned(), u64::try_from(at_us).unwrap_or(u64::MAX).into());
    line.insert("subject".to_owned(), delivery.subject.as_str().into());
    match std::str::from_utf8(&delivery.payload) {
        Ok(text) => line.insert("payload".to_owned(), text.into()),
        Err(_) => line.insert("payload_base64".to_owned(), BASE64_STANDARD.encode(&delivery.payload).into()),
    };
    Json::Object(line)
}

/// Lines, of which none may be longer than [`MAX_LINE`]: what is no record may have no line end at all
fn lines(mut file: impl io::BufRead) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        match (&mut file).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) if line.ends_with(b"\n") => {
                line.pop();
                Some(Ok(line))
            }
            Ok(read) if u64::try_from(read).is_ok_and(|read| read == MAX_LINE) => {
                let what = format!("a line has more than {MAX_LINE} bytes; is it a record?");
                Some(Err(io::Error::new(io::ErrorKind::FileTooLarge, what)))
            }
            Ok(_) => Some(Ok(line)),
            Err(error) => Some(Err(error)),
        }
    })
}

/// When, where, what
type Recorded = (Duration, String, Bytes);

/// A recorded message
fn from_line(text: &str) -> Result<Recorded, String> {
    // Of a key that is there twice, one value would be lost.
    let line = exact::json(text, 1).map_err(|why| why.trim_start_matches("line 1, ").to_owned())?;
    let at = line.get("at_us").and_then(Json::as_u64).ok_or("it has no at_us")?;
    let subject = line.get("subject").and_then(Json::as_str).ok_or("it has no subject")?;
    let payload = match (line.get("payload"), line.get("payload_base64").and_then(Json::as_str)) {
        (Some(_), Some(_)) => return Err("it has both payload and payload_base64".to_owned()),
        (Some(Json::String(text)), _) => Bytes::from(text.clone()),
        (_, Some(base64)) => BASE64_STANDARD.decode(base64).map_err(|_| "its payload_base64 is no base64")?.into(),
        _ => return Err("it has neither payload nor payload_base64".to_owned()),
    };
    Ok((Duration::from_micros(at), subject.to_owned(), payload))
}

/// Whether a message has a link that only its first reader can read
fn has_one_shot_link(message: &[u8]) -> bool {
    let Ok(envelope) = Envelope::from_json(message) else { return false };
    envelope.payloads().iter().any(|payload| payload.metadata().get("one_shot").and_then(Json::as_bool) == Some(true))
}

impl Replay {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        self.to_subject.as_deref().map_or(Ok(()), session::check_subject)?;
        // What can be read twice is looked through first, so that a bad line is found before anything is sent.
        if self.file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            self.messages()?.try_for_each(|message| message.map(drop))?;
        }
        let messages = self.messages()?;
        let broker = connect(global).await?;
        let start = Instant::now();
        let mut stopped = pin!(signals::stopped());
        let (mut sent, mut bytes) = (0_u64, 0_u64);
        let mut unconfirmed = 0;
        let mut used_up = 0_u64;
        for message in messages {
            let (at, subject, payload) = message?;
            used_up += u64::from(has_one_shot_link(&payload));
            let subject = self.to_subject.clone().unwrap_or(subject);
            let subject = Subject::new(subject).map_err(Error::from)?;
            let size = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            let publishing = async {
                if let Speed(Some(times)) = self.speed {
                    let pause = Duration::try_from_secs_f64(at.as_secs_f64() / times).unwrap_or(Duration::MAX);
                    session::until(start.checked_add(pause)).await;
                }
                broker.publish(Publish::new(subject, payload)).await
            };
            tokio::select! {
                biased;
                () = &mut stopped => break,
                published = publishing => published.map_err(Error::from)?,
            }
            (sent, bytes, unconfirmed) = (sent + 1, bytes + size, unconfirmed + 1);
            if unconfirmed == BATCH {
                broker.confirm().await.map_err(Error::from)?;
                unconfirmed = 0;
            }
        }
        broker.confirm().await.map_err(Error::from)?;
        if let Err(error) = broker.drain().await {
            tracing::warn!(%error, "the connection to NATS did not end in order");
        }
        if used_up > 0 {
            output::note(&format!(
                "warning: {used_up} of these messages hold links that can be read once; whoever received the messages \
                 before may have used them up"
            ));
        }
        if self.json {
            return output::line(&output::json(&json!({ "sent": sent, "bytes": bytes }))).map_err(Failure::output);
        }
        output::line(&format!("sent {sent} messages, {}", units::shown(bytes))).map_err(Failure::output)
    }

    /// The messages of the file, each read when it is asked for
    fn messages(&self) -> Result<impl Iterator<Item = Result<Recorded, Failure>>, Failure> {
        let unreadable = |error| Failure::system(format!("cannot read {}", self.file.display()), error);
        let file: Box<dyn io::Read + Send> = if self.file.as_os_str() == "-" {
            Box::new(io::stdin())
        } else {
            let opened = File::open(&self.file).map_err(|error| input::looked_for(&self.file, error));
            Box::new(opened.map_err(unreadable)?)
        };
        let mut lines = (1..).zip(lines(BufReader::new(file))).map(move |(number, line)| {
            let line = line.map_err(unreadable)?;
            // Editors and shells write a mark before the first line; where files were joined, others have one too.
            let line = encoding::unmarked(&line);
            let text = line.and_then(|line| std::str::from_utf8(line).map_err(|_| NotText::found_in(line)));
            match text {
                Ok(text) => Ok((number, text.to_owned())),
                Err(error) => Err(self.wrong(number, &error.to_string())),
            }
        });
        let head = lines.next().transpose()?;
        let head: Option<Json> = head.and_then(|(_, head)| serde_json::from_str(&head).ok());
        if head.and_then(|head| head.get("natsbridge_record").and_then(Json::as_u64)) != Some(1) {
            return Err(self.wrong(1, "it is not the beginning of a record, as `natsbridge record` writes it"));
        }
        Ok(lines.filter_map(|line| match line {
            Ok((_, line)) if line.trim_ascii().is_empty() => None,
            Ok((number, line)) => Some(from_line(&line).map_err(|why| self.wrong(number, &why))),
            Err(failure) => Some(Err(failure)),
        }))
    }

    fn wrong(&self, line: u64, why: &str) -> Failure {
        Failure::Recording { file: self.file.display().to_string(), line, why: why.to_owned() }
    }
}
