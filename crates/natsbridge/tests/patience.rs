//! Slow links: what holds up what, and for how long; and files that can't be written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::error::Error as _;
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge::store::{Downloaded, Downloader, FetchError, FetchErrorKind, Link, MemoryStore, Target};
use natsbridge::{Bridge, Config, ErrorKind, MemoryBroker, Subscriber};
use tokio::time::Instant;

/// Takes as many seconds for a link as its payload is named
#[derive(Debug)]
struct Slow(MemoryStore);

impl Downloader for Slow {
    fn download<'a>(&'a self, link: &'a Link, target: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
        Box::pin(async move {
            let seconds: u64 = link.dataname.parse().unwrap();
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            self.0.download(link, target).await
        })
    }
}

fn bridge(change: impl FnOnce(Config) -> Config) -> Bridge {
    let store = MemoryStore::new();
    let config = Config::default().size_threshold(100).uploader(store.clone()).downloader(Slow(store));
    Bridge::with_broker(MemoryBroker::new(), change(config)).unwrap()
}

/// Sends messages: those above 0 with links that take as many seconds
async fn send(bridge: &Bridge, seconds: &[u64]) {
    for seconds in seconds {
        let bytes = if *seconds > 0 { 200 } else { 1 };
        bridge.message("n").binary(seconds.to_string(), vec![0; bytes]).send().await.unwrap();
    }
}

/// The next messages, each with the second in which it came; an error by its code
async fn arrivals(inbox: &mut Subscriber, since: Instant, count: usize) -> Vec<(String, u64)> {
    let mut arrivals = Vec::new();
    for _ in 0..count {
        let what = match inbox.next().await.unwrap() {
            Ok(message) => message.payloads()[0].name().to_owned(),
            Err(error) => error.code().to_owned(),
        };
        arrivals.push((what, since.elapsed().as_secs()));
    }
    arrivals
}

fn expected(arrivals: &[(&str, u64)]) -> Vec<(String, u64)> {
    arrivals.iter().map(|(what, second)| ((*what).to_owned(), *second)).collect()
}

#[tokio::test(start_paused = true)]
async fn whole_messages_wait_five_seconds_for_a_slow_one() {
    let bridge = bridge(|config| config);
    let mut inbox = bridge.subscribe("n").await.unwrap();
    let since = Instant::now();
    send(&bridge, &[20, 0, 3, 0, 1, 0]).await;
    let arrived = arrivals(&mut inbox, since, 6).await;
    assert_eq!(arrived, expected(&[("0", 5), ("3", 5), ("0", 5), ("1", 5), ("0", 5), ("20", 20)]));
    let since = Instant::now();
    send(&bridge, &[4, 0, 2]).await;
    assert_eq!(arrivals(&mut inbox, since, 3).await, expected(&[("4", 4), ("0", 4), ("2", 4)]), "in time, in order");
}

#[tokio::test(start_paused = true)]
async fn link_too_large_to_share_delays_others_until_its_deadline() {
    let bridge = bridge(|config| config.links_ahead(250));
    let mut inbox = bridge.subscribe("n").await.unwrap();
    let since = Instant::now();
    for (seconds, bytes) in [("1700", 400), ("3", 120), ("0", 1), ("2", 120)] {
        bridge.message("n").binary(seconds, vec![0; bytes]).send().await.unwrap();
    }
    let arrived = arrivals(&mut inbox, since, 4).await;
    assert_eq!(arrived, expected(&[("0", 5), ("timeout", 60), ("2", 62), ("3", 63)]));
}

