//! What is wrong with the arguments, worded as every other failure is.
//!
//! The parser names the fault, [`report`] says it: a heading, what was probably meant, and where
//! the help is. Options and commands that users of docker know and that are absent here get a
//! hint of their own, from [`OPTIONS`] and [`COMMANDS`].

use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;
use crate::report::{Exit, Report, did_you_mean};

/// Options of docker's that are absent: the command, their names, what to do instead.
const OPTIONS: &[(&str, &[&str], &str)] = &[
    (
        "build",
        &["--cache-from", "--cache-to"],
        "leave it out: every build below the same --root shares one cache",
    ),
    (
        "build",
        &["--security-opt"],
        "let the step say it: RUN --security=insecure, with --allow security.insecure",
    ),
    (
        "build",
        &["--save-stages", "--stage-labels"],
        "leave it out: every step's result is kept, and --target builds a stage by itself",
    ),
    (
        "run",
        &["--mount"],
        "write it as --volume SOURCE:TARGET[:ro] or --tmpfs TARGET",
    ),
    (
        "run",
        &["--memory", "-m", "--cpus", "--cpuset-cpus", "--pids-limit"],
        "run cooper itself in a cgroup with that limit, for example by systemd-run",
    ),
];

/// Commands of docker's that are absent, and what to do instead.
const COMMANDS: &[(&str, &str)] = &[
    (
        "system",
        "the commands are `cooper du`, `cooper prune` and `cooper info`",
    ),
    (
        "import",
        "a Dockerfile does it: FROM scratch, then ADD the archive to /",
    ),
];

/// Returns what is wrong with `args`, which the parser refused with `error`.
///
/// `run` keeps the codes 1 to 124 for the container's program, so a bad option of its own is 125.
pub(super) fn report(error: &clap::Error, args: &[OsString]) -> Report {
    let command = command(args);
    let of = command
        .as_deref()
        .map_or_else(|| "cooper".to_owned(), |name| format!("cooper {name}"));
    let mut report = Report::new(heading(error, &of));
    if let Some(hint) = hint(error, command.as_deref()) {
        report = report.hint(hint);
    }
    let exit = match command.as_deref() {
        Some("run") => Exit::Code(125),
        _ => Exit::Failure,
    };
    report.hint(format!("see `{of} --help`")).exit(exit)
}

/// Returns the command that `args` name, if it exists.
fn command(args: &[OsString]) -> Option<String> {
    let mut args = args.iter().skip(1).map(|arg| arg.to_string_lossy());
    while let Some(arg) = args.next() {
        match &*arg {
            "--root" | "--config" | "-H" | "--host" | "-c" | "--context" | "-l" | "--log-level" => {
                drop(args.next());
            }
            option if option.starts_with('-') => {}
            name => {
                let known = Cli::command().find_subcommand(name).is_some();
                return known.then(|| name.to_owned());
            }
        }
    }
    None
}

fn heading(error: &clap::Error, of: &str) -> String {
    let word = text(error, ContextKind::InvalidArg);
    match (error.kind(), word) {
        (ErrorKind::UnknownArgument, Some(word)) if word.starts_with('-') => {
            format!("{of} has no option {word}")
        }
        (ErrorKind::UnknownArgument, Some(word)) => {
            format!("{of} takes no further argument, but {word:?} is given")
        }
        (ErrorKind::MissingRequiredArgument, Some(word)) => format!("{of} needs {word}"),
        (ErrorKind::InvalidSubcommand, _) => {
            let name = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("{of} has no command {name:?}")
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}

fn hint(error: &clap::Error, command: Option<&str>) -> Option<String> {
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let option = text(error, ContextKind::InvalidArg)?;
            let absent = OPTIONS
                .iter()
                .find(|(of, names, _)| Some(*of) == command && names.contains(&option.as_str()));
            if let Some((_, _, instead)) = absent {
                return Some((*instead).to_owned());
            }
            near_option(&option, command?)
        }
        ErrorKind::InvalidSubcommand => {
            let name = text(error, ContextKind::InvalidSubcommand)?;
            if let Some((_, instead)) = COMMANDS.iter().find(|(known, _)| *known == name) {
                return Some((*instead).to_owned());
            }
            let cli = Cli::command();
            let shown = cli
                .get_subcommands()
                .filter(|command| !command.is_hide_set());
            did_you_mean(&name, shown.map(clap::Command::get_name))
                .map(|name| format!("did you mean {name}?"))
        }
        _ => None,
    }
}

