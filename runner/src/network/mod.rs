//! Networks of containers as the kernel has them: namespaces, interfaces, routes and packet rules.
//!
//! ```text
//!        caller's namespace                 the container's
//!   eth0 ── rules ── bridge ── veth… ══════ eth0   127.0.0.11
//! ```
//!
//! Owns the mechanics and no policy: which networks there are, who has which address and which
//! rules follow from that is the caller's. Nothing here needs a program of the host: interfaces
//! and nftables rules are netlink messages (`netlink`).
//!
//! A [`Namespace`] lives as long as something refers to it; with the last process in it and the
//! last [`Namespace`] the kernel takes its interfaces away, and the other halves of their pairs
//! on the host with them. Nothing of a container's interfaces is therefore left after a crash.

mod firewall;
mod link;
mod namespace;
mod netlink;

pub use firewall::{Chain, Hook, Match, Rule, Table, Verdict};
pub use link::{Address, Link, Links, Listed, Mac, NewPair};
pub use namespace::{Namespace, lock, path_of};

use rustix::io::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Brings the loopback interface up; the kernel then gives it 127.0.0.1 and ::1.
pub(crate) fn loopback_up() -> Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    crate::sys::interface_up(&socket, c"lo")
}
