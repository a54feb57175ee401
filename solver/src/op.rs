//! What a vertex does.

use crate::cancel::CancelToken;
use crate::event::Stream;
use crate::graph::VertexId;
use crate::key::{CacheKey, ContentDigest};

/// A piece of work with named inputs and one output.
///
/// Methods are called from worker threads, never from the thread that calls
/// [`solve`](crate::solve); they may block and may be costly. A panic in one of
/// them fails the solve like an error does.
pub trait Op: Send + Sync + 'static {
    /// What running it gives: a handle that is cheap to clone.
    type Output: Clone + Send + Sync + 'static;
    /// Why it failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Returns the digest of the op itself: all that decides its output but its inputs.
    ///
    /// It is asked once a solve. `None` says that the output cannot be known
    /// without looking (a local directory): the op then runs in every solve
    /// that reaches it, is never recorded, and its consumers are keyed by the
    /// content that they read from it.
    fn definition(&self) -> Result<Option<CacheKey>, Self::Error>;

    /// Returns the digest of what this op reads from the output of input `index`.
    ///
    /// Equal digests promise that the op cannot tell the outputs apart. It is
    /// asked at most once a solve for each input, and on a definition hit only
    /// for inputs without a definition.
    fn input_content(
        &self,
        index: usize,
        output: &Self::Output,
    ) -> Result<ContentDigest, Self::Error>;

    /// Runs the op on the outputs of its inputs.
    ///
    /// It returns soon after [`ExecContext::cancel`] is canceled, with whatever error.
    fn exec(
        &self,
        inputs: &[Self::Output],
        cx: &ExecContext<'_>,
    ) -> Result<Self::Output, Self::Error>;
}

/// What an op is given besides its inputs while it runs.
pub struct ExecContext<'a> {
    /// The vertex that runs.
    pub vertex: VertexId,
    /// The name of that vertex.
    pub name: &'a str,
    /// The key that the result will be recorded under: the content key. None for an
    /// op without a definition.
    pub key: Option<CacheKey>,
    /// Canceled when the result is no longer wanted.
    pub cancel: &'a CancelToken,
    /// Takes output of the op for whoever watches; [`ExecContext::log`] calls it.
    pub log_sink: &'a (dyn Fn(Stream, &[u8]) + Sync),
}

impl ExecContext<'_> {
    /// Passes output of the op on to whoever watches, as it comes.
    pub fn log(&self, stream: Stream, data: &[u8]) {
        (self.log_sink)(stream, data);
    }
}

impl std::fmt::Debug for ExecContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecContext")
            .field("vertex", &self.vertex)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
