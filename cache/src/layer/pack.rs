//! Packing layers into blobs, on all processors.
//!
//! The tar is cut into blocks of a fixed size; each becomes a gzip member or a
//! zstd frame of its own, and the concatenation is one valid stream. Blocks are
//! compressed by several threads and written in order: the bytes are the same
//! for any number of them. The tar's own digest is taken on the way.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use cooper_oci::{Compression, Descriptor, DiffId, Digest, Sha256Hasher};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::content::BlobWriter;
use crate::error::StoreError;
use crate::images::{json, read_json};
use crate::layer::chunked::chunked;
use crate::layer::digest::digesting;
use crate::layer::scan::{Seam, Watch};
use crate::layer::{LayerId, Layers, Timestamp, resume, tar_write};

/// Tar bytes in a gzip member; a change changes every digest of a packed layer.
const GZIP_BLOCK: usize = 1 << 20;
/// Marks the registered blob of a layer that was packed here.
const OWN: &str = "dev.cooper.packed-here";
/// Tar bytes in a zstd frame.
const ZSTD_BLOCK: usize = 4 << 20;

/// Returns the digest of a built layer's tar, remembered beside the layers.
pub(super) fn diff_id(layers: &Layers, id: &LayerId) -> Result<DiffId, StoreError> {
    if let Some(known) = known_diff_id(layers, id) {
        return Ok(known);
    }
    let watch = layers.watch(id)?;
    let layer = layers.ensure(id)?;
    let diff_id = DiffId(resume::digest(layers, &layer, watch.as_ref())?);
    layers.note_clean(id, watch.as_ref())?;
    remember_diff_id(layers, id, &diff_id)?;
    Ok(diff_id)
}

pub(super) fn known_diff_id(layers: &Layers, id: &LayerId) -> Option<DiffId> {
    match id {
        LayerId::Pulled(diff_id) => Some(diff_id.clone()),
        LayerId::Built(_) => read_json::<DiffId>(&layers.memo(id, "diff_id")).ok()?,
    }
}

pub(super) fn remember_diff_id(
    layers: &Layers,
    id: &LayerId,
    diff_id: &DiffId,
) -> Result<(), StoreError> {
    layers
        .shared
        .write_atomic(&layers.memo(id, "diff_id"), &json(diff_id))?;
    layers.set_alias(diff_id, id)
}

/// What becomes of the times of a layer's files when it is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileTimes {
    /// Later ones become this time, in seconds since 1970.
    AtMost(i64),
    /// All become this time.
    Exactly(i64),
}

impl FileTimes {
    /// Returns what becomes of `time`.
    pub fn of(self, time: Timestamp) -> Timestamp {
        match self {
            Self::AtMost(secs) if time.secs < secs => time,
            Self::AtMost(secs) | Self::Exactly(secs) => Timestamp { secs, nanos: 0 },
        }
    }

    /// Names it in a memo.
    fn name(self) -> String {
        match self {
            Self::AtMost(secs) => format!("until-{secs}"),
            Self::Exactly(secs) => format!("at-{secs}"),
        }
    }
}

/// The level that is meant where none is named: gzip's gives about the size that zlib gives at its
/// own default, which is 6, in less time.
fn level_or_default(compression: Compression, level: Option<i32>) -> i32 {
    level.unwrap_or(match compression {
        Compression::Gzip => 5,
        Compression::Zstd => 3,
        Compression::None => 0,
    })
}

