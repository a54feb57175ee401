//! A failed RUN as it was: what a shell in its place needs, kept until that has ended.

use std::any::Any;
use std::path::{Path, PathBuf};

use cooper_cache::{MergedTree, RelPath};
use cooper_runner::{
    Cgroup, Mount, MountKind, Process, ProcessSpec, Propagation, RunError, Runner, Stdio,
    WindowSize,
};

use super::engine::Workshop;

/// Where a busybox of this machine appears in a root without a shell.
pub(crate) const BUSYBOX: &str = "/.cooper/busybox";

/// Shells that a root may have, the likeliest first.
const SHELLS: [&str; 4] = ["/bin/sh", "/bin/bash", "/bin/ash", "/usr/bin/sh"];

/// What a failed step leaves: its files, mounts, environment, user and limits.
pub(crate) struct Failure {
    spec: ProcessSpec,
    shell: Option<String>,
    cgroup: Option<Cgroup>,
    /// Keeps the upper directory, caches and sockets that the description names.
    _held: Box<dyn Any + Send + Sync>,
}

impl Failure {
    /// Keeps the process of `spec`, whose root is `below` with its own upper directory.
    pub(super) fn new(
        spec: ProcessSpec,
        below: &MergedTree,
        cgroup: Option<Cgroup>,
        held: Box<dyn Any + Send + Sync>,
    ) -> Self {
        let has = |path: &str| {
            let found = below.resolve(&RelPath::clean(path), true);
            found.is_ok_and(|found| below.get(&found.path).is_some())
        };
        let own = spec.args.first().and_then(|program| program.to_str());
        let own = own.filter(|program| program.starts_with('/') && program.ends_with("sh"));
        let shells: Vec<_> = own.into_iter().chain(SHELLS).collect();
        let shell = shells
            .into_iter()
            .find(|shell| has(shell))
            .map(str::to_owned);
        Self {
            shell,
            spec,
            cgroup,
            _held: held,
        }
    }
}

/// A failed step and the means to open a shell in it.
pub struct FailedStep<'a> {
    failure: &'a Failure,
    runner: &'a Runner,
}

impl<'a> FailedStep<'a> {
    /// Returns the failure that `shared` kept, with the runner that it failed in.
    pub(super) fn of(shared: &'a Workshop, failure: &'a Failure) -> Option<Self> {
        let runner = shared.started_runner()?;
        Some(Self { failure, runner })
    }

    /// Returns the shell of the step's own root, if it has one.
    pub fn shell(&self) -> Option<&str> {
        self.failure.shell.as_deref()
    }

    /// Starts a shell in place of the step's process, at a terminal of that size: the root's own,
    /// or else `busybox`, a static one of this machine.
    pub fn open(&self, window: WindowSize, busybox: Option<PathBuf>) -> Result<Process, RunError> {
        let mut spec = self.failure.spec.clone();
        spec.terminal = Some(window);
        if !spec.env.iter().any(|(name, _)| name == "TERM") {
            spec.env.push(("TERM".into(), "xterm".into()));
        }
        spec.args = match (self.shell(), busybox) {
            (None, Some(path)) => {
                spec.mounts.push(bound(path));
                vec![BUSYBOX.into(), "sh".into()]
            }
            (shell, _) => vec![shell.unwrap_or(SHELLS[0]).into()],
        };
        let stdio = Stdio::null().map_err(|source| RunError::Worker { source })?;
        let cgroup = self.failure.cgroup.as_ref();
        let mut process = self.runner.spawn_in(&spec, stdio, cgroup)?;
        process.started()?;
        Ok(process)
    }
}

fn bound(busybox: PathBuf) -> Mount {
    Mount {
        target: Path::new(BUSYBOX).to_owned(),
        kind: MountKind::Bind {
            source: busybox,
            subpath: None,
            readonly: true,
            recursive: false,
            propagation: Propagation::Private,
        },
        create_target: true,
    }
}
