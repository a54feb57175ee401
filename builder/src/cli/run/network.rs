//! What a container sees of the network, and what others see of it.

use clap::Args;

use crate::cli::value::{ValueError, each, host_entry};
use crate::container::{NetworkConfig, NetworkMode};
use crate::report::Report;

/// Options of the network.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Network: host, none, or container:NAME
    #[arg(long, visible_alias = "net", value_name = "MODE")]
    pub network: Option<String>,

    /// Add a line to /etc/hosts
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,

    /// Say that the container listens on a port, as EXPOSE does
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub expose: Vec<String>,
}

impl NetworkArgs {
    /// Returns how the container is connected.
    pub fn resolve(&self) -> Result<NetworkConfig, Report> {
        Ok(NetworkConfig {
            mode: self.mode()?,
            add_hosts: each("--add-host", &self.add_host, host_entry)?,
            exposed: each("--expose", &self.expose, exposed)?.concat(),
        })
    }

    fn mode(&self) -> Result<NetworkMode, Report> {
        match self.network.as_deref() {
            None | Some("default" | "host") => Ok(NetworkMode::Host),
            Some("none") => Ok(NetworkMode::None),
            Some(other) => match other.strip_prefix("container:") {
                Some(name) if !name.is_empty() => Ok(NetworkMode::Container(name.to_owned())),
                _ => {
                    let known = ["host", "none", "container:NAME"];
                    let error = ValueError::unknown("network", other, &known);
                    Err(error.report("--network", other))
                }
            },
        }
    }
}

/// Parses `PORT[-PORT][/PROTOCOL]` into one `PORT/PROTOCOL` for each port.
fn exposed(text: &str) -> Result<Vec<String>, ValueError> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        let known = ["tcp", "udp", "sctp"];
        return Err(ValueError::unknown("protocol", &protocol, &known));
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(ValueError::new(format!("{text:?} is no port"))),
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(ValueError::new("the range ends before it begins"));
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
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
        ] {
            let expected = expected.map(|ports| ports.into_iter().map(str::to_owned).collect());
            assert_eq!(exposed(text).ok(), expected, "{text}");
        }
    }
}
