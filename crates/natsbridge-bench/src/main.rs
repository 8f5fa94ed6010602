//! The program behind `cargo xtask bench`: takes every measure and prints the report's JSON.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to its caller by printing")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use natsbridge_bench::job::Job;
use natsbridge_bench::sample::Effort;
use natsbridge_bench::{Failure, bounds, large, live, micro, peers, python, report, typed};
use natsbridge_testkit::nats_server::NatsServer;
use serde_json::Value as Json;

const USAGE: &str = "\
natsbridge-bench [--quick] [--only STEP] --program PATH --testdata DIR [--python PATH]
(cargo xtask bench starts it)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["job", job] => perform(job),
        args => Wishes::read(args).and_then(|wishes| all(&wishes)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What was asked for
#[derive(Debug, Default)]
struct Wishes<'a> {
    quick: bool,
    only: Option<&'a str>,
    program: &'a str,
    testdata: &'a str,
    python: Option<&'a str>,
}

impl<'a> Wishes<'a> {
    fn read(mut args: &[&'a str]) -> Result<Self, Failure> {
        let mut wishes = Self::default();
        while let [word, rest @ ..] = args {
            args = match (*word, rest) {
                ("--quick", rest) => {
                    wishes.quick = true;
                    rest
                }
                ("--only", [step, rest @ ..]) => {
                    wishes.only = Some(step);
                    rest
                }
                ("--program", [path, rest @ ..]) => {
                    wishes.program = path;
                    rest
                }
                ("--testdata", [path, rest @ ..]) => {
                    wishes.testdata = path;
                    rest
                }
                ("--python", [path, rest @ ..]) => {
                    wishes.python = Some(path);
                    rest
                }
                _ => return Err(USAGE.into()),
            };
        }
        if let Some(unknown) = wishes.only.filter(|step| !STEPS.contains(step)) {
            return Err(format!("there is no step {unknown}; there are {}", STEPS.join(", ")).into());
        }
        if wishes.program.is_empty() || wishes.testdata.is_empty() { Err(USAGE.into()) } else { Ok(wishes) }
    }
}

/// In the order in which they are taken
const STEPS: [&str; 9] =
    ["codec", "typed", "languages", "python", "messages", "links", "memory", "bounds", "allocations"];

fn perform(job: &str) -> Result<(), Failure> {
    let job: Job = serde_json::from_str(job)?;
    println!("{}", serde_json::to_string(&job.perform()?)?);
    Ok(())
}

/// Every measure, or those of one step; those of the Python package where a Python that has it is named
fn all(wishes: &Wishes<'_>) -> Result<(), Failure> {
    let effort = if wishes.quick { Effort::QUICK } else { Effort::FULL };
    let [program, testdata] = [wishes.program, wishes.testdata].map(Path::new);
    let server = NatsServer::builder().jetstream().start()?;
    let url = server.url();
    let mut note = |text: String| eprintln!("        {text}");
    let began = Instant::now();
    let mut report: Vec<Json> = Vec::new();
    for name in STEPS.into_iter().filter(|name| wishes.only.is_none_or(|only| only == *name)) {
        eprintln!("{:>4.0} s  {name}", began.elapsed().as_secs_f64());
        let lines = match (name, wishes.python) {
            ("codec", _) => micro::all(effort)?,
            ("typed", _) => typed::all(effort)?,
            ("languages", _) => peers::all(effort, testdata, &mut note)?,
            ("python", Some(python)) => python::all(effort, python.as_ref(), testdata, &url, program)?,
            ("messages", _) => live::messages(effort, &url)?,
            ("links", _) => live::large(effort, &url, program, &mut note)?,
            ("memory", _) => large::all(&mut note)?,
            ("bounds", _) => bounds::all(&url, program)?,
            ("allocations", _) => {
                report.extend(allocations(&url)?);
                Vec::new()
            }
            _ => Vec::new(),
        };
        report.extend(lines.iter().map(report::Line::to_json));
    }
    eprintln!("{:>4.0} s  done", began.elapsed().as_secs_f64());
    report.sort_by_key(|line| !line["unit"].as_str().is_some_and(|unit| unit.starts_with('×')));
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
