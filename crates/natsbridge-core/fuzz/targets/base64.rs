//! Any text as the base64 of a payload: read where the `base64` crate reads it in some form, and to the same bytes.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use libfuzzer_sys::fuzz_target;
use natsbridge_core::Envelope;
use serde_json::json;

/// The rule of the specification, spelled out: white space anywhere, either alphabet, whole or no padding
fn reference(text: &str) -> Option<Vec<u8>> {
    let plain: String = text
        .chars()
        .filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\n'))
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    let digits = plain.trim_end_matches('=');
    let padding = plain.len() - digits.len();
    let room = (4 - digits.len() % 4) % 4;
    if padding > room {
        return None;
    }
    STANDARD_NO_PAD.decode(digits).ok()
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let payload = json!({"payload_type": "binary", "transport": "direct", "encoding": "base64", "data": text});
    let json = json!({"payloads": [payload]}).to_string();
    let ours = Envelope::from_json(json.as_bytes()).ok();
    let ours = ours.as_ref().and_then(|envelope| envelope.payloads()[0].bytes()).map(|bytes| bytes.to_vec());
    assert_eq!(ours, reference(text), "{text:?}");
});
