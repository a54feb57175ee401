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

/// Options of docker's that are absent: the commands, their names, what to do instead.
const OPTIONS: &[(&[&str], &[&str], &str)] = &[
    (
        &["build"],
        &["--security-opt"],
        "let the step say it: RUN --security=insecure, with --allow security.insecure",
    ),
    (
        &["build"],
        &["--detach", "--server-config"],
        "leave it out: there is no server that could build",
    ),
    (
        &["build"],
        &["--save-stages", "--stage-labels"],
        "leave it out: every step's result is kept, and --target builds a stage by itself",
    ),
    (
        &["run", "create", "update"],
        &["--cpu-rt-period", "--cpu-rt-runtime"],
        "control groups of version 2 have no real-time shares: --ulimit rtprio=N allows priorities",
    ),
    (
        &["run", "create"],
        &[
            "--cpu-count",
            "--cpu-percent",
            "--io-maxbandwidth",
            "--io-maxiops",
        ],
        "leave it out: it is for containers of Windows",
    ),
    (
        &["run", "create"],
        &["--use-api-socket"],
        "there is no daemon whose socket could be given",
    ),
    (
        &["start"],
        &["--checkpoint", "--checkpoint-dir"],
        "a container's processes cannot be kept: cooper commit keeps its files",
    ),
    (&["commit"], &["--no-pause"], "write --pause=false"),
    (
        &["connect"],
        &["--driver-opt"],
        "leave it out: no network here has such options",
    ),
    (
        &["network"],
        &["--config-from", "--config-only", "--ingress"],
        "there are no clusters: cooper works on one machine",
    ),
    (
        &["volume"],
        &[
            "--availability",
            "--cluster",
            "--group",
            "--limit-bytes",
            "--required-bytes",
            "--scope",
            "--secret",
            "--sharing",
            "--topology-preferred",
            "--topology-required",
            "--type",
        ],
        "there are no clusters: cooper works on one machine",
    ),
    (
        &["rmi", "image"],
        &["--platform"],
        "leave it out: an image goes with all its platforms",
    ),
];

/// Commands of docker's that are absent, and what to do instead.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["search"],
        "search on the registry's web page, and pull what you find by its name",
    ),
    (
        &["context"],
        "there is no daemon to choose: run cooper where it is to work",
    ),
    (
        &["compose"],
        "cooper bake builds what a compose file describes; start it with cooper run and cooper \
         network",
    ),
    (
        &["swarm", "node", "service", "stack", "config", "secret"],
        "there are no clusters: cooper works on one machine",
    ),
    (
        &["plugin"],
        "there are no plugins: networks and volumes are cooper's own",
    ),
    (
        &["checkpoint"],
        "a container's processes cannot be kept: cooper commit keeps its files",
    ),
    (
        &["trust"],
        "name an image by its digest: NAME@sha256:HEX is that content and no other",
    ),
    (
        &["scout"],
        "cooper build --sbom=true says what an image is made of, for programs that look for flaws",
    ),
];

/// Returns what is wrong with `args`, which the parser refused with `error`.
///
/// As docker's, a bad option is 125, which no container's program ends with unless it wants to,
/// and a missing or superfluous argument 1.
pub(super) fn report(error: &clap::Error, args: &[OsString]) -> Report {
    let mut cli = Cli::command();
    cli.build();
    let (path, command) = named(&cli, args);
    let of = format!("cooper {}", path.join(" "));
    let of = of.trim_end();
    let mut report = Report::new(heading(error, of));
    if let Some(hint) = hint(error, &path, command) {
        report = report.hint(hint);
    }
    let exit = if is_positional(error) {
        Exit::Failure
    } else {
        Exit::Code(125)
    };
    report.hint(format!("see `{of} --help`")).exit(exit)
}

/// Returns whether a command or an argument, rather than an option, is missing or too much.
fn is_positional(error: &clap::Error) -> bool {
    let word = text(error, ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::InvalidSubcommand => true,
        ErrorKind::UnknownArgument => word.is_some_and(|word| !word.starts_with('-')),
        _ => false,
    }
}

/// Returns the command that `args` name, and the names that lead to it.
fn named<'a>(cli: &'a clap::Command, args: &[OsString]) -> (Vec<String>, &'a clap::Command) {
    let mut args = args.iter().skip(1).map(|arg| arg.to_string_lossy());
    let (mut path, mut command) = (Vec::new(), cli);
    while let Some(arg) = args.next() {
        match &*arg {
            "--root" | "--config" | "-H" | "--host" | "-c" | "--context" | "-l" | "--log-level" => {
                drop(args.next());
            }
            option if option.starts_with('-') => {}
            name => match command.find_subcommand(name) {
                Some(found) => {
                    path.push(name.to_owned());
                    command = found;
                }
                None => break,
            },
        }
    }
    (path, command)
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

/// Returns what was probably meant; `path` names the command.
fn hint(error: &clap::Error, path: &[String], command: &clap::Command) -> Option<String> {
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let option = text(error, ContextKind::InvalidArg)?;
            let of_it = |of: &[&str]| path.iter().any(|name| of.contains(&name.as_str()));
            let absent = OPTIONS
                .iter()
                .find(|(of, names, _)| of_it(of) && names.contains(&option.as_str()));
            if let Some((_, _, instead)) = absent {
                return Some((*instead).to_owned());
            }
            near_option(&option, command)
        }
        ErrorKind::InvalidSubcommand => {
            let name = text(error, ContextKind::InvalidSubcommand)?;
            let mut commands = COMMANDS.iter();
            if let Some((_, instead)) = commands.find(|(known, _)| known.contains(&&*name)) {
                return Some((*instead).to_owned());
            }
            let shown = command
                .get_subcommands()
                .filter(|command| !command.is_hide_set());
            did_you_mean(&name, shown.map(clap::Command::get_name))
                .map(|name| format!("did you mean {name}?"))
        }
        _ => None,
    }
}

