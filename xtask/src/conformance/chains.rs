//! Longer ways: a data frame through three languages and back, its rows through a browser.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};

use super::cases;
use super::matrix::Cell;
use super::stage::{Stage, arrival};
use crate::peers::Talk;
use crate::vectors::judge_parts;
use crate::workspace::root;

/// Rows of the tables
const ROWS: usize = 100_000;

/// How long one hop of so many rows may take
const PATIENCE: Duration = Duration::from_secs(60);

/// The ways of a data frame from pandas and back, and how each is called
const FRAMES: [(&[&str], &str); 4] = [
    (&["rust", "node", "rust"], "100,000 rows pandas, Rust, Node, Rust, pandas"),
    (&["python"], "100,000 rows pandas, the package, pandas"),
    (&["julia"], "100,000 rows pandas, Julia, pandas"),
    (&["dart"], "100,000 rows pandas, Dart, pandas"),
];

/// Tries each way whose languages are there, and notes it in the cell of its first two
pub(super) fn run(stage: &mut Stage, cells: &mut [Cell]) -> Result<()> {
    let rows = json!([{"name": "rows", "type": "jsontable", "value": {"json": cases::items(ROWS)}}]);
    let there =
        |stage: &Stage, names: &[&str]| names.iter().all(|name| stage.peers.iter().any(|peer| peer.name == *name));
    let mut note = |sender: &str, receiver: &str, case: &str, outcome: Result<()>| {
        if let Some(cell) = cells.iter_mut().find(|cell| cell.sender == sender && cell.receiver == receiver) {
            cell.note(case, outcome);
        }
    };
    for (way, case) in FRAMES {
        let has_arrow = |name: &&str| stage.peers.iter().any(|peer| peer.name == *name && peer.has_arrow());
        if !way.iter().chain(&["python-pure"]).all(has_arrow) {
            continue;
        }
        let began = Instant::now();
        let outcome = frame(stage, way);
        println!("{case}: {:.1} s", began.elapsed().as_secs_f64());
        note("python-pure", way.first().unwrap_or(&"rust"), case, outcome);
    }
    if there(stage, &["rust", "browser"]) {
        let outcome = hop(stage, "rust", "browser", &rows).and_then(|rows| hop(stage, "browser", "rust", &rows));
        note("rust", "browser", "100,000 rows as jsontable, and back", outcome.map(drop));
    }
    Ok(())
}

/// A data frame that pandas made goes through these languages and back, and is compared by pandas
fn frame(stage: &mut Stage, way: &[&'static str]) -> Result<()> {
    let python = stage.peers.iter().find(|peer| peer.name == "python-pure").cloned();
    let python = python.ok_or_else(|| anyhow!("no Python"))?;
    let (Some(first), Some(last)) = (way.first(), way.last()) else { bail!("no way") };
    let script = root().join("xtask/src/conformance/pandas_chain.py");
    let mut command = python.script(&script);
    command.args(["--nats", &stage.nats, "--files", &stage.files, "--rows", &ROWS.to_string()]);
    let mut pandas = Talk::start("pandas", &mut command)?;
    pandas.hear(PATIENCE, |line| (line["ready"] == true).then_some(()))?;
    pandas.tell(&json!({"to": format!("conform.{first}")}))?;
    let msg_id = pandas.hear(PATIENCE, |line| line.get("msg_id").cloned())?;
    let mut parts = received(stage, first, &msg_id)?;
    for (sender, receiver) in way.iter().zip(way.iter().skip(1)) {
        parts = hop(stage, sender, receiver, &parts)?;
    }
    send(stage, last, "conform.pandas", &parts)?;
    let verdict = pandas.hear(PATIENCE, |line| line.get("equal").cloned())?;
    pandas.end();
    if verdict == true { Ok(()) } else { Err(anyhow!("pandas says: {verdict}")) }
}

/// Sends parts from one peer to another and returns what arrived, which must be the same
fn hop(stage: &mut Stage, sender: &'static str, receiver: &'static str, parts: &Value) -> Result<Value> {
    let msg_id = send(stage, sender, &format!("conform.{receiver}"), parts)?;
    let found = received(stage, receiver, &msg_id)?;
    let mut wanted = parts.clone();
    for part in wanted.as_array_mut().into_iter().flatten() {
        part["transport"] = "link".into();
    }
    judge_parts(&wanted, &found).map_err(|failure| anyhow!("{sender} to {receiver}: {failure:#}"))?;
    Ok(found)
}

fn send(stage: &mut Stage, sender: &'static str, to: &str, parts: &Value) -> Result<Value> {
    let id = format!("{sender} to {to}");
    let talk = stage.talk(sender)?;
    talk.tell(&json!({"do": "send", "id": id, "to": to, "parts": parts}))?;
    let done = talk.hear(PATIENCE, |line| (line["done"] == id.as_str()).then(|| line.clone()))?;
    match done["error"].as_str() {
        Some(error) => Err(anyhow!("{id}: refused with `{error}`")),
        None => Ok(done["msg_id"].clone()),
    }
}

fn received(stage: &mut Stage, receiver: &'static str, msg_id: &Value) -> Result<Value> {
    let received = stage.talk(receiver)?.hear(PATIENCE, |line| arrival(line, msg_id))?;
    match received["error"].as_str() {
        Some(error) => Err(anyhow!("{receiver} refuses it with `{error}`")),
        None => Ok(received["parts"].clone()),
    }
}
