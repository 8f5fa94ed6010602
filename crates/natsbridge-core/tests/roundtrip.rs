//! The law that tests everything: open(plan(m)) = m, however it travelled.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::as_conversions,
    clippy::needless_pass_by_value,
    reason = "test code"
)]

use std::collections::HashMap;

use bytes::Bytes;
use natsbridge_core::{
    Arrival, Digest, Downloaded, Draw, Envelope, Header, Limits, LinkLifetime, OutboundMessage, Part, PayloadType,
    Plan, PlanError, Purpose, ReceivePolicy, ReceiverKind, Rows, Sender, Source, Transport, Uploaded, Value, plan,
};
use proptest::prelude::*;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

/// One moment, and identifiers that count from 1
#[derive(Default)]
struct Counting(u128);

impl Draw for Counting {
    fn now(&mut self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_778_660_130).unwrap()
    }

    fn new_id(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(self.0)
    }
}

/// A file server: bytes by URL
type Store = HashMap<String, Bytes>;

fn planned(message: OutboundMessage, limits: &Limits) -> Result<Plan, PlanError> {
    plan(message, &Sender::default(), limits, &mut Counting::default())
}

/// Uploads into a map, and makes the envelope
fn finish(plan: Plan, store: &mut Store) -> Result<Envelope, PlanError> {
    let mut uploaded = Vec::new();
    for upload in plan.uploads() {
        let bytes = upload.source().clone().into_bytes().expect("no files here");
        let url = format!("http://files.test/{}", store.len());
        uploaded.push(Uploaded::new(&*url, bytes.len() as u64, Digest::of(&bytes)));
        store.insert(url, bytes);
    }
    plan.finish(uploaded)
}

/// Plans, uploads, and makes the envelope
fn sent(message: OutboundMessage, limits: &Limits) -> Result<(Envelope, Store), PlanError> {
    sent_by(&Sender::default(), message, limits)
}

fn sent_by(sender: &Sender, message: OutboundMessage, limits: &Limits) -> Result<(Envelope, Store), PlanError> {
    let mut store = Store::new();
    let envelope = finish(plan(message, sender, limits, &mut Counting::default())?, &mut store)?;
    Ok((envelope, store))
}

/// The same JSON, written into memory that other messages share
fn written(envelope: &Envelope, memory: &mut bytes::BytesMut) -> Bytes {
    envelope.write_json(memory);
    memory.split().freeze()
}

/// Reads, downloads from the map, opens
fn received(json: &[u8], store: &Store) -> (Header, Vec<Part>) {
    let (header, arrivals) = Envelope::from_json(json).unwrap().open(&ReceivePolicy::default().strict(true));
    let parts = arrivals.into_iter().map(|arrival| match arrival {
        Arrival::Ready(part) => part,
        Arrival::Download(download) => {
            let bytes = store[&download.link().url].clone();
            let sha256 = Digest::of(&bytes);
            download.downloaded(Downloaded::new(bytes.into(), sha256)).unwrap()
        }
        Arrival::Failed { error, .. } => panic!("{error}"),
    });
    (header, parts.collect())
}

/// The law, and that the envelope is as long as it was planned to be
fn check(parts: &[Part], limits: &Limits) -> Envelope {
    let mut message = OutboundMessage::new("lab.results");
    message.parts = parts.to_vec();
    let (envelope, store) = sent(message, limits).unwrap();
    let json = envelope.to_json();
    assert!(json.len() as u64 <= limits.message_limit(), "{} bytes", json.len());
    assert_eq!(Envelope::from_json(&json).unwrap(), envelope, "what is written is what is read");
    assert_eq!(written(&envelope, &mut bytes::BytesMut::new()), json);
    let (header, back) = received(&json, &store);
    assert_eq!(header.send_to(), "lab.results");
    assert_eq!(back.len(), parts.len());
    for (back, part) in back.iter().zip(parts) {
        assert_eq!(
            (back.name(), back.payload_type(), back.source()),
            (part.name(), part.payload_type(), part.source())
        );
    }
    envelope
}

fn binary(name: &str, size: usize) -> Part {
    let bytes: Vec<u8> = (0..size).map(|at| (at % 251).try_into().unwrap()).collect();
    Part::new(name, PayloadType::Binary, bytes).unwrap()
}

fn transports(envelope: &Envelope) -> Vec<Transport> {
    envelope.payloads().iter().map(natsbridge_core::Payload::transport).collect()
}

