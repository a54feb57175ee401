//! Root file systems without overlays: a copy of everything, and what became of it.
//!
//! A [`Snapshot`] is a directory with all that a stack of layers shows. A process writes to it as
//! it likes; [`Layers::commit_snapshot`] then compares it with the tree that it was made from and
//! makes of the differences the layer that an overlay would have made. Files are shared with the
//! store by reflinks where there are any and copied elsewhere: a hard link would let the process
//! write to the store.
//!
//! A directory that was removed and made again hides what it held. It is known by its inode and
//! the time that was made, which a new directory with the number of an old one has not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};

use crate::error::{IoContext, StoreError};
use crate::layer::disk::opaque_xattr;
use crate::layer::{
    CopyItem, Entry, EntryKind, FileBytes, Layer, LayerIndex, Layers, Source, Staging, walk,
};
use crate::path::RelPath;
use crate::tree::MergedTree;

/// Inode, and seconds and nanoseconds of the time when it was made.
type Identity = (u64, i64, u32);

/// A copy of a tree, to be written to. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct Snapshot {
    staging: Staging,
    /// The directories that were copied.
    dirs: HashMap<RelPath, Identity>,
}

impl Snapshot {
    /// Returns the directory.
    pub fn fs(&self) -> PathBuf {
        self.staging.fs()
    }

    /// Moves the directory to `to`, on the same file system.
    pub fn keep_at(self, to: &Path) -> Result<(), StoreError> {
        std::fs::rename(self.fs(), to).during("rename", to)
    }
}

