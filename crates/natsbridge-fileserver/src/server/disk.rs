//! The server's folder: one sub-folder per upload with its record and its files, named by identifiers only.
//!
//! ```text
//! DIR/lock                    held by the one server that works here
//! DIR/uploads/ID/record.json  replaced by rename, so it is old or new and never half
//! DIR/uploads/ID/FILEID.part  content that is arriving
//! DIR/uploads/ID/FILEID       content
//! DIR/uploads/ID/FILEID.removed  content of a one-shot, after all of it left
//! ```
//!
//! What gives space back, or decides about a one-shot, takes no space: files are renamed or erased first, and only
//! then does the record say so.
//!
//! Everything here blocks. Nothing is forced to the disk's platter: a record survives a killed server, not
//! necessarily a power cut.

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    budget::{Budget, ENTRY, Lease, RecordTooLong},
    error::{Fault, ServerError},
    ids::Id,
    record::{Record, Status},
};

const RECORD: &str = "record.json";
const RECORD_DRAFT: &str = "record.json.new";

/// Ends the name of content that is arriving; a [`Lease`] counts it
const ARRIVING: &str = ".part";

/// Ends the name of a one-shot's content after all of it left
const REMOVED: &str = ".removed";

/// The most bytes that are kept about one upload and its files
const MAX_RECORD: u64 = 1024 * 1024;

/// Locks that keep two changes of one record apart; several uploads share one
const STRIPES: usize = 64;

/// The result of [`sweep`]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// Number of expired uploads that were deleted
    pub uploads: u64,
    /// Bytes of file content that were deleted
    pub bytes: u64,
}

/// Deletes expired and incomplete uploads from a folder that no server uses
///
/// It blocks the thread. A running [`FileServer`](super::FileServer) sweeps its own folder.
///
/// # Errors
/// [`ServerError`] if a server uses the folder, or if the folder does not exist or can't be used.
pub fn sweep(dir: &Path) -> Result<SweepReport, ServerError> {
    let folder = |source| Fault::folder(dir, source);
    fs::metadata(dir.join("uploads")).map_err(folder)?;
    let (store, _lock) = Store::open(dir, u64::MAX)?;
    Ok(store.recover().map_err(folder)?)
}

/// The uploads in the folder: how many there are, and when the oldest was made, in seconds since 1970 (0 for none)
///
/// The oldest is looked for at each sweep; until then, it is at most too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holdings {
    pub(super) uploads: u64,
    pub(super) oldest: u64,
}

/// Keeps a second server off the folder until it is dropped
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// The folder of uploads
#[derive(Debug)]
pub(super) struct Store {
    uploads: PathBuf,
    stripes: [Mutex<()>; STRIPES],
    budget: Arc<Budget>,
    /// Erased files whose record can't say so, because the disk is full
    unrecorded: Mutex<HashSet<(Id, Id)>>,
    uploads_held: AtomicU64,
    oldest: AtomicU64,
}

impl Store {
    /// Makes the folder if it is absent and locks it; uploads may take `max_total` bytes
    pub(super) fn open(dir: &Path, max_total: u64) -> Result<(Self, Lock), Fault> {
        let folder = |source| Fault::folder(dir, source);
        let uploads = dir.join("uploads");
        private_dir(dir).and_then(|()| private_dir(&uploads)).map_err(folder)?;
        let lock = private_options().write(true).create(true).truncate(false).open(dir.join("lock")).map_err(folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Fault::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(folder(source)),
        }
        if !fs::symlink_metadata(&uploads).map_err(folder)?.is_dir() {
            return Err(folder(io::Error::other("uploads is not a folder")));
        }
        let store = Self {
            uploads,
            stripes: std::array::from_fn(|_| Mutex::new(())),
            budget: Arc::new(Budget::new(max_total)),
            unrecorded: Mutex::default(),
            uploads_held: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
        };
        Ok((store, Lock(lock)))
    }

    /// How many bytes are stored, and how many may be
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What the folder holds now
    pub(super) fn holdings(&self) -> Holdings {
        let uploads = self.uploads_held.load(Ordering::Relaxed);
        let oldest = if uploads == 0 { 0 } else { self.oldest.load(Ordering::Relaxed) };
        Holdings { uploads, oldest }
    }

