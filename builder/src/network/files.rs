//! What a container reads in /etc/hosts and /etc/resolv.conf. Pure.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::config::NetworkConfig;

/// The address of the name server that a container has in its own namespace, as docker's.
pub(super) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Where systemd-resolved keeps the servers behind its own.
pub(super) const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Whom docker asks when this machine names no server that a container can reach.
const LAST_RESORT: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];

/// A resolver's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolving {
    pub(super) servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
}

impl Resolving {
    /// Reads a resolv.conf(5).
    pub(super) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                // An address with a zone is of this machine alone.
                Some("nameserver") => found
                    .servers
                    .extend(words.next().and_then(|ip| ip.parse::<IpAddr>().ok())),
                Some("search" | "domain") => {
                    found.search = words.map(str::to_owned).collect();
                }
                Some("options") => found.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        found
    }

    /// Returns what is asked for laid over what this machine has.
    pub(super) fn with(mut self, config: &NetworkConfig) -> Self {
        if !config.dns.is_empty() {
            self.servers.clone_from(&config.dns);
        }
        if !config.dns_search.is_empty() {
            // A dot alone is no domain at all.
            let domains = config.dns_search.iter().filter(|domain| *domain != ".");
            self.search = domains.cloned().collect();
        }
        if !config.dns_options.is_empty() {
            self.options.clone_from(&config.dns_options);
        }
        self
    }

    /// Leaves out servers that only this machine reaches.
    pub(super) fn without_loopback(mut self) -> Self {
        self.servers.retain(|server| !server.is_loopback());
        if self.servers.is_empty() {
            self.servers = LAST_RESORT.map(IpAddr::from).to_vec();
        }
        self
    }

    /// Names one server only, that knows containers' names.
    pub(super) fn through(mut self, server: IpAddr) -> Self {
        self.servers = vec![server];
        // Names of containers have no dots, and are to be asked for as they are.
        if !self
            .options
            .iter()
            .any(|option| option.starts_with("ndots:"))
        {
            self.options.push("ndots:0".to_owned());
        }
        self
    }

    /// Returns where to ask.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.servers
            .iter()
            .map(|ip| SocketAddr::new(*ip, 53))
            .collect()
    }

    /// Returns it as a resolv.conf(5).
    pub(super) fn render(&self) -> Vec<u8> {
        let mut text = String::new();
        for server in &self.servers {
            let _ = writeln!(text, "nameserver {server}");
        }
        for (word, values) in [("search", &self.search), ("options", &self.options)] {
            if !values.is_empty() {
                let _ = writeln!(text, "{word} {}", values.join(" "));
            }
        }
        text.into_bytes()
    }
}

/// Returns /etc/hosts with these lines at its end.
pub fn hosts<'a>(lines: impl IntoIterator<Item = (IpAddr, &'a str)>) -> Vec<u8> {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for (ip, names) in lines {
        let _ = writeln!(text, "{ip}\t{names}");
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_servers_are_of_no_use_on_a_bridge() {
        let text =
            "# made\nnameserver 127.0.0.53\nnameserver 10.0.0.1 # x\nsearch a b\noptions edns0\n";
        let host = Resolving::parse(text);
        let render = |resolving: &Resolving| String::from_utf8(resolving.render()).expect("UTF-8");
        let bridge = host.clone().without_loopback();
        assert_eq!(
            render(&bridge),
            "nameserver 10.0.0.1\nsearch a b\noptions edns0\n"
        );
        let none = Resolving::parse("nameserver ::1\n").without_loopback();
        assert_eq!(render(&none), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
        let own = host.through(NAME_SERVER.into());
        assert_eq!(
            render(&own),
            "nameserver 127.0.0.11\nsearch a b\noptions edns0 ndots:0\n"
        );
    }

    #[test]
    fn what_is_asked_for_replaces_what_the_machine_has() {
        let config = NetworkConfig {
            dns: vec!["9.9.9.9".parse().expect("valid")],
            dns_search: vec![".".into()],
            dns_options: vec!["timeout:1".into()],
            ..NetworkConfig::default()
        };
        let host = Resolving::parse("nameserver 10.0.0.1\nsearch a\noptions edns0\n");
        let text = host.with(&config).render();
        assert_eq!(text, b"nameserver 9.9.9.9\noptions timeout:1\n");
    }

    #[test]
    fn hosts_end_with_what_is_added() {
        let text = hosts([("10.0.0.2".parse().expect("valid"), "web web.net")]);
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost "));
        assert!(text.ends_with("ip6-allrouters\n10.0.0.2\tweb web.net\n"));
    }
}
