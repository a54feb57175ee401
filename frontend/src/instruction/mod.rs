//! Statements to typed instructions, one file a family.
//!
//! Values are still as written: variables expand later, when the stage's
//! environment is known. What can be checked without that is checked here.

mod command;
mod config;
mod files;
mod flags;
mod from;
mod health;
mod json;
mod mount;
mod run;
mod variables;
mod words;

pub use command::{CommandForm, CommandLine};
pub use config::OnBuild;
pub use files::{CopyFiles, InlineSource};
pub use from::From;
pub use health::{Health, HealthDurations, HealthTest, parse_duration};
pub use json::almost as almost_json;
pub(crate) use json::misread;
pub use mount::{Mount, MountType};
pub use mount::{MountField, MountSpec};
pub use run::Run;
pub use variables::{ArgDefinition, Pair};
pub(crate) use words::{each_word, hopeless};

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::source::{Span, Spanned};
use crate::syntax::Statement;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it says.
    pub kind: Kind,
    /// Its name as written.
    pub keyword: Spanned<String>,
    /// Its lines, without heredocs.
    pub span: Span,
    /// The joined line, trimmed, as it stands.
    pub original: String,
    /// Comment lines directly above.
    pub comments: Vec<String>,
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the variants are the Dockerfile's instructions"
)]
pub enum Kind {
    From(From),
    Run(Box<Run>),
    Copy(Box<CopyFiles>),
    Add(Box<CopyFiles>),
    Env(Vec<Pair>),
    Label(Vec<Pair>),
    Arg(Vec<ArgDefinition>),
    Workdir(Spanned<String>),
    User(Spanned<String>),
    Expose(Vec<Spanned<String>>),
    Volume(Vec<Spanned<String>>),
    Cmd(CommandLine),
    Entrypoint(CommandLine),
    Shell(Vec<String>),
    StopSignal(Spanned<String>),
    Healthcheck(Health),
    OnBuild(OnBuild),
    Maintainer(String),
}

impl Kind {
    /// Returns the instruction's name in upper case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::From(_) => "FROM",
            Self::Run(_) => "RUN",
            Self::Copy(_) => "COPY",
            Self::Add(_) => "ADD",
            Self::Env(_) => "ENV",
            Self::Label(_) => "LABEL",
            Self::Arg(_) => "ARG",
            Self::Workdir(_) => "WORKDIR",
            Self::User(_) => "USER",
            Self::Expose(_) => "EXPOSE",
            Self::Volume(_) => "VOLUME",
            Self::Cmd(_) => "CMD",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::OnBuild(_) => "ONBUILD",
            Self::Maintainer(_) => "MAINTAINER",
        }
    }
}

/// The names of all instructions.
pub const NAMES: [&str; 18] = [
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "ENV",
    "LABEL",
    "ARG",
    "WORKDIR",
    "USER",
    "EXPOSE",
    "VOLUME",
    "CMD",
    "ENTRYPOINT",
    "SHELL",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "ONBUILD",
    "MAINTAINER",
];

/// Parses one statement; on failure the list holds every independent error.
pub fn parse_instruction(statement: Statement, escape: char) -> Result<Instruction, Diagnostics> {
    let kind = parse_kind(&statement, escape)
        .map_err(|errors| with_errors_beside_flags(errors, &statement, escape))?;
    let mut original = statement.line.text;
    if original.trim().len() < original.len() {
        original = original.trim().to_owned();
    }
    Ok(Instruction {
        kind,
        keyword: statement.keyword,
        span: statement.span,
        original,
        comments: statement.comments,
    })
}

/// Adds what is wrong beside the flags, which are looked at first.
fn with_errors_beside_flags(
    mut errors: Diagnostics,
    statement: &Statement,
    escape: char,
) -> Diagnostics {
    if !statement.flags.is_empty() {
        let mut bare = statement.clone();
        bare.flags.clear();
        let more = parse_kind(&bare, escape).err().unwrap_or_default();
        let new = more.into_iter().filter(|error| !errors.contains(error));
        let new: Vec<_> = new.collect();
        errors.extend(new);
    }
    errors
}

fn parse_kind(statement: &Statement, escape: char) -> Result<Kind, Diagnostics> {
    let written = statement.keyword.as_str();
    let name = NAMES.iter().find(|name| name.eq_ignore_ascii_case(written));
    match name.copied().unwrap_or_default() {
        "FROM" => from::parse(statement).map(Kind::From),
        "RUN" => run::parse(statement).map(|run| Kind::Run(Box::new(run))),
        "COPY" => files::parse_copy(statement).map(|copy| Kind::Copy(Box::new(copy))),
        "ADD" => files::parse_add(statement).map(|add| Kind::Add(Box::new(add))),
        "ENV" => variables::parse_pairs(statement, "ENV", escape).map(Kind::Env),
        "LABEL" => variables::parse_pairs(statement, "LABEL", escape).map(Kind::Label),
        "ARG" => variables::parse_arg(statement, escape).map(Kind::Arg),
        "WORKDIR" => config::parse_single(statement, "WORKDIR").map(Kind::Workdir),
        "USER" => config::parse_single(statement, "USER").map(Kind::User),
        "EXPOSE" => config::parse_expose(statement).map(Kind::Expose),
        "VOLUME" => config::parse_volume(statement).map(Kind::Volume),
        "CMD" => command::parse(statement).map(Kind::Cmd),
        "ENTRYPOINT" => command::parse(statement).map(Kind::Entrypoint),
        "SHELL" => command::parse_shell(statement).map(Kind::Shell),
        "STOPSIGNAL" => config::parse_single(statement, "STOPSIGNAL").map(Kind::StopSignal),
        "HEALTHCHECK" => health::parse(statement).map(Kind::Healthcheck),
        "ONBUILD" => config::parse_onbuild(statement).map(Kind::OnBuild),
        "MAINTAINER" => config::parse_single(statement, "MAINTAINER")
            .map(|maintainer| Kind::Maintainer(maintainer.value)),
        _ => Err(vec![unknown(&statement.keyword)]),
    }
}

fn unknown(keyword: &Spanned<String>) -> Diagnostic {
    let shown: String = keyword.chars().take(40).collect();
    let message = format!("unknown instruction: {shown}");
    Diagnostic::error(Code::UnknownInstruction, keyword.span, message)
        .with_suggestion(keyword, NAMES)
}

fn at_least_one(statement: &Statement, name: &str) -> Diagnostic {
    let message = format!("{name} requires at least one argument");
    Diagnostic::error(Code::MissingArgument, statement.keyword.span, message)
}

#[cfg(test)]
mod tests;
