//! Reading a source once, in order, as chunks for a request body, with its digests and length computed in that pass.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::try_unfold;
use md5::Digest as _;
use natsbridge_core::{Digest, DigestStream, Source};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// Bytes in one chunk: large enough that reading a file costs few calls, small enough to keep a transfer's memory low
const CHUNK: usize = 256 * 1024;

/// What was read when all was read
#[derive(Debug, Clone)]
pub(crate) struct Sums {
    pub(crate) sha256: Digest,
    /// Lower-case hex, as Plik writes it
    pub(crate) md5: String,
}

#[derive(Debug, Default)]
struct Tally {
    sha256: DigestStream,
    md5: md5::Md5,
    read: u64,
    done: Option<Sums>,
    failed: Option<io::Error>,
}

/// Watches a source being read by somebody else
#[derive(Debug, Clone)]
pub(crate) struct Reading(Arc<Mutex<Tally>>);

enum Reader {
    Bytes(Bytes),
    File(File),
}

impl Reading {
    /// Opens a source: the watcher, and the chunks to send
    ///
    /// A file that does not have the length it had when the message was made is refused, here or at its last chunk.
    pub(crate) async fn open(
        source: &Source,
    ) -> io::Result<(Self, impl Stream<Item = io::Result<Bytes>> + Send + use<>)> {
        let reading = Self(Arc::default());
        let reader = match source {
            Source::Bytes(bytes) => Reader::Bytes(bytes.clone()),
            Source::File { path, len } => {
                let mut file = File::open(path).await?;
                file.set_max_buf_size(CHUNK);
                if file.metadata().await?.len() != *len {
                    return Err(changed());
                }
                Reader::File(file)
            }
        };
        let left = source.len();
        if left == 0 {
            reading.finish();
        }
        let watcher = reading.clone();
        let chunks = try_unfold((reader, left, reading), |(mut reader, left, reading)| async move {
            if left == 0 {
                return Ok(None);
            }
            match next(&mut reader, left).await {
                Ok(chunk) => {
                    let left = reading.take(&chunk, left);
                    Ok(Some((chunk, (reader, left, reading))))
                }
                Err(error) => {
                    let shown = io::Error::new(error.kind(), error.to_string());
                    reading.lock().failed = Some(error);
                    Err(shown)
                }
            }
        });
        Ok((watcher, chunks))
    }

    /// The digests, once all was read
    pub(crate) fn sums(&self) -> Option<Sums> {
        self.lock().done.clone()
    }

    /// How many bytes were read so far
    pub(crate) fn read(&self) -> u64 {
        self.lock().read
    }

    /// Why reading failed, if it did: the sender's own fault and not the server's
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.lock().failed.take()
    }

    fn take(&self, chunk: &[u8], left: u64) -> u64 {
        let mut tally = self.lock();
        tally.sha256.update(chunk);
        tally.md5.update(chunk);
        let len = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        tally.read = tally.read.saturating_add(len);
        drop(tally);
        let left = left.saturating_sub(len);
        // Known with the last chunk and not after it: who sends a body of known length does not ask for more.
        if left == 0 {
            self.finish();
        }
        left
    }

    fn finish(&self) {
        let mut tally = self.lock();
        let sha256 = std::mem::take(&mut tally.sha256).finish();
        let md5 = std::mem::take(&mut tally.md5).finalize();
        tally.done = Some(Sums { sha256, md5: md5.iter().map(|byte| format!("{byte:02x}")).collect() });
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next chunk of a source with `left` bytes to come
async fn next(reader: &mut Reader, left: u64) -> io::Result<Bytes> {
    let room = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
    match reader {
        Reader::Bytes(bytes) => Ok(bytes.split_to(room)),
        Reader::File(file) => {
            let mut chunk = BytesMut::with_capacity(room);
            while chunk.len() < room {
                // The buffer may have more room than was asked for, so the read is limited by hand.
                let missing = u64::try_from(room - chunk.len()).unwrap_or(u64::MAX);
                if (&mut *file).take(missing).read_buf(&mut chunk).await? == 0 {
                    return Err(changed());
                }
            }
            if left == u64::try_from(room).unwrap_or(u64::MAX) && file.read(&mut [0]).await? != 0 {
                return Err(changed());
            }
            Ok(chunk.freeze())
        }
    }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file's length has changed since the message was made")
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    async fn read(source: &Source) -> io::Result<(Vec<u8>, Reading)> {
        let (reading, chunks) = Reading::open(source).await?;
        let bytes = chunks.try_fold(Vec::new(), |mut all, chunk| async move {
            assert!(chunk.len() <= CHUNK);
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        Ok((bytes.await?, reading))
    }

    #[tokio::test]
    async fn memory_and_files_are_read_whole_with_their_digests() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        for len in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17] {
            let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect();
            let path = folder.path().join(len.to_string());
            std::fs::write(&path, &bytes)?;
            let file = Source::File { path, len: u64::try_from(len).unwrap_or(0) };
            for source in [Source::from(bytes.clone()), file] {
                let (seen, reading) = read(&source).await?;
                assert_eq!(seen, bytes);
                assert_eq!(reading.sums().map(|sums| sums.sha256), Some(Digest::of(&bytes)));
            }
        }
        let (_, reading) = read(&Source::from("abc")).await?;
        assert_eq!(reading.sums().map(|sums| sums.md5).as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        Ok(())
    }

    #[tokio::test]
    async fn bytes_in_memory_are_not_copied() -> io::Result<()> {
        let bytes = Bytes::from(vec![7; CHUNK * 2]);
        let (_, chunks) = Reading::open(&Source::Bytes(bytes.clone())).await?;
        let chunks: Vec<Bytes> = chunks.try_collect().await?;
        assert_eq!(
            chunks.iter().map(|chunk| chunk.as_ptr()).collect::<Vec<_>>(),
            [bytes.as_ptr(), bytes[CHUNK..].as_ptr()]
        );
        Ok(())
    }

    #[tokio::test]
    async fn a_file_that_changed_its_length_is_refused() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        std::fs::write(&path, vec![1; CHUNK * 2])?;
        let len = u64::try_from(CHUNK * 2).unwrap_or(0);
        for wrong in [len - 1, len + 1] {
            assert!(Reading::open(&Source::File { path: path.clone(), len: wrong }).await.is_err());
        }
        for change in [CHUNK * 3, CHUNK] {
            std::fs::write(&path, vec![1; CHUNK * 2])?;
            let (reading, chunks) = Reading::open(&Source::File { path: path.clone(), len }).await?;
            std::fs::write(&path, vec![1; change])?;
            assert!(chunks.try_collect::<Vec<_>>().await.is_err(), "{change} bytes after the start");
            assert!(reading.failure().is_some() && reading.sums().is_none());
        }
        Ok(())
    }
}
