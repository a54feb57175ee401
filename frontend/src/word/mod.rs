//! Shell words and variable expansion as Dockerfiles know them.
//!
//! A [`Lexer`] turns one word with quotes, escapes and `$variables` into its
//! value. The rules are docker's, which differ from a shell's: a quoted
//! backslash stays unless it escapes `"`, `$` or itself; `$1` and `$@` are
//! unset variables; patterns know only `*` and `?`.
//!
//! ```
//! use cooper_frontend::word::{Environment, Lexer};
//!
//! let mut env = Environment::default();
//! env.set("version", "1.27.0");
//! let value = Lexer::new('\\').expand("\"v${version%.*}\"", &env).unwrap();
//! assert_eq!(value.word, "v1.27");
//! ```

mod environment;
mod error;
mod pattern;

use std::collections::BTreeSet;

pub use environment::Environment;
pub use error::{WordError, WordErrorKind};

use pattern::Pattern;

const MAX_DEPTH: usize = 100;

/// More than any command line or environment can hold, in bytes.
const MAX_INSERTED: usize = 1 << 20;

/// So many steps may the matching of patterns take in one word, which are a few milliseconds. The
/// longest value that a process can get (128 KiB) with a pattern of 180 characters is within.
const MAX_STEPS: usize = 1 << 19;

/// The value of a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// As one word.
    pub word: String,
    /// Split at blanks that were not quoted.
    pub words: Vec<String>,
    /// Variables found.
    pub matched: BTreeSet<String>,
    /// Variables looked for in vain, without `${name:-…}` and the like, which
    /// say what is to happen then.
    pub unmatched: BTreeSet<String>,
}

/// Expansion rules.
#[derive(Clone, Copy, Debug)]
pub struct Lexer {
    escape: char,
    quotes: Quotes,
    raw_escapes: bool,
    keep_unset: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    /// Quotes group and vanish.
    Remove,
    /// Quotes group and stay.
    Keep,
    /// Quotes are ordinary characters.
    Ignore,
}

impl Lexer {
    /// The usual rules with an escape character.
    pub fn new(escape: char) -> Self {
        Self {
            escape,
            quotes: Quotes::Remove,
            raw_escapes: false,
            keep_unset: false,
        }
    }

    /// Leaves quotes in the result.
    #[must_use]
    pub fn keep_quotes(mut self) -> Self {
        self.quotes = Quotes::Keep;
        self
    }

    /// Treats quotes as ordinary characters (heredoc bodies).
    #[must_use]
    pub fn ignore_quotes(mut self) -> Self {
        self.quotes = Quotes::Ignore;
        self
    }

    /// Leaves escape characters in the result.
    #[must_use]
    pub fn keep_escapes(mut self) -> Self {
        self.raw_escapes = true;
        self
    }

    /// Leaves references to unset variables as they are.
    #[must_use]
    pub fn keep_unset(mut self) -> Self {
        self.keep_unset = true;
        self
    }

    /// Expands a word.
    pub fn expand(&self, word: &str, env: &Environment) -> Result<Expansion, WordError> {
        let mut run = Run {
            lexer: *self,
            raw_escapes: self.raw_escapes,
            env,
            text: word,
            at: 0,
            depth: 0,
            inserted: 0,
            steps: 0,
            matched: BTreeSet::new(),
            unmatched: BTreeSet::new(),
        };
        let (word, words) = run.until(None)?;
        Ok(Expansion {
            word,
            words,
            matched: run.matched,
            unmatched: run.unmatched,
        })
    }
}

/// Collects words split at unquoted blanks.
#[derive(Default)]
struct Splitter {
    words: Vec<String>,
    word: String,
    /// Only the outermost level needs words.
    enabled: bool,
}

impl Splitter {
    fn push(&mut self, c: char) {
        if !self.enabled {
        } else if c.is_whitespace() {
            self.cut();
        } else {
            self.word.push(c);
        }
    }

    fn push_raw(&mut self, text: &str) {
        if self.enabled {
            self.word.push_str(text);
        }
    }

