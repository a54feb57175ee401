//! CMD, ENTRYPOINT, SHELL, and the command line they share with RUN.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::source::Span;
use crate::syntax::Statement;

use super::flags::Flags;
use super::json;

/// A command in either form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The form and the text.
    pub form: CommandForm,
    /// Its place; the keyword's if there is no command.
    pub span: Span,
}

/// The two forms of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandForm {
    /// A JSON array: program and arguments as they are.
    Exec(Vec<String>),
    /// Anything else: a line for the shell.
    Shell(String),
}

/// Reads the command line of a statement whose flags have been checked.
pub(super) fn command_line(statement: &Statement) -> Result<CommandLine, Diagnostics> {
    let rest = statement.rest();
    let form = match json::strings(statement, rest).map_err(|error| vec![error])? {
        Some(args) => CommandForm::Exec(json::values(args)),
        None => CommandForm::Shell(rest.to_owned()),
    };
    Ok(CommandLine {
        form,
        span: statement.rest_span(),
    })
}

pub(super) fn parse(statement: &Statement) -> Result<CommandLine, Diagnostics> {
    Flags::check(statement, &[])?;
    command_line(statement)
}

pub(super) fn parse_shell(statement: &Statement) -> Result<Vec<String>, Diagnostics> {
    Flags::check(statement, &[])?;
    match command_line(statement)?.form {
        CommandForm::Exec(args) if !args.is_empty() => Ok(args),
        CommandForm::Shell(text) if !text.is_empty() => {
            let message = "SHELL requires the arguments to be in JSON form";
            let error = Diagnostic::error(Code::ShellNotJson, statement.rest_span(), message);
            Err(vec![error.with_notes(json::almost(&text))])
        }
        _ => Err(vec![super::at_least_one(statement, "SHELL")]),
    }
}
