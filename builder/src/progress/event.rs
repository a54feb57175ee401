//! What a build tells about itself while it runs.

use std::time::Duration;

/// Names one step for as long as a build runs. It is no step number: those are given in the
/// order in which steps first have something to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub(super) u32);

#[cfg(test)]
impl StepId {
    pub(crate) fn for_tests(id: u32) -> Self {
        Self(id)
    }
}

/// One of the streams that a step writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl From<cooper_solver::Stream> for Stream {
    fn from(stream: cooper_solver::Stream) -> Self {
        match stream {
            cooper_solver::Stream::Stdout => Self::Stdout,
            cooper_solver::Stream::Stderr => Self::Stderr,
        }
    }
}

/// One thing that happened. Times count from the start of the build.
///
/// A step is declared once, then may be started, then ends with exactly one of `Cached`,
/// `Completed` and `Failed`. Steps of the solver and steps of the builder itself ("\[internal\]
/// load .dockerignore", "exporting to image") share this form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A step exists; it is shown once it starts or ends.
    Declared {
        /// The step.
        step: StepId,
        /// Its name, such as `[build 2/5] RUN make`.
        name: String,
    },
    /// A step began.
    Started {
        /// The step.
        step: StepId,
        /// When.
        at: Duration,
    },
    /// A step needed nothing done.
    Cached {
        /// The step.
        step: StepId,
        /// When.
        at: Duration,
    },
    /// A step wrote some bytes, cut anywhere.
    Log {
        /// The step.
        step: StepId,
        /// When.
        at: Duration,
        /// Where it wrote them.
        stream: Stream,
        /// The bytes.
        data: Vec<u8>,
    },
    /// A part of a step's work went on, such as the download of one layer.
    Status {
        /// The step.
        step: StepId,
        /// When.
        at: Duration,
        /// The part; a later status of the same item replaces the earlier one.
        item: String,
        /// Bytes (or items) done.
        current: u64,
        /// Bytes (or items) in all, where known.
        total: Option<u64>,
        /// Whether this part is finished.
        done: bool,
    },
    /// Something the user should know that fails nothing.
    Warning {
        /// One line.
        message: String,
    },
    /// A build check found something, which views for people leave to the end of the build.
    Found {
        /// What was found, as BuildKit's `VertexWarning`.
        warning: serde_json::Value,
    },
    /// A step was carried out.
    Completed {
        /// The step.
        step: StepId,
        /// When.
        at: Duration,
    },
    /// A step failed, or was stopped because another one had.
    Failed {
        /// The step.
        step: StepId,
        /// When.
        at: Duration,
        /// Why, in one line.
        error: String,
        /// Whether it was stopped from outside.
        canceled: bool,
    },
    /// Byte strings that must never be shown.
    Redact {
        /// The strings.
        values: Vec<Vec<u8>>,
    },
}
