//! An inbox downloads links ahead, but holds no more of them in memory than it may.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use natsbridge::store::{Downloaded, Downloader, FetchError, Link, MemoryStore, Target};
use natsbridge::{Bridge, Config, MemoryBroker, Subscriber};
use tokio::sync::Semaphore;

/// Counts the downloads that began, and lets as many end as it has permits
#[derive(Debug)]
struct Gate {
    store: MemoryStore,
    begun: AtomicUsize,
    open: Semaphore,
}

impl Downloader for Gate {
    fn download<'a>(&'a self, link: &'a Link, target: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
        Box::pin(async move {
            self.begun.fetch_add(1, Ordering::Relaxed);
            self.open.acquire().await.unwrap().forget();
            self.store.download(link, target).await
        })
    }
}

/// Waits until everything stands still: time is stopped, so it passes only when nothing else can happen
async fn nothing_comes(inbox: &mut Subscriber) {
    assert!(tokio::time::timeout(Duration::from_secs(1), inbox.next()).await.is_err());
}

async fn next_size(inbox: &mut Subscriber) -> usize {
    inbox.next().await.unwrap().unwrap().bytes("large").unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn links_ahead_bounds_bytes_and_keeps_the_order() {
    let store = MemoryStore::new();
    let gate = Arc::new(Gate { store: store.clone(), begun: AtomicUsize::new(0), open: Semaphore::new(0) });
    let begun = || gate.begun.load(Ordering::Relaxed);
    let config = Config::default().uploader(store).downloader(Arc::<Gate>::clone(&gate)).links_ahead(1_500_000);
    let bridge = Bridge::with_broker(MemoryBroker::new(), config).unwrap();
    let mut inbox = bridge.subscribe("lab.>").await.unwrap();
    for size in [600_001, 600_002, 600_003, 5_000_000, 10, 600_004] {
        bridge.message("lab.results").binary("large", vec![1; size]).send().await.unwrap();
    }
    nothing_comes(&mut inbox).await;
    assert_eq!(begun(), 2, "there is room for two");
    gate.open.add_permits(1);
    assert_eq!(next_size(&mut inbox).await, 600_001);
    nothing_comes(&mut inbox).await;
    assert_eq!(begun(), 3, "the third takes the place of the first");
    gate.open.add_permits(2);
    assert_eq!([next_size(&mut inbox).await, next_size(&mut inbox).await], [600_002, 600_003]);
    nothing_comes(&mut inbox).await;
    assert_eq!(begun(), 4, "what is larger than all the room is downloaded alone");
    gate.open.add_permits(2);
    assert_eq!([next_size(&mut inbox).await, next_size(&mut inbox).await], [5_000_000, 10]);
    assert_eq!(next_size(&mut inbox).await, 600_004);
}
