//! Allocations of single calls, with their limits: the same number in every run, unlike times.
//!
//! A limit is the number that was counted when it was set, so that one more is seen. Nothing here counts: who counts
//! hands its counter in, because a counting allocator would spoil the times of every program it is linked into.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use natsbridge::{Bridge, Config, Data, MemoryBroker, ReceiveOptions, SendOptions, smartreceive, smartsend};
use natsbridge_core::{Envelope, PayloadType, ReceivePolicy, Table, TableLimits, Value};
use tokio::runtime::{Builder, Runtime};

use crate::job::{Job, Scenario, Side};
use crate::report::{Line, Samples, Target};
use crate::sample::number;
use crate::{Failure, bridge, nats, tables, workload};

/// What a call allocated on the calling thread
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Allocations and reallocations
    pub times: u64,
    /// Bytes asked for, all in all
    pub bytes: u64,
}

/// Runs a call and counts what it allocates
pub type Count = fn(&mut dyn FnMut()) -> Counted;

/// A call with everything that it needs prepared
type Prepared = Box<dyn FnMut()>;

/// A call whose allocations have a limit
pub struct Case {
    /// What is called
    pub name: &'static str,
    /// Allocations it may make
    pub limit: u64,
    prepare: Box<dyn Fn() -> Prepared>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Case {
    /// `prepare` makes what the call takes; making it does not count
    fn new<I: 'static, T>(
        name: &'static str,
        limit: u64,
        prepare: impl Fn() -> I + 'static,
        call: impl Fn(I) -> T + Clone + 'static,
    ) -> Self {
        let prepare = move || -> Prepared {
            let (mut input, call) = (Some(prepare()), call.clone());
            Box::new(move || drop(input.take().map(&call)))
        };
        Self { name, limit, prepare: Box::new(prepare) }
    }

    /// Counts the call's second run: the first one may fill what lasts as long as the program
    #[must_use]
    pub fn count(&self, count: Count) -> Counted {
        (self.prepare)()();
        count(&mut *(self.prepare)())
    }

    /// Every call that has a limit
    ///
    /// # Errors
    /// What making the input says.
    pub fn all() -> Result<Vec<Self>, Failure> {
        let runtime = Arc::new(Builder::new_current_thread().build()?);
        let binary = workload::bytes(10_000);
        let raw = move || [("payload", PayloadType::Binary, Value::Bytes(binary.clone()))];
        let envelope = bridge::sealed(raw())?;
        let json = envelope.to_json();
        let read = json.clone();
        let (large, larger) = (tables::table(100_000)?, tables::table(100_000)?.to_ipc()?);
        let text = workload::value(PayloadType::Text, 10_000)?;
        let (_, text_json) = runtime.block_on(smartsend(
            "chat.room",
            [("msg", Data::Value(text.clone()), PayloadType::Text)],
            &SendOptions::default(),
        ))?;
        let (bridge, inbox) = runtime.block_on(async {
            let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default())?;
            let inbox = bridge.subscribe("lab.received").await?;
            Ok::<_, Failure>((bridge, Rc::new(RefCell::new(inbox))))
        })?;
        let small = workload::bytes(1_000);
        let arriving = (Arc::clone(&runtime), bridge.clone(), small.clone());
        let (publishing, taking) = (Arc::clone(&runtime), Arc::clone(&runtime));
        let (sending, receiving) = (Arc::clone(&runtime), runtime);
        let (send_options, receive_options) = (Arc::new(SendOptions::default()), Arc::new(ReceiveOptions::default()));
        Ok(vec![
            Self::new(
                "smartsend of 10 KB text",
                7,
                move || [("msg", Data::Value(text.clone()), PayloadType::Text)],
                move |data| sending.block_on(smartsend("chat.room", data, &send_options)),
            ),
            Self::new(
                "smartreceive of 10 KB text",
                13,
                move || text_json.clone(),
                move |json: Bytes| receiving.block_on(smartreceive(&json, &receive_options)),
            ),
            Self::new(
                "publish of 1 KB binary, in memory",
                8,
                move || small.clone(),
                move |payload| publishing.block_on(bridge.message("lab.sent").binary("payload", payload).send()),
            ),
            Self::new(
                "receive of 1 KB binary, in memory",
                8,
                move || {
                    let (runtime, bridge, payload) = &arriving;
                    runtime.block_on(bridge.message("lab.received").binary("payload", payload.clone()).send())
                },
                move |_| taking.block_on(inbox.borrow_mut().next()),
            ),
            Self::new("plan of 10 KB binary", 5, raw, bridge::sealed),
            Self::new("encode of 10 KB binary", 1, move || envelope.clone(), |envelope| (envelope.to_json(), envelope)),
            Self::new("decode of 10 KB binary", 8, move || read.clone(), |json: Bytes| bridge::decode(&json)),
            Self::new(
                "open of 10 KB binary",
                7,
                move || json.clone(),
                |json: Bytes| Envelope::from_json(&json).map(|envelope| envelope.open(&ReceivePolicy::default())),
            ),
            Self::new("write of an arrowtable of 100,000 rows", 108, move || large.clone(), |table| table.to_ipc()),
            Self::new(
                "read of an arrowtable of 100,000 rows",
                59,
                move || larger.clone(),
                |stream: Bytes| Table::from_ipc(&stream, &TableLimits::default()),
            ),
        ])
    }
}

