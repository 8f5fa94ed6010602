//! What can be done with one payload of a message: opened, saved under a name, read; and services that share requests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use natsbridge::store::{Digest, MemoryStore};
use natsbridge::wire::Part;
use natsbridge::{Bridge, Config, Data, HandlerError, MemoryBroker, Message, PayloadType, ServeOptions, Transport};
use tokio::io::AsyncReadExt as _;

fn bridge(broker: &MemoryBroker) -> Bridge {
    let store = MemoryStore::new();
    let config = Config::default().size_threshold(100).uploader(store.clone()).downloader(store);
    Bridge::with_broker(broker.clone(), config).unwrap()
}

/// A message with a payload that came direct and one that came by link, neither of them downloaded yet
async fn received(small: &[u8], large: &[u8]) -> Message {
    let bridge = bridge(&MemoryBroker::new());
    let mut inbox = bridge.subscribe("lab.files").await.unwrap().lazy();
    bridge.message("lab.files").binary("small", small.to_vec()).binary("large", large.to_vec()).send().await.unwrap();
    inbox.next().await.unwrap().unwrap()
}

#[tokio::test]
async fn payload_opens_or_saves_however_it_came_without_overwriting() {
    let (small, large) = (vec![7_u8; 50], vec![9_u8; 5_000]);
    let message = received(&small, &large).await;
    let folder = tempfile::TempDir::new().unwrap();
    for (name, bytes, transport) in [("small", &small, Transport::Direct), ("large", &large, Transport::Link)] {
        let handle = message.payload(name).unwrap();
        assert_eq!((handle.transport(), handle.size()), (transport, Some(bytes.len().try_into().unwrap())));
        assert_eq!(handle.sha256(), Some(Digest::of(bytes)));
        let mut read = Vec::new();
        handle.open().await.unwrap().read_to_end(&mut read).await.unwrap();
        assert_eq!(&read, bytes, "{name}");

        let path = folder.path().join(name);
        let saved = handle.save_as(&path).await.unwrap();
        assert_eq!((saved.path, saved.sha256), (path.clone(), Digest::of(bytes)));
        std::fs::write(&path, "mine").unwrap();
        let error = handle.save_as(&path).await.unwrap_err();
        assert_eq!((error.code(), error.dataname()), ("local_file", Some(name)));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), if name == "small" { 1 } else { 2 });
    }
    let error = message.payload("other").unwrap_err();
    assert_eq!((error.code(), error.dataname()), ("no_such_payload", Some("other")));
    assert!(error.to_string().contains("small") && error.to_string().contains("large"), "{error}");

    let payloads = message.into_payloads();
    let [small_again, large_again] = <[_; 2]>::try_from(payloads).unwrap();
    assert_eq!(small_again.bytes().await.unwrap(), small);
    assert_eq!(large_again.bytes().await.unwrap(), large);
}

#[tokio::test]
async fn parts_and_triples_go_into_a_message_like_anything_else() {
    let bridge = bridge(&MemoryBroker::new());
    let mut inbox = bridge.subscribe("lab.parts").await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file").unwrap();
    bridge
        .message("lab.parts")
        .part(Part::from_source("part", PayloadType::Audio, vec![1, 2]))
        .data("value", "a value", PayloadType::Text)
        .data("file", Data::File(file.path().to_owned()), PayloadType::Text)
        .send()
        .await
        .unwrap();
    let message = inbox.next().await.unwrap().unwrap();
    let kinds: Vec<_> = message.payloads().iter().map(|handle| (handle.name(), handle.payload_type())).collect();
    assert_eq!(kinds, [("part", PayloadType::Audio), ("value", PayloadType::Text), ("file", PayloadType::Text)]);
    assert_eq!(message.bytes("part").unwrap(), [1, 2].as_slice());
    assert_eq!(
        (message.text("value").unwrap(), message.text("file").unwrap()),
        ("a value".into(), "from a file".into())
    );
}

#[tokio::test]
async fn services_of_one_queue_group_handle_each_request_once() {
    const REQUESTS: u64 = 20;
    let broker = MemoryBroker::new();
    let handled = Arc::new(AtomicU64::new(0));
    let mut services = Vec::new();
    for _ in 0..2 {
        let count = Arc::clone(&handled);
        let handler = move |number: u64| {
            count.fetch_add(1, Ordering::SeqCst);
            async move { Ok::<_, HandlerError>(number + 1) }
        };
        let options = ServeOptions::default().queue_group("adders");
        services.push(bridge(&broker).serve_typed("math.next", options, handler).await.unwrap());
    }
    let client = bridge(&broker);
    for number in 0..REQUESTS {
        let answer = client.message("math.next").dictionary("n", number).request(Duration::from_secs(5)).await.unwrap();
        assert_eq!(answer.get::<u64>("reply").unwrap(), number + 1);
    }
    assert_eq!(handled.load(Ordering::SeqCst), REQUESTS);
    for service in services {
        service.stop().await.unwrap();
    }
}
