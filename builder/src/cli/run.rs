//! `cooper run`: from raw arguments to [`RunOptions`], and into a container.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Args};
use cooper_cache::ImageRecord;
use cooper_oci::Platform;
use cooper_runner::{CapSet, Capability, Network, Seccomp};

use super::session::Session;
use super::value::{ValueError, each, host_entry, pair, size, ulimit};
use super::{Settings, remote};
use crate::config;
use crate::container::{self, RunOptions, TmpfsMount, VolumeMount, VolumeSource};
use crate::options::Pull;
use crate::report::{Exit, Report};

/// Options of `cooper run`.
#[derive(Args, Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct RunArgs {
    /// The image, by name or ID
    pub image: String,

    /// Program and arguments in place of the image's CMD
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<String>,

    /// Remove the container and its anonymous volumes at its end
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub rm: bool,

    /// Let stdin reach the container
    #[arg(short, long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub interactive: bool,

    /// Give the container a terminal
    #[arg(short, long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
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

    /// Mount a directory of this machine or a volume
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:ro]")]
    pub volume: Vec<String>,

    /// Mount a file system in memory
    #[arg(long, value_name = "TARGET[:size=SIZE,mode=MODE]")]
    pub tmpfs: Vec<String>,

    /// Network: host or none
    #[arg(long, visible_alias = "net", value_name = "MODE")]
    pub network: Option<String>,

    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Host name in the container
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// Add a line to /etc/hosts
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,

    /// Add a label to the container
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,

    /// Mount the root file system read-only
    #[arg(long)]
    pub read_only: bool,

    /// Confine nothing
    #[arg(long)]
    pub privileged: bool,

    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,

    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,

    /// seccomp=unconfined or no-new-privileges
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,

    /// Limit a resource
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,

    /// When to ask a registry for the image: missing, always or never
    #[arg(long, value_name = "WHEN")]
    pub pull: Option<String>,

    /// Show this help; -h is --hostname
    #[arg(long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
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
        let options = self.resolve(settings)?;
        let session = Session::open(settings)?;
        let image = self.image(settings, &session)?;
        let config = session.config(&image)?;
        let (found, host) = (config.platform(), Platform::host());
        if !host.matches(&found) {
            return Err(Report::new(format!(
                "image {} is for {found}, and this machine is {host}",
                self.image
            )));
        }
        container::run(&options, &session.store, &image, &config)
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
        let found = session.find_image(&self.image)?;
        match (wanted, found) {
            (Pull::Missing | Pull::Never, Some(record)) => Ok(record),
            (Pull::Never, None) => session.image(&self.image),
            (Pull::Missing | Pull::Always, _) => {
                let options = settings.registry(&[])?;
                let reference = remote::reference(&self.image)?;
                let mode = config::progress_mode(None, &settings.environment, &settings.file)?;
                let host = Platform::host();
                let pulled = remote::pull(session, settings, &options, mode, &reference, &host)?;
                Ok(pulled.record)
            }
        }
    }

    /// Returns what these arguments ask for, given the environment.
    pub fn resolve(&self, settings: &Settings) -> Result<RunOptions, Report> {
        let labels = each("--label", &self.label, pair)?.into_iter();
        let labels = labels.map(|(name, value)| (name, value.unwrap_or_default()));
        let (seccomp, no_new_privileges) = self.security()?;
        let shm = self.shm_size.as_deref();
        let shm_size = shm.map(|text| size(text).map_err(|error| error.report("--shm-size", text)));
        Ok(RunOptions {
            image: self.image.clone(),
            command: self.command.clone(),
            entrypoint: self.entrypoint.clone(),
            env: self.env(settings)?,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            groups: self.group_add.clone(),
            hostname: self.hostname.clone(),
            network: self.network()?,
            add_hosts: each("--add-host", &self.add_host, host_entry)?,
            volumes: each("--volume", &self.volume, volume)?,
            tmpfs: each("--tmpfs", &self.tmpfs, tmpfs)?,
            read_only: self.read_only,
            privileged: self.privileged,
            capabilities: self.capabilities()?,
            seccomp,
            no_new_privileges,
            ulimits: each("--ulimit", &self.ulimit, ulimit)?,
            shm_size: shm_size.transpose()?,
            labels: labels.collect(),
            name: self.name.clone(),
            remove: self.rm,
            interactive: self.interactive,
            tty: self.tty,
        })
    }

    /// Returns the variables of the files, then those of the options.
    fn env(&self, settings: &Settings) -> Result<Vec<(String, String)>, Report> {
        let mut lines = Vec::new();
        for path in &self.env_file {
            let text = fs::read_to_string(path).map_err(|error| {
                Report::from_error(&error)
                    .context(format!("cannot read --env-file {}", path.display()))
            })?;
            lines.extend(env_lines(&text));
        }
        lines.extend(self.env.iter().cloned());
        let mut variables: BTreeMap<String, usize> = BTreeMap::new();
        let mut env: Vec<(String, String)> = Vec::new();
        for (name, value) in each("--env", &lines, pair)? {
            // A name without a value that is not set in the environment sets nothing.
            let Some(value) = value.or_else(|| settings.environment.text(&name)) else {
                continue;
            };
            if let Some(&at) = variables.get(&name) {
                env[at].1 = value;
            } else {
                variables.insert(name.clone(), env.len());
                env.push((name, value));
            }
        }
        Ok(env)
    }

    fn network(&self) -> Result<Network, Report> {
        match self.network.as_deref() {
            None | Some("default" | "host") => Ok(Network::Host),
            Some("none") => Ok(Network::None),
            Some(other) => {
                let error = ValueError::unknown("network", other, &["host", "none"]);
                Err(error.report("--network", other))
            }
        }
    }

    /// Returns the capabilities: drops come first, so that `--cap-drop ALL --cap-add X` is X.
    fn capabilities(&self) -> Result<CapSet, Report> {
        let parse = |text: &str| match text.to_ascii_uppercase().as_str() {
            "ALL" | "CAP_ALL" => Ok(None),
            _ => text
                .parse::<Capability>()
                .map(Some)
                .map_err(|error| ValueError::new(error.to_string())),
        };
        let mut set = CapSet::docker();
        let added = each("--cap-add", &self.cap_add, parse)?;
        let dropped = each("--cap-drop", &self.cap_drop, parse)?;
        if added.contains(&None) {
            set = CapSet::all();
        }
        if dropped.contains(&None) {
            set = CapSet::empty();
        }
        set = dropped.into_iter().flatten().fold(set, CapSet::without);
        Ok(added.into_iter().flatten().fold(set, CapSet::with))
    }

    fn security(&self) -> Result<(Seccomp, bool), Report> {
        let (mut seccomp, mut no_new_privileges) = (Seccomp::Default, false);
        for option in &self.security_opt {
            match option.replace(':', "=").as_str() {
                "seccomp=unconfined" => seccomp = Seccomp::Unconfined,
                "seccomp=default" | "seccomp=builtin" => seccomp = Seccomp::Default,
                "no-new-privileges" | "no-new-privileges=true" => no_new_privileges = true,
                "no-new-privileges=false" => no_new_privileges = false,
                // There are no such labels and profiles to switch off.
                "label=disable" | "apparmor=unconfined" => {}
                _ => {
                    let known = ["seccomp=unconfined", "no-new-privileges"];
                    let error = ValueError::unknown("option", option, &known);
                    return Err(error.report("--security-opt", option));
                }
            }
        }
        Ok((seccomp, no_new_privileges))
    }
}

