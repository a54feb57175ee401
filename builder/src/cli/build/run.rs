//! `cooper build` itself: display, signals, pipeline, and what is said in the end.

use crate::exit::ExitCode;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use cooper_cache::{Difference, Reason};
use cooper_frontend::{Diagnostic, SourceFile, Span, Step, git};
use serde_json::Value;

use super::super::cache::because;
use super::super::interrupt::Interrupt;
use super::super::session::Session;
use super::super::{Settings, collect};
use super::{failed_step, warnings};
use crate::build::{
    self, BuildError, Built, Checked, ContextError, FailedStep, Leak, OpError, Unsteady,
};
use crate::options::{BuildOptions, Method, Output, ProgressMode};
use crate::progress::{Display, DisplayOptions, Summary};
use crate::report::{self, Excerpt, Exit, Report, Severity};

/// Builds what `options` ask for and says how it went, or answers what they ask.
pub fn run(options: &BuildOptions, settings: &Settings) -> Result<ExitCode, Report> {
    if options.call.method != Method::Build {
        return super::call::run(options, settings);
    }
    let target = build::Target { name: "", options };
    let made = build_targets(&[target], settings)?;
    let Some(built) = made.built.first() else {
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(path) = &options.metadata_file {
        let mut metadata = built.metadata();
        if options.metadata_warnings {
            metadata.extend(made.warnings());
        }
        build::write_metadata(path, metadata).map_err(|error| Report::from_error(&error))?;
    }
    finished(built, options)
}

/// What came of a build, and of its checks.
#[derive(Default)]
pub struct Made {
    /// What was made, by target.
    pub built: Vec<Built>,
    checked: Vec<Checked>,
}

impl Made {
    /// Returns what the metadata file has of the checks, if they found anything.
    pub fn warnings(&self) -> Option<(String, Value)> {
        let found: Vec<Value> = self.checked.iter().flat_map(warnings::objects).collect();
        let key = "buildx.build.warnings".to_owned();
        (!found.is_empty()).then(|| (key, found.into()))
    }
}

/// Builds all targets as one graph and says how it goes. What concerns all of them (registries,
/// the display) is taken from the first.
pub fn build_targets(targets: &[build::Target<'_>], settings: &Settings) -> Result<Made, Report> {
    let Some(build::Target { options, .. }) = targets.first() else {
        return Ok(Made::default());
    };
    let session = Session::open(settings)?;
    let client = settings.registry_client(&options.registry)?;
    let mode = if options.quiet {
        ProgressMode::Quiet
    } else {
        options.progress
    };
    let color = settings.color(&std::io::stderr());
    let wants_shell = targets.iter().any(|target| target.options.shell_on_error);
    if wants_shell {
        failed_step::check_terminal()?;
    }
    let (look, problems) = settings.look();
    let display = match log_file(options)? {
        Some(file) => Display::start_in(file, mode),
        None => Display::start(DisplayOptions { mode, color, look }),
    };
    let interrupt = Interrupt::listen()
        .map_err(|error| Report::from_error(&error).context("cannot listen for signals"))?;
    let cancel = interrupt.token().clone();
    let store = session.store.clone();
    let session = build::Session {
        store: session.store,
        client,
        resolv_conf: std::fs::read("/etc/resolv.conf").unwrap_or_default(),
    };
    let progress = display.progress();
    for problem in problems {
        progress.warn(problem);
    }
    let shown = failed_step::Shown::new(display, color);
    let on_failure = |error: &BuildError, step: &FailedStep<'_>| shown.open_shell(error, step);
    let request = build::Request {
        targets,
        progress: &progress,
        cancel: &cancel,
        environment: &|name| settings.environment.bytes(name),
        on_failure: wants_shell.then_some(&on_failure),
    };
    let outcome = build::build(&session, &request);
    for object in outcome.checked.iter().flat_map(warnings::objects) {
        progress.found(object);
    }
    let told = shown.has_told();
    let summary = shown.finish();
    drop(interrupt);
    // Who reads JSON has had them as that, and who wants quiet has only what stops the build.
    for mut checked in outcome.checked.iter().cloned() {
        match mode {
            ProgressMode::RawJson => continue,
            ProgressMode::Quiet => checked.keep_errors(),
            _ => {}
        }
        report::print_error(&warnings::text(&checked, color));
    }
    if options.explain {
        let said = outcome.explained.iter();
        let said: String = said
            .map(|one| because(&one.display, &one.id, &one.why))
            .collect();
        report::print_error(&format!("\n{said}"));
    }
    match outcome.result {
        Ok(built) => {
            collect::after_build(&store, &settings.file.cache)?;
            let checked = outcome.checked;
            Ok(Made { built, checked })
        }
        Err(_) if cancel.is_cancelled() => Err(Report::silent(Exit::Interrupted)),
        Err(_) if told => Err(Report::silent(Exit::Failure)),
        Err(error) => Err(failed(&error, summary)),
    }
}

fn log_file(options: &BuildOptions) -> Result<Option<File>, Report> {
    let open = |path: &PathBuf| {
        let opened = File::create(path);
        opened.map_err(|error| {
            Report::from_error(&error).context(format!("cannot write --logfile {}", path.display()))
        })
    };
    options.log_file.as_ref().map(open).transpose()
}

fn finished(built: &Built, options: &BuildOptions) -> Result<ExitCode, Report> {
    if options.quiet
        && let Some(id) = built.digest()
    {
        let line = format!("{id}\n");
        // An archive that goes there ends where it ends.
        if options.outputs.iter().any(Output::is_stdout) {
            report::print_error(&line);
        } else {
            report::print_data(&line)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what went wrong, where in the Dockerfile, and what to do about it.
pub(super) fn failed(error: &BuildError, summary: Summary) -> Report {
    let redaction = summary.redaction.clone();
    let report = match error {
        BuildError::Dockerfile { file, diagnostics } => diagnostics.iter().fold(
            Report::new("the Dockerfile cannot be built"),
            |report, one| report.excerpt(excerpt(file, one)),
        ),
        BuildError::Step {
            step, file, source, ..
        } => {
            let heading = match step {
                Some(step) => format!("{} failed: {}", step_number(&step.display), short(source)),
                None => format!("{error}: {source}"),
            };
            let report = Report::new(heading)
                .causes_of(&**source)
                .steps(summary.failed);
            match step {
                Some(step) => {
                    let word = token(step, source.word()).or_else(|| ssh_address(step, source));
                    let span = word.unwrap_or(step.span);
                    report.excerpt(Excerpt {
                        notes: trigger(&step.display).into_iter().collect(),
                        ..place(file, span, source.to_string())
                    })
                }
                None => report,
            }
        }
        BuildError::Image {
            file, span, source, ..
        } => Report::new("cannot use a base image")
            .causes_of(&**source)
            .excerpt(place(file, *span, source.to_string())),
        BuildError::Context(ContextError::Ignore { file, source }) => {
            let span = source.span(file.text());
            Report::new(error.to_string()).excerpt(place(file, span, source.to_string()))
        }
        BuildError::Target { source, .. } => match **source {
            // The names of steps say whose they are.
            BuildError::Step { step: Some(_), .. } => failed(source, summary),
            _ => failed(source, summary).context(error.to_string()),
        },
        BuildError::NotReproducible { file, steps, .. } => unsteady(error, file, steps),
        BuildError::Leaks { file, leaks } => leaking(error, file, leaks),
        BuildError::Interrupted => Report::silent(Exit::Interrupted),
        BuildError::Solver { .. } => Report::from_error(error).exit(Exit::Internal),
        _ => Report::from_error(error),
    };
    let report = error.hints().into_iter().fold(report, Report::hint);
    report.redact(redaction)
}

/// Says which files differ between two executions, by the instruction that makes them.
fn unsteady(error: &BuildError, file: &SourceFile, steps: &[Unsteady]) -> Report {
    const SHOWN: usize = 20;
    let is_time = |reason: &Reason| matches!(reason, Reason::Mtime(..));
    let mut report = Report::from_error(error);
    let mut only_times = true;
    for step in steps {
        only_times &= step.paths.iter().all(|one| one.reasons.iter().all(is_time));
        let mut lines: Vec<String> = step.paths.iter().take(SHOWN).map(difference).collect();
        if step.paths.len() > SHOWN {
            lines.push(format!("and {} more", step.paths.len() - SHOWN));
        }
        report = match step.span {
            Some(span) => {
                let message = "comes to another result each time".to_owned();
                let notes = lines;
                report.excerpt(Excerpt {
                    notes,
                    ..place(file, span, message)
                })
            }
            None => lines.into_iter().fold(report, Report::cause),
        };
    }
    report.hint(if only_times {
        "only times differ: --source-date-epoch SECONDS --rewrite-timestamp sets a bound to them, \
         --timestamp SECONDS makes them all the same"
    } else {
        "keep clocks, random numbers and the order of directories out of what the step writes; \
         docs/reproducible.md shows how"
    })
}

fn difference(one: &Difference) -> String {
    let reasons: Vec<String> = one.reasons.iter().map(Reason::to_string).collect();
    format!("{}: {}", one.path, reasons.join(", "))
}

/// Says what secrets were found, where, and by which instruction they got there.
fn leaking(error: &BuildError, file: &SourceFile, leaks: &[Leak]) -> Report {
    let mut report = Report::from_error(error);
    for leak in leaks {
        report = match leak.span {
            Some(span) => report.excerpt(place(file, span, leak.message.clone())),
            None => report.cause(leak.message.clone()),
        };
    }
    if leaks.iter().any(|leak| leak.removed) {
        report = report.hint(
            "a later step removes the file, but the layer that has it is part of the image: \
             --squash leaves it out, and so does making it in a stage of its own",
        );
    }
    report
        .hint("RUN --mount=type=secret shows a secret to one step and leaves no trace of it")
        .hint("--allow secret-export writes the result all the same")
}

/// Returns where a step's instruction says `word`: by itself, or as an address with a fragment.
fn token(step: &Step, word: Option<&str>) -> Option<Span> {
    let word = word?;
    let words = || step.words.iter();
    let fragment = |one: &str| {
        one.strip_prefix(word)
            .is_some_and(|rest| rest.starts_with('#'))
    };
    let found = words()
        .find(|one| one.as_str() == word)
        .or_else(|| words().find(|one| fragment(one)));
    found.map(|one| one.span)
}

/// Returns where a step names the repository that it would reach through a missing agent.
fn ssh_address(step: &Step, error: &OpError) -> Option<Span> {
    let is_ssh =
        |word: &str| matches!(git::of_add(word), Some(Ok(git)) if git::is_ssh(&git.remote));
    let mut words = step.words.iter();
    let missing = matches!(error, OpError::MissingSsh { .. });
    let word = words.find(|word| missing && is_ssh(word.as_str()))?;
    Some(word.span)
}

/// Says which trigger of its base a step is; its place is the line that names the base.
fn trigger(display: &str) -> Option<String> {
    let (_, command) = display.split_once("] ")?;
    let is_trigger = command.starts_with("ONBUILD ");
    is_trigger.then(|| format!("in the trigger `{command}`"))
}

/// Returns the `[build 2/5]` of a step's display name.
fn step_number(display: &str) -> &str {
    display.split_inclusive(']').next().unwrap_or(display)
}

/// Says why a step failed without repeating its command, which the excerpt shows.
fn short(error: &OpError) -> String {
    match error {
        OpError::Process { exit, .. } => build::exit_words(*exit),
        other => other.to_string(),
    }
}

pub(super) fn excerpt(file: &SourceFile, diagnostic: &Diagnostic) -> Excerpt {
    let severity = match diagnostic.severity {
        cooper_frontend::Severity::Error => Severity::Error,
        cooper_frontend::Severity::Warning => Severity::Warning,
    };
    Excerpt {
        file: file.name().to_owned(),
        text: Arc::from(file.text()),
        span: diagnostic.span.range(),
        severity,
        code: diagnostic.code.name().to_owned(),
        message: diagnostic.message.clone(),
        label: diagnostic.label.to_string(),
        notes: diagnostic.notes.clone(),
        help: Some(diagnostic.help().to_owned()),
    }
}

fn place(file: &SourceFile, span: Span, message: String) -> Excerpt {
    Excerpt {
        file: file.name().to_owned(),
        text: Arc::from(file.text()),
        span: span.range(),
        severity: Severity::Error,
        code: String::new(),
        message,
        label: String::new(),
        notes: Vec::new(),
        help: None,
    }
}
