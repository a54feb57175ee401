//! `cooper run` and `cooper create`: from raw arguments to [`RunOptions`], and into a container.

mod devices;
mod health;
mod isolation;
mod logging;
mod mounts;
mod network;
mod process;
mod resources;

use crate::exit::ExitCode;
use std::fs;

use clap::{ArgAction, Args};
use cooper_cache::ImageRecord;
use cooper_oci::Platform;

use super::session::Session;
use super::value::ValueError;
use super::{Settings, remote};
use crate::build::step_image;
use crate::config;
use crate::container::attach;
use crate::container::record::Held;
use crate::container::run::{Attached, create};
use crate::container::start::{Attachment, Monitor, start};
use crate::container::{NamespaceMode, RunOptions, UserMode, VolumeSource};
use crate::emulation;
use crate::network::NetworkMode;
use crate::options::{ProgressMode, Pull};
use crate::report::{Exit, Report, print_data, print_error};

pub use health::HealthArgs;
pub use isolation::IsolationArgs;
pub use logging::LogArgs;
pub use mounts::MountArgs;
pub use network::NetworkArgs;
pub(super) use network::{address, link};
pub use process::ProcessArgs;
pub(super) use process::{restart_policy, variables};
pub use resources::{LimitArgs, ResourceArgs};

/// Options that say what a container is: those of `cooper run` and `cooper create`.
#[derive(Args, Clone, Debug, Default)]
pub struct ContainerArgs {
    /// The image, by name or ID, or a step of a build by the ID that `cooper cache why` shows
    pub image: String,

    /// Program and arguments in place of the image's CMD
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<String>,

    /// The process.
    #[command(flatten)]
    pub process: ProcessArgs,

    /// The confinement.
    #[command(flatten)]
    pub isolation: IsolationArgs,

    /// The network.
    #[command(flatten)]
    pub network: NetworkArgs,

    /// The mounts.
    #[command(flatten)]
    pub mounts: MountArgs,

    /// The limits.
    #[command(flatten)]
    pub resources: ResourceArgs,

    /// The health check.
    #[command(flatten)]
    pub health: HealthArgs,

    /// The log.
    #[command(flatten)]
    pub log: LogArgs,

    /// When to ask a registry for the image: missing, always or never
    #[arg(long, value_name = "WHEN")]
    pub pull: Option<String>,

    /// Show nothing of a pull
    #[arg(short, long)]
    pub quiet: bool,

    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,

    /// Taken for docker's sake: an image that is pulled is checked by its digest
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          hide = true, value_name = "BOOL")]
    pub disable_content_trust: Option<bool>,

    /// Show this help; -h is --hostname
    #[arg(long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

/// How a command is attached to a container.
#[derive(Args, Clone, Debug, Default)]
pub struct RelayArgs {
    /// Pass signals on to the container
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = super::value::switch)]
    pub sig_proxy: bool,

    /// Keys that detach from the container, such as ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
}

impl RelayArgs {
    pub(super) fn resolve(&self) -> Result<attach::Options, Report> {
        attach_options(self.sig_proxy, self.detach_keys.as_deref())
    }
}

/// Options of `cooper run`.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// What the container is.
    #[command(flatten)]
    pub container: ContainerArgs,

    /// Leave it running and print its ID
    #[arg(short, long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = super::value::switch)]
    pub detach: bool,

    /// How this command is attached.
    #[command(flatten)]
    pub relay: RelayArgs,

    /// Show only stdout, or only stderr; given, stdin is sent only if it is named
    #[arg(short, long, value_name = "STREAM")]
    pub attach: Vec<String>,
}

/// Options of `cooper create`.
#[derive(Args, Clone, Debug, Default)]
pub struct CreateArgs {
    /// What the container is.
    #[command(flatten)]
    pub container: ContainerArgs,

    /// Taken for docker's sake: `cooper start` says what is attached
    #[arg(short, long, value_name = "STREAM")]
    pub attach: Vec<String>,
}

/// Whether a stream is among those that are named, in whichever case.
fn names(streams: &[String], wanted: &str) -> bool {
    streams.iter().any(|name| name.eq_ignore_ascii_case(wanted))
}

fn check_streams(streams: &[String]) -> Result<(), Report> {
    let known = ["stdin", "stdout", "stderr"];
    let unknown = |name: &&String| !known.iter().any(|known| name.eq_ignore_ascii_case(known));
    match streams.iter().find(unknown) {
        None => Ok(()),
        Some(name) => {
            let error = ValueError::unknown("stream", name, &known);
            Err(error.report("--attach", name))
        }
    }
}

