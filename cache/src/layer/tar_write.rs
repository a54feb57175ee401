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

/// Writes the tar of the layer that `index` describes.
pub(super) fn write_layer(
    index: &LayerIndex,
    files: &Files,
    to: &mut dyn Write,
) -> Result<(), StoreError> {
    let node = |(number, entry)| Node {
        entry,
        files,
        number,
        layer: 0,
    };
    let nodes: Vec<Node<'_>> = index.entries().iter().enumerate().map(node).collect();
    write_nodes(&nodes, Marks::Keep, &RelPath::root(), to)?;
    write_end(to)
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
pub(crate) fn write_nodes(
    nodes: &[Node<'_>],
    marks: Marks,
    below: &RelPath,
    to: &mut dyn Write,
) -> Result<(), StoreError> {
    let mut first_names: HashMap<(usize, u32), &Entry> = HashMap::new();
    let mut rest = nodes;
    while !rest.is_empty() {
        let (window, later) = rest.split_at(window(rest));
        rest = later;
        let ahead: Vec<_> = if window.len() > 8 {
            window.par_iter().with_min_len(8).map(read_ahead).collect()
        } else {
            window.iter().map(read_ahead).collect()
        };
        for (node, data) in window.iter().zip(ahead) {
            let entry = node.entry;
            if entry
                .path
                .components()
                .any(|name| name.starts_with(b".wh."))
            {
                continue;
            }
            let first = entry
                .hardlink
                .map(|group| *first_names.entry((node.layer, group)).or_insert(entry));
            match first.filter(|first| first.path != entry.path) {
                Some(first) => {
                    let names = [&entry.path, &first.path].map(|path| below.join(path.as_bytes()));
                    write_link(to, &names, first).during("write", &node.file_path())?;
                }
                None => write_entry(to, node, data?, marks, below)?,
            }
        }
    }
    Ok(())
}

fn window(nodes: &[Node<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |node: &&Node<'_>| {
        bytes += node.entry.size();
        bytes <= WINDOW.1
    };
    nodes.iter().take(WINDOW.0).take_while(fits).count().max(1)
}

fn read_ahead(node: &Node<'_>) -> Result<Option<Vec<u8>>, StoreError> {
    let EntryKind::File { size, content } = node.entry.kind else {
        return Ok(None);
    };
    if size > READ_AHEAD {
        return Ok(None);
    }
    let bytes = node.bytes();
    let data = bytes.read().during("read", bytes.path())?;
    if data.len() as u64 != size || ContentHash::of(&data) != content {
        return Err(damaged(bytes.path()));
    }
    Ok(Some(data))
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
    data: Option<Vec<u8>>,
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
                Some(data) => write_padded(to, &data).during("write", &full),
                None => stream(to, &node.bytes(), *size, *content),
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
    to.write_all(&[0; 512][..data.len().wrapping_neg() % 512])
}

fn stream(
    to: &mut dyn Write,
    bytes: &FileBytes,
    size: u64,
    content: ContentHash,
) -> Result<(), StoreError> {
    let full = bytes.path();
    let mut file = bytes.open().during("open", full)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = file.read(&mut buffer[..most]).during("read", full)?;
        if count == 0 {
            return Err(damaged(full));
        }
        hasher.update(&buffer[..count]);
        to.write_all(&buffer[..count]).during("write", full)?;
        left -= count as u64;
    }
    if hasher.finalize().as_bytes() != content.as_bytes() {
        return Err(damaged(full));
    }
    to.write_all(&[0; 512][..(size.wrapping_neg() % 512) as usize])
        .during("write", full)
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
