//! Layer blobs: decompressing, checking and unpacking in one pass.
//!
//! One thread reads, decompresses and hashes; the caller's parses; others
//! create the files. What is unpacked counts only after the whole tar's digest
//! was seen to be the promised one.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use cooper_oci::{Compression, DiffId, Sha256Hasher};

use crate::error::{ArchiveError, StoreError};
use crate::layer::disk::Canvas;
use crate::layer::form::Form;
use crate::layer::tar_read::TarReader;
use crate::layer::unpack::{Ground, unpack};
use crate::layer::{LayerIndex, Staging};

/// What an archive may grow to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of tar.
    pub bytes: u64,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of tar that any archive may have, however small it is.
    pub free: u64,
    /// How many times its own size a larger one may have.
    pub ratio: u64,
}

impl Limits {
    /// Returns how many bytes of tar an archive of this size may hold. Ordinary files grow to ten
    /// times their compressed size, nothing but zeros in gzip to a thousand times.
    pub fn of(&self, compressed: u64) -> u64 {
        let grown = compressed.saturating_mul(self.ratio);
        self.bytes.min(self.free.max(grown))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 256 << 30,
            entries: 20_000_000,
            free: 8 << 30,
            ratio: 500,
        }
    }
}

const CHUNK: usize = 256 << 10;

/// What a layer's blob is unpacked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Files, for something to mount.
    Files,
    /// A pack, until something mounts the layer.
    Pack,
}

/// Unpacks a layer's blob into a fresh staging and checks its tar's digest.
pub(super) fn unpack_layer(
    blob: File,
    staging: &Staging,
    diff_id: &DiffId,
    limits: Limits,
    shape: Shape,
) -> Result<LayerIndex, StoreError> {
    let form = match shape {
        Shape::Files => {
            let userxattr = staging.shared().options.userxattr;
            Form::Files(Canvas::open(&staging.fs(), userxattr)?)
        }
        Shape::Pack => Form::pack(staging.pack(0)?)?,
    };
    let (sender, receiver) = sync_channel(16);
    std::thread::scope(|scope| {
        let limit = limits.of(blob.metadata().map_or(0, |meta| meta.len()));
        let hasher = scope.spawn(move || feed(blob, limit, &sender));
        let ground = Ground {
            add: None,
            most: limits.entries,
        };
        let unpacked = unpack(Chunks::new(receiver), &form, &ground);
        // The digest covers what comes after the end of the archive too.
        let unpacked = unpacked.and_then(|mut made| {
            let drained = io::copy(&mut made.rest, &mut io::sink());
            drained.map(|_| made).map_err(refusal)
        });
        let digest = hasher.join().unwrap_or(None);
        let made = unpacked?;
        match digest.map(DiffId) {
            Some(actual) if actual == *diff_id => {
                if shape == Shape::Pack {
                    staging.place(&made.places)?;
                }
                Ok(made.index)
            }
            Some(actual) => Err(StoreError::DiffIdMismatch {
                expected: diff_id.clone(),
                actual,
            }),
            None => Err(refusal(io::ErrorKind::UnexpectedEof.into())),
        }
    })
}

/// Returns how many bytes the regular files in a layer's blob hold.
pub(super) fn content_size(blob: File) -> Result<u64, StoreError> {
    let limit = Limits::default().of(blob.metadata().map_or(0, |meta| meta.len()));
    let inner = decoder(blob).map_err(refusal)?;
    let mut tar = TarReader::new(Limited {
        inner,
        left: limit,
        limit,
    });
    let mut size = 0_u64;
    while let Some(member) = tar.next().map_err(refusal)? {
        if member.kind == b'0' {
            size = size.saturating_add(member.size);
        }
    }
    Ok(size)
}

fn refusal(error: io::Error) -> StoreError {
    match error.downcast::<ArchiveError>() {
        Ok(refusal) => refusal.into(),
        Err(source) => ArchiveError::Malformed {
            after: None,
            source,
        }
        .into(),
    }
}

type Chunk = io::Result<Vec<u8>>;

/// Decompresses and hashes; returns the digest if all went through.
fn feed(blob: File, limit: u64, to: &SyncSender<Chunk>) -> Option<cooper_oci::Digest> {
    let mut hasher = Sha256Hasher::new();
    let mut reader = match decoder(blob) {
        Ok(reader) => Limited {
            inner: reader,
            left: limit,
            limit,
        },
        Err(error) => {
            let _ = to.send(Err(error));
            return None;
        }
    };
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        match (&mut reader).take(CHUNK as u64).read_to_end(&mut chunk) {
            Ok(0) => return Some(hasher.finish()),
            Ok(_) => {
                hasher.update(&chunk);
                // The parser is gone: it has refused the archive.
                to.send(Ok(chunk)).ok()?;
            }
            Err(error) => {
                let _ = to.send(Err(error));
                return None;
            }
        }
    }
}

/// Returns the plain stream of a blob, recognising gzip and zstd by content.
pub(super) fn decoder(mut blob: File) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = [0; 4];
    let count = read_up_to(&mut blob, &mut magic)?;
    io::Seek::rewind(&mut blob)?;
    Ok(match Compression::detect(&magic[..count]) {
        Compression::None => Box::new(blob),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(
            BufReader::with_capacity(CHUNK, blob),
        )),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(blob)?),
    })
}

/// Fills `buffer` as far as the stream goes.
pub(super) fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Writes the plain stream of a blob.
pub(super) fn decompress_to(blob: File, to: &mut dyn Write) -> io::Result<()> {
    let mut reader = decoder(blob)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count])?,
        }
    }
}

/// A stream that may not grow beyond a limit.
pub(super) struct Limited<R> {
    pub(super) inner: R,
    pub(super) left: u64,
    pub(super) limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other(ArchiveError::TooLarge { limit: self.limit }))?;
        Ok(count)
    }
}

/// The receiving end of [`feed`], as a stream.
struct Chunks {
    from: Receiver<Chunk>,
    chunk: Vec<u8>,
    at: usize,
}

impl Chunks {
    const fn new(from: Receiver<Chunk>) -> Self {
        Self {
            from,
            chunk: Vec::new(),
            at: 0,
        }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            match self.from.recv() {
                Ok(chunk) => (self.chunk, self.at) = (chunk?, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn small_archives_grow_freely_and_large_ones_in_proportion() {
        let limits = Limits {
            bytes: 9000,
            entries: 1,
            free: 1000,
            ratio: 10,
        };
        for (compressed, most) in [(0, 1000), (100, 1000), (101, 1010), (5000, 9000)] {
            assert_eq!(limits.of(compressed), most, "{compressed}");
        }
        assert_eq!(limits.of(u64::MAX), 9000);
    }
}
