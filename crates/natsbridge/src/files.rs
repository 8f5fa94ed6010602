//! Parts that are files: read where the bytes are needed in memory.

use std::path::Path;

use bytes::Bytes;
use natsbridge_core::{Limits, Part, PayloadType, Source};

use crate::Error;

/// A file as a part: read into memory if it is small enough to travel direct, else only named
pub(crate) async fn part_of_file(
    name: &str,
    payload_type: PayloadType,
    path: &Path,
    limits: &Limits,
) -> Result<Part, Error> {
    let unreadable = |source| unreadable(name, path, source);
    let metadata = tokio::fs::metadata(path).await.map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
    }
    let len = metadata.len();
    if limits.is_link(len) {
        return Ok(Part::from_file(name, payload_type, path, len));
    }
    let bytes = tokio::fs::read(path).await.map_err(unreadable)?;
    Ok(Part::from_source(name, payload_type, bytes))
}

/// Looks at the files among the parts, and reads the small ones; `files` are their places
pub(crate) async fn read_small(parts: &mut [Part], files: &[usize], limits: &Limits) -> Result<(), Error> {
    for place in files {
        let Some(part) = parts.get_mut(*place) else { continue };
        if let Source::File { path, .. } = part.source() {
            *part = part_of_file(part.name(), part.payload_type(), path, limits).await?;
        }
    }
    Ok(())
}

/// Reads all files among the parts, if each could fit into one message
pub(crate) async fn read_all(parts: &mut [Part], limit: u64) -> Result<(), Error> {
    for part in parts {
        if let Source::File { path, len } = part.source() {
            let too_large = || std::io::Error::from(std::io::ErrorKind::FileTooLarge);
            let read = if *len > limit { Err(too_large()) } else { tokio::fs::read(path).await };
            let bytes = read.map_err(|source| unreadable(part.name(), path, source))?;
            *part = Part::from_source(part.name(), part.payload_type(), bytes).with_metadata(part.metadata().clone());
        }
    }
    Ok(())
}

/// The bytes of a part, in memory or in a file
pub(crate) async fn bytes_of(part: &Part) -> Result<Bytes, Error> {
    match part.source() {
        Source::Bytes(bytes) => Ok(bytes.clone()),
        Source::Pieces(pieces) => Ok(pieces.concat().into()),
        Source::File { path, .. } => {
            tokio::fs::read(path).await.map(Bytes::from).map_err(|source| unreadable(part.name(), path, source))
        }
    }
}

fn unreadable(dataname: &str, path: &Path, source: std::io::Error) -> Error {
    Error::file(dataname, "read", path, source)
}
