//! A folder for what is read once and then forgotten: private to this user, and gone when the program is.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use tempfile::TempDir;

/// How the folders' names begin
const PREFIX: &str = "natsbridge-";

/// The file whose lock says that a folder is in use
const LOCK: &str = "lock";

/// A program's folder, made when it is first needed
#[derive(Debug)]
pub(crate) struct Scratch(OnceLock<Made>);

/// The folder; its lock ends with the process, however that ends
#[derive(Debug)]
struct Made {
    dir: TempDir,
    _lock: File,
}

impl Scratch {
    /// Removes the folders of programs that were killed, at once; its own is made later
    pub(crate) fn new() -> Self {
        sweep(&std::env::temp_dir());
        Self(OnceLock::new())
    }

    /// A new folder for one payload, which only this user may look into; it goes when the value does
    pub(crate) fn folder(&self) -> io::Result<TempDir> {
        let made = match self.0.get() {
            Some(made) => made,
            None => {
                let made = Made::within(&std::env::temp_dir())?;
                // A second one that was made at the same time is removed again.
                self.0.get_or_init(|| made)
            }
        };
        builder().tempdir_in(made.dir.path())
    }
}

/// Of folders that only this user may look into
fn builder<'a>() -> tempfile::Builder<'a, 'a> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o700));
    }
    builder
}

impl Made {
    fn within(parent: &Path) -> io::Result<Self> {
        // Another program may take a new folder for a dead one, until its lock is held.
        for _ in 0..3 {
            let dir = builder().prefix(PREFIX).tempdir_in(parent)?;
            let lock = File::create_new(dir.path().join(LOCK));
            if let Ok(lock) = lock
                && lock.lock().is_ok()
                && dir.path().join(LOCK).exists()
            {
                return Ok(Self { dir, _lock: lock });
            }
        }
        Err(io::Error::other(format!("no folder in {} could be locked", parent.display())))
    }
}

/// Removes the folders of programs that were killed; what can't be removed belongs to others
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let lock = entry.path().join(LOCK);
        // Never through a symbolic link, which anybody may place there.
        let sound = ours
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && fs::symlink_metadata(&lock).is_ok_and(|lock| lock.is_file());
        if sound
            && let Ok(lock) = File::open(&lock)
            && lock.try_lock().is_ok()
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::debug!(%error, path = %entry.path().display(), "a folder that nobody uses stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_programs_are_swept_and_those_in_use_stay() {
        let parent = tempfile::tempdir().unwrap();
        let used = Made::within(parent.path()).unwrap();
        let dead = parent.path().join(format!("{PREFIX}dead"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("half a payload"), "x").unwrap();
        let other = parent.path().join("natsbridge-notes");
        fs::create_dir(&other).unwrap();
        sweep(parent.path());
        let next = Made::within(parent.path()).unwrap();
        assert!(!dead.exists() && other.exists() && used.dir.path().exists() && next.dir.path().exists());
        let path = next.dir.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }

    #[cfg(unix)]
    #[test]
    fn scratch_folder_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().unwrap();
        let made = Made::within(parent.path()).unwrap();
        assert_eq!(fs::metadata(made.dir.path()).unwrap().permissions().mode() & 0o077, 0);
    }
}
