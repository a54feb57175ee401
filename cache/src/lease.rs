//! Leases: what a running build shields from the collector.
//!
//! A lease shields what exists or is made while it is held. It is a shared lock on `lock`,
//! which a collector that wants the store for itself must have alone, and a file below
//! `leases/`, locked by its owner (and left for the next one, which costs less than another), by which a collector that works beside running builds knows
//! since when the oldest of them runs: it takes nothing that was made, found or used since
//! then. For this, what is found is marked with the time of its use ([`Shared::mark_used`]).
//!
//! Times are the file system's. A clock that was set back while a lease was held would make
//! what is in use look old, so a lease also notes the time since boot; where the two
//! disagree, nothing is taken.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::error::{IoContext, StoreError};
use crate::layer::LayerId;
use crate::lock::{FileLock, Mode};
use crate::store::{Shared, Store};

/// How far the wall clock may drift from the time since boot before it counts as set.
const DRIFT: i128 = 500_000_000;

/// Shields everything a running build uses from garbage collection, while it lives.
#[derive(Debug)]
pub struct Lease {
    #[cfg(test)]
    path: std::path::PathBuf,
    in_use: Arc<InUse>,
    _own: FileLock,
    _lock: FileLock,
}

/// How long a note is: that of any clock, so that none leaves part of another.
const WIDTH: usize = 40;

/// A moment of the file system's clock, in nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i128);

/// Which mark of a file tells its last use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Of records and stamps.
    Modified,
    /// Of blobs, whose time of modification says something else.
    Accessed,
}

/// What running builds allow a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shield {
    /// Nothing was shielded: no build runs.
    None,
    /// What was used at this moment or later is in use.
    Since(Moment),
    /// It cannot be told what is in use.
    Everything,
}

impl Lease {
    pub(crate) fn hold(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        let lock = FileLock::wait(&shared.layout.dir("lock"), Mode::Shared)?;
        let dir = shared.layout.dir("leases");
        let mut slot = 0;
        loop {
            let path = dir.join(slot.to_string());
            let own = match FileLock::attempt(&path, Mode::Exclusive) {
                Err(error) if error.is_not_found() => {
                    fs::create_dir_all(&dir).during("create", &dir)?;
                    continue;
                }
                other => other?,
            };
            let Some(own) = own else {
                slot += 1;
                continue;
            };
            // A collector may take the file of an ended lease away between the two calls.
            if own.is_current(&path) {
                // Over what another one noted: that it began earlier only shields more meanwhile.
                let note = format!("{:<WIDTH$}", clock_offset());
                own.write(note.as_bytes()).during("write", &path)?;
                let in_use = Arc::clone(&shared.in_use);
                in_use.known().leases += 1;
                return Ok(Self {
                    #[cfg(test)]
                    path,
                    in_use,
                    _own: own,
                    _lock: lock,
                });
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut known = self.in_use.known();
        known.leases -= 1;
        if known.leases == 0 {
            known.forget();
        }
    }
}

/// Layers that this process found and marked under a lease. As long as it holds one nobody takes
/// them: they need not be looked for, nor marked, again.
#[derive(Debug, Default)]
pub(crate) struct InUse(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    leases: usize,
    /// How often what was known was forgotten.
    period: u64,
    layers: HashSet<LayerId>,
}

impl Known {
    fn forget(&mut self) {
        self.period += 1;
        self.layers.clear();
    }
}

/// Says that a lease was held before something was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period(u64);

impl InUse {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a layer is in use.
    pub(crate) fn has(&self, id: &LayerId) -> bool {
        self.known().layers.contains(id)
    }

    /// Returns the time in which what is found now is in use; none if no lease is held.
    pub(crate) fn period(&self) -> Option<Period> {
        let known = self.known();
        (known.leases > 0).then_some(Period(known.period))
    }

    /// Notes a layer that was found and marked since `period` was asked for, if that goes on.
    pub(crate) fn note(&self, id: &LayerId, period: Option<Period>) {
        let mut known = self.known();
        if period == Some(Period(known.period)) {
            known.layers.insert(id.clone());
        }
    }

    /// Forgets all: something that was in use was removed.
    pub(crate) fn forget(&self) {
        self.known().forget();
    }
}

impl Store {
    /// Returns what the running builds shield; removes what dead ones left.
    pub(crate) fn shield(&self) -> Result<Shield, StoreError> {
        let dir = self.shared().layout.dir("leases");
        let mut oldest = None::<Moment>;
        let items = match fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Shield::None),
            other => other.during("list", &dir)?,
        };
        for item in items {
            let path = item.during("list", &dir)?.path();
            if let Some(dead) = FileLock::attempt(&path, Mode::Exclusive)? {
                if dead.is_current(&path) {
                    let _ = fs::remove_file(&path);
                }
                continue;
            }
            // One that has not noted its clock yet has used nothing yet.
            let Some((began, offset)) = read_lease(&path) else {
                continue;
            };
            if (clock_offset() - offset).abs() > DRIFT {
                return Ok(Shield::Everything);
            }
            oldest = Some(oldest.map_or(began, |oldest| oldest.min(began)));
        }
        Ok(oldest.map_or(Shield::None, Shield::Since))
    }
}

