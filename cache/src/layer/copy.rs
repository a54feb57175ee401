//! Filling a staging from known sources, in parallel.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::io::Errno;

use crate::checksum::ContentHash;
use crate::error::{IoContext, StoreError};
use crate::layer::disk::{Canvas, Parent};
use crate::layer::{Entry, EntryKind, FileBytes, LayerIndex, Staging, check_shape};
use crate::path::RelPath;
use crate::tree::Node;

/// How much of a large file is copied before asking whether it is still wanted.
const CHUNK: usize = 64 << 20;

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// No bytes: everything that is not a regular file.
    None,
    /// A file of this store, which does not change.
    Stored(FileBytes),
    /// A file that may change: its bytes are hashed on the way and must match
    /// the entry's hash, if it has one.
    Foreign(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// One entry to be made, with its bytes.
#[derive(Debug, Clone)]
pub struct CopyItem {
    /// The entry; size and hash of a file may be left [`UNHASHED`](crate::ContentHash::UNHASHED).
    pub entry: Entry,
    /// Its bytes.
    pub source: Source,
}

impl Staging {
    /// Makes `items` below `fs/` and returns the index for [`commit_indexed`](super::Layers::commit_indexed).
    ///
    /// Of items with one path the last one wins. Items with one `hardlink`
    /// number become names of one file. Every item's directory must be an item
    /// too, save the root. `fs/` must be empty at these paths.
    pub fn populate(&self, items: Vec<CopyItem>) -> Result<LayerIndex, StoreError> {
        self.populate_while(items, &|| true)
    }

    /// Does the same for as long as `wanted` says so, which is asked before every file
    /// and every part of a large one.
    ///
    /// Once it says no, the result is [`StoreError::Canceled`].
    pub fn populate_while(
        &self,
        items: Vec<CopyItem>,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<LayerIndex, StoreError> {
        let canvas = Canvas::open(&self.fs(), self.shared().options.userxattr)?;
        fill(&canvas, items, wanted)
    }

    /// Does the same over what earlier work left in `fs/`: directories there take the items'
    /// metadata, anything else gives way.
    pub fn populate_over(
        &self,
        items: Vec<CopyItem>,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<LayerIndex, StoreError> {
        let canvas = Canvas::open(&self.fs(), self.shared().options.userxattr)?;
        fill(&canvas.overwriting(), items, wanted)
    }
}

/// Gives a file its bytes, of which size and hash are told.
type WriteFile<'a> =
    dyn FnMut(&mut File, &RelPath, (u64, ContentHash)) -> Result<(), StoreError> + 'a;

impl Staging {
    /// Makes all entries of `index` below `fs/`, one after the other in its order, with what `write`
    /// puts into files.
    pub(crate) fn fill_from(
        &self,
        index: &LayerIndex,
        write: &mut WriteFile<'_>,
    ) -> Result<(), StoreError> {
        check_shape(index)?;
        let canvas = Canvas::open(&self.fs(), self.shared().options.userxattr)?;
        make_dirs(&canvas, index)?;
        let links = second_names(index.entries());
        let mut parent = Parent::default();
        for (number, entry) in index.entries().iter().enumerate() {
            match entry.kind {
                EntryKind::Dir { .. } => {}
                _ if links.contains_key(&number) => {}
                EntryKind::File { size, content } => {
                    let mut file = canvas.create_file(&entry.path)?;
                    write(&mut file, &entry.path, (size, content))?;
                    canvas.finish_file(&file, entry)?;
                }
                _ => canvas.make_special(entry, &mut parent)?,
            }
        }
        link_names(&canvas, &mut index.clone(), &links)?;
        finish_dirs(&canvas, index)
    }
}

/// Makes `items` on `canvas`.
pub(super) fn fill(
    canvas: &Canvas,
    items: Vec<CopyItem>,
    wanted: &(dyn Fn() -> bool + Sync),
) -> Result<LayerIndex, StoreError> {
    let (mut index, sources) = sort(items);
    check_shape(&index)?;
    make_dirs(canvas, &index)?;
    let links = second_names(index.entries());
    let made = make_files(canvas, index.entries(), &sources, &links, wanted)?;
    for (number, kind) in made {
        index.entries_mut()[number].kind = kind;
    }
    link_names(canvas, &mut index, &links)?;
    finish_dirs(canvas, &index)?;
    Ok(index)
}

/// Writes `nodes`, which are in path order, below the directory `to`, over what is there.
///
/// The directory itself stays as it is. What this process may not do without
/// being root is left out: other owners, device nodes.
pub(crate) fn write_nodes(nodes: &[Node<'_>], to: &Path) -> Result<(), StoreError> {
    let mut groups = HashMap::new();
    let mut item = |node: &Node<'_>| {
        let mut entry = node.entry.clone();
        if let EntryKind::Dir { opaque } = &mut entry.kind {
            *opaque = false;
        }
        entry.hardlink = entry.hardlink.map(|group| {
            let next = groups.len() as u32;
            *groups.entry((node.layer, group)).or_insert(next)
        });
        let source = if entry.is_file() {
            Source::Stored(node.bytes())
        } else {
            Source::None
        };
        CopyItem { entry, source }
    };
    let items = nodes
        .iter()
        .filter(|node| !node.entry.path.is_root())
        .map(&mut item)
        .collect();
    let canvas = Canvas::open(to, false)?.overwriting().lenient();
    fill(&canvas, items, &|| true).map(drop)
}

pub(super) fn sort(mut items: Vec<CopyItem>) -> (LayerIndex, Vec<Source>) {
    // Stable, so that of equal paths the last one stays last.
    items.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    let mut unique: Vec<CopyItem> = Vec::with_capacity(items.len());
    for item in items {
        match unique.last_mut() {
            Some(last) if last.entry.path == item.entry.path => *last = item,
            _ => unique.push(item),
        }
    }
    let (entries, sources) = unique
        .into_iter()
        .map(|item| (item.entry, item.source))
        .unzip();
    (LayerIndex::new(entries), sources)
}

/// Makes the directories of `index`, all open to this process.
pub(super) fn make_dirs(canvas: &Canvas, index: &LayerIndex) -> Result<(), StoreError> {
    let mut parent = Parent::default();
    let dirs = index
        .entries()
        .iter()
        .filter(|entry| entry.is_dir() && !entry.path.is_root());
    for entry in dirs {
        canvas.make_dir(&entry.path, &mut parent)?;
    }
    Ok(())
}

/// Gives all directories their metadata, contents before containers.
pub(super) fn finish_dirs(canvas: &Canvas, index: &LayerIndex) -> Result<(), StoreError> {
    let mut dirs = index.entries().iter().rev().filter(|entry| entry.is_dir());
    dirs.try_for_each(|entry| canvas.finish_dir(entry))
}

/// Maps the numbers of further names of a file to the number of its first name.
pub(super) fn second_names(entries: &[Entry]) -> HashMap<usize, usize> {
    let mut first = HashMap::new();
    let mut links = HashMap::new();
    for (number, entry) in entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| !entry.is_dir())
    {
        if let Some(group) = entry.hardlink {
            let holder = *first.entry(group).or_insert(number);
            if holder != number {
                links.insert(number, holder);
            }
        }
    }
    links
}

fn make_files(
    canvas: &Canvas,
    entries: &[Entry],
    sources: &[Source],
    links: &HashMap<usize, usize>,
    wanted: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<(usize, EntryKind)>, StoreError> {
    let make = |parent: &mut Parent, number: usize| {
        if !wanted() {
            return Err(StoreError::Canceled);
        }
        let entry = &entries[number];
        match entry.kind {
            EntryKind::Dir { .. } => Ok(None),
            _ if links.contains_key(&number) => Ok(None),
            EntryKind::File { content, .. } => {
                let made = make_file(canvas, entry, content, &sources[number], wanted)?;
                Ok(Some((number, made)))
            }
            _ => canvas.make_special(entry, parent).map(|()| None),
        }
    };
    let numbers = 0..entries.len();
    if entries.len() < 16 {
        let mut parent = Parent::default();
        return numbers
            .filter_map(|number| make(&mut parent, number).transpose())
            .collect();
    }
    numbers
        .into_par_iter()
        .with_min_len(32)
        .map_init(Parent::default, make)
        .filter_map(Result::transpose)
        .collect()
}

/// Makes a file and returns its kind, with the size and hash of what was written.
fn make_file(
    canvas: &Canvas,
    entry: &Entry,
    content: ContentHash,
    source: &Source,
    wanted: &(dyn Fn() -> bool + Sync),
) -> Result<EntryKind, StoreError> {
    match source {
        Source::None => write_bytes(canvas, entry, &[]),
        Source::Bytes(data) => write_bytes(canvas, entry, data),
        Source::Stored(from) if content != ContentHash::UNHASHED => {
            clone_file(canvas, entry, from, wanted)?;
            Ok(entry.kind.clone())
        }
        Source::Stored(from) => {
            let bytes = from.open().during("open", from.path())?;
            copy_hashed(canvas, entry, (bytes, from.path()), wanted)
        }
        Source::Foreign(from) => {
            let bytes = open_foreign(from)?;
            let kind = copy_hashed(canvas, entry, (bytes, from), wanted)?;
            if content != ContentHash::UNHASHED && kind != entry.kind {
                return Err(StoreError::Changed { path: from.clone() });
            }
            Ok(kind)
        }
    }
}

fn write_bytes(canvas: &Canvas, entry: &Entry, data: &[u8]) -> Result<EntryKind, StoreError> {
    canvas.write_file(entry, data)?;
    Ok(EntryKind::File {
        size: data.len() as u64,
        content: ContentHash::of(data),
    })
}

/// Copies within the kernel, sharing blocks where the file system can.
fn clone_file(
    canvas: &Canvas,
    entry: &Entry,
    bytes: &FileBytes,
    wanted: &(dyn Fn() -> bool + Sync),
) -> Result<(), StoreError> {
    let from = bytes.path();
    let reader = bytes.open().during("open", from)?;
    let file = canvas.create_file(&entry.path)?;
    if let Some((source, mut at)) = reader.raw()
        && (bytes.place().is_some() || rustix::fs::ioctl_ficlone(&file, source).is_err())
    {
        let mut left = entry.size();
        while left > 0 {
            if !wanted() {
                return Err(StoreError::Canceled);
            }
            let chunk = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
            match rustix::fs::copy_file_range(source, Some(&mut at), &file, None, chunk) {
                Ok(0) => {
                    return Err(StoreError::Changed {
                        path: from.to_owned(),
                    });
                }
                Ok(count) => left -= count as u64,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    let rest = bytes.open().and_then(|mut rest| {
                        std::io::copy(
                            &mut rest.by_ref().take(entry.size() - left),
                            &mut std::io::sink(),
                        )?;
                        std::io::copy(&mut rest, &mut &file)
                    });
                    rest.map_err(|error| not_copied(canvas, entry, from, error))?;
                    break;
                }
                Err(error) => return Err(not_copied(canvas, entry, from, error.into())),
            }
        }
    }
    canvas.finish_file(&file, entry)
}

/// Says which of the two files a failed copy is about: only the new one takes space.
fn not_copied(canvas: &Canvas, entry: &Entry, from: &Path, error: std::io::Error) -> StoreError {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::FBIG) => {
            StoreError::io("write", &canvas.full(&entry.path), error)
        }
        _ => StoreError::io("copy", from, error),
    }
}

