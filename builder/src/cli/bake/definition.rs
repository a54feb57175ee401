//! Where a definition is read from, and how its faults are told.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use cooper_frontend::SourceFile;
use cooper_oci::Platform;
use jiff::Timestamp;

use super::super::Settings;
use super::super::value::each;
use super::{BakeArgs, reads_environment, variable};
use crate::bake::{Definition, Fault, Place, ResolveError, Surroundings, dotenv};
use crate::config::Environment;
use crate::report::{Excerpt, Report};

/// Looked for in the working directory when no file is named; all that are there are read.
const DEFAULT_FILES: [&str; 8] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Reads the files of a definition.
pub(super) fn files(
    named: &[String],
    environment: &Environment,
) -> Result<Vec<Arc<SourceFile>>, Report> {
    let mut named = named.to_vec();
    if named.is_empty()
        && let Some(list) = environment.text("BUILDX_BAKE_FILE")
    {
        let separator = environment.text("BUILDX_BAKE_PATH_SEPARATOR");
        let separator = separator.filter(|text| !text.is_empty());
        let separator = separator.unwrap_or_else(|| ":".to_owned());
        let names = list.split(&separator).map(str::trim);
        named = names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
    }
    let mut out = Vec::new();
    if named.is_empty() {
        for name in DEFAULT_FILES.iter().filter(|name| Path::new(name).exists()) {
            out.push(read(name)?);
        }
        if out.is_empty() {
            return Err(Report::new("there is no bake definition in this directory")
                .hint("write a docker-bake.hcl or a compose.yaml, or name the file with -f"));
        }
        return Ok(out);
    }
    for name in &named {
        out.push(read(name.strip_prefix("cwd://").unwrap_or(name))?);
    }
    Ok(out)
}

fn read(name: &str) -> Result<Arc<SourceFile>, Report> {
    let load = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut limited: Box<dyn Read> = if name == "-" {
            Box::new(io::stdin().lock().take(MAX_FILE + 1))
        } else {
            Box::new(std::fs::File::open(name)?.take(MAX_FILE + 1))
        };
        limited.read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::other("it is larger than 16 MiB"));
        }
        Ok(bytes)
    };
    let bytes = load().map_err(|error| {
        Report::from_error(&error)
            .context(format!("cannot read the bake definition {name}"))
            .hint("-f names a file, relative to the working directory")
    })?;
    let name = if name == "-" { "stdin" } else { name };
    Ok(Arc::new(SourceFile::from_bytes(name, &bytes)))
}

/// What definitions may ask for.
pub(super) struct World<'a> {
    settings: &'a Settings,
    vars: BTreeMap<String, String>,
    reads_environment: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(args: &BakeArgs, settings: &'a Settings) -> Result<Self, Report> {
        Ok(Self {
            settings,
            vars: each("--var", &args.var, variable)?.into_iter().collect(),
            reads_environment: reads_environment(settings),
        })
    }

    /// Looks up a variable: `--var`, else the environment.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let given = self.vars.get(name).cloned();
        given.or_else(|| {
            let environment = &self.settings.environment;
            self.reads_environment
                .then(|| environment.text(name))
                .flatten()
        })
    }

    pub(super) fn read(&self, files: &[Arc<SourceFile>]) -> Result<Definition, Report> {
        let builtin = [
            ("BAKE_CMD_CONTEXT", "cwd://".to_owned()),
            ("BAKE_LOCAL_PLATFORM", Platform::host().to_string()),
        ];
        let variable = |name: &str| self.variable(name);
        let surroundings = Surroundings {
            variable: &variable,
            dotenv: self.dotenv()?,
            builtin: builtin.map(|(name, value)| (name.to_owned(), value)).into(),
            now: Timestamp::now(),
            home: self.settings.environment.text("HOME"),
            random: &random,
        };
        Definition::read(files, &surroundings).map_err(invalid)
    }

    fn dotenv(&self) -> Result<BTreeMap<String, String>, Report> {
        let path = Path::new(".env");
        if !path.is_file() {
            return Ok(BTreeMap::new());
        }
        let bytes = std::fs::read(path)
            .map_err(|error| Report::from_error(&error).context("cannot read .env"))?;
        dotenv(&String::from_utf8_lossy(&bytes), &|name| {
            self.variable(name)
        })
        .map_err(Report::new)
    }
}

