//! What a container sees of the network, and what others see of it.

use std::net::IpAddr;

use clap::Args;

use crate::cli::value::{ValueError, csv, each, host_entry};
use crate::network::port::{self, PortRequest};
use crate::network::{DEFAULT, EndpointConfig, Link, NetworkConfig, NetworkMode, parse_mac};
use crate::options::HostEntry;
use crate::report::Report;

/// Options of the network.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Connect to a network: bridge, host, none, container:NAME, or one that was created; several
    /// of these may be given
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub network: Vec<String>,

    /// Another name on the networks
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,

    /// IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,

    /// IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,

    /// Address that is good on the network alone, such as 169.254.34.22
    #[arg(long, value_name = "ADDRESS")]
    pub link_local_ip: Vec<String>,

    /// Hardware address
    #[arg(long, value_name = "ADDRESS")]
    pub mac_address: Option<String>,

    /// Know another container by a name of one's own
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    pub link: Vec<String>,

    /// Publish ports on this machine
    #[arg(short, long, value_name = "[[IP:]PORT:]PORT[/PROTOCOL]")]
    pub publish: Vec<String>,

    /// Publish all exposed ports, each on a free one
    #[arg(short = 'P', long)]
    pub publish_all: bool,

    /// Say that the container listens on a port, as EXPOSE does
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub expose: Vec<String>,

    /// Add a line to /etc/hosts; host-gateway is this machine
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,

    /// Name servers
    #[arg(long, value_name = "IP")]
    pub dns: Vec<String>,

    /// Domains in which short names are looked for
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,

    /// Options of the resolver
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
}

impl NetworkArgs {
    /// Returns how the container is connected.
    pub fn resolve(&self) -> Result<NetworkConfig, Report> {
        let (mode, endpoints) = self.networks()?;
        let config = NetworkConfig {
            mode,
            endpoints,
            ports: each("--publish", &self.publish, publish)?.concat(),
            publish_all: self.publish_all,
            exposed: each("--expose", &self.expose, exposed)?.concat(),
            add_hosts: each("--add-host", &self.add_host, added_host)?,
            dns: each("--dns", &self.dns, address)?,
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            links: each("--link", &self.link, link)?,
        };
        self.check(&config)?;
        Ok(config)
    }

    /// Returns the mode and the networks; what is said of addresses and names is about the first.
    fn networks(&self) -> Result<(NetworkMode, Vec<EndpointConfig>), Report> {
        let mut endpoints = Vec::new();
        for text in &self.network {
            match parse_network(text).map_err(|error| error.report("--network", text))? {
                (NetworkMode::Bridge, endpoint) => endpoints.push(endpoint),
                (mode, _) if self.network.len() == 1 => return Ok((mode, Vec::new())),
                _ => {
                    let error = ValueError::new("it cannot be one of several networks");
                    return Err(error.report("--network", text));
                }
            }
        }
        if endpoints.is_empty() {
            endpoints.push(EndpointConfig::default_network());
        }
        let ips = [("--ip", &self.ip, true), ("--ip6", &self.ip6, false)];
        for (option, text, ipv4) in ips {
            let Some(text) = text else { continue };
            let ip = address(text).map_err(|error| error.report(option, text))?;
            if ip.is_ipv4() != ipv4 {
                let error = ValueError::new("it is an address of the other IP version");
                return Err(error.report(option, text));
            }
            endpoints[0].addresses.push(ip);
        }
        let link_local = each("--link-local-ip", &self.link_local_ip, address)?;
        endpoints[0].link_local.extend(link_local);
        if let Some(text) = &self.mac_address {
            if parse_mac(text).is_none() {
                let error = ValueError::new("it is no hardware address")
                    .hint("write it as 02:42:ac:11:00:02");
                return Err(error.report("--mac-address", text));
            }
            endpoints[0].mac = Some(text.clone());
        }
        endpoints[0]
            .aliases
            .extend(self.network_alias.iter().cloned());
        Ok((NetworkMode::Bridge, endpoints))
    }

    /// Refuses what has no meaning without a network of the container's own.
    fn check(&self, config: &NetworkConfig) -> Result<(), Report> {
        let shared = match &config.mode {
            NetworkMode::Bridge => return Ok(()),
            NetworkMode::Host => "host",
            NetworkMode::None => "none",
            NetworkMode::Container(_) => "container:NAME",
        };
        let of_container = matches!(config.mode, NetworkMode::Container(_));
        let refused = [
            ("--link", !config.links.is_empty()),
            ("--ip", self.ip.is_some() || self.ip6.is_some()),
            ("--network-alias", !self.network_alias.is_empty()),
            ("--link-local-ip", !self.link_local_ip.is_empty()),
            ("--publish", of_container && !config.ports.is_empty()),
            ("--dns", of_container && !config.dns.is_empty()),
            ("--add-host", of_container && !config.add_hosts.is_empty()),
        ];
        match refused.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Report::new(format!(
                "{option} has no meaning with --network={shared}"
            ))),
            None => Ok(()),
        }
    }
}

/// Parses a network's name, or `name=…,alias=…,ip=…,ip6=…,mac-address=…,gw-priority=…`.
pub(in crate::cli) fn parse_network(
    text: &str,
) -> Result<(NetworkMode, EndpointConfig), ValueError> {
    if let Some(name) = text.strip_prefix("container:") {
        if name.is_empty() {
            return Err(ValueError::new("no container").hint("write container:NAME"));
        }
        return Ok((
            NetworkMode::Container(name.to_owned()),
            EndpointConfig::default(),
        ));
    }
    let mut endpoint = EndpointConfig::default();
    if text.contains('=') {
        for field in csv(text)? {
            set_field(&mut endpoint, &field)?;
        }
    } else {
        text.clone_into(&mut endpoint.network);
    }
    let mode = match endpoint.network.as_str() {
        "" => return Err(ValueError::new("no network")),
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        "default" => {
            DEFAULT.clone_into(&mut endpoint.network);
            NetworkMode::Bridge
        }
        _ => NetworkMode::Bridge,
    };
    Ok((mode, endpoint))
}

