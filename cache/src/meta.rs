//! Details about finished work, for `--explain`, scheduling and collection.
//!
//! The only module that names sled. The database is opened for one short
//! section at a time under an exclusive flock on `meta.lock`: read what is
//! asked, or apply one batch and flush, then close. Nothing here is needed to
//! build: a missing or damaged database costs explanations, no correctness.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{IoContext, StoreError};
use crate::lock::{FileLock, Mode};
use crate::store::Shared;

/// A table of details. Keys and values are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Solver key → components of the key, as the builder encodes them.
    Components,
    /// Vertex identity → duration of its last execution.
    Durations,
    /// Build id → what the build did.
    Builds,
    /// Solver key or layer id → use count and time of last use; see [`Batch::touch`].
    Uses,
}

/// How often and when something was used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Number of uses.
    pub count: u64,
    /// Seconds since the epoch.
    pub last: u64,
}

/// Changes to be applied together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    puts: Vec<(Table, Vec<u8>, Vec<u8>)>,
    touches: Vec<(Vec<u8>, u64)>,
}

impl Batch {
    /// Sets `key` of `table` to `value`.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.puts.push((table, key.into(), value.into()));
    }

    /// Counts one use of `key` at `now`, in seconds since the epoch.
    pub fn touch(&mut self, key: impl Into<Vec<u8>>, now: u64) {
        self.touches.push((key.into(), now));
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.touches.is_empty()
    }
}

/// A key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The details database of a store.
#[derive(Debug, Clone)]
pub struct Meta {
    shared: Arc<Shared>,
}

/// How long a database that another process is just closing is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Components => "components",
            Self::Durations => "durations",
            Self::Builds => "builds",
            Self::Uses => "uses",
        }
    }
}

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

    /// Applies `batch` and flushes it to disk. An empty batch opens nothing.
    pub fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.with(|db| {
            for (table, key, value) in &batch.puts {
                db.open_tree(table.name())?.insert(key, value.as_slice())?;
            }
            let uses = db.open_tree(Table::Uses.name())?;
            for (key, now) in &batch.touches {
                let before = uses
                    .get(key)?
                    .map(|value| Use::decode(&value))
                    .unwrap_or_default();
                let after = Use {
                    count: before.count + 1,
                    last: before.last.max(*now),
                };
                uses.insert(key, after.encode())?;
            }
            db.flush().map(drop)
        })
    }

    /// Returns the values of `keys` in `table`.
    pub fn get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        if keys.is_empty() || !self.exists() {
            return Ok(vec![None; keys.len()]);
        }
        self.with(|db| {
            let tree = db.open_tree(table.name())?;
            keys.iter()
                .map(|key| Ok(tree.get(key)?.map(|value| value.to_vec())))
                .collect()
        })
    }

    /// Returns all entries of `table`, by key.
    pub fn all(&self, table: Table) -> Result<Vec<Pair>, StoreError> {
        if !self.exists() {
            return Ok(Vec::new());
        }
        self.with(|db| {
            let pairs = db.open_tree(table.name())?;
            pairs
                .iter()
                .map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())))
                .collect()
        })
    }

    /// Removes `keys` from `table`.
    pub fn remove(&self, table: Table, keys: &[&[u8]]) -> Result<(), StoreError> {
        if keys.is_empty() || !self.exists() {
            return Ok(());
        }
        self.with(|db| {
            let tree = db.open_tree(table.name())?;
            keys.iter().try_for_each(|key| tree.remove(key).map(drop))?;
            db.flush().map(drop)
        })
    }

    /// Returns all uses, by key.
    pub fn uses(&self) -> Result<Vec<(Vec<u8>, Use)>, StoreError> {
        let decode = |(key, value): Pair| (key, Use::decode(&value));
        Ok(self.all(Table::Uses)?.into_iter().map(decode).collect())
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
    fn details_survive_and_uses_add_up() {
        let (dir, store) = store();
        let meta = store.meta();
        meta.apply(&Batch::default()).expect("empty");
        assert_eq!(meta.get(Table::Durations, &[b"k"]).expect("get"), [None]);
        assert!(
            !dir.path().join("meta").exists(),
            "nothing opened the database"
        );
        let mut batch = Batch::default();
        batch.put(Table::Durations, *b"k", *b"12");
        batch.touch(*b"a", 5);
        batch.touch(*b"a", 3);
        meta.apply(&batch).expect("apply");
        let found = meta.get(Table::Durations, &[b"k", b"other"]).expect("get");
        assert_eq!(found, [Some(b"12".to_vec()), None]);
        assert_eq!(
            meta.uses().expect("uses"),
            [(b"a".to_vec(), Use { count: 2, last: 5 })]
        );
        meta.remove(Table::Durations, &[b"k"]).expect("remove");
        assert_eq!(meta.all(Table::Durations).expect("all"), []);
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
                        let mut batch = Batch::default();
                        batch.touch(*b"key", 1);
                        meta.apply(&batch).expect("apply");
                    }
                });
            }
        });
        assert_eq!(
            opened.meta().uses().expect("uses"),
            [(b"key".to_vec(), Use { count: 20, last: 1 })]
        );
    }
}
