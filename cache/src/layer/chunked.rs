//! Layers that can be pulled file by file: eStargz.
//!
//! An eStargz layer is a gzip layer of which every file, and every part of a large one, begins a
//! gzip member of its own. The last member of the tar, `stargz.index.json`, tells where each is
//! and what its digest is, and an empty member behind it tells where that index is. Whoever knows
//! nothing of this unpacks an ordinary layer with two files more: the index, and a landmark that
//! says that no files are to be fetched ahead
//! (<https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md>).
//!
//! The tar is read as it is written: headers and what follows a file go into one member, up to the
//! next file's bytes. Members are compressed on all processors and are the same bytes for any
//! number of them.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cooper_oci::{Compression, Descriptor, DiffId, Digest, Sha256Hasher};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use serde::Serialize;
use tar::{EntryType, Header};

use crate::content::BlobWriter;
use crate::error::StoreError;

/// Name of the index.
const TOC: &str = "stargz.index.json";
/// Says that no files are to be fetched before others.
const LANDMARK: &str = ".no.prefetch.landmark";
/// What a landmark holds.
const LANDMARK_BYTE: u8 = 0xf;
/// Bytes of a file in one member.
const CHUNK: usize = 4 << 20;
/// Annotation of a layer's descriptor: the digest of its index.
pub const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// Annotation of a layer's descriptor: how many bytes its tar has.
pub const TAR_SIZE: &str = "io.containers.estargz.uncompressed-size";

/// One entry of the index; fields as the specification names them.
#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct TocEntry {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "String::is_empty", rename = "modtime")]
    modified: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    mode: u32,
    uid: u64,
    gid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_major: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_minor: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<String>,
    /// Number of the member that begins with the chunk.
    #[serde(skip)]
    member: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct Toc {
    version: u32,
    entries: Vec<TocEntry>,
}

/// A member on its way.
struct Member {
    number: usize,
    data: Vec<u8>,
    /// How many bytes at its beginning are a file's.
    chunk: usize,
}

/// A compressed member, with the digest of the file's bytes in it.
type Packed = (usize, io::Result<(Vec<u8>, Option<Digest>)>);

/// Where members ended up.
struct Written {
    writer: BlobWriter,
    /// For each member, where it begins and the digest of its chunk.
    members: Vec<(u64, Option<Digest>)>,
}

/// Writes the tar that `source` gives as an eStargz blob; returns the digest of the tar with its
/// landmark and index, and the blob's descriptor.
pub(super) fn chunked(
    source: impl FnOnce(&mut dyn Write) -> Result<(), StoreError>,
    writer: BlobWriter,
    level: i32,
    threads: usize,
) -> Result<(DiffId, Descriptor), StoreError> {
    let path = writer.path().to_owned();
    let failed = |error| StoreError::io("write", &path, error);
    let (to_workers, jobs) = bounded::<Member>(threads * 2);
    let (to_writer, results) = unbounded::<Packed>();
    // Members on their way are limited by tokens, so that a slow one holds the rest back.
    let (give, tokens) = bounded(threads * 8);
    let (tape, written) = std::thread::scope(|scope| {
        for _ in 0..threads {
            let (jobs, to_writer) = (jobs.clone(), to_writer.clone());
            scope.spawn(move || work(&jobs, &to_writer, level));
        }
        drop((jobs, to_writer));
        let writing = scope.spawn(move || write_in_order(&results, &tokens, writer));
        let mut tape = Tape::new(to_workers, give);
        let produced = tape
            .landmark()
            .map_err(failed)
            .and_then(|()| source(&mut tape))
            .and_then(|()| tape.finish().map_err(failed));
        let written = writing
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("writer panicked")));
        // A failed writer makes the producer fail too; its error is the cause.
        let written = written.map_err(failed)?;
        produced.map(|tape| (tape, written))
    })?;
    finish(tape, written, level).map_err(failed)?.commit()
}

/// Everything written, index and footer included.
struct Finished {
    writer: BlobWriter,
    diff_id: DiffId,
    tar_size: u64,
    toc_digest: Digest,
}

