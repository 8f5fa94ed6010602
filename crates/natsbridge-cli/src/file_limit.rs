//! A file that may not grow further: writing fails with an error, and the program goes on.

/// Keeps the system's limit on file sizes (`ulimit -f`) from ending the program; the write fails in its place
///
/// Programs that are started from here are ended by the signal as usual.
#[cfg(unix)]
pub(crate) fn survive() {
    // Nobody reads the flag: that the signal is caught is enough.
    let caught = std::sync::Arc::default();
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, caught) {
        tracing::debug!(%error, "a file-size limit will end the program");
    }
}

/// Keeps the system's limit on file sizes from ending the program; there is none here
#[cfg(not(unix))]
pub(crate) fn survive() {}
