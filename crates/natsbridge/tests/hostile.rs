//! Envelopes from an attacker, made by a seeded generator: each is a value or an error with its code, in bounded memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "test code"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::time::{Duration, Instant};

use natsbridge::{ReceiveOptions, open};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Messages that the generator makes
const MESSAGES: usize = 2_000;

/// Bytes held for each byte of a message, and for any message: the worst is `[{},{},…]`, whose payloads hold nothing
const TIMES: usize = 256;
const ALWAYS: usize = 1 << 20;

/// How long reading one message may take in an unoptimised build
const PATIENCE: Duration = Duration::from_secs(10);

/// The codes that a receiver may answer with (docs/specification.md, section 9)
const CODES: [&str; 13] = [
    "not_json",
    "missing_field",
    "wrong_type",
    "unknown_payload_type",
    "unknown_transport",
    "unknown_encoding",
    "base64",
    "undecodable",
    "too_large",
    "digest",
    "digest_missing",
    "size_mismatch",
    "blocked_origin",
];

/// A small generator with a fixed seed: a failure is the same failure again
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.roll(choices.len())]
    }
}

/// JSON of every kind where one of them is expected, and what is no JSON at all
const VALUES: [&str; 30] = [
    "null",
    "true",
    "7",
    "-1",
    "1e999",
    "1e-999",
    "18446744073709551616",
    "-0.0",
    "NaN",
    "Infinity",
    "0x10",
    "01",
    "\"\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\u0000\"",
    "\"\u{202e}gpj.exe\"",
    "\"\\u001b[2J\"",
    "\"a\nb\"",
    "\"\\x\"",
    "'a'",
    "[]",
    "[1,[2,[3]]]",
    "{}",
    "{\"a\":1,\"a\":2}",
    "{\"a\":{\"a\":1,\"a\":2}}",
    "[1,]",
    "{\"a\"}",
    "",
    "undefined",
];

const TYPES: [&str; 10] =
    ["text", "dictionary", "arrowtable", "jsontable", "image", "audio", "video", "binary", "Text", "arrow"];

const LINKS: [&str; 12] = [
    "file:///etc/passwd",
    "ftp://files.test/x",
    "gopher://files.test",
    "javascript:alert(1)",
    "data:text/plain,x",
    "http://169.254.169.254/latest/meta-data",
    "http://0xa9fea9fe/",
    "http://files.test@evil.test/",
    "http://user:secret@files.test/",
    "http://evil.test\\\\@files.test/",
    "//files.test/x",
    "",
];

/// What a direct payload may hold: right, almost right, and far from it
const DATA: [&str; 10] = ["aGk=", "aGk", "a-_k", "aG k=", "A", "AAAA=", "====", "aGk=aGk=", "W3siYSI6MX1d", "QVJST1cx"];

/// Off by one in both directions, and beyond every number type
const SIZES: [&str; 10] =
    ["2", "1", "3", "0", "2.0", "2.5", "-2", "18446744073709551615", "18446744073709551616", "\"2\""];

fn digest(dice: &mut Dice) -> String {
    let right = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";
    match dice.roll(8) {
        0 => format!("\"{right}\""),
        1 => format!("\"{}\"", right.to_uppercase()),
        2 => format!("\"{}\"", &right[..63]),
        3 => format!("\"{right}0\""),
        4 => format!("\"sha256:{right}\""),
        5 => format!("[\"{right}\"]"),
        6 => format!("\"{}\"", "0".repeat(64)),
        _ => dice.of(&VALUES).to_owned(),
    }
}

/// Deep, wide or long, in one place
fn bomb(dice: &mut Dice) -> String {
    let size = 1 << (4 + dice.roll(10));
    match dice.roll(5) {
        0 => format!("{}1{}", "[".repeat(size), "]".repeat(size)),
        1 => "[".repeat(size),
        2 => format!("{{{}}}", (0..size).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",")),
        3 => format!("\"{}\"", "\\u0061".repeat(size)),
        _ => format!("{{\"a\":{}{}}}", "{\"a\":".repeat(size), "0".to_owned() + &"}".repeat(size)),
    }
}

