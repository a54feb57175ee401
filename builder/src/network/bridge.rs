//! A network's bridge, and a container's way to it.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use cooper_runner::network::{Address, Link, Links, Namespace, NewPair};
use std::os::fd::AsFd;

use super::error::NetworkError;
use super::orphans;
use super::record::{Endpoint, Network};
use super::state::mac_of;

/// What bridges are made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground<'a> {
    /// The machine's network, which others use, too; and where this store keeps its networks.
    Machine(&'a Path),
    /// A namespace of the user's.
    User,
}

impl Ground<'_> {
    /// Returns the greatest length of a packet; the kernel's choice when absent.
    fn mtu(self, network: &Network) -> Option<u32> {
        match self {
            Self::Machine(_) => network.mtu(),
            // That of the way outside: each packet costs slirp4netns the same, however long it is.
            Self::User => network.mtu().or(Some(super::user::MTU)),
        }
    }
}

/// Makes the bridge of a network unless it is there, with the gateways' addresses.
pub(super) fn ensure(network: &Network, ground: Ground<'_>) -> Result<Link, NetworkError> {
    let name = &network.interface;
    let failed = || NetworkError::kernel(format!("make bridge {name}"));
    let mut links = Links::open().map_err(failed())?;
    let found = links.find(name).map_err(failed())?;
    if let Some(link) = found.filter(|link| link.up) {
        return Ok(link);
    }
    let gateway = network.gateway(true).or_else(|| network.gateway(false));
    let mac = mac_of(gateway.unwrap_or(IpAddr::from([0, 0, 0, 0])));
    let link = match links.create_bridge(name, mac, ground.mtu(network)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => links.find(name),
        result => result.map(Some),
    };
    let link = link
        .and_then(|link| link.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(failed())?;
    for range in &network.subnets {
        links
            .add_address(&link, range.subnet.address(range.gateway))
            .map_err(failed())?;
    }
    if let Ground::Machine(dir) = ground {
        orphans::note(&mut links, &link, dir);
    }
    links.set_up(&link).map_err(failed())?;
    if !network.internal {
        forward(network)?;
        if matches!(ground, Ground::Machine(_)) {
            pass_foreign_firewalls(name);
        }
    }
    Ok(link)
}

/// Lets this machine hand on packets between its interfaces.
fn forward(network: &Network) -> Result<(), NetworkError> {
    let mut settings = vec!["/proc/sys/net/ipv4/ip_forward"];
    if network.gateway(false).is_some() {
        settings.push("/proc/sys/net/ipv6/conf/all/forwarding");
    }
    for setting in settings.into_iter().map(Path::new) {
        let on = fs::read_to_string(setting).is_ok_and(|value| value.trim() != "0");
        if !on {
            fs::write(setting, "1").map_err(NetworkError::io("write", setting))?;
        }
    }
    Ok(())
}

/// Tells other firewalls of this machine to let the bridge's packets through: one that drops what
/// it does not know cannot be overruled by rules of ours. Docker has a chain for that; without
/// docker a policy of dropping is answered by rules at the top; firewalld has zones.
///
/// Where there are no such programs there are no such rules; that one of them fails shows as soon
/// as a container reaches for the outside, and is no reason to refuse those that do not.
fn pass_foreign_firewalls(bridge: &str) {
    for program in ["iptables", "ip6tables"] {
        let Some(rules) = output(Command::new(program).args(["-w", "-S"])) else {
            continue;
        };
        let chain = if rules.lines().any(|line| line == "-N DOCKER-USER") {
            "DOCKER-USER"
        } else if rules.lines().any(|line| line == "-P FORWARD DROP") {
            "FORWARD"
        } else {
            continue;
        };
        for side in ["-i", "-o"] {
            let rule = [chain, side, bridge, "-j", "ACCEPT"];
            let known = output(Command::new(program).args(["-w", "-C"]).args(rule)).is_some();
            if !known {
                let _ = output(Command::new(program).args(["-w", "-I"]).args(rule));
            }
        }
    }
    let firewalld = output(Command::new("firewall-cmd").arg("--state")).is_some();
    if firewalld {
        let zone = ["--zone=trusted", &format!("--add-interface={bridge}")];
        let _ = output(Command::new("firewall-cmd").args(zone));
    }
}

fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Connects a namespace to a network's bridge as `endpoint` says; `hairpin` as in [`NewPair`].
pub(super) fn plug(
    network: &Network,
    ground: Ground<'_>,
    endpoint: &Endpoint,
    hairpin: bool,
    namespace: &Namespace,
) -> Result<(), NetworkError> {
    let bridge = ensure(network, ground)?;
    let failed = || NetworkError::kernel(format!("connect to network {}", network.name));
    Links::open()
        .and_then(|mut links| {
            links.create_pair(&NewPair {
                name: &endpoint.interface,
                bridge: &bridge,
                peer: &endpoint.inner,
                mac: endpoint.mac,
                namespace: namespace.as_fd(),
                mtu: ground.mtu(network),
                hairpin,
            })
        })
        .map_err(failed())?;
    let inner = endpoint.inner.clone();
    let addresses: Vec<_> = endpoint
        .addresses
        .iter()
        .filter_map(|ip| {
            let range = network
                .subnets
                .iter()
                .find(|range| range.subnet.contains(*ip))?;
            Some(range.subnet.address(*ip))
        })
        .chain(endpoint.link_local.iter().map(|ip| link_local(*ip)))
        .collect();
    let set_up = move || {
        let mut links = Links::open()?;
        let link = links.find(&inner)?.ok_or(io::ErrorKind::NotFound)?;
        for address in addresses {
            links.add_address(&link, address)?;
        }
        links.set_up(&link)
    };
    namespace.run(set_up).map_err(failed())
}

/// Returns an address of a link with the bits that all of them have in common.
fn link_local(ip: IpAddr) -> Address {
    let prefix = if ip.is_ipv4() { 16 } else { 64 };
    Address { ip, prefix }
}

/// Makes the gateways of `network` the namespace's ways to the outside.
pub(super) fn route(
    network: &Network,
    endpoint: &Endpoint,
    namespace: &Namespace,
) -> Result<(), NetworkError> {
    let inner = endpoint.inner.clone();
    let gateways: Vec<_> = [true, false]
        .into_iter()
        .filter(|ipv4| endpoint.address(*ipv4).is_some())
        .filter_map(|ipv4| network.gateway(ipv4))
        .collect();
    let set = move || {
        let mut links = Links::open()?;
        let link = links.find(&inner)?.ok_or(io::ErrorKind::NotFound)?;
        gateways
            .into_iter()
            .try_for_each(|gateway| links.add_default_route(&link, gateway))
    };
    namespace.run(set).map_err(NetworkError::kernel(format!(
        "route to network {}",
        network.name
    )))
}

/// Lets nothing through any more between an ended container and its bridge, so that another one
/// can have its addresses. The kernel takes the interfaces with the namespace, for which nobody
/// has to wait.
pub(super) fn silence(endpoint: &Endpoint) -> Result<(), NetworkError> {
    Links::open()
        .and_then(|mut links| links.set_down(&endpoint.interface))
        .map_err(NetworkError::kernel(format!(
            "take interface {} down",
            endpoint.interface
        )))
}

/// Takes a running container off a bridge.
pub(super) fn unplug(endpoint: &Endpoint) -> Result<(), NetworkError> {
    Links::open()
        .and_then(|mut links| links.delete(&endpoint.interface))
        .map_err(NetworkError::kernel(format!(
            "remove interface {}",
            endpoint.interface
        )))
}
