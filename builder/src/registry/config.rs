//! How registries are reached: mirrors, insecure hosts, limits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cooper_oci::{DEFAULT_DOMAIN, Reference};

use super::rules::{Place, Rules};
use crate::http::HttpConfig;

/// The host that serves `docker.io`.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Mirrors by the registry they stand for (as in references: `docker.io`), in
    /// the order to try: `[http[s]://]HOST[:PORT][/PREFIX]`.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Hosts (`host`, or `host:port` for one port only) that may speak plain HTTP
    /// or have a certificate that nobody vouches for. Loopback addresses always may.
    pub insecure: BTreeSet<String>,
    /// What `registries.conf` says; for a registry with mirrors above, these are asked instead
    /// of its.
    pub rules: Rules,
    /// Connections.
    pub http: HttpConfig,
    /// How many blobs are pushed at a time.
    pub parallel: usize,
    /// Blobs above this size are pushed in resumable parts of it.
    pub chunk_size: u64,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            mirrors: BTreeMap::new(),
            insecure: BTreeSet::new(),
            rules: Rules::default(),
            http: HttpConfig::default(),
            parallel: 4,
            chunk_size: 64 * 1024 * 1024,
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A mirror's address is malformed.
    #[error("invalid mirror {mirror:?} of {registry}: expected [http[s]://]HOST[:PORT][/PREFIX]")]
    Mirror {
        /// The registry it stands for.
        registry: String,
        /// The address as given.
        mirror: String,
    },
    /// The configuration forbids the image.
    #[error("{name} is blocked by registries.conf")]
    Blocked {
        /// The image's name.
        name: String,
    },
}

/// How an endpoint is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// HTTPS with a verified certificate.
    Https,
    /// HTTPS without verification.
    HttpsUnverified,
    /// Plain HTTP.
    Http,
}

/// A server that may serve a registry's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) mirror: bool,
    /// `host[:port]`
    pub(super) authority: String,
    /// Comes before repository names; empty, or without a `/` at its ends.
    pub(super) prefix: String,
    /// What repository names lose at their beginning.
    pub(super) stripped: String,
    /// What to try, in order; one entry is certain.
    pub(super) schemes: Vec<Scheme>,
    /// The name that credentials are stored under.
    pub(super) credential_host: String,
}

impl Endpoint {
    /// Returns the name of `path` at this endpoint.
    pub(super) fn repository(&self, path: &str) -> String {
        let rest = path.strip_prefix(&self.stripped).unwrap_or(path);
        let rest = rest.trim_start_matches('/');
        match (self.prefix.as_str(), rest) {
            ("", rest) => rest.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, rest) => format!("{prefix}/{rest}"),
        }
    }
}

impl RegistryConfig {
    /// Returns the endpoint of the registry `domain` itself.
    pub(super) fn origin(&self, domain: &str) -> Endpoint {
        Endpoint {
            mirror: false,
            authority: server_of(domain).to_owned(),
            prefix: String::new(),
            stripped: String::new(),
            schemes: self.schemes(domain, false),
            credential_host: domain.to_owned(),
        }
    }

    /// Returns the endpoint that pushes to `name` go to: what leads elsewhere or mirrors a
    /// registry is for pulls.
    pub(super) fn push_endpoint(&self, name: &Reference) -> Result<Endpoint, ConfigError> {
        let insecure = match self.rules.of(name.domain(), name.path()) {
            Some(rule) if rule.blocked => return Err(blocked(name)),
            rule => rule.is_some_and(|rule| rule.insecure),
        };
        Ok(Endpoint {
            schemes: self.schemes(name.domain(), insecure),
            ..self.origin(name.domain())
        })
    }

    /// Returns the endpoints that pulls of `name` try, in order.
    pub(super) fn pull_endpoints(&self, name: &Reference) -> Result<Vec<Endpoint>, ConfigError> {
        let domain = name.domain();
        let rule = self.rules.of(domain, name.path());
        if rule.is_some_and(|rule| rule.blocked) {
            return Err(blocked(name));
        }
        let mut endpoints = Vec::new();
        let own = self.mirrors.get(domain);
        for mirror in own.map(Vec::as_slice).unwrap_or_default() {
            endpoints.push(self.mirror(mirror).ok_or_else(|| ConfigError::Mirror {
                registry: domain.to_owned(),
                mirror: mirror.clone(),
            })?);
        }
        let places = rule.map(|rule| rule.places(domain, name.path(), name.digest().is_some()));
        for place in places.iter().flatten() {
            if own.is_none() || !place.mirror {
                endpoints.push(self.place(place));
            }
        }
        if endpoints.last().is_none_or(|last| last.mirror) {
            endpoints.push(self.push_endpoint(name)?);
        }
        Ok(endpoints)
    }

