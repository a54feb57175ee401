//! From a target to the options of a build.
//!
//! A target becomes the command line of `cooper build` that says the same, and is read as that:
//! so every attribute means what the option means, and one that no option stands for is refused.
//! Only what no command line can say is set afterwards: a Dockerfile within the definition, and
//! contexts that are other targets.

use std::path::{Path, PathBuf};

use clap::{Args as _, Command, FromArgMatches as _};

use super::super::Settings;
use super::super::build::BuildArgs;
use super::definition::excerpt_at;
use crate::bake::{Field, Target, is_remote};
use crate::options::{BuildOptions, DockerfileSource, NamedContext};
use crate::report::Report;

/// Attributes, and the options that stand for them.
const OPTIONS: [(&str, &str); 22] = [
    ("annotations", "annotation"),
    ("args", "build-arg"),
    ("cache-from", "cache-from"),
    ("cache-to", "cache-to"),
    ("call", "call"),
    ("contexts", "build-context"),
    ("dockerfile", "file"),
    ("extra-hosts", "add-host"),
    ("labels", "label"),
    ("network", "network"),
    ("no-cache", "no-cache"),
    ("no-cache-filter", "no-cache-filter"),
    ("output", "output"),
    ("platforms", "platform"),
    ("pull", "pull"),
    ("secret", "secret"),
    ("shm-size", "shm-size"),
    ("ssh", "ssh"),
    ("tags", "tag"),
    ("target", "target"),
    ("ulimits", "ulimit"),
    ("entitlements", "allow"),
];

/// What all targets are told alike.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    /// `--progress`.
    pub(super) progress: Option<String>,
    /// `--registry-mirror`.
    pub(super) mirrors: Vec<String>,
    /// Those `--allow` that no target asks for in its definition.
    pub(super) allow: Vec<String>,
    /// `--call` with its format, which stands before what targets say.
    pub(super) call: Option<String>,
    /// `--metadata-file`: one for all of them.
    pub(super) metadata_file: Option<PathBuf>,
}

/// Returns the options of a build of `target`.
pub(super) fn options(
    target: &Target,
    common: &Common,
    settings: &Settings,
) -> Result<BuildOptions, Report> {
    let place = |report: Report| located(report, target);
    let args = arguments(target, common).map_err(place)?;
    let mut options = args.resolve(settings).map_err(place)?;
    if let Some(text) = target.text("dockerfile-inline") {
        options.dockerfile = DockerfileSource::Inline(text.to_owned());
    }
    if let DockerfileSource::Path(path) = &options.dockerfile
        && let Some(place) = target.place("dockerfile").filter(|_| !path.exists())
        && options.context.dir().is_some()
    {
        let message = "there is no such file".to_owned();
        let report = Report::new(format!("there is no Dockerfile {}", path.display()));
        return Err(report
            .context(format!("the target {} cannot be built", target.name))
            .hint("dockerfile is relative to the context of the target")
            .excerpt(excerpt_at(place, message)));
    }
    let links = target.map("contexts").filter_map(|(name, value)| {
        let base = value.strip_prefix("target:")?;
        Some((name.to_owned(), NamedContext::Target(base.to_owned())))
    });
    options.build_contexts.extend(links);
    if target.linked {
        options.outputs.clear();
    }
    Ok(options)
}

/// Says whose fault it is, and where in the definition, if an attribute's option is named.
fn located(report: Report, target: &Target) -> Report {
    let text = report.render(false);
    let named = |(_, option): &&(&str, &str)| {
        let option = format!("--{option}");
        let end = |at: usize| text[at + option.len()..].chars().next();
        let mut found = text.match_indices(&option).map(|(at, _)| at);
        found.any(|at| !end(at).is_some_and(|c| c.is_alphanumeric() || c == '-'))
    };
    let attribute = OPTIONS.iter().find(named).map(|(attribute, _)| *attribute);
    let attribute = attribute.or_else(|| text.contains("build context").then_some("context"));
    let place = attribute.and_then(|attribute| target.place(attribute));
    let report = report.context(format!("the target {} cannot be built", target.name));
    match (place, attribute) {
        (Some(place), Some(attribute)) => {
            report.excerpt(excerpt_at(place, format!("{attribute} cannot be used")))
        }
        _ => report,
    }
}

/// A command line in the making, which knows the options there are.
struct Line {
    command: Command,
    words: Vec<String>,
}

impl Line {
    fn new() -> Self {
        let command = BuildArgs::augment_args(Command::new("build"));
        Self {
            command: command.no_binary_name(true),
            words: Vec::new(),
        }
    }

    fn knows(&self, option: &str) -> bool {
        let mut known = self.command.get_arguments();
        known.any(|argument| argument.get_long() == Some(option))
    }

