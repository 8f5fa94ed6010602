//! Log fields, metrics and the trace context of a message, as operators see them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Recorder, SharedString, Unit};
use natsbridge::broker::{Broker, Event, Subject};
use natsbridge::metrics::describe_metrics;
use natsbridge::store::{Fetcher, HttpStore, MemoryStore, RetryPolicy};
use natsbridge::wire::Header;
use natsbridge::{
    Bridge, Config, DeliverOptions, HandlerError, MemoryBroker, Metadata, PayloadType, SendOptions, smartsend,
};
use natsbridge_nats::{Publish, SubscriptionLimits};
use natsbridge_testkit::nats_server::NatsServer;
use natsbridge_testkit::scripted_http::{Reply, ScriptedHttp};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span;

/// Counts what is recorded, by name and labels, and remembers what was described
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    counts: BTreeMap<String, u64>,
    levels: BTreeMap<String, f64>,
    described: BTreeSet<String>,
}

struct Cell(Counts, String);

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        *self.0.0.lock().unwrap().counts.entry(self.1.clone()).or_default() += value;
    }
    fn absolute(&self, _: u64) {
        panic!("counters only count up");
    }
}

impl HistogramFn for Cell {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds), "{seconds} are no seconds");
        CounterFn::increment(self, 1);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        *self.0.0.lock().unwrap().levels.entry(self.1.clone()).or_default() += value;
    }
    fn decrement(&self, value: f64) {
        GaugeFn::increment(self, -value);
    }
    fn set(&self, value: f64) {
        self.0.0.lock().unwrap().levels.insert(self.1.clone(), value);
    }
}

impl Counts {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Cell(self.clone(), format!("{} {}", key.name(), labels.join(",")).trim().to_owned()))
    }

    fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().counts.get(name).copied().unwrap_or(0)
    }

    fn level(&self, name: &str) -> Option<f64> {
        self.0.lock().unwrap().levels.get(name).copied()
    }

    /// Everything counted so far is this, and every name is one that `describe_metrics` tells of
    fn check(&self, expected: &[&str]) {
        describe_metrics();
        let recorded = self.0.lock().unwrap();
        let counted = recorded.counts.iter().filter(|(_, count)| **count > 0);
        let counted: Vec<_> = counted.map(|(name, count)| format!("{name} {count}")).collect();
        assert_eq!(counted, expected);
        for name in recorded.counts.keys().chain(recorded.levels.keys()).map(|name| name.split(' ').next().unwrap()) {
            assert!(recorded.described.contains(name), "{name} is not described");
        }
    }

    fn describe(&self, name: &KeyName, text: &SharedString) {
        assert!(!text.is_empty());
        self.0.lock().unwrap().described.insert(name.as_str().to_owned());
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.describe(&name, &text);
    }
    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.describe(&name, &text);
    }
    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.describe(&name, &text);
    }
    fn register_counter(&self, key: &Key, _: &metrics::Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }
    fn register_gauge(&self, key: &Key, _: &metrics::Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }
    fn register_histogram(&self, key: &Key, _: &metrics::Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}

/// One log event, field by field
type Line = BTreeMap<&'static str, String>;

