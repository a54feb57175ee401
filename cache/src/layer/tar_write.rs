//! Layer tars: the same bytes for the same layer, always.
//!
//! Members come in path order, so directories before their content. Headers
//! are ustar with a pax header before those that do not fit: long or non-ASCII
//! names, attributes, large numbers. User and group names are empty, times
//! whole seconds. Deletions are in the OCI form: `.wh.NAME`, and
//! `.wh..wh..opq` right behind an opaque directory.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;

use crossbeam_channel::{Sender, bounded};
use rayon::prelude::*;
use tar::{EntryType, Header};

use crate::checksum::ContentHash;
use crate::error::{IoContext, StoreError};
use crate::layer::{Entry, EntryKind, FileBytes, Files, LayerIndex};
use crate::path::RelPath;
use crate::tree::Node;

/// Files up to this size are read ahead, several at once.
const READ_AHEAD: u64 = 1 << 20;
/// How many entries are looked at together, and how many bytes they may hold.
const WINDOW: (usize, u64) = (256, 8 << 20);
/// How many windows are read at once at most; each reader holds two.
const READERS: usize = 4;

/// Writes the tar of the layer that `index` describes.
pub(super) fn write_layer(
    index: &LayerIndex,
    files: &Files,
    to: &mut dyn Write,
) -> Result<(), StoreError> {
    write_rest(index, files, 0, to, &|_| {})
}

/// Writes what comes behind the first `done` entries in that tar.
///
/// `passed` is told after each entry how many of them are in the tar by then.
pub(super) fn write_rest(
    index: &LayerIndex,
    files: &Files,
    done: usize,
    to: &mut dyn Write,
    passed: &dyn Fn(usize),
) -> Result<(), StoreError> {
    let node = |(number, entry)| Node {
        entry,
        files,
        number,
        layer: 0,
    };
    let nodes: Vec<Node<'_>> = index.entries().iter().enumerate().map(node).collect();
    let (before, rest) = nodes.split_at(done);
    let root = RelPath::root();
    let mut members = Members::new(Marks::Keep, &root);
    for node in before.iter().filter(|node| !is_mark(node.entry)) {
        members.first_name(node);
    }
    members.write(rest, to, &|count| passed(done + count))?;
    write_end(to)
}

/// Returns how many bytes that tar has; no file is read.
pub(super) fn size(index: &LayerIndex, files: &Files) -> Result<u64, StoreError> {
    let root = RelPath::root();
    let mut members = Members::new(Marks::Keep, &root);
    let mut length = Length(0);
    for (number, entry) in index.entries().iter().enumerate() {
        let node = Node {
            entry,
            files,
            number,
            layer: 0,
        };
        if !is_mark(entry) {
            members.write_one(&node, Ok(Content::Absent), &mut length)?;
        }
    }
    write_end(&mut length)?;
    Ok(length.0)
}

/// A tar of which only the length counts.
struct Length(u64);

impl Write for Length {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0 += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What becomes of opaque marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// They are written: this is a layer.
    Keep,
    /// They are left out: nothing is below.
    Drop,
}

/// Ends a tar.
pub(crate) fn write_end(to: &mut dyn Write) -> Result<(), StoreError> {
    to.write_all(&[0; 1024]).during("write", Path::new("tar"))
}

/// Writes `nodes`, which are in path order, as members of a tar, with `below` before their names.
pub(crate) fn write_nodes<'a>(
    nodes: &[Node<'a>],
    marks: Marks,
    below: &'a RelPath,
    to: &mut dyn Write,
) -> Result<(), StoreError> {
    Members::new(marks, below).write(nodes, to, &|_| {})
}

/// The members of a tar, as they are written.
struct Members<'a> {
    marks: Marks,
    below: &'a RelPath,
    /// The first entry of each group of hard links, whose other names refer to it.
    first_names: HashMap<(usize, u32), &'a Entry>,
}

/// The bytes of a regular file.
enum Content {
    /// Here they are.
    Read(Vec<u8>),
    /// They are many, and read while they are written.
    Streamed,
    /// Only how many there are matters.
    Absent,
}

