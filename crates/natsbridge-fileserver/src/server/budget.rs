//! How many bytes the folder holds and how many it may: whatever a client can store counts.

use std::{
    fmt,
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::wishes::human_size;

/// What a file or a folder counts besides its content, so that many empty ones count too
pub(super) const ENTRY: u64 = 4096;

/// The bytes in use, and the most that may be
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicU64,
    max: u64,
}

impl Budget {
    pub(super) const fn new(max: u64) -> Self {
        Self { used: AtomicU64::new(0), max }
    }

    /// Counts bytes that are about to be stored, if there is room for them
    pub(super) fn take(&self, bytes: u64) -> io::Result<()> {
        let grown = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.max);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.full()),
        }
    }

    /// Counts bytes that are stored whether there is room for them or not
    pub(super) fn add(&self, bytes: u64) {
        let grown = |used: u64| Some(used.saturating_add(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
    }

    /// Counts bytes that are no longer stored
    pub(super) fn give(&self, bytes: u64) {
        let shrunk = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, shrunk);
    }

    /// The bytes in use
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Refuses what can't fit, before any of it is stored
    pub(super) fn check(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.max.saturating_sub(self.used()) { Err(self.full()) } else { Ok(()) }
    }

    fn full(&self) -> io::Error {
        io::Error::new(ErrorKind::QuotaExceeded, FolderFull { max: self.max })
    }
}

/// The bytes of a file that is arriving; they are given back unless the file is kept
#[derive(Debug)]
pub(super) struct Lease {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Lease {
    /// Takes the bytes of an empty file
    pub(super) fn new(budget: &Arc<Budget>) -> io::Result<Self> {
        budget.take(ENTRY)?;
        Ok(Self { budget: Arc::clone(budget), bytes: ENTRY })
    }

    /// Takes further bytes
    pub(super) fn grow(&mut self, bytes: u64) -> io::Result<()> {
        self.budget.take(bytes)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Leaves the bytes to the file, which counts from now on
    pub(super) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

/// All bytes that the folder may hold are in use
#[derive(Debug)]
pub(super) struct FolderFull {
    max: u64,
}

impl fmt::Display for FolderFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no space left in the file server's folder (limit is set to {})", human_size(self.max))
    }
}

impl std::error::Error for FolderFull {}

/// What is kept about one upload would be too long
#[derive(Debug)]
pub(super) struct RecordTooLong {
    pub(super) max: u64,
}

impl fmt::Display for RecordTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "names and comments of this upload are too long (limit is set to {})", human_size(self.max))
    }
}

impl std::error::Error for RecordTooLong {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_dropped_lease_come_back_and_kept_ones_stay() {
        let budget = Arc::new(Budget::new(ENTRY * 2 + 100));
        let mut lease = Lease::new(&budget).unwrap();
        lease.grow(100).unwrap();
        assert!(lease.grow(ENTRY + 1).is_err());
        assert_eq!(budget.used(), ENTRY + 100);
        drop(lease);
        assert_eq!(budget.used(), 0);
        Lease::new(&budget).unwrap().keep();
        assert_eq!(budget.used(), ENTRY);
        assert!(budget.take(u64::MAX).is_err() && budget.check(ENTRY + 101).is_err());
        assert!(budget.check(ENTRY + 100).is_ok());
        budget.give(u64::MAX);
        assert_eq!(budget.used(), 0);
    }
}
