//! The only room that does IO for a message: it reads small files, performs uploads and downloads, and cleans up.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use natsbridge_core::{
    Download, Envelope, Limits, Message, Part, Payload, PayloadType, PlanError, Source, Stamp, Step, plan,
};
use natsbridge_fileserver::{Downloader, Receipt, Stored, Target, Uploader};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::config::ConfigError;
use crate::sequence::{self, Counted};
use crate::{Error, observe};

/// Gives the uploader, which is made when the first payload needs it
pub(crate) type UploaderSource<'a> = &'a (dyn Fn() -> Result<Arc<dyn Uploader>, ConfigError> + Send + Sync);

/// A sealed message, and what it has left at the file server
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) envelope: Envelope,
    pub(crate) json: Bytes,
    pub(crate) uploads: Uploads,
}

/// A file as a part: read into memory where it is small enough to travel direct, named where it is not
pub(crate) async fn part_of_file(
    name: &str,
    payload_type: PayloadType,
    path: &Path,
    limits: &Limits,
) -> Result<Part, Error> {
    let unreadable = |source| unreadable(name, path, source);
    let metadata = tokio::fs::metadata(path).await.map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
    }
    let len = metadata.len();
    if len >= limits.size_threshold && limits.links && limits.receiver.follows_links() {
        return Ok(Part::from_file(name, payload_type, path, len));
    }
    let bytes = tokio::fs::read(path).await.map_err(unreadable)?;
    Ok(Part::from_source(name, payload_type, bytes))
}

/// Everything that turns a message into an envelope
pub(crate) struct Sealer<'a> {
    pub(crate) limits: Limits,
    pub(crate) uploader: UploaderSource<'a>,
    /// Uploads at once
    pub(crate) transfers: usize,
    /// Numbers the message when its uploads are done, so that a failed one leaves no gap
    pub(crate) counted: Option<&'a Counted>,
    /// Whether payloads may travel direct, as far as the broker takes them, when the file server can't be reached
    pub(crate) direct_fallback: bool,
}

impl Sealer<'_> {
    /// Plans the message, uploads what has to be uploaded, and writes the envelope
    ///
    /// Dropping the future stops the uploads and deletes the finished ones.
    pub(crate) async fn seal(&self, message: Box<Message>) -> Result<Sealed, Error> {
        // Before the plan, which has to know the size of everything.
        #[cfg(feature = "otel")]
        let message = {
            let mut message = message;
            *message = crate::trace::traced(*message);
            message
        };
        let spare = self.direct_fallback.then(|| message.clone());
        let sealed = self.seal_within(message, &self.limits).await;
        match (sealed, spare) {
            (Err(Error::Store(error)), Some(message)) if error.is_retryable() => {
                let without_links = self.limits.clone().size_threshold(u64::MAX).links(false);
                let Ok(message) = in_memory(message, without_links.max_message_size).await else {
                    return Err(error.into());
                };
                tracing::warn!(
                    error = observe::cause(&error),
                    "payloads travel direct, as the file server can't be reached"
                );
                // What does not fit the broker either is reported as what it is: an upload that failed.
                self.seal_within(message, &without_links).await.map_err(|_| error.into())
            }
            (sealed, _) => sealed,
        }
    }

    async fn seal_within(&self, message: Box<Message>, limits: &Limits) -> Result<Sealed, Error> {
        let limits = limits.clone().header_allowance(if self.counted.is_some() { sequence::ROOM } else { 0 });
        let (mut header, steps) =
            plan(*message, &limits, &mut Stamp { now: OffsetDateTime::now_utc(), new_id: &mut Uuid::new_v4 })?;
        let mut uploads = Uploads::default();
        let payloads = if steps.iter().any(|step| matches!(step, Step::Upload(_))) {
            let uploader = (self.uploader)()?;
            uploads.uploader = Some(Arc::clone(&uploader));
            let payloads = uploaded(steps, uploader.as_ref(), &uploads.receipts, self.transfers).await;
            match payloads {
                Ok(payloads) => payloads,
                Err(error) => {
                    uploads.delete().await;
                    return Err(error);
                }
            }
        } else {
            let mut payloads = Vec::with_capacity(steps.len());
            payloads.extend(steps.into_iter().filter_map(ready));
            payloads
        };
        if let Some(counted) = self.counted {
            counted.number(&mut header);
        }
        let envelope = header.seal(payloads);
        let json = envelope.to_json();
        let size = u64::try_from(json.len()).unwrap_or(u64::MAX);
        let limit = limits.max_message_size;
        if size > limit {
            // Only URLs longer than the room planned for them lead here.
            let direct = envelope.payloads().iter().filter(|payload| payload.url().is_none());
            let direct = direct.map(|payload| (payload.dataname().to_owned(), payload.size())).collect();
            uploads.delete().await;
            return Err(PlanError::MessageTooLarge { size, limit, direct, links_allowed: true }.into());
        }
        Ok(Sealed { envelope, json, uploads })
    }
}

