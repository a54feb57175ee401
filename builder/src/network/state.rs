//! The networks of a store on disk, and who is connected.
//!
//! ```text
//! <root>/networks/lock               held by whoever changes anything below
//!                 <id>.json          a network; replaced by rename
//!                 endpoints.json     who is connected since the machine was started
//!                 held/<container>   locked by the process that keeps a container connected
//! ```
//!
//! An endpoint counts as long as its container's file below `held` is locked, that is as long as
//! the process lives that keeps it: what a killed process left is taken away by the next one that
//! takes the lock. Packet rules are a function of what is written here, and are written anew when
//! that changes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cooper_oci::Digest;
use cooper_runner::network::{Links, Mac, Table};
use cooper_runner::rootless::Shared;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::bridge::{self, Ground};
use super::error::NetworkError;
use super::orphans;
use super::record::{DEFAULT, Endpoint, Network, NewNetwork, Range};
use super::rules;
use super::subnet::{self, Subnet};
use super::user;
use crate::events::{Event, Journal, Kind};

/// The networks of a store.
#[derive(Clone, Debug)]
pub struct Networks {
    dir: PathBuf,
    /// The namespace that the bridges are in; the machine's own when absent.
    shared: Option<Shared>,
}

/// The networks while nobody else changes them.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    networks: &'a Networks,
    pub(super) endpoints: Vec<Endpoint>,
    /// The rules in force, as they were last written.
    rules: String,
    _lock: File,
}

/// `endpoints.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Connected {
    /// The start of the machine that this is about.
    boot: String,
    rules: String,
    endpoints: Vec<Endpoint>,
}

impl Networks {
    /// Returns the networks of the store at `root`; `rootless` tells whether this process is root
    /// in a user namespace only.
    pub fn of(root: &Path, rootless: bool) -> Self {
        Self {
            dir: root.join("networks"),
            shared: rootless.then(|| Shared::at(user::shared(root))),
        }
    }

    /// Returns the networks that are kept in `dir`, to be read.
    pub(super) fn at(dir: PathBuf) -> Self {
        Self { dir, shared: None }
    }

