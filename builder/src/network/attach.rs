//! Connecting a container: from what was asked for to a namespace that is ready.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cooper_runner::network::{Namespace, path_of};
use cooper_runner::rootless::Shared;

use super::bridge::{self, Ground};
use super::config::{EndpointConfig, Link, NetworkConfig};
use super::error::NetworkError;
use super::files::{self, NAME_SERVER, RESOLVED, Resolving};
use super::port::{self, PortRequest, Published};
use super::record::{Endpoint, Network, parse_mac};
use super::service::{self, NameOrder, Order};
use super::state::{Locked, Networks, mac_of, random_id};
use super::user;

/// A container that is to be connected.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    /// Its ID.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its host name.
    pub hostname: &'a str,
    /// Its NIS domain.
    pub domain: Option<&'a str>,
    /// What was asked for.
    pub config: &'a NetworkConfig,
    /// Ports that it says it listens on, as `PORT/PROTOCOL`.
    pub exposed: &'a [String],
    /// The time, RFC 3339.
    pub now: &'a str,
}

/// A connected container. It stays connected as long as the descriptors are open, in whichever
/// process; [`Networks::detach`] takes away what is written of it.
#[derive(Debug)]
pub struct Attachment {
    /// The network namespace.
    pub namespace: OwnedFd,
    /// What else has to stay open.
    pub kept: Vec<OwnedFd>,
    /// What the container reads in /etc/hosts.
    pub hosts: Vec<u8>,
    /// What it reads in /etc/resolv.conf.
    pub resolv_conf: Vec<u8>,
}

impl Attachment {
    /// Returns the path of the network namespace, for this process and others.
    pub fn path(&self) -> PathBuf {
        path_of(self.namespace.as_fd())
    }
}

/// Networks and the container's places in them, in the order that was asked for.
type Places = Vec<(Network, Endpoint)>;

impl Networks {
    /// Connects a container to the networks that its configuration names; `namespace` is its own.
    pub fn attach(
        &self,
        guest: &Guest<'_>,
        namespace: Namespace,
    ) -> Result<Attachment, NetworkError> {
        let mut locked = self.lock()?;
        let held = self.hold(guest.id)?;
        let result = self.attach_bridges(guest, &mut locked, namespace);
        drop(locked);
        match result {
            Ok(mut attachment) => {
                attachment.kept.push(held.into());
                Ok(attachment)
            }
            Err(error) => {
                // What remains of it is taken away by the next command.
                let _ = self.detach(guest.id);
                Err(error)
            }
        }
    }

    /// Takes away what is written of a container that was connected.
    pub fn detach(&self, container: &str) -> Result<(), NetworkError> {
        let mut locked = self.lock()?;
        let (ours, others): (Vec<_>, _) = std::mem::take(&mut locked.endpoints)
            .into_iter()
            .partition(|endpoint| endpoint.container == container);
        locked.endpoints = others;
        self.release(container);
        for endpoint in &ours {
            self.tell(&endpoint.network, "disconnect", Some(container));
        }
        if ours.is_empty() {
            return locked.write();
        }
        self.inside(|| {
            let silenced: Vec<_> = ours.iter().map(bridge::silence).collect();
            silenced.into_iter().collect::<Result<(), _>>()?;
            locked.apply()
        })
    }

    fn attach_bridges(
        &self,
        guest: &Guest<'_>,
        locked: &mut Locked<'_>,
        namespace: Namespace,
    ) -> Result<Attachment, NetworkError> {
        let default = [EndpointConfig::default_network()];
        let wanted = match guest.config.endpoints.as_slice() {
            [] => &default,
            some => some,
        };
        let mut networks = Vec::new();
        for wanted in wanted {
            networks.push(self.ensure(&wanted.network, guest.now)?);
        }
        let leads_outside = |network: &Network| !network.internal;
        if let Some(shared) = self.shared().filter(|_| networks.iter().any(leads_outside)) {
            user::lead_outside(shared)?;
        }
        let wanted = networks.into_iter().zip(wanted);
        let places = self.inside(|| plug_all(guest, wanted, locked, self.ground(), &namespace))?;
        for (network, _) in &places {
            self.tell(&network.id, "connect", Some(guest.id));
        }
        let outside = way_out(&places);
        let lines = links(guest, locked, &places)?;
        let resolving = host_resolving().with(guest.config);
        let (kept, published) = self.serve(guest, &places, &resolving, &namespace)?;
        // Ports lead to the network that leads outside; without one there is nobody to come.
        let through = outside.map(|(_, endpoint)| endpoint.id.clone());
        let mut own = locked.endpoints.iter_mut();
        if let Some(endpoint) = own.find(|own| Some(&own.id) == through.as_ref()) {
            endpoint.ports = published;
        }
        self.inside(|| locked.apply())?;
        let resolving = if by_name(&places) {
            resolving.through(NAME_SERVER.into())
        } else if self.shared().is_some() {
            host_resolving()
                .through(user::NAMES.into())
                .with(guest.config)
        } else {
            resolving.without_loopback()
        };
        Ok(Attachment {
            namespace: namespace.into(),
            kept: kept.into_iter().collect(),
            hosts: hosts(guest, &places, self.machine(&places), lines),
            resolv_conf: resolving.render(),
        })
    }