type Ahead = Vec<Result<Content, StoreError>>;

impl<'a> Members<'a> {
    fn new(marks: Marks, below: &'a RelPath) -> Self {
        Self {
            marks,
            below,
            first_names: HashMap::new(),
        }
    }

    /// Returns the first name of a file that has several.
    fn first_name(&mut self, node: &Node<'a>) -> Option<&'a Entry> {
        let key = (node.layer, node.entry.hardlink?);
        Some(self.first_names.entry(key).or_insert(node.entry))
    }

    /// Writes `nodes`; while some are written, the next ones are read.
    fn write(
        &mut self,
        nodes: &[Node<'a>],
        to: &mut dyn Write,
        passed: &dyn Fn(usize),
    ) -> Result<(), StoreError> {
        let windows = windows(nodes);
        let mut count = 0;
        if let [window] = windows[..] {
            let ahead = window.par_iter().with_min_len(8).map(read_ahead);
            return self.write_window(window, ahead.collect(), to, &mut count, passed);
        }
        // Readers are threads of their own: this one may be of rayon's pool, as all others of it
        // may be that wait for a reader here.
        std::thread::scope(|scope| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let readers = cores.min(READERS).min(windows.len());
            let ahead: Vec<_> = (0..readers)
                .map(|reader| {
                    let (give, ahead) = bounded(1);
                    let own = windows.iter().skip(reader).step_by(readers);
                    scope.spawn(move || {
                        for window in own {
                            let read: Ahead = window.iter().map(read_ahead).collect();
                            if give.send(read).is_err() {
                                return;
                            }
                        }
                    });
                    ahead
                })
                .collect();
            for (window, ahead) in windows.iter().zip(ahead.iter().cycle()) {
                let Ok(ahead) = ahead.recv() else { break };
                self.write_window(window, ahead, to, &mut count, passed)?;
            }
            Ok(())
        })
    }

    fn write_window(
        &mut self,
        nodes: &[Node<'a>],
        ahead: Ahead,
        to: &mut dyn Write,
        count: &mut usize,
        passed: &dyn Fn(usize),
    ) -> Result<(), StoreError> {
        for (node, data) in nodes.iter().zip(ahead) {
            if !is_mark(node.entry) {
                self.write_one(node, data, to)?;
            }
            *count += 1;
            passed(*count);
        }
        Ok(())
    }

    fn write_one(
        &mut self,
        node: &Node<'a>,
        data: Result<Content, StoreError>,
        to: &mut dyn Write,
    ) -> Result<(), StoreError> {
        let entry = node.entry;
        let first = self.first_name(node);
        match first.filter(|first| first.path != entry.path) {
            Some(first) => {
                let below = |path: &RelPath| self.below.join(path.as_bytes());
                let names = [below(&entry.path), below(&first.path)];
                write_link(to, &names, first).during("write", &node.file_path())
            }
            None => write_entry(to, node, data?, self.marks, self.below),
        }
    }
}

/// Whether a name says something to those who unpack the tar, so that no file can have it.
fn is_mark(entry: &Entry) -> bool {
    let mut names = entry.path.components();
    names.any(|name| name.starts_with(b".wh."))
}

/// Cuts `nodes` into what is read together.
fn windows<'n, 'a>(nodes: &'n [Node<'a>]) -> Vec<&'n [Node<'a>]> {
    let (mut windows, mut rest) = (Vec::new(), nodes);
    while !rest.is_empty() {
        let (window, later) = rest.split_at(window(rest));
        windows.push(window);
        rest = later;
    }
    windows
}

fn window(nodes: &[Node<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |node: &&Node<'_>| {
        bytes += node.entry.size();
        bytes <= WINDOW.1
    };
    nodes.iter().take(WINDOW.0).take_while(fits).count().max(1)
}

fn read_ahead(node: &Node<'_>) -> Result<Content, StoreError> {
    let EntryKind::File { size, content } = node.entry.kind else {
        return Ok(Content::Absent);
    };
    if size > READ_AHEAD {
        return Ok(Content::Streamed);
    }
    let bytes = node.bytes();
    let data = bytes.read().during("read", bytes.path())?;
    if data.len() as u64 != size || ContentHash::of(&data) != content {
        return Err(damaged(bytes.path()));
    }
    Ok(Content::Read(data))
}

