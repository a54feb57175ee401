//! From an overlay's upper directory to an index.
//!
//! What an upper directory says beside its files: a character device 0:0 is a
//! whiteout, the opaque attribute hides lower content. Other overlay
//! attributes (origin, impure, uuid…) are the kernel's notes and mean nothing
//! here. Left out are sockets, which no archive holds, and files whose names
//! begin with `.wh.`, which would be whiteouts in a tar.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::checksum::ContentHash;
use crate::error::{IoContext, StoreError};
use crate::layer::disk::opaque_xattr;
use crate::layer::{Entry, EntryKind, LayerIndex, Staging, Timestamp, Xattr};
use crate::path::RelPath;
use crate::tree::MergedTree;

/// Hashing fewer files than this is quicker on the spot than on other threads.
const PARALLEL_FROM: usize = 16;

struct Walk<'a> {
    root: &'a Path,
    opaque: &'static str,
    entries: Vec<Entry>,
    /// Numbers of the regular files' entries, one a hard link group.
    files: Vec<usize>,
    /// (device, inode) → hard link group and number of its first entry.
    links: HashMap<(u64, u64), (u32, usize)>,
    /// Files that overlayfs brought up from a lower layer.
    copied_up: Vec<RelPath>,
}

/// What an upper directory holds.
pub(super) struct Upper {
    /// Its entries.
    pub(super) index: LayerIndex,
    /// Files among them that overlayfs brought up from a lower layer, perhaps unchanged.
    pub(super) copied_up: Vec<RelPath>,
}

/// Reads everything below the staging's `fs/` and hashes its files.
pub(super) fn scan_upper(staging: &Staging, userxattr: bool) -> Result<Upper, StoreError> {
    let root = staging.fs();
    let Walk {
        mut entries,
        copied_up,
        ..
    } = walk(&root, opaque_xattr(userxattr))?;
    let unchanged = entries.first().is_some_and(|first| {
        first.path.is_root()
            && (first.mode, first.uid, first.gid) == staging.initial_root()
            && first.kind == (EntryKind::Dir { opaque: false })
            && first.xattrs.is_empty()
    });
    if unchanged {
        entries.remove(0);
    }
    Ok(Upper {
        index: LayerIndex::new(entries),
        copied_up,
    })
}

/// Leaves out files that are just as in `base`: opened for writing, linked to or given the
/// mode they had, they were copied up without being changed.
///
/// A further name of such a file stays, as a file of its own.
pub(super) fn drop_unchanged(
    staging: &Staging,
    upper: Upper,
    base: &MergedTree,
) -> Result<LayerIndex, StoreError> {
    let unchanged: HashSet<&RelPath> = upper
        .copied_up
        .iter()
        .filter(|path| {
            let below = base.get(path).map(|node| node.entry);
            below.is_some_and(|below| {
                let above = upper.index.get(path).cloned();
                above.is_some_and(|above| same_object(&above, below))
            })
        })
        .collect();
    if unchanged.is_empty() {
        return Ok(upper.index);
    }
    for path in &unchanged {
        let full = path.under(&staging.fs());
        std::fs::remove_file(&full).during("remove", &full)?;
    }
    let parents: HashSet<RelPath> = unchanged.iter().filter_map(|path| path.parent()).collect();
    for dir in parents.iter().filter_map(|dir| upper.index.get(dir)) {
        set_mtime(&dir.path.under(&staging.fs()), dir.mtime)?;
    }
    let mut entries = upper.index.entries().to_vec();
    entries.retain(|entry| !unchanged.contains(&entry.path));
    drop_single_links(&mut entries);
    Ok(LayerIndex::new(entries))
}

/// Removing a file has touched its directory; what the index says of that still holds.
fn set_mtime(dir: &Path, mtime: Timestamp) -> Result<(), StoreError> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.into(),
        },
    };
    rustix::fs::utimensat(CWD, dir, &times, AtFlags::SYMLINK_NOFOLLOW).during("set times of", dir)
}

/// Whether two entries of one path are the same file, whatever other names it has.
fn same_object(above: &Entry, below: &Entry) -> bool {
    let mut above = above.clone();
    above.hardlink = below.hardlink;
    above == *below
}

/// Reads everything at and below `root`, the root directory first.
pub(super) fn scan(root: &Path, opaque: &'static str) -> Result<Vec<Entry>, StoreError> {
    Ok(walk(root, opaque)?.entries)
}

