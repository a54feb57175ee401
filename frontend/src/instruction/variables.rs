//! ENV, LABEL and ARG.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::source::Spanned;
use crate::syntax::{Statement, is_space};

use super::at_least_one;
use super::flags::Flags;

/// A name with a value, both unexpanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: Spanned<String>,
    /// The value.
    pub value: Spanned<String>,
    /// Written as `NAME value`, without `=`.
    pub legacy: bool,
}

/// One variable of an ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDefinition {
    /// The name.
    pub name: Spanned<String>,
    /// The default, unexpanded.
    pub default: Option<Spanned<String>>,
}

pub(super) fn parse_pairs(
    statement: &Statement,
    name: &str,
    escape: char,
) -> Result<Vec<Pair>, Diagnostics> {
    Flags::check(statement, &[])?;
    let words = statement.words(escape);
    let Some(first) = words.first() else {
        return Err(vec![at_least_one(statement, name)]);
    };
    let pairs = if first.contains('=') {
        pairs(&words)?
    } else {
        vec![legacy_pair(statement, name)?]
    };
    match pairs.iter().find(|pair| pair.name.is_empty()) {
        Some(blank) => Err(vec![blank_name(name, &blank.name)]),
        None => Ok(pairs),
    }
}

fn blank_name(instruction: &str, name: &Spanned<String>) -> Diagnostic {
    let message = format!("{instruction} names can not be blank");
    Diagnostic::error(Code::BlankName, name.span, message)
}

fn pairs(words: &[Spanned<String>]) -> Result<Vec<Pair>, Diagnostics> {
    let mut errors = Vec::new();
    let mut pairs = Vec::new();
    for word in words {
        match split_assignment(word) {
            (name, Some(value)) => pairs.push(Pair {
                name,
                value,
                legacy: false,
            }),
            (name, None) => {
                let message = format!(
                    "Syntax error - can't find = in {:?}. Must be of the form: name=value",
                    name.value
                );
                errors.push(Diagnostic::error(Code::MissingEquals, word.span, message));
            }
        }
    }
    if errors.is_empty() {
        Ok(pairs)
    } else {
        Err(errors)
    }
}

/// Splits `name=value`.
fn split_assignment(word: &Spanned<String>) -> (Spanned<String>, Option<Spanned<String>>) {
    let Some(equals) = word.find('=') else {
        return (word.clone(), None);
    };
    (
        word.part(0..equals),
        Some(word.part(equals + 1..word.len())),
    )
}

fn legacy_pair(statement: &Statement, instruction: &str) -> Result<Pair, Diagnostics> {
    let rest = statement.rest();
    let Some((name, value)) = rest.split_once(is_space) else {
        let message = format!("{instruction} must have two arguments");
        return Err(vec![
            Diagnostic::error(Code::MissingArgument, statement.rest_span(), message)
                .with_help(format!("write {instruction} {rest}=value")),
        ]);
    };
    let line = &statement.line;
    Ok(Pair {
        name: line.spanned(name),
        value: line.spanned(value.trim_start_matches(is_space)),
        legacy: true,
    })
}

pub(super) fn parse_arg(
    statement: &Statement,
    escape: char,
) -> Result<Vec<ArgDefinition>, Diagnostics> {
    Flags::check(statement, &[])?;
    let words = statement.words(escape);
    if words.is_empty() {
        return Err(vec![at_least_one(statement, "ARG")]);
    }
    let mut errors = Vec::new();
    let mut definitions = Vec::new();
    for word in &words {
        let (name, default) = split_assignment(word);
        if name.is_empty() {
            errors.push(blank_name("ARG", word));
        }
        definitions.push(ArgDefinition { name, default });
    }
    if errors.is_empty() {
        Ok(definitions)
    } else {
        Err(errors)
    }
}