impl Finished {
    fn commit(self) -> Result<(DiffId, Descriptor), StoreError> {
        let (digest, size) = self.writer.commit(None, None)?;
        let media_type = Compression::Gzip.layer_media_type(false);
        let blob = Descriptor::new(media_type, digest, size)
            .with_annotation(TOC_DIGEST, self.toc_digest.to_string())
            .with_annotation(TAR_SIZE, self.tar_size.to_string());
        Ok((self.diff_id, blob))
    }
}

/// Writes the index and the footer.
fn finish(ended: Ended, written: Written, level: i32) -> io::Result<Finished> {
    let mut entries = ended.entries;
    for entry in &mut entries {
        let Some(member) = entry.member else { continue };
        let (offset, digest) = &written.members[member];
        entry.offset = *offset;
        entry.chunk_digest = digest.as_ref().map(Digest::to_string);
        if entry.kind == "reg" && entry.digest.is_none() {
            entry.digest.clone_from(&entry.chunk_digest);
        }
    }
    let json = serde_json::to_vec(&Toc {
        version: 1,
        entries,
    })?;
    let mut plain = file_header(TOC, json.len() as u64).as_bytes().to_vec();
    plain.extend_from_slice(&json);
    plain.resize(plain.len().next_multiple_of(512) + 1024, 0);
    let mut hasher = ended.hasher;
    hasher.update(&plain);
    let mut writer = written.writer;
    let offset = writer.written();
    writer.write_all(&gzip(&mut compressor(level)?, &plain)?)?;
    writer.write_all(&footer(offset))?;
    Ok(Finished {
        writer,
        diff_id: DiffId(hasher.finish()),
        tar_size: ended.length + plain.len() as u64,
        toc_digest: Digest::sha256(&json),
    })
}

/// An empty gzip member whose extra field tells where the index is.
fn footer(offset: u64) -> Vec<u8> {
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
    footer.extend_from_slice(&[26, 0, b'S', b'G', 22, 0]);
    footer.extend_from_slice(format!("{offset:016x}STARGZ").as_bytes());
    footer.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    footer.extend_from_slice(&[0; 8]);
    footer
}

/// A regular file of nobody in particular.
fn file_header(name: &str, size: u64) -> Header {
    let mut header = Header::new_ustar();
    let fields = header.as_ustar_mut().expect("made as ustar");
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o444);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header
}

fn compressor(level: i32) -> io::Result<libdeflater::Compressor> {
    let level = libdeflater::CompressionLvl::new(level)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "gzip level out of range"))?;
    Ok(libdeflater::Compressor::new(level))
}

fn gzip(compressor: &mut libdeflater::Compressor, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = vec![0; compressor.gzip_compress_bound(data.len())];
    let length = compressor
        .gzip_compress(data, &mut member)
        .map_err(io::Error::other)?;
    member.truncate(length);
    Ok(member)
}

fn work(jobs: &Receiver<Member>, results: &Sender<Packed>, level: i32) {
    let mut compressor = compressor(level);
    for job in jobs {
        let packed = match &mut compressor {
            Ok(compressor) => gzip(compressor, &job.data),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        let chunk = (job.chunk > 0).then(|| Digest::sha256(&job.data[..job.chunk]));
        let packed = packed.map(|packed| (packed, chunk));
        if results.send((job.number, packed)).is_err() {
            return;
        }
    }
}

fn write_in_order(
    results: &Receiver<Packed>,
    tokens: &Receiver<()>,
    mut writer: BlobWriter,
) -> io::Result<Written> {
    let mut early = BTreeMap::new();
    let mut members = Vec::new();
    for (number, packed) in results {
        early.insert(number, packed?);
        while let Some((data, chunk)) = early.remove(&members.len()) {
            members.push((writer.written(), chunk));
            writer.write_all(&data)?;
            let _ = tokens.recv();
        }
    }
    Ok(Written { writer, members })
}

/// What a tar is at the next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A header.
    Header,
    /// Records for the next header: so many bytes, then padding to a block.
    Records { left: usize, padding: usize },
    /// A file's bytes, then padding.
    Bytes { left: u64, padding: usize },
    /// Padding.
    Padding(usize),
    /// The zeros at the end, which come behind the index.
    End,
}

