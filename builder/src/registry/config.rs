//! How registries are reached: mirrors, insecure hosts, limits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cooper_oci::DEFAULT_DOMAIN;

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
    /// Comes before repository names; empty or ending in `/`.
    pub(super) prefix: String,
    /// What to try, in order; one entry is certain.
    pub(super) schemes: Vec<Scheme>,
    /// The name that credentials are stored under.
    pub(super) credential_host: String,
}

impl Endpoint {
    /// Returns the name of `path` at this endpoint.
    pub(super) fn repository(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl RegistryConfig {
    /// Returns the endpoint of the registry `domain` itself.
    pub(super) fn origin(&self, domain: &str) -> Endpoint {
        let authority = if domain == DEFAULT_DOMAIN {
            DOCKER_HUB
        } else {
            domain
        };
        Endpoint {
            mirror: false,
            authority: authority.to_owned(),
            prefix: String::new(),
            schemes: self.schemes(domain),
            credential_host: domain.to_owned(),
        }
    }

    /// Returns the endpoints that pulls from `domain` try, in order.
    pub(super) fn pull_endpoints(&self, domain: &str) -> Result<Vec<Endpoint>, ConfigError> {
        let mirrors = self
            .mirrors
            .get(domain)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut endpoints = Vec::with_capacity(mirrors.len() + 1);
        for mirror in mirrors {
            endpoints.push(self.mirror(mirror).ok_or_else(|| ConfigError::Mirror {
                registry: domain.to_owned(),
                mirror: mirror.clone(),
            })?);
        }
        endpoints.push(self.origin(domain));
        Ok(endpoints)
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
            None => self.schemes(authority),
        };
        Some(Endpoint {
            mirror: true,
            authority: authority.to_owned(),
            prefix: if path.is_empty() {
                String::new()
            } else {
                format!("{path}/")
            },
            schemes,
            credential_host: authority.to_owned(),
        })
    }

    /// Insecure registries are tried over HTTPS first, as docker does.
    fn schemes(&self, authority: &str) -> Vec<Scheme> {
        if self.is_insecure(authority) {
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
        let endpoints = config().pull_endpoints("docker.io").unwrap();
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
        assert_eq!(config().pull_endpoints("ghcr.io").unwrap().len(), 1);
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
            let error = config.pull_endpoints("docker.io").unwrap_err();
            assert!(matches!(error, ConfigError::Mirror { .. }), "{mirror}");
        }
    }
}
