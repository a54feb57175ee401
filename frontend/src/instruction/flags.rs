//! The `--flags` of an instruction against those that it knows.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::source::Spanned;
use crate::syntax::{Flag, Statement};

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// A value; at most once.
    Text,
    /// Nothing, `true` or `false`; at most once.
    Switch,
    /// A value; any number of times.
    Many,
}

/// Flags that have been checked.
pub(super) struct Flags<'a> {
    given: Vec<&'a Flag>,
}

impl<'a> Flags<'a> {
    /// Checks the flags of a statement; all wrong ones are reported.
    pub(super) fn check(
        statement: &'a Statement,
        known: &[(&'static str, Takes)],
    ) -> Result<Self, Diagnostics> {
        let mut errors = Vec::new();
        let mut given: Vec<&Flag> = Vec::new();
        for flag in &statement.flags {
            let Some(&(_, takes)) = known.iter().find(|(name, _)| *name == flag.name) else {
                errors.push(unknown(flag, known));
                continue;
            };
            if takes != Takes::Many && given.iter().any(|earlier| earlier.name == flag.name) {
                let message = format!("duplicate flag specified: {}", flag.name);
                errors.push(Diagnostic::error(Code::DuplicateFlag, flag.span, message));
            }
            errors.extend(check_value(flag, takes));
            given.push(flag);
        }
        if errors.is_empty() {
            Ok(Self { given })
        } else {
            Err(errors)
        }
    }

    /// Returns the value of a flag that takes one, if it was given.
    pub(super) fn text(&self, name: &str) -> Option<Spanned<String>> {
        self.many(name).into_iter().next()
    }

    /// Returns all values of a flag.
    pub(super) fn many(&self, name: &str) -> Vec<Spanned<String>> {
        let given = self.given.iter().filter(|flag| flag.name == name);
        given.filter_map(|flag| flag.value.clone()).collect()
    }

    /// Returns the state of a switch, if it was given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        let flag = self.given.iter().find(|flag| flag.name == name)?;
        Some(
            flag.value
                .as_ref()
                .is_none_or(|value| value.value != "false"),
        )
    }
}

fn unknown(flag: &Flag, known: &[(&'static str, Takes)]) -> Diagnostic {
    let names: Vec<String> = known.iter().map(|(name, _)| format!("--{name}")).collect();
    let written = format!("--{}", flag.name);
    let error = Diagnostic::error(
        Code::UnknownFlag,
        flag.span,
        format!("unknown flag: {written}"),
    )
    .with_suggestion(&written, names.iter().map(String::as_str));
    if error.has_own_help() || names.is_empty() {
        error
    } else {
        error.with_help(format!("known flags: {}", names.join(", ")))
    }
}

fn check_value(flag: &Flag, takes: Takes) -> Option<Diagnostic> {
    match (takes, flag.value.as_ref()) {
        (Takes::Text | Takes::Many, None) => {
            let message = format!("missing a value on flag: {}", flag.name);
            Some(Diagnostic::error(
                Code::MissingFlagValue,
                flag.span,
                message,
            ))
        }
        (Takes::Switch, Some(value)) if !matches!(value.as_str(), "true" | "false") => {
            let message = format!(
                "expecting boolean value for flag {}, not: {}",
                flag.name, value.value
            );
            Some(Diagnostic::error(
                Code::InvalidFlagValue,
                value.span,
                message,
            ))
        }
        _ => None,
    }
}
