//! Takes a file: multipart in, content to disk, size and checksum on the way.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, StatusCode, header};
use multer::{Field, Multipart};
use tokio::task::JoinHandle;

use crate::{checksum::Checksum, growing::GrowingFile};

use super::{
    api::{App, MAX_FILES, expired_or_absent},
    budget::Lease,
    config::ServerConfig,
    disposition::Disposition,
    error::{Reason, Refusal},
    ids::Id,
    meter,
    record::{FileRecord, Status},
    sniff::{SNIFF_LENGTH, content_type},
    wishes::{check_name, human_size},
};

/// Bytes gathered before they are written, if the client sends that fast; two such batches exist per upload
const BATCH: usize = 64 * 1024;

/// How long a client may pause before what it has sent is written
const PAUSE: Duration = Duration::from_millis(50);

/// Most pieces in a batch, so that a client that sends single bytes does not fill memory with what surrounds them
const PIECES: usize = 128;

/// What a multipart body may hold besides the file: other fields, headers, boundaries
const MAX_FRAMING: u64 = 1024 * 1024;

/// Where the content goes
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// A new file of the upload
    New,
    /// A file declared when the upload was made
    Declared(Id),
}

/// Stores the first part called `file` of a multipart body and returns its record
pub(super) async fn receive(
    app: &Arc<App>,
    upload: Id,
    target: Target,
    headers: &HeaderMap,
    body: Body,
) -> Result<FileRecord, Refusal> {
    let too_big = || {
        let text = format!("file too big (limit is set to {})", human_size(app.config.max_size));
        Refusal::bad_request(text).counted_as(Reason::TooLarge).closing()
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // Plik reads on until the limit is crossed. What can't fit is refused before it is sent in vain.
    if announced.is_some_and(|length| length > app.config.max_size.saturating_add(MAX_FRAMING)) {
        return Err(too_big());
    }
    if let Some(length) = announced {
        let content = length.saturating_sub(MAX_FRAMING);
        app.store.budget().check(content).map_err(|error| Refusal::from(error).closing())?;
    }
    let boundary = boundary(headers)?;
    let framing = Arc::new(AtomicU64::new(MAX_FRAMING));
    let mut pace = Pace::new(&app.config);
    let gate = Gate { body: body.into_data_stream(), framing: Arc::clone(&framing), came: Arc::clone(&pace.came) };
    let mut parts = Multipart::new(gate, boundary);

    let (mut field, name) = loop {
        let Some(field) = in_time(&mut pace, parts.next_field()).await?.map_err(|error| malformed(&error))? else {
            return Err(Refusal::bad_request("missing file from multipart form"));
        };
        let disposition = field
            .headers()
            .get(header::CONTENT_DISPOSITION)
            .map(|value| Disposition::parse(value.as_bytes()))
            .unwrap_or_default();
        if disposition.field == "file" {
            break (field, disposition.file.unwrap_or_default());
        }
    };
    if name.is_empty() {
        return Err(Refusal::bad_request("missing file name from multipart form"));
    }

    let mut incoming = Incoming::begin(app, upload, target, name, announced).await.map_err(Refusal::closing)?;
    framing.store(u64::MAX, Ordering::Relaxed);
    let outcome = copy(&mut field, &mut incoming, app.config.max_size, &mut pace, &too_big).await;
    if let Err(refusal) = outcome {
        incoming.abandon().await;
        return Err(refusal);
    }
    // The closing boundary is read too, so that the connection can serve the next request.
    drop(field);
    framing.store(MAX_FRAMING, Ordering::Relaxed);
    match in_time(&mut pace, parts.next_field()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "multipart body ends oddly after the file"),
        Err(refusal) => {
            incoming.abandon().await;
            return Err(refusal);
        }
    }
    incoming.finish().await
}

/// Moves the part's bytes to disk, at most `max_size` of them
async fn copy(
    field: &mut Field<'static>,
    incoming: &mut Incoming,
    max_size: u64,
    pace: &mut Pace,
    too_big: &(impl Fn() -> Refusal + Sync),
) -> Result<(), Refusal> {
    let mut size: u64 = 0;
    loop {
        let piece = match tokio::time::timeout(PAUSE, field.chunk()).await {
            Ok(piece) => {
                pace.check()?;
                piece
            }
            Err(_) => {
                // What a client that sends slowly has sent is not kept in memory.
                incoming.flush().await?;
                in_time(pace, field.chunk()).await?
            }
        };
        let Some(piece) = piece.map_err(|error| broken_off(&error))? else { return Ok(()) };
        size = size.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if size > max_size {
            return Err(too_big());
        }
        incoming.write(piece).await?;
    }
}