fn damaged(full: &Path) -> StoreError {
    StoreError::Corrupt {
        path: full.to_owned(),
        reason: "content differs from its index".to_owned(),
    }
}

fn write_entry(
    to: &mut dyn Write,
    node: &Node<'_>,
    data: Content,
    marks: Marks,
    below: &RelPath,
) -> Result<(), StoreError> {
    let (entry, full) = (node.entry, node.file_path());
    let path = below.join(entry.path.as_bytes());
    let mut name = path.as_bytes().to_vec();
    if path.is_root() {
        name = b".".to_vec();
    }
    let mut member = Member::of(entry);
    match &entry.kind {
        EntryKind::Dir { opaque } => {
            name.push(b'/');
            member.kind = EntryType::Directory;
            member.write(to, &name, b"").during("write", &full)?;
            if *opaque && marks == Marks::Keep {
                let parent = if path.is_root() { &b""[..] } else { &name };
                let mark = [parent, b".wh..wh..opq"].concat();
                Member::mark()
                    .write(to, &mark, b"")
                    .during("write", &full)?;
            }
            return Ok(());
        }
        EntryKind::Whiteout => {
            let parent = path.parent().unwrap_or_default();
            let mark = [b".wh.", entry.path.file_name().unwrap_or_default()].concat();
            return Member::mark()
                .write(to, parent.join(mark).as_bytes(), b"")
                .during("write", &full);
        }
        EntryKind::File { size, content } => {
            member.size = *size;
            member.write(to, &name, b"").during("write", &full)?;
            return match data {
                Content::Read(data) => write_padded(to, &data).during("write", &full),
                Content::Streamed => stream(to, &node.bytes(), *size, *content),
                Content::Absent => write_zeros(to, padded(*size)).during("write", &full),
            };
        }
        EntryKind::Symlink { target } => {
            member.kind = EntryType::Symlink;
            return member.write(to, &name, target).during("write", &full);
        }
        EntryKind::CharDev { major, minor } => {
            (member.kind, member.device) = (EntryType::Char, Some((*major, *minor)));
        }
        EntryKind::BlockDev { major, minor } => {
            (member.kind, member.device) = (EntryType::Block, Some((*major, *minor)));
        }
        EntryKind::Fifo => member.kind = EntryType::Fifo,
    }
    member.write(to, &name, b"").during("write", &full)
}

fn write_link(to: &mut dyn Write, [name, target]: &[RelPath; 2], first: &Entry) -> io::Result<()> {
    let member = Member {
        kind: EntryType::Link,
        xattrs: &[],
        ..Member::of(first)
    };
    member.write(to, name.as_bytes(), target.as_bytes())
}

fn write_padded(to: &mut dyn Write, data: &[u8]) -> io::Result<()> {
    to.write_all(data)?;
    let length = data.len() as u64;
    write_zeros(to, padded(length) - length)
}

/// Returns how much room `size` bytes take in a tar.
fn padded(size: u64) -> u64 {
    size.next_multiple_of(512)
}

fn write_zeros(to: &mut dyn Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(count), to).map(drop)
}

/// Writes a large file, the next part of which is read while one is written.
fn stream(
    to: &mut dyn Write,
    bytes: &FileBytes,
    size: u64,
    content: ContentHash,
) -> Result<(), StoreError> {
    let full = bytes.path();
    std::thread::scope(|scope| {
        let (give, parts) = bounded(4);
        let reader = scope.spawn(move || read_parts(bytes, size, &give));
        for part in parts {
            to.write_all(&part).during("write", full)?;
        }
        let read = reader.join().unwrap_or_else(|_| Err(damaged(full)))?;
        if read != content {
            return Err(damaged(full));
        }
        write_zeros(to, padded(size) - size).during("write", full)
    })
}

