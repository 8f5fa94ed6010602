//! Tests for your own [`Uploader`] and [`Downloader`]: [`all`] checks every rule of the traits, [`expires`] the expiry.
//!
//! ```
//! use natsbridge_fileserver::{MemoryStore, contract};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let store = MemoryStore::new();
//! contract::all(&store, &store, 1_000_000).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use natsbridge_core::{Digest, Link, LinkLifetime, Object, PayloadType, Source};
use uuid::Uuid;

use crate::{BoxError, Downloader, FetchErrorKind, Receipt, StoreError, Stored, Target, Uploader};

/// The rule that a store breaks
#[derive(Debug, thiserror::Error)]
#[error("the store breaks the contract: {rule}")]
pub struct Violation {
    rule: String,
    #[source]
    source: Option<BoxError>,
}

type Checked = Result<(), Violation>;

fn broken(rule: impl Into<String>) -> Violation {
    Violation { rule: rule.into(), source: None }
}

fn because(rule: &'static str) -> impl FnOnce(BoxError) -> Violation {
    move |source| Violation { rule: rule.to_owned(), source: Some(source) }
}

fn hold(rule: &str, holds: bool) -> Checked {
    if holds { Ok(()) } else { Err(broken(rule)) }
}

/// Checks every rule except expiry; the largest payload has `large` bytes
///
/// # Errors
/// The first [`Violation`].
pub async fn all(up: &dyn Uploader, down: &dyn Downloader, large: u64) -> Result<(), Violation> {
    for size in [0, 1, 499_999, 500_000] {
        memory_round_trip(up, down, size).await?;
    }
    pieces_round_trip(up, down).await?;
    file_round_trip(up, down, 0).await?;
    file_round_trip(up, down, large).await?;
    hostile_names(up, down).await?;
    wrong_sizes_and_digests(up, down).await?;
    changed_files(up).await?;
    deletion(up, down).await?;
    reading_often(up, down).await?;
    one_shot(up, down).await?;
    concurrent_use(up, down).await
}

/// What is uploaded from memory comes back into memory
async fn memory_round_trip(up: &dyn Uploader, down: &dyn Downloader, size: usize) -> Checked {
    let bytes = pattern(size, 1);
    let (stored, link) = upload(up, "memory", &bytes, LinkLifetime::default()).await?;
    let downloaded = down
        .download(&link, Target::Memory)
        .await
        .map_err(|error| because("what was uploaded can be read")(error.into()))?;
    hold("the bytes in memory are those that were uploaded", downloaded.source == Source::Bytes(bytes.clone()))?;
    hold("the digest is the one of the bytes", downloaded.sha256 == Digest::of(&bytes))?;
    up.delete(&stored.receipt).await.map_err(deletion_failed)
}

/// What is uploaded in pieces comes back as one, whatever their sizes
async fn pieces_round_trip(up: &dyn Uploader, down: &dyn Downloader) -> Checked {
    let bytes = pattern(1_500_000, 8);
    let cuts = [0..1, 1..1, 1..700_001, 700_001..700_100, 700_100..1_500_000];
    let pieces = Source::Pieces(cuts.into_iter().map(|cut| bytes.slice(cut)).collect());
    let (stored, link) = upload_from(up, "pieces", &pieces, &bytes, LinkLifetime::default()).await?;
    let downloaded =
        down.download(&link, Target::Memory).await.map_err(|error| because("pieces can be read")(error.into()))?;
    hold("the bytes are those of the pieces", downloaded.source == Source::Bytes(bytes))?;
    up.delete(&stored.receipt).await.map_err(deletion_failed)
}

/// What is uploaded from a file comes back into a file, whatever its size
async fn file_round_trip(up: &dyn Uploader, down: &dyn Downloader, size: u64) -> Checked {
    let (from, to) = (Scratch::new(), Scratch::new());
    let sha256 = from.fill(size).await.map_err(|error| because("a temporary file can be written")(error.into()))?;
    let object = Object::new("file", PayloadType::Video, size);
    let source = Source::File { path: from.0.clone(), len: size };
    let stored = up.upload(&object, &source).await.map_err(|error| because("a file can be uploaded")(error.into()))?;
    hold("the size is the file's", stored.uploaded.size == size)?;
    hold("the digest is the file's", stored.uploaded.sha256 == sha256)?;
    let link = link_to(&stored, "file");
    let downloaded = down
        .download(&link, Target::File(to.0.clone()))
        .await
        .map_err(|error| because("an uploaded file can be read")(error.into()))?;
    hold("the file is where it was asked for", downloaded.source == Source::File { path: to.0.clone(), len: size })?;
    hold("the digest of the downloaded file is that of the uploaded one", downloaded.sha256 == sha256)?;
    let on_disk = digest_of(&to.0).await.map_err(|error| because("the downloaded file can be read")(error.into()))?;
    hold("the file on disk holds the bytes", on_disk == sha256)?;
    let again = down.download(&link, Target::File(to.0.clone())).await;
    hold("a file that exists is not overwritten", again.is_err_and(|error| error.kind() == FetchErrorKind::LocalFile))?;
    up.delete(&stored.receipt).await.map_err(deletion_failed)
}