/// The honest choice seven times of eight
fn mostly<'a>(dice: &mut Dice, honest: &'a str, others: &[&'a str]) -> &'a str {
    if dice.roll(8) == 0 { dice.of(others) } else { honest }
}

fn payload(dice: &mut Dice, number: usize) -> String {
    let link = dice.roll(4) == 0;
    let data = if link { dice.of(&LINKS) } else { mostly(dice, "aGk=", &DATA) };
    let transport = if link { "link" } else { mostly(dice, "direct", &["Direct", "", "link"]) };
    let metadata = if dice.roll(3) == 0 { digest(dice) } else { "null".to_owned() };
    let mut fields: BTreeMap<&str, String> = BTreeMap::from([
        ("id", "\"p\"".to_owned()),
        ("dataname", format!("\"payload {number}\"")),
        ("payload_type", format!("\"{}\"", dice.of(&TYPES))),
        ("transport", format!("\"{transport}\"")),
        ("encoding", format!("\"{}\"", mostly(dice, "base64", &["none", "json", "arrow-ipc", "gzip", ""]))),
        ("size", mostly(dice, "2", &SIZES).to_owned()),
        ("data", format!("\"{data}\"")),
        ("metadata", format!("{{\"sha256\":{metadata}}}")),
    ]);
    for _ in 0..dice.roll(6).saturating_sub(3) {
        let names: Vec<&str> = fields.keys().copied().collect();
        let name = names[dice.roll(names.len())];
        match dice.roll(4) {
            0 => drop(fields.remove(name)),
            1 => drop(fields.insert(name, bomb(dice))),
            _ => drop(fields.insert(name, dice.of(&VALUES).to_owned())),
        }
        if fields.is_empty() {
            break;
        }
    }
    let mut members: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    if dice.roll(10) == 0 && !members.is_empty() {
        // A key that occurs twice, once in disguise.
        members.push(dice.of(&["\"data\":\"aGk=\"", "\"d\\u0061ta\":\"aGk=\"", "\"metadata\":{}"]).to_owned());
    }
    format!("{{{}}}", members.join(","))
}

fn message(dice: &mut Dice) -> Vec<u8> {
    let payloads: Vec<_> = (0..dice.roll(4)).map(|number| payload(dice, number)).collect();
    let mut members = vec![format!("\"payloads\":[{}]", payloads.join(","))];
    for _ in 0..dice.roll(6).saturating_sub(3) {
        let name = dice.of(&[
            "msg_id",
            "timestamp",
            "send_to",
            "msg_purpose",
            "metadata",
            "later",
            "reply_to",
            "m\\u0073g_id",
        ]);
        let value = if dice.roll(3) == 0 { bomb(dice) } else { dice.of(&VALUES).to_owned() };
        members.insert(dice.roll(members.len() + 1), format!("\"{name}\":{value}"));
    }
    let mut bytes = format!("{{{}}}", members.join(",")).into_bytes();
    match dice.roll(12) {
        0 => {
            let at = dice.roll(bytes.len());
            bytes[at] = [0xff, 0xc0, 0xed, 0x00, b'"', b'}'][dice.roll(6)];
        }
        1 => bytes.truncate(dice.roll(bytes.len())),
        2 => bytes.extend_from_slice([&b"{}"[..], b"\0", b" x", b"\xef\xbb\xbf"][dice.roll(4)]),
        _ => {}
    }
    bytes
}

/// Reads a message to its last value and checks every error; returns the codes and how many values there were
async fn read(bytes: &[u8], options: &ReceiveOptions) -> (BTreeSet<&'static str>, usize) {
    let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned();
    let (mut codes, mut values) = (BTreeSet::new(), 0);
    let mut check = |error: &natsbridge::Error, named: Option<&str>| {
        assert!(
            CODES.contains(&error.code()),
            "{} is no code of the specification: {error}\n{}",
            error.code(),
            shown()
        );
        codes.insert(CODES.iter().copied().find(|code| *code == error.code()).unwrap());
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        assert!(text.len() < 2_000 && !text.contains(char::is_control) && !text.contains('\u{202e}'), "{text:?}");
        assert!(!text.contains("secret"), "{text}");
        if let Some(name) = named {
            assert_eq!(error.dataname(), Some(name), "{text}");
            assert!(text.contains(&*natsbridge_core::shown(name)), "{text}");
        }
    };
    let begun = Instant::now();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    match open(bytes, options) {
        Err(error) => check(&error, error.dataname()),
        Ok((_, handles)) => {
            for handle in handles {
                let name = handle.name().to_owned();
                match handle.into_value().await {
                    Ok(_) => values += 1,
                    Err(error) => check(&error, Some(&name)),
                }
            }
        }
    }
    let peak = MEMORY.peak_usage().saturating_sub(before);
    assert!(peak <= TIMES * bytes.len() + ALWAYS, "{peak} bytes for a message of {}: {}", bytes.len(), shown());
    assert!(begun.elapsed() < PATIENCE, "{:?} for {}", begun.elapsed(), shown());
    (codes, values)
}

/// Only this origin may be asked, and no message names it: nothing is connected to
fn options() -> ReceiveOptions {
    ReceiveOptions::default().allow_origin("http://nowhere.test").max_retries(0)
}

#[tokio::test]
async fn attackers_input_is_a_value_or_an_error_with_code_and_name() {
    let mut dice = Dice(0x0bad_5eed_0001);
    let (options, strict) = (options(), options().strict(true));
    // Whatever is made once, such as the client, is not counted.
    read(br#"{"payloads":[{"payload_type":"text","transport":"link","data":"http://a.test"}]}"#, &options).await;
    let (mut seen, mut values) = (BTreeSet::new(), 0);
    for round in 0..MESSAGES {
        let bytes = message(&mut dice);
        let (codes, read) = read(&bytes, if round % 2 == 0 { &options } else { &strict }).await;
        seen.extend(codes);
        values += read;
    }
    let unseen: Vec<_> = CODES.iter().filter(|code| !seen.contains(*code) && **code != "too_large").collect();
    assert!(unseen.is_empty(), "the generator never got {unseen:?}");
    assert!(values > MESSAGES / 40, "hardly a message was read well: {values} payloads");
}

#[tokio::test]
async fn payloads_by_the_hundred_thousand_cost_in_proportion() {
    let good = r#"{"dataname":"x","payload_type":"text","transport":"direct","encoding":"none","data":"hi"}"#;
    let many = |payload: &str| format!("{{\"payloads\":[{}]}}", vec![payload; 100_000].join(","));
    assert_eq!(read(many(good).as_bytes(), &options()).await.1, 100_000);
    for (payload, code) in
        [("{}", "missing_field"), ("null", "wrong_type"), ("[]", "wrong_type"), (r#"{"a":[{}]}"#, "missing_field")]
    {
        let (codes, _) = read(many(payload).as_bytes(), &options()).await;
        assert_eq!(codes, BTreeSet::from([code]), "{payload}");
    }
    let metadata: String = (0..100_000).map(|n| format!("\"k{n}\":[{n}],")).collect();
    let bomb = format!("{{\"metadata\":{{{metadata}\"k0\":1}},\"payloads\":[]}}");
    assert_eq!(read(bomb.as_bytes(), &options()).await.0, BTreeSet::from(["not_json"]));
}

#[tokio::test]
async fn name_that_would_write_to_a_terminal_is_shown_harmlessly() {
    let name = format!("\\u001b]0;owned\\u0007\\u202e{}", "x".repeat(100_000));
    let json = format!(
        r#"{{"payloads":[{{"dataname":"{name}","payload_type":"dictionary","transport":"direct","data":"aGk="}}]}}"#
    );
    assert_eq!(read(json.as_bytes(), &options()).await.0, BTreeSet::from(["undecodable"]));
    let unread = json.replace("dictionary", "\\u001b[2Jdictionary");
    assert_eq!(read(unread.as_bytes(), &options()).await.0, BTreeSet::from(["unknown_payload_type"]));
}