/// Reads `size` bytes in parts, until nobody takes them; returns the hash of what was read.
fn read_parts(
    bytes: &FileBytes,
    size: u64,
    give: &Sender<Vec<u8>>,
) -> Result<ContentHash, StoreError> {
    let full = bytes.path();
    let mut file = bytes.open().during("open", full)?;
    let mut hasher = blake3::Hasher::new();
    let mut left = size;
    while left > 0 {
        let wanted = left.min(READ_AHEAD);
        let mut part = Vec::with_capacity(wanted as usize);
        let count = file.by_ref().take(wanted).read_to_end(&mut part);
        if (count.during("read", full)? as u64) < wanted {
            return Err(damaged(full));
        }
        hasher.update(&part);
        left -= wanted;
        if give.send(part).is_err() {
            break;
        }
    }
    Ok(ContentHash::from_bytes(hasher.finalize().into()))
}

/// What goes into a header, beside the names.
struct Member<'a> {
    kind: EntryType,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    size: u64,
    device: Option<(u32, u32)>,
    xattrs: &'a [crate::layer::Xattr],
}

impl<'a> Member<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self {
            kind: EntryType::Regular,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime.secs,
            size: 0,
            device: None,
            xattrs: &entry.xattrs,
        }
    }

    /// An empty file that only its name gives a meaning.
    const fn mark() -> Self {
        Self {
            kind: EntryType::Regular,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            device: None,
            xattrs: &[],
        }
    }

    /// Writes the header, after a pax header for what does not fit into it.
    fn write(&self, to: &mut dyn Write, name: &[u8], link: &[u8]) -> io::Result<()> {
        /// The largest numbers of 7 and 11 octal digits.
        const SMALL: u64 = (1 << 21) - 1;
        const LARGE: u64 = (1 << 33) - 1;
        let mut pax: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut number = |key: &str, value: u64, most: u64| {
            if value <= most {
                return value;
            }
            pax.push((key.into(), value.to_string().into_bytes()));
            0
        };
        let uid = number("uid", self.uid.into(), SMALL);
        let gid = number("gid", self.gid.into(), SMALL);
        let size = number("size", self.size, LARGE);
        let mtime = u64::try_from(self.mtime)
            .ok()
            .filter(|mtime| *mtime <= LARGE);
        if mtime.is_none() {
            pax.push((b"mtime".into(), self.mtime.to_string().into_bytes()));
        }
        let mut header = Header::new_ustar();
        let fields = header.as_ustar_mut().expect("made as ustar");
        fit("path", name, &mut fields.name, &mut pax);
        fit("linkpath", link, &mut fields.linkname, &mut pax);
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_size(size);
        header.set_mtime(mtime.unwrap_or(0));
        if let Some((major, minor)) = self.device {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        for (key, value) in self.xattrs {
            pax.push(([b"SCHILY.xattr.", &key[..]].concat(), value.to_vec()));
        }
        header.set_cksum();
        if !pax.is_empty() {
            pax.sort();
            write_pax(to, name, &pax)?;
        }
        to.write_all(header.as_bytes())
    }
}

/// Puts a name into its header field, or what fits of it beside a pax record.
fn fit(key: &str, name: &[u8], field: &mut [u8; 100], pax: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    if name.len() > field.len() || !name.is_ascii() {
        pax.push((key.into(), name.to_vec()));
    }
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name[..length]);
    // Readers that know no pax get a name of the same shape in ASCII.
    for byte in field.iter_mut().filter(|byte| !byte.is_ascii()) {
        *byte = b'_';
    }
}

fn write_pax(to: &mut dyn Write, name: &[u8], records: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    let data: Vec<u8> = records
        .iter()
        .flat_map(|(key, value)| record(key, value))
        .collect();
    let mut header = Header::new_ustar();
    let fields = header.as_ustar_mut().expect("made as ustar");
    let base = name.strip_suffix(b"/").unwrap_or(name);
    let base = base.rsplit(|byte| *byte == b'/').next().unwrap_or(base);
    let title = [b"PaxHeaders.0/", base].concat();
    fit(
        "",
        &title[..title.len().min(100)],
        &mut fields.name,
        &mut Vec::new(),
    );
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    header.set_cksum();
    to.write_all(header.as_bytes())?;
    write_padded(to, &data)
}

/// Returns `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}
