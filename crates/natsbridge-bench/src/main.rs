//! The program behind `cargo xtask bench`: takes every measure and prints the report's JSON.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to its caller by printing")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use natsbridge_bench::job::Job;
use natsbridge_bench::sample::Effort;
use natsbridge_bench::{Failure, bounds, large, live, micro, peers, report, typed};
use natsbridge_testkit::nats_server::NatsServer;
use serde_json::Value as Json;

const USAGE: &str = "natsbridge-bench [--quick] --program PATH --testdata DIR   (cargo xtask bench starts it)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["job", job] => perform(job),
        ["--quick", "--program", program, "--testdata", testdata] => all(Effort::QUICK, program, testdata),
        ["--program", program, "--testdata", testdata] => all(Effort::FULL, program, testdata),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn perform(job: &str) -> Result<(), Failure> {
    let job: Job = serde_json::from_str(job)?;
    println!("{}", serde_json::to_string(&job.perform()?)?);
    Ok(())
}

fn all(effort: Effort, program: &str, testdata: &str) -> Result<(), Failure> {
    let began = Instant::now();
    let step = |name: &str| eprintln!("{:>4.0} s  {name}", began.elapsed().as_secs_f64());
    let mut note = |text: String| eprintln!("        {text}");
    let server = NatsServer::builder().jetstream().start()?;

    step("codec");
    let mut lines = micro::all(effort)?;
    step("values of the program's own types");
    lines.extend(typed::all(effort)?);
    step("other languages");
    lines.extend(peers::all(effort, Path::new(testdata), &mut note)?);
    step("messages over NATS");
    lines.extend(live::messages(effort, &server.url())?);
    step("large payloads");
    lines.extend(live::large(effort, &server.url(), Path::new(program), &mut note)?);
    step("memory of large files");
    lines.extend(large::all(&mut note)?);
    step("what strangers can make it hold");
    lines.extend(bounds::all(&server.url(), Path::new(program))?);
    step("allocations");
    let mut report: Vec<Json> = lines.iter().map(report::Line::to_json).collect();
    report.extend(allocations(&server.url())?);
    report.sort_by_key(|line| !line["unit"].as_str().is_some_and(|unit| unit.starts_with('×')));
    step("done");
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Counted in a program of their own, since counting takes an allocator that is slower than the system's
fn allocations(nats_url: &str) -> Result<Vec<Json>, Failure> {
    let program: PathBuf = std::env::current_exe()?.with_file_name("natsbridge-allocations");
    let output = Command::new(&program).arg(nats_url).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} failed: see above", program.display()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
