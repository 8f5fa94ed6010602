//! The measures over real servers: jobs of both sides in turn, each in a process of its own.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::job::{Job, Outcome, Scenario, Side};
use crate::links::{self, FileServer};
use crate::report::{FASTER, Line, SPEED, Samples, TIME, Target, size};
use crate::sample::{Effort, median, number, quantile, ratio};
use crate::{Failure, nats, workload};

/// Both sides' rounds: values by round, and peak memory in MiB
struct Rounds {
    ours: Vec<Vec<f64>>,
    other: Vec<Vec<f64>>,
    our_peak: Vec<f64>,
    other_peak: Vec<f64>,
}

impl Rounds {
    fn take(effort: Effort, job: &Job) -> Result<Self, Failure> {
        let mut rounds = Self { ours: Vec::new(), other: Vec::new(), our_peak: Vec::new(), other_peak: Vec::new() };
        for _ in 0..effort.jobs {
            for side in [Side::Natsbridge, Side::Other] {
                let Outcome { values, peak_kib } = Job { side, ..job.clone() }.spawn()?;
                let (all, peaks) = match side {
                    Side::Natsbridge => (&mut rounds.ours, &mut rounds.our_peak),
                    Side::Other => (&mut rounds.other, &mut rounds.other_peak),
                };
                all.push(values);
                peaks.extend(peak_kib.map(|kib| number(kib) / 1024.0));
            }
        }
        Ok(rounds)
    }

    /// One number for each round of either side
    fn reduced(&self, reduce: impl Fn(&[f64]) -> f64) -> [Vec<f64>; 2] {
        [&self.ours, &self.other].map(|rounds| rounds.iter().map(|round| reduce(round)).collect())
    }

    fn memory(&self, name: &str, other: &str) -> Option<Line> {
        let samples = [("natsbridge", &self.our_peak), (other, &self.other_peak)];
        let samples = samples.map(|(of, values)| Samples::new(of, "MiB", values.clone()));
        let value = median(&self.our_peak);
        let name = format!("{name} ({other}: {:.0} MiB)", median(&self.other_peak));
        value.is_finite().then(|| Line::new("peak memory", name, value, "MiB").samples(samples))
    }
}

const RAW: &str = "raw async-nats";

/// Throughput, latency, acknowledged delivery and several publishers
///
/// # Errors
/// What a job says.
pub fn messages(effort: Effort, nats_url: &str) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    for (scenario, targets) in [
        (Scenario::Publish, [None, Some(0.80), Some(0.80), Some(0.85)]),
        (Scenario::Receive, [None, Some(0.65), Some(0.75), Some(0.85)]),
    ] {
        // Half a second to one for each side of a full run's rounds: in shorter ones it counts that memory is new to the
        // process.
        for ((bytes, target), count) in nats::SIZES.into_iter().zip(targets).zip([150_000, 120_000, 36_000, 900]) {
            let job =
                Job { size: bytes, count: count * effort.volume, ..Job::new(scenario, Side::Natsbridge, nats_url) };
            let verb = scenario.verb();
            let effort = if target.is_some() { effort } else { effort.fewer() };
            let line = throughput(effort, &job, &format!("{verb} {}", size(bytes)), &mut lines)?;
            lines.push(line.target(target.map(Target::AtLeast)));
        }
    }
    // What is left of the speed when nothing but the envelope is added.
    let job = Job::new(Scenario::Written, Side::Natsbridge, nats_url);
    let job = Job { size: 1_000, count: 120_000 * effort.volume, ..job };
    let line = throughput(effort.fewer(), &job, "publish 1 KB, written by core alone", &mut lines)?;
    lines.push(line);
    // With few messages on their way the processor is idle in between; the target stands for that as well.
    let job = Job::new(Scenario::Publish, Side::Natsbridge, nats_url);
    let job = Job { size: 1_000, count: 120_000 * effort.volume, ahead: Some(1_024), ..job };
    let line = throughput(effort, &job, "publish 1 KB, at most 1,024 messages on their way", &mut lines)?;
    lines.push(line.target(Some(Target::AtLeast(0.80))));
    // As many in a quick run: the figure is set for this number.
    let job = Job { size: 1_000, count: 100_000, ..Job::new(Scenario::Through, Side::Natsbridge, nats_url) };
    let line = throughput(effort, &job, "send and receive 100,000 messages of 1 KB", &mut lines)?;
    lines.push(line.target(Some(Target::AtLeast(0.6))));
    for publishers in [8, 64] {
        let job = Job::new(Scenario::Publish, Side::Natsbridge, nats_url);
        let job = Job { size: 1_000, count: 120_000 * effort.volume, publishers, ..job };
        let name = format!("publish 1 KB from {publishers} connections");
        let line = throughput(effort.fewer(), &job, &name, &mut lines)?;
        lines.push(line);
    }
    for (bytes, count) in nats::SIZES.into_iter().zip([4_000, 4_000, 3_000, 400]) {
        let job = Job::new(Scenario::Latency, Side::Natsbridge, nats_url);
        let job = Job { size: bytes, count: count * effort.volume, ..job };
        latency(effort.fewer(), &job, &format!("latency of {}", size(bytes)), RAW, None, &mut lines)?;
    }
    let job =
        Job { size: 1_000, count: 2_000 * effort.volume, ..Job::new(Scenario::Deliver, Side::Natsbridge, nats_url) };
    latency(effort, &job, "acknowledged delivery of 1 KB", "raw request-reply", Some(1.3), &mut lines)?;
    Ok(lines)
}

