//! A store in memory, for tests and examples without a network.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use natsbridge_core::{Downloaded, Link, LinkLifetime, Object, Source, Uploaded};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::body::{Reading, report_progress};
use crate::handler::check_and_write;
use crate::{
    Downloader, ExpiryRule, FetchError, FetchErrorKind, LifetimeRules, OneShotRule, Origin, Receipt, StoreError,
    StoreErrorKind, Stored, Target, Uploader,
};

/// An [`Uploader`] and [`Downloader`] that keeps payloads in memory, with links such as `memory://0b6e…`
///
/// Clones share their content. One-shot links and expiry work as on a server, with expiry exact to the second.
///
/// # Examples
/// ```
/// use natsbridge_core::{Link, Object, PayloadType, Source};
/// use natsbridge_fileserver::{Downloader, MemoryStore, Target, Uploader};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = MemoryStore::new();
/// let stored = store.upload(&Object::new("note", PayloadType::Text, 5), &Source::from("hello")).await?;
/// let downloaded = store.download(&Link::new("note", &stored.uploaded.url), Target::Memory).await?;
/// assert_eq!(downloaded.source, Source::from("hello"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    held: Arc<Mutex<HashMap<String, Held>>>,
    clock: Arc<dyn Fn() -> OffsetDateTime + Send + Sync>,
}

/// One upload; without bytes it is a one-shot that was read
struct Held {
    bytes: Option<Bytes>,
    one_shot: bool,
    expires_at: OffsetDateTime,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_clock(OffsetDateTime::now_utc)
    }
}

impl MemoryStore {
    /// Creates an empty store with the system's clock
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty store with another clock, so that a test need not wait until a link expires
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> OffsetDateTime + Send + Sync + 'static) -> Self {
        Self { held: Arc::default(), clock: Arc::new(clock) }
    }

    /// Returns the number of uploads that can still be downloaded
    #[must_use]
    pub fn len(&self) -> usize {
        let now = (self.clock)();
        self.lock().values().filter(|held| held.bytes.is_some() && held.expires_at > now).count()
    }

    /// Returns whether no upload can be downloaded
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expiry(&self, life: LinkLifetime) -> OffsetDateTime {
        let ttl = time::Duration::try_from(life.ttl).unwrap_or(time::Duration::MAX);
        (self.clock)().saturating_add(ttl)
    }

    fn read(&self, url: &str) -> Result<Bytes, FetchErrorKind> {
        let now = (self.clock)();
        let mut held = self.lock();
        let found = held.get_mut(url).ok_or(FetchErrorKind::NotFound)?;
        if found.expires_at <= now {
            return Err(FetchErrorKind::Expired);
        }
        let bytes = if found.one_shot { found.bytes.take() } else { found.bytes.clone() };
        bytes.ok_or(FetchErrorKind::Consumed)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Uploader for MemoryStore {
    fn name(&self) -> Cow<'_, str> {
        "the memory store".into()
    }

    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            let failed = |cause| {
                StoreError::new(StoreErrorKind::LocalFile, self.name())
                    .with_dataname(&*object.dataname)
                    .with_source(cause)
            };
            let (reading, chunks) = Reading::open(source, None).await.map_err(failed)?;
            let chunks = report_progress(chunks, object);
            let bytes = match source {
                Source::Bytes(bytes) => {
                    chunks.try_for_each(|_| std::future::ready(Ok(()))).await.map_err(failed)?;
                    bytes.clone()
                }
                Source::Pieces(_) | Source::File { .. } => {
                    let all = chunks.try_fold(BytesMut::new(), |mut all, chunk| {
                        all.extend_from_slice(&chunk);
                        std::future::ready(Ok(all))
                    });
                    all.await.map_err(failed)?.freeze()
                }
            };
            let sums = reading.sums().ok_or_else(|| failed(std::io::ErrorKind::UnexpectedEof.into()))?;
            let url = format!("memory://{}", Uuid::new_v4());
            let LinkLifetime { one_shot, .. } = object.link_lifetime;
            let expires_at = self.expiry(object.link_lifetime);
            self.lock().insert(url.clone(), Held { bytes: Some(bytes), one_shot, expires_at });
            let uploaded =
                Uploaded::new(&*url, source.len(), sums.sha256).expires_at(Some(expires_at)).one_shot(one_shot);
            Ok(Stored { uploaded, receipt: Receipt::new(url) })
        })
    }

    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        self.lock().remove(receipt.secret());
        Box::pin(std::future::ready(Ok(())))
    }

    fn origins(&self) -> Vec<Origin> {
        Vec::new()
    }

    fn lifetime_rules(&self) -> LifetimeRules {
        LifetimeRules::new(OneShotRule::Offered, ExpiryRule::Any)
    }
}

impl Downloader for MemoryStore {
    fn download<'a>(&'a self, link: &'a Link, target: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
        Box::pin(async move {
            let read = self.read(&link.url);
            let bytes = read.map_err(|kind| FetchError::new(kind, &*link.dataname, &link.url).attempts_made(1))?;
            check_and_write(link, bytes, target).await
        })
    }
}
