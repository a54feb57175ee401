//! `cooper build --call`: what is said of a Dockerfile without building it.
//!
//! The text and the JSON are data and go to stdout in docker's form, so that programs that read
//! it from `docker buildx build` can read it from here.

use crate::exit::ExitCode;
use std::fmt::Write as _;

use cooper_frontend::describe::{Outline, OutlineMount, Target};
use cooper_frontend::{SourceFile, Span, lint};
use serde_json::{Value, json};

use super::super::Settings;
use super::super::interrupt::Interrupt;
use super::super::session::Session;
use super::super::table::Table;
use super::run::failed;
use super::warnings::{data, lines, ranges, warning_excerpts};
use crate::build::{self, BuildError, Checked, Inspection};
use crate::options::{BuildOptions, Method, ProgressMode};
use crate::progress::{Display, DisplayOptions, Summary};
use crate::report::{self, Exit, Report};

/// What a Dockerfile says to a question.
pub struct Answer {
    /// For people; empty if the Dockerfile could not be understood.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// Whether the checks found something.
    pub failed: bool,
    /// Why there is no build to be had of it.
    pub error: Option<Report>,
}

/// Answers a question about a Dockerfile on stdout.
pub(super) fn run(options: &BuildOptions, settings: &Settings) -> Result<ExitCode, Report> {
    let target = build::Target { name: "", options };
    let Some(answer) = ask(&[target], settings)?.pop() else {
        return Ok(ExitCode::SUCCESS);
    };
    // A Dockerfile that is not understood has only an error in place of other answers.
    if answer.error.is_none() || options.call.method == Method::Check {
        report::print_data(&if options.call.json {
            pretty(&answer.json)
        } else {
            answer.text
        })?;
    }
    match answer.error {
        Some(report) => Err(report),
        None if answer.failed => Ok(Exit::Failure.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Asks the targets' Dockerfiles what the options of each ask for. Those that ask for a build are
/// checked: others may start from them. What concerns all of them (registries, the display) is
/// taken from the first.
pub fn ask(targets: &[build::Target<'_>], settings: &Settings) -> Result<Vec<Answer>, Report> {
    let Some(build::Target { options, .. }) = targets.first() else {
        return Ok(Vec::new());
    };
    let session = Session::open(settings)?;
    let session = build::Session {
        store: session.store,
        client: settings.registry_client(&options.registry)?,
        resolv_conf: Vec::new(),
    };
    let mode = if options.quiet || options.call.method != Method::Check {
        ProgressMode::Quiet
    } else {
        options.progress
    };
    let color = settings.color(&std::io::stderr());
    let display = Display::start(DisplayOptions {
        mode,
        color,
        look: settings.look().0,
    });
    let interrupt = Interrupt::listen()
        .map_err(|error| Report::from_error(&error).context("cannot listen for signals"))?;
    let cancel = interrupt.token().clone();
    let request = build::Request {
        targets,
        progress: &display.progress(),
        cancel: &cancel,
        environment: &|name| settings.environment.bytes(name),
        on_failure: None,
    };
    let found = find(&session, &request);
    let summary = display.finish();
    if cancel.is_cancelled() {
        return Err(Report::silent(Exit::Interrupted));
    }
    let one = |(found, target): (Found, &build::Target<'_>)| {
        let summary = summary.clone();
        match found {
            Found::Checked(found) => checked(found, target.options, color, summary),
            Found::Outline(found) => said(found, outline_text, outline_json, summary),
            Found::Methods => methods(),
            Found::Targets(found) => said(
                found,
                |targets| targets_text(targets),
                |file, targets| targets_json(file, targets),
                summary,
            ),
        }
    };
    Ok(found.into_iter().zip(targets).map(one).collect())
}

/// What was found out.
enum Found {
    Checked(Inspection),
    Outline(Result<(SourceFile, Outline), BuildError>),
    Targets(Result<(SourceFile, Vec<Target>), BuildError>),
    /// Nothing that depends on the Dockerfile.
    Methods,
}

fn find(session: &build::Session, request: &build::Request<'_>) -> Vec<Found> {
    let is_check = |target: &build::Target<'_>| {
        matches!(target.options.call.method, Method::Build | Method::Check)
    };
    let mut checks = if request.targets.iter().any(is_check) {
        build::check(session, request).into_iter()
    } else {
        Vec::new().into_iter()
    };
    let one = |target: &build::Target<'_>| {
        let options = target.options;
        let inspection = checks.next().unwrap_or_default();
        match options.call.method {
            Method::Build | Method::Check => Found::Checked(inspection),
            Method::Outline => Found::Outline(build::describe(session, options, request)),
            Method::Targets => Found::Targets(build::list_targets(session, options, request)),
            Method::Methods => Found::Methods,
        }
    };
    request.targets.iter().map(one).collect()
}

fn said<T>(
    found: Result<(SourceFile, T), BuildError>,
    text: impl Fn(&T) -> String,
    json: impl Fn(&SourceFile, &T) -> Value,
    summary: Summary,
) -> Answer {
    let (text, json, error) = match found {
        Ok((file, found)) => (text(&found), json(&file, &found), None),
        Err(error) => {
            let report = failed(&error, summary);
            (String::new(), Value::Null, Some(report))
        }
    };
    Answer {
        text,
        json,
        failed: false,
        error,
    }
}

/// The questions that can be asked, as docker's frontends tell them. There is one version of each.
const METHODS: [(&str, &str); 4] = [
    ("outline", "What a build of the target takes"),
    ("lint", "What the build checks find"),
    ("targets", "The stages that can be built"),
    ("subrequests.describe", "This list"),
];

fn methods() -> Answer {
    const VERSION: &str = "1.0.0";
    let mut table = Table::new(["NAME", "VERSION", "DESCRIPTION"]);
    for (name, description) in METHODS {
        table.row([name.to_owned(), VERSION.to_owned(), description.to_owned()]);
    }
    let json = |(name, description): &(&str, &str)| {
        json!({
            "name": format!("frontend.{name}"),
            "version": VERSION,
            "type": "rpc",
            "description": description,
        })
    };
    Answer {
        text: table.render(),
        json: METHODS.iter().map(json).collect(),
        failed: false,
        error: None,
    }
}

fn checked(found: Inspection, options: &BuildOptions, color: bool, summary: Summary) -> Answer {
    let json = check_json(&found);
    let mut text = String::new();
    let mut count = 0;
    if let Some(checked) = &found.checked {
        text = check_text(checked);
        count = checked.warnings.len();
        let notes = warning_excerpts(&checked.file, &[], &checked.notes);
        report::print_error(&report::render_warnings(&notes, color));
    }
    Answer {
        text,
        json,
        failed: count > 0 && !options.call.ignore_status,
        error: found.error.map(|error| failed(&error, summary)),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn check_text(checked: &Checked) -> String {
    let mut out = match checked.warnings.len() {
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        many => format!("Check complete, {many} warnings have been found!\n"),
    };
    for warning in &checked.warnings {
        let _ = write!(
            out,
            "\nWARNING: {} - {}\n{}\n",
            warning.rule.name,
            warning.rule.url(),
            warning.message
        );
        excerpt(&checked.file, warning, &mut out);
    }
    out
}

/// How many lines are shown before and after the ones at fault.
const AROUND: usize = 2;

/// Shows lines as docker does, those at fault marked with `>>>`.
fn excerpt(file: &SourceFile, warning: &lint::Warning, out: &mut String) {
    const RULE: &str = "--------------------";
    let (first, last) = lines(file, warning.location);
    let _ = write!(out, "{}:{first}\n{RULE}\n", file.name());
    let shown = first.saturating_sub(AROUND).max(1)..=last + AROUND;
    let numbered = (1..).zip(file.text().lines());
    for (number, line) in numbered.filter(|(number, _)| shown.contains(number)) {
        let fault = (first..=last).contains(&number);
        let mark = if fault { ">>>" } else { "   " };
        let line = format!("{number:>4} | {mark} {line}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let _ = writeln!(out, "{RULE}");
}

fn location(file: &SourceFile, span: Span) -> Value {
    json!({ "ranges": ranges(file, span) })
}

fn check_json(found: &Inspection) -> Value {
    let warnings = found.checked.iter().flat_map(|checked| {
        checked.warnings.iter().map(|warning| {
            json!({
                "ruleName": warning.rule.name,
                "description": warning.rule.summary,
                "url": warning.rule.url(),
                "detail": warning.message,
                "location": location(&checked.file, warning.location),
            })
        })
    });
    let warnings: Vec<_> = warnings.collect();
    let sources = found.checked.iter().map(|checked| {
        json!({
            "filename": checked.file.name(),
            "language": "Dockerfile",
            "data": data(&checked.file),
        })
    });
    let sources: Vec<_> = sources.collect();
    let mut value = json!({ "warnings": warnings, "sources": sources });
    if let Some(error) = &found.error {
        value["buildError"] = json!({ "message": message(error) });
    }
    value
}

/// Returns all that an error says, in one line.
fn message(error: &BuildError) -> String {
    let mut text = error.to_string();
    if let BuildError::Dockerfile { diagnostics, .. } = error {
        let all: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        return all.join("; ");
    }
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

fn outline_text(outline: &Outline) -> String {
    let mut out = String::new();
    if !outline.name.is_empty() {
        let _ = writeln!(out, "TARGET:      {}", outline.name);
    }
    if !outline.description.is_empty() {
        let _ = writeln!(out, "DESCRIPTION: {}", outline.description);
    }
    let mut section = |table: &Table| {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&table.render());
    };
    if !outline.args.is_empty() {
        let mut table = Table::new(["BUILD ARG", "VALUE", "DESCRIPTION"]);
        for arg in &outline.args {
            table.row([
                &arg.name,
                arg.value.as_deref().unwrap_or_default(),
                &arg.description,
            ]);
        }
        section(&table);
    }
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !mounts.is_empty() {
            section(&mount_table(title, mounts));
        }
    }
    if !outline.cache.is_empty() {
        let mut table = Table::new(["CACHE MOUNT"]);
        for mount in &outline.cache {
            table.row([mount.id.as_str()]);
        }
        section(&table);
    }
    out
}

fn mount_table(title: &str, mounts: &[OutlineMount]) -> Table {
    let mut table = Table::new([title, "REQUIRED"]);
    for mount in mounts {
        table.row([mount.id.as_str(), if mount.required { "true" } else { "" }]);
    }
    table
}

fn outline_json(file: &SourceFile, outline: &Outline) -> Value {
    let args = outline.args.iter().map(|arg| {
        let mut value = json!({ "name": arg.name });
        if !arg.description.is_empty() {
            value["description"] = json!(arg.description);
        }
        value["value"] = json!(arg.value.as_deref().unwrap_or_default());
        value["location"] = location(file, arg.span);
        value
    });
    let mounts = |list: &[OutlineMount], key: &str| -> Vec<Value> {
        let rows = list.iter().map(|mount| {
            let mut value = json!({ key: mount.id });
            if mount.required {
                value["required"] = json!(true);
            }
            value["location"] = location(file, mount.span);
            value
        });
        rows.collect()
    };
    json!({
        "name": outline.name,
        "description": outline.description,
        "args": args.collect::<Vec<_>>(),
        "secrets": mounts(&outline.secrets, "name"),
        "ssh": mounts(&outline.ssh, "name"),
        "cache": mounts(&outline.cache, "ID"),
        "sources": [data(file)],
    })
}

fn targets_text(targets: &[Target]) -> String {
    let mut table = Table::new(["TARGET", "DESCRIPTION"]);
    for target in targets {
        let name = match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            ("", false) => continue,
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        table.row([name, target.description.clone()]);
    }
    table.render()
}

fn targets_json(file: &SourceFile, targets: &[Target]) -> Value {
    let rows = targets.iter().map(|target| {
        let mut value = json!({});
        for (key, text) in [
            ("name", &target.name),
            ("description", &target.description),
            ("base", &target.base),
            ("platform", &target.platform),
        ] {
            if !text.is_empty() {
                value[key] = json!(text);
            }
        }
        if target.default {
            value["default"] = json!(true);
        }
        value["location"] = location(file, target.span);
        value
    });
    json!({ "targets": rows.collect::<Vec<_>>(), "sources": [data(file)] })
}

#[cfg(test)]
mod tests;