thread_local! {
    /// What was logged on this thread: a test, its runtime and all its tasks have one
    static LOGGED: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the log of every thread
///
/// Installed once for all: a subscriber of one thread alone can miss events that another thread meets first.
struct Log;

/// Begins to keep the log
fn logging() {
    // An error says that another test was first.
    let _ = tracing::subscriber::set_global_default(Log);
}

/// The events with this text so far, on this thread
fn logged(text: &str) -> Vec<Line> {
    LOGGED.with_borrow(|lines| lines.iter().filter(|line| line["message"] == text).cloned().collect())
}

struct Reader(Line);

impl Visit for Reader {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut reader = Reader(Line::new());
        event.record(&mut reader);
        LOGGED.with_borrow_mut(|lines| lines.push(reader.0));
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The fields of every log line
fn seven(header: &Header, payload_type: &str, transport: &str) -> Line {
    Line::from([
        ("correlation_id", header.correlation_id().to_owned()),
        ("msg_id", header.msg_id().to_owned()),
        ("timestamp", header.timestamp().to_owned()),
        ("sender_name", header.sender_name().to_owned()),
        ("receiver_name", header.receiver_name().to_owned()),
        ("payload_type", payload_type.to_owned()),
        ("transport", transport.to_owned()),
    ])
}

fn without_text(lines: Vec<Line>) -> Vec<Line> {
    lines.into_iter().map(|line| line.into_iter().filter(|(name, _)| *name != "message").collect()).collect()
}

fn bridge(broker: &MemoryBroker, store: &MemoryStore, name: &str) -> Bridge {
    let config = Config::default().sender_name(name.to_owned()).uploader(store.clone()).downloader(store.clone());
    Bridge::with_broker(broker.clone(), config).unwrap()
}

/// Two programs that share a broker
fn pair() -> (Bridge, Bridge) {
    let (broker, store) = (MemoryBroker::new(), MemoryStore::new());
    (bridge(&broker, &store, "lab"), bridge(&broker, &store, "office"))
}

fn quick() -> DeliverOptions {
    let pause = Duration::from_millis(300);
    DeliverOptions::default().deadline(Duration::from_secs(20)).pauses(pause, pause)
}

#[tokio::test]
async fn sends_and_receives_log_seven_fields_for_each_payload() {
    logging();
    let (lab, office) = pair();
    let mut inbox = office.subscribe("jobs").await.unwrap();
    let answering = tokio::spawn(async move {
        let message = inbox.next().await.unwrap().unwrap();
        message.ack().await.unwrap();
    });
    let draft = lab.message("jobs").text("note", "x").binary("video", vec![7; 600_000]).receiver_name("office");
    let delivered = draft.deliver(&quick()).await.unwrap();
    answering.await.unwrap();

    let (message, ack) = (delivered.envelope.header(), &delivered.acks[0]);
    assert_eq!((message.sender_name(), message.receiver_name()), ("lab", "office"));
    assert_eq!(ack.correlation_id(), message.correlation_id());
    let expected = [seven(message, "text", "direct"), seven(message, "binary", "link"), seven(ack, "", "")];
    assert_eq!(without_text(logged("message sent")), expected);
    assert_eq!(without_text(logged("message received")), expected);
}

async fn publish(broker: &MemoryBroker, json: impl Into<Vec<u8>>) {
    let outgoing = Publish::new(Subject::new("jobs").unwrap(), json.into());
    Broker::publish(broker, outgoing).await.unwrap();
}

#[tokio::test]
async fn unreadable_message_is_logged_with_correlation_id_and_counted() {
    logging();
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    let broker = MemoryBroker::new();
    let office = bridge(&broker, &MemoryStore::new(), "office");
    let mut inbox = office.subscribe("jobs").await.unwrap();
    publish(&broker, "no envelope").await;
    let payload = json!({"dataname": "t", "payload_type": "text", "transport": "link", "data": "http://files.test/x"});
    let envelope = json!({"correlation_id": "flow-7", "msg_id": "m-1", "payloads": [payload]});
    publish(&broker, envelope.to_string()).await;
    let codes: Vec<_> = [inbox.next().await, inbox.next().await].map(|item| item.unwrap().unwrap_err().code()).into();

    let lines = logged("a message can't be read");
    let of = |field| lines.iter().map(|line| line.get(field).map_or("", String::as_str)).collect::<Vec<_>>();
    assert_eq!(of("correlation_id"), ["", "flow-7"]);
    assert_eq!(of("msg_id"), ["", "m-1"]);
    assert_eq!(of("subject"), ["jobs", "jobs"]);
    assert_eq!(of("code"), codes);
    counts.check(&[
        "messages_received_total 1",
        &format!("messages_unreadable_total code={} 1", codes[0].min(codes[1])),
        &format!("messages_unreadable_total code={} 1", codes[0].max(codes[1])),
    ]);
}

#[tokio::test]
async fn messages_replies_repeats_and_failed_deliveries_are_counted() {
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    let (lab, office) = pair();
    let mut inbox = office.subscribe("jobs").await.unwrap();
    let answering = tokio::spawn(async move {
        let mut next = async || inbox.next().await.unwrap().unwrap();
        next().await.nack("busy").await.unwrap();
        next().await.ack().await.unwrap();
        next().await.nack(HandlerError::new("never").permanent()).await.unwrap();
    });
    lab.message("jobs").text("t", "x").deliver(&quick()).await.unwrap();
    lab.message("jobs").text("t", "x").deliver(&quick()).await.unwrap_err();
    answering.await.unwrap();
    let hopeless = quick().deadline(Duration::from_millis(50));
    lab.message("nobody").text("t", "x").deliver(&hopeless).await.unwrap_err();
    counts.check(&[
        "acks_sent_total 1",
        "deliveries_failed_total code=nacked 1",
        "deliveries_failed_total code=unacknowledged 1",
        "message_duplicates_total 1",
        // Three messages of which one came twice, and three answers.
        "messages_received_total 6",
        "messages_repeated_total 1",
        "messages_sent_total 6",
        "nacks_sent_total 2",
    ]);
}

#[tokio::test]
async fn request_is_counted_as_sent_with_or_without_a_reply() {
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    let (lab, office) = pair();
    let mut inbox = office.subscribe("jobs").await.unwrap();
    let soon = Duration::from_millis(50);
    lab.message("jobs").text("t", "x").request(soon).await.unwrap_err();
    inbox.next().await.unwrap().unwrap();
    counts.check(&["messages_received_total 1", "messages_sent_total 1"]);
}

#[tokio::test]
async fn gaps_duplicates_and_overtaking_are_counted_by_sequence() {
    let counts = Counts::default();
    let broker = MemoryBroker::new();
    let office = bridge(&broker, &MemoryStore::new(), "office");
    let mut inbox = office.subscribe("jobs").await.unwrap();
    for seq in [1, 4, 2, 4] {
        let numbers = [("seq", json!(seq)), ("epoch", json!("e"))];
        let metadata: Metadata = numbers.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let options = SendOptions::default().metadata(metadata);
        let part = ("t", "x", PayloadType::Text);
        publish(&broker, smartsend("jobs", [part], &options).await.unwrap().1).await;
    }
    let _recording = metrics::set_default_local_recorder(&counts);
    for _ in 0..4 {
        inbox.next().await.unwrap().unwrap();
    }
    counts.check(&[
        "message_duplicates_total 1",
        "message_gaps_total 2",
        "messages_received_total 4",
        "messages_reordered_total 1",
    ]);
}

#[tokio::test]
async fn transfers_and_their_retries_are_counted_for_a_message() {
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    let body = vec![7_u8; 600_000];
    // Two uploads, of which the first needs a second attempt; one download; then none comes through.
    let up = [Reply::new(503, &[], ""), Reply::ok(""), Reply::ok("")];
    let server = ScriptedHttp::start(up.into_iter().chain([Reply::ok(&body)])).await.unwrap();
    let retry = RetryPolicy::default().base_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(2));
    let store = HttpStore::builder(&format!("{}/{{id}}", server.url())).retry(retry).build().unwrap();
    let config = Config::default().uploader(store);
    let fetcher = Fetcher::builder().allow(server.url().parse().unwrap()).retry(retry).build().unwrap();
    let config = config.downloader(fetcher);
    let bridge = Bridge::with_broker(MemoryBroker::new(), config).unwrap();
    let mut inbox = bridge.subscribe("jobs").await.unwrap().lazy();
    for _ in 0..2 {
        bridge.message("jobs").binary("b", body.clone()).send().await.unwrap();
    }
    let [first, second] = [inbox.next().await, inbox.next().await].map(|item| item.unwrap().unwrap());
    first.fetch().await.unwrap();
    for _ in 0..6 {
        server.push(Reply::new(503, &[], ""));
    }
    assert_eq!(second.fetch().await.unwrap_err().code(), "download_retry_exceeded");
    counts.check(&[
        "download_retry_exceeded_total 1",
        "file_download_duration_seconds outcome=download_retry_exceeded 1",
        "file_download_duration_seconds outcome=ok 1",
        "file_upload_duration_seconds outcome=ok 2",
        "messages_received_total 2",
        "messages_sent_total 2",
        "messages_unreadable_total code=download_retry_exceeded 1",
        "retry_attempts_total operation=download 5",
        "retry_attempts_total operation=upload 1",
    ]);
}

#[tokio::test]
async fn connection_state_reconnects_and_drops_are_measured() {
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    let mut server = NatsServer::start().expect("a real nats-server");
    let config = Config::new(&server.url());
    let options = natsbridge::ConnectOptions::new(server.url())
        .reconnect_delay(Duration::from_millis(5), Duration::from_millis(50))
        .subscription_limits(SubscriptionLimits { messages: 10, bytes: 1 << 20 });
    let config = config.nats(options);
    let bridge = Bridge::connect(config).await.unwrap();
    let inbox = bridge.subscribe("jobs").await.unwrap();
    let mut events = bridge.events();
    let patience = Duration::from_secs(20);
    assert_eq!(counts.level("nats_connections"), Some(1.0));
    server.kill();
    let gone = async { while events.next().await.unwrap() != Event::Disconnected {} };
    tokio::time::timeout(patience, gone).await.expect("the connection breaks");
    assert_eq!(counts.level("nats_connections"), Some(0.0));
    server.restart().unwrap();
    let back = async { while events.next().await.unwrap() != Event::Connected {} };
    tokio::time::timeout(patience, back).await.expect("the connection repairs itself");
    assert_eq!(counts.level("nats_connections"), Some(1.0));
    for _ in 0..200 {
        bridge.message("jobs").text("t", "x").send().await.unwrap();
    }
    // The first confirmation is about the time in which the connection was replaced.
    let _ = bridge.confirm().await;
    bridge.confirm().await.unwrap();
    let slow = async {
        loop {
            match events.next().await.unwrap() {
                Event::SlowConsumer { .. } => break,
                other => assert_ne!(other, Event::Disconnected),
            }
        }
    };
    tokio::time::timeout(patience, slow).await.expect("the inbox was not read, so messages were dropped");
    bridge.confirm().await.unwrap();
    assert!(inbox.dropped() > 0);
    assert_eq!(counts.of("messages_dropped_total"), inbox.dropped());
    counts.check(&[
        &format!("messages_dropped_total {}", inbox.dropped()),
        "messages_sent_total 200",
        "nats_reconnects_total 1",
    ]);
    bridge.drain().await.unwrap();
    assert_eq!(counts.level("nats_connections"), Some(0.0));
}

/// A file of docs/operations
fn operations(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What follows `key: ` in the rules, in order
fn values(rules: &str, key: &str) -> Vec<String> {
    let values = rules.lines().map(|line| line.trim().trim_start_matches("- "));
    values.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": ").map(str::to_owned)).collect()
}

