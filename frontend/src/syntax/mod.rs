//! Text to statements: one for each instruction, its parts still text.
//!
//! A pre-pass reads the parser directives, joins continuation lines into
//! [`LogicalLine`]s and collects heredocs; a pest grammar then splits each
//! logical line. Both are linear in the size of the file. The meaning of a
//! statement is the business of [`crate::instruction`].

mod directive;
pub(crate) mod grammar;
pub(crate) mod heredoc;
mod line;

pub use directive::Directives;
pub use heredoc::Heredoc;
pub use line::LogicalLine;

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::source::{SourceFile, Span, Spanned};
use directive::DirectiveReader;
pub(crate) use directive::{SYNTAX_ARG, foreign_syntax, given_syntax};
use line::{Lines, PhysicalLine, cut_continuation};

/// The statements of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ast {
    /// What the comments at the top ask for.
    pub directives: Directives,
    /// One for each instruction.
    pub statements: Vec<Statement>,
    /// Warnings.
    pub warnings: Diagnostics,
}

/// An instruction split into its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The instruction's name as written.
    pub keyword: Spanned<String>,
    /// The flags in order.
    pub flags: Vec<Flag>,
    /// Byte range of the rest in the line's text.
    rest: (usize, usize),
    /// The joined line.
    pub line: LogicalLine,
    /// The here-documents.
    pub heredocs: Vec<Heredoc>,
    /// Comment lines directly above.
    pub comments: Vec<String>,
    /// The instruction's lines, without heredocs.
    pub span: Span,
}

impl Statement {
    /// Returns what follows the flags, trimmed.
    pub fn rest(&self) -> &str {
        &self.line.text[self.rest.0..self.rest.1]
    }

    /// Returns the place of the rest, or of the keyword if there is none.
    pub fn rest_span(&self) -> Span {
        if self.rest().is_empty() {
            self.keyword.span
        } else {
            self.line.span_of(self.rest())
        }
    }

    /// Returns the rest split into words; quotes and escapes stay.
    pub fn words(&self, escape: char) -> Vec<Spanned<String>> {
        grammar::split_words(self.rest(), escape)
            .into_iter()
            .map(|word| self.line.spanned(word))
            .collect()
    }

    /// Returns the rest split at blanks, quotes or not.
    pub fn blank_separated(&self) -> Vec<Spanned<String>> {
        self.rest()
            .split(is_space)
            .filter(|word| !word.is_empty())
            .map(|word| self.line.spanned(word))
            .collect()
    }
}

/// A `--name[=value]` flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The name without dashes.
    pub name: String,
    /// The value, quotes and escapes removed.
    pub value: Option<Spanned<String>>,
    /// The whole flag.
    pub span: Span,
}

/// The blanks that docker splits instructions at.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

/// Parses a file into statements; on failure the list holds every error.
pub fn parse_ast(source: &SourceFile) -> Result<Ast, Diagnostics> {
    let (ast, errors) = read_ast(source);
    if errors.is_empty() {
        Ok(ast)
    } else {
        Err(errors)
    }
}

/// Reads what can be read of a file, and lists what is wrong with the rest.
pub(crate) fn read_ast(source: &SourceFile) -> (Ast, Diagnostics) {
    let mut reader = Reader {
        lines: Lines::new(source.text()),
        directives: DirectiveReader::default(),
        comments: Vec::new(),
        statements: Vec::new(),
        warnings: Vec::new(),
        errors: Vec::new(),
    };
    while let Some(line) = reader.lines.next() {
        reader.take(line);
    }
    let ast = Ast {
        directives: reader.directives.directives,
        statements: reader.statements,
        warnings: reader.warnings,
    };
    (ast, reader.errors)
}

/// The pre-pass under way.
struct Reader<'a> {
    lines: Lines<'a>,
    directives: DirectiveReader,
    comments: Vec<String>,
    statements: Vec<Statement>,
    warnings: Diagnostics,
    errors: Diagnostics,
}