    fn cut(&mut self) {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}

/// One expansion under way.
struct Run<'a> {
    lexer: Lexer,
    raw_escapes: bool,
    env: &'a Environment,
    text: &'a str,
    at: usize,
    depth: usize,
    /// Bytes that variables brought in.
    inserted: usize,
    /// Steps that the matching of patterns took, or would have taken at worst.
    steps: usize,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

impl Run<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Fails at the construct that begins at `start`; it goes up to here, to the brace that
    /// closes it, or to the end of the word, depending on what is missing.
    fn fail<T>(&self, start: usize, kind: WordErrorKind) -> Result<T, WordError> {
        let end = match kind {
            WordErrorKind::Required { .. }
            | WordErrorKind::InvalidPattern { .. }
            | WordErrorKind::TooLong
            | WordErrorKind::TooCostly => self.at,
            WordErrorKind::BadSubstitution | WordErrorKind::UnsupportedModifier { .. } => {
                let brace = self.text[start..].find('}');
                brace.map_or(self.text.len(), |brace| start + brace + 1)
            }
            // The rest of a here-document is not what lacks the brace.
            WordErrorKind::MissingBrace | WordErrorKind::MissingSlash => {
                let rest = self.text.get(start..).unwrap_or_default();
                let line = rest.find(['\r', '\n']);
                line.map_or(self.text.len(), |line| start + line)
            }
            WordErrorKind::UnclosedQuote { .. } | WordErrorKind::TooDeep => self.text.len(),
        };
        let start = start.min(self.text.len());
        let range = start..end.max(start);
        Err(WordError { kind, range })
    }

