//! The whole path without a server: `MemoryBroker` and `MemoryStore`, cancelled sends, failure in each room.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge::broker::{
    Broker, BrokerError, BrokerErrorKind, EventStream, Publish, QueueGroup, RawMessage, Subject, SubjectFilter,
    Subscription,
};
use natsbridge::store::{
    Digest, MemoryStore, Object, Origin, Receipt, RetryPolicy, Source, StoreError, StoreErrorKind, Stored, Uploaded,
    Uploader, upload_handler,
};
use natsbridge::{
    Bridge, Config, Data, Error, MemoryBroker, PayloadType, Purpose, ReceiveOptions, Rows, SendOptions, Transport,
    Value, open, smartreceive, smartsend,
};
use serde_json::json;

fn stored() -> (MemoryStore, Config) {
    let store = MemoryStore::new();
    let config = Config::default().uploader(store.clone()).downloader(store.clone());
    (store, config)
}

fn bridge(broker: &MemoryBroker) -> (MemoryStore, Bridge) {
    let (store, config) = stored();
    (store, Bridge::with_broker(broker.clone(), config).unwrap())
}

fn publish_raw(broker: &MemoryBroker, subject: &str, payload: impl Into<Vec<u8>>) -> impl Future<Output = ()> {
    let outgoing = Publish::new(Subject::new(subject).unwrap(), payload.into());
    let broker = broker.clone();
    async move { Broker::publish(&broker, outgoing).await.unwrap() }
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Reading {
    sensor: String,
    celsius: f64,
}

fn readings() -> Vec<Reading> {
    vec![Reading { sensor: "a".into(), celsius: 21.5 }, Reading { sensor: "b".into(), celsius: -3.0 }]
}

#[tokio::test]
async fn mixed_message_arrives_with_its_types_and_order() {
    let (store, bridge) = bridge(&MemoryBroker::new());
    let mut inbox = bridge.subscribe("lab.>").await.unwrap();
    let large: Vec<u8> = (0..1_500_000_u32).map(|at| (at % 251) as u8).collect();
    let sent = bridge
        .message("lab.results")
        .text("note", "grüße 🌍")
        .dictionary("settings", json!({"big": i64::MAX, "on": true}))
        .rows("readings", readings())
        .image("photo", vec![0x89, b'P'])
        .audio("tone", vec![1])
        .binary("large", large.clone())
        .binary("empty", Vec::new())
        .text("note", "a second of that name")
        .send()
        .await
        .unwrap();
    assert_eq!(sent.payloads()[5].transport(), Transport::Link);

    let message = inbox.next().await.unwrap().unwrap();
    assert_eq!((message.header(), message.subject().as_str()), (sent.header(), "lab.results"));
    let kinds: Vec<_> = message.payloads().iter().map(|p| (p.name(), p.payload_type(), p.transport())).collect();
    assert_eq!(kinds.len(), 8);
    assert_eq!(kinds[5], ("large", PayloadType::Binary, Transport::Link));
    assert_eq!(message.text("note").unwrap(), "grüße 🌍");
    assert_eq!(message.get::<serde_json::Value>("settings").unwrap()["big"], json!(i64::MAX));
    assert_eq!(message.get::<Vec<Reading>>("readings").unwrap(), readings());
    assert_eq!(message.bytes("large").unwrap(), large);
    assert_eq!(message.payload("large").unwrap().sha256(), Some(Digest::of(&large)));
    assert_eq!(message.bytes("empty").unwrap(), "");
    assert_eq!(store.len(), 1, "the link stays for other receivers");
    let error = message.text("nothing").unwrap_err();
    assert!(error.code() == "no_such_payload" && error.to_string().contains("`settings`"), "{error}");
    assert_eq!(message.text("photo").unwrap_err().code(), "wrong_value");
}

#[cfg(feature = "arrow")]
#[tokio::test]
async fn tables_are_converted_for_a_browser_where_asked() {
    let (_, bridge) = bridge(&MemoryBroker::new());
    let mut inbox = bridge.subscribe("t").await.unwrap();
    let rows = Rows::new(serde_json::from_value(json!([{"a": 1, "b": "x"}, {"a": 2, "b": null}])).unwrap());
    let table = natsbridge::Table::from_rows(&rows).unwrap();
    bridge.message("t").table("t", table.clone()).send().await.unwrap();
    let message = inbox.next().await.unwrap().unwrap();
    assert_eq!(message.table("t").unwrap().num_rows(), 2);
    assert_eq!(message.get::<Vec<serde_json::Value>>("t").unwrap()[0], json!({"a": 1, "b": "x"}));

    let refused = bridge
        .message("t")
        .table("t", table.clone())
        .receiver(natsbridge::ReceiverKind::Browser)
        .send()
        .await
        .unwrap_err();
    assert!(refused.code() == "unsupported" && refused.to_string().contains("jsontable"), "{refused}");
    bridge
        .message("t")
        .table("t", table)
        .receiver(natsbridge::ReceiverKind::Browser)
        .convert_tables()
        .send()
        .await
        .unwrap();
    let message = inbox.next().await.unwrap().unwrap();
    assert_eq!(message.payload("t").unwrap().payload_type(), PayloadType::JsonTable);
    assert_eq!(message.get::<Vec<serde_json::Value>>("t").unwrap()[0], json!({"a": 1, "b": "x"}));
}

#[tokio::test]
async fn unreadable_message_is_an_item_and_the_next_one_follows() {
    let broker = MemoryBroker::new();
    let (_, bridge) = bridge(&broker);
    let mut inbox = bridge.subscribe("x").await.unwrap();
    let payload = |with: &str| {
        format!(
            r#"{{"msg_id":"m","payloads":[{{"dataname":"d","payload_type":"text","transport":"direct","data":"aGk="{with}}}]}}"#
        )
    };
    for (json, code, dataname) in [
        ("{".to_owned(), "not_json", None),
        (payload("").replace("text", "txt"), "unknown_payload_type", Some("d")),
        (payload("").replace("direct", "bird"), "unknown_transport", Some("d")),
        (payload("").replace("aGk=", "a"), "base64", Some("d")),
        (payload(&format!(r#","metadata":{{"sha256":"{}"}}"#, Digest::of(b"ho"))), "digest", Some("d")),
        (payload("").replace("direct", "link").replace("aGk=", "memory://nothing/here"), "not_found", Some("d")),
    ] {
        publish_raw(&broker, "x", json).await;
        let error = inbox.next().await.unwrap().unwrap_err();
        assert_eq!((error.code(), error.dataname()), (code, dataname), "{error}");
        assert_eq!(error.header().is_some(), matches!(code, "digest" | "not_found"));
    }
    publish_raw(&broker, "x", payload("")).await;
    assert_eq!(inbox.next().await.unwrap().unwrap().text("d").unwrap(), "hi");
}

#[tokio::test]
async fn failed_payload_leaves_the_others_to_a_lazy_receiver() {
    let broker = MemoryBroker::new();
    let (_, bridge) = bridge(&broker);
    let mut inbox = bridge.subscribe("x").await.unwrap().lazy();
    let json = json!({"payloads": [
        {"dataname": "gone", "payload_type": "text", "transport": "link", "data": "memory://nothing/here", "size": 3},
        {"dataname": "here", "payload_type": "text", "transport": "direct", "data": "aGk="},
    ]});
    publish_raw(&broker, "x", json.to_string()).await;
    let message = inbox.next().await.unwrap().unwrap();
    assert_eq!(message.text("here").unwrap(), "hi");
    assert_eq!(message.text("gone").unwrap_err().code(), "wrong_value");
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(message.payloads()[0].save(dir.path()).await.unwrap_err().code(), "not_found");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing half-received stays");
    let saved = message.payloads()[1].save(dir.path()).await.unwrap();
    assert_eq!((saved.size, std::fs::read(saved.path).unwrap()), (2, b"hi".to_vec()));
}

#[tokio::test]
async fn slow_links_keep_the_order_of_messages() {
    let broker = MemoryBroker::new();
    let (store, mut config) = stored();
    let turn = Arc::new(AtomicUsize::new(0));
    let (inner, at) = (store.clone(), Arc::clone(&turn));
    config = config.downloader(natsbridge::store::download_handler(move |link| {
        let (inner, nth) = (inner.clone(), at.fetch_add(1, Ordering::SeqCst));
        async move {
            // The first download is the slowest.
            tokio::time::sleep(Duration::from_millis(60 - 20 * (nth.min(3) as u64))).await;
            let found =
                natsbridge::store::Downloader::download(&inner, &link, natsbridge::store::Target::Memory).await?;
            let Source::Bytes(bytes) = found.source else { panic!("in memory") };
            Ok(bytes)
        }
    }));
    config = config.size_threshold(3);
    let bridge = Bridge::with_broker(broker, config).unwrap();
    let mut inbox = bridge.subscribe("x").await.unwrap();
    for text in ["first", "second", "3", "fourth"] {
        bridge.message("x").text("t", text).send().await.unwrap();
    }
    for text in ["first", "second", "3", "fourth"] {
        assert_eq!(inbox.next().await.unwrap().unwrap().text("t").unwrap(), text);
    }
}

/// A memory store before which something happens to each upload: an error, or a wait
struct Staged<F> {
    store: MemoryStore,
    before: F,
}

impl<F> std::fmt::Debug for Staged<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Staged")
    }
}

impl<F> Uploader for Staged<F>
where
    F: Fn(&str) -> BoxFuture<'static, Result<(), StoreErrorKind>> + Send + Sync,
{
    fn name(&self) -> std::borrow::Cow<'_, str> {
        "a staged store".into()
    }
    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        let before = (self.before)(&object.dataname);
        Box::pin(async move {
            before.await.map_err(|kind| StoreError::new(kind, self.name()).with_dataname(&object.dataname))?;
            self.store.upload(object, source).await
        })
    }
    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.delete(receipt)
    }
    fn origins(&self) -> Vec<Origin> {
        self.store.origins()
    }
}