/// The boundary named by the content type
fn boundary(headers: &HeaderMap) -> Result<String, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    multer::parse_boundary(content_type).map_err(|error| {
        Refusal::bad_request(match error {
            multer::Error::NoBoundary => "invalid multipart form : no multipart boundary param in Content-Type",
            _ => "invalid multipart form : request Content-Type isn't multipart/form-data",
        })
    })
}

/// How fast a client sends: a byte now and then must not hold a connection for ever
struct Pace {
    /// How long it may stand still, and over how long its rate is measured
    idle: Duration,
    /// Bytes that each such time must bring
    least: u64,
    came: Arc<AtomicU64>,
    since: Instant,
    before: u64,
    rate: u64,
}

impl Pace {
    fn new(config: &ServerConfig) -> Self {
        let (idle, rate) = (config.idle_timeout, config.min_upload_rate);
        let millis = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        let least = rate.saturating_mul(millis) / 1000;
        Self { idle, least, came: Arc::default(), since: Instant::now(), before: 0, rate }
    }

    /// Refuses a client that was too slow over the last time
    fn check(&mut self) -> Result<(), Refusal> {
        if self.since.elapsed() < self.idle {
            return Ok(());
        }
        let came = self.came.load(Ordering::Relaxed);
        if came.saturating_sub(self.before) < self.least {
            let text = format!("upload is slower than {} a second", human_size(self.rate));
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, text).closing());
        }
        (self.since, self.before) = (Instant::now(), came);
        Ok(())
    }
}

async fn in_time<T>(pace: &mut Pace, work: impl Future<Output = T>) -> Result<T, Refusal> {
    let done = tokio::time::timeout(pace.idle, work).await.map_err(|_| {
        let text = format!("upload stood still for more than {} s", pace.idle.as_secs());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, text).closing()
    })?;
    pace.check()?;
    Ok(done)
}

/// The body is no multipart form, or stops before a file begins
fn malformed(error: &multer::Error) -> Refusal {
    Refusal::bad_request(format!("invalid multipart form : {error}")).closing()
}

/// The body stops inside the file (step 28 of the recorded exchanges, without its stray `%s`)
fn broken_off(error: &multer::Error) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("unable to read data from request body : {error}"))
        .counted_as(Reason::BadRequest)
        .closing()
}

/// A request body that ends with an error when the parser would have to keep too much of it
struct Gate {
    body: BodyDataStream,
    /// Bytes that may still come outside the file
    framing: Arc<AtomicU64>,
    /// All bytes that came
    came: Arc<AtomicU64>,
}

