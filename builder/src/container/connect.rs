//! A container's network, from what its configuration says to what its process gets.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::Path;

use cooper_cache::Store;
use cooper_runner::Network;
use cooper_runner::network::Namespace;
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::containers::Containers;
use super::record::{Container, Found};
use crate::network::{self, Guest, NetworkError, NetworkMode, Networks};
use crate::report::Report;

/// Most bytes that are read of a file in a container.
const MOST_READ: u64 = 1 << 20;

/// What a container's process gets of the network.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) network: Network,
    pub(super) hosts: Vec<u8>,
    pub(super) resolv_conf: Vec<u8>,
    /// What keeps it connected, its network namespace first.
    pub(super) kept: Vec<OwnedFd>,
}

/// Connects a container. Its network namespace may have been made with its user namespace.
pub(super) fn connect(
    store: &Store,
    container: &Container,
    namespace: Option<OwnedFd>,
) -> Result<Connected, Report> {
    let config = &container.config;
    let hostname = config.hostname(&container.id);
    let own = |network, address: IpAddr| Connected {
        network,
        hosts: host_file(container, address, &hostname),
        // A host without one resolves names by files alone, and so does the container.
        resolv_conf: fs::read("/etc/resolv.conf").unwrap_or_default(),
        kept: Vec::new(),
    };
    match &config.network.mode {
        NetworkMode::Host => Ok(own(Network::Host, Ipv4Addr::new(127, 0, 1, 1).into())),
        NetworkMode::None => {
            let alone = own(Network::None, Ipv4Addr::LOCALHOST.into());
            let Some(namespace) = namespace else {
                return Ok(alone);
            };
            let namespace = network::namespace(Some(namespace)).map_err(|error| report(&error))?;
            Ok(Connected {
                network: Network::Namespace(namespace.path()),
                kept: vec![namespace.into()],
                ..alone
            })
        }
        NetworkMode::Container(name) => share(store, name),
        NetworkMode::Bridge => {
            let attached = network::namespace(namespace)
                .and_then(|namespace| attach(store, container, &hostname, namespace));
            attached.map_err(|error| report(&error))
        }
    }
}

/// Gives a container that shares the network of another its host name, which may be another one
/// than at its last start.
pub(super) fn share_hostname(store: &Store, container: &mut Container) -> Result<(), Report> {
    let NetworkMode::Container(name) = &container.config.network.mode else {
        return Ok(());
    };
    let other = running(store, name)?.container;
    let hostname = Some(other.config.hostname(&other.id));
    if container.config.hostname == hostname {
        return Ok(());
    }
    container.config.hostname = hostname;
    Containers::of(store.root())
        .update(container)
        .map_err(|error| Report::from_error(&error))
}

/// Returns the running container whose network is to be shared.
fn running(store: &Store, name: &str) -> Result<Found, Report> {
    let mut found = Containers::of(store.root())
        .find(name)
        .map_err(|error| Report::from_error(&error))?;
    match (found.pop(), found.as_slice()) {
        (Some(found), []) if found.live => Ok(found),
        _ => Err(Report::new(format!(
            "cannot share the network of {name}: no such container runs"
        ))),
    }
}

/// Shares the network of a running container, and what it reads of it.
fn share(store: &Store, name: &str) -> Result<Connected, Report> {
    let pid = running(store, name)?.state.pid;
    let process = Path::new("/proc").join(pid.to_string());
    let read = |path: &str| read_inside(pid, Path::new(path)).unwrap_or_default();
    let namespace = process.join("ns/net");
    let opened = File::open(&namespace).map_err(|error| {
        Report::from_error(&error).context(format!("cannot share the network of {name}"))
    })?;
    Ok(Connected {
        network: Network::Namespace(namespace),
        hosts: read("/etc/hosts"),
        resolv_conf: read("/etc/resolv.conf"),
        // It stays also when that container ends meanwhile.
        kept: vec![opened.into()],
    })
}

fn attach(
    store: &Store,
    container: &Container,
    hostname: &str,
    namespace: Namespace,
) -> Result<Connected, NetworkError> {
    let exposed: Vec<_> = container
        .config
        .runtime
        .exposed_ports
        .keys()
        .cloned()
        .collect();
    let networks = Networks::of(store.root(), store.options().userxattr);
    let guest = Guest {
        id: &container.id,
        name: &container.name,
        hostname,
        domain: container.config.domainname.as_deref(),
        config: &container.config.network,
        exposed: &exposed,
        now: &Timestamp::now().to_string(),
    };
    let attachment = networks.attach(&guest, namespace)?;
    let network = Network::Namespace(attachment.path());
    let mut kept = vec![attachment.namespace];
    kept.extend(attachment.kept);
    Ok(Connected {
        network,
        hosts: attachment.hosts,
        resolv_conf: attachment.resolv_conf,
        kept,
    })
}

/// Changes what a running container, whose first process is `pid`, reads in /etc/resolv.conf. A file
/// that was mounted there for it stays as it is.
pub(crate) fn rewrite_resolv_conf(container: &Container, pid: i32, text: &[u8]) -> io::Result<()> {
    let path = Path::new("/etc/resolv.conf");
    let mut volumes = container.config.mounts.volumes.iter();
    if volumes.any(|volume| volume.target == path) {
        return Ok(());
    }
    let mut file = open_inside(pid, path, OFlags::WRONLY)?;
    file.set_len(0)?;
    file.write_all(text)
}

fn read_inside(pid: i32, path: &Path) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    let file = open_inside(pid, path, OFlags::RDONLY)?;
    file.take(MOST_READ).read_to_end(&mut data)?;
    Ok(data)
}

/// Opens a regular file as the container sees it whose first process is `pid`.
fn open_inside(pid: i32, path: &Path, access: OFlags) -> io::Result<File> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), directory, Mode::empty())?;
    // The container decides where the path leads, inside its root, and what is there.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat2(
        &root,
        path,
        flags,
        Mode::empty(),
        resolve,
    )?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Returns /etc/hosts of a container that has no address of its own. This machine is on the
/// loopback interface.
fn host_file(container: &Container, address: IpAddr, hostname: &str) -> Vec<u8> {
    let added = container.config.network.add_hosts.iter().map(|entry| {
        let local = entry.address.is_unspecified();
        let ip = if local {
            Ipv4Addr::LOCALHOST.into()
        } else {
            entry.address
        };
        (ip, entry.name.as_str())
    });
    let own = network::full_name(hostname, container.config.domainname.as_deref());
    let own = (hostname != "localhost").then_some((address, own.as_str()));
    network::hosts(added.chain(own))
}

/// Returns what a failure of the network says.
pub(super) fn report(error: &NetworkError) -> Report {
    let report = Report::from_error(error);
    match error.hint() {
        Some(hint) => report.hint(hint),
        None => report,
    }
}
