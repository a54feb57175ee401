//! Blocking HTTP: the connections that the registry client and `ADD <url>` use.
//!
//! Owns TLS trust, proxies and time limits, and the download of plain URLs. It
//! reads no environment: what `SSL_CERT_FILE` or `HTTPS_PROXY` say is passed in.
//! A download is handed out only when it is whole: dropped connections are
//! resumed if the server can prove that the file is still the same one, and
//! started again otherwise.

mod download;
mod parallel;
mod proxy;
mod route;
mod tls;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cooper_oci::Digest;
use ureq::http::{HeaderMap, HeaderName, StatusCode};
use ureq::{Agent, Proxy};

pub use download::{Download, Downloaded, HttpRequest, Meter};
pub(crate) use parallel::{TRANSFERS, at_once, at_once_or_stop};

use route::Routes;

/// How many bytes are moved at a time.
pub(crate) const BUFFER: usize = 256 * 1024;

const USER_AGENT: &str = concat!("cooper/", env!("CARGO_PKG_VERSION"));

/// How connections are made.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Bundles of trusted authorities (`SSL_CERT_FILE`). With no file and no
    /// directory the system's bundle is used, or Mozilla's where there is none.
    pub ca_files: Vec<PathBuf>,
    /// Directories of authorities, one a file (`SSL_CERT_DIR`).
    pub ca_dirs: Vec<PathBuf>,
    /// Authorities that are trusted besides those.
    pub extra_ca_files: Vec<PathBuf>,
    /// Directories such as `/etc/docker/certs.d`: what is in `HOST[:PORT]` there is for that
    /// server, `*.crt` to trust, `NAME.cert` with `NAME.key` to show.
    pub host_cert_dirs: Vec<PathBuf>,
    /// The proxy of `http://` requests (`HTTP_PROXY`), which makes them itself.
    pub http_proxy: Option<String>,
    /// The proxy of `https://` requests (`HTTPS_PROXY`), a tunnel.
    pub https_proxy: Option<String>,
    /// Hosts that are reached without a proxy (`NO_PROXY`).
    pub no_proxy: Option<String>,
    /// Limit for making a connection.
    pub connect_timeout: Duration,
    /// Limit for a single read or write without any byte moving.
    pub idle_timeout: Duration,
    /// Limit for the answer to begin once the request is sent.
    pub response_timeout: Duration,
    /// How failed requests are repeated.
    pub retry: RetryPolicy,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            ca_dirs: Vec::new(),
            extra_ca_files: Vec::new(),
            host_cert_dirs: Vec::new(),
            http_proxy: None,
            https_proxy: None,
            no_proxy: None,
            connect_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(300),
            retry: RetryPolicy::default(),
        }
    }
}

/// How often, and after what pause, a request is repeated that may yet succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all without any progress between them.
    pub attempts: u32,
    /// The pause after the first failure; it doubles each time.
    pub first_delay: Duration,
    /// The longest pause, also for what a server asks for by `Retry-After`.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// Returns the pause after `failures` failures in a row; none if it was the
    /// last attempt.
    pub fn delay(&self, failures: u32, retry_after: Option<Duration>) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        let doubled = self
            .first_delay
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        Some(
            retry_after
                .unwrap_or(doubled)
                .max(doubled)
                .min(self.max_delay),
        )
    }
}

/// Why a request or a download failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A file of trusted authorities cannot be used.
    #[error("cannot read the certificate authorities in {path}")]
    Ca {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A client certificate is only half there.
    #[error("{} is missing: a client certificate NAME.cert needs NAME.key beside it, and an authority's is named *.crt", missing.display())]
    ClientCert {
        /// The other half.
        missing: PathBuf,
    },
    /// A proxy's address is malformed.
    #[error("invalid proxy address {proxy:?}: {reason}")]
    Proxy {
        /// The address as given.
        proxy: String,
        /// What is wrong.
        reason: String,
    },
    /// The URL is malformed or not HTTP.
    #[error("invalid URL {url:?}: {reason}")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// No answer came.
    #[error("GET {url}: {reason}")]
    Transport {
        /// The URL.
        url: String,
        /// What went wrong on the way.
        reason: String,
        /// Another attempt may succeed.
        transient: bool,
    },
    /// The server refused.
    #[error("GET {url}: the server answered {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status with its reason.
        status: StatusCode,
    },
    /// The connection broke, time and again.
    #[error("GET {url}: the connection broke after {received} bytes{}", expected_bytes(*expected))]
    Interrupted {
        /// The URL.
        url: String,
        /// How many bytes came.
        received: u64,
        /// How many there should be, if the server said.
        expected: Option<u64>,
        /// How it broke.
        source: io::Error,
    },
    /// The content is not what was asked for.
    #[error("the content of {url} has the digest {actual}, but {expected} was asked for")]
    Checksum {
        /// The URL.
        url: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// The downloaded bytes cannot be written.
    #[error("cannot write what {url} sends")]
    Sink {
        /// The URL.
        url: String,
        /// Why.
        source: io::Error,
    },
}

