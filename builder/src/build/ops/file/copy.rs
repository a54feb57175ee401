//! COPY and ADD of files from a tree into a new layer.
//!
//! The rules are BuildKit's: a directory's contents are copied, not the directory; a
//! destination that ends in `/`, or is a directory, takes a file under its own name; an
//! existing top-level directory keeps its mode and owner while nested ones take the
//! source's; a link that is the destination is written through, a nested one replaced.

use std::collections::HashMap;

use cooper_cache::{Entry, EntryKind, Files, MergedTree, Node, RelPath, Source};
use cooper_frontend::dockerignore::{DockerIgnore, Verdict};
use cooper_frontend::ir::CopyAction;

use super::FileError;
use super::archive::Archives;
use super::mode::ModeChange;
use super::new_layer::{NewLayer, Owner};
use super::select::{Selected, select};

/// How one COPY changes what it copies.
pub(super) struct Rules<'a> {
    pub(super) action: &'a CopyAction,
    pub(super) owner: Option<Owner>,
    pub(super) chmod: Option<ModeChange>,
    pub(super) exclude: Option<DockerIgnore>,
    /// Whether the source's files may change under our hands: a directory of the user's.
    pub(super) foreign: bool,
}

/// Copies everything that the action selects from `tree`.
///
/// With `archives`, a file that is an archive by its content is unpacked instead.
pub(super) fn copy(
    layer: &mut NewLayer<'_>,
    tree: &MergedTree,
    rules: &Rules<'_>,
    archives: Option<&Archives<'_>>,
) -> Result<(), FileError> {
    let selected = select(tree, rules.action)?;
    let mut copier = Copier {
        layer,
        tree,
        rules,
        links: HashMap::new(),
    };
    for one in &selected {
        copier.links.clear();
        copier.source(one, archives).map_err(|cause| {
            let written = &rules.action.sources[one.source].written;
            FileError::Copy {
                written: written.clone(),
                dest: rules.action.dest.clone(),
                source: Box::new(cause),
            }
        })?;
    }
    Ok(())
}

/// Returns where a file called `name` goes for a destination as written.
///
/// A destination that ends in `/` (or in `/.`), or is an existing directory, takes the
/// file under its own name.
pub(super) fn file_target(
    layer: &NewLayer<'_>,
    dest: &str,
    name: &[u8],
) -> Result<RelPath, FileError> {
    let target = layer.resolve(&RelPath::clean(dest))?;
    let is_dir = dest.ends_with('/')
        || dest.ends_with("/.")
        || target.is_root()
        || layer.lookup(&target).is_some_and(Entry::is_dir);
    Ok(if is_dir { target.join(name) } else { target })
}

/// Copies `from` and everything below it to `to` just as it is, owners and times included.
pub(super) fn subtree(
    layer: &mut NewLayer<'_>,
    tree: &MergedTree,
    from: &RelPath,
    to: &RelPath,
) -> Result<(), FileError> {
    for node in tree.walk(from) {
        let below = node.entry.path.strip_prefix(from).unwrap_or_default();
        let mut entry = node.entry.clone();
        entry.path = to.join(below.as_bytes());
        if let Some(parent) = entry.path.parent() {
            layer.ensure_dir(&parent, 0o755, Owner::default())?;
        }
        match entry.kind {
            EntryKind::Dir { .. } => {
                let path = entry.path.clone();
                layer.ensure_dir(&path, entry.mode, Owner::default())?;
                layer.set_dir(&path, |dir| {
                    entry.kind = EntryKind::Dir { opaque: false };
                    *dir = entry;
                });
            }
            EntryKind::File { .. } => {
                let source = match node.files {
                    Files::Dir(_) => Source::Foreign(node.file_path()),
                    Files::Packed(_) => Source::Stored(node.bytes()),
                };
                layer.put(entry, source)?;
            }
            _ => layer.put(entry, Source::None)?,
        }
    }
    Ok(())
}

struct Copier<'l, 'b, 'a> {
    layer: &'l mut NewLayer<'b>,
    tree: &'a MergedTree,
    rules: &'a Rules<'a>,
    /// Hard-link groups of the source (by its layer) and their group in the new layer.
    links: HashMap<(usize, u32), u32>,
}