    /// Makes an upload's folder and its record, or nothing
    pub(super) fn create(&self, id: Id, record: &Record) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        set_private_mode(&mut builder);
        self.budget.take(ENTRY)?;
        let made = builder.create(self.folder(id));
        if made.is_err() {
            self.budget.give(ENTRY);
            return made;
        }
        let _guard = self.guard(id);
        let saved = self.save(id, record, Room::Limited);
        // Counted before a removal counts it down.
        if self.uploads_held.fetch_add(1, Ordering::Relaxed) == 0 {
            self.oldest.store(record.made_at(), Ordering::Relaxed);
        }
        if saved.is_err() {
            self.remove_guarded(id)?;
        }
        saved
    }

    /// Reads an upload's record; nothing if there is no such upload
    pub(super) fn load(&self, id: Id) -> io::Result<Option<Record>> {
        let Some(mut record) = self.load_written(id)? else { return Ok(None) };
        let unrecorded = lock(&self.unrecorded);
        for file in &mut record.files {
            let Some(file_id) = Id::parse(&file.id) else { continue };
            if unrecorded.contains(&(id, file_id)) {
                file.status = Status::Deleted;
            } else if record.one_shot
                && file.status == Status::Uploaded
                && fs::symlink_metadata(self.removed(id, file_id)).is_ok()
            {
                file.status = Status::Removed;
            }
        }
        drop(unrecorded);
        Ok(Some(record))
    }

    /// Reads an upload's record as it was written; the names of files may know better
    fn load_written(&self, id: Id) -> io::Result<Option<Record>> {
        let folder = self.folder(id);
        // A link planted in place of the folder must not lead out of it.
        match fs::symlink_metadata(&folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let file = match open_regular(&folder.join(RECORD)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let record: Record = serde_json::from_reader(io::BufReader::new(file))?;
        // A file system without upper and lower case finds other uploads too.
        Ok((record.id == id.as_str()).then_some(record))
    }

    /// Changes an upload's record while no one else does; nothing if there is no such upload
    ///
    /// The record is written when `change` returns `Ok`.
    fn edit<T, E: From<io::Error>>(
        &self,
        id: Id,
        room: Room,
        change: impl FnOnce(&mut Record) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let Some(mut record) = self.load_written(id)? else { return Ok(None) };
        let answer = change(&mut record)?;
        self.save(id, &record, room)?;
        Ok(Some(answer))
    }

    /// Notes that all bytes of a one-shot left, without any space; false if it is not there
    pub(super) fn mark_removed(&self, upload: Id, file: Id) -> io::Result<bool> {
        let _guard = self.guard(upload);
        moved(&self.path(upload, file), &self.removed(upload, file))
    }

    /// Offers a one-shot again that was marked; false if it is not there
    pub(super) fn offer_again(&self, upload: Id, file: Id) -> io::Result<bool> {
        let _guard = self.guard(upload);
        moved(&self.removed(upload, file), &self.path(upload, file))
    }

    /// Erases a file's content and marks it deleted; nothing happens if it has none
    ///
    /// The content goes first: a full disk has space again for the mark.
    pub(super) fn erase(&self, upload: Id, file: Id) -> io::Result<()> {
        let _guard = self.guard(upload);
        unlink(&self.arriving(upload, file))?;
        self.discard(&self.path(upload, file))?;
        self.discard(&self.removed(upload, file))?;
        if let Err(error) = self.record_erased(upload, file) {
            tracing::warn!(%error, upload = upload.hint(), "erased file is marked in memory only for now");
            lock(&self.unrecorded).insert((upload, file));
        }
        Ok(())
    }

    fn record_erased(&self, upload: Id, file: Id) -> io::Result<()> {
        self.edit(upload, Room::Any, |record| {
            if let Some(found) = record.file_mut(file) {
                found.status = Status::Deleted;
            }
            Ok::<_, io::Error>(())
        })?;
        lock(&self.unrecorded).remove(&(upload, file));
        Ok(())
    }

    /// Erases an upload with all its files
    pub(super) fn remove(&self, id: Id) -> io::Result<()> {
        let _guard = self.guard(id);
        self.remove_guarded(id)
    }

    fn remove_guarded(&self, id: Id) -> io::Result<()> {
        let held = self.bytes(id);
        // Removes a link itself and never what it leads to.
        let removed = fs::remove_dir_all(self.folder(id));
        self.budget.give(held.saturating_sub(self.bytes(id)));
        if removed.is_ok() {
            let fewer = |held: u64| Some(held.saturating_sub(1));
            let _ = self.uploads_held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
            lock(&self.unrecorded).retain(|(upload, _)| *upload != id);
        }
        removed
    }

    /// Opens a file's content, never through a link
    pub(super) fn content(&self, upload: Id, file: Id) -> io::Result<File> {
        open_regular(&self.path(upload, file))
    }

    /// Erases expired uploads
    pub(super) fn sweep(&self) -> io::Result<SweepReport> {
        let unrecorded: Vec<_> = lock(&self.unrecorded).iter().copied().collect();
        for (upload, file) in unrecorded {
            let _guard = self.guard(upload);
            if let Err(error) = self.record_erased(upload, file) {
                tracing::debug!(%error, upload = upload.hint(), "erased file is still marked in memory only");
            }
        }
        let mut report = SweepReport::default();
        let mut oldest = u64::MAX;
        self.each(|id, record| {
            if record.is_some_and(Record::is_expired) {
                report.bytes += self.content_bytes(id);
                report.uploads += 1;
                self.remove(id)?;
            } else if let Some(record) = record {
                oldest = oldest.min(record.made_at());
            }
            Ok(())
        })?;
        if oldest != u64::MAX {
            self.oldest.store(oldest, Ordering::Relaxed);
        }
        Ok(report)
    }

    /// Brings the folder in order before a server starts: erases what is expired or was cut short
    pub(super) fn recover(&self) -> io::Result<SweepReport> {
        let report = self.sweep()?;
        self.each(|id, record| {
            let Some(record) = record else {
                // The folder was made and the server killed before the record was written.
                return self.remove(id);
            };
            unlink(&self.folder(id).join(RECORD_DRAFT))?;
            for file in &record.files {
                let Some(id_of_file) = Id::parse(&file.id) else { continue };
                match file.status {
                    Status::Missing | Status::Uploaded => {}
                    Status::Uploading | Status::Removed => self.erase(id, id_of_file)?,
                    // Killed between the erasure and the mark, in either order.
                    Status::Deleted => {
                        for path in [self.arriving(id, id_of_file), self.path(id, id_of_file)] {
                            unlink(&path)?;
                        }
                    }
                }
            }
            Ok(())
        })?;
        self.count()?;
        Ok(report)
    }

    /// Counts what is stored from the beginning
    fn count(&self) -> io::Result<()> {
        self.budget.give(u64::MAX);
        let mut uploads = 0;
        for entry in fs::read_dir(&self.uploads)? {
            if let Some(id) = entry?.file_name().to_str().and_then(Id::parse) {
                self.budget.add(self.bytes(id));
                uploads += 1;
            }
        }
        self.uploads_held.store(uploads, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes that an upload counts: its folder, its record and its files, but for what is arriving
    fn bytes(&self, id: Id) -> u64 {
        let Ok(entries) = fs::read_dir(self.folder(id)) else { return 0 };
        let arriving = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.ends_with(ARRIVING));
        let files = entries.flatten().filter(|entry| !arriving(&entry.file_name()));
        let lengths = files.filter_map(|entry| entry.metadata().ok()).map(|found| found.len());
        lengths.fold(ENTRY, |sum, length| sum.saturating_add(length).saturating_add(ENTRY))
    }

    /// Calls `visit` with each upload's record, or without one where it is absent; unreadable ones are left alone
    fn each(&self, mut visit: impl FnMut(Id, Option<&Record>) -> io::Result<()>) -> io::Result<()> {
        for entry in fs::read_dir(&self.uploads)? {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().and_then(Id::parse) else { continue };
            // Asks about a link itself, not about what it leads to.
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let outcome = self.load(id).and_then(|record| visit(id, record.as_ref()));
            if let Err(error) = outcome {
                tracing::warn!(upload = id.hint(), %error, "upload can't be read or erased and is left as it is");
            }
        }
        Ok(())
    }

    fn content_bytes(&self, id: Id) -> u64 {
        let Ok(entries) = fs::read_dir(self.folder(id)) else { return 0 };
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| Id::parse(name).is_some()))
            .filter_map(|entry| entry.metadata().ok())
            .map(|found| found.len())
            .sum()
    }

    /// Writes the record; nothing changes where that fails
    fn save(&self, id: Id, record: &Record, room: Room) -> io::Result<()> {
        let folder = self.folder(id);
        let (draft, place) = (folder.join(RECORD_DRAFT), folder.join(RECORD));
        let bytes = serde_json::to_vec(record)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX).saturating_add(ENTRY);
        let before = fs::symlink_metadata(&place).map_or(0, |found| found.len().saturating_add(ENTRY));
        let growth = length.saturating_sub(before);
        match room {
            Room::Any => self.budget.add(growth),
            Room::Limited if length > MAX_RECORD => {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, RecordTooLong { max: MAX_RECORD }));
            }
            Room::Limited => self.budget.take(growth)?,
        }
        let written = write_new(&draft, &bytes).and_then(|()| fs::rename(&draft, &place));
        if written.is_err() {
            self.budget.give(growth);
            unlink(&draft)?;
        } else {
            self.budget.give(before.saturating_sub(length));
        }
        written
    }

    /// Erases one file and gives its bytes back
    fn discard(&self, path: &Path) -> io::Result<()> {
        let length = fs::symlink_metadata(path).map_or(0, |found| found.len().saturating_add(ENTRY));
        unlink(path)?;
        self.budget.give(length);
        Ok(())
    }

    fn path(&self, upload: Id, file: Id) -> PathBuf {
        self.folder(upload).join(file.as_str())
    }

    fn arriving(&self, upload: Id, file: Id) -> PathBuf {
        self.folder(upload).join(format!("{file}{ARRIVING}"))
    }

    fn removed(&self, upload: Id, file: Id) -> PathBuf {
        self.folder(upload).join(format!("{file}{REMOVED}"))
    }

    fn folder(&self, id: Id) -> PathBuf {
        self.uploads.join(id.as_str())
    }

    fn guard(&self, id: Id) -> Option<MutexGuard<'_, ()>> {
        // The lock guards files and no memory, so a panic elsewhere leaves nothing broken.
        self.stripes.get(id.share(STRIPES)).map(|stripe| lock(stripe))
    }
}

