//! Delivery: nothing lost without a word. Each test runs on the in-memory broker and on a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use natsbridge::{
    Bridge, Config, DeliverOptions, DeliveryError, Error, Failure, Inbox, MemoryBroker, MemoryStore, Purpose,
    ServeOptions,
};
use natsbridge_testkit::nats_server::NatsServer;

/// Bridges that share one broker, whichever that is
enum World {
    Memory(MemoryBroker),
    Server(NatsServer),
}

impl World {
    fn both() -> [Self; 2] {
        [Self::Memory(MemoryBroker::new()), Self::Server(NatsServer::start().expect("a real nats-server"))]
    }

    async fn bridge(&self, store: &MemoryStore) -> Bridge {
        let with_store = |mut config: Config| {
            config.uploader = Some(Arc::new(store.clone()));
            config.downloader = Some(Arc::new(store.clone()));
            config
        };
        match self {
            Self::Memory(broker) => Bridge::with_broker(broker.clone(), with_store(Config::default())).unwrap(),
            Self::Server(server) => Bridge::connect(with_store(Config::new(&server.url()))).await.unwrap(),
        }
    }
}

/// Fast enough for a test, slow enough that a healthy answer comes before the first repeat
fn quick() -> DeliverOptions {
    DeliverOptions::default()
        .deadline(Duration::from_secs(20))
        .pauses(Duration::from_millis(100), Duration::from_millis(400))
}

/// Acknowledges everything and counts what is handed out
fn acknowledging(mut inbox: Inbox) -> Arc<AtomicU64> {
    let handled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handled);
    tokio::spawn(async move {
        while let Some(message) = inbox.next().await {
            count.fetch_add(1, Ordering::SeqCst);
            message.unwrap().ack().await.unwrap();
        }
    });
    handled
}

#[tokio::test]
async fn a_delivery_ends_with_its_acknowledgements_and_its_files_are_deleted() {
    for world in World::both() {
        let store = MemoryStore::new();
        let (sender, one, two) = (world.bridge(&store).await, world.bridge(&store).await, world.bridge(&store).await);
        let first = acknowledging(one.subscribe("jobs.*").await.unwrap());
        let second = acknowledging(two.subscribe("jobs.>").await.unwrap());
        let draft = sender.message("jobs.print").text("t", "hi").binary("b", vec![7; 600_000]);
        let delivered = draft.deliver(&quick().acks(2)).await.unwrap();
        assert_eq!((delivered.acks.len(), delivered.repeats), (2, 0));
        for ack in &delivered.acks {
            assert_eq!(ack.msg_purpose(), Purpose::Ack);
            assert_eq!(ack.reply_to_msg_id(), delivered.envelope.header().msg_id());
            assert_eq!(ack.correlation_id(), delivered.envelope.header().correlation_id());
        }
        assert_eq!((first.load(Ordering::SeqCst), second.load(Ordering::SeqCst)), (1, 1));
        assert!(store.is_empty(), "the link is deleted once all acknowledgements are in");
    }
}

#[tokio::test]
async fn a_message_is_repeated_until_a_receiver_acknowledges_and_handled_once() {
    for world in World::both() {
        let store = MemoryStore::new();
        let (sender, receiver) = (world.bridge(&store).await, world.bridge(&store).await);
        let mut inbox = receiver.subscribe("jobs").await.unwrap();
        let send = tokio::spawn(async move { sender.message("jobs").text("t", "x").deliver(&quick()).await });
        let message = inbox.next().await.unwrap().unwrap();
        let msg_id = message.header().msg_id().to_owned();
        // While it is being handled, repeats are not handed out.
        let again = tokio::time::timeout(Duration::from_millis(400), inbox.next()).await;
        assert!(again.is_err(), "a repeat was handed out while the first was being handled");
        // A handler that gives up without a word leaves the next repeat to be handled.
        drop(message);
        let message = inbox.next().await.unwrap().unwrap();
        assert_eq!(message.header().msg_id(), msg_id);
        message.ack().await.unwrap();
        let delivered = send.await.unwrap().unwrap();
        assert!(delivered.repeats >= 2, "{}", delivered.repeats);
    }
}

