//! The options of `cooper build` that say what it reads besides its context, and how often it
//! tries.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::super::value::{ValueError, duration, each, pair};
use crate::config::Environment;
use crate::report::Report;

/// Options of what is read.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Read NAME=VALUE lines, each as --build-arg takes it
    #[arg(long, value_name = "FILE")]
    pub build_arg_file: Vec<PathBuf>,

    /// Start the first stage from IMAGE, whatever its FROM says
    #[arg(long, value_name = "IMAGE")]
    pub from: Option<String>,

    /// Set a variable in every stage and in the image
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,

    /// Leave a variable out of the image
    #[arg(long, value_name = "NAME")]
    pub unsetenv: Vec<String>,

    /// Read FILE in place of .dockerignore
    #[arg(long, value_name = "FILE")]
    pub ignorefile: Option<PathBuf>,

    /// Take files of context directories as 644, or 755 if their owner may execute them, and
    /// directories as 755: the same results whatever umask a checkout was made under
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = crate::cli::value::switch)]
    pub normalize_modes: bool,

    /// Use cached results only if they are younger, such as 24h
    #[arg(long, value_name = "DURATION")]
    pub cache_ttl: Option<String>,

    /// Try a failed request to a registry or server so many times more
    #[arg(long, value_name = "N")]
    pub retry: Option<u32>,

    /// Wait so long before the first of these, then twice as long each time
    #[arg(long, value_name = "DURATION")]
    pub retry_delay: Option<String>,
}

/// What [`InputArgs`] come to.
pub(super) struct Input {
    pub(super) env: Vec<(String, String)>,
    pub(super) cache_ttl: Option<Duration>,
    pub(super) retry_delay: Option<Duration>,
}

impl InputArgs {
    pub(super) fn resolve(&self, environment: &Environment) -> Result<Input, Report> {
        if let Some(path) = self.ignorefile.as_deref().filter(|path| !path.is_file()) {
            let heading = format!("--ignorefile: there is no file {}", path.display());
            return Err(Report::new(heading));
        }
        let time = |option: &str, text: &Option<String>| {
            let parse = |text: &String| duration(text).map_err(|error| error.report(option, text));
            text.as_ref().map(parse).transpose()
        };
        Ok(Input {
            env: self.env(environment)?,
            cache_ttl: time("--cache-ttl", &self.cache_ttl)?,
            retry_delay: time("--retry-delay", &self.retry_delay)?,
        })
    }

    /// Returns the lines of `--build-arg-file`, which come before those of `--build-arg`.
    pub(super) fn build_args(&self) -> Result<Vec<String>, Report> {
        let mut lines = Vec::new();
        for path in &self.build_arg_file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let heading = format!("cannot read --build-arg-file {}", path.display());
                Report::from_error(&error).context(heading)
            })?;
            for (index, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                if !line.contains('=') {
                    let option = format!("--build-arg-file {}:{}", path.display(), index + 1);
                    let error = ValueError::new("no value").hint("write NAME=VALUE");
                    return Err(error.report(&option, line));
                }
                lines.push(line.to_owned());
            }
        }
        Ok(lines)
    }

    /// Returns the variables to set; one that is named without a value has the environment's, or
    /// is not set.
    fn env(&self, environment: &Environment) -> Result<Vec<(String, String)>, Report> {
        let given = each("--env", &self.env, pair)?;
        let valued = given.into_iter().filter_map(|(name, value)| {
            let value = value.or_else(|| environment.text(&name))?;
            Some((name, value))
        });
        Ok(valued.collect())
    }
}
