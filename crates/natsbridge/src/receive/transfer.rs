//! Downloads within the time that the links of one message may take together, however they are asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use natsbridge_core::{Download, Link, Part};
use natsbridge_fileserver::{Downloader, FetchError, FetchErrorKind, Target};
use tokio::time::Instant;

use crate::Error;

/// Bytes of links for which a message gets one more second
const BYTES_PER_SECOND: u64 = 1_000_000;

/// The time that is left to one message's links; runs only while one of them loads
#[derive(Debug, Clone)]
pub(crate) struct LoadingTime(Arc<Mutex<Clock>>);

#[derive(Debug)]
struct Clock {
    limit: Duration,
    used: Duration,
    /// Links that load now
    loading: usize,
    /// When the first of them began
    since: Instant,
}

impl LoadingTime {
    pub(crate) fn new(limit: Duration) -> Self {
        let clock = Clock { limit, used: Duration::ZERO, loading: 0, since: Instant::now() };
        Self(Arc::new(Mutex::new(clock)))
    }

    /// Adds what a link of this size takes on a slow line
    pub(crate) fn allow(&self, size: Option<u64>) {
        let mut clock = self.clock();
        clock.limit = clock.limit.saturating_add(Duration::from_secs(size.unwrap_or(0) / BYTES_PER_SECOND));
    }

    /// Waits for one link, at most as long as the message has left
    ///
    /// # Errors
    /// Those of `load`; `timeout` when the message's time is over.
    pub(crate) async fn load<T>(
        &self,
        link: &Link,
        load: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let running = self.start();
        match tokio::time::timeout(running.left, load).await {
            Ok(loaded) => loaded,
            Err(_) => {
                let limit = self.clock().limit.as_secs_f64();
                let cause =
                    format!("the links of the message were not all loaded within {limit:.0} s (message_timeout)");
                Err(FetchError::new(FetchErrorKind::Timeout, link.dataname.as_str(), &link.url).with_source(cause))
            }
        }
    }

    fn start(&self) -> Running<'_> {
        let mut clock = self.clock();
        let now = Instant::now();
        if clock.loading == 0 {
            clock.since = now;
        }
        clock.loading += 1;
        let used = clock.used + (now - clock.since);
        Running { left: clock.limit.saturating_sub(used), time: self }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Downloads one payload into memory, and checks it
pub(crate) async fn download(
    download: Download,
    downloader: &dyn Downloader,
    time: &LoadingTime,
) -> Result<Part, Error> {
    let found = time.load(download.link(), downloader.download(download.link(), Target::Memory)).await?;
    Ok(download.downloaded(found)?)
}

/// One link that loads; the clock stops with the last of them
struct Running<'a> {
    left: Duration,
    time: &'a LoadingTime,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut clock = self.time.clock();
        clock.loading = clock.loading.saturating_sub(1);
        if clock.loading == 0 {
            let used = clock.since.elapsed();
            clock.used += used;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a link that takes `seconds` is loaded
    async fn loads(time: &LoadingTime, seconds: u64) -> bool {
        let link = Link::new("clip", "http://files.test/x");
        let loaded = time.load(&link, async {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(())
        });
        match loaded.await {
            Ok(()) => true,
            Err(error) => {
                assert_eq!((error.code(), error.dataname()), ("timeout", "clip"));
                false
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn links_of_a_message_share_its_time() {
        let time = LoadingTime::new(Duration::from_secs(60));
        assert!(loads(&time, 40).await);
        tokio::time::sleep(Duration::from_secs(1_000)).await;
        assert!(loads(&time, 10).await, "time in which nothing loads is not used up");
        assert_eq!(tokio::join!(loads(&time, 9), loads(&time, 11)), (true, false), "two at once take time once");
        assert!(!loads(&time, 1).await, "nothing is left");
    }

    #[tokio::test(start_paused = true)]
    async fn large_links_have_more_time() {
        let time = LoadingTime::new(Duration::from_secs(60));
        time.allow(Some(50_000_000));
        time.allow(None);
        assert!(loads(&time, 109).await);
        assert!(!loads(&time, 2).await);
    }
}
