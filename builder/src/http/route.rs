//! How each server is reached: directly, through a tunnel, or by a proxy that makes the request.
//!
//! | Server | Proxy | What the proxy gets |
//! |---|---|---|
//! | `https://` | `http://`, `https://` | `CONNECT host:port`, then TLS with the server |
//! | `http://` | `http://`, `https://` | `GET http://host/path` (RFC 9112, section 3.2.2), as many allow `CONNECT` for port 443 alone |
//! | either | `socks5://` and its like | a connection |
//!
//! The way is chosen for each connection, so that a redirect finds the proxy, the authorities
//! and the certificates that are right where it leads, not those of where it came from.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};
use ureq::{Agent, Error, Proxy, ProxyProtocol};

use super::{HttpConfig, HttpError, Trust, USER_AGENT, parse_proxy, proxy, tls};

/// The ways that were found so far, shared by an agent's connections.
#[derive(Clone)]
pub(super) struct Routes {
    config: Arc<HttpConfig>,
    trust: Trust,
    /// Made when first needed, as reading the authorities takes milliseconds.
    known: Arc<Mutex<Vec<Arc<Route>>>>,
}

/// What a way depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    tls: bool,
    direct: bool,
    /// The server, if it has certificates of its own.
    server: Option<String>,
}

/// One way.
struct Route {
    key: Key,
    connector: DefaultConnector,
    /// Whom the connection trusts, and the proxy that it has to get past.
    config: Config,
    proxy: Option<Proxy>,
    /// The proxy makes the requests; it is not in `config` then.
    forwards: bool,
}

impl Routes {
    pub(super) fn new(config: Arc<HttpConfig>, trust: Trust) -> Self {
        Self {
            config,
            trust,
            known: Arc::default(),
        }
    }

    /// Makes sure that there is a way to `url`.
    pub(super) fn check(&self, url: &str) -> Result<(), HttpError> {
        self.to(url).map(drop)
    }

    fn to(&self, url: &str) -> Result<Arc<Route>, HttpError> {
        let tls = url.starts_with("https:");
        let server = url
            .strip_prefix("https://")
            .and_then(|rest| rest.split(['/', '?', '#']).next())
            .filter(|server| tls::has_own(&self.config, server));
        let key = Key {
            tls,
            direct: proxy::is_direct(url, self.config.no_proxy.as_deref()),
            server: server.map(str::to_owned),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = known.iter().find(|route| route.key == key) {
            return Ok(Arc::clone(route));
        }
        let route = Arc::new(self.find(key)?);
        known.push(Arc::clone(&route));
        Ok(route)
    }

    fn find(&self, key: Key) -> Result<Route, HttpError> {
        let proxy = match (key.direct, key.tls) {
            (true, _) => None,
            (false, true) => self.config.https_proxy.as_deref(),
            (false, false) => self.config.http_proxy.as_deref(),
        };
        let proxy = proxy.map(parse_proxy).transpose()?;
        let protocol = proxy.as_ref().map(Proxy::protocol);
        let forwards =
            !key.tls && matches!(protocol, Some(ProxyProtocol::Http | ProxyProtocol::Https));
        let mut config = Agent::config_builder()
            .user_agent(USER_AGENT)
            .proxy(proxy.clone().filter(|_| !forwards));
        if key.tls || protocol == Some(ProxyProtocol::Https) {
            config = config.tls_config(self.tls_config(key.server.as_deref())?);
        }
        Ok(Route {
            key,
            connector: DefaultConnector::new(),
            config: config.build(),
            proxy,
            forwards,
        })
    }

    fn tls_config(&self, server: Option<&str>) -> Result<TlsConfig, HttpError> {
        let own = server
            .map(|server| tls::own(&self.config, server))
            .transpose()?
            .unwrap_or_default();
        let tls_config = match self.trust {
            Trust::Unverified => TlsConfig::builder().disable_verification(true),
            Trust::Verified => {
                let roots = tls::root_certs(&self.config, &own.authorities)?;
                TlsConfig::builder().root_certs(roots)
            }
        };
        Ok(tls_config.client_cert(own.client).build())
    }

    fn route(&self, uri: &Uri) -> Result<Arc<Route>, Error> {
        self.to(&uri.to_string())
            .map_err(|error| Error::Other(Box::new(error)))
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes")
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

/// Behind a proxy names often have no address here; the proxy is told the name.
impl Resolver for Routes {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        match &self.route(uri)?.proxy {
            Some(proxy) if !proxy.resolve_target() => Ok(self.empty()),
            _ => DefaultResolver::default().resolve(uri, config, timeout),
        }
    }
}

impl Connector for Routes {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        self.route(details.uri)?.connect(details)
    }
}

impl Route {
    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
    ) -> Result<Option<Box<dyn Transport>>, Error> {
        let resolver = DefaultResolver::default();
        let mut here = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: &self.config,
            request_level: details.request_level,
            resolver: &resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            // The way to a tunnel's proxy is a direct one.
            run_connector: Arc::new(|details| {
                let transport = DefaultConnector::new().connect(details, None)?;
                transport.ok_or(Error::ConnectionFailed)
            }),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        let Some(proxy) = self.proxy.as_ref().filter(|_| self.forwards) else {
            return self.connector.connect(&here, None);
        };
        here.uri = proxy.uri();
        here.addrs = resolver.resolve(here.uri, here.config, here.timeout)?;
        let transport = self.connector.connect(&here, None)?;
        let forward = |inner| Forward::new(inner, details.uri, proxy);
        Ok(transport.map(|inner| Box::new(forward(inner)) as Box<dyn Transport>))
    }
}