/// A payload's name is any text and never a path
async fn hostile_names(up: &dyn Uploader, down: &dyn Downloader) -> Checked {
    for name in
        ["", "クリップ 🎬", "../../etc/passwd", "C:\\con", "a/b?c#d%e&f=g+h", "line\r\nX-Evil: 1\0", &"n".repeat(5000)]
    {
        let bytes = pattern(100, 2);
        let (stored, link) = upload(up, name, &bytes, LinkLifetime::default()).await?;
        let downloaded = down
            .download(&link, Target::Memory)
            .await
            .map_err(|error| because("a strange name does not disturb")(error.into()))?;
        hold("a strange name does not change the bytes", downloaded.source == Source::Bytes(bytes))?;
        up.delete(&stored.receipt).await.map_err(deletion_failed)?;
    }
    Ok(())
}

/// What is not what the envelope says is not handed out
async fn wrong_sizes_and_digests(up: &dyn Uploader, down: &dyn Downloader) -> Checked {
    let bytes = pattern(10_000, 3);
    let (stored, link) = upload(up, "wrong", &bytes, LinkLifetime::default()).await?;
    for size in [9_999, 10_001] {
        let mut wrong = link.clone();
        wrong.size = Some(size);
        let kind = down.download(&wrong, Target::Memory).await.map_err(|error| error.last());
        hold("another size than the envelope's is refused", kind == Err(FetchErrorKind::SizeMismatch))?;
    }
    let mut wrong = link;
    wrong.sha256 = Some(Digest::of(b"something else"));
    let file = Scratch::new();
    let kind = down.download(&wrong, Target::File(file.0.clone())).await.map_err(|error| error.last());
    hold("other bytes than the envelope's are refused", kind == Err(FetchErrorKind::Digest))?;
    hold("a refused file is removed", !file.0.exists())?;
    up.delete(&stored.receipt).await.map_err(deletion_failed)
}

/// A file that is no longer as long as the message says is not uploaded
async fn changed_files(up: &dyn Uploader) -> Checked {
    let file = Scratch::new();
    file.fill(1000).await.map_err(|error| because("a temporary file can be written")(error.into()))?;
    for len in [999, 1001] {
        let source = Source::File { path: file.0.clone(), len };
        let kind =
            up.upload(&Object::new("changed", PayloadType::Binary, len), &source).await.map_err(|error| error.kind());
        hold("a file that changed its length is refused", kind == Err(crate::StoreErrorKind::LocalFile))?;
    }
    Ok(())
}

/// What is deleted is gone, and deleting it again is no error
async fn deletion(up: &dyn Uploader, down: &dyn Downloader) -> Checked {
    let (stored, link) = upload(up, "deleted", &pattern(100, 4), LinkLifetime::default()).await?;
    for _ in 0..2 {
        up.delete(&stored.receipt).await.map_err(deletion_failed)?;
    }
    let kind = down.download(&link, Target::Memory).await.map_err(|error| error.kind());
    hold("what was deleted is not found", kind == Err(FetchErrorKind::NotFound))
}

/// A link that is not one-shot can be read again and again
async fn reading_often(up: &dyn Uploader, down: &dyn Downloader) -> Checked {
    let (stored, link) = upload(up, "often", &pattern(1000, 5), LinkLifetime::default()).await?;
    hold("a store does not make a link one-shot unasked, or says so", !stored.uploaded.one_shot)?;
    for _ in 0..3 {
        down.download(&link, Target::Memory)
            .await
            .map_err(|error| because("a link can be read often")(error.into()))?;
    }
    up.delete(&stored.receipt).await.map_err(deletion_failed)
}

/// A one-shot link can be read once; a store without one-shots says so
async fn one_shot(up: &dyn Uploader, down: &dyn Downloader) -> Checked {
    let (stored, link) =
        upload(up, "once", &pattern(1000, 6), LinkLifetime::one_shot(LinkLifetime::DEFAULT_TTL)).await?;
    down.download(&link, Target::Memory).await.map_err(|error| because("a one-shot can be read once")(error.into()))?;
    let again = down.download(&link, Target::Memory).await.map_err(|error| error.kind());
    if stored.uploaded.one_shot {
        hold("a one-shot that was read is consumed", again == Err(FetchErrorKind::Consumed))?;
    } else {
        hold("what is not called one-shot can be read again", again.is_ok())?;
    }
    up.delete(&stored.receipt).await.map_err(deletion_failed)
}

