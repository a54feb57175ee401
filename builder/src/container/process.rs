//! From a container's [`Config`] to the process that runs: a pure function.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cooper_runner::{
    DeviceRule, ExecSpec, Mount, MountKind, Namespace, ProcessSpec, Propagation, Rlimit, Rootfs,
    Seccomp, UserSpec,
};

use super::config::{Config, SeccompMode};
use super::spec::SpecError;
use crate::options::Ulimit;

/// What a start adds to what is written down of a container.
#[derive(Debug)]
pub(super) struct Scene {
    /// The root file system.
    pub(super) rootfs: Rootfs,
    /// The volumes.
    pub(super) mounts: Vec<Mount>,
    /// The host name.
    pub(super) hostname: String,
    /// Which processes, System V objects and host name it sees.
    pub(super) namespaces: Namespaces,
    /// AppArmor profile, where the kernel has AppArmor.
    pub(super) apparmor: Option<String>,
    /// The devices that it may use.
    pub(super) devices: Vec<DeviceRule>,
}

/// The namespaces of a container besides that of the network.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    pub(super) pid: Namespace,
    pub(super) ipc: Namespace,
    pub(super) uts: Namespace,
}

impl Config {
    /// Returns the process to run in `scene`, without its network.
    pub(super) fn process(&self, scene: Scene) -> Result<ProcessSpec, SpecError> {
        let Scene {
            rootfs,
            mut mounts,
            hostname,
            namespaces,
            apparmor,
            devices,
        } = scene;
        mounts.extend(self.mounts.tmpfs.iter().map(|tmpfs| Mount {
            target: tmpfs.target.clone(),
            kind: MountKind::Tmpfs {
                size: tmpfs.size,
                mode: tmpfs.mode,
                options: tmpfs.options.clone(),
            },
            create_target: true,
        }));
        mounts.extend(
            self.isolation
                .devices
                .iter()
                .map(|device| bind(&device.host, &device.container)),
        );
        mounts.extend(shared_memory(&namespaces.ipc));
        // A mount below another one has to come after it.
        mounts.sort_by_key(|mount| mount.target.components().count());
        let isolation = &self.isolation;
        let mut spec = ProcessSpec::new(rootfs, self.args());
        spec.env = self.env(&hostname, self.terminal);
        spec.cwd = PathBuf::from(&self.runtime.working_dir);
        spec.user = UserSpec(self.runtime.user.clone());
        spec.additional_groups.clone_from(&self.groups);
        spec.pid = namespaces.pid;
        spec.ipc = namespaces.ipc;
        spec.uts = namespaces.uts;
        spec.sysctls = isolation
            .sysctls
            .iter()
            .map(|(name, value)| (name.replace('.', "/").into(), value.clone()))
            .collect();
        spec.apparmor = apparmor;
        spec.init = self.lifecycle.init;
        spec.mounts = mounts;
        spec.capabilities = isolation.capabilities;
        spec.seccomp = self.seccomp();
        spec.no_new_privileges = isolation.no_new_privileges;
        spec.readonly_rootfs = isolation.read_only;
        spec.rlimits = self.rlimits()?;
        spec.oom_score_adj = self.resources.oom_score_adj;
        spec.hostname_file = Some(format!("{hostname}\n").into_bytes());
        spec.hostname = hostname;
        spec.domainname.clone_from(&self.domainname);
        spec.devices = devices;
        spec.own_cgroups = !isolation.host_cgroups;
        spec.shm_size = self.resources.shm_size.unwrap_or(spec.shm_size);
        if isolation.no_shm {
            spec.shm_size = 0;
        }
        spec.privileged = isolation.privileged;
        if isolation.open_paths {
            spec.masked_paths.clear();
            spec.readonly_paths.clear();
        }
        // What is removed at its end need not survive a power cut.
        spec.volatile = self.lifecycle.remove;
        Ok(spec)
    }

    /// Returns a further process of the container: its own user, environment and confinement.
    pub(crate) fn further(&self, id: &str, args: Vec<OsString>) -> Result<ExecSpec, SpecError> {
        let isolation = &self.isolation;
        Ok(ExecSpec {
            args,
            env: self.env(&self.hostname(id), false),
            cwd: PathBuf::from(&self.runtime.working_dir),
            user: UserSpec(self.runtime.user.clone()),
            additional_groups: self.groups.clone(),
            terminal: None,
            capabilities: isolation.capabilities,
            seccomp: self.seccomp(),
            no_new_privileges: isolation.no_new_privileges,
            rlimits: self.rlimits()?,
            umask: 0o022,
            apparmor: None,
            privileged: isolation.privileged,
            ids: isolation.users.ids(),
        })
    }

