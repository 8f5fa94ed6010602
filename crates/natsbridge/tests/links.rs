//! Links of messages that are repeated or for many, uploads that wait for a file server, and brokers that take less.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge::broker::{
    Broker, BrokerError, BrokerErrorKind, EventStream, Publish, QueueGroup, RawMessage, Subject, SubjectFilter,
    Subscription,
};
use natsbridge::store::{
    LifetimeRules, MemoryStore, Object, OneShotRule, Origin, Receipt, Source, StoreError, StoreErrorKind, Stored,
    Uploader,
};
use natsbridge::{
    Bridge, Config, DeliverOptions, Error, LinkLifetime, MemoryBroker, MessageBuilder, PayloadType, SendOptions,
    Subscriber, Transport, smartsend,
};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3_600);

/// A store that fails at first, may make every link one-shot, and remembers what was asked of it
#[derive(Debug, Default)]
struct Wilful {
    store: MemoryStore,
    fails: AtomicU32,
    kind: Option<StoreErrorKind>,
    forces_one_shot: bool,
    /// Says so beforehand
    says_so: bool,
    /// Never answers where something is to be deleted
    keeps: bool,
    uploads: AtomicU32,
    one_shots: AtomicU32,
}

impl Uploader for Wilful {
    fn name(&self) -> Cow<'_, str> {
        "a wilful store".into()
    }
    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            self.uploads.fetch_add(1, Ordering::SeqCst);
            self.one_shots.fetch_add(u32::from(object.link_lifetime.one_shot), Ordering::SeqCst);
            let left = self.fails.load(Ordering::SeqCst);
            if left > 0 {
                self.fails.store(left - 1, Ordering::SeqCst);
                return Err(StoreError::new(self.kind.unwrap_or(StoreErrorKind::Unreachable), self.name()));
            }
            let mut stored = self.store.upload(object, source).await?;
            if self.forces_one_shot {
                stored.uploaded = stored.uploaded.one_shot(true);
            }
            Ok(stored)
        })
    }
    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        if self.keeps { Box::pin(std::future::pending()) } else { self.store.delete(receipt) }
    }
    fn origins(&self) -> Vec<Origin> {
        self.store.origins()
    }
    fn lifetime_rules(&self) -> LifetimeRules {
        let rules = self.store.lifetime_rules();
        if self.says_so { LifetimeRules::new(OneShotRule::Always, rules.expiry) } else { rules }
    }
}

fn bridge_on(broker: impl Broker + 'static, store: &Arc<Wilful>) -> Bridge {
    let config = Config::default().uploader(Arc::<Wilful>::clone(store)).downloader(store.store.clone());
    Bridge::with_broker(broker, config).unwrap()
}

fn quick() -> DeliverOptions {
    DeliverOptions::default()
        .deadline(Duration::from_secs(20))
        .pauses(Duration::from_millis(100), Duration::from_millis(400))
}

fn acknowledging(mut inbox: Subscriber) {
    tokio::spawn(async move {
        while let Some(message) = inbox.next().await {
            message.unwrap().ack().await.unwrap();
        }
    });
}

fn large(bridge: &Bridge) -> MessageBuilder {
    bridge.message("jobs").binary("film", vec![7; 600_000])
}

#[tokio::test]
async fn delivery_without_repeats_fails_with_its_upload() {
    let store = Arc::new(Wilful { fails: AtomicU32::new(1), ..Wilful::default() });
    let once = quick().pauses(Duration::MAX, Duration::MAX);
    let error = large(&bridge_on(MemoryBroker::new(), &store)).deliver(&once).await.unwrap_err();
    assert_eq!((error.code(), store.uploads.load(Ordering::SeqCst)), ("unreachable", 1), "{error}");
}

