//! FROM.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::source::Spanned;
use crate::syntax::Statement;

use super::flags::{Flags, Takes};

/// `FROM [--platform=P] BASE [AS NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// Image, stage or `scratch`, unexpanded.
    pub base: Spanned<String>,
    /// The stage's name in lower case.
    pub name: Option<Spanned<String>>,
    /// `AS` as written.
    pub as_keyword: Option<Spanned<String>>,
    /// The platform, unexpanded.
    pub platform: Option<Spanned<String>>,
}

pub(super) fn parse(statement: &Statement) -> Result<From, Diagnostics> {
    let flags = Flags::check(statement, &[("platform", Takes::Text)])?;
    let words = statement.blank_separated();
    let (base, as_keyword, name) = match words.as_slice() {
        [base] => (base, None, None),
        [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => {
            (base, Some(keyword.clone()), Some(stage_name(name)?))
        }
        _ => {
            return Err(vec![Diagnostic::error(
                Code::FromArguments,
                statement.rest_span(),
                "FROM requires either one or three arguments",
            )]);
        }
    };
    Ok(From {
        base: base.clone(),
        name,
        as_keyword,
        platform: flags.text("platform"),
    })
}

fn stage_name(written: &Spanned<String>) -> Result<Spanned<String>, Diagnostics> {
    let name = written.to_lowercase();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    if valid {
        return Ok(Spanned::new(name, written.span));
    }
    let message = format!(
        "invalid name for build stage: {:?}, name can't start with a number or contain symbols",
        written.value
    );
    Err(vec![Diagnostic::error(
        Code::InvalidStageName,
        written.span,
        message,
    )])
}
