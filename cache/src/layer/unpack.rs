//! From a tar, which may be hostile, to an index, and to files below a staging or a pack.
//!
//! Names are resolved in memory, against what the archive holds so far (and,
//! for ADD, the tree below it), never against the disk: symbolic links are
//! made only after every file, and [`Canvas`](super::disk::Canvas) follows none. Directories are
//! made as they come, files by a [`Pool`] of threads, everything else in the
//! archive's order at the end.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};

use crate::checksum::ContentHash;
use crate::error::{ArchiveError, ResolveError, StoreError};
use crate::layer::disk::Parent;
use crate::layer::files::{Place, Places};
use crate::layer::form::Form;
use crate::layer::pool::{Closing, Job, Pool};
use crate::layer::tar_read::{TarMember, TarReader};
use crate::layer::{Entry, EntryKind, LayerIndex, Unpack, copy};
use crate::path::RelPath;

/// Files up to this size go through memory to the pool.
const SMALL: u64 = 1 << 20;

/// The longest name that a program could use, in bytes (Linux' PATH_MAX).
const MAX_PATH: usize = 4096;

/// Links that are followed before a path counts as a loop.
const MAX_LINKS: usize = 255;

/// What an unpacked archive is put on: nothing, for a layer, or a tree.
pub(super) struct Ground<'a> {
    /// What ADD unpacks onto; none for a layer.
    pub(super) add: Option<&'a Unpack<'a>>,
    /// The most entries an archive may have.
    pub(super) most: u64,
}

struct Planned {
    entry: Entry,
    serial: usize,
    /// Made at the end: as another name of this path, or on its own.
    late: Option<Late>,
}

#[derive(Clone)]
enum Late {
    Special,
    Link(RelPath),
}

struct Unpacker<'a> {
    form: &'a Form,
    pool: &'a Pool,
    ground: &'a Ground<'a>,
    dest: RelPath,
    plan: HashMap<RelPath, Planned>,
    /// What waits for the end, in the archive's order.
    late: Vec<RelPath>,
    hashes: HashMap<usize, ContentHash>,
    /// Where in the pack the bytes of a file begin, by its serial.
    begins: HashMap<usize, u64>,
    /// Where in the pack the next file begins.
    end: u64,
    serial: usize,
    groups: u32,
    last: Option<RelPath>,
    parent: Parent,
}

/// What was unpacked, and what is left of the archive.
pub(super) struct Made<R> {
    pub(super) index: LayerIndex,
    /// Where the bytes of its files are in the pack, if they went into one.
    pub(super) places: Places,
    pub(super) rest: R,
}

/// Unpacks all of `tar` to `form` and returns what was made.
pub(super) fn unpack<R: Read>(
    tar: R,
    form: &Form,
    ground: &Ground<'_>,
) -> Result<Made<R>, StoreError> {
    let pool = Pool::default();
    let workers = std::thread::available_parallelism()
        .map_or(1, std::num::NonZero::get)
        .min(4);
    std::thread::scope(|scope| {
        let closing = Closing(&pool);
        for _ in 0..workers {
            scope.spawn(|| pool.work(form));
        }
        let mut unpacker = Unpacker {
            form,
            pool: &pool,
            ground,
            dest: ground.add.map(|add| add.dest.clone()).unwrap_or_default(),
            plan: HashMap::new(),
            late: Vec::new(),
            hashes: HashMap::new(),
            begins: HashMap::new(),
            end: 0,
            serial: 0,
            groups: 0,
            last: None,
            parent: Parent::default(),
        };
        let rest = unpacker.read(tar)?;
        let (index, places) = unpacker.finish()?;
        drop(closing);
        Ok(Made {
            index,
            places,
            rest,
        })
    })
}

/// Recovers a refusal that travelled through a reader as an I/O error.
fn malformed(error: io::Error, after: Option<&RelPath>) -> StoreError {
    match error.downcast::<ArchiveError>() {
        Ok(refusal) => refusal.into(),
        Err(source) => ArchiveError::Malformed {
            after: after.cloned(),
            source,
        }
        .into(),
    }
}

