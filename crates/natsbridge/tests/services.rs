//! Services: whole messages in, any payloads out, errors as NACKs, queue groups, and an orderly stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use natsbridge::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use natsbridge::broker::{Broker as _, Publish};
use natsbridge::store::MemoryStore;
use natsbridge::{
    Bridge, Config, Error, HandlerError, MemoryBroker, Message, Metadata, Payload, PayloadType, Purpose, Reply,
    SendOptions, ServeOptions, Transport, smartsend,
};
use tokio::sync::Semaphore;

const SOON: Duration = Duration::from_secs(10);

fn bridge() -> Bridge {
    let store = Arc::new(MemoryStore::new());
    let config = Config::default().uploader(store.clone()).downloader(store);
    Bridge::with_broker(MemoryBroker::new(), config).unwrap()
}

/// Code and reason of the NACK that a request gets
async fn refusal(bridge: &Bridge, subject: &str) -> (String, String) {
    let error = bridge.message(subject).text("n", "x").request(SOON).await.unwrap_err();
    let Error::Delivery(refused) = error.inner() else { panic!("{error}") };
    let Some(refusal) = refused.refusal() else { panic!("{refused}") };
    (refusal.code.clone(), refusal.reason.clone())
}

mod messages {
    use super::*;

    /// Sizes of the images, as a table
    async fn measure(message: Message) -> Result<Reply, HandlerError> {
        let names: Vec<_> = message.payloads().iter().map(|image| image.name().to_owned()).collect();
        let sizes: Vec<_> = message.payloads().iter().map(|image| image.size().unwrap_or(0)).collect();
        let sizes = sizes.into_iter().map(i64::try_from).collect::<Result<Vec<_>, _>>()?;
        let columns: [(&str, ArrayRef); 2] =
            [("name", Arc::new(StringArray::from(names))), ("bytes", Arc::new(Int64Array::from(sizes)))];
        Ok(Reply::new().text("note", "measured").table("sizes", RecordBatch::try_from_iter(columns)?))
    }

    #[tokio::test]
    async fn images_go_in_and_table_comes_out() {
        let bridge = bridge();
        let service = bridge.serve("vision.measure", ServeOptions::default(), measure).await.unwrap();
        let request = bridge.message("vision.measure").image("small", vec![1; 3]).image("large", vec![1; 700_000]);
        let reply = request.request(SOON).await.unwrap();
        assert_eq!(reply.text("note").unwrap(), "measured");
        assert_eq!(reply.payload("sizes").unwrap().payload_type(), PayloadType::ArrowTable);
        let rows: Vec<serde_json::Value> = reply.get("sizes").unwrap();
        let expected =
            [serde_json::json!({"name": "small", "bytes": 3}), serde_json::json!({"name": "large", "bytes": 700_000})];
        assert_eq!(rows, expected);
        service.stop().await.unwrap();
    }

    #[tokio::test]
    async fn large_reply_and_file_travel_as_links() {
        let bridge = bridge();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film");
        std::fs::write(&path, vec![7; 600_000]).unwrap();
        let film = move |_: Message| {
            let reply = Reply::new().file("film", path.clone(), PayloadType::Video).binary("raw", vec![1; 600_000]);
            async { Ok(reply.metadata([("run".to_owned(), 7.into())].into_iter().collect())) }
        };
        let _service = bridge.serve("film", ServeOptions::default(), film).await.unwrap();
        let reply = bridge.message("film").text("which", "7").request(SOON).await.unwrap();
        let links = reply.payloads().iter().filter(|payload| payload.transport() == Transport::Link);
        assert_eq!((links.count(), reply.bytes("film").unwrap()), (2, vec![7; 600_000].into()));
        assert_eq!(reply.header().metadata().get("run"), Some(&7.into()));
    }

