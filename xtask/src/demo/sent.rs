//! What the demo sends, as its own reading of the inputs: the measure for what arrives.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde_json::{Value, json};

use super::csv;

/// Bytes of the file that is too large for the message
const LARGE: usize = 1_500_000;

/// One payload: how it is given to `natsbridge send` and what must arrive
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) payload_type: &'static str,
    pub(super) transport: &'static str,
    pub(super) content: Content,
    flag: &'static str,
    argument: OsString,
}

/// What must arrive
#[derive(Debug)]
pub(super) enum Content {
    /// This text
    Text(String),
    /// This JSON value
    Json(Value),
    /// These rows, each cell equal as its kind
    Table(csv::Sheet),
    /// These bytes
    Bytes(Vec<u8>),
}

impl Part {
    /// The words that make `natsbridge send` send it
    pub(super) fn arguments(&self) -> [OsString; 2] {
        let mut value = OsString::from(format!("{}=", self.name));
        value.push(&self.argument);
        [OsString::from(self.flag), value]
    }
}

/// All eight payload types; `inputs` is the folder of the demo's files, `temp` takes the generated one
pub(super) fn parts(inputs: &Path, temp: &Path) -> Result<Vec<Part>> {
    let note = "Grüße, 世界 🌍: readings of run 7, with picture and sound";
    // Beyond 2^53, where a double no longer holds every integer.
    let config =
        json!({"run": 7, "serial": 9_007_199_254_740_993_u64, "gain": 0.1, "labels": ["α", ""], "limit": null});
    let large = temp.join("report.bin");
    fs::write(&large, noise(LARGE))?;
    let rows = fs::read_to_string(inputs.join("rows.json"))?;
    let rows = serde_json::from_str(&rows).context("rows.json is not JSON")?;
    let readings = csv::parse(&fs::read_to_string(inputs.join("readings.csv"))?)?;

    let mut parts = vec![
        part("note", "text", "--text", note.into(), Content::Text(note.to_owned())),
        part("config", "dictionary", "--dict", config.to_string().into(), Content::Json(config)),
        part("readings", "arrowtable", "--table", at(&inputs.join("readings.csv")), Content::Table(readings)),
        part("rows", "jsontable", "--table", at(&inputs.join("rows.json")), Content::Json(rows)),
    ];
    let files = [
        ("photo", "image", "--image", inputs.join("photo.png")),
        ("tone", "audio", "--audio", inputs.join("tone.wav")),
        ("clip", "video", "--video", inputs.join("clip.mp4")),
        ("report", "binary", "--file", large),
    ];
    for (name, payload_type, flag, path) in files {
        let bytes = fs::read(&path)?;
        parts.push(part(name, payload_type, flag, at(&path), Content::Bytes(bytes)));
    }
    Ok(parts)
}

fn part(
    name: &'static str,
    payload_type: &'static str,
    flag: &'static str,
    argument: OsString,
    content: Content,
) -> Part {
    let large = matches!(&content, Content::Bytes(bytes) if bytes.len() >= LARGE);
    let transport = if large { "link" } else { "direct" };
    Part { name, payload_type, transport, content, flag, argument }
}

/// How the program is told to read a file
fn at(path: &Path) -> OsString {
    let mut word = OsString::from("@");
    word.push(path);
    word
}

/// Bytes without a pattern that are the same in every run (xorshift64)
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}
