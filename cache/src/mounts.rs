//! RUN cache mounts, and the builder's mirrors of repositories, as the collector sees them.
//!
//! A cache mount is a directory `mounts/NAME` that steps change at will; a mirror, which the
//! builder changes, is one that is called `git-HEX`. Whoever uses it holds a
//! shared lock on `mounts/NAME.used`, whose mtime is the last use; the collector takes a mount
//! only with that lock alone. `mounts/NAME.lock` is the step's own, for its kind of sharing.

mod carry;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{IoContext, StoreError};
use crate::gc::list;
use crate::lock::{FileLock, Mode};
use crate::store::{Shared, Store, remove_tree};

pub use carry::{MountBlob, MountError, PackedMount};

/// Keeps a cache mount from being collected while a step uses it.
#[derive(Debug)]
pub struct MountHold {
    _lock: FileLock,
}

impl Store {
    /// Returns the directory that holds RUN cache mounts.
    pub fn mounts_dir(&self) -> PathBuf {
        self.shared().layout.dir("mounts")
    }

    /// Marks the cache mount `name` as used now, and in use until the hold is dropped.
    pub fn hold_mount(&self, name: &str) -> Result<MountHold, StoreError> {
        let path = used_file(&self.mounts_dir(), name);
        loop {
            let lock = FileLock::wait(&path, Mode::Shared)?;
            // A collector removes the file together with the mount.
            if lock.is_current(&path) {
                File::open(&path)
                    .and_then(|file| file.set_modified(std::time::SystemTime::now()))
                    .during("mark", &path)?;
                return Ok(MountHold { _lock: lock });
            }
        }
    }

    /// Returns the names of all cache mounts.
    pub(crate) fn mount_names(&self) -> Result<Vec<String>, StoreError> {
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        let dirs = list(&self.mounts_dir())?;
        Ok(dirs
            .iter()
            .filter(|path| path.is_dir())
            .filter_map(name)
            .collect())
    }
}

/// Returns the file whose mtime is the last use of the mount `name`.
pub(crate) fn used_file(mounts: &Path, name: &str) -> PathBuf {
    mounts.join(format!("{name}.used"))
}

/// Removes the mount `name` unless a step uses it; whether it did.
///
/// The directory leaves at once; what is returned is still to be removed.
pub(crate) fn take_mount(shared: &Shared, name: &str) -> Result<Option<PathBuf>, StoreError> {
    let mounts = shared.layout.dir("mounts");
    let used = used_file(&mounts, name);
    let lock = FileLock::attempt(&used, Mode::Exclusive)?;
    let Some(_lock) = lock.filter(|lock| lock.is_current(&used)) else {
        return Ok(None);
    };
    let aside = shared.tmp_path();
    let dir = mounts.join(name);
    fs::rename(&dir, &aside).during("remove", &dir)?;
    let _ = fs::remove_file(mounts.join(format!("{name}.lock")));
    let _ = fs::remove_file(&used);
    Ok(Some(aside))
}

/// Removes what was put aside, now that nobody can find it.
pub(crate) fn remove_aside(paths: &[PathBuf]) {
    for path in paths {
        // What cannot be removed is removed by whoever opens the store after this process.
        let _ = remove_tree(path);
    }
}

#[cfg(test)]
mod tests;
