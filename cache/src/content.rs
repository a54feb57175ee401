//! Blobs: verified bytes by digest.
//!
//! A blob appears under its digest only after its bytes were hashed, by a
//! rename within the store. Nothing is synced, so a blob of an earlier boot is
//! hashed once more at its first use, and removed if the crash took its bytes.
//! The blob's mtime says under which boot it was last known to be whole: it is
//! no time but a number made from the boot's id. Its atime says when it was used.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_oci::{Digest, Hasher};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW};

use crate::error::{IoContext, StoreError};
use crate::lease::Mark;
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
        self.open(digest).is_ok()
    }

    /// Returns a blob's size, or nothing if it is not there.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        self.open(digest)
            .and_then(|file| file.metadata().during("stat", &self.path(digest)))
            .ok()
            .map(|meta| meta.len())
    }

    /// Opens a blob for reading.
    pub fn open(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.path(digest);
        let missing = || StoreError::MissingBlob {
            digest: digest.clone(),
        };
        let mut file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => StoreError::io("open", &path, error),
        })?;
        if !self.shared.boot_mark.is_on(&file).during("stat", &path)? {
            if !is_whole(&mut file, digest).during("read", &path)? {
                self.remove(digest)?;
                return Err(missing());
            }
            file.rewind().during("read", &path)?;
            self.shared.boot_mark.put_on(&file).during("mark", &path)?;
        }
        if !self.shared.mark_used(&path, Mark::Accessed)? {
            return Err(missing());
        }
        Ok(file)
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
        if self.has(&digest) {
            return Ok(digest);
        }
        let mut writer = self.writer()?;
        writer
            .write_all(data)
            .during("write", &self.path(&digest))?;
        writer
            .commit(Some(&digest), Some(data.len() as u64))
            .map(|(digest, _)| digest)
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
            hasher: Some(Hasher::new(algorithm)),
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

/// Hashes a file to see whether it is what its name says.
pub(crate) fn is_whole(file: &mut File, digest: &Digest) -> io::Result<bool> {
    let mut hasher = Hasher::new(digest.algorithm());
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish() == *digest),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// A number in place of a file's mtime, the same for all files marked under one boot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BootMark {
    secs: i64,
    nanos: u32,
}

impl BootMark {
    pub(crate) fn of(boot_id: &str) -> Self {
        let hash = blake3::hash(boot_id.as_bytes());
        let number =
            |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| hash.as_bytes()[at + byte]));
        Self {
            secs: i64::from(number(0) >> 2),
            nanos: number(4) % 1_000_000_000,
        }
    }

    fn is_on(self, file: &File) -> io::Result<bool> {
        let meta = file.metadata()?;
        Ok((meta.mtime(), meta.mtime_nsec()) == (self.secs, i64::from(self.nanos)))
    }

    fn put_on(self, file: &File) -> io::Result<()> {
        let time = Timespec {
            tv_sec: self.secs,
            tv_nsec: self.nanos.into(),
        };
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            },
            last_modification: time,
        };
        rustix::fs::futimens(file, &times).map_err(io::Error::from)
    }
}

/// A blob being written; hashes what passes. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    shared: Arc<Shared>,
    file: File,
    path: Option<PathBuf>,
    /// None if what is written is digested elsewhere.
    hasher: Option<Hasher>,
    written: u64,
}

impl BlobWriter {
    /// Returns the unfinished file, for messages.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Takes everything that `source` gives.
    ///
    /// # Errors
    ///
    /// The outer error is the source's, the inner one the store's.
    pub fn fill(&mut self, source: &mut impl io::Read) -> io::Result<Result<(), StoreError>> {
        let mut buffer = vec![0; 128 << 10];
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => return Ok(Ok(())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if let Err(error) = self.write_all(&buffer[..count]) {
                return Ok(Err(StoreError::io("write", self.path(), error)));
            }
        }
    }

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
        let hasher = self.hasher.take().expect("left only to be published");
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
        self.publish(actual)
    }

    /// Leaves it to the caller to digest what is written, who [publishes](Self::publish) it.
    pub(crate) fn leave_undigested(&mut self) {
        self.hasher = None;
    }

    /// Stores the blob under the digest that its bytes have.
    pub(crate) fn publish(mut self, digest: Digest) -> Result<(Digest, u64), StoreError> {
        if let Some(path) = &self.path {
            self.shared
                .boot_mark
                .put_on(&self.file)
                .during("mark", path)?;
            Blobs::new(self.shared.clone()).adopt(path, &digest)?;
        }
        self.path = None;
        Ok((digest, self.written))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.file.write(data)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&data[..count]);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn only_the_promised_bytes_become_a_blob() {
        let (_dir, store) = store();
        let blobs = store.blobs();
        let digest = Digest::sha256(b"data");
        let write = |data: &[u8], size| {
            let mut writer = blobs.writer().expect("writer");
            writer.write_all(data).expect("write");
            writer.commit(Some(&digest), size)
        };
        assert!(matches!(
            write(b"date", Some(4)),
            Err(StoreError::DigestMismatch { .. })
        ));
        assert!(matches!(
            write(b"data", Some(5)),
            Err(StoreError::SizeMismatch { .. })
        ));
        assert!(!blobs.has(&digest) && fs::read_dir(store.tmp()).expect("tmp").count() == 0);
        assert!(matches!(
            blobs.open(&digest),
            Err(StoreError::MissingBlob { .. })
        ));
        assert_eq!(
            write(b"data", Some(4)).expect("commit"),
            (digest.clone(), 4)
        );
        assert_eq!(blobs.read(&digest).expect("read"), b"data");
        assert_eq!(
            (blobs.size(&digest), blobs.list().expect("list")),
            (Some(4), vec![digest.clone()])
        );
        blobs.remove(&digest).expect("remove");
        blobs.remove(&digest).expect("remove twice");
        assert!(!blobs.has(&digest));
    }

    #[test]
    fn a_blob_of_an_earlier_boot_is_verified_before_it_is_used() {
        let (_dir, store) = store();
        let blobs = store.blobs();
        let earlier = |data: &[u8]| {
            let digest = blobs.put(data).expect("put");
            let file = File::options()
                .write(true)
                .open(blobs.path(&digest))
                .expect("open");
            BootMark::of("another boot").put_on(&file).expect("mark");
            (digest, file)
        };
        let (whole, _) = earlier(b"whole");
        assert_eq!(blobs.read(&whole).expect("read"), b"whole");
        assert!(
            store
                .blobs()
                .shared
                .boot_mark
                .is_on(&blobs.open(&whole).expect("open"))
                .expect("stat")
        );
        let (lost, file) = earlier(b"truncated by a crash");
        file.set_len(3).expect("truncate");
        BootMark::of("another boot").put_on(&file).expect("mark");
        assert!(!blobs.has(&lost) && !blobs.path(&lost).exists());
    }
}