#[test]
fn sizes_around_every_limit_travel_as_they_should() {
    use Transport::{Direct, Link};
    for (size, transport) in
        [(0, Direct), (1, Direct), (499_999, Direct), (500_000, Link), (500_001, Link), (3_000_000, Link)]
    {
        assert_eq!(transports(&check(&[binary("b", size)], &Limits::default())), [transport], "{size}");
    }
    let small = Limits::default().size_threshold(10);
    assert_eq!(transports(&check(&[binary("a", 9), binary("b", 10)], &small)), [Direct, Link]);
    let zero = Limits::default().size_threshold(0);
    assert_eq!(transports(&check(&[binary("a", 0)], &zero)), [Link]);
}

fn message_of(parts: &[(&str, usize)]) -> OutboundMessage {
    parts.iter().fold(OutboundMessage::new("a"), |message, (name, len)| message.part(binary(name, *len)))
}

fn names_of_uploads(plan: &Plan) -> Vec<&str> {
    plan.uploads().map(|upload| &*upload.object().dataname).collect()
}

#[test]
fn uploads_are_payloads_over_the_threshold_or_the_largest() {
    let small = Limits::default().size_threshold(10);
    let uploads = |parts: &[(&str, usize)], limits: &Limits| {
        names_of_uploads(&planned(message_of(parts), limits).unwrap()).join(" ")
    };
    assert_eq!(uploads(&[], &small), "");
    assert_eq!(uploads(&[("a", 1), ("b", 2)], &small), "");
    assert_eq!(uploads(&[("a", 1), ("b", 10), ("c", 1), ("d", 11)], &small), "b d");
    // Not by the threshold: they don't fit together.
    assert_eq!(uploads(&[("a", 9), ("b", 400_000), ("c", 450_000), ("d", 9)], &Limits::default()), "c");
}

#[test]
fn plan_is_not_finished_without_every_upload() {
    let limits = Limits::default().size_threshold(10);
    let plan = planned(message_of(&[("first", 10), ("direct", 1), ("second", 11)]), &limits).unwrap();
    let stored = |size: u64| Uploaded::new("http://files.test/x", size, Digest::of(b""));
    let envelope = plan.clone().finish([stored(10), stored(11)]).unwrap();
    let names: Vec<_> = envelope.payloads().iter().map(natsbridge_core::Payload::dataname).collect();
    assert_eq!(names, ["first", "direct", "second"]);
    for (uploaded, code, dataname) in [
        (vec![], "not_uploaded", "first"),
        (vec![stored(10)], "not_uploaded", "second"),
        (vec![stored(10), stored(12)], "size_mismatch", "second"),
        (vec![stored(11), stored(10)], "size_mismatch", "first"),
    ] {
        let error = plan.clone().finish(uploaded).unwrap_err();
        assert_eq!((error.code(), error.dataname()), (code, Some(dataname)), "{error}");
    }
}

#[test]
fn message_planned_again_keeps_all_but_new_links() {
    let mut store = Store::new();
    let parts = [("link", 500_000), ("small", 10), ("large", 3_000), ("larger", 4_000)];
    let mut first = finish(planned(message_of(&parts), &Limits::default()).unwrap(), &mut store).unwrap();
    first.set_sequence(7, Uuid::from_u128(9));
    let lifetime = LinkLifetime::one_shot(std::time::Duration::from_secs(60));
    let limits = Limits::default().max_message_size(8_000);
    let again = first.plan_again(&limits, lifetime).unwrap();
    assert_eq!(names_of_uploads(&again), ["larger"]);
    assert!(again.uploads().all(|upload| upload.object().link_lifetime == lifetime));
    let second = finish(again, &mut store).unwrap();
    assert_eq!((second.header(), second.header().seq()), (first.header(), Some(7)));
    assert_eq!(second.payloads()[..3], first.payloads()[..3]);
    assert_eq!(second.payloads()[3].id(), first.payloads()[3].id());
    let (_, back) = received(&second.to_json(), &store);
    assert_eq!(back[3].source(), binary("", 4_000).source());
    assert_eq!(first.plan_again(&limits.links(false), lifetime).unwrap_err().code(), "too_large");
}

#[test]
fn payloads_exceeding_the_broker_together_are_split() {
    let parts = [binary("first", 499_999), binary("second", 499_999), binary("small", 10)];
    use Transport::{Direct, Link};
    assert_eq!(transports(&check(&parts, &Limits::default())), [Link, Direct, Direct]);
    let parts = [binary("small", 300_000), binary("large", 499_999)];
    assert_eq!(transports(&check(&parts, &Limits::default())), [Direct, Link]);
}

