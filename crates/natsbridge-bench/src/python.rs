//! The Python package: against the pure implementation, and by link and with tables against what was promised of it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use natsbridge::{Data, SendOptions, smartsend};
use natsbridge_core::PayloadType;
use natsbridge_testkit::process::{Output, Process};
use serde::Deserialize;

use crate::links::{FileServer, READY};
use crate::peers::script;
use crate::report::{FASTER, Line, Samples, TIME, Target};
use crate::sample::{Effort, median, ratio};
use crate::{Failure, workload};

const GROUP: &str = "python";

/// How much faster than the pure implementation each call is
const FASTER_THAN_PURE: f64 = 4.0;

/// 200 MB from path to path: the time by the program's, the memory above the interpreter's in MB, and how long the event loop is
/// held in ms
const FILE: usize = 200_000_000;
const BY_PROGRAM: f64 = 1.3;
const MEMORY: f64 = 60.0;
const HELD: f64 = 10.0;

/// A table inside its message, in times the columns' memory: sent, its base64 (4/3) is in the message and in the envelope, which are
/// both the caller's; received, the columns are what was decoded
const SENT: f64 = 2.8;
const RECEIVED: f64 = 1.1;

/// How long a transfer may take
const PATIENCE: Duration = Duration::from_secs(60);

/// What `large.py` tells of a transfer: seconds for which the event loop was held at most, and MB
#[derive(Debug, Deserialize)]
struct Figures {
    held: f64,
    memory: f64,
}

/// All of them, with a Python that has the package, and pandas
///
/// # Errors
/// What a script or a server says.
pub fn all(
    effort: Effort,
    python: &Path,
    testdata: &Path,
    nats_url: &str,
    program: &Path,
) -> Result<Vec<Line>, Failure> {
    let mut lines = against_pure(effort, python, testdata)?;
    lines.extend(by_link(effort.fewer(), python, nats_url, program)?);
    lines.extend(tables(effort.fewer(), python)?);
    Ok(lines)
}

