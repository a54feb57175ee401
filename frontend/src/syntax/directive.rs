//! Parser directives: `# name=value` comments at the very top of a file.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::source::{SourceFile, Span, Spanned};

use super::line::PhysicalLine;

/// The build argument that counts in place of the `syntax` directive.
pub(crate) const SYNTAX_ARG: &str = "BUILDKIT_SYNTAX";

/// The name of the frontend that docker has built in.
const BUILT_IN: &str = "dockerfile.v0";

/// The directives of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The escape character, `\` unless set.
    pub escape: char,
    /// The requested frontend.
    pub syntax: Option<Spanned<String>>,
    /// Options of the build checks.
    pub check: Option<Spanned<String>>,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            escape: '\\',
            syntax: None,
            check: None,
        }
    }
}

/// Reads directives line by line until something else appears.
#[derive(Default)]
pub(crate) struct DirectiveReader {
    pub(crate) directives: Directives,
    seen: Vec<String>,
    done: bool,
}

impl DirectiveReader {
    /// Offers the next physical line.
    pub(crate) fn offer(&mut self, line: PhysicalLine<'_>, errors: &mut Diagnostics) {
        if self.done || (line.start == 0 && line.text.starts_with("#!")) {
            return;
        }
        let Some((key, value)) = split_directive(line.text) else {
            self.done = true;
            return;
        };
        let name = key.to_ascii_lowercase();
        if !matches!(name.as_str(), "escape" | "syntax" | "check") {
            self.done = true;
            return;
        }
        let span_of = |part: &str| {
            let start = line.start + (part.as_ptr() as usize - line.text.as_ptr() as usize);
            Span::new(start, start + part.len())
        };
        if self.seen.contains(&name) {
            errors.push(Diagnostic::error(
                Code::DuplicateDirective,
                span_of(key),
                format!("only one {name} parser directive can be used"),
            ));
            return;
        }
        let value = Spanned::new(value.to_owned(), span_of(value));
        match name.as_str() {
            "escape" => self.set_escape(&value, errors),
            "syntax" => {
                errors.extend(check_syntax(&value));
                self.directives.syntax = Some(value);
            }
            _ => self.directives.check = Some(value),
        }
        self.seen.push(name);
    }

    fn set_escape(&mut self, value: &Spanned<String>, errors: &mut Diagnostics) {
        match value.as_str() {
            "\\" => self.directives.escape = '\\',
            "`" => self.directives.escape = '`',
            other => errors.push(Diagnostic::error(
                Code::InvalidEscape,
                value.span,
                format!("invalid escape token '{other}' does not match ` or \\"),
            )),
        }
    }
}

/// Splits `# name = value`; `None` if the line is no directive at all.
fn split_directive(line: &str) -> Option<(&str, &str)> {
    let body = line.trim_start().strip_prefix('#')?.trim_start();
    let (key, value) = body.split_once('=')?;
    let (key, value) = (key.trim_end(), value.trim());
    let named = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric());
    (named && !value.is_empty()).then_some((key, value))
}

/// Finds `// syntax=…` or `{"syntax": …}`, by which files that are no
/// Dockerfile ask for their own frontend.
pub(crate) fn foreign_syntax(source: &SourceFile) -> Option<Diagnostic> {
    let mut text = source.text().trim_start_matches('\u{feff}');
    if text.starts_with("#!") {
        text = text.split_once('\n').map_or("", |(_, rest)| rest);
    }
    let start = source.text().len() - text.len();
    let image = if text.starts_with("//") {
        text.lines()
            .map_while(|line| line.strip_prefix("//"))
            .find_map(|line| {
                let (key, value) = line.split_once('=')?;
                key.trim()
                    .eq_ignore_ascii_case("syntax")
                    .then(|| value.trim().to_owned())
            })?
    } else if text.starts_with('{') {
        let object: serde_json::Value = serde_json::from_str(text).ok()?;
        object.get("syntax")?.as_str()?.to_owned()
    } else {
        return None;
    };
    let line = text.lines().next().unwrap_or_default();
    check_syntax(&Spanned::new(image, Span::new(start, start + line.len())))
}