#[test]
fn envelope_may_fill_the_broker_to_the_last_byte() {
    let exact = check(&[binary("b", 1_000)], &Limits::default()).to_json().len() as u64;
    let fits = Limits::default().links(false).max_message_size(exact);
    check(&[binary("b", 1_000)], &fits);
    let mut message = OutboundMessage::new("lab.results");
    message.parts = vec![binary("b", 1_000)];
    let error = sent(message, &fits.max_message_size(exact - 1)).unwrap_err();
    assert_eq!(error.code(), "too_large");
    let text = error.to_string();
    assert!(text.contains(&format!("needs {exact} bytes")) && text.contains("`b` 1000"), "{text}");
}

#[test]
fn message_that_fits_nowhere_is_refused_with_its_sizes() {
    let mut message = OutboundMessage::new("lab.results");
    message.parts = (0..2_000).map(|at| binary(&format!("p{at}"), 600)).collect();
    let error = sent(message, &Limits::default()).unwrap_err();
    assert_eq!((error.code(), error.dataname()), ("too_large", None));
    let text = error.to_string();
    assert!(text.contains("takes 1048576, with all that can be linked as links"), "{text}");
    assert!(
        text.contains("`p0` 600") && text.contains("and 1992 more"),
        "links would take more than they save: {text}"
    );
}

