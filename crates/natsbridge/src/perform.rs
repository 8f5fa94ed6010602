//! The only room that does IO for a message: it reads small files, performs uploads and downloads, and cleans up.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use natsbridge_core::{
    Download, Envelope, Header, Limits, OutboundMessage, Part, Payload, PayloadType, Plan, PlanError, Sender, Source,
    Stamp, Step, Upload, plan, shown,
};
use natsbridge_fileserver::{Downloader, OneShotRule, Receipt, StoreError, StoreErrorKind, Stored, Target, Uploader};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::ConfigError;
use crate::error::Boxed;
use crate::loading::LoadingTime;
use crate::progress::ProgressHook;
use crate::sequence::Counted;
use crate::{Config, Error, observe, smart};

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

/// The most bytes in a message's payloads for which its JSON shares memory with others'
const SMALL: u64 = 4_096;
/// Bytes that small messages share
const SHARED: usize = 32 * 1024;

/// Everything that turns a message into an envelope
pub(crate) struct Sealer<'a> {
    pub(crate) sender: &'a Sender,
    pub(crate) config: &'a Config,
    /// The configuration's, as they are for this message
    pub(crate) limits: &'a Limits,
    /// Made when the first payload needs it
    pub(crate) uploader: &'a OnceLock<Arc<dyn Uploader>>,
    /// This message's own; replaces the configuration's
    pub(crate) progress: Option<&'a ProgressHook>,
    /// Numbers the message when its uploads are done, so that a failed one leaves no gap
    pub(crate) counted: Option<&'a Counted>,
    /// Where small messages are written beside each other, unless another task is at it
    pub(crate) memory: Option<&'a Mutex<BytesMut>>,
    /// How long uploads are tried again after the store gave up; not at all for most messages
    pub(crate) patience: Option<Patience>,
}

/// Until when something is tried again, and how often
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) until: Instant,
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
}

impl Patience {
    /// Pauses that double up to the longest one, each shortened at random by up to a half: programs that failed together
    /// do not come back together
    pub(crate) fn pauses(self) -> impl Iterator<Item = Duration> {
        let doubled = move |pause: &Duration| Some(pause.saturating_mul(2).min(self.longest_pause));
        std::iter::successors(Some(self.first_pause.min(self.longest_pause)), doubled).enumerate().map(
            |(number, pause)| {
                // The first is what was set: a receiver that answers within it is asked once.
                if number == 0 {
                    return pause;
                }
                let random = u32::from_le_bytes(*Uuid::new_v4().as_bytes().last_chunk().unwrap_or(&[0; 4]));
                pause.mul_f64(1.0 - f64::from(random) / f64::from(u32::MAX) / 2.0)
            },
        )
    }
}

