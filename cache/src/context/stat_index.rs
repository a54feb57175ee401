//! The flat file that remembers hashes of context files.
//!
//! # File format, version 1
//!
//! ```text
//! "cooper-stat 1\n"    16 bytes with trailing NULs
//! BLAKE3 of the rest   32 bytes
//! records, by path     path: u32 length, bytes
//!                      stamp: dev, ino, size, mtime s, mtime ns, ctime s, ctime ns; u64 each
//!                      BLAKE3 of the content: 32 bytes
//!                      security.capability: u32 length, bytes
//! ```
//!
//! A record is used only if the whole stamp is equal. It is written only if
//! the file's clock had visibly moved on from its last change when hashing
//! began: a later change then cannot carry the same stamp.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, Stat};

use super::Found;
use crate::checksum::ContentHash;
use crate::error::{IoContext, StoreError};
use crate::layer::{Entry, EntryKind, LayerIndex, Timestamp, hash_open_while};
use crate::path::RelPath;

const MAGIC: &[u8; 16] = b"cooper-stat 1\n\0\0";

/// Attempts at hashing a file that keeps changing.
const ATTEMPTS: usize = 4;

/// What `stat` says about a file's identity and age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    fields: [u64; 7],
    /// When hashing began, if it did; not on disk.
    hashed_at: Option<Duration>,
    /// Whether the hash may be remembered.
    settled: bool,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hashed {
    content: ContentHash,
    capability: Box<[u8]>,
}

/// How finely a file system tells times apart, and whether it uses this machine's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    local: bool,
}

impl Clock {
    pub(super) fn of(root: &Path) -> Self {
        /// ext2/3/4, XFS, Btrfs, tmpfs, overlayfs, F2FS, ZFS, bcachefs.
        const LOCAL: [i128; 8] = [
            0xef53,
            0x5846_5342,
            0x9123_683e,
            0x0102_1994,
            0x794c_7630,
            0xf2f5_2010,
            0x2fc1_2fc1,
            0xca45_1a4e,
        ];
        let local =
            rustix::fs::statfs(root).is_ok_and(|stat| LOCAL.contains(&i128::from(stat.f_type)));
        Self { local }
    }

    /// Returns how old a change must be before a later one is sure to get another time.
    fn guard(self, mtime_nanos: u64, ctime_nanos: u64) -> Duration {
        if !self.local {
            // Another machine's clock, which may run behind.
            Duration::from_secs(60)
        } else if mtime_nanos == 0 && ctime_nanos == 0 {
            // Whole seconds, or FAT's two.
            Duration::from_millis(2_100)
        } else {
            // The kernel stamps files with a clock that moves every 1 to 10 ms.
            Duration::from_millis(25)
        }
    }
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        let fields = [
            stat.st_dev,
            stat.st_ino,
            stat.st_size as u64,
            stat.st_mtime as u64,
            stat.st_mtime_nsec,
            stat.st_ctime as u64,
            stat.st_ctime_nsec,
        ];
        Self {
            fields,
            hashed_at: None,
            settled: false,
        }
    }

    /// Decides whether the hash taken with this stamp may be remembered.
    pub(super) fn settled(mut self, clock: Clock) -> Self {
        let [_, _, _, mtime, mtime_nanos, ctime, ctime_nanos] = self.fields;
        let guard = clock.guard(mtime_nanos, ctime_nanos);
        self.settled = self.hashed_at.is_some_and(|at| {
            let changed = Duration::new(ctime.max(mtime), ctime_nanos.max(mtime_nanos) as u32);
            (mtime as i64) >= 0 && (ctime as i64) >= 0 && changed + guard < at
        });
        self
    }
}

