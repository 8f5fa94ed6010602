//! Any bytes into the envelope reader: an error, or an envelope that survives being written and agrees with `serde_json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use natsbridge_core::{Envelope, ReceivePolicy, redacted};
use natsbridge_fuzz::{Memory, metadata_of};
use serde::de::IgnoredAny;
use serde_json::Value as Json;

/// Bytes held per byte of input: a payload without a word in it costs the most (`[{},{},…]`)
const TIMES: usize = 256;

fuzz_target!(|data: &[u8]| {
    let memory = Memory::watch();
    let read = Envelope::from_json(data);
    memory.within(TIMES * data.len() + (64 << 10));
    let envelope = match read {
        Ok(envelope) => envelope,
        Err(error) => {
            assert!(!error.code().is_empty() && !error.to_string().is_empty());
            if let Some((line, _)) = error.position() {
                assert!(line >= 1 && line <= data.len() + 1, "line {line}");
            }
            return;
        }
    };

    let written = envelope.to_json();
    let again = Envelope::from_json(&written).expect("what is written can be read");
    assert_eq!(again.header(), envelope.header());
    assert_eq!(again.to_json(), written, "writing is stable");

    match serde_json::from_slice::<Json>(data) {
        Ok(reference) => {
            for (field, ours) in [
                ("msg_id", envelope.header().msg_id()),
                ("send_to", envelope.header().send_to()),
                ("broker_url", envelope.header().broker_url()),
            ] {
                assert_eq!(ours, reference[field].as_str().unwrap_or_default(), "{field}");
            }
            let payloads = reference["payloads"].as_array().expect("payloads are an array");
            assert_eq!(envelope.payloads().len(), payloads.len());
            for (ours, theirs) in envelope.payloads().iter().zip(payloads) {
                assert_eq!(ours.dataname(), theirs["dataname"].as_str().unwrap_or_default());
                assert_eq!(ours.payload_type().as_str(), theirs["payload_type"].as_str().unwrap_or_default());
                assert_eq!(
                    ours.url().unwrap_or_default(),
                    theirs["data"].as_str().filter(|_| ours.url().is_some()).unwrap_or_default()
                );
                assert_eq!(ours.metadata(), &metadata_of(theirs));
            }
        }
        // A field that nobody reads may hold a lone surrogate, or nest deeper than a value may.
        Err(_) => drop(serde_json::from_slice::<IgnoredAny>(data).expect("JSON at least")),
    }

    for payload in again.payloads() {
        drop(payload.url().map(redacted));
    }
    for checks in [ReceivePolicy::default(), ReceivePolicy::default().strict(true).max_payload_size(1000)] {
        drop(envelope.clone().open(&checks));
    }
});
