//! Where a download goes while it is incomplete: memory or a temporary file, its digest computed on the way.

use std::io::{self, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use natsbridge_core::{Digest, DigestStream, Downloaded, Source};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};

use crate::Target;

/// Bytes collected before they are written to a file
const BUFFER: usize = 256 * 1024;
/// Most bytes of memory that are taken in advance on a stranger's word
const MAX_AHEAD: u64 = 64 * 1024 * 1024;

/// A download's bytes so far
pub(crate) struct Sink {
    place: Place,
    digest: DigestStream,
    received: u64,
}

enum Place {
    Memory(Vec<u8>),
    File(BufWriter<File>, Temporary),
}

/// A file that is removed unless it is kept
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

impl Sink {
    /// Makes room; a file must not exist yet
    pub(crate) async fn open(target: Target, expected: Option<u64>) -> io::Result<Self> {
        let place = match target {
            Target::Memory => {
                let ahead = expected.unwrap_or(0).min(MAX_AHEAD);
                Place::Memory(Vec::with_capacity(usize::try_from(ahead).unwrap_or(0)))
            }
            Target::File(path) => {
                let file = File::options().write(true).create_new(true).open(&path).await?;
                Place::File(BufWriter::with_capacity(BUFFER, file), Temporary { path, keep: false })
            }
        };
        Ok(Self { place, digest: DigestStream::default(), received: 0 })
    }

    /// How many bytes there are
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.received = self.received.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        match &mut self.place {
            Place::Memory(memory) => memory.extend_from_slice(bytes),
            Place::File(file, _) => file.write_all(bytes).await?,
        }
        Ok(())
    }

    /// Forgets everything and starts from zero
    pub(crate) async fn restart(&mut self) -> io::Result<()> {
        if self.received == 0 {
            return Ok(());
        }
        self.digest = DigestStream::default();
        self.received = 0;
        match &mut self.place {
            Place::Memory(memory) => memory.clear(),
            Place::File(file, _) => {
                file.seek(SeekFrom::Start(0)).await?;
                file.get_ref().set_len(0).await?;
            }
        }
        Ok(())
    }

    /// The digest of the bytes so far
    pub(crate) fn digest(&self) -> Digest {
        self.digest.clone().finish()
    }

    /// Hands out what was received; the file is the caller's from here on
    pub(crate) async fn finish(self) -> io::Result<Downloaded> {
        let sha256 = self.digest.finish();
        let source = match self.place {
            Place::Memory(memory) => Source::Bytes(Bytes::from(memory)),
            Place::File(mut file, mut temporary) => {
                file.flush().await?;
                temporary.keep = true;
                Source::File { path: temporary.path.clone(), len: self.received }
            }
        };
        Ok(Downloaded::new(source, sha256))
    }
}
