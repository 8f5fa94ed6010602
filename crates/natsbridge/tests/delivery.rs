//! Delivery: nothing lost without a word. Each test runs on the in-memory broker and on a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use natsbridge::store::{Downloader, MemoryStore};
use natsbridge::{
    Bridge, Config, DeliverOptions, Error, ErrorKind, HandlerError, MemoryBroker, Purpose, ServeOptions, Subscriber,
    Transport,
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
        self.bridge_with(store, Arc::new(store.clone())).await
    }

    async fn bridge_with(&self, store: &MemoryStore, downloader: Arc<dyn Downloader>) -> Bridge {
        let with_store = |config: Config| config.uploader(store.clone()).downloader(downloader);
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
fn acknowledging(mut inbox: Subscriber) -> Arc<AtomicU64> {
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
async fn delivery_ends_when_acknowledged_and_its_files_are_deleted() {
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

        let delivered = sender.message("jobs.print").text("t", "hi").deliver(&quick().acks(0)).await.unwrap();
        assert_eq!(delivered.acks.len(), 1, "a delivery waits for one acknowledgement at least");
    }
}

#[tokio::test]
async fn dropped_bridge_listens_for_acknowledgements_no_more() {
    for world in World::both() {
        let store = MemoryStore::new();
        let (sender, receiver) = (world.bridge(&store).await, world.bridge(&store).await);
        acknowledging(receiver.subscribe("jobs").await.unwrap());
        let delivered = sender.message("jobs").text("t", "hi").deliver(&quick()).await.unwrap();
        drop(sender);
        // Without a word to it: the first one would have ended it.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let inbox = delivered.envelope.header().reply_to();
        let error = receiver.message(inbox).text("t", "?").request(Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoResponders, "its subscription ends with it");
    }
}

#[tokio::test]
async fn message_repeats_until_acknowledged_and_is_handled_once() {
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
async fn lost_acknowledgement_is_sent_again_without_handling_twice() {
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
async fn missing_receiver_is_an_error_with_numbers_and_keeps_the_file() {
    for world in World::both() {
        let store = MemoryStore::new();
        let sender = world.bridge(&store).await;
        let options = quick().deadline(Duration::from_millis(350));
        let error = sender.message("jobs").binary("b", vec![0; 600_000]).deliver(&options).await.unwrap_err();
        let Error::Delivery(delivery) = &error else { panic!("{error:?}") };
        assert!(delivery.acked() == 0 && delivery.repeats() >= 1, "{error:?}");
        assert!(error.code() == "unacknowledged" && error.is_retryable(), "{error}");
        assert_eq!(store.len(), 1);
    }
}

#[tokio::test]
async fn refusal_for_good_ends_the_delivery_with_its_reason() {
    for world in World::both() {
        let store = MemoryStore::new();
        let (sender, receiver) = (world.bridge(&store).await, world.bridge(&store).await);
        let mut inbox = receiver.subscribe("jobs").await.unwrap();
        let send = tokio::spawn(async move { sender.message("jobs").text("t", "x").deliver(&quick()).await });
        // A refusal that may pass is followed by a repeat.
        inbox.next().await.unwrap().unwrap().nack("the printer is busy").await.unwrap();
        let again = inbox.next().await.unwrap().unwrap();
        again.nack(HandlerError::new("no such printer").permanent()).await.unwrap();
        let error = send.await.unwrap().unwrap_err();
        assert_eq!(error.code(), "nacked");
        assert!(error.to_string().contains("handler: no such printer"), "{error}");
    }
}

#[tokio::test]
async fn typed_service_replies_acknowledges_and_refuses() {
    for world in World::both() {
        let store = MemoryStore::new();
        let (client, host) = (world.bridge(&store).await, world.bridge(&store).await);
        let half = async |number: i64| match number % 2 {
            0 => Ok(number / 2),
            _ => Err(HandlerError::new("odd").code("odd").permanent()),
        };
        let halves = host.serve_typed("math.half", ServeOptions::default(), half).await.unwrap();
        let (sum, total) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let adding = Arc::clone(&sum);
        let adds = host
            .serve_typed("math.add", ServeOptions::default().concurrency(2), move |number: u64| {
                let sum = Arc::clone(&adding);
                async move {
                    sum.fetch_add(number, Ordering::SeqCst);
                    Ok::<_, HandlerError>(())
                }
            })
            .await
            .unwrap();
        let second = Duration::from_secs(5);
        let answer = client.message("math.half").dictionary("n", 84).request(second).await.unwrap();
        assert_eq!(answer.get::<i64>("reply").unwrap(), 42);
        let refused = client.message("math.half").dictionary("n", 7).request(second).await.unwrap_err();
        assert_eq!(refused.code(), "nacked");
        assert_eq!(refused.header().unwrap().metadata()["code"], "odd");
        let refused = client.message("math.half").text("n", "seven").request(second).await.unwrap_err();
        assert_eq!(refused.header().unwrap().metadata()["code"], "undecodable");
        let error = client.message("math.half").reply_to("a").request(second).await.unwrap_err();
        assert_eq!(error.code(), "configuration");
        for number in 1..=10_u64 {
            client.message("math.add").dictionary("n", number).deliver(&quick()).await.unwrap();
            total.fetch_add(number, Ordering::SeqCst);
        }
        assert_eq!(sum.load(Ordering::SeqCst), total.load(Ordering::SeqCst));
        halves.stop().await.unwrap();
        adds.stop().await.unwrap();
        let error =
            client.message("math.half").dictionary("n", 2).request(Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(error, Error::Broker(_)), "a stopped service is not there any more: {error}");
    }
}

#[tokio::test]
async fn stopping_service_loses_nothing_that_its_group_is_sent() {
    const MESSAGES: u64 = 2_000;
    for world in World::both() {
        let store = MemoryStore::new();
        let (sender, one, two) = (world.bridge(&store).await, world.bridge(&store).await, world.bridge(&store).await);
        let handled = Arc::new(AtomicU64::new(0));
        let member = async |host: &Bridge| {
            let handled = Arc::clone(&handled);
            let handler = move |_: u64| {
                handled.fetch_add(1, Ordering::SeqCst);
                async { Ok::<_, HandlerError>(()) }
            };
            host.serve_typed("work", ServeOptions::default().queue_group("g"), handler).await.unwrap()
        };
        let (leaving, staying) = (member(&one).await, member(&two).await);
        let sending = async {
            for number in 0..MESSAGES {
                sender.message("work").dictionary("n", number).send().await.unwrap();
                if number % 50 == 0 {
                    sender.confirm().await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
            sender.confirm().await.unwrap();
        };
        let stopping = async {
            while handled.load(Ordering::SeqCst) < MESSAGES / 4 {
                tokio::task::yield_now().await;
            }
            leaving.stop().await.unwrap();
        };
        tokio::join!(sending, stopping);
        staying.stop().await.unwrap();
        assert_eq!(handled.load(Ordering::SeqCst), MESSAGES);
    }
}

#[tokio::test]
async fn shutdown_request_stops_a_service_only_where_allowed() {
    for world in World::both() {
        let store = MemoryStore::new();
        let (sender, host) = (world.bridge(&store).await, world.bridge(&store).await);
        let mut inbox = host.subscribe("lab.*").await.unwrap();
        sender.status_update("lab.status").text("state", "warming up").send().await.unwrap();
        sender.shutdown_request("lab.control").send().await.unwrap();
        let news = inbox.next().await.unwrap().unwrap();
        assert_eq!((news.purpose(), news.text("state").unwrap()), (Purpose::UpdateStatus, "warming up".to_owned()));
        assert_eq!(inbox.next().await.unwrap().unwrap().purpose(), Purpose::Shutdown);

        let echo = async |number: u64| Ok::<_, HandlerError>(number);
        let open = host.serve_typed("open", ServeOptions::default().stop_when_asked(), echo).await.unwrap();
        let _closed = host.serve_typed("closed", ServeOptions::default(), echo).await.unwrap();
        sender.shutdown_request("open").deliver(&quick()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), open.ended()).await.expect("it was asked to end").unwrap();
        let error = sender.shutdown_request("closed").deliver(&quick()).await.unwrap_err();
        assert_eq!(error.code(), "nacked", "it is no message for the handler, which has no payload to read");
        let answer = sender.message("closed").dictionary("n", 7).request(Duration::from_secs(5)).await.unwrap();
        assert_eq!(answer.get::<u64>("reply").unwrap(), 7);
    }
}

#[tokio::test]
async fn messages_between_nats_clients_are_not_broken_messages() {
    for world in World::both() {
        let store = MemoryStore::new();
        let (sender, receiver) = (world.bridge(&store).await, world.bridge(&store).await);
        let mut all = receiver.subscribe(">").await.unwrap();
        let mut answers = receiver.subscribe("_INBOX.>").await.unwrap();
        let asking = tokio::spawn({
            let sender = sender.clone();
            async move { sender.message("ask").text("t", "x").request(Duration::from_secs(10)).await }
        });
        assert_eq!(all.next().await.unwrap().unwrap().subject().as_str(), "ask");
        // Confirmations, empty messages under _INBOX, pass in between.
        sender.confirm().await.unwrap();
        sender.message("next").text("t", "x").send_confirmed().await.unwrap();
        assert_eq!(all.next().await.unwrap().unwrap().subject().as_str(), "next");
        if matches!(world, World::Server(_)) {
            assert!(answers.next().await.unwrap().is_err(), "who listens to answers is told of every one");
        }
        asking.abort();
    }
}

#[tokio::test]
async fn panicking_handler_refuses_and_the_service_goes_on() {
    for world in World::both() {
        let store = MemoryStore::new();
        let (client, host) = (world.bridge(&store).await, world.bridge(&store).await);
        let picky = async |number: i64| {
            assert!(number > 0, "only positive numbers");
            Ok::<_, HandlerError>(number)
        };
        let service = host.serve_typed("picky", ServeOptions::default(), picky).await.unwrap();
        let second = Duration::from_secs(5);
        let error = client.message("picky").dictionary("n", -1).request(second).await.unwrap_err();
        assert!(error.to_string().contains("the handler panicked"), "{error}");
        let answer = client.message("picky").dictionary("n", 1).request(second).await.unwrap();
        assert_eq!(answer.get::<i64>("reply").unwrap(), 1);
        service.stop().await.unwrap();
    }
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
async fn received_and_lost_add_up_to_sent_for_a_slow_receiver() {
    const SENT: u64 = 5_000;
    let limits = natsbridge_nats::SubscriptionLimits { messages: 50, bytes: 1 << 20 };
    let server = NatsServer::start().expect("a real nats-server");
    let mut config = Config::new(&server.url());
    let options = config.connect_options().clone().subscription_limits(limits);
    config = config.nats(options);
    let memory = World::Memory(MemoryBroker::builder().subscription_limits(limits).build());
    let store = MemoryStore::new();
    for (sender, receiver) in [
        (memory.bridge(&store).await, memory.bridge(&store).await),
        (Bridge::connect(Config::new(&server.url())).await.unwrap(), Bridge::connect(config).await.unwrap()),
    ] {
        let mut inbox = receiver.subscribe("n").await.unwrap();
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
}

#[tokio::test]
async fn message_overtakes_a_slow_link_only_where_order_is_given_up() {
    for world in World::both() {
        let store = MemoryStore::new();
        let sender = world.bridge(&store).await;
        for unordered in [false, true] {
            let released = Arc::new(tokio::sync::Semaphore::new(0));
            let (from, gate) = (store.clone(), Arc::clone(&released));
            let slow = natsbridge::store::download_handler(move |link| {
                let (from, gate) = (from.clone(), Arc::clone(&gate));
                async move {
                    let _ = gate.acquire().await?;
                    let found = Downloader::download(&from, &link, natsbridge::store::Target::Memory).await?;
                    let natsbridge::store::Source::Bytes(bytes) = found.source else { panic!("in memory") };
                    Ok(bytes)
                }
            });
            let receiver = world.bridge_with(&store, Arc::new(slow)).await;
            let mut inbox = receiver.subscribe("n").await.unwrap();
            if unordered {
                inbox = inbox.unordered();
            }
            sender.message("n").binary("link", vec![0; 600_000]).send().await.unwrap();
            sender.message("n").text("direct", "x").send().await.unwrap();
            let mut names = Vec::new();
            if unordered {
                let first = tokio::time::timeout(Duration::from_secs(10), inbox.next()).await;
                names.push(first.expect("it waits for nothing").unwrap().unwrap().payloads()[0].name().to_owned());
            }
            released.add_permits(1);
            while names.len() < 2 {
                names.push(inbox.next().await.unwrap().unwrap().payloads()[0].name().to_owned());
            }
            assert_eq!(names, if unordered { ["direct", "link"] } else { ["link", "direct"] });
        }
    }
}

#[tokio::test]
async fn reply_obeys_the_same_limits_as_any_message() {
    for world in World::both() {
        let store = MemoryStore::new();
        let (client, host) = (world.bridge(&store).await, world.bridge(&store).await);
        let large = async |bytes: usize| Ok::<_, HandlerError>("x".repeat(bytes));
        let service = host.serve_typed("large", ServeOptions::default(), large).await.unwrap();
        for (bytes, transport) in [(1_000, Transport::Direct), (2_000_000, Transport::Link)] {
            let draft = client.message("large").dictionary("n", bytes);
            let answer = draft.request(Duration::from_secs(20)).await.unwrap();
            assert_eq!(answer.payloads()[0].transport(), transport);
            assert_eq!(answer.get::<String>("reply").unwrap().len(), bytes);
        }
        service.stop().await.unwrap();
    }
}

#[test]
fn futures_can_all_move_between_threads() {
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