/// Checks the value of `--build-arg BUILDKIT_SYNTAX`, which counts in place of the file's directive.
pub(crate) fn given_syntax(given: &str) -> Option<Diagnostic> {
    if given == BUILT_IN {
        return None;
    }
    let value = Spanned::new(given.to_owned(), Span::default());
    check_syntax(&value).map(|mut error| {
        error.message = format!(
            "--build-arg {SYNTAX_ARG} asks for the frontend image {given}, which cannot be run"
        );
        error.with_help(format!("leave it away, or say {SYNTAX_ARG}={BUILT_IN}"))
    })
}

/// Accepts docker's own frontend in any version: this one stands in for it.
fn check_syntax(value: &Spanned<String>) -> Option<Diagnostic> {
    let image = value.split_whitespace().next().unwrap_or_default();
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let repository = name.split(['@', ':']).next().unwrap_or_default();
    if matches!(
        repository,
        "docker/dockerfile" | "docker/dockerfile-upstream"
    ) {
        return None;
    }
    Some(Diagnostic::error(
        Code::UnsupportedSyntax,
        value.span,
        format!("the Dockerfile asks for the frontend image {image}, which cannot be run"),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::line::Lines;
    use super::*;

    fn read(text: &str) -> (Directives, Vec<&'static str>) {
        let mut reader = DirectiveReader::default();
        let mut errors = Vec::new();
        for line in Lines::new(text) {
            reader.offer(line, &mut errors);
        }
        (
            reader.directives,
            errors.into_iter().map(|error| error.code.name()).collect(),
        )
    }

    #[test]
    fn directives_count_only_at_the_top_and_once() {
        let table: &[(&str, char, &[&str])] = &[
            ("# escape=`\n", '`', &[]),
            ("#ESCAPE = `\nFROM a\n", '`', &[]),
            ("# a comment\n# escape=`\n", '\\', &[]),
            ("\n# escape=`\n", '\\', &[]),
            ("# unknown=x\n# escape=`\n", '\\', &[]),
            ("# escape=`\n# escape=`\n", '`', &["duplicate-directive"]),
            ("# escape=x\n", '\\', &["invalid-escape"]),
            (
                "# syntax=docker/dockerfile:1.7-labs\n# escape=`\n",
                '`',
                &[],
            ),
            (
                "# syntax=docker.io/docker/dockerfile-upstream@sha256:0\n",
                '\\',
                &[],
            ),
            (
                "# syntax=example.com/other:1\n",
                '\\',
                &["unsupported-syntax"],
            ),
            ("#!/usr/bin/env cooper\n# escape=`\n", '`', &[]),
            ("\u{feff}# escape=`\n", '`', &[]),
        ];
        for (text, escape, errors) in table {
            let (directives, codes) = read(text);
            assert_eq!(
                (directives.escape, codes.as_slice()),
                (*escape, *errors),
                "{text:?}"
            );
        }
    }

    #[test]
    fn files_for_other_frontends_are_recognised() {
        for (text, foreign) in [
            ("// syntax=example.com/x\nrest", true),
            ("{\"syntax\": \"example.com/x\"}", true),
            ("// syntax=docker/dockerfile:1\nFROM a", false),
            ("{}", false),
            ("#!/usr/bin/env x\n// syntax=example.com/x\n", true),
            ("#!/usr/bin/env x\n{\"syntax\": \"example.com/x\"}", true),
            ("#!/usr/bin/env x\nFROM a", false),
            ("FROM a", false),
        ] {
            let source = SourceFile::new("f", text);
            assert_eq!(foreign_syntax(&source).is_some(), foreign, "{text}");
        }
    }

    #[test]
    fn check_options_are_kept_verbatim() {
        let (directives, _) = read("# check=skip=A,B;error=true\n");
        assert_eq!(directives.check.unwrap().value, "skip=A,B;error=true");
    }
}
