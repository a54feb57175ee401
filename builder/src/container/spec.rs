//! What `cooper run` and `cooper create` were asked for, laid over an image's configuration: a
//! pure function from options and image to the container's [`Config`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cooper_cache::ImageRecord;
use cooper_oci::{Empty, Healthcheck, ImageConfig, RuntimeConfig};
use cooper_runner::DEFAULT_PATH;
use thiserror::Error;

use super::config::{
    Config, Isolation, Lifecycle, LogConfig, MountConfig, Resources, VolumeMount, VolumeOptions,
    VolumeSource,
};
use crate::network::NetworkConfig;

/// A resolved `cooper run` or `cooper create`.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The image as it was asked for.
    pub image: String,
    /// Arguments after the image; they replace its CMD.
    pub command: Vec<String>,
    /// Replaces the image's ENTRYPOINT, and drops its CMD; an empty one is none.
    pub entrypoint: Option<String>,
    /// Variables set or overridden.
    pub env: Vec<(String, String)>,
    /// Replaces the image's WORKDIR.
    pub workdir: Option<PathBuf>,
    /// Replaces the image's USER.
    pub user: Option<String>,
    /// Additional groups.
    pub groups: Vec<String>,
    /// The host name; made from the ID when absent.
    pub hostname: Option<String>,
    /// The NIS domain.
    pub domainname: Option<String>,
    /// What is said of it for other programs.
    pub annotations: BTreeMap<String, String>,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Its name.
    pub name: Option<String>,
    /// Whether stdin reaches it.
    pub interactive: bool,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Replaces the image's STOPSIGNAL.
    pub stop_signal: Option<String>,
    /// What replaces the image's health check.
    pub health: HealthOptions,
    /// What confines it.
    pub isolation: Isolation,
    /// How it is connected.
    pub network: NetworkConfig,
    /// What is mounted.
    pub mounts: MountConfig,
    /// What it may use.
    pub resources: Resources,
    /// How it is kept alive and ends.
    pub lifecycle: Lifecycle,
    /// Where its output is kept.
    pub log: LogConfig,
}

/// What replaces an image's health check; times are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthOptions {
    /// Whether nothing is checked.
    pub disable: bool,
    /// The command line.
    pub command: Option<String>,
    /// Time between two checks.
    pub interval: Option<i64>,
    /// Time after which a check has failed.
    pub timeout: Option<i64>,
    /// Time at the start during which failures do not count.
    pub start_period: Option<i64>,
    /// Time between two checks during the start period.
    pub start_interval: Option<i64>,
    /// Failures in a row that make the container unhealthy.
    pub retries: Option<i64>,
}

impl HealthOptions {
    /// Returns the image's health check with these options laid over it.
    fn over(&self, image: Option<&Healthcheck>) -> Option<Healthcheck> {
        if self.disable {
            return Some(Healthcheck {
                test: vec!["NONE".into()],
                ..Healthcheck::default()
            });
        }
        if *self == Self::default() {
            return image.cloned();
        }
        let mut check = image.cloned().unwrap_or_default();
        if let Some(command) = &self.command {
            check.test = vec!["CMD-SHELL".into(), command.clone()];
        }
        check.interval = self.interval.unwrap_or(check.interval);
        check.timeout = self.timeout.unwrap_or(check.timeout);
        check.start_period = self.start_period.unwrap_or(check.start_period);
        check.start_interval = self.start_interval.unwrap_or(check.start_interval);
        check.retries = self.retries.unwrap_or(check.retries);
        Some(check)
    }
}

/// Why an image cannot be run as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// Neither the image nor the command line says what to run.
    #[error("no command to run: image {image} has neither CMD nor ENTRYPOINT")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// A limit has a name that the system does not know.
    #[error("there is no limit {name:?}")]
    UnknownLimit {
        /// The name.
        name: String,
    },
}

