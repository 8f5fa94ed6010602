//! `cargo xtask vectors`: the cases of `testdata/`, checked, run against a peer, made again.

pub(crate) mod compare;
mod judge;
#[cfg(test)]
mod lint;
mod regenerate;
pub(crate) mod run;
pub(crate) mod skips;

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use serde_json::{Value, json};

use crate::process;
use crate::workspace::{cargo, entries, root};

pub(crate) use judge::parts as judge_parts;
pub(crate) use regenerate::regenerate;

/// Folders of vectors, and what a peer is told they are
const FOLDERS: [(&str, &str); 3] = [("receive/valid", "receive"), ("receive/invalid", "receive"), ("send", "send")];

/// One case
#[derive(Debug)]
pub(crate) struct Vector {
    /// Its path under `testdata` without the ending: `receive/valid/text_empty`
    pub(crate) name: String,
    /// `receive` or `send`
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Vector {
    /// The line that a peer reads: nothing of what it should answer, and the message as bytes
    pub(crate) fn question(&self) -> Result<Value> {
        let mut question = json!({"name": self.name, "kind": self.kind});
        if let Some(message) = self.message()? {
            question["envelope_base64"] = STANDARD.encode(message).into();
        }
        for field in ["links", "given"] {
            if let Some(value) = self.json.get(field) {
                question[field] = value.clone();
            }
        }
        Ok(question)
    }

    /// The bytes that arrive, for a receive vector
    pub(crate) fn message(&self) -> Result<Option<Vec<u8>>> {
        if let Some(envelope) = self.json.get("envelope") {
            return Ok(Some(envelope.to_string().into_bytes()));
        }
        if let Some(text) = self.json["envelope_base64"].as_str() {
            let bytes = STANDARD.decode(text).with_context(|| format!("{}: envelope_base64", self.name))?;
            return Ok(Some(bytes));
        }
        let Some(pieces) = self.json["envelope_pieces"].as_array() else { return Ok(None) };
        let mut message = Vec::new();
        for piece in pieces {
            match piece["text"].as_str() {
                Some(text) => message.extend_from_slice(text.as_bytes()),
                None => message.extend(bytes(piece)?),
            }
        }
        Ok(Some(message))
    }
}

/// `cargo xtask vectors lint`: the tests that read the files
///
/// They are tests alone, so that `cargo xtask demo` need not compile a checker of JSON schemas.
pub(crate) fn lint() -> Result<()> {
    process::run(cargo().args(["test", "--quiet", "--locked", "--package", "xtask", "--bin", "xtask", "vectors::lint"]))
}

/// The folder of all test data
pub(crate) fn testdata() -> PathBuf {
    root().join("testdata")
}

/// Every vector, by name
pub(crate) fn load() -> Result<Vec<Vector>> {
    let mut vectors = Vec::new();
    for (folder, kind) in FOLDERS {
        for path in entries(&testdata().join(folder))? {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let name = format!("{folder}/{stem}");
            let text = fs::read_to_string(&path)?;
            let json = parse(&text).with_context(|| format!("{name} is not JSON"))?;
            vectors.push(Vector { name, kind, text, json });
        }
    }
    if vectors.is_empty() {
        bail!("no vectors in {}", testdata().display());
    }
    Ok(vectors)
}

/// JSON of any depth: dictionaries go to 127 levels, and stand some levels down in a vector or an answer
pub(crate) fn parse(text: &str) -> Result<Value> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let mut values = reader.into_iter();
    match (values.next(), values.next()) {
        (Some(Ok(value)), None) => Ok(value),
        (Some(Err(error)), _) | (_, Some(Err(error))) => Err(error.into()),
        _ => Err(anyhow!("not one JSON value")),
    }
}

/// The bytes of `base64`, `blob` or `repeat`
pub(crate) fn bytes(tagged: &Value) -> Result<Vec<u8>> {
    if let Some(text) = tagged["base64"].as_str() {
        return STANDARD.decode(text).context("a base64 value");
    }
    if let Some(name) = tagged["blob"].as_str() {
        return Ok(fs::read(testdata().join("blobs").join(name))?);
    }
    let count = tagged["repeat"]["count"].as_u64().and_then(|count| usize::try_from(count).ok());
    let byte = tagged["repeat"]["byte"].as_u64().and_then(|byte| u8::try_from(byte).ok());
    match (byte, count) {
        (Some(byte), Some(count)) => Ok(vec![byte; count]),
        _ => Err(anyhow!("no bytes: {tagged}")),
    }
}
