//! `cooper network connect` and `disconnect`, and `cooper port`: networks of containers that
//! exist.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::failed;
use crate::cli::Settings;
use crate::cli::run::{address, link};
use crate::cli::session::Session;
use crate::cli::value::{ValueError, each};
use crate::container::connect::rewrite_resolv_conf;
use crate::container::{Containers, Found};
use crate::network::port::{self, Protocol};
use crate::network::{EndpointConfig, Guest, NetworkError, NetworkMode, Networks};
use crate::report::{Report, print_data};

/// Options of `cooper network connect`.
#[derive(Args, Clone, Debug)]
pub struct ConnectArgs {
    /// The network, by name or ID
    pub network: String,

    /// The container, by name or ID
    pub container: String,

    /// Another name on the network
    #[arg(long, value_name = "NAME")]
    pub alias: Vec<String>,

    /// IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,

    /// IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,

    /// Lead outside through the network with the highest of these; 0 unless said otherwise
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    pub gw_priority: i32,

    /// Address that is good on the network alone, such as 169.254.34.22
    #[arg(long, value_name = "ADDRESS")]
    pub link_local_ip: Vec<String>,

    /// Know another container by a name of one's own
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    pub link: Vec<String>,
}

/// Options of `cooper network disconnect`.
#[derive(Args, Clone, Debug)]
pub struct DisconnectArgs {
    /// The network, by name or ID
    pub network: String,

    /// The container, by name or ID
    pub container: String,

    /// Be content where it is not connected
    #[arg(short, long)]
    pub force: bool,
}

/// Options of `cooper port`.
#[derive(Args, Clone, Debug)]
pub struct PortArgs {
    /// The container, by name or ID
    pub container: String,

    /// Only where this port of the container is published
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub port: Option<String>,
}

fn network_failed(error: &NetworkError) -> Report {
    let report = Report::from_error(error);
    match error.hint() {
        Some(hint) => report.hint(hint),
        None => report,
    }
}

/// Opens the store and finds a container in it.
fn found(
    settings: &Settings,
    name: &str,
) -> Result<(Session, Containers, Networks, Found), Report> {
    let session = Session::open(settings)?;
    let containers = Containers::of(session.store.root());
    let networks = Networks::of(session.store.root(), session.rootless);
    let found = containers.one(name).map_err(|error| failed(&error))?;
    Ok((session, containers, networks, found))
}

/// Returns the network namespace of a running container.
fn namespace(found: &Found) -> PathBuf {
    Path::new("/proc")
        .join(found.state.pid.to_string())
        .join("ns/net")
}

/// Refuses to change the networks of a container that has none of its own.
fn check_mode(found: &Found) -> Result<(), Report> {
    if found.container.config.network.mode == NetworkMode::Bridge {
        return Ok(());
    }
    let name = &found.container.name;
    Err(
        Report::new(format!("container {name} has no networks of its own"))
            .hint("it was made with --network=host, none or container:NAME"),
    )
}

impl ConnectArgs {
    /// Connects the container now, if it runs, and from its next start on.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let (_session, containers, networks, found) = found(settings, &self.container)?;
        check_mode(&found)?;
        let network = networks
            .find(&self.network)
            .map_err(|error| network_failed(&error))?;
        let ips = [("--ip", &self.ip), ("--ip6", &self.ip6)];
        let mut addresses = Vec::new();
        for (option, text) in ips {
            if let Some(text) = text {
                addresses.push(address(text).map_err(|error| error.report(option, text))?);
            }
        }
        let wanted = EndpointConfig {
            network: network.name,
            addresses,
            aliases: self.alias.clone(),
            mac: None,
            gw_priority: self.gw_priority,
            link_local: each("--link-local-ip", &self.link_local_ip, address)?,
        };
        let links = each("--link", &self.link, link)?;
        let mut container = found.container.clone();
        let config = &container.config.network;
        if config
            .endpoints
            .iter()
            .any(|own| own.network == wanted.network)
            && !found.is_active()
        {
            return Err(network_failed(&NetworkError::Connected {
                container: container.name,
                network: wanted.network,
            }));
        }
        if found.is_active() {
            let resolving = networks
                .connect(
                    &Guest {
                        id: &container.id,
                        name: &container.name,
                        hostname: &container.config.hostname(&container.id),
                        domain: container.config.domainname.as_deref(),
                        config,
                        exposed: &[],
                        now: &Timestamp::now().to_string(),
                    },
                    (&wanted, &links),
                    &namespace(&found),
                )
                .map_err(|error| network_failed(&error))?;
            if let Some(text) = resolving {
                rewrite_resolv_conf(&container, found.state.pid, &text).map_err(|error| {
                    Report::from_error(&error)
                        .context("cannot change the container's /etc/resolv.conf")
                })?;
            }
        }
        let config = &mut container.config.network;
        config.endpoints.retain(|own| own.network != wanted.network);
        config.endpoints.push(wanted);
        config.links.extend(links);
        containers
            .update(&container)
            .map_err(|error| failed(&error))
    }
}

impl DisconnectArgs {
    /// Disconnects the container now, if it runs, and for its next start.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let (_session, containers, networks, found) = found(settings, &self.container)?;
        check_mode(&found)?;
        let network = networks
            .find(&self.network)
            .map_err(|error| network_failed(&error))?;
        let mut container = found.container.clone();
        let endpoints = &mut container.config.network.endpoints;
        let before = endpoints.len();
        endpoints.retain(|own| own.network != network.name && own.network != network.id);
        let written = endpoints.len() != before;
        let disconnected = if found.is_active() {
            let (id, name) = (&container.id, &container.name);
            networks.disconnect(id, name, &network, &namespace(&found))
        } else if written {
            Ok(())
        } else {
            Err(NetworkError::NotConnected {
                container: container.name.clone(),
                network: network.name,
            })
        };
        match disconnected {
            Err(NetworkError::NotConnected { .. }) if self.force => {}
            result => result.map_err(|error| network_failed(&error))?,
        }
        containers
            .update(&container)
            .map_err(|error| failed(&error))
    }
}

impl PortArgs {
    /// Prints where the container's ports are published.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let wanted = self.port.as_deref().map(wanted_port).transpose()?;
        let (_session, _containers, networks, found) = found(settings, &self.container)?;
        let mut published = networks.published(&found.container.id);
        published.sort_by_key(|port| (port.port, port.protocol));
        let mut text = String::new();
        for port in &published {
            match wanted {
                None => {
                    let _ = writeln!(text, "{}/{} -> {}", port.port, port.protocol, port.host);
                }
                Some(wanted) if wanted == (port.port, port.protocol) => {
                    let _ = writeln!(text, "{}", port.host);
                }
                Some(_) => {}
            }
        }
        if let (Some((port, protocol)), true) = (wanted, text.is_empty()) {
            let name = &found.container.name;
            return Err(Report::new(format!(
                "port {port}/{protocol} of container {name} is not published"
            )));
        }
        print_data(&text)
    }
}

fn wanted_port(text: &str) -> Result<(u16, Protocol), Report> {
    port::exposed(text).ok_or_else(|| {
        ValueError::new(format!("{text:?} is no port"))
            .hint("write PORT[/PROTOCOL]")
            .report("PORT", text)
    })
}