/// A connection to a proxy that makes the requests: their first lines name the server.
#[derive(Debug)]
struct Forward {
    inner: Box<dyn Transport>,
    /// `http://host:port`
    server: String,
    /// A line of the header, or nothing.
    credentials: String,
    /// What is sent next begins a request, as the one before was answered.
    begins: bool,
}

impl Forward {
    fn new(inner: Box<dyn Transport>, uri: &Uri, proxy: &Proxy) -> Self {
        let host = uri.host().unwrap_or_default();
        let port = uri
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        let credentials = match (proxy.username(), proxy.password()) {
            (None, None) => String::new(),
            (name, password) => {
                let pair = [name.unwrap_or_default(), password.unwrap_or_default()].join(":");
                let pair = BASE64_STANDARD.encode(pair);
                format!("Proxy-Authorization: Basic {pair}\r\n")
            }
        };
        Self {
            inner,
            server: format!("http://{host}{port}"),
            credentials,
            begins: true,
        }
    }

    /// Writes the server into the first line of a request, and the credentials below it.
    fn address(&self, head: &[u8]) -> Vec<u8> {
        let place = |wanted: &[u8]| head.windows(wanted.len()).position(|part| part == wanted);
        let (Some(target), Some(line)) = (place(b" "), place(b"\r\n")) else {
            return head.to_vec();
        };
        [
            &head[..=target],
            self.server.as_bytes(),
            &head[target + 1..line + 2],
            self.credentials.as_bytes(),
            &head[line + 2..],
        ]
        .concat()
    }
}

