//! `natsbridge send --lines`: a message for each line of standard input, many on their way at once.

use std::fmt;
use std::io::{self, BufRead as _, Read as _};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use natsbridge::{Bridge, DeliverOptions, Delivered, Error, MessageBuilder};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::task::unconstrained;
use tokio::time::Instant;

use crate::encoding::{self, NotText};
use crate::failure::{Failure, chain};
use crate::{output, signals};

/// Acknowledged messages on their way at once: the memory they take is bounded, and so is what a crash repeats
const ON_THEIR_WAY: usize = 256;

/// How long the first acknowledged message goes alone, unless it is acknowledged before
const FIRST_ALONE: Duration = Duration::from_millis(200);

/// Messages after which the server is asked whether it has processed them
const CONFIRM_EVERY: u64 = 1_000;

/// Lines that wait to be sent
const WAITING: usize = 1_024;

/// The longest line, in bytes: it is held in memory
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// Failed lines that are told one by one
const TOLD: u64 = 10;

/// How long after a signal lines that were read are still sent
const GRACE: Duration = Duration::from_secs(10);

/// What became of the lines
#[derive(Debug, Default)]
pub(super) struct Summary {
    acknowledging: bool,
    /// Lines that were read
    lines: u64,
    /// Messages that were published, each once
    sent: u64,
    /// Messages that the server has confirmed, or that were acknowledged as often as asked
    safe: u64,
    /// Messages that were published again
    repeated: u64,
    /// Lines whose failure was told, or counted with those that were
    failed: u64,
}

impl Summary {
    /// Lines that are not known to have arrived: better one too many than one too few
    const fn lost(&self) -> u64 {
        self.lines.saturating_sub(self.safe)
    }

    /// Lines that were read and never published, which are among the lost ones
    const fn unsent(&self) -> u64 {
        self.lines.saturating_sub(self.sent)
    }

