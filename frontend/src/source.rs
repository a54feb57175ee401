//! The Dockerfile text and positions in it.
//!
//! Every token that survives parsing carries a [`Span`] of byte offsets into
//! the [`SourceFile`]; diagnostics and build steps point back with it. Spans
//! never take part in cache keys.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A half-open range of bytes in a [`SourceFile`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset one past the last byte.
    pub end: usize,
}

impl Span {
    /// Makes a span of the bytes `start..end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Returns the smallest span that covers both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// Returns the span as a range of offsets.
    pub const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A value together with the place it was written at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
    /// For a text that does not stand in the file as it is (continued over lines, quoted,
    /// escaped): offset in the text → offset in the file, ascending; each holds up to the next.
    #[serde(skip)]
    pieces: Option<Arc<[(usize, usize)]>>,
}

impl<T> Spanned<T> {
    /// Joins a value with its place.
    pub const fn new(value: T, span: Span) -> Self {
        Self {
            value,
            span,
            pieces: None,
        }
    }
}

impl Spanned<String> {
    /// Joins a text with the places of its pieces.
    pub(crate) fn assembled(value: String, span: Span, pieces: Vec<(usize, usize)>) -> Self {
        Self {
            value,
            span,
            pieces: Some(pieces.into()),
        }
    }

    /// Returns the place of some bytes of the text; the whole place if the text's pieces are not
    /// known.
    pub(crate) fn place(&self, range: Range<usize>) -> Span {
        let Some(pieces) = &self.pieces else {
            if self.span.end - self.span.start != self.value.len() {
                return self.span;
            }
            let start = self.span.start;
            return Span::new(start + range.start, start + range.end);
        };
        let offset = |at: usize| {
            let after = pieces.partition_point(|&(start, _)| start <= at);
            let piece = after.checked_sub(1).map(|piece| pieces[piece]);
            piece.map_or(self.span.start, |(start, source)| source + (at - start))
        };
        let start = offset(range.start);
        let end = if range.is_empty() {
            start
        } else {
            offset(range.end - 1) + 1
        };
        Span::new(start, end.max(start))
    }

    /// Cuts some bytes of the text out, with their place.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let span = self.place(range.clone());
        let value = self.value[range.clone()].to_owned();
        let Some(pieces) = &self.pieces else {
            return Self::new(value, span);
        };
        let first = pieces
            .partition_point(|&(start, _)| start <= range.start)
            .saturating_sub(1);
        let pieces = pieces[first..].iter();
        let within = pieces.take_while(|&&(start, _)| start < range.end.max(range.start + 1));
        let moved = within.map(|&(start, source)| match start.checked_sub(range.start) {
            Some(start) => (start, source),
            None => (0, source + (range.start - start)),
        });
        Self::assembled(value, span, moved.collect())
    }
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A position as people count it: both numbers start at 1, columns count
/// characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineColumn {
    /// Line number.
    pub line: usize,
    /// Column number.
    pub column: usize,
}

/// A named Dockerfile text with an index of its lines.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl SourceFile {
    /// Takes a text; `name` is how messages call the file.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let mut line_starts = vec![0];
        line_starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        Self {
            name: name.into(),
            text,
            line_starts,
        }
    }

    /// Takes raw bytes; anything that is not UTF-8 becomes U+FFFD, as docker
    /// does for label values.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(name, String::from_utf8_lossy(bytes))
    }

    /// Returns the name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text of a span; an impossible span gives the empty string.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// Returns line and column of a byte offset.
    pub fn line_column(&self, offset: usize) -> LineColumn {
        let line = self
            .line_starts
            .partition_point(|&start| start <= offset)
            .max(1);
        let start = self.line_starts[line - 1];
        let before = self
            .text
            .get(start..offset.min(self.text.len()))
            .unwrap_or_default();
        LineColumn {
            line,
            column: before.chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns() {
        let source = SourceFile::new("Dockerfile", "FROM a\nRUN ä b\n");
        for (offset, line, column) in [(0, 1, 1), (5, 1, 6), (7, 2, 1), (13, 2, 6), (16, 3, 1)] {
            assert_eq!(
                source.line_column(offset),
                LineColumn { line, column },
                "offset {offset}"
            );
        }
    }

    #[test]
    fn invalid_utf8_becomes_the_replacement_character() {
        assert_eq!(SourceFile::from_bytes("f", b"a\xffb").text(), "a\u{fffd}b");
    }
}