    /// Returns the directory that they are kept in.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the namespace that the bridges are in, unless that is the machine's own.
    pub(super) fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// Returns what bridges are made on.
    pub(super) fn ground(&self) -> Ground<'_> {
        match self.shared {
            Some(_) => Ground::User,
            None => Ground::Machine(&self.dir),
        }
    }

    /// Runs `work` on a thread that is in the namespace of the bridges.
    pub(super) fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, NetworkError> + Send,
    ) -> Result<T, NetworkError> {
        match &self.shared {
            Some(shared) => user::inside(shared, work),
            None => work(),
        }
    }

    /// Returns all networks: those that are always there, then the others by name.
    pub fn list(&self) -> Result<Vec<Network>, NetworkError> {
        let mut made = self.made()?;
        if !made.iter().any(|network| network.name == DEFAULT) {
            made.push(fixed(DEFAULT, "bridge"));
        }
        made.extend([fixed("host", "host"), fixed("none", "null")]);
        made.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(made)
    }

    /// Returns the network that `name` (a name, an ID or the start of one) means.
    pub fn find(&self, name: &str) -> Result<Network, NetworkError> {
        let all = self.list()?;
        let matching = |exact: bool| {
            let mut found = all.iter().filter(|network| {
                let by_id = !name.is_empty() && network.id.starts_with(name);
                if exact { network.name == name } else { by_id }
            });
            found.next().filter(|_| found.next().is_none()).cloned()
        };
        matching(true)
            .or_else(|| matching(false))
            .ok_or_else(|| NetworkError::Missing {
                name: name.to_owned(),
                known: all.iter().map(|network| network.name.clone()).collect(),
            })
    }

    /// Returns who is connected now.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints = self.connected().endpoints;
        endpoints.retain(|endpoint| self.is_held(&endpoint.container));
        endpoints
    }

    /// Takes away what dead processes left.
    pub fn sweep(&self) -> Result<(), NetworkError> {
        if self.connected().endpoints.is_empty() {
            return Ok(());
        }
        let mut locked = self.lock()?;
        self.inside(|| locked.apply())
    }

    /// Makes a network.
    pub fn create(&self, new: &NewNetwork) -> Result<Network, NetworkError> {
        if new.driver != "bridge" {
            return Err(NetworkError::Driver {
                name: new.driver.clone(),
            });
        }
        check_name(&new.name)?;
        let _lock = self.lock()?;
        let known = self.list()?;
        if known.iter().any(|network| network.name == new.name) {
            return Err(NetworkError::NameTaken {
                name: new.name.clone(),
            });
        }
        let network = self.make(new, &known)?;
        self.tell(&network.id, "create", None);
        Ok(network)
    }

    /// Writes down that networks were pruned.
    pub fn tell_pruned(&self) {
        if let Some(root) = self.dir.parent() {
            Journal::of(root).tell_pruned(Kind::Network, 0);
        }
    }

    /// Writes down what happened to a network, and to which container on it.
    pub(super) fn tell(&self, id: &str, action: &str, container: Option<&str>) {
        let Some(root) = self.dir.parent() else {
            return;
        };
        let known = self.list().unwrap_or_default();
        let mut event = Event::new(Kind::Network, action, id);
        if let Some(network) = known.iter().find(|network| network.id == id) {
            event = event
                .with("name", network.name.as_str())
                .with("type", network.driver.as_str());
        }
        if let Some(container) = container {
            event = event.with("container", container);
        }
        Journal::of(root).write(&event);
    }

    fn make(&self, new: &NewNetwork, known: &[Network]) -> Result<Network, NetworkError> {
        let id = random_id().map_err(NetworkError::io("read", Path::new("/dev/urandom")))?;
        if self.shared.is_none() {
            orphans::sweep();
        }
        // Stores know nothing of each other, and no two may choose the same subnet.
        let mut used = used_subnets()?;
        if self.shared.is_some() {
            user::check(&new.subnets)?;
        }
        self.inside(|| {
            let _host = cooper_runner::network::lock()
                .map_err(NetworkError::kernel("lock the network namespace"))?;
            if self.shared.is_some() {
                used.push(user::own_subnet());
                used.extend(used_subnets()?);
            }
            self.make_there(new, id, known, &used)
        })
    }

    fn make_there(
        &self,
        new: &NewNetwork,
        id: String,
        known: &[Network],
        used: &[Subnet],
    ) -> Result<Network, NetworkError> {
        let subnets = ranges(new, &id, known, used)?;
        let interface = self.interface(new, &id);
        let network = Network {
            id,
            name: new.name.clone(),
            created: new.created.clone(),
            driver: new.driver.clone(),
            subnets,
            internal: new.internal,
            ipv6: new.ipv6,
            attachable: new.attachable,
            labels: new.labels.clone(),
            options: new.options.clone(),
            reserved: new.reserved.clone(),
            interface,
        };
        self.write(&format!("{}.json", network.id), &network)?;
        bridge::ensure(&network, self.ground())?;
        Ok(network)
    }

    /// Returns the name of the bridge of a new network: the default network of the system's store
    /// has one that is known, the others' are made from their IDs.
    fn interface(&self, new: &NewNetwork, id: &str) -> String {
        if let Some(name) = new.options.get("com.docker.network.bridge.name") {
            return name.clone();
        }
        if new.name == DEFAULT && self.dir == Path::new("/var/lib/cooper/networks") {
            return "cooper0".to_owned();
        }
        format!("{}{}", orphans::PREFIX, &id[..12])
    }

    /// Returns the network called `name`, the default one made if it is not there yet.
    pub(super) fn ensure(&self, name: &str, now: &str) -> Result<Network, NetworkError> {
        let network = self.find(name)?;
        if network.driver != "bridge" || !network.subnets.is_empty() {
            return Ok(network);
        }
        let new = NewNetwork {
            name: DEFAULT.to_owned(),
            created: now.to_owned(),
            driver: "bridge".to_owned(),
            ..NewNetwork::default()
        };
        self.make(&new, &self.made()?)
    }

    /// Removes a network that nobody is connected to.
    pub fn remove(&self, network: &Network) -> Result<(), NetworkError> {
        if matches!(network.name.as_str(), DEFAULT | "host" | "none") {
            return Err(NetworkError::Predefined {
                name: network.name.clone(),
                action: "removed",
            });
        }
        let mut locked = self.lock()?;
        let containers: Vec<_> = locked
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.network == network.id)
            .map(|endpoint| endpoint.name.clone())
            .collect();
        if !containers.is_empty() {
            return Err(NetworkError::InUse {
                name: network.name.clone(),
                containers,
            });
        }
        let path = self.dir.join(format!("{}.json", network.id));
        self.tell(&network.id, "destroy", None);
        fs::remove_file(&path).map_err(NetworkError::io("remove", &path))?;
        self.inside(|| {
            Links::open()
                .and_then(|mut links| links.delete(&network.interface))
                .map_err(NetworkError::kernel(format!(
                    "remove bridge {}",
                    network.interface
                )))?;
            locked.apply()
        })
    }

    /// Takes the lock, and takes away what dead processes left.
    pub(super) fn lock(&self) -> Result<Locked<'_>, NetworkError> {
        let held = self.dir.join("held");
        fs::create_dir_all(&held).map_err(NetworkError::io("create", &held))?;
        let lock = open_lock(&self.dir.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|errno| NetworkError::io("lock", &self.dir)(errno.into()))?;
        let Connected {
            rules,
            mut endpoints,
            ..
        } = self.connected();
        let before = endpoints.len();
        endpoints.retain(|endpoint| {
            let live = self.is_held(&endpoint.container);
            if !live {
                let _ = fs::remove_file(held.join(&endpoint.container));
            }
            live
        });
        let locked = Locked {
            networks: self,
            rules,
            endpoints,
            _lock: lock,
        };
        if locked.endpoints.len() != before {
            locked.write()?;
        }
        Ok(locked)
    }

    /// Returns the file that is locked as long as a container is connected.
    pub(super) fn held(&self, container: &str) -> PathBuf {
        self.dir.join("held").join(container)
    }

    /// Marks a container as connected for as long as the file is open.
    pub(super) fn hold(&self, container: &str) -> Result<File, NetworkError> {
        let path = self.held(container);
        let file = open_lock(&path)?;
        // Who looks whether it is held holds it for an instant.
        let mut attempts = 0;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK) if attempts < 100 => {
                    attempts += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(errno) => return Err(NetworkError::io("lock", &path)(errno.into())),
            }
        }
    }

    pub(super) fn release(&self, container: &str) {
        // Nothing depends on its being gone.
        let _ = fs::remove_file(self.held(container));
    }

    /// Tells whether a process keeps the container connected.
    pub(super) fn is_held(&self, container: &str) -> bool {
        let Ok(file) = File::open(self.held(container)) else {
            return false;
        };
        flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }

    fn made(&self) -> Result<Vec<Network>, NetworkError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(NetworkError::io("list", &self.dir))?,
        };
        let mut networks = Vec::new();
        for entry in entries {
            let path = entry.map_err(NetworkError::io("list", &self.dir))?.path();
            let is_record = path
                .extension()
                .is_some_and(|extension| extension == "json")
                && path.file_stem().is_some_and(|stem| stem.len() == 64);
            if is_record {
                networks.extend(read::<Network>(&path)?);
            }
        }
        Ok(networks)
    }

    fn connected(&self) -> Connected {
        let path = self.dir.join("endpoints.json");
        // Nothing of before the machine was started is connected; and what a power failure cut
        // short is of before.
        let connected = read::<Connected>(&path).ok().flatten().unwrap_or_default();
        if connected.boot == boot_id() {
            return connected;
        }
        Connected::default()
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), NetworkError> {
        let (path, new) = (self.dir.join(name), self.dir.join(format!("{name}.new")));
        fs::create_dir_all(&self.dir).map_err(NetworkError::io("create", &self.dir))?;
        let bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
        fs::write(&new, bytes).map_err(NetworkError::io("write", &new))?;
        fs::rename(&new, &path).map_err(NetworkError::io("write", &path))
    }
}

