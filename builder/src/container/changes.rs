//! What a container changed, as a list, as a layer and as a whole tree.

use std::io::Write;
use std::path::Path;

use cooper_cache::{
    CopyItem, Entry, EntryKind, Layer, LayerIndex, MergedTree, RelPath, Source, Store, StoreError,
};

use super::config::Config;

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is new.
    Added,
    /// It differs from the image's.
    Changed,
    /// The image has it, and the container does not.
    Deleted,
}

impl Change {
    /// Returns the letter that docker has for it.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// Returns what the container with this writable layer changed, by path.
pub(crate) fn list(
    store: &Store,
    config: &Config,
    dir: &Path,
) -> Result<Vec<(Change, RelPath)>, StoreError> {
    let layers = store.layers();
    let base = layers.tree(&config.layers)?;
    Ok(compare(&base, &layers.scan_upper(&dir.join("fs"))?))
}

fn compare(base: &MergedTree, upper: &LayerIndex) -> Vec<(Change, RelPath)> {
    let mut changes = Vec::new();
    for entry in upper.entries() {
        let path = &entry.path;
        if path.is_root() {
            continue;
        }
        let known = base.get(path).is_some();
        match (entry.is_whiteout(), known) {
            (true, true) => changes.push((Change::Deleted, path.clone())),
            (true, false) => {}
            (false, true) => changes.push((Change::Changed, path.clone())),
            (false, false) => changes.push((Change::Added, path.clone())),
        }
        if entry.kind == (EntryKind::Dir { opaque: true }) {
            let hidden = base.children(path).map(|node| node.entry.path.clone());
            let hidden = hidden.filter(|path| upper.get(path).is_none());
            changes.extend(hidden.map(|path| (Change::Deleted, path)));
        }
    }
    changes.sort_by(|a, b| a.1.cmp(&b.1));
    changes
}

/// Writes the container's whole root file system, without what is mounted in it, as a tar.
pub(crate) fn export(
    store: &Store,
    config: &Config,
    dir: &Path,
    to: &mut dyn Write,
) -> Result<(), StoreError> {
    let layers = store.layers();
    let upper = dir.join("fs");
    let index = layers.scan_upper(&upper)?;
    let tree = layers.tree(&config.layers)?;
    tree.with_layer(index.into(), upper.into()).write_tar(to)
}

/// Copies the container's writable layer into a layer of the store.
pub(crate) fn commit(store: &Store, dir: &Path) -> Result<Layer, StoreError> {
    let layers = store.layers();
    let upper = dir.join("fs");
    let index = layers.scan_upper(&upper)?;
    let item = |entry: &Entry| CopyItem {
        source: if entry.is_file() {
            Source::Foreign(entry.path.under(&upper))
        } else {
            Source::None
        },
        entry: entry.clone(),
    };
    let mut staging = layers.prepare()?;
    if let Some(root) = index.entries().iter().find(|entry| entry.path.is_root()) {
        staging.inherit_root(root)?;
    }
    let items = index.entries().iter().filter(|entry| !entry.path.is_root());
    let index = staging.populate(items.map(item).collect())?;
    layers.commit_indexed(staging, index)
}
