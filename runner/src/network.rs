//! The network namespace of a process that has none of the host's.

use rustix::io::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Brings the loopback interface up; the kernel then gives it 127.0.0.1 and ::1.
pub(crate) fn loopback_up() -> Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    crate::sys::interface_up(&socket, c"lo")
}
