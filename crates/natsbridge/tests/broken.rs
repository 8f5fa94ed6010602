//! Acknowledged messages when the network forgets a connection, and when strangers try to acknowledge them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use natsbridge::broker::{Broker, Event};
use natsbridge::{Bridge, Config, DeliverOptions, ErrorKind};
use natsbridge_nats::{ConnectOptions, Publish};
use natsbridge_testkit::fault_proxy::FaultProxy;
use natsbridge_testkit::nats_server::NatsServer;

const PATIENCE: Duration = Duration::from_secs(20);

/// Acknowledges everything
async fn acknowledging(server: &NatsServer) -> Bridge {
    let receiver = Bridge::connect(Config::new(&server.url())).await.unwrap();
    let mut inbox = receiver.subscribe("jobs").await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = inbox.next().await {
            message.unwrap().ack().await.unwrap();
        }
    });
    receiver
}

async fn proxied(server: &NatsServer) -> (FaultProxy, Bridge) {
    let proxy = FaultProxy::start(([127, 0, 0, 1], server.port()).into(), []).await.unwrap();
    let bridge = Bridge::connect(Config::new(&format!("nats://{}", proxy.address()))).await.unwrap();
    (proxy, bridge)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_messages_outlive_forgotten_connections() {
    const MESSAGES: usize = 600;
    let server = NatsServer::start().unwrap();
    let receiver = acknowledging(&server).await;
    let (proxy, sender) = proxied(&server).await;
    let done = Arc::new(AtomicUsize::new(0));
    let sending = futures_util::stream::iter(0..MESSAGES).map(|number| {
        let (draft, done) = (sender.message("jobs").text("n", number.to_string()), Arc::clone(&done));
        async move {
            let delivered = draft.deliver(&DeliverOptions::default()).await;
            done.fetch_add(1, Ordering::SeqCst);
            delivered
        }
    });
    let forgetting = async {
        for part in [100, 300] {
            while done.load(Ordering::SeqCst) < part {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            proxy.forget();
        }
    };
    let (outcomes, ()) = tokio::join!(sending.buffer_unordered(32).collect::<Vec<_>>(), forgetting);
    let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} of {MESSAGES} were given up: {:?}", failed.len(), failed.first());
    assert!(proxy.connections() >= 3);
    // All was acknowledged, so that nothing can be lost.
    sender.drain().await.unwrap();
    receiver.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_delivery_meets_its_deadline_on_a_silent_connection() {
    let server = NatsServer::start().unwrap();
    let (proxy, sender) = proxied(&server).await;
    proxy.forget();
    let started = Instant::now();
    let quick = DeliverOptions::default().deadline(Duration::from_millis(500));
    let error = sender.message("jobs").text("n", "1").deliver(&quick).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_deadlines_are_met_on_forgotten_connections() {
    let server = NatsServer::start().unwrap();
    let _receiver = acknowledging(&server).await;
    let (proxy, sender) = proxied(&server).await;
    sender.message("jobs").text("n", "1").deliver(&DeliverOptions::default()).await.unwrap();
    proxy.forget();
    let started = Instant::now();
    let quick = DeliverOptions::default().deadline(Duration::from_secs(6));
    sender.message("jobs").text("n", "2").deliver(&quick).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_with_all_acknowledged_end_without_a_warning() {
    let mut server = NatsServer::start().unwrap();
    let receiver = acknowledging(&server).await;
    let sender = Bridge::connect(Config::new(&server.url())).await.unwrap();
    let (mut here, mut there) = (sender.events(), receiver.events());
    sender.message("jobs").text("n", "1").deliver(&DeliverOptions::default()).await.unwrap();
    server.restart().unwrap();
    for events in [&mut here, &mut there] {
        let back = async { while events.next().await.unwrap() != Event::Connected {} };
        tokio::time::timeout(PATIENCE, back).await.unwrap();
    }
    sender.message("jobs").text("n", "2").deliver(&DeliverOptions::default()).await.unwrap();
    sender.drain().await.unwrap();
    receiver.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drains_after_a_break_name_the_unconfirmed_messages() {
    let mut server = NatsServer::start().unwrap();
    let _receiver = acknowledging(&server).await;
    let sender = Bridge::connect(Config::new(&server.url())).await.unwrap();
    let mut events = sender.events();
    let send = async |count| {
        for _ in 0..count {
            sender.message("notes").text("n", "1").send().await.unwrap();
        }
    };
    send(3).await;
    sender.message("jobs").text("n", "2").deliver(&DeliverOptions::default()).await.unwrap();
    server.restart().unwrap();
    let back = async { while events.next().await.unwrap() != Event::Connected {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    // These travel on the new connection, whose end the drain waits for.
    send(4).await;
    let error = sender.drain().await.unwrap_err().to_string();
    assert!(error.contains("confirmed 3 messages"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cannot_acknowledge_what_they_cannot_read() {
    let server = NatsServer::start().unwrap();
    let sender = Bridge::connect(Config::new(&server.url())).await.unwrap();
    let attacker = ConnectOptions::new(server.url()).connect().await.unwrap();
    // It reads one message, and so knows the inbox and how an acknowledgement looks.
    let mut read = attacker.subscribe("open".parse().unwrap(), None).await.unwrap();
    let quick = DeliverOptions::default().deadline(Duration::from_secs(2));
    let learn = async {
        let message: serde_json::Value = serde_json::from_slice(&read.next().await.unwrap().payload).unwrap();
        let mut ack = message.clone();
        ack["msg_purpose"] = "ACK".into();
        ack["reply_to_msg_id"] = message["msg_id"].clone();
        ack["payloads"] = serde_json::json!([]);
        let inbox = message["reply_to"].as_str().unwrap().to_owned();
        attacker.publish(Publish::new(inbox.parse().unwrap(), ack.to_string())).await.unwrap();
        (inbox, ack)
    };
    let (delivered, (inbox, mut ack)) = tokio::join!(sender.message("open").text("n", "1").deliver(&quick), learn);
    delivered.expect("whoever may read a message may acknowledge it");

    let forging = async {
        let seen = ack["reply_to_msg_id"].as_str().unwrap().to_owned();
        for _ in 0..20 {
            for guess in ["", &seen, "00000000-0000-4000-8000-000000000000"] {
                ack["reply_to_msg_id"] = guess.into();
                attacker.publish(Publish::new(inbox.parse().unwrap(), ack.to_string())).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (delivered, ()) = tokio::join!(sender.message("secret").text("n", "2").deliver(&quick), forging);
    let error = delivered.unwrap_err();
    assert!(error.kind() == ErrorKind::Unacknowledged, "{error:?}");
}
