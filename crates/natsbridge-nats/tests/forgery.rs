//! Whoever may publish to all inboxes can neither confirm what did not arrive nor answer what it was not asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::BTreeSet;
use std::time::Duration;

use natsbridge_nats::{Broker, BrokerErrorKind, ConnectOptions, NatsBroker, Publish};
use natsbridge_testkit::fault_proxy::{Fault, FaultProxy};
use natsbridge_testkit::nats_server::NatsServer;

const PATIENCE: Duration = Duration::from_secs(10);

fn message(subject: &str, payload: impl Into<bytes::Bytes>) -> Publish {
    Publish::new(subject.parse().unwrap(), payload)
}

/// What a responder sees of the inbox of whoever asks: all but the last token, and the last token.
async fn learned(asked: &NatsBroker, asking: &NatsBroker) -> (String, String) {
    let mut requests = asked.subscribe("ask".parse().unwrap(), None).await.unwrap();
    let answering = async {
        let reply = requests.next().await.unwrap().reply.unwrap();
        asked.publish(Publish::new(reply.clone(), "yes")).await.unwrap();
        reply
    };
    let (answer, reply) = tokio::join!(asking.request(message("ask", ""), PATIENCE), answering);
    assert_eq!(answer.unwrap().payload, "yes");
    let (inbox, last) = reply.as_str().rsplit_once('.').unwrap();
    (inbox.to_owned(), last.to_owned())
}

/// Everything that somebody who knows the inbox, but no token, can try.
async fn forge(attacker: &NatsBroker, inbox: &str, seen: &str) {
    let token = seen.split_once('-').unwrap().1;
    for number in 0..50 {
        for kind in ["e", "r"] {
            for guess in [String::new(), format!("-{token}"), format!("-{number:032x}"), "-".to_owned()] {
                attacker.publish(message(&format!("{inbox}.{kind}{number}{guess}"), "forged")).await.unwrap();
            }
        }
    }
    attacker.publish(message(&format!("{inbox}.{seen}"), "forged")).await.unwrap();
    attacker.confirm().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_echoes_confirm_nothing() {
    let server = NatsServer::start().unwrap();
    let upstream = ([127, 0, 0, 1], server.port()).into();
    let proxy = FaultProxy::start(upstream, [Fault::StallUploadAfter(4_000)]).await.unwrap();
    let options = ConnectOptions::new(format!("nats://{}", proxy.address())).confirm_timeout(Duration::from_secs(2));
    let sender = options.connect().await.unwrap();
    let attacker = ConnectOptions::new(server.url()).connect().await.unwrap();
    let (inbox, seen) = learned(&attacker, &sender).await;

    // From here on nothing that the sender publishes reaches the server, and all that the attacker does reaches it.
    sender.publish(message("n", vec![0; 8_000])).await.unwrap();
    proxy.faulted(1).await;
    let forging = async {
        for _ in 0..10 {
            forge(&attacker, &inbox, &seen).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (confirmed, other, ()) = tokio::join!(sender.publish_confirmed(message("n", "1")), sender.confirm(), forging);
    for result in [confirmed, other] {
        let kind = result.expect_err("nothing arrived").kind();
        assert!(matches!(kind, BrokerErrorKind::TimedOut | BrokerErrorKind::ConnectionLost), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_replies_are_not_taken() {
    let server = NatsServer::start().unwrap();
    let sender = ConnectOptions::new(server.url()).connect().await.unwrap();
    let attacker = ConnectOptions::new(server.url()).connect().await.unwrap();
    let (inbox, seen) = learned(&attacker, &sender).await;
    let honest = ConnectOptions::new(server.url()).connect().await.unwrap();
    let mut requests = honest.subscribe("other".parse().unwrap(), None).await.unwrap();
    let answering = async {
        let reply = requests.next().await.unwrap().reply.unwrap();
        forge(&attacker, &inbox, &seen).await;
        honest.publish(Publish::new(reply, "honest")).await.unwrap();
    };
    let (answer, ()) = tokio::join!(sender.request(message("other", ""), PATIENCE), answering);
    assert_eq!(answer.unwrap().payload, "honest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inbox_subjects_have_nothing_in_common() {
    let server = NatsServer::start().unwrap();
    let broker = ConnectOptions::new(server.url()).connect().await.unwrap();
    let inboxes: BTreeSet<_> = (0..1_000).map(|_| broker.new_inbox().to_string()).collect();
    assert_eq!(inboxes.len(), 1_000);
    let inboxes: Vec<_> = inboxes.iter().map(|inbox| inbox.strip_prefix("_INBOX.").unwrap()).collect();
    // 128 bits each. Of sorted random ones, neighbours share some three digits; a common prefix would show.
    assert!(inboxes.iter().all(|inbox| inbox.len() == 32));
    assert!(inboxes.windows(2).all(|pair| pair[0][..12] != pair[1][..12]));

    let broker = ConnectOptions::new(server.url()).inbox_prefix("mine".parse().unwrap()).connect().await.unwrap();
    assert!(broker.new_inbox().as_str().starts_with("mine."));
}
