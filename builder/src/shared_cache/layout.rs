//! A shared cache in a directory, in the form of an OCI layout.
//!
//! ```text
//! DIR/
//!   oci-layout
//!   index.json         the caches in here, by tag
//!   index.json.lock    flocked while index.json is renewed
//!   blobs/sha256/HEX   layers, lists, manifests
//! ```
//!
//! Several caches can share a directory and its blobs. Writers do not disturb each other: blobs
//! and the index appear by rename. A crash leaves blobs that nothing names; `reset` removes what
//! the new cache does not name.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cooper_oci::{Descriptor, Digest, Index, Manifest};
use rayon::prelude::*;

use super::{Bundle, CONFIG_TYPE, Contents, MAX_DOCUMENT, Sent, SharedCacheError};
use crate::shared_cache::document::Document;

const TAG: &str = "org.opencontainers.image.ref.name";
const MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Reads the cache that `wanted`, a tag or a digest, names.
pub(crate) fn load(dir: &Path, wanted: &str) -> Result<Contents, SharedCacheError> {
    let top = entry(dir, wanted)?;
    let bytes = read(dir, &top)?;
    let path = dir.join(top.digest.layout_path());
    let place = path.display().to_string();
    let list = list_of(&bytes, &place)?;
    let bytes = read(dir, &list)?;
    Document::read(&bytes).map_err(|reason| SharedCacheError::Malformed {
        place: dir.join(list.digest.layout_path()).display().to_string(),
        reason,
    })
}

/// Returns where the list is that a manifest names.
pub(super) fn list_of(manifest: &[u8], place: &str) -> Result<Descriptor, SharedCacheError> {
    let document = |source| SharedCacheError::Document {
        place: place.to_owned(),
        source,
    };
    let named = match Manifest::from_json(manifest) {
        Ok(manifest) => vec![manifest.config],
        Err(_) => Index::from_json(manifest).map_err(document)?.manifests,
    };
    let mut lists = named
        .into_iter()
        .filter(|one| one.media_type == CONFIG_TYPE);
    lists.next().ok_or_else(|| SharedCacheError::Malformed {
        place: place.to_owned(),
        reason: format!("its manifest names no {CONFIG_TYPE}"),
    })
}

fn entry(dir: &Path, wanted: &str) -> Result<Descriptor, SharedCacheError> {
    let index = read_index(dir)?;
    let tag = |entry: &Descriptor| entry.annotations.get(TAG).cloned();
    let named = |entry: &&Descriptor| {
        entry.digest.as_str() == wanted || tag(entry).as_deref() == Some(wanted)
    };
    let found = index.manifests.iter().find(named).cloned();
    // A digest need not be in the index: an earlier cache of the tag may still be there.
    let unlisted = || {
        let digest: Digest = wanted.parse().ok()?;
        let size = fs::metadata(dir.join(digest.layout_path())).ok()?.len();
        Some(Descriptor::new("", digest, size))
    };
    found.or_else(unlisted).ok_or_else(|| {
        let names = index.manifests.iter();
        let names: Vec<_> = names
            .map(|entry| tag(entry).unwrap_or_else(|| entry.digest.to_string()))
            .collect();
        SharedCacheError::NotThere {
            dir: dir.to_owned(),
            wanted: wanted.to_owned(),
            available: if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            },
        }
    })
}

fn read_index(dir: &Path) -> Result<Index, SharedCacheError> {
    let path = dir.join("index.json");
    let bytes = fs::read(&path).map_err(io_error("read", &path))?;
    Index::from_json(&bytes).map_err(|source| SharedCacheError::Document {
        place: path.display().to_string(),
        source,
    })
}