impl Reader<'_> {
    /// Takes the first line of whatever comes next.
    fn take(&mut self, line: PhysicalLine<'_>) {
        self.errors.extend(line.check_length());
        self.directives.offer(line, &mut self.errors);
        let text = line.text.trim_start();
        if let Some(comment) = text.strip_prefix('#') {
            match comment.trim() {
                "" => self.comments.clear(),
                comment => self.comments.push(comment.to_owned()),
            }
            return;
        }
        let (cut, continues) = cut_continuation(text, self.escape());
        if cut.is_empty() && !continues {
            self.comments.clear();
            return;
        }
        let mut joined = LogicalLine::default();
        joined.push(cut, line.start + (line.text.len() - text.len()));
        if continues {
            self.join(&mut joined);
        }
        if !joined.text.trim().is_empty() {
            self.statement(joined);
        }
    }

    fn escape(&self) -> char {
        self.directives.directives.escape
    }

    /// Appends continuation lines.
    fn join(&mut self, joined: &mut LogicalLine) {
        let mut blank: Option<Span> = None;
        while let Some(line) = self.lines.next() {
            self.errors.extend(line.check_length());
            if line.is_comment() {
                continue;
            }
            if line.text.trim().is_empty() {
                blank.get_or_insert(Span::new(line.start, line.start + line.text.len()));
                continue;
            }
            let (cut, continues) = cut_continuation(line.text, self.escape());
            joined.push(cut, line.start);
            if !continues {
                break;
            }
        }
        if let Some(span) = blank {
            self.warnings.push(Diagnostic::warning(
                Code::EmptyContinuation,
                span,
                "empty continuation line",
            ));
        }
    }

    fn statement(&mut self, line: LogicalLine) {
        let parts = grammar::split_statement(&line.text);
        let base = line.text.as_ptr() as usize;
        let start = parts.rest.as_ptr() as usize;
        let rest = if parts.rest.is_empty() {
            (line.text.len(), line.text.len())
        } else {
            (start - base, start - base + parts.rest.len())
        };
        let keyword = line.spanned(parts.keyword);
        let flags = parts
            .flags
            .iter()
            .map(|raw| parse_flag(&line, raw))
            .collect();
        let trimmed = line.text.trim();
        let span = line.span_of(trimmed);
        let marked = line.text.contains("<<");
        let heredocs = if marked && may_hold_heredocs(parts.keyword, parts.rest) {
            heredoc::read_bodies(&line, &mut self.lines, &mut self.errors)
        } else {
            Vec::new()
        };
        let comments = std::mem::take(&mut self.comments);
        self.statements.push(Statement {
            keyword,
            flags,
            rest,
            line,
            heredocs,
            comments,
            span,
        });
    }
}

/// Whether `<<` on the line of this instruction starts a heredoc.
fn may_hold_heredocs(keyword: &str, rest: &str) -> bool {
    let is = |name: &str| keyword.eq_ignore_ascii_case(name);
    if is("ADD") || is("COPY") || is("RUN") {
        return !is_json_array(rest);
    }
    let parts = grammar::split_statement(rest);
    is("ONBUILD")
        && !parts.keyword.eq_ignore_ascii_case("ONBUILD")
        && may_hold_heredocs(parts.keyword, parts.rest)
}

fn is_json_array(rest: &str) -> bool {
    rest.starts_with('[') && serde_json::from_str::<Vec<serde_json::Value>>(rest).is_ok()
}

fn parse_flag(line: &LogicalLine, raw: &str) -> Flag {
    let body = raw.trim_start_matches("--");
    let (name, value) = match raw[2..].split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    Flag {
        name: unquote(&line.spanned(name)).value,
        value: value.map(|value| unquote(&line.spanned(value))),
        span: line.span_of(raw),
    }
}

/// Removes quotes and backslashes from a flag.
fn unquote(raw: &Spanned<String>) -> Spanned<String> {
    if !raw.contains(['\\', '\'', '"']) {
        return raw.clone();
    }
    let mut result = String::new();
    let mut pieces = Vec::new();
    let mut quote = None;
    let mut chars = raw.char_indices();
    while let Some((at, c)) = chars.next() {
        let kept = match (c, quote) {
            ('\\', _) => chars.next(),
            (c, Some(open)) if c == open => {
                quote = None;
                None
            }
            ('\'' | '"', None) => {
                quote = Some(c);
                None
            }
            (c, _) => Some((at, c)),
        };
        if let Some((at, c)) = kept {
            pieces.push((result.len(), raw.place(at..at + c.len_utf8()).start));
            result.push(c);
        }
    }
    Spanned::assembled(result, raw.span, pieces)
}

#[cfg(test)]
mod tests;