fn throughput(effort: Effort, job: &Job, name: &str, lines: &mut Vec<Line>) -> Result<Line, Failure> {
    let rounds = Rounds::take(effort, job)?;
    let [ours, other] = rounds.reduced(median);
    lines.extend(rounds.memory(name, RAW));
    let line = Line::new("throughput", format!("{name}, against {RAW}"), ratio(&ours, &other), SPEED);
    Ok(line.samples([Samples::new("natsbridge", "messages/s", ours), Samples::new(RAW, "messages/s", other)]))
}

fn latency(
    effort: Effort,
    job: &Job,
    name: &str,
    other: &'static str,
    target: Option<f64>,
    lines: &mut Vec<Line>,
) -> Result<(), Failure> {
    let rounds = Rounds::take(effort, job)?;
    for (quantile_name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let [ours, theirs] = rounds.reduced(|values| {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            quantile(&sorted, share)
        });
        let line =
            Line::new("latency", format!("{name}, {quantile_name}, against {other}"), ratio(&ours, &theirs), TIME);
        let target = target.filter(|_| share == 0.5).map(Target::AtMost);
        lines.push(line.target(target).samples([Samples::times("natsbridge", &ours), Samples::times(other, &theirs)]));
    }
    lines.extend(rounds.memory(name, other));
    Ok(())
}

/// Large payloads by link against the Object Store, and single transfers against curl
///
/// # Errors
/// What a job or a server says.
pub fn large(
    effort: Effort,
    nats_url: &str,
    program: &Path,
    note: &mut dyn FnMut(String),
) -> Result<Vec<Line>, Failure> {
    let folder = tempfile::tempdir()?;
    let stored = folder.path().join("stored");
    std::fs::create_dir(&stored)?;
    let server = FileServer::start(program, &stored)?;
    let mut lines = Vec::new();
    for (bytes, count) in links::SIZES.into_iter().zip([20, 5, 1]) {
        let mut job = Job::new(Scenario::Link, Side::Natsbridge, nats_url);
        job.files_url.clone_from(&server.url);
        (job.size, job.count) = (bytes, count);
        let rounds = Rounds::take(effort, &job)?;
        let [ours, other] = rounds.reduced(median);
        let name = size(bytes);
        let target = (bytes >= 10_000_000).then_some(Target::AtLeast(2.0));
        let line = Line::new("links", format!("{name} by link, against Object Store"), ratio(&other, &ours), FASTER);
        lines.push(
            line.target(target).samples([Samples::times("natsbridge", &ours), Samples::times("Object Store", &other)]),
        );
        lines.extend(rounds.memory(&format!("{name} by link"), "Object Store"));
    }
    if links::has_curl() {
        lines.extend(transfers(effort, &server, folder.path(), &stored)?);
    } else {
        note("curl is not installed: no comparison with it".to_owned());
    }
    if let Some(kib) = server.peak_kib() {
        let name = "embedded file server, after all transfers";
        lines.push(Line::new("peak memory", name, number(kib) / 1024.0, "MiB"));
    }
    Ok(lines)
}

fn transfers(effort: Effort, server: &FileServer, folder: &Path, stored: &Path) -> Result<Vec<Line>, Failure> {
    let bytes = 100_000_000;
    let file = folder.join("payload.bin");
    let payload = workload::bytes(bytes);
    std::fs::write(&file, &payload)?;
    let mut job = Job::new(Scenario::Transfer, Side::Natsbridge, "");
    job.files_url.clone_from(&server.url);
    job.file = file.display().to_string();
    let [mut up, mut down, mut curl_up, mut curl_down, mut digest] = [const { Vec::new() }; 5];
    let mut peaks = Vec::new();
    for _ in 0..effort.jobs {
        let Outcome { values, peak_kib } = job.spawn()?;
        up.extend(values.first());
        down.extend(values.get(1));
        peaks.extend(peak_kib.map(|kib| number(kib) / 1024.0));
        let [uploading, downloading] = links::curl(&file, &server.url, stored)?;
        curl_up.push(uploading);
        curl_down.push(downloading);
        let began = std::time::Instant::now();
        std::hint::black_box(Sha256::digest(&payload));
        digest.push(began.elapsed().as_secs_f64());
    }
    let slower = if median(&curl_down) >= median(&digest) { &curl_down } else { &digest };
    let ours = |seconds: &[f64]| Samples::times("natsbridge", seconds);
    let curl = |seconds: &[f64]| Samples::times("curl", seconds);
    let name = size(bytes);
    let mut lines = vec![
        Line::new("links", format!("upload of {name}, against curl"), ratio(&curl_up, &up), SPEED)
            .target(Some(Target::AtLeast(0.9)))
            .samples([ours(&up), curl(&curl_up)]),
        Line::new("links", format!("download of {name}, against curl or SHA-256"), ratio(slower, &down), SPEED)
            .target(Some(Target::AtLeast(0.9)))
            .samples([ours(&down), curl(&curl_down), Samples::times("SHA-256 alone", &digest)]),
    ];
    if !peaks.is_empty() {
        let line =
            Line::new("peak memory", format!("upload and download of {name}, file to file"), median(&peaks), "MiB");
        lines.push(line.samples([Samples::new("natsbridge", "MiB", peaks)]));
    }
    Ok(lines)
}
