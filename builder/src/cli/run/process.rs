//! What runs in a container, as whom and with what environment, and how it ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};

use crate::cli::Settings;
use crate::cli::value::{ValueError, each, pair};
use crate::container::{Lifecycle, RestartPolicy, signal};
use crate::report::Report;

/// Options of the process.
#[derive(Args, Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct ProcessArgs {
    /// Remove the container and its anonymous volumes at its end
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = crate::cli::value::switch)]
    pub rm: bool,

    /// Let stdin reach the container
    #[arg(short, long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = crate::cli::value::switch)]
    pub interactive: bool,

    /// Give the container a terminal
    #[arg(short, long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = crate::cli::value::switch)]
    pub tty: bool,

    /// Set a variable; without a value, to that of the environment variable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,

    /// Read variables from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,

    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,

    /// User, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,

    /// Add a group, by name or number
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,

    /// Program in place of the image's ENTRYPOINT; empty for none
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,

    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Host name in the container
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// NIS domain in the container
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,

    /// Say something of the container for other programs, which `cooper inspect` shows
    #[arg(long, value_name = "NAME=VALUE")]
    pub annotation: Vec<String>,

    /// Add a label to the container
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,

    /// Read labels from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,

    /// Run a small init that reaps processes and passes on signals
    #[arg(long)]
    pub init: bool,

    /// Signal that stops the container
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,

    /// Seconds from that signal to SIGKILL; -1 to wait for ever
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub stop_timeout: Option<i64>,

    /// What follows the end: no, on-failure, on-failure:TIMES, always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,

    /// Write the container's ID to a file that does not exist yet
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
}

impl ProcessArgs {
    /// Returns the variables of the files, then those of the options.
    pub fn env(&self, settings: &Settings) -> Result<Vec<(String, String)>, Report> {
        variables(&self.env_file, &self.env, settings)
    }

    /// Returns the working directory, which the image does not lead to if it is asked for.
    pub fn workdir(&self) -> Result<Option<PathBuf>, Report> {
        match &self.workdir {
            Some(path) if !path.is_absolute() => Err(ValueError::new("no absolute path")
                .hint(format!("write /{}", path.display()))
                .report("--workdir", &path.to_string_lossy())),
            path => Ok(path.clone()),
        }
    }

    /// Returns the labels of the files, then those of the options.
    pub fn labels(&self) -> Result<BTreeMap<String, String>, Report> {
        let mut lines = Vec::new();
        for path in &self.label_file {
            lines.extend(file_lines("--label-file", path)?);
        }
        lines.extend(self.label.iter().cloned());
        let labels = each("--label", &lines, pair)?.into_iter();
        Ok(labels
            .map(|(name, value)| (name, value.unwrap_or_default()))
            .collect())
    }

    /// Returns the annotations.
    pub fn annotations(&self) -> Result<BTreeMap<String, String>, Report> {
        each("--annotation", &self.annotation, |text| match pair(text)? {
            (name, Some(value)) => Ok((name, value)),
            (name, None) => Err(ValueError::new("no value").hint(format!("write {name}=VALUE"))),
        })
        .map(|pairs| pairs.into_iter().collect())
    }

    /// Returns how the container is kept alive and ends.
    pub fn lifecycle(&self) -> Result<Lifecycle, Report> {
        let policy = self.restart.as_deref().unwrap_or("no");
        let restart = restart_policy(policy).map_err(|error| error.report("--restart", policy))?;
        if let Some(text) = self.stop_signal.as_deref()
            && signal::number(text).is_none()
        {
            return Err(ValueError::new("not a signal")
                .hint("write a name such as SIGTERM, or a number")
                .report("--stop-signal", text));
        }
        if self.rm && restart != RestartPolicy::No {
            return Err(Report::new("--rm and --restart exclude each other"));
        }
        Ok(Lifecycle {
            remove: self.rm,
            init: self.init,
            restart,
            stop_timeout: self.stop_timeout,
        })
    }
}

/// Returns the variables of `files`, then those of `options`; a name without a value takes that
/// of the environment, and sets nothing if it has none.
pub(in crate::cli) fn variables(
    files: &[PathBuf],
    options: &[String],
    settings: &Settings,
) -> Result<Vec<(String, String)>, Report> {
    let mut lines = Vec::new();
    for path in files {
        lines.extend(file_lines("--env-file", path)?);
    }
    lines.extend(options.iter().cloned());
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, value) in each("--env", &lines, pair)? {
        let Some(value) = value.or_else(|| settings.environment.text(&name)) else {
            continue;
        };
        if let Some(&at) = places.get(&name) {
            env[at].1 = value;
        } else {
            places.insert(name.clone(), env.len());
            env.push((name, value));
        }
    }
    Ok(env)
}

/// Parses `no`, `on-failure, on-failure:TIMES`, `always` or `unless-stopped`.
pub(in crate::cli) fn restart_policy(text: &str) -> Result<RestartPolicy, ValueError> {
    let (name, times) = match text.split_once(':') {
        Some((name, times)) => (name, Some(times)),
        None => (text, None),
    };
    let number = |times: &str| {
        times
            .parse()
            .map_err(|_| ValueError::new(format!("{times:?} is no number of times")))
    };
    match (name, times) {
        ("" | "no", None) => Ok(RestartPolicy::No),
        ("always", None) => Ok(RestartPolicy::Always),
        ("unless-stopped", None) => Ok(RestartPolicy::UnlessStopped),
        ("on-failure", None) => Ok(RestartPolicy::OnFailure(0)),
        ("on-failure", Some(times)) => number(times).map(RestartPolicy::OnFailure),
        ("no" | "always" | "unless-stopped", Some(_)) => {
            Err(ValueError::new("only on-failure has a number of times"))
        }
        _ => {
            let known = ["no", "on-failure", "always", "unless-stopped"];
            Err(ValueError::unknown("policy", name, &known))
        }
    }
}

fn file_lines(option: &str, path: &Path) -> Result<Vec<String>, Report> {
    let text = fs::read_to_string(path).map_err(|error| {
        Report::from_error(&error).context(format!("cannot read {option} {}", path.display()))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text.lines().map(str::trim_start);
    Ok(lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_docker_reads_them() {
        for (text, expected) in [
            ("no", Some(RestartPolicy::No)),
            ("always", Some(RestartPolicy::Always)),
            ("unless-stopped", Some(RestartPolicy::UnlessStopped)),
            ("on-failure", Some(RestartPolicy::OnFailure(0))),
            ("on-failure:3", Some(RestartPolicy::OnFailure(3))),
            ("on-failure:x", None),
            ("always:3", None),
            ("never", None),
        ] {
            assert_eq!(restart_policy(text).ok(), expected, "{text}");
        }
    }
}
