//! One payload that arrived, before or after its download: described at once, read, saved or opened when asked for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use natsbridge_core::{Arrival, Digest, Download, Metadata, Part, PayloadError, PayloadType, Transport, Value};
use natsbridge_fileserver::{Downloader, FetchError, FetchErrorKind, Target};

use crate::loading::LoadingTime;
use crate::unfinished::Unfinished;
use crate::{Error, perform, save};

/// A payload of a received message: what it is now, its bytes when they are asked for
///
/// A direct payload is at hand and checked. A link is downloaded when its value, bytes or file is first asked for, and
/// handed out only when its size and digest are right. The downloads of one message may take
/// [`Config::message_timeout`](crate::Config::message_timeout) together; later ones fail with the code `timeout`.
#[derive(Debug)]
pub struct Payload(State);

#[derive(Debug)]
enum State {
    Ready { part: Part, transport: Transport },
    Link { download: Box<Download>, downloader: Arc<dyn Downloader>, time: LoadingTime },
    Failed { payload_type: PayloadType, transport: Transport, error: PayloadError },
}

impl Payload {
    /// The payloads of a message, whose links share the time of `limit`
    pub(crate) fn all(arrivals: Vec<Arrival>, downloader: &Arc<dyn Downloader>, limit: Duration) -> Vec<Self> {
        let mut shared = None;
        let handle = |arrival| match arrival {
            Arrival::Ready(part) => State::Ready { part, transport: Transport::Direct },
            Arrival::Download(download) => {
                let time = shared.get_or_insert_with(|| LoadingTime::new(limit)).clone();
                time.allow(download.link().size);
                State::Link { download: Box::new(download), downloader: Arc::clone(downloader), time }
            }
            Arrival::Failed { payload_type, transport, error } => State::Failed { payload_type, transport, error },
        };
        arrivals.into_iter().map(handle).map(Self).collect()
    }

