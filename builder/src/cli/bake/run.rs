//! `cooper bake` itself: all targets as one build.

use crate::exit::ExitCode;

use super::super::{Settings, build as cli_build};
use super::BakeArgs;
use super::target::{self, Common};
use crate::bake::{Plan, Target};
use crate::build;
use crate::options::{BuildOptions, Method};
use crate::report::{Exit, Report};

/// Builds the targets of a plan, or answers what is asked of them.
pub(super) fn run(args: &BakeArgs, plan: &Plan, settings: &Settings) -> Result<ExitCode, Report> {
    let call = match (&args.call, args.check) {
        (Some(call), _) => Some(call.clone()),
        (None, true) => Some("check".to_owned()),
        (None, false) => None,
    };
    let common = Common {
        progress: args.progress.clone(),
        mirrors: args.registry_mirror.clone(),
        allow: args
            .allow
            .iter()
            .filter(|one| *one == "secret-export")
            .cloned()
            .collect(),
        call,
        metadata_file: args.metadata_file.clone(),
    };
    let mut all: Vec<(&Target, BuildOptions)> = Vec::with_capacity(plan.targets.len());
    for target in plan.targets.values() {
        all.push((target, target::options(target, &common, settings)?));
    }
    check_stdout(&all)?;
    let builds = |(_, options): &&(&Target, BuildOptions)| options.call.method == Method::Build;
    let built: Vec<_> = all.iter().filter(builds).collect();
    build_all(args, &built, settings)?;
    super::call::answer(plan, &all, settings)
}

fn build_all(
    args: &BakeArgs,
    all: &[&(&Target, BuildOptions)],
    settings: &Settings,
) -> Result<(), Report> {
    let targets = all.iter().map(|(target, options)| build::Target {
        name: &target.name,
        options,
    });
    let targets: Vec<_> = targets.collect();
    let made = cli_build::build_targets(&targets, settings)?;
    let Some(path) = &args.metadata_file else {
        return Ok(());
    };
    let shown = targets.iter().zip(&made.built);
    let shown = shown.filter(|(target, _)| !target.options.outputs.is_empty());
    let mut metadata: serde_json::Map<_, _> = shown
        .map(|(target, built)| (target.name.to_owned(), built.metadata().into()))
        .collect();
    if targets
        .iter()
        .any(|target| target.options.metadata_warnings)
    {
        metadata.extend(made.warnings());
    }
    build::write_metadata(path, metadata).map_err(|error| Report::from_error(&error))
}

/// Archives of several targets cannot share stdout.
fn check_stdout(all: &[(&Target, BuildOptions)]) -> Result<(), Report> {
    let to_stdout = |options: &BuildOptions| {
        options
            .outputs
            .iter()
            .any(crate::options::Output::is_stdout)
    };
    let names = all.iter().filter(|(_, options)| to_stdout(options));
    let names: Vec<_> = names.map(|(target, _)| target.name.as_str()).collect();
    if names.len() < 2 {
        return Ok(());
    }
    Err(Report::new(format!(
        "the targets {} would all write to stdout",
        names.join(", ")
    ))
    .hint("give all but one of them dest=FILE")
    .exit(Exit::Failure))
}
