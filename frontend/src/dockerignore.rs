//! `.dockerignore` files, with docker's own matching.
//!
//! The patterns are not gitignore's: they are rooted, `**` crosses
//! directories, the last match wins, a pattern that matches a directory
//! matches everything below it, and a later `!` pattern brings back files even
//! below an excluded directory.
//!
//! ```
//! use cooper_frontend::dockerignore::DockerIgnore;
//!
//! let ignore = DockerIgnore::parse("**/*.o\n!keep.o\n").unwrap();
//! assert!(ignore.matches("src/a.o"));
//! assert!(!ignore.matches("keep.o"));
//! ```

mod glob;

use glob::Glob;

use crate::source::Span;

/// A parsed `.dockerignore`.
#[derive(Clone, Debug, Default)]
pub struct DockerIgnore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    glob: Glob,
    negated: bool,
    line: usize,
    text: String,
}

/// A line of a `.dockerignore` that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DockerIgnoreError {
    /// A lone `!`.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneNegation {
        /// Line number, from 1.
        line: usize,
    },
    /// A bracket or an escape that is not finished.
    #[error("syntax error in pattern {pattern:?}")]
    BadPattern {
        /// Line number, from 1.
        line: usize,
        /// The pattern.
        pattern: String,
    },
}

impl DockerIgnoreError {
    /// Returns where the line is in the text of the file, without the blanks around it.
    pub fn span(&self, text: &str) -> Span {
        let (Self::LoneNegation { line } | Self::BadPattern { line, .. }) = self;
        let lines = text.split_inclusive('\n');
        let start: usize = lines.clone().take(line - 1).map(str::len).sum();
        let whole = lines.clone().nth(line - 1).unwrap_or_default();
        let word = whole.trim_start_matches('\u{feff}').trim();
        let start = start + whole.find(word).unwrap_or(0);
        Span::new(start, start + word.len())
    }
}

/// What a walk over the context does with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the context.
    Include,
    /// It is not, nor is anything below it.
    Exclude,
    /// It is not, but something below it may be.
    Descend,
}

/// The pattern that decided about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Line number in the file, from 1.
    pub line: usize,
    /// The pattern as written, trimmed.
    pub pattern: &'a str,
}

impl DockerIgnore {
    /// Parses a file's text.
    pub fn parse(text: &str) -> Result<Self, DockerIgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, line) in text.lines().enumerate() {
            patterns.extend(parse_line(line, index + 1)?);
        }
        Ok(Self { patterns })
    }

    /// Makes a matcher of patterns such as those of `--exclude`.
    pub fn from_patterns<'a>(
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, DockerIgnoreError> {
        let mut parsed = Vec::new();
        for (index, pattern) in patterns.into_iter().enumerate() {
            parsed.extend(parse_pattern(pattern.trim(), index + 1)?);
        }
        Ok(Self { patterns: parsed })
    }

    /// Returns whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns whether a path (relative, `/`-separated) is excluded.
    pub fn matches(&self, path: &str) -> bool {
        self.decide(path)
            .is_some_and(|index| !self.patterns[index].negated)
    }

    /// Returns the pattern that excludes a path.
    pub fn reason(&self, path: &str) -> Option<Decision<'_>> {
        let pattern = &self.patterns[self.decide(path)?];
        (!pattern.negated).then_some(Decision {
            line: pattern.line,
            pattern: &pattern.text,
        })
    }

    /// Returns what to do with an entry of a walk from the root down.
    ///
    /// Below [`Verdict::Exclude`] nothing is included, so a directory can be
    /// pruned there.
    pub fn verdict(&self, path: &str, is_dir: bool) -> Verdict {
        match self.decide(path) {
            Some(index) if !self.patterns[index].negated => {
                if is_dir && self.may_hold_included(path, index) {
                    Verdict::Descend
                } else {
                    Verdict::Exclude
                }
            }
            _ => Verdict::Include,
        }
    }

    /// Finds the last pattern that changes whether the path is excluded, by
    /// matching it or a parent of it.
    fn decide(&self, path: &str) -> Option<usize> {
        let mut decision = None;
        let mut excluded = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            if pattern.negated == excluded && pattern.glob.matches_or_parent(path) {
                decision = Some(index);
                excluded = !pattern.negated;
            }
        }
        decision
    }

    /// Whether a `!` pattern after the one that excluded a directory can match
    /// something below it.
    fn may_hold_included(&self, directory: &str, excluded_by: usize) -> bool {
        let later = &self.patterns[excluded_by + 1..];
        later
            .iter()
            .any(|pattern| pattern.negated && pattern.glob.may_match_below(directory))
    }
}

/// Parses a line of a file, where `#` starts a comment and a leading slash
/// means nothing.
fn parse_line(line: &str, number: usize) -> Result<Option<Pattern>, DockerIgnoreError> {
    if line.starts_with('#') {
        return Ok(None);
    }
    let line = line.trim();
    if line.is_empty() {
        return Ok(None);
    }
    let (negated, body) = match line.strip_prefix('!') {
        Some(body) => (true, body.trim()),
        None => (false, line),
    };
    if body.is_empty() {
        return Err(DockerIgnoreError::LoneNegation { line: number });
    }
    let cleaned = clean(body);
    let rooted = cleaned
        .strip_prefix('/')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(&cleaned);
    compile(rooted, negated, number, line).map(Some)
}

/// Parses a pattern that did not come from a file.
fn parse_pattern(text: &str, number: usize) -> Result<Option<Pattern>, DockerIgnoreError> {
    if text.is_empty() {
        return Ok(None);
    }
    let cleaned = clean(text);
    match cleaned.strip_prefix('!') {
        Some("") => Err(DockerIgnoreError::LoneNegation { line: number }),
        Some(body) => compile(body, true, number, text).map(Some),
        None => compile(&cleaned, false, number, text).map(Some),
    }
}

fn compile(
    pattern: &str,
    negated: bool,
    line: usize,
    text: &str,
) -> Result<Pattern, DockerIgnoreError> {
    let glob = Glob::new(pattern).ok_or_else(|| DockerIgnoreError::BadPattern {
        line,
        pattern: text.to_owned(),
    })?;
    Ok(Pattern {
        glob,
        negated,
        line,
        text: text.to_owned(),
    })
}

/// Cleans a path as Go's `filepath.Clean` does.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests;
