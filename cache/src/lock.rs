//! File locks between processes.
//!
//! All locks are `flock`s: the kernel drops them with their owner, however it
//! ends, so that there is no stale lock to break. Order, outermost first:
//! collector (`collector`), lease (`lock`, `leases/…`), claim (`locks/…`),
//! gate (`gate`), details (`meta.lock`). No code waits for a lock while holding
//! one further right.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{IoContext, StoreError};
use crate::layout::refused;

/// How to lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: File,
}

impl FileLock {
    /// Waits until the lock at `path` is had.
    pub(crate) fn wait(path: &Path, mode: Mode) -> Result<Self, StoreError> {
        let lock = Self { file: open(path)? };
        lock.relock(path, mode)?;
        Ok(lock)
    }

    /// Waits for a lock that was released.
    fn relock(&self, path: &Path, mode: Mode) -> Result<(), StoreError> {
        let operation = match mode {
            Mode::Shared => FlockOperation::LockShared,
            Mode::Exclusive => FlockOperation::LockExclusive,
        };
        rustix::io::retry_on_intr(|| flock(&self.file, operation)).during("lock", path)
    }

    /// Gives the lock up, but keeps the file open for the next time.
    fn release(&self) {
        // Unlocking an open file cannot fail.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }

    /// Takes the lock at `path` if nobody is in the way.
    pub(crate) fn attempt(path: &Path, mode: Mode) -> Result<Option<Self>, StoreError> {
        let file = open(path)?;
        let operation = match mode {
            Mode::Shared => FlockOperation::NonBlockingLockShared,
            Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&file, operation) {
            Ok(()) => Ok(Some(Self { file })),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
            Err(error) => Err(StoreError::io("lock", path, error.into())),
        }
    }

    /// Writes to the beginning of the file that is locked.
    pub(crate) fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.file.write_all_at(bytes, 0)
    }

    /// Whether `path` still names the file that is locked, not a later one.
    pub(crate) fn is_current(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        match (self.file.metadata(), std::fs::metadata(path)) {
            (Ok(held), Ok(named)) => held.ino() == named.ino() && held.dev() == named.dev(),
            _ => false,
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| refused("open", path, error))
}

/// A held claim: no other process executes the same key meanwhile.
#[derive(Debug)]
pub struct ClaimGuard {
    // Removed before the lock goes, so that `locks/` does not grow.
    path: PathBuf,
    _lock: FileLock,
}

impl ClaimGuard {
    pub(crate) fn wait(path: PathBuf) -> Result<Self, StoreError> {
        loop {
            let lock = FileLock::wait(&path, Mode::Exclusive)?;
            if lock.is_current(&path) {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    pub(crate) fn attempt(path: PathBuf) -> Result<Option<Self>, StoreError> {
        let lock = FileLock::attempt(&path, Mode::Exclusive)?;
        Ok(lock
            .filter(|lock| lock.is_current(&path))
            .map(|lock| Self { path, _lock: lock }))
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        // A waiter that gets the lock of the removed file sees that it is not current.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A lock that many threads of this process share, and that another process takes alone.
///
/// A shared `flock` belongs to the open file, not to a thread: the first thread in takes it,
/// the last one out releases it. Nobody stays inside longer than a few system calls.
#[derive(Debug)]
pub(crate) struct Gate {
    path: PathBuf,
    inside: Mutex<(usize, Option<FileLock>)>,
}

impl Gate {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            inside: Mutex::default(),
        }
    }

    /// Runs `section` while no process is alone inside.
    pub(crate) fn pass<T>(&self, section: impl FnOnce() -> T) -> Result<T, StoreError> {
        {
            let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
            match &inside.1 {
                None => inside.1 = Some(FileLock::wait(&self.path, Mode::Shared)?),
                Some(lock) if inside.0 == 0 => lock.relock(&self.path, Mode::Shared)?,
                Some(_) => {}
            }
            inside.0 += 1;
        }
        let result = section();
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.0 -= 1;
        if let (0, Some(lock)) = (inside.0, &inside.1) {
            lock.release();
        }
        Ok(result)
    }

    /// Waits until nobody is inside and keeps everybody out until the lock is dropped.
    pub(crate) fn close(&self) -> Result<FileLock, StoreError> {
        FileLock::wait(&self.path, Mode::Exclusive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_excludes_another_until_it_is_dropped() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("key");
        let first = ClaimGuard::attempt(path.clone())
            .expect("lock")
            .expect("free");
        assert!(ClaimGuard::attempt(path.clone()).expect("lock").is_none());
        drop(first);
        assert!(!path.exists());
        assert!(ClaimGuard::attempt(path).expect("lock").is_some());
    }

    #[test]
    fn many_threads_take_turns_on_one_claim() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("key");
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let _claim = ClaimGuard::wait(path.clone()).expect("lock");
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
