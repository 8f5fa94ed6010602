//! The codec's measures: encode and decode of every payload type, tables, mixed and hostile messages, in this process.

use bytes::Bytes;
use natsbridge_core::{PayloadType, TableLimits, Value};

use crate::codec::Case;
use crate::report::{FASTER, Line, Samples, TIME, Target};
use crate::sample::{Effort, consuming, in_turn, median, number, plain, ratio};
use crate::{Failure, bridge, tables, textbook, workload};

/// All of them
///
/// # Errors
/// What core, `serde_json` and `arrow-ipc` say of their own output.
pub fn all(effort: Effort) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for case in Case::all()? {
        lines.extend(codec(&case, effort)?);
    }
    for rows in [10, 10_000, 1_000_000] {
        lines.extend(table(rows, effort)?);
    }
    lines.extend(hostile(effort)?);
    lines.extend(whole_call(effort)?);
    Ok(lines)
}

/// How many times faster ours is, with both behind it
fn against(group: &'static str, measure: String, ours: &[f64], other: (&str, &[f64])) -> Line {
    let (name, theirs) = other;
    let samples = [Samples::times("natsbridge", ours), Samples::times(name, theirs)];
    Line::new(group, measure, ratio(theirs, ours), FASTER).samples(samples)
}

fn codec(case: &Case, effort: Effort) -> Result<Vec<Line>, Failure> {
    let name = &case.name;
    let json = case.json()?;
    let sealed = bridge::sealed(case.values.clone())?;
    let raw: Vec<u8> = json.to_vec();
    let stamp = textbook::Stamp::new()?;
    // Bytes need no serialising, so only the envelope is encoded; other values go all the way, and are used up by it.
    let contenders = if case.is_bytes() {
        vec![plain(|| sealed.to_json()), plain(|| textbook::encode(&case.values, &stamp)), plain(|| raw.clone())]
    } else {
        vec![
            consuming(|| case.values.clone(), |values| bridge::sealed(values).map(|envelope| envelope.to_json())),
            consuming(|| case.values.clone(), |values| textbook::encode(&values, &textbook::Stamp::new()?)),
            plain(|| raw.clone()),
        ]
    };
    let encode = in_turn(effort, contenders);
    let decode = in_turn(
        effort,
        vec![plain(|| bridge::decode(&json)), plain(|| textbook::decode(&json)), plain(|| raw.clone())],
    );
    let mut lines = Vec::new();
    for (verb, samples, targets) in [("encode", encode, [7.0, 9.0]), ("decode", decode, [2.0, 3.0])] {
        let [ours, theirs, copy] = samples.as_slice() else { return Err("three contenders were measured".into()) };
        let target = match name.as_str() {
            "10 KB binary" => targets.first(),
            "400 KB binary" => targets.get(1),
            _ => None,
        };
        let target = target.copied().map(Target::AtLeast);
        let title = format!("{verb} {name}, against the textbook path");
        lines.push(against("codec", title, ours, ("textbook path", theirs)).target(target));
        if case.is_bytes() {
            let title = format!("{verb} {name}, against memcpy");
            let samples = [Samples::times("natsbridge", ours), Samples::times("memcpy of the message", copy)];
            lines.push(Line::new("memcpy", title, ratio(ours, copy), TIME).samples(samples));
        }
    }
    Ok(lines)
}