    pub(super) fn to_json(&self) -> Json {
        let safe = if self.acknowledging { "acknowledged" } else { "confirmed" };
        json!({
            "lines": self.lines,
            "sent": self.sent,
            safe: self.safe,
            "repeated": self.repeated,
            "lost": self.lost(),
            "unsent": self.unsent(),
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let safe = if self.acknowledging { "acknowledged" } else { "confirmed" };
        let Self { lines, sent, safe: count, repeated, .. } = self;
        write!(f, "read {lines} lines, sent {sent}, {safe} {count}, repeated {repeated}, lost {}", self.lost())?;
        match self.unsent() {
            0 => Ok(()),
            unsent => write!(f, ", of which {unsent} never sent"),
        }
    }
}

/// Sends every line until standard input ends or a signal asks to stop; then waits for those that are on their way
pub(super) async fn send(
    bridge: &Bridge,
    name: &str,
    acks: Option<DeliverOptions>,
    draft: impl Fn() -> MessageBuilder + Send + Sync,
) -> (Summary, Result<(), Failure>) {
    let (sender, lines) = mpsc::channel(WAITING);
    let read = Arc::new(Read::default());
    let lines = Lines { waiting: lines, read: Arc::clone(&read) };
    tokio::task::spawn_blocking({
        let read = Arc::clone(&read);
        move || read_all(&sender, &read)
    });
    let draft = |text| draft().text(name, text);
    let mut outcome = Outcome { summary: Summary { acknowledging: acks.is_some(), ..Summary::default() }, first: None };
    match acks {
        Some(options) => deliver_all(lines, &options, draft, &mut outcome).await,
        None => publish_all(bridge, lines, draft, &mut outcome).await,
    }
    let Outcome { mut summary, first } = outcome;
    // After a signal, a line may have been read that nobody waits for any more.
    summary.lines = summary.lines.max(read.lines.load(Ordering::Relaxed));
    let first = first.or_else(|| (summary.lost() > 0).then_some(Failure::Stopped));
    let done = match first {
        None => Ok(()),
        Some(first) => Err(Failure::Lines { failed: summary.lost(), total: summary.lines, first: Box::new(first) }),
    };
    (summary, done)
}

async fn deliver_all(
    mut lines: Lines,
    options: &DeliverOptions,
    draft: impl Fn(String) -> MessageBuilder + Send + Sync,
    outcome: &mut Outcome,
) {
    let mut on_their_way = FuturesUnordered::new();
    let mut stop = Stop::new();
    let mut reading = true;
    // The first one has the subject for acknowledgements listened to, and those that wait for that too could overtake
    // each other: it goes alone, but holds up the others no longer than this takes on any network.
    let mut room = 1;
    let mut alone = pin!(tokio::time::sleep(FIRST_ALONE));
    while reading || !on_their_way.is_empty() {
        tokio::select! {
            biased;
            end = stop.next(), if reading => match end {
                End::OfReading => lines.close(),
                End::OfSending => reading = false,
            },
            Some((number, done)) = on_their_way.next() => {
                outcome.delivered(number, done);
                room = ON_THEIR_WAY;
            }
            () = &mut alone, if room == 1 && !on_their_way.is_empty() => room = ON_THEIR_WAY,
            line = lines.next(), if reading && on_their_way.len() < room => {
                let Some(line) = line else { reading = false; continue };
                if let Some((number, text)) = outcome.read(line) {
                    let draft = draft(text);
                    if room == 1 {
                        alone.as_mut().reset(Instant::now() + FIRST_ALONE);
                    }
                    // Published when first polled, so that the lines keep their order: tokio's budget would make some
                    // wait for others that came later.
                    on_their_way.push(unconstrained(async move { (number, draft.deliver(options).await) }));
                }
            }
        }
    }
}

async fn publish_all(
    bridge: &Bridge,
    mut lines: Lines,
    draft: impl Fn(String) -> MessageBuilder + Send + Sync,
    outcome: &mut Outcome,
) {
    let mut stop = Stop::new();
    let mut unconfirmed = 0;
    'lines: loop {
        let line = tokio::select! {
            biased;
            end = stop.next() => match end {
                End::OfReading => {
                    lines.close();
                    continue;
                }
                End::OfSending => break,
            },
            line = lines.next() => line,
        };
        let Some(line) = line else { break };
        let Some((number, text)) = outcome.read(line) else { continue };
        // One after the other, so that they keep their order; while NATS is away, this waits.
        let mut sending = pin!(draft(text).send());
        let sent = loop {
            tokio::select! {
                biased;
                end = stop.next() => match end {
                    End::OfReading => lines.close(),
                    End::OfSending => break 'lines,
                },
                sent = &mut sending => break sent,
            }
        };
        match sent {
            Ok(_) => unconfirmed += 1,
            Err(error) => outcome.failed(number, error.into()),
        }
        if unconfirmed == CONFIRM_EVERY {
            outcome.published(unconfirmed, bridge.confirm().await);
            unconfirmed = 0;
        }
    }
    if unconfirmed > 0 {
        outcome.published(unconfirmed, bridge.confirm().await);
    }
}

/// What a signal ends: at first nothing but the reading of lines, [`GRACE`] later their sending
struct Stop {
    signal: BoxFuture<'static, ()>,
    until: Option<Instant>,
}

enum End {
    OfReading,
    OfSending,
}

impl Stop {
    fn new() -> Self {
        Self { signal: Box::pin(signals::stopped()), until: None }
    }

    /// Waits for the next end; not to be called after the last one
    async fn next(&mut self) -> End {
        match self.until {
            None => {
                (&mut self.signal).await;
                self.until = Some(Instant::now() + GRACE);
                End::OfReading
            }
            Some(until) => {
                tokio::time::sleep_until(until).await;
                End::OfSending
            }
        }
    }
}

/// What became of the lines so far, and what went wrong first
struct Outcome {
    summary: Summary,
    first: Option<Failure>,
}

impl Outcome {
    fn read(&mut self, line: Line) -> Option<(u64, String)> {
        self.summary.lines += 1;
        match line {
            Ok(line) => Some(line),
            Err((number, failure)) => {
                self.failed(number, failure);
                None
            }
        }
    }