impl RunOptions {
    /// Returns the container that is asked for.
    pub fn config(&self, record: &ImageRecord, image: &ImageConfig) -> Result<Config, SpecError> {
        let (entrypoint, cmd) = self.args(image)?;
        let mut runtime = RuntimeConfig {
            entrypoint: Some(entrypoint),
            cmd: Some(cmd),
            env: self.env(image),
            ..image.config.clone()
        };
        runtime.working_dir = self.cwd(image).to_string_lossy().into_owned();
        if let Some(user) = &self.user {
            runtime.user.clone_from(user);
        }
        if let Some(signal) = &self.stop_signal {
            runtime.stop_signal = Some(signal.clone());
        }
        runtime.labels.extend(self.labels.clone());
        let exposed = self.network.exposed.iter().cloned();
        runtime
            .exposed_ports
            .extend(exposed.map(|port| (port, Empty {})));
        runtime.healthcheck = self.health.over(image.config.healthcheck.as_ref());
        let mut mounts = self.mounts.clone();
        mounts.volumes = self.all_volumes(image);
        Ok(Config {
            image: self.image.clone(),
            image_id: record.id.clone(),
            layers: record
                .layers
                .iter()
                .map(|layer| layer.layer.clone())
                .collect(),
            runtime,
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            annotations: self.annotations.clone(),
            groups: self.groups.clone(),
            terminal: self.tty,
            open_stdin: self.interactive,
            isolation: self.isolation.clone(),
            network: self.network.clone(),
            mounts,
            resources: self.resources.clone(),
            lifecycle: self.lifecycle.clone(),
            log: self.log.clone(),
        })
    }

    /// Returns the entry point and its arguments.
    ///
    /// `--entrypoint` drops the image's CMD together with its ENTRYPOINT, as docker does: it was
    /// meant for that ENTRYPOINT.
    fn args(&self, image: &ImageConfig) -> Result<(Vec<String>, Vec<String>), SpecError> {
        let config = &image.config;
        let (entrypoint, default) = match &self.entrypoint {
            Some(program) if program.is_empty() => (Vec::new(), None),
            Some(program) => (vec![program.clone()], None),
            None => (
                config.entrypoint.clone().unwrap_or_default(),
                config.cmd.clone(),
            ),
        };
        let cmd = if self.command.is_empty() {
            default.unwrap_or_default()
        } else {
            self.command.clone()
        };
        if entrypoint.is_empty() && cmd.is_empty() {
            return Err(SpecError::NoCommand {
                image: self.image.clone(),
            });
        }
        Ok((entrypoint, cmd))
    }

    /// Returns the environment: a search path, the image's, then what was asked for.
    fn env(&self, image: &ImageConfig) -> Vec<String> {
        let mut env: Vec<(String, String)> = vec![("PATH".into(), DEFAULT_PATH.into())];
        let of_image = image.config.env.iter().map(|entry| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), value.to_owned())
        });
        for (name, value) in of_image.chain(self.env.iter().cloned()) {
            match env.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => env.push((name, value)),
            }
        }
        env.into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    /// Returns the working directory, absolute.
    fn cwd(&self, image: &ImageConfig) -> PathBuf {
        let of_image = Path::new(&image.config.working_dir);
        Path::new("/").join(self.workdir.as_deref().unwrap_or(of_image))
    }

    /// Returns the volumes to mount: those asked for, and one for each VOLUME of the image that
    /// has nothing mounted at its path yet.
    fn all_volumes(&self, image: &ImageConfig) -> Vec<VolumeMount> {
        let mut volumes = self.mounts.volumes.clone();
        for path in image.config.volumes.keys() {
            let target = Path::new("/").join(path.trim_end_matches('/'));
            let taken = volumes.iter().any(|volume| volume.target == target)
                || self.mounts.tmpfs.iter().any(|tmpfs| tmpfs.target == target);
            if !taken {
                volumes.push(VolumeMount {
                    source: VolumeSource::Anonymous,
                    target,
                    readonly: false,
                    options: VolumeOptions::default(),
                });
            }
        }
        volumes
    }
}

#[cfg(test)]
mod tests {
    use cooper_oci::Platform;

    use super::*;
    use crate::container::TmpfsMount;

    fn options() -> RunOptions {
        RunOptions {
            image: "app".into(),
            ..RunOptions::default()
        }
    }

