//! A layer in the making: what COPY, ADD and WORKDIR add over a root filesystem.
//!
//! Entries are collected first and written to disk once, in parallel. The view that
//! actions see is the base with the entries so far on top, so that a later source of
//! one COPY meets what an earlier one left. Nothing is ever mounted: paths, links and
//! owners are looked up in the layers' indices.
//!
//! Invariant: the parent of every entry is itself an entry and a directory. Writing
//! the layer therefore never walks through a symbolic link, and the index that is
//! committed has the metadata of all directories on the way (the copy-up that
//! overlayfs would have done).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::Arc;

use cooper_cache::{
    CopyItem, Entry, EntryKind, LayerIndex, MergedTree, RelPath, Source, Staging, Timestamp,
};

use super::FileError;

/// Links that are followed before a path counts as a loop; Linux follows 40.
const MAX_LINKS: usize = 255;

/// An entry with the source of its bytes.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) entry: Entry,
    /// Where its bytes are; none if an unpacked archive has put it in place already.
    pub(super) source: Option<Source>,
}

/// Owner and group of what is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The new entries over a base.
pub(super) struct NewLayer<'a> {
    base: &'a MergedTree,
    entries: BTreeMap<RelPath, Pending>,
    now: Timestamp,
    next_link: u32,
}

impl<'a> NewLayer<'a> {
    /// Starts an empty layer over `base`; new directories get the time `now`.
    pub(super) fn new(base: &'a MergedTree, now: Timestamp) -> Self {
        Self {
            base,
            entries: BTreeMap::new(),
            now,
            next_link: 0,
        }
    }

    /// Returns what is at `path`, not following a link there.
    pub(super) fn lookup(&self, path: &RelPath) -> Option<&Entry> {
        match self.entries.get(path) {
            Some(pending) if pending.entry.is_whiteout() => None,
            Some(pending) => Some(&pending.entry),
            None => self.base.get(path).map(|node| node.entry),
        }
    }