impl RunArgs {
    /// Runs the container and returns its exit code.
    pub fn run(&self, settings: &Settings) -> Result<ExitCode, Report> {
        self.run_to_end(settings)
            .map(ExitCode::from)
            .map_err(|report| match report.exit_kind() {
                Exit::Failure => report.exit(Exit::Code(125)),
                _ => report,
            })
    }

    fn run_to_end(&self, settings: &Settings) -> Result<u8, Report> {
        let attach = self.attach_options()?;
        if self.detach && !self.attach.is_empty() {
            return Err(Report::new("--detach and --attach exclude each other"));
        }
        let options = self.container.resolve(settings)?;
        let session = Session::open(settings)?;
        let monitor = Monitor::ahead(&options)?;
        // Nothing that the collector takes may be missing until the container is written down.
        let lease = session.lease()?;
        let mut held = self.container.create(&options, settings, &session)?;
        let id = held.container.id.clone();
        if self.detach {
            let _connection = start(&session.store, held, monitor, Attachment::default())?;
            print_data(&format!("{id}\n"))?;
            return Ok(0);
        }
        let names = |stream: &str| names(&self.attach, stream);
        if !self.attach.is_empty() && !names("stdin") {
            held.container.config.open_stdin = false;
        }
        let attached = Attached::start(&session.store, held, monitor, &attach)?;
        // The container runs meanwhile; it may run for years.
        drop(lease);
        drop(session);
        attached.carry()
    }

    fn attach_options(&self) -> Result<attach::Options, Report> {
        let mut options = self.relay.resolve()?;
        check_streams(&self.attach)?;
        if !self.attach.is_empty() {
            let names = |wanted: &str| names(&self.attach, wanted);
            options.stdout = names("stdout");
            options.stderr = names("stderr");
        }
        Ok(options)
    }
}

impl CreateArgs {
    /// Makes the container and prints its ID.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        check_streams(&self.attach)?;
        let options = self.container.resolve(settings)?;
        let session = Session::open(settings)?;
        let _lease = session.lease()?;
        let held = self.container.create(&options, settings, &session)?;
        print_data(&format!("{}\n", held.container.id))
    }
}

/// Finds the images that are to be mounted.
fn with_images(options: &RunOptions, session: &Session) -> Result<RunOptions, Report> {
    let mut options = options.clone();
    for volume in &mut options.mounts.volumes {
        if let VolumeSource::Image { name, layers } = &mut volume.source {
            let image = session.image(name).map_err(|report| {
                report.hint(format!("cooper pull {name} fetches it from a registry"))
            })?;
            *layers = image.layers.into_iter().map(|layer| layer.layer).collect();
        }
    }
    Ok(options)
}

/// A container in the host's network or IPC namespace would set the whole machine.
fn no_settings_of_the_host(options: RunOptions) -> Result<RunOptions, Report> {
    let host_network = options.network.mode == NetworkMode::Host;
    let host_ipc = options.isolation.ipc != NamespaceMode::Private;
    let refused = options.isolation.sysctls.keys().find(|name| {
        let network = name.starts_with("net.");
        (network && host_network) || (!network && host_ipc)
    });
    match refused {
        None => Ok(options),
        Some(name) => Err(Report::new(format!(
            "--sysctl {name} would set the host's: the container shares that namespace"
        ))),
    }
}

/// A container that shares the network of another has that one's name, and one that shares the
/// host's name would set it for the whole machine.
fn no_name_beside_a_shared_one(options: RunOptions) -> Result<RunOptions, Report> {
    let of_another = matches!(options.network.mode, NetworkMode::Container(_));
    let of_host = options.isolation.uts == NamespaceMode::Host;
    let (shared, with) = if of_host {
        (true, "--uts=host")
    } else {
        (of_another, "--network=container:NAME")
    };
    let named = [
        ("--hostname", &options.hostname),
        ("--domainname", &options.domainname),
    ];
    if let Some((option, _)) = named.iter().find(|(_, name)| shared && name.is_some()) {
        return Err(Report::new(format!("{option} has no meaning with {with}")));
    }
    Ok(options)
}

/// Root of a user namespace is nobody in namespaces that are not its own.
fn nothing_of_the_host_with_own_ids(options: RunOptions) -> Result<RunOptions, Report> {
    let isolation = &options.isolation;
    let refused = if isolation.users == UserMode::Host {
        None
    } else if isolation.privileged {
        Some("--privileged")
    } else if options.network.mode == NetworkMode::Host {
        Some("--network=host")
    } else if isolation.pid == NamespaceMode::Host {
        Some("--pid=host")
    } else {
        None
    };
    match refused {
        None => Ok(options),
        Some(option) => Err(Report::new(format!(
            "{option} does not go with a user namespace of the container's own"
        ))
        .hint("--userns=host goes without one")),
    }
}

