//! What every broker does: the same functions run against the one in memory and a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::as_conversions, reason = "test code")]

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use natsbridge_nats::{
    Broker, BrokerErrorKind, ConnectOptions, Event, MemoryBroker, Publish, RawMessage, Subscription, SubscriptionLimits,
};
use natsbridge_testkit::nats_server::NatsServer;

const PATIENCE: Duration = Duration::from_secs(10);
const MAX_PAYLOAD: u64 = 10_000;
const QUEUE: usize = 50;

fn limits() -> SubscriptionLimits {
    SubscriptionLimits { messages: QUEUE, bytes: 1_000_000 }
}

/// Two handles to one broker: as two clones in memory, as two connections to a server.
macro_rules! contract {
    ($($name:ident)*) => {
        mod memory {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let broker = MemoryBroker::builder().max_payload(MAX_PAYLOAD).subscription_limits(limits()).build();
                    tokio::time::timeout(4 * PATIENCE, super::$name(&broker, &broker.clone())).await.unwrap();
                }
            )*
        }
        mod nats {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let server = NatsServer::builder().max_payload(MAX_PAYLOAD).start().unwrap();
                    let options = ConnectOptions::new(server.url()).subscription_limits(limits());
                    let one = options.clone().connect().await.unwrap();
                    let other = options.connect().await.unwrap();
                    tokio::time::timeout(4 * PATIENCE, super::$name(&one, &other)).await.unwrap();
                }
            )*
        }
    };
}

contract! {
    wildcards_choose_what_arrives
    queue_group_gets_each_message_once
    queue_groups_and_a_lone_subscriber_each_get_a_message
    request_gets_its_reply
    concurrent_requests_get_their_own_replies
    request_without_subscribers_says_so
    request_without_a_reply_times_out
    oversize_message_is_refused_with_both_sizes
    empty_message_and_largest_message_arrive_whole
    confirmed_message_has_arrived_at_another_connection
    order_of_one_publisher_is_kept
    slow_reader_can_tell_exactly_what_it_missed
    slow_episode_is_an_event
    drain_lets_arrived_messages_be_read_and_then_ends
    drained_broker_says_closed_to_everything
    draining_one_subscription_leaves_the_others
    dropped_subscription_no_longer_takes_from_its_group
    inbox_subject_is_new_each_time_and_works
    reply_subject_travels
}

fn message(subject: &str, payload: impl Into<Bytes>) -> Publish {
    Publish::new(subject.parse().unwrap(), payload)
}

async fn listen(broker: &dyn Broker, filter: &str) -> Subscription {
    broker.subscribe(filter.parse().unwrap(), None).await.unwrap()
}

async fn join(broker: &dyn Broker, filter: &str, group: &str) -> Subscription {
    broker.subscribe(filter.parse().unwrap(), Some(group.parse().unwrap())).await.unwrap()
}

async fn next(subscription: &mut Subscription) -> RawMessage {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("nothing arrived").expect("the stream ended")
}

/// Reads until the message `end`, whose payload is not among what is returned.
async fn until_end(subscription: &mut Subscription) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let delivery = next(subscription).await;
        if delivery.payload == "end" {
            return texts;
        }
        texts.push(String::from_utf8(delivery.payload.to_vec()).unwrap());
    }
}

async fn wildcards_choose_what_arrives(one: &dyn Broker, other: &dyn Broker) {
    let mut star = listen(one, "a.*.c").await;
    let mut tail = listen(one, "a.>").await;
    let mut exact = listen(one, "a.b.c").await;
    for subject in ["a.b.c", "a.x.c", "a.b.c.d", "a", "b.b.c"] {
        other.publish(message(subject, subject.to_owned())).await.unwrap();
    }
    for subject in ["a.end.c", "a.b.c"] {
        other.publish(message(subject, "end")).await.unwrap();
    }
    assert_eq!(until_end(&mut star).await, ["a.b.c", "a.x.c"]);
    assert_eq!(until_end(&mut tail).await, ["a.b.c", "a.x.c", "a.b.c.d"]);
    assert_eq!(until_end(&mut exact).await, ["a.b.c"]);
}

async fn queue_group_gets_each_message_once(one: &dyn Broker, other: &dyn Broker) {
    let mut members = [join(one, "work", "g").await, join(one, "work", "g").await, join(other, "work", "g").await];
    for number in 0..QUEUE {
        other.publish(message("work", number.to_string())).await.unwrap();
    }
    other.confirm().await.unwrap();
    one.drain().await.unwrap();
    other.drain().await.unwrap();
    let mut seen = Vec::new();
    let mut busy = 0;
    for member in &mut members {
        let before = seen.len();
        while let Some(delivery) = tokio::time::timeout(PATIENCE, member.next()).await.unwrap() {
            seen.push(String::from_utf8(delivery.payload.to_vec()).unwrap());
        }
        busy += usize::from(seen.len() > before);
    }
    assert_eq!(seen.len(), QUEUE);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), QUEUE);
    assert!(busy > 1, "one member did all the work");
}

