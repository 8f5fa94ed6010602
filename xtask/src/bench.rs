//! `cargo xtask bench`: every measure as a ratio within one run, as a table, as JSON, and as a page with plots.

mod chart;
mod charts;
mod facts;
mod page;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use serde_json::{Value, json};

use crate::workspace::{build, root};
use crate::{peers, tools};

/// What was asked for
#[derive(Debug, clap::Args)]
pub(crate) struct Wishes {
    /// Three minutes instead of a quarter of an hour
    #[arg(long)]
    quick: bool,
    /// One step alone: codec, typed, languages, python, messages, links, memory, bounds or allocations
    #[arg(long, conflicts_with = "docs")]
    only: Option<String>,
    /// Where the report goes, with every sample
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write docs/benchmarks.md and its plots
    #[arg(long)]
    docs: bool,
    /// Show an earlier report
    #[arg(long)]
    from: Option<PathBuf>,
}

/// Measures, or reads an earlier report, and shows it as asked
pub(crate) fn run(wishes: &Wishes) -> Result<()> {
    let report = match &wishes.from {
        Some(file) => read(file)?,
        None => measured(wishes)?,
    };
    if let Some(file) = &wishes.json {
        let text = serde_json::to_string_pretty(&report).context("cannot write the report as JSON")?;
        fs::write(file, text + "\n")?;
    }
    print!("{}", table::of(&report));
    if wishes.docs {
        page::write(&root().join("docs"), &report)?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file)?;
    serde_json::from_str(&text).with_context(|| format!("{} is no report of `cargo xtask bench`", file.display()))
}

fn measured(wishes: &Wishes) -> Result<Vec<Value>> {
    let quick = wishes.quick;
    let nats_server = tools::NATS_SERVER.locate()?;
    let nanio = tools::NANIO.locate()?;
    println!("building, optimised (the first time takes some minutes)");
    // Together, so that both have the same features of what they share.
    let words = ["--profile", "measured", "-p", "natsbridge-bench", "-p", "natsbridge-cli", "--bins"];
    let (bench, natsbridge) = (build(&words, "natsbridge-bench")?, build(&words, "natsbridge")?);
    let of_python = wishes.only.as_ref().is_none_or(|step| step == "python");
    let python = of_python.then(|| peers::optimised_python("measured"));
    let began = Instant::now();
    let mut command = on_two_cores(&bench);
    if quick {
        command.arg("--quick");
    }
    if let Some(step) = &wishes.only {
        command.args(["--only", step]);
    }
    command.arg("--program").arg(&natsbridge).arg("--testdata").arg(root().join("testdata"));
    match python {
        Some(Ok(python)) => drop(command.arg("--python").arg(python)),
        Some(Err(error)) => println!("the Python package is left out: {error:#}"),
        None => {}
    }
    let output = command
        .env("NATS_SERVER", &nats_server)
        .env("NANIO", &nanio)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", bench.display()))?;
    if !output.status.success() {
        bail!("the measures were not taken: see above");
    }
    let mut report: Vec<Value> = serde_json::from_slice(&output.stdout).context("the benchmark printed no report")?;
    let seconds = began.elapsed().as_secs_f64();
    let target = (quick && wishes.only.is_none()).then_some(180.0);
    report.push(json!({
        "measure": if quick { "the whole run, quick" } else { "the whole run" },
        "value": seconds,
        "unit": "s",
        "target": target,
        "met": target.map(|target| seconds <= target),
        "bound": target.map(|_| "at most"),
        "group": "run",
        "samples": [],
        "facts": facts::gather(&nats_server, quick),
    }));
    Ok(report)
}

/// The targets are set for two cores; on a larger Linux machine everything is kept on the first two
fn on_two_cores(program: &Path) -> Command {
    let more = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 2);
    let taskset = || Command::new("taskset").args(["-c", "0,1", "true"]).status().is_ok_and(|status| status.success());
    if more && taskset() {
        let mut command = Command::new("taskset");
        command.args(["-c", "0,1"]).arg(program);
        return command;
    }
    Command::new(program)
}