/// Returns which option of `command` may have been meant by `option`.
fn near_option(option: &str, command: &clap::Command) -> Option<String> {
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
        let mut cli = Cli::command();
        cli.build();
        for (commands, names, _) in OPTIONS {
            let found = commands.iter().filter_map(|name| cli.find_subcommand(name));
            for (command, arg) in
                found.flat_map(|command| command.get_arguments().map(move |arg| (command, arg)))
            {
                let long = arg.get_long().map(|long| format!("--{long}"));
                let short = arg.get_short().map(|short| format!("-{short}"));
                for known in long.iter().chain(&short) {
                    assert!(!names.contains(&known.as_str()), "{command} has {known}");
                }
            }
        }
        for name in COMMANDS.iter().flat_map(|(names, _)| *names) {
            assert!(cli.find_subcommand(name).is_none(), "cooper has {name}");
        }
        let said = said("cooper service ls");
        assert!(said.contains("cooper works on one machine"), "{said}");
    }

    #[test]
    fn options_of_dockers_that_are_absent_have_advice_of_their_own() {
        for (line, advice) in [
            (
                "cooper container run --cpu-count=1 app",
                "containers of Windows",
            ),
            ("cooper update --cpu-rt-period=1 web", "--ulimit rtprio=N"),
            (
                "cooper start --checkpoint=x web",
                "cooper commit keeps its files",
            ),
            ("cooper commit --no-pause web", "--pause=false"),
            (
                "cooper network connect --driver-opt=a=b net web",
                "leave it out",
            ),
            (
                "cooper volume create --scope=multi v",
                "there are no clusters",
            ),
        ] {
            let said = said(line);
            assert!(said.contains(advice) && said.ends_with("[125]\n"), "{said}");
        }
    }

    #[test]
    fn wrong_arguments_are_said_with_what_to_do() {
        let lines = [
            "cooper build --build-agr a=b .",
            "cooper build --nothing-alike .",
            "cooper build --stage-labels .",
            "cooper build . run",
            "cooper build",
            "cooper build --jobs none .",
            "cooper --root /x build --save-stages .",
            "cooper run --foo app",
            "cooper run",
            "cooper bild .",
            "cooper nothing-alike",
            "cooper network craete net",
            "cooper network create --subnte=1 net",
            "cooper ps all",
            "cooper ps --last=x",
            "cooper ps --last",
        ];
        insta::assert_snapshot!(lines.map(said).join(""), @r#"
        $ cooper build --build-agr a=b .
        ERROR: cooper build has no option --build-agr
          hint: did you mean --build-arg?
          hint: see `cooper build --help`
        [125]
        $ cooper build --nothing-alike .
        ERROR: cooper build has no option --nothing-alike
          hint: see `cooper build --help`
        [125]
        $ cooper build --stage-labels .
        ERROR: cooper build has no option --stage-labels
          hint: leave it out: every step's result is kept, and --target builds a stage by itself
          hint: see `cooper build --help`
        [125]
        $ cooper build . run
        ERROR: cooper build takes no further argument, but "run" is given
          hint: see `cooper build --help`
        [1]
        $ cooper build
        ERROR: cooper build needs <PATH|URL|->
          hint: see `cooper build --help`
        [1]
        $ cooper build --jobs none .
        ERROR: invalid value 'none' for '--jobs <N>': not a number of steps
          hint: see `cooper build --help`
        [125]
        $ cooper --root /x build --save-stages .
        ERROR: cooper build has no option --save-stages
          hint: leave it out: every step's result is kept, and --target builds a stage by itself
          hint: see `cooper build --help`
        [125]
        $ cooper run --foo app
        ERROR: cooper run has no option --foo
          hint: see `cooper run --help`
        [125]
        $ cooper run
        ERROR: cooper run needs <IMAGE>
          hint: see `cooper run --help`
        [1]
        $ cooper bild .
        ERROR: cooper has no command "bild"
          hint: did you mean build?
          hint: see `cooper --help`
        [1]
        $ cooper nothing-alike
        ERROR: cooper has no command "nothing-alike"
          hint: see `cooper --help`
        [1]
        $ cooper network craete net
        ERROR: cooper network has no command "craete"
          hint: did you mean create?
          hint: see `cooper network --help`
        [1]
        $ cooper network create --subnte=1 net
        ERROR: cooper network create has no option --subnte
          hint: did you mean --subnet?
          hint: see `cooper network create --help`
        [125]
        $ cooper ps all
        ERROR: cooper ps takes no further argument, but "all" is given
          hint: see `cooper ps --help`
        [1]
        $ cooper ps --last=x
        ERROR: invalid value 'x' for '--last <NUMBER>': invalid digit found in string
          hint: see `cooper ps --help`
        [125]
        $ cooper ps --last
        ERROR: a value is required for '--last <NUMBER>' but none was supplied
          hint: see `cooper ps --help`
        [125]
        "#);
    }
}
