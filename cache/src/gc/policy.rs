//! Which records a collection takes: a choice made from plain values.
//!
//! Records go in the order of how little they are worth: the longer unused and the less often
//! used before, the sooner. Limits bound what stays; within the reserved space, and within the
//! time in which something counts as fresh, nothing goes.

use std::time::Duration;

/// Limits of the disk space that the build cache takes. What is absent is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// What was used within this time stays.
    pub keep_duration: Option<Duration>,
    /// Bytes that the cache may always keep.
    pub reserved_space: Option<u64>,
    /// Bytes that the cache may take at most.
    pub max_used_space: Option<u64>,
    /// Bytes that must be free on the file system.
    pub min_free_space: Option<u64>,
}

/// Bytes as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    /// What the store takes.
    pub(super) used: u64,
    /// What is free on its file system.
    pub(super) free: u64,
}

impl Space {
    /// Returns what is left when so many bytes, which go anyway, have gone.
    pub(super) fn without(self, bytes: u64) -> Self {
        Self {
            used: self.used.saturating_sub(bytes),
            free: self.free + bytes,
        }
    }
}

/// What may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// How long it has been unused.
    pub(super) idle: Duration,
    /// How often it was used.
    pub(super) uses: u64,
}

impl Candidate {
    /// Returns what it is worth keeping: frequent use makes up for time, ever less so.
    fn staleness(&self) -> u128 {
        let often = u128::from(64 - self.uses.leading_zeros());
        self.idle.as_nanos() / (1 + often)
    }
}

impl Policy {
    /// Returns how many bytes must go for the limits to hold; none if there is no limit: all may.
    pub(super) fn excess(&self, space: Space) -> Option<u64> {
        if self.max_used_space.is_none() && self.min_free_space.is_none() {
            return self
                .reserved_space
                .map(|reserved| space.used.saturating_sub(reserved));
        }
        let over = self
            .max_used_space
            .map_or(0, |max| space.used.saturating_sub(max));
        let short = self
            .min_free_space
            .map_or(0, |min| min.saturating_sub(space.free));
        let reserved = self.reserved_space.unwrap_or(0);
        Some(over.max(short).min(space.used.saturating_sub(reserved)))
    }

    /// Chooses which of `candidates` go, the least valuable first.
    ///
    /// `take` removes one and returns the bytes that this frees; it is called until enough is
    /// freed. Without a limit everything that is not fresh goes.
    pub(super) fn choose(
        &self,
        space: Space,
        candidates: &[Candidate],
        mut take: impl FnMut(usize) -> u64,
    ) {
        let fresh = self.keep_duration.unwrap_or_default();
        let mut order: Vec<usize> = (0..candidates.len())
            .filter(|at| self.keep_duration.is_none() || candidates[*at].idle > fresh)
            .collect();
        order.sort_by_key(|at| std::cmp::Reverse(candidates[*at].staleness()));
        let excess = self.excess(space);
        let mut freed = 0;
        for at in order {
            if excess.is_some_and(|excess| freed >= excess) {
                return;
            }
            freed += take(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn chosen(policy: Policy, used: u64, candidates: &[(u64, u64, u64)]) -> Vec<usize> {
        let space = Space {
            used,
            free: 10 * GIB,
        };
        let list: Vec<_> = candidates
            .iter()
            .map(|(idle, uses, _)| Candidate {
                idle: Duration::from_secs(*idle),
                uses: *uses,
            })
            .collect();
        let mut taken = Vec::new();
        policy.choose(space, &list, |at| {
            taken.push(at);
            candidates[at].2
        });
        taken
    }

    #[test]
    fn limits_bound_what_stays() {
        let limits = |max, min, reserved| Policy {
            max_used_space: max,
            min_free_space: min,
            reserved_space: reserved,
            keep_duration: None,
        };
        for (policy, used, expected) in [
            (limits(None, None, None), 5, None),
            (limits(None, None, Some(3)), 5, Some(2)),
            (limits(Some(4), None, None), 5, Some(1)),
            (limits(Some(9), None, None), 5, Some(0)),
            (limits(None, Some(10 * GIB + 2), None), 5, Some(2)),
            (limits(Some(1), None, Some(3)), 5, Some(2)),
            (limits(Some(4), Some(11 * GIB), None), 5, Some(5)),
        ] {
            let space = Space {
                used,
                free: 10 * GIB,
            };
            assert_eq!(policy.excess(space), expected, "{policy:?}");
        }
    }

    #[test]
    fn the_longest_unused_and_least_often_used_go_first_until_enough_is_freed() {
        let policy = Policy {
            max_used_space: Some(70),
            ..Policy::default()
        };
        // Idle seconds, uses, bytes.
        let candidates = [(10, 1, 20), (90, 1, 20), (100, 1000, 20), (95, 0, 5)];
        assert_eq!(chosen(policy, 100, &candidates), [3, 1, 2]);
        assert_eq!(chosen(policy, 60, &candidates), Vec::<usize>::new());
        assert_eq!(chosen(Policy::default(), 0, &candidates), [3, 1, 2, 0]);
    }

    #[test]
    fn what_is_fresh_stays_whatever_the_limits_say() {
        let policy = Policy {
            keep_duration: Some(Duration::from_secs(50)),
            max_used_space: Some(0),
            ..Policy::default()
        };
        assert_eq!(chosen(policy, 100, &[(10, 0, 50), (60, 0, 50)]), [1]);
    }
}
