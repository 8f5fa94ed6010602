//! The metrics of file transfers, under the names that requirements fix (NFR-402, NFR-404).

use std::time::Duration;

/// Histogram: seconds an upload took, retries included; label `outcome`
pub(crate) const FILE_UPLOAD_DURATION_SECONDS: &str = "file_upload_duration_seconds";
/// Histogram: seconds a download took, retries included; label `outcome`
pub(crate) const FILE_DOWNLOAD_DURATION_SECONDS: &str = "file_download_duration_seconds";
/// Counter: attempts after the first; label `operation`
pub(crate) const RETRY_ATTEMPTS_TOTAL: &str = "retry_attempts_total";
/// Counter: downloads whose every retry failed; operators alert on it
pub(crate) const DOWNLOAD_RETRY_EXCEEDED_TOTAL: &str = "download_retry_exceeded_total";

/// A finished upload; `outcome` is `ok` or an error's code
pub(crate) fn uploaded(took: Duration, outcome: &'static str) {
    metrics::histogram!(FILE_UPLOAD_DURATION_SECONDS, "outcome" => outcome).record(took);
}

/// A finished download; `outcome` is `ok` or an error's code
pub(crate) fn downloaded(took: Duration, outcome: &'static str) {
    metrics::histogram!(FILE_DOWNLOAD_DURATION_SECONDS, "outcome" => outcome).record(took);
}

/// One more attempt of an `upload` or a `download`
pub(crate) fn retried(operation: &'static str) {
    metrics::counter!(RETRY_ATTEMPTS_TOTAL, "operation" => operation).increment(1);
}

/// A download whose every retry failed
pub(crate) fn retry_exceeded() {
    metrics::counter!(DOWNLOAD_RETRY_EXCEEDED_TOTAL).increment(1);
}
