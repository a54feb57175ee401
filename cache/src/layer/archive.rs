//! Archives that ADD unpacks.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use cooper_oci::Compression;

use crate::error::{IoContext, StoreError};
use crate::layer::apply::Limited;
use crate::layer::disk::Canvas;
use crate::layer::files::Places;
use crate::layer::form::Form;
use crate::layer::tar_read::TarReader;
use crate::layer::unpack::{Ground, unpack};
use crate::layer::{
    CopyItem, Entry, FileBytes, FileReader, Files, LayerIndex, Limits, Packed, Source, Staging,
};
use crate::path::RelPath;
use crate::tree::MergedTree;

/// Where and how an archive is unpacked.
#[derive(Debug, Clone)]
pub struct Unpack<'a> {
    /// What is there already, including earlier work in the same staging.
    pub tree: &'a MergedTree,
    /// The directory to unpack into, without symbolic links on the way; made,
    /// root's and 0755, if it is not there.
    pub dest: RelPath,
    /// Owner of everything in the archive instead of its own.
    pub owner: Option<(u32, u32)>,
    /// What the archive may grow to.
    pub limits: Limits,
}

/// What an archive left in a staging.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// New and changed entries, with the directories that hold them, in path order.
    pub entries: Vec<Entry>,
}

/// Whether the file is an archive by its content: a tar, plain or in gzip, bzip2, xz or zstd,
/// of which at least the first header can be read.
pub fn detect_archive(file: &FileBytes) -> Result<bool, StoreError> {
    let opened = file.open().during("open", file.path())?;
    let Ok(stream) = open_archive(opened) else {
        return Ok(false);
    };
    Ok(matches!(TarReader::new(stream).next(), Ok(Some(_))))
}

/// Returns the plain stream of an archive, recognising the compression by content.
pub fn open_archive(file: FileReader) -> io::Result<Box<dyn Read + Send>> {
    let file = BufReader::with_capacity(256 << 10, file);
    Ok(Box::new(Decompressed::new(file)?))
}

/// A stream out of gzip, bzip2, xz or zstd, or as it is.
pub struct Decompressed<R: BufRead>(Decoder<R>);

enum Decoder<R: BufRead> {
    Gzip(flate2::bufread::MultiGzDecoder<R>),
    Bzip2(bzip2::bufread::MultiBzDecoder<R>),
    Xz(liblzma::bufread::XzDecoder<R>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
    Plain(R),
}

impl<R: BufRead> Decompressed<R> {
    /// Recognises the compression by the first bytes of `from`.
    pub fn new(mut from: R) -> io::Result<Self> {
        Ok(Self(match from.fill_buf()? {
            [0x1f, 0x8b, ..] => Decoder::Gzip(flate2::bufread::MultiGzDecoder::new(from)),
            [b'B', b'Z', b'h', ..] => Decoder::Bzip2(bzip2::bufread::MultiBzDecoder::new(from)),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
                Decoder::Xz(liblzma::bufread::XzDecoder::new_multi_decoder(from))
            }
            head if Compression::detect(head) == Compression::Zstd => {
                Decoder::Zstd(zstd::stream::read::Decoder::with_buffer(from)?)
            }
            _ => Decoder::Plain(from),
        }))
    }

    /// Whether there was nothing to undo.
    pub fn is_plain(&self) -> bool {
        matches!(self.0, Decoder::Plain(_))
    }
}

impl<R: BufRead> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Decoder::Gzip(from) => from.read(buffer),
            Decoder::Bzip2(from) => from.read(buffer),
            Decoder::Xz(from) => from.read(buffer),
            Decoder::Zstd(from) => from.read(buffer),
            Decoder::Plain(from) => from.read(buffer),
        }
    }
}

/// Unpacks the archive `file` into `staging`.
///
/// `..` is clamped at the destination, symbolic links are followed inside the
/// tree, and an entry whose directory lies outside the destination through a
/// link is refused. `.wh.` entries become whiteouts.
pub fn unpack_archive(
    file: &FileBytes,
    staging: &Staging,
    how: &Unpack<'_>,
) -> Result<Unpacked, StoreError> {
    let userxattr = staging.shared().options.userxattr;
    let form = Form::Files(Canvas::open(&staging.fs(), userxattr)?.overwriting());
    let (index, _) = unpack_to(&form, file, how)?;
    Ok(Unpacked {
        entries: index.entries().to_vec(),
    })
}

/// Does the same without creating files: their bytes go into a pack that lasts as long as
/// `staging`, and what was unpacked is returned for
/// [`commit_packed`](crate::Layers::commit_packed).
pub fn pack_archive(
    file: &FileBytes,
    staging: &Staging,
    how: &Unpack<'_>,
) -> Result<Vec<CopyItem>, StoreError> {
    let (dir, pack) = staging.loose_pack()?;
    let (index, places) = unpack_to(&Form::pack(pack)?, file, how)?;
    let files = Files::Packed(Arc::new(Packed::loose(dir, places)));
    let item = |(number, entry): (usize, &Entry)| CopyItem {
        source: if entry.is_file() {
            let path = entry.path.under(file.path());
            Source::Stored(files.bytes(number, path, entry.size()))
        } else {
            Source::None
        },
        entry: entry.clone(),
    };
    Ok(index.entries().iter().enumerate().map(item).collect())
}

fn unpack_to(
    form: &Form,
    file: &FileBytes,
    how: &Unpack<'_>,
) -> Result<(LayerIndex, Places), StoreError> {
    let opened = file.open().during("open", file.path())?;
    let stream = open_archive(opened).during("read", file.path())?;
    let limit = how.limits.of(file.len().during("stat", file.path())?);
    let stream = Limited {
        inner: stream,
        left: limit,
        limit,
    };
    let ground = Ground {
        add: Some(how),
        most: how.limits.entries,
    };
    let made = unpack(stream, form, &ground)?;
    Ok((made.index, made.places))
}
