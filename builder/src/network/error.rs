//! Why something about networks fails.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::port::Protocol;
use super::subnet::Subnet;

/// Why something about networks failed.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The kernel refused a part of the network.
    #[error("cannot {action}")]
    Kernel {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no such network.
    #[error("no such network: {name}")]
    Missing {
        /// The name.
        name: String,
        /// Names that there are.
        known: Vec<String>,
    },
    /// The name is taken.
    #[error("network with name {name} already exists")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name cannot be a name.
    #[error("{name:?} cannot be a network's name")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// The network is one that is always there.
    #[error("{name} is a pre-defined network and cannot be {action}")]
    Predefined {
        /// The name.
        name: String,
        /// What was tried.
        action: &'static str,
    },
    /// Containers are connected to the network.
    #[error("network {name} is in use by {}", containers.join(", "))]
    InUse {
        /// The network.
        name: String,
        /// The containers.
        containers: Vec<String>,
    },
    /// A driver that does not exist here.
    #[error("there is no network driver {name:?}: known is bridge")]
    Driver {
        /// The driver.
        name: String,
    },
    /// Another network has addresses of the subnet.
    #[error("subnet {subnet} overlaps with {other}")]
    Overlap {
        /// The subnet.
        subnet: Subnet,
        /// Whose.
        other: String,
    },
    /// Every subnet of the pool is used.
    #[error("every subnet that a network could get is in use")]
    NoSubnet,
    /// An address is not in the subnet it is meant for.
    #[error("{ip} is in no subnet of network {network}")]
    Outside {
        /// The address.
        ip: IpAddr,
        /// The network.
        network: String,
    },
    /// The gateway or range has no subnet.
    #[error("{what} {value} is in none of the subnets")]
    NotInSubnet {
        /// What was given.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// The address is somebody's.
    #[error("address {ip} is in use on network {network}")]
    AddressTaken {
        /// The address.
        ip: IpAddr,
        /// The network.
        network: String,
    },
    /// A network has no address left.
    #[error("network {network} has no free address in {subnet}")]
    Full {
        /// The network.
        network: String,
        /// Its subnet.
        subnet: Subnet,
    },
    /// A port of this machine is taken.
    #[error("cannot publish {address}/{protocol}: the port is already allocated")]
    PortTaken {
        /// The address.
        address: SocketAddr,
        /// The protocol.
        protocol: Protocol,
    },
    /// A port of this machine cannot be listened on.
    #[error("cannot publish {address}/{protocol}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The protocol.
        protocol: Protocol,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The container is not connected to the network.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// The container is connected already.
    #[error("container {container} is already connected to network {network}")]
    Connected {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// A link names a container that does not run.
    #[error("cannot link to {name}: no such container runs")]
    NoLink {
        /// The container.
        name: String,
    },
    /// An option needs a network of one's own making.
    #[error("{option} needs a network made with `cooper network create`")]
    NeedsOwnNetwork {
        /// The option.
        option: &'static str,
    },
    /// Nothing connects a user's namespace to the outside.
    #[error("a container's own network without root needs slirp4netns, which is not installed")]
    NoUserNetwork,
    /// The device that such a program needs is not this user's.
    #[error("cannot open {} as this user, which a container's own network without root needs", path.display())]
    NoDevice {
        /// The device.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The program that connects a user's namespace failed.
    #[error("{program} failed: {stderr}")]
    UserNetwork {
        /// The program.
        program: &'static str,
        /// What it said.
        stderr: String,
    },
}

impl NetworkError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn kernel(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Kernel { action, source }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { known, .. } => Some(format!("there are {}", known.join(", "))),
            Self::NoUserNetwork => Some(
                "install the package slirp4netns, or share the host's network with --network=host"
                    .to_owned(),
            ),
            Self::NoDevice { path, .. } => Some(format!(
                "`chmod 0666 {}` as root gives it to everyone, as most systems do; \
                 --network=host shares the host's network",
                path.display()
            )),
            Self::Kernel { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("--network=host shares the host's network, --network=none has none".to_owned())
            }
            Self::Kernel { source, .. }
                if matches!(
                    source.raw_os_error(),
                    Some(libc_errno::EOPNOTSUPP | libc_errno::EPROTONOSUPPORT)
                ) =>
            {
                Some("the kernel lacks bridge, veth or nf_tables; --network=host needs none of them".to_owned())
            }
            Self::PortTaken { .. } => {
                Some("another container or program listens there; publish another port".to_owned())
            }
            Self::InUse { .. } => Some("`cooper network disconnect` takes them off".to_owned()),
            Self::NoSubnet => Some("give one with --subnet".to_owned()),
            Self::Listen { address, source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied && address.port() < 1024 =>
            {
                Some(
                    "ports below 1024 need root; `sysctl net.ipv4.ip_unprivileged_port_start=0` lets everyone have them"
                        .to_owned(),
                )
            }
            _ => None,
        }
    }
}

/// The kernel's numbers for what it has no support for.
mod libc_errno {
    pub(super) const EPROTONOSUPPORT: i32 = rustix::io::Errno::PROTONOSUPPORT.raw_os_error();
    pub(super) const EOPNOTSUPP: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();
}