fn against_pure(effort: Effort, python: &Path, testdata: &Path) -> Result<Vec<Line>, Failure> {
    let kinds = [
        ("binary", "10 KB binary", PayloadType::Binary, 10_000),
        ("dictionary", "400 KB dictionary", PayloadType::Dictionary, 400_000),
        ("jsontable", "400 KB jsontable", PayloadType::JsonTable, 400_000),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    for (name, _, payload_type, size) in kinds {
        let data = [("payload", Data::Value(workload::value(payload_type, size)?), payload_type)];
        let (_, json) = runtime.block_on(smartsend("chat.room", data, &SendOptions::default()))?;
        fs::write(folder.path().join(name).with_extension("json"), json)?;
    }
    let pure = testdata.join("peers/python/natsbridge.py");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..effort.jobs {
        for (module, all) in [(OsStr::new("package"), &mut ours), (pure.as_os_str(), &mut theirs)] {
            let said = script(python, "bench.py", &[module, folder.path().as_os_str()])?;
            all.push(serde_json::from_slice::<HashMap<String, [f64; 2]>>(&said)?);
        }
    }
    let mut lines = Vec::new();
    for (name, what, ..) in kinds {
        for (at, call) in ["smartsend", "smartreceive"].into_iter().enumerate() {
            let of = |rounds: &[HashMap<String, [f64; 2]>]| -> Vec<f64> {
                rounds.iter().filter_map(|times| times.get(name).map(|times| times[at])).collect()
            };
            let (ours, theirs) = (of(&ours), of(&theirs));
            let measure = format!("{call} of {what} in Python, against the pure implementation");
            let samples = [Samples::times("natsbridge", &ours), Samples::times("pure Python", &theirs)];
            let line = Line::new(GROUP, measure, ratio(&theirs, &ours), FASTER).samples(samples);
            lines.push(line.target(Some(Target::AtLeast(FASTER_THAN_PURE))));
        }
    }
    Ok(lines)
}

/// From the start of the sender to the end of the receiver, programs of both kinds in turn
fn by_link(effort: Effort, python: &Path, nats_url: &str, program: &Path) -> Result<Vec<Line>, Failure> {
    let folder = tempfile::tempdir()?;
    let files = FileServer::start(program, &folder.path().join("files"))?;
    let source = folder.path().join("film.bin");
    fs::write(&source, workload::bytes(FILE))?;
    let saved = folder.path().join("saved");
    let large = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/large.py");
    let ours = |what: &str, path: &Path| {
        let mut command = Command::new(python);
        command.arg(&large).args([what, nats_url, &files.url]).arg(path);
        command
    };
    let theirs = |args: &[&OsStr]| {
        let mut command = Command::new(program);
        command.args(args).env("NATS_URL", nats_url).env("FILESERVER_URL", &files.url);
        command
    };
    let film = format!("film=@{}", source.display());
    let (mut our_times, mut their_times, mut figures) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.jobs {
        let commands = [ours("receive", &saved), ours("send", &source)];
        let (took, said) = transfer(commands, &saved)?;
        our_times.push(took);
        for line in said.iter().filter(|line| line.starts_with('{')) {
            figures.push(serde_json::from_str::<Figures>(line)?);
        }
        let receive = ["receive", "bench.film", "--count", "1", "--save"].map(OsStr::new);
        let send = ["send", "bench.film", "--file", &film].map(OsStr::new);
        let commands = [theirs(&[&receive[..], &[saved.as_os_str()]].concat()), theirs(&send)];
        their_times.push(transfer(commands, &saved)?.0);
    }
    if figures.len() != 2 * effort.jobs {
        return Err("each transfer prints what it took on both sides".into());
    }
    let samples = [Samples::times("Python", &our_times), Samples::times("natsbridge", &their_times)];
    let time = Line::new(
        GROUP,
        "200 MB by link in Python, path to path, against the program",
        ratio(&our_times, &their_times),
        TIME,
    );
    let memory: Vec<f64> = figures.iter().map(|figures| figures.memory).collect();
    let held: Vec<f64> = figures.iter().map(|figures| figures.held * 1000.0).collect();
    let highest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    Ok(vec![
        time.target(Some(Target::AtMost(BY_PROGRAM))).samples(samples),
        Line::new(GROUP, "memory of 200 MB by link in Python, above the interpreter's", highest(&memory), "MB")
            .target(Some(Target::AtMost(MEMORY)))
            .samples([Samples::new("Python", "MB", memory)]),
        Line::new(GROUP, "event loop held while 200 MB go by link in Python", median(&held), "ms")
            .target(Some(Target::AtMost(HELD)))
            .samples([Samples::new("Python", "ms", held)]),
    ])
}

/// Starts a receiver, then a sender; the seconds until both have ended, and what they printed
fn transfer([mut receive, mut send]: [Command; 2], saved: &Path) -> Result<(f64, Vec<String>), Failure> {
    let mut receiver = Process::start(receive.stdin(Stdio::null()))?;
    receiver.next_line(READY, |line| line.text.contains("subscribed") || line.text.contains("listening on"))?;
    let began = Instant::now();
    let mut sender = Process::start(send.stdin(Stdio::null()))?;
    let ended = [sender.wait(PATIENCE)?, receiver.wait(PATIENCE)?];
    let took = began.elapsed().as_secs_f64();
    if ended.iter().any(|status| !status.is_some_and(|status| status.success())) {
        let said = [sender.unread(Output::Err), receiver.unread(Output::Err)].concat().join("; ");
        return Err(format!("a transfer of 200 MB failed: {said}").into());
    }
    // Its name depends on what the receiver makes of it.
    let path = fs::read_dir(saved)?.next().ok_or("nothing was saved")??.path();
    if fs::metadata(&path)?.len() != u64::try_from(FILE)? {
        return Err(format!("{} has not arrived whole", path.display()).into());
    }
    fs::remove_dir_all(saved)?;
    Ok((took, [sender.unread(Output::Out), receiver.unread(Output::Out)].concat()))
}

/// A `DataFrame` of 1,000,000 × 5, sent and received inside its message
fn tables(effort: Effort, python: &Path) -> Result<Vec<Line>, Failure> {
    let mut rounds = Vec::new();
    for _ in 0..effort.jobs {
        rounds.push(serde_json::from_slice::<HashMap<String, [f64; 2]>>(&script(
            python,
            "large.py",
            &[OsStr::new("table")],
        )?)?);
    }
    let calls = [
        ("send", "smartsend", Some(SENT)),
        ("receive", "smartreceive, from bytes,", Some(RECEIVED)),
        ("receive_text", "smartreceive, from str,", None),
        ("to_pandas", "to_pandas", None),
    ];
    let lines = calls.into_iter().flat_map(|(name, call, most)| {
        let of = |at: usize| rounds.iter().filter_map(|round| round.get(name).map(|values| values[at])).collect();
        let (seconds, memory): (Vec<f64>, Vec<f64>) = (of(0), of(1));
        let measure = format!("{call} of a DataFrame of 1,000,000 × 5 in Python");
        [
            Line::new(GROUP, format!("{measure}, time"), median(&seconds), "s")
                .samples([Samples::times("Python", &seconds)]),
            Line::new(GROUP, format!("{measure}, memory"), median(&memory), "× the columns")
                .target(most.map(Target::AtMost))
                .samples([Samples::new("Python", "× the columns", memory)]),
        ]
    });
    Ok(lines.collect())
}
