//! What is wrong with a Dockerfile, where, and what would help.
//!
//! The frontend reports every independent error of a file at once, as a list
//! of [`Diagnostic`]s. It never prints: the caller renders them with the
//! source excerpt.

use std::fmt;

use crate::source::Span;

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// The build cannot start.
    Error,
}

/// One finding in a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable machine-readable name such as `unknown-instruction`.
    pub code: &'static str,
    /// One sentence without a final stop.
    pub message: String,
    /// The offending token.
    pub span: Span,
    /// Text under the caret; empty if the message says it all.
    pub label: Box<str>,
    /// What to do about it.
    pub help: Option<Box<str>>,
    /// Further facts.
    pub notes: Vec<String>,
}

/// Every independent error of one step of the frontend.
pub type Diagnostics = Vec<Diagnostic>;

impl Diagnostic {
    /// Starts an error.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message.into())
    }

    /// Starts a warning.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message.into())
    }

    fn new(severity: Severity, code: &'static str, span: Span, message: String) -> Self {
        Self {
            severity,
            code,
            message,
            span,
            label: Box::default(),
            help: None,
            notes: Vec::new(),
        }
    }

    /// Sets the text under the caret.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into().into();
        self
    }

    /// Sets the advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Advises the candidate that looks most like `written`, if any does.
    #[must_use]
    pub fn with_suggestion<'a>(
        mut self,
        written: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        if let Some(best) = closest(written, candidates) {
            self.help = Some(format!("did you mean `{best}`?").into());
        }
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.help.iter().try_for_each(|help| write!(f, " ({help})"))
    }
}

impl std::error::Error for Diagnostic {}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        vec![diagnostic]
    }
}

/// Returns the candidate most similar to `written`, ignoring case, if it is
/// near enough to be a slip of the finger.
pub(crate) fn closest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if written.len() > LONGEST {
        return None;
    }
    let lower = written.to_lowercase();
    let allowed = (lower.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| !candidate.is_empty() && candidate.len() <= LONGEST)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|&(distance, candidate)| distance <= allowed && candidate != written)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        for (written, want) in [
            ("RNU", Some("RUN")),
            ("copu", Some("COPY")),
            ("xyzzy", None),
            ("", None),
        ] {
            assert_eq!(closest(written, ["RUN", "COPY", "FROM"]), want, "{written}");
        }
    }
}
