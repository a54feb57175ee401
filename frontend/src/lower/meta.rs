//! Instructions that change the image's configuration, and WORKDIR.

use cooper_oci::{Empty, Healthcheck};

use crate::dockerignore::clean;
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::instruction::{ArgDefinition, CommandForm, CommandLine, Health, HealthTest, Kind, Pair};
use crate::ir::{BuildOp, FileAction, FileOp};
use crate::source::{Span, Spanned};

use super::format::{go_duration, go_list, go_quoted_list};
use super::ports;
use super::stage::StageLowering;

/// Build arguments that never become variables.
pub(crate) const NO_VARIABLES: [&str; 2] =
    ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl StageLowering<'_, '_> {
    /// Lowers an instruction without a layer.
    pub(super) fn meta(&mut self, kind: &Kind) -> Result<(), Diagnostics> {
        match kind {
            Kind::Env(pairs) => self.env(pairs),
            Kind::Label(pairs) => self.label(pairs),
            Kind::Arg(definitions) => self.arg(definitions),
            Kind::Expose(ports) => self.expose(ports),
            Kind::Volume(paths) => self.volume(paths),
            Kind::User(user) => {
                let user = self.expand(user)?;
                self.commit(format!("USER {user}"), None);
                self.state.image.config.user = user;
                Ok(())
            }
            Kind::StopSignal(signal) => self.stop_signal(signal),
            Kind::Cmd(command) => {
                let args = self.command_args(command);
                self.commit(format!("CMD {}", go_quoted_list(&args)), None);
                let config = &mut self.state.image.config;
                config.cmd = Some(args).filter(|args| !args.is_empty());
                config.args_escaped = true;
                self.cmd_set = true;
                Ok(())
            }
            Kind::Entrypoint(command) => {
                let args = self.command_args(command);
                self.commit(format!("ENTRYPOINT {}", go_quoted_list(&args)), None);
                let config = &mut self.state.image.config;
                config.entrypoint = Some(args).filter(|args| !args.is_empty());
                if !self.cmd_set {
                    config.cmd = None;
                }
                Ok(())
            }
            Kind::Shell(shell) => {
                self.commit(format!("SHELL {}", go_list(shell)), None);
                self.state.image.config.shell.clone_from(shell);
                Ok(())
            }
            Kind::Healthcheck(health) => {
                self.healthcheck(health);
                Ok(())
            }
            Kind::OnBuild(onbuild) => {
                self.state
                    .image
                    .config
                    .on_build
                    .push(onbuild.trigger.clone());
                Ok(())
            }
            Kind::Maintainer(name) => {
                self.commit(format!("MAINTAINER {name}"), None);
                self.state.image.author.clone_from(name);
                Ok(())
            }
            Kind::From(_) | Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_) => {
                Ok(())
            }
        }
    }

    /// Expands all pairs in the environment before the instruction.
    fn pairs(&self, pairs: &[Pair]) -> Result<Vec<(String, String)>, Diagnostics> {
        let names: Vec<_> = pairs.iter().map(|pair| pair.name.clone()).collect();
        let values: Vec<_> = pairs.iter().map(|pair| pair.value.clone()).collect();
        match (self.expand_all(&names), self.expand_all(&values)) {
            (Ok(names), Ok(values)) => Ok(names.into_iter().zip(values).collect()),
            (names, values) => {
                let errors = names.err().into_iter().chain(values.err());
                Err(errors.flatten().collect())
            }
        }
    }

    fn env(&mut self, pairs: &[Pair]) -> Result<(), Diagnostics> {
        let mut created_by = String::from("ENV");
        for (name, value) in self.pairs(pairs)? {
            created_by.extend([" ", name.as_str(), "=", value.as_str()]);
            self.state.set_env(name, value);
        }
        self.commit(created_by, None);
        Ok(())
    }

    fn label(&mut self, pairs: &[Pair]) -> Result<(), Diagnostics> {
        let mut created_by = String::from("LABEL");
        for (name, value) in self.pairs(pairs)? {
            created_by.extend([" ", name.as_str(), "=", value.as_str()]);
            self.state.image.config.labels.insert(name, value);
        }
        self.commit(created_by, None);
        Ok(())
    }

    fn arg(&mut self, definitions: &[ArgDefinition]) -> Result<(), Diagnostics> {
        let mut created_by = String::from("ARG");
        for definition in definitions {
            let name = definition.name.value.as_str();
            let plan = self.lowering.plan;
            let value = match (plan.settings.build_args.get(name), &definition.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.expand(default)?),
                (None, None) => plan.globals.get(name).map(str::to_owned),
            };
            created_by.push(' ');
            created_by.push_str(name);
            if let Some(value) = &value {
                created_by.push('=');
                created_by.push_str(value);
                if !NO_VARIABLES.contains(&name) {
                    self.state.env.set(name, value);
                }
            }
            self.state.build_args.push((name.to_owned(), value));
        }
        self.commit(created_by, None);
        Ok(())
    }

    fn expose(&mut self, specs: &[Spanned<String>]) -> Result<(), Diagnostics> {
        let mut errors = Vec::new();
        let mut exposed = Vec::new();
        let lexer = self.lowering.plan.lexer();
        for spec in specs {
            let words = match lexer.expand(spec, &self.state.env) {
                Ok(value) => value.words,
                Err(error) => {
                    errors.push(crate::plan::word_error(spec, &error));
                    continue;
                }
            };
            for word in words {
                match ports::parse(&word) {
                    Ok(ports) => exposed.extend(ports),
                    Err(message) => {
                        errors.push(Diagnostic::error(Code::InvalidPort, spec.span, message));
                    }
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        self.commit(format!("EXPOSE {}", go_list(&exposed)), None);
        let ports = exposed.into_iter().map(|port| (port, Empty {}));
        self.state.image.config.exposed_ports.extend(ports);
        Ok(())
    }

    fn volume(&mut self, paths: &[Spanned<String>]) -> Result<(), Diagnostics> {
        let volumes = self.expand_all(paths)?;
        if let Some(at) = volumes.iter().position(String::is_empty) {
            let message = "VOLUME specified can not be an empty string";
            return Err(vec![Diagnostic::error(
                Code::EmptyVolume,
                paths[at].span,
                message,
            )]);
        }
        self.commit(format!("VOLUME {}", go_list(&volumes)), None);
        let volumes = volumes.into_iter().map(|path| (path, Empty {}));
        self.state.image.config.volumes.extend(volumes);
        Ok(())
    }

    fn stop_signal(&mut self, word: &Spanned<String>) -> Result<(), Diagnostics> {
        let signal = self.expand(word)?;
        if !is_signal(&signal) {
            let message = format!("invalid signal: {signal}");
            return Err(vec![Diagnostic::error(
                Code::InvalidSignal,
                word.span,
                message,
            )]);
        }
        self.commit(format!("STOPSIGNAL {signal}"), None);
        self.state.image.config.stop_signal = Some(signal);
        Ok(())
    }

    /// Returns a command's arguments, for the shell form with the shell.
    pub(super) fn command_args(&self, command: &CommandLine) -> Vec<String> {
        match &command.form {
            CommandForm::Exec(args) => args.clone(),
            CommandForm::Shell(line) => self.with_shell(line),
        }
    }

    pub(super) fn with_shell(&self, line: &str) -> Vec<String> {
        let shell = &self.state.image.config.shell;
        let mut args = if shell.is_empty() {
            vec!["/bin/sh".to_owned(), "-c".to_owned()]
        } else {
            shell.clone()
        };
        args.push(line.to_owned());
        args
    }

    fn healthcheck(&mut self, health: &Health) {
        let test = match &health.test {
            HealthTest::None => vec!["NONE".to_owned()],
            HealthTest::Exec(args) => prefixed("CMD", args),
            HealthTest::Shell(line) => prefixed("CMD-SHELL", std::slice::from_ref(line)),
        };
        let times = health.durations;
        self.commit(
            format!(
                "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
                go_list(&test),
                go_duration(times.interval),
                go_duration(times.timeout),
                go_duration(times.start_period),
                go_duration(times.start_interval),
                health.retries,
            ),
            None,
        );
        self.state.image.config.healthcheck = Some(Healthcheck {
            test,
            interval: times.interval,
            timeout: times.timeout,
            start_period: times.start_period,
            start_interval: times.start_interval,
            retries: health.retries,
            ..Healthcheck::default()
        });
    }

    /// Lowers WORKDIR, which makes the directory unless it is the root.
    pub(super) fn workdir(
        &mut self,
        word: &Spanned<String>,
        original: &str,
        span: Span,
    ) -> Result<(), Diagnostics> {
        let written = self.expand(word)?;
        let path = if written.starts_with('/') {
            clean(&written)
        } else {
            clean(&format!(
                "/{}/{written}",
                self.state.image.config.working_dir
            ))
        };
        self.state.image.config.working_dir.clone_from(&path);
        let mut layer = None;
        if path != "/" {
            let owner = Some(self.state.image.config.user.clone()).filter(|user| !user.is_empty());
            let actions = vec![FileAction::Mkdir {
                path: path.clone(),
                mode: 0o755,
                owner,
            }];
            let inputs: Vec<_> = self.state.layers.into_iter().collect();
            let op = BuildOp::File(FileOp {
                base: !inputs.is_empty(),
                actions,
            });
            let step = self.next_step(self.shown(original), span);
            layer = Some(self.push_layer(op, &inputs, step));
        }
        self.commit(format!("WORKDIR {path}"), layer);
        Ok(())
    }
}

fn prefixed(first: &str, rest: &[String]) -> Vec<String> {
    std::iter::once(first.to_owned())
        .chain(rest.iter().cloned())
        .collect()
}

/// Linux's signals without `SIG`.
const SIGNALS: [&str; 35] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN",
];

/// Whether docker knows a signal by this text.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = |prefix: &str, limit: u8| {
        let offset = name
            .strip_prefix(prefix)
            .and_then(|offset| offset.parse::<u8>().ok());
        offset.is_some_and(|offset| (1..=limit).contains(&offset))
    };
    SIGNALS.contains(&name) || name == "RTMAX" || realtime("RTMIN+", 15) || realtime("RTMAX-", 14)
}