/// Returns the blob that holds the layer in this compression, made once.
pub(super) fn pack(
    layers: &Layers,
    id: &LayerId,
    compression: Compression,
    level: Option<i32>,
) -> Result<Descriptor, StoreError> {
    let level = level_or_default(compression, level);
    let memo = layers.memo(id, &format!("{compression}-{level}"));
    if let Some(known) = packed(layers, &memo)? {
        return Ok(known);
    }
    if let Some(original) = layers.registered_blob(id)
        && cooper_oci::media_type::layer_compression(&original.media_type) == Some(compression)
        && !is_own(&original)
    {
        return Ok(original);
    }
    let _claim = layers.claim(&memo)?;
    if let Some(known) = packed(layers, &memo)? {
        return Ok(known);
    }
    let watch = layers.watch(id)?;
    let source = |to: &mut dyn Write| layers.write_tar(id, to);
    let (diff_id, descriptor) = to_blob(layers, source, compression, level, watch.as_ref())?;
    if let LayerId::Pulled(expected) = id
        && *expected != diff_id
    {
        layers.blobs().remove(&descriptor.digest)?;
        return Err(StoreError::DiffIdMismatch {
            expected: expected.clone(),
            actual: diff_id,
        });
    }
    layers.note_clean(id, watch.as_ref())?;
    if known_diff_id(layers, id).is_none() {
        remember_diff_id(layers, id, &diff_id)?;
    }
    layers.shared.write_atomic(&memo, &json(&descriptor))?;
    Ok(descriptor)
}

/// How a layer is packed whose tar is to be another one than its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repacking {
    /// What becomes of the times of its files, if they do not stay.
    pub times: Option<FileTimes>,
    /// What the blob is.
    pub form: Form,
    /// The compressor's own level.
    pub level: Option<i32>,
}

/// The form of a blob that holds a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A compressed tar.
    Whole(Compression),
    /// eStargz: files can be had one by one.
    Chunked,
}

impl Repacking {
    /// Names it in a memo.
    fn name(&self) -> String {
        let (form, compression) = match self.form {
            Form::Whole(compression) => (compression.to_string(), compression),
            Form::Chunked => ("estargz".to_owned(), Compression::Gzip),
        };
        let level = level_or_default(compression, self.level);
        let times = self
            .times
            .map_or_else(String::new, |times| format!("-{}", times.name()));
        format!("{form}-{level}{times}")
    }
}

/// Packs a layer under another tar; returns the layer that the blob holds, and the blob.
///
/// The layer's own name says nothing of times and chunks, so the packed one goes by its tar.
pub(super) fn repack(
    layers: &Layers,
    id: &LayerId,
    how: &Repacking,
) -> Result<(DiffId, Descriptor), StoreError> {
    let memo = layers.memo(id, &how.name());
    let known = || -> Result<Option<(DiffId, Descriptor)>, StoreError> {
        let known: Option<(DiffId, Descriptor)> = read_json(&memo)?;
        Ok(known.filter(|(_, blob)| layers.blobs().size(&blob.digest) == Some(blob.size)))
    };
    let made = if let Some(known) = known()? {
        known
    } else {
        let _claim = layers.claim(&memo)?;
        if let Some(known) = known()? {
            known
        } else {
            let made = remake(layers, id, how)?;
            layers.shared.write_atomic(&memo, &json(&made))?;
            made
        }
    };
    // What came in the same form from elsewhere stays as it came.
    if layers.original_blob(&made.0).is_none() {
        let own = made.1.clone().with_annotation(OWN, "true");
        layers.register_blob(&made.0, &own)?;
    }
    Ok(made)
}

/// Whether the blob of a layer that goes by its tar was packed in this store.
pub(super) fn is_own(blob: &Descriptor) -> bool {
    blob.annotations.contains_key(OWN)
}

fn remake(
    layers: &Layers,
    id: &LayerId,
    how: &Repacking,
) -> Result<(DiffId, Descriptor), StoreError> {
    let layer = layers.ensure(id)?;
    let files = layer.files()?;
    let mut index = (*layer.index()?).clone();
    if let Some(times) = how.times {
        for entry in index.entries_mut() {
            entry.mtime = times.of(entry.mtime);
        }
    }
    let write = |to: &mut dyn Write| tar_write::write_layer(&index, &files, to);
    let source = |to: &mut dyn Write| layers.streamed(to, write);
    match how.form {
        Form::Whole(compression) => {
            let level = level_or_default(compression, how.level);
            to_blob(layers, source, compression, level, None)
        }
        Form::Chunked => {
            let level = level_or_default(Compression::Gzip, how.level);
            chunked(source, layers.blobs().writer()?, level, threads())
        }
    }
}