impl Copier<'_, '_, '_> {
    fn owner(&self) -> Owner {
        self.rules.owner.unwrap_or_default()
    }

    fn source(&mut self, one: &Selected, archives: Option<&Archives<'_>>) -> Result<(), FileError> {
        match archives {
            Some(archives) if archives.unpack(self.layer, self.tree, one, self.rules)? => Ok(()),
            _ => self.place(one),
        }
    }

    fn place(&mut self, one: &Selected) -> Result<(), FileError> {
        if let Some(keep) = &one.keep {
            return self.place_with_parents(one, keep);
        }
        let Some(node) = self.tree.get(&one.real) else {
            return Ok(());
        };
        let dest = &self.rules.action.dest;
        if node.entry.is_dir() {
            let target = self.layer.resolve(&RelPath::clean(dest))?;
            return self.directory(&one.real, &one.real, &target, true);
        }
        let name = one.named.file_name().unwrap_or_default();
        let target = file_target(self.layer, dest, name)?;
        if let Some(parent) = target.parent() {
            self.layer.ensure_dir(&parent, 0o755, self.owner())?;
        }
        self.object(node, target)
    }

    /// `--parents`: the directories above the file come along with their mode and owner.
    fn place_with_parents(&mut self, one: &Selected, keep: &RelPath) -> Result<(), FileError> {
        let root = self
            .layer
            .resolve(&RelPath::clean(&self.rules.action.dest))?;
        self.layer.ensure_dir(&root, 0o755, self.owner())?;
        let depth = keep.components().count();
        let mut target = root;
        let skip = one.real.components().count() - depth;
        let mut source = RelPath::clean(
            one.real
                .components()
                .take(skip)
                .collect::<Vec<_>>()
                .join(&b'/'),
        );
        for (at, name) in keep.components().enumerate() {
            source = source.join(name);
            target = self.layer.resolve(&target.join(name))?;
            let Some(node) = self.tree.get(&source) else {
                return Ok(());
            };
            if at + 1 == depth {
                return self.any(&source, &source, node, target);
            }
            let entry = self.changed_parent(node.entry, &target);
            if self.layer.ensure_dir(
                &target,
                entry.mode,
                Owner {
                    uid: entry.uid,
                    gid: entry.gid,
                },
            )? {
                self.layer.set_dir(&target, |dir| dir.mtime = entry.mtime);
            }
        }
        Ok(())
    }

    fn changed_parent(&self, entry: &Entry, target: &RelPath) -> Entry {
        let mut entry = entry.clone();
        entry.path = target.clone();
        if let Some(owner) = self.rules.owner {
            entry.uid = owner.uid;
            entry.gid = owner.gid;
        }
        entry
    }

    fn any(
        &mut self,
        top: &RelPath,
        from: &RelPath,
        node: Node<'_>,
        target: RelPath,
    ) -> Result<(), FileError> {
        if node.entry.is_dir() {
            self.directory(top, from, &target, false)
        } else {
            self.object(node, target)
        }
    }

    /// Copies the directory `from` onto `target`; `top` is where `--exclude` is rooted.
    fn directory(
        &mut self,
        top: &RelPath,
        from: &RelPath,
        target: &RelPath,
        is_top: bool,
    ) -> Result<(), FileError> {
        let Some(node) = self.tree.get(from) else {
            return Ok(());
        };
        if is_top {
            self.top_directory(target)?;
        } else {
            let new = self.changed(node.entry, target.clone());
            self.layer.ensure_dir(
                target,
                new.mode,
                Owner {
                    uid: new.uid,
                    gid: new.gid,
                },
            )?;
            self.layer.set_dir(target, |dir| *dir = new);
        }
        for child in self.tree.children(from) {
            let name = child.entry.path.file_name().unwrap_or_default();
            let source = from.join(name);
            let is_dir = child.entry.is_dir();
            match self.excluded(top, &source, is_dir) {
                Verdict::Include => self.any(top, &source, child, target.join(name))?,
                Verdict::Descend => self.directory_if_needed(top, &source, &target.join(name))?,
                Verdict::Exclude => {}
            }
        }
        Ok(())
    }

    /// Makes the directory whose contents come from a source directory.
    ///
    /// It is not a copy of the source: a new one is 0755 (or `--chmod`'s permission bits)
    /// and root's (or `--chown`'s); an existing one stays as it is.
    fn top_directory(&mut self, target: &RelPath) -> Result<(), FileError> {
        if let Some(parent) = target.parent() {
            self.layer.ensure_dir(&parent, 0o755, self.owner())?;
        }
        let mode = match &self.rules.chmod {
            Some(chmod) => chmod.apply(0o755, true) & 0o777,
            None => 0o755,
        };
        self.layer.ensure_dir(target, mode, self.owner())?;
        Ok(())
    }

    /// Copies an excluded directory only as far as a later `!pattern` brings back files in it.
    fn directory_if_needed(
        &mut self,
        top: &RelPath,
        from: &RelPath,
        target: &RelPath,
    ) -> Result<(), FileError> {
        let wanted = self.tree.walk(from).any(|node| {
            !node.entry.is_dir()
                && matches!(
                    self.excluded(top, &node.entry.path, false),
                    Verdict::Include
                )
        });
        if wanted {
            self.directory(top, from, target, false)
        } else {
            Ok(())
        }
    }

    fn excluded(&self, top: &RelPath, path: &RelPath, is_dir: bool) -> Verdict {
        let Some(patterns) = &self.rules.exclude else {
            return Verdict::Include;
        };
        let Some(below) = path.strip_prefix(top) else {
            return Verdict::Include;
        };
        patterns.verdict(&String::from_utf8_lossy(below.as_bytes()), is_dir)
    }

    /// Copies anything but a directory.
    fn object(&mut self, node: Node<'_>, target: RelPath) -> Result<(), FileError> {
        let mut entry = self.changed(node.entry, target);
        entry.hardlink = node
            .entry
            .hardlink
            .map(|group| self.link_group(node, group));
        let source = match entry.kind {
            EntryKind::File { .. } if self.rules.foreign => Source::Foreign(node.file_path()),
            EntryKind::File { .. } => Source::Stored(node.bytes()),
            _ => Source::None,
        };
        self.layer.put(entry, source)
    }

    fn link_group(&mut self, node: Node<'_>, group: u32) -> u32 {
        let key = (node.layer, group);
        if let Some(known) = self.links.get(&key) {
            return *known;
        }
        let fresh = self.layer.link_group();
        self.links.insert(key, fresh);
        fresh
    }

    /// Returns the source's entry at its new path with `--chown` and `--chmod` applied.
    fn changed(&self, source: &Entry, path: RelPath) -> Entry {
        let mut entry = source.clone();
        let is_dir = entry.is_dir();
        entry.path = path;
        entry.hardlink = None;
        if let EntryKind::Dir { opaque } = &mut entry.kind {
            *opaque = false;
        }
        if let Some(owner) = self.rules.owner {
            entry.uid = owner.uid;
            entry.gid = owner.gid;
        }
        if let Some(chmod) = &self.rules.chmod
            && !matches!(entry.kind, EntryKind::Symlink { .. })
        {
            entry.mode = chmod.apply(entry.mode, is_dir);
        }
        entry
    }
}
