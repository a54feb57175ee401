//! Networks without root: where they are, and slirp4netns as their way outside.
//!
//! All bridges of a user are in one network namespace ([`Shared`]), as root's are in the machine's,
//! and slirp4netns carries what leaves it as connections of this user. Ports are published by the
//! [service](super::service), which listens on the machine and connects inside.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cooper_runner::network::Links;
use cooper_runner::rootless::Shared;
use rustix::fs::MemfdFlags;
use rustix::io::{FdFlags, fcntl_setfd};

use super::error::NetworkError;
use super::subnet::Subnet;

const PROGRAM: &str = "slirp4netns";
/// The interface that leads outside.
const INTERFACE: &str = "tap0";
/// Greatest length of a packet.
pub(super) const MTU: u32 = 65520;
/// A name server that asks this machine's.
pub(super) const NAMES: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// Returns where a store's namespaces are written down.
pub fn shared(root: &Path) -> PathBuf {
    root.join("namespaces")
}

/// Returns the addresses that slirp4netns takes for itself.
pub(super) fn own_subnet() -> Subnet {
    Subnet::around(NAMES.into(), 24)
}

/// Refuses subnets of which slirp4netns has a part.
pub(super) fn check(subnets: &[Subnet]) -> Result<(), NetworkError> {
    let own = own_subnet();
    match subnets.iter().find(|subnet| subnet.overlaps(own)) {
        Some(subnet) => Err(NetworkError::Overlap {
            subnet: *subnet,
            other: format!("{own}, which {PROGRAM} has"),
        }),
        None => Ok(()),
    }
}

/// Returns this machine's address as others see it, where it has one.
pub(super) fn machine() -> Option<IpAddr> {
    // Nothing is sent: the kernel tells which address it would send from.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Runs `work` where a user's bridges are.
pub(super) fn inside<T: Send>(
    shared: &Shared,
    work: impl FnOnce() -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    let failed = NetworkError::kernel("enter the network namespace of this user's containers");
    shared.run(work).map_err(failed)?
}

/// Leads out of the namespace, unless something does already.
pub(super) fn lead_outside(shared: &Shared) -> Result<(), NetworkError> {
    let find = || Links::open().and_then(|mut links| links.find(INTERFACE));
    let failed = || NetworkError::kernel(format!("start {PROGRAM}"));
    let found = inside(shared, || find().map_err(failed()))?;
    if found.is_some() {
        return Ok(());
    }
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
    let mut said = File::from(memory.map_err(|errno| failed()(errno.into()))?);
    match spawn(shared, &said) {
        Ok(true) => Ok(()),
        Ok(false) => {
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
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NetworkError::NoUserNetwork),
        Err(error) => Err(failed()(error)),
    }
}

/// Starts the program and waits until it is ready; false if it ended instead. It ends with the
/// namespace.
fn spawn(shared: &Shared, said: &File) -> io::Result<bool> {
    let (mut ready, theirs) = io::pipe()?;
    let (leash, network) = (shared.leash()?, shared.network()?);
    let theirs = OwnedFd::from(theirs);
    // The program finds them by number. Another program that is started at this moment would get
    // them too, and at worst keep this one waiting for its own end.
    fcntl_setfd(&theirs, FdFlags::empty())?;
    fcntl_setfd(&leash, FdFlags::empty())?;
    Command::new(PROGRAM)
        .args(["--configure", "--disable-host-loopback"])
        .arg(format!("--mtu={MTU}"))
        .arg(format!("--ready-fd={}", theirs.as_raw_fd()))
        .arg(format!("--exit-fd={}", leash.as_raw_fd()))
        .arg("--netns-type=path")
        .arg(network)
        .arg(INTERFACE)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .process_group(0)
        .spawn()?;
    drop((theirs, leash));
    let mut byte = [0];
    Ok(ready.read(&mut byte)? == 1)
}