/// A bridge whose uploads pass `before` first
fn staged<F>(transfers: usize, before: F) -> (MemoryStore, Bridge)
where
    F: Fn(MemoryStore, &str) -> BoxFuture<'static, Result<(), StoreErrorKind>> + Send + Sync + 'static,
{
    let (store, mut config) = stored();
    let inner = store.clone();
    config = config.transfers(transfers);
    config = config.uploader(Staged { store: store.clone(), before: move |name: &str| before(inner.clone(), name) });
    (store, Bridge::with_broker(MemoryBroker::new(), config).unwrap())
}

#[test]
fn runtime_that_ends_during_a_download_is_an_error_and_no_hang() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_, mut config) = stored();
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    config = config.downloader(natsbridge::store::download_handler(move |_| {
        began.send(()).unwrap();
        std::future::pending()
    }));
    config = config.size_threshold(3);
    let bridge = Bridge::with_broker(MemoryBroker::new(), config).unwrap();
    let first = runtime();
    let mut inbox = first.block_on(async {
        let mut inbox = bridge.subscribe("x").await.unwrap();
        bridge.message("x").text("t", "by link").send().await.unwrap();
        tokio::select! {
            message = inbox.next() => panic!("{message:?} without its download"),
            _ = begun.recv() => inbox,
        }
    });
    drop(first);
    let error = runtime().block_on(inbox.next()).unwrap().unwrap_err();
    assert_eq!(error.code(), "stopped", "{error:?}");
}

