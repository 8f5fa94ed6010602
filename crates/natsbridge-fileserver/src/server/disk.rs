//! The server's folder: one sub-folder per upload with its record and its files, named by identifiers only.
//!
//! ```text
//! DIR/lock                    held by the one server that works here
//! DIR/uploads/ID/record.json  replaced by rename, so it is old or new and never half
//! DIR/uploads/ID/FILEID       content
//! ```
//!
//! Everything here blocks. Nothing is forced to the disk's platter: a record survives a killed server, not
//! necessarily a power cut.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{
    error::ServerError,
    ids::Id,
    record::{Record, Status},
};

const RECORD: &str = "record.json";
const RECORD_DRAFT: &str = "record.json.new";

/// Locks that keep two changes of one record apart; several uploads share one
const STRIPES: usize = 64;

/// What a sweep erased
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// Uploads whose time was over
    pub uploads: u64,
    /// Bytes of file content erased with them
    pub bytes: u64,
}

/// Erases the expired uploads, and what a killed server left half done, from a folder no server works on
///
/// It blocks while it works. A running [`FileServer`](super::FileServer) sweeps its own folder.
///
/// # Errors
/// [`ServerError::Locked`] while a server works on the folder, [`ServerError::Folder`] if it can't be used or does
/// not exist.
pub fn sweep(dir: &Path) -> Result<SweepReport, ServerError> {
    let folder = |source| ServerError::Folder { dir: dir.to_owned(), source };
    fs::metadata(dir.join("uploads")).map_err(folder)?;
    let (store, _lock) = Store::open(dir)?;
    store.recover().map_err(folder)
}

/// Keeps a second server off the folder until it is dropped
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// The folder of uploads
#[derive(Debug)]
pub(super) struct Store {
    uploads: PathBuf,
    stripes: [Mutex<()>; STRIPES],
}

impl Store {
    /// Makes the folder if it is absent and locks it
    pub(super) fn open(dir: &Path) -> Result<(Self, Lock), ServerError> {
        let folder = |source| ServerError::Folder { dir: dir.to_owned(), source };
        let uploads = dir.join("uploads");
        private_dir(dir).and_then(|()| private_dir(&uploads)).map_err(folder)?;
        let lock = private_options().write(true).create(true).truncate(false).open(dir.join("lock")).map_err(folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ServerError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(folder(source)),
        }
        if !fs::symlink_metadata(&uploads).map_err(folder)?.is_dir() {
            return Err(folder(io::Error::other("uploads is not a folder")));
        }
        Ok((Self { uploads, stripes: std::array::from_fn(|_| Mutex::new(())) }, Lock(lock)))
    }

    /// Makes an upload's folder and its record
    pub(super) fn create(&self, id: Id, record: &Record) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        set_private_mode(&mut builder);
        builder.create(self.folder(id))?;
        self.save(id, record)
    }

    /// Reads an upload's record; nothing if there is no such upload
    pub(super) fn load(&self, id: Id) -> io::Result<Option<Record>> {
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
    pub(super) fn edit<T, E: From<io::Error>>(
        &self,
        id: Id,
        change: impl FnOnce(&mut Record) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let _guard = self.guard(id);
        let Some(mut record) = self.load(id)? else { return Ok(None) };
        let answer = change(&mut record)?;
        self.save(id, &record)?;
        Ok(Some(answer))
    }

    /// Changes a file's status from `from` to `to`; false if it was another or there is no such file
    pub(super) fn shift(&self, upload: Id, file: Id, from: Status, to: Status) -> io::Result<bool> {
        let _guard = self.guard(upload);
        let Some(mut record) = self.load(upload)? else { return Ok(false) };
        match record.file_mut(file) {
            Some(found) if found.status == from => found.status = to,
            _ => return Ok(false),
        }
        self.save(upload, &record)?;
        Ok(true)
    }

    /// Marks a file deleted and erases its content; nothing happens if it has none
    pub(super) fn erase(&self, upload: Id, file: Id) -> io::Result<()> {
        self.edit(upload, |record| {
            if let Some(found) = record.file_mut(file) {
                found.status = Status::Deleted;
            }
            Ok::<_, io::Error>(())
        })?;
        unlink(&self.folder(upload).join(file.as_str()))
    }

    /// Erases an upload with all its files
    pub(super) fn remove(&self, id: Id) -> io::Result<()> {
        let _guard = self.guard(id);
        // Removes a link itself and never what it leads to.
        fs::remove_dir_all(self.folder(id))
    }

    /// Makes the file that new content goes to
    pub(super) fn new_content(&self, upload: Id, file: Id) -> io::Result<File> {
        private_options().write(true).create_new(true).open(self.folder(upload).join(file.as_str()))
    }

    /// Opens a file's content, never through a link
    pub(super) fn content(&self, upload: Id, file: Id) -> io::Result<File> {
        open_regular(&self.folder(upload).join(file.as_str()))
    }

    /// Erases expired uploads
    pub(super) fn sweep(&self) -> io::Result<SweepReport> {
        let mut report = SweepReport::default();
        self.each(|id, record| {
            if record.is_some_and(Record::is_expired) {
                report.bytes += self.content_bytes(id);
                report.uploads += 1;
                self.remove(id)?;
            }
            Ok(())
        })?;
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
                    // Killed between the mark and the erasure.
                    Status::Deleted => unlink(&self.folder(id).join(id_of_file.as_str()))?,
                }
            }
            Ok(())
        })?;
        Ok(report)
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

    fn save(&self, id: Id, record: &Record) -> io::Result<()> {
        let folder = self.folder(id);
        let draft = folder.join(RECORD_DRAFT);
        unlink(&draft)?;
        let mut file = private_options().write(true).create_new(true).open(&draft)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        drop(file);
        fs::rename(&draft, folder.join(RECORD))
    }

    fn folder(&self, id: Id) -> PathBuf {
        self.uploads.join(id.as_str())
    }

    fn guard(&self, id: Id) -> Option<std::sync::MutexGuard<'_, ()>> {
        // The lock guards files and no memory, so a panic elsewhere leaves nothing broken.
        self.stripes.get(id.share(STRIPES)).map(|stripe| stripe.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    /// Adds a file whose content is about to arrive, or takes the declared one that was waiting for it
    pub(super) fn begin_file<E: From<io::Error>>(
        &self,
        upload: Id,
        file: Id,
        add: impl FnOnce(&mut Record) -> Result<(), E>,
    ) -> Result<Option<File>, E> {
        let added = self.edit(upload, add)?;
        if added.is_none() {
            return Ok(None);
        }
        Ok(Some(self.new_content(upload, file)?))
    }
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
