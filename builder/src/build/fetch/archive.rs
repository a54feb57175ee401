//! Archives as trees of files: contexts that come as one file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cooper_cache::{
    CopyItem, Entry, FileBytes, LayerId, Limits, MergedTree, RelPath, Source, Unpack,
    detect_archive, pack_archive,
};
use cooper_oci::{Algorithm, Hasher};
use cooper_solver::{CacheKey, CancelToken};

use super::Fetcher;
use crate::build::aside::unless_canceled;
use crate::build::error::OpError;
use crate::build::output::Root;

/// How compressed files begin, which docker takes for archives before it looks into them.
const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];

/// Where a tar says that it is one, and how (POSIX.1-1988).
const USTAR: (usize, &[u8]) = (257, b"ustar");

/// Bytes that are copied at once.
const CHUNK: usize = 256 << 10;

/// Whether a file is taken for an archive: a tar, or anything compressed.
pub(crate) fn is_archive(file: &FileBytes) -> Result<bool, OpError> {
    let io = |source| OpError::Io {
        action: "read the build context",
        source,
    };
    let mut head = Vec::new();
    file.open()
        .and_then(|file| file.take(512).read_to_end(&mut head))
        .map_err(io)?;
    let (at, ustar) = USTAR;
    if COMPRESSED.iter().any(|start| head.starts_with(start))
        || head.get(at..).is_some_and(|rest| rest.starts_with(ustar))
    {
        return Ok(true);
    }
    Ok(detect_archive(file)?)
}

impl Fetcher {
    /// Unpacks an archive, owners and modes as it has them.
    pub(crate) fn unpacked(
        &self,
        archive: &FileBytes,
        cancel: &CancelToken,
    ) -> Result<Root, OpError> {
        let file = archive.clone();
        let digest =
            unless_canceled(cancel, move || digest_of(&file))?.map_err(|source| OpError::Io {
                action: "read the build context",
                source,
            })?;
        let key = CacheKey::of("cooper.unpacked-archive", &digest);
        if let Some(root) = self.recorded(&key) {
            return Ok(root);
        }
        let (layers, file) = (self.layers.clone(), archive.clone());
        let unpack = move || -> Result<LayerId, OpError> {
            let staging = layers.prepare()?;
            let how = Unpack {
                tree: &MergedTree::new(Vec::new()),
                dest: RelPath::root(),
                owner: None,
                limits: Limits::default(),
            };
            let mut items = pack_archive(&file, &staging, &how)?;
            if !items.iter().any(|item| item.entry.path.is_root()) {
                items.push(CopyItem {
                    entry: Entry::dir(RelPath::root(), 0o755),
                    source: Source::None,
                });
            }
            let layer = layers.commit_packed(staging, items, None, &|| true)?;
            Ok(layer.id().clone())
        };
        let layer = unless_canceled(cancel, unpack)??;
        let root = Root::default().with(layer, self.now());
        self.record(&key, &root, &root);
        Ok(root)
    }
}

/// Takes everything that standard input has to give into a file below `dir`.
pub(crate) fn spool(dir: &Path, cancel: &CancelToken) -> Result<PathBuf, OpError> {
    let path = dir.join("stdin");
    let to = path.clone();
    let copied = unless_canceled(cancel, move || {
        let mut file = File::create(&to)?;
        io::copy(&mut io::stdin().lock(), &mut file)
    })?;
    copied.map_err(|source| OpError::Io {
        action: "read the build context from standard input",
        source,
    })?;
    Ok(path)
}

fn digest_of(file: &FileBytes) -> io::Result<String> {
    let mut file = file.open()?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish().to_string()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