/// Returns how many threads compress.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Packs what `source` writes into a blob of the store; returns the digest of the plain stream.
fn to_blob(
    layers: &Layers,
    source: impl FnOnce(&mut dyn Write) -> Result<(), StoreError>,
    compression: Compression,
    level: i32,
    watch: Option<&Watch>,
) -> Result<(DiffId, Descriptor), StoreError> {
    let how = Packing {
        compression,
        level,
        threads: threads(),
        watch,
    };
    let (diff_id, (digest, size)) = compress(source, layers.blobs().writer()?, &how)?;
    let media_type = compression.layer_media_type(false);
    Ok((diff_id, Descriptor::new(media_type, digest, size)))
}

/// Returns the blob that a built layer's plain tar would be in the store, without making it; none
/// if the tar is not made of the layer's files, or has not been digested yet.
pub(super) fn plain_tar(layers: &Layers, id: &LayerId) -> Result<Option<Descriptor>, StoreError> {
    let LayerId::Built(_) = id else {
        return Ok(None);
    };
    let (Some(diff_id), None) = (known_diff_id(layers, id), layers.registered_blob(id)) else {
        return Ok(None);
    };
    let Some(layer) = layers.get(id)? else {
        return Ok(None);
    };
    let size = tar_write::size(&*layer.index()?, &layer.files()?)?;
    let media_type = Compression::None.layer_media_type(false);
    Ok(Some(Descriptor::new(media_type, diff_id.0, size)))
}

/// Writes a layer's tar, which `blob` describes; fails if it is another one.
pub(super) fn write_plain(
    layers: &Layers,
    id: &LayerId,
    blob: &Descriptor,
    to: &mut dyn Write,
) -> Result<(), StoreError> {
    let watch = layers.watch(id)?;
    let source = |to: &mut dyn Write| layers.write_tar(id, to);
    let actual = digesting(source, to, watch.as_ref())?;
    if actual != blob.digest {
        return Err(StoreError::DiffIdMismatch {
            expected: DiffId(blob.digest.clone()),
            actual: DiffId(actual),
        });
    }
    layers.note_clean(id, watch.as_ref())
}

fn packed(layers: &Layers, memo: &Path) -> Result<Option<Descriptor>, StoreError> {
    let known: Option<Descriptor> = read_json(memo)?;
    Ok(known.filter(|blob| layers.blobs().size(&blob.digest) == Some(blob.size)))
}

/// How a stream is packed.
pub(super) struct Packing<'a> {
    pub(super) compression: Compression,
    pub(super) level: i32,
    pub(super) threads: usize,
    /// What is looked for on the way.
    pub(super) watch: Option<&'a Watch>,
}

/// Compresses what `source` writes into a blob; returns the digest of the plain stream, and the
/// blob's digest and size.
pub(super) fn compress(
    source: impl FnOnce(&mut dyn Write) -> Result<(), StoreError>,
    mut writer: BlobWriter,
    how: &Packing<'_>,
) -> Result<(DiffId, (Digest, u64)), StoreError> {
    let block = match how.compression {
        Compression::None => {
            // What it is known by is taken on the way.
            writer.leave_undigested();
            let digest = digesting(source, &mut writer, how.watch)?;
            return Ok((DiffId(digest.clone()), writer.publish(digest)?));
        }
        Compression::Gzip => GZIP_BLOCK,
        Compression::Zstd => ZSTD_BLOCK,
    };
    let threads = how.threads;
    let to_path = writer.path().to_owned();
    let (to_workers, jobs) = bounded::<Job>(threads * 2);
    let (to_writer, results) = unbounded();
    // Blocks on their way are limited by tokens, so that a slow one holds the rest back.
    let (give, tokens) = bounded(threads * 4);
    let given_up = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (jobs, to_writer, given_up) = (jobs.clone(), to_writer.clone(), &given_up);
            scope.spawn(move || {
                let wanted = jobs
                    .iter()
                    .take_while(|_| !given_up.load(Ordering::Relaxed));
                work(wanted, &to_writer, how);
            });
        }
        drop((jobs, to_writer));
        let writing =
            scope.spawn(move || write_in_order(&results, &tokens, &mut writer).map(|()| writer));
        let mut blocks = Blocks::new(block, to_workers, give, how.watch);
        let produced = source(&mut blocks).and_then(|()| {
            blocks
                .finish()
                .map_err(|error| StoreError::io("pack a layer into", &to_path, error))
        });
        given_up.store(produced.is_err(), Ordering::Relaxed);
        let written = writing
            .join()
            .map_err(|_| io::Error::other("writer panicked"));
        let written = written.and_then(|written| written);
        match (produced, written) {
            (Ok(digest), Ok(writer)) => Ok((DiffId(digest), writer.commit(None, None)?)),
            // A failed writer makes the producer fail too; its error is the cause.
            (_, Err(error)) => Err(StoreError::io("write", &to_path, error)),
            (Err(error), Ok(_)) => Err(error),
        }
    })
}