impl Hashed {
    /// Completes the entry of the file that was hashed under `stamp`.
    pub(super) fn write_to(&self, entry: &mut Entry, stamp: &Stamp) {
        let [_, _, size, mtime, nanos, ..] = stamp.fields;
        entry.kind = EntryKind::File {
            size,
            content: self.content,
        };
        entry.mtime = Timestamp {
            secs: mtime as i64,
            nanos: nanos as u32,
        };
        entry.xattrs.clear();
        if !self.capability.is_empty() {
            entry
                .xattrs
                .push((b"security.capability"[..].into(), self.capability.clone()));
        }
    }

    fn read_from(entry: &Entry) -> Option<Self> {
        let EntryKind::File { content, .. } = entry.kind else {
            return None;
        };
        let capability = entry
            .xattrs
            .first()
            .map(|(_, value)| value.clone())
            .unwrap_or_default();
        (content != ContentHash::UNHASHED).then_some(Self {
            content,
            capability,
        })
    }
}

/// Hashes a file that others may be writing: what is returned was there at one moment.
pub(super) fn hash(
    full: &Path,
    wanted: &(dyn Fn() -> bool + Sync),
) -> Result<(Stamp, Hashed), StoreError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for _ in 0..ATTEMPTS {
        let began = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let file = File::from(rustix::fs::open(full, flags, Mode::empty()).during("open", full)?);
        let before = Stamp::of(&rustix::fs::fstat(&file).during("stat", full)?);
        let hashed = hash_open_while(&file, wanted).during("read", full)?;
        let Some((content, size)) = hashed else {
            return Err(StoreError::Canceled);
        };
        let capability = capability(&file).during("read attributes of", full)?;
        let after = Stamp::of(&rustix::fs::fstat(&file).during("stat", full)?);
        if before == after && before.fields[2] == size {
            let stamp = Stamp {
                hashed_at: Some(began),
                ..before
            };
            return Ok((
                stamp,
                Hashed {
                    content,
                    capability,
                },
            ));
        }
    }
    Err(StoreError::Changed {
        path: full.to_owned(),
    })
}

fn capability(file: &File) -> Result<Box<[u8]>, rustix::io::Errno> {
    use rustix::io::Errno;
    let mut value = [0_u8; 64];
    match rustix::fs::fgetxattr(file, "security.capability", &mut value[..]) {
        Ok(length) => Ok(value[..length].into()),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(Box::default()),
        Err(error) => Err(error),
    }
}

/// The records of an index file, still encoded.
pub(super) struct StatIndex {
    data: Vec<u8>,
}

impl StatIndex {
    /// Reads an index; a missing or damaged one knows nothing.
    pub(super) fn load(path: &Path) -> Self {
        let data = fs::read(path).unwrap_or_default();
        let body = data
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.split_at_checked(32));
        match body {
            Some((sum, body)) if blake3::hash(body).as_bytes() == sum => Self { data },
            _ => Self { data: Vec::new() },
        }
    }

    fn records(&self) -> Records<'_> {
        Records {
            rest: self.data.get(48..).unwrap_or_default(),
        }
    }

    /// Gives `found`, sorted by path, the hashes that are known; returns the
    /// records of other paths if they are to be kept.
    pub(super) fn fill(
        &self,
        found: &mut [Found],
        keep_others: bool,
    ) -> Vec<(RelPath, Stamp, Hashed)> {
        let mut others = Vec::new();
        let mut found = found.iter_mut().peekable();
        for record in self.records() {
            let order = |one: &Found| crate::path::compare(one.entry.path.as_bytes(), record.path);
            while found.next_if(|one| order(one).is_lt()).is_some() {}
            if let Some(one) = found.next_if(|one| order(one).is_eq()) {
                if one.stamp.fields == record.stamp && one.entry.is_file() {
                    record.hashed().write_to(&mut one.entry, &one.stamp);
                    one.stamp.settled = true;
                }
            } else if keep_others {
                let stamp = Stamp {
                    fields: record.stamp,
                    hashed_at: None,
                    settled: true,
                };
                others.push((RelPath::from_clean(record.path), stamp, record.hashed()));
            }
        }
        others
    }
}