/// Returns the lines of an environment file that set something.
fn env_lines(text: &str) -> impl Iterator<Item = String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim_start);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
}

/// Parses `[SOURCE:]TARGET[:OPTIONS]`. A source with a slash, or `.`, is a path of this machine;
/// any other is a volume's name.
fn volume(text: &str) -> Result<VolumeMount, ValueError> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(ValueError::new("too many colons").hint("write SOURCE:TARGET[:ro]")),
    };
    let mut readonly = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => readonly = true,
            // SELinux labels and copying are docker's defaults or nothing here.
            "rw" | "z" | "Z" | "copy" => {}
            _ => return Err(ValueError::unknown("mount option", option, &["ro", "rw"])),
        }
    }
    let source = match source {
        None => VolumeSource::Anonymous,
        Some(path) if path.contains('/') || path == "." || path == ".." => {
            VolumeSource::Host(path.into())
        }
        Some(name) if is_volume_name(name) => VolumeSource::Named(name.to_owned()),
        Some(name) => {
            return Err(
                ValueError::new(format!("{name:?} is neither a path nor a volume's name"))
                    .hint("a path has a slash; a name has letters, digits, '_', '.' and '-'"),
            );
        }
    };
    Ok(VolumeMount {
        source,
        target: mount_target(target)?,
        readonly,
    })
}

fn is_volume_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    name.len() > 1 && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(rest)
}

/// Parses `TARGET[:OPTIONS]`.
fn tmpfs(text: &str) -> Result<TmpfsMount, ValueError> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = TmpfsMount {
        target: mount_target(target)?,
        size: None,
        mode: 0o1777,
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => mount.size = Some(size(value)?),
            Some(("mode", value)) => {
                mount.mode = u32::from_str_radix(value, 8)
                    .map_err(|_| ValueError::new(format!("{value:?} is no octal mode")))?;
            }
            // What every file system in memory here is.
            None if matches!(option, "rw" | "nosuid" | "nodev") => {}
            _ => {
                return Err(ValueError::unknown(
                    "option",
                    option,
                    &["size=SIZE", "mode=MODE"],
                ));
            }
        }
    }
    Ok(mount)
}