#[tokio::test]
async fn uploads_are_deleted_when_the_message_cannot_be_sent() {
    let (store, bridge) = staged(1, |store, name| {
        let outcome = if name == "c" { Err(StoreErrorKind::Unreachable) } else { Ok(()) };
        assert_eq!(store.len(), usize::from(name != "a") + usize::from(name == "c"), "one after the other");
        Box::pin(std::future::ready(outcome))
    });
    let large = vec![1; 500_000];
    let draft = bridge.message("x").binary("a", large.clone()).binary("b", large.clone()).binary("c", large);
    let error = draft.send().await.unwrap_err();
    assert_eq!((error.code(), error.dataname()), ("unreachable", Some("c")), "{error}");
    assert!(store.is_empty());
}

#[tokio::test]
async fn upload_that_ends_while_another_fails_is_deleted_too() {
    let (store, bridge) = staged(2, |store, name| match name {
        "second" => Box::pin(std::future::ready(Ok(()))),
        _ => Box::pin(async move {
            while store.is_empty() {
                tokio::task::yield_now().await;
            }
            Err(StoreErrorKind::Rejected)
        }),
    });
    let draft = bridge.message("x").binary("first", vec![1; 500_000]).binary("second", vec![2; 500_000]);
    assert_eq!(draft.send().await.unwrap_err().dataname(), Some("first"));
    assert!(store.is_empty(), "{} uploads are left", store.len());
}

