//! What an archive is unpacked to: files below a directory, or the bytes of all files in one pack.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::checksum::ContentHash;
use crate::error::{IoContext, StoreError};
use crate::layer::disk::{Canvas, Parent};
use crate::layer::{Entry, LayerIndex, copy};
use crate::path::RelPath;

/// Where an archive's content goes.
pub(super) enum Form {
    /// Everything is made below a directory.
    Files(Canvas),
    /// The bytes of files go into a pack; everything else is in the index alone.
    Pack { file: File, path: PathBuf },
}

/// A large file being written.
pub(super) enum Large<'a> {
    File(&'a Canvas, File),
    Part(&'a Form, u64),
}

impl Form {
    /// Makes a pack.
    pub(super) fn pack(path: PathBuf) -> Result<Self, StoreError> {
        let file = File::create_new(&path).during("create", &path)?;
        Ok(Self::Pack { file, path })
    }

    /// Makes a small file, whose bytes are at `at` in the pack; returns its hash.
    pub(super) fn small(
        &self,
        entry: &Entry,
        data: &[u8],
        at: u64,
    ) -> Result<ContentHash, StoreError> {
        match self {
            Self::Files(canvas) => canvas.write_file(entry, data)?,
            Self::Pack { .. } => self.write_at(data, at)?,
        }
        Ok(ContentHash::of(data))
    }

    /// Begins a file whose bytes are at `at` in the pack.
    pub(super) fn large(&self, path: &RelPath, at: u64) -> Result<Large<'_>, StoreError> {
        Ok(match self {
            Self::Files(canvas) => Large::File(canvas, canvas.create_file(path)?),
            Self::Pack { .. } => Large::Part(self, at),
        })
    }

    pub(super) fn make_dir(&self, path: &RelPath, parent: &mut Parent) -> Result<(), StoreError> {
        self.on_disk(|canvas| canvas.make_dir(path, parent))
    }

    pub(super) fn make_link(&self, existing: &RelPath, path: &RelPath) -> Result<(), StoreError> {
        self.on_disk(|canvas| canvas.make_link(existing, path))
    }

    pub(super) fn make_special(
        &self,
        entry: &Entry,
        parent: &mut Parent,
    ) -> Result<(), StoreError> {
        self.on_disk(|canvas| canvas.make_special(entry, parent))
    }

    /// Removes what was made at `path`; in a pack its bytes stay, and nothing refers to them.
    pub(super) fn remove(&self, path: &RelPath) -> Result<(), StoreError> {
        self.on_disk(|canvas| canvas.remove(path))
    }

    pub(super) fn finish_dirs(&self, index: &LayerIndex) -> Result<(), StoreError> {
        self.on_disk(|canvas| copy::finish_dirs(canvas, index))
    }

    fn on_disk(
        &self,
        make: impl FnOnce(&Canvas) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Files(canvas) => make(canvas),
            Self::Pack { .. } => Ok(()),
        }
    }

    fn write_at(&self, data: &[u8], at: u64) -> Result<(), StoreError> {
        match self {
            Self::Files(_) => Ok(()),
            Self::Pack { file, path } => file.write_all_at(data, at).during("write", path),
        }
    }
}

impl Large<'_> {
    pub(super) fn write(&mut self, path: &RelPath, data: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::File(canvas, file) => {
                std::io::Write::write_all(file, data).during("write", &canvas.full(path))
            }
            Self::Part(form, at) => {
                form.write_at(data, *at)?;
                *at += data.len() as u64;
                Ok(())
            }
        }
    }

    pub(super) fn finish(self, entry: &Entry) -> Result<(), StoreError> {
        match self {
            Self::File(canvas, file) => canvas.finish_file(&file, entry),
            Self::Part(..) => Ok(()),
        }
    }
}