fn mount_target(text: &str) -> Result<PathBuf, ValueError> {
    let path = Path::new(text);
    let problem = |problem: &str| Err(ValueError::new(format!("the target {text:?} {problem}")));
    if !path.is_absolute() {
        return problem("is no absolute path");
    }
    let clean: PathBuf = path
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    if clean.components().any(|part| part == Component::ParentDir) {
        return problem("contains \"..\"");
    }
    if clean == Path::new("/") {
        return problem("is the root");
    }
    Ok(clean)
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
        assert!(options.remove && options.interactive && options.tty);
        let off = resolve(&["--rm=false", "-i=false", "--tty=true", "busybox"]).expect("valid");
        assert!(!off.remove && !off.interactive && off.tty);
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
            resolve(&[args, &["i"]].concat()).map(|options| options.capabilities.bits())
        };
        assert_eq!(bits(&[]), Ok(0xa804_25fb));
        assert_eq!(bits(&["--cap-drop=all"]), Ok(0));
        assert_eq!(bits(&["--cap-drop=ALL", "--cap-add=CAP_CHOWN"]), Ok(1));
        assert_eq!(bits(&["--cap-drop", "chown"]), Ok(0xa804_25fa));
        assert_eq!(bits(&["--cap-add=ALL"]), Ok((1 << 41) - 1));
        assert!(bits(&["--cap-add=FLY"]).is_err());
    }

    #[test]
    fn volumes_are_paths_names_or_anonymous() {
        let mount = |source, target: &str, readonly| {
            Ok(VolumeMount {
                source,
                target: target.into(),
                readonly,
            })
        };
        let host = |path: &str| VolumeSource::Host(path.into());
        let error = |text: &str| Err(text.to_owned());
        for (text, expected) in [
            ("/a:/b", mount(host("/a"), "/b", false)),
            ("./a:/b/:ro", mount(host("./a"), "/b", true)),
            (".:/b:rw,z", mount(host("."), "/b", false)),
            (
                "data:/b",
                mount(VolumeSource::Named("data".into()), "/b", false),
            ),
            ("/b", mount(VolumeSource::Anonymous, "/b", false)),
            ("/a:b", error("the target \"b\" is no absolute path")),
            ("/a:/", error("the target \"/\" is the root")),
            (
                "/a:/b/../c",
                error("the target \"/b/../c\" contains \"..\""),
            ),
            (
                "a b:/c",
                error("\"a b\" is neither a path nor a volume's name"),
            ),
            ("/a:/b:or", error("unknown mount option \"or\"")),
            ("/a:/b:ro:x", error("too many colons")),
        ] {
            assert_eq!(
                volume(text).map_err(|error| error.to_string()),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn memory_file_systems_have_a_size_and_a_mode() {
        let mount = TmpfsMount {
            target: "/t".into(),
            size: None,
            mode: 0o1777,
        };
        assert_eq!(tmpfs("/t"), Ok(mount.clone()));
        let sized = TmpfsMount {
            size: Some(64 << 20),
            mode: 0o700,
            ..mount
        };
        assert_eq!(tmpfs("/t:rw,size=64m,mode=700"), Ok(sized));
        assert!(tmpfs("/t:colour=red").is_err());
        assert!(tmpfs("t").is_err());
    }

    #[test]
    fn bad_input_is_refused_with_a_reason() {
        let lines: &[&[&str]] = &[
            &["--network=bridge", "i"],
            &["--security-opt", "seccomp=unconfind", "i"],
            &["--env-file", "no-such-file", "i"],
            &["--ulimit", "nofile=2:1", "i"],
            &["-e", "=x", "i"],
        ];
        let reports: String = lines
            .iter()
            .map(|line| resolve(line).expect_err("invalid"))
            .collect();
        insta::assert_snapshot!(reports, @r#"
        ERROR: invalid value "bridge" for --network: unknown network "bridge"
          hint: known are host, none
        ERROR: invalid value "seccomp=unconfind" for --security-opt: unknown option "seccomp=unconfind"
          hint: did you mean "seccomp=unconfined"?
        ERROR: cannot read --env-file no-such-file
          caused by: No such file or directory (os error 2)
        ERROR: invalid value "nofile=2:1" for --ulimit: the soft limit is above the hard limit
        ERROR: invalid value "=x" for --env: the name is empty
          hint: write NAME=VALUE
        "#);
    }
}
