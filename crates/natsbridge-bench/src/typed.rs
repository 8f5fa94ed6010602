//! Values of the program's own types: rows and dictionaries to bytes and back, and rows out of an Arrow table.

use std::time::Instant;

use natsbridge_core::{Part, PayloadType, Table, TableLimits};
use serde::{Deserialize, Serialize};

use crate::job::{Job, Outcome, Scenario, Side, now_kib, peak_kib};
use crate::report::{Line, Samples, TIME, Target, size};
use crate::sample::{Effort, in_turn, median, number, plain, ratio};
use crate::{Failure, tables};

/// Rows of about 45 bytes of JSON: 9 KB, 480 KB and 4.9 MB
const ROWS: [i64; 3] = [200, 10_000, 100_000];

/// Rows of the Arrow table that becomes a list of structs
const TABLE_ROWS: i32 = 2_000_000;

/// What writing may take by `serde_json::to_vec`, and reading by `from_slice`
const WRITE: f64 = 1.15;
const READ: f64 = 1.1;

/// What reading the table may take, in seconds, and in MB above the rows themselves
const SECONDS: f64 = 0.6;
const MEGABYTES: f64 = 250.0;

#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    time: i64,
    volts: f64,
    ok: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Log {
    station: String,
    readings: Vec<Reading>,
}

/// A row of [`tables::table`]
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "most fields are read from the table for the time that it takes, and then no more")]
struct TableRow {
    channel: i32,
    volts: f64,
    celsius: f64,
    count: i64,
    time: String,
}

/// All of them
///
/// # Errors
/// What core or `serde_json` say of their own output.
pub fn all(effort: Effort) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for rows in ROWS {
        let readings = || (0..rows).map(|n| Reading { time: 1_700_000_000 + n, volts: 3.25, ok: n % 3 == 0 }).collect();
        lines.extend(json(effort, "rows", PayloadType::JsonTable, &readings())?);
        let log = Log { station: "north".to_owned(), readings: readings() };
        lines.extend(json(effort, "dictionary", PayloadType::Dictionary, &log)?);
    }
    lines.extend(table_lines(effort)?);
    Ok(lines)
}

fn json<T>(effort: Effort, name: &str, payload_type: PayloadType, value: &T) -> Result<[Line; 2], Failure>
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    let bytes = serde_json::to_vec(value)?;
    let part = Part::serialize(name, payload_type, value)?;
    let samples = in_turn(
        effort,
        vec![
            plain(|| Part::serialize(name, payload_type, value)),
            plain(|| serde_json::to_vec(value)),
            plain(|| part.deserialize::<T>()),
            plain(|| serde_json::from_slice::<T>(&bytes)),
        ],
    );
    let [write, their_write, read, their_read] = samples.as_slice() else {
        return Err("four contenders were measured".into());
    };
    let against = |measure: String, ours: &[f64], other: &str, theirs: &[f64], target| {
        let samples = [Samples::times("natsbridge", ours), Samples::times(other, theirs)];
        Line::new("typed", measure, ratio(ours, theirs), TIME).target(Some(Target::AtMost(target))).samples(samples)
    };
    let of = format!("{name} of {}", size(bytes.len()));
    Ok([
        against(format!("{of}, against to_vec"), write, "serde_json::to_vec", their_write, WRITE),
        against(format!("get {of}, against from_slice"), read, "serde_json::from_slice", their_read, READ),
    ])
}

/// Each round in a process of its own, so that its peak memory is its own as well
fn table_lines(effort: Effort) -> Result<[Line; 2], Failure> {
    let job = Job { size: usize::try_from(TABLE_ROWS)?, ..Job::new(Scenario::TableRows, Side::Natsbridge, "") };
    let (mut seconds, mut megabytes) = (Vec::new(), Vec::new());
    for _ in 0..effort.jobs {
        let Outcome { values, .. } = job.spawn()?;
        let [took, above] = *values.as_slice() else { return Err("a job gives time and memory".into()) };
        seconds.push(took);
        megabytes.push(above);
    }
    let line = |what: &str, values: Vec<f64>, unit, target| {
        let measure = format!("get rows of 2,000,000 × 5 from an arrowtable, {what}");
        let line = Line::new("typed", measure, median(&values), unit).target(Some(Target::AtMost(target)));
        line.samples([Samples::new("natsbridge", unit, values)])
    };
    Ok([line("time", seconds, "s", SECONDS), line("memory above the rows themselves", megabytes, "MB", MEGABYTES)])
}

/// Seconds from the IPC bytes to a list of structs, and the peak of memory in MB beside the bytes and the rows
pub(crate) fn table_rows(job: &Job) -> Result<Vec<f64>, Failure> {
    let stream = tables::table(job.size.try_into()?)?.to_ipc()?;
    let before = now_kib("self").ok_or("the system does not tell memory")?;
    let began = Instant::now();
    let rows: Vec<TableRow> = Table::from_ipc(&stream, &TableLimits::default())?.deserialize()?;
    let seconds = began.elapsed().as_secs_f64();
    let texts: usize = rows.iter().map(|row| row.time.len()).sum();
    let own = number((rows.len() * size_of::<TableRow>() + texts).try_into()?);
    let peak = peak_kib("self").ok_or("the system does not tell memory")?;
    Ok(vec![seconds, (number(peak.saturating_sub(before)) * 1024.0 - own) / 1e6])
}