/// Opens a file that others may be replacing at this moment.
pub(super) fn open_foreign(from: &Path) -> Result<File, StoreError> {
    let flags = rustix::fs::OFlags::RDONLY
        | rustix::fs::OFlags::NOFOLLOW
        | rustix::fs::OFlags::NONBLOCK
        | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(from, flags, rustix::fs::Mode::empty()).during("open", from)?;
    Ok(File::from(file))
}

fn copy_hashed(
    canvas: &Canvas,
    entry: &Entry,
    (mut source, from): (impl Read, &Path),
    wanted: &(dyn Fn() -> bool + Sync),
) -> Result<EntryKind, StoreError> {
    thread_local! {
        static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; 256 << 10]);
    }
    let mut file = canvas.create_file(&entry.path)?;
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    BUFFER.with_borrow_mut(|buffer| {
        loop {
            let count = source.read(buffer).during("read", from)?;
            if count == 0 {
                return Ok::<(), StoreError>(());
            }
            if !wanted() {
                return Err(StoreError::Canceled);
            }
            hasher.update(&buffer[..count]);
            size += count as u64;
            std::io::Write::write_all(&mut file, &buffer[..count])
                .during("write", &canvas.full(&entry.path))?;
        }
    })?;
    canvas.finish_file(&file, entry)?;
    let content = ContentHash::from_bytes(hasher.finalize().into());
    Ok(EntryKind::File { size, content })
}