/// A table to its IPC stream and back, in memory
fn table(rows: i32, effort: Effort) -> Result<Vec<Line>, Failure> {
    let table = tables::table(rows)?;
    let stream = table.to_ipc()?;
    let limits = TableLimits::default();
    let samples = in_turn(
        effort,
        vec![
            plain(|| table.to_source()),
            plain(|| table.to_ipc()),
            plain(|| textbook::write_table(&table)),
            plain(|| natsbridge_core::Table::from_ipc(&stream, &limits)),
            plain(|| textbook::read_table(&stream)),
            plain(|| Bytes::copy_from_slice(&stream)),
        ],
    );
    let [send, write, their_write, read, their_read, copy] = samples.as_slice() else {
        return Err("six contenders were measured".into());
    };
    let name = format!("arrowtable of {} rows", thousands(rows));
    let writer = ("arrow-ipc's own writer", their_write.as_slice());
    let reader = ("arrow-ipc's own reader", their_read.as_slice());
    let mut lines = vec![
        against("tables", format!("write {name}, against arrow-ipc"), write, writer),
        against("tables", format!("read {name}, against arrow-ipc"), read, reader),
    ];
    if rows == 1_000_000 {
        let bytes = number(stream.len().try_into()?);
        let gigabytes = |seconds: &[f64]| seconds.iter().map(|seconds| bytes / seconds / 1e9).collect::<Vec<_>>();
        // As a bridge does it: from the table to what an upload reads, and from what a download brought to the table.
        let both: Vec<f64> = send.iter().zip(read).map(|(send, read)| send + read).collect();
        let speed = |measure: &str, seconds: &[f64], target| {
            let values = gigabytes(seconds);
            let line = Line::new("tables", format!("{measure} {name}"), median(&values), "GB/s");
            line.target(target).samples([Samples::new("natsbridge", "GB/s", values)])
        };
        lines.push(speed("write and read", &both, Some(Target::AtLeast(2.0))));
        // In one piece it is written with one copy into fresh memory, which is what memcpy does too.
        let title = format!("write {name} in one piece, against memcpy");
        let samples = [Samples::times("natsbridge", write), Samples::times("memcpy of the stream", copy)];
        lines.push(Line::new("tables", title, ratio(write, copy), TIME).samples(samples));
        lines.push(speed("write in one piece", write, None));
        lines.push(speed("read", read, None));
        lines.push(speed("memcpy of the stream of", copy, None));
    }
    Ok(lines)
}

/// Digits in groups of three
fn thousands(number: i32) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let groups = tail.as_bytes().chunks(3).map(String::from_utf8_lossy);
    std::iter::once(head.into())
        .filter(|head: &std::borrow::Cow<'_, str>| !head.is_empty())
        .chain(groups)
        .collect::<Vec<_>>()
        .join(",")
}

/// How long it takes to refuse a message, against reading a sound one of the same length
fn hostile(effort: Effort) -> Result<Vec<Line>, Failure> {
    let good = bridge::binary_json(10_000)?;
    let mut lines = Vec::new();
    for (name, json) in workload::hostile()? {
        let samples = in_turn(effort, vec![plain(|| bridge::decode(&json)), plain(|| bridge::decode(&good))]);
        let [refusal, reading] = samples.as_slice() else { return Err("two contenders were measured".into()) };
        let measure = format!("refuse a message: {name}, against a sound one");
        let samples = [Samples::times("refusing", refusal), Samples::times("reading", reading)];
        lines.push(Line::new("hostile", measure, ratio(refusal, reading), TIME).samples(samples));
    }
    Ok(lines)
}

/// `smartsend` and `smartreceive`, the whole calls with identifiers and time
fn whole_call(effort: Effort) -> Result<Vec<Line>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = natsbridge::SendOptions::default();
    let receiving = natsbridge::ReceiveOptions::default();
    let text = || workload::value(PayloadType::Text, 10_000).unwrap_or_else(|_| Value::from(""));
    let prepared = text();
    let (_, json) =
        runtime.block_on(natsbridge::smartsend("chat.room", [("msg", text(), PayloadType::Text)], &options))?;
    let samples = in_turn(
        effort,
        vec![
            consuming(
                || [("msg", natsbridge::Data::Value(prepared.clone()), PayloadType::Text)],
                |data| runtime.block_on(natsbridge::smartsend("chat.room", data, &options)),
            ),
            plain(|| runtime.block_on(natsbridge::smartreceive(&json, &receiving))),
        ],
    );
    let [send, receive] = samples.as_slice() else { return Err("two contenders were measured".into()) };
    let micros = |measure: &str, seconds: &[f64], target| {
        let line = Line::new("whole calls", measure, median(seconds) * 1e6, "µs").target(target);
        line.samples([Samples::times("natsbridge", seconds)])
    };
    Ok(vec![
        micros("smartsend of 10 KB text, whole call", send, Some(Target::AtMost(5.0))),
        micros("smartreceive of 10 KB text, whole call", receive, None),
    ])
}