#[tokio::test]
async fn dropped_send_leaves_no_upload_behind() {
    let (began, mut second_began) = tokio::sync::mpsc::unbounded_channel();
    let (store, bridge) = staged(1, move |_, name| match name {
        "a" => Box::pin(std::future::ready(Ok(()))),
        _ => {
            began.send(()).unwrap();
            Box::pin(std::future::pending())
        }
    });
    let send = bridge.message("x").binary("a", vec![1; 500_000]).binary("b", vec![2; 500_000]).send();
    tokio::select! {
        _ = send => panic!("the second upload never ends"),
        () = async { second_began.recv().await.unwrap() } => assert_eq!(store.len(), 1),
    }
    for _ in 0..100 {
        if store.is_empty() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} uploads are left", store.len());
}

/// A broker that takes messages and never says what became of them
#[derive(Debug)]
struct Silent(MemoryBroker);

impl Broker for Silent {
    fn publish(&self, _: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(std::future::pending())
    }
    fn confirm(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.0.confirm()
    }
    fn publish_confirmed(&self, _: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(std::future::pending())
    }
    fn subscribe(
        &self,
        filter: SubjectFilter,
        queue: Option<QueueGroup>,
    ) -> BoxFuture<'_, Result<Subscription, BrokerError>> {
        self.0.subscribe(filter, queue)
    }
    fn request(&self, _: Publish, _: Duration) -> BoxFuture<'_, Result<RawMessage, BrokerError>> {
        Box::pin(std::future::pending())
    }
    fn new_inbox(&self) -> Subject {
        self.0.new_inbox()
    }
    fn max_payload(&self) -> u64 {
        self.0.max_payload()
    }
    fn server_url(&self) -> String {
        self.0.server_url()
    }
    fn events(&self) -> EventStream {
        self.0.events()
    }
    fn drain(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.0.drain()
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_send_keeps_its_links_once_the_broker_has_it() {
    let (store, config) = stored();
    let bridge = Bridge::with_broker(Silent(MemoryBroker::new()), config).unwrap();
    let draft = || bridge.message("x").binary("a", vec![1; 500_000]);
    let dropped: [(BoxFuture<'_, bool>, usize); 3] = [
        (Box::pin(async { draft().send().await.is_ok() }), 0),
        (Box::pin(async { draft().send_confirmed().await.is_ok() }), 1),
        (Box::pin(async { draft().request(Duration::from_secs(1)).await.is_ok() }), 2),
    ];
    for (sending, kept) in dropped {
        // Time moves on once there is nothing left to do: the upload is done by then.
        assert!(tokio::time::timeout(Duration::from_millis(50), sending).await.is_err());
        // A deletion, where there is one, is another task's.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(store.len(), kept);
    }
}

#[tokio::test]
async fn message_beyond_the_broker_is_refused_before_any_upload() {
    let broker = MemoryBroker::builder().max_payload(20_000).build();
    let (store, bridge) = bridge(&broker);
    let mut draft = bridge.message("x").binary("large", vec![0; 600_000]);
    for index in 0..60 {
        draft = draft.binary(format!("p{index}"), vec![0; 500]);
    }
    let error = draft.send().await.unwrap_err();
    assert_eq!(error.code(), "too_large");
    assert!(error.to_string().contains("20000") && error.to_string().contains("500"), "{error}");
    assert!(store.is_empty());
    assert_eq!(bridge.limits().message_limit(), 20_000);
}

#[tokio::test]
async fn messages_suit_the_receiver_that_the_configuration_names() {
    let (_, mut config) = stored();
    config = config.limits(natsbridge::wire::Limits::default().receiver(natsbridge::ReceiverKind::MicroPython));
    let bridge = Bridge::with_broker(MemoryBroker::new(), config).unwrap();
    let large = || bridge.message("x").binary("large", vec![0; 60_000]);
    for draft in [large(), large().convert_tables()] {
        assert_eq!(draft.send().await.unwrap_err().code(), "too_large");
    }
    large().receiver(natsbridge::ReceiverKind::Desktop).send().await.unwrap();
}

#[tokio::test]
async fn replies_name_the_message_they_reply_to() {
    let (_, bridge) = bridge(&MemoryBroker::new());
    let mut inbox = bridge.subscribe("ask").await.unwrap();
    let asked = bridge.message("ask").text("question", "6 × 7?").request(Duration::from_secs(5));
    let answered = async {
        let message = inbox.next().await.unwrap().unwrap();
        message.reply().text("answer", "42").send().await.unwrap();
        message
    };
    let (answer, message) = tokio::join!(asked, answered);
    let answer = answer.unwrap();
    assert_eq!(answer.text("answer").unwrap(), "42");
    assert_eq!(answer.header().reply_to_msg_id(), message.header().msg_id());
    assert_eq!(answer.header().correlation_id(), message.header().correlation_id());

    let mut answers = bridge.subscribe("answers").await.unwrap();
    let sent = bridge.message("ask").text("t", "x").reply_to("answers").send().await.unwrap();
    let message = inbox.next().await.unwrap().unwrap();
    message.ack().await.unwrap();
    message.nack("out of paper").await.unwrap();
    let ack = answers.next().await.unwrap().unwrap();
    assert_eq!((ack.header().msg_purpose(), ack.header().reply_to_msg_id()), (Purpose::Ack, sent.header().msg_id()));
    assert!(ack.payloads().is_empty());
    let nack = answers.next().await.unwrap().unwrap();
    let why = ["code", "reason", "retryable"].map(|key| nack.header().metadata()[key].clone());
    assert_eq!(why, [json!("handler"), json!("out of paper"), json!(true)]);

    bridge.message("ask").send().await.unwrap();
    let message = inbox.next().await.unwrap().unwrap();
    assert_eq!(message.ack().await.unwrap_err().code(), "no_reply_subject");
    let error = bridge.message("nobody").request(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, Error::Broker(error) if error.kind() == BrokerErrorKind::NoResponders));
}

#[tokio::test]
async fn subject_that_nats_refuses_is_refused_first() {
    let (store, bridge) = bridge(&MemoryBroker::new());
    for subject in ["", "a b", "a..b", "a.*", ">"] {
        let large = bridge.message(subject).binary("b", vec![0; 600_000]);
        let wrong = bridge.message(subject).value("n", json!(7), PayloadType::Text);
        let missing = bridge.message(subject).file("f", "/no/such/file", PayloadType::Video);
        for draft in [large, wrong, missing] {
            let error = draft.send().await.unwrap_err();
            assert!(matches!(error, Error::Subject(_)), "{subject}: {error}");
        }
        // So is one that nobody could answer on, also after a message that went.
        if !subject.is_empty() {
            bridge.message("s").send().await.unwrap();
            let error = bridge.message("s").reply_to(subject).binary("b", vec![0; 600_000]).send().await.unwrap_err();
            assert!(matches!(error, Error::Subject(_)), "{subject}: {error}");
        }
    }
    assert!(store.is_empty());
    assert!(matches!(bridge.subscribe("a.>.b").await, Err(Error::Subject(_))));
}

#[tokio::test]
async fn value_of_another_kind_names_its_payload() {
    let (_, bridge) = bridge(&MemoryBroker::new());
    let error = bridge.message("x").value("n", json!(7), PayloadType::Text).send().await.unwrap_err();
    assert_eq!((error.code(), error.dataname()), ("wrong_value", Some("n")));
    let error = bridge.message("x").rows("n", json!({"a": 1})).send().await.unwrap_err();
    assert!(error.to_string().contains("array of objects"), "{error}");
    let error = bridge.message("x").file("f", "/no/such/file", PayloadType::Video).send().await.unwrap_err();
    assert_eq!((error.code(), error.dataname()), ("local_file", Some("f")));
}

#[tokio::test]
async fn smartsend_has_every_keyword_argument_of_the_contract() {
    let store = MemoryStore::new();
    let options = SendOptions::default()
        .broker_url("nats://u:secret@h:4222")
        .fileserver_url("http://files.test")
        .fileserver_upload_handler(store.clone())
        .size_threshold(4)
        .correlation_id("c")
        .msg_purpose(Purpose::UpdateStatus)
        .sender_name("s")
        .receiver_name("r")
        .receiver_id("r-1")
        .reply_to("answers")
        .reply_to_msg_id("m-0")
        .msg_id("m-1")
        .sender_id("s-1");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file").unwrap();
    let data = [
        ("text", Data::from("hi"), PayloadType::Text),
        ("file", Data::File(file.path().to_owned()), PayloadType::Binary),
        ("rows", Value::from(Rows::default()).into(), PayloadType::JsonTable),
    ];
    let (envelope, json) = smartsend("a.b", data, &options).await.unwrap();
    let header = envelope.header();
    assert_eq!(
        (header.send_to(), header.correlation_id(), header.msg_id(), header.sender_name(), header.sender_id()),
        ("a.b", "c", "m-1", "s", "s-1")
    );
    assert_eq!(
        (header.receiver_name(), header.receiver_id(), header.reply_to(), header.reply_to_msg_id()),
        ("r", "r-1", "answers", "m-0")
    );
    assert_eq!((header.broker_url(), header.msg_purpose()), ("nats://h:4222", Purpose::UpdateStatus));
    assert!(!String::from_utf8_lossy(&json).contains("secret"));

    let options = ReceiveOptions::default()
        .fileserver_download_handler(store)
        .max_retries(1)
        .base_delay(Duration::from_millis(1))
        .max_delay(Duration::from_millis(1));
    let (_, handles) = open(&json, &options).unwrap();
    let transports: Vec<_> = handles.iter().map(natsbridge::Payload::transport).collect();
    assert_eq!(transports, [Transport::Direct, Transport::Link, Transport::Direct]);
    let received = smartreceive(&json, &options).await.unwrap();
    assert_eq!(received.header(), header);
    assert_eq!(received.value("file"), Some(&Value::from(b"from a file".as_slice())));
    assert_eq!(received.into_payloads()[0], ("text".to_owned(), Value::from("hi"), PayloadType::Text));
}

#[tokio::test]
async fn closures_serve_as_handlers() {
    let kept: Arc<std::sync::Mutex<Option<bytes::Bytes>>> = Arc::default();
    let put = Arc::clone(&kept);
    let uploader = upload_handler(move |object: Object, source: Source| {
        let put = Arc::clone(&put);
        async move {
            let Source::Bytes(bytes) = source else { return Err("only from memory".into()) };
            *put.lock().unwrap() = Some(bytes.clone());
            Ok(Uploaded::new("https://files.test/1", object.size, Digest::of(&bytes)))
        }
    });
    let downloader = natsbridge::store::download_handler(move |link| {
        let kept = kept.lock().unwrap().clone();
        async move { kept.filter(|_| link.url.ends_with("/1")).ok_or_else(|| "nothing there".into()) }
    });
    let options = SendOptions::default().fileserver_upload_handler(uploader);
    let data = [("b", Data::from(vec![7; 500_000]), PayloadType::Binary)];
    let (_, json) = smartsend("a", data, &options).await.unwrap();
    let received =
        smartreceive(&json, &ReceiveOptions::default().fileserver_download_handler(downloader)).await.unwrap();
    assert_eq!(received.value("b"), Some(&Value::from(vec![7; 500_000])));
}

#[tokio::test]
async fn dead_file_server_does_not_touch_small_payloads() {
    let config = Config::default()
        .fileserver_url("http://127.0.0.1:9")
        .retry(RetryPolicy::default().max_retries(1).base_delay(Duration::from_millis(1)));
    let bridge = Bridge::with_broker(MemoryBroker::new(), config).unwrap();
    let mut inbox = bridge.subscribe("x").await.unwrap();
    bridge.message("x").text("t", "small").send().await.unwrap();
    assert_eq!(inbox.next().await.unwrap().unwrap().text("t").unwrap(), "small");
    let error = bridge.message("x").binary("b", vec![0; 500_000]).send().await.unwrap_err();
    assert_eq!((error.code(), error.dataname(), error.is_retryable()), ("unreachable", Some("b"), true));
    assert!(error.to_string().contains("127.0.0.1:9") && error.to_string().contains("2 attempts"), "{error}");
}

#[tokio::test]
async fn payload_goes_direct_past_a_dead_file_server_where_allowed() {
    let config =
        Config::default().fileserver_url("http://127.0.0.1:9").retry(RetryPolicy::never()).direct_fallback(true);
    let bridge = Bridge::with_broker(MemoryBroker::new(), config).unwrap();
    let mut inbox = bridge.subscribe("x").await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 500_000]).unwrap();
    let sent = bridge.message("x").file("f", file.path(), PayloadType::Video).send().await.unwrap();
    assert_eq!(sent.payloads()[0].transport(), Transport::Direct);
    assert_eq!(inbox.next().await.unwrap().unwrap().bytes("f").unwrap(), vec![7; 500_000]);
    for too_large in [vec![0; 1_000_000], vec![0; 2_000_000]] {
        let error = bridge.message("x").binary("b", too_large).send().await.unwrap_err();
        assert_eq!(
            (error.code(), error.dataname()),
            ("unreachable", Some("b")),
            "the cause is the file server: {error}"
        );
    }
}
