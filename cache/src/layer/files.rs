//! Where the bytes of a layer's files are: each in a file of its own, or in packs.
//!
//! A layer that was mounted once has `fs/`. One that was not has `packs/`, a few large files that
//! hold the bytes of its regular files one after another, and `places`, which says where each is.
//! A pack does not change once its layer has its name, so layers share packs by hard links: what
//! a step copies again takes no space and no time.
//!
//! # File format of `places`, version 1
//!
//! ```text
//! "cooper-places 1\n"  16 bytes
//! BLAKE3 of the body   32 bytes
//! body                 postcard: Places
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::layer::{DecodeError, LayerId};

const MAGIC: &[u8; 16] = b"cooper-places 1\n";

/// Where a regular file's bytes begin; its index knows how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) pack: u32,
    pub(super) offset: u64,
}

/// What the file `places` holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Places {
    /// Length of each pack, in bytes.
    pub(super) packs: Vec<u64>,
    /// One an entry of the index; only those of regular files mean something.
    pub(super) entries: Vec<Place>,
    /// The layer that was made before by the same step.
    pub(super) like: Option<LayerId>,
}

impl Places {
    pub(super) fn encode(&self) -> Vec<u8> {
        let body = postcard::to_stdvec(self).expect("plain data always serialises");
        let mut file = Vec::with_capacity(MAGIC.len() + 32 + body.len());
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(blake3::hash(&body).as_bytes());
        file.extend_from_slice(&body);
        file
    }

    pub(super) fn decode(file: &[u8]) -> Result<Self, DecodeError> {
        let rest = file.strip_prefix(MAGIC).ok_or(DecodeError::Version)?;
        let (sum, body) = rest.split_at_checked(32).ok_or(DecodeError::Checksum)?;
        if blake3::hash(body).as_bytes() != sum {
            return Err(DecodeError::Checksum);
        }
        postcard::from_bytes(body).map_err(|_| DecodeError::Body)
    }
}

/// Returns where pack `number` of the layer in `dir` is.
pub(super) fn pack_path(dir: &Path, number: usize) -> PathBuf {
    dir.join("packs").join(number.to_string())
}

/// A layer whose files lie in packs.
#[derive(Debug)]
pub struct Packed {
    dir: PathBuf,
    pub(super) places: Places,
    open: Vec<OnceLock<Arc<File>>>,
}

impl Packed {
    /// Returns the packed layer in `dir`; none if its files have been created.
    pub(super) fn load(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join("places");
        let data = match fs::read(&path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let places = Places::decode(&data).map_err(|error| StoreError::Corrupt {
            path,
            reason: error.to_string(),
        })?;
        Ok(Some(Self::loose(dir.to_owned(), places)))
    }

    /// Returns the one pack in `dir`, which is no layer, with where its files are.
    pub(super) fn loose(dir: PathBuf, places: Places) -> Self {
        let open = places.packs.iter().map(|_| OnceLock::new()).collect();
        Self { dir, places, open }
    }

    /// Returns where a pack is.
    pub(super) fn pack(&self, number: u32) -> PathBuf {
        pack_path(&self.dir, number as usize)
    }

    fn file(&self, number: u32) -> io::Result<Arc<File>> {
        let known = self.open.get(number as usize);
        let known = known.ok_or_else(|| io::Error::other("a place in no pack"))?;
        if let Some(file) = known.get() {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(self.pack(number))?);
        Ok(known.get_or_init(|| file).clone())
    }
}

/// Where the bytes of a layer's files are.
#[derive(Debug, Clone)]
pub enum Files {
    /// Each in a file of its own below this directory.
    Dir(PathBuf),
    /// One after another in packs.
    Packed(Arc<Packed>),
}

impl From<PathBuf> for Files {
    fn from(dir: PathBuf) -> Self {
        Self::Dir(dir)
    }
}

impl Files {
    /// Returns the directory in which the files are, or will be once they are created.
    pub fn dir(&self) -> PathBuf {
        match self {
            Self::Dir(dir) => dir.clone(),
            Self::Packed(packed) => packed.dir.join("fs"),
        }
    }

