//! Many connections and many messages over one real nats-server.
//!
//! How the throughput compares with async-nats alone is measured by `cargo xtask bench`, in release and in one run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::as_conversions,
    reason = "test code"
)]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use natsbridge::{Bridge, Config};
use natsbridge_testkit::nats_server::NatsServer;
use tokio::sync::{Mutex, Semaphore};

/// Connections open at once
const CONNECTIONS: usize = 1_000;
/// Connections being made at once: the two cores that server and clients share are the limit, not the network
const CONNECTING: usize = 8;
/// Longest time for one connect
const CONNECT_LIMIT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(120);

/// Held by each test: two of them beside each other would measure each other, where nextest does not part them
static ALONE: Mutex<()> = Mutex::const_new(());

/// Server and clients need a descriptor for each connection, and some for themselves
fn check_descriptors() {
    // Where there is no such file, opening the connections tells.
    let Ok(limits) = fs::read_to_string("/proc/self/limits") else { return };
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("Linux lists this limit");
    let soft = line.split_whitespace().nth(3).unwrap();
    let enough = CONNECTIONS as u64 + 200;
    assert!(
        soft == "unlimited" || soft.parse::<u64>().unwrap() >= enough,
        "this test opens {CONNECTIONS} connections, but a process may open {soft} files: run `ulimit -n {enough}` first"
    );
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_by_the_thousand_open_in_time_and_work_at_once() {
    let _alone = ALONE.lock().await;
    check_descriptors();
    let server = NatsServer::start().expect("a real nats-server");
    let connecting = futures_util::stream::iter(0..CONNECTIONS).map(|_| async {
        let began = Instant::now();
        let bridge = Bridge::connect(Config::new(&server.url())).await.unwrap();
        (bridge, began.elapsed())
    });
    let connected = connecting.buffer_unordered(CONNECTING).collect::<Vec<_>>();
    let connected = tokio::time::timeout(PATIENCE, connected).await.expect("all connections stand in time");
    let (bridges, mut times): (Vec<_>, Vec<_>) = connected.into_iter().unzip();
    times.sort_unstable();
    let (median, p99) = (percentile(&times, 50), percentile(&times, 99));
    eprintln!("{CONNECTIONS} connections: median {median:?}, 99 % below {p99:?}, slowest {:?}", times.last().unwrap());
    assert!(p99 < CONNECT_LIMIT, "99 % of the connects took up to {p99:?}; the limit is {CONNECT_LIMIT:?}");

    // Each listens, each is written to by its neighbour, and each answers: all within the life of all.
    let exchange = async {
        let mut inboxes = Vec::with_capacity(CONNECTIONS);
        for (index, bridge) in bridges.iter().enumerate() {
            inboxes.push(bridge.subscribe(&format!("scale.{index}")).await.unwrap());
        }
        let answering = futures_util::future::join_all(inboxes.iter_mut().map(|inbox| async {
            let message = inbox.next().await.unwrap().unwrap();
            let number: usize = message.get("n").unwrap();
            message.reply().dictionary("n", number + 1).send().await.unwrap();
        }));
        let asking = futures_util::future::join_all((0..CONNECTIONS).map(|index| {
            let neighbour = &bridges[(index + 1) % CONNECTIONS];
            let draft = neighbour.message(format!("scale.{index}")).dictionary("n", index);
            async move {
                let answer = draft.request(PATIENCE).await.unwrap();
                assert_eq!(answer.get::<usize>("n").unwrap(), index + 1);
            }
        }));
        tokio::join!(answering, asking);
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("all connections are used in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_1_kb_arrive_decoded_over_a_thousand_a_second() {
    let _alone = ALONE.lock().await;
    const MESSAGES: u64 = 100_000;
    /// Least messages per second for one instance
    const REQUIRED: f64 = 1_000.0;
    /// How far the sender may be ahead, as it is faster than the receiver: core NATS drops what nobody takes in time
    const AHEAD: usize = 20_000;
    let server = NatsServer::start().expect("a real nats-server");
    let (sender, receiver) = (connect(&server).await, connect(&server).await);
    let mut inbox = receiver.subscribe("scale.rate").await.unwrap();
    let room = Arc::new(Semaphore::new(AHEAD));
    let taken = Arc::clone(&room);
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        let body = bytes::Bytes::from(vec![b'x'; 1_000]);
        for _ in 0..MESSAGES {
            taken.acquire().await.unwrap().forget();
            sender.message("scale.rate").binary("body", body.clone()).send().await.unwrap();
        }
        sender.confirm().await.unwrap();
        sender
    });
    let receiving = async {
        let mut received = 0;
        while received + inbox.dropped() < MESSAGES {
            let message = inbox.next().await.unwrap().unwrap();
            assert_eq!(message.bytes("body").unwrap().len(), 1_000);
            received += 1;
            room.add_permits(1);
        }
        received
    };
    let received = tokio::time::timeout(PATIENCE, receiving).await.expect("all messages arrive in time");
    let seconds = began.elapsed().as_secs_f64();
    let _sender = sending.await.unwrap();
    let rate = received as f64 / seconds;
    eprintln!("{received} of {MESSAGES} messages of 1 KB in {seconds:.2} s: {rate:.0} a second");
    assert_eq!((received, inbox.dropped()), (MESSAGES, 0), "the receiver was too slow for its subscription");
    assert_eq!(inbox.losses(), natsbridge::Losses::default());
    assert!(rate > REQUIRED, "{rate:.0} messages a second; the least is {REQUIRED}");
}

async fn connect(server: &NatsServer) -> Bridge {
    Bridge::connect(Config::new(&server.url())).await.unwrap()
}