    fn image(entrypoint: &[&str], cmd: &[&str]) -> ImageConfig {
        let words = |words: &[&str]| {
            (!words.is_empty()).then(|| words.iter().map(ToString::to_string).collect())
        };
        let mut image = ImageConfig::new(&Platform::new("linux", "amd64"));
        image.config.entrypoint = words(entrypoint);
        image.config.cmd = words(cmd);
        image
    }

    #[test]
    fn entrypoint_and_command_combine_as_docker_combines_them() {
        let none: &[&str] = &[];
        for (entrypoint, cmd, flag, command, expected) in [
            (none, &["sh"][..], None, none, &["sh"][..]),
            (none, &["sh"], None, &["ls", "/"], &["ls", "/"]),
            (&["/e"], &["a"], None, none, &["/e", "a"]),
            (&["/e"], &["a"], None, &["b"], &["/e", "b"]),
            (&["/e"], &["a"], Some("/f"), none, &["/f"]),
            (&["/e"], &["a"], Some("/f"), &["b"], &["/f", "b"]),
            (&["/e"], &["a"], Some(""), &["b"], &["b"]),
        ] {
            let options = RunOptions {
                entrypoint: flag.map(str::to_owned),
                command: command.iter().map(ToString::to_string).collect(),
                ..options()
            };
            let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
            let found = options
                .args(&image(entrypoint, cmd))
                .map(|(a, b)| [a, b].concat());
            assert_eq!(found, Ok(expected));
        }
        let error = SpecError::NoCommand {
            image: "app".into(),
        };
        assert_eq!(options().args(&image(&[], &[])), Err(error));
    }

    #[test]
    fn variables_keep_their_first_place_and_their_last_value() {
        let mut image = image(&[], &["sh"]);
        image.config.env = vec!["PATH=/bin".into(), "A=1".into(), "B=2".into()];
        let env = vec![
            ("B".to_owned(), "3".to_owned()),
            ("C".to_owned(), "4".to_owned()),
        ];
        let options = RunOptions { env, ..options() };
        assert_eq!(options.env(&image), ["PATH=/bin", "A=1", "B=3", "C=4"]);
    }

    #[test]
    fn volumes_of_the_image_give_way_to_what_is_asked_for() {
        let mut image = image(&[], &["sh"]);
        image.config.volumes = ["/data/", "/run", "/var/x"]
            .map(|path| (path.into(), Empty {}))
            .into();
        let volume = |source, target: &str| VolumeMount {
            source,
            target: target.into(),
            readonly: false,
            options: VolumeOptions::default(),
        };
        let named = volume(VolumeSource::Named("v".into()), "/data");
        let tmpfs = TmpfsMount {
            target: "/run".into(),
            size: None,
            mode: 0o1777,
            options: cooper_runner::TmpfsOptions::default(),
        };
        let options = RunOptions {
            mounts: MountConfig {
                volumes: vec![named.clone()],
                tmpfs: vec![tmpfs],
                ..MountConfig::default()
            },
            ..options()
        };
        let anonymous = volume(VolumeSource::Anonymous, "/var/x");
        assert_eq!(options.all_volumes(&image), [named, anonymous]);
    }

    #[test]
    fn health_checks_are_replaced_in_part_or_switched_off() {
        let image = Healthcheck {
            test: vec!["CMD".into(), "probe".into()],
            interval: 7,
            retries: 2,
            ..Healthcheck::default()
        };
        let over = |options: HealthOptions| options.over(Some(&image)).expect("there is one");
        assert_eq!(over(HealthOptions::default()), image);
        let retried = over(HealthOptions {
            retries: Some(5),
            command: Some("true".into()),
            ..HealthOptions::default()
        });
        assert_eq!((retried.interval, retried.retries), (7, 5));
        assert_eq!(retried.test, ["CMD-SHELL", "true"]);
        let off = over(HealthOptions {
            disable: true,
            ..HealthOptions::default()
        });
        assert_eq!(off.test, ["NONE"]);
        assert_eq!(HealthOptions::default().over(None), None);
    }
}
