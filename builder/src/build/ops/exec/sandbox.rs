//! What the command line changes of every step's surroundings: capabilities, volumes, devices.

use cooper_cache::{Driver, RelPath};
use cooper_frontend::ir::{DeviceRequest, ExecOp, Sandbox, Volume, VolumeAccess};
use cooper_runner::{CapSet, Capability, DeviceRule, MountKind, ProcessSpec, Propagation};

use super::mounts::Mounts;
use crate::build::cdi::{self, Edits};
use crate::build::engine::Engine;
use crate::build::error::OpError;

/// Sets the capabilities of a step.
pub(super) fn confine(spec: &mut ProcessSpec, sandbox: &Sandbox) {
    let named = |names: &[String]| -> Vec<Capability> {
        names.iter().filter_map(|name| name.parse().ok()).collect()
    };
    let added = named(&sandbox.cap_add)
        .into_iter()
        .fold(CapSet::docker(), CapSet::with);
    spec.capabilities = named(&sandbox.cap_drop)
        .into_iter()
        .fold(added, CapSet::without);
}

/// Adds volumes and devices to the mounts of a step.
pub(super) fn mount(mounts: &mut Mounts, engine: &Engine, op: &ExecOp) -> Result<(), OpError> {
    for volume in &op.sandbox.volumes {
        let kind = volume_kind(mounts, engine, volume)?;
        mounts.push(&volume.target, kind);
    }
    for device in &op.sandbox.devices {
        push_device(mounts, &device.source, &device.target);
    }
    let every_step = op.sandbox.cdi_devices.iter().map(|name| DeviceRequest {
        name: name.clone(),
        required: true,
    });
    let requests: Vec<_> = every_step.chain(op.devices.iter().cloned()).collect();
    if !requests.is_empty() {
        apply(mounts, cdi::resolve(engine.cdi(), &requests)?);
    }
    Ok(())
}

/// Shows a device of the host, and lets the step use it.
fn push_device(mounts: &mut Mounts, source: &str, target: &str) {
    mounts.push(target, bind(source, false));
    // One that is not there is told of when it is to be mounted.
    let rules = DeviceRule::of(source.as_ref(), "rwm").unwrap_or_default();
    mounts.devices.extend(rules);
}

fn volume_kind(
    mounts: &mut Mounts,
    engine: &Engine,
    volume: &Volume,
) -> Result<MountKind, OpError> {
    Ok(match volume.access {
        VolumeAccess::ReadWrite => bind(&volume.source, false),
        VolumeAccess::ReadOnly => bind(&volume.source, true),
        VolumeAccess::Discarded if engine.driver()? == Driver::Vfs => {
            let copy = engine.copy_of(volume.source.as_ref())?;
            mounts.copied(copy, &RelPath::root(), false)
        }
        VolumeAccess::Discarded => MountKind::Overlay {
            lowers: vec![volume.source.clone().into()],
            upper: Some(mounts.scratch(engine)?),
            userxattr: engine.userxattr(),
            subpath: None,
        },
    })
}

fn bind(source: &str, readonly: bool) -> MountKind {
    MountKind::Bind {
        source: source.into(),
        subpath: None,
        readonly,
        recursive: true,
        propagation: Propagation::Private,
    }
}

fn apply(mounts: &mut Mounts, edits: Edits) {
    for node in edits.devices {
        push_device(mounts, &node.source, &node.target);
    }
    for mount in edits.mounts {
        mounts.push(&mount.target, bind(&mount.source, mount.readonly));
    }
    let env = edits.env.into_iter();
    mounts
        .env
        .extend(env.map(|(name, value)| (name.into(), value.into())));
}
