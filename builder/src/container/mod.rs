//! Containers on disk, and running one in the foreground.
//!
//! ```text
//! <root>/containers/lock               held while containers are made or swept
//! <root>/containers/<id>/config.json   the container; replaced by rename
//!                        lock          held by the process that runs it
//!                        fs/           its writable layer (the overlay's upper directory)
//!                        work/         the overlay's work directory
//! <root>/volumes/<name>/_data          a volume
//! ```
//!
//! A container runs exactly as long as its lock is held: the kernel lets go of it when the
//! process dies, however it dies, and with it dies everything in the container. What a killed
//! process left behind is therefore recognised without a daemon: a container that was to be
//! removed at its end (`--rm`) and whose lock is free is swept by the next command that looks.

mod attach;
mod config;
mod hosts;
mod name;
mod process;
mod record;
mod run;
mod spec;
#[cfg(test)]
pub(crate) mod testing;
mod volume;

pub use config::{
    Config, Device, Isolation, Lifecycle, LogConfig, LogDriver, MountConfig, NamespaceMode,
    NetworkConfig, NetworkMode, Resources, RestartPolicy, SeccompMode, TmpfsMount, VolumeMount,
    VolumeSource,
};
pub use record::{Container, ContainerError, Containers, Found, NewContainer, State};
pub use run::run;
pub use spec::{HealthOptions, RunOptions, SpecError};
pub use volume::Volumes;

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
fn random_id() -> std::io::Result<String> {
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
