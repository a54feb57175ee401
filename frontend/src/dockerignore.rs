//! `.dockerignore` files, with docker's own matching.
//!
//! The patterns are not gitignore's: they are rooted, `**` crosses
//! directories, the last match wins, a pattern that matches a directory
//! matches everything below it, and a later `!` pattern brings back files even
//! below an excluded directory.

/// A parsed `.dockerignore`.
#[derive(Clone, Debug, Default)]
pub struct DockerIgnore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    negated: bool,
    text: String,
}

/// A line of a `.dockerignore` that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DockerIgnoreError {
    /// A lone `!`.
    #[error("line {line}: illegal exclusion pattern: \"!\"")]
    LoneNegation {
        /// Line number, from 1.
        line: usize,
    },
    /// A bracket or an escape that is not finished.
    #[error("line {line}: syntax error in pattern {pattern:?}")]
    BadPattern {
        /// Line number, from 1.
        line: usize,
        /// The pattern.
        pattern: String,
    },
}