impl Sealer<'_> {
    /// Plans the message, uploads what has to be uploaded, and writes the envelope
    ///
    /// Dropping the future stops the uploads and deletes the finished ones.
    pub(crate) async fn seal(&self, message: &mut OutboundMessage) -> Boxed<Sealed> {
        // Before the plan, which has to know the size of everything.
        #[cfg(feature = "otel")]
        crate::trace::trace(message);
        fitting_life(message)?;
        let spare = self.config.direct_fallback.then(|| Box::new(message.clone()));
        let plan = self.planned(message, self.limits)?;
        if !plan.rest.is_empty() {
            // In a box, so that the future of a message without uploads, as most are, stays small.
            return Box::pin(self.seal_uploading(plan, is_for_one(message), spare)).await;
        }
        self.sealed(plan.header, plan.ready)
    }

    /// Plans a sealed message again, for a broker that takes less than it did; what is a link stays one
    ///
    /// The message keeps its identifiers and its number. When that fails, it stays as it is, with all its uploads.
    pub(crate) async fn seal_again(&self, message: &mut OutboundMessage, sealed: &mut Sealed) -> Boxed<()> {
        let Sealed { envelope, uploads, .. } = &mut *sealed;
        let header = envelope.header();
        message.msg_id = Some(header.msg_id().to_owned().into());
        message.correlation_id = Some(header.correlation_id().to_owned().into());
        message.metadata = header.metadata().clone();
        let mut links = Vec::new();
        for (place, payload) in envelope.payloads().iter().enumerate() {
            match payload.bytes() {
                Some(bytes) => message.parts.push(
                    Part::from_source(payload.dataname(), payload.payload_type(), bytes.clone())
                        .with_metadata(payload.metadata().clone()),
                ),
                None => links.push((place, payload.clone())),
            }
        }
        let mut limits = self.limits.clone();
        let len = |payloads| header.clone().seal(payloads).to_json().len();
        let with_links = len(links.iter().map(|(_, link)| link.clone()).collect());
        // And a comma behind the last of them.
        let kept = u64::try_from(with_links - len(Vec::new()) + 1).unwrap_or(u64::MAX);
        limits.max_message_size = limits.max_message_size.saturating_sub(kept);
        let Plan { header, mut ready, rest, .. } = self.planned(message, &limits)?;
        if !rest.is_empty() {
            let left = uploads.left(|| self.uploader())?;
            ready.extend(left.perform(rest, self.config.transfers, is_for_one(message), self.patience).await?);
        }
        for (place, link) in links {
            ready.insert(place.min(ready.len()), link);
        }
        let Sealed { envelope, json, .. } = self.sealed(header, ready)?;
        (sealed.envelope, sealed.json) = (envelope, json);
        Ok(())
    }

    /// Uploads, seals, and deletes the uploads where that fails; `spare` may travel without links then
    async fn seal_uploading(&self, plan: Plan, for_one: bool, spare: Option<Box<OutboundMessage>>) -> Boxed<Sealed> {
        let uploader = self.uploader()?;
        let left = Arc::new(Left { uploader, receipts: Mutex::default() });
        let mut uploads = Uploads(Some(Arc::clone(&left)));
        let Plan { header, mut ready, rest, .. } = plan;
        // What may travel without links need not wait for them.
        let patience = self.patience.filter(|_| spare.is_none());
        let uploaded = left.perform(rest, self.config.transfers, for_one, patience).await;
        let sealed = uploaded.and_then(|uploaded| {
            ready.extend(uploaded);
            self.sealed(header, ready)
        });
        let error = match sealed {
            Ok(sealed) => return Ok(Sealed { uploads, ..sealed }),
            Err(error) => error,
        };
        uploads.delete().await;
        let (Error::Store(store), Some(message)) = (error.error(), spare) else { return Err(error) };
        if !store.is_retryable() {
            return Err(error);
        }
        let again = self.patience.map(|_| message.clone());
        match (self.seal_direct(message, store).await, again) {
            (Ok(sealed), _) => Ok(sealed),
            (Err(_), None) => Err(error),
            (Err(_), Some(mut message)) => {
                let plan = self.planned(&mut message, self.limits)?;
                Box::pin(self.seal_uploading(plan, for_one, None)).await
            }
        }
    }

    /// Seals the message without uploads, as the file server can't be reached
    ///
    /// # Errors
    /// When it does not fit the broker; who asked reports what it is: an upload that failed.
    async fn seal_direct(&self, message: Box<OutboundMessage>, error: &StoreError) -> Boxed<Sealed> {
        let limits = self.limits.clone().size_threshold(u64::MAX).links(false);
        let mut message = in_memory(message, limits.max_message_size).await?;
        tracing::warn!(error = observe::cause(error), "payloads travel direct, as the file server can't be reached");
        let plan = self.planned(&mut message, &limits)?;
        debug_assert!(plan.rest.is_empty(), "where no links are allowed there is nothing to upload");
        self.sealed(plan.header, plan.ready)
    }

    fn uploader(&self) -> Result<Arc<dyn Uploader>, ConfigError> {
        let uploader = smart::made_once(self.uploader, || smart::plik(self.config))?;
        Ok(match self.progress.or(self.config.progress.as_ref()) {
            Some(hook) => hook.uploader(uploader),
            None => uploader,
        })
    }

    fn planned(&self, message: &mut OutboundMessage, limits: &Limits) -> Boxed<Plan> {
        let (sender, now) = (self.sender, OffsetDateTime::now_utc());
        let letterhead = self.counted.and_then(|counted| counted.letterhead.as_ref());
        Ok(plan(message, limits, &mut Stamp { sender, now, new_id: &mut Uuid::new_v4, letterhead })?)
    }

    /// Numbers the message and writes it
    fn sealed(&self, mut header: Header, payloads: Vec<Payload>) -> Boxed<Sealed> {
        if let Some(counted) = self.counted {
            counted.number(&mut header);
        }
        let envelope = header.seal(payloads);
        let json = self.written(&envelope);
        let size = u64::try_from(json.len()).unwrap_or(u64::MAX);
        let limit = self.limits.max_message_size;
        if size > limit {
            // Only URLs longer than the room planned for them lead here.
            let direct = envelope.payloads().iter().filter(|payload| payload.url().is_none());
            let direct = direct.map(|payload| (payload.dataname().to_owned(), payload.size())).collect();
            return Err(PlanError::MessageTooLarge { size, limit, direct, links_allowed: true }.into());
        }
        Ok(Sealed { envelope, json, uploads: Uploads::default() })
    }

    fn written(&self, envelope: &Envelope) -> Bytes {
        let small = || envelope.payloads().iter().map(Payload::size).sum::<u64>() <= SMALL;
        match self.memory.filter(|_| small()).and_then(|memory| memory.try_lock().ok()) {
            Some(mut memory) => {
                if memory.capacity() == 0 {
                    *memory = BytesMut::with_capacity(SHARED);
                }
                envelope.to_json_in(&mut memory)
            }
            None => envelope.to_json(),
        }
    }
}

