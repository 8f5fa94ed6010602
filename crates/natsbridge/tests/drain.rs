//! The end of a receiver: what has arrived is handled within its grace, and what is not is counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use natsbridge::store::MemoryStore;
use natsbridge::{Bridge, Config, Error, HandlerError, MemoryBroker, ServeOptions, Subscriber};
use natsbridge_testkit::nats_server::NatsServer;
use tokio::sync::watch;
use tokio::time::Instant;

const GRACE: Duration = Duration::from_secs(10);

async fn publish(bridge: &Bridge, subject: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        bridge.message(subject).dictionary("n", number).send().await.unwrap();
    }
    bridge.confirm().await.unwrap();
}

async fn read_all(inbox: &mut Subscriber) -> Vec<u64> {
    let mut read = Vec::new();
    while let Some(message) = inbox.next().await {
        read.push(message.unwrap().get("n").unwrap());
    }
    read
}

#[tokio::test]
async fn waiting_messages_are_handed_out_before_a_drain_ends() {
    let server = NatsServer::start().expect("a real nats-server");
    let remote = Bridge::connect(Config::new(&server.url())).await.unwrap();
    for bridge in [Bridge::with_broker(MemoryBroker::new(), Config::default()).unwrap(), remote] {
        let mut inbox = bridge.subscribe("n").await.unwrap();
        publish(&bridge, "n", 0..20_000).await;
        inbox.drain_within(GRACE);
        assert_eq!(read_all(&mut inbox).await, (0..20_000).collect::<Vec<_>>());
        assert_eq!(inbox.unhandled(), 0);
        publish(&bridge, "n", 0..1).await;
        assert!(inbox.next().await.is_none(), "it no longer listens");
    }
}

#[tokio::test]
async fn messages_beyond_the_grace_are_counted() {
    let server = NatsServer::start().expect("a real nats-server");
    let remote = Bridge::connect(Config::new(&server.url())).await.unwrap();
    for bridge in [Bridge::with_broker(MemoryBroker::new(), Config::default()).unwrap(), remote] {
        let mut inbox = bridge.subscribe("n").await.unwrap();
        publish(&bridge, "n", 0..5_000).await;
        let first = inbox.next().await.unwrap().unwrap();
        assert_eq!((first.get::<u64>("n").unwrap(), inbox.unhandled()), (0, 0));
        inbox.drain_within(Duration::ZERO);
        assert!(inbox.next().await.is_none());
        assert_eq!(inbox.unhandled(), 4_999);
        assert!(inbox.next().await.is_none());
        assert_eq!(inbox.unhandled(), 4_999, "they are counted once");
    }
}

#[tokio::test]
async fn links_that_load_too_long_are_counted() {
    let store = MemoryStore::new();
    let config =
        Config::default().uploader(store).downloader(natsbridge::store::download_handler(|_| std::future::pending()));
    let bridge = Bridge::with_broker(MemoryBroker::new(), config).unwrap();
    let mut inbox = bridge.subscribe("n").await.unwrap();
    bridge.message("n").binary("link", vec![0; 600_000]).send().await.unwrap();
    publish(&bridge, "n", 0..3).await;
    inbox.drain_within(Duration::from_millis(50));
    let read = tokio::time::timeout(Duration::from_secs(20), read_all(&mut inbox)).await;
    assert!(read.expect("the grace ends").is_empty(), "the link holds up the others");
    assert_eq!(inbox.unhandled(), 4);
}

#[tokio::test]
async fn repeats_are_counted_once() {
    let bridge = Bridge::with_broker(MemoryBroker::builder().duplicate(1.0).build(), Config::default()).unwrap();
    let mut inbox = bridge.subscribe("n").await.unwrap();
    for number in 0..10 {
        bridge.message("n").dictionary("n", number).reply_to("answers").send().await.unwrap();
    }
    inbox.drain_within(Duration::ZERO);
    assert!(inbox.next().await.is_none());
    assert_eq!(inbox.unhandled(), 10);
}