impl Locked<'_> {
    /// Writes down who is connected, and makes the rules what follows from it.
    pub(super) fn apply(&mut self) -> Result<(), NetworkError> {
        let name = table_of(&self.networks.dir);
        let networks: Vec<_> = self.networks.made()?;
        let table = rules::table(&name, &networks, &self.endpoints);
        let digest = Digest::sha256(format!("{table:?}")).hex().to_owned();
        let failed = || NetworkError::kernel("set packet rules");
        // Another program may have flushed everything.
        if digest != self.rules || !Table::exists(&name).map_err(failed())? {
            table.replace().map_err(failed())?;
            self.rules = digest;
        }
        self.write()
    }

    pub(super) fn write(&self) -> Result<(), NetworkError> {
        let connected = Connected {
            boot: boot_id(),
            rules: self.rules.clone(),
            endpoints: self.endpoints.clone(),
        };
        self.networks.write("endpoints.json", &connected)
    }

    /// Returns addresses for a new endpoint: `wanted`, and free ones for the IP versions that
    /// nothing was asked for.
    pub(super) fn addresses(
        &self,
        network: &Network,
        wanted: &[IpAddr],
    ) -> Result<Vec<IpAddr>, NetworkError> {
        let mut taken: Vec<IpAddr> = network.subnets.iter().map(|range| range.gateway).collect();
        let here = self
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.network == network.id);
        taken.extend(here.flat_map(|endpoint| endpoint.addresses.iter().copied()));
        let mut addresses = Vec::new();
        for &ip in wanted {
            if !network
                .subnets
                .iter()
                .any(|range| range.subnet.contains(ip))
            {
                let network = network.name.clone();
                return Err(NetworkError::Outside { ip, network });
            }
            if taken.contains(&ip) {
                let network = network.name.clone();
                return Err(NetworkError::AddressTaken { ip, network });
            }
            addresses.push(ip);
        }
        taken.extend(network.reserved.values());
        for ipv4 in [true, false] {
            let mut ranges = network
                .subnets
                .iter()
                .filter(|range| range.subnet.is_ipv4() == ipv4)
                .peekable();
            let Some(first) = ranges.peek().map(|range| range.subnet) else {
                continue;
            };
            if addresses.iter().any(|ip| ip.is_ipv4() == ipv4) {
                continue;
            }
            let free = ranges.find_map(|range| range.subnet.free(range.range, &taken));
            addresses.push(free.ok_or_else(|| NetworkError::Full {
                network: network.name.clone(),
                subnet: first,
            })?);
        }
        Ok(addresses)
    }
}

