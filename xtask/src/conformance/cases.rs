//! What every sender sends to every receiver, and what must come of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::peers::Peer;

/// One message between two peers
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// `{"name", "type", "value"}` of each part
    pub(super) parts: Vec<Value>,
}

/// How it is sent and what is asked for
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// It arrives
    Send,
    /// It is answered with the same parts
    Echo,
    /// It is answered with an ACK
    Ack,
}

/// What a pair of peers makes of a case
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    /// The parts arrive
    Parts,
    /// The receiver refuses it with this code
    Code(&'static str),
    /// It can't be tried
    Skip(&'static str),
}

impl Case {
    fn new(name: &'static str, parts: Vec<Value>) -> Self {
        Self { name, kind: Kind::Send, parts }
    }

    /// What has to come of it between these two
    pub(super) fn wanted(&self, sender: &Peer, receiver: &Peer) -> Wanted {
        let arrow = self.parts.iter().any(|part| part["type"] == "arrowtable");
        let largest = self.parts.iter().map(|part| size(&part["value"])).max().unwrap_or(0);
        let links = largest >= THRESHOLD;
        if arrow && !sender.has_arrow() {
            return Wanted::Skip("the sender has no Arrow");
        }
        if links && !sender.has_links() {
            return Wanted::Skip("the sender uploads nothing");
        }
        if largest > sender.max_payload() {
            return Wanted::Skip("more than the sender sends in one payload");
        }
        if self.kind != Kind::Send && (arrow && !receiver.has_arrow()) {
            return Wanted::Skip("the receiver has no Arrow, so nothing to answer with");
        }
        if arrow && !receiver.has_arrow() {
            return Wanted::Code("unsupported");
        }
        if links && !receiver.has_links() {
            return Wanted::Code("links_not_allowed");
        }
        if largest > receiver.max_payload() { Wanted::Code("too_large") } else { Wanted::Parts }
    }

    /// The parts as they must arrive
    pub(super) fn arrives(&self) -> Value {
        let part = |part: &Value| {
            let mut part = part.clone();
            part["transport"] = if size(&part["value"]) >= THRESHOLD { "link" } else { "direct" }.into();
            part
        };
        self.parts.iter().map(part).collect()
    }
}

/// From here on a payload is a link
const THRESHOLD: u64 = 500_000;

/// About the serialised size: values here are well below the threshold or well above it
fn size(value: &Value) -> u64 {
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    if let Some(text) = value["text"].as_str() {
        return count(text.len());
    }
    if let Some(text) = value["base64"].as_str() {
        return count(text.len()) / 4 * 3;
    }
    if let Some(bytes) = value["repeat"]["count"].as_u64() {
        return bytes;
    }
    if let Some(columns) = value["table"]["columns"].as_array() {
        let rows = |column: &Value| column["values"].as_array().map_or(0, Vec::len);
        return columns.iter().map(|column| count(rows(column)) * 6).sum();
    }
    count(value["json"].to_string().len())
}

/// A part with a value
fn part(name: &str, kind: &str, value: Value) -> Value {
    let mut part = json!({"name": name, "type": kind});
    part["value"] = value;
    part
}

/// Every case, in the order in which they are tried
pub(super) fn all() -> Vec<Case> {
    let photo = json!({"base64": STANDARD.encode(noise(3_000))});
    let text = "Grüße, 世界 👩\u{200d}🔬 e\u{301} سلام \u{0} end";
    let dictionary = json!({"json": {
        "n": 9_007_199_254_740_993_u64, "low": i64::MIN, "high": u64::MAX, "f": 0.1, "deep": [[{"": null}]], "ключ": "値",
    }});
    let rows = json!({"json": [{"b": 1, "a": "x"}, {"b": 9_007_199_254_740_993_u64, "a": null}, {"c": [true]}]});
    let mut cases = vec![
        Case::new("text", vec![part("note", "text", json!({"text": text}))]),
        Case::new("dictionary", vec![part("settings", "dictionary", dictionary.clone())]),
        Case::new("jsontable", vec![part("rows", "jsontable", rows.clone())]),
        Case::new("arrowtable", vec![part("table", "arrowtable", kinds())]),
        Case::new("image", vec![part("photo", "image", photo.clone())]),
        Case::new("audio", vec![part("sound", "audio", json!({"base64": STANDARD.encode(noise(1))}))]),
        Case::new("video", vec![part("clip", "video", json!({"repeat": {"byte": 0, "count": 4_097}}))]),
        Case::new("binary", vec![part("rest", "binary", json!({"base64": STANDARD.encode(every())}))]),
        Case::new("40,000 bytes", vec![part("file", "binary", json!({"base64": STANDARD.encode(noise(40_000))}))]),
        Case::new("60,000 bytes", vec![part("file", "binary", json!({"base64": STANDARD.encode(noise(60_000))}))]),
    ];
    let mixed = vec![
        part("note", "text", json!({"text": text})),
        part("settings", "dictionary", dictionary),
        part("rows", "jsontable", rows),
        part("photo", "image", photo),
        part("sound", "audio", json!({"base64": "AAE="})),
        part("clip", "video", json!({"base64": "AAEC"})),
        part("rest", "binary", json!({"base64": ""})),
    ];
    let mut with_arrow = mixed.clone();
    with_arrow.push(part("table", "arrowtable", kinds()));
    let mut with_link = mixed.clone();
    with_link.insert(2, part("file", "binary", json!({"base64": STANDARD.encode(noise(600_000))})));
    cases.extend([
        Case::new("mixed", mixed.clone()),
        Case::new("mixed with arrowtable", with_arrow),
        Case::new("mixed with a link", with_link),
        Case::new(
            "empty payloads",
            vec![
                part("a", "text", json!({"text": ""})),
                part("b", "binary", json!({"base64": ""})),
                part("c", "jsontable", json!({"json": []})),
                part("d", "dictionary", json!({"json": {}})),
            ],
        ),
        Case::new("no payloads", Vec::new()),
        Case::new(
            "names",
            ["", "e\u{301}", "é", "👩\u{200d}🔬", "../../x", "سلام", "same", "same", "a\"\\\n\u{0}"]
                .iter()
                .map(|name| part(name, "text", json!({"text": name})))
                .collect(),
        ),
        Case::new("text by link", vec![part("note", "text", json!({"text": text.repeat(12_000)}))]),
        Case::new("dictionary by link", vec![part("settings", "dictionary", json!({"json": {"items": wide(1_200)}}))]),
        Case::new("jsontable by link", vec![part("rows", "jsontable", json!({"json": wide(1_200)}))]),
        Case::new("arrowtable by link", vec![part("table", "arrowtable", numbers(25_000))]),
        Case::new("image by link", vec![part("photo", "image", json!({"base64": STANDARD.encode(noise(600_000))}))]),
        Case::new("binary by link", vec![part("file", "binary", json!({"repeat": {"byte": 7, "count": 500_001}}))]),
        Case::new("5 MB by link", vec![part("file", "binary", json!({"repeat": {"byte": 1, "count": 5_000_000}}))]),
        Case { kind: Kind::Echo, ..Case::new("request and reply", mixed) },
        Case {
            kind: Kind::Echo,
            ..Case::new("request and reply with arrowtable", vec![part("table", "arrowtable", kinds())])
        },
        Case { kind: Kind::Ack, ..Case::new("ACK", vec![part("ask-ack", "text", json!({"text": "please"}))]) },
    ]);
    cases
}

/// Columns of the kinds that every Arrow library writes
fn kinds() -> Value {
    let column =
        |name: &str, kind: &str, values: [Option<&str>; 3]| json!({"name": name, "type": kind, "values": values});
    json!({"table": {"columns": [
        column("n", "int64", [Some("9223372036854775807"), None, Some("-9223372036854775808")]),
        column("größe", "utf8", [Some("a"), None, Some("👩\u{200d}🔬")]),
        column("on", "bool", [Some("true"), None, Some("false")]),
        column("f", "float64", [Some("0.1"), None, Some("NaN")]),
        column("small", "int32", [Some("-1"), None, Some("7")]),
        column("when", "timestamp[us, UTC]", [Some("1778660130123456"), None, Some("-1")]),
        column("day", "date32", [Some("20586"), None, Some("0")]),
    ]}})
}

/// Rows of the kinds that a data frame usually has
fn numbers(rows: usize) -> Value {
    let values = |value: &dyn Fn(usize) -> String| (0..rows).map(value).map(Value::from).collect::<Value>();
    json!({"table": {"columns": [
        {"name": "n", "type": "int64", "values": values(&|n| (n * 92_233_720_368).to_string())},
        {"name": "f", "type": "float64", "values": values(&|n| format!("{}.125", n * 3))},
        {"name": "s", "type": "utf8", "values": values(&|n| format!("sensor {} ü", n % 97))},
        {"name": "on", "type": "bool", "values": values(&|n| (n % 3 == 0).to_string())},
        {"name": "when", "type": "timestamp[us, UTC]", "values": values(&|n| (1_778_660_130_123_456_i64 + i64::try_from(n).unwrap_or(0)).to_string())},
    ]}})
}

/// Rows as JSON
pub(super) fn items(rows: usize) -> Value {
    (0..rows).map(|n| json!({"n": n, "s": format!("ü {n}"), "f": 0.5})).collect()
}

/// Few rows that are large: what is tried is the link, not the reader of numbers
fn wide(rows: usize) -> Value {
    let long = "längerer Text ".repeat(30);
    (0..rows).map(|n| json!({"n": 9_007_199_254_740_993_u64, "s": format!("{n} {long}"), "x": null})).collect()
}

fn every() -> Vec<u8> {
    (0..=u8::MAX).collect()
}

/// Bytes without pattern, the same in every run
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}
