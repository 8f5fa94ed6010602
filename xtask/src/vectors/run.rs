//! `cargo xtask vectors run`: every vector through a peer, with the reason for each that it does not pass.

use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::judge::judge;
use super::skips::{self, Skip};
use super::{Vector, load};
use crate::peers::{self, Peer, Talk};

/// How long one answer may take; a browser starts meanwhile
const PATIENCE: Duration = Duration::from_secs(60);

/// Failures that are printed whole
const SHOWN: usize = 40;

/// What a peer made of the vectors
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) peer: &'static str,
    pub(crate) passed: usize,
    /// Vector and what is wrong
    pub(crate) failed: Vec<(String, String)>,
    /// Vector and why it can't be
    pub(crate) skipped: Vec<(String, String)>,
}

impl Tally {
    /// Counts an answer: a peer that can't do the vector has to refuse it with the code that `skips.json` names
    fn note(&mut self, vector: &Vector, answer: Result<Value>, skip: Option<&Skip>) {
        let code = answer.as_ref().ok().and_then(|answer| answer["error"].as_str()).map(str::to_owned);
        let outcome = match answer {
            Ok(answer) if answer.get("skip").is_some() => {
                Err(format!("the peer skips it ({}), and skips.json does not", answer["skip"]))
            }
            Ok(answer) => judge(vector, &answer).map_err(|failure| format!("{failure:#}")),
            Err(failure) => Err(format!("{failure:#}")),
        };
        let name = vector.name.clone();
        match (outcome, skip.map(|skip| (skip, skip.code.as_deref()))) {
            (Ok(()), None) => self.passed += 1,
            (Ok(()), Some(_)) => self.failed.push((name, "it passes: take it out of skips.json".to_owned())),
            (Err(_), Some((skip, None))) => self.skipped.push((name, skip.reason.clone())),
            (Err(_), Some((_, wanted))) if code.as_deref() == wanted => self.passed += 1,
            (Err(why), Some((_, Some(wanted)))) => {
                self.failed.push((name, format!("{why}; skips.json says `{wanted}`")))
            }
            (Err(why), None) => self.failed.push((name, why)),
        }
    }

    /// The failures, for people
    pub(crate) fn print_failures(&self) {
        for (vector, why) in self.failed.iter().take(SHOWN) {
            let why: String = why.chars().take(400).collect();
            println!("  {}: {vector}: {why}", self.peer);
        }
        if self.failed.len() > SHOWN {
            println!("  {}: and {} more", self.peer, self.failed.len() - SHOWN);
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "peer": self.peer, "passed": self.passed,
            "failed": reasons(&self.failed), "skipped": reasons(&self.skipped),
        })
    }
}

/// Cases with the reason of each
pub(crate) fn reasons(list: &[(String, String)]) -> Value {
    list.iter().map(|(case, reason)| json!({"case": case, "reason": reason})).collect()
}

/// Runs the vectors against one peer
pub(crate) fn run(name: &'static str) -> Result<()> {
    let tally = tally(&peers::locate(name)?)?;
    tally.print_failures();
    let Tally { peer, passed, failed, skipped } = &tally;
    println!("{peer}: {passed} vectors passed, {} failed, {} skipped", failed.len(), skipped.len());
    if failed.is_empty() { Ok(()) } else { Err(anyhow!("{peer} fails {} vectors", failed.len())) }
}

/// Asks the peer every vector; one that ends is started again for the next
pub(crate) fn tally(peer: &Peer) -> Result<Tally> {
    let skips = skips::load()?;
    let mut tally = Tally { peer: peer.name, passed: 0, failed: Vec::new(), skipped: Vec::new() };
    let mut talk = None;
    for vector in load()? {
        let skip = skips.iter().find(|skip| skip.covers(peer.name, &vector.name));
        let answer = vector.question().and_then(|question| ask(&mut talk, peer, &question, PATIENCE));
        if answer.is_err() {
            talk = None;
        }
        tally.note(&vector, answer, skip);
    }
    if let Some(talk) = talk {
        talk.end();
    }
    Ok(tally)
}

/// Asks one question; the peer is started if it does not run
pub(crate) fn ask(talk: &mut Option<Talk>, peer: &Peer, question: &Value, patience: Duration) -> Result<Value> {
    let running = match talk {
        Some(running) => running,
        None => talk.insert(Talk::start(peer.name, &mut peer.command(&["vectors"]))?),
    };
    running.tell(question)?;
    running.hear(patience, |line| (line["name"] == question["name"]).then(|| line.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_cannot_read_is_refused_with_its_code() {
        let name = "receive/valid/arrowtable_compressed_lz4_tiny";
        let vector = load().unwrap().into_iter().find(|vector| vector.name == name).unwrap();
        let skips = skips::load().unwrap();
        let skip = skips.iter().find(|skip| skip.covers("dart", name));
        let counts = |answer: Value, skip| {
            let mut tally = Tally { peer: "dart", passed: 0, failed: Vec::new(), skipped: Vec::new() };
            tally.note(&vector, Ok(answer), skip);
            (tally.passed, tally.failed.len(), tally.skipped.len())
        };
        assert_eq!(counts(json!({"error": "unsupported"}), skip), (1, 0, 0));
        assert_eq!(counts(json!({"error": "undecodable"}), skip), (0, 1, 0));
        assert_eq!(counts(json!({"skip": "not here"}), skip), (0, 1, 0));
        assert_eq!(counts(json!({"expect": vector.json["expect"]}), skip), (0, 1, 0));
        assert_eq!(counts(json!({"error": "unsupported"}), None), (0, 1, 0));
    }

    #[test]
    fn rust_passes_every_vector() {
        let tally = tally(&peers::locate("rust").unwrap()).unwrap();
        assert!(tally.failed.is_empty(), "{:#?}", tally.failed);
        assert!(tally.passed >= 150, "{} vectors", tally.passed);
    }
}
