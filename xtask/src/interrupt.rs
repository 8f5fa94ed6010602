//! Ctrl-C and its kin, turned into an ordinary failure so that every started process is ended on the way out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

#[cfg(unix)]
use anyhow::{Context as _, Result, anyhow};
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};

static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on a request to end is noted instead of ending the process at once
pub(crate) fn listen() -> Result<()> {
    let signals = [
        #[cfg(unix)]
        SIGHUP,
        SIGINT,
        SIGTERM,
    ];
    for signal in signals {
        signal_hook::flag::register(signal, Arc::clone(&ASKED)).context("cannot listen for signals")?;
    }
    Ok(())
}

/// Whether somebody asked this process to end
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Fails once somebody asked this process to end: called wherever something is waited for
pub(crate) fn check() -> Result<()> {
    if asked() { Err(anyhow!("interrupted")) } else { Ok(()) }
}