    fn place(&self, place: &Place<'_>) -> Endpoint {
        Endpoint {
            mirror: place.mirror,
            authority: server_of(place.authority).to_owned(),
            prefix: place.prefix.to_owned(),
            stripped: place.stripped.clone(),
            schemes: self.schemes(place.authority, place.insecure),
            credential_host: place.authority.to_owned(),
        }
    }

    fn mirror(&self, address: &str) -> Option<Endpoint> {
        let (scheme, rest) = match address.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(_) => return None,
            None => (None, address),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let valid = |b: u8| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b);
        if authority.is_empty() || !authority.bytes().all(valid) || path.contains(['?', '#']) {
            return None;
        }
        let path = path.trim_matches('/');
        let path = path
            .strip_prefix("v2")
            .filter(|p| p.is_empty() || p.starts_with('/'))
            .unwrap_or(path);
        let path = path.trim_matches('/');
        let schemes = match scheme {
            Some(Scheme::Https) if self.is_insecure(authority) => vec![Scheme::HttpsUnverified],
            Some(scheme) => vec![scheme],
            None => self.schemes(authority, false),
        };
        Some(Endpoint {
            mirror: true,
            authority: authority.to_owned(),
            prefix: path.to_owned(),
            stripped: String::new(),
            schemes,
            credential_host: authority.to_owned(),
        })
    }

    /// Insecure registries are tried over HTTPS first, as docker does.
    fn schemes(&self, authority: &str, insecure: bool) -> Vec<Scheme> {
        if insecure || self.is_insecure(authority) {
            vec![Scheme::HttpsUnverified, Scheme::Http]
        } else {
            vec![Scheme::Https]
        }
    }

    pub(super) fn is_insecure(&self, authority: &str) -> bool {
        let host = host_of(authority);
        let named = self.insecure.contains(authority) || self.insecure.contains(host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        named || host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// Returns the server of a registry, as references name it.
fn server_of(domain: &str) -> &str {
    if domain == DEFAULT_DOMAIN {
        DOCKER_HUB
    } else {
        domain
    }
}

fn blocked(name: &Reference) -> ConfigError {
    ConfigError::Blocked {
        name: name.familiar(),
    }
}

/// Returns an authority without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Reference {
        text.parse().unwrap()
    }

    fn config() -> RegistryConfig {
        let mirrors = [
            "http://m1:5000",
            "https://m2/v2/proxy/",
            "m3",
            "localhost:5001/hub",
        ];
        RegistryConfig {
            mirrors: [("docker.io".to_owned(), mirrors.map(str::to_owned).to_vec())].into(),
            insecure: ["plain.example".to_owned(), "port.example:5000".to_owned()].into(),
            ..RegistryConfig::default()
        }
    }

    #[test]
    fn pulls_try_the_mirrors_in_order_and_then_the_registry() {
        let endpoints = config().pull_endpoints(&name("docker.io/a/b")).unwrap();
        let summary: Vec<_> = endpoints
            .iter()
            .map(|e| {
                (
                    e.mirror,
                    e.authority.as_str(),
                    e.repository("a/b"),
                    e.schemes.as_slice(),
                )
            })
            .collect();
        let insecure = &[Scheme::HttpsUnverified, Scheme::Http][..];
        assert_eq!(
            summary,
            [
                (true, "m1:5000", "a/b".to_owned(), &[Scheme::Http][..]),
                (true, "m2", "proxy/a/b".to_owned(), &[Scheme::Https][..]),
                (true, "m3", "a/b".to_owned(), &[Scheme::Https][..]),
                (true, "localhost:5001", "hub/a/b".to_owned(), insecure),
                (
                    false,
                    "registry-1.docker.io",
                    "a/b".to_owned(),
                    &[Scheme::Https][..]
                ),
            ]
        );
        assert_eq!(endpoints[4].credential_host, "docker.io");
        assert_eq!(
            config().pull_endpoints(&name("ghcr.io/a/b")).unwrap().len(),
            1
        );
    }

    #[test]
    fn loopback_and_named_hosts_may_be_insecure() {
        let cases = [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("[::1]", true),
            ("128.0.0.1", false),
            ("localhost.example", false),
            ("plain.example", true),
            ("plain.example:8080", true),
            ("port.example:5000", true),
            ("port.example", false),
            ("docker.io", false),
        ];
        for (authority, expected) in cases {
            assert_eq!(config().is_insecure(authority), expected, "{authority}");
        }
    }

    #[test]
    fn malformed_mirrors_are_named() {
        for mirror in ["", "ftp://x", "http://", "https://user@host", "h?x", "a b"] {
            let mut config = RegistryConfig::default();
            config
                .mirrors
                .insert("docker.io".to_owned(), vec![mirror.to_owned()]);
            let error = config.pull_endpoints(&name("app")).unwrap_err();
            assert!(matches!(error, ConfigError::Mirror { .. }), "{mirror}");
        }
    }
}
