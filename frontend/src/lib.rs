//! Dockerfile text to build graph, without any I/O.
//!
//! ```text
//! bytes → SourceFile → Ast → [Instruction] → [Stage] → Plan
//! Plan —requests→ [ImageRequest] —answers→ ResolvedImages   (until empty)
//! Plan + ResolvedImages → Lowered: Graph<BuildOp> + ImageConfig + history
//! ```
//!
//! Each arrow is a function from one value to the next. Nothing here reads a
//! file, an environment variable or the clock, and nothing prints: what is
//! wrong comes back as a list of [`Diagnostic`]s with the place of each token.

pub mod describe;
pub mod dockerignore;
mod error;
pub mod git;
pub mod image;
pub mod instruction;
pub mod ir;
pub mod lint;
pub mod lower;
pub mod plan;
mod print;
pub mod quantity;
pub mod settings;
mod source;

mod stage;
pub mod syntax;
pub mod word;

pub use error::{Code, Diagnostic, Diagnostics, Severity};
pub use lower::{HistoryItem, Lowered, LoweredTarget, Step};
pub use plan::Plan;
pub use source::{LineColumn, SourceFile, Span, Spanned};
pub use stage::{Dockerfile, Stage, parse, parse_for};
