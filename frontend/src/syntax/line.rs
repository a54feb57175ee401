//! Physical lines to logical lines.
//!
//! A logical line is one instruction with its continuations joined and the
//! comments inside it dropped. It remembers where each of its pieces came
//! from, so that any byte of it maps back to the file.

use crate::error::{Code, Diagnostic};
use crate::source::{Span, Spanned};

/// The longest physical line accepted, as in docker.
const MAX_LINE: usize = 65_535;

/// Text put together from pieces of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogicalLine {
    /// The joined text.
    pub text: String,
    /// Offset in `text` → offset in the file, ascending; each holds up to the
    /// next one.
    pieces: Vec<(usize, usize)>,
}

impl LogicalLine {
    /// Appends a piece of the file that starts at `source`.
    pub(crate) fn push(&mut self, piece: &str, source: usize) {
        self.pieces.push((self.text.len(), source));
        self.text.push_str(piece);
    }

    /// Returns where in the file a byte of the joined text stands.
    pub fn offset(&self, logical: usize) -> usize {
        let after = self.pieces.partition_point(|&(start, _)| start <= logical);
        after
            .checked_sub(1)
            .map_or(0, |at| self.pieces[at].1 + (logical - self.pieces[at].0))
    }

    /// Returns the span in the file of a range of the joined text.
    pub fn span(&self, start: usize, end: usize) -> Span {
        let first = self.offset(start);
        let last = if end > start {
            self.offset(end - 1) + 1
        } else {
            first
        };
        Span::new(first, last.max(first))
    }

    /// Returns the span of a slice that borrows from this line's text.
    ///
    /// A foreign slice gives the whole line.
    pub fn span_of(&self, part: &str) -> Span {
        let base = self.text.as_ptr() as usize;
        let start = (part.as_ptr() as usize).wrapping_sub(base);
        if start.saturating_add(part.len()) <= self.text.len() {
            self.span(start, start + part.len())
        } else {
            self.span(0, self.text.len())
        }
    }

    /// Returns a slice of this line's text with its place.
    pub fn spanned(&self, part: &str) -> Spanned<String> {
        let span = self.span_of(part);
        if span.end - span.start == part.len() {
            return Spanned::new(part.to_owned(), span);
        }
        Spanned::assembled(part.to_owned(), span, self.pieces_of(part))
    }

    /// Returns offset in a slice that borrows from this line's text → offset in the file.
    fn pieces_of(&self, part: &str) -> Vec<(usize, usize)> {
        let start = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let end = start.saturating_add(part.len());
        let first = self.pieces.partition_point(|&(at, _)| at <= start);
        let head = (0, self.offset(start));
        let rest = self.pieces[first..].iter().take_while(|&&(at, _)| at < end);
        let rest = rest.map(|&(at, source)| (at - start, source));
        std::iter::once(head).chain(rest).collect()
    }
}

/// One line of the file without its line ending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhysicalLine<'a> {
    /// The text, without `\n` and without the `\r`s before it.
    pub(crate) text: &'a str,
    /// The text with its line ending.
    pub(crate) full: &'a str,
    /// Offset in the file.
    pub(crate) start: usize,
}

impl PhysicalLine<'_> {
    /// Refuses lines that docker refuses.
    pub(crate) fn check_length(&self) -> Option<Diagnostic> {
        (self.text.len() > MAX_LINE).then(|| {
            let start = Span::new(self.start, self.start);
            let message = format!("dockerfile line greater than max allowed size of {MAX_LINE}");
            Diagnostic::error(Code::LineTooLong, start, message)
        })
    }

    pub(crate) fn is_comment(&self) -> bool {
        self.text.trim_start().starts_with('#')
    }
}

/// Walks over the physical lines of a file once.
pub(crate) struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let at = if text.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        };
        Self { text, at }
    }

    /// Returns where the next line starts.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = PhysicalLine<'a>;

    fn next(&mut self) -> Option<PhysicalLine<'a>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let full = &rest[..length];
        let line = PhysicalLine {
            text: full.trim_end_matches(['\r', '\n']),
            full,
            start: self.at,
        };
        self.at += length;
        Some(line)
    }
}

/// Cuts a continuation mark (the escape character and blanks) off a line.
/// Returns what is left and whether there was one.
pub(crate) fn cut_continuation(line: &str, escape: char) -> (&str, bool) {
    line.trim_end_matches([' ', '\t'])
        .strip_suffix(escape)
        .map_or((line, false), |cut| (cut, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_text_maps_back_to_the_file() {
        let mut line = LogicalLine::default();
        line.push("RUN a ", 10);
        line.push("  b", 30);
        assert_eq!(line.text, "RUN a   b");
        assert_eq!(line.span(4, 5), Span::new(14, 15));
        assert_eq!(line.span(8, 9), Span::new(32, 33));
        assert_eq!(line.span(4, 9), Span::new(14, 33));
        assert_eq!(line.span_of(&line.text[8..]), Span::new(32, 33));
    }

    #[test]
    fn continuation_marks_may_be_followed_by_blanks() {
        for (line, want) in [
            ("a \\", ("a ", true)),
            ("a \\ \t", ("a ", true)),
            ("a", ("a", false)),
            ("a \\\\", ("a \\", true)),
            ("a  ", ("a  ", false)),
        ] {
            assert_eq!(cut_continuation(line, '\\'), want, "{line:?}");
        }
    }

    #[test]
    fn line_endings_and_the_byte_order_mark_are_dropped() {
        let lines: Vec<_> = Lines::new("\u{feff}a\r\nb\n\nc")
            .map(|line| (line.text, line.start))
            .collect();
        assert_eq!(lines, [("a", 3), ("b", 6), ("", 8), ("c", 9)]);
    }
}