    #[tokio::test]
    async fn lazy_service_gets_links_before_they_are_downloaded() {
        let bridge = bridge();
        let seen = async |message: Message| {
            let fetched = message.payloads().iter().filter(|payload| payload.part().is_some()).count();
            let payloads: Vec<Payload> = message.into_payloads();
            Ok(Reply::new().dictionary("counts", [fetched, payloads.len()]))
        };
        let _eager = bridge.serve("eager", ServeOptions::default(), seen).await.unwrap();
        let _lazy = bridge.serve("lazy", ServeOptions::default().lazy(), seen).await.unwrap();
        for (subject, counts) in [("eager", [1, 1]), ("lazy", [0, 1])] {
            let reply = bridge.message(subject).binary("b", vec![1; 600_000]).request(SOON).await.unwrap();
            assert_eq!(reply.get::<[usize; 2]>("counts").unwrap(), counts, "{subject}");
        }
    }

    #[tokio::test]
    async fn reply_without_payloads_is_an_ack() {
        let bridge = bridge();
        let _service = bridge.serve("work", ServeOptions::default(), async |_| Ok(Reply::ack())).await.unwrap();
        let reply = bridge.message("work").text("n", "x").request(SOON).await.unwrap();
        assert_eq!((reply.purpose(), reply.payloads().len()), (Purpose::Ack, 0));
    }

    #[tokio::test]
    async fn reply_of_metadata_alone_arrives() {
        let bridge = bridge();
        let metadata = || Metadata::from_iter([("run".to_owned(), 7.into())]);
        let handler = move |_: Message| async move { Ok(Reply::new().metadata(metadata())) };
        let _service = bridge.serve("work", ServeOptions::default(), handler).await.unwrap();
        let reply = bridge.message("work").text("n", "x").request(SOON).await.unwrap();
        assert_eq!(reply.header().metadata()["run"], 7);
    }

    #[tokio::test]
    async fn message_that_its_handler_acknowledged_is_not_handled_again() {
        let broker = MemoryBroker::new();
        let bridge = Bridge::with_broker(broker.clone(), Config::default()).unwrap();
        let handled = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&handled);
        let handler = move |message: Message| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                message.ack().await?;
                Err::<Reply, _>(HandlerError::new("too late"))
            }
        };
        let service = bridge.serve("work", ServeOptions::default(), handler).await.unwrap();
        let mut replies = bridge.subscribe("replies").await.unwrap();
        let options = SendOptions::default().reply_to("replies");
        let (_, json) = smartsend("work", [("n", "x", PayloadType::Text)], &options).await.unwrap();
        for expected in [Purpose::Ack, Purpose::Nack, Purpose::Ack] {
            if expected == Purpose::Ack {
                broker.publish(Publish::new("work".parse().unwrap(), json.clone())).await.unwrap();
            }
            assert_eq!(replies.next().await.unwrap().unwrap().purpose(), expected);
        }
        service.stop().await.unwrap();
        assert_eq!(handled.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn acks_and_nacks_are_not_handled() {
        let bridge = bridge();
        let handled = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&handled);
        let handler = move |_: Message| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok(Reply::ack()) }
        };
        let service = bridge.serve("work", ServeOptions::default(), handler).await.unwrap();
        for purpose in [Purpose::Ack, Purpose::Nack, Purpose::Chat] {
            bridge.message("work").purpose(purpose).text("n", "x").send().await.unwrap();
        }
        service.stop().await.unwrap();
        assert_eq!(handled.load(Ordering::SeqCst), 1);
    }
}

mod refusals {
    use super::*;

    #[tokio::test]
    async fn long_reason_is_cut_and_leaves() {
        let bridge = bridge();
        let mut messages = bridge.subscribe("work").await.unwrap();
        let refusing = async {
            let message = messages.next().await.unwrap().unwrap();
            message.nack("x\u{1b}".repeat(2_000_000)).await.unwrap();
        };
        let ((), (code, reason)) = tokio::join!(refusing, refusal(&bridge, "work"));
        assert_eq!(code, "handler");
        assert!(reason.len() < 3_000 && reason.starts_with('x') && !reason.contains('\u{1b}'), "{reason}");
    }

