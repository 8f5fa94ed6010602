//! A file's bytes on their way to a client: few of them in memory, and none when the download is over.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use memmap2::MmapMut;
use tokio::task::JoinHandle;

use super::{api::App, claims::Claim, connection::Outlet, error::Refusal, meter};

/// Bytes read from disk and handed on at a time; a download has at most one such piece in memory
const PIECE: usize = 32 * 1024;

/// The memory of a download's piece, kept for its next one
///
/// It is mapped, so that the system has it back when the download ends: an allocator keeps what a thousand slow
/// readers needed once.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Option<MmapMut>>>);

/// Some bytes of the file, in memory that goes back to where it came from
#[derive(Debug)]
struct Piece {
    map: Option<MmapMut>,
    length: usize,
    memory: Memory,
}

impl Memory {
    /// Room for the next piece, with `left` bytes to go
    fn piece(&self, left: u64) -> io::Result<Piece> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let map = kept.map_or_else(|| MmapMut::map_anon(PIECE), Ok)?;
        Ok(Piece { map: Some(map), length: usize::try_from(left).unwrap_or(PIECE).min(PIECE), memory: self.clone() })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.map.as_deref().and_then(|map| map.get(..self.length)).unwrap_or_default()
    }
}

impl AsMut<[u8]> for Piece {
    fn as_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().and_then(|map| map.get_mut(..self.length)).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        *self.memory.0.lock().unwrap_or_else(PoisonError::into_inner) = self.map.take();
    }
}

/// A file's bytes in pieces; one exists at a time, and none while the connection has bytes that the client did not take
pub(super) struct Pieces {
    app: Arc<App>,
    content: Arc<File>,
    outlet: Outlet,
    memory: Memory,
    reading: Option<JoinHandle<io::Result<Piece>>>,
    /// Where the next piece begins
    at: u64,
    /// Where the last one ends
    end: u64,
    claim: Option<Arc<Claim>>,
}

impl Pieces {
    /// The part's bytes, of a one-shot if there is a claim
    pub(super) async fn new(
        app: Arc<App>,
        outlet: Outlet,
        content: File,
        claim: Option<Arc<Claim>>,
        part: Range<u64>,
    ) -> Result<Self, Refusal> {
        let (content, memory) = (Arc::new(content), Memory::default());
        let mut pieces = Self { app, content, outlet, memory, reading: None, at: part.start, end: part.end, claim };
        if part.is_empty() {
            meter::downloaded(0, true);
            // An empty body is never asked for, so its end is now.
            if let Some(claim) = pieces.claim.take() {
                let given = move |app: &App| {
                    claim.mark(&app.store)?;
                    claim.given();
                    Ok(())
                };
                pieces.app.disk(given).await?;
            }
        }
        Ok(pieces)
    }

    /// Reads the next piece: at once if the system has it in memory, else on a thread where that may block
    fn read(&mut self) -> Option<io::Result<Piece>> {
        let (content, at) = (Arc::clone(&self.content), self.at);
        let mut piece = match self.memory.piece(self.end - at) {
            Ok(piece) => piece,
            Err(error) => return Some(Err(error)),
        };
        self.at += u64::try_from(piece.length).unwrap_or_default();
        let claim = if self.at == self.end { self.claim.clone() } else { None };
        if claim.is_none() && read_cached(&content, at, piece.as_mut()) {
            return Some(Ok(piece));
        }
        let app = Arc::clone(&self.app);
        self.reading = Some(self.app.jobs.spawn_blocking(move || {
            let mut content = &*content;
            content.seek(SeekFrom::Start(at))?;
            content.read_exact(piece.as_mut())?;
            if let Some(claim) = claim {
                claim.mark(&app.store)?;
            }
            Ok(piece)
        }));
        None
    }
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        std::task::ready!(self.outlet.poll_empty(cx));
        if self.reading.is_none() && self.at == self.end {
            return Poll::Ready(None);
        }
        let cached = if self.reading.is_none() { self.read() } else { None };
        let read = match (cached, self.reading.as_mut()) {
            (Some(read), _) => Ok(read),
            (None, Some(reading)) => std::task::ready!(Pin::new(reading).poll(cx)),
            (None, None) => return Poll::Ready(None),
        };
        self.reading = None;
        match read.map_err(io::Error::other).and_then(|outcome| outcome) {
            Ok(piece) => {
                if self.at == self.end
                    && let Some(claim) = self.claim.take()
                {
                    claim.given();
                }
                meter::downloaded(piece.length, self.at == self.end);
                self.outlet.fill();
                Poll::Ready(Some(Ok(Bytes::from_owner(piece))))
            }
            Err(error) => {
                tracing::error!(%error, "stored file can't be read; the download is cut");
                self.at = self.end;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

/// Fills the piece from what the system holds in memory; false if that is not all of it
#[cfg(target_os = "linux")]
fn read_cached(content: &File, at: u64, piece: &mut [u8]) -> bool {
    let wanted = piece.len();
    let mut slices = [io::IoSliceMut::new(piece)];
    rustix::io::preadv2(content, &mut slices, at, rustix::io::ReadWriteFlags::NOWAIT).is_ok_and(|read| read == wanted)
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: u64, _: &mut [u8]) -> bool {
    false
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let Some(claim) = &self.claim {
            claim.cut();
        }
    }
}
