//! Where results are remembered.
//!
//! The scheduler asks a [`KeyIndex`] by key and tells it what ran. It keeps no
//! result of its own between solves. Methods are called from worker threads and
//! may block on storage, except [`KeyIndex::try_claim`], which does not wait.
//!
//! A *claim* keeps two solves, in this process or another, from running the same
//! work at once. It is taken right before a vertex runs and held until its result
//! is recorded. Whoever does not get it looks the key up again a little later.
//! Claims only save work: the worst that a lost claim does is to run a vertex twice.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::graph::VertexId;
use crate::key::{CacheKey, ContentDigest};

/// The exclusive right to run what a key names, given up when dropped.
pub trait Claim {}

impl<T: ?Sized> Claim for T {}

/// How an input contributed to the keys of a vertex; `--explain` compares these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputComponent {
    /// The input's definition key, if it has one.
    pub definition: Option<CacheKey>,
    /// The digest of what the vertex reads from it.
    pub content: ContentDigest,
}

/// How the output in a record came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The op ran.
    Executed {
        /// When it began.
        started: SystemTime,
        /// How long it ran.
        duration: Duration,
    },
    /// The content key hit: only the definition key is news.
    Found,
}

/// A result to be remembered.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a, T> {
    /// The definition key. It may be known already with another output, which is replaced.
    pub definition: CacheKey,
    /// The content key; equal to the definition key if no input has a definition.
    pub content: CacheKey,
    /// The digest of the op itself.
    pub op: CacheKey,
    /// What each input contributed.
    pub inputs: &'a [InputComponent],
    /// The result.
    pub output: &'a T,
    /// The vertex.
    pub vertex: VertexId,
    /// The name of the vertex.
    pub name: &'a str,
    /// How the result came about.
    pub origin: Origin,
}

impl<T> Record<'_, T> {
    /// Iterates over the keys to be written with the output, each once.
    pub fn keys(&self) -> impl Iterator<Item = CacheKey> + use<T> {
        let content = (self.origin != Origin::Found).then_some(self.content);
        let definition = (content != Some(self.definition)).then_some(self.definition);
        content.into_iter().chain(definition)
    }
}

/// Remembers results by key.
pub trait KeyIndex<T>: Send + Sync {
    /// Returns the result of a key. It must be usable: one whose data has gone is none.
    fn lookup(&self, key: &CacheKey) -> Option<T>;

    /// Remembers a result under [`Record::keys`]; failing to is not the solve's failure.
    fn record(&self, record: &Record<'_, T>);

    /// Claims a key, or returns `None` at once if another holds it.
    ///
    /// An index that cannot claim (a read-only disk) returns a claim that excludes nobody.
    fn try_claim(&self, key: &CacheKey) -> Option<Box<dyn Claim + '_>>;
}

/// An index in memory.
pub struct MemoryIndex<T> {
    results: Mutex<HashMap<CacheKey, T>>,
    claims: Mutex<HashSet<CacheKey>>,
}

impl<T> MemoryIndex<T> {
    /// Returns an empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of keys that are known.
    pub fn len(&self) -> usize {
        lock(&self.results).len()
    }

    /// Returns whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets a key; returns whether it was known.
    pub fn forget(&self, key: &CacheKey) -> bool {
        lock(&self.results).remove(key).is_some()
    }
}

impl<T> Default for MemoryIndex<T> {
    fn default() -> Self {
        Self {
            results: Mutex::default(),
            claims: Mutex::default(),
        }
    }
}

impl<T> fmt::Debug for MemoryIndex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryIndex")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<T: Clone + Send> KeyIndex<T> for MemoryIndex<T> {
    fn lookup(&self, key: &CacheKey) -> Option<T> {
        lock(&self.results).get(key).cloned()
    }

    fn record(&self, record: &Record<'_, T>) {
        let mut results = lock(&self.results);
        for key in record.keys() {
            results.insert(key, record.output.clone());
        }
    }

    fn try_claim(&self, key: &CacheKey) -> Option<Box<dyn Claim + '_>> {
        let free = lock(&self.claims).insert(*key);
        free.then(|| {
            Box::new(MemoryClaim {
                claims: &self.claims,
                key: *key,
            }) as Box<dyn Claim>
        })
    }
}

struct MemoryClaim<'a> {
    claims: &'a Mutex<HashSet<CacheKey>>,
    key: CacheKey,
}

impl Drop for MemoryClaim<'_> {
    fn drop(&mut self) {
        lock(self.claims).remove(&self.key);
    }
}

/// Locks a map that is whole between any two calls, so that a panic elsewhere cannot spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXECUTED: Origin = Origin::Executed {
        started: SystemTime::UNIX_EPOCH,
        duration: Duration::ZERO,
    };

    fn key(byte: u8) -> CacheKey {
        CacheKey::from_bytes([byte; 32])
    }

    fn record(definition: u8, content: u8, output: &char, origin: Origin) -> Record<'_, char> {
        Record {
            definition: key(definition),
            content: key(content),
            op: key(0),
            inputs: &[],
            output,
            vertex: crate::Graph::<()>::new().add(crate::graph::Vertex::new("", ()), &[]),
            name: "op",
            origin,
        }
    }

    #[test]
    fn a_record_names_each_key_that_is_news_once() {
        let cases = [
            (1, 2, EXECUTED, vec![key(2), key(1)]),
            (1, 1, EXECUTED, vec![key(1)]),
            (1, 2, Origin::Found, vec![key(1)]),
        ];
        for (definition, content, origin, keys) in cases {
            let record = record(definition, content, &'x', origin);
            assert_eq!(record.keys().collect::<Vec<_>>(), keys);
        }
    }

    #[test]
    fn a_later_record_replaces_the_output() {
        let index = MemoryIndex::new();
        index.record(&record(1, 2, &'a', EXECUTED));
        index.record(&record(1, 3, &'b', EXECUTED));
        assert_eq!(
            [1, 2, 3].map(|byte| index.lookup(&key(byte))),
            [Some('b'), Some('a'), Some('b')]
        );
        assert!(index.forget(&key(1)));
        assert!(!index.forget(&key(1)));
        assert_eq!((index.len(), index.is_empty()), (2, false));
    }

    #[test]
    fn a_claim_excludes_others_until_dropped() {
        let index: MemoryIndex<char> = MemoryIndex::new();
        let claim = index.try_claim(&key(1)).expect("nobody has it");
        assert!(index.try_claim(&key(1)).is_none());
        assert!(index.try_claim(&key(2)).is_some());
        drop(claim);
        assert!(index.try_claim(&key(1)).is_some());
    }
}
