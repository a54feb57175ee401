//! Networks as they are written down.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cooper_runner::network::Mac;
use serde::{Deserialize, Serialize};

use super::config::Link;
use super::port::Published;
use super::subnet::Subnet;

/// The network that containers are in unless asked otherwise.
pub const DEFAULT: &str = "bridge";

/// A network as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its ID, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// What carries it: `bridge`, or `host` and `null` for those that are always there.
    pub driver: String,
    /// Its addresses; at least one subnet of each IP version that it has.
    pub subnets: Vec<Range>,
    /// Whether it leads nowhere else.
    #[serde(default)]
    pub internal: bool,
    /// Whether `--ipv6` was given.
    #[serde(default)]
    pub ipv6: bool,
    /// Whether `--attachable` was given; every network is.
    #[serde(default)]
    pub attachable: bool,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Options of the driver, as given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Addresses that containers get only if they are asked for, by what has them.
    #[serde(default)]
    pub reserved: BTreeMap<String, IpAddr>,
    /// The bridge's interface.
    pub interface: String,
}

impl Network {
    /// Tells whether containers find each other by name on it: on all but the default one.
    pub fn resolves_names(&self) -> bool {
        self.name != DEFAULT
    }

    /// Returns the greatest length of a packet, if it was given.
    pub fn mtu(&self) -> Option<u32> {
        self.options
            .get("com.docker.network.driver.mtu")?
            .parse()
            .ok()
    }

    /// Tells whether containers on it are kept apart from each other.
    pub fn isolated(&self) -> bool {
        self.options
            .get("com.docker.network.bridge.enable_icc")
            .is_some_and(|value| value == "false")
    }

    /// Tells whether what leaves it gets this machine's address.
    pub fn masquerades(&self) -> bool {
        self.options
            .get("com.docker.network.bridge.enable_ip_masquerade")
            .is_none_or(|value| value != "false")
    }

    /// Returns the address of this machine where ports are published that name none.
    pub fn publishes_at(&self) -> Option<IpAddr> {
        self.options
            .get("com.docker.network.bridge.host_binding_ipv4")?
            .parse()
            .ok()
    }

    /// Returns the gateway of one IP version.
    pub fn gateway(&self, ipv4: bool) -> Option<IpAddr> {
        let range = self
            .subnets
            .iter()
            .find(|range| range.subnet.is_ipv4() == ipv4);
        range.map(|range| range.gateway)
    }
}

/// The addresses of a network, or some of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "docker's words: a subnet, its range, its gateway"
)]
pub struct Range {
    /// All of them.
    pub subnet: Subnet,
    /// Those that containers get without asking; all when absent.
    #[serde(default)]
    pub range: Option<Subnet>,
    /// That of the bridge.
    pub gateway: IpAddr,
}

/// What a new network is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// When it is made, RFC 3339.
    pub created: String,
    /// What carries it.
    pub driver: String,
    /// Subnets asked for.
    pub subnets: Vec<Subnet>,
    /// Gateways asked for, each in a subnet.
    pub gateways: Vec<IpAddr>,
    /// Ranges asked for, each in a subnet.
    pub ranges: Vec<Subnet>,
    /// See [`Network::reserved`].
    pub reserved: BTreeMap<String, IpAddr>,
    /// See [`Network::internal`].
    pub internal: bool,
    /// See [`Network::ipv6`].
    pub ipv6: bool,
    /// See [`Network::attachable`].
    pub attachable: bool,
    /// See [`Network::labels`].
    pub labels: BTreeMap<String, String>,
    /// See [`Network::options`].
    pub options: BTreeMap<String, String>,
}

/// A running container's place in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its ID, 64 hexadecimal digits.
    pub id: String,
    /// The network's ID.
    pub network: String,
    /// The container's ID.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// Its addresses, at most one of each IP version.
    pub addresses: Vec<IpAddr>,
    /// Its hardware address.
    #[serde(with = "mac")]
    pub mac: Mac,
    /// What else it is called on this network.
    pub aliases: Vec<String>,
    /// The host's half of its interfaces.
    pub interface: String,
    /// The container's half.
    pub inner: String,
    /// Which of several endpoints leads outside: the one with the highest.
    #[serde(default)]
    pub gw_priority: i32,
    /// Ports that are published through this endpoint.
    #[serde(default)]
    pub ports: Vec<Published>,
    /// Addresses that are good on this network alone.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Names that only this container has for others, besides those it was made with.
    #[serde(default)]
    pub links: Vec<Link>,
}

impl Endpoint {
    /// Returns the address of one IP version.
    pub fn address(&self, ipv4: bool) -> Option<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(|ip| ip.is_ipv4() == ipv4)
    }

    /// Tells whether the endpoint answers to `name` on its network.
    pub fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || self.container.get(..12) == Some(name)
            || self
                .aliases
                .iter()
                .any(|alias| alias.eq_ignore_ascii_case(name))
    }
}

/// A hardware address in JSON is a text.
mod mac {
    use cooper_runner::network::Mac;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands fields over by reference"
    )]
    pub(super) fn serialize<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
        mac.to_string().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_mac(&text).ok_or_else(|| serde::de::Error::custom("no hardware address"))
    }
}

/// Parses `02:42:ac:11:00:02`.
pub fn parse_mac(text: &str) -> Option<Mac> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| {
            u8::from_str_radix(byte, 16)
                .ok()
                .filter(|_| byte.len() == 2)
        })
        .collect::<Option<_>>()?;
    bytes.try_into().ok().map(Mac)
}
