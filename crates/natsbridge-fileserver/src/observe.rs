//! Metrics of file transfers; `docs/operations/README.md` lists their names for operators.

use std::time::Duration;

/// Histogram: duration of an upload in seconds, retries included; label `outcome`
pub(crate) const FILE_UPLOAD_DURATION_SECONDS: &str = "file_upload_duration_seconds";
/// Histogram: duration of a download in seconds, retries included; label `outcome`
pub(crate) const FILE_DOWNLOAD_DURATION_SECONDS: &str = "file_download_duration_seconds";
/// Counter: attempts after the first; label `operation`
pub(crate) const RETRY_ATTEMPTS_TOTAL: &str = "retry_attempts_total";
/// Counter: downloads whose retries all failed; operators alert on it
pub(crate) const DOWNLOAD_RETRY_EXCEEDED_TOTAL: &str = "download_retry_exceeded_total";

/// Records a finished upload; `outcome` is `ok` or an error's code
pub(crate) fn record_upload(took: Duration, outcome: &'static str) {
    metrics::histogram!(FILE_UPLOAD_DURATION_SECONDS, "outcome" => outcome).record(took);
}

/// Records a finished download; `outcome` is `ok` or an error's code
pub(crate) fn record_download(took: Duration, outcome: &'static str) {
    metrics::histogram!(FILE_DOWNLOAD_DURATION_SECONDS, "outcome" => outcome).record(took);
}

/// Counts one more attempt; `operation` is `upload` or `download`
pub(crate) fn count_retry(operation: &'static str) {
    metrics::counter!(RETRY_ATTEMPTS_TOTAL, "operation" => operation).increment(1);
}

/// Counts a download whose retries all failed
pub(crate) fn count_retry_exceeded() {
    metrics::counter!(DOWNLOAD_RETRY_EXCEEDED_TOTAL).increment(1);
}