    /// Returns this machine as containers at `places` see it: as their gateway, or, where that is
    /// in a namespace of the user's, by its own address.
    fn machine(&self, places: &Places) -> Option<IpAddr> {
        if self.shared().is_some() {
            return user::machine();
        }
        let (network, _) = places.iter().find(|(network, _)| !network.internal)?;
        network.gateway(true).or_else(|| network.gateway(false))
    }

    /// Starts what serves the container, unless there is nothing to serve.
    fn serve(
        &self,
        guest: &Guest<'_>,
        places: &Places,
        resolving: &Resolving,
        namespace: &Namespace,
    ) -> Result<(Option<OwnedFd>, Vec<Published>), NetworkError> {
        let names = by_name(places).then(|| {
            let internal = places.iter().all(|(network, _)| network.internal);
            self.names(guest, resolving, internal)
        });
        let ports = ports(guest);
        if names.is_none() && ports.is_empty() {
            return Ok((None, Vec::new()));
        }
        let place = way_out(places).or(places.first());
        let order = Order {
            namespace: namespace.path(),
            addresses: place
                .map(|(_, endpoint)| endpoint.addresses.clone())
                .unwrap_or_default(),
            at: place.and_then(|(network, _)| network.publishes_at()),
            ports,
            dial: self.bridges()?,
            names,
            until: None,
        };
        let (socket, published) = service::start(&order)?;
        Ok((Some(socket), published))
    }

    /// Returns which names are served to a container, which is on `internal` networks only or not.
    fn names(&self, guest: &Guest<'_>, resolving: &Resolving, internal: bool) -> NameOrder {
        NameOrder {
            dir: self.dir().to_owned(),
            container: guest.id.to_owned(),
            links: guest.config.links.clone(),
            // Asking others for a container that may not reach them would be its way out.
            upstream: if internal {
                Vec::new()
            } else {
                resolving.addresses()
            },
        }
    }

    /// Returns a path to the network namespace of the bridges, unless that is the machine's own.
    fn bridges(&self) -> Result<Option<PathBuf>, NetworkError> {
        let path = self.shared().map(Shared::network).transpose();
        path.map_err(NetworkError::kernel(
            "find the network namespace of this user's containers",
        ))
    }

