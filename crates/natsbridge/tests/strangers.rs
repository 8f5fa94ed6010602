//! What strangers write: it writes to no terminal and no log, and this program answers only where it may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::cell::RefCell;
use std::error::Error as _;
use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use natsbridge::broker::{Broker, Publish, Subject, Subscription};
use natsbridge::metrics::describe_metrics;
use natsbridge::{
    Bridge, Config, DeliverOptions, Error, HandlerError, MemoryBroker, ReceiveOptions, ServeOptions, smartreceive,
};
use serde_json::{Value as Json, json};
use tracing::field::{Field, Visit};
use tracing::span;

/// Escapes, line ends, C1, marks of direction and order, and one that begins a file
const HARMFUL: &str = "A\u{1b}[31mB\r\nC\u{7}\u{8}\u{7f}D\u{9b}2JE\u{85}\u{61c}F\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}G\u{2066}\u{2069}H\u{feff}\0";

thread_local! {
    static LOGGED: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
}

/// Keeps every field of every event, with the whole chain of an error
struct Log;

struct Reader;

impl Visit for Reader {
    fn record_str(&mut self, field: &Field, value: &str) {
        keep(field.name(), value.to_owned());
    }
    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            keep(field.name(), error.to_string());
            keep(field.name(), format!("{error:?}"));
            next = error.source();
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        keep(field.name(), format!("{value:?}"));
    }
}

fn keep(name: &str, value: String) {
    LOGGED.with_borrow_mut(|fields| fields.push((name.to_owned(), value)));
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("natsbridge")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Reader);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn check(place: &str, text: &str) {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert!(!text.contains(harmful), "{place}: {text:?}");
    assert!(text.len() < 20_000, "{place}: {} bytes", text.len());
}

/// An error, and all that lie behind it
fn check_error(place: &str, error: &(dyn std::error::Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        check(place, &error.to_string());
        check(place, &format!("{error:?}"));
        next = error.source();
    }
}

fn check_received(place: &str, error: &Error) {
    check(place, error.subject().unwrap_or_default());
    check(place, &error.to_string());
    check_error(place, error);
    if let Some(source) = error.source() {
        check_error(place, source);
    }
}

fn harmful(field: &str) -> String {
    format!("{field}{HARMFUL}{}", "x".repeat(2_000))
}

/// An envelope with something harmful in every field, but for what `fields` says
#[allow(clippy::needless_pass_by_value, reason = "it is written where it is used")]
fn envelope(fields: Json) -> Json {
    let mut message = json!({});
    for field in [
        "correlation_id",
        "msg_id",
        "timestamp",
        "send_to",
        "msg_purpose",
        "sender_name",
        "sender_id",
        "receiver_name",
        "receiver_id",
        "reply_to",
        "reply_to_msg_id",
        "broker_url",
    ] {
        message[field] = harmful(field).into();
    }
    message["metadata"] = json!({
        harmful("key"): harmful("value"), "code": harmful("code"), "reason": harmful("reason"), "seq": 1,
        "traceparent": harmful("trace"),
    });
    message["payloads"] = json!([]);
    for (field, value) in fields.as_object().unwrap() {
        message[field] = value.clone();
    }
    message
}

#[allow(clippy::needless_pass_by_value, reason = "it is written where it is used")]
fn payload(fields: Json) -> Json {
    let mut payload = json!({"id": harmful("id"), "dataname": harmful("name"), "payload_type": "text",
        "transport": "direct", "encoding": "base64", "size": 7, "data": "eA==",
        "metadata": {harmful("key"): harmful("value")}});
    for (field, value) in fields.as_object().unwrap() {
        payload[field] = value.clone();
    }
    json!({"payloads": [payload], "reply_to": "answers"})
}

async fn publish(broker: &MemoryBroker, subject: &str, message: &Json) {
    let subject = Subject::new(subject).unwrap();
    broker.publish(Publish::new(subject, Bytes::from(message.to_string()))).await.unwrap();
}

/// Messages that are wrong in every way that a receiver tells apart
fn wrong() -> Vec<Json> {
    let digest = json!({"sha256": harmful("digest")});
    let link = |url: &str| payload(json!({"transport": "link", "encoding": "none", "size": 1, "data": url}));
    vec![
        payload(json!({})),
        payload(json!({"payload_type": harmful("type")})),
        payload(json!({"transport": harmful("transport")})),
        payload(json!({"encoding": harmful("encoding")})),
        payload(json!({"encoding": "none", "data": harmful("data")})),
        payload(json!({"data": harmful("data")})),
        payload(json!({"metadata": digest})),
        payload(json!({"size": harmful("size")})),
        payload(json!({"payload_type": "dictionary", "encoding": "none", "data": format!("{{\"{}", harmful("json"))})),
        payload(
            json!({"payload_type": "jsontable", "encoding": "none", "data": json!([{harmful("a"): 1}, 2]).to_string()}),
        ),
        payload(json!({"payload_type": "arrowtable"})),
        link(&harmful("http://127.0.0.1:9/")),
        link(&harmful("")),
        link("ftp://files.test/\u{1b}[31m\u{9b}"),
        json!({"metadata": harmful("metadata")}),
        json!({"payloads": harmful("payloads")}),
    ]
}