/// Reads a document by its digest.
fn read(dir: &Path, descriptor: &Descriptor) -> Result<Vec<u8>, SharedCacheError> {
    let path = dir.join(descriptor.digest.layout_path());
    if descriptor.size > MAX_DOCUMENT {
        return Err(SharedCacheError::Malformed {
            place: path.display().to_string(),
            reason: format!("it is {} bytes long", descriptor.size),
        });
    }
    let bytes = fs::read(&path).map_err(io_error("read", &path))?;
    if descriptor.digest.verifies(&bytes) {
        return Ok(bytes);
    }
    Err(SharedCacheError::Corrupt {
        place: dir.display().to_string(),
        digest: descriptor.digest.clone(),
    })
}

/// Writes a cache into `dir` under `tag`; with `reset` nothing else stays there.
pub(crate) fn store(
    dir: &Path,
    tag: &str,
    reset: bool,
    bundle: &Bundle<'_>,
) -> Result<Sent, SharedCacheError> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(io_error("create", &blobs))?;
    let copied: Vec<bool> = bundle
        .blobs
        .par_iter()
        .map(|one| copy(dir, one, bundle))
        .collect::<Result<_, _>>()?;
    let sent = copied.iter().filter(|copied| **copied).count();
    let (top, manifest, list) = bundle.manifest();
    put(&dir.join(list.digest.layout_path()), &bundle.config)?;
    put(&dir.join(top.digest.layout_path()), &manifest)?;
    put(&dir.join("oci-layout"), MARK)?;
    let lock_path = dir.join("index.json.lock");
    let lock = File::create(&lock_path).map_err(io_error("create", &lock_path))?;
    lock.lock().map_err(io_error("lock", &lock_path))?;
    // A directory without an index, or with one that nobody can read, begins anew.
    let mut index = match read_index(dir) {
        Ok(index) if !reset => index,
        _ => Index::oci(Vec::new()),
    };
    index
        .manifests
        .retain(|entry| entry.annotations.get(TAG).is_none_or(|known| known != tag));
    index.manifests.push(top.clone().with_annotation(TAG, tag));
    put(&dir.join("index.json"), &index.to_json())?;
    if reset {
        let own = bundle.blobs.iter().chain([&top, &list]);
        let own: HashSet<String> = own.map(|one| one.digest.hex().to_owned()).collect();
        remove_others(&blobs, &own)?;
    }
    Ok(Sent {
        blobs: sent,
        present: copied.len() - sent,
    })
}

/// Brings a blob in; returns whether it was not there.
fn copy(
    dir: &Path,
    descriptor: &Descriptor,
    bundle: &Bundle<'_>,
) -> Result<bool, SharedCacheError> {
    let path = dir.join(descriptor.digest.layout_path());
    if fs::metadata(&path).is_ok_and(|there| there.len() == descriptor.size) {
        return Ok(false);
    }
    let temporary = beside(&path);
    let written = File::create(&temporary).and_then(|mut file| {
        let mut from = (bundle.open)(descriptor, 0)?;
        io::copy(&mut from, &mut file)
    });
    let kept = written.and_then(|_| fs::rename(&temporary, &path));
    kept.map_err(|source| {
        let _ = fs::remove_file(&temporary);
        io_error("write", &path)(source)
    })?;
    Ok(true)
}

fn remove_others(blobs: &Path, own: &HashSet<String>) -> Result<(), SharedCacheError> {
    for item in fs::read_dir(blobs).map_err(io_error("list", blobs))? {
        let path = item.map_err(io_error("list", blobs))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Unfinished ones are somebody's.
        if !own.contains(&*name) && !name.contains('.') {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// Writes a small file so that it appears whole or not at all.
fn put(path: &Path, bytes: &[u8]) -> Result<(), SharedCacheError> {
    let temporary = beside(path);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&temporary);
        io_error("write", path)(source)
    })
}

/// Returns a name of this process' own next to `path`.
fn beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let serial = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{serial}", std::process::id()));
    name.into()
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SharedCacheError {
    let path = path.to_owned();
    move |source| SharedCacheError::Io {
        action,
        path,
        source,
    }
}