/// Every `expr` in a Grafana dashboard
fn expressions(json: &serde_json::Value, found: &mut Vec<String>) {
    match json {
        serde_json::Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(|expr| expr.as_str()).map(str::to_owned));
            fields.values().for_each(|value| expressions(value, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

/// The metric names of an expression: words that are not in braces, brackets or a `by (…)`, not called, and no operator
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let mut plain = String::new();
    let mut depth = 0;
    for character in expression.replace("by (", "{").chars() {
        // Nothing is called within braces here, so the `)` of a `by (…)` can stand for its `}`.
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            _ => plain.push(character),
        }
    }
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut names = BTreeSet::new();
    let mut rest = plain.as_str();
    while let Some(start) = rest.find(is_word) {
        let end = rest[start..].find(|character| !is_word(character)).map_or(rest.len(), |len| start + len);
        let word = &rest[start..end];
        rest = &rest[end..];
        let operator = ["unless", "offset", "or", "and"].contains(&word);
        if !operator && !rest.trim_start().starts_with('(') && !word.starts_with(|first: char| first.is_ascii_digit()) {
            names.insert(word.to_owned());
        }
    }
    names
}

/// Metrics that are described elsewhere: those of the embedded file server and of `natsbridge probe`
fn other_metrics() -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    for file in ["natsbridge-fileserver/src/server/meter.rs", "natsbridge-cli/src/probe.rs"] {
        let text = fs::read_to_string(crates.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let constants = text.lines().filter(|line| line.contains("const ") && line.contains(": &str = \""));
        let names = constants.filter_map(|line| line.split('"').nth(1).map(str::to_owned));
        found.extend(names.filter(|name| name.starts_with("fileserver_") || name.starts_with("probe_")));
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

#[test]
fn alerts_dashboard_and_handbook_name_the_metrics_that_exist() {
    let counts = Counts::default();
    metrics::with_local_recorder(&counts, describe_metrics);
    let mut described = counts.0.lock().unwrap().described.clone();
    described.extend(other_metrics());
    // Prometheus' own: whether the program could be read.
    let exists = |name: &str| name == "up" || described.contains(name);
    let histogram = |name: &str| {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        base.is_some_and(|base| base.ends_with("_seconds") && described.contains(base))
    };

    let (rules, handbook) = (operations("alerts.yml"), operations("README.md"));
    let dashboard = serde_json::from_str(&operations("dashboard.json")).expect("the dashboard is JSON");
    let mut watched = values(&rules, "expr");
    let alerts = values(&rules, "alert");
    assert!(alerts.len() > 5 && watched.len() == alerts.len(), "{alerts:?} {watched:?}");
    expressions(&dashboard, &mut watched);
    let shown: BTreeSet<_> = watched.iter().flat_map(|expression| metrics_in(expression)).collect();
    let unknown: Vec<_> = shown.iter().filter(|name| !exists(name) && !histogram(name)).collect();
    assert!(unknown.is_empty(), "watched, but nothing counts it: {unknown:?}");
    for name in &described {
        assert!(handbook.contains(&format!("| `{name}` |")), "README.md does not explain {name}");
        assert!(shown.iter().any(|shown| shown.starts_with(name.as_str())), "{name} is shown nowhere");
    }
    // Operators alert on this one.
    assert!(alerts.iter().any(|alert| alert == "download_retry_exceeded"));
}

#[test]
fn runbook_covers_each_alert_and_nothing_else() {
    let runbook = operations("../runbook.md");
    let (_, alerts) = runbook.split_once("\n# Alerts\n").expect("the runbook has a part about alerts");
    let sections: Vec<_> = alerts.split("\n## ").skip(1).collect();
    let titles: Vec<_> = sections.iter().filter_map(|section| section.lines().next()).collect();
    assert_eq!(titles, values(&operations("alerts.yml"), "alert"), "one section for each alert, in the same order");
    for section in sections {
        assert!(section.contains("*1 min.*") && section.contains('`'), "no first step and no command: {section}");
    }
    // Nobody has more than a quarter of an hour.
    for section in alerts.split("\n## ").skip(1) {
        let minutes = section.split("*").filter_map(|word| word.strip_suffix(" min.")?.parse::<u32>().ok());
        assert!(minutes.sum::<u32>() <= 15, "{section}");
    }
}

#[test]
fn metric_names_are_found_in_expressions() {
    let found = |expression| metrics_in(expression).into_iter().collect::<Vec<_>>();
    assert_eq!(
        found(r#"sum by (code) (rate(a_total{job=~"$job", x="y"}[5m])) > 0.05 * b_total"#),
        ["a_total", "b_total"]
    );
    assert_eq!(found("increase(a[5m]) > 0 or (b unless c offset 5m) > 0"), ["a", "b", "c"]);
}

#[cfg(feature = "otel")]
#[tokio::test]
async fn trace_continues_at_the_receiver() {
    use opentelemetry::Context;
    use opentelemetry::trace::{
        FutureExt as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    };

    let (lab, office) = pair();
    let mut inbox = office.subscribe("jobs").await.unwrap();
    let span = SpanContext::new(
        TraceId::from(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
        SpanId::from(0xb7ad_6b71_6920_3331),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    lab.message("jobs").text("t", "x").send().await.unwrap();
    let context = Context::new().with_remote_span_context(span.clone());
    lab.message("jobs").text("t", "x").send().with_context(context).await.unwrap();
    let [without, with] = [inbox.next().await, inbox.next().await].map(|item| item.unwrap().unwrap());
    assert_eq!(without.trace_context(), None);
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(with.header().metadata()["traceparent"], traceparent);
    let seen = with.trace_context().unwrap();
    assert_eq!((seen.trace_id(), seen.span_id(), seen.is_remote()), (span.trace_id(), span.span_id(), true));
}
