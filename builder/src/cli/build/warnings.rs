//! What the build checks found: for people on stderr, for programs as BuildKit has it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cooper_frontend::{Diagnostic, SourceFile, Span, lint};
use serde_json::{Value, json};

use super::run::excerpt;
use crate::build::Checked;
use crate::report::{self, Excerpt, Severity};

/// Says what the build checks found.
pub(super) fn text(checked: &Checked, color: bool) -> String {
    let excerpts = warning_excerpts(&checked.file, &checked.warnings, &checked.notes);
    let heading = match excerpts.len() {
        0 => return String::new(),
        1 => "1 warning found:".to_owned(),
        many => format!("{many} warnings found:"),
    };
    format!("\n{heading}\n{}", report::render_warnings(&excerpts, color))
}

/// Returns the places that build checks complain about, then those of other warnings.
pub(super) fn warning_excerpts(
    file: &SourceFile,
    warnings: &[lint::Warning],
    notes: &[Diagnostic],
) -> Vec<Excerpt> {
    let text: Arc<str> = Arc::from(file.text());
    let found = warnings.iter().map(|warning| Excerpt {
        file: file.name().to_owned(),
        text: Arc::clone(&text),
        span: warning.span.range(),
        severity: if warning.error {
            Severity::Error
        } else {
            Severity::Warning
        },
        code: warning.rule.name.to_owned(),
        message: warning.message.clone(),
        label: String::new(),
        notes: Vec::new(),
        help: warning.help.clone(),
    });
    found
        .chain(notes.iter().map(|note| excerpt(file, note)))
        .collect()
}

/// Returns what was found as BuildKit tells of warnings (its `VertexWarning`): in the metadata
/// file, and among the lines of `--progress=rawjson`.
pub(super) fn objects(checked: &Checked) -> Vec<Value> {
    let file = &checked.file;
    let found = checked.warnings.iter().map(|warning| {
        let (first, _) = lines(file, warning.location);
        let short = format!("{}: {} (line {first})", warning.rule.name, warning.message);
        let mut object = object(file, &short, warning.rule.summary, warning.location);
        object["url"] = warning.rule.url().into();
        object
    });
    let notes = checked.notes.iter();
    let noted = notes.map(|note| object(file, &note.message, note.help(), note.span));
    found.chain(noted).collect()
}

fn object(file: &SourceFile, short: &str, detail: &str, span: Span) -> Value {
    let mut object = json!({ "level": 1, "short": BASE64.encode(short) });
    if !detail.is_empty() {
        object["detail"] = json!([BASE64.encode(detail)]);
    }
    object["sourceInfo"] = json!({
        "filename": file.name(),
        "data": data(file),
        "language": "Dockerfile",
    });
    object["range"] = ranges(file, span);
    object
}

/// Returns the numbers of a span's first and last line.
pub(super) fn lines(file: &SourceFile, span: Span) -> (usize, usize) {
    let line = |offset| file.line_column(offset).line;
    let first = line(span.start);
    let last = line(span.end.saturating_sub(1).max(span.start));
    (first, last)
}

/// Returns the lines of a span as BuildKit has them.
pub(super) fn ranges(file: &SourceFile, span: Span) -> Value {
    let (first, last) = lines(file, span);
    json!([{ "start": { "line": first }, "end": { "line": last } }])
}

/// Returns a file's text as BuildKit has it.
pub(super) fn data(file: &SourceFile) -> String {
    BASE64.encode(file.text())
}
