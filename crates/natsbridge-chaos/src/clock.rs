//! A wall clock that jumps while programs work, where `libfaketime` is at hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;

use crate::Outcome;

/// The clock that programs see, told by a file that they read at each look
pub(crate) struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    pub(crate) fn new(library: &Path, folder: &Path) -> Outcome<Self> {
        let clock = Self { library: library.to_owned(), file: folder.join("clock") };
        clock.set(0)?;
        Ok(clock)
    }

    /// The variables of a program that is to see this clock; what counts elapsed time is left alone
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    fn set(&self, seconds: i64) -> Outcome<()> {
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, format!("{seconds:+}\n"))?;
        // A reader sees the old time or the new one, never half a line.
        fs::rename(fresh, &self.file)?;
        Ok(())
    }

    /// Jumps back and forth by up to an hour until it is dropped
    pub(crate) async fn jump(&self, mut random: Rng) {
        loop {
            tokio::time::sleep(Duration::from_millis(random.u64(300..1_500))).await;
            if self.set(random.i64(-3_600..3_600)).is_err() {
                return;
            }
        }
    }
}
