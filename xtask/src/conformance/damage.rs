//! What each peer makes of damaged messages: thousands of changes to the vectors, to which it may answer anything but a crash.

use std::time::{Duration, Instant};

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::peers::Peer;
use crate::vectors::run::ask;
use crate::vectors::{Vector, load};

/// Damaged messages for each peer
const MESSAGES: usize = 4_000;
/// How long one peer may take for all of them; what was not tried by then is said
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one answer may take
const ANSWER: Duration = Duration::from_secs(30);
/// Larger messages are left as they are: they would take the time of many small ones
const LARGEST: usize = 16_384;
/// Stands for a number that `serde_json` can't hold, and is replaced in the text
const PLACE: &str = "\"@number@\"";

/// What a peer made of damaged messages
#[derive(Debug)]
pub(crate) struct Survived {
    pub(crate) peer: &'static str,
    pub(crate) told: usize,
    /// Message and what happened
    pub(crate) failed: Vec<(String, String)>,
}

/// Links that no client may stumble over; none of them leads to the file server that clients have by default
const LINKS: &[&str] = &[
    "",
    "x",
    "//x",
    "http://",
    "http:///x",
    "http:x",
    "http://a..b/x",
    "http://.a/",
    "http://[",
    "http://[]/",
    "http://[::1",
    "http://[::1]x/",
    "http://[::g]/",
    "http://[fe80::1%25eth0]/",
    "http://[v1.x]/",
    "http://a:b/",
    "http://a:99999/",
    "http://a:-1/",
    "http://a:65536/",
    "http://a:80:80/",
    "http://%/",
    "http://%ff/",
    "http://%00/",
    "http://a%2fb/",
    "http://xn--/",
    "http://xn--a/",
    "http://\u{130}.test/",
    "http://\u{df}\u{3002}\u{3002}/",
    "http://\u{ff10}\u{ff0e}0.0.0/",
    "http://\u{200d}/",
    "http://\u{1fbf0}/",
    "http://0x/",
    "http://999999999999999999999/",
    "http://1.2.3.4.5/",
    "http://1.2.3.08/",
    "http://user@files.test/",
    "http://@/",
    "http://a b/",
    "http://a\n/",
    "http://a\u{0}/",
    "\u{0}http://a/",
    "HTTP://A/",
    "https://",
    "file:///etc/passwd",
    "data:,x",
    "javascript:1",
    "memory://x",
    "http://files.test/\u{fffd}\u{202e}",
];

/// Numbers that some reader can't hold
const NUMBERS: &[&str] =
    &["1e308", "1e400", "-0", "-1e-400", "0.5", "18446744073709551616", "99999999999999999999999999"];

/// Draws the same numbers in every run
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to below `end`, which is above 0
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }

    /// Flips, cuts, doubles or overwrites some bytes
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match (self.below(6), bytes.get_mut(at)) {
                (0, Some(byte)) => *byte ^= 1 << (self.next() % 8),
                (1, Some(byte)) => *byte = u8::try_from(self.below(256)).unwrap_or_default(),
                (2, Some(_)) => bytes.truncate(at),
                (3, Some(_)) => drop(bytes.drain(at..(at + 1 + self.below(8)).min(bytes.len()))),
                (4, _) => bytes.splice(at..at, self.next().to_le_bytes()).for_each(drop),
                (_, Some(_)) => {
                    let odd = self.of(&[0_u8, 0xff, 0x7f, 0x80]).copied().unwrap_or_default();
                    let end = (at + self.of(&[1, 2, 4, 8]).copied().unwrap_or(1)).min(bytes.len());
                    bytes.get_mut(at..end).into_iter().flatten().for_each(|byte| *byte = odd);
                }
                (_, None) => bytes.push(0),
            }
        }
    }

    /// A value of a kind that is likely not wanted
    fn odd_value(&mut self) -> Value {
        match self.below(10) {
            0 => Value::Null,
            1 => json!(self.next().is_multiple_of(2)),
            2 => json!(-1),
            3 => json!([]),
            4 => json!({}),
            5 => json!([[{"a": [null]}]]),
            6 => json!("x\u{202e}\u{0}\u{fffd}"),
            7 => json!(""),
            8 => json!(self.of(LINKS)),
            _ => json!("@number@"),
        }
    }

    /// One member of the envelope or of a payload is changed, removed or added
    fn change(&mut self, envelope: &mut Value) {
        let payloads = envelope["payloads"].as_array().map_or(0, Vec::len);
        let inside = payloads > 0 && self.below(4) > 0;
        let object = if inside { &mut envelope["payloads"][self.below(payloads)] } else { envelope };
        let Some(members) = object.as_object_mut() else { return };
        let keys: Vec<String> = members.keys().cloned().collect();
        let Some(key) = self.of(&keys).cloned() else { return };
        match self.below(8) {
            0 => drop(members.remove(&key)),
            1 if key != "metadata" => drop(members.insert(key, json!({"sha256": self.odd_value()}))),
            2 if members.contains_key("metadata") => {
                let name = self.of(&["sha256", "expires_at", "one_shot", "seq", ""]).copied().unwrap_or_default();
                members.insert("metadata".to_owned(), json!({name: self.odd_value()}));
            }
            3 if members.get("transport") == Some(&json!("link")) => {
                members.insert("data".to_owned(), json!(self.of(LINKS)));
            }
            _ => drop(members.insert(key, self.odd_value())),
        }
    }

    /// The bytes of a payload are changed, and its digest is taken away so that they are looked at
    fn damage_payload(&mut self, envelope: &mut Value, links: &mut Value) {
        let Some(payloads) = envelope["payloads"].as_array_mut() else { return };
        let at = self.below(payloads.len());
        let Some(payload) = payloads.get_mut(at).and_then(Value::as_object_mut) else { return };
        let linked = payload.get("transport") == Some(&json!("link"));
        let place = match payload.get_mut("data") {
            Some(Value::String(url)) if linked => links.get_mut(&*url).and_then(|held| held.get_mut("base64")),
            data => data,
        };
        let Some(place) = place else { return };
        let Some(mut body) = place.as_str().and_then(|text| STANDARD.decode(text).ok()) else { return };
        self.damage(&mut body);
        *place = STANDARD.encode(body).into();
        payload.insert("metadata".to_owned(), json!({}));
        payload.insert("size".to_owned(), json!(0));
    }
}