impl Unpacker<'_> {
    fn read<R: Read>(&mut self, tar: R) -> Result<R, StoreError> {
        if self.ground.add.is_some() {
            self.imply(&self.dest.clone())?;
        }
        let mut tar = TarReader::new(tar);
        let mut count = 0;
        while let Some(member) = tar
            .next()
            .map_err(|error| malformed(error, self.last.as_ref()))?
        {
            count += 1;
            if count > self.ground.most {
                return Err(ArchiveError::TooMany {
                    limit: self.ground.most,
                }
                .into());
            }
            self.member(&member, &mut tar)?;
        }
        Ok(tar.into_inner())
    }

    fn member<R: Read>(
        &mut self,
        member: &TarMember,
        tar: &mut TarReader<R>,
    ) -> Result<(), StoreError> {
        let path = self.place(&member.path)?;
        if self.ground.add.is_some() && path == self.dest && member.kind == b'5' {
            // The archive's own top is not the destination, which is there already.
            return Ok(());
        }
        self.last = Some(path.clone());
        let name = path.file_name().unwrap_or_default();
        if name == b".wh..wh..opq" {
            self.set_opaque(&path.parent().unwrap_or_default());
            return Ok(());
        }
        if name.starts_with(b".wh..wh.") {
            return Ok(());
        }
        if let Some(deleted) = name.strip_prefix(b".wh.") {
            return self.delete(&path, deleted);
        }
        let kind = match member.kind {
            b'1' => return self.link(path, &member.link),
            b'5' => EntryKind::Dir { opaque: false },
            b'0' => EntryKind::File {
                size: member.size,
                content: ContentHash::UNHASHED,
            },
            b'2' => EntryKind::Symlink {
                target: member.link.clone().into(),
            },
            b'3' if member.device == (0, 0) => {
                let name = path.file_name().unwrap_or_default().to_vec();
                return self.delete(&path, &name);
            }
            b'3' => EntryKind::CharDev {
                major: member.device.0,
                minor: member.device.1,
            },
            b'4' => EntryKind::BlockDev {
                major: member.device.0,
                minor: member.device.1,
            },
            b'6' => EntryKind::Fifo,
            kind => {
                return Err(ArchiveError::UnknownType {
                    path,
                    kind: kind.into(),
                }
                .into());
            }
        };
        self.object(self.entry(path, kind, member), tar)
    }

    fn entry(&self, path: RelPath, kind: EntryKind, member: &TarMember) -> Entry {
        let mode = if matches!(kind, EntryKind::Symlink { .. }) {
            0o777
        } else {
            member.mode
        };
        let mut entry = Entry::new(path, kind, mode);
        let owner = self.ground.add.and_then(|add| add.owner);
        (entry.uid, entry.gid) = owner.unwrap_or((member.uid, member.gid));
        entry.mtime = member.mtime;
        if entry.is_dir() || entry.is_file() {
            entry.xattrs.clone_from(&member.xattrs);
        }
        entry
    }

    /// Resolves a name of the archive to a path whose directories exist in the plan.
    fn place(&mut self, name: &[u8]) -> Result<RelPath, StoreError> {
        let shown = || {
            let text = String::from_utf8_lossy(&name[..name.len().min(MAX_PATH)]);
            text.into_owned()
        };
        if name.contains(&0)
            || name.len() > MAX_PATH
            || name
                .split(|byte| *byte == b'/')
                .any(|part| part.len() > 255)
        {
            return Err(ArchiveError::BadName { path: shown() }.into());
        }
        let inside = RelPath::clean(name);
        if inside.file_name() == Some(b".wh.") {
            return Err(ArchiveError::BadName { path: shown() }.into());
        }
        let Some(parent) = inside.parent() else {
            return Ok(self.dest.clone());
        };
        let parent = self.resolve_dir(&parent, name)?;
        self.imply(&parent)?;
        Ok(parent.join(inside.file_name().unwrap_or_default()))
    }

    /// Resolves `dir`, below the destination, following links inside the root.
    fn resolve_dir(&self, dir: &RelPath, name: &[u8]) -> Result<RelPath, StoreError> {
        let mut here = self.dest.clone();
        // The usual case: everything on the way is a directory of this archive.
        let direct = here.join(dir);
        if self
            .plan
            .get(&direct)
            .is_some_and(|planned| planned.entry.is_dir())
        {
            return Ok(direct);
        }
        let mut todo: Vec<Vec<u8>> = dir.components().rev().map(<[u8]>::to_vec).collect();
        let mut followed = 0;
        while let Some(part) = todo.pop() {
            if part == b".." {
                here = here.parent().unwrap_or_default();
                continue;
            }
            let next = here.join(&part);
            let Some(EntryKind::Symlink { target }) = self.kind_at(&next) else {
                here = next;
                continue;
            };
            followed += 1;
            if followed > MAX_LINKS {
                return Err(ResolveError::Loop {
                    path: next,
                    limit: MAX_LINKS,
                }
                .into());
            }
            if target.first() == Some(&b'/') {
                here = RelPath::root();
            }
            let parts = target.split(|byte| *byte == b'/');
            let parts = parts.filter(|part| !part.is_empty() && *part != b".");
            todo.extend(parts.rev().map(<[u8]>::to_vec));
        }
        if !here.starts_with(&self.dest) {
            let path = String::from_utf8_lossy(name).into_owned();
            return Err(ArchiveError::Escapes { path }.into());
        }
        Ok(here)
    }

    /// Returns what is at `path`: in this archive, or else in the tree below it.
    fn kind_at(&self, path: &RelPath) -> Option<&EntryKind> {
        match self.plan.get(path) {
            Some(planned) if planned.entry.is_whiteout() => None,
            Some(planned) => Some(&planned.entry.kind),
            None => self.below(path).map(|entry| &entry.kind),
        }
    }

    /// Returns the entry of the tree below, unless this archive hides it.
    fn below(&self, path: &RelPath) -> Option<&Entry> {
        let entry = self.ground.add?.tree.get(path)?.entry;
        let mut above = path.parent();
        while let Some(dir) = above {
            if let Some(planned) = self.plan.get(&dir)
                && !matches!(planned.entry.kind, EntryKind::Dir { opaque: false })
            {
                return None;
            }
            above = dir.parent();
        }
        Some(entry)
    }

    /// Makes sure that `dir` and all directories above it are in the plan.
    fn imply(&mut self, dir: &RelPath) -> Result<(), StoreError> {
        if dir.is_root()
            || self
                .plan
                .get(dir)
                .is_some_and(|planned| planned.entry.is_dir())
        {
            return Ok(());
        }
        for path in copy::ancestors(dir).into_iter().chain([dir.clone()]) {
            match self.kind_at(&path) {
                Some(EntryKind::Dir { .. }) if self.plan.contains_key(&path) => {}
                Some(EntryKind::Dir { .. }) => {
                    let below = self.below(&path).expect("seen just now").clone();
                    let kind = EntryKind::Dir { opaque: false };
                    self.dir(Entry {
                        kind,
                        hardlink: None,
                        ..below
                    })?;
                }
                None => self.dir(Entry::dir(path, 0o755))?,
                Some(_) => return Err(ArchiveError::InTheWay { path }.into()),
            }
        }
        Ok(())
    }

    fn object<R: Read>(&mut self, entry: Entry, tar: &mut TarReader<R>) -> Result<(), StoreError> {
        match entry.kind {
            EntryKind::Dir { .. } => self.dir(entry),
            EntryKind::File { size, .. } => {
                self.displace(&entry.path)?;
                if size <= SMALL {
                    let data = tar
                        .data()
                        .map_err(|error| malformed(error, Some(&entry.path)))?;
                    let serial = self.plan(entry.clone(), None);
                    let at = self.reserve(serial, size);
                    return self.pool.push(Job {
                        serial,
                        entry,
                        data,
                        at,
                    });
                }
                self.large_file(&entry, tar)
            }
            _ => self.later(entry, Late::Special),
        }
    }

    fn large_file<R: Read>(
        &mut self,
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), StoreError> {
        let serial = self.plan(entry.clone(), None);
        let at = self.reserve(serial, entry.size());
        let mut file = self.form.large(&entry.path, at)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = tar
                .read(&mut buffer)
                .map_err(|error| malformed(error, Some(&entry.path)))?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            file.write(&entry.path, &buffer[..count])?;
        }
        file.finish(entry)?;
        self.hashes
            .insert(serial, ContentHash::from_bytes(hasher.finalize().into()));
        Ok(())
    }

    /// Returns where in the pack the `size` bytes of a file go.
    fn reserve(&mut self, serial: usize, size: u64) -> u64 {
        let at = self.end;
        self.begins.insert(serial, at);
        // A size that is a lie ends with the archive.
        self.end = at.saturating_add(size);
        at
    }

    /// Plans a directory and makes it; one that is there takes the new metadata.
    fn dir(&mut self, mut entry: Entry) -> Result<(), StoreError> {
        let known = self.plan.get_mut(&entry.path);
        if let Some(known) = known
            && let EntryKind::Dir { opaque } = known.entry.kind
        {
            entry.kind = EntryKind::Dir { opaque };
            known.entry = entry;
            return Ok(());
        }
        // A directory over a deleted one does not show what the deleted one held.
        if self
            .plan
            .get(&entry.path)
            .is_some_and(|planned| planned.entry.is_whiteout())
        {
            entry.kind = EntryKind::Dir { opaque: true };
        }
        self.displace(&entry.path)?;
        if !entry.path.is_root() {
            self.form.make_dir(&entry.path, &mut self.parent)?;
        }
        self.plan(entry, None);
        Ok(())
    }

    fn later(&mut self, entry: Entry, how: Late) -> Result<(), StoreError> {
        self.displace(&entry.path)?;
        self.late.push(entry.path.clone());
        self.plan(entry, Some(how));
        Ok(())
    }

    fn plan(&mut self, entry: Entry, late: Option<Late>) -> usize {
        let serial = self.serial;
        self.serial += 1;
        self.plan.insert(
            entry.path.clone(),
            Planned {
                entry,
                serial,
                late,
            },
        );
        serial
    }

    /// Marks that `name` beside the mark at `mark` is deleted from what lies below.
    fn delete(&mut self, mark: &RelPath, name: &[u8]) -> Result<(), StoreError> {
        let path = mark.parent().unwrap_or_default().join(name);
        if name == b".." || name == b"." || path.is_root() {
            return Err(ArchiveError::BadName {
                path: mark.to_string(),
            }
            .into());
        }
        match self.plan.get(&path).map(|planned| &planned.entry.kind) {
            // Marks do not concern what the same layer brings, only what is under it.
            Some(EntryKind::Dir { .. }) if self.ground.add.is_none() => {
                self.set_opaque(&path);
                Ok(())
            }
            Some(_) => Ok(()),
            None if self.ground.add.is_some() && self.below(&path).is_none() => Ok(()),
            None => self.later(Entry::whiteout(path), Late::Special),
        }
    }

    fn set_opaque(&mut self, dir: &RelPath) {
        if dir.is_root() && !self.plan.contains_key(dir) {
            self.plan(Entry::dir(RelPath::root(), 0o755), None);
        }
        if let Some(planned) = self.plan.get_mut(dir) {
            planned.entry.kind = EntryKind::Dir { opaque: true };
        }
    }

    fn link(&mut self, path: RelPath, target: &[u8]) -> Result<(), StoreError> {
        let shown = String::from_utf8_lossy(target).into_owned();
        let dangling = || ArchiveError::DanglingLink {
            path: path.clone(),
            target: shown.clone(),
        };
        let inside = RelPath::clean(target);
        let parent = inside.parent().ok_or_else(dangling)?;
        let holder = self
            .resolve_dir(&parent, target)?
            .join(inside.file_name().unwrap_or_default());
        if holder == path {
            return Ok(());
        }
        let groups = &mut self.groups;
        let planned = self
            .plan
            .get_mut(&holder)
            .filter(|held| !matches!(held.entry.kind, EntryKind::Dir { .. } | EntryKind::Whiteout));
        let planned = planned.ok_or_else(dangling)?;
        planned.entry.hardlink.get_or_insert_with(|| {
            *groups += 1;
            *groups
        });
        let (entry, serial) = (planned.entry.clone(), planned.serial);
        self.displace(&path)?;
        self.late.push(path.clone());
        let late = Some(Late::Link(holder));
        self.plan.insert(
            path.clone(),
            Planned {
                entry: Entry { path, ..entry },
                serial,
                late,
            },
        );
        Ok(())
    }

    /// Removes what this archive, or earlier work, put at `path`.
    fn displace(&mut self, path: &RelPath) -> Result<(), StoreError> {
        if !self.plan.contains_key(path) {
            return Ok(());
        }
        self.settle()?;
        if path.is_root() {
            return Err(ArchiveError::InTheWay { path: path.clone() }.into());
        }
        self.form.remove(path)?;
        self.plan.retain(|planned, _| !planned.starts_with(path));
        self.parent = Parent::default();
        Ok(())
    }

    /// Brings the disk up to the plan, but for directories' metadata.
    fn settle(&mut self) -> Result<(), StoreError> {
        self.hashes.extend(self.pool.sync()?);
        let mut parent = Parent::default();
        for path in std::mem::take(&mut self.late) {
            let Some(planned) = self.plan.get_mut(&path) else {
                continue;
            };
            match planned.late.take() {
                Some(Late::Link(holder)) => self.form.make_link(&holder, &path)?,
                Some(Late::Special) => self.form.make_special(&planned.entry, &mut parent)?,
                None => {}
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(LayerIndex, Places), StoreError> {
        self.settle()?;
        let (hashes, begins) = (&self.hashes, &self.begins);
        let complete = |planned: Planned| {
            let mut entry = planned.entry;
            if let (EntryKind::File { content, .. }, Some(hash)) =
                (&mut entry.kind, hashes.get(&planned.serial))
            {
                *content = *hash;
            }
            let offset = begins.get(&planned.serial).copied().unwrap_or(0);
            (entry, Place { pack: 0, offset })
        };
        let mut made: Vec<(Entry, Place)> = self.plan.into_values().map(complete).collect();
        made.sort_unstable_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        let (mut entries, places): (Vec<Entry>, Vec<Place>) = made.into_iter().unzip();
        let mut names = HashSet::new();
        let mut shared = HashSet::new();
        for group in entries.iter().filter_map(|entry| entry.hardlink) {
            if !names.insert(group) {
                shared.insert(group);
            }
        }
        for entry in &mut entries {
            entry.hardlink = entry.hardlink.filter(|group| shared.contains(group));
        }
        let index = LayerIndex::new(entries);
        self.form.finish_dirs(&index)?;
        let places = Places {
            packs: (self.end > 0).then_some(self.end).into_iter().collect(),
            entries: places,
            like: None,
        };
        Ok((index, places))
    }
}
