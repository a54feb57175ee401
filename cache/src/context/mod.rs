//! Build contexts: directories of the user, seen as a tree.
//!
//! A scan only stats. Files are hashed when a build reads them, through a flat
//! index that remembers each file's hash by (device, inode, size, mtime,
//! ctime). What was changed so shortly before it was hashed that the file
//! system's clock could not tell a later change is never remembered, so that
//! the index cannot lie.

mod scan;
mod stat_index;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::error::StoreError;
use crate::layer::{EntryKind, LayerIndex};
use crate::path::{self, RelPath};
use crate::tree::MergedTree;

use scan::Found;
use stat_index::{Clock, Hashed, Stamp, StatIndex};

/// What a filter says about a path of the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to the context.
    Include,
    /// Neither it nor anything below it does.
    Exclude,
    /// It does not, but something below it may. If so, the directory itself is kept as well.
    ExcludeButDescend,
}

/// Decides what belongs to a context, as .dockerignore does.
pub trait ContextFilter: Sync {
    /// Judges one path, relative to the context's root.
    fn verdict(&self, path: &RelPath, is_dir: bool) -> Verdict;

    /// Returns the mode that a file or directory of `mode` counts with.
    fn mode(&self, _is_dir: bool, mode: u32) -> u32 {
        mode
    }
}

impl<F: Fn(&RelPath, bool) -> Verdict + Sync> ContextFilter for F {
    fn verdict(&self, path: &RelPath, is_dir: bool) -> Verdict {
        self(path, is_dir)
    }
}

/// Scans build contexts.
#[derive(Debug)]
pub struct ContextScan;

impl ContextScan {
    /// Walks the directory `root` in parallel and stats what `filter` lets through.
    ///
    /// With `roots`, only these sub-paths and the directories that lead to them
    /// are looked at, and where symbolic links among them lead inside the root.
    /// `stat_index` is where hashes are remembered; see
    /// [`Store::context_index`](crate::Store::context_index).
    pub fn scan(
        root: &Path,
        roots: &[RelPath],
        filter: &dyn ContextFilter,
        stat_index: &Path,
    ) -> Result<ContextTree, StoreError> {
        let (found, known) = rayon::join(
            || scan::scan(root, roots, filter),
            || StatIndex::load(stat_index),
        );
        let mut found = found?;
        let stale = known.fill(&mut found, !roots.is_empty());
        let (entries, stamps) = found
            .into_iter()
            .map(|found| (found.entry, found.stamp))
            .unzip();
        let index = Arc::new(LayerIndex::new(entries));
        let state = State {
            tree: MergedTree::new(vec![(index.clone(), root.to_owned().into())]),
            index,
            stamps,
            others: stale,
        };
        Ok(ContextTree {
            root: root.to_owned(),
            stat_index: stat_index.to_owned(),
            clock: Clock::of(root),
            state: Mutex::new(state),
        })
    }
}

/// A scanned context.
#[derive(Debug)]
pub struct ContextTree {
    root: PathBuf,
    stat_index: PathBuf,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    index: Arc<LayerIndex>,
    /// The view of `index`, which is costly to make anew.
    tree: MergedTree,
    /// One an entry: what was seen of it.
    stamps: Vec<Stamp>,
    /// What the stat index knows of files that this scan did not look at.
    others: Vec<(RelPath, Stamp, Hashed)>,
}

impl ContextTree {
    /// Returns the tree with the hashes known so far; owners are 0:0.
    ///
    /// Files not hashed yet have no digest: see [`ensure_hashed`](Self::ensure_hashed).
    pub fn tree(&self) -> MergedTree {
        self.locked(|state| state.tree.clone())
    }

    /// Hashes the files at and below `paths`, as far as they are not known.
    ///
    /// Trees returned earlier do not change; ask for [`tree`](Self::tree) again.
    pub fn ensure_hashed(&self, paths: &[RelPath]) -> Result<(), StoreError> {
        self.ensure_hashed_while(paths, &|| true)
    }

    /// Does the same for as long as `wanted` says so, which is asked before every file.
    ///
    /// Once it says no, the result is [`StoreError::Canceled`].
    pub fn ensure_hashed_while(
        &self,
        paths: &[RelPath],
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), StoreError> {
        // The lock is not held while hashing: other threads may ask for the tree meanwhile.
        let index = self.locked(|state| state.index.clone());
        let todo = unhashed(&index, paths);
        if todo.is_empty() {
            return Ok(());
        }
        let hash = |&number: &usize| {
            if !wanted() {
                return Err(StoreError::Canceled);
            }
            let full = index.entries()[number].path.under(&self.root);
            stat_index::hash(&full, wanted).map(|found| (number, found))
        };
        let hashed: Result<Vec<_>, StoreError> = match todo.len() {
            0..8 => todo.iter().map(hash).collect(),
            _ => todo.par_iter().with_min_len(4).map(hash).collect(),
        };
        drop(index);
        let hashed = hashed?;
        self.locked(|state| {
            for (number, (stamp, found)) in hashed {
                state.stamps[number] = stamp.settled(self.clock);
                let entry = &mut Arc::make_mut(&mut state.index).entries_mut()[number];
                found.write_to(entry, &stamp);
            }
            state.tree = MergedTree::new(vec![(state.index.clone(), self.root.clone().into())]);
            stat_index::save(&self.stat_index, &state.index, &state.stamps, &state.others);
        });
        Ok(())
    }

    fn locked<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere leaves at worst entries without a hash.
        run(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the numbers of the files at and below `paths` that have no hash.
fn unhashed(index: &LayerIndex, paths: &[RelPath]) -> Vec<usize> {
    let entries = index.entries();
    let mut numbers: Vec<usize> = Vec::new();
    for wanted in paths {
        let from = entries.partition_point(|entry| {
            path::compare(entry.path.as_bytes(), wanted.as_bytes()).is_lt()
        });
        let below = entries[from..]
            .iter()
            .take_while(|entry| entry.path.starts_with(wanted));
        let open = below.enumerate().filter(|(_, entry)| {
            matches!(
                entry.kind,
                EntryKind::File {
                    content: crate::ContentHash::UNHASHED,
                    ..
                }
            )
        });
        numbers.extend(open.map(|(number, _)| from + number));
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests;
