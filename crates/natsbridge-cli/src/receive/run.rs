//! One run of `receive`: takes messages, has them made ready, prints them in order, and ends so that nothing is lost.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use natsbridge::wire::Header;
use natsbridge::{Bridge, Error, Message, Metadata, Payload, Subscriber};
use serde_json::Value as Json;
use tokio::time::Instant;

use super::ahead::Ahead;
use super::{Form, Printing, Receive, Report};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output;
use crate::session::{is_last, left_unread, until};
use crate::signals::Stop;

/// Messages that are printed before the next look at signals
const BATCH: usize = 64;

/// How long the message that is being printed at the end may take, so that it is known whether it was
const MOMENT: Duration = Duration::from_millis(500);

/// What a value takes beside its text, in bytes
const NODE: u64 = 128;

/// What ended the listening
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Counted,
    Time,
    Stopped,
    Closed,
}

/// What came so far
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) seen: u64,
    pub(super) unread: u64,
    pub(super) acknowledged: u64,
    /// Arrived, and not printed when the program had to end
    pub(super) unhandled: u64,
}

/// A message and its printed form
struct Ready {
    message: Result<Message, Error>,
    report: Report,
}

/// A run from the first message to the last
pub(super) struct Run<'a> {
    receive: &'a Receive,
    bridge: &'a Bridge,
    connection: &'a Connection,
    stop: &'a Stop,
    pub(super) inbox: Subscriber,
    form: Form,
    printing: Arc<Printing>,
    ahead: Ahead<Ready>,
    taken: u64,
    pub(super) tally: Tally,
    /// Why the subscription has ended or is ending
    end: Option<End>,
    /// Until when what has arrived may be printed
    last: Option<Instant>,
    /// Whether all that arrived is taken
    dry: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        receive: &'a Receive,
        bridge: &'a Bridge,
        connection: &'a Connection,
        stop: &'a Stop,
        inbox: Subscriber,
    ) -> Self {
        let form = if receive.json { Form::Json } else { Form::People };
        Self {
            receive,
            bridge,
            connection,
            stop,
            inbox,
            form,
            printing: Arc::new(Printing::new(receive.saving.clone(), form)),
            ahead: Ahead::new(receive.order()),
            taken: 0,
            tally: Tally::default(),
            end: None,
            last: None,
            dry: false,
        }
    }

    /// Prints messages until the end; what was not printed then is counted
    pub(super) async fn run(&mut self) -> Result<End, Failure> {
        let deadline = self.receive.lasting.and_then(|lasting| Instant::now().checked_add(lasting));
        let mut failed = None;
        let (stop, connection) = (self.stop, self.connection);
        loop {
            let ready = self.ready();
            if !ready.is_empty() {
                if self.print(ready).await? {
                    continue;
                }
                break;
            }
            let full = self.receive.count.is_some_and(|count| self.taken >= count);
            if (full || self.dry) && self.ahead.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                _ = stop.requested(), if self.end.is_none() => self.drain(End::Stopped),
                () = until(self.last) => break,
                () = self.ahead.progress(), if !self.ahead.is_empty() => {}
                message = self.inbox.next(), if !full && !self.dry && self.ahead.has_room() => {
                    failed = self.take(message).err().or(failed);
                }
                () = until(deadline), if self.end.is_none() => self.drain(End::Time),
                // What is still on its way can't come any more.
                () = connection.broken(), if self.end.is_some() && !self.dry && self.ahead.is_empty() => self.dry = true,
            }
        }
        self.tally.unhandled += number(self.ahead.len());
        // In a group nobody else gets what has come here.
        if !self.dry && (self.last.is_some() || self.receive.queue.is_some()) {
            self.tally.unhandled += left_unread(&mut self.inbox).await;
        }
        match failed {
            Some(failed) => Err(failed),
            None => Ok(self.end.unwrap_or(if self.dry { End::Closed } else { End::Counted })),
        }
    }

    /// Ends the subscription; what has arrived is still taken
    fn drain(&mut self, end: End) {
        self.inbox.drain();
        self.end = Some(end);
        self.last = Instant::now().checked_add(self.receive.grace);
    }

    /// Has a message made ready, and those that wait behind it
    fn take(&mut self, mut message: Option<Result<Message, Error>>) -> Result<(), Failure> {
        for taken in 1.. {
            match message {
                None => {
                    self.dry = true;
                    return Ok(());
                }
                Some(Err(error)) if is_last(&error) => {
                    self.dry = true;
                    return Err(error.into());
                }
                Some(message) => self.prepare(message),
            }
            let full = self.receive.count.is_some_and(|count| self.taken >= count);
            if taken == BATCH || full || !self.ahead.has_room() {
                break;
            }
            match self.inbox.next().now_or_never() {
                Some(next) => message = next,
                None => break,
            }
        }
        Ok(())
    }

    fn prepare(&mut self, message: Result<Message, Error>) {
        self.taken += 1;
        let bytes = match &message {
            Ok(message) => weight(message.header(), message.payloads()),
            Err(error) => error.header().map_or(0, |header| weight(header, &[])),
        };
        let printing = Arc::clone(&self.printing);
        self.ahead.push(bytes, async move {
            let report = printing.report(&message).await;
            Ready { message, report }
        });
    }

    /// The messages that are ready to be printed, in their order
    fn ready(&mut self) -> Vec<Ready> {
        let mut ready = Vec::new();
        while ready.len() < BATCH {
            match self.ahead.take() {
                Some(next) => ready.push(next),
                // Most messages are whole at the first look.
                None if !self.ahead.is_empty() && self.ahead.progress().now_or_never().is_some() => {}
                None => break,
            }
        }
        ready
    }

    /// Prints messages and tells their senders; `false` where that did not end in time
    async fn print(&mut self, ready: Vec<Ready>) -> Result<bool, Failure> {
        let count = number(ready.len());
        let form = self.form;
        let over = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&over);
        // On a thread where it may block: whoever reads it may be slow, or have stopped.
        let mut job = tokio::task::spawn_blocking(move || {
            let written = written(&ready, form, &asked);
            (ready, written)
        });
        let stop = self.stop;
        let done = loop {
            tokio::select! {
                biased;
                done = &mut job => break done,
                _ = stop.requested(), if self.end.is_none() => self.drain(End::Stopped),
                () = until(self.last) => {
                    over.store(true, Ordering::Relaxed);
                    match tokio::time::timeout(MOMENT, &mut job).await {
                        Ok(done) => break done,
                        Err(_) => {
                            self.tally.unhandled += count;
                            return Ok(false);
                        }
                    }
                }
            }
        };
        let (mut ready, written) = done.map_err(|error| Failure::system("cannot print", io::Error::other(error)))?;
        self.tally.unhandled += number(ready.split_off(written?).len());
        for (at, Ready { message, report }) in ready.iter().enumerate() {
            self.tally.seen += 1;
            self.tally.unread += u64::from(report.is_error());
            if !self.receive.ack {
                continue;
            }
            tokio::select! {
                biased;
                told = report.acknowledge(self.bridge, message) => {
                    self.tally.acknowledged += u64::from(told && !report.is_error());
                }
                () = until(self.last) => {
                    // Printed, but their senders do not know: they are asked to repeat them.
                    self.tally.seen += number(ready.len() - at - 1);
                    return Ok(false);
                }
            }
        }
        Ok(!over.load(Ordering::Relaxed))
    }
}