    /// Connects a running container to one more network; `namespace` is the path of its own. Returns
    /// what it is to read in /etc/resolv.conf, if that is something else from now on.
    pub fn connect(
        &self,
        guest: &Guest<'_>,
        (wanted, links): (&EndpointConfig, &[Link]),
        namespace: &Path,
    ) -> Result<Option<Vec<u8>>, NetworkError> {
        let mut locked = self.lock()?;
        let network = self.ensure(&wanted.network, guest.now)?;
        let all = self.list()?;
        let leads_outside = |endpoint: &&Endpoint| {
            let network = all.iter().find(|network| network.id == endpoint.network);
            network.is_some_and(|network| !network.internal)
        };
        let own: Vec<_> = locked
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.container == guest.id)
            .collect();
        if own.iter().any(|endpoint| endpoint.network == network.id) {
            return Err(NetworkError::Connected {
                container: guest.name.to_owned(),
                network: network.name,
            });
        }
        let named = all.iter().filter(|network| network.resolves_names());
        let named = named
            .map(|network| &network.id)
            .any(|id| own.iter().any(|endpoint| endpoint.network == *id));
        let outside = own
            .iter()
            .copied()
            .filter(|endpoint| leads_outside(endpoint));
        let before = outside.map(|endpoint| endpoint.gw_priority).max();
        let routed = before.is_some();
        let used: Vec<_> = own.iter().map(|endpoint| endpoint.inner.clone()).collect();
        let mut inner = (0..).map(|index| format!("eth{index}"));
        let inner = inner.find(|name| !used.contains(name)).unwrap_or_default();
        let namespace = open(namespace)?;
        if let Some(shared) = self.shared().filter(|_| !network.internal) {
            user::lead_outside(shared)?;
        }
        self.inside(|| {
            let place = (&network, wanted, inner);
            let endpoint = plug(guest, place, &mut locked, self.ground(), &namespace)?;
            if let Some(own) = locked
                .endpoints
                .iter_mut()
                .find(|own| own.id == endpoint.id)
            {
                own.links = links.to_vec();
            }
            if !network.internal && before.is_none_or(|before| before < wanted.gw_priority) {
                bridge::route(&network, &endpoint, &namespace)?;
            }
            locked.apply()
        })?;
        self.tell(&network.id, "connect", Some(guest.id));
        if named || !network.resolves_names() {
            return Ok(None);
        }
        let resolving = host_resolving().with(guest.config);
        let names = self.names(guest, &resolving, network.internal && !routed);
        service::start(&Order {
            namespace: namespace.path(),
            addresses: Vec::new(),
            ports: Vec::new(),
            at: None,
            dial: None,
            names: Some(names),
            until: Some(self.held(guest.id)),
        })?;
        Ok(Some(resolving.through(NAME_SERVER.into()).render()))
    }

    /// Takes a running container off a network; `namespace` is the path of its own.
    pub fn disconnect(
        &self,
        id: &str,
        name: &str,
        network: &Network,
        namespace: &Path,
    ) -> Result<(), NetworkError> {
        let mut locked = self.lock()?;
        let here = |endpoint: &Endpoint| endpoint.container == id && endpoint.network == network.id;
        let Some(index) = locked.endpoints.iter().position(here) else {
            return Err(NetworkError::NotConnected {
                container: name.to_owned(),
                network: network.name.clone(),
            });
        };
        let gone = locked.endpoints.remove(index);
        // The way outside may have gone with it.
        let all = self.list()?;
        let others = locked
            .endpoints
            .iter()
            .rev()
            .filter(|endpoint| endpoint.container == id);
        let others = others.filter_map(|endpoint| {
            let network = all.iter().find(|network| network.id == endpoint.network)?;
            (!network.internal).then_some((network, endpoint))
        });
        let other = others.max_by_key(|(_, endpoint)| endpoint.gw_priority);
        let other = other.map(|(network, endpoint)| (network, endpoint.clone()));
        self.inside(|| {
            bridge::unplug(&gone)?;
            if let Some((network, endpoint)) = &other {
                bridge::route(network, endpoint, &open(namespace)?)?;
            }
            locked.apply()
        })?;
        self.tell(&network.id, "disconnect", Some(id));
        Ok(())
    }
}

/// Returns a network namespace for a container: one that was made with its user namespace, or a new
/// one.
pub fn namespace(made: Option<OwnedFd>) -> Result<Namespace, NetworkError> {
    let ready = match made {
        Some(made) => Namespace::begin(made),
        None => Namespace::create(),
    };
    ready.map_err(NetworkError::kernel("make a network namespace"))
}

fn open(namespace: &Path) -> Result<Namespace, NetworkError> {
    Namespace::open(namespace).map_err(NetworkError::kernel(
        "open the container's network namespace",
    ))
}

fn new_id() -> Result<String, NetworkError> {
    random_id().map_err(NetworkError::io("read", Path::new("/dev/urandom")))
}

/// Connects a new container to networks, and leads outside through the first that does.
fn plug_all<'a>(
    guest: &Guest<'_>,
    wanted: impl Iterator<Item = (Network, &'a EndpointConfig)>,
    locked: &mut Locked<'_>,
    ground: Ground<'_>,
    namespace: &Namespace,
) -> Result<Places, NetworkError> {
    let mut places = Places::new();
    for (index, (network, wanted)) in wanted.enumerate() {
        let place = (&network, wanted, format!("eth{index}"));
        let endpoint = plug(guest, place, locked, ground, namespace)?;
        places.push((network, endpoint));
    }
    if let Some((network, endpoint)) = way_out(&places) {
        bridge::route(network, endpoint, namespace)?;
    }
    Ok(places)
}

/// Returns the place that leads outside: the one of the highest priority, and of several such the
/// first.
fn way_out(places: &Places) -> Option<&(Network, Endpoint)> {
    let outside = places.iter().rev().filter(|(network, _)| !network.internal);
    outside.max_by_key(|(_, endpoint)| endpoint.gw_priority)
}

/// Makes an endpoint and its interfaces, the container's of this name, and adds it to those that
/// are written down.
fn plug(
    guest: &Guest<'_>,
    (network, wanted, inner): (&Network, &EndpointConfig, String),
    locked: &mut Locked<'_>,
    ground: Ground<'_>,
    namespace: &Namespace,
) -> Result<Endpoint, NetworkError> {
    check_default(network, wanted)?;
    if network.driver != "bridge" {
        return Err(NetworkError::Predefined {
            name: network.name.clone(),
            action: "connected to beside others",
        });
    }
    let addresses = locked.addresses(network, &wanted.addresses)?;
    let id = new_id()?;
    let mac = wanted.mac.as_deref().and_then(parse_mac);
    let derived = addresses.first().copied();
    let mut aliases = wanted.aliases.clone();
    if guest.hostname != guest.name && !guest.id.starts_with(guest.hostname) {
        aliases.push(guest.hostname.to_owned());
    }
    let endpoint = Endpoint {
        network: network.id.clone(),
        container: guest.id.to_owned(),
        name: guest.name.to_owned(),
        mac: mac.unwrap_or_else(|| mac_of(derived.unwrap_or(Ipv4Addr::UNSPECIFIED.into()))),
        addresses,
        aliases,
        interface: format!("veth{}", &id[..7]),
        gw_priority: wanted.gw_priority,
        inner,
        ports: Vec::new(),
        link_local: wanted.link_local.clone(),
        links: Vec::new(),
        id,
    };
    let hairpin = !ports(guest).is_empty();
    bridge::plug(network, ground, &endpoint, hairpin, namespace)?;
    locked.endpoints.push(endpoint.clone());
    Ok(endpoint)
}

