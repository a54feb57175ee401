//! Indices that this process read or wrote a moment ago.
//!
//! A build asks for the index of one layer several times: when a step makes the next one like it,
//! when its tar is digested, when what changed is told. The last few are kept, each for the very
//! file that it was read from or written to: a layer that was removed and made again has other
//! times of its files.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::layer::LayerIndex;

/// How many are kept.
const KEPT: usize = 4;

/// What tells one file from any other that ever has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    inode: (u64, u64),
    changed: (i64, i64),
}

impl FileIdentity {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let stat = fs::metadata(path)?;
        Ok(Self {
            inode: (stat.dev(), stat.ino()),
            changed: (stat.ctime(), stat.ctime_nsec()),
        })
    }
}

/// The indices of the last layers, most recent last.
#[derive(Debug, Default)]
pub(crate) struct RecentIndices(Mutex<VecDeque<(FileIdentity, Arc<LayerIndex>)>>);

impl RecentIndices {
    /// Returns the index that is in this file.
    pub(super) fn get(&self, file: FileIdentity) -> Option<Arc<LayerIndex>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(of, _)| *of == file)?;
        let known = kept.remove(at)?;
        let index = known.1.clone();
        kept.push_back(known);
        Some(index)
    }

    pub(super) fn keep(&self, file: FileIdentity, index: Arc<LayerIndex>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(of, _)| *of != file);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((file, index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Entry;
    use crate::path::RelPath;

    fn index(name: &str) -> Arc<LayerIndex> {
        let entry = Entry::dir(RelPath::clean(name), 0o755);
        Arc::new(LayerIndex::new(vec![entry]))
    }

    #[test]
    fn another_file_of_the_same_name_has_another_index() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let recent = RecentIndices::default();
        fs::write(&path, "first").unwrap();
        let first = FileIdentity::of(&path).unwrap();
        recent.keep(first, index("first"));
        assert_eq!(recent.get(first), Some(index("first")));
        let aside = dir.path().join("aside");
        fs::write(&aside, "second").unwrap();
        fs::rename(&aside, &path).unwrap();
        assert_eq!(recent.get(FileIdentity::of(&path).unwrap()), None);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let recent = RecentIndices::default();
        let file = |number: u64| FileIdentity {
            inode: (0, number),
            changed: (0, 0),
        };
        for number in 0..KEPT as u64 {
            recent.keep(file(number), index(&number.to_string()));
        }
        assert_eq!(recent.get(file(0)), Some(index("0")));
        recent.keep(file(100), index("100"));
        assert_eq!(recent.get(file(1)), None);
        assert_eq!(recent.get(file(0)), Some(index("0")));
        assert_eq!(recent.get(file(100)), Some(index("100")));
    }
}