/// Whether exactly one receiver is named, of which no answer is asked: only its link may be one-shot, since nobody else
/// reads it, and it is not sent again
fn is_for_one(message: &OutboundMessage) -> bool {
    !message.receiver_id.is_empty() && !message.awaits_ack
}

/// Takes a wish for an answer for what it is, and refuses a wish for a one-shot link that contradicts the message
fn fitting_life(message: &mut OutboundMessage) -> Result<(), ConfigError> {
    message.awaits_ack |= !message.reply_to.is_empty();
    if !message.link_lifetime.is_some_and(|life| life.one_shot) || is_for_one(message) {
        return Ok(());
    }
    let reason = if message.awaits_ack {
        "a one-shot link is gone after the first download, and a message that asks for an answer or an acknowledgement may \
         be sent again; let its links expire (LinkLifetime::expiring), or ask for no answer"
    } else {
        "a one-shot link is gone after the first download, and this message is for every receiver; name one (receiver_id), \
         or let its links expire (LinkLifetime::expiring)"
    };
    Err(ConfigError::new("life", reason))
}

/// The message with its files read, where they could fit into one message at all
async fn in_memory(mut message: Box<OutboundMessage>, limit: u64) -> Result<Box<OutboundMessage>, Error> {
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

/// What a message has left at the file server, if anything; deleted unless it is kept
#[derive(Debug, Default)]
pub(crate) struct Uploads(Option<Arc<Left>>);

#[derive(Debug)]
struct Left {
    uploader: Arc<dyn Uploader>,
    receipts: Mutex<Vec<Receipt>>,
}

impl Left {
    /// Performs the steps, several uploads at once; every finished upload leaves its receipt, whatever becomes of the others
    async fn perform(
        &self,
        steps: Vec<Step>,
        transfers: usize,
        for_one: bool,
        patience: Option<Patience>,
    ) -> Boxed<Vec<Payload>> {
        self.fits(&steps, for_one)?;
        let mut payloads: Vec<BoxFuture<'_, Boxed<Payload>>> = Vec::with_capacity(steps.len());
        for step in steps {
            payloads.push(Box::pin(async move {
                match step {
                    Step::Ready(payload) => Ok(payload),
                    Step::Upload(upload) => {
                        let Stored { uploaded, receipt } = self.upload(&upload, patience).await?;
                        self.receipts().push(receipt);
                        if uploaded.one_shot && !for_one {
                            return Err(self.forces_one_shot(&upload.object().dataname).into());
                        }
                        Ok(upload.uploaded(uploaded)?)
                    }
                }
            }));
        }
        stream::iter(payloads).buffered(transfers.max(1)).try_collect().await
    }

    /// Refuses a store of which is known that it makes every link one-shot, before anything is uploaded
    fn fits(&self, steps: &[Step], for_one: bool) -> Result<(), ConfigError> {
        if for_one || self.uploader.lifetime_rules().one_shot != OneShotRule::Always {
            return Ok(());
        }
        let first = steps.iter().find_map(|step| match step {
            Step::Upload(upload) => Some(&upload.object().dataname),
            Step::Ready(_) => None,
        });
        first.map_or(Ok(()), |dataname| Err(self.forces_one_shot(dataname)))
    }

    /// Uploads one payload, again and again where there is patience
    async fn upload(&self, upload: &Upload, patience: Option<Patience>) -> Result<Stored, StoreError> {
        let once = || self.uploader.upload(upload.object(), upload.source());
        let Some(patience) = patience else { return once().await };
        let mut last = None;
        for pause in patience.pauses() {
            match tokio::time::timeout_at(patience.until, once()).await {
                Ok(Err(error)) if error.is_retryable() => {
                    tracing::debug!(error = observe::cause(&error), "an upload is tried again");
                    last = Some(error);
                }
                Ok(done) => return done,
                Err(_) => break,
            }
            if Instant::now() + pause >= patience.until {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        let late = || {
            StoreError::new(StoreErrorKind::Timeout, self.uploader.name())
                .with_dataname(upload.object().dataname.as_str())
                .with_source("the deadline of the delivery has passed")
        };
        Err(last.unwrap_or_else(late))
    }

    fn forces_one_shot(&self, dataname: &str) -> ConfigError {
        let reason = format!(
            "{} makes the link of payload `{}` one-shot, and the message may be sent again or is for more than one \
             receiver; use a store that keeps files until they expire, or name one receiver_id and ask for no answer",
            self.uploader.name(),
            shown(dataname)
        );
        ConfigError::new("uploader", reason)
    }

    async fn delete(&self) {
        let receipts = std::mem::take(&mut *self.receipts());
        for receipt in receipts {
            if let Err(error) = self.uploader.delete(&receipt).await {
                tracing::warn!(error = observe::cause(&error), "an upload of an unsent message stays until it expires");
            }
        }
    }

    fn receipts(&self) -> MutexGuard<'_, Vec<Receipt>> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uploads {
    /// Deletes every upload of the message, as well as that can be done (specification, section 8)
    pub(crate) async fn delete(&mut self) {
        if let Some(left) = self.0.take() {
            left.delete().await;
        }
    }

    /// Where further uploads of the message leave their receipts
    fn left(
        &mut self,
        uploader: impl FnOnce() -> Result<Arc<dyn Uploader>, ConfigError>,
    ) -> Result<Arc<Left>, ConfigError> {
        if let Some(left) = &self.0 {
            return Ok(Arc::clone(left));
        }
        let left = Arc::new(Left { uploader: uploader()?, receipts: Mutex::default() });
        self.0 = Some(Arc::clone(&left));
        Ok(left)
    }

    /// Whether anything may be left
    pub(crate) const fn any(&self) -> bool {
        self.0.is_some()
    }

    /// Leaves the links to the receivers, with the right to delete them later
    pub(crate) fn detach(&mut self) -> Detached {
        Detached(self.0.take())
    }
}

/// Uploads that stay unless they are deleted
pub(crate) struct Detached(Option<Arc<Left>>);

impl Detached {
    /// The publish failed: the links stay where the message may have left all the same, else they are deleted
    pub(crate) async fn end(self, may_have_left: bool) {
        if !may_have_left {
            self.delete().await;
        }
    }

    /// The message was not published: its uploads are its own again
    pub(crate) fn attach(self) -> Uploads {
        Uploads(self.0)
    }

    pub(crate) async fn delete(self) {
        if let Some(left) = self.0 {
            left.delete().await;
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        let Some(left) = self.0.take() else { return };
        let uploads = left.receipts().len();
        match tokio::runtime::Handle::try_current() {
            _ if uploads == 0 => {}
            Ok(runtime) => drop(runtime.spawn(async move { left.delete().await })),
            Err(_) => tracing::warn!(uploads, "uploads of an unsent message stay until they expire"),
        }
    }
}

/// Downloads one payload into memory, and checks it
pub(crate) async fn downloaded(
    download: Download,
    downloader: &dyn Downloader,
    time: &LoadingTime,
) -> Result<Part, Error> {
    let found = time.load(download.link(), downloader.download(download.link(), Target::Memory)).await?;
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
    Error::file(dataname, "read", path, source)
}