#[tokio::test(start_paused = true)]
async fn handlers_beyond_the_grace_are_counted_and_stopped() {
    let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default()).unwrap();
    let (started, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counts = (Arc::clone(&started), Arc::clone(&ended));
    let options = ServeOptions::default().concurrency(4).grace(Duration::from_secs(30));
    let handler = move |seconds: u64| {
        let (started, ended) = counts.clone();
        async move {
            started.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            ended.fetch_add(1, Ordering::SeqCst);
            Ok::<_, HandlerError>(())
        }
    };
    let service = bridge.serve_typed("work", options, handler).await.unwrap();
    for seconds in [1, 10, 1_000, 1_000, 1_000, 1_000, 1_000] {
        bridge.message("work").dictionary("n", seconds).send().await.unwrap();
    }
    let begun = Instant::now();
    let error = service.stop().await.unwrap_err();
    assert!(matches!(error, Error::Unhandled { messages: 5 }), "four that began and one that did not: {error}");
    assert_eq!((started.load(Ordering::SeqCst), ended.load(Ordering::SeqCst)), (6, 2));
    assert!(begun.elapsed() >= Duration::from_secs(30) && begun.elapsed() < Duration::from_secs(35));
}

/// Which member handled a number, and how often it was handled
type Handled = Arc<Mutex<HashMap<u64, u32>>>;

/// A member of the group that reads until it is asked to stop; says what it left
async fn member(url: String, handled: Handled, mut stop: watch::Receiver<bool>) -> u64 {
    let bridge = Bridge::connect(Config::new(&url)).await.unwrap();
    let mut inbox = bridge.queue_subscribe("work", "g").await.unwrap();
    loop {
        tokio::select! {
            message = inbox.next() => match message {
                Some(message) => {
                    let number = message.unwrap().get("n").unwrap();
                    *handled.lock().unwrap().entry(number).or_default() += 1;
                    // Slow enough that messages wait when it is asked to stop.
                    tokio::time::sleep(Duration::from_micros(500)).await;
                }
                None => return inbox.unhandled(),
            },
            Ok(()) = stop.changed() => inbox.drain_within(GRACE),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_restarted_under_load_loses_nothing() {
    const RESTARTS: usize = 6;
    let server = NatsServer::start().expect("a real nats-server");
    let handled = Handled::default();
    let start = || {
        let (stop, stopped) = watch::channel(false);
        (stop, tokio::spawn(member(server.url(), Arc::clone(&handled), stopped)))
    };
    let mut members = std::collections::VecDeque::from([start(), start()]);
    let sender = Bridge::connect(Config::new(&server.url())).await.unwrap();
    let begin = || {
        let sender = sender.clone();
        async move {
            let answered = sender.message("work").dictionary("n", u64::MAX).request(Duration::from_millis(100)).await;
            !matches!(answered, Err(error) if error.code() == "broker_no_responders")
        }
    };
    while !begin().await {
        tokio::task::yield_now().await;
    }
    let (done, finished) = watch::channel(false);
    let sending = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let mut sent = 0;
        while !*finished.borrow() {
            ticks.tick().await;
            publish(&sender, "work", sent..sent + 10).await;
            sent += 10;
        }
        sent
    });
    let mut left = 0;
    for _ in 0..RESTARTS {
        // The new one first: the group always has a member.
        members.push_back(start());
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (stop, member) = members.pop_front().unwrap();
        stop.send(true).unwrap();
        left += member.await.unwrap();
    }
    done.send(true).unwrap();
    let sent = sending.await.unwrap();
    for (stop, member) in members {
        stop.send(true).unwrap();
        left += member.await.unwrap();
    }
    let mut handled = handled.lock().unwrap();
    handled.remove(&u64::MAX);
    let missing: Vec<_> = (0..sent).filter(|number| !handled.contains_key(number)).take(10).collect();
    assert!(missing.is_empty() && left == 0, "of {sent} messages {missing:?} … are lost, {left} are counted");
    assert!(sent >= 500, "too little was sent to test anything: {sent}");
    assert!(handled.values().all(|times| *times == 1), "a message was handed to two members");
}