/// Returns how a command is attached.
pub(super) fn attach_options(relay: bool, keys: Option<&str>) -> Result<attach::Options, Report> {
    let mut options = attach::Options {
        relay,
        ..attach::Options::default()
    };
    if let Some(keys) = keys {
        options.detach_keys = attach::detach_keys(keys).ok_or_else(|| {
            ValueError::new("not a sequence of keys")
                .hint("write letters and ctrl-X, separated by commas")
                .report("--detach-keys", keys)
        })?;
    }
    Ok(options)
}

impl ContainerArgs {
    /// Makes the container that is asked for, of an image that this machine can run.
    fn create(
        &self,
        options: &RunOptions,
        settings: &Settings,
        session: &Session,
    ) -> Result<Held, Report> {
        let cidfile = self.process.cidfile.as_deref();
        if let Some(path) = cidfile.filter(|path| path.exists()) {
            return Err(Report::new(format!("--cidfile {} exists", path.display()))
                .hint("remove it, or name another file"));
        }
        let image = self.image(settings, session)?;
        let config = session.config(&image)?;
        // What is registered for this process alone would end with it.
        emulation::execution(&config.platform(), false).map_err(|missing| {
            let report = Report::from_error(&missing)
                .context(format!("image {} cannot be run here", options.image));
            missing.hint().into_iter().fold(report, Report::hint)
        })?;
        let (found, host) = (config.platform(), Platform::host());
        if self.platform.is_none() && !host.matches(&found) {
            let text = format!(
                "image {} is for {found}, this machine is {host}",
                options.image
            );
            print_error(&format!(
                "warning: {text} (--platform={found} says it is meant)\n"
            ));
        }
        if options.network.mode == NetworkMode::Host && !options.network.ports.is_empty() {
            print_error(
                "WARNING: published ports mean nothing with --network=host: all are this machine's\n",
            );
        }
        let options = with_images(options, session)?;
        let held = create(&options, &session.store, &image, &config)?;
        if let Some(path) = cidfile {
            fs::write(path, &held.container.id).map_err(|error| {
                Report::from_error(&error)
                    .context(format!("cannot write --cidfile {}", path.display()))
            })?;
        }
        Ok(held)
    }

    /// Returns what these arguments ask for, given the environment.
    pub fn resolve(&self, settings: &Settings) -> Result<RunOptions, Report> {
        let process = &self.process;
        Ok(RunOptions {
            image: self.image.clone(),
            command: self.command.clone(),
            entrypoint: process.entrypoint.clone(),
            env: process.env(settings)?,
            workdir: process.workdir()?,
            user: process.user.clone(),
            groups: process.group_add.clone(),
            hostname: process.hostname.clone(),
            domainname: process.domainname.clone(),
            annotations: process.annotations()?,
            labels: process.labels()?,
            name: process.name.clone(),
            interactive: process.interactive,
            tty: process.tty,
            stop_signal: process.stop_signal.clone(),
            health: self.health.resolve()?,
            isolation: self.isolation.resolve(settings)?,
            network: self.network.resolve()?,
            mounts: self.mounts.resolve()?,
            resources: self.resources.resolve()?,
            lifecycle: process.lifecycle()?,
            log: self.log.resolve()?,
        })
        .and_then(no_settings_of_the_host)
        .and_then(no_name_beside_a_shared_one)
        .and_then(nothing_of_the_host_with_own_ids)
        .and_then(|options| devices::with_requested(options, settings))
    }

