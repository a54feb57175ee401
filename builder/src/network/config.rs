//! How a container is to be connected: plain values, written down with the container.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::port::PortRequest;
use super::record::DEFAULT;
use crate::options::HostEntry;

/// How a container is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkConfig {
    /// Which network.
    pub mode: NetworkMode,
    /// The networks that it is connected to, the first one first.
    pub endpoints: Vec<EndpointConfig>,
    /// Ports to publish.
    pub ports: Vec<PortRequest>,
    /// Whether every port that it exposes is published.
    pub publish_all: bool,
    /// Ports that were named beyond the image's, as `PORT/PROTOCOL`.
    pub exposed: Vec<String>,
    /// Lines added to /etc/hosts; an unspecified address stands for this machine.
    pub add_hosts: Vec<HostEntry>,
    /// Name servers, in the place of this machine's.
    pub dns: Vec<IpAddr>,
    /// Domains in which short names are looked for.
    pub dns_search: Vec<String>,
    /// Options of the resolver.
    pub dns_options: Vec<String>,
    /// Other containers under names of this one's own.
    pub links: Vec<Link>,
}

/// Which network a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Networks with a bridge each.
    #[default]
    Bridge,
    /// The host's.
    Host,
    /// None but loopback.
    None,
    /// That of a container, by name or ID.
    Container(String),
}

/// One network that a container is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointConfig {
    /// The network, by name or ID.
    pub network: String,
    /// Addresses asked for.
    pub addresses: Vec<IpAddr>,
    /// What the container is called there.
    pub aliases: Vec<String>,
    /// The hardware address asked for, as written.
    pub mac: Option<String>,
    /// Which of several networks leads outside: the one with the highest.
    pub gw_priority: i32,
    /// Addresses that are good on this network alone.
    pub link_local: Vec<IpAddr>,
}

/// A `--link`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The other container, by name or ID.
    pub container: String,
    /// What it is called here.
    pub alias: String,
}

impl EndpointConfig {
    /// Returns a connection to the default network.
    pub fn default_network() -> Self {
        Self {
            network: DEFAULT.to_owned(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
impl NetworkConfig {
    /// Returns how a container is connected that nothing was said about.
    pub fn bridge() -> Self {
        Self {
            endpoints: vec![EndpointConfig::default_network()],
            ..Self::default()
        }
    }
}
