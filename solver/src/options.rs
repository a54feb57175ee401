//! How a solve is to be done.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use crate::cancel::CancelToken;
use crate::event::SolveEvent;
use crate::graph::VertexId;
use crate::key::CacheKey;

/// Tells the time.
pub trait Clock: Sync {
    /// Returns the time of day.
    fn now(&self) -> SystemTime;
    /// Returns the time since some fixed moment; it never goes back.
    fn monotonic(&self) -> Duration;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        ORIGIN.elapsed()
    }
}

/// How much memory ops that run at once may need together.
#[derive(Clone, Copy)]
pub struct MemoryBudget<'a> {
    /// Bytes.
    pub bytes: u64,
    /// How many bytes a vertex counts with; 0 lets it run whatever else does.
    pub need: &'a dyn Fn(VertexId) -> u64,
}

/// How a solve is to be done.
#[derive(Clone, Copy)]
pub struct SolveOptions<'a> {
    /// How many ops may run at once; zero counts as one.
    pub jobs: usize,
    /// Bounds what runs at once further, by memory. A vertex that alone needs more than there is
    /// runs when nothing else that needs any does.
    pub memory: Option<MemoryBudget<'a>>,
    /// Ends the solve early.
    pub cancel: &'a CancelToken,
    /// Is told what happens, from several threads. It must be quick: the scheduler waits for it.
    pub events: &'a (dyn Fn(SolveEvent) + Sync),
    /// How long a vertex took to run before, where that is known: among the vertices
    /// that could run next, the one at the head of the longest path goes first.
    pub durations: Option<&'a dyn Fn(VertexId) -> Option<Duration>>,
    /// Is told the definition key of each vertex that has one, as soon as it is known. Those of
    /// all that a target is made of are known before the target is looked up.
    pub named: Option<&'a dyn Fn(VertexId, CacheKey)>,
    /// Tells the time for events and records.
    pub clock: &'a dyn Clock,
}

impl<'a> SolveOptions<'a> {
    /// Returns options for a number of jobs that tell nobody and know no durations.
    pub fn new(jobs: usize, cancel: &'a CancelToken) -> Self {
        Self {
            jobs,
            memory: None,
            cancel,
            events: &|_| {},
            durations: None,
            named: None,
            clock: &SystemClock,
        }
    }
}

impl fmt::Debug for SolveOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SolveOptions")
            .field("jobs", &self.jobs)
            .finish_non_exhaustive()
    }
}