fn random(bytes: &mut [u8]) {
    let flags = rustix::rand::GetRandomFlags::empty();
    // A request for 16 bytes is never cut short once the system has seeded its pool.
    let _ = rustix::rand::getrandom(bytes, flags);
}

/// Shows all faults with their places.
pub(super) fn invalid(faults: Vec<Fault>) -> Report {
    let report = Report::new("the bake definition is not valid");
    faults
        .into_iter()
        .fold(report, |report, fault| report.excerpt(fault.excerpt()))
}

/// Shows the place of an attribute that cannot be used.
pub(super) fn excerpt_at(place: &Place, message: String) -> Excerpt {
    Fault::new("attribute", place, message).excerpt()
}

/// Says why the targets that were asked for cannot be had.
pub(super) fn unresolved(error: ResolveError) -> Report {
    let report = Report::from_error(&error);
    match error {
        ResolveError::UnknownTarget {
            suggestion: Some(_),
            fault: Some(fault),
            ..
        } => report.excerpt(fault.excerpt()),
        ResolveError::UnknownTarget { name, .. } if matches!(&*name, "." | ".." | "./") => report
            .hint(
                "bake takes targets, and the definition of the working directory unless -f names one",
            ),
        ResolveError::UnknownTarget {
            suggestion: Some(meant),
            ..
        } => report.hint(format!("did you mean {meant:?}?")),
        ResolveError::UnknownTarget { known, .. } if known.is_empty() => {
            report.hint("the definition has no targets")
        }
        ResolveError::UnknownTarget {
            name, known, fault, ..
        } => {
            let known = known.join(", ");
            let report = fault
                .into_iter()
                .fold(report, |report, fault| report.excerpt(fault.excerpt()));
            if name == "default" {
                report.hint(format!(
                    "name the targets to build, or write a group \"default\": {known}"
                ))
            } else {
                report.hint(format!("known are {known}"))
            }
        }
        ResolveError::UnknownParent {
            fault: Some(fault), ..
        } => report.excerpt(fault.excerpt()),
        ResolveError::UnknownParent {
            suggestion: Some(meant),
            ..
        } => report.hint(format!("did you mean {meant:?}?")),
        ResolveError::Override {
            hint: Some(hint), ..
        } => report.hint(hint),
        ResolveError::LinkCycle { from, .. } => report.hint(format!(
            "let {from}, or what it needs, start from something else than a `target:` context"
        )),
        ResolveError::Stdin { .. } => report.hint("name a directory or a file in place of `-`"),
        ResolveError::UnknownParent { .. } | ResolveError::Override { .. } => report,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One error of each kind; a new one has no place here until somebody writes it down.
    fn kinds() -> Vec<(&'static str, ResolveError)> {
        let app = || "app".to_owned();
        let unknown = |suggestion: Option<&str>, known: &[&str]| ResolveError::UnknownTarget {
            by: None,
            name: app(),
            suggestion: suggestion.map(str::to_owned),
            known: known.iter().map(|&name| name.to_owned()).collect(),
            fault: None,
        };
        let all = vec![
            unknown(Some("api"), &["api"]),
            unknown(None, &["db", "web"]),
            unknown(None, &[]),
            ResolveError::UnknownParent {
                name: app(),
                parent: "_bsae".to_owned(),
                suggestion: Some("_base".to_owned()),
                fault: None,
            },
            ResolveError::LinkCycle {
                from: app(),
                to: "base".to_owned(),
            },
            ResolveError::Stdin {
                target: app(),
                what: "context",
            },
            ResolveError::Override {
                text: "app.tgas=x".to_owned(),
                problem: "there is no key tgas".to_owned(),
                hint: Some("did you mean \"tags\"?".to_owned()),
            },
        ];
        let named = |error| match error {
            error @ ResolveError::UnknownTarget { .. } => ("unknown target", error),
            error @ ResolveError::UnknownParent { .. } => ("unknown parent", error),
            error @ ResolveError::LinkCycle { .. } => ("cycle", error),
            error @ ResolveError::Stdin { .. } => ("stdin", error),
            error @ ResolveError::Override { .. } => ("override", error),
        };
        all.into_iter().map(named).collect()
    }

    #[test]
    fn each_kind_of_error_says_what_to_do() {
        let shown = kinds().into_iter().map(|(name, error)| {
            let text = unresolved(error).render(false);
            assert!(text.contains("hint: "), "{name}: {text}");
            format!("{name}\n{text}")
        });
        insta::assert_snapshot!("each-kind", shown.collect::<Vec<_>>().join("\n"));
    }
}
