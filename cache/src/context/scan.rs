//! The parallel walk: stats everything that the filter lets through.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::Path;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::stat_index::Stamp;
use super::{ContextFilter, Verdict};
use crate::error::{IoContext, StoreError};
use crate::layer::{Entry, EntryKind, Timestamp, kind_of};
use crate::path::RelPath;

/// How many links are followed from one scan's roots.
const MAX_LINKS: usize = 100_000;

/// One object of the context.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) stamp: Stamp,
    inode: (u64, u64),
    linked: bool,
}

struct Scan<'a> {
    root: &'a Path,
    filter: &'a dyn ContextFilter,
    /// Whether where links lead is looked at too.
    partial: bool,
}

/// Returns what is in the context, sorted, without the root.
pub(super) fn scan(
    root: &Path,
    roots: &[RelPath],
    filter: &dyn ContextFilter,
) -> Result<Vec<Found>, StoreError> {
    let partial = !roots.is_empty() && !roots.iter().any(RelPath::is_root);
    let scan = Scan {
        root,
        filter,
        partial,
    };
    let mut found = if partial {
        scan.sub_paths(roots)?
    } else {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty()).during("open", root)?;
        join(scan.list(&RelPath::root(), fd)?)
    };
    group_links(&mut found);
    Ok(found)
}

/// What is below a directory, in order, in pieces: so that nothing is moved at each level
/// on the way up.
type Pieces = Vec<Vec<Found>>;

fn join(pieces: Pieces) -> Vec<Found> {
    let mut all = Vec::with_capacity(pieces.iter().map(Vec::len).sum());
    all.extend(pieces.into_iter().flatten());
    all
}