fn expected_bytes(expected: Option<u64>) -> String {
    expected.map_or_else(String::new, |size| format!(" of {size}"))
}

impl HttpError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => is_transient_status(*status),
            Self::Transport { transient, .. } => *transient,
            Self::Interrupted { .. } => true,
            _ => false,
        }
    }
}

/// Whether a server that answers so may answer otherwise when asked again.
pub(crate) fn is_transient_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Whether a request that failed so may succeed when it is made again. A refused
/// connection or an unknown host is final: waiting seldom helps and delays the
/// next mirror.
pub(crate) fn is_transient(error: &ureq::Error) -> bool {
    match error {
        _ if is_unknown_host(error) => false,
        ureq::Error::Io(error) => !matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidData | io::ErrorKind::NotFound
        ),
        ureq::Error::Timeout(_) | ureq::Error::Protocol(_) | ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

/// Whether the server's name has no address. The standard library tells this by its text alone.
pub(crate) fn is_unknown_host(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound => true,
        ureq::Error::Io(error) => {
            let text = error.to_string();
            text.starts_with("failed to lookup address") && !text.contains("Temporary failure")
        }
        _ => false,
    }
}

/// Says what went wrong on the way to a server.
pub(crate) fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::HostNotFound => "no such host".to_owned(),
        ureq::Error::Timeout(limit) => format!("timed out ({limit})"),
        ureq::Error::Other(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// Removes a user name and a password from a URL that is to be shown.
pub(crate) fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

/// Whether certificates are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// Against the configured authorities.
    Verified,
    /// Not at all: the host was named insecure.
    Unverified,
}

/// Connections, pooled, shared by all threads.
pub struct HttpClient {
    config: Arc<HttpConfig>,
    verified: (Agent, Routes),
    unverified: (Agent, Routes),
}

impl HttpClient {
    /// Makes a client; nothing is read or connected yet.
    pub fn new(config: HttpConfig) -> Self {
        let config = Arc::new(config);
        let agent = |trust| {
            let routes = Routes::new(Arc::clone(&config), trust);
            let agent = Agent::with_parts(agent_config(&config), routes.clone(), routes.clone());
            (agent, routes)
        };
        Self {
            verified: agent(Trust::Verified),
            unverified: agent(Trust::Unverified),
            config,
        }
    }

    /// Returns how connections are made.
    pub fn config(&self) -> &HttpConfig {
        &self.config
    }

    /// Returns the agent for `url`.
    pub(crate) fn agent(&self, url: &str, trust: Trust) -> Result<Agent, HttpError> {
        let (agent, routes) = match trust {
            Trust::Verified => &self.verified,
            Trust::Unverified => &self.unverified,
        };
        routes.check(url)?;
        Ok(agent.clone())
    }
}

/// What holds for all connections. The proxy and whom to trust are each one's own (`route`).
fn agent_config(config: &HttpConfig) -> ureq::config::Config {
    Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(USER_AGENT)
        .proxy(None)
        .max_idle_connections(32)
        .max_idle_connections_per_host(8)
        .save_redirect_history(true)
        .timeout_connect(Some(config.connect_timeout))
        .timeout_per_read(Some(config.idle_timeout))
        .timeout_per_write(Some(config.idle_timeout))
        .timeout_recv_response(Some(config.response_timeout))
        .build()
}

/// Reads `[scheme://][user:password@]host[:port]`. As with docker's client a SOCKS proxy looks names
/// up itself.
fn parse_proxy(proxy: &str) -> Result<Proxy, HttpError> {
    let remote = proxy
        .strip_prefix("socks5://")
        .map(|rest| format!("socks5h://{rest}"));
    Proxy::new(remote.as_deref().unwrap_or(proxy)).map_err(|error| HttpError::Proxy {
        proxy: redact(proxy),
        reason: error.to_string(),
    })
}

/// Returns a header's value if it is text.
pub(crate) fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