#[test]
fn named_receivers_have_their_own_limits() {
    let device = Limits::default().receiver(ReceiverKind::MicroPython);
    let one = |part: Part, limits: &Limits| {
        let mut message = OutboundMessage::new("a");
        message.parts = vec![part];
        sent(message, limits)
    };
    assert!(one(binary("b", 50_000), &device).is_ok());
    let error = one(binary("reading", 50_001), &device).unwrap_err();
    assert_eq!(error.code(), "too_large");
    for word in ["`reading`", "50001", "50000", "MicroPython"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    let file = Part::from_file("video", PayloadType::Video, "/nowhere", 10);
    assert_eq!(one(file, &device).unwrap_err().code(), "links_not_allowed");
    let table = Part::from_source("t", PayloadType::ArrowTable, Bytes::from_static(b"anything"));
    for limits in [device, Limits::default().receiver(ReceiverKind::Browser)] {
        let error = one(table.clone(), &limits).unwrap_err();
        assert!(error.code() == "unsupported" && error.to_string().contains("jsontable"), "{error}");
    }
}

#[test]
fn link_states_its_lifetime() {
    let life_of = |message: OutboundMessage| {
        let plan = planned(message.part(binary("b", 500_000)), &Limits::default()).unwrap();
        plan.uploads().next().expect("a link").object().link_lifetime
    };
    let mut to_one = OutboundMessage::new("a");
    to_one.receiver_id = "00000000-0000-0000-0000-000000000001".into();
    let mut acknowledged = to_one.clone();
    acknowledged.awaits_ack = true;
    let mut short = to_one.clone();
    short.link_lifetime = Some(LinkLifetime::expiring(std::time::Duration::from_secs(60)));
    assert_eq!(life_of(OutboundMessage::new("a")), LinkLifetime::expiring(LinkLifetime::DEFAULT_TTL));
    assert_eq!(life_of(to_one), LinkLifetime::one_shot(LinkLifetime::DEFAULT_TTL));
    assert_eq!(life_of(acknowledged), LinkLifetime::expiring(LinkLifetime::DEFAULT_TTL));
    assert_eq!(life_of(short.clone()), short.link_lifetime.unwrap());
}

#[test]
fn header_keeps_every_field_and_its_order() {
    let mut message = OutboundMessage::new("a.b");
    message.correlation_id = Some("c-1".into());
    message.msg_purpose = Purpose::Nack;
    message.receiver_name = "r".into();
    message.receiver_id = "r-1".into();
    message.reply_to = "a.reply".into();
    message.reply_to_msg_id = "m-0".into();
    let sender = Sender::default().name("måler \"1\"\n").broker_url("nats://user:secret@a:4222, nats://token@b:4222");
    message.metadata =
        [("code".to_owned(), json!("expired")), ("big".to_owned(), json!(u64::MAX))].into_iter().collect();
    let (envelope, _) = sent_by(&sender, message, &Limits::default()).unwrap();
    let json = String::from_utf8(envelope.to_json().to_vec()).unwrap();
    assert_eq!(
        json,
        r#"{"correlation_id":"c-1","msg_id":"00000000-0000-0000-0000-000000000001","timestamp":"2026-05-13T08:15:30.000Z","send_to":"a.b","msg_purpose":"NACK","sender_name":"måler \"1\"\n","sender_id":"00000000-0000-0000-0000-000000000002","receiver_name":"r","receiver_id":"r-1","reply_to":"a.reply","reply_to_msg_id":"m-0","broker_url":"nats://a:4222,nats://b:4222","metadata":{"code":"expired","big":18446744073709551615},"payloads":[]}"#
    );
    let header = Envelope::from_json(json.as_bytes()).unwrap().header().clone();
    assert_eq!(&header, envelope.header());
    assert_eq!(header.sent_at(), OffsetDateTime::from_unix_timestamp(1_778_660_130).ok());
}

#[test]
fn characters_that_json_escapes_are_escaped_everywhere() {
    const ODD: &str = "\"\\\n\u{1}";
    let set: [fn(&mut OutboundMessage); 8] = [
        |message| message.send_to = ODD.into(),
        |message| message.correlation_id = Some(ODD.into()),
        |message| message.msg_id = Some(ODD.into()),
        |message| message.msg_purpose = ODD.into(),
        |message| message.receiver_name = ODD.into(),
        |message| message.receiver_id = ODD.into(),
        |message| message.reply_to = ODD.into(),
        |message| message.reply_to_msg_id = ODD.into(),
    ];
    let messages = set.map(|set| {
        let mut message = OutboundMessage::new("a");
        set(&mut message);
        message
    });
    let usual = Sender::default().id("s-1").broker_url("nats://localhost:4222");
    let senders = [usual.clone().name(ODD), usual.clone().id(ODD), usual.clone().broker_url(ODD)];
    let named = OutboundMessage::new("a").part(binary(ODD, 10));
    let cases = messages.into_iter().map(|message| (&usual, message));
    let cases = cases.chain(senders.iter().map(|sender| (sender, OutboundMessage::new("a")))).chain([(&usual, named)]);
    let mut memory = bytes::BytesMut::new();
    for (sender, message) in cases {
        let (envelope, _) = sent_by(sender, message.part(binary("b", 10)), &Limits::default()).unwrap();
        let json = envelope.to_json();
        assert_eq!(Envelope::from_json(&json).unwrap(), envelope);
        assert!(String::from_utf8_lossy(&json).contains(r#""\"\\\n\u0001""#), "{json:?}");
        assert_eq!(written(&envelope, &mut memory), json);
    }
}

#[cfg(feature = "arrow")]
#[test]
fn large_table_travels_direct_where_it_may() {
    use std::sync::Arc;

    use arrow_array::{Int64Array, RecordBatch};
    let numbers = Arc::new(Int64Array::from_iter_values(0..70_000)) as _;
    let table = natsbridge_core::Table::from(RecordBatch::try_from_iter([("n", numbers)]).unwrap());
    let value = Value::from(table);
    let part = Part::new("t", PayloadType::ArrowTable, value.clone()).unwrap();
    assert!(matches!(part.source(), Source::Pieces(_)));
    for (threshold, transport) in [(500_000, Transport::Link), (u64::MAX, Transport::Direct)] {
        let message = OutboundMessage::new("a").part(part.clone());
        let (envelope, store) = sent(message, &Limits::default().size_threshold(threshold)).unwrap();
        assert_eq!(envelope.payloads()[0].transport(), transport);
        let (_, mut parts) = received(&envelope.to_json(), &store);
        assert_eq!(parts.pop().unwrap().into_value().unwrap(), value);
    }
    let browser = Limits::default().receiver(ReceiverKind::Browser).convert_tables(true);
    let (envelope, _) = sent(OutboundMessage::new("a").part(part), &browser).unwrap();
    assert_eq!(envelope.payloads()[0].payload_type(), PayloadType::JsonTable);
}

/// Arrow tables of three columns, one of them with nulls; without the feature the same as rows
fn tables() -> impl Strategy<Value = (PayloadType, Value)> {
    // NaN equals nothing, itself included; tests/table.rs looks after its bits.
    let real = any::<f64>().prop_filter("compared with ==", |real| !real.is_nan());
    proptest::collection::vec((any::<i64>(), real, proptest::option::of(any::<String>())), 0..40).prop_map(table)
}

#[cfg(feature = "arrow")]
fn table(rows: Vec<(i64, f64, Option<String>)>) -> (PayloadType, Value) {
    use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
    let whole: ArrayRef = std::sync::Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let real: ArrayRef = std::sync::Arc::new(rows.iter().map(|row| row.1).collect::<Float64Array>());
    let text: ArrayRef = std::sync::Arc::new(rows.into_iter().map(|row| row.2).collect::<StringArray>());
    let batch = RecordBatch::try_from_iter([("whole", whole), ("real", real), ("text", text)]).unwrap();
    (PayloadType::ArrowTable, Value::from(batch))
}

#[cfg(not(feature = "arrow"))]
fn table(rows: Vec<(i64, f64, Option<String>)>) -> (PayloadType, Value) {
    let rows = rows.into_iter().map(|(whole, _, text)| [("whole", json!(whole)), ("text", json!(text))]);
    let rows = rows.map(|row| row.into_iter().map(|(name, cell)| (name.to_owned(), cell)).collect());
    (PayloadType::JsonTable, Value::from(Rows::new(rows.collect())))
}

fn values() -> impl Strategy<Value = (PayloadType, Value)> {
    let scalar = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<u64>().prop_map(|value| json!(value)),
        any::<f64>().prop_filter("JSON has no such number", |value| value.is_finite()).prop_map(|value| json!(value)),
        any::<String>().prop_map(|value| json!(value)),
    ];
    let json = scalar.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|items| json!(items)),
            proptest::collection::hash_map(any::<String>(), inner, 0..6).prop_map(|map| json!(map)),
        ]
    });
    let row = proptest::collection::hash_map("[a-c]", json.clone(), 0..3)
        .prop_map(|row| row.into_iter().collect::<serde_json::Map<_, _>>());
    let bytes = proptest::collection::vec(any::<u8>(), 0..2_000).prop_map(Value::from);
    prop_oneof![
        tables(),
        any::<String>().prop_map(|text| (PayloadType::Text, Value::from(text))),
        json.prop_map(|json| (PayloadType::Dictionary, Value::from(json))),
        proptest::collection::vec(row, 0..5).prop_map(|rows| (PayloadType::JsonTable, Value::from(Rows::new(rows)))),
        (
            prop_oneof![
                Just(PayloadType::Image),
                Just(PayloadType::Audio),
                Just(PayloadType::Video),
                Just(PayloadType::Binary)
            ],
            bytes
        ),
    ]
}