fn link_names(
    canvas: &Canvas,
    index: &mut LayerIndex,
    links: &HashMap<usize, usize>,
) -> Result<(), StoreError> {
    for (&number, &holder) in links {
        let entries = index.entries();
        canvas.make_link(&entries[holder].path, &entries[number].path)?;
    }
    settle_links(index, links);
    Ok(())
}

/// Gives all names of one object one set of metadata, and no group to what has one name.
pub(super) fn settle_links(index: &mut LayerIndex, links: &HashMap<usize, usize>) {
    for (&number, &holder) in links {
        let entries = index.entries_mut();
        let path = entries[number].path.clone();
        entries[number] = Entry {
            path,
            ..entries[holder].clone()
        };
    }
    let single: Vec<u32> = {
        let mut names: HashMap<u32, u32> = HashMap::new();
        for group in index.entries().iter().filter_map(|entry| entry.hardlink) {
            *names.entry(group).or_default() += 1;
        }
        names
            .into_iter()
            .filter(|(_, count)| *count == 1)
            .map(|(group, _)| group)
            .collect()
    };
    for entry in index.entries_mut() {
        entry.hardlink = entry.hardlink.filter(|group| !single.contains(group));
    }
}

/// Returns the directories above `path`, outermost first, without the root.
pub(super) fn ancestors(path: &RelPath) -> Vec<RelPath> {
    let mut above: Vec<RelPath> = std::iter::successors(path.parent(), RelPath::parent)
        .filter(|dir| !dir.is_root())
        .collect();
    above.reverse();
    above
}