impl Scan<'_> {
    /// Returns what is below `dir`, sorted.
    fn list(&self, dir: &RelPath, fd: OwnedFd) -> Result<Pieces, StoreError> {
        let full = dir.under(self.root);
        let mut here = Vec::new();
        for item in rustix::fs::Dir::read_from(&fd).during("list", &full)? {
            let item = item.during("list", &full)?;
            let name = item.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = dir.join(name.to_bytes());
            let listed_dir = (item.file_type() != FileType::Unknown)
                .then(|| item.file_type() == FileType::Directory);
            // Most names are judged without a stat.
            if let Some(is_dir) = listed_dir
                && self.filter.verdict(&path, is_dir) == Verdict::Exclude
            {
                continue;
            }
            let stat = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)
                .during("stat", &path.under(self.root))?;
            here.extend(self.judge(path, &stat)?);
        }
        drop(fd);
        here.sort_unstable_by(|(a, _), (b, _)| a.entry.path.cmp(&b.entry.path));
        self.descend(here)
    }

    /// Puts behind each directory what is below it; drops what is only kept for its content and has none.
    fn descend(&self, here: Vec<(Found, Verdict)>) -> Result<Pieces, StoreError> {
        let dirs = here
            .iter()
            .filter(|(found, _)| found.entry.is_dir())
            .count();
        let open = |(found, verdict): (Found, Verdict)| {
            let below = if found.entry.is_dir() {
                self.below(&found.entry.path)?
            } else {
                Vec::new()
            };
            Ok((found, verdict, below))
        };
        let listed: Result<Vec<_>, StoreError> = if dirs > 1 {
            here.into_par_iter().with_min_len(1).map(open).collect()
        } else {
            here.into_iter().map(open).collect()
        };
        let mut all = Pieces::new();
        let mut piece = Vec::new();
        for (found, verdict, below) in listed? {
            let is_empty = below.iter().all(Vec::is_empty);
            if verdict == Verdict::Include || !is_empty {
                piece.push(found);
            }
            if !is_empty {
                all.push(std::mem::take(&mut piece));
                all.extend(below);
            }
        }
        all.push(piece);
        Ok(all)
    }

    fn below(&self, dir: &RelPath) -> Result<Pieces, StoreError> {
        let full = dir.under(self.root);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&full, flags, Mode::empty()).during("open", &full)?;
        self.list(dir, fd)
    }

    /// Asks the filter about one object; directories that only may hold something stay for now.
    fn judge(&self, path: RelPath, stat: &Stat) -> Result<Option<(Found, Verdict)>, StoreError> {
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let verdict = self.filter.verdict(&path, is_dir);
        if verdict == Verdict::Exclude || (verdict == Verdict::ExcludeButDescend && !is_dir) {
            return Ok(None);
        }
        Ok(self.found(path, stat)?.map(|found| (found, verdict)))
    }

    fn found(&self, path: RelPath, stat: &Stat) -> Result<Option<Found>, StoreError> {
        let Some(kind) = kind_of(stat, || path.under(self.root))? else {
            return Ok(None);
        };
        let mode = stat.st_mode & 0o7777;
        let mode = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.filter.mode(true, mode),
            FileType::RegularFile => self.filter.mode(false, mode),
            _ => mode,
        };
        let mut entry = Entry::new(path, kind, mode);
        entry.mtime = Timestamp {
            secs: stat.st_mtime,
            nanos: stat.st_mtime_nsec as u32,
        };
        let inode = (stat.st_dev, stat.st_ino);
        let linked = stat.st_nlink > 1;
        Ok(Some(Found {
            entry,
            stamp: Stamp::of(stat),
            inode,
            linked,
        }))
    }

    /// Returns what is at and below `roots`, what leads to them, and where links lead.
    fn sub_paths(&self, roots: &[RelPath]) -> Result<Vec<Found>, StoreError> {
        let mut all: Vec<Found> = Vec::new();
        let mut links_met: HashSet<RelPath> = HashSet::new();
        let mut done: Vec<RelPath> = Vec::new();
        let mut todo: Vec<RelPath> = roots.to_vec();
        while let Some(wanted) = todo.pop() {
            if done.iter().any(|walked| wanted.starts_with(walked)) {
                continue;
            }
            let fresh = self.sub_path(&wanted)?;
            for found in &fresh {
                if let EntryKind::Symlink { target } = &found.entry.kind
                    && links_met.len() < MAX_LINKS
                    && links_met.insert(found.entry.path.clone())
                {
                    todo.push(leads_to(&found.entry.path, target, &wanted));
                }
            }
            all.extend(fresh);
            done.push(wanted);
        }
        if !all.is_sorted_by(|a, b| a.entry.path < b.entry.path) {
            all.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
            all.dedup_by(|a, b| a.entry.path == b.entry.path);
        }
        Ok(all)
    }

    /// Returns the components on the way to `wanted` and everything below it.
    fn sub_path(&self, wanted: &RelPath) -> Result<Vec<Found>, StoreError> {
        debug_assert!(self.partial, "a whole context is listed from its root");
        let mut way = Vec::new();
        let mut path = RelPath::root();
        let mut included = true;
        for name in wanted.components() {
            path = path.join(name);
            let full = path.under(self.root);
            let stat = match rustix::fs::lstat(&full) {
                Ok(stat) => stat,
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => break,
                Err(error) => return Err(StoreError::io("stat", &full, error.into())),
            };
            let Some((found, verdict)) = self.judge(path.clone(), &stat)? else {
                break;
            };
            included = verdict == Verdict::Include;
            let is_dir = found.entry.is_dir();
            way.push(found);
            if !is_dir {
                break;
            }
        }
        let reached = way
            .last()
            .is_some_and(|last| last.entry.path == *wanted && last.entry.is_dir());
        let below = if reached || wanted.is_root() {
            join(self.below(wanted)?)
        } else {
            Vec::new()
        };
        if !included && below.is_empty() {
            return Ok(Vec::new());
        }
        way.extend(below);
        Ok(way)
    }
}

/// Returns what must be looked at because `link`, which leads to `target`, was met on the way to `wanted`.
fn leads_to(link: &RelPath, target: &[u8], wanted: &RelPath) -> RelPath {
    let mut path = match target {
        [b'/', ..] => Vec::new(),
        _ => link.parent().unwrap_or_default().as_bytes().to_vec(),
    };
    path.push(b'/');
    path.extend_from_slice(target);
    if let Some(rest) = wanted.strip_prefix(link) {
        path.push(b'/');
        path.extend_from_slice(rest.as_bytes());
    }
    RelPath::clean(path)
}

/// Numbers the groups of names that share an inode.
fn group_links(found: &mut [Found]) {
    let mut names: HashMap<(u64, u64), Vec<usize>> = HashMap::new();
    for (number, one) in found.iter().enumerate() {
        if one.linked && !one.entry.is_dir() {
            names.entry(one.inode).or_default().push(number);
        }
    }
    let mut groups: Vec<Vec<usize>> = names
        .into_values()
        .filter(|group| group.len() > 1)
        .collect();
    groups.sort_unstable();
    for (group, numbers) in groups.into_iter().enumerate() {
        for number in numbers {
            found[number].entry.hardlink = Some(group as u32);
        }
    }
}