#[tokio::test(start_paused = true)]
async fn ordered_subscriber_waits_and_unordered_one_does_not() {
    let (zero, always) = (Some(Duration::ZERO), Some(Duration::MAX));
    for (how, timeout) in [("unordered", None), ("unordered", zero), ("ordered", None), ("ordered", always)] {
        let bridge = bridge(|config| match timeout {
            Some(timeout) => config.order_timeout(timeout),
            None => config,
        });
        let inbox = bridge.subscribe("n").await.unwrap();
        let mut inbox = match (how, timeout) {
            ("unordered", None) => inbox.unordered(),
            ("ordered", None) => inbox.ordered(),
            _ => inbox,
        };
        let since = Instant::now();
        send(&bridge, &[20, 0, 3]).await;
        let order =
            if how == "ordered" { [("20", 20), ("0", 20), ("3", 20)] } else { [("0", 0), ("3", 3), ("20", 20)] };
        assert_eq!(arrivals(&mut inbox, since, 3).await, expected(&order), "{how} {timeout:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn message_ends_with_its_deadline_and_delays_no_other() {
    let bridge = bridge(|config| config);
    let mut inbox = bridge.subscribe("n").await.unwrap();
    let since = Instant::now();
    // More than load at once, so the last ones wait for their turn.
    send(&bridge, &[1_700; 20]).await;
    send(&bridge, &[0]).await;
    let arrived = arrivals(&mut inbox, since, 21).await;
    let mut expected = vec![("0".to_owned(), 5)];
    expected.extend(vec![("timeout".to_owned(), 60); 16]);
    expected.extend(vec![("timeout".to_owned(), 120); 4]);
    assert_eq!(arrived, expected);
}

#[tokio::test(start_paused = true)]
async fn links_of_one_message_have_one_deadline_however_they_are_read() {
    let bridge = bridge(|config| config.message_timeout(Duration::from_secs(30)));
    let folder = tempfile::tempdir().unwrap();
    for way in ["fetch", "save_to", "value", "open"] {
        let mut inbox = bridge.subscribe("n").await.unwrap().lazy();
        let draft = ["20", "21"].iter().fold(bridge.message("n"), |draft, name| draft.binary(*name, vec![0; 200]));
        draft.send().await.unwrap();
        let message = inbox.next().await.unwrap().unwrap();
        let since = Instant::now();
        let error = match way {
            "fetch" => {
                message.fetch().await.unwrap();
                assert_eq!(since.elapsed().as_secs(), 21, "both at once");
                continue;
            }
            "save_to" => message.save_to(folder.path()).await.unwrap_err(),
            "open" => {
                message.payloads()[0].open().await.unwrap();
                message.payloads()[1].open().await.unwrap_err()
            }
            _ => {
                let mut handles = message.into_payloads().into_iter();
                handles.next().unwrap().value().await.unwrap();
                handles.next().unwrap().value().await.unwrap_err()
            }
        };
        assert_eq!((error.code(), error.dataname(), since.elapsed().as_secs()), ("timeout", Some("21"), 30), "{way}");
        assert!(error.is_retryable());
    }
}

#[tokio::test]
async fn missing_folder_is_made_and_one_that_cannot_be_is_named() {
    let bridge = bridge(|config| config);
    let mut inbox = bridge.subscribe("n").await.unwrap().lazy();
    bridge.message("n").text("note", "x").binary("0", vec![0; 200]).send().await.unwrap();
    let message = inbox.next().await.unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b/c");
    assert_eq!(message.save_to(&deep).await.unwrap().len(), 2);
    for handle in message.payloads() {
        handle.save_as(deep.join("d/e").join(handle.name())).await.unwrap();
    }
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let taken = folder.path().join("file/below");
    for handle in message.payloads() {
        for error in [handle.save(&taken).await.unwrap_err(), handle.save_as(taken.join("x")).await.unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains(&*taken.to_string_lossy()) && error.code() == "local_file", "{text}");
            assert!(error.source().is_some());
        }
    }
}

#[tokio::test]
async fn download_that_cannot_be_written_names_the_folder() {
    /// Fails as a full disk does
    #[derive(Debug)]
    struct Full;
    impl Downloader for Full {
        fn download<'a>(&'a self, link: &'a Link, _: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
            let cause = std::io::Error::from(std::io::ErrorKind::StorageFull);
            let error = FetchError::new(FetchErrorKind::LocalFile, &*link.dataname, &link.url).with_source(cause);
            Box::pin(std::future::ready(Err(error)))
        }
    }
    let bridge = bridge(|config| config.downloader(Full));
    let mut inbox = bridge.subscribe("n").await.unwrap().lazy();
    send(&bridge, &[1]).await;
    let message = inbox.next().await.unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = message.payloads()[0].save(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LocalFile);
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
    assert_eq!(source.map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull));
    assert!(error.to_string().contains(&*folder.path().to_string_lossy()), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
