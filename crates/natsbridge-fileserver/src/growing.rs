//! A file that is written from front to back, with its disk space reserved in advance.

use std::fs::File;
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};

use bytes::Bytes;

/// Most bytes reserved at a time, and never more than have arrived: a stranger's word takes no more of the disk
const AHEAD: u64 = 4 * 1024 * 1024;

/// What will be this long is worth reserving space for
const WORTH: u64 = 1024 * 1024;

/// An open file and how far it is filled; everything here may block
///
/// A file system that knows where the next bytes will go takes them at almost twice the speed, and keeps them in few
/// pieces. Reserving is a hint: what can't be reserved is written all the same, and only that may fail.
#[derive(Debug)]
pub(crate) struct GrowingFile {
    file: File,
    written: u64,
    /// Up to where space is reserved
    reserved: u64,
    /// Announced size in bytes, 0 if unknown
    expected: u64,
}

impl GrowingFile {
    /// A file that is still empty
    pub(crate) const fn new(file: File) -> Self {
        Self { file, written: 0, reserved: 0, expected: 0 }
    }

    /// Sets the announced size
    pub(crate) const fn expect(&mut self, size: u64) {
        self.expected = size;
    }

    /// The number of written bytes
    #[cfg(any(test, feature = "server"))]
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Appends all pieces
    pub(crate) fn write(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        let total = pieces.iter().map(|piece| length(piece.len())).fold(0, u64::saturating_add);
        self.reserve(self.written.saturating_add(total));
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut *slices;
        // Empty ones at the front would make a write of nothing look like a full disk.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match self.file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.written = self.written.saturating_add(length(taken));
                    IoSlice::advance_slices(&mut left, taken);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Discards everything that was written
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.set_len(0)?;
        (self.written, self.reserved) = (0, 0);
        Ok(())
    }

    /// Whether more was reserved than is needed so far
    pub(crate) const fn has_spare(&self) -> bool {
        self.reserved > self.written
    }

    /// Releases reserved space that is not needed
    pub(crate) fn finish(&mut self) {
        if self.has_spare() {
            if let Err(error) = self.file.set_len(self.written) {
                tracing::warn!(%error, "a file keeps space that was reserved for it");
            }
            self.reserved = self.written;
        }
    }

    /// Reserves space up to `end` and some more, unless the file ends before that
    fn reserve(&mut self, end: u64) {
        if self.expected < WORTH || end <= self.reserved || self.expected <= self.reserved {
            return;
        }
        let until = end.saturating_add(AHEAD.min(end)).min(self.expected);
        if !reserve(&self.file, self.reserved, until.saturating_sub(self.reserved)) {
            self.expected = 0;
        }
        // Also where it failed: a part may be reserved all the same, to be given back at the end.
        self.reserved = until;
    }
}

/// Whether there is space now for those bytes of the file, whose length stays as it is
#[cfg(target_os = "linux")]
fn reserve(file: &File, from: u64, length: u64) -> bool {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, from, length).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64, _: u64) -> bool {
    false
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    fn blocks(file: &GrowingFile) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        file.file.metadata().map_or(0, |found| found.blocks() * 512)
    }

    fn opened(folder: &tempfile::TempDir) -> io::Result<GrowingFile> {
        File::options().write(true).create_new(true).open(folder.path().join("file")).map(GrowingFile::new)
    }

    #[test]
    fn pieces_arrive_in_order_whatever_their_number_and_length() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut file = opened(&folder)?;
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect();
        for expected in [0, length(bytes.len()), 10, u64::MAX] {
            file.restart()?;
            file.expect(expected);
            // More pieces than the system takes in one call, some of them empty.
            let pieces: Vec<Bytes> = bytes.chunks(700).map(Bytes::copy_from_slice).collect();
            file.write(&[Bytes::new()])?;
            for batch in pieces.chunks(1500) {
                let with_empty: Vec<Bytes> = batch.iter().flat_map(|piece| [Bytes::new(), piece.clone()]).collect();
                file.write(&with_empty)?;
            }
            file.finish();
            assert_eq!(file.written(), length(bytes.len()));
            assert!(std::fs::read(folder.path().join("file"))? == bytes, "expecting {expected}");
        }
        Ok(())
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[allow(clippy::print_stderr, reason = "says why there is nothing to see")]
    fn disk_space_follows_what_arrived_not_the_announced_size() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut file = opened(&folder)?;
        if !reserve(&file.file, 0, 4096) {
            eprintln!("nothing to see: the file system of the temporary folder reserves no space");
            return Ok(());
        }
        let far = 100 * AHEAD;
        for (size, expected, taken) in [
            (100_000, far, 150_000..300_000),
            (10_000_000, far, 10_050_000..15_000_000),
            (3_000_000, far, 3_050_000..7_000_000),
            (1_500_000, 2 * WORTH, 2 * WORTH..3 * WORTH),
        ] {
            file.restart()?;
            file.expect(expected);
            file.write(&[Bytes::from(vec![7; size])])?;
            assert!(taken.contains(&blocks(&file)), "{} bytes are taken of {expected}", blocks(&file));
            assert_eq!(file.file.metadata()?.len(), length(size), "the length is what was written");
            file.finish();
            assert!(blocks(&file) < length(size) + 50_000, "{} bytes are kept", blocks(&file));
        }
        Ok(())
    }
}
