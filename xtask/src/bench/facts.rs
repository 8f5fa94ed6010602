//! Where a run took place: machine, versions, commit, date.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use crate::process;
use crate::workspace::{cargo, root};

/// Facts by name, in the order in which a reader wants them; what can't be found out is left out
pub(crate) fn gather(nats_server: &Path, quick: bool) -> Map<String, Value> {
    let facts = [
        ("date", first_line(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))),
        ("kind", Some(if quick { "quick run" } else { "full run" }.to_owned())),
        ("to repeat it", Some(format!("`cargo xtask bench{} --docs`", if quick { " --quick" } else { "" }))),
        ("commit", commit()),
        ("processor", processor()),
        ("cores", std::thread::available_parallelism().ok().map(|cores| cores.to_string())),
        ("memory", memory()),
        ("system", first_line(Command::new("uname").args(["-srm"]))),
        ("rustc", first_line(Command::new("rustc").arg("--version"))),
        ("async-nats", locked("async-nats")),
        ("arrow-ipc", locked("arrow-ipc")),
        ("nats-server", first_line(Command::new(nats_server).arg("--version"))),
        ("curl", first_line(Command::new("curl").arg("--version")).map(|line| words(&line, 2))),
        ("Python", first_line(Command::new("python3").arg("--version"))),
        ("Node", first_line(Command::new("node").arg("--version"))),
    ];
    facts.into_iter().filter_map(|(name, fact)| Some((name.to_owned(), Value::from(fact?)))).collect()
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = process::output(command).ok()?;
    output.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

fn words(line: &str, count: usize) -> String {
    line.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

fn commit() -> Option<String> {
    let git = |args: &[&str]| process::output(Command::new("git").current_dir(root()).args(args)).ok();
    let commit = git(&["rev-parse", "--short", "HEAD"])?.trim().to_owned();
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?.lines().count();
    Some(if changed == 0 { commit } else { format!("{commit}, with changes in {changed} files") })
}

/// The version in the lock file
fn locked(package: &str) -> Option<String> {
    let tree =
        process::output(cargo().args(["tree", "--locked", "-p", package, "--depth", "0", "--prefix", "none"])).ok()?;
    Some(words(tree.lines().next()?, 2))
}

fn processor() -> Option<String> {
    let info = fs_err::read_to_string("/proc/cpuinfo").ok()?;
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'))?.1.trim().to_owned();
    Some(name)
}

fn memory() -> Option<String> {
    let info = fs_err::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.split_whitespace().next()?.parse().ok()?;
    Some(format!("{} GiB", kib.div_ceil(1_048_576)))
}
