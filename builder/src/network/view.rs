//! Networks and connections as docker shows them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::error::NetworkError;
use super::port::{self, Published};
use super::record::{Endpoint, Network};
use super::state::Networks;

impl Networks {
    /// Returns a network as `network inspect` shows it.
    pub fn inspect(&self, network: &Network) -> Value {
        let endpoints = self.endpoints();
        let here = endpoints
            .iter()
            .filter(|endpoint| endpoint.network == network.id);
        let containers: Map<String, Value> = here
            .map(|endpoint| (endpoint.container.clone(), member(network, endpoint)))
            .collect();
        let ranges = network.subnets.iter().map(|range| {
            let mut config = json!({"Subnet": range.subnet.to_string()});
            if let Some(part) = range.range {
                config["IPRange"] = part.to_string().into();
            }
            config["Gateway"] = range.gateway.to_string().into();
            let reserved = network.reserved.iter();
            let reserved: Map<_, _> = reserved
                .filter(|(_, address)| range.subnet.contains(**address))
                .map(|(name, address)| (name.clone(), address.to_string().into()))
                .collect();
            if !reserved.is_empty() {
                config["AuxiliaryAddresses"] = reserved.into();
            }
            config
        });
        let mut options = network.options.clone();
        if network.driver == "bridge" && !network.interface.is_empty() {
            let name = "com.docker.network.bridge.name".to_owned();
            options
                .entry(name)
                .or_insert_with(|| network.interface.clone());
        }
        json!({
            "Name": network.name,
            "Id": network.id,
            "Created": network.created,
            "Scope": "local",
            "Driver": network.driver,
            "EnableIPv4": true,
            "EnableIPv6": network.gateway(false).is_some(),
            "IPAM": {
                "Driver": "default",
                "Options": {},
                "Config": ranges.collect::<Vec<_>>(),
            },
            "Internal": network.internal,
            "Attachable": network.attachable,
            "Ingress": false,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": false,
            "Containers": containers,
            "Options": options,
            "Labels": network.labels,
        })
    }

    /// Returns the `NetworkSettings` of a container as `inspect` shows them; `exposed` are the
    /// ports that it says it listens on, as `PORT/PROTOCOL`.
    pub fn settings(&self, container: &str, exposed: &[String]) -> Result<Value, NetworkError> {
        let networks = self.list()?;
        let mut endpoints = self.endpoints();
        endpoints.retain(|endpoint| endpoint.container == container);
        let mut ports: BTreeMap<String, Value> = exposed
            .iter()
            .filter_map(|text| port::exposed(text))
            .map(|(port, protocol)| (format!("{port}/{protocol}"), Value::Null))
            .collect();
        for published in endpoints.iter().flat_map(|endpoint| &endpoint.ports) {
            let name = format!("{}/{}", published.port, published.protocol);
            let at = json!({
                "HostIp": published.host.ip().to_string(),
                "HostPort": published.host.port().to_string(),
            });
            match ports.entry(name).or_default() {
                Value::Array(places) => places.push(at),
                empty => *empty = json!([at]),
            }
        }
        let mut shown = Map::new();
        let mut first = json!({});
        for endpoint in &endpoints {
            let network = networks
                .iter()
                .find(|network| network.id == endpoint.network);
            if let Some(network) = network {
                let place = place(network, endpoint);
                if first["EndpointID"].is_null() {
                    first = place.clone();
                }
                shown.insert(network.name.clone(), place);
            }
        }
        let of_first = |key: &str, default: Value| match &first[key] {
            Value::Null => default,
            value => value.clone(),
        };
        Ok(json!({
            "Bridge": "",
            "SandboxID": container,
            "SandboxKey": "",
            "Ports": ports,
            "EndpointID": of_first("EndpointID", "".into()),
            "Gateway": of_first("Gateway", "".into()),
            "GlobalIPv6Address": of_first("GlobalIPv6Address", "".into()),
            "GlobalIPv6PrefixLen": of_first("GlobalIPv6PrefixLen", 0.into()),
            "IPAddress": of_first("IPAddress", "".into()),
            "IPPrefixLen": of_first("IPPrefixLen", 0.into()),
            "IPv6Gateway": of_first("IPv6Gateway", "".into()),
            "MacAddress": of_first("MacAddress", "".into()),
            "SecondaryIPAddresses": null,
            "SecondaryIPv6Addresses": null,
            "HairpinMode": false,
            "LinkLocalIPv6Address": "",
            "LinkLocalIPv6PrefixLen": 0,
            "Networks": shown,
        }))
    }