    #[tokio::test]
    async fn damaged_payload_of_a_lazy_service_is_refused_by_its_own_code() {
        let broker = MemoryBroker::new();
        let bridge = Bridge::with_broker(broker.clone(), Config::default()).unwrap();
        let handler = async |message: Message| Ok(Reply::new().text("n", message.text("n")?));
        let _service = bridge.serve("work", ServeOptions::default().lazy(), handler).await.unwrap();
        let mut replies = bridge.subscribe("replies").await.unwrap();
        let payload = serde_json::json!({
            "dataname": "n", "payload_type": "text", "transport": "direct", "encoding": "base64", "data": "aGk=",
            "metadata": {"sha256": "0".repeat(64)},
        });
        let json = serde_json::json!({"msg_id": "m", "reply_to": "replies", "payloads": [payload]}).to_string();
        broker.publish(Publish::new("work".parse().unwrap(), json)).await.unwrap();
        let reply = replies.next().await.unwrap().unwrap();
        assert_eq!((reply.purpose(), &reply.header().metadata()["code"]), (Purpose::Nack, &"digest".into()));
    }

    #[tokio::test]
    async fn error_of_a_handler_reaches_the_requester_harmless() {
        let bridge = bridge();
        let busy = async |_| Err(HandlerError::new("the oven\u{1b}[2J is full").code("busy"));
        let parse = async |message: Message| Ok(Reply::new().dictionary("n", message.text("n")?.parse::<u64>()?));
        let absent = async |message: Message| Ok(Reply::new().text("n", message.text("no such")?));
        let _services = [
            bridge.serve("busy", ServeOptions::default(), busy).await.unwrap(),
            bridge.serve("parse", ServeOptions::default(), parse).await.unwrap(),
            bridge.serve("absent", ServeOptions::default(), absent).await.unwrap(),
        ];
        let text = |text: &str| text.to_owned();
        assert_eq!(refusal(&bridge, "busy").await, (text("busy"), text(r"the oven\u{1b}[2J is full")));
        assert_eq!(refusal(&bridge, "parse").await, (text("handler"), text("invalid digit found in string")));
        let (code, reason) = refusal(&bridge, "absent").await;
        assert!(code == "no_such_payload" && reason.contains("`no such`"), "{code}: {reason}");
    }

    #[tokio::test]
    async fn handler_that_panics_is_refused_and_the_service_goes_on() {
        let bridge = bridge();
        let handler = |message: Message| {
            // Before and inside the future.
            assert_ne!(message.text("n").unwrap(), "early", "planted");
            async move {
                assert_ne!(message.text("n").unwrap(), "x", "planted");
                Ok(Reply::ack())
            }
        };
        let service = bridge.serve("work", ServeOptions::default(), handler).await.unwrap();
        assert_eq!(refusal(&bridge, "work").await.1, "the handler panicked");
        bridge.message("work").text("n", "early").request(SOON).await.unwrap_err();
        bridge.message("work").text("n", "calm").request(SOON).await.unwrap();
        service.stop().await.unwrap();
    }

    #[tokio::test]
    async fn reply_that_can_not_be_sent_is_refused() {
        let bridge = bridge();
        let reply = async |_| Ok(Reply::new().file("film", "/no/such/folder/film", PayloadType::Video));
        let _service = bridge.serve("film", ServeOptions::default(), reply).await.unwrap();
        let (code, reason) = refusal(&bridge, "film").await;
        assert!(code == "local_file" && reason.contains("film") && !reason.contains("folder"), "{code}: {reason}");
    }

    #[tokio::test]
    async fn typed_service_says_what_it_can_not_read() {
        let bridge = bridge();
        let double = async |number: u64| Ok(number * 2);
        let _service = bridge.serve_typed("double", ServeOptions::default(), double).await.unwrap();
        assert_eq!(refusal(&bridge, "double").await.0, "undecodable");
        let error = bridge.message("double").request(SOON).await.unwrap_err();
        assert!(error.to_string().contains("the message has no payload"), "{error}");
    }
}