fn walk<'a>(root: &'a Path, opaque: &'static str) -> Result<Walk<'a>, StoreError> {
    let mut walk = Walk {
        root,
        opaque,
        entries: Vec::new(),
        files: Vec::new(),
        links: HashMap::new(),
        copied_up: Vec::new(),
    };
    let stat = rustix::fs::lstat(root).during("stat", root)?;
    walk.add(RelPath::root(), &stat)?;
    walk.descend(&RelPath::root())?;
    hash_files(root, &mut walk)?;
    drop_single_links(&mut walk.entries);
    Ok(walk)
}

impl Walk<'_> {
    fn descend(&mut self, dir: &RelPath) -> Result<(), StoreError> {
        let full = dir.under(self.root);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&full, flags, Mode::empty()).during("open", &full)?;
        let mut dirs = Vec::new();
        for item in rustix::fs::Dir::read_from(&fd).during("list", &full)? {
            let item = item.during("list", &full)?;
            let name = item.file_name().to_bytes();
            if matches!(name, b"." | b"..") || name.starts_with(b".wh.") {
                continue;
            }
            let path = dir.join(name);
            let stat = rustix::fs::statat(&fd, item.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .during("stat", &full)?;
            if self.add(path.clone(), &stat)? {
                dirs.push(path);
            }
        }
        drop(fd);
        dirs.iter().try_for_each(|dir| self.descend(dir))
    }

    /// Adds one object; returns whether it is a directory.
    fn add(&mut self, path: RelPath, stat: &Stat) -> Result<bool, StoreError> {
        let full = path.under(self.root);
        let kind = match kind_of(stat, || full.clone())? {
            // In an upper directory this device is overlayfs's mark for what is gone.
            Some(EntryKind::CharDev { major: 0, minor: 0 }) => EntryKind::Whiteout,
            Some(kind) => kind,
            None => return Ok(false),
        };
        let mut entry = Entry::new(path, kind, stat.st_mode & 0o7777);
        (entry.uid, entry.gid) = (stat.st_uid, stat.st_gid);
        entry.mtime = Timestamp {
            secs: stat.st_mtime,
            nanos: stat.st_mtime_nsec as u32,
        };
        if entry.is_whiteout() {
            (entry.mode, entry.uid, entry.gid) = (0, 0, 0);
            entry.mtime = Timestamp::default();
        }
        if entry.is_file() || entry.is_dir() {
            let found = read_xattrs(&full, self.opaque).during("read attributes of", &full)?;
            entry.xattrs = found.kept;
            if let EntryKind::Dir { opaque: mark } = &mut entry.kind {
                *mark = found.opaque;
            } else if found.origin {
                self.copied_up.push(entry.path.clone());
            }
        }
        let is_dir = entry.is_dir();
        let first = self.entries.len();
        let mut fresh = true;
        if !is_dir && !entry.is_whiteout() && stat.st_nlink > 1 {
            let next = self.links.len() as u32;
            let key = (stat.st_dev, stat.st_ino);
            let (group, holder) = *self.links.entry(key).or_insert((next, first));
            entry.hardlink = Some(group);
            fresh = holder == first;
        }
        if entry.is_file() && fresh {
            self.files.push(first);
        }
        self.entries.push(entry);
        Ok(is_dir)
    }
}

/// Returns what kind of object `stat` tells of; nothing if layers hold none of that kind.
///
/// A file's content is [`ContentHash::UNHASHED`]. `full` is asked only for where a link stands.
pub(crate) fn kind_of(
    stat: &Stat,
    full: impl FnOnce() -> PathBuf,
) -> Result<Option<EntryKind>, StoreError> {
    let (major, minor) = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => EntryKind::Dir { opaque: false },
        FileType::RegularFile => EntryKind::File {
            size: stat.st_size as u64,
            content: ContentHash::UNHASHED,
        },
        FileType::Symlink => {
            let full = full();
            let target = rustix::fs::readlink(&full, Vec::new()).during("read link", &full)?;
            EntryKind::Symlink {
                target: target.into_bytes().into(),
            }
        }
        FileType::CharacterDevice => EntryKind::CharDev { major, minor },
        FileType::BlockDevice => EntryKind::BlockDev { major, minor },
        FileType::Fifo => EntryKind::Fifo,
        _ => return Ok(None),
    }))
}