    /// Reads up to `stop` (consumed) or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), WordError> {
        let mut result = String::new();
        let mut words = Splitter {
            enabled: stop.is_none(),
            ..Splitter::default()
        };
        while let Some(c) = self.peek() {
            if stop == Some(c) {
                self.next();
                return Ok((result, words.words));
            }
            match c {
                '\'' | '"' if self.lexer.quotes != Quotes::Ignore => {
                    let part = if c == '"' {
                        self.double_quoted()?
                    } else {
                        self.single_quoted()?
                    };
                    words.push_raw(&part);
                    result.push_str(&part);
                }
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| words.push(c));
                    result.push_str(&value);
                }
                '<' if self.text[self.at..].starts_with("<<") && stop.is_none() => {
                    let mark = self.heredoc_mark();
                    words.push_raw(mark);
                    result.push_str(mark);
                }
                _ => self.plain(&mut result, &mut words),
            }
        }
        if stop.is_some() {
            return self.fail(self.at, WordErrorKind::MissingBrace);
        }
        words.cut();
        Ok((result, words.words))
    }

    /// Reads one character that is not special, or an escape with what it
    /// escapes.
    fn plain(&mut self, result: &mut String, words: &mut Splitter) {
        let Some(mut c) = self.next() else { return };
        if c == self.lexer.escape {
            if self.raw_escapes {
                words.push_raw(c.encode_utf8(&mut [0; 4]));
                result.push(c);
            }
            let Some(escaped) = self.next() else { return };
            c = escaped;
            words.push_raw(c.encode_utf8(&mut [0; 4]));
        } else {
            words.push(c);
        }
        result.push(c);
    }

    /// Reads `<<`, an optional `-` and blanks, so that a heredoc's word stays
    /// with its mark.
    fn heredoc_mark(&mut self) -> &str {
        let start = self.at;
        self.at += 2;
        if self.peek() == Some('-') {
            self.next();
        }
        let after = self.at;
        while self.peek().is_some_and(|c| c == ' ' || c == '\t') {
            self.next();
        }
        if self.peek().is_none() {
            self.at = after;
        }
        &self.text[start..self.at]
    }

    fn single_quoted(&mut self) -> Result<String, WordError> {
        let start = self.at;
        self.next();
        let Some(length) = self.text[self.at..].find('\'') else {
            return self.fail(
                start,
                WordErrorKind::UnclosedQuote {
                    quote: "single-quote",
                },
            );
        };
        let inner = &self.text[self.at..self.at + length];
        self.at += length + 1;
        Ok(match self.lexer.quotes {
            Quotes::Keep => format!("'{inner}'"),
            _ => inner.to_owned(),
        })
    }

    fn double_quoted(&mut self) -> Result<String, WordError> {
        let start = self.at;
        let keep = self.lexer.quotes == Quotes::Keep;
        let mut result = String::new();
        self.next();
        if keep {
            result.push('"');
        }
        loop {
            match self.peek() {
                None => {
                    let kind = WordErrorKind::UnclosedQuote {
                        quote: "double-quote",
                    };
                    return self.fail(start, kind);
                }
                Some('"') => {
                    self.next();
                    if keep {
                        result.push('"');
                    }
                    return Ok(result);
                }
                Some('$') => result.push_str(&self.dollar()?),
                Some(c) => {
                    self.next();
                    self.quoted_char(c, &mut result);
                }
            }
        }
    }

    /// Handles one character between double quotes, where only quotes, dollars
    /// and the escape character itself can be escaped.
    fn quoted_char(&mut self, c: char, result: &mut String) {
        if c != self.lexer.escape {
            result.push(c);
            return;
        }
        if self.raw_escapes {
            result.push(c);
        }
        match self.peek() {
            None => {}
            Some(next) if next == '"' || next == '$' || next == self.lexer.escape => {
                self.next();
                result.push(next);
            }
            Some(_) => result.push(c),
        }
    }

    /// Expands `$name` or `${…}`, up to a limit: a few lines that double a variable would
    /// otherwise take all memory.
    fn dollar(&mut self) -> Result<String, WordError> {
        let start = self.at;
        let value = self.substitution()?;
        self.inserted += value.len();
        if self.inserted > MAX_INSERTED {
            return self.fail(start, WordErrorKind::TooLong);
        }
        Ok(value)
    }

    fn substitution(&mut self) -> Result<String, WordError> {
        let start = self.at;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.lookup(&name) {
                None if self.lexer.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.next();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(start, WordErrorKind::TooDeep);
        }
        let value = self
            .braces(start)
            .map_err(|error| self.reword(error, start));
        self.depth -= 1;
        value
    }

    /// An end of text inside braces is reported at the opening `${`.
    fn reword(&self, mut error: WordError, start: usize) -> WordError {
        if self.at >= self.text.len()
            && matches!(
                error.kind,
                WordErrorKind::MissingBrace | WordErrorKind::MissingSlash
            )
        {
            error.range.start = start;
        }
        error
    }

    fn braces(&mut self, start: usize) -> Result<String, WordError> {
        match self.peek() {
            None => return self.fail(start, WordErrorKind::MissingBrace),
            Some('{' | '}' | ':') => return self.fail(start, WordErrorKind::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let Some(operator) = self.next() else {
            return self.fail(start, WordErrorKind::MissingBrace);
        };
        match operator {
            '}' => Ok(match self.lookup(&name) {
                None if self.lexer.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            ':' => match self.next() {
                Some(operator) => self.conditional(start, &name, operator, true),
                None => self.fail(start, WordErrorKind::MissingBrace),
            },
            '+' | '-' | '?' => self.conditional(start, &name, operator, false),
            '#' | '%' => self.trimmed(start, &name, operator),
            '/' => self.replaced(start, &name),
            end if end.is_control() => {
                self.at -= end.len_utf8();
                self.fail(start, WordErrorKind::MissingBrace)
            }
            other => self.fail(
                start,
                WordErrorKind::UnsupportedModifier {
                    modifier: other.to_string(),
                },
            ),
        }
    }

    /// `-`, `+` and `?`, with or without a colon.
    fn conditional(
        &mut self,
        start: usize,
        name: &str,
        operator: char,
        colon: bool,
    ) -> Result<String, WordError> {
        let marks = format!("{}{operator}", if colon { ":" } else { "" });
        if !matches!(operator, '+' | '-' | '?') {
            return self.fail(
                start,
                WordErrorKind::UnsupportedModifier { modifier: marks },
            );
        }
        let word = self.raw_until('}', false)?;
        let value = self.env.get(name).map(str::to_owned);
        if value.is_some() {
            self.matched.insert(name.to_owned());
        }
        if self.lexer.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{marks}{word}}}"));
        }
        let present = value.clone().filter(|value| !(colon && value.is_empty()));
        match (operator, present) {
            ('-', None) => Ok(word),
            ('+', None) => Ok(String::new()),
            ('+', Some(_)) => Ok(word),
            ('?', None) => {
                let usual = if value.is_none() { "unset" } else { "empty" };
                let message = if word.is_empty() {
                    format!("is not allowed to be {usual}")
                } else {
                    word
                };
                self.fail(
                    start,
                    WordErrorKind::Required {
                        name: name.to_owned(),
                        message,
                    },
                )
            }
            (_, present) => Ok(present.unwrap_or_default()),
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn trimmed(&mut self, start: usize, name: &str, operator: char) -> Result<String, WordError> {
        let word = self.raw_until('}', true)?;
        let value = self.lookup(name);
        if self.lexer.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{operator}{word}}}"));
        }
        let value = value.unwrap_or_default();
        let (longest, text) = match word.strip_prefix(operator) {
            Some(rest) => (true, rest),
            None => (false, word.as_str()),
        };
        let pattern = self.pattern(start, text, &value)?;
        let kept = match operator {
            '#' => pattern.trim_prefix(&value, longest),
            _ => pattern.trim_suffix(&value, longest),
        };
        Ok(kept.to_owned())
    }

    /// `/pattern/replacement` and `//pattern/replacement`.
    fn replaced(&mut self, start: usize, name: &str) -> Result<String, WordError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let text = match self.raw_until('/', true) {
            Err(WordError {
                kind: WordErrorKind::MissingBrace,
                ..
            }) => {
                return self.fail(start, WordErrorKind::MissingSlash);
            }
            text => text?,
        };
        let replacement = self.raw_until('}', true)?;
        let Some(value) = self.lookup(name) else {
            let kept = format!("${{{name}/{text}/{replacement}}}");
            return Ok(if self.lexer.keep_unset {
                kept
            } else {
                String::new()
            });
        };
        let pattern = self.pattern(start, &text, &value)?;
        match pattern.replace(&value, &replacement, all, MAX_INSERTED) {
            Some(replaced) => Ok(replaced),
            None => self.fail(start, WordErrorKind::TooLong),
        }
    }

    fn raw_until(&mut self, stop: char, raw_escapes: bool) -> Result<String, WordError> {
        let before = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let result = self.until(Some(stop));
        self.raw_escapes = before;
        result.map(|(word, _)| word)
    }

    /// Parses a pattern that is going to be matched with a value.
    fn pattern(&mut self, start: usize, text: &str, value: &str) -> Result<Pattern, WordError> {
        let pattern = Pattern::new(text).or_else(|escape| {
            let kind = WordErrorKind::InvalidPattern {
                pattern: text.to_owned(),
                escape: escape.iter().collect(),
            };
            self.fail(start, kind)
        })?;
        self.steps = self.steps.saturating_add(pattern.steps(value.len()));
        if self.steps > MAX_STEPS {
            return self.fail(start, WordErrorKind::TooCostly);
        }
        Ok(pattern)
    }

    /// Reads a variable name: letters, digits and `_`; or all digits; or one
    /// of the shell's special parameters.
    fn name(&mut self) -> String {
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else {
            return String::new();
        };
        let length = if first.is_numeric() {
            rest.find(|c: char| !c.is_numeric()).unwrap_or(rest.len())
        } else if "@*#?-$!".contains(first) {
            first.len_utf8()
        } else {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())
        };
        self.at += length;
        rest[..length].to_owned()
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = self.env.get(name).map(str::to_owned);
        let seen = if value.is_some() {
            &mut self.matched
        } else {
            &mut self.unmatched
        };
        seen.insert(name.to_owned());
        value
    }
}

#[cfg(test)]
mod tests;
