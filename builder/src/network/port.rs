//! Ports that are published. Pure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Returns its number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One port as `-p` asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    /// The address of this machine; all of them when absent.
    pub host_ip: Option<IpAddr>,
    /// The first and last port of this machine that will do; any free one when absent.
    pub host_ports: Option<(u16, u16)>,
    /// The container's port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// A port that is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Where this machine listens.
    pub host: SocketAddr,
    /// The container's port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// Why a text names no ports.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoPort {
    /// A part is no port and no range of ports.
    #[error("{text:?} is no port")]
    Port {
        /// The part.
        text: String,
    },
    /// The address is none.
    #[error("{text:?} is no IP address")]
    Address {
        /// The part.
        text: String,
    },
    /// The protocol is none of those there are.
    #[error("{text:?} is no protocol: known are tcp, udp, sctp")]
    Protocol {
        /// The part.
        text: String,
    },
    /// The ranges have different lengths.
    #[error("the ranges {host} and {container} have different lengths")]
    Lengths {
        /// The host's.
        host: String,
        /// The container's.
        container: String,
    },
}

/// Parses `[[ADDRESS:][PORT]:]PORT[/PROTOCOL]`, where a port can be a range, into one request for
/// each port of the container.
pub fn parse(text: &str) -> Result<Vec<PortRequest>, NoPort> {
    let (rest, protocol) = match text.split_once('/') {
        Some((rest, protocol)) => (rest, protocol.parse()?),
        None => (text, Protocol::Tcp),
    };
    let (front, container) = match rest.rsplit_once(':') {
        Some((front, container)) => (Some(front), container),
        None => (None, rest),
    };
    let (host_ip, host) = match front {
        None => (None, ""),
        Some(front) => match front.rsplit_once(':') {
            Some((ip, host)) => (Some(address(ip)?), host),
            None => (None, front),
        },
    };
    let (first, last) = range(container)?;
    let wanted = if host.is_empty() {
        None
    } else {
        Some(range(host)?)
    };
    let count = last - first;
    let host_ports = |index: u16| match wanted {
        None => Ok(None),
        // Any one of a range for a single port; else each its own.
        Some((from, to)) if count == 0 => Ok(Some((from, to))),
        Some((from, to)) if to - from == count => Ok(Some((from + index, from + index))),
        Some(_) => Err(NoPort::Lengths {
            host: host.to_owned(),
            container: container.to_owned(),
        }),
    };
    (0..=count)
        .map(|index| {
            Ok(PortRequest {
                host_ip,
                host_ports: host_ports(index)?,
                port: first + index,
                protocol,
            })
        })
        .collect()
}

/// Parses `PORT[/PROTOCOL]`, as EXPOSE has it.
pub fn exposed(text: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((port.parse().ok()?, protocol.parse().ok()?))
}

fn address(text: &str) -> Result<IpAddr, NoPort> {
    let bare = text
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().map_err(|_| NoPort::Address {
        text: text.to_owned(),
    })
}

fn range(text: &str) -> Result<(u16, u16), NoPort> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(NoPort::Port {
            text: text.to_owned(),
        }),
    }
}

impl FromStr for Protocol {
    type Err = NoPort;

    fn from_str(text: &str) -> Result<Self, NoPort> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(NoPort::Protocol {
                text: text.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows a request as `ADDRESS FROM-TO PORT/PROTOCOL`.
    fn shown(text: &str) -> Result<Vec<String>, String> {
        let requests = parse(text).map_err(|error| error.to_string())?;
        let show = |request: &PortRequest| {
            let ip = request.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
            let ports = request
                .host_ports
                .map_or("?".to_owned(), |(from, to)| format!("{from}-{to}"));
            format!("{ip} {ports} {}/{}", request.port, request.protocol)
        };
        Ok(requests.iter().map(show).collect())
    }

    #[test]
    fn ports_are_written_as_docker_has_them() {
        for (text, expected) in [
            ("80", vec!["* ? 80/tcp"]),
            ("8080:80", vec!["* 8080-8080 80/tcp"]),
            ("53:53/udp", vec!["* 53-53 53/udp"]),
            ("127.0.0.1:8080:80", vec!["127.0.0.1 8080-8080 80/tcp"]),
            ("127.0.0.1::80", vec!["127.0.0.1 ? 80/tcp"]),
            ("[::1]:8080:80/TCP", vec!["::1 8080-8080 80/tcp"]),
            ("::1:8080:80", vec!["::1 8080-8080 80/tcp"]),
            (
                "7000-7001:8000-8001",
                vec!["* 7000-7000 8000/tcp", "* 7001-7001 8001/tcp"],
            ),
            ("7000-7010:80", vec!["* 7000-7010 80/tcp"]),
            ("8000-8001", vec!["* ? 8000/tcp", "* ? 8001/tcp"]),
        ] {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(shown(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_ports_are_refused() {
        for (text, expected) in [
            ("", "\"\" is no port"),
            ("http", "\"http\" is no port"),
            ("0:80", "\"0\" is no port"),
            ("70000:80", "\"70000\" is no port"),
            ("81-80", "\"81-80\" is no port"),
            ("host:1:2", "\"host\" is no IP address"),
            (
                "80/icmp",
                "\"icmp\" is no protocol: known are tcp, udp, sctp",
            ),
            ("1-2:3-5", "the ranges 1-2 and 3-5 have different lengths"),
        ] {
            assert_eq!(shown(text), Err(expected.to_owned()), "{text}");
        }
    }
}