/// Refuses on the default network what docker refuses there, so that who forgot to name a network
/// notices.
fn check_default(network: &Network, wanted: &EndpointConfig) -> Result<(), NetworkError> {
    let option = if !wanted.addresses.is_empty() {
        "--ip"
    } else if !wanted.aliases.is_empty() {
        "--network-alias"
    } else {
        return Ok(());
    };
    if network.resolves_names() {
        return Ok(());
    }
    Err(NetworkError::NeedsOwnNetwork { option })
}

fn by_name(places: &Places) -> bool {
    places.iter().any(|(network, _)| network.resolves_names())
}

/// Returns the ports to publish: those asked for, and with `-P` those that the container says it
/// listens on.
fn ports(guest: &Guest<'_>) -> Vec<PortRequest> {
    let mut ports = guest.config.ports.clone();
    if guest.config.publish_all {
        let named: Vec<_> = ports
            .iter()
            .map(|port| (port.port, port.protocol))
            .collect();
        let exposed = guest.exposed.iter().filter_map(|text| port::exposed(text));
        let others = exposed.filter(|port| !named.contains(port));
        ports.extend(others.map(|(port, protocol)| PortRequest {
            host_ip: None,
            host_ports: None,
            port,
            protocol,
        }));
    }
    ports
}

/// Returns the lines of /etc/hosts for links. On networks with names, those do the same.
fn links(
    guest: &Guest<'_>,
    locked: &Locked<'_>,
    places: &Places,
) -> Result<Vec<(IpAddr, String)>, NetworkError> {
    let mut lines = Vec::new();
    for link in &guest.config.links {
        let shared = |other: &&Endpoint| {
            let called = other.is_called(&link.container)
                || (link.container.len() > 3 && other.container.starts_with(&link.container));
            called
                && places
                    .iter()
                    .any(|(network, _)| network.id == other.network)
        };
        let other = locked.endpoints.iter().find(shared);
        let other = other.ok_or_else(|| NetworkError::NoLink {
            name: link.container.clone(),
        })?;
        let mut names = vec![link.alias.as_str()];
        names.extend(other.container.get(..12));
        if other.name != link.alias {
            names.push(&other.name);
        }
        let by_name = places
            .iter()
            .any(|(network, _)| network.id == other.network && network.resolves_names());
        if !by_name {
            lines.extend(other.addresses.iter().map(|ip| (*ip, names.join(" "))));
        }
    }
    Ok(lines)
}

/// Returns what a container is called in its own /etc/hosts.
pub fn full_name(hostname: &str, domain: Option<&str>) -> String {
    match domain {
        Some(domain) => format!("{hostname}.{domain} {hostname}"),
        None => hostname.to_owned(),
    }
}

/// Returns /etc/hosts with what was added, in which an unspecified address is `machine`.
fn hosts(
    guest: &Guest<'_>,
    places: &Places,
    machine: Option<IpAddr>,
    mut lines: Vec<(IpAddr, String)>,
) -> Vec<u8> {
    for (_, endpoint) in places {
        let own = endpoint.addresses.iter();
        lines.extend(own.map(|ip| (*ip, full_name(guest.hostname, guest.domain))));
    }
    let added = guest.config.add_hosts.iter().filter_map(|entry| {
        let ip = if entry.address.is_unspecified() {
            machine?
        } else {
            entry.address
        };
        Some((ip, entry.name.as_str()))
    });
    let lines = lines.iter().map(|(ip, names)| (*ip, names.as_str()));
    files::hosts(added.chain(lines))
}

/// Returns how this machine resolves names: where systemd-resolved stands between, whom it asks.
fn host_resolving() -> Resolving {
    let read = |path: &str| Resolving::parse(&fs::read_to_string(path).unwrap_or_default());
    let host = read("/etc/resolv.conf");
    let stub: IpAddr = Ipv4Addr::new(127, 0, 0, 53).into();
    if host.servers == [stub] && Path::new(RESOLVED).exists() {
        return read(RESOLVED);
    }
    host
}