    /// The sender's name for it; any Unicode, never a path
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            State::Ready { part, .. } => part.name(),
            State::Link { download, .. } => download.name(),
            State::Failed { error, .. } => &error.dataname,
        }
    }

    /// What it is
    #[must_use]
    pub const fn payload_type(&self) -> PayloadType {
        match &self.0 {
            State::Ready { part, .. } => part.payload_type(),
            State::Link { download, .. } => download.payload_type(),
            State::Failed { payload_type, .. } => *payload_type,
        }
    }

    /// How it came
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match &self.0 {
            State::Ready { transport, .. } | State::Failed { transport, .. } => *transport,
            State::Link { .. } => Transport::Link,
        }
    }

    /// Size in bytes, serialised; `None` for a link whose sender did not say
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match &self.0 {
            State::Ready { part, .. } => Some(part.size()),
            State::Link { download, .. } => download.link().size,
            State::Failed { .. } => None,
        }
    }

    /// Digest of the serialised payload: computed for what is in memory, the envelope's for a link
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        match &self.0 {
            State::Ready { part, .. } => part.bytes().map(|bytes| Digest::of(bytes)),
            State::Link { download, .. } => download.link().sha256,
            State::Failed { .. } => None,
        }
    }

    /// Metadata as the sender wrote it; `None` for a payload that failed its check
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        match &self.0 {
            State::Ready { part, .. } => Some(part.metadata()),
            State::Link { download, .. } => Some(download.metadata()),
            State::Failed { .. } => None,
        }
    }

    /// The payload, where it is in memory already
    #[must_use]
    pub const fn part(&self) -> Option<&Part> {
        match &self.0 {
            State::Ready { part, .. } => Some(part),
            State::Link { .. } | State::Failed { .. } => None,
        }
    }

    /// Downloads a link into memory, so that [`Payload::part`] has it; nothing to do for a direct payload
    ///
    /// # Errors
    /// [`Error::Fetch`] and [`Error::Payload`], naming the payload; a failed download can be asked for again.
    pub async fn fetch(&mut self) -> Result<(), Error> {
        match &self.0 {
            State::Ready { .. } => Ok(()),
            State::Failed { error, .. } => Err(error.clone().into()),
            State::Link { download, downloader, time } => {
                let part = perform::downloaded((**download).clone(), downloader.as_ref(), time).await?;
                self.0 = State::Ready { part, transport: Transport::Link };
                Ok(())
            }
        }
    }

    /// The payload, downloaded into memory where it came as a link
    ///
    /// # Errors
    /// As [`Payload::fetch`].
    pub async fn into_part(self) -> Result<Part, Error> {
        match self.0 {
            State::Ready { part, .. } => Ok(part),
            State::Failed { error, .. } => Err(error.into()),
            State::Link { download, downloader, time } => {
                perform::downloaded(*download, downloader.as_ref(), &time).await
            }
        }
    }

    /// The serialised bytes
    ///
    /// # Errors
    /// As [`Payload::fetch`].
    pub async fn bytes(self) -> Result<Bytes, Error> {
        perform::bytes_of(&self.into_part().await?).await
    }

    /// The value
    ///
    /// # Errors
    /// As [`Payload::fetch`]; [`Error::Payload`] when the bytes are not what the type says.
    pub async fn value(self) -> Result<Value, Error> {
        Ok(self.into_part().await?.into_value()?)
    }

    /// Saves the serialised bytes under a safe form of the payload's name in `dir`, without holding a link in memory
    ///
    /// The file appears under its name only when it is whole and checked. A name that is taken gets a number. A folder that
    /// is missing is made. What a program left there that was killed while it saved is removed
    /// ([`remove_unfinished`](crate::remove_unfinished)).
    ///
    /// # Errors
    /// As [`Payload::fetch`]; [`Error::File`], which names the folder, when it can't be written.
    pub async fn save(&self, dir: impl AsRef<Path> + Send) -> Result<Saved, Error> {
        let dir = dir.as_ref();
        let (file, size, sha256) = self.spooled(dir, Unfinished::new(dir)).await?;
        let path =
            save::place(file, dir, self.name(), self.payload_type()).map_err(|error| self.unwritable(dir, error))?;
        Ok(Saved { path, size, sha256 })
    }

    /// Saves the serialised bytes as the file `path`, which must not exist yet
    ///
    /// # Errors
    /// As [`Payload::save`].
    pub async fn save_as(&self, path: impl AsRef<Path> + Send) -> Result<Saved, Error> {
        let path = path.as_ref();
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let (file, size, sha256) = self.spooled(dir, Unfinished::new(dir)).await?;
        file.place(path).map_err(|(error, _)| self.unwritable(path, error))?;
        Ok(Saved { path: path.to_owned(), size, sha256 })
    }

    /// Opens the payload for reading; a link is downloaded into a temporary file and checked first
    ///
    /// The temporary file is in a folder that only this user may look into.
    ///
    /// # Errors
    /// As [`Payload::save`].
    pub async fn open(&self) -> Result<tokio::fs::File, Error> {
        let dir = std::env::temp_dir();
        let (file, ..) = self.spooled(&dir, Unfinished::private(&dir)).await?;
        // The name goes when `file` does; the content stays as long as it is open.
        tokio::fs::File::open(file.path()).await.map_err(|error| self.unwritable(&dir, error))
    }

    /// Writes a checked temporary file in `dir`
    async fn spooled(
        &self,
        dir: &Path,
        file: impl Future<Output = io::Result<Unfinished>> + Send,
    ) -> Result<(Unfinished, u64, Digest), Error> {
        if let State::Failed { error, .. } = &self.0 {
            return Err(error.clone().into());
        }
        let file = file.await.map_err(|error| self.unwritable(dir, error))?;
        match &self.0 {
            State::Failed { error, .. } => Err(error.clone().into()),
            State::Ready { part, .. } => {
                let bytes = perform::bytes_of(part).await?;
                save::write(file.path(), &bytes).await.map_err(|error| self.unwritable(dir, error))?;
                Ok((file, part.size(), Digest::of(&bytes)))
            }
            State::Link { download, downloader, time } => {
                let target = Target::File(file.path().to_owned());
                let found = time.load(download.link(), downloader.download(download.link(), target)).await;
                let found = found.map_err(|error| match unwritten(&error) {
                    Some(cause) => self.unwritable(dir, cause),
                    None => error.into(),
                })?;
                let sha256 = found.sha256;
                let part = (**download).clone().downloaded(found)?;
                Ok((file, part.size(), sha256))
            }
        }
    }

    fn unwritable(&self, path: &Path, source: io::Error) -> Error {
        Error::file(self.name(), "write", path, source)
    }
}

/// Why a download could not be written on this side, where that is what failed
fn unwritten(error: &FetchError) -> Option<io::Error> {
    let source = std::error::Error::source(error).filter(|_| error.kind() == FetchErrorKind::LocalFile)?;
    let cause = source.downcast_ref::<io::Error>()?;
    Some(
        cause
            .raw_os_error()
            .map_or_else(|| io::Error::new(cause.kind(), cause.to_string()), io::Error::from_raw_os_error),
    )
}

/// A payload that was saved
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Where it is
    pub path: PathBuf,
    /// Its size in bytes, serialised
    pub size: u64,
    /// Its digest
    pub sha256: Digest,
}
