//! Whether a layer's directory can be trusted.
//!
//! Nothing is synced when a layer is committed. What was written under the
//! running boot is in the kernel's cache at least; what an earlier boot wrote
//! may have been lost with it, so it is read and compared once, and stamped anew.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use rustix::fs::FileType;

use crate::checksum::ContentHash;
use crate::error::StoreError;
use crate::layer::files::Packed;
use crate::layer::walk::hash_file;
use crate::layer::{Entry, EntryKind, FileBytes, Files, LayerId, read_index};
use crate::store::{Shared, remove_tree};

/// Whether the layer is there and sound. One that is damaged is put aside and counts as absent.
pub(super) fn is_sound(shared: &Shared, id: &LayerId, dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join("stamp");
    match fs::read_to_string(&path) {
        Ok(stamp) if stamp == shared.boot_id => return Ok(true),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::io("read", &path, error)),
    }
    if damage(id, dir).is_none() {
        shared.write_atomic(&path, shared.boot_id.as_bytes())?;
        return Ok(true);
    }
    discard(shared, dir);
    Ok(false)
}

/// Takes a layer's directory out of sight at once and removes it.
pub(crate) fn discard(shared: &Shared, dir: &Path) {
    shared.in_use.forget();
    let aside = shared.tmp_path();
    if fs::rename(dir, &aside).is_ok() {
        let _ = remove_tree(&aside);
    }
}

/// Compares a layer with its index and its name; returns the first difference.
pub(crate) fn damage(id: &LayerId, dir: &Path) -> Option<String> {
    let index = match read_index(dir) {
        Ok(index) => index,
        Err(StoreError::Corrupt { reason, .. }) => return Some(format!("index: {reason}")),
        Err(error) => return Some(error.to_string()),
    };
    if let LayerId::Built(digest) = id
        && index.digest() != *digest
    {
        return Some("index is of another layer".to_owned());
    }
    let root = dir.join("fs");
    let packed = match Packed::load(dir) {
        Ok(packed) => packed.map(|packed| Files::Packed(Arc::new(packed))),
        Err(error) => return Some(error.to_string()),
    };
    let has_files = root.is_dir();
    if packed.is_none() && !has_files {
        return Some("fs is missing".to_owned());
    }
    let entries = index.entries().par_iter().enumerate().with_min_len(32);
    entries.find_map_first(|(number, entry)| {
        let packed = packed.as_ref().filter(|_| entry.is_file());
        packed
            .and_then(|files| {
                unlike(
                    entry,
                    &files.bytes(number, entry.path.under(&root), entry.size()),
                )
            })
            .or_else(|| has_files.then(|| difference(entry, &root)).flatten())
    })
}

/// Compares the bytes of a file in a pack with its entry.
fn unlike(entry: &Entry, bytes: &FileBytes) -> Option<String> {
    let found = bytes.open().and_then(|mut reader| {
        let mut hasher = blake3::Hasher::new();
        let size = std::io::copy(&mut reader, &mut hasher)?;
        Ok((ContentHash::from_bytes(hasher.finalize().into()), size))
    });
    match (found, &entry.kind) {
        (Ok(found), EntryKind::File { size, content }) if found == (*content, *size) => None,
        (Ok(_), _) => Some(format!("{} has other content", entry.path)),
        (Err(error), _) => Some(format!("{}: {error}", entry.path)),
    }
}

fn difference(entry: &Entry, root: &Path) -> Option<String> {
    let full = entry.path.under(root);
    let wanted = match entry.kind {
        EntryKind::Dir { .. } => FileType::Directory,
        EntryKind::File { .. } => FileType::RegularFile,
        EntryKind::Symlink { .. } => FileType::Symlink,
        EntryKind::CharDev { .. } | EntryKind::Whiteout => FileType::CharacterDevice,
        EntryKind::BlockDev { .. } => FileType::BlockDevice,
        EntryKind::Fifo => FileType::Fifo,
    };
    let is_device = matches!(
        entry.kind,
        EntryKind::CharDev { .. } | EntryKind::BlockDev { .. }
    );
    let stat = match rustix::fs::lstat(&full) {
        Ok(stat) => stat,
        // Without root, device nodes are in the index alone.
        Err(rustix::io::Errno::NOENT) if is_device => return None,
        Err(error) => return Some(format!("{}: {error}", entry.path)),
    };
    if FileType::from_raw_mode(stat.st_mode) != wanted {
        return Some(format!("{} is of another type", entry.path));
    }
    match &entry.kind {
        EntryKind::File { size, content } => match hash_file(&full) {
            Ok(found) if found == (*content, *size) => None,
            Ok(_) => Some(format!("{} has other content", entry.path)),
            Err(error) => Some(format!("{}: {error}", entry.path)),
        },
        EntryKind::Symlink { target } => {
            let found = rustix::fs::readlink(&full, Vec::new()).ok();
            let same = found.is_some_and(|found| found.as_bytes() == &**target);
            (!same).then(|| format!("{} leads elsewhere", entry.path))
        }
        _ => None,
    }
}