    fn seccomp(&self) -> Seccomp {
        match &self.isolation.seccomp {
            SeccompMode::Default => Seccomp::Default,
            SeccompMode::Unconfined => Seccomp::Unconfined,
            SeccompMode::Profile(profile) => Seccomp::Profile(profile.clone()),
        }
    }

    /// Returns the environment with what depends on the container.
    pub(crate) fn env(&self, hostname: &str, terminal: bool) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(String, String)> = Vec::new();
        let pairs = self.runtime.env.iter().map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        });
        env.extend(pairs);
        let mut default = |name: &str, value: &str| {
            if !env.iter().any(|(known, _)| known == name) {
                env.insert(1.min(env.len()), (name.to_owned(), value.to_owned()));
            }
        };
        if terminal {
            default("TERM", "xterm");
        }
        default("HOSTNAME", hostname);
        env.into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    /// Returns the limits of each process.
    pub(crate) fn rlimits(&self) -> Result<Vec<Rlimit>, SpecError> {
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
        self.resources.ulimits.iter().map(limit).collect()
    }
}

/// Returns the /dev/shm of those whose IPC namespace it is, unless that is its own.
fn shared_memory(ipc: &Namespace) -> Option<Mount> {
    let place = Path::new("/dev/shm");
    match ipc {
        Namespace::Private => None,
        Namespace::Host => Some(bind(place, place)),
        Namespace::Join(namespace) => Some(Mount {
            target: place.to_owned(),
            kind: MountKind::Foreign {
                namespace: namespace.with_file_name("mnt"),
                source: place.to_owned(),
            },
            create_target: true,
        }),
    }
}

fn bind(source: &Path, target: &Path) -> Mount {
    Mount {
        target: target.to_owned(),
        kind: MountKind::Bind {
            source: source.to_owned(),
            subpath: None,
            readonly: false,
            recursive: false,
            propagation: Propagation::Private,
        },
        create_target: true,
    }
}

#[cfg(test)]
mod tests {
    use cooper_runner::TmpfsOptions;

    use super::*;
    use crate::container::testing;

    fn scene(mounts: Vec<Mount>) -> Scene {
        Scene {
            rootfs: Rootfs::Directory("/r".into()),
            mounts,
            hostname: "web".into(),
            namespaces: Namespaces::default(),
            apparmor: None,
            devices: Vec::new(),
        }
    }

    #[test]
    fn outer_mounts_come_first() {
        let mount = |target: &str| Mount {
            target: target.into(),
            kind: MountKind::Tmpfs {
                size: None,
                mode: 0o755,
                options: TmpfsOptions::default(),
            },
            create_target: true,
        };
        let mounts = vec![mount("/a/b/c"), mount("/a")];
        let spec = testing::config(false)
            .process(scene(mounts))
            .expect("valid");
        let targets: Vec<_> = spec.mounts.iter().map(|m| m.target.as_path()).collect();
        assert_eq!(targets, [Path::new("/a"), Path::new("/a/b/c")]);
    }

    #[test]
    fn the_host_name_and_the_kind_of_terminal_are_defaults() {
        let env = |terminal, env: &[&str]| {
            let mut config = testing::config(false);
            config.terminal = terminal;
            config.runtime.env = env.iter().map(ToString::to_string).collect();
            let spec = config.process(scene(Vec::new())).expect("valid");
            let pairs = spec.env.into_iter();
            pairs
                .map(|(name, value)| format!("{}={}", name.display(), value.display()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            env(true, &["PATH=/bin", "A=1"]),
            ["PATH=/bin", "HOSTNAME=web", "TERM=xterm", "A=1"]
        );
        assert_eq!(
            env(false, &["PATH=/bin", "HOSTNAME=x"]),
            ["PATH=/bin", "HOSTNAME=x"]
        );
    }

    #[test]
    fn limits_are_those_asked_for() {
        let mut config = testing::config(false);
        config.resources.shm_size = Some(1 << 20);
        config.resources.ulimits = vec![Ulimit {
            name: "nofile".into(),
            soft: Some(1),
            hard: None,
        }];
        let spec = config.process(scene(Vec::new())).expect("valid");
        assert_eq!(
            (spec.rlimits[0].soft, spec.rlimits[0].hard),
            (Some(1), None)
        );
        assert_eq!(spec.shm_size, 1 << 20);
        config.resources.ulimits[0].name = "beers".into();
        assert!(config.process(scene(Vec::new())).is_err());
    }
}