/// A tar as it is written, cut into members.
struct Tape {
    at: At,
    /// A header or records that are not complete yet.
    partial: Vec<u8>,
    records: Vec<(String, Vec<u8>)>,
    member: Vec<u8>,
    /// How many bytes at the member's beginning are a file's.
    chunk: usize,
    number: usize,
    entries: Vec<TocEntry>,
    /// The digest of a file of several chunks.
    file: Option<Sha256Hasher>,
    hasher: Sha256Hasher,
    length: u64,
    to: Sender<Member>,
    tokens: Sender<()>,
}

/// A tape that is at its end.
struct Ended {
    entries: Vec<TocEntry>,
    hasher: Sha256Hasher,
    length: u64,
}

impl Tape {
    fn new(to: Sender<Member>, tokens: Sender<()>) -> Self {
        Self {
            at: At::Header,
            partial: Vec::new(),
            records: Vec::new(),
            member: Vec::new(),
            chunk: 0,
            number: 0,
            entries: Vec::new(),
            file: None,
            hasher: Sha256Hasher::new(),
            length: 0,
            to,
            tokens,
        }
    }

    /// Writes the landmark, which comes first.
    fn landmark(&mut self) -> io::Result<()> {
        let mut block = file_header(LANDMARK, 1).as_bytes().to_vec();
        block.push(LANDMARK_BYTE);
        block.resize(1024, 0);
        self.write_all(&block)
    }

    fn finish(mut self) -> io::Result<Ended> {
        if !matches!(self.at, At::Header | At::End) || !self.partial.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !self.member.is_empty() {
            self.cut()?;
        }
        Ok(Ended {
            entries: self.entries,
            hasher: self.hasher,
            length: self.length,
        })
    }

    /// Ends the member.
    fn cut(&mut self) -> io::Result<()> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.tokens.send(()).map_err(gone)?;
        let member = Member {
            number: self.number,
            data: std::mem::take(&mut self.member),
            chunk: std::mem::take(&mut self.chunk),
        };
        self.number += 1;
        self.to
            .send(member)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Takes bytes as they are.
    fn pass(&mut self, data: &[u8]) {
        self.member.extend_from_slice(data);
        self.hasher.update(data);
        self.length += data.len() as u64;
    }

    /// Takes what belongs to a header or to records; returns how much of `data` that was, and all
    /// of it once it is complete.
    fn gather(&mut self, data: &[u8], wanted: usize) -> (usize, Option<Vec<u8>>) {
        let count = data.len().min(wanted - self.partial.len());
        self.partial.extend_from_slice(&data[..count]);
        if self.partial.len() < wanted {
            return (count, None);
        }
        (count, Some(std::mem::take(&mut self.partial)))
    }

    /// Takes a header; a file's bytes begin a new member.
    fn header(&mut self, block: &[u8]) -> io::Result<()> {
        if block.iter().all(|byte| *byte == 0) {
            self.at = At::End;
            return Ok(());
        }
        self.pass(block);
        let header = Header::from_byte_slice(block);
        let size = header.entry_size()?;
        if header.entry_type() == EntryType::XHeader {
            let left = size as usize;
            let padding = left.next_multiple_of(512) - left;
            self.at = At::Records { left, padding };
            return Ok(());
        }
        let entry = toc_entry(header, std::mem::take(&mut self.records))?;
        let size = entry.size;
        self.entries.push(entry);
        if size == 0 {
            return Ok(());
        }
        self.at = At::Bytes {
            left: size,
            padding: (size.next_multiple_of(512) - size) as usize,
        };
        self.file = (size > CHUNK as u64).then(Sha256Hasher::new);
        self.cut()?;
        let entry = self.entries.last_mut().expect("pushed above");
        entry.member = Some(self.number);
        entry.chunk_size = if size > CHUNK as u64 { CHUNK as u64 } else { 0 };
        Ok(())
    }

