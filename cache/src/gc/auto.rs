//! Collection after builds, when it is due.
//!
//! Counting what the store takes costs a look at every layer, too much after every build. The
//! free space of the file system costs nothing to ask for: only when it has shrunk by a
//! noticeable part of the limit since the last count, or when the last count is old, the store is
//! counted and the policy applied. Where too little was left even so, others have the space: it is
//! asked again when still less is left, or after a minute.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Evict, GcOptions, GcReport, Policy};
use crate::error::StoreError;
use crate::images::{json, read_json};
use crate::lease::Moment;
use crate::store::Store;

/// How old a count may be.
const OLD: Duration = Duration::from_secs(3600);

/// How old it may be where too little is left.
const OLD_WHEN_SHORT: Duration = Duration::from_secs(60);

/// Which part of a limit, one in this many, may be used up without a count.
const NOTICEABLE: u64 = 20;

/// The last count.
#[derive(Debug, Serialize, Deserialize)]
struct Count {
    /// Bytes that were free after it.
    free: u64,
    /// Seconds since the epoch.
    at: i64,
}

impl Store {
    /// Applies `policy` to the build cache if that is due; nothing if it is not.
    pub fn auto_gc(&self, policy: Policy) -> Result<Option<GcReport>, StoreError> {
        let path = self.shared().layout.dir("counted");
        let last: Option<Count> = read_json(&path)?;
        let free = self.free_space()?;
        if !is_due(policy, last.as_ref(), free, Moment::now().seconds()) {
            return Ok(None);
        }
        let report = self.gc(&GcOptions {
            cache: Evict::By(policy),
            ..GcOptions::default()
        })?;
        let count = Count {
            free: self.free_space()?,
            at: Moment::now().seconds(),
        };
        self.shared().write_atomic(&path, &json(&count))?;
        Ok(Some(report))
    }

    /// Sets how many bytes the store may take; steps that find more than that do not start.
    pub fn set_limit(&self, bytes: u64) {
        self.shared().limit.store(bytes, Ordering::Relaxed);
    }

    /// Makes sure that the store is within its limit, collecting what it can.
    ///
    /// Fails with [`StoreError::Full`] if it takes more even so. Without a limit this costs nothing.
    pub fn ensure_room(&self) -> Result<(), StoreError> {
        let limit = self.shared().limit.load(Ordering::Relaxed);
        if limit == u64::MAX || self.space()?.used <= limit {
            return Ok(());
        }
        self.gc(&GcOptions {
            cache: Evict::By(Policy {
                max_used_space: Some(limit),
                ..Policy::default()
            }),
            ..GcOptions::default()
        })?;
        let used = self.space()?.used;
        if used <= limit {
            return Ok(());
        }
        Err(StoreError::Full { used, limit })
    }

    /// Returns the size of the store's file system in bytes.
    pub fn capacity(&self) -> u64 {
        let found = rustix::fs::statvfs(self.root());
        found.map_or(0, |found| found.f_blocks * found.f_frsize)
    }

    /// Forgets the last count, so that a collection is due.
    #[cfg(test)]
    fn forget_count(&self) {
        let _ = std::fs::remove_file(self.shared().layout.dir("counted"));
    }
}

fn is_due(policy: Policy, last: Option<&Count>, free: u64, now: i64) -> bool {
    let Some(last) = last else {
        return true;
    };
    let (max, min) = (policy.max_used_space, policy.min_free_space.unwrap_or(0));
    let used_up = last.free.saturating_sub(free);
    let grown = used_up > max.unwrap_or(u64::MAX) / NOTICEABLE;
    let short = free < min;
    let shorter = short && (last.free >= min || used_up > min / NOTICEABLE);
    let age = if short { OLD_WHEN_SHORT } else { OLD };
    grown || shorter || now.abs_diff(last.at) > age.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{layer, store};

    #[test]
    fn a_count_is_due_when_the_store_may_have_outgrown_its_limit() {
        let policy = Policy {
            max_used_space: Some(1000),
            min_free_space: Some(100),
            ..Policy::default()
        };
        for (before, free, now, due) in [
            (500, 500, 10, false),
            (500, 460, 10, false),
            (500, 440, 10, true),
            (500, 900, 10, false),
            (500, 500, 4000, true),
            (500, 500, -4000, true),
            (110, 90, 10, true),
            (90, 90, 10, false),
            (90, 86, 10, false),
            (90, 84, 10, true),
            (90, 90, 70, true),
            (90, 110, 70, false),
        ] {
            let last = Count {
                free: before,
                at: 0,
            };
            assert_eq!(
                is_due(policy, Some(&last), free, now),
                due,
                "{free} at {now} after {before}"
            );
        }
        assert!(is_due(policy, None, 500, 10));
    }

    #[test]
    fn what_exceeds_the_limit_is_collected() {
        let (_dir, store) = store();
        let kept = layer(&store, "kept");
        store
            .records()
            .put(&[1; 32], b"v", std::slice::from_ref(&kept))
            .expect("put");
        let roomy = Policy {
            max_used_space: Some(1 << 30),
            ..Policy::default()
        };
        let report = store.auto_gc(roomy).expect("gc").expect("the first is due");
        assert_eq!(report.records, 0);
        assert_eq!(store.auto_gc(roomy).expect("gc"), None);
        store.forget_count();
        let tight = Policy {
            max_used_space: Some(1),
            ..Policy::default()
        };
        assert_eq!(
            store.auto_gc(tight).expect("gc").expect("due").layers,
            [kept]
        );
        store.ensure_room().expect("no limit");
        store.set_limit(1 << 30);
        store.ensure_room().expect("room");
        store.blobs().put(&[7; 5000]).expect("put");
        let image = store.blobs().list().expect("list")[0].clone();
        store
            .images()
            .put(&crate::ImageRecord {
                id: image,
                layers: Vec::new(),
                manifest: None,
                attestations: None,
                created: None,
                size: 0,
            })
            .expect("put");
        store.set_limit(1);
        let full = store.ensure_room();
        assert!(matches!(full, Err(StoreError::Full { used, limit: 1 }) if used >= 5000));
    }
}
