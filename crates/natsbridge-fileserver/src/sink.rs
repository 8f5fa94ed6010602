//! The destination of a running download: memory or a temporary file, with its digest.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use natsbridge_core::{Digest, DigestStream, Downloaded, Source};
use tokio::task::spawn_blocking;

use crate::Target;
use crate::growing::GrowingFile;
use crate::worker::{Stage, Worker};

/// Bytes in one batch, which is digested and written in one go
const BATCH: usize = 256 * 1024;
/// Most pieces in a batch, so that tiny chunks do not fill the memory with their overhead
const PIECES: usize = 1024;
/// Most bytes of memory that are reserved for an announced size; the same again when these have arrived
const MAX_AHEAD: usize = 64 * 1024 * 1024;

/// The bytes of a download so far
pub(crate) struct Sink {
    /// Set unless the download goes to a file
    memory: Option<Vec<u8>>,
    temporary: Option<Temporary>,
    /// Announced size in bytes, 0 if unknown
    expected: usize,
    received: u64,
    batch: Vec<Bytes>,
    batched: usize,
    digest: Worker<DigestStream>,
    /// Set if the download goes to a file; it is written while the digest is made, not after it
    file: Option<Worker<GrowingFile>>,
}

impl Stage for DigestStream {
    fn process(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for piece in batch {
            self.update(piece);
        }
        Ok(())
    }
}

impl Stage for GrowingFile {
    fn process(&mut self, batch: &[Bytes]) -> io::Result<()> {
        self.write(batch)
    }
}

/// A file that is removed on drop unless it is kept
struct Temporary {
    path: PathBuf,
    keep: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(error = %error, path = %self.path.display(), "an unfinished download could not be removed");
        }
    }
}

/// Options for a new file, which is private if its folder is private
fn options_in(folder: Option<&Path>) -> OpenOptions {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        let mode = folder.and_then(|folder| folder.metadata().ok()).map(|metadata| metadata.permissions().mode());
        if mode.is_some_and(|mode| mode & 0o077 == 0) {
            options.mode(0o600);
        }
    }
    #[cfg(not(unix))]
    let _ = folder;
    options
}

impl Sink {
    /// Opens the destination; a file must not exist yet
    pub(crate) async fn open(target: Target) -> io::Result<Self> {
        let (memory, temporary, file) = match target {
            Target::Memory => (Some(Vec::new()), None, None),
            Target::File(path) => {
                let (file, path) =
                    spawn_blocking(move || options_in(path.parent()).open(&path).map(|file| (file, path))).await??;
                (None, Some(Temporary { path, keep: false }), Some(GrowingFile::new(file)))
            }
        };
        Ok(Self {
            memory,
            temporary,
            expected: 0,
            received: 0,
            batch: Vec::new(),
            batched: 0,
            digest: Worker::new(DigestStream::default()),
            file: file.map(Worker::new),
        })
    }

    /// Sets the announced size, so that memory or disk space is reserved in advance
    pub(crate) fn expect(&mut self, size: u64) {
        self.expected = usize::try_from(size).unwrap_or(usize::MAX);
        if let Some(file) = &self.file {
            file.change(|file| file.expect(size));
        }
    }

    /// The number of received bytes
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Adds the next bytes
    pub(crate) async fn push(&mut self, piece: Bytes) -> io::Result<()> {
        self.received = self.received.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if let Some(memory) = &mut self.memory {
            make_room(memory, piece.len(), self.expected);
            memory.extend_from_slice(&piece);
        }
        self.batched = self.batched.saturating_add(piece.len());
        self.batch.push(piece);
        if self.batched >= BATCH || self.batch.len() >= PIECES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.batched = 0;
        if let Some(file) = &self.file {
            file.send(batch.clone()).await?;
        }
        self.digest.send(batch).await
    }

    /// Discards all bytes and starts from zero
    pub(crate) async fn restart(&mut self) -> io::Result<()> {
        if self.received == 0 {
            return Ok(());
        }
        self.digest.wait().await?;
        self.digest.put_back(DigestStream::default());
        if let Some(worker) = &self.file {
            let mut file = worker.wait().await?;
            worker.put_back(spawn_blocking(move || file.restart().map(|()| file)).await??);
        }
        if let Some(memory) = &mut self.memory {
            memory.clear();
        }
        self.batch.clear();
        (self.batched, self.received) = (0, 0);
        Ok(())
    }

    /// The digest of the bytes so far
    pub(crate) async fn digest(&mut self) -> io::Result<Digest> {
        if !self.batch.is_empty() {
            self.flush().await?;
        }
        let digest = self.digest.wait().await?;
        self.digest.put_back(digest.clone());
        Ok(digest.finish())
    }

    /// Returns the finished download; the caller now owns the file
    pub(crate) async fn finish(mut self) -> io::Result<Downloaded> {
        let sha256 = self.digest().await?;
        if let Some(worker) = &self.file {
            let mut file = worker.wait().await?;
            if file.has_spare() {
                // The length is that of the received bytes, not the announced one.
                spawn_blocking(move || file.finish()).await?;
            }
        }
        let source = match (self.memory, self.temporary) {
            (_, Some(mut temporary)) => {
                temporary.keep = true;
                Source::File { path: temporary.path.clone(), len: self.received }
            }
            (memory, None) => Source::Bytes(memory.unwrap_or_default().into()),
        };
        Ok(Downloaded::new(source, sha256))
    }
}

/// Reserves memory for the announced size, but at most as much as has arrived, or [`MAX_AHEAD`]
fn make_room(memory: &mut Vec<u8>, needed: usize, expected: usize) {
    if memory.capacity() - memory.len() >= needed {
        return;
    }
    let missing = expected.saturating_sub(memory.len());
    if missing < needed {
        memory.reserve(needed);
    } else {
        memory.reserve_exact(missing.min(memory.len().max(MAX_AHEAD)).max(needed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn write_failure_is_reported_and_blocks_no_sender() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("read-only");
        std::fs::write(&path, "").unwrap();
        let worker = Worker::new(GrowingFile::new(File::open(path).unwrap()));
        let given = async {
            loop {
                if let Err(error) = worker.send(vec![Bytes::from_static(b"payload")]).await {
                    break error;
                }
            }
        };
        let error = tokio::time::timeout(std::time::Duration::from_secs(10), given).await.unwrap();
        assert!(error.raw_os_error().is_some(), "{error}");
        assert!(worker.wait().await.is_err());
    }

    #[test]
    fn memory_is_reserved_once_and_never_far_ahead_of_the_data() {
        let mut memory = Vec::new();
        make_room(&mut memory, 10, 1000);
        assert_eq!(memory.capacity(), 1000);
        let mut memory = Vec::new();
        make_room(&mut memory, 10, usize::MAX);
        assert_eq!(memory.capacity(), MAX_AHEAD);
        memory.resize(MAX_AHEAD, 0);
        make_room(&mut memory, 10, MAX_AHEAD + 1000);
        assert_eq!(memory.capacity(), MAX_AHEAD + 1000);
        let mut memory = vec![0; 1000];
        make_room(&mut memory, 10, 0);
        assert!(memory.capacity() >= 1010, "more than was expected is taken too");
    }
}
