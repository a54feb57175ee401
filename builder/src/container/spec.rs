//! What `cooper run` was asked for, and what that makes of an image: a pure function from
//! options and image configuration to the process that runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cooper_oci::ImageConfig;
use cooper_runner::{
    CapSet, DEFAULT_PATH, Mount, MountKind, Network, ProcessSpec, Rlimit, Rootfs, Seccomp, UserSpec,
};
use thiserror::Error;

use super::hosts;
use crate::options::{HostEntry, Ulimit};

/// A resolved `cooper run`.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
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
    /// The network.
    pub network: Network,
    /// Lines added to /etc/hosts.
    pub add_hosts: Vec<HostEntry>,
    /// Binds and volumes.
    pub volumes: Vec<VolumeMount>,
    /// File systems in memory.
    pub tmpfs: Vec<TmpfsMount>,
    /// Whether the root file system refuses writes.
    pub read_only: bool,
    /// Whether nothing is confined.
    pub privileged: bool,
    /// Capabilities.
    pub capabilities: CapSet,
    /// The system-call filter.
    pub seccomp: Seccomp,
    /// Whether set-user-ID programs are inert.
    pub no_new_privileges: bool,
    /// Limits on resources.
    pub ulimits: Vec<Ulimit>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Its name.
    pub name: Option<String>,
    /// Whether it is removed at its end.
    pub remove: bool,
    /// Whether stdin reaches it.
    pub interactive: bool,
    /// Whether it gets a terminal.
    pub tty: bool,
}

/// One `-v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    /// What is mounted.
    pub source: VolumeSource,
    /// Where, absolute.
    pub target: PathBuf,
    /// Whether writes are refused.
    pub readonly: bool,
}

/// What a `-v` mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// A file or directory of this machine.
    Host(PathBuf),
    /// A volume with a name.
    Named(String),
    /// A volume for this container alone.
    Anonymous,
}