/// The message with its files read, where they could fit into one message at all
async fn in_memory(mut message: Box<Message>, limit: u64) -> Result<Box<Message>, Error> {
    for part in &mut message.parts {
        if let Source::File { path, len } = part.source() {
            let too_large = || std::io::Error::from(std::io::ErrorKind::FileTooLarge);
            let read = if *len > limit { Err(too_large()) } else { tokio::fs::read(path).await };
            let bytes = read.map_err(|source| unreadable(part.name(), path, source))?;
            *part = Part::from_source(part.name(), part.payload_type(), bytes).with_metadata(part.metadata().clone());
        }
    }
    Ok(message)
}

fn ready(step: Step) -> Option<Payload> {
    match step {
        Step::Ready(payload) => Some(payload),
        Step::Upload(_) => None,
    }
}

/// Performs the steps, several uploads at once; every finished upload leaves its receipt, whatever becomes of the others
async fn uploaded(
    steps: Vec<Step>,
    uploader: &dyn Uploader,
    receipts: &Mutex<Vec<Receipt>>,
    transfers: usize,
) -> Result<Vec<Payload>, Error> {
    let mut payloads: Vec<BoxFuture<'_, Result<Payload, Error>>> = Vec::with_capacity(steps.len());
    for step in steps {
        payloads.push(Box::pin(async move {
            match step {
                Step::Ready(payload) => Ok(payload),
                Step::Upload(upload) => {
                    let Stored { uploaded, receipt } = uploader.upload(upload.object(), upload.source()).await?;
                    receipts.lock().unwrap_or_else(PoisonError::into_inner).push(receipt);
                    Ok(upload.uploaded(uploaded)?)
                }
            }
        }));
    }
    stream::iter(payloads).buffered(transfers.max(1)).try_collect().await
}

/// What a message has left at the file server; deleted unless it is kept
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    uploader: Option<Arc<dyn Uploader>>,
    receipts: Mutex<Vec<Receipt>>,
}

impl Uploads {
    /// The message is on its way: its links are the receivers' now
    pub(crate) fn keep(mut self) {
        self.take();
    }

    /// The publish failed: the links stay where the message may have left all the same, else they are deleted
    pub(crate) async fn end(mut self, may_have_left: bool) {
        if may_have_left {
            self.keep();
        } else {
            self.delete().await;
        }
    }

    /// Deletes every upload of the message, as well as that can be done (specification, section 8)
    pub(crate) async fn delete(&mut self) {
        let receipts = self.take();
        if let Some(uploader) = &self.uploader {
            delete_all(uploader.as_ref(), receipts).await;
        }
    }

    /// Leaves the links to the receivers, with the right to delete them later
    pub(crate) fn detach(mut self) -> Detached {
        Detached { receipts: self.take(), uploader: self.uploader.take() }
    }

    fn take(&mut self) -> Vec<Receipt> {
        std::mem::take(self.receipts.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Uploads that stay unless they are deleted
pub(crate) struct Detached {
    uploader: Option<Arc<dyn Uploader>>,
    receipts: Vec<Receipt>,
}

impl Detached {
    pub(crate) async fn delete(self) {
        if let Some(uploader) = &self.uploader {
            delete_all(uploader.as_ref(), self.receipts).await;
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        let receipts = self.take();
        let Some(uploader) = self.uploader.take().filter(|_| !receipts.is_empty()) else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move { delete_all(uploader.as_ref(), receipts).await });
            }
            Err(_) => tracing::warn!(uploads = receipts.len(), "uploads of an unsent message stay until they expire"),
        }
    }
}

async fn delete_all(uploader: &dyn Uploader, receipts: Vec<Receipt>) {
    for receipt in receipts {
        if let Err(error) = uploader.delete(&receipt).await {
            tracing::warn!(error = observe::cause(&error), "an upload of an unsent message stays until it expires");
        }
    }
}

/// Downloads one payload into memory, and checks it
pub(crate) async fn downloaded(download: Download, downloader: &dyn Downloader) -> Result<Part, Error> {
    let found = downloader.download(download.link(), Target::Memory).await?;
    Ok(download.downloaded(found)?)
}

/// The bytes of a part, wherever they are
pub(crate) async fn bytes_of(part: &Part) -> Result<Bytes, Error> {
    match part.source() {
        Source::Bytes(bytes) => Ok(bytes.clone()),
        Source::Pieces(pieces) => Ok(pieces.concat().into()),
        Source::File { path, .. } => {
            tokio::fs::read(path).await.map(Bytes::from).map_err(|source| unreadable(part.name(), path, source))
        }
    }
}

fn unreadable(dataname: &str, path: &Path, source: std::io::Error) -> Error {
    Error::File { dataname: dataname.to_owned(), action: "read", path: path.to_owned(), source }
}