impl Transport for Forward {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if !std::mem::take(&mut self.begins) {
            return self.inner.transmit_output(amount, timeout);
        }
        let head = self.inner.buffers().output()[..amount].to_vec();
        let head = self.address(&head);
        let room = self.inner.buffers().output().len();
        for part in head.chunks(room) {
            self.inner.buffers().output()[..part.len()].copy_from_slice(part);
            self.inner.transmit_output(part.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.begins = true;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::JoinHandle;

    use super::super::testing::{Reply, TestServer};
    use super::super::{Download, HttpClient, HttpRequest, RetryPolicy};
    use super::*;

    fn fetch(config: HttpConfig, url: &str) -> Result<Vec<u8>, HttpError> {
        let retry = RetryPolicy {
            attempts: 1,
            ..RetryPolicy::default()
        };
        let client = HttpClient::new(HttpConfig { retry, ..config });
        get(&client, url)
    }

    fn get(client: &HttpClient, url: &str) -> Result<Vec<u8>, HttpError> {
        let request = HttpRequest {
            url,
            ..HttpRequest::default()
        };
        match client.download(&request, &mut || Ok(Vec::new()))? {
            Download::Complete(done) => Ok(done.sink),
            Download::NotModified => panic!("not modified"),
        }
    }

    fn by(proxy: &str) -> HttpConfig {
        HttpConfig {
            http_proxy: Some(proxy.to_owned()),
            https_proxy: Some(proxy.to_owned()),
            ..HttpConfig::default()
        }
    }

    #[test]
    fn plain_requests_are_made_by_the_proxy() {
        let proxy = TestServer::start(|request| match &*request.path {
            "http://files.invalid/a?b=1" => {
                Reply::new(302, "").header("Location", "http://other.invalid:81/c")
            }
            _ => Reply::new(200, "content"),
        });
        let url = format!("http://me:p%40ss@{}", proxy.authority());
        let content = fetch(by(&url), "http://files.invalid/a?b=1").unwrap();
        assert_eq!(content, b"content");
        let log = proxy.log();
        let asked: Vec<&str> = log.iter().map(|request| &*request.path).collect();
        assert_eq!(
            asked,
            ["http://files.invalid/a?b=1", "http://other.invalid:81/c"]
        );
        for (request, host) in log.iter().zip(["files.invalid", "other.invalid:81"]) {
            assert_eq!(request.method, "GET");
            assert_eq!(request.header("host"), host);
            assert_eq!(request.header("proxy-authorization"), "Basic bWU6cEBzcw==");
            assert_eq!(request.header("authorization"), "");
        }
    }

    #[test]
    fn redirects_find_their_own_way() {
        let far = TestServer::start(|_| Reply::new(200, "from afar"));
        let near = TestServer::start(|request| match &*request.path {
            "/away" => Reply::new(302, "").header("Location", "http://far.invalid/f"),
            "/secure" => Reply::new(302, "").header("Location", "https://far.invalid/f"),
            _ => Reply::new(200, "from near"),
        });
        let home = near.url("/f");
        let back = TestServer::start(move |_| Reply::new(302, "").header("Location", &*home));
        // This machine is reached without the proxy, also when a redirect leads away or back.
        assert_eq!(
            fetch(by(&far.authority()), &near.url("/away")).unwrap(),
            b"from afar"
        );
        assert_eq!(
            fetch(by(&back.authority()), "http://far.invalid/").unwrap(),
            b"from near"
        );
        // To where TLS is spoken a tunnel leads, whatever was spoken before.
        let refusing = TestServer::start(|_| Reply::new(403, ""));
        let error = fetch(by(&refusing.authority()), &near.url("/secure")).unwrap_err();
        assert!(error.to_string().contains("403"), "{error}");
        assert_eq!(refusing.requests(), ["CONNECT far.invalid:443"]);
        // The authorities are read for the server that a redirect leads to.
        let config = HttpConfig {
            ca_files: vec!["/nonexistent/ca.pem".into()],
            ..HttpConfig::default()
        };
        let error = fetch(config, &near.url("/secure")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
    }

    /// Reads a request's head.
    fn head(reader: &mut impl BufRead) -> Vec<String> {
        let lines = reader.lines().map(Result::unwrap);
        lines.take_while(|line| !line.is_empty()).collect()
    }

    #[test]
    fn a_connection_to_a_proxy_serves_many_requests() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy: JoinHandle<Vec<String>> = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first_lines = Vec::new();
            for _ in 0..2 {
                first_lines.push(head(&mut reader).remove(0));
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(answer).unwrap();
            }
            first_lines
        });
        let client = HttpClient::new(by(&address));
        for path in ["one", "two"] {
            assert_eq!(
                get(&client, &format!("http://a.invalid/{path}")).unwrap(),
                b"ok"
            );
        }
        assert_eq!(
            proxy.join().unwrap(),
            [
                "GET http://a.invalid/one HTTP/1.1",
                "GET http://a.invalid/two HTTP/1.1"
            ]
        );
    }

    #[test]
    fn a_socks_proxy_is_told_the_name() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // RFC 1928: a greeting with one method, then the name of 9 bytes and port 80.
            receive(&mut stream, b"\x05\x01\x00");
            stream.write_all(b"\x05\x00").unwrap();
            receive(&mut stream, b"\x05\x01\x00\x03\x09a.invalid\x00\x50");
            stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
            let first = head(&mut BufReader::new(stream.try_clone().unwrap())).remove(0);
            assert_eq!(first, "GET /f HTTP/1.1");
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).unwrap();
        });
        let url = format!("socks5://{address}");
        assert_eq!(fetch(by(&url), "http://a.invalid/f").unwrap(), b"ok");
        proxy.join().unwrap();
    }

    fn receive(stream: &mut TcpStream, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, expected);
    }
}