    /// Resolves all links of `path`, the last one too; what does not exist stays as written.
    pub(super) fn resolve(&self, path: &RelPath) -> Result<RelPath, FileError> {
        let mut done = RelPath::root();
        let mut todo: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    done = done.parent().unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            let next = done.join(&name);
            let Some(Entry {
                kind: EntryKind::Symlink { target },
                ..
            }) = self.lookup(&next)
            else {
                done = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(FileError::LinkLoop { path: path.clone() });
            }
            if target.first() == Some(&b'/') {
                done = RelPath::root();
            }
            todo.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
        }
        Ok(done)
    }

    /// Makes `path` (already resolved) and its missing parents directories.
    ///
    /// Existing directories stay as they are but become entries of this layer. Returns
    /// whether `path` itself is new.
    pub(super) fn ensure_dir(
        &mut self,
        path: &RelPath,
        mode: u32,
        owner: Owner,
    ) -> Result<bool, FileError> {
        if let Some(parent) = path.parent() {
            self.ensure_dir_parents(&parent, mode, owner)?;
        }
        self.ensure_one(path, mode, owner)
    }

    fn ensure_dir_parents(
        &mut self,
        path: &RelPath,
        mode: u32,
        owner: Owner,
    ) -> Result<(), FileError> {
        let mut at = RelPath::root();
        self.ensure_one(&at, mode, owner)?;
        for name in path.components() {
            at = at.join(name);
            self.ensure_one(&at, mode, owner)?;
        }
        Ok(())
    }

    fn ensure_one(&mut self, path: &RelPath, mode: u32, owner: Owner) -> Result<bool, FileError> {
        if self
            .entries
            .get(path)
            .is_some_and(|pending| pending.entry.is_dir())
        {
            return Ok(false);
        }
        let existing = self.lookup(path).cloned();
        let (entry, created) = match existing {
            Some(entry) if entry.is_dir() => (copied_up(entry), false),
            Some(_) => return Err(FileError::NotADirectory { path: path.clone() }),
            None if path.is_root() => (self.dir_entry(path, 0o755, Owner::default()), false),
            None => (self.dir_entry(path, mode, owner), true),
        };
        self.entries.insert(
            path.clone(),
            Pending {
                entry,
                source: Some(Source::None),
            },
        );
        Ok(created)
    }

    fn dir_entry(&self, path: &RelPath, mode: u32, owner: Owner) -> Entry {
        let mut entry = Entry::dir(path.clone(), mode);
        entry.uid = owner.uid;
        entry.gid = owner.gid;
        entry.mtime = self.now;
        entry
    }

    /// Returns the time of what this layer creates.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Puts a non-directory at its path, replacing what is there unless that is a directory.
    ///
    /// The parent must have been made by [`NewLayer::ensure_dir`].
    pub(super) fn put(&mut self, entry: Entry, source: Source) -> Result<(), FileError> {
        let below = self.base.get(&entry.path);
        let hides_dir = below.is_some_and(|node| node.entry.is_dir());
        let path = entry.path.clone();
        let source = Some(source);
        let in_the_way = match self.entries.entry(path) {
            Slot::Occupied(old) if old.get().entry.is_dir() => old.key().clone(),
            Slot::Vacant(new) if hides_dir => new.into_key(),
            Slot::Occupied(mut old) => {
                old.insert(Pending { entry, source });
                return Ok(());
            }
            Slot::Vacant(new) => {
                new.insert(Pending { entry, source });
                return Ok(());
            }
        };
        Err(FileError::IsADirectory { path: in_the_way })
    }

    /// Takes over what an archive left in the staging directory, whatever was there.
    ///
    /// Returns where it has marks that delete nothing of the base: what they delete was of this
    /// layer, and is no entry any more.
    pub(super) fn adopt(&mut self, entries: Vec<Entry>) -> Vec<RelPath> {
        self.replace(entries.into_iter().map(|entry| (entry, None)))
    }

    /// Takes over what an archive has, whatever was there.
    pub(super) fn adopt_items(&mut self, items: Vec<CopyItem>) {
        let items = items.into_iter();
        self.replace(items.map(|item| (item.entry, Some(item.source))));
    }

    /// Puts what one archive has in the place of what was there.
    fn replace(&mut self, items: impl Iterator<Item = (Entry, Option<Source>)>) -> Vec<RelPath> {
        // An archive counts its groups by itself.
        let mut groups = BTreeMap::new();
        let mut idle = Vec::new();
        for (mut entry, source) in items {
            entry.hardlink = entry
                .hardlink
                .map(|group| *groups.entry(group).or_insert_with(|| self.link_group()));
            let path = &entry.path;
            if !entry.is_dir() && self.entries.get(path).is_some_and(|old| old.entry.is_dir()) {
                self.entries.retain(|old, _| !old.starts_with(path));
            }
            if entry.is_whiteout() && self.base.get(path).is_none() {
                self.entries.remove(path);
                idle.push(entry.path);
                continue;
            }
            self.entries
                .insert(entry.path.clone(), Pending { entry, source });
        }
        idle
    }

    /// Returns the base with the entries so far on top; `staging` holds their files.
    pub(super) fn tree(&self, staging: &Staging) -> MergedTree {
        if self.entries.is_empty() {
            return self.base.clone();
        }
        let entries = self
            .entries
            .values()
            .map(|pending| pending.entry.clone())
            .collect();
        self.base
            .with_layer(Arc::new(LayerIndex::new(entries)), staging.fs().into())
    }

    /// Changes the metadata of a directory that is an entry already.
    pub(super) fn set_dir(&mut self, path: &RelPath, change: impl FnOnce(&mut Entry)) {
        if let Some(pending) = self.entries.get_mut(path) {
            change(&mut pending.entry);
        }
    }

    /// Returns a number for a new group of hard links.
    pub(super) fn link_group(&mut self) -> u32 {
        self.next_link += 1;
        self.next_link
    }

    /// Returns everything with the source of its bytes; the same if an archive has put files in
    /// place already.
    pub(super) fn into_items(self) -> Result<Vec<CopyItem>, Self> {
        if self.entries.values().any(|one| one.source.is_none()) {
            return Err(self);
        }
        let item = |Pending { entry, source }| CopyItem {
            entry,
            source: source.unwrap_or(Source::None),
        };
        Ok(self.entries.into_values().map(item).collect())
    }

    /// Writes the files and returns the layer's index.
    ///
    /// `wanted` is asked before every file whether to go on.
    pub(super) fn populate(
        self,
        staging: &Staging,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<LayerIndex, FileError> {
        let mut items = Vec::with_capacity(self.entries.len());
        let mut entries = Vec::new();
        let mut over = false;
        for Pending { entry, source } in self.entries.into_values() {
            over |= source.is_none();
            match source {
                Some(source) => items.push(CopyItem { entry, source }),
                // What goes into an archive's directory must not change its time.
                None if entry.is_dir() => items.push(CopyItem {
                    entry,
                    source: Source::None,
                }),
                None => entries.push(entry),
            }
        }
        let index = if over {
            staging.populate_over(items, wanted)?
        } else {
            staging.populate_while(items, wanted)?
        };
        entries.extend(index.entries().iter().cloned());
        Ok(LayerIndex::new(entries))
    }
}

/// An existing directory as an entry of the new layer: merged with, not hiding, the one below.
fn copied_up(mut entry: Entry) -> Entry {
    entry.kind = EntryKind::Dir { opaque: false };
    entry.hardlink = None;
    entry
}
