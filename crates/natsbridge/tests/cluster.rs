//! A cluster of three real nats-servers that loses a node: no acknowledged message is lost with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::net::TcpListener;
use std::time::Duration;

use natsbridge::broker::Event;
use natsbridge::{Bridge, Config};
use natsbridge_testkit::nats_server::NatsServer;
use support::{Ledger, deliver_all, read};
use tokio::sync::watch;

const MESSAGES: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Three nodes that know each other
fn cluster() -> Vec<NatsServer> {
    // All are held before any is given up, so that they differ.
    let held: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let routes: Vec<_> = held.iter().map(|port| port.local_addr().unwrap()).collect();
    drop(held);
    let all: Vec<_> = routes.iter().map(|address| format!("\"nats://{address}\"")).collect();
    let node = |(index, address)| {
        let config = format!(
            "server_name: \"node-{index}\"\ncluster {{ name: \"three\", listen: \"{address}\", routes: [{}] }}",
            all.join(", ")
        );
        NatsServer::builder().config(&config).start().expect("a real nats-server")
    };
    routes.iter().enumerate().map(node).collect()
}

/// A bridge that knows all nodes and is connected to the one of this index
async fn connected_to(nodes: &[NatsServer], index: usize) -> Bridge {
    let urls: Vec<_> = nodes.iter().map(NatsServer::url).collect();
    for _ in 0..200 {
        let mut config = Config::new(&urls.join(","));
        let options =
            config.connect_options().clone().reconnect_delay(Duration::from_millis(20), Duration::from_millis(200));
        config = config.nats(options);
        let bridge = Bridge::connect(config).await.unwrap();
        // The client chooses by lot.
        if bridge.broker_url() == urls[index] {
            return bridge;
        }
        bridge.drain().await.unwrap();
    }
    panic!("the lot never fell on node {index}");
}

/// Sends from a program at node 0 to one at node 1, and kills a node in the middle
async fn check_node_lost(victim: usize) {
    let mut nodes = cluster();
    let (sender, receiver) = (connected_to(&nodes, 0).await, connected_to(&nodes, 1).await);
    let mut events = if victim == 0 { sender.events() } else { receiver.events() };
    let mut inbox = receiver.subscribe("cluster.jobs").await.unwrap();
    let handling = tokio::spawn(async move {
        let mut ledger = Ledger::new(MESSAGES);
        while let Some(message) = inbox.next().await {
            let message = message.unwrap();
            ledger.enter(read(&message));
            message.ack().await.unwrap();
        }
        ledger
    });
    let (acknowledged, mut progress) = watch::channel(0);
    let killing = tokio::spawn(async move {
        progress.wait_for(|so_far| *so_far >= MESSAGES / 2).await.unwrap();
        nodes[victim].kill();
        nodes
    });
    let sending = deliver_all(&sender, "cluster.jobs", MESSAGES, &acknowledged);
    tokio::time::timeout(PATIENCE, sending).await.expect("all messages are acknowledged in time");
    let _nodes = killing.await.unwrap();
    let lost_its_node = async { while events.next().await.expect("the connection lives") != Event::Disconnected {} };
    tokio::time::timeout(PATIENCE, lost_its_node).await.expect("the killed node was the one in use");
    // A first answer can tell of the connection that was lost.
    let _ = receiver.confirm().await;
    receiver.confirm().await.unwrap();
    receiver.drain().await.unwrap();
    let ledger = handling.await.unwrap();
    ledger.check_complete();
    ledger.check_once();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_messages_survive_loss_of_the_senders_node() {
    check_node_lost(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_messages_survive_loss_of_the_receivers_node() {
    check_node_lost(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_members_that_leave_their_nodes_lose_no_message() {
    let nodes = cluster();
    let (leaving, sender, staying) =
        (connected_to(&nodes, 0).await, connected_to(&nodes, 1).await, connected_to(&nodes, 2).await);
    let mut stays = staying.queue_subscribe("cluster.work", "g").await.unwrap();
    let (count, mut stayed) = watch::channel(0_u64);
    tokio::spawn(async move {
        while let Some(message) = stays.next().await {
            message.unwrap();
            count.send_modify(|count| *count += 1);
        }
    });
    let (stop, stopped) = watch::channel(false);
    let sending = tokio::spawn(async move {
        let mut sent = 0_u64;
        while !*stopped.borrow() {
            for _ in 0..50 {
                sender.message("cluster.work").text("t", "x").send().await.unwrap();
                sent += 1;
            }
            sender.confirm().await.unwrap();
        }
        sent
    });
    let mut left = 0_u64;
    for _ in 0..20 {
        let mut inbox = leaving.queue_subscribe("cluster.work", "g").await.unwrap();
        inbox.next().await.unwrap().unwrap();
        left += 1;
        inbox.drain();
        while let Some(message) = inbox.next().await {
            message.unwrap();
            left += 1;
        }
    }
    stop.send(true).unwrap();
    let sent = sending.await.unwrap();
    // What the sender's node has processed, its neighbour may still be told of.
    let arrived = tokio::time::timeout(PATIENCE, stayed.wait_for(|stayed| left + stayed >= sent)).await.is_ok();
    assert!(arrived, "{left} of {sent} reached the one that left, and not all others the one that stayed");
    staying.drain().await.unwrap();
    assert_eq!(left + *stayed.borrow(), sent);
}