struct Record<'a> {
    path: &'a [u8],
    stamp: [u64; 7],
    content: [u8; 32],
    capability: &'a [u8],
}

impl Record<'_> {
    fn hashed(&self) -> Hashed {
        Hashed {
            content: ContentHash::from_bytes(self.content),
            capability: self.capability.into(),
        }
    }
}

struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let path = self.bytes()?;
        let mut stamp = [0; 7];
        for field in &mut stamp {
            *field = u64::from_le_bytes(self.array()?);
        }
        Some(Record {
            path,
            stamp,
            content: self.array()?,
            capability: self.bytes()?,
        })
    }
}

/// Writes all settled hashes; that this fails costs time at the next build, no more.
pub(super) fn save(
    path: &Path,
    index: &LayerIndex,
    stamps: &[Stamp],
    others: &[(RelPath, Stamp, Hashed)],
) {
    let mut body = Vec::with_capacity(160 * (index.entries().len() + others.len()));
    let mut others = others.iter().peekable();
    for (entry, stamp) in index.entries().iter().zip(stamps) {
        while let Some((path, stamp, hashed)) = others.next_if(|(path, ..)| *path < entry.path) {
            push(&mut body, path, stamp, hashed);
        }
        if stamp.settled
            && let Some(hashed) = Hashed::read_from(entry)
        {
            push(&mut body, &entry.path, stamp, &hashed);
        }
    }
    others.for_each(|(path, stamp, hashed)| push(&mut body, path, stamp, hashed));
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(blake3::hash(&body).as_bytes());
    file.extend_from_slice(&body);
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    if fs::write(&temporary, file)
        .and_then(|()| fs::rename(&temporary, path))
        .is_err()
    {
        let _ = fs::remove_file(&temporary);
    }
}

fn push(body: &mut Vec<u8>, path: &RelPath, stamp: &Stamp, hashed: &Hashed) {
    let mut bytes = |value: &[u8]| {
        body.extend_from_slice(&(value.len() as u32).to_le_bytes());
        body.extend_from_slice(value);
    };
    bytes(path.as_bytes());
    for field in stamp.fields {
        body.extend_from_slice(&field.to_le_bytes());
    }
    body.extend_from_slice(hashed.content.as_bytes());
    body.extend_from_slice(&(hashed.capability.len() as u32).to_le_bytes());
    body.extend_from_slice(&hashed.capability);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times in milliseconds; `hashed` is what the clock said when hashing began.
    fn is_kept(changed: (u64, u64), hashed: u64) -> bool {
        let [mtime, ctime] = [changed.0, changed.1].map(Duration::from_millis);
        let nanos = |time: Duration| u64::from(time.subsec_nanos());
        let fields = [
            1,
            2,
            3,
            mtime.as_secs(),
            nanos(mtime),
            ctime.as_secs(),
            nanos(ctime),
        ];
        let stamp = Stamp {
            fields,
            hashed_at: Some(Duration::from_millis(hashed)),
            settled: false,
        };
        stamp.settled(Clock { local: true }).settled
    }

    #[test]
    fn a_hash_is_kept_only_if_no_step_of_the_clock_can_hide_a_later_change() {
        for (changed, hashed, kept, what) in [
            ((5_001, 5_001), 6_001, true, "long before"),
            ((5_001, 5_001), 5_027, true, "just before"),
            ((5_001, 5_001), 5_020, false, "a moment before"),
            ((5_001, 5_001), 5_001, false, "at the same moment"),
            (
                (1_001, 5_001),
                4_001,
                false,
                "the clock was set back since the change",
            ),
            (
                (9_001, 1_001),
                5_001,
                false,
                "the file says that it is from the future",
            ),
            (
                (1_001, 5_001),
                5_020,
                false,
                "an old time was given to it a moment before",
            ),
        ] {
            assert_eq!(is_kept(changed, hashed), kept, "{what}");
        }
    }
}
