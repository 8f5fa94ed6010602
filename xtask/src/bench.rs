//! `cargo xtask bench`: every measure as a ratio within one run, as a table, as JSON, and as a page with plots.

mod chart;
mod charts;
mod facts;
mod page;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::failure::{Context, Failure, Outcome};
use crate::tools;
use crate::workspace::{cargo, root};

/// What was asked for
#[derive(Debug, Default)]
struct Wishes {
    quick: bool,
    json: Option<PathBuf>,
    docs: bool,
    from: Option<PathBuf>,
}

impl Wishes {
    fn read(mut args: &[&str]) -> Outcome<Self> {
        let mut wishes = Self::default();
        while let [word, rest @ ..] = args {
            args = match (*word, rest) {
                ("--quick", rest) => {
                    wishes.quick = true;
                    rest
                }
                ("--docs", rest) => {
                    wishes.docs = true;
                    rest
                }
                ("--json", [file, rest @ ..]) => {
                    wishes.json = Some(PathBuf::from(file));
                    rest
                }
                ("--from", [file, rest @ ..]) => {
                    wishes.from = Some(PathBuf::from(file));
                    rest
                }
                ("--json" | "--from", []) => return Err(Failure::new(format!("{word} needs the name of a file"))),
                _ => return Err(Failure::new(format!("bench does not know `{word}`: try `cargo xtask help`"))),
            };
        }
        Ok(wishes)
    }
}

/// Measures, or reads an earlier report, and shows it as asked
pub(crate) fn run(args: &[&str]) -> Outcome<()> {
    let wishes = Wishes::read(args)?;
    let report = match &wishes.from {
        Some(file) => read(file)?,
        None => measured(wishes.quick)?,
    };
    if let Some(file) = &wishes.json {
        let text = serde_json::to_string_pretty(&report).context(|| "cannot write the report as JSON".to_owned())?;
        fs::write(file, text + "\n").context(|| format!("cannot write {}", file.display()))?;
    }
    print!("{}", table::of(&report));
    if wishes.docs {
        page::write(&root().join("docs"), &report)?;
    }
    Ok(())
}

fn read(file: &Path) -> Outcome<Vec<Value>> {
    let text = fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).context(|| format!("{} is no report of `cargo xtask bench`", file.display()))
}

fn measured(quick: bool) -> Outcome<Vec<Value>> {
    let nats_server = tools::nats_server()?;
    let nanio = tools::nanio()?;
    let [bench, natsbridge] = programs()?;
    let began = Instant::now();
    let mut command = on_two_cores(&bench);
    if quick {
        command.arg("--quick");
    }
    command.arg("--program").arg(&natsbridge).arg("--testdata").arg(root().join("testdata"));
    let output = command
        .env("NATS_SERVER", &nats_server)
        .env("NANIO", &nanio)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context(|| format!("cannot start {}", bench.display()))?;
    if !output.status.success() {
        return Err(Failure::new("the measures were not taken: see above"));
    }
    let mut report: Vec<Value> =
        serde_json::from_slice(&output.stdout).context(|| "the benchmark printed no report".to_owned())?;
    let seconds = began.elapsed().as_secs_f64();
    let target = quick.then_some(180.0);
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

/// Builds the benchmark and the program, optimised, and says where they are
fn programs() -> Outcome<[PathBuf; 2]> {
    println!("building, optimised (the first time takes some minutes)");
    let output = cargo()
        .args(["build", "--profile", "measured", "-p", "natsbridge-bench", "-p", "natsbridge-cli", "--bins"])
        .args(["--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context(|| "cannot start cargo".to_owned())?;
    if !output.status.success() {
        return Err(Failure::new("the benchmark does not build: see above"));
    }
    let built = String::from_utf8_lossy(&output.stdout);
    let program = |name: &str| {
        built
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["target"]["name"] == name)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .ok_or_else(|| Failure::new(format!("cargo built no program {name}")))
    };
    Ok([program("natsbridge-bench")?, program("natsbridge")?])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_in_any_order_and_a_wrong_one_is_named() {
        let wishes = Wishes::read(&["--json", "a.json", "--quick"]).unwrap();
        assert!(wishes.quick && !wishes.docs && wishes.json == Some(PathBuf::from("a.json")));
        assert!(Wishes::read(&["--json"]).unwrap_err().to_string().contains("needs the name"));
        assert!(Wishes::read(&["--fast"]).unwrap_err().to_string().contains("--fast"));
    }
}
