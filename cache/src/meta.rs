//! How often results were used, for the collector.
//!
//! The only module that names sled. The database is opened for one short
//! section at a time under an exclusive flock on `meta.lock`: read all, or change
//! what is asked and flush, then close. Nothing here is needed to
//! build: a missing or damaged database only changes what is collected first.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{IoContext, StoreError};
use crate::lock::{FileLock, Mode};
use crate::store::Shared;

/// How often and when something was used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Use {
    /// Number of uses.
    pub(crate) count: u64,
    /// Seconds since the epoch.
    pub(crate) last: u64,
}

/// The database of uses of a store.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    shared: Arc<Shared>,
}

/// How long a database that another process is just closing is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Use {
    fn encode(self) -> Vec<u8> {
        [self.count.to_le_bytes(), self.last.to_le_bytes()].concat()
    }

    fn decode(value: &[u8]) -> Self {
        let number = |bytes: Option<&[u8]>| {
            bytes
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_le_bytes)
        };
        Self {
            count: number(value.get(..8)),
            last: number(value.get(8..16)),
        }
    }
}

impl Meta {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Counts one use of each of `keys` at `now`, in seconds since the epoch.
    pub(crate) fn count(&self, keys: &[&[u8]], now: u64) -> Result<(), StoreError> {
        self.with(|db| {
            for key in keys {
                let before = db.get(key)?.map(|value| Use::decode(&value));
                let before = before.unwrap_or_default();
                let after = Use {
                    count: before.count + 1,
                    last: before.last.max(now),
                };
                db.insert(key, after.encode())?;
            }
            db.flush().map(drop)
        })
    }

    /// Returns all uses, by key.
    pub(crate) fn uses(&self) -> Result<HashMap<Vec<u8>, Use>, StoreError> {
        if !self.exists() {
            return Ok(HashMap::new());
        }
        self.with(|db| {
            db.iter()
                .map(|pair| pair.map(|(key, value)| (key.to_vec(), Use::decode(&value))))
                .collect()
        })
    }

    /// Forgets the uses of `keys`.
    pub(crate) fn forget(&self, keys: &[[u8; 32]]) -> Result<(), StoreError> {
        if keys.is_empty() || !self.exists() {
            return Ok(());
        }
        self.with(|db| {
            keys.iter().try_for_each(|key| db.remove(key).map(drop))?;
            db.flush().map(drop)
        })
    }

    fn path(&self) -> PathBuf {
        self.shared.layout.dir("meta")
    }

    fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Runs one short section with the database open, alone among all processes.
    ///
    /// A database that does not open any more is put aside: it holds nothing
    /// that a build needs, and a later build must not fail on it.
    fn with<T>(&self, run: impl Fn(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        let _lock = FileLock::wait(&self.shared.layout.dir("meta.lock"), Mode::Exclusive)?;
        match self.attempt(&run) {
            Err(sled::Error::Corruption { .. } | sled::Error::ReportableBug(_)) => {
                let path = self.path();
                let aside = self.shared.tmp_path();
                std::fs::rename(&path, &aside).during("put aside", &path)?;
                self.attempt(&run).map_err(|error| self.failure(error))
            }
            other => other.map_err(|error| self.failure(error)),
        }
    }

    fn attempt<T>(&self, run: impl Fn(&sled::Db) -> sled::Result<T>) -> sled::Result<T> {
        let config = sled::Config::new()
            .path(self.path())
            .mode(sled::Mode::LowSpace)
            .cache_capacity(16 << 20)
            .flush_every_ms(None);
        let began = Instant::now();
        loop {
            match config.open() {
                Ok(db) => return run(&db),
                // sled's own lock outlives a close by a moment.
                Err(sled::Error::Io(error)) if is_locked(&error) && began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn failure(&self, error: sled::Error) -> StoreError {
        match error {
            sled::Error::Io(source) => StoreError::io("use", &self.path(), source),
            other => StoreError::Meta {
                path: self.path(),
                message: other.to_string(),
            },
        }
    }
}

fn is_locked(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock
        || error.to_string().contains("could not acquire lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn uses_add_up_and_can_be_forgotten() {
        let (dir, store) = store();
        let meta = store.meta();
        assert_eq!(meta.uses().expect("uses"), HashMap::new());
        meta.forget(&[[1; 32]]).expect("forget");
        assert!(
            !dir.path().join("meta").exists(),
            "nothing opened the database"
        );
        let (one, two) = ([1; 32], [2; 32]);
        meta.count(&[&one, &two], 5).expect("count");
        meta.count(&[&one], 3).expect("count");
        meta.forget(&[two]).expect("forget");
        let expected = HashMap::from([(one.to_vec(), Use { count: 2, last: 5 })]);
        assert_eq!(meta.uses().expect("uses"), expected);
    }

    #[test]
    fn many_threads_and_stores_take_turns() {
        let (dir, opened) = store();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let store = crate::Store::open(dir.path(), crate::StoreOptions::default());
                    let meta = store.expect("open").meta();
                    for _ in 0..5 {
                        meta.count(&[b"key"], 1).expect("count");
                    }
                });
            }
        });
        let expected = HashMap::from([(b"key".to_vec(), Use { count: 20, last: 1 })]);
        assert_eq!(opened.meta().uses().expect("uses"), expected);
    }
}