proptest! {
    #[test]
    fn messages_all_arrive_as_they_were_sent(
        parts in proptest::collection::vec((any::<String>(), values()), 0..5),
        threshold in 0_u64..3_000,
        room in 12_000_u64..40_000,
    ) {
        let limits = Limits::default().size_threshold(threshold).max_message_size(room).link_allowance(300);
        let encoded: Vec<_> = parts
            .iter()
            .map(|(name, (payload_type, value))| Part::new(name.as_str(), *payload_type, value.clone()).unwrap())
            .collect();
        let mut message = OutboundMessage::new("lab.results");
        message.parts = encoded.clone();
        prop_assume!(sent(message, &limits).is_ok());
        check(&encoded, &limits);
        for (part, (_, (_, value))) in encoded.iter().zip(&parts) {
            prop_assert_eq!(&part.value().unwrap(), value);
        }
    }

    #[test]
    fn reader_gives_a_value_or_an_error_for_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Envelope::from_json(&bytes);
    }

    #[test]
    fn damaged_envelope_gives_a_value_or_an_error(
        at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<proptest::sample::Index>(),
    ) {
        let mut message = OutboundMessage::new("a.b");
        message.metadata.insert("k".into(), json!([1, "é"]));
        message.parts = vec![binary("b", 40), Part::new("d", PayloadType::Dictionary, json!({"a": [1.5]})).unwrap()];
        let (envelope, _) = sent(message, &Limits::default()).unwrap();
        let mut bytes = envelope.to_json().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Envelope::from_json(&bytes) {
            let again = Envelope::from_json(&read.to_json()).unwrap();
            prop_assert_eq!(again.to_json(), read.to_json());
            for arrival in read.open(&ReceivePolicy::default()).1 {
                if let Arrival::Ready(part) = arrival {
                    let _ = part.into_value();
                }
            }
        }
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(Envelope::from_json(&bytes).is_err());
    }
}
