//! Here-documents: `<<WORD` on an instruction's line, and its lines below.

use std::ops::Range;

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::source::{Span, Spanned};
use crate::word::{Environment, Lexer};

use super::line::{Lines, LogicalLine, PhysicalLine};

/// One here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word, quotes removed.
    pub name: String,
    /// Whether variables in the content expand (where the instruction expands
    /// at all): the word was not quoted.
    pub expand: bool,
    /// `<<-`: leading tabs do not count.
    pub chomp: bool,
    /// The content as it stands in the file, line endings included.
    pub content: String,
    /// Where the content stands.
    pub span: Span,
}

impl Heredoc {
    /// Returns the content, for `<<-` without leading tabs.
    pub fn data(&self) -> String {
        self.spanned_data().value
    }

    /// Returns the content, for `<<-` without leading tabs, with the places of its lines.
    pub(crate) fn spanned_data(&self) -> Spanned<String> {
        if !self.chomp {
            return Spanned::new(self.content.clone(), self.span);
        }
        let mut data = String::new();
        let mut pieces = Vec::new();
        let mut at = self.span.start;
        for line in self.content.split_inclusive('\n') {
            let kept = line.trim_start_matches('\t');
            at += line.len();
            pieces.push((data.len(), at - kept.len()));
            data.push_str(kept);
        }
        Spanned::assembled(data, self.span, pieces)
    }
}

/// Reads a word such as `<<EOF`, `<<-'EOF'` or `3<<EOF`; the document is still
/// empty.
pub(crate) fn parse_mark(word: &str) -> Option<Heredoc> {
    let rest = word
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")?;
    let (rest, chomp) = rest
        .strip_prefix('-')
        .map_or((rest, false), |rest| (rest, true));
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let env = Environment::default();
    let lexer = Lexer::new('\\').keep_unset();
    let words = lexer.expand(rest, &env).ok()?.words;
    let [name] = <[String; 1]>::try_from(words).ok()?;
    let raw = lexer.keep_quotes().expand(rest, &env).ok()?.word;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = quotes(&name) == quotes(&raw);
    Some(Heredoc {
        name,
        expand,
        chomp,
        content: String::new(),
        span: Span::default(),
    })
}

/// Finds the marks on an instruction's line, each with its bytes there.
fn marks(line: &str) -> Vec<(Heredoc, Range<usize>)> {
    let lexer = Lexer::new('\\').keep_quotes().keep_escapes().keep_unset();
    let words = lexer
        .expand(line, &Environment::default())
        .map(|value| value.words);
    let mut at = 0;
    let mut found = Vec::new();
    for word in words.unwrap_or_default() {
        // Words come out as they went in, but for some escapes inside double quotes.
        let place = match line[at..].find(&word) {
            Some(offset) => at + offset..at + offset + word.len(),
            None => at..line.len(),
        };
        if place.end < line.len() {
            at = place.end;
        }
        found.extend(parse_mark(&word).map(|document| (document, place)));
    }
    found
}

/// Reads the documents' lines up to their terminators.
pub(crate) fn read_bodies(
    line: &LogicalLine,
    lines: &mut Lines<'_>,
    errors: &mut Diagnostics,
) -> Vec<Heredoc> {
    let mut documents = Vec::new();
    for (mut document, mark) in marks(&line.text) {
        let mut terminated = false;
        document.span = Span::new(lines.offset(), lines.offset());
        for physical in lines.by_ref() {
            errors.extend(physical.check_length());
            if is_terminator(&physical, &document) {
                terminated = true;
                break;
            }
            document.content.push_str(physical.full);
            document.span.end = physical.start + physical.full.len();
        }
        if !terminated {
            errors.push(
                Diagnostic::error(
                    Code::UnterminatedHeredoc,
                    line.span(mark.start, mark.end),
                    "unterminated heredoc",
                )
                .with_help(format!(
                    "a line with exactly `{}` and nothing else must end it",
                    document.name
                )),
            );
            break;
        }
        documents.push(document);
    }
    documents
}

fn is_terminator(line: &PhysicalLine<'_>, document: &Heredoc) -> bool {
    let text = if document.chomp {
        line.text.trim_start_matches('\t')
    } else {
        line.text
    };
    text == document.name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_recognised() {
        type Mark = (&'static str, bool, bool);
        let table: &[(&str, &[Mark])] = &[
            ("RUN <<EOF", &[("EOF", true, false)]),
            ("RUN <<-EOF", &[("EOF", true, true)]),
            ("RUN <<'EOF'", &[("EOF", false, false)]),
            ("RUN <<\"E O\"", &[("E O", false, false)]),
            ("RUN <<E\"O\"F", &[("EOF", false, false)]),
            ("RUN << EOF", &[("EOF", true, false)]),
            (
                "COPY <<a <<-'b' /x/",
                &[("a", true, false), ("b", false, true)],
            ),
            ("RUN 3<<EOF cat", &[("EOF", true, false)]),
            ("RUN cat <<$EOF", &[("$EOF", true, false)]),
            ("RUN echo $((1<<3))", &[]),
            ("RUN echo \"<<EOF\"", &[]),
            ("RUN cat <<<EOF", &[]),
            ("RUN a <<", &[]),
            ("RUN echo it's <<EOF", &[]),
        ];
        for (line, want) in table {
            let got = marks(line);
            let got: Vec<_> = got
                .iter()
                .map(|(doc, _)| (doc.name.as_str(), doc.expand, doc.chomp))
                .collect();
            assert_eq!(got, *want, "{line}");
        }
    }

    #[test]
    fn chomping_strips_leading_tabs_of_each_line() {
        let mut document = parse_mark("<<-E").unwrap();
        document.content = "\ta\n\t\tb\n  c\n".into();
        assert_eq!(document.data(), "a\nb\n  c\n");
    }
}