    /// Returns the image: the store's, or else what a registry gives.
    fn image(&self, settings: &Settings, session: &Session) -> Result<ImageRecord, Report> {
        let wanted = match self.pull.as_deref() {
            None | Some("missing") => Pull::Missing,
            Some("always") => Pull::Always,
            Some("never") => Pull::Never,
            Some(other) => {
                let error = ValueError::unknown("time", other, &["always", "missing", "never"]);
                return Err(error.report("--pull", other));
            }
        };
        let platform = remote::platform(self.platform.as_deref())?;
        let found = session.find_platform(&self.image, &platform)?;
        if found.is_none() {
            let step = step_image(&session.store, &self.image);
            if let Some(record) = step.map_err(|error| Report::from_error(&error))? {
                return Ok(record);
            }
        }
        // One that is here for another platform only is what docker would pull again.
        let found = match found {
            Some(record) if self.platform.is_some() => {
                let here = session.config(&record)?.platform();
                if platform.matches(&here) {
                    Some(record)
                } else if wanted == Pull::Never {
                    let image = &self.image;
                    return Err(Report::new(format!(
                        "{image} is here for {here}, not for {platform}"
                    ))
                    .hint("leave --pull=never out to have it fetched"));
                } else {
                    None
                }
            }
            found => found,
        };
        match (wanted, found) {
            (Pull::Missing | Pull::Never, Some(record)) => Ok(record),
            (Pull::Never, None) => session.image(&self.image),
            (Pull::Missing | Pull::Always, _) => {
                let options = settings.registry(&[])?;
                let reference = remote::reference(&self.image)?;
                if wanted == Pull::Missing && !self.quiet {
                    let name = reference.familiar();
                    print_error(&format!("Unable to find image '{name}' locally\n"));
                }
                let names = options.short_names.meanings(&self.image, &reference);
                let mode = if self.quiet {
                    ProgressMode::Quiet
                } else {
                    config::progress_mode(None, &settings.environment, &settings.file)?
                };
                let pulled = remote::pull(session, settings, &options, mode, &names, &platform)?;
                Ok(pulled.record)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Environment;

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn resolve(args: &[&str]) -> Result<RunOptions, String> {
        let settings = Settings {
            environment: Environment::of([("SET", "value")]),
            ..Settings::default()
        };
        let line =
            Line::try_parse_from([&["run"], args].concat()).map_err(|error| error.to_string())?;
        line.run
            .container
            .resolve(&settings)
            .map_err(|report| report.render(false))
    }

    #[test]
    fn options_end_at_the_image() {
        let options = resolve(&[
            "--rm", "-it", "-h", "web", "busybox", "ls", "-la", "--rm", "-h",
        ])
        .expect("valid");
        assert_eq!(options.command, ["ls", "-la", "--rm", "-h"]);
        assert_eq!(options.hostname.as_deref(), Some("web"));
        assert!(options.lifecycle.remove && options.interactive && options.tty);
        let off = resolve(&["--rm=false", "-i=false", "--tty=true", "busybox"]).expect("valid");
        assert!(!off.lifecycle.remove && !off.interactive && off.tty);
    }

    #[test]
    fn variables_come_from_files_options_and_the_environment() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "# comment\nA=1\n  B=x y\n\nSET\nUNSET\nC=\n").expect("writes");
        let path = file.path().to_str().expect("UTF-8");
        let options =
            resolve(&["--env-file", path, "-e", "A=2", "-eD", "-e", "SET=s", "i"]).expect("valid");
        let found: Vec<_> = options
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(found, ["A=2", "B=x y", "SET=s", "C="]);
    }

    #[test]
    fn capabilities_are_dropped_before_they_are_added() {
        let bits = |args: &[&str]| {
            resolve(&[args, &["i"]].concat()).map(|options| options.isolation.capabilities.bits())
        };
        assert_eq!(bits(&[]), Ok(0xa804_25fb));
        assert_eq!(bits(&["--cap-drop=all"]), Ok(0));
        assert_eq!(bits(&["--cap-drop=ALL", "--cap-add=CAP_CHOWN"]), Ok(1));
        assert_eq!(bits(&["--cap-drop", "chown"]), Ok(0xa804_25fa));
        assert_eq!(bits(&["--cap-add=ALL"]), Ok((1 << 41) - 1));
        assert!(bits(&["--cap-add=FLY"]).is_err());
    }

    #[test]
    fn bad_input_is_refused_with_a_reason() {
        let lines: &[&[&str]] = &[
            &["--network=container:", "i"],
            &["--security-opt", "secomp=unconfined", "i"],
            &["--env-file", "no-such-file", "i"],
            &["--ulimit", "nofile=2:1", "i"],
            &["-e", "=x", "i"],
            &["-w", "srv", "i"],
        ];
        let reports: String = lines
            .iter()
            .map(|line| resolve(line).expect_err("invalid"))
            .collect();
        insta::assert_snapshot!(reports, @r#"
        ERROR: invalid value "container:" for --network: no container
          hint: write container:NAME
        ERROR: invalid value "secomp=unconfined" for --security-opt: unknown option "secomp=unconfined"
          hint: did you mean "seccomp=unconfined"?
        ERROR: cannot read --env-file no-such-file
          caused by: No such file or directory (os error 2)
        ERROR: invalid value "nofile=2:1" for --ulimit: the soft limit is above the hard limit
        ERROR: invalid value "=x" for --env: the name is empty
          hint: write NAME=VALUE
        ERROR: invalid value "srv" for --workdir: no absolute path
          hint: write /srv
        "#);
    }
}