    fn delivered(&mut self, number: u64, done: Result<Delivered, Error>) {
        match done {
            Ok(delivered) => {
                self.summary.sent += 1;
                self.summary.safe += 1;
                self.summary.repeated += u64::from(delivered.repeats);
            }
            Err(error) => {
                if let Error::Delivery(error) = &error {
                    self.summary.sent += 1;
                    self.summary.repeated += u64::from(error.repeats());
                }
                self.failed(number, error.into());
            }
        }
    }

    fn published(&mut self, messages: u64, confirmed: Result<(), Error>) {
        self.summary.sent += messages;
        match confirmed {
            Ok(()) => self.summary.safe += messages,
            Err(error) => {
                let failure = Failure::from(error);
                output::note(&format!("{messages} lines are not confirmed: {}", chain(&failure).join(": ")));
                self.summary.failed += messages;
                self.first.get_or_insert(failure);
            }
        }
    }

    fn failed(&mut self, number: u64, failure: Failure) {
        self.summary.failed += 1;
        match self.summary.failed {
            ..=TOLD => output::note(&format!("line {number}: {}", output::harmless(&chain(&failure).join(": ")))),
            count if count == TOLD + 1 => output::note("further lines that failed are counted only"),
            _ => {}
        }
        self.first.get_or_insert(failure);
    }
}

/// A line by its number, counted from 1, or why there is none
type Line = Result<(u64, String), (u64, Failure)>;

/// What the reader of lines tells besides them
#[derive(Debug, Default)]
struct Read {
    /// Lines that were read
    lines: AtomicU64,
    /// The one that was read when nobody took lines any more
    last: Mutex<Option<Line>>,
}

/// The lines that were read
struct Lines {
    waiting: mpsc::Receiver<Line>,
    read: Arc<Read>,
}

impl Lines {
    async fn next(&mut self) -> Option<Line> {
        match self.waiting.recv().await {
            Some(line) => Some(line),
            None => self.read.last.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }

    /// Ends the reading; what was read can still be taken
    fn close(&mut self) {
        self.waiting.close();
    }
}

/// Reads lines until the end, or until nobody wants more
fn read_all(lines: &mpsc::Sender<Line>, read: &Read) {
    let mut stdin = io::stdin().lock();
    for number in 1.. {
        let mut bytes = Vec::new();
        let mut line = match (&mut stdin).take(MAX_LINE).read_until(b'\n', &mut bytes) {
            Ok(0) => return,
            Ok(_) => Ok(bytes),
            Err(error) => Err(Failure::system("cannot read standard input", error)),
        };
        let mut ended = line.is_err();
        line = line.and_then(|bytes| {
            let full = u64::try_from(bytes.len()).unwrap_or(u64::MAX) == MAX_LINE;
            if full && !bytes.ends_with(b"\n") {
                let skipped = stdin.skip_until(b'\n');
                skipped.map_err(|error| Failure::system("cannot read standard input", error))?;
                return Err(Failure::input("line", format!("it is longer than {MAX_LINE} bytes; send it with --text")));
            }
            Ok(bytes)
        });
        let text = line.and_then(|mut bytes| {
            if bytes.ends_with(b"\n") {
                bytes.pop();
                if bytes.ends_with(b"\r") {
                    bytes.pop();
                }
            }
            if number == 1 {
                match encoding::unmarked(&bytes).map(<[u8]>::len) {
                    Ok(len) => drop(bytes.drain(..bytes.len() - len)),
                    // No further line would be what it looks like.
                    Err(error) => {
                        ended = true;
                        return Err(Failure::input("line", "standard input can't be read").because(error));
                    }
                }
            }
            String::from_utf8(bytes).map_err(|error| {
                let cause = NotText::found_in(error.as_bytes());
                Failure::input("line", "the text is not UTF-8").because(cause)
            })
        });
        read.lines.store(number, Ordering::Relaxed);
        let line = text.map(|text| (number, text)).map_err(|failure| (number, failure));
        if let Err(mpsc::error::SendError(line)) = lines.blocking_send(line) {
            *read.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
            return;
        }
        if ended {
            return;
        }
    }
}
