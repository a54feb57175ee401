//! RUN: a process in the base's root file system; what it writes is the new layer.

mod limits;
mod mounts;
mod output;
mod sandbox;
mod step_root;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::IpAddr;

use cooper_frontend::ir::{self, ExecOp, NetworkMode, SecurityMode};
use cooper_runner::{
    Mount, MountKind, Network, ProcessSpec, Propagation, Resource, Rlimit, Rootfs, RunError,
    UserSpec,
};
use cooper_solver::ExecContext;

use crate::build::engine::{Emulation, Engine};
use crate::build::error::OpError;
use crate::build::failure::Failure;
use crate::build::output::{Output, Root};
use crate::build::scene;
use crate::emulation::{Execution, Reason};

pub(in crate::build) use mounts::static_names;
pub(in crate::build) use step_root::StepRoot;

/// Runs the process of `op` and returns its root with one more layer.
pub(super) fn exec(
    engine: &Engine,
    op: &ExecOp,
    inputs: &[Output],
    cx: &ExecContext<'_>,
) -> Result<Root, OpError> {
    let base = if op.base {
        inputs[0].root()?.clone()
    } else {
        Root::default()
    };
    let (root, rootfs) = StepRoot::prepare(engine, &base)?;
    let mounts = mounts::prepare(engine, op, inputs, cx)?;
    let mut spec = process(engine, op, rootfs);
    spec.env.extend(mounts.env.iter().cloned());
    spec.mounts.clone_from(&mounts.list);
    spec.devices.clone_from(&mounts.devices);
    let emulation = engine.emulation(&op.platform);
    spec.mounts.extend(emulator(&emulation));
    let failed = |source| not_started(op, &emulation, source);
    let cgroup = limits::cgroup(&op.unkeyed.resources).map_err(|error| failed(error.into()))?;
    let exit = output::run(engine.runner()?, &spec, cgroup.as_ref(), cx).map_err(failed)?;
    if !exit.success() {
        let memory = op.unkeyed.resources.memory;
        let ran_out = cgroup
            .as_ref()
            .is_some_and(|cgroup| cgroup.memory_kills() > 0);
        let wanted = !cx.cancel.is_cancelled();
        let scene = if wanted && engine.keeps_failure() {
            let below = engine.root_tree(&base)?;
            let held = Box::new((root, mounts));
            engine.keep_failure(Failure::new(spec, &below, cgroup, held));
            None
        } else {
            drop(mounts);
            wanted
                .then(|| scene::keep(engine, op, &base, root))
                .flatten()
        };
        return Err(OpError::Process {
            command: command(op),
            exit,
            memory: memory.filter(|_| ran_out),
            scene,
        });
    }
    drop(mounts);
    let layer = root.commit(engine, &base)?;
    if is_shown_secrets(op) {
        engine.suspect(layer.id());
    }
    Ok(base.with(layer.id().clone(), engine.now()))
}

fn is_shown_secrets(op: &ExecOp) -> bool {
    let secret = |mount: &ir::MountOp| {
        matches!(
            mount.kind,
            ir::MountKind::Secret { .. } | ir::MountKind::Ssh { .. }
        )
    };
    op.mounts.iter().any(secret)
}

/// Returns the mount of an emulator that the kernel looks for in the step's root.
fn emulator(emulation: &Emulation) -> Option<Mount> {
    let Execution::Emulated(emulator) = emulation.as_deref().ok()? else {
        return None;
    };
    emulator.mounted.then(|| Mount {
        target: emulator.path.clone(),
        kind: MountKind::Bind {
            source: emulator.path.clone(),
            subpath: None,
            readonly: true,
            recursive: false,
            propagation: Propagation::Private,
        },
        create_target: true,
    })
}

/// Says why a step's process did not start: for another platform's program, why that is not
/// executed here. A program that can be executed may well be in an image of another platform.
fn not_started(op: &ExecOp, emulation: &Emulation, source: RunError) -> OpError {
    let command = command(op);
    let foreign = match (emulation, &source) {
        (Err(missing), RunError::NotExecutable { source: cause, .. })
            if cause.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) =>
        {
            Some(missing)
        }
        // The kernel knows of an emulator, and does not find it in the step.
        (Err(missing), RunError::NoInterpreter { .. })
            if matches!(missing.reason, Reason::OutOfReach { .. }) =>
        {
            Some(missing)
        }
        _ => None,
    };
    match foreign {
        Some(missing) => OpError::Foreign {
            command,
            source: Box::new(missing.clone()),
        },
        None => OpError::Start { command, source },
    }
}

fn command(op: &ExecOp) -> String {
    op.args.join(" ")
}

fn process(engine: &Engine, op: &ExecOp, rootfs: Rootfs) -> ProcessSpec {
    let mut spec = ProcessSpec::new(rootfs, op.args.iter().map(OsString::from));
    spec.env = environment(op);
    spec.cwd = op.cwd.clone().into();
    spec.user = UserSpec(op.user.clone());
    spec.hostname.clone_from(&op.hostname);
    spec.network = match op.network {
        NetworkMode::None => Network::None,
        NetworkMode::Default | NetworkMode::Host => Network::Host,
    };
    sandbox::confine(&mut spec, &op.sandbox);
    spec.privileged = op.security == SecurityMode::Insecure;
    spec.hosts = Some(hosts_file(&op.hostname, &op.unkeyed.add_hosts));
    spec.resolv_conf = engine.resolv_conf();
    if let Some(size) = op.unkeyed.shm_size {
        spec.shm_size = size;
    }
    spec.rlimits = op.unkeyed.ulimits.iter().filter_map(rlimit).collect();
    spec
}

/// The step's variables, then the proxies that it does not set itself.
fn environment(op: &ExecOp) -> Vec<(OsString, OsString)> {
    let own = |name: &str| op.env.iter().any(|(known, _)| known == name);
    let proxies = op.unkeyed.proxy_env.iter().filter(|(name, _)| !own(name));
    op.env
        .iter()
        .chain(proxies)
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn rlimit(limit: &cooper_frontend::ir::Ulimit) -> Option<Rlimit> {
    let value = |number: i64| u64::try_from(number).ok();
    let resource: Resource = limit.name.parse().ok()?;
    Some(Rlimit {
        resource,
        soft: value(limit.soft),
        hard: value(limit.hard),
    })
}

/// Returns /etc/hosts of a step: the loopback names, its own, and those of `--add-host`.
pub(crate) fn hosts_file(hostname: &str, added: &[(String, String)]) -> Vec<u8> {
    let mut text =
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in added {
        let address = match address.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            // With the host's network, the host is where the step itself is.
            Err(_) => "127.0.0.1".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{address}\t{name}");
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_the_loopback_the_step_and_what_was_added() {
        let added = [
            ("db".to_owned(), "10.0.0.7".to_owned()),
            ("h".to_owned(), "host-gateway".to_owned()),
        ];
        assert_eq!(
            String::from_utf8(hosts_file("box", &added)).expect("text"),
            "127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.7\tdb\n127.0.0.1\th\n"
        );
    }
}