mod groups {
    use super::*;

    #[tokio::test]
    async fn members_of_a_queue_group_share_the_messages() {
        const MESSAGES: u64 = 100;
        let bridge = bridge();
        let counts = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let mut services = Vec::new();
        for count in &counts {
            let count = Arc::clone(count);
            let handler = move |message: Message| {
                count.fetch_add(1, Ordering::SeqCst);
                async move { Ok(Reply::new().dictionary("n", message.get::<u64>("n")? + 1)) }
            };
            let options = ServeOptions::default().queue_group("adders");
            services.push(bridge.serve("math.next", options, handler).await.unwrap());
        }
        for number in 0..MESSAGES {
            let reply = bridge.message("math.next").dictionary("n", number).request(SOON).await.unwrap();
            assert_eq!(reply.get::<u64>("n").unwrap(), number + 1);
        }
        let counts = counts.map(|count| count.load(Ordering::SeqCst));
        assert!(counts.iter().sum::<u64>() == MESSAGES && counts.iter().all(|count| *count > 0), "{counts:?}");
        for service in services {
            service.stop().await.unwrap();
        }
    }
}

mod stopping {
    use super::*;

    #[tokio::test]
    async fn stop_under_load_handles_all_that_arrived() {
        const MESSAGES: u64 = 2_000;
        let bridge = bridge();
        let handled = Arc::new(AtomicU64::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let shared = (Arc::clone(&handled), Arc::clone(&gate));
        let handler = move |_: Message| {
            let (handled, gate) = shared.clone();
            async move {
                drop(gate.acquire().await?);
                handled.fetch_add(1, Ordering::SeqCst);
                Ok(Reply::ack())
            }
        };
        let service = bridge.serve("work", ServeOptions::default().concurrency(8), handler).await.unwrap();
        for number in 0..MESSAGES {
            bridge.message("work").dictionary("n", number).send().await.unwrap();
        }
        let stopping = tokio::spawn(service.stop());
        tokio::task::yield_now().await;
        assert_eq!(handled.load(Ordering::SeqCst), 0, "all of them wait");
        gate.add_permits(8);
        stopping.await.unwrap().unwrap();
        assert_eq!(handled.load(Ordering::SeqCst), MESSAGES);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_beyond_the_grace_are_counted_in_the_error() {
        let bridge = bridge();
        let never = async |_| std::future::pending().await;
        let options = ServeOptions::default().concurrency(2).grace(Duration::from_secs(5));
        let service = bridge.serve("work", options, never).await.unwrap();
        for number in 0..5 {
            bridge.message("work").dictionary("n", number).send().await.unwrap();
        }
        let error = service.stop().await.unwrap_err();
        assert!(matches!(error, Error::Unhandled { messages: 5 }), "{error}");
        assert_eq!(error.code(), "unhandled");
        assert!(error.to_string().starts_with("5 messages arrived and were not handled"), "{error}");
    }

    #[tokio::test]
    async fn drained_bridge_ends_the_service() {
        let bridge = bridge();
        let service = bridge.serve_typed("echo", ServeOptions::default(), async |text: String| Ok(text)).await.unwrap();
        let (ended, drained) = tokio::join!(tokio::time::timeout(SOON, service.ended()), bridge.drain());
        drained.unwrap();
        ended.expect("it ends").unwrap();
    }

    #[tokio::test]
    async fn waiting_for_the_end_can_be_given_up_for_a_stop() {
        let bridge = bridge();
        let service = bridge.serve("work", ServeOptions::default(), async |_| Ok(Reply::ack())).await.unwrap();
        tokio::select! {
            ended = service.ended() => panic!("nobody asked it to end: {ended:?}"),
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
        bridge.message("work").text("n", "x").request(SOON).await.expect("it still runs");
        service.stop().await.unwrap();
    }
}
