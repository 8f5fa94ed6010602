//! What the reader accepts and what it refuses, rule by rule (specification, section 5).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::as_conversions,
    clippy::needless_pass_by_value,
    reason = "test code"
)]

use natsbridge_core::{
    Arrival, Digest, Downloaded, Envelope, EnvelopeError, Header, Part, PayloadError, PayloadType, Purpose,
    ReceivePolicy, Source,
};
use serde_json::{Value as Json, json};

fn envelope(payload: Json) -> String {
    json!({"msg_id": "m", "payloads": [payload]}).to_string()
}

fn payload(with: Json) -> Json {
    let mut payload = json!({"id": "p", "dataname": "lunch", "payload_type": "text", "transport": "direct",
        "encoding": "base64", "size": 2, "data": "aGk=", "metadata": {}});
    for (key, value) in with.as_object().unwrap() {
        match value.as_str() {
            Some("absent") => payload.as_object_mut().unwrap().remove(key),
            _ => payload.as_object_mut().unwrap().insert(key.clone(), value.clone()),
        };
    }
    payload
}

fn opened(json: &str, checks: &ReceivePolicy) -> Result<Part, PayloadError> {
    match Envelope::from_json(json.as_bytes()).unwrap().open(checks).1.pop() {
        Some(Arrival::Ready(part)) => Ok(part),
        Some(Arrival::Failed { error, .. }) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn refused(json: &str) -> EnvelopeError {
    Envelope::from_json(json.as_bytes()).unwrap_err()
}

#[test]
fn missing_and_null_fields_read_as_empty() {
    for json in [
        r#"{"payloads":[]}"#,
        r#"{"msg_id":null,"metadata":null,"sender_name":null,"later":[{"x":NULL}],"payloads":[]}"#,
    ] {
        let read = Envelope::from_json(json.replace("NULL", "null").as_bytes()).unwrap();
        assert_eq!((read.header().msg_id(), read.header().sender_name(), read.payloads().len()), ("", "", 0));
        assert_eq!(read.header().msg_purpose(), Purpose::Other("".into()));
    }
    let read = opened(
        &envelope(payload(json!({"id": null, "dataname": null, "size": null, "metadata": null, "later": 1}))),
        &ReceivePolicy::default(),
    );
    assert_eq!(read.unwrap().name(), "");
}

#[test]
fn direct_data_is_read_in_every_encoding_that_a_peer_writes() {
    for (with, bytes) in [
        (json!({}), "hi"),
        (json!({"encoding": "json"}), "hi"),
        (json!({"encoding": "arrow-ipc"}), "hi"),
        (json!({"encoding": ""}), "hi"),
        (json!({"encoding": "absent"}), "hi"),
        (json!({"data": "aGk"}), "hi"),
        (json!({"data": "aG\r\nk="}), "hi"),
        (json!({"data": "a\u{47}k="}), "hi"),
        (json!({"encoding": "none", "data": "h\"i\n"}), "h\"i\n"),
        (
            json!({"encoding": "json", "data": {"a": [1, 18446744073709551615_u64]}}),
            r#"{"a":[1,18446744073709551615]}"#,
        ),
        (json!({"encoding": "json", "data": null}), "null"),
        (json!({"encoding": "json", "data": false}), "false"),
        (json!({"size": 2.0}), "hi"),
    ] {
        let part = opened(&envelope(payload(with.clone())), &ReceivePolicy::default()).unwrap();
        assert_eq!(part.bytes().unwrap(), bytes.as_bytes(), "{with}");
    }
    let escaped = envelope(payload(json!({}))).replace("aGk=", r"\u0061Gk=").replace("lunch", r"l\u00fcnch");
    let part = opened(&escaped, &ReceivePolicy::default()).unwrap();
    assert_eq!((part.name(), &part.bytes().unwrap()[..]), ("lünch", &b"hi"[..]));
}

#[test]
fn faults_have_their_codes_and_name_the_payload() {
    for (with, code, says) in [
        (json!({"payload_type": "absent"}), "missing_field", "`payload_type` is missing"),
        (json!({"payload_type": null}), "missing_field", "`payload_type` is missing"),
        (json!({"transport": "absent"}), "missing_field", "`transport` is missing"),
        (json!({"data": "absent"}), "missing_field", "`data` is missing"),
        (json!({"data": null}), "missing_field", "`data` is missing"),
        (json!({"payload_type": "Text"}), "unknown_payload_type", "unknown payload_type `Text`"),
        (json!({"payload_type": 7}), "wrong_type", "`payload_type` is not a string"),
        (json!({"transport": "pigeon"}), "unknown_transport", "unknown transport `pigeon`"),
        (json!({"encoding": "gzip"}), "unknown_encoding", "unknown encoding `gzip`"),
        (json!({"data": "a*k="}), "base64", "not base64"),
        (json!({"data": [1]}), "wrong_type", "`data` is not a string"),
        (json!({"transport": "link", "data": 7}), "wrong_type", "`data` is not a string"),
        (json!({"size": "2"}), "wrong_type", "`size` is not a number of bytes"),
        (json!({"size": -2}), "wrong_type", "`size` is not a number of bytes"),
        (json!({"metadata": []}), "wrong_type", "`metadata` is not an object"),
    ] {
        let error = refused(&envelope(payload(with.clone())));
        assert_eq!((error.code(), error.dataname()), (code, Some("lunch")), "{with}: {error}");
        assert!(error.to_string().contains("`lunch`") && error.to_string().contains(says), "{with}: {error}");
    }
    let error = refused(&envelope(payload(json!({"dataname": 7}))));
    assert_eq!((error.code(), error.dataname()), ("wrong_type", Some("#0")));
}

#[test]
fn link_is_a_url_whatever_its_encoding() {
    for encoding in ["none", "base64", "gzip", ""] {
        let json =
            envelope(payload(json!({"transport": "link", "encoding": encoding, "data": "http://h/x", "size": 3,
            "metadata": {"expires_at": "2026-05-13T08:15:30Z", "one_shot": true}})));
        let Some(Arrival::Download(download)) =
            Envelope::from_json(json.as_bytes()).unwrap().open(&ReceivePolicy::default()).1.pop()
        else {
            panic!("a link")
        };
        let link = download.link().clone();
        assert_eq!(
            (link.url.as_str(), link.size, link.one_shot, link.expires_at.is_some()),
            ("http://h/x", Some(3), true, true)
        );
        let bytes = Source::from(&b"four"[..]);
        let error = download.downloaded(Downloaded::new(bytes, Digest::of(b"four"))).unwrap_err();
        assert_eq!((error.code(), error.dataname()), ("size_mismatch", "lunch"));
    }
}

#[test]
fn size_is_a_whole_number_in_any_form_of_json() {
    let given = |size: &str| {
        let json = envelope(payload(json!({"transport": "link", "data": "http://h/x", "size": 7777})));
        let message = Envelope::from_json(json.replace("7777", size).as_bytes()).map_err(|error| error.code())?;
        let Some(Arrival::Download(download)) = message.open(&ReceivePolicy::default()).1.pop() else {
            panic!("a link")
        };
        Ok(download.link().size)
    };
    // R writes 100000 as 1e+05.
    for (written, size) in [("1e+05", 100_000), ("100000.0", 100_000), ("3e0", 3), ("30e-1", 3), ("0.3E1", 3)] {
        assert_eq!(given(written), Ok(Some(size)), "{written}");
    }
    for unknown in ["0", "0.0", "-0", "-0.0", "0e5"] {
        assert_eq!(given(unknown), Ok(None), "{unknown}");
    }
    for wrong in ["3.5", "-3", "-1e2", "1e-5", "1e20", "1e400", "18446744073709551616", "\"3\"", "true", "[3]"] {
        assert_eq!(given(wrong), Err("wrong_type"), "{wrong}");
    }
}

#[test]
fn digest_is_checked_before_the_payload_is_handed_out() {
    let right = Digest::of(b"hi").to_string();
    let direct =
        |sha256: Json| opened(&envelope(payload(json!({"metadata": {"sha256": sha256}}))), &ReceivePolicy::default());
    assert!(direct(json!(right)).is_ok() && direct(json!(right.to_uppercase())).is_ok() && direct(json!(null)).is_ok());
    for wrong in [json!(Digest::of(b"ho").to_string()), json!("abc"), json!(7), json!(["x"])] {
        let error = direct(wrong.clone()).unwrap_err();
        assert_eq!((error.code(), error.dataname()), ("digest", "lunch"), "{wrong}");
    }
    let link = envelope(payload(json!({"transport": "link", "data": "http://h/x"})));
    assert!(matches!(
        Envelope::from_json(link.as_bytes()).unwrap().open(&ReceivePolicy::default()).1[..],
        [Arrival::Download(_)]
    ));
    let error = opened(&link, &ReceivePolicy::default().strict(true)).unwrap_err();
    assert_eq!(error.code(), "digest_missing");
}

#[test]
fn wrong_size_of_direct_data_counts_in_strict_mode_only() {
    let json = envelope(payload(json!({"size": 3})));
    assert!(opened(&json, &ReceivePolicy::default()).is_ok());
    let error = opened(&json, &ReceivePolicy::default().strict(true)).unwrap_err();
    assert_eq!(error.to_string(), "payload `lunch`: there are 2 bytes, the envelope says 3");
    let error = opened(&json, &ReceivePolicy::default().max_payload_size(1)).unwrap_err();
    assert_eq!(error.code(), "too_large");
    let huge = envelope(payload(json!({"transport": "link", "data": "http://h/x", "size": u64::MAX})));
    assert_eq!(opened(&huge, &ReceivePolicy::default()).unwrap_err().code(), "too_large");
}

#[test]
fn failed_payload_leaves_the_others_readable() {
    let bad = payload(json!({"dataname": "bad", "metadata": {"sha256": "0"}}));
    let json = json!({"payloads": [payload(json!({})), bad, payload(json!({}))]}).to_string();
    let arrivals = Envelope::from_json(json.as_bytes()).unwrap().open(&ReceivePolicy::default()).1;
    assert!(
        matches!(&arrivals[..], [Arrival::Ready(_), Arrival::Failed { error, .. }, Arrival::Ready(_)] if error.dataname() == "bad")
    );
}

#[test]
fn invalid_json_is_an_error_with_line_and_column() {
    let deep = format!(r#"{{"metadata":{{"a":{}1{}}},"payloads":[]}}"#, "[".repeat(200), "]".repeat(200));
    for (json, line, column) in [
        ("", 1, 0),
        ("\u{feff}{}", 1, 1),
        ("{\n \"size\": NaN}", 2, 10),
        ("{\"payloads\":[]} x", 1, 17),
        ("{\"payloads\":[]\n,\"msg_id\":\"a\",\"msg_id\":\"b\"}", 2, 23),
        ("{\"payloads\":[],\"payloads\":[]}", 1, 26),
        ("{\n\"msg_id\":\"\\ud800\",\"payloads\":[]}", 2, 17),
        ("{\n\"payloads\":[\n{\"id\":\"a\",\n\"id\":\"b\"}]}", 4, 5),
        (
            "{\n\"payloads\":[\n{\"payload_type\":\"text\",\"transport\":\"direct\",\"data\":\"\",\n\"metadata\":{\"a\":1,\"a\":2}}]}",
            4,
            24,
        ),
        ("[1,]", 1, 4),
        ("[] x", 1, 4),
        ("7a", 1, 2),
        (&deep, 1, 144),
    ] {
        let error = refused(json);
        assert_eq!(error.position(), Some((line, column)), "{}: {error}", &json[..json.len().min(80)]);
    }
}

#[test]
fn fast_path_reads_the_usual_and_refuses_what_only_looks_so() {
    let epoch = "01234567-89ab-cdef-0123-456789abcdef";
    for json in [
        r#"{"payloads":[{"size":07}]}"#.to_owned(),
        format!(r#"{{"metadata":{{"seq":07,"epoch":"{epoch}"}},"payloads":[]}}"#),
        format!(r#"{{"metadata":{{"seq":7,"epoch":"{epoch}","seq":8}},"payloads":[]}}"#),
        format!(r#"{{"metadata":{{"seq":7,"epoch":"{epoch}"}}}},"payloads":[]}}"#),
        "{\"msg_id\":\"a\u{1}\",\"sender_name\":null,\"payloads\":[]}".to_owned(),
    ] {
        assert_eq!(refused(&json).code(), "not_json", "{json}: {}", refused(&json));
    }
    let json =
        format!(r#"{{"msg_id":"a\u0001","sender_name":null,"metadata":{{"seq":7,"epoch":"{epoch}"}},"payloads":[]}}"#);
    let envelope = Envelope::from_json(json.as_bytes()).unwrap();
    let header = envelope.header();
    assert_eq!((header.msg_id(), header.seq(), header.epoch()), ("a\u{1}", Some(7), Some(epoch)));
    let mut other: Json = serde_json::from_str(&json).unwrap();
    other["metadata"]["note"] = "more".into();
    let other = Envelope::from_json(other.to_string().as_bytes()).unwrap();
    assert_eq!((other.header().seq(), other.header().epoch()), (Some(7), Some(epoch)));
    assert_ne!(other.header(), header);
    assert_eq!(header.metadata()["seq"], 7);
    assert_eq!(&Envelope::from_json(&envelope.to_json()).unwrap(), &envelope);
}

#[test]
fn json_that_is_no_object_is_refused_with_its_type() {
    for (json, found) in [
        ("[]", "a JSON array"),
        (" [{\"payloads\":[]}]\n", "a JSON array"),
        ("7", "a JSON number"),
        ("\"text\"", "a JSON string"),
        ("true", "a JSON boolean"),
        ("null", "JSON null"),
    ] {
        let error = refused(json);
        assert_eq!((error.code(), error.dataname()), ("wrong_type", None), "{json}");
        assert_eq!(error.to_string(), format!("the message is not an envelope: it is {found}, not an object"));
    }
}

#[test]
fn errors_repeat_strangers_text_harmlessly() {
    let escape = "\u{9b}\u{202e}";
    let name = payload(json!({"dataname": escape, "encoding": escape}));
    let twice = payload(json!({}))
        .to_string()
        .replace("\"metadata\":{}", &format!("\"metadata\":{{\"{escape}\":1,\"{escape}\":2}}"));
    let base64 = payload(json!({"data": format!("aa{escape}")}));
    for json in [envelope(name), format!("{{\"payloads\":[{twice}]}}"), envelope(base64)] {
        let text = refused(&json).to_string();
        assert!(text.contains("\\u{9b}") && !text.contains(['\u{9b}', '\u{202e}']), "{text:?}");
    }
}

#[test]
fn envelope_without_payloads_is_none() {
    for (json, code) in [
        ("{}", "missing_field"),
        (r#"{"payloads":null}"#, "missing_field"),
        (r#"{"payloads":{}}"#, "wrong_type"),
        (r#"{"payloads":[1]}"#, "wrong_type"),
        (r#"{"payloads":[null,{}]}"#, "wrong_type"),
        (r#"{"payloads":[],"sender_name":7}"#, "wrong_type"),
        (r#"{"payloads":[],"metadata":"x"}"#, "wrong_type"),
    ] {
        assert_eq!(refused(json).code(), code, "{json}");
    }
}

/// Every text field with its name, in the order of the wire
fn fields(header: &Header) -> [(&'static str, String); 12] {
    [
        ("correlation_id", header.correlation_id()),
        ("msg_id", header.msg_id()),
        ("timestamp", header.timestamp()),
        ("send_to", header.send_to()),
        ("msg_purpose", header.msg_purpose().as_str()),
        ("sender_name", header.sender_name()),
        ("sender_id", header.sender_id()),
        ("receiver_name", header.receiver_name()),
        ("receiver_id", header.receiver_id()),
        ("reply_to", header.reply_to()),
        ("reply_to_msg_id", header.reply_to_msg_id()),
        ("broker_url", header.broker_url()),
    ]
    .map(|(name, field)| (name, field.to_owned()))
}

/// An envelope as our own writers put it: every field, in order, without a space
fn usual() -> String {
    let names = fields(Envelope::from_json(br#"{"payloads":[]}"#).unwrap().header()).map(|(name, _)| name);
    let fields = names.map(|name| format!(r#""{name}":"the {name}""#)).join(",");
    let payload = r#"{"id":"01234567-89ab-cdef-0123-456789abcdef","dataname":"lunch","payload_type":"text","transport":"direct","encoding":"base64","size":2,"data":"aGk=","metadata":{}}"#;
    let metadata = r#"{"seq":7,"epoch":"01234567-89ab-cdef-0123-456789abcdef"}"#;
    format!(r#"{{{fields},"metadata":{metadata},"payloads":[{payload}]}}"#)
}

#[test]
fn envelope_reads_the_same_in_every_json_form_of_it() {
    let usual = usual();
    let read = Envelope::from_json(usual.as_bytes()).unwrap();
    for (name, field) in fields(read.header()) {
        assert_eq!(field, format!("the {name}"));
    }
    assert_eq!(read.to_json(), usual.as_bytes());
    let value: Json = serde_json::from_str(&usual).unwrap();
    let backwards: serde_json::Map<_, _> = value.as_object().unwrap().clone().into_iter().rev().collect();
    for other in [
        serde_json::to_string_pretty(&value).unwrap(),
        serde_json::to_string(&backwards).unwrap(),
        usual.replace("the send_to", r"the send\u005fto"),
        usual.replace("\"sender_id\"", "\"later\":1,\"sender_id\""),
        usual.replace("\"sender_id\"", r#""sender\u005fid""#),
    ] {
        assert_ne!(other, usual);
        let other = Envelope::from_json(other.as_bytes()).unwrap();
        assert_eq!((&other, other.to_json()), (&read, read.to_json()));
    }
    for (found, fault) in [("the send_to", "the\u{1}send_to"), ("the msg_id\"", "the msg_id\",\"msg_id\":\"\"")] {
        let error = refused(&usual.replace(found, fault));
        assert_eq!(error.code(), "not_json", "{error}");
    }
    let mut bytes = usual.into_bytes();
    bytes[30] = 0xff;
    assert_eq!(Envelope::from_json(&bytes).unwrap_err().code(), "not_json");
}

/// What the scanner accepts, `serde_json` accepts too, and both read the same; the other way round, what it refuses is
/// either refused by `serde_json` or no envelope
fn agrees_with_the_reference(bytes: &[u8]) {
    let reference: Result<Json, _> = serde_json::from_slice(bytes);
    match (Envelope::from_json(bytes), reference) {
        (Ok(read), Ok(value)) => {
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            for (name, read) in fields(read.header()) {
                assert_eq!(read, text(name), "{name}");
            }
            assert_eq!(read.payloads().len(), value["payloads"].as_array().unwrap().len());
            for (payload, value) in read.payloads().iter().zip(value["payloads"].as_array().unwrap()) {
                assert_eq!(payload.dataname(), value["dataname"].as_str().unwrap_or_default());
                assert_eq!(
                    Json::from(payload.metadata().clone()),
                    value.get("metadata").cloned().filter(|m| !m.is_null()).unwrap_or(json!({}))
                );
            }
        }
        // A field that nobody reads may hold a lone surrogate, or nest deeper than a value may.
        (Ok(_), Err(_)) => drop(serde_json::from_slice::<serde::de::IgnoredAny>(bytes).unwrap()),
        (Err(error), Ok(value)) if error.code() == "not_json" => {
            let expected = error.to_string().contains("duplicate") || !value.is_object();
            assert!(expected, "{error}: {}", String::from_utf8_lossy(bytes));
        }
        (Err(_), _) => {}
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

    #[test]
    fn scanner_and_general_parser_agree(
        edits in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::sample::select(
            br#"{}[]":,\ un0-eE.+trfals/bd"#.iter().copied().chain([0, 9, 10, 0x1f, 0x7f, 0xc3, 0xa9, 0xff]).collect::<Vec<_>>())), 0..4),
        swap in proptest::prelude::any::<bool>(),
        as_usual in proptest::prelude::any::<bool>(),
    ) {
        let extra = r#","later":{"a":[1,-2.5e3,true,null,"\u00e9\n"]}, "metadata" : {"k" : [ ] , "é":"x\\"}}"#;
        let mut json = envelope(payload(json!({"dataname": "a\"b", "metadata": {"n": [1, {"m": "é"}]}, "size": 2})));
        if swap {
            json = json.replace("\"data\"", "\n  \"data\" ");
        }
        json.truncate(json.len() - 1);
        json.push_str(extra);
        if as_usual {
            json = usual();
        }
        let mut bytes = json.into_bytes();
        agrees_with_the_reference(&bytes);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        agrees_with_the_reference(&bytes);
    }
}

#[test]
fn payload_in_a_file_has_no_value_in_core() {
    let part = Part::from_file("clip", PayloadType::Video, "clip.mp4", 7);
    assert_eq!((part.size(), part.bytes()), (7, None));
    let error = part.value().unwrap_err();
    assert_eq!((error.code(), error.dataname()), ("in_file", "clip"));
}
