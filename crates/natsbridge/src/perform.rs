//! The only room that does IO for a message: it reads small files, performs uploads and downloads, and cleans up.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use natsbridge_core::{Download, Envelope, Limits, Message, Part, Payload, PayloadType, Source, Stamp, Step, plan};
use natsbridge_fileserver::{Downloader, Receipt, Stored, Target, Uploader};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::config::ConfigError;
use crate::sequence::{self, Counter};
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
    let unreadable = |source| Error::File { dataname: name.to_owned(), action: "read", path: path.to_owned(), source };
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

/// Plans the message, uploads what has to be uploaded, and writes the envelope
///
/// With a counter the message is numbered when its uploads are done, so that a failed one leaves no gap. Dropping the
/// future stops the uploads and deletes the finished ones.
pub(crate) async fn seal(
    message: Message,
    limits: &Limits,
    uploader: UploaderSource<'_>,
    transfers: usize,
    counter: Option<&Counter>,
) -> Result<Sealed, Error> {
    let limits = limits.clone().header_allowance(if counter.is_some() { sequence::ROOM } else { 0 });
    let (mut header, steps) =
        plan(message, &limits, &mut Stamp { now: OffsetDateTime::now_utc(), new_id: &mut Uuid::new_v4 })?;
    let mut uploads = Uploads::default();
    let payloads = if steps.iter().any(|step| matches!(step, Step::Upload(_))) {
        uploaded(steps, &mut uploads, uploader()?, transfers).await?
    } else {
        steps.into_iter().filter_map(ready).collect()
    };
    if let Some(counter) = counter {
        counter.number(&mut header);
    }
    let envelope = header.seal(payloads);
    let json = envelope.to_json();
    let size = u64::try_from(json.len()).unwrap_or(u64::MAX);
    if size > limits.max_message_size {
        // Only URLs longer than the room planned for them lead here.
        let direct = envelope.payloads().iter().filter(|payload| payload.url().is_none());
        let direct = direct.map(|payload| (payload.dataname().to_owned(), payload.size())).collect();
        uploads.delete().await;
        let limit = limits.max_message_size;
        return Err(natsbridge_core::PlanError::MessageTooLarge { size, limit, direct, links_allowed: true }.into());
    }
    Ok(Sealed { envelope, json, uploads })
}

fn ready(step: Step) -> Option<Payload> {
    match step {
        Step::Ready(payload) => Some(payload),
        Step::Upload(_) => None,
    }
}

async fn uploaded(
    steps: Vec<Step>,
    uploads: &mut Uploads,
    uploader: Arc<dyn Uploader>,
    transfers: usize,
) -> Result<Vec<Payload>, Error> {
    uploads.uploader = Some(Arc::clone(&uploader));
    let stored = stream::iter(steps)
        .map(|step| {
            let uploader = Arc::clone(&uploader);
            async move {
                match step {
                    Step::Ready(payload) => Ok::<_, Error>((payload, None)),
                    Step::Upload(upload) => {
                        let Stored { uploaded, receipt } = uploader.upload(upload.object(), upload.source()).await?;
                        Ok((upload.uploaded(uploaded)?, Some(receipt)))
                    }
                }
            }
        })
        .buffered(transfers.max(1));
    let collected = stored
        .map(|result| {
            result.map(|(payload, receipt)| {
                uploads.receipts.extend(receipt);
                payload
            })
        })
        .try_collect()
        .await;
    if collected.is_err() {
        uploads.delete().await;
    }
    collected
}

/// What a message has left at the file server; deleted unless it is kept
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    uploader: Option<Arc<dyn Uploader>>,
    receipts: Vec<Receipt>,
}

impl Uploads {
    /// The message is on its way: its links are the receivers' now
    pub(crate) fn keep(mut self) {
        self.receipts.clear();
    }

    /// Deletes every upload of the message, as well as that can be done (wire.md, "Links and their life")
    pub(crate) async fn delete(&mut self) {
        if let Some(uploader) = &self.uploader {
            delete_all(uploader.as_ref(), std::mem::take(&mut self.receipts)).await;
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        let receipts = std::mem::take(&mut self.receipts);
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
        Source::File { path, .. } => tokio::fs::read(path).await.map(Bytes::from).map_err(|source| Error::File {
            dataname: part.name().to_owned(),
            action: "read",
            path: path.clone(),
            source,
        }),
    }
}