/// What a message takes in memory, about, in bytes
fn weight(header: &Header, payloads: &[Payload]) -> u64 {
    let inside = |handle: &Payload| {
        let part = handle.part().map_or(0, |part| part.size());
        part.saturating_add(handle.metadata().map_or(0, metadata_weight)).saturating_add(NODE)
    };
    let texts = [
        header.correlation_id(),
        header.msg_id(),
        header.timestamp(),
        header.send_to(),
        header.sender_name(),
        header.sender_id(),
        header.receiver_name(),
        header.receiver_id(),
        header.reply_to(),
        header.reply_to_msg_id(),
        header.broker_url(),
    ];
    let fields = texts.into_iter().map(length).sum::<u64>() + metadata_weight(header.metadata());
    payloads.iter().map(inside).fold(fields, u64::saturating_add)
}

fn metadata_weight(metadata: &Metadata) -> u64 {
    metadata.iter().map(|(key, value)| NODE + length(key) + json_weight(value)).sum()
}

/// A value in memory takes much more than its text where it is many small ones
fn json_weight(json: &Json) -> u64 {
    match json {
        Json::String(text) => NODE + length(text),
        Json::Array(values) => NODE + values.iter().map(json_weight).sum::<u64>(),
        Json::Object(members) => NODE + metadata_weight(members),
        _ => NODE,
    }
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Writes messages until all are written or the time is over; says how many are
fn written(ready: &[Ready], form: Form, over: &AtomicBool) -> Result<usize, Failure> {
    output::above_bars(|| {
        let mut stdout = io::BufWriter::with_capacity(64 * 1024, io::stdout().lock());
        let mut count = 0;
        for ready in ready {
            if over.load(Ordering::Relaxed) {
                break;
            }
            ready.report.write(form, &mut stdout).map_err(Failure::output)?;
            count += 1;
        }
        stdout.flush().map_err(Failure::output)?;
        Ok(count)
    })
}
