//! Where the result goes: from `--output`, `--load`, `--push` and `--annotation` to [`Output`]s,
//! and what they need.

use std::io::IsTerminal;

use clap::{ArgAction, Args};

use super::BuildArgs;
use crate::build;
use crate::cli::value::{self, each};
use crate::cli::{annotation, output};
use crate::config;
use crate::options::{AnnotationPlace, ArchiveDest, BuildOptions, ImageOutput, Output, Push, Sink};
use crate::report::Report;

/// Shorthands for outputs, as `build` and `bake` have them.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Placement {
    /// Keep the image in the local store besides other outputs
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = crate::cli::value::switch)]
    pub load: bool,

    /// Push the image under its names
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = crate::cli::value::switch)]
    pub push: bool,
}

impl BuildArgs {
    pub(super) fn outputs(&self, environment: &config::Environment) -> Result<Vec<Output>, Report> {
        const NO_DEFAULT: &str = "BUILDX_NO_DEFAULT_LOAD";
        let no_default = match environment.text(NO_DEFAULT).filter(|text| !text.is_empty()) {
            Some(text) => value::boolean(NO_DEFAULT, &text)
                .map_err(|error| error.report(NO_DEFAULT, &text))?,
            None => false,
        };
        let mut outputs = each("--output", &self.output, output::parse)?;
        let stored = outputs
            .iter()
            .any(|output| matches!(output, Output::Image(_)));
        if outputs.is_empty() && no_default && !self.placement.load && !self.placement.push {
            outputs.push(Output::CacheOnly);
        } else if (outputs.is_empty() || self.placement.load || self.placement.push) && !stored {
            outputs.push(Output::Image(ImageOutput {
                store: true,
                ..ImageOutput::default()
            }));
        }
        for output in &mut outputs {
            let Output::Image(image) = output else {
                continue;
            };
            if self.placement.push {
                image.push.get_or_insert_with(Push::default);
            }
        }
        let annotations = each("--annotation", &self.annotation, annotation::option)?.concat();
        for format in outputs.iter_mut().filter_map(Output::format_mut) {
            format.annotations.extend(annotations.iter().cloned());
        }
        check_stdout(&outputs)?;
        Ok(outputs)
    }
}

/// Lets every output rewrite the times of files, once the time is known.
pub(super) fn rewrite_timestamps(outputs: &mut [Output]) {
    for format in outputs.iter_mut().filter_map(Output::format_mut) {
        format.rewrite_timestamp = true;
    }
}

/// Only several platforms have an index to annotate, and what something is said of.
pub(super) fn check_annotations(options: &BuildOptions) -> Result<(), Report> {
    let index = [AnnotationPlace::Index, AnnotationPlace::IndexDescriptor];
    let of_index = |output: &Output| {
        let format = output.format();
        format.is_some_and(|format| {
            format
                .annotations
                .iter()
                .any(|one| index.contains(&one.place))
        })
    };
    let indexed = options.platforms().len() > 1
        || !options.attest.is_empty()
        || build::is_set(options, build::MULTI_PLATFORM);
    if !indexed && options.outputs.iter().any(of_index) {
        let heading = "index annotations not supported for single platform export";
        return Err(Report::new(heading).hint(
            "annotate the manifest, or make an index: by several platforms, by --provenance=true, or by \
             --build-arg BUILDKIT_MULTI_PLATFORM=1",
        ));
    }
    Ok(())
}

/// Lets outputs with `registry.insecure` reach the registries of their names without a
/// certificate.
pub(super) fn trust_where_asked(options: &mut BuildOptions) {
    for output in &options.outputs {
        let Output::Image(image) = output else {
            continue;
        };
        let names = match image.names.as_slice() {
            [] => &options.tags,
            own => own,
        };
        if image.push.is_some_and(|push| push.insecure) {
            let hosts = names.iter().map(|name| name.domain().to_owned());
            options.registry.insecure.extend(hosts);
        }
    }
}

/// A push needs a name to push to.
pub(super) fn check_names(options: &BuildOptions) -> Result<(), Report> {
    let nameless = |output: &Output| matches!(output, Output::Image(image) if image.push.is_some() && image.names.is_empty());
    if options.tags.is_empty() && options.outputs.iter().any(nameless) {
        return Err(Report::new("a push needs a name").hint("add --tag REGISTRY/NAME[:TAG]"));
    }
    Ok(())
}

impl Output {
    fn format_mut(&mut self) -> Option<&mut crate::options::ImageFormat> {
        match self {
            Self::Image(image) => Some(&mut image.format),
            Self::Oci(archive) | Self::Docker(archive) => Some(&mut archive.format),
            Self::Local { .. } | Self::Tar { .. } | Self::CacheOnly => None,
        }
    }

    /// Returns whether the output goes to stdout.
    pub fn is_stdout(&self) -> bool {
        match self {
            Self::Tar { dest, .. } => *dest == Sink::Stdout,
            Self::Oci(archive) | Self::Docker(archive) => {
                archive.dest == ArchiveDest::Tar(Sink::Stdout)
            }
            Self::Image(_) | Self::Local { .. } | Self::CacheOnly => false,
        }
    }
}

fn check_stdout(outputs: &[Output]) -> Result<(), Report> {
    match outputs.iter().filter(|output| output.is_stdout()).count() {
        0 => Ok(()),
        1 if std::io::stdout().is_terminal() => {
            Err(Report::new("an archive would be written to the terminal")
                .hint("redirect stdout, or give dest=FILE"))
        }
        1 => Ok(()),
        _ => Err(Report::new("only one output can go to stdout")),
    }
}
