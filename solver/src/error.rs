//! Why a solve failed.

use crate::graph::VertexId;

/// A solve gave no outputs; `E` is the error of its ops.
#[derive(Debug, thiserror::Error)]
pub enum SolveError<E: std::error::Error + 'static> {
    /// An op failed. Others that failed after it are only told as events.
    #[error("{name} failed")]
    Op {
        /// The vertex of the op.
        vertex: VertexId,
        /// The name of the vertex.
        name: String,
        /// What the op returned.
        source: E,
    },
    /// An op or the index panicked: a defect there.
    #[error("{name} panicked: {message}")]
    Panicked {
        /// The vertex that was worked on.
        vertex: VertexId,
        /// The name of the vertex.
        name: String,
        /// What it panicked with.
        message: String,
    },
    /// The solve was canceled from outside.
    #[error("canceled")]
    Canceled,
    /// The machine starts no thread.
    #[error("cannot start a thread")]
    Thread {
        /// What the machine said.
        source: std::io::Error,
    },
    /// A target is not in the graph: a defect of the caller.
    #[error("target {vertex} is not in the graph")]
    UnknownTarget {
        /// The target.
        vertex: VertexId,
    },
}
