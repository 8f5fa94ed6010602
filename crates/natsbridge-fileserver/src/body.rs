//! Reads a source as chunks for a request body, and computes its digests and length at the same time.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream::try_unfold;
use futures_util::{Stream, TryStreamExt as _};
use natsbridge_core::{Digest, DigestStream, Object, Source};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::checksum::Checksum;

/// Bytes in one chunk: large enough that reading a file costs few calls, small enough to keep a transfer's memory low
///
/// Two exist at a time: one is read and digested while the other is sent.
const CHUNK: usize = 512 * 1024;

/// The digests of a whole source
#[derive(Debug, Clone)]
pub(crate) struct Sums {
    pub(crate) sha256: Digest,
    /// The one that the server will answer with
    pub(crate) checksum: Option<Checksum>,
}

#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    done: Option<Sums>,
    failed: Option<io::Error>,
}

/// Observes a source while its chunks are being sent
#[derive(Debug, Clone)]
pub(crate) struct Reading(Arc<Mutex<Tally>>);

impl Reading {
    /// Opens a source: the watcher, and the chunks to send
    ///
    /// The checksum, if any, is computed besides the digest. A file that does not have the length it had when the message
    /// was made is refused, here or at its last chunk.
    pub(crate) async fn open(
        source: &Source,
        checksum: Option<Checksum>,
    ) -> io::Result<(Self, impl Stream<Item = io::Result<Bytes>> + Send + use<>)> {
        let watcher = Self(Arc::default());
        let reading = watcher.clone();
        let source = source.clone();
        let reader = spawn_blocking(move || Reader::open(source, checksum)).await??;
        let reader = if reader.left == 0 {
            reading.finish(reader);
            None
        } else {
            Some(reader.ahead())
        };
        let chunks = try_unfold((reader, reading), |(reader, reading)| async move {
            let Some(reader) = reader else { return Ok(None) };
            match reader.await.map_err(io::Error::from).and_then(|read| read) {
                Ok((reader, chunk)) => {
                    reading.lock().sent += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                    // Known with the last chunk and not after it: who sends a body of known length asks for no more.
                    let reader = if reader.left == 0 {
                        reading.finish(reader);
                        None
                    } else {
                        Some(reader.ahead())
                    };
                    Ok(Some((chunk, (reader, reading))))
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

    /// The digests, after the whole source was read
    pub(crate) fn sums(&self) -> Option<Sums> {
        self.lock().done.clone()
    }

    /// The number of bytes sent so far
    pub(crate) fn sent(&self) -> u64 {
        self.lock().sent
    }

    /// Why reading failed, if it did; this is no failure of the server
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.lock().failed.take()
    }

    fn finish(&self, reader: Reader) {
        self.lock().done = Some(reader.sums());
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The chunks of one attempt to upload `object`, reported as they are taken
pub(crate) fn report_progress<S: Stream<Item = io::Result<Bytes>> + Send>(
    chunks: S,
    object: &Object,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<S> {
    let (object, mut done) = (object.clone(), 0_u64);
    object.report(done);
    chunks.inspect_ok(move |chunk| {
        done = done.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        object.report(done);
    })
}

/// A source that is being read, and its digests so far; all methods may block
struct Reader {
    place: Place,
    left: u64,
    sha256: DigestStream,
    checksum: Option<Checksum>,
}

enum Place {
    /// Pieces that are yet to be read, none of them empty
    Memory(VecDeque<Bytes>),
    File(File),
}

impl Reader {
    fn open(source: Source, checksum: Option<Checksum>) -> io::Result<Self> {
        let left = source.len();
        let place = match source {
            Source::Bytes(bytes) => Place::Memory(VecDeque::from([bytes])),
            Source::Pieces(pieces) => Place::Memory(pieces.iter().filter(|piece| !piece.is_empty()).cloned().collect()),
            Source::File { path, len } => {
                let file = File::open(path)?;
                if file.metadata()?.len() != len {
                    return Err(changed());
                }
                Place::File(file)
            }
        };
        Ok(Self { place, left, sha256: DigestStream::default(), checksum })
    }

    /// Reads the next chunk while the one before it is sent
    fn ahead(mut self) -> JoinHandle<io::Result<(Self, Bytes)>> {
        spawn_blocking(move || self.next().map(|chunk| (self, chunk)))
    }

    /// The next chunk of a source that has more
    fn next(&mut self) -> io::Result<Bytes> {
        let chunk = match &mut self.place {
            Place::Memory(pieces) => {
                let mut piece = pieces.pop_front().unwrap_or_default();
                let chunk = piece.split_to(piece.len().min(CHUNK));
                if !piece.is_empty() {
                    pieces.push_front(piece);
                }
                chunk
            }
            Place::File(file) => {
                let mut chunk = vec![0; usize::try_from(self.left).unwrap_or(usize::MAX).min(CHUNK)];
                file.read_exact(&mut chunk).map_err(ended_early)?;
                chunk.into()
            }
        };
        self.sha256.update(&chunk);
        if let Some(checksum) = &mut self.checksum {
            checksum.update(&chunk);
        }
        self.left = self.left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if let Place::File(file) = &mut self.place
            && self.left == 0
            && file.read(&mut [0])? != 0
        {
            return Err(changed());
        }
        Ok(chunk)
    }

    fn sums(self) -> Sums {
        Sums { sha256: self.sha256.finish(), checksum: self.checksum }
    }
}

fn ended_early(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { changed() } else { error }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file's length has changed since the message was made")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(source: &Source) -> io::Result<(Vec<u8>, Reading)> {
        let (reading, chunks) = Reading::open(source, None).await?;
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
            let cut = len / 3;
            let pieces = [&bytes[..cut], &[], &bytes[cut..]].map(Bytes::copy_from_slice);
            for source in [Source::from(bytes.clone()), Source::Pieces(pieces.into()), file] {
                let (seen, reading) = read(&source).await?;
                assert_eq!(seen, bytes);
                assert_eq!(reading.sums().map(|sums| sums.sha256), Some(Digest::of(&bytes)));
            }
        }
        let (reading, chunks) = Reading::open(&Source::from("abc"), Some(Checksum::md5())).await?;
        chunks.try_for_each(|_| std::future::ready(Ok(()))).await?;
        let md5 = reading.sums().and_then(|sums| sums.checksum);
        assert_eq!(md5.map(|md5| md5.finish()).as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        Ok(())
    }

    #[tokio::test]
    async fn bytes_in_memory_are_not_copied() -> io::Result<()> {
        let bytes = Bytes::from(vec![7; CHUNK * 2]);
        let (_, chunks) = Reading::open(&Source::Bytes(bytes.clone()), None).await?;
        let chunks: Vec<Bytes> = chunks.try_collect().await?;
        assert_eq!(
            chunks.iter().map(|chunk| chunk.as_ptr()).collect::<Vec<_>>(),
            [bytes.as_ptr(), bytes[CHUNK..].as_ptr()]
        );
        Ok(())
    }

    #[tokio::test]
    async fn file_that_changed_its_length_is_refused() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        std::fs::write(&path, vec![1; CHUNK * 2])?;
        let len = u64::try_from(CHUNK * 2).unwrap_or(0);
        for wrong in [len - 1, len + 1] {
            let wrong = Source::File { path: path.clone(), len: wrong };
            assert!(Reading::open(&wrong, None).await.is_err());
        }
        for change in [CHUNK * 3, CHUNK] {
            std::fs::write(&path, vec![1; CHUNK * 2])?;
            let source = Source::File { path: path.clone(), len };
            let (reading, chunks) = Reading::open(&source, None).await?;
            std::fs::write(&path, vec![1; change])?;
            assert!(chunks.try_collect::<Vec<_>>().await.is_err(), "{change} bytes after the start");
            assert!(reading.failure().is_some() && reading.sums().is_none());
        }
        Ok(())
    }
}
