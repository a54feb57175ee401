//! Processes in isolated namespaces over overlay file systems.
//!
//! Owns: how one process gets its root, mounts, namespaces, capabilities, system-call filter,
//! identity and streams, and how it ends. Knows nothing of images, caches or Dockerfiles.
//!
//! ```no_run
//! use cooper_runner::{ProcessSpec, Rootfs, Runner, RunnerOptions, Stdio};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     cooper_runner::init(); // first of all: the worker is this executable once more
//!     let runner = Runner::start(RunnerOptions::new("/var/lib/x/scratch"))?;
//!     let rootfs = Rootfs::Overlay {
//!         lowers: vec!["/var/lib/x/layers/base".into()],
//!         upper: "/var/lib/x/tmp/1/fs".into(),
//!         work: "/var/lib/x/tmp/1/work".into(),
//!         userxattr: false,
//!     };
//!     let spec = ProcessSpec::new(rootfs, ["/bin/sh", "-c", "echo x > /f"]);
//!     assert!(runner.run(&spec, Stdio::null()?)?.success());
//!     Ok(())
//! }
//! ```

pub mod binfmt;
mod caps;
mod cgroup;
mod channel;
mod devices;
mod error;
mod executor;
mod init;
mod kernel;
mod launcher;
mod namespaces;
pub mod network;
mod plan;
mod rootfs;
pub mod rootless;
mod seccomp;
mod spec;
mod stubs;
mod sys;
mod userns;
mod zygote;

pub use caps::{CapSet, Capability, UnknownCapability};
pub use cgroup::version as cgroup_version;
pub use cgroup::{Cgroup, CgroupError, IoKind, IoRate, IoWeight, Limits, Purpose, Usage};
pub use devices::{DeviceRule, NotADeviceRule};
pub use error::{RunError, StartError};
pub use executor::{Exit, Killer, Process, Runner, RunnerOptions, Stdio};
pub use launcher::{Below, Detached, Launcher, below_root, detach, forget_code, inherited};
pub use namespaces::own_number;
pub use rootfs::{most_lowers, open_root};
pub use seccomp::{Profile, ProfileError};
pub use spec::{
    DEFAULT_PATH, DEFAULT_SHM_SIZE, Denied, ExecSpec, MASKED_PATHS, Mount, MountKind, Namespace,
    Network, ProcessSpec, Propagation, READONLY_PATHS, Resource, Rlimit, Rootfs, Seccomp,
    TmpfsOptions, UnknownResource, UserSpec, WindowSize,
};
pub use userns::{IdMapping, IdRange, UserNamespace};

/// Ends the process with `code` at once, without anything that is registered for its exit.
pub fn leave(code: u8) -> ! {
    sys::exit_now(code.into())
}

/// Becomes the worker process if this execution of the program was meant for it, and then does
/// not return. Every program that uses [`Runner`] calls this first in `main`.
pub fn init() {
    if zygote::is_worker() {
        zygote::serve();
    }
}
