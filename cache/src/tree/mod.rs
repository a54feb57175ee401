//! A stack of layers seen as one tree, without mounting anything.
//!
//! The indices are merged by overlayfs' rules when something is first asked:
//! an upper entry replaces a lower one, a whiteout deletes, an opaque
//! directory hides, directories merge and take the upper's metadata. The
//! result is one sorted vector of (layer, entry) numbers in which the subtree
//! of a directory is the range right behind it.

mod flatten;
mod merge;
mod resolve;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::checksum::{ContentHash, TreeDigest, TreeHasher};
use crate::error::{IoContext, ResolveError, StoreError};
use crate::layer::{
    Entry, EntryKind, FileBytes, Files, LayerIndex, Marks, write_files, write_tar_end,
    write_tar_nodes,
};
use crate::path::{self, RelPath};

pub use resolve::ResolvedPath;

use merge::Slot;

/// A merged view of layers, base first. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MergedTree {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layers: Vec<(Arc<LayerIndex>, Files)>,
    slots: OnceLock<Vec<Slot>>,
    root: Entry,
    /// Where the files of the root are that no layer has: it is a directory.
    nowhere: Files,
}

/// One entry of a merged tree.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// The entry, as its layer has it.
    pub entry: &'a Entry,
    /// Where the bytes of the files of the entry's layer are.
    pub files: &'a Files,
    /// The entry's number in its layer's index.
    pub number: usize,
    /// Number of the entry's layer, base 0; tells hard link groups apart.
    pub layer: usize,
}

impl Node<'_> {
    /// Returns where the entry is on disk, or will be once its layer's files are created.
    pub fn file_path(&self) -> PathBuf {
        self.entry.path.under(&self.files.dir())
    }

    /// Returns the bytes of a regular file.
    pub fn bytes(&self) -> FileBytes {
        self.files
            .bytes(self.number, self.file_path(), self.entry.size())
    }
}

impl MergedTree {
    /// Stacks `layers`, base first, each with where the bytes of its files are.
    pub fn new(layers: Vec<(Arc<LayerIndex>, Files)>) -> Self {
        let root = Entry::dir(RelPath::root(), 0o755);
        Self {
            inner: Arc::new(Inner {
                layers,
                slots: OnceLock::new(),
                root,
                nowhere: Files::Dir(PathBuf::new()),
            }),
        }
    }

    /// Returns the layers, base first.
    pub fn layers(&self) -> &[(Arc<LayerIndex>, Files)] {
        &self.inner.layers
    }

    /// Returns this tree with one more layer on top.
    #[must_use]
    pub fn with_layer(&self, index: Arc<LayerIndex>, files: Files) -> Self {
        let mut layers = self.inner.layers.clone();
        layers.push((index, files));
        Self::new(layers)
    }

    fn slots(&self) -> &[Slot] {
        self.inner
            .slots
            .get_or_init(|| merge::stack(&self.inner.layers))
    }

    fn entry(&self, slot: &Slot) -> &Entry {
        match self.inner.layers.get(slot.layer as usize) {
            Some((index, _)) => &index.entries()[slot.entry as usize],
            None => &self.inner.root,
        }
    }

