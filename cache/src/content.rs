//! Blobs: verified bytes by digest.
//!
//! A blob appears under its digest only after its bytes were hashed, by a
//! rename within the store; what is there can be trusted as far as the disk.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_oci::{Digest, Hasher};

use crate::error::{IoContext, StoreError};
use crate::store::Shared;

/// The blobs of a store.
#[derive(Debug, Clone)]
pub struct Blobs {
    shared: Arc<Shared>,
}

impl Blobs {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns where a blob is, whether it is there or not.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.shared.layout.blob(digest)
    }

    /// Whether the blob is there.
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Returns a blob's size, or nothing if it is not there.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|meta| meta.len())
    }

    /// Opens a blob for reading.
    pub fn open(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::MissingBlob {
                digest: digest.clone(),
            },
            _ => StoreError::io("open", &path, error),
        })
    }

    /// Reads a whole blob.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let mut data = Vec::new();
        self.open(digest)?
            .read_to_end(&mut data)
            .during("read", &self.path(digest))?;
        Ok(data)
    }

    /// Stores `data` and returns its SHA-256 digest.
    pub fn put(&self, data: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::sha256(data);
        let path = self.path(&digest);
        if !path.exists() {
            self.shared.write_atomic(&path, data)?;
        }
        Ok(digest)
    }

    /// Starts a blob whose digest is to be SHA-256.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        self.writer_with(cooper_oci::Algorithm::Sha256)
    }

    /// Starts a blob that will be verified by `algorithm`.
    pub fn writer_with(&self, algorithm: cooper_oci::Algorithm) -> Result<BlobWriter, StoreError> {
        let path = self.shared.tmp_path();
        let file = File::create_new(&path).during("create", &path)?;
        Ok(BlobWriter {
            shared: self.shared.clone(),
            file,
            path: Some(path),
            hasher: Hasher::new(algorithm),
            written: 0,
        })
    }

    /// Moves a finished file into the store under the digest its writer computed.
    pub(crate) fn adopt(&self, path: &Path, digest: &Digest) -> Result<(), StoreError> {
        fs::rename(path, self.path(digest)).during("rename", path)
    }

    /// Removes a blob; one that is not there is no error.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the digests of all blobs.
    pub fn list(&self) -> Result<Vec<Digest>, StoreError> {
        let mut found = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let dir = self.shared.layout.dir("blobs").join(algorithm);
            for item in fs::read_dir(&dir).during("list", &dir)? {
                let name = item.during("list", &dir)?.file_name();
                let digest = format!("{algorithm}:{}", name.to_string_lossy());
                found.extend(digest.parse::<Digest>());
            }
        }
        found.sort();
        Ok(found)
    }
}

/// A blob being written; hashes what passes. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    shared: Arc<Shared>,
    file: File,
    path: Option<PathBuf>,
    hasher: Hasher,
    written: u64,
}

impl BlobWriter {
    /// Returns how many bytes were written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Stores the blob under the digest of what was written.
    ///
    /// Fails, leaving nothing, if digest or size are not the `expected` ones.
    pub fn commit(
        mut self,
        expected: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<(Digest, u64), StoreError> {
        if let Some(expected) = size
            && expected != self.written
        {
            return Err(StoreError::SizeMismatch {
                expected,
                actual: self.written,
            });
        }
        let algorithm = expected.map(Digest::algorithm);
        let hasher =
            std::mem::replace(&mut self.hasher, Hasher::new(cooper_oci::Algorithm::Sha256));
        let actual = hasher.finish();
        if let Some(expected) = expected
            && *expected != actual
        {
            debug_assert_eq!(
                algorithm,
                Some(actual.algorithm()),
                "writer of another algorithm"
            );
            return Err(StoreError::DigestMismatch {
                expected: expected.clone(),
                actual,
            });
        }
        if let Some(path) = &self.path {
            Blobs::new(self.shared.clone()).adopt(path, &actual)?;
        }
        self.path = None;
        Ok((actual, self.written))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.file.write(data)?;
        self.hasher.update(&data[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}