#[tokio::test]
async fn a_lost_acknowledgement_is_given_again_without_handling_twice() {
    // Every third message of the broker is lost, every fifth comes twice: acknowledgements too.
    let broker = MemoryBroker::builder().seed(7).drop(0.3).duplicate(0.2).reorder(0.1).build();
    let world = World::Memory(broker);
    let store = MemoryStore::new();
    let (sender, receiver) = (world.bridge(&store).await, world.bridge(&store).await);
    let handled = acknowledging(receiver.subscribe("jobs").await.unwrap());
    let fast = quick().pauses(Duration::from_millis(5), Duration::from_millis(20));
    let mut repeats = 0;
    for index in 0..200_u64 {
        let delivered = sender.message("jobs").dictionary("n", index).deliver(&fast).await.unwrap();
        repeats += delivered.repeats;
    }
    assert_eq!(handled.load(Ordering::SeqCst), 200, "each is handled exactly once within the window");
    assert!(repeats > 50, "the broker lost too little to test anything: {repeats} repeats");
}

#[tokio::test]
async fn no_receiver_is_an_error_with_numbers_and_the_file_stays_for_slow_ones() {
    for world in World::both() {
        let store = MemoryStore::new();
        let sender = world.bridge(&store).await;
        let options = quick().deadline(Duration::from_millis(350));
        let error = sender.message("jobs").binary("b", vec![0; 600_000]).deliver(&options).await.unwrap_err();
        let Error::Delivery(DeliveryError::Unacknowledged { acked: 0, awaited: 1, repeats, .. }) = &error else {
            panic!("{error:?}")
        };
        assert!(*repeats >= 1 && error.code() == "unacknowledged" && error.is_retryable(), "{error}");
        assert_eq!(store.len(), 1);
    }
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_delivery_with_its_reason() {
    for world in World::both() {
        let store = MemoryStore::new();
        let (sender, receiver) = (world.bridge(&store).await, world.bridge(&store).await);
        let mut inbox = receiver.subscribe("jobs").await.unwrap();
        let send = tokio::spawn(async move { sender.message("jobs").text("t", "x").deliver(&quick()).await });
        // A refusal that may pass is followed by a repeat.
        inbox.next().await.unwrap().unwrap().nack("handler", "the printer is busy", true).await.unwrap();
        let again = inbox.next().await.unwrap().unwrap();
        again.nack("handler", "no such printer", false).await.unwrap();
        let error = send.await.unwrap().unwrap_err();
        assert_eq!(error.code(), "nacked");
        assert!(error.to_string().contains("handler: no such printer"), "{error}");
    }
}

#[tokio::test]
async fn a_typed_service_answers_acknowledges_and_refuses() {
    for world in World::both() {
        let store = MemoryStore::new();
        let (client, host) = (world.bridge(&store).await, world.bridge(&store).await);
        let half = async |number: i64| match number % 2 {
            0 => Ok(number / 2),
            _ => Err(Failure::new("odd").code("odd").permanent()),
        };
        let halves = host.serve("math.half", ServeOptions::default(), half).await.unwrap();
        let (sum, total) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let adding = Arc::clone(&sum);
        let adds = host
            .serve("math.add", ServeOptions::default().concurrency(2), move |number: u64| {
                let sum = Arc::clone(&adding);
                async move {
                    sum.fetch_add(number, Ordering::SeqCst);
                    Ok::<_, Failure>(())
                }
            })
            .await
            .unwrap();
        let second = Duration::from_secs(5);
        let answer = client.message("math.half").dictionary("n", 84).request(second).await.unwrap();
        assert_eq!(answer.get::<i64>("reply").unwrap(), 42);
        let refused = client.message("math.half").dictionary("n", 7).request(second).await.unwrap_err();
        assert_eq!(refused.error.code(), "nacked");
        assert_eq!(refused.header.unwrap().metadata()["code"], "odd");
        let refused = client.message("math.half").text("n", "seven").request(second).await.unwrap_err();
        assert_eq!(refused.header.unwrap().metadata()["code"], "undecodable");
        let error = client.message("math.half").reply_to("a").request(second).await.unwrap_err();
        assert_eq!(error.error.code(), "configuration");
        for number in 1..=10_u64 {
            client.message("math.add").dictionary("n", number).deliver(&quick()).await.unwrap();
            total.fetch_add(number, Ordering::SeqCst);
        }
        assert_eq!(sum.load(Ordering::SeqCst), total.load(Ordering::SeqCst));
        halves.stop().await;
        adds.stop().await;
        let error =
            client.message("math.half").dictionary("n", 2).request(Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(*error.error, Error::Broker(_)), "a stopped service is not there any more: {error}");
    }
}

#[tokio::test]
async fn a_handler_that_panics_is_refused_and_the_service_goes_on() {
    let world = World::Memory(MemoryBroker::new());
    let store = MemoryStore::new();
    let (client, host) = (world.bridge(&store).await, world.bridge(&store).await);
    let picky = async |number: i64| {
        assert!(number > 0, "only positive numbers");
        Ok::<_, Failure>(number)
    };
    let service = host.serve("picky", ServeOptions::default(), picky).await.unwrap();
    let second = Duration::from_secs(5);
    let error = client.message("picky").dictionary("n", -1).request(second).await.unwrap_err();
    assert!(error.to_string().contains("the handler panicked"), "{error}");
    assert_eq!(
        client.message("picky").dictionary("n", 1).request(second).await.unwrap().get::<i64>("reply").unwrap(),
        1
    );
    service.stop().await;
}

#[tokio::test]
async fn gaps_duplicates_and_overtaking_are_counted() {
    let world = World::Memory(MemoryBroker::builder().seed(3).drop(0.1).duplicate(0.1).reorder(0.1).build());
    let store = MemoryStore::new();
    let (sender, receiver) = (world.bridge(&store).await, world.bridge(&store).await);
    let mut inbox = receiver.subscribe("n").await.unwrap();
    for index in 0..1_000_u64 {
        sender.message("n").dictionary("n", index).send().await.unwrap();
    }
    receiver.drain().await.unwrap();
    let mut distinct = std::collections::HashSet::new();
    let mut received = 0_u64;
    let (mut first, mut last) = (u64::MAX, 0);
    while let Some(message) = inbox.next().await {
        let number: u64 = message.unwrap().get("n").unwrap();
        received += 1;
        (first, last) = (first.min(number), last.max(number));
        distinct.insert(number);
    }
    let losses = inbox.losses();
    let distinct = u64::try_from(distinct.len()).unwrap();
    assert_eq!(losses.duplicates, received - distinct);
    assert_eq!(losses.missing, last - first + 1 - distinct, "first {first}, last {last}, {losses:?}");
    assert!(losses.missing > 50 && losses.duplicates > 50 && losses.reordered > 10, "{losses:?}");
}

#[tokio::test]
async fn with_a_slow_receiver_received_and_counted_lost_make_sent() {
    let server = NatsServer::start().expect("a real nats-server");
    let mut config = Config::new(&server.url());
    let limits = natsbridge_nats::SubscriptionLimits { messages: 50, bytes: 1 << 20 };
    config.nats = config.nats.subscription_limits(limits);
    let (sender, receiver) =
        (Bridge::connect(Config::new(&server.url())).await.unwrap(), Bridge::connect(config).await.unwrap());
    let mut inbox = receiver.subscribe("n").await.unwrap();
    const SENT: u64 = 5_000;
    for index in 0..SENT {
        sender.message("n").dictionary("n", index).send().await.unwrap();
    }
    sender.confirm().await.unwrap();
    receiver.confirm().await.unwrap();
    receiver.drain().await.unwrap();
    let mut received = 0;
    while let Some(message) = inbox.next().await {
        message.unwrap();
        received += 1;
    }
    assert_eq!(received + inbox.dropped(), SENT);
    assert!(inbox.dropped() > 0, "the receiver was not slow enough to test anything");
}

#[test]
fn every_future_can_move_between_threads() {
    fn check<T: Send>(_: fn() -> T) {}
    fn bridge() -> Bridge {
        unreachable!("only its type is looked at")
    }
    check(|| bridge().message("a").send());
    check(|| bridge().message("a").send_confirmed());
    check(|| async { bridge().message("a").deliver(&DeliverOptions::default()).await.map(drop) });
    check(|| async { bridge().subscribe("a").await.unwrap().next().await.map(drop) });
    check(|| bridge().message("a").request(Duration::ZERO));
}