/// A type of the program's own whose reader repeats what it finds
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {}

#[tokio::test]
async fn strangers_text_reaches_no_error_or_log_unescaped() {
    let _ = tracing::subscriber::set_global_default(Log);
    describe_metrics();
    let broker = MemoryBroker::new();
    let config = Config::default().retry(natsbridge::store::RetryPolicy::never());
    let bridge = Bridge::with_broker(broker.clone(), config).unwrap();
    let mut inbox = bridge.subscribe("in.>").await.unwrap();
    let subject = format!("in.{}", HARMFUL.replace(['\r', '\n', '\0'], ""));
    let subject = if Subject::new(&*subject).is_ok() { subject } else { "in.x".to_owned() };
    let mut unreadable = 0;
    for message in wrong() {
        let message = envelope(message);
        publish(&broker, &subject, &message).await;
        match inbox.next().await.unwrap() {
            Ok(message) => {
                for name in [message.payloads()[0].name().to_owned(), harmful("missing")] {
                    for error in [
                        message.get::<Strict>(&name).err(),
                        message.get::<Vec<Strict>>(&name).err(),
                        message.text(&name).err(),
                        message.table(&name).err(),
                    ] {
                        check_error("a value", &error.unwrap_or(Error::Stopped));
                    }
                }
                check("a message", &format!("{:?}", message.payload(&harmful("missing")).err()));
            }
            Err(error) => {
                unreadable += 1;
                check_received("a message", &error);
                if let Err(error) = bridge.nack(&error).await {
                    check_error("a refusal", &error);
                }
            }
        }
        let options = ReceiveOptions::default().max_retries(0).strict(true);
        if let Err(error) = smartreceive(message.to_string(), &options).await {
            check_error("smartreceive", &error);
        }
    }
    assert!(unreadable >= 8, "too little was wrong to test anything: {unreadable}");
    publish(&broker, "in.x", &json!(HARMFUL)).await;
    check_received("no envelope", &inbox.next().await.unwrap().unwrap_err());
    // Gaps in the numbers are told, too.
    for seq in [1, 9] {
        let mut message = envelope(json!({}));
        message["metadata"]["seq"] = seq.into();
        message["metadata"]["epoch"] = "e\u{1b}[31m\u{9b}".into();
        message["send_to"] = format!("in.{HARMFUL}").into();
        publish(&broker, "in.x", &message).await;
        let message = inbox.next().await.unwrap().unwrap();
        for error in [message.ack().await, message.nack("r").await] {
            check_error("an answer", &error.unwrap_err());
        }
    }
    assert_eq!(inbox.losses().missing, 7);
    let fields = LOGGED.take();
    for name in
        ["correlation_id", "msg_id", "sender_name", "receiver_name", "timestamp", "dataname", "subject", "error"]
    {
        assert!(fields.iter().any(|(field, value)| field == name && value.len() > 20), "{name} was not logged");
    }
    for (name, value) in fields {
        check(&name, &value);
    }
}

/// Answers each message with this
async fn answering(broker: &MemoryBroker, mut asked: Subscription, answer: Json) {
    while let Some(delivery) = asked.next().await {
        let question: Json = serde_json::from_slice(&delivery.payload).unwrap();
        let mut answer = envelope(answer.clone());
        answer["reply_to_msg_id"] = question["msg_id"].clone();
        let to = delivery.reply.map_or_else(|| question["reply_to"].as_str().unwrap().to_owned(), |to| to.to_string());
        publish(broker, &to, &answer).await;
    }
}

#[tokio::test]
async fn strangers_replies_are_shown_harmlessly_too() {
    let _ = tracing::subscriber::set_global_default(Log);
    let broker = MemoryBroker::new();
    let bridge = Bridge::with_broker(broker.clone(), Config::default()).unwrap();
    let retryable = json!({"code": harmful("code"), "reason": harmful("reason"), "retryable": true});
    for answer in [
        json!({"msg_purpose": "NACK"}),
        json!({"msg_purpose": "NACK", "metadata": {}}),
        json!({"msg_purpose": "NACK", "metadata": retryable}),
        json!({"msg_purpose": "ACK"}),
        json!({"msg_purpose": "chat"}),
        json!({"msg_purpose": harmful("purpose")}),
        json!({"msg_purpose": "chat", "payloads": payload(json!({"data": "?"}))["payloads"]}),
    ] {
        let asked = broker.subscribe("ask".parse().unwrap(), None).await.unwrap();
        let answering = tokio::spawn({
            let (broker, answer) = (broker.clone(), answer.clone());
            async move { answering(&broker, asked, answer).await }
        });
        let once = DeliverOptions::default().deadline(Duration::from_millis(100));
        match bridge.message("ask").text("t", "x").deliver(&once).await {
            Ok(delivered) => check("acknowledged", &format!("{delivered:?}").replace("x".repeat(2_000).as_str(), "")),
            Err(error) => {
                assert!(error.to_string().matches("no reason given").count() < 2, "{error}");
                check_error("a delivery", &error);
            }
        }
        match bridge.message("ask").text("t", "x").request(Duration::from_secs(5)).await {
            Ok(answer) => check("an answer", &format!("{:?}", answer.payload(&harmful("none")).err())),
            Err(error) => check_received("an answer", &error),
        }
        answering.abort();
        let _ = answering.await;
    }
    for (name, value) in LOGGED.take() {
        check(&name, &value);
    }
}

