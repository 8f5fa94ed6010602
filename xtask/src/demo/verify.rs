//! Compares what arrived with what was sent, and prints what travelled how.

use anyhow::{Result, bail};
use fs_err as fs;
use serde_json::Value;

use super::sent::{Content, Part};
use crate::workspace::sha256;

/// Prints one line a payload; fails unless every one arrived as it was sent
pub(super) fn report(parts: &[Part], message: &Value) -> Result<()> {
    let arrived = message["payloads"].as_array().map(Vec::as_slice).unwrap_or_default();
    println!("\n{:<9} {:<10} {:>9}  {:<7} {:<13} {:<6}", "name", "type", "bytes", "way", "sha256", "check");
    let mut wrong = Vec::new();
    for (part, payload) in parts.iter().zip(arrived) {
        let fault = difference(part, payload);
        let field = |name: &str| payload[name].as_str().unwrap_or("?").to_owned();
        println!(
            "{:<9} {:<10} {:>9}  {:<7} {:<13.12} {:<6}",
            field("dataname"),
            field("payload_type"),
            payload["size"].to_string(),
            field("transport"),
            field("sha256"),
            if fault.is_none() { "same" } else { "WRONG" },
        );
        wrong.extend(fault.map(|fault| format!("{}: {fault}", part.name)));
    }
    if arrived.len() != parts.len() {
        wrong.push(format!("{} payloads arrived instead of {}", arrived.len(), parts.len()));
    }
    if message["send_to"] != "demo.mixed" {
        wrong.push(format!("send_to is {} instead of \"demo.mixed\"", message["send_to"]));
    }
    if !wrong.is_empty() {
        bail!("not what was sent\n  {}", wrong.join("\n  "));
    }
    println!("\n{} payloads arrived as they were sent, the large one by link", arrived.len());
    println!("correlation id {}", message["correlation_id"].as_str().unwrap_or("?"));
    Ok(())
}

/// What is wrong with an arrived payload, if anything
fn difference(part: &Part, payload: &Value) -> Option<String> {
    let expected = [("dataname", part.name), ("payload_type", part.payload_type), ("transport", part.transport)];
    for (field, word) in expected {
        if payload[field] != word {
            return Some(format!("{field} is {} instead of {word}", payload[field]));
        }
    }
    match &part.content {
        Content::Text(text) if payload["value"] != *text => Some("another text".to_owned()),
        Content::Text(text) => digest_difference(text.as_bytes(), payload),
        Content::Json(value) => (payload["value"] != *value).then(|| "another JSON value".to_owned()),
        Content::Table(sheet) => sheet.difference(&payload["value"]),
        Content::Bytes(bytes) => digest_difference(bytes, payload).or_else(|| saved_difference(bytes, payload)),
    }
}

/// Compares the size and digest that the receiver states with those of the input
fn digest_difference(bytes: &[u8], payload: &Value) -> Option<String> {
    if payload["size"] != bytes.len() {
        return Some(format!("size is {} instead of {}", payload["size"], bytes.len()));
    }
    let digest = sha256(bytes);
    (payload["sha256"] != digest).then(|| format!("sha256 is {} instead of {digest}", payload["sha256"]))
}

/// Compares the file that the receiver saved with the input
fn saved_difference(bytes: &[u8], payload: &Value) -> Option<String> {
    let Some(path) = payload["path"].as_str() else {
        return Some("no path of a saved file".to_owned());
    };
    match fs::read(path) {
        Err(error) => Some(format!("cannot read the saved file {path}: {error}")),
        Ok(saved) if sha256(&saved) != sha256(bytes) => Some(format!("the saved file {path} is another")),
        Ok(_) => None,
    }
}