#[tokio::test]
async fn one_shot_options_that_contradict_are_refused_unsent() {
    let store = Arc::new(Wilful::default());
    let bridge = bridge_on(MemoryBroker::new(), &store);
    let mut inbox = bridge.subscribe(">").await.unwrap();
    let second = Duration::from_secs(1);
    let once = LinkLifetime::one_shot(HOUR);
    let to_one = || large(&bridge).receiver_id("r").link_lifetime(once);
    let options = SendOptions::default().fileserver_upload_handler(Arc::<Wilful>::clone(&store)).link_lifetime(once);
    let smart = async |options| {
        let data = [("film", vec![7_u8; 600_000], PayloadType::Binary)];
        smartsend("jobs", data, &options).await.unwrap_err()
    };
    let errors = [
        large(&bridge).link_lifetime(once).send().await.unwrap_err(),
        large(&bridge).link_lifetime(once).send_confirmed().await.unwrap_err(),
        to_one().reply_to("answers").send().await.unwrap_err(),
        to_one().deliver(&quick()).await.unwrap_err(),
        to_one().request(second).await.unwrap_err(),
        smart(options.clone()).await,
        smart(options.receiver_id("r").reply_to("answers")).await,
    ];
    for error in errors {
        assert_eq!(error.code(), "wrong_value", "{error}");
        assert!(error.to_string().contains("one-shot"), "{error}");
    }
    assert_eq!(store.uploads.load(Ordering::SeqCst), 0);
    to_one().send().await.unwrap();
    let message = inbox.next().await.unwrap().unwrap();
    assert_eq!(message.header().receiver_id(), "r", "nothing was published before it");
    assert_eq!((store.uploads.load(Ordering::SeqCst), store.one_shots.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn repeated_messages_to_one_receiver_have_links_that_last() {
    let store = Arc::new(Wilful::default());
    let bridge = bridge_on(MemoryBroker::new(), &store);
    acknowledging(bridge.subscribe("jobs").await.unwrap());
    large(&bridge).receiver_id("r").deliver(&quick()).await.unwrap();
    let asked = large(&bridge).receiver_id("r").request(Duration::from_secs(10)).await.unwrap();
    assert!(asked.payloads().is_empty());
    large(&bridge).receiver_id("r").reply_to("answers").send().await.unwrap();
    assert_eq!((store.uploads.load(Ordering::SeqCst), store.one_shots.load(Ordering::SeqCst)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn store_that_deletes_for_ever_holds_up_no_delivery() {
    let store = Arc::new(Wilful { keeps: true, ..Wilful::default() });
    let bridge = bridge_on(MemoryBroker::new(), &store);
    acknowledging(bridge.subscribe("jobs").await.unwrap());
    let delivered = tokio::time::timeout(HOUR, large(&bridge).deliver(&quick())).await;
    delivered.expect("it is acknowledged").unwrap();
}

#[tokio::test]
async fn stores_that_force_one_shot_take_no_repeated_message() {
    for says_so in [false, true] {
        let store = Arc::new(Wilful { forces_one_shot: true, says_so, ..Wilful::default() });
        let bridge = bridge_on(MemoryBroker::new(), &store);
        let mut inbox = bridge.subscribe(">").await.unwrap();
        let to_one = || large(&bridge).receiver_id("r");
        let refused = [
            large(&bridge).send().await.unwrap_err(),
            to_one().deliver(&quick()).await.unwrap_err(),
            to_one().request(Duration::from_secs(1)).await.unwrap_err(),
        ];
        for error in refused {
            let text = error.to_string();
            assert!(text.contains("a wilful store") && text.contains("`film`") && text.contains("one-shot"), "{text}");
        }
        assert_eq!(store.uploads.load(Ordering::SeqCst), if says_so { 0 } else { 3 }, "what is known is not tried");
        assert!(store.store.is_empty(), "what was uploaded is deleted");
        to_one().send().await.unwrap();
        assert_eq!(inbox.next().await.unwrap().unwrap().header().receiver_id(), "r", "nothing was published before it");
    }
}

#[tokio::test(start_paused = true)]
async fn uploads_of_a_delivery_are_tried_until_its_deadline() {
    let store = Arc::new(Wilful { fails: AtomicU32::new(15), ..Wilful::default() });
    let bridge = bridge_on(MemoryBroker::new(), &store);
    acknowledging(bridge.subscribe("jobs").await.unwrap());
    let ninety = quick().deadline(Duration::from_secs(90)).pauses(Duration::from_millis(500), Duration::from_secs(5));
    let begun = Instant::now();
    let delivered = large(&bridge).deliver(&ninety).await.unwrap();
    assert_eq!((delivered.acks.len(), delivered.repeats), (1, 0));
    assert!(begun.elapsed() > Duration::from_secs(15), "{:?}", begun.elapsed());

    store.fails.store(u32::MAX, Ordering::SeqCst);
    let begun = Instant::now();
    let error = large(&bridge).deliver(&ninety).await.unwrap_err();
    assert!(matches!(&error, Error::Store(store) if store.kind() == StoreErrorKind::Unreachable), "{error}");
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(80) && waited <= Duration::from_secs(90), "{waited:?}");

    let (uploads, refusing) = (store.uploads.load(Ordering::SeqCst), Some(StoreErrorKind::Refused));
    assert!(uploads > 25, "{uploads}");
    let store = Arc::new(Wilful { fails: AtomicU32::new(u32::MAX), kind: refusing, ..Wilful::default() });
    let bridge = bridge_on(MemoryBroker::new(), &store);
    large(&bridge).deliver(&ninety).await.unwrap_err();
    assert_eq!(store.uploads.load(Ordering::SeqCst), 1, "what waiting can't mend is not tried again");
}

#[tokio::test(start_paused = true)]
async fn deadline_error_gives_the_last_refusal_as_its_reason() {
    let bridge = bridge_on(MemoryBroker::new(), &Arc::default());
    let mut inbox = bridge.subscribe("jobs").await.unwrap();
    tokio::spawn(async move {
        for reason in ["warming up", "no space left on the disk"].into_iter().cycle() {
            inbox.next().await.unwrap().unwrap().nack(reason).await.unwrap();
        }
    });
    let twice = quick().deadline(Duration::from_millis(500)).pauses(Duration::from_millis(400), Duration::from_secs(1));
    let error = bridge.message("jobs").text("t", "x").deliver(&twice).await.unwrap_err();
    let Error::Delivery(delivery) = &error else { panic!("{error:?}") };
    let Some(refusal) = delivery.refusal().filter(|_| delivery.repeats() == 1) else { panic!("{error:?}") };
    assert_eq!((&*refusal.receiver, &*refusal.code), ("NATSBridge", "handler"));
    assert_eq!(refusal.reason, "no space left on the disk");
    let text = error.to_string();
    assert!(text.contains("NATSBridge: handler: no space left on the disk") && !text.contains("listening"), "{text}");
    assert!(error.code() == "unacknowledged" && error.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn receiver_with_an_identifier_counts_once_over_a_restart() {
    for (kept, counted) in [(Some("printer-7"), 1), (None, 2)] {
        let broker = MemoryBroker::new();
        let life = || {
            let config = kept.map_or_else(Config::default, |id| Config::default().sender_id(id));
            Bridge::with_broker(broker.clone(), config).unwrap()
        };
        let sender = Bridge::with_broker(broker.clone(), Config::default()).unwrap();
        let (first, second) = (life(), life());
        tokio::spawn(async move {
            // Each ends with its acknowledgement.
            for life in [first, second] {
                let mut inbox = life.subscribe("jobs").await.unwrap();
                inbox.next().await.unwrap().unwrap().ack().await.unwrap();
            }
        });
        let two = quick().deadline(Duration::from_secs(5)).acks(2);
        let acked = match sender.message("jobs").text("t", "x").deliver(&two).await {
            Ok(delivered) => delivered.acks.len(),
            Err(Error::Delivery(error)) => error.acked(),
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(acked, counted);
    }
    for unusable in ["", "a\nb", &"x".repeat(65)] {
        let config = Config::default().sender_id(unusable);
        let error = Bridge::with_broker(MemoryBroker::new(), config).unwrap_err();
        assert!(error.to_string().starts_with("sender_id"), "{error}");
    }
}

/// A broker that takes less than it said, once something is sent
#[derive(Debug, Clone)]
struct Shrinking {
    inner: MemoryBroker,
    /// What it says it takes
    says: Arc<AtomicU64>,
    takes: u64,
}

impl Shrinking {
    fn new(says: u64, takes: u64) -> Self {
        let inner = MemoryBroker::builder().max_payload(8_000_000).build();
        Self { inner, says: Arc::new(AtomicU64::new(says)), takes }
    }

    fn too_large(&self, outgoing: &Publish) -> Option<BrokerError> {
        let size = u64::try_from(outgoing.payload.len()).unwrap();
        self.says.store(self.takes, Ordering::SeqCst);
        (size > self.takes).then(|| BrokerError::new(BrokerErrorKind::TooLarge, "it takes less than it did"))
    }
}

impl Broker for Shrinking {
    fn publish(&self, outgoing: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        match self.too_large(&outgoing) {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => self.inner.publish(outgoing),
        }
    }
    fn confirm(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.inner.confirm()
    }
    fn publish_confirmed(&self, outgoing: Publish) -> BoxFuture<'_, Result<(), BrokerError>> {
        match self.too_large(&outgoing) {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => self.inner.publish_confirmed(outgoing),
        }
    }
    fn subscribe(
        &self,
        filter: SubjectFilter,
        queue: Option<QueueGroup>,
    ) -> BoxFuture<'_, Result<Subscription, BrokerError>> {
        self.inner.subscribe(filter, queue)
    }
    fn request(&self, outgoing: Publish, timeout: Duration) -> BoxFuture<'_, Result<RawMessage, BrokerError>> {
        match self.too_large(&outgoing) {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => self.inner.request(outgoing, timeout),
        }
    }
    fn new_inbox(&self) -> Subject {
        self.inner.new_inbox()
    }
    fn max_payload(&self) -> u64 {
        self.says.load(Ordering::SeqCst)
    }
    fn server_url(&self) -> String {
        self.inner.server_url()
    }
    fn events(&self) -> EventStream {
        self.inner.events()
    }
    fn drain(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.inner.drain()
    }
}

#[tokio::test]
async fn broker_with_a_smaller_limit_gets_links() {
    for way in ["send", "confirmed", "deliver", "request"] {
        let store = Arc::new(Wilful::default());
        let broker = Shrinking::new(1_048_576, 100_000);
        let sender = bridge_on(broker.clone(), &store);
        let receiver = bridge_on(broker.inner, &store);
        let mut inbox = receiver.subscribe("jobs").await.unwrap();
        let note = natsbridge::Metadata::from_iter([("shelf".to_owned(), serde_json::json!(3))]);
        let draft = sender
            .message("jobs")
            .text("first", "x")
            .binary("film", vec![7; 600_000])
            .binary("raw", vec![8; 90_000])
            .text("last", "y")
            .metadata(note);
        let reading = tokio::spawn(async move {
            let message = inbox.next().await.unwrap().unwrap();
            if let Err(error) = message.ack().await {
                assert_eq!(error.kind(), natsbridge::ErrorKind::NoReplySubject);
            }
            (message, inbox)
        });
        match way {
            "send" => drop(draft.send().await.unwrap()),
            "confirmed" => drop(draft.send_confirmed().await.unwrap()),
            "deliver" => drop(draft.deliver(&quick()).await.unwrap()),
            _ => drop(draft.request(Duration::from_secs(10)).await.unwrap()),
        }
        let (message, mut inbox) = reading.await.unwrap();
        let names: Vec<_> = message.payloads().iter().map(|handle| (handle.name(), handle.transport())).collect();
        let (direct, link) = (Transport::Direct, Transport::Link);
        assert_eq!(names, [("first", direct), ("film", link), ("raw", link), ("last", direct)], "{way}");
        assert_eq!((message.bytes("film").unwrap().len(), message.bytes("raw").unwrap().len()), (600_000, 90_000));
        assert_eq!(message.header().metadata()["shelf"], 3);
        assert_eq!(store.uploads.load(Ordering::SeqCst), 2, "{way}: what is a link stays one");
        assert_eq!(message.header().seq(), Some(1));
        sender.message("jobs").text("t", "x").send().await.unwrap();
        inbox.next().await.unwrap().unwrap();
        assert_eq!(inbox.losses(), natsbridge::Losses::default(), "{way}: no number is left out");
    }
}

#[tokio::test]
async fn message_that_no_longer_fits_leaves_no_upload() {
    let store = Arc::new(Wilful::default());
    let sender = bridge_on(Shrinking::new(1_048_576, 1_500), &store);
    let draft = large(&sender).binary("raw", vec![8; 400_000]);
    let error = draft.send().await.unwrap_err();
    assert_eq!(error.code(), "too_large", "{error}");
    assert!(store.store.is_empty());
}
