//! What only a real server can show: broken connections, confirmations, clusters of URLs, names the server refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::as_conversions, reason = "test code")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use natsbridge_nats::{
    Broker, BrokerErrorKind, ConnectOptions, Event, EventStream, NatsBroker, Publish, QueueGroup, Subject,
    SubjectFilter, Subscription,
};
use natsbridge_testkit::nats_server::NatsServer;

const PATIENCE: Duration = Duration::from_secs(10);

fn message(subject: &str, payload: impl Into<bytes::Bytes>) -> Publish {
    Publish::new(subject.parse().unwrap(), payload)
}

async fn listen(broker: &NatsBroker, filter: &str) -> Subscription {
    broker.subscribe(filter.parse().unwrap(), None).await.unwrap()
}

async fn texts(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let delivery = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("nothing arrived").unwrap();
        texts.push(String::from_utf8(delivery.payload.to_vec()).unwrap());
    }
    texts
}

async fn wait_for(events: &mut EventStream, wanted: &Event) {
    let seen = async { while events.next().await.unwrap() != *wanted {} };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("no {wanted:?}"));
}

fn quick(server: &NatsServer) -> ConnectOptions {
    ConnectOptions::new(server.url()).reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_published_while_the_server_is_away_arrive_later() {
    let mut server = NatsServer::start().unwrap();
    let broker = quick(&server).connect().await.unwrap();
    let mut events = broker.events();
    let mut subscription = listen(&broker, "n").await;
    server.kill();
    wait_for(&mut events, &Event::Disconnected).await;
    let expected: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    for number in &expected {
        broker.publish(message("n", number.clone())).await.unwrap();
    }
    server.restart().unwrap();
    assert_eq!(texts(&mut subscription, 500).await, expected);
    broker.confirm().await.unwrap();
    // Requests and new subscriptions work again as well.
    let error = broker.request(message("nobody", ""), PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::NoResponders);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_a_lost_connection_may_lose_are_not_confirmed() {
    let mut server = NatsServer::start().unwrap();
    let broker = quick(&server).connect().await.unwrap();
    let mut events = broker.events();
    broker.publish(message("n", "1")).await.unwrap();
    server.restart().unwrap();
    wait_for(&mut events, &Event::Connected).await;
    let error = broker.confirm().await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::ConnectionLost);
    assert!(error.is_retryable());
    broker.publish(message("n", "2")).await.unwrap();
    broker.confirm().await.unwrap();
    broker.publish_confirmed(message("n", "3")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_do_not_report_each_others_unconfirmed_messages() {
    let mut server = NatsServer::start().unwrap();
    let broker = quick(&server).connect().await.unwrap();
    let other = broker.clone();
    let mut events = broker.events();
    broker.publish(message("n", "1")).await.unwrap();
    server.restart().unwrap();
    wait_for(&mut events, &Event::Connected).await;
    other.publish(message("n", "2")).await.unwrap();
    other.confirm().await.unwrap();
    assert_eq!(broker.confirm().await.unwrap_err().kind(), BrokerErrorKind::ConnectionLost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmation_without_a_server_times_out() {
    let mut server = NatsServer::start().unwrap();
    let broker = quick(&server).confirm_timeout(Duration::from_millis(200)).connect().await.unwrap();
    let mut events = broker.events();
    server.kill();
    wait_for(&mut events, &Event::Disconnected).await;
    broker.publish(message("n", "1")).await.unwrap();
    let error = broker.confirm().await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::TimedOut);
    assert!(error.to_string().contains(&server.url()));
    assert_eq!(broker.publish_confirmed(message("n", "2")).await.unwrap_err().kind(), BrokerErrorKind::TimedOut);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_without_a_server_ends_in_time_and_ends_the_streams() {
    let mut server = NatsServer::start().unwrap();
    let broker = quick(&server).drain_timeout(Duration::from_millis(300)).connect().await.unwrap();
    let mut events = broker.events();
    let mut subscription = listen(&broker, "n").await;
    server.kill();
    wait_for(&mut events, &Event::Disconnected).await;
    let started = Instant::now();
    // Nothing was published, so nothing can be lost.
    broker.drain().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap().is_none());
    assert_eq!(broker.publish(message("n", "")).await.unwrap_err().kind(), BrokerErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_to_everything_does_not_disturb_confirmations() {
    let server = NatsServer::start().unwrap();
    let broker = quick(&server).connect().await.unwrap();
    let tap = quick(&server).connect().await.unwrap();
    let _everything = listen(&tap, ">").await;
    broker.publish_confirmed(message("n", "1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmations_of_many_tasks_at_once_work() {
    let server = NatsServer::start().unwrap();
    let broker = quick(&server).connect().await.unwrap();
    let mut subscription = listen(&broker, "n").await;
    let all = (0..200).map(|number| broker.publish_confirmed(message("n", number.to_string())));
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
    let mut seen = texts(&mut subscription, 200).await;
    seen.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(seen, (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_last_clone_still_sends_what_was_published() {
    let server = NatsServer::start().unwrap();
    let receiver = quick(&server).connect().await.unwrap();
    let mut subscription = listen(&receiver, "n").await;
    for round in 0..20 {
        let broker = quick(&server).connect().await.unwrap();
        for _ in 0..100 {
            broker.publish(message("n", round.to_string())).await.unwrap();
        }
        drop(broker);
        assert_eq!(texts(&mut subscription, 100).await, vec![round.to_string(); 100]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_outlives_its_broker_and_even_a_restart() {
    let mut server = NatsServer::start().unwrap();
    let sender = quick(&server).connect().await.unwrap();
    let broker = quick(&server).connect().await.unwrap();
    let mut events = broker.events();
    let mut subscription = listen(&broker, "n").await;
    drop(broker);
    sender.publish(message("n", "1")).await.unwrap();
    assert_eq!(texts(&mut subscription, 1).await, ["1"]);
    server.restart().unwrap();
    wait_for(&mut events, &Event::Connected).await;
    // Connected is told before the subscription is renewed, so one message may still be too early.
    let answer = async {
        loop {
            sender.publish(message("n", "2")).await.unwrap();
            if tokio::time::timeout(Duration::from_millis(50), subscription.next()).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, answer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_server_is_tried_when_the_first_is_dead() {
    let mut dead = NatsServer::start().unwrap();
    dead.kill();
    let server = NatsServer::start().unwrap();
    let broker = ConnectOptions::new(format!("{},{}", dead.url(), server.url())).connect().await.unwrap();
    assert_eq!(broker.server_url(), server.url());
    let broker = ConnectOptions::new(format!("{}, {}", dead.url(), server.url())).connect().await.unwrap();
    broker.publish_confirmed(message("n", "1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_socket_works_as_transport() {
    let server = NatsServer::builder().websocket().start().unwrap();
    let url = server.websocket_url().unwrap();
    let broker = ConnectOptions::new(&url).connect().await.unwrap();
    let mut subscription = listen(&broker, "n").await;
    broker.publish_confirmed(message("n", vec![b'x'; 100_000])).await.unwrap();
    assert_eq!(texts(&mut subscription, 1).await[0].len(), 100_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payload_limit_is_that_of_the_server_connected_to_now() {
    let mut server = NatsServer::builder().max_payload(1_000).start().unwrap();
    let broker = quick(&server).connect().await.unwrap();
    assert_eq!(broker.max_payload(), 1_000);
    let mut events = broker.events();
    std::fs::write(server.folder().join("server.conf"), "max_payload: 2000").unwrap();
    server.restart().unwrap();
    wait_for(&mut events, &Event::Connected).await;
    assert_eq!(broker.max_payload(), 2_000);
    broker.publish_confirmed(message("n", vec![0; 2_000])).await.unwrap();
    let error = broker.publish(message("n", vec![0; 2_001])).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::TooLarge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_by_the_hundred_are_open_at_once() {
    // One connect may take 100 ms.
    let server = NatsServer::start().unwrap();
    let started = Instant::now();
    let all = futures_util::future::join_all((0..100).map(|_| quick(&server).connect())).await;
    let brokers: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    assert!(started.elapsed() < PATIENCE);
    let mut subscription = listen(&brokers[0], "n").await;
    for broker in &brokers {
        broker.publish(message("n", "1")).await.unwrap();
    }
    assert_eq!(texts(&mut subscription, 100).await.len(), 100);
}

/// Sends one protocol line to the server by hand and tells whether it took it.
fn server_takes(server: &NatsServer, line: &str) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "CONNECT {{\"verbose\":false,\"pedantic\":true}}\r\n{line}\r\nPING\r\n").unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer);
        if text.contains("-ERR") {
            return false;
        }
        if text.contains("PONG") {
            return true;
        }
        assert!(read > 0, "the server said only {text:?}");
    }
}

#[tokio::test]
async fn times_without_end_are_taken() {
    let server = NatsServer::start().unwrap();
    let end = Duration::MAX;
    let options = ConnectOptions::new(server.url()).connect_timeout(end).confirm_timeout(end).drain_timeout(end);
    let broker = options.ping_interval(end).connect().await.unwrap();
    broker.publish_confirmed(message("a", "1")).await.unwrap();
    broker.drain().await.unwrap();
}

#[test]
fn subject_names_are_refused_as_the_server_refuses_them() {
    let server = NatsServer::start().unwrap();
    for text in [
        "a", "a.b", "a*b", "a>", "$SYS.x", "größe", "*", ">", "a.*", "a.>", "*.*", "..", ".a", "a.", "a..b", "a.>.b",
        ">.a", ".",
    ] {
        let (subscribe, publish) = (format!("SUB {text} 1"), format!("PUB {text} 0\r\n"));
        assert_eq!(SubjectFilter::new(text).is_ok(), server_takes(&server, &subscribe), "subscribe {text}");
        assert_eq!(Subject::new(text).is_ok(), server_takes(&server, &publish), "publish {text}");
    }
    // The longest names fit, two in a line; a line beyond the server's limit ends the connection.
    let long = "a".repeat(2_000);
    assert!(Subject::new(long.as_str()).is_ok() && QueueGroup::new(long.as_str()).is_ok());
    assert!(server_takes(&server, &format!("SUB {long} {long} 18446744073709551615")));
    assert!(server_takes(&server, &format!("PUB {long} {long} 0\r\n")));
    assert!(!server_takes(&server, &format!("SUB {long}{long}{long} 1")));
}