    fn node(&self, slot: &Slot) -> Node<'_> {
        let layer = slot.layer as usize;
        let files = self.inner.layers.get(layer).map(|(_, files)| files);
        Node {
            entry: self.entry(slot),
            files: files.unwrap_or(&self.inner.nowhere),
            number: slot.entry as usize,
            layer,
        }
    }

    fn position(&self, path: &[u8]) -> Option<usize> {
        let slots = self.slots();
        slots
            .binary_search_by(|slot| path::compare(self.entry(slot).path.as_bytes(), path))
            .ok()
    }

    /// Returns how many entries the tree has, its root included.
    pub fn len(&self) -> usize {
        self.slots().len()
    }

    /// Whether there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.len() == 1
    }

    /// Returns the entry at exactly `path`; symbolic links are not followed. The root always exists.
    pub fn get(&self, path: &RelPath) -> Option<Node<'_>> {
        self.position(path.as_bytes())
            .map(|at| self.node(&self.slots()[at]))
    }

    /// Returns the entries directly in the directory `path`, sorted by name.
    pub fn children(&self, path: &RelPath) -> impl Iterator<Item = Node<'_>> {
        let range = self.range(path);
        let mut next = range.start + 1;
        std::iter::from_fn(move || {
            let slot = (next < range.end).then(|| &self.slots()[next])?;
            next = slot.end as usize;
            Some(self.node(slot))
        })
    }

    /// Returns `path` and everything below it, directories before their content.
    pub fn walk(&self, path: &RelPath) -> impl ExactSizeIterator<Item = Node<'_>> {
        self.slots()[self.range(path)]
            .iter()
            .map(|slot| self.node(slot))
    }

    fn range(&self, path: &RelPath) -> std::ops::Range<usize> {
        match self.position(path.as_bytes()) {
            Some(at) => at..self.slots()[at].end as usize,
            None => 0..0,
        }
    }

    /// Returns the digest of `path` and everything below it.
    ///
    /// It depends on what is there alone: not on where the subtree lies, nor on
    /// which layer holds what, nor on mtimes.
    pub fn digest(&self, path: &RelPath) -> Result<TreeDigest, ResolveError> {
        self.digest_where(path, |_| true)
    }

    /// Returns the digest of what `keep` keeps of `path` and everything below it.
    pub fn digest_where(
        &self,
        path: &RelPath,
        mut keep: impl FnMut(&Node<'_>) -> bool,
    ) -> Result<TreeDigest, ResolveError> {
        let mut hasher = TreeHasher::new();
        let skip = if path.is_root() {
            0
        } else {
            path.as_bytes().len() + 1
        };
        let mut nodes = self.walk(path).peekable();
        if nodes.peek().is_none() {
            return Err(ResolveError::NotFound { path: path.clone() });
        }
        for node in nodes.filter(|node| keep(node)) {
            if is_unhashed(node.entry) {
                return Err(ResolveError::Unhashed {
                    path: node.entry.path.clone(),
                });
            }
            let name = node.entry.path.as_bytes().get(skip..).unwrap_or_default();
            hasher.add(name, node.entry, node.layer, false);
        }
        Ok(hasher.finish())
    }

    /// Resolves `path` within this tree, following symbolic links as a process
    /// whose root directory this tree is; the last component only if asked.
    pub fn resolve(&self, path: &RelPath, follow_last: bool) -> Result<ResolvedPath, ResolveError> {
        resolve::resolve(self, path.as_bytes(), follow_last)
    }

    /// Reads the file that `path` resolves to.
    pub fn read(&self, path: &RelPath) -> Result<Vec<u8>, StoreError> {
        let resolved = self.resolve(path, true)?;
        let missing = || ResolveError::NotFound { path: path.clone() };
        let node = self.get(&resolved.path).ok_or_else(missing)?;
        let bytes = node.bytes();
        bytes.read().during("read", bytes.path())
    }

    /// Writes the whole tree as one tar, the same bytes for the same content.
    pub fn write_tar(&self, to: &mut dyn Write) -> Result<(), StoreError> {
        Self::write_tars(&[(RelPath::root(), self)], to)
    }

    /// Writes whole trees as one tar, each below a directory of its own.
    pub fn write_tars(trees: &[(RelPath, &Self)], to: &mut dyn Write) -> Result<(), StoreError> {
        for (below, tree) in trees {
            tree.write_members(below, to)?;
        }
        write_tar_end(to)
    }

    fn write_members(&self, below: &RelPath, to: &mut dyn Write) -> Result<(), StoreError> {
        let nodes: Vec<Node<'_>> = self
            .slots()
            .iter()
            .filter(|slot| !slot.is_implied())
            .map(|slot| self.node(slot))
            .collect();
        write_tar_nodes(&nodes, Marks::Drop, below, to)
    }

    /// Writes the whole tree below the existing directory `to`, over what is there.
    ///
    /// Without root, owners are not set and device nodes left out.
    pub fn write_to(&self, to: &Path) -> Result<(), StoreError> {
        let nodes: Vec<Node<'_>> = self.walk(&RelPath::root()).collect();
        write_files(&nodes, to)
    }
}

fn is_unhashed(entry: &Entry) -> bool {
    matches!(
        entry.kind,
        EntryKind::File {
            content: ContentHash::UNHASHED,
            ..
        }
    )
}

#[cfg(test)]
mod tests;