async fn queue_groups_and_a_lone_subscriber_each_get_a_message(one: &dyn Broker, other: &dyn Broker) {
    let mut all = [join(one, "work", "g").await, join(one, "work", "h").await, listen(one, "work").await];
    other.publish(message("work", "1")).await.unwrap();
    for subscription in &mut all {
        assert_eq!(next(subscription).await.payload, "1");
    }
}

async fn answer(broker: &dyn Broker, mut questions: Subscription) {
    while let Some(question) = questions.next().await {
        let mut text = question.payload.to_vec();
        text.extend_from_slice(b"!");
        broker.publish(Publish::new(question.reply.unwrap(), text)).await.unwrap();
    }
}

async fn request_gets_its_reply(one: &dyn Broker, other: &dyn Broker) {
    let questions = listen(one, "ask").await;
    tokio::select! {
        () = answer(one, questions) => panic!("the responder ended"),
        // The reply subject that a caller set is replaced by an inbox.
        reply = other.request(message("ask", "hello").with_reply("nowhere".parse().unwrap()), PATIENCE) => {
            assert_eq!(reply.unwrap().payload, "hello!");
        }
    }
}

async fn concurrent_requests_get_their_own_replies(one: &dyn Broker, other: &dyn Broker) {
    let questions = listen(one, "ask").await;
    let requests = (0..QUEUE - 1).map(|number| async move {
        let reply = other.request(message("ask", number.to_string()), PATIENCE).await.unwrap();
        assert_eq!(reply.payload, format!("{number}!"));
    });
    tokio::select! {
        () = answer(one, questions) => panic!("the responder ended"),
        _ = futures_util::future::join_all(requests) => {}
    }
}

async fn request_without_subscribers_says_so(one: &dyn Broker, _: &dyn Broker) {
    let error = one.request(message("nobody.home", ""), PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::NoResponders);
    assert!(error.to_string().contains("nobody.home") && error.is_retryable());
}

async fn request_without_a_reply_times_out(one: &dyn Broker, other: &dyn Broker) {
    let mut silent = listen(other, "ask").await;
    let error = one.request(message("ask", ""), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::TimedOut);
    assert!(next(&mut silent).await.reply.is_some());
}

async fn oversize_message_is_refused_with_both_sizes(one: &dyn Broker, _: &dyn Broker) {
    assert_eq!(one.max_payload(), MAX_PAYLOAD);
    let size = MAX_PAYLOAD + 1;
    let error = one.publish(message("a", vec![0; size as usize])).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::TooLarge);
    assert!(error.to_string().contains("10001") && error.to_string().contains("10000"), "{error}");
    let error = one.request(message("a", vec![0; size as usize]), PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::TooLarge);
    one.publish(message("a", "still usable")).await.unwrap();
    one.confirm().await.unwrap();
}

async fn empty_message_and_largest_message_arrive_whole(one: &dyn Broker, other: &dyn Broker) {
    let mut subscription = listen(one, "a").await;
    let large: Vec<u8> = (0..MAX_PAYLOAD).map(|number| number as u8).collect();
    other.publish(message("a", "")).await.unwrap();
    other.publish(message("a", large.clone())).await.unwrap();
    assert_eq!(next(&mut subscription).await.payload, "");
    assert_eq!(next(&mut subscription).await.payload, large);
}

async fn confirmed_message_has_arrived_at_another_connection(one: &dyn Broker, other: &dyn Broker) {
    let mut subscription = listen(one, "a").await;
    for round in 0..20 {
        other.publish(message("a", round.to_string())).await.unwrap();
        other.confirm().await.unwrap();
        // The server has routed it: a round trip of the receiver's own connection brings it in.
        one.confirm().await.unwrap();
        assert_eq!(next(&mut subscription).await.payload, round.to_string());
        other.publish_confirmed(message("a", "again")).await.unwrap();
        assert_eq!(next(&mut subscription).await.payload, "again");
    }
    assert_eq!(subscription.pending(), 0);
}

async fn order_of_one_publisher_is_kept(one: &dyn Broker, other: &dyn Broker) {
    let mut subscription = listen(one, "n.>").await;
    let mut expected = 0;
    for round in 0..40 {
        for step in 0..QUEUE / 2 {
            let number = round * (QUEUE / 2) + step;
            other.publish(message(&format!("n.{}", number % 7), number.to_string())).await.unwrap();
        }
        for _ in 0..QUEUE / 2 {
            assert_eq!(next(&mut subscription).await.payload, expected.to_string());
            expected += 1;
        }
    }
    assert_eq!(subscription.dropped(), 0);
}