    /// Takes a file's bytes, which a member of their own begins with.
    fn bytes(&mut self, data: &[u8], left: u64, padding: usize) -> io::Result<usize> {
        if self.chunk == CHUNK {
            self.cut()?;
            self.next_chunk(left);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let count = data.len().min(CHUNK - self.chunk).min(most);
        self.pass(&data[..count]);
        self.chunk += count;
        if let Some(file) = &mut self.file {
            file.update(&data[..count]);
        }
        let left = left - count as u64;
        self.at = At::Bytes { left, padding };
        if left == 0 {
            self.at = At::Padding(padding);
            let file = self.file.take().map(Sha256Hasher::finish);
            let first = self.entries.iter_mut().rev().find(|one| one.kind == "reg");
            if let (Some(first), Some(file)) = (first, file) {
                first.digest = Some(file.to_string());
            }
        }
        Ok(count)
    }

    /// Tells of a file's next chunk, behind which all but `left` bytes of it are.
    fn next_chunk(&mut self, left: u64) {
        let first = self.entries.iter().rev().find(|one| one.kind == "reg");
        let (name, size) = first.map_or_else(Default::default, |one| (one.name.clone(), one.size));
        let last = left <= CHUNK as u64;
        self.entries.push(TocEntry {
            name,
            kind: "chunk",
            chunk_offset: size - left,
            chunk_size: if last { 0 } else { CHUNK as u64 },
            member: Some(self.number),
            ..TocEntry::default()
        });
    }
}

impl Write for Tape {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.at == At::Padding(0) {
            self.at = At::Header;
        }
        match self.at {
            At::Header => {
                let (count, block) = self.gather(data, 512);
                if let Some(block) = block {
                    self.header(&block)?;
                }
                Ok(count)
            }
            At::Records { left, padding } => {
                let (count, records) = self.gather(data, left);
                if let Some(records) = records {
                    self.pass(&records);
                    self.records = parse_records(&records)?;
                    self.at = At::Padding(padding);
                }
                Ok(count)
            }
            At::Bytes { left, padding } => self.bytes(data, left, padding),
            At::Padding(left) => {
                let count = data.len().min(left);
                self.pass(&data[..count]);
                self.at = At::Padding(left - count);
                Ok(count)
            }
            At::End => Ok(data.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Parses pax records: `LENGTH KEY=VALUE\n`, where the length counts all of it.
fn parse_records(mut data: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a pax record that is none");
    let mut records = Vec::new();
    while !data.is_empty() {
        let space = data
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or_else(wrong)?;
        let length = std::str::from_utf8(&data[..space]).ok();
        let length: usize = length
            .and_then(|text| text.parse().ok())
            .ok_or_else(wrong)?;
        let record = data.get(space + 1..length.max(1) - 1).ok_or_else(wrong)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(wrong)?;
        let key = String::from_utf8_lossy(&record[..equals]).into_owned();
        records.push((key, record[equals + 1..].to_vec()));
        data = &data[length..];
    }
    Ok(records)
}

/// Returns what the index tells of a member of the tar.
fn toc_entry(header: &Header, records: Vec<(String, Vec<u8>)>) -> io::Result<TocEntry> {
    use base64::Engine as _;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kind = match header.entry_type() {
        EntryType::Directory => "dir",
        EntryType::Symlink => "symlink",
        EntryType::Link => "hardlink",
        EntryType::Char => "char",
        EntryType::Block => "block",
        EntryType::Fifo => "fifo",
        _ => "reg",
    };
    let mut entry = TocEntry {
        name: text(&header.path_bytes()),
        kind,
        size: header.entry_size()?,
        modified: rfc3339(i64::try_from(header.mtime()?).unwrap_or(0)),
        link_name: header
            .link_name_bytes()
            .map_or_else(String::new, |name| text(&name)),
        mode: header.mode()?,
        uid: header.uid()?,
        gid: header.gid()?,
        ..TocEntry::default()
    };
    if matches!(kind, "char" | "block") {
        entry.dev_major = header.device_major()?;
        entry.dev_minor = header.device_minor()?;
    }
    for (key, value) in records {
        let shown = text(&value);
        match key.as_str() {
            "path" => entry.name = shown,
            "linkpath" => entry.link_name = shown,
            "size" => entry.size = number(&shown)?,
            "uid" => entry.uid = number(&shown)?,
            "gid" => entry.gid = number(&shown)?,
            "mtime" => entry.modified = rfc3339(number(&shown)?),
            _ => {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    let value = base64::engine::general_purpose::STANDARD.encode(&value);
                    entry.xattrs.insert(name.to_owned(), value);
                }
            }
        }
    }
    Ok(entry)
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a pax number that is none"))
}

/// Writes a time, in seconds since 1970, as the index has it; nothing if it is beyond all years.
fn rfc3339(secs: i64) -> String {
    jiff::Timestamp::from_second(secs).map_or_else(|_| String::new(), |time| time.to_string())
}
