//! Files that are not whole yet: each has a lock beside it while its program lives, so that what dead ones left can go.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::TempPath;
use tokio::task::spawn_blocking;
use uuid::Uuid;

/// How the names begin, before 32 hexadecimal digits
const PREFIX: &str = ".natsbridge-";
/// How the name of an unfinished file ends; a private one is a folder
const PART: &str = ".part";
/// How the name of its lock ends
const LOCK: &str = ".lock";

/// A path that nothing stands at yet; what is written there goes with the value, unless it is placed
pub(crate) struct Unfinished {
    // Dropped in this order: the lock says until the end that the file is alive.
    file: TempPath,
    _folder: Option<Folder>,
    _lock: Lock,
}

impl Unfinished {
    /// In `dir`, which is made where it is missing; what dead programs left there is removed first, once for a program
    pub(crate) async fn new(dir: &Path) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?;
        blocking(move || {
            fs::create_dir_all(&dir)?;
            sweep_once(&dir);
            let (lock, part) = Lock::new(&dir)?;
            Ok(Self { file: TempPath::try_from_path(part)?, _folder: None, _lock: lock })
        })
        .await
    }

    /// In a folder of its own in `dir`, which only this user may look into
    pub(crate) async fn private(dir: &Path) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?;
        blocking(move || {
            sweep_once(&dir);
            let (lock, part) = Lock::new(&dir)?;
            let mut builder = fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(&part)?;
            let file = TempPath::try_from_path(part.join("payload"))?;
            Ok(Self { file, _folder: Some(Folder(part)), _lock: lock })
        })
        .await
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    /// Gives the file its name, unless that is taken
    ///
    /// # Errors
    /// With the file, for another name.
    pub(crate) fn place(self, path: &Path) -> Result<(), (io::Error, Self)> {
        let Self { file, _folder, _lock } = self;
        match file.persist_noclobber(path) {
            Ok(()) => Ok(()),
            Err(error) => Err((error.error, Self { file: error.path, _folder, _lock })),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// An empty folder that goes with the value
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next program.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Says that a program lives: the system lets go of it when the program ends, however it ends
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// A lock in `dir`, and the path that it is for
    fn new(dir: &Path) -> io::Result<(Self, PathBuf)> {
        loop {
            let name = format!("{PREFIX}{}", Uuid::new_v4().simple());
            let path = dir.join(format!("{name}{LOCK}"));
            let file = File::options().write(true).create_new(true).open(&path)?;
            match file.try_lock() {
                // Where a file system has no locks, nobody can take this file for a dead program's either.
                Ok(()) | Err(TryLockError::Error(_)) => {}
                Err(TryLockError::WouldBlock) => continue,
            }
            // Another program may have taken it for dead in between, and removed it.
            if fs::exists(&path)? {
                return Ok((Self { path, _file: file }, dir.join(format!("{name}{PART}"))));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what programs left in a folder that ended while they saved: killed, or without power
///
/// Files of programs that still run stay: a lock tells them apart. [`Payload::save`](crate::Payload::save) does the same when
/// a program first saves into a folder, so this is only needed for a folder that nothing may be saved into for long. Returns
/// how many files were removed; none from a folder that is missing.
///
/// # Errors
/// When the folder can't be read.
pub async fn remove_unfinished(dir: impl AsRef<Path> + Send) -> io::Result<u64> {
    let dir = dir.as_ref().to_owned();
    blocking(move || match sweep(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        removed => removed,
    })
    .await
}

/// Folders that are remembered as swept
const MAX_SWEPT: usize = 1_024;

fn sweep_once(dir: &Path) {
    static SWEPT: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let first = {
        let mut swept = SWEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let swept = swept.get_or_insert_default();
        if swept.len() >= MAX_SWEPT {
            swept.clear();
        }
        swept.insert(dir.to_owned())
    };
    if first {
        match sweep(dir) {
            Ok(0) | Err(_) => {}
            Ok(removed) => {
                tracing::info!(removed, folder = %dir.display(), "unfinished files of an earlier program removed")
            }
        }
    }
}

fn sweep(dir: &Path) -> io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some((id, is_lock)) = name.to_str().and_then(parsed) else { continue };
        let lock = dir.join(format!("{PREFIX}{id}{LOCK}"));
        let part = dir.join(format!("{PREFIX}{id}{PART}"));
        // A lock is made before its file and removed after it: a file without one is dead.
        let dead = if is_lock { taken(&lock) } else { (!fs::exists(&lock).unwrap_or(true)).then_some(None) };
        let Some(_held) = dead else { continue };
        removed += u64::from(erase(&part));
        if is_lock {
            let _ = fs::remove_file(&lock);
        }
    }
    Ok(removed)
}

/// The lock of a program that has ended, now held; nothing where it lives
fn taken(lock: &Path) -> Option<Option<File>> {
    // In a folder that strangers write to, it may be anything.
    if !fs::symlink_metadata(lock).is_ok_and(|metadata| metadata.is_file()) {
        return None;
    }
    let file = File::options().write(true).open(lock).ok()?;
    file.try_lock().is_ok().then_some(Some(file))
}

/// Whether something was there and is gone
fn erase(part: &Path) -> bool {
    match fs::symlink_metadata(part) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(part).is_ok(),
        Ok(_) => fs::remove_file(part).is_ok(),
        Err(_) => false,
    }
}

/// The digits of such a name, and whether it is a lock's
fn parsed(name: &str) -> Option<(&str, bool)> {
    let rest = name.strip_prefix(PREFIX)?;
    let (id, is_lock) = match rest.strip_suffix(LOCK) {
        Some(id) => (id, true),
        None => (rest.strip_suffix(PART)?, false),
    };
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some((id, is_lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn files_of_dead_programs_are_removed_and_of_running_ones_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (alive, private) =
            (Unfinished::new(dir.path()).await.unwrap(), Unfinished::private(dir.path()).await.unwrap());
        fs::write(alive.path(), "half").unwrap();
        fs::write(private.path(), "half").unwrap();
        let living = names(dir.path());
        assert_eq!(living.len(), 4);
        let id = "0123456789abcdef0123456789abcdef";
        for left in
            [format!("{PREFIX}{id}{LOCK}"), format!("{PREFIX}{id}{PART}"), format!("{PREFIX}f{}{PART}", &id[1..])]
        {
            fs::write(dir.path().join(left), "half").unwrap();
        }
        let folder = dir.path().join(format!("{PREFIX}e{}{PART}", &id[1..]));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("payload"), "half").unwrap();
        for kept in [".natsbridge-notes.part", "film.part"] {
            fs::write(dir.path().join(kept), "whole").unwrap();
        }
        assert_eq!(remove_unfinished(dir.path()).await.unwrap(), 3);
        let mut left = living;
        left.extend([".natsbridge-notes.part".to_owned(), "film.part".to_owned()]);
        left.sort();
        assert_eq!(names(dir.path()), left);
        drop((alive, private));
        assert_eq!(names(dir.path()), [".natsbridge-notes.part", "film.part"]);
        assert_eq!(remove_unfinished(dir.path().join("missing")).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn first_save_into_a_folder_removes_files_of_dead_programs() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("a/b");
        drop(Unfinished::new(&missing).await.unwrap());
        assert!(names(&missing).is_empty());
        let dead = dir.path().join(format!("{PREFIX}{}{PART}", "0".repeat(32)));
        fs::write(&dead, "half").unwrap();
        let living = Unfinished::new(dir.path()).await.unwrap();
        assert!(!dead.exists());
        living.place(&dir.path().join("whole")).map_err(|(error, _)| error).unwrap_err();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn private_files_are_seen_by_their_user_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let private = Unfinished::private(dir.path()).await.unwrap();
        let mode = private.path().parent().unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