async fn slow_reader_can_tell_exactly_what_it_missed(one: &dyn Broker, other: &dyn Broker) {
    let mut slow = listen(one, "burst").await;
    let mut witness = listen(one, "witness").await;
    let sent = 5_000_u64;
    for number in 0..sent {
        other.publish(message("burst", number.to_string())).await.unwrap();
    }
    other.publish(message("witness", "")).await.unwrap();
    // The witness came in behind the burst on the same connection, so all of that has arrived, too.
    next(&mut witness).await;
    one.drain().await.unwrap();
    let mut read = 0;
    while slow.next().await.is_some() {
        read += 1;
    }
    assert!(slow.dropped() > 0, "nothing was dropped, so nothing was shown");
    assert_eq!(read + slow.dropped(), sent);
}

async fn slow_episode_is_an_event(one: &dyn Broker, other: &dyn Broker) {
    let mut events = one.events();
    let slow = listen(one, "burst").await;
    for _ in 0..QUEUE * 4 {
        other.publish(message("burst", "")).await.unwrap();
    }
    other.confirm().await.unwrap();
    loop {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap();
        if let Event::SlowConsumer { filter, dropped } = event {
            assert_eq!(filter, "burst");
            assert!(dropped > 0 && dropped <= slow.dropped());
            return;
        }
    }
}

async fn drain_lets_arrived_messages_be_read_and_then_ends(one: &dyn Broker, other: &dyn Broker) {
    let mut subscription = listen(one, "a").await;
    for number in 0..QUEUE {
        other.publish(message("a", number.to_string())).await.unwrap();
    }
    other.confirm().await.unwrap();
    one.confirm().await.unwrap();
    one.drain().await.unwrap();
    let mut read = Vec::new();
    while let Some(delivery) = tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap() {
        read.push(delivery.payload);
    }
    assert_eq!(read, (0..QUEUE).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(subscription.next_batch(5).await.is_empty());
}

async fn drained_broker_says_closed_to_everything(one: &dyn Broker, _: &dyn Broker) {
    one.publish(message("a", "last")).await.unwrap();
    one.drain().await.unwrap();
    one.drain().await.unwrap();
    let closed = BrokerErrorKind::Closed;
    assert_eq!(one.publish(message("a", "")).await.unwrap_err().kind(), closed);
    assert_eq!(one.confirm().await.unwrap_err().kind(), closed);
    assert_eq!(one.publish_confirmed(message("a", "")).await.unwrap_err().kind(), closed);
    assert_eq!(one.request(message("a", ""), PATIENCE).await.unwrap_err().kind(), closed);
    assert_eq!(one.subscribe("a".parse().unwrap(), None).await.unwrap_err().kind(), closed);
}

async fn draining_one_subscription_leaves_the_others(one: &dyn Broker, other: &dyn Broker) {
    let mut first = listen(one, "a").await;
    let mut second = listen(one, "a").await;
    other.publish(message("a", "1")).await.unwrap();
    assert_eq!(next(&mut second).await.payload, "1");
    first.drain();
    assert_eq!(next(&mut first).await.payload, "1");
    assert!(tokio::time::timeout(PATIENCE, first.next()).await.unwrap().is_none());
    other.publish(message("a", "2")).await.unwrap();
    assert_eq!(next(&mut second).await.payload, "2");
}

async fn dropped_subscription_no_longer_takes_from_its_group(one: &dyn Broker, other: &dyn Broker) {
    let mut stays = join(one, "work", "g").await;
    let mut goes = join(one, "work", "g").await;
    goes.drain();
    assert!(tokio::time::timeout(PATIENCE, goes.next()).await.unwrap().is_none());
    drop(goes);
    one.confirm().await.unwrap();
    for number in 0..QUEUE {
        other.publish(message("work", number.to_string())).await.unwrap();
    }
    for number in 0..QUEUE {
        assert_eq!(next(&mut stays).await.payload, number.to_string());
    }
}

async fn inbox_subject_is_new_each_time_and_works(one: &dyn Broker, other: &dyn Broker) {
    let inboxes: HashSet<_> = (0..100).map(|_| one.new_inbox().to_string()).collect();
    assert_eq!(inboxes.len(), 100);
    let inbox = one.new_inbox();
    let mut subscription = one.subscribe(inbox.clone().into(), None).await.unwrap();
    other.publish(Publish::new(inbox, "answer")).await.unwrap();
    assert_eq!(next(&mut subscription).await.payload, "answer");
}

async fn reply_subject_travels(one: &dyn Broker, other: &dyn Broker) {
    let mut subscription = listen(one, "a").await;
    let asking = || message("a", "").with_reply("b.c".parse().unwrap());
    other.publish(asking()).await.unwrap();
    other.publish_confirmed(asking()).await.unwrap();
    other.publish(message("a", "")).await.unwrap();
    for _ in 0..2 {
        let asked = next(&mut subscription).await;
        assert_eq!((asked.subject.as_str(), asked.reply.unwrap().as_str()), ("a", "b.c"));
    }
    assert!(next(&mut subscription).await.reply.is_none());
}
