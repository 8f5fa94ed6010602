//! Every case from every sender to every receiver.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};

use super::cases::{Case, Kind, Wanted};
use super::stage::{Stage, arrival};
use crate::vectors::judge_parts;
use crate::vectors::run::reasons;

/// What became of the cases between two peers
#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) sender: &'static str,
    pub(super) receiver: &'static str,
    pub(super) passed: usize,
    /// Case and what is wrong
    pub(super) failed: Vec<(String, String)>,
    /// Case and why it can't be tried
    pub(super) skipped: Vec<(String, String)>,
    /// Case and how long it took
    took: Vec<(&'static str, Duration)>,
}

impl Cell {
    pub(super) fn json(&self) -> Value {
        json!({
            "sender": self.sender, "receiver": self.receiver, "passed": self.passed,
            "failed": reasons(&self.failed), "skipped": reasons(&self.skipped),
            "seconds": self.took.iter().map(|(case, took)| (*case, took.as_secs_f64())).collect::<BTreeMap<_, _>>(),
        })
    }

    /// Notes the outcome of a case
    pub(super) fn note(&mut self, case: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(failure) => self.failed.push((case.to_owned(), format!("{failure:#}"))),
        }
    }
}

/// Runs these cases between all peers; what fails is in the cells
pub(super) fn run(stage: &mut Stage, cases: &[Case]) -> Result<Vec<Cell>> {
    let peers = stage.peers.clone();
    let mut cells = Vec::new();
    let mut id = 0;
    for sender in &peers {
        for receiver in &peers {
            let mut cell = Cell { sender: sender.name, receiver: receiver.name, ..Cell::default() };
            for case in cases {
                crate::interrupt::check()?;
                id += 1;
                match case.wanted(sender, receiver) {
                    Wanted::Skip(why) => cell.skipped.push((case.name.to_owned(), why.to_owned())),
                    wanted => {
                        let began = Instant::now();
                        let outcome = attempt(stage, case, &wanted, (sender.name, receiver.name), id);
                        cell.took.push((case.name, began.elapsed()));
                        cell.note(case.name, outcome);
                    }
                }
            }
            cells.push(cell);
        }
    }
    Ok(cells)
}

fn attempt(stage: &mut Stage, case: &Case, wanted: &Wanted, pair: (&'static str, &'static str), id: u64) -> Result<()> {
    let (sender, receiver) = pair;
    let order = if case.kind == Kind::Send { "send" } else { "request" };
    let (to, patience) = (stage.subject(receiver), stage.patience());
    // Both run before anything is sent to them.
    stage.talk(receiver)?;
    let talk = stage.talk(sender)?;
    talk.tell(&json!({"do": order, "id": id, "to": to, "parts": case.parts}))?;
    let done = talk.hear(patience, |line| (line["done"] == id).then(|| line.clone()))?;
    if let Some(error) = done["error"].as_str() {
        bail!("the sender refuses it with `{error}`");
    }
    let answer = &done["answer"];
    let msg_id = if case.kind == Kind::Send { &done["msg_id"] } else { &answer["reply_to_msg_id"] };
    let received = stage.talk(receiver)?.hear(patience, |line| arrival(line, msg_id))?;
    match (wanted, received["error"].as_str()) {
        (Wanted::Code(code), Some(error)) if error == *code => return Ok(()),
        (Wanted::Code(code), Some(error)) => {
            bail!("the receiver refuses it with `{error}`, not `{code}`");
        }
        (Wanted::Code(code), None) => bail!("the receiver takes it, not `{code}`"),
        (_, Some(error)) => {
            let dataname = &received["dataname"];
            bail!("the receiver refuses it with `{error}`, payload {dataname}");
        }
        (_, None) => {}
    }
    let parts = case.arrives();
    judge_parts(&parts, &received["parts"])?;
    match case.kind {
        Kind::Send => Ok(()),
        Kind::Ack => answered(answer, "ACK", &json!([])),
        Kind::Echo => answered(answer, "chat", &parts),
    }
}

fn answered(answer: &Value, purpose: &str, parts: &Value) -> Result<()> {
    if answer["purpose"] != purpose {
        bail!("answered with {}, not {purpose}", answer["purpose"]);
    }
    if answer["correlation_id"].as_str().is_none_or(str::is_empty) {
        bail!("the answer belongs to no flow");
    }
    judge_parts(parts, &answer["parts"]).map_err(|failure| anyhow!("the answer: {failure:#}"))
}
