//! What a solve tells while it goes on.

use std::time::{Duration, SystemTime};

use crate::graph::VertexId;

/// One of the two streams that an op's output is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Something that happened to a vertex.
///
/// Every vertex that the targets reach ends with exactly one of `Cached`,
/// `Completed` and `Failed`, and nothing follows that. `Started` comes before
/// `Log`, `Completed`, and the `Failed` of an op that ran; a vertex that failed
/// or was given up before it ran has only its `Failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SolveEvent {
    /// The op begins to run.
    Started {
        /// The vertex.
        vertex: VertexId,
        /// When.
        at: SystemTime,
    },
    /// The result was remembered, or nothing wants it as all that reads it was remembered.
    Cached {
        /// The vertex.
        vertex: VertexId,
        /// When that was found.
        at: SystemTime,
        /// Whether the result was looked for at all.
        needed: bool,
    },
    /// The op wrote output.
    Log {
        /// The vertex.
        vertex: VertexId,
        /// Where it was written to.
        stream: Stream,
        /// What was written; not necessarily whole lines.
        data: Vec<u8>,
    },
    /// The op ran, and its result is recorded.
    Completed {
        /// The vertex.
        vertex: VertexId,
        /// When it ended.
        at: SystemTime,
        /// How long it ran.
        duration: Duration,
    },
    /// The vertex has no result.
    Failed {
        /// The vertex.
        vertex: VertexId,
        /// When that was found.
        at: SystemTime,
        /// How long the op ran: zero if it did not.
        duration: Duration,
        /// The error and its causes in one line.
        error: String,
        /// Whether it was given up, because another vertex failed or the solve was canceled.
        canceled: bool,
    },
}

impl SolveEvent {
    /// Returns the vertex that it happened to.
    pub fn vertex(&self) -> VertexId {
        match *self {
            Self::Started { vertex, .. }
            | Self::Cached { vertex, .. }
            | Self::Log { vertex, .. }
            | Self::Completed { vertex, .. }
            | Self::Failed { vertex, .. } => vertex,
        }
    }

    /// Returns whether it is the last event of its vertex.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Cached { .. } | Self::Completed { .. } | Self::Failed { .. }
        )
    }
}
