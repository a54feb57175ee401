//! The control group of a step that has limits.

use std::sync::atomic::{AtomicU32, Ordering};

use cooper_frontend::ir::Resources;
use cooper_runner::{Cgroup, CgroupError, Limits, Purpose};

/// Steps of this process that had a group so far.
static STEPS: AtomicU32 = AtomicU32::new(0);

/// Makes the group of a step; none if nothing is limited.
pub(super) fn cgroup(resources: &Resources) -> Result<Option<Cgroup>, CgroupError> {
    if *resources == Resources::default() {
        return Ok(None);
    }
    let limits = Limits {
        memory: resources.memory,
        memory_swap: resources.memory_swap,
        cpu_shares: resources.cpu_shares,
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        ..Limits::default()
    };
    let step = STEPS.fetch_add(1, Ordering::Relaxed);
    let name = format!("cooper-{}-{step}", std::process::id());
    let parent = resources.cgroup_parent.as_deref();
    let group = Cgroup::create(parent, &name, &limits, Purpose::Limits)?;
    match group.missing() {
        [] => Ok(Some(group)),
        [file, ..] => Err(CgroupError::NoLimit { file }),
    }
}