/// Returns which option of `command` may have been meant by `option`.
fn near_option(option: &str, command: &str) -> Option<String> {
    let cli = Cli::command();
    let command = cli.find_subcommand(command)?;
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let name = did_you_mean(
        option.strip_prefix("--")?,
        shown.filter_map(clap::Arg::get_long),
    )?;
    Some(format!("did you mean --{name}?"))
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(" ")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn said(line: &str) -> String {
        let args: Vec<_> = line.split(' ').map(OsString::from).collect();
        let error = Cli::try_parse_from(&args).expect_err("refused");
        let report = report(&error, &args);
        let code = report.exit_kind().code();
        format!("$ {line}\n{}[{code}]\n", report.render(false))
    }

    #[test]
    fn what_is_said_to_be_absent_is() {
        let cli = Cli::command();
        for (command, names, _) in OPTIONS {
            let command = cli.find_subcommand(command).expect("a command");
            for arg in command.get_arguments() {
                let long = arg.get_long().map(|long| format!("--{long}"));
                let short = arg.get_short().map(|short| format!("-{short}"));
                for known in long.iter().chain(&short) {
                    assert!(!names.contains(&known.as_str()), "{command} has {known}");
                }
            }
        }
        for (name, _) in COMMANDS {
            assert!(cli.find_subcommand(name).is_none(), "cooper has {name}");
        }
    }

    #[test]
    fn wrong_arguments_are_said_with_what_to_do() {
        let lines = [
            "cooper build --build-agr a=b .",
            "cooper build --nothing-alike .",
            "cooper build --cache-from a .",
            "cooper build . run",
            "cooper build",
            "cooper build --jobs 0 .",
            "cooper --root /x run --cpus 2 app",
            "cooper run --foo app",
            "cooper run",
            "cooper bild .",
            "cooper nothing-alike",
        ];
        insta::assert_snapshot!(lines.map(said).join(""), @r#"
        $ cooper build --build-agr a=b .
        ERROR: cooper build has no option --build-agr
          hint: did you mean --build-arg?
          hint: see `cooper build --help`
        [1]
        $ cooper build --nothing-alike .
        ERROR: cooper build has no option --nothing-alike
          hint: see `cooper build --help`
        [1]
        $ cooper build --cache-from a .
        ERROR: cooper build has no option --cache-from
          hint: leave it out: every build below the same --root shares one cache
          hint: see `cooper build --help`
        [1]
        $ cooper build . run
        ERROR: cooper build takes no further argument, but "run" is given
          hint: see `cooper build --help`
        [1]
        $ cooper build
        ERROR: cooper build needs <PATH|URL|->
          hint: see `cooper build --help`
        [1]
        $ cooper build --jobs 0 .
        ERROR: invalid value '0' for '--jobs <N>': not a number of steps, 1 or more
          hint: see `cooper build --help`
        [1]
        $ cooper --root /x run --cpus 2 app
        ERROR: cooper run has no option --cpus
          hint: run cooper itself in a cgroup with that limit, for example by systemd-run
          hint: see `cooper run --help`
        [125]
        $ cooper run --foo app
        ERROR: cooper run has no option --foo
          hint: see `cooper run --help`
        [125]
        $ cooper run
        ERROR: cooper run needs <IMAGE>
          hint: see `cooper run --help`
        [125]
        $ cooper bild .
        ERROR: cooper has no command "bild"
          hint: did you mean build?
          hint: see `cooper --help`
        [1]
        $ cooper nothing-alike
        ERROR: cooper has no command "nothing-alike"
          hint: see `cooper --help`
        [1]
        "#);
    }
}