    /// Adds `--OPTION=VALUE`.
    fn add(&mut self, option: &str, value: &str) -> Result<(), Report> {
        if !self.knows(option) {
            return Err(Report::new(format!(
                "there is no --{option} that could do that"
            )));
        }
        self.words.push(format!("--{option}={value}"));
        Ok(())
    }

    fn parse(mut self, context: &str) -> Result<BuildArgs, Report> {
        self.words.extend(["--".to_owned(), context.to_owned()]);
        let wrong = |error: clap::Error| {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            Report::new(first.trim_start_matches("error: "))
        };
        let matches = self
            .command
            .try_get_matches_from(self.words)
            .map_err(wrong)?;
        BuildArgs::from_arg_matches(&matches).map_err(wrong)
    }
}

fn arguments(target: &Target, common: &Common) -> Result<BuildArgs, Report> {
    let mut line = Line::new();
    for (attribute, field) in target.fields() {
        match attribute {
            "attest" => attest(target, &mut line)?,
            "dockerfile" => dockerfile(target, &mut line)?,
            "contexts" => contexts(target, &mut line)?,
            "platforms" => line.add("platform", &target.texts("platforms").join(","))?,
            "extra-hosts" => {
                for (name, addresses) in target.map("extra-hosts") {
                    for address in addresses.split(',') {
                        line.add("add-host", &format!("{name}={address}"))?;
                    }
                }
            }
            "call" if common.call.is_some() => {}
            attribute => {
                if let Some((_, option)) = OPTIONS.iter().find(|(name, _)| *name == attribute) {
                    plain(option, field, &mut line)?;
                }
            }
        }
    }
    for (option, value) in [("progress", &common.progress), ("call", &common.call)] {
        if let Some(value) = value {
            line.add(option, value)?;
        }
    }
    for (option, values) in [
        ("registry-mirror", &common.mirrors),
        ("allow", &common.allow),
    ] {
        for value in values {
            line.add(option, value)?;
        }
    }
    let mut args = line.parse(target.text("context").unwrap_or("."))?;
    args.metadata_file.clone_from(&common.metadata_file);
    args.of_bake = true;
    Ok(args)
}

/// Adds an attribute whose values are those of the option.
fn plain(option: &str, field: &Field, line: &mut Line) -> Result<(), Report> {
    match field {
        Field::Text(text) if text.is_empty() => Ok(()),
        Field::Text(text) => line.add(option, text),
        Field::Bool(truth) => line.add(option, &truth.to_string()),
        Field::Texts(texts) => texts.iter().try_for_each(|text| line.add(option, text)),
        Field::Map(entries) => entries.iter().try_for_each(|(name, value)| match value {
            Some(value) => line.add(option, &format!("{name}={value}")),
            None => Ok(()),
        }),
        Field::Entries(entries) => {
            let mut texts = entries.iter().map(crate::bake::Entry::to_text);
            texts.try_for_each(|text| line.add(option, &text))
        }
    }
}

/// Attestations are said by `--sbom` and `--provenance`, others by `--attest`.
fn attest(target: &Target, line: &mut Line) -> Result<(), Report> {
    for entry in target.entries("attest") {
        let text = entry.to_text();
        let kind = entry.kind();
        if !matches!(kind, "sbom" | "provenance") {
            line.add("attest", &text)?;
            continue;
        }
        let disabled = entry.get("disabled");
        let value = match text.split_once(',') {
            _ if disabled.is_some_and(|value| value == "true" || value == "1") => "false",
            Some((_, rest)) if disabled.is_none() => rest,
            _ => "true",
        };
        line.add(kind, value)?;
    }
    Ok(())
}

/// The Dockerfile is looked for in the context, unless the definition holds it.
fn dockerfile(target: &Target, line: &mut Line) -> Result<(), Report> {
    let file = target.text("dockerfile").unwrap_or_default();
    if target.text("dockerfile-inline").is_some() || matches!(file, "" | "Dockerfile") {
        return Ok(());
    }
    let context = target.text("context").unwrap_or(".");
    let path = match file.strip_prefix("cwd://") {
        Some(local) => local.to_owned(),
        None if is_remote(context) || is_remote(file) => file.to_owned(),
        None => {
            let joined = Path::new(context).join(file);
            let joined = joined.strip_prefix("./").unwrap_or(&joined);
            joined.display().to_string()
        }
    };
    line.add("file", &path)
}

fn contexts(target: &Target, line: &mut Line) -> Result<(), Report> {
    let others = target
        .map("contexts")
        .filter(|(_, value)| !value.starts_with("target:"));
    for (name, value) in others {
        let value = value.strip_prefix("cwd://").unwrap_or(value);
        line.add("build-context", &format!("{name}={value}"))?;
    }
    Ok(())
}