impl Layers {
    /// Copies what `tree` has at, above and below `path`.
    ///
    /// `wanted` is asked while files are copied; once it says no, the result is
    /// [`StoreError::Canceled`].
    pub fn snapshot(
        &self,
        tree: &MergedTree,
        path: &RelPath,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Snapshot, StoreError> {
        let mut staging = self.prepare()?;
        if let Some(root) = tree.get(&RelPath::root()) {
            staging.inherit_root(root.entry)?;
        }
        let mut items = tree.flattened_over(&MergedTree::new(Vec::new()));
        items.retain(|item| {
            let here = &item.entry.path;
            here.starts_with(path) || path.starts_with(here)
        });
        let dirs: Vec<RelPath> = items
            .iter()
            .filter(|item| item.entry.is_dir())
            .map(|item| item.entry.path.clone())
            .collect();
        staging.populate_while(items, wanted)?;
        let root = staging.fs();
        let known = dirs.into_iter().map(|dir| {
            let identity = identity(&dir.under(&root))?;
            Ok((dir, identity))
        });
        let dirs = known.collect::<Result<_, StoreError>>()?;
        Ok(Snapshot { staging, dirs })
    }

    /// Turns what differs in `snapshot` from `base`, which it was made from, into a layer.
    pub fn commit_snapshot(
        &self,
        snapshot: &Snapshot,
        base: &MergedTree,
    ) -> Result<Layer, StoreError> {
        let root = snapshot.fs();
        let found = self.scan_upper(&root)?;
        let kept = |dir: &RelPath| {
            let now = identity(&dir.under(&root)).ok();
            now.is_some() && now == snapshot.dirs.get(dir).copied()
        };
        let index = changes(&found, base, &kept);
        let item = |entry: &Entry| CopyItem {
            source: if entry.is_file() {
                Source::Stored(FileBytes::of(entry.path.under(&root)))
            } else {
                Source::None
            },
            entry: entry.clone(),
        };
        let items = index.entries().iter().map(item).collect();
        self.commit_packed(self.prepare()?, items, None, &|| true)
    }

    /// Returns what differs in the directory `root`, which was a copy of `base`, as an overlay's
    /// upper directory would have it. Of a directory that was made anew, what is gone is named.
    pub fn scan_copy(&self, root: &Path, base: &MergedTree) -> Result<LayerIndex, StoreError> {
        Ok(changes(&self.scan_upper(root)?, base, &|_| true))
    }

    /// Copies the host's directory `from`, to be written to and thrown away.
    pub fn copy_of(
        &self,
        from: &Path,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Snapshot, StoreError> {
        let opaque = opaque_xattr(self.shared.options.userxattr);
        let staging = self.prepare()?;
        let items = walk::scan(from, opaque)?.into_iter().map(|entry| CopyItem {
            source: if entry.is_file() {
                Source::Foreign(entry.path.under(from))
            } else {
                Source::None
            },
            entry,
        });
        staging.populate_while(items.collect(), wanted)?;
        let dirs = HashMap::new();
        Ok(Snapshot { staging, dirs })
    }
}

fn identity(path: &Path) -> Result<Identity, StoreError> {
    let flags = StatxFlags::INO | StatxFlags::BTIME;
    let found = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, flags);
    let found = found.during("stat", path)?;
    let born = found.stx_btime;
    Ok((found.stx_ino, born.tv_sec, born.tv_nsec))
}

/// Returns the layer that makes `found` of `base`; `kept` says whether a directory is the one that
/// was copied from there.
fn changes(found: &LayerIndex, base: &MergedTree, kept: &dyn Fn(&RelPath) -> bool) -> LayerIndex {
    let mut changed: BTreeMap<RelPath, Entry> = BTreeMap::new();
    let mut replaced: HashSet<&RelPath> = HashSet::new();
    // The directory below which everything is new.
    let mut new: Option<&RelPath> = None;
    for entry in found.entries().iter().filter(|entry| !entry.is_whiteout()) {
        let path = &entry.path;
        new = new.filter(|dir| path.starts_with(dir));
        let below = base.get(path).map(|node| node.entry);
        let mut entry = entry.clone();
        let is_new = if path.is_root() {
            below.is_none_or(|below| !same_root(&entry, below))
        } else if let Some(below) = below.filter(|_| new.is_none()) {
            if entry.is_dir() && !(below.is_dir() && kept(path)) {
                entry.kind = EntryKind::Dir { opaque: true };
                replaced.insert(path);
                new = Some(path);
            }
            new.is_some() || !same(&entry, below)
        } else {
            true
        };
        if is_new {
            add(&mut changed, found, entry);
        }
    }
    let mut hidden: Option<RelPath> = None;
    for node in base.walk(&RelPath::root()).skip(1) {
        let path = &node.entry.path;
        hidden = hidden.filter(|dir| path.starts_with(dir));
        if hidden.is_some() {
            continue;
        }
        let now = found.get(path).filter(|entry| !entry.is_whiteout());
        if now.is_none_or(|now| !now.is_dir() || replaced.contains(path)) {
            hidden = Some(path.clone());
        }
        if now.is_none() && !is_covered(node.entry) {
            add(&mut changed, found, Entry::whiteout(path.clone()));
        }
    }
    let mut entries: Vec<Entry> = changed.into_values().collect();
    walk::drop_single_links(&mut entries);
    LayerIndex::new(entries)
}

/// Adds a change, and the directories above it, which an overlay copies up.
fn add(changed: &mut BTreeMap<RelPath, Entry>, found: &LayerIndex, entry: Entry) {
    let mut above = entry.path.parent();
    while let Some(dir) = above.filter(|dir| !dir.is_root() && !changed.contains_key(dir)) {
        above = dir.parent();
        if let Some(entry) = found.get(&dir) {
            changed.insert(dir, entry.clone());
        }
    }
    changed.insert(entry.path.clone(), entry);
}

/// Device nodes below `/dev`, which every container covers, cannot be made without root.
fn is_covered(entry: &Entry) -> bool {
    let is_device = matches!(
        entry.kind,
        EntryKind::CharDev { .. } | EntryKind::BlockDev { .. }
    );
    is_device && entry.path.starts_with(&"dev".into())
}

/// Whether the root is as it was. What was made in it touched it, and no overlay says so.
fn same_root(now: &Entry, before: &Entry) -> bool {
    (now.mode, now.uid, now.gid, &now.xattrs)
        == (before.mode, before.uid, before.gid, &before.xattrs)
}

/// Whether nothing of an object changed but the number of its names.
fn same(now: &Entry, before: &Entry) -> bool {
    let mut now = now.clone();
    now.hardlink = before.hardlink;
    // Some file systems count whole seconds.
    if now.mtime.nanos == 0 && now.mtime.secs == before.mtime.secs {
        now.mtime = before.mtime;
    }
    match (&now.kind, &before.kind) {
        (EntryKind::Dir { .. }, EntryKind::Dir { .. }) => now.kind = before.kind.clone(),
        // Links have no modes, and tars that say otherwise are not followed.
        (EntryKind::Symlink { .. }, EntryKind::Symlink { .. }) => now.mode = before.mode,
        _ => {}
    }
    now == *before
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::store::Store;
    use crate::testing::{is_root, store};

    /// Makes a tree, does something to a copy of it, and returns what that was said to be.
    fn done(work: impl FnOnce(&Path)) -> (tempfile::TempDir, Store, MergedTree, Layer) {
        let (dir, store) = store();
        let layers = store.layers();
        let staging = layers.prepare().expect("prepare");
        let fs = staging.fs();
        for name in ["d/sub", "gone/deep", "e"] {
            fs::create_dir_all(fs.join(name)).expect("mkdir");
        }
        for name in ["d/a", "d/sub/b", "gone/deep/c", "e/f", "file", "linked"] {
            fs::write(fs.join(name), name).expect("write");
        }
        fs::hard_link(fs.join("linked"), fs.join("other")).expect("link");
        symlink("file", fs.join("link")).expect("symlink");
        let base = layers.commit(staging).expect("commit");
        let tree = layers.tree(&[base.id().clone()]).expect("tree");
        let root = RelPath::root();
        let snapshot = layers.snapshot(&tree, &root, &|| true).expect("copy");
        work(&snapshot.fs());
        let layer = layers.commit_snapshot(&snapshot, &tree).expect("commit");
        let whole = [base.id().clone(), layer.id().clone()];
        let whole = layers.tree(&whole).expect("tree");
        (dir, store, whole, layer)
    }

    fn paths(layer: &Layer) -> Vec<String> {
        let index = layer.index().expect("index");
        let shown = index.entries().iter().map(|entry| {
            let mark = match entry.kind {
                EntryKind::Whiteout => "-",
                EntryKind::Dir { opaque: true } => "=",
                _ => "",
            };
            format!("{mark}{}", entry.path)
        });
        shown.collect()
    }

    #[test]
    fn nothing_done_is_an_empty_layer() {
        let (_dir, _store, _, layer) = done(|fs| {
            let before = fs::metadata(fs.join("file")).expect("stat");
            fs::write(fs.join("file"), "file").expect("write");
            let times = fs::FileTimes::new().set_modified(before.modified().expect("mtime"));
            let file = fs::File::options().write(true).open(fs.join("file"));
            file.expect("open").set_times(times).expect("times");
            fs::write(fs.join("temporary"), "").expect("write");
            fs::remove_file(fs.join("temporary")).expect("rm");
        });
        assert_eq!(paths(&layer), [""; 0]);
    }

    #[test]
    fn what_was_done_is_what_an_overlay_would_hold() {
        if !is_root("changes modes and owners") {
            return;
        }
        let (_dir, store, whole, layer) = done(|fs| {
            fs::write(fs.join("d/sub/b"), "changed").expect("write");
            fs::remove_dir_all(fs.join("gone")).expect("rm");
            fs::remove_dir_all(fs.join("e")).expect("rm");
            fs::create_dir(fs.join("e")).expect("mkdir");
            fs::write(fs.join("e/g"), "g").expect("write");
            fs::remove_file(fs.join("link")).expect("rm");
            fs::create_dir(fs.join("link")).expect("mkdir");
            fs::write(fs.join("new"), "new").expect("write");
            fs::set_permissions(fs.join("file"), fs::Permissions::from_mode(0o600)).expect("mode");
        });
        let found = paths(&layer);
        let expected = [
            "/d", "/d/sub", "/d/sub/b", "=/e", "/e/g", "/file", "-/gone", "=/link", "/new",
        ];
        assert_eq!(found, expected);
        assert!(!layer.fs().exists(), "it is packed");
        assert_eq!(whole.read(&"d/sub/b".into()).expect("read"), b"changed");
        assert!(whole.get(&"e/f".into()).is_none() && whole.get(&"gone".into()).is_none());
        // The same by comparing directories alone, but for the marks of new directories.
        let staging = store.layers().prepare().expect("prepare");
        whole.write_to(&staging.fs()).expect("write");
        let base = store.layers().tree(&[]).expect("tree");
        let index = store
            .layers()
            .scan_copy(&staging.fs(), &base)
            .expect("scan");
        assert_eq!(index.entries().len(), whole.len() - 1);
        assert_eq!(store.fsck(false).expect("fsck").problems, []);
    }

    #[test]
    fn a_file_of_several_names_is_one_in_the_copy() {
        let (_dir, _store, _, layer) = done(|fs| {
            fs::write(fs.join("linked"), "both").expect("write");
            fs::remove_file(fs.join("d/a")).expect("rm");
        });
        assert_eq!(paths(&layer), ["/d", "-/d/a", "/linked", "/other"]);
        let index = layer.index().expect("index");
        let group = |path: &str| index.get(&path.into()).expect("there").hardlink;
        assert!(group("linked").is_some() && group("linked") == group("other"));
    }

    #[test]
    fn only_what_is_mounted_is_copied() {
        let (_dir, store, whole, _) = done(|_| {});
        let snapshot = store.layers().snapshot(&whole, &"d/sub".into(), &|| true);
        let snapshot = snapshot.expect("copy");
        let fs = snapshot.fs();
        assert!(fs.join("d/sub/b").exists());
        assert!(!fs.join("d/a").exists() && !fs.join("file").exists());
    }
}