impl Stream for Gate {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(piece) = std::task::ready!(Pin::new(&mut self.body).poll_next(cx)) else { return Poll::Ready(None) };
        let piece = piece.map_err(io::Error::other)?;
        self.came.fetch_add(u64::try_from(piece.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let left = self.framing.load(Ordering::Relaxed);
        if left != u64::MAX {
            let Some(left) = left.checked_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX)) else {
                return Poll::Ready(Some(Err(io::Error::other("too much besides the file"))));
            };
            self.framing.store(left, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

/// A file whose content is arriving; it is erased unless it is finished
struct Incoming {
    app: Arc<App>,
    upload: Id,
    file: Id,
    /// With the writing thread while `writing` is set
    sink: Option<Sink>,
    writing: Option<JoinHandle<io::Result<Sink>>>,
    /// As they came, since a copy would cost more than the checksum
    batch: Vec<Bytes>,
    batched: usize,
    settled: bool,
}

/// The disk's end of an upload
struct Sink {
    content: GrowingFile,
    /// What the content counts while it arrives
    lease: Lease,
    checksum: Checksum,
    /// The first bytes, by which the content type is guessed
    head: Vec<u8>,
}

impl Incoming {
    /// `announced` is what the client says that the whole body has
    async fn begin(
        app: &Arc<App>,
        upload: Id,
        target: Target,
        name: String,
        announced: Option<u64>,
    ) -> Result<Self, Refusal> {
        let file = match target {
            Target::New => Id::random(),
            Target::Declared(id) => id,
        };
        let sink = app
            .disk(move |app| {
                let mut checksum = Checksum::md5();
                let begun = app.store.begin_file(upload, file, |record| {
                    if record.crc64nvme {
                        checksum = Checksum::crc64nvme();
                    }
                    match target {
                        Target::New => add(&mut record.files, file, name),
                        Target::Declared(_) => claim_declared(&mut record.files, file, &name),
                    }
                })?;
                let (content, lease) = begun.ok_or_else(|| expired_or_absent(upload))?;
                let mut content = GrowingFile::new(content);
                content.expect(announced.unwrap_or(0));
                Ok(Sink { content, lease, checksum, head: Vec::new() })
            })
            .await?;
        Ok(Self {
            app: Arc::clone(app),
            upload,
            file,
            sink: Some(sink),
            writing: None,
            batch: Vec::new(),
            batched: 0,
            settled: false,
        })
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), Refusal> {
        self.batched = self.batched.saturating_add(piece.len());
        self.batch.push(piece);
        if self.batched >= BATCH || self.batch.len() >= PIECES { self.flush().await } else { Ok(()) }
    }

    /// Hands the batch to a writing thread, after the one before it is written
    async fn flush(&mut self) -> Result<(), Refusal> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let sink = self.sink().await?;
        let batch = std::mem::take(&mut self.batch);
        self.batched = 0;
        self.writing = Some(self.app.jobs.spawn_blocking(move || sink.take(&batch)));
        Ok(())
    }

    async fn sink(&mut self) -> Result<Sink, Refusal> {
        if let Some(writing) = &mut self.writing {
            let written = writing.await;
            self.writing = None;
            self.sink = Some(
                written
                    .map_err(|error| Refusal::internal(&error).closing())?
                    .map_err(|error| Refusal::from(error).closing())?,
            );
        }
        self.sink.take().ok_or_else(|| Refusal::internal(&"writing failed before").closing())
    }

    /// Makes the file available, or erases it
    async fn finish(mut self) -> Result<FileRecord, Refusal> {
        match self.store().await {
            Ok(stored) => {
                self.settled = true;
                meter::uploaded(stored.file_size);
                Ok(stored)
            }
            Err(refusal) => {
                self.abandon().await;
                Err(refusal)
            }
        }
    }

    async fn store(&mut self) -> Result<FileRecord, Refusal> {
        self.flush().await?;
        let sink = self.sink().await?;
        let (upload, file) = (self.upload, self.file);
        self.app
            .disk(move |app| {
                let Sink { mut content, lease, checksum, head } = sink;
                content.finish();
                let done = app.store.finish_file(upload, file, lease, |record| {
                    let Some(found) = record.file_mut(file).filter(|found| found.status == Status::Uploading) else {
                        return Err(expired_or_absent(upload));
                    };
                    found.status = Status::Uploaded;
                    found.file_size = content.written();
                    found.file_type = content_type(&head).to_owned();
                    match &checksum {
                        Checksum::Md5(_) => found.file_md5 = checksum.finish(),
                        Checksum::Crc64Nvme(_) => found.file_crc64nvme = checksum.finish(),
                    }
                    Ok(found.clone())
                })?;
                done.ok_or_else(|| expired_or_absent(upload))
            })
            .await
    }

    /// Erases what arrived
    async fn abandon(mut self) {
        self.settled = true;
        // A batch on its way is awaited, so that nothing is written after the erasure.
        if let Some(writing) = self.writing.take() {
            drop(writing.await);
        }
        drop(self.sink.take());
        let (upload, file) = (self.upload, self.file);
        if let Err(refusal) = self.app.disk(move |app| Ok(app.store.erase(upload, file)?)).await {
            tracing::warn!(?refusal, upload = upload.hint(), "interrupted upload can't be erased");
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // The client went away and the request was dropped in the middle.
        if self.settled {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (app, upload, file) = (Arc::clone(&self.app), self.upload, self.file);
        let erase = move || {
            if let Err(error) = app.store.erase(upload, file) {
                tracing::warn!(%error, upload = upload.hint(), "interrupted upload can't be erased");
            }
        };
        drop(self.app.jobs.spawn_blocking_on(erase, &runtime));
    }
}

impl Sink {
    fn take(mut self, batch: &[Bytes]) -> io::Result<Self> {
        let total = batch.iter().map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX));
        self.lease.grow(total.fold(0, u64::saturating_add))?;
        self.content.write(batch)?;
        for piece in batch {
            let missing = SNIFF_LENGTH.saturating_sub(self.head.len());
            self.head.extend(piece.iter().take(missing));
            self.checksum.update(piece);
        }
        Ok(self)
    }
}

fn add(files: &mut Vec<FileRecord>, id: Id, name: String) -> Result<(), Refusal> {
    check_name(&name).map_err(|why| Refusal::bad_request(format!("unable to create file : {why}")))?;
    if files.len() >= MAX_FILES {
        return Err(Refusal::bad_request(format!("maximum number file per upload reached, limit is {MAX_FILES}")));
    }
    files.push(FileRecord::new(id, name, Status::Uploading));
    Ok(())
}

fn claim_declared(files: &mut [FileRecord], id: Id, name: &str) -> Result<(), Refusal> {
    let found = files.iter_mut().find(|file| file.id == id.as_str());
    let found = found.ok_or_else(|| Refusal::not_found(format!("file {id} not found")))?;
    if found.status != Status::Missing {
        return Err(Refusal::bad_request(format!("invalid file status {}, expected missing", found.status.word())));
    }
    if found.file_name != name {
        return Err(Refusal::bad_request("invalid file name"));
    }
    found.status = Status::Uploading;
    Ok(())
}
