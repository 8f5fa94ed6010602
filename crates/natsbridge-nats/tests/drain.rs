//! What leaves a queue group loses nothing: each message reaches the one that leaves or one that stays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::as_conversions, reason = "test code")]

use std::time::Duration;

use natsbridge_nats::{Broker, ConnectOptions, MemoryBroker, NatsBroker, Publish, Subscription};
use natsbridge_testkit::nats_server::NatsServer;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(40);

async fn join(broker: &dyn Broker) -> Subscription {
    broker.subscribe("work".parse().unwrap(), Some("group".parse().unwrap())).await.unwrap()
}

async fn connect(server: &NatsServer) -> NatsBroker {
    ConnectOptions::new(server.url()).connect().await.unwrap()
}

/// Publishes numbered messages without a pause until told to stop, and gives how many the broker has processed.
async fn publish(broker: &dyn Broker, mut stop: oneshot::Receiver<()>) -> usize {
    let mut number = 0;
    while stop.try_recv().is_err() {
        // So many that the broker always has some on their way: those are what a careless drain loses.
        for _ in 0..1_000 {
            broker.publish(Publish::new("work".parse().unwrap(), number.to_string())).await.unwrap();
            number += 1;
        }
        broker.confirm().await.unwrap();
        tokio::task::yield_now().await;
    }
    number
}

/// Reads a subscription to its end, in a task of its own so that no queue fills up.
fn read(mut subscription: Subscription) -> JoinHandle<Vec<usize>> {
    tokio::spawn(async move {
        let mut numbers = Vec::new();
        while let Some(delivery) = subscription.next().await {
            numbers.push(std::str::from_utf8(&delivery.payload).unwrap().parse().unwrap());
        }
        assert_eq!(subscription.dropped(), 0, "this test is not about slow readers");
        numbers
    })
}

fn each_was_read_once(mut read: Vec<usize>, sent: usize) {
    read.sort_unstable();
    assert_eq!(read.len(), sent, "{sent} were sent");
    assert!(read.into_iter().eq(0..sent));
}

/// Three hundred members come, take at least one message, and leave; another one stays.
async fn members_come_and_go(one: &dyn Broker, other: &dyn Broker) {
    let staying = read(join(other).await);
    let (stop, stopped) = oneshot::channel();
    let come_and_go = async {
        let mut numbers = Vec::new();
        for _ in 0..300 {
            let mut member = join(one).await;
            let first = member.next().await.unwrap();
            numbers.push(std::str::from_utf8(&first.payload).unwrap().parse().unwrap());
            member.drain();
            numbers.extend(read(member).await.unwrap());
        }
        stop.send(()).unwrap();
        numbers
    };
    let (sent, mut numbers) = tokio::join!(publish(other, stopped), come_and_go);
    other.drain().await.unwrap();
    numbers.extend(staying.await.unwrap());
    each_was_read_once(numbers, sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_subscription_leaves_the_rest_to_its_group() {
    let server = NatsServer::start().unwrap();
    let (one, other) = (connect(&server).await, connect(&server).await);
    tokio::time::timeout(PATIENCE, members_come_and_go(&one, &other)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_memory_subscription_leaves_the_rest_to_its_group() {
    let broker = MemoryBroker::new();
    tokio::time::timeout(PATIENCE, members_come_and_go(&broker, &broker.clone())).await.unwrap();
}

#[tokio::test]
async fn burst_is_read_whole_by_a_drain_right_behind_it() {
    const BURST: usize = 5_000;
    let server = NatsServer::start().unwrap();
    let (one, other) = (connect(&server).await, connect(&server).await);
    for _ in 0..10 {
        let subscription = join(&one).await;
        for number in 0..BURST {
            other.publish(Publish::new("work".parse().unwrap(), number.to_string())).await.unwrap();
        }
        other.confirm().await.unwrap();
        subscription.drain();
        each_was_read_once(read(subscription).await.unwrap(), BURST);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_connection_leaves_the_rest_to_its_groups() {
    let server = NatsServer::start().unwrap();
    let other = connect(&server).await;
    let staying = read(join(&other).await);
    let (stop, stopped) = oneshot::channel();
    let come_and_go = async {
        let mut numbers = Vec::new();
        for _ in 0..20 {
            let one = connect(&server).await;
            let mut member = join(&one).await;
            let first = member.next().await.unwrap();
            numbers.push(std::str::from_utf8(&first.payload).unwrap().parse().unwrap());
            one.drain().await.unwrap();
            numbers.extend(read(member).await.unwrap());
        }
        stop.send(()).unwrap();
        numbers
    };
    let both = async { tokio::join!(publish(&other, stopped), come_and_go) };
    let (sent, mut numbers) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    other.drain().await.unwrap();
    numbers.extend(staying.await.unwrap());
    each_was_read_once(numbers, sent);
}
