//! `cooper bake --call`: what is said of the targets' Dockerfiles, one after the other.

use crate::exit::ExitCode;
use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::super::Settings;
use super::super::build::{Answer, ask};
use crate::bake::{Plan, Target, print};
use crate::build;
use crate::options::{BuildOptions, Method};
use crate::report::{self, Exit, Report};

/// Asks those of `all` that do not ask for a build, and prints the answers.
pub(super) fn answer(
    plan: &Plan,
    all: &[(&Target, BuildOptions)],
    settings: &Settings,
) -> Result<ExitCode, Report> {
    let asks = |options: &BuildOptions| options.call.method != Method::Build;
    let Some((_, first)) = all.iter().find(|(_, options)| asks(options)) else {
        return Ok(ExitCode::SUCCESS);
    };
    let targets = all.iter().map(|(target, options)| build::Target {
        name: &target.name,
        options,
    });
    let targets: Vec<_> = targets.collect();
    let mut answers = Vec::with_capacity(all.len());
    let mut errors = Vec::new();
    let mut failed = false;
    for ((target, options), mut answer) in all.iter().zip(ask(&targets, settings)?) {
        if asks(options) {
            failed |= answer.failed;
            let error = answer.error.take();
            errors
                .extend(error.map(|report| report.context(format!("the target {}", target.name))));
            answers.push((*target, options, answer));
        }
    }
    report::print_data(&if first.call.json {
        as_json(plan, &answers)
    } else {
        as_text(&answers)
    })?;
    Report::of_all(errors)?;
    Ok(if failed {
        Exit::Failure.into()
    } else {
        ExitCode::SUCCESS
    })
}

type Answered<'a> = (&'a Target, &'a BuildOptions, Answer);

fn as_text(answers: &[Answered<'_>]) -> String {
    let one = |(target, _, answer): &Answered<'_>| {
        let mut out = format!("{}\n", target.name);
        if let Some(description) = target.text("description") {
            let _ = writeln!(out, "{description}");
        }
        let _ = write!(out, "\n{}", answer.text);
        out
    };
    answers.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn as_json(plan: &Plan, answers: &[Answered<'_>]) -> String {
    let mut out = Map::new();
    if let Some(groups) = print::groups(plan) {
        out.insert("group".to_owned(), groups);
    }
    let one = |(target, options, answer): &Answered<'_>| {
        let method = match options.call.method {
            Method::Build | Method::Check => "check",
            Method::Outline => "outline",
            Method::Targets => "targets",
            Method::Methods => "subrequests.describe",
        };
        let value = json!({ "build": print::target(target), method: answer.json });
        (target.name.clone(), value)
    };
    let targets: Map<_, _> = answers.iter().map(one).collect();
    out.insert("target".to_owned(), targets.into());
    print::pretty(&Json::Object(out))
}
