//! Go templates: what `--format` makes of a value, as scripts written for docker expect it.
//!
//! | Written | Gives |
//! |---|---|
//! | `{{.A.B}}`, `{{(index .A 0).B}}`, `{{$x.B}}` | the field of a field; text as it is, lists as `[a b]`, maps as `map[k:v]` |
//! | `{{.A \| json \| printf "%-9s"}}` | each function gets what stands before it as its last operand |
//! | `{{if .A}}…{{else if .B}}…{{else}}…{{end}}` | one of the bodies; empty, nought and false are no |
//! | `{{with .A}}…{{else}}…{{end}}` | `.` is the value |
//! | `{{range .A}}…{{end}}`, `{{range $k, $v := .A}}` | `.` is each value in turn; `break`, `continue`, `else` |
//! | `{{$x := .A}}`, `{{$x = .B}}`, `{{$.C}}` | variables; `$` is the whole value |
//! | `{{define "x"}}…{{end}}{{template "x" .}}` | templates of templates; `block` does both |
//! | `{{/* … */}}`, `{{-`, `-}}` | nothing, and no space on that side |
//! | `and` `or` `not` `eq` `ne` `lt` `le` `gt` `ge` `index` `slice` `len` `print` `printf` `println` `html` `js` `urlquery` `call` | Go's functions |
//! | `json` `join` `split` `lower` `upper` `title` `pad` `truncate` `table` `replace` | those of docker and podman |
//!
//! `\n` and `\t` in the text outside of braces are a new line and a tab. A field that is not there
//! is an error, but a field of nothing is nothing.

mod eval;
mod functions;
mod lex;
mod parse;
mod print;

use serde_json::Value;
use thiserror::Error;

use parse::Templates;

/// A template that cannot be read or does not fit the value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TemplateError(String);

impl TemplateError {
    /// Says in which action it is, unless that is said already.
    fn within(self, action: &str) -> Self {
        if self.0.starts_with("in {{") {
            return self;
        }
        Self(format!("in {action}: {}", self.0))
    }
}

fn error<T>(text: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError(text.into()))
}

/// What a field is that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Error,
    NoValue,
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Templates);

impl std::str::FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text).map(Self)
    }
}

impl Template {
    /// Returns the text of the template for `value`.
    pub fn render(&self, value: &Value) -> Result<String, TemplateError> {
        eval::render(&self.0, value, Missing::Error)
    }

    /// Returns the same for a document of any kind: what it does not have is no value, as a key that
    /// is not in a map is in Go.
    pub fn render_any(&self, value: &Value) -> Result<String, TemplateError> {
        eval::render(&self.0, value, Missing::NoValue)
    }
}

#[cfg(test)]
mod tests;
