//! What is wrong with a word.

use std::ops::Range;

use crate::error::Code;

use super::{MAX_DEPTH, MAX_INSERTED};

/// A word that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct WordError {
    /// What is wrong.
    pub kind: WordErrorKind,
    /// The construct's bytes in the word.
    pub range: Range<usize>,
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
    /// A long pattern against a long value.
    #[error("the pattern is too long for a value of this size")]
    TooCostly,
    /// Variables that hold too much together.
    #[error("variables expand to more than {MAX_INSERTED} bytes")]
    TooLong,
}

impl WordErrorKind {
    /// Returns the kind of finding that this is in a Dockerfile.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::UnclosedQuote { .. } => Code::UnclosedQuote,
            Self::MissingBrace => Code::MissingBrace,
            Self::MissingSlash => Code::MissingSlash,
            Self::BadSubstitution => Code::BadSubstitution,
            Self::UnsupportedModifier { .. } => Code::UnsupportedModifier,
            Self::Required { .. } => Code::RequiredVariable,
            Self::InvalidPattern { .. } => Code::InvalidSubstitutionPattern,
            Self::TooDeep => Code::SubstitutionTooDeep,
            Self::TooLong => Code::SubstitutionTooLong,
            Self::TooCostly => Code::SubstitutionTooCostly,
        }
    }

    /// Returns what to do about it, where that is more than what helps against all of its kind.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Required { name, .. } => Some(format!(
                "set {name}, with --build-arg {name}=… if it is an ARG"
            )),
            _ => None,
        }
    }
}
