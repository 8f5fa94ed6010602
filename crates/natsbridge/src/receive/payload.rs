//! One payload that arrived, before or after its download: described at once, read, saved or opened when asked for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use natsbridge_core::{Arrival, Digest, Download, Metadata, Part, PayloadError, PayloadType, Transport, Value};
use natsbridge_fileserver::{Downloader, FetchError, FetchErrorKind, Target};
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use crate::receive::transfer::{self, LoadingTime};
use crate::receive::unfinished::Unfinished;
use crate::receive::{read, save};
use crate::{Error, files};

/// One named payload of a message that arrived; a link is downloaded when the payload is first read
///
/// A direct payload is in memory and checked. A link is downloaded when its value, bytes or file is first asked for, and
/// handed out only when its size and digest are right. What was downloaded into memory stays there, so the next getter does
/// not download it again. All downloads of one message share
/// [`Config::message_timeout`](crate::Config::message_timeout); later ones fail with the code `timeout`.
///
/// Every getter fails with [`Error::Fetch`] when a link can't be downloaded, and with [`Error::Payload`] when the bytes are
/// not what the envelope or the payload's type says; both name the payload. A failed download can be asked for again.
#[derive(Debug)]
pub struct Payload(State);

#[derive(Debug)]
enum State {
    Ready { part: Part },
    Link(Box<Linked>),
    Failed { payload_type: PayloadType, transport: Transport, error: PayloadError },
}

#[derive(Debug)]
struct Linked {
    download: Download,
    downloader: Arc<dyn Downloader>,
    time: LoadingTime,
    /// Where it was downloaded into memory
    part: OnceCell<Part>,
}

impl Payload {
    /// The payloads of a message, whose links share the time of `limit`
    pub(crate) fn all(arrivals: Vec<Arrival>, downloader: &Arc<dyn Downloader>, limit: Duration) -> Vec<Self> {
        let mut shared = None;
        let state = |arrival| match arrival {
            Arrival::Ready(part) => State::Ready { part },
            Arrival::Download(download) => {
                let time = shared.get_or_insert_with(|| LoadingTime::new(limit)).clone();
                time.allow(download.link().size);
                let downloader = Arc::clone(downloader);
                State::Link(Box::new(Linked { download, downloader, time, part: OnceCell::new() }))
            }
            Arrival::Failed { payload_type, transport, error } => State::Failed { payload_type, transport, error },
        };
        arrivals.into_iter().map(state).map(Self).collect()
    }

