//! ONBUILD triggers: text to instructions of the stage that they run in.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::instruction::{Instruction, Kind, parse_instruction};
use crate::source::{SourceFile, Span};
use crate::syntax::parse_ast;

/// Parses a trigger. Its tokens have no place in the Dockerfile, so that what
/// is wrong is reported at the FROM line that brings it in.
pub(super) fn parse(text: &str, from: Span) -> Result<Instruction, Diagnostics> {
    let source = SourceFile::new("trigger", text);
    let parsed = parse_ast(&source).and_then(|ast| {
        let Ok([statement]) = <[_; 1]>::try_from(ast.statements) else {
            let message = "onbuild trigger should be a single expression";
            return Err(vec![Diagnostic::error(Code::InvalidTrigger, from, message)]);
        };
        parse_instruction(statement, ast.directives.escape)
    });
    let instruction = parsed.map_err(|errors| relocate(errors, from, text))?;
    if matches!(instruction.kind, Kind::From(_)) {
        let message = "FROM isn't allowed as an ONBUILD trigger";
        let error = Diagnostic::error(Code::InvalidTrigger, from, message);
        return Err(relocate(vec![error], from, text));
    }
    Ok(instruction)
}

/// Moves errors of a trigger to the FROM line.
pub(crate) fn relocate(errors: Diagnostics, from: Span, text: &str) -> Diagnostics {
    let note = format!(
        "in the trigger `ONBUILD {}`",
        text.lines().next().unwrap_or_default()
    );
    errors
        .into_iter()
        .map(|mut error| {
            error.span = from;
            error.with_note(note.clone())
        })
        .collect()
}