/// Returns the hardware address that goes with an IP address, as docker makes it: what talked to
/// an earlier owner of the IP address need not learn a new one.
pub(super) fn mac_of(ip: IpAddr) -> Mac {
    let bytes = match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let bytes = ip.octets();
            [bytes[12], bytes[13], bytes[14], bytes[15]]
        }
    };
    Mac([2, 0x42, bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Returns the subnets of a new network. `used` are those that others have, of which none is chosen.
fn ranges(
    new: &NewNetwork,
    id: &str,
    known: &[Network],
    used: &[Subnet],
) -> Result<Vec<Range>, NetworkError> {
    let mut subnets = new.subnets.clone();
    for (index, subnet) in subnets.iter().enumerate() {
        let owner = |network: &&Network| {
            let mut ranges = network.subnets.iter();
            ranges.any(|range| range.subnet.overlaps(*subnet))
        };
        let other = known
            .iter()
            .find(owner)
            .map(|network| format!("network {}", network.name));
        let own = subnets[..index]
            .iter()
            .find(|other| other.overlaps(*subnet));
        if let Some(other) = other.or_else(|| own.map(|other| format!("subnet {other}"))) {
            return Err(NetworkError::Overlap {
                subnet: *subnet,
                other,
            });
        }
    }
    if !subnets.iter().any(|subnet| subnet.is_ipv4()) {
        subnets.insert(0, free_subnet(known, used)?);
    }
    if new.ipv6 && subnets.iter().all(|subnet| subnet.is_ipv4()) {
        subnets.push(subnet::unique_local(id));
    }
    let mut ranges: Vec<_> = subnets
        .into_iter()
        .map(|subnet| Range {
            subnet,
            range: None,
            gateway: subnet.first(),
        })
        .collect();
    for gateway in &new.gateways {
        let range = ranges
            .iter_mut()
            .find(|range| range.subnet.contains(*gateway));
        range.ok_or_else(|| not_in("gateway", gateway))?.gateway = *gateway;
    }
    for address in new.reserved.values() {
        let mut inside = ranges.iter();
        if !inside.any(|range| range.subnet.contains(*address)) {
            return Err(not_in("auxiliary address", address));
        }
    }
    for part in &new.ranges {
        let inside = |range: &&mut Range| {
            range.subnet.overlaps(*part) && range.subnet.prefix() <= part.prefix()
        };
        let range = ranges.iter_mut().find(inside);
        range.ok_or_else(|| not_in("range", part))?.range = Some(*part);
    }
    Ok(ranges)
}

fn not_in(what: &'static str, value: &dyn ToString) -> NetworkError {
    NetworkError::NotInSubnet {
        what,
        value: value.to_string(),
    }
}

/// Returns the subnets that the machine uses, or the namespace of the calling thread.
/// Returns the name of the table of rules of the networks in `dir`, which no other store has.
pub(super) fn table_of(dir: &Path) -> String {
    if dir == Path::new("/var/lib/cooper/networks") {
        return "cooper".to_owned();
    }
    let digest = Digest::sha256(dir.as_os_str().as_encoded_bytes());
    format!("cooper_{}", digest.short())
}

fn used_subnets() -> Result<Vec<Subnet>, NetworkError> {
    let used = Links::open().and_then(|mut links| links.subnets());
    let used = used.map_err(NetworkError::kernel(
        "list the subnets that this machine uses",
    ))?;
    let subnets = used.into_iter();
    Ok(subnets
        .map(|address| Subnet::around(address.ip, address.prefix))
        .collect())
}

/// Returns a subnet of the pool that neither a network has nor anything in `used`.
fn free_subnet(known: &[Network], used: &[Subnet]) -> Result<Subnet, NetworkError> {
    let ours = known.iter().flat_map(|network| &network.subnets);
    let used: Vec<_> = ours
        .map(|range| range.subnet)
        .chain(used.iter().copied())
        .collect();
    subnet::pool()
        .find(|candidate| !used.iter().any(|used| used.overlaps(*candidate)))
        .ok_or(NetworkError::NoSubnet)
}

/// Returns one of the networks that are always there; the default one before its first use.
fn fixed(name: &str, driver: &str) -> Network {
    Network {
        id: Digest::sha256(name).hex().to_owned(),
        name: name.to_owned(),
        created: String::new(),
        driver: driver.to_owned(),
        subnets: Vec::new(),
        internal: false,
        ipv6: false,
        attachable: false,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
        reserved: BTreeMap::new(),
        interface: String::new(),
    }
}

fn check_name(name: &str) -> Result<(), NetworkError> {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let starts = name
        .as_bytes()
        .first()
        .is_some_and(u8::is_ascii_alphanumeric);
    if starts && name.bytes().all(rest) {
        return Ok(());
    }
    Err(NetworkError::InvalidName {
        name: name.to_owned(),
    })
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, NetworkError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| NetworkError::io("understand", path)(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NetworkError::io("read", path)(error)),
    }
}

fn open_lock(path: &Path) -> Result<File, NetworkError> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(NetworkError::io("open", path))
}

