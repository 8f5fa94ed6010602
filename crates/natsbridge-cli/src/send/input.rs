//! Where a payload's content comes from: the command line, a file, a pipe or standard input; each is read once.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use natsbridge::wire::harmless;
use tempfile::{NamedTempFile, TempPath};

use crate::units;

/// The most bytes of a text, a dictionary or a table, which are held in memory
const MOST: u64 = 1024 * 1024 * 1024;

/// What is said of a device
const NO_END: &str = "it is a device, which may have no end; cut it, as in: head -c 1MB /dev/zero | natsbridge …";

/// Where a payload's content is
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    Here(String),
    File(PathBuf),
    Stdin,
}

/// A file that holds a payload, and is removed with this where it was made for it
#[derive(Debug)]
pub(super) enum Stored {
    There(PathBuf),
    Spooled(TempPath),
}

impl Stored {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::There(path) => path,
            Self::Spooled(path) => path,
        }
    }
}

impl Input {
    /// `@FILE`, `@-` for standard input, `@@x` for the text `@x`, else the text itself
    pub(super) fn of(value: &str) -> Self {
        match value.strip_prefix('@') {
            None => Self::Here(value.to_owned()),
            Some("-" | "/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0") => Self::Stdin,
            Some(text) if text.starts_with('@') => Self::Here(text.to_owned()),
            Some(path) => Self::File(path.into()),
        }
    }

    /// What it is called in an error
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Here(_) => "the command line".to_owned(),
            Self::File(path) => harmless(&path.to_string_lossy()).into_owned(),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    /// Looks whether it can be read, without reading: a pipe gives its content once, and may wait for its writer
    pub(super) fn check(&self) -> io::Result<()> {
        let Self::File(path) = self else { return Ok(()) };
        if path.as_os_str().is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no file is named behind the `@`"));
        }
        let metadata = fs::metadata(path).map_err(|error| looked_for(path, error))?;
        if metadata.is_dir() {
            let what = "it is a directory; pack it first, such as with tar, and send that with @-";
            return Err(io::Error::new(io::ErrorKind::IsADirectory, what));
        }
        if is_device(&metadata) && !is_null(&metadata) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, NO_END));
        }
        if metadata.is_file() { File::open(path).map(drop) } else { Ok(()) }
    }

    /// Whether it is neither a file nor on the command line, so that it can be read only once
    pub(super) fn is_stream(&self) -> bool {
        match self {
            Self::Here(_) => false,
            Self::File(path) => fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()),
            Self::Stdin => true,
        }
    }

    /// The content in memory, up to a limit: a stream may never end
    pub(super) fn bytes(&self) -> io::Result<Bytes> {
        match self {
            Self::Here(text) => Ok(Bytes::from(text.clone())),
            Self::File(path) => bounded(&mut File::open(path)?, MOST).map(Bytes::from),
            Self::Stdin => {
                no_device()?;
                bounded(&mut io::stdin().lock(), MOST).map(Bytes::from)
            }
        }
    }

    /// The file that holds it; a stream becomes a temporary one, so that it may be of any size
    pub(super) fn stored(&self) -> io::Result<Stored> {
        match self {
            Self::Here(text) => spooled(&mut text.as_bytes()),
            Self::Stdin => {
                no_device()?;
                spooled(&mut io::stdin().lock())
            }
            Self::File(path) if self.is_stream() => spooled(&mut File::open(path)?),
            Self::File(path) => Ok(Stored::There(path.clone())),
        }
    }
}

/// Says in which folder a file was looked for that is not there
pub(crate) fn looked_for(path: &Path, error: io::Error) -> io::Error {
    let whole = std::path::absolute(path).unwrap_or_default();
    match (error.kind(), path.file_name(), whole.parent()) {
        (io::ErrorKind::NotFound, Some(name), Some(folder)) => {
            let (name, folder) = (name.to_string_lossy(), folder.display());
            io::Error::new(error.kind(), format!("no file {name} in {folder}; check the name and the folder"))
        }
        _ => error,
    }
}

/// Reads to the end, which has to come before so many bytes
pub(crate) fn bounded(content: &mut dyn io::Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = content.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > most {
        let what = format!("it has more than {}, and is held in memory", units::shown(most));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// Whether it is a device, such as one that gives zeros without end
#[cfg(unix)]
fn is_device(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = metadata.file_type();
    kind.is_block_device() || kind.is_char_device()
}

#[cfg(not(unix))]
const fn is_device(_: &fs::Metadata) -> bool {
    false
}

/// Refuses a standard input that is a device; a terminal and `/dev/null` have an end
fn no_device() -> io::Result<()> {
    use io::IsTerminal as _;
    let Ok(metadata) = fs::metadata("/dev/stdin") else { return Ok(()) };
    if !is_device(&metadata) || io::stdin().is_terminal() || is_null(&metadata) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, NO_END))
}

/// Whether it is the device that is always empty
#[cfg(unix)]
fn is_null(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == metadata.rdev())
}

#[cfg(not(unix))]
const fn is_null(_: &fs::Metadata) -> bool {
    false
}

fn spooled(content: &mut dyn io::Read) -> io::Result<Stored> {
    let mut file = NamedTempFile::new()?;
    io::copy(content, &mut file)?;
    Ok(Stored::Spooled(file.into_temp_path()))
}