impl Store {
    /// Adds a file whose content is about to arrive, or takes the declared one that was waiting for it
    pub(super) fn begin_file<E: From<io::Error>>(
        &self,
        upload: Id,
        file: Id,
        add: impl FnOnce(&mut Record) -> Result<(), E>,
    ) -> Result<Option<(File, Lease)>, E> {
        let lease = Lease::new(&self.budget)?;
        {
            let _guard = self.guard(upload);
            if self.edit(upload, Room::Limited, add)?.is_none() {
                return Ok(None);
            }
        }
        let made = private_options().write(true).create_new(true).open(self.arriving(upload, file));
        match made {
            Ok(content) => Ok(Some((content, lease))),
            Err(error) => {
                self.erase(upload, file)?;
                Err(error.into())
            }
        }
    }

    /// Gives content that arrived its name and its record; nothing if the upload was removed meanwhile
    pub(super) fn finish_file<T, E: From<io::Error>>(
        &self,
        upload: Id,
        file: Id,
        lease: Lease,
        change: impl FnOnce(&mut Record) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let _guard = self.guard(upload);
        if !moved(&self.arriving(upload, file), &self.path(upload, file))? {
            return Ok(None);
        }
        // The file counts by its name now, also where it has to be erased again.
        lease.keep();
        self.edit(upload, Room::Any, change)
    }
}

/// Whether a change needs room in the folder's budget
#[derive(Debug, Clone, Copy)]
enum Room {
    /// It stores what a client sent
    Limited,
    /// It only says what became of that
    Any,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under these locks, and their content is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Renames a file within its folder; false if it is not there
fn moved(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a file that does not exist yet
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    unlink(path)?;
    private_options().write(true).create_new(true).open(path)?.write_all(bytes)
}

/// Erases one file or link; one that is absent is as good
fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    set_private_mode(&mut builder);
    builder.create(dir)
}

/// Opens an ordinary file for reading and refuses links, pipes and devices
fn open_regular(path: &Path) -> io::Result<File> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("not an ordinary file"));
    }
    // The flag closes the gap between the look and the opening.
    private_options().read(true).open(path)
}

#[cfg(unix)]
fn set_private_mode(builder: &mut DirBuilder) {
    use std::os::unix::fs::DirBuilderExt as _;
    builder.mode(0o700);
}

#[cfg(not(unix))]
fn set_private_mode(_: &mut DirBuilder) {}

/// Options to open a file that only this user may read, never through a link where the system can refuse that
fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    }
    options
}
