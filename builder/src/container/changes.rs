//! What a container changed, as a list, as a layer and as a whole tree.

use std::io::Write;
use std::path::{Path, PathBuf};

use cooper_cache::{
    CopyItem, Entry, EntryKind, Layer, LayerIndex, Layers, MergedTree, RelPath, Source, Store,
    StoreError,
};

use super::config::Config;
use super::record;

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
    Ok(compare(&base, &changed(&layers, &base, dir)?.1))
}

/// Returns where the container's files are, and which of them it changed.
fn changed(
    layers: &Layers,
    base: &MergedTree,
    dir: &Path,
) -> Result<(PathBuf, LayerIndex), StoreError> {
    let (files, whole) = record::written(dir);
    let index = if whole {
        layers.scan_copy(&files, base)?
    } else {
        layers.scan_upper(&files)?
    };
    Ok((files, index))
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
    let tree = layers.tree(&config.layers)?;
    let (upper, index) = changed(&layers, &tree, dir)?;
    tree.with_layer(index.into(), upper.into()).write_tar(to)
}

/// Copies the container's writable layer into a layer of the store.
pub(crate) fn commit(store: &Store, config: &Config, dir: &Path) -> Result<Layer, StoreError> {
    let layers = store.layers();
    let tree = layers.tree(&config.layers)?;
    let (upper, index) = changed(&layers, &tree, dir)?;
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
