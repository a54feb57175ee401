//! Containers: on disk, under their monitors, and as commands reach them.
//!
//! ```text
//! <root>/containers/lock                held while containers are made or named
//! <root>/containers/<id>/config.json    the container; written when it is made or changed
//!                        state.json     how it fares; written by its monitor
//!                        lock           held by whoever runs, makes or removes it
//!                        socket         where its monitor listens
//!                        json.log       what it wrote; older parts beside it
//!                        fs/            its writable layer (the overlay's upper directory)
//!                        work/          the overlay's work directory
//!                        copy/          its whole root instead, where there are no overlays
//! <root>/mountpoints/                   see the runner's scratch directory
//! <root>/volumes/<name>/_data           a volume
//! <root>/events/journal                 what happened to all of them
//! ```
//!
//! There is no daemon. Every container that runs has a `monitor`, a small process of its own
//! that outlives the command that started it. The lock tells the truth about it: the kernel lets
//! go of it when the monitor dies, however it dies, and what the monitor ran dies with it. A state
//! that says "running" beside a free lock is therefore a thing of the past; the next command that
//! looks settles it: it writes down that the container has ended, and removes it if it was to go
//! (`--rm`).
//!
//! ```text
//! options ─[spec]→ Config ─[start]→ ProcessSpec ─→ monitor ⇄ [protocol] ⇄ attach, exec, stop …
//! ```

mod apparmor;
pub(crate) mod attach;
pub(crate) mod changes;
mod config;
pub(crate) mod connect;
mod containers;
pub(crate) mod link;
pub mod log;
mod monitor;
mod name;
mod process;
pub(crate) mod protocol;
pub(crate) mod record;
pub(crate) mod root;
pub(crate) mod run;
pub(crate) mod sample;
pub mod signal;
mod spec;
pub(crate) mod start;
mod state;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod transfer;
pub mod userns;
mod volume;
mod volume_mount;

pub use config::{
    Config, Device, DeviceRate, DeviceRequest, DeviceWeight, Isolation, Lifecycle, LogConfig,
    LogDriver, MountConfig, NamespaceMode, Resources, RestartPolicy, SeccompMode, TmpfsMount,
    UserMode, VolumeMount, VolumeOptions, VolumeSource,
};
pub use containers::Containers;
pub use record::{Container, ContainerError, Found};
pub use spec::{HealthOptions, RunOptions};
pub use state::{HealthStatus, State, Status};
pub use volume::{ANONYMOUS, Volume, Volumes, is_volume_name, users};

/// Becomes a container's monitor if this execution of the program was meant for it, and then does
/// not return. It comes first in `main`, right after [`cooper_runner::init`].
pub fn init() {
    if std::env::args_os()
        .next()
        .is_some_and(|name| name == monitor::NAME)
    {
        monitor::serve();
    }
}

/// Fills `buffer` from the kernel's random numbers.
fn random(buffer: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut buffer[filled..], flags)?;
    }
    Ok(())
}

/// Returns a new identifier of 64 hexadecimal digits.
pub(crate) fn random_id() -> std::io::Result<String> {
    use std::fmt::Write;
    let mut bytes = [0; 32];
    random(&mut bytes)?;
    Ok(bytes
        .iter()
        .fold(String::with_capacity(64), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        }))
}
