//! Async closures as stores: upload and download handlers.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use natsbridge_core::{Digest, Downloaded, Link, Object, Source, Uploaded};

use crate::sink::Sink;
use crate::{
    BoxError, Downloader, FetchError, FetchErrorKind, Origin, Receipt, StoreError, StoreErrorKind, Stored, Target,
    Uploader,
};

/// Creates an [`Uploader`] from an async closure
///
/// The closure gets an [`Object`] and the [`Source`] of its bytes, does its own retries, reports its progress to
/// [`Object::report`], and returns an [`Uploaded`], whose size must be that of the source. [`Uploader::delete`] does
/// nothing, so its uploads remain until they expire.
///
/// # Examples
/// ```
/// use natsbridge_core::{Digest, Object, Source, Uploaded};
/// use natsbridge_fileserver::{BoxError, upload_handler};
///
/// let handler = upload_handler(|object: Object, source: Source| async move {
///     let Some(bytes) = source.into_bytes() else { return Err("this server accepts no files".into()) };
///     // …send them somewhere…
///     Ok::<_, BoxError>(Uploaded::new("https://files.example.com/1", object.size, Digest::of(&bytes)))
/// });
/// # let _ = handler;
/// ```
pub fn upload_handler<F, R>(handler: F) -> impl Uploader
where
    F: Fn(Object, Source) -> R + Send + Sync,
    R: Future<Output = Result<Uploaded, BoxError>> + Send,
{
    UploadHandler(handler)
}

/// Creates a [`Downloader`] from an async closure
///
/// The closure gets the [`Link`], does its own retries, decides itself which links are safe to follow, and reports its
/// progress to [`Link::report`]. The size and the digest of the bytes that it returns are checked against the link.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use natsbridge_core::Link;
/// use natsbridge_fileserver::{BoxError, download_handler};
///
/// let handler = download_handler(|link: Link| async move {
///     let path = link.url.strip_prefix("mem:").ok_or("not a link of ours")?;
///     Ok::<_, BoxError>(Bytes::from(format!("content of {path}")))
/// });
/// # let _ = handler;
/// ```
pub fn download_handler<F, R>(handler: F) -> impl Downloader
where
    F: Fn(Link) -> R + Send + Sync,
    R: Future<Output = Result<Bytes, BoxError>> + Send,
{
    DownloadHandler(handler)
}

struct UploadHandler<F>(F);

impl<F> fmt::Debug for UploadHandler<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UploadHandler(…)")
    }
}

impl<F, R> Uploader for UploadHandler<F>
where
    F: Fn(Object, Source) -> R + Send + Sync,
    R: Future<Output = Result<Uploaded, BoxError>> + Send,
{
    fn name(&self) -> Cow<'_, str> {
        "an upload handler".into()
    }

    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            let failed = |kind, cause: BoxError| {
                StoreError::new(kind, self.name()).with_dataname(&*object.dataname).with_source(cause)
            };
            let stored = (self.0)(object.clone(), source.clone()).await;
            let uploaded = stored.map_err(|cause| failed(StoreErrorKind::Handler, cause))?;
            if uploaded.size != source.len() {
                let cause = format!("the handler stored {} of {} bytes", uploaded.size, source.len());
                return Err(failed(StoreErrorKind::Digest, cause.into()));
            }
            Ok(Stored { uploaded, receipt: Receipt::new("") })
        })
    }

    fn delete<'a>(&'a self, _receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn origins(&self) -> Vec<Origin> {
        Vec::new()
    }
}

struct DownloadHandler<F>(F);

impl<F> fmt::Debug for DownloadHandler<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DownloadHandler(…)")
    }
}

impl<F, R> Downloader for DownloadHandler<F>
where
    F: Fn(Link) -> R + Send + Sync,
    R: Future<Output = Result<Bytes, BoxError>> + Send,
{
    fn download<'a>(&'a self, link: &'a Link, target: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
        Box::pin(async move {
            let bytes = (self.0)(link.clone()).await.map_err(|cause| {
                FetchError::new(FetchErrorKind::Handler, &*link.dataname, &link.url).with_source(cause)
            })?;
            check_and_write(link, bytes, target).await
        })
    }
}

/// Checks bytes against a link's size and digest and writes them to the target
pub(crate) async fn check_and_write(link: &Link, bytes: Bytes, target: Target) -> Result<Downloaded, FetchError> {
    let error = |kind| FetchError::new(kind, &*link.dataname, &link.url);
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if let Some(expected) = link.size.filter(|expected| *expected != found) {
        return Err(error(FetchErrorKind::SizeMismatch)
            .with_source(format!("{found} bytes were received, expected {expected}")));
    }
    let sha256 = Digest::of(&bytes);
    if let Some(expected) = link.sha256.filter(|expected| *expected != sha256) {
        return Err(error(FetchErrorKind::Digest).with_source(format!("the digest is {sha256}, expected {expected}")));
    }
    if target == Target::Memory {
        return Ok(Downloaded::new(Source::Bytes(bytes), sha256));
    }
    let local = |cause: std::io::Error| error(FetchErrorKind::LocalFile).with_source(cause);
    let mut sink = Sink::open(target).await.map_err(local)?;
    sink.push(bytes).await.map_err(local)?;
    sink.finish().await.map_err(local)
}
