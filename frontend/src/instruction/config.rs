//! WORKDIR, USER, EXPOSE, VOLUME, STOPSIGNAL, MAINTAINER and ONBUILD.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::source::{Span, Spanned};
use crate::syntax::Statement;

use super::flags::Flags;
use super::{at_least_one, json};

/// An instruction for builds on top of this image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnBuild {
    /// The instruction, heredocs included, as it goes into the image.
    pub trigger: String,
    /// Its place.
    pub span: Span,
}

/// Reads an instruction whose whole rest is one value.
pub(super) fn parse_single(
    statement: &Statement,
    name: &str,
) -> Result<Spanned<String>, Diagnostics> {
    Flags::check(statement, &[])?;
    if statement.rest().is_empty() {
        let message = format!("{name} requires exactly one argument");
        return Err(vec![Diagnostic::error(
            Code::MissingArgument,
            statement.keyword.span,
            message,
        )]);
    }
    Ok(Spanned::new(
        statement.rest().to_owned(),
        statement.rest_span(),
    ))
}

pub(super) fn parse_expose(statement: &Statement) -> Result<Vec<Spanned<String>>, Diagnostics> {
    Flags::check(statement, &[])?;
    let mut ports = statement.blank_separated();
    if ports.is_empty() {
        return Err(vec![at_least_one(statement, "EXPOSE")]);
    }
    ports.sort_by(|a, b| a.value.cmp(&b.value));
    Ok(ports)
}

pub(super) fn parse_volume(statement: &Statement) -> Result<Vec<Spanned<String>>, Diagnostics> {
    Flags::check(statement, &[])?;
    let volumes = json::strings(statement, statement.rest())
        .map_err(|error| vec![error])?
        .unwrap_or_else(|| statement.blank_separated());
    if volumes.is_empty() {
        return Err(vec![at_least_one(statement, "VOLUME")]);
    }
    if let Some(empty) = volumes.iter().find(|volume| volume.trim().is_empty()) {
        let message = "VOLUME specified can not be an empty string";
        return Err(vec![Diagnostic::error(
            Code::EmptyVolume,
            empty.span,
            message,
        )]);
    }
    Ok(volumes
        .into_iter()
        .map(|volume| {
            let start = volume.len() - volume.trim_start().len();
            volume.part(start..start + volume.trim().len())
        })
        .collect())
}

pub(super) fn parse_onbuild(statement: &Statement) -> Result<OnBuild, Diagnostics> {
    Flags::check(statement, &[])?;
    let rest = statement.rest();
    let Some(keyword) = rest
        .split(crate::syntax::is_space)
        .next()
        .filter(|word| !word.is_empty())
    else {
        return Err(vec![at_least_one(statement, "ONBUILD")]);
    };
    let span = statement.line.span_of(keyword);
    let refused = match keyword.to_ascii_uppercase().as_str() {
        "ONBUILD" => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
        name @ ("MAINTAINER" | "FROM") => format!("{name} isn't allowed as an ONBUILD trigger"),
        _ => {
            let mut trigger = rest.to_owned();
            for document in &statement.heredocs {
                trigger.push('\n');
                trigger.push_str(&document.content);
                trigger.push_str(&document.name);
            }
            return Ok(OnBuild {
                trigger,
                span: statement.rest_span(),
            });
        }
    };
    Err(vec![Diagnostic::error(Code::InvalidTrigger, span, refused)])
}