    /// Returns the published ports of the running container.
    pub fn published(&self, container: &str) -> Vec<Published> {
        let mut endpoints = self.endpoints();
        endpoints.retain(|endpoint| endpoint.container == container);
        endpoints
            .into_iter()
            .flat_map(|endpoint| endpoint.ports)
            .collect()
    }
}

/// Returns ports as a column of `ps` shows them: `0.0.0.0:8080->80/tcp`, and those that are not
/// published by themselves.
pub fn column(published: &[Published], exposed: &[String]) -> String {
    let mut shown: Vec<String> = published
        .iter()
        .map(|port| format!("{}->{}/{}", port.host, port.port, port.protocol))
        .collect();
    let hidden = exposed.iter().filter_map(|text| port::exposed(text));
    let hidden = hidden.filter(|(port, protocol)| {
        let same = |other: &Published| other.port == *port && other.protocol == *protocol;
        !published.iter().any(same)
    });
    shown.extend(hidden.map(|(port, protocol)| format!("{port}/{protocol}")));
    shown.join(", ")
}

fn with_prefix(network: &Network, endpoint: &Endpoint, ipv4: bool) -> String {
    let ip = endpoint.address(ipv4);
    ip.map(|ip| format!("{ip}/{}", prefix(network, ipv4)))
        .unwrap_or_default()
}

fn prefix(network: &Network, ipv4: bool) -> u8 {
    let range = network
        .subnets
        .iter()
        .find(|range| range.subnet.is_ipv4() == ipv4);
    range.map_or(0, |range| range.subnet.prefix())
}

/// Returns a container as `network inspect` shows it.
fn member(network: &Network, endpoint: &Endpoint) -> Value {
    json!({
        "Name": endpoint.name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac.to_string(),
        "IPv4Address": with_prefix(network, endpoint, true),
        "IPv6Address": with_prefix(network, endpoint, false),
    })
}

/// Returns a network as `inspect` of a container shows it.
fn place(network: &Network, endpoint: &Endpoint) -> Value {
    let text = |ip: Option<std::net::IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    let mut names = vec![endpoint.name.clone()];
    names.extend(endpoint.aliases.iter().cloned());
    names.extend(endpoint.container.get(..12).map(str::to_owned));
    json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": endpoint.aliases,
        "MacAddress": endpoint.mac.to_string(),
        "DriverOpts": null,
        "NetworkID": network.id,
        "EndpointID": endpoint.id,
        "Gateway": text(network.gateway(true)),
        "IPAddress": text(endpoint.address(true)),
        "IPPrefixLen": if endpoint.address(true).is_some() { prefix(network, true) } else { 0 },
        "IPv6Gateway": text(network.gateway(false)),
        "GlobalIPv6Address": text(endpoint.address(false)),
        "GlobalIPv6PrefixLen": if endpoint.address(false).is_some() { prefix(network, false) } else { 0 },
        "DNSNames": if network.resolves_names() { names } else { Vec::new() },
    })
}

#[cfg(test)]
mod tests {
    use super::super::port::Protocol;
    use super::*;

    #[test]
    fn the_column_shows_what_is_published_and_what_is_not() {
        let published = |host: &str, port| Published {
            host: host.parse().expect("valid"),
            port,
            protocol: Protocol::Tcp,
        };
        let ports = [published("0.0.0.0:8080", 80), published("[::]:8080", 80)];
        let exposed = [
            "80/tcp".to_owned(),
            "443/tcp".to_owned(),
            "80/udp".to_owned(),
        ];
        assert_eq!(
            column(&ports, &exposed),
            "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 443/tcp, 80/udp"
        );
        assert_eq!(column(&[], &[]), "");
    }
}