fn limited(broker: &MemoryBroker, filters: &[&str]) -> Bridge {
    let config = filters.iter().fold(Config::default(), |all, filter| all.allow_replies_to(filter.parse().unwrap()));
    Bridge::with_broker(broker.clone(), config).unwrap()
}

#[tokio::test]
async fn replies_go_only_to_listed_subjects() {
    let broker = MemoryBroker::new();
    for (filters, to, allowed) in [
        (&[][..], "anywhere", true),
        (&[], "$SYS.REQ.SERVER.PING", false),
        (&[], "$JS.API.STREAM.DELETE.orders", false),
        (&[">"], "$KV.settings.key", false),
        (&["answers.>", "_INBOX.>"], "answers.lab.7", true),
        (&["answers.>", "_INBOX.>"], "answers", false),
        (&["answers.>", "_INBOX.>"], "orders", false),
    ] {
        let bridge = limited(&broker, filters);
        let mut inbox = bridge.subscribe("ask").await.unwrap();
        let mut heard = broker.subscribe(to.parse().unwrap(), None).await.unwrap();
        bridge.message("ask").text("t", "x").reply_to(to).send().await.unwrap();
        let message = inbox.next().await.unwrap().unwrap();
        let ways =
            [message.ack().await, message.nack("r").await, message.reply().text("t", "y").send().await.map(drop)];
        for way in ways {
            match way {
                Ok(()) => assert!(allowed, "{to}"),
                Err(error) => {
                    assert!(!allowed && error.code() == "reply_refused", "{to}: {error}");
                    assert!(error.to_string().contains(to) && !error.is_retryable(), "{error}");
                }
            }
        }
        broken(&broker, to).await;
        let unread = inbox.next().await.unwrap().unwrap_err();
        let refused = bridge.nack(&unread).await;
        assert_eq!(refused.is_ok(), allowed, "{to}: {refused:?} {unread:?}");
        assert_eq!(heard.pending(), if allowed { 4 } else { 0 });
        heard.drain();
        while heard.next().await.is_some() {}
    }
}

/// A message that can't be read, which asks for an answer
async fn broken(broker: &MemoryBroker, reply_to: &str) {
    let payload = json!({"dataname": "t", "payload_type": "text", "transport": "direct", "encoding": "base64",
        "data": "eA==", "metadata": {"sha256": "no digest"}});
    publish(broker, "ask", &json!({"msg_id": "m", "reply_to": reply_to, "payloads": [payload]})).await;
}

#[tokio::test]
async fn reply_subject_of_nats_is_checked_against_the_list_too() {
    let broker = MemoryBroker::new();
    let bridge = limited(&broker, &["answers.>"]);
    let echo = async |text: String| Ok::<_, HandlerError>(text);
    let service = bridge.serve_typed("echo", ServeOptions::default(), echo).await.unwrap();
    let asker = limited(&broker, &[]);
    let timeout = Duration::from_millis(200);
    let error = asker.message("echo").text("t", "x").request(timeout).await.unwrap_err();
    assert_eq!(error.code(), "broker_timed_out");
    let mut answers = asker.subscribe("answers.7").await.unwrap();
    asker.message("echo").text("t", "x").reply_to("answers.7").send().await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().get::<String>("reply").unwrap(), "x");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn refusals_tell_strangers_neither_origins_nor_paths() {
    let broker = MemoryBroker::new();
    let config = Config::default().fileserver_url("http://files.inner.test:8080".to_owned());
    let bridge = Bridge::with_broker(broker.clone(), config).unwrap();
    let (mut inbox, mut answers) = (bridge.subscribe("ask").await.unwrap(), bridge.subscribe("answers").await.unwrap());
    let link =
        json!({"dataname": "clip", "payload_type": "binary", "transport": "link", "data": "http://other.test/x"});
    publish(&broker, "ask", &json!({"msg_id": "m", "reply_to": "answers", "payloads": [link]})).await;
    let unread = inbox.next().await.unwrap().unwrap_err();
    assert!(unread.to_string().contains("files.inner.test"), "here it is said: {unread}");
    bridge.nack(&unread).await.unwrap();
    let told = answers.next().await.unwrap().unwrap().header().metadata()["reason"].clone();
    assert_eq!(told, "payload `clip`: this receiver does not download from http://other.test");

    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = Error::file("clip", "write", "/secret/place", full);
    assert!(error.to_string().contains("/secret/place"));
    assert_eq!(error.nack_reason(), "payload `clip`: the receiver cannot write it: no storage space");
}
