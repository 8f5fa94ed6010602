//! The server's metrics: what it took, gave out, refused and holds; `docs/operations/README.md` lists them for operators.

use std::{path::Path, time::Duration};

use metrics::Unit;

use super::{disk::Holdings, error::Reason};

/// Counter: files stored
pub(super) const UPLOADS: &str = "fileserver_uploads_total";
/// Counter: bytes of files stored
const UPLOADED_BYTES: &str = "fileserver_uploaded_bytes_total";
/// Counter: downloads whose last byte was handed to the connection
const DOWNLOADS: &str = "fileserver_downloads_total";
/// Counter: bytes of files handed to connections, those of downloads that broke off included
const DOWNLOADED_BYTES: &str = "fileserver_downloaded_bytes_total";
/// Counter: requests refused; label `reason`
const REFUSALS: &str = "fileserver_refusals_total";
/// Gauge: connections being served
const CONNECTIONS: &str = "fileserver_connections";
/// Gauge: connections that may be served at once
const MAX_CONNECTIONS: &str = "fileserver_max_connections";
/// Gauge: uploads in the folder
const STORED_UPLOADS: &str = "fileserver_stored_uploads";
/// Gauge: bytes of all uploads, as they count for the limit
const STORED_BYTES: &str = "fileserver_stored_bytes";
/// Gauge: bytes that all uploads may have; absent without a limit
const MAX_BYTES: &str = "fileserver_max_bytes";
/// Gauge: free bytes of the disk, for users without privileges
const DISK_FREE: &str = "fileserver_disk_free_bytes";
/// Gauge: bytes of the disk
const DISK_SIZE: &str = "fileserver_disk_bytes";
/// Gauge: when the oldest upload was made, in seconds since 1970; 0 if there is none
const OLDEST_UPLOAD: &str = "fileserver_oldest_upload_timestamp_seconds";
/// Gauge: when the certificate expires, in seconds since 1970; absent without TLS
const CERTIFICATE_EXPIRY: &str = "fileserver_certificate_expiry_timestamp_seconds";

/// How often the gauges of the disk are read
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// Tells the recorder what each metric means, and begins counters at zero, so that `increase` sees their first event
pub(super) fn describe() {
    metrics::describe_counter!(UPLOADS, "files stored");
    metrics::describe_counter!(UPLOADED_BYTES, Unit::Bytes, "bytes of files stored");
    metrics::describe_counter!(DOWNLOADS, "downloads that were sent to their end");
    metrics::describe_counter!(
        DOWNLOADED_BYTES,
        Unit::Bytes,
        "bytes of files sent, those of broken downloads included"
    );
    metrics::describe_counter!(REFUSALS, "requests refused");
    metrics::describe_gauge!(CONNECTIONS, "connections being served");
    metrics::describe_gauge!(MAX_CONNECTIONS, "connections that may be served at once");
    metrics::describe_gauge!(STORED_UPLOADS, "uploads in the folder");
    metrics::describe_gauge!(STORED_BYTES, Unit::Bytes, "bytes of all uploads, as they count for the limit");
    metrics::describe_gauge!(MAX_BYTES, Unit::Bytes, "bytes that all uploads may have");
    metrics::describe_gauge!(DISK_FREE, Unit::Bytes, "free bytes of the disk");
    metrics::describe_gauge!(DISK_SIZE, Unit::Bytes, "bytes of the disk");
    metrics::describe_gauge!(OLDEST_UPLOAD, Unit::Seconds, "when the oldest upload was made, since 1970");
    metrics::describe_gauge!(CERTIFICATE_EXPIRY, Unit::Seconds, "when the certificate expires, since 1970");
    for name in [UPLOADS, UPLOADED_BYTES, DOWNLOADS, DOWNLOADED_BYTES] {
        metrics::counter!(name).increment(0);
    }
    for reason in Reason::ALL {
        metrics::counter!(REFUSALS, "reason" => reason.word()).increment(0);
    }
}

/// Sets what does not change: the limits
pub(super) fn limits(connections: u32, bytes: u64) {
    metrics::gauge!(MAX_CONNECTIONS).set(f64::from(connections));
    if bytes != u64::MAX {
        metrics::gauge!(MAX_BYTES).set(float(bytes));
    }
}

/// Counts a file that is stored
pub(super) fn uploaded(bytes: u64) {
    metrics::counter!(UPLOADS).increment(1);
    metrics::counter!(UPLOADED_BYTES).increment(bytes);
}

/// Counts bytes handed to a connection; `last` ends the download
pub(super) fn downloaded(bytes: usize, last: bool) {
    metrics::counter!(DOWNLOADED_BYTES).increment(u64::try_from(bytes).unwrap_or(u64::MAX));
    if last {
        metrics::counter!(DOWNLOADS).increment(1);
    }
}

/// Counts a refused request
pub(super) fn refused(reason: Reason) {
    metrics::counter!(REFUSALS, "reason" => reason.word()).increment(1);
}

/// A connection that is being served, until this is dropped
#[derive(Debug)]
pub(super) struct Served;

impl Served {
    pub(super) fn begin() -> Self {
        metrics::gauge!(CONNECTIONS).increment(1.0);
        Self
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        metrics::gauge!(CONNECTIONS).decrement(1.0);
    }
}

/// Sets what the folder holds
pub(super) fn holds(holdings: Holdings) {
    metrics::gauge!(STORED_UPLOADS).set(float(holdings.uploads));
    metrics::gauge!(OLDEST_UPLOAD).set(float(holdings.oldest));
}

/// Sets the bytes in use, and what the disk has
pub(super) fn disk(dir: &Path, stored: u64) {
    metrics::gauge!(STORED_BYTES).set(float(stored));
    if let Some((free, size)) = space(dir) {
        metrics::gauge!(DISK_FREE).set(float(free));
        metrics::gauge!(DISK_SIZE).set(float(size));
    }
}

/// Sets when the certificate expires, in seconds since 1970
pub(super) fn certificate(expiry: u64) {
    metrics::gauge!(CERTIFICATE_EXPIRY).set(float(expiry));
}

/// Free bytes and size of the disk that holds a folder
#[cfg(target_os = "linux")]
fn space(dir: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(dir).ok()?;
    Some((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}

#[cfg(not(target_os = "linux"))]
fn space(_: &Path) -> Option<(u64, u64)> {
    None
}

/// A count as metrics have it: exact below 2^53
#[allow(clippy::as_conversions, reason = "no lossless conversion exists, and gauges are floats")]
fn float(count: u64) -> f64 {
    count as f64
}