/// Many transfers at once do not disturb each other
async fn concurrent_use(up: &dyn Uploader, down: &dyn Downloader) -> Checked {
    let transfers = (0..20).map(|seed| async move {
        let bytes = pattern(20_000 + usize::from(seed), seed);
        let (stored, link) = upload(up, "concurrent", &bytes, LinkLifetime::default()).await?;
        let downloaded = down
            .download(&link, Target::Memory)
            .await
            .map_err(|error| because("concurrent transfers work")(error.into()))?;
        hold("concurrent transfers are kept apart", downloaded.source == Source::Bytes(bytes))?;
        up.delete(&stored.receipt).await.map_err(deletion_failed)
    });
    try_join_all(transfers).await.map(|_| ())
}

/// Checks that a link expires after `ttl`; `pass` waits for the given time, or advances a clock
///
/// # Errors
/// The first [`Violation`].
pub async fn expires<F>(
    up: &dyn Uploader,
    down: &dyn Downloader,
    ttl: Duration,
    pass: impl FnOnce(Duration) -> F,
) -> Result<(), Violation>
where
    F: Future<Output = ()>,
{
    let (stored, link) = upload(up, "expiring", &pattern(100, 7), LinkLifetime::expiring(ttl)).await?;
    hold("a store that expires links says when", stored.uploaded.expires_at.is_some())?;
    down.download(&link, Target::Memory)
        .await
        .map_err(|error| because("a link works before it expires")(error.into()))?;
    pass(ttl + Duration::from_millis(1100)).await;
    let kind = down.download(&link, Target::Memory).await.map_err(|error| error.kind());
    hold("an expired link is called expired", kind == Err(FetchErrorKind::Expired))?;
    up.delete(&stored.receipt).await.map_err(deletion_failed)
}

fn deletion_failed(error: StoreError) -> Violation {
    because("an upload can be deleted")(error.into())
}

/// Uploads bytes and checks what the store says of them
async fn upload(up: &dyn Uploader, name: &str, bytes: &Bytes, life: LinkLifetime) -> Result<(Stored, Link), Violation> {
    upload_from(up, name, &Source::Bytes(bytes.clone()), bytes, life).await
}

/// Uploads a source of these bytes and checks what the store says of them
async fn upload_from(
    up: &dyn Uploader,
    name: &str,
    source: &Source,
    bytes: &Bytes,
    life: LinkLifetime,
) -> Result<(Stored, Link), Violation> {
    let object = Object::new(name, PayloadType::Binary, source.len()).link_lifetime(life);
    let stored = up.upload(&object, source).await.map_err(|error| because("bytes can be uploaded")(error.into()))?;
    hold("the size is that of the bytes", stored.uploaded.size == source.len())?;
    hold("the digest is that of the bytes", stored.uploaded.sha256 == Digest::of(bytes))?;
    hold("a receipt does not show its secret", format!("{:?}", stored.receipt) == format!("{:?}", Receipt::new("")))?;
    let link = link_to(&stored, name);
    Ok((stored, link))
}

/// The link that an envelope would carry
fn link_to(stored: &Stored, name: &str) -> Link {
    let mut link = Link::new(name, &*stored.uploaded.url);
    // Zero means unknown in an envelope (`docs/specification.md`).
    link.size = Some(stored.uploaded.size).filter(|size| *size > 0);
    link.sha256 = Some(stored.uploaded.sha256);
    link.expires_at = stored.uploaded.expires_at;
    link.one_shot = stored.uploaded.one_shot;
    link
}

/// Bytes that differ by seed and repeat at no power of two
fn pattern(size: usize, seed: u8) -> Bytes {
    (0_u8..251).map(|byte| byte ^ seed).cycle().take(size).collect()
}

/// A temporary file's path; what is there in the end is removed
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("natsbridge-contract-{}", Uuid::new_v4())))
    }

    async fn fill(&self, size: u64) -> std::io::Result<Digest> {
        use tokio::io::AsyncWriteExt as _;
        let block = pattern(251 * 4096, 8);
        let mut file = tokio::fs::File::create_new(&self.0).await?;
        let mut digest = natsbridge_core::DigestStream::default();
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            file.write_all(&block[..room]).await?;
            digest.update(&block[..room]);
            left -= u64::try_from(room).unwrap_or(left);
        }
        file.flush().await?;
        Ok(digest.finish())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Most are gone already or never came to be.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn digest_of(path: &Path) -> std::io::Result<Digest> {
    use tokio::io::AsyncReadExt as _;
    let mut file = tokio::fs::File::open(path).await?;
    let mut digest = natsbridge_core::DigestStream::default();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(digest.finish()),
            n => digest.update(&buffer[..n]),
        }
    }
}
