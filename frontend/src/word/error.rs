//! What is wrong with a word.

use super::{MAX_DEPTH, MAX_INSERTED};

/// A word that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct WordError {
    /// What is wrong.
    pub kind: WordErrorKind,
    /// Byte offset of the construct in the word.
    pub offset: usize,
}

/// What is wrong with a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordErrorKind {
    /// A quote is never closed.
    #[error("unexpected end of statement while looking for matching {quote}")]
    UnclosedQuote {
        /// The name of the quote.
        quote: &'static str,
    },
    /// `${` without `}`.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${v/pattern` without the second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}` and the like.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// `${v` followed by something unknown.
    #[error("unsupported modifier ({modifier}) in substitution")]
    UnsupportedModifier {
        /// The characters after the name.
        modifier: String,
    },
    /// `${v?message}` of a missing variable.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message given, or the usual one.
        message: String,
    },
    /// A pattern with an unknown escape.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escape}'")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// The character after the backslash.
        escape: String,
    },
    /// Substitutions inside substitutions, too many of them.
    #[error("substitutions are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Variables that hold too much together.
    #[error("variables expand to more than {MAX_INSERTED} bytes")]
    TooLong,
}
