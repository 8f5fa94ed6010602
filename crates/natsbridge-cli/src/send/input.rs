//! Where a payload's content comes from: the command line, a file, a pipe or standard input; each is read once.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use natsbridge::wire::harmless;
use tempfile::{NamedTempFile, TempPath};

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
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            let what = "it is a directory; pack it first, such as with tar, and send that with @-";
            return Err(io::Error::new(io::ErrorKind::IsADirectory, what));
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

    pub(super) fn bytes(&self) -> io::Result<Bytes> {
        match self {
            Self::Here(text) => Ok(Bytes::from(text.clone())),
            Self::File(path) => fs::read(path).map(Bytes::from),
            Self::Stdin => {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }

    /// The file that holds it; a stream becomes a temporary one, so that it may be of any size
    pub(super) fn stored(&self) -> io::Result<Stored> {
        match self {
            Self::Here(text) => spooled(&mut text.as_bytes()),
            Self::Stdin => spooled(&mut io::stdin().lock()),
            Self::File(path) if self.is_stream() => spooled(&mut File::open(path)?),
            Self::File(path) => Ok(Stored::There(path.clone())),
        }
    }
}

fn spooled(content: &mut dyn io::Read) -> io::Result<Stored> {
    let mut file = NamedTempFile::new()?;
    io::copy(content, &mut file)?;
    Ok(Stored::Spooled(file.into_temp_path()))
}
