//! A container's network without root: slirp4netns.
//!
//! It carries the packets of the container's namespace as connections of this user. Ports are
//! published by the [service](super::service), which connects inside the namespace.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use cooper_runner::network::Namespace;
use rustix::fs::MemfdFlags;
use rustix::io::{FdFlags, fcntl_setfd};

use super::error::NetworkError;

const PROGRAM: &str = "slirp4netns";

/// A namespace that leads outside for as long as this is open, in whichever process.
#[derive(Debug)]
pub(super) struct UserNetwork {
    alive: OwnedFd,
}

impl UserNetwork {
    /// The container's address, which slirp4netns gives to every namespace.
    pub(super) const CONTAINER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
    /// This machine as the container sees it.
    pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    /// A name server that asks this machine's.
    pub(super) const NAMES: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
    /// The container's interface.
    pub(super) const INTERFACE: &str = "tap0";

    /// Connects `namespace`.
    pub(super) fn start(namespace: &Namespace) -> Result<Self, NetworkError> {
        let device = Path::new("/dev/net/tun");
        File::options()
            .read(true)
            .write(true)
            .open(device)
            .map_err(|source| NetworkError::NoDevice {
                path: device.to_owned(),
                source,
            })?;
        // It outlives this command, and what it says must not end it.
        let memory = rustix::fs::memfd_create(PROGRAM, MemfdFlags::CLOEXEC);
        let failed = || NetworkError::kernel(format!("start {PROGRAM}"));
        let mut said = File::from(memory.map_err(|errno| failed()(errno.into()))?);
        match spawn(namespace, &said) {
            Ok(Some(alive)) => Ok(Self { alive }),
            Ok(None) => {
                let mut stderr = String::new();
                let _ = said
                    .rewind()
                    .and_then(|()| said.read_to_string(&mut stderr));
                let last = stderr.lines().last().unwrap_or("it ended without a word");
                Err(NetworkError::UserNetwork {
                    program: PROGRAM,
                    stderr: last.to_owned(),
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(NetworkError::NoUserNetwork)
            }
            Err(error) => Err(failed()(error)),
        }
    }
}

impl From<UserNetwork> for OwnedFd {
    fn from(network: UserNetwork) -> Self {
        network.alive
    }
}

/// Starts the program and waits until it is ready; `None` if it ended instead.
fn spawn(namespace: &Namespace, said: &File) -> io::Result<Option<OwnedFd>> {
    let (mut ready, theirs) = io::pipe()?;
    let (stopped, alive) = io::pipe()?;
    let (theirs, stopped) = (OwnedFd::from(theirs), OwnedFd::from(stopped));
    // The program finds them by number. Another program that is started at this moment would get
    // them too, and at worst keep this one waiting for its own end.
    fcntl_setfd(&theirs, FdFlags::empty())?;
    fcntl_setfd(&stopped, FdFlags::empty())?;
    Command::new(PROGRAM)
        .args(["--configure", "--mtu=65520", "--disable-host-loopback"])
        .arg(format!("--ready-fd={}", theirs.as_raw_fd()))
        .arg(format!("--exit-fd={}", stopped.as_raw_fd()))
        .arg("--netns-type=path")
        .arg(namespace.path())
        .arg(UserNetwork::INTERFACE)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .process_group(0)
        .spawn()?;
    drop((theirs, stopped));
    let mut byte = [0];
    let count = ready.read(&mut byte)?;
    Ok((count == 1).then(|| alive.into()))
}