type Compressed = (usize, io::Result<Vec<u8>>);

/// A block on its way to being compressed.
struct Job {
    number: usize,
    block: Vec<u8>,
    /// The end of the block before, for what is looked for.
    seam: Seam,
}

fn work(jobs: impl Iterator<Item = Job>, results: &Sender<Compressed>, how: &Packing<'_>) {
    let mut encoder = Encoder::new(how.compression, how.level);
    for job in jobs {
        if let Some(watch) = how.watch {
            watch.block(&job.seam, &job.block);
        }
        let compressed = match &mut encoder {
            Ok(encoder) => encoder.encode(&job.block),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        if results.send((job.number, compressed)).is_err() {
            return;
        }
    }
}

enum Encoder {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    fn new(compression: Compression, level: i32) -> io::Result<Self> {
        if compression == Compression::Zstd {
            return zstd::bulk::Compressor::new(level).map(Self::Zstd);
        }
        let level = libdeflater::CompressionLvl::new(level)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "gzip level out of range"))?;
        Ok(Self::Gzip(libdeflater::Compressor::new(level)))
    }

    fn encode(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => encoder.compress(block),
            Self::Gzip(encoder) => {
                let mut member = vec![0; encoder.gzip_compress_bound(block.len())];
                let length = encoder
                    .gzip_compress(block, &mut member)
                    .map_err(io::Error::other)?;
                member.truncate(length);
                Ok(member)
            }
        }
    }
}

fn write_in_order(
    results: &Receiver<Compressed>,
    tokens: &Receiver<()>,
    to: &mut BlobWriter,
) -> io::Result<()> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for (number, block) in results {
        early.insert(number, block?);
        while let Some(block) = early.remove(&next) {
            to.write_all(&block)?;
            next += 1;
            let _ = tokens.recv();
        }
    }
    Ok(())
}

/// Cuts a stream into blocks, hashing it.
struct Blocks<'a> {
    size: usize,
    block: Vec<u8>,
    number: usize,
    hasher: Sha256Hasher,
    to: Sender<Job>,
    tokens: Sender<()>,
    watch: Option<&'a Watch>,
    seam: Seam,
}

impl<'a> Blocks<'a> {
    fn new(size: usize, to: Sender<Job>, tokens: Sender<()>, watch: Option<&'a Watch>) -> Self {
        Self {
            size,
            block: Vec::with_capacity(size),
            number: 0,
            hasher: Sha256Hasher::new(),
            to,
            tokens,
            watch,
            seam: Seam::default(),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        self.hasher.update(&self.block);
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(self.size));
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.tokens.send(()).map_err(gone)?;
        let behind = match self.watch {
            Some(watch) => watch.seam(&self.seam, &block),
            None => Seam::default(),
        };
        let job = Job {
            number: self.number,
            block,
            seam: std::mem::replace(&mut self.seam, behind),
        };
        self.to.send(job).map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.number += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<Digest> {
        if !self.block.is_empty() {
            self.send()?;
        }
        Ok(self.hasher.finish())
    }
}

impl Write for Blocks<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = data.len().min(self.size - self.block.len());
        self.block.extend_from_slice(&data[..count]);
        if self.block.len() == self.size {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