    /// Returns the bytes of entry `number` of the index, whose file is, or will be, at `path`.
    pub(crate) fn bytes(&self, number: usize, path: PathBuf, size: u64) -> FileBytes {
        let packed = match self {
            Self::Dir(_) => None,
            Self::Packed(packed) => {
                let place = packed.places.entries.get(number).copied();
                Some((packed.clone(), place.unwrap_or_default()))
            }
        };
        FileBytes { path, size, packed }
    }
}

/// The bytes of one regular file of a layer.
#[derive(Debug, Clone)]
pub struct FileBytes {
    path: PathBuf,
    size: u64,
    packed: Option<(Arc<Packed>, Place)>,
}

impl FileBytes {
    /// Returns the bytes of a file that is in no layer.
    pub fn of(path: PathBuf) -> Self {
        Self {
            path,
            size: 0,
            packed: None,
        }
    }

    /// Returns what to call the file in a message.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the pack that holds the bytes, and where they begin in it.
    pub(super) fn place(&self) -> Option<(&Arc<Packed>, Place)> {
        self.packed.as_ref().map(|(packed, place)| (packed, *place))
    }

    /// Returns how many bytes there are.
    pub(super) fn len(&self) -> io::Result<u64> {
        match self.packed {
            Some(_) => Ok(self.size),
            None => Ok(fs::metadata(&self.path)?.len()),
        }
    }

    /// Opens the file for reading from its beginning.
    pub fn open(&self) -> io::Result<FileReader> {
        if let Some((packed, place)) = &self.packed {
            if self.size == 0 {
                return Ok(FileReader::empty());
            }
            match packed.file(place.pack) {
                Ok(file) => {
                    return Ok(FileReader {
                        file: Some(file),
                        begin: place.offset,
                        at: place.offset,
                        end: place.offset.saturating_add(self.size),
                    });
                }
                // The files have been created since, which takes the packs away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(FileReader {
            file: Some(Arc::new(File::open(&self.path)?)),
            begin: 0,
            at: 0,
            end: u64::MAX,
        })
    }

    /// Reads all of it.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut reader = self.open()?;
        let Some(file) = &reader.file else {
            return Ok(Vec::new());
        };
        let mut data = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0));
        // What is known to lie in a pack is one call, and needs no buffer of zeros.
        while reader.at < reader.end && data.len() < data.capacity() {
            let count = retry_on_intr(|| pread(file, spare_capacity(&mut data), reader.at))?;
            if count == 0 {
                break;
            }
            reader.at += count as u64;
        }
        reader.read_to_end(&mut data)?;
        Ok(data)
    }
}

/// A file of a layer, or a part of a pack, being read.
#[derive(Debug)]
pub struct FileReader {
    /// None if there is nothing to read.
    file: Option<Arc<File>>,
    begin: u64,
    at: u64,
    end: u64,
}

impl FileReader {
    const fn empty() -> Self {
        Self {
            file: None,
            begin: 0,
            at: 0,
            end: 0,
        }
    }

    /// Returns another reader of what lies behind the first `offset` bytes of the file.
    #[must_use]
    pub fn behind(&self, offset: u64) -> Self {
        Self {
            file: self.file.clone(),
            begin: self.begin,
            at: self.begin.saturating_add(offset).min(self.end),
            end: self.end,
        }
    }

    /// Returns the file that holds the bytes, if there are any, and where they begin in it.
    pub(super) fn raw(&self) -> Option<(&File, u64)> {
        Some((self.file.as_deref()?, self.at))
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(file) = &self.file else {
            return Ok(0);
        };
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        if most == 0 {
            return Ok(0);
        }
        let count = file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
