//! A content-addressed, parallel solver for directed acyclic graphs of work.
//!
//! The crate owns three things: the [`Graph`] of what is to be done, the *keys*
//! under which results are remembered ([`key`]), and the scheduler that decides
//! for each vertex whether a remembered result answers it or it has to run
//! ([`solve`]). It knows neither containers nor files nor images: what a vertex
//! does is an [`Op`], and where results are kept is a [`KeyIndex`].
//!
//! # How a vertex is answered
//!
//! 1. Every vertex that the targets reach is *named*: its definition key is the
//!    hash of its op and of its inputs' definition keys. An input that has none
//!    (a local directory, say) is obtained at once and named by its content.
//! 2. Only the targets are then *wanted*. A wanted vertex is looked up by its
//!    definition key; on a hit nothing above it is looked at.
//! 3. On a miss its inputs are wanted, in parallel. When they are there, the
//!    vertex is looked up by its content key: the hash of its op and of the
//!    content that it reads from each input. A parent that was rebuilt to the
//!    same content stops the rebuild here.
//! 4. On another miss the vertex is claimed, looked up once more, run, and
//!    recorded under both keys.
//!
//! [`Vertex::ignore_cache`] leaves out every lookup of that vertex, and the
//! definition lookup of whatever depends on it.
//!
//! # Example
//!
//! ```
//! use cooper_solver::{
//!     CacheKey, CancelToken, ContentDigest, ExecContext, Graph, MemoryIndex, Op, SolveOptions,
//!     Vertex, solve,
//! };
//!
//! struct Add(u64);
//!
//! impl Op for Add {
//!     type Output = u64;
//!     type Error = std::convert::Infallible;
//!
//!     fn definition(&self) -> Result<Option<CacheKey>, Self::Error> {
//!         Ok(Some(CacheKey::of("add", &self.0)))
//!     }
//!     fn input_content(&self, _: usize, output: &u64) -> Result<ContentDigest, Self::Error> {
//!         Ok(ContentDigest::of("sum", output))
//!     }
//!     fn exec(&self, inputs: &[u64], _: &ExecContext<'_>) -> Result<u64, Self::Error> {
//!         Ok(self.0 + inputs.iter().sum::<u64>())
//!     }
//! }
//!
//! let mut graph = Graph::new();
//! let one = graph.add(Vertex::new("one", Add(1)), &[]);
//! let two = graph.add(Vertex::new("two more", Add(2)), &[one]);
//!
//! let cancel = CancelToken::new();
//! let index = MemoryIndex::new();
//! let outputs = solve(&graph, &[two], &index, &SolveOptions::new(4, &cancel))?;
//! assert_eq!(outputs, [3]);
//! # Ok::<(), cooper_solver::SolveError<std::convert::Infallible>>(())
//! ```

mod cancel;
mod error;
mod event;
mod graph;
mod index;
pub mod key;
mod op;
mod options;
mod scheduler;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use cancel::{CancelGuard, CancelToken};
pub use error::SolveError;
pub use event::{SolveEvent, Stream};
pub use graph::{Graph, Vertex, VertexId};
pub use index::{Claim, InputComponent, KeyIndex, MemoryIndex, Origin, Record};
pub use key::{CacheKey, ContentDigest, KEY_VERSION, ParseKeyError, StableHash, StableHasher};
pub use op::{ExecContext, Op};
pub use options::{Clock, MemoryBudget, SolveOptions, SystemClock};
pub use scheduler::solve;
