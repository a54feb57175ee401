//! What is wrong with a bake file, and where.

use super::ast::Place;
use crate::report::{Excerpt, Severity, did_you_mean};

/// The stable names of all kinds of faults.
pub(super) const CODES: [&str; 25] = [
    "arithmetic",
    "attribute",
    "block-name",
    "compose",
    "cycle",
    "duplicate-key",
    "duplicate-name",
    "entry",
    "environment",
    "extends",
    "function",
    "include",
    "index",
    "interpolation",
    "name",
    "secret",
    "syntax",
    "too-deep",
    "type",
    "unknown-attribute",
    "unknown-block",
    "unknown-function",
    "unknown-target",
    "unknown-variable",
    "validation",
];

/// One thing that is wrong at one place of a bake file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    place: Box<Place>,
    code: &'static str,
    message: String,
    notes: Vec<String>,
    help: Option<String>,
}

impl Fault {
    /// Returns what faults are sorted by: file and place.
    pub(super) fn order(&self) -> (String, usize) {
        (self.place.file.name().to_owned(), self.place.span.start)
    }

    /// Starts a fault; `code` is its stable name, one of `CODES`.
    pub fn new(code: &'static str, place: &Place, message: impl Into<String>) -> Self {
        debug_assert!(CODES.contains(&code), "{code} is not listed");
        Self {
            place: Box::new(place.clone()),
            code,
            message: message.into(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// Sets the advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Advises the candidate that looks most like `written`, if any does.
    #[must_use]
    pub fn suggest<'a>(self, written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match did_you_mean(written, candidates) {
            Some(meant) => self.help(format!("did you mean `{meant}`?")),
            None => self,
        }
    }

    /// Returns whether there is advice.
    pub fn has_help(&self) -> bool {
        self.help.is_some()
    }

    /// Returns whether `other` says the same of the same place.
    pub fn is_same(&self, other: &Self) -> bool {
        self.message == other.message
            && self.place.span == other.place.span
            && std::sync::Arc::ptr_eq(&self.place.file, &other.place.file)
    }

    /// Returns the fault with the line it is on.
    pub fn excerpt(&self) -> Excerpt {
        let file = &self.place.file;
        Excerpt {
            file: file.name().to_owned(),
            text: file.text().into(),
            span: self.place.span.range(),
            severity: Severity::Error,
            code: self.code.to_owned(),
            message: self.message.clone(),
            label: String::new(),
            notes: self.notes.clone(),
            help: self.help.clone(),
        }
    }
}