/// The lines of the report: single calls, then messages over a real server against raw async-nats
///
/// # Errors
/// What making the input says; what connecting says.
pub fn all(count: Count, nats_url: &str) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for case in Case::all()? {
        let counted = case.count(count);
        let line = Line::new("allocations", case.name, number(counted.times), "allocations");
        lines.push(line.target(Some(Target::AtMost(number(case.limit)))));
    }
    lines.extend(copied(count)?);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    for scenario in [Scenario::Publish, Scenario::Receive] {
        for size in nats::SIZES {
            let per_message = |side| messages(count, &runtime, nats_url, scenario, side, size);
            let [ours, raw] = [per_message(Side::Natsbridge)?, per_message(Side::Other)?];
            let verb = scenario.verb();
            let name = format!("{verb} {}, per message (raw async-nats {raw:.1})", crate::report::size(size));
            let samples = [("natsbridge", ours), ("raw async-nats", raw)]
                .map(|(of, value)| Samples::new(of, "allocations per message", vec![value]));
            lines.push(Line::new("allocations", name, ours, "allocations").samples(samples));
        }
    }
    Ok(lines)
}

/// Bytes allocated while a table is made ready for an upload, and while one is read, by the bytes of the table: a copy of the
/// columns would make it 1
///
/// # Errors
/// What Arrow says.
pub fn copied(count: Count) -> Result<[Line; 2], Failure> {
    let table = tables::table(1_000_000)?;
    let stream = table.to_ipc()?;
    let size = number(stream.len().try_into()?);
    let (mut sent, mut read) = (None, None);
    let sending = count(&mut || sent = Some(table.to_source()));
    let reading = count(&mut || read = Some(Table::from_ipc(&stream, &TableLimits::default())));
    sent.ok_or("nothing was sent")??;
    read.ok_or("nothing was read")??;
    Ok([("send", sending), ("read", reading)].map(|(verb, counted)| {
        let name = format!("bytes allocated to {verb} an arrowtable of 1,000,000 rows");
        Line::new("tables", name, number(counted.bytes) / size, "× its size").target(Some(Target::AtMost(0.01)))
    }))
}

/// Allocations per message of sender, receiver and both their connections, on one thread
fn messages(
    count: Count,
    runtime: &Runtime,
    url: &str,
    scenario: Scenario,
    side: Side,
    size: usize,
) -> Result<f64, Failure> {
    const MESSAGES: u64 = 512;
    let job = Job { size, count: MESSAGES, ..Job::new(scenario, side, url) };
    let mut run = Some(runtime.block_on(nats::prepare(&job))?);
    let mut outcome = None;
    let counted = count(&mut || outcome = run.take().map(|run| runtime.block_on(run)));
    outcome.ok_or("nothing was run")??;
    Ok(number(counted.times) / number(MESSAGES))
}