/// Whether images keep this attribute.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// The attributes of an object in an upper directory.
#[derive(Default)]
struct Attributes {
    /// Those that images keep, sorted.
    kept: Vec<Xattr>,
    /// Whether the opaque mark is set to `y`.
    opaque: bool,
    /// Whether overlayfs notes what it was copied up from.
    origin: bool,
}

fn read_xattrs(full: &Path, opaque: &str) -> Result<Attributes, Errno> {
    let mut names = vec![0_u8; 1024];
    let count = loop {
        match rustix::fs::llistxattr(full, &mut names[..]) {
            Ok(count) => break count,
            Err(Errno::RANGE) => names.resize(names.len() * 4, 0),
            Err(Errno::NOTSUP) => return Ok(Attributes::default()),
            Err(error) => return Err(error),
        }
    };
    let mut found = Attributes::default();
    for name in names[..count].split(|byte| *byte == 0) {
        if name == opaque.as_bytes() {
            found.opaque = read_xattr(full, name)?.as_deref() == Some(b"y");
        } else if name.ends_with(b".overlay.origin") {
            found.origin = true;
        } else if is_kept(name)
            && let Some(value) = read_xattr(full, name)?
        {
            found.kept.push((name.into(), value));
        }
    }
    found.kept.sort();
    Ok(found)
}

fn read_xattr(full: &Path, name: &[u8]) -> Result<Option<Box<[u8]>>, Errno> {
    let mut value = vec![0_u8; 256];
    loop {
        match rustix::fs::lgetxattr(full, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value.into()));
            }
            Err(Errno::RANGE) => value.resize(value.len() * 16, 0),
            Err(Errno::NODATA) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

fn hash_files(root: &Path, walk: &mut Walk<'_>) -> Result<(), StoreError> {
    let entries = &walk.entries;
    let hash = |number: &usize| {
        let entry = &entries[*number];
        let full = entry.path.under(root);
        hash_file(&full).during("read", &full)
    };
    let hashes: Result<Vec<(ContentHash, u64)>, StoreError> = match walk.files.len() {
        0..PARALLEL_FROM => walk.files.iter().map(hash).collect(),
        _ => walk.files.par_iter().with_min_len(4).map(hash).collect(),
    };
    for (number, (content, size)) in walk.files.iter().zip(hashes?) {
        walk.entries[*number].kind = EntryKind::File { size, content };
    }
    let first: HashMap<u32, usize> = walk.links.values().copied().collect();
    for number in 0..walk.entries.len() {
        let entry = &walk.entries[number];
        if let Some(group) = entry.hardlink
            && entry.is_file()
        {
            walk.entries[number].kind = walk.entries[first[&group]].kind.clone();
        }
    }
    Ok(())
}

/// Groups of one name (the others are in lower layers, or were removed) are no groups.
pub(super) fn drop_single_links(entries: &mut [Entry]) {
    let mut names: HashMap<u32, u32> = HashMap::new();
    for group in entries.iter().filter_map(|entry| entry.hardlink) {
        *names.entry(group).or_default() += 1;
    }
    for entry in entries {
        entry.hardlink = entry.hardlink.filter(|group| names[group] > 1);
    }
}

/// Hashes a file and counts its bytes.
pub(crate) fn hash_file(path: &Path) -> io::Result<(ContentHash, u64)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let hashed = hash_open_while(&file, &|| true)?;
    Ok(hashed.expect("it is always wanted"))
}

/// Hashes an open file from its beginning and counts its bytes, for as long as `wanted` says
/// so, which is asked now and then; none once it says no.
pub(crate) fn hash_open_while(
    file: &File,
    wanted: &(dyn Fn() -> bool + Sync),
) -> io::Result<Option<(ContentHash, u64)>> {
    thread_local! {
        static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; 128 << 10]);
    }
    BUFFER.with_borrow_mut(|buffer| {
        let mut hasher = blake3::Hasher::new();
        let mut offset = 0;
        loop {
            match rustix::io::retry_on_intr(|| {
                rustix::io::pread(file.as_fd(), &mut **buffer, offset)
            })? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    offset += count as u64;
                }
            }
            if !wanted() {
                return Ok(None);
            }
        }
        let content = ContentHash::from_bytes(hasher.finalize().into());
        Ok(Some((content, offset)))
    })
}