/// The question with its message damaged in the way that this number says
fn damaged(question: &Value, number: usize, draw: &mut Draw) -> Option<Value> {
    let mut question = question.clone();
    let message = STANDARD.decode(question["envelope_base64"].as_str()?).ok()?;
    let parsed = serde_json::from_slice::<Value>(&message).ok();
    let message = match parsed {
        Some(mut envelope) if envelope.is_object() && !number.is_multiple_of(3) => {
            let payloads = envelope["payloads"].as_array().map_or(0, Vec::len);
            if number % 3 == 1 && payloads > 0 {
                draw.damage_payload(&mut envelope, &mut question["links"]);
            } else {
                draw.change(&mut envelope);
            }
            let long = "9".repeat(400);
            let rare = draw.below(5) == 0;
            let number = draw.of(NUMBERS).copied().filter(|_| !rare).unwrap_or(&long);
            envelope.to_string().replace(PLACE, number).into_bytes()
        }
        _ => {
            let mut message = message;
            draw.damage(&mut message);
            message
        }
    };
    question["envelope_base64"] = STANDARD.encode(message).into();
    Some(asked(question, &format!("damage {number}")))
}

/// The questions that are damaged: every small message that the vectors have, valid or not
fn questions() -> Result<Vec<Value>> {
    let vectors: Vec<Vector> = load()?;
    let mut questions = Vec::new();
    for vector in vectors.iter().filter(|vector| vector.kind == "receive") {
        if vector.message()?.is_some_and(|message| message.len() <= LARGEST) {
            questions.push(vector.question()?);
        }
    }
    Ok(questions)
}

/// Everything that is asked: the vectors as they are, odd links, then damage, half of it to Arrow
fn messages() -> Result<Vec<Value>> {
    let questions = questions()?;
    let of = |word: &str| -> Vec<Value> {
        let named = |question: &&Value| question["name"].as_str().is_some_and(|name| name.contains(word));
        questions.iter().filter(named).cloned().collect()
    };
    let lists = [questions.clone(), of("arrowtable"), questions.clone(), of("file")];
    let mut messages: Vec<Value> = questions.iter().cloned().map(|question| asked(question, "as it is")).collect();
    for link in LINKS {
        let payload = json!({"dataname": "x", "payload_type": "text", "transport": "link", "data": link});
        let message = json!({"payloads": [payload]}).to_string();
        let question = json!({"name": format!("{link:?}"), "envelope_base64": STANDARD.encode(message)});
        messages.push(asked(question, "a link"));
    }
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    for (number, list) in lists.iter().cycle().take(MESSAGES).enumerate() {
        let question = draw.of(list).cloned();
        messages.extend(question.and_then(|question| damaged(&question, number, &mut draw)));
    }
    Ok(messages)
}

/// A question as peers are asked it here
fn asked(mut question: Value, how: &str) -> Value {
    question["kind"] = json!("damaged");
    question["name"] = json!(format!("{how}: {}", question["name"].as_str().unwrap_or_default()));
    question
}

/// Sends damaged messages to a peer
pub(super) fn survive(peer: &Peer) -> Result<Survived> {
    let mut survived = Survived { peer: peer.name, told: 0, failed: Vec::new() };
    let mut talk = None;
    let began = Instant::now();
    for question in messages()? {
        if began.elapsed() > PATIENCE {
            break;
        }
        survived.told += 1;
        let wrong = match ask(&mut talk, peer, &question, ANSWER) {
            Ok(answer) => match answer["error"].as_str() {
                Some(error) if error.starts_with("crashed") => Some(error.to_owned()),
                _ => None,
            },
            Err(failure) => {
                talk = None;
                Some(format!("{failure:#}"))
            }
        };
        if let Some(wrong) = wrong {
            survived.failed.push((question.to_string(), wrong));
        }
    }
    if let Some(talk) = talk {
        talk.end();
    }
    Ok(survived)
}

impl Survived {
    /// The failures, for people; whoever mends one finds the whole message here
    pub(super) fn print_failures(&self) {
        for (message, why) in self.failed.iter().take(20) {
            let shown = |text: &str| text.chars().take(1_500).collect::<String>();
            println!("  {}: {}: {}", self.peer, shown(message), shown(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_the_same_in_every_run_and_reaches_every_place() {
        let all: Vec<String> = messages().unwrap().iter().map(Value::to_string).collect();
        assert_eq!(all, messages().unwrap().iter().map(Value::to_string).collect::<Vec<_>>());
        assert!(all.len() > MESSAGES, "{} messages", all.len());
        let mut different = all.clone();
        different.sort();
        different.dedup();
        assert!(different.len() > all.len() * 9 / 10, "{} are different", different.len());
    }
}