/// One `--tmpfs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmpfsMount {
    /// Where, absolute.
    pub target: PathBuf,
    /// Limit in bytes.
    pub size: Option<u64>,
    /// Mode of its root.
    pub mode: u32,
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
    /// Returns the program and its arguments.
    ///
    /// `--entrypoint` drops the image's CMD together with its ENTRYPOINT, as docker does: it was
    /// meant for that ENTRYPOINT.
    pub fn args(&self, image: &ImageConfig) -> Result<Vec<String>, SpecError> {
        let config = &image.config;
        let (mut args, default) = match &self.entrypoint {
            Some(program) if program.is_empty() => (Vec::new(), None),
            Some(program) => (vec![program.clone()], None),
            None => (
                config.entrypoint.clone().unwrap_or_default(),
                config.cmd.clone(),
            ),
        };
        if self.command.is_empty() {
            args.extend(default.unwrap_or_default());
        } else {
            args.extend(self.command.iter().cloned());
        }
        if args.is_empty() {
            return Err(SpecError::NoCommand {
                image: self.image.clone(),
            });
        }
        Ok(args)
    }

    /// Returns the environment: defaults, the image's, then what was asked for.
    fn env(&self, image: &ImageConfig, hostname: &str) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(String, String)> = vec![
            ("PATH".into(), DEFAULT_PATH.into()),
            ("HOSTNAME".into(), hostname.into()),
        ];
        if self.tty {
            env.push(("TERM".into(), "xterm".into()));
        }
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
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    /// Returns the working directory, absolute.
    pub fn cwd(&self, image: &ImageConfig) -> PathBuf {
        let of_image = Path::new(&image.config.working_dir);
        Path::new("/").join(self.workdir.as_deref().unwrap_or(of_image))
    }

    /// Returns the volumes to mount: those asked for, and one for each VOLUME of the image that
    /// has nothing mounted at its path yet.
    pub fn all_volumes(&self, image: &ImageConfig) -> Vec<VolumeMount> {
        let mut volumes = self.volumes.clone();
        for path in image.config.volumes.keys() {
            let target = Path::new("/").join(path.trim_end_matches('/'));
            let taken = volumes.iter().any(|volume| volume.target == target)
                || self.tmpfs.iter().any(|tmpfs| tmpfs.target == target);
            if !taken {
                volumes.push(VolumeMount {
                    source: VolumeSource::Anonymous,
                    target,
                    readonly: false,
                });
            }
        }
        volumes
    }

    /// Returns the process to run in `rootfs` with `mounts`, which hold the volumes.
    pub fn process(
        &self,
        image: &ImageConfig,
        rootfs: Rootfs,
        hostname: &str,
        mut mounts: Vec<Mount>,
    ) -> Result<ProcessSpec, SpecError> {
        mounts.extend(self.tmpfs.iter().map(|tmpfs| Mount {
            target: tmpfs.target.clone(),
            kind: MountKind::Tmpfs {
                size: tmpfs.size,
                mode: tmpfs.mode,
            },
            create_target: true,
        }));
        // A mount below another one has to come after it.
        mounts.sort_by_key(|mount| mount.target.components().count());
        let user = self
            .user
            .clone()
            .unwrap_or_else(|| image.config.user.clone());
        let mut spec = ProcessSpec::new(rootfs, self.args(image)?);
        spec.env = self.env(image, hostname);
        spec.cwd = self.cwd(image);
        spec.user = UserSpec(user);
        spec.additional_groups.clone_from(&self.groups);
        hostname.clone_into(&mut spec.hostname);
        spec.network = self.network;
        spec.mounts = mounts;
        spec.capabilities = self.capabilities;
        spec.seccomp = self.seccomp;
        spec.no_new_privileges = self.no_new_privileges;
        spec.readonly_rootfs = self.read_only;
        spec.rlimits = self.rlimits()?;
        spec.hosts = Some(hosts::hosts_file(hostname, &self.add_hosts));
        spec.hostname_file = Some(format!("{hostname}\n").into_bytes());
        spec.shm_size = self.shm_size.unwrap_or(spec.shm_size);
        spec.privileged = self.privileged;
        // What is removed at its end need not survive a power cut.
        spec.volatile = self.remove;
        Ok(spec)
    }

    fn rlimits(&self) -> Result<Vec<Rlimit>, SpecError> {
        let limit = |ulimit: &Ulimit| {
            let unknown = |_| SpecError::UnknownLimit {
                name: ulimit.name.clone(),
            };
            let resource = ulimit.name.parse().map_err(unknown)?;
            Ok(Rlimit {
                resource,
                soft: ulimit.soft,
                hard: ulimit.hard,
            })
        };
        self.ulimits.iter().map(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use cooper_oci::{Empty, Platform};

    use super::*;

    pub(super) fn options() -> RunOptions {
        RunOptions {
            image: "app".into(),
            command: Vec::new(),
            entrypoint: None,
            env: Vec::new(),
            workdir: None,
            user: None,
            groups: Vec::new(),
            hostname: None,
            network: Network::Host,
            add_hosts: Vec::new(),
            volumes: Vec::new(),
            tmpfs: Vec::new(),
            read_only: false,
            privileged: false,
            capabilities: CapSet::docker(),
            seccomp: Seccomp::Default,
            no_new_privileges: false,
            ulimits: Vec::new(),
            shm_size: None,
            labels: BTreeMap::new(),
            name: None,
            remove: false,
            interactive: false,
            tty: false,
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
            assert_eq!(options.args(&image(entrypoint, cmd)), Ok(expected));
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
        let options = RunOptions {
            env,
            tty: true,
            ..options()
        };
        let found: Vec<_> = options
            .env(&image, "web")
            .into_iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        assert_eq!(
            found,
            [
                "PATH=/bin",
                "HOSTNAME=web",
                "TERM=xterm",
                "A=1",
                "B=3",
                "C=4"
            ]
        );
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
        };
        let named = volume(VolumeSource::Named("v".into()), "/data");
        let tmpfs = TmpfsMount {
            target: "/run".into(),
            size: None,
            mode: 0o1777,
        };
        let options = RunOptions {
            volumes: vec![named.clone()],
            tmpfs: vec![tmpfs],
            ..options()
        };
        let anonymous = volume(VolumeSource::Anonymous, "/var/x");
        assert_eq!(options.all_volumes(&image), [named, anonymous]);
    }

    #[test]
    fn the_image_decides_what_the_options_leave_open() {
        let mut image = image(&["/e"], &[]);
        image.config.working_dir = "/srv".into();
        image.config.user = "daemon".into();
        let rootfs = || Rootfs::Directory("/r".into());
        let mount = |target: &str| Mount {
            target: target.into(),
            kind: MountKind::Tmpfs {
                size: None,
                mode: 0o755,
            },
            create_target: true,
        };
        let mounts = vec![mount("/a/b/c"), mount("/a")];
        let spec = options()
            .process(&image, rootfs(), "web", mounts)
            .expect("valid");
        assert_eq!(
            (spec.cwd.to_str(), spec.user.0.as_str()),
            (Some("/srv"), "daemon")
        );
        assert_eq!(
            spec.mounts
                .iter()
                .map(|m| m.target.as_path())
                .collect::<Vec<_>>(),
            [Path::new("/a"), Path::new("/a/b/c")]
        );
        let ulimits = vec![Ulimit {
            name: "nofile".into(),
            soft: Some(1),
            hard: None,
        }];
        let asked = RunOptions {
            workdir: Some("rel".into()),
            user: Some("1:2".into()),
            ulimits,
            shm_size: Some(1 << 20),
            ..options()
        };
        let spec = asked
            .process(&image, rootfs(), "web", Vec::new())
            .expect("valid");
        assert_eq!(
            (spec.cwd.to_str(), spec.user.0.as_str()),
            (Some("/rel"), "1:2")
        );
        assert_eq!(
            (spec.rlimits[0].soft, spec.rlimits[0].hard),
            (Some(1), None)
        );
        assert_eq!(spec.shm_size, 1 << 20);
    }
}