    /// The sender's name for it: any Unicode text, never a path
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            State::Ready { part } => part.name(),
            State::Link(link) => link.download.name(),
            State::Failed { error, .. } => error.dataname(),
        }
    }

    /// Its payload type
    #[must_use]
    pub fn payload_type(&self) -> PayloadType {
        match &self.0 {
            State::Ready { part } => part.payload_type(),
            State::Link(link) => link.download.payload_type(),
            State::Failed { payload_type, .. } => *payload_type,
        }
    }

    /// Whether it came inside the message or as a link
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match &self.0 {
            State::Ready { .. } => Transport::Direct,
            State::Link(_) => Transport::Link,
            State::Failed { transport, .. } => *transport,
        }
    }

    /// Size of the serialised payload in bytes; `None` for a link whose sender did not say, until it is downloaded
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match (&self.0, self.part()) {
            (_, Some(part)) => Some(part.size()),
            (State::Link(link), None) => link.download.link().size,
            (_, None) => None,
        }
    }

    /// SHA-256 of the serialised payload: computed for what is in memory, the envelope's for a link
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        let stated = match &self.0 {
            State::Link(link) => link.download.link().sha256,
            _ => None,
        };
        stated.or_else(|| self.part().and_then(Part::bytes).map(|bytes| Digest::of(bytes)))
    }

    /// Metadata as the sender wrote it; `None` for a payload that failed its check
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        match &self.0 {
            State::Ready { part } => Some(part.metadata()),
            State::Link(link) => Some(link.download.metadata()),
            State::Failed { .. } => None,
        }
    }

    /// The payload in memory, without waiting; `None` for a link that was not downloaded yet
    #[must_use]
    pub fn part(&self) -> Option<&Part> {
        match &self.0 {
            State::Ready { part } => Some(part),
            State::Link(link) => link.part.get(),
            State::Failed { .. } => None,
        }
    }

    /// The payload in memory, or why it failed its check; `None` for a link that was not downloaded yet
    pub(crate) fn ready(&self) -> Result<Option<&Part>, Error> {
        match &self.0 {
            State::Failed { error, .. } => Err(error.clone().into()),
            State::Ready { .. } | State::Link(_) => Ok(self.part()),
        }
    }

    /// Downloads a link into memory, once; a direct payload is there already
    ///
    /// # Errors
    /// [`Error::Fetch`] and [`Error::Payload`], as [`Payload`] says.
    pub async fn fetch(&self) -> Result<&Part, Error> {
        match &self.0 {
            State::Ready { part } => Ok(part),
            State::Failed { error, .. } => Err(error.clone().into()),
            State::Link(link) => {
                let Linked { download, downloader, time, part } = &**link;
                part.get_or_try_init(|| transfer::download(download.clone(), downloader.as_ref(), time)).await
            }
        }
    }

    /// The payload in memory; a link is downloaded first
    ///
    /// # Errors
    /// [`Error::Fetch`] and [`Error::Payload`], as [`Payload`] says.
    pub async fn into_part(self) -> Result<Part, Error> {
        self.fetch().await?;
        match self.0 {
            State::Ready { part } => Ok(part),
            State::Failed { error, .. } => Err(error.into()),
            State::Link(link) => link.part.into_inner().ok_or(Error::Stopped),
        }
    }

    /// The serialised bytes, whatever the payload type; the bytes are shared, not copied
    ///
    /// # Errors
    /// [`Error::Fetch`] and [`Error::Payload`], as [`Payload`] says.
    pub async fn bytes(&self) -> Result<Bytes, Error> {
        files::bytes_of(self.fetch().await?).await
    }

    /// Consumes the payload and returns its serialised bytes
    ///
    /// # Errors
    /// [`Error::Fetch`] and [`Error::Payload`], as [`Payload`] says.
    pub async fn into_bytes(self) -> Result<Bytes, Error> {
        files::bytes_of(&self.into_part().await?).await
    }

    /// The value, as its payload type says
    ///
    /// # Errors
    /// [`Error::Fetch`] and [`Error::Payload`], as [`Payload`] says.
    pub async fn value(&self) -> Result<Value, Error> {
        Ok(self.fetch().await?.value()?)
    }

    /// Consumes the payload and returns its value, without copying text or bytes
    ///
    /// # Errors
    /// [`Error::Fetch`] and [`Error::Payload`], as [`Payload`] says.
    pub async fn into_value(self) -> Result<Value, Error> {
        Ok(self.into_part().await?.into_value()?)
    }

    /// The text of a `text` payload
    ///
    /// # Errors
    /// [`Error::Fetch`] and [`Error::Payload`], as [`Payload`] says; [`Error::WrongType`] for another payload type.
    pub async fn text(&self) -> Result<String, Error> {
        read::text(self.fetch().await?)
    }

    /// A `dictionary`, `jsontable`, `arrowtable` or `text` as a type of the program's own; a table is a list of rows
    ///
    /// # Errors
    /// [`Error::Fetch`] and [`Error::Payload`], as [`Payload`] says; of the kind
    /// `ErrorKind::WrongType` when the value does not fit `T`, and for images, audio, video and binaries.
    pub async fn get<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(self.fetch().await?.deserialize()?)
    }

    /// The Arrow table of an `arrowtable` payload
    ///
    /// # Errors
    /// [`Error::Fetch`] and [`Error::Payload`], as [`Payload`] says; [`Error::WrongType`] for another payload type.
    #[cfg(feature = "arrow")]
    pub async fn table(&self) -> Result<natsbridge_core::Table, Error> {
        read::table(self.fetch().await?)
    }

    /// Saves the serialised bytes under a safe form of the payload's name in `dir`, without holding a link in memory
    ///
    /// The file appears under its name only when it is whole and checked. A name that is taken gets a number. A folder that
    /// is missing is made. What a program left there that was killed while it saved is removed
    /// ([`remove_unfinished`](crate::store::remove_unfinished)).
    ///
    /// # Errors
    /// [`Error::Fetch`] and [`Error::Payload`], as [`Payload`] says; [`Error::File`], which names the folder, when it can't
    /// be written.
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
        if let State::Link(link) = &self.0
            && link.part.get().is_none()
        {
            let Linked { download, downloader, time, .. } = &**link;
            let target = Target::File(file.path().to_owned());
            let found = time.load(download.link(), downloader.download(download.link(), target)).await;
            let found = found.map_err(|error| match unwritten(&error) {
                Some(cause) => self.unwritable(dir, cause),
                None => error.into(),
            })?;
            let sha256 = found.sha256;
            let part = download.clone().downloaded(found)?;
            return Ok((file, part.size(), sha256));
        }
        let bytes = self.bytes().await?;
        save::write(file.path(), &bytes).await.map_err(|error| self.unwritable(dir, error))?;
        Ok((file, u64::try_from(bytes.len()).unwrap_or(u64::MAX), Digest::of(&bytes)))
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

/// Where a payload was saved, with its size and digest
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