fn read_lease(path: &Path) -> Option<(Moment, i128)> {
    let offset = fs::read_to_string(path).ok()?.trim_end().parse().ok()?;
    Some((used_at(path, Mark::Modified)?, offset))
}

/// Returns by how much the wall clock is ahead of the time since boot, in nanoseconds.
fn clock_offset() -> i128 {
    let nanos = |clock| {
        let time = clock_gettime(clock);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    nanos(ClockId::Realtime) - nanos(ClockId::Boottime)
}

/// Returns when what `path` stands for was used last; nothing if it is gone.
pub(crate) fn used_at(path: &Path, mark: Mark) -> Option<Moment> {
    let meta = fs::symlink_metadata(path).ok()?;
    let (secs, nanos) = match mark {
        Mark::Modified => (meta.mtime(), meta.mtime_nsec()),
        Mark::Accessed => (meta.atime(), meta.atime_nsec()),
    };
    Some(Moment(i128::from(secs) * 1_000_000_000 + i128::from(nanos)))
}

impl Moment {
    /// Returns the seconds since the epoch.
    pub(crate) fn seconds(self) -> i64 {
        (self.0 / 1_000_000_000) as i64
    }

    /// Returns how long ago this was at `now`; nothing for the future.
    pub(crate) fn elapsed(self, now: Self) -> Duration {
        Duration::from_nanos(u64::try_from(now.0 - self.0).unwrap_or(0))
    }

    /// Returns a moment that no mark made from now on comes before: marks have the kernel's
    /// coarse time, which lags by up to a tick.
    pub(crate) fn a_tick_ago(self) -> Self {
        Self(self.0 - 20_000_000)
    }

    /// Returns the present moment.
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::Realtime);
        Self(i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec))
    }
}

impl Shield {
    /// Whether what was last used at `used` is in use.
    pub(crate) fn covers(self, used: Option<Moment>) -> bool {
        match self {
            Self::None => false,
            Self::Since(began) => used.is_some_and(|used| used >= began),
            Self::Everything => true,
        }
    }
}

impl Shared {
    /// Marks what `path` stands for as used now; false if it is gone.
    ///
    /// A collector decides what is old, and takes it, only while nobody is in here.
    pub(crate) fn mark_used(&self, path: &Path, mark: Mark) -> Result<bool, StoreError> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let keep = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        };
        let times = match mark {
            Mark::Modified => Timestamps {
                last_access: keep,
                last_modification: now,
            },
            Mark::Accessed => Timestamps {
                last_access: now,
                last_modification: keep,
            },
        };
        let marked = self
            .gate
            .pass(|| rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW))?;
        match marked {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(StoreError::io("mark", path, error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn a_lease_shields_what_is_used_while_it_is_held() {
        let (dir, store) = store();
        let path = dir.path().join("thing");
        fs::write(&path, "").expect("write");
        let old = Timespec {
            tv_sec: 1_000,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: old,
            last_modification: old,
        };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).expect("age");
        assert_eq!(store.shield().expect("shield"), Shield::None);
        let lease = store.lease().expect("lease");
        let shield = store.shield().expect("shield");
        assert!(!shield.covers(used_at(&path, Mark::Modified)));
        assert!(
            store
                .shared()
                .mark_used(&path, Mark::Modified)
                .expect("mark")
        );
        assert!(shield.covers(used_at(&path, Mark::Modified)));
        assert!(!shield.covers(used_at(&path, Mark::Accessed)));
        drop(lease);
        assert_eq!(store.shield().expect("shield"), Shield::None);
        fs::remove_file(&path).expect("remove");
        assert!(
            !store
                .shared()
                .mark_used(&path, Mark::Modified)
                .expect("mark")
        );
    }

    #[test]
    fn what_is_in_use_is_known_as_long_as_a_lease_is_held() {
        let (_dir, store) = store();
        let in_use = &store.shared().in_use;
        let id: LayerId = format!("sha256:{}", "0".repeat(64)).parse().expect("an id");
        in_use.note(&id, in_use.period());
        assert!(!in_use.has(&id), "nothing keeps it");
        let lease = store.lease().expect("lease");
        let early = in_use.period();
        in_use.note(&id, early);
        assert!(in_use.has(&id));
        let second = store.lease().expect("lease");
        drop(lease);
        assert!(in_use.has(&id), "the second lease keeps it");
        drop(second);
        assert!(!in_use.has(&id));
        let _later = store.lease().expect("lease");
        in_use.note(&id, early);
        assert!(
            !in_use.has(&id),
            "it may have been taken between the leases"
        );
        in_use.note(&id, in_use.period());
        in_use.forget();
        assert!(!in_use.has(&id));
    }

    #[test]
    fn a_clock_that_was_set_shields_everything() {
        let (dir, store) = store();
        let lease = store.lease().expect("lease");
        fs::write(&lease.path, (clock_offset() + 2 * DRIFT).to_string()).expect("write");
        assert_eq!(store.shield().expect("shield"), Shield::Everything);
        drop(lease);
        let dead = dir.path().join("leases/dead");
        fs::write(&dead, "0").expect("write");
        assert_eq!(store.shield().expect("shield"), Shield::None);
        assert!(!dead.exists());
    }
}