/// Returns what tells this start of the machine from others.
fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

pub(super) fn random_id() -> io::Result<String> {
    crate::container::random_id()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> NewNetwork {
        NewNetwork {
            name: name.to_owned(),
            driver: "bridge".to_owned(),
            ..NewNetwork::default()
        }
    }

    fn subnet(text: &str) -> Subnet {
        text.parse().expect("valid")
    }

    #[test]
    fn subnets_gateways_and_ranges_go_together() {
        let wanted = NewNetwork {
            subnets: vec![subnet("10.5.0.0/16"), subnet("fd00:5::/64")],
            gateways: vec!["10.5.0.254".parse().expect("valid")],
            ranges: vec![subnet("10.5.1.0/24")],
            ..new("a")
        };
        let made = ranges(&wanted, "00", &[], &[]).expect("fits");
        let shown: Vec<_> = made
            .iter()
            .map(|range| {
                let part = range.range.map(|part| part.to_string());
                format!(
                    "{} {} {}",
                    range.subnet,
                    part.unwrap_or_default(),
                    range.gateway
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "10.5.0.0/16 10.5.1.0/24 10.5.0.254",
                "fd00:5::/64  fd00:5::1"
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut known = fixed("other", "bridge");
        known.subnets = ranges(
            &NewNetwork {
                subnets: vec![subnet("10.5.0.0/16")],
                ..new("other")
            },
            "00",
            &[],
            &[],
        )
        .expect("fits");
        let fails = |change: fn(&mut NewNetwork)| {
            let mut wanted = NewNetwork {
                subnets: vec![subnet("10.6.0.0/16")],
                ..new("a")
            };
            change(&mut wanted);
            ranges(&wanted, "00", std::slice::from_ref(&known), &[])
                .expect_err("does not fit")
                .to_string()
        };
        assert_eq!(
            fails(|new| new.subnets = vec![subnet("10.5.1.0/24")]),
            "subnet 10.5.1.0/24 overlaps with network other"
        );
        assert_eq!(
            fails(|new| new.subnets.push(subnet("10.6.1.0/24"))),
            "subnet 10.6.1.0/24 overlaps with subnet 10.6.0.0/16"
        );
        assert_eq!(
            fails(|new| new.gateways = vec!["10.7.0.1".parse().expect("valid")]),
            "gateway 10.7.0.1 is in none of the subnets"
        );
        assert_eq!(
            fails(|new| new.ranges = vec![subnet("10.0.0.0/8")]),
            "range 10.0.0.0/8 is in none of the subnets"
        );
    }
}