/// Takes one `KEY=VALUE` of a network's long form.
fn set_field(endpoint: &mut EndpointConfig, field: &str) -> Result<(), ValueError> {
    let (key, value) = field.split_once('=').unwrap_or((field, ""));
    match key {
        "name" => value.clone_into(&mut endpoint.network),
        "alias" => endpoint.aliases.push(value.to_owned()),
        "ip" | "ip6" => endpoint.addresses.push(address(value)?),
        "mac-address" => endpoint.mac = Some(value.to_owned()),
        "gw-priority" => {
            endpoint.gw_priority = value
                .parse()
                .map_err(|_| ValueError::new(format!("{value:?} is no number")))?;
        }
        "link-local-ip" => endpoint.link_local.push(address(value)?),
        // Nothing here has such options.
        "driver-opt" => {}
        _ => {
            let known = ["name", "alias", "ip", "ip6", "mac-address", "gw-priority"];
            return Err(ValueError::unknown("key", key, &known));
        }
    }
    Ok(())
}

/// Parses an IP address.
pub(in crate::cli) fn address(text: &str) -> Result<IpAddr, ValueError> {
    text.parse()
        .map_err(|_| ValueError::new(format!("{text:?} is no IP address")))
}

/// Parses `CONTAINER[:ALIAS]`.
pub(in crate::cli) fn link(text: &str) -> Result<Link, ValueError> {
    let (container, alias) = text.split_once(':').unwrap_or((text, text));
    if container.is_empty() || alias.is_empty() {
        return Err(ValueError::new("a name is empty").hint("write CONTAINER:ALIAS"));
    }
    Ok(Link {
        container: container.to_owned(),
        alias: alias.to_owned(),
    })
}

fn publish(text: &str) -> Result<Vec<PortRequest>, ValueError> {
    port::parse(text).map_err(|error| {
        ValueError::new(error.to_string()).hint("write [[ADDRESS:]PORT:]PORT[/PROTOCOL]")
    })
}

/// Parses `HOST:IP`, in which this machine is an unspecified address: which one it is depends on
/// the network.
fn added_host(text: &str) -> Result<HostEntry, ValueError> {
    let gateway = text
        .strip_suffix("host-gateway")
        .filter(|rest| rest.ends_with([':', '=']));
    match gateway {
        Some(rest) => host_entry(&format!("{rest}0.0.0.0")),
        None => host_entry(text),
    }
}

/// Parses `PORT[-PORT][/PROTOCOL]` into one `PORT/PROTOCOL` for each port.
fn exposed(text: &str) -> Result<Vec<String>, ValueError> {
    if text.contains(':') {
        return Err(ValueError::new("it names a port of the host").hint("--publish does that"));
    }
    let ports = publish(text)?;
    Ok(ports
        .iter()
        .map(|port| format!("{}/{}", port.port, port.protocol))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_ranges_and_protocols() {
        for (text, expected) in [
            ("80", Some(vec!["80/tcp"])),
            ("53/UDP", Some(vec!["53/udp"])),
            ("7000-7001/tcp", Some(vec!["7000/tcp", "7001/tcp"])),
            ("0", None),
            ("81-80", None),
            ("80/icmp", None),
            ("80:80", None),
        ] {
            let expected = expected.map(|ports| ports.into_iter().map(str::to_owned).collect());
            assert_eq!(exposed(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn networks_have_a_short_and_a_long_form() {
        let args = |networks: &[&str]| NetworkArgs {
            network: networks.iter().map(ToString::to_string).collect(),
            ..NetworkArgs::default()
        };
        let config = args(&[]).resolve().expect("valid");
        assert_eq!(config, NetworkConfig::bridge());
        let config = args(&["a", "name=b,alias=x,alias=y,ip=10.0.0.9"]).resolve();
        let endpoints = config.expect("valid").endpoints;
        let names: Vec<_> = endpoints.iter().map(|end| end.network.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(endpoints[1].aliases, ["x", "y"]);
        assert_eq!(endpoints[1].addresses, [IpAddr::from([10, 0, 0, 9])]);
        let mode = |text| args(&[text]).resolve().map(|config| config.mode).ok();
        assert_eq!(mode("host"), Some(NetworkMode::Host));
        assert_eq!(
            mode("container:web"),
            Some(NetworkMode::Container("web".into()))
        );
        assert_eq!(mode("container:"), None);
        assert_eq!(mode("nome=b"), None);
        assert!(args(&["a", "host"]).resolve().is_err());
    }

    #[test]
    fn what_needs_a_network_of_its_own_says_so() {
        let args = NetworkArgs {
            network: vec!["host".into()],
            ip: Some("10.0.0.2".into()),
            ..NetworkArgs::default()
        };
        let report = args.resolve().expect_err("no meaning").render(false);
        assert!(
            report.contains("--ip has no meaning with --network=host"),
            "{report}"
        );
    }

    #[test]
    fn this_machine_has_a_name() {
        let entry = added_host("docker:host-gateway").expect("valid");
        assert!(entry.address.is_unspecified());
        assert_eq!(entry.name, "docker");
        assert!(added_host("x=1.2.3.4").is_ok());
    }
}
