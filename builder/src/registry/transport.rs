//! Requests to endpoints: scheme, authorisation, errors and retries.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cooper_oci::Reference;
use serde::Deserialize;
use ureq::http::{HeaderName, Method, Request, Response, StatusCode, header};
use ureq::{Body, SendBody};

use super::auth::{Authorization, Challenge, parse_challenges};
use super::config::{Endpoint, RegistryConfig, Scheme};
use super::credentials::{Credential, Credentials};
use super::error::{ApiError, Attempt, Failure, LOG_IN, RegistryError};
use super::{Event, Watch};
use crate::http::{self, HttpClient, Trust};

/// How much of an error's body is read.
const ERROR_LIMIT: u64 = 64 * 1024;
/// How long a pause may go without asking whether the call was canceled.
const NAP: Duration = Duration::from_millis(50);

/// The client's state, shared by all its clones.
pub(super) struct Transport {
    pub(super) config: RegistryConfig,
    pub(super) credentials: Credentials,
    pub(super) http: HttpClient,
    /// By base URL and scope.
    tokens: Mutex<HashMap<(String, String), Token>>,
    /// What insecure hosts were found to speak.
    schemes: Mutex<HashMap<String, Scheme>>,
    /// Mirrors that are out of order, and why.
    down: Mutex<HashMap<String, String>>,
}

/// A token, and the challenges that it answers.
type Token = (Authorization, Vec<Challenge>);

/// An endpoint whose scheme is known.
pub(super) struct Host<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// `https://host:port`
    pub(super) base: String,
    pub(super) trust: Trust,
}

impl Host<'_> {
    /// Returns a URL of the repository `path`; `rest` starts with `/`.
    pub(super) fn url(&self, path: &str, rest: &str) -> String {
        format!("{}/v2/{}{rest}", self.base, self.endpoint.repository(path))
    }

    /// Returns the scope to `actions` in the repository `path`.
    pub(super) fn scope(&self, path: &str, actions: &str) -> String {
        format!("repository:{}:{actions}", self.endpoint.repository(path))
    }
}

/// What a request carries.
pub(super) enum Payload<'a> {
    /// Nothing.
    Empty,
    /// Bytes at hand.
    Bytes(&'a [u8]),
    /// So many bytes of a stream, opened for each attempt.
    Stream {
        open: &'a dyn Fn() -> Result<Box<dyn Read + 'a>, Failure>,
        length: u64,
    },
}

/// A request.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Payload<'a>,
}

impl Call<'_> {
    pub(super) fn new(method: Method, url: String) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: Payload::Empty,
        }
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Transport {
    pub(super) fn new(config: RegistryConfig, credentials: Credentials, http: HttpClient) -> Self {
        Self {
            config,
            credentials,
            http,
            tokens: Mutex::default(),
            schemes: Mutex::default(),
            down: Mutex::default(),
        }
    }

    /// Runs `serve` on the endpoints that pulls from `domain` try, until one serves.
    pub(super) fn on_endpoints<T>(
        &self,
        (action, subject): (&'static str, &str),
        name: &Reference,
        mut serve: impl FnMut(&Host<'_>) -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        let mut attempts = Vec::new();
        for endpoint in self.config.pull_endpoints(name)? {
            let failure = match self.serve_from(&endpoint, &mut serve) {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let stop = failure.is_local();
            attempts.push(Attempt {
                host: endpoint.authority,
                mirror: endpoint.mirror,
                failure,
            });
            if stop {
                break;
            }
        }
        Err(RegistryError::failed(action, subject, attempts))
    }

    /// Logs in to the registry `domain`, which is asked itself, never a mirror.
    pub(super) fn log_in_to(
        &self,
        domain: &str,
        credential: &Credential,
    ) -> Result<Credential, RegistryError> {
        let endpoint = self.config.origin(domain);
        let result = self
            .host(&endpoint)
            .and_then(|host| self.log_in(&host, credential));
        result.map_err(|failure| {
            let attempt = Attempt {
                host: endpoint.authority.clone(),
                mirror: false,
                failure,
            };
            RegistryError::failed(LOG_IN, domain, vec![attempt])
        })
    }

    /// Runs `serve` on an endpoint. A mirror that is out of order is not waited for
    /// again: a build asks for many blobs.
    fn serve_from<T>(
        &self,
        endpoint: &Endpoint,
        serve: &mut impl FnMut(&Host<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if endpoint.mirror
            && let Some(reason) = lock(&self.down).get(&endpoint.authority)
        {
            return Err(Failure::Skipped {
                reason: reason.clone(),
            });
        }
        let result = self.host(endpoint).and_then(|host| serve(&host));
        if let (true, Err(failure)) = (endpoint.mirror, &result)
            && failure.is_outage()
        {
            lock(&self.down).insert(endpoint.authority.clone(), failure.to_string());
        }
        result
    }

    /// Finds out how an endpoint is to be spoken to.
    pub(super) fn host<'a>(&self, endpoint: &'a Endpoint) -> Result<Host<'a>, Failure> {
        let known = lock(&self.schemes).get(&endpoint.authority).copied();
        let [candidates @ .., last] = endpoint.schemes.as_slice() else {
            unreachable!("an endpoint has a scheme")
        };
        let scheme = match known.filter(|scheme| endpoint.schemes.contains(scheme)) {
            Some(scheme) => scheme,
            None if candidates.is_empty() => *last,
            None => self.probe(endpoint)?,
        };
        Ok(make_host(endpoint, scheme))
    }

    /// Asks for `/v2/` over one scheme after the other; any answer settles it.
    fn probe(&self, endpoint: &Endpoint) -> Result<Scheme, Failure> {
        let mut failure = None;
        for scheme in &endpoint.schemes {
            let host = make_host(endpoint, *scheme);
            let call = Call::new(Method::GET, format!("{}/v2/", host.base));
            match self.exchange(&call, None, host.trust) {
                Ok(_) | Err(Failure::Status { .. }) => {
                    lock(&self.schemes).insert(endpoint.authority.clone(), *scheme);
                    return Ok(*scheme);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.expect("an endpoint has a scheme"))
    }

    /// Whether certificates of the server behind `url` are checked.
    pub(super) fn trust_of(&self, url: &str) -> Trust {
        let authority = origin(url).and_then(|o| o.split_once("://").map(|(_, a)| a));
        match authority {
            Some(authority) if self.config.is_insecure(authority) => Trust::Unverified,
            _ => Trust::Verified,
        }
    }

    /// Makes a request, answering a challenge for authorisation.
    pub(super) fn send(
        &self,
        host: &Host<'_>,
        scope: &str,
        call: &Call<'_>,
    ) -> Result<Response<Body>, Failure> {
        // Where another server is asked, this one's tokens have no business.
        if origin(&call.url) != Some(host.base.as_str()) {
            return self.exchange(call, None, self.trust_of(&call.url));
        }
        let key = (host.base.clone(), scope.to_owned());
        let known = self.fresh_token(host, &key)?;
        let (failure, challenges) = match self.raw(call, known.as_ref(), host.trust) {
            Ok(response) => return Ok(response),
            Err((failure, challenges)) => (failure, challenges),
        };
        if failure.status() != Some(401) || challenges.is_empty() {
            return Err(failure);
        }
        lock(&self.tokens).remove(&key);
        let Some(authorization) = self.authenticate(host, scope, &challenges)? else {
            return Err(failure);
        };
        let result = self.exchange(call, Some(&authorization), host.trust);
        // Whatever else went wrong, the token was not what was wrong.
        if !matches!(&result, Err(failure) if failure.status() == Some(401)) {
            lock(&self.tokens).insert(key, (authorization, challenges));
        }
        result
    }

    /// Returns the token for a base URL and scope. One that has run out is renewed before the
    /// request: a server that refuses an upload closes the connection in the midst of it, and
    /// its answer is lost.
    fn fresh_token(
        &self,
        host: &Host<'_>,
        key: &(String, String),
    ) -> Result<Option<Authorization>, Failure> {
        let Some((token, challenges)) = lock(&self.tokens).get(key).cloned() else {
            return Ok(None);
        };
        if token.is_fresh() {
            return Ok(Some(token));
        }
        let renewed = self.authenticate(host, &key.1, &challenges)?;
        match &renewed {
            Some(token) => lock(&self.tokens).insert(key.clone(), (token.clone(), challenges)),
            None => lock(&self.tokens).remove(key),
        };
        Ok(renewed)
    }

    /// Makes a request once; a status that is an error is a failure.
    pub(super) fn exchange(
        &self,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
        trust: Trust,
    ) -> Result<Response<Body>, Failure> {
        self.raw(call, authorization, trust)
            .map_err(|(failure, _)| failure)
    }

    pub(super) fn raw(
        &self,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
        trust: Trust,
    ) -> Result<Response<Body>, (Failure, Vec<Challenge>)> {
        let mut response = self
            .transmit(call, authorization, trust)
            .map_err(|failure| (failure, Vec::new()))?;
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(response);
        }
        let values = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .into_iter();
        let challenges = values
            .filter_map(|v| v.to_str().ok())
            .flat_map(parse_challenges)
            .collect();
        let identified = authorization.is_some_and(|a| a.identified);
        let authenticated = identified
            || call
                .headers
                .iter()
                .any(|(name, _)| name == header::AUTHORIZATION);
        Err((
            status_failure(call, &mut response, authenticated),
            challenges,
        ))
    }

    fn transmit(
        &self,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
        trust: Trust,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.url);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization.value());
        }
        let agent = self.http.agent(&call.url, trust)?;
        let failed = |error: &ureq::Error| Failure::Transport {
            method: call.method.to_string(),
            url: shown(&call.url),
            reason: http::describe(error),
            transient: http::is_transient(error),
            unknown_host: http::is_unknown_host(error),
        };
        let invalid = |error: ureq::http::Error| failed(&ureq::Error::Http(error));
        match &call.body {
            Payload::Empty => {
                if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) {
                    request = request.header(header::CONTENT_LENGTH, "0");
                }
                agent
                    .run(request.body(()).map_err(invalid)?)
                    .map_err(|e| failed(&e))
            }
            Payload::Bytes(bytes) => {
                let request = request.header(header::CONTENT_LENGTH, bytes.len().to_string());
                agent
                    .run(request.body(*bytes).map_err(invalid)?)
                    .map_err(|e| failed(&e))
            }
            Payload::Stream { open, length } => {
                let mut reader = open()?.take(*length);
                let request = request
                    .header(header::CONTENT_LENGTH, length.to_string())
                    .body(SendBody::from_reader(&mut reader))
                    .map_err(invalid)?;
                agent.run(request).map_err(|e| failed(&e))
            }
        }
    }

    /// Repeats `attempt` as long as failures are transient and the policy allows.
    pub(super) fn retrying<T>(
        &self,
        watch: &Watch<'_>,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut failures = 0;
        loop {
            watch.check()?;
            let failure = match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            failures += 1;
            self.pause(watch, failure, failures)?;
        }
    }

    /// Sleeps before the next attempt, or gives the failure back if there is none.
    pub(super) fn pause(
        &self,
        watch: &Watch<'_>,
        failure: Failure,
        failures: u32,
    ) -> Result<(), Failure> {
        let delay = self
            .config
            .http
            .retry
            .delay(failures, failure.retry_after());
        let Some(delay) = delay.filter(|_| failure.is_transient()) else {
            return Err(failure);
        };
        watch.emit(&Event::Retrying { failure: &failure });
        let end = Instant::now() + delay;
        loop {
            watch.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}

/// Locks a table; one that a panicking thread left is as good as any.
fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make_host(endpoint: &Endpoint, scheme: Scheme) -> Host<'_> {
    let (name, trust) = match scheme {
        Scheme::Https => ("https", Trust::Verified),
        Scheme::HttpsUnverified => ("https", Trust::Unverified),
        Scheme::Http => ("http", Trust::Unverified),
    };
    Host {
        endpoint,
        base: format!("{name}://{}", endpoint.authority),
        trust,
    }
}

fn status_failure(call: &Call<'_>, response: &mut Response<Body>, authenticated: bool) -> Failure {
    let status: StatusCode = response.status();
    let retry_after = http::text(response.headers(), &header::RETRY_AFTER);
    let mut body = Vec::new();
    // What cannot be read is not needed: the status says enough.
    let _ = response
        .body_mut()
        .as_reader()
        .take(ERROR_LIMIT)
        .read_to_end(&mut body);
    Failure::Status {
        method: call.method.to_string(),
        url: shown(&call.url),
        status,
        errors: parse_errors(&body),
        retry_after: retry_after
            .and_then(|s| s.parse().ok())
            .map(Duration::from_secs),
        authenticated,
    }
}

/// Reads the errors of a registry, or of a token server (RFC 6749, section 5.2).
fn parse_errors(body: &[u8]) -> Vec<ApiError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        errors: Vec<Entry>,
        #[serde(default)]
        error: Option<String>,
        #[serde(default, rename = "error_description", alias = "details")]
        description: Option<String>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: Option<serde_json::Value>,
        #[serde(default)]
        message: Option<String>,
    }
    let Ok(parsed) = serde_json::from_slice::<Answer>(body) else {
        return Vec::new();
    };
    let entries = parsed
        .errors
        .into_iter()
        .map(|entry| (entry.code.map(code_text), entry.message));
    let oauth = (parsed.error.is_some() || parsed.description.is_some())
        .then_some((parsed.error, parsed.description));
    entries
        .chain(oauth)
        .map(|(code, message)| ApiError {
            code: code.unwrap_or_default(),
            message: message.unwrap_or_default(),
        })
        .collect()
}

/// Codes are text by the specification, and numbers by some proxies.
fn code_text(code: serde_json::Value) -> String {
    match code {
        serde_json::Value::String(code) => code,
        other => other.to_string(),
    }
}

/// Reads a body that must not be longer than `limit`.
pub(super) fn read_limited(
    response: &mut Response<Body>,
    url: &str,
    limit: u64,
) -> Result<Vec<u8>, Failure> {
    let expected = response.body().content_length();
    let mut bytes = Vec::new();
    let result = response
        .body_mut()
        .as_reader()
        .take(limit + 1)
        .read_to_end(&mut bytes);
    result.map_err(|source: io::Error| Failure::Interrupted {
        url: url.to_owned(),
        received: bytes.len() as u64,
        expected: expected.unwrap_or(limit),
        source,
    })?;
    if bytes.len() as u64 > limit {
        return Err(Failure::TooLong {
            url: url.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

/// Returns a URL as errors name it: without passwords, and without the state that
/// registries append to the addresses of uploads.
pub(super) fn shown(url: &str) -> String {
    let upload = url
        .split_once('?')
        .filter(|(path, _)| path.contains("/blobs/uploads/"));
    http::redact(upload.map_or(url, |(path, _)| path))
}

/// Returns a URL's scheme and authority.
pub(super) fn origin(url: &str) -> Option<&str> {
    let start = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let scheme = url.len() - start.len();
    let end = start.find(['/', '?', '#']).unwrap_or(start.len());
    let authority = &start[..end];
    (!authority.is_empty() && !authority.contains('@')).then(|| &url[..scheme + end])
}

/// Percent-encodes a query value (RFC 3986: all but unreserved characters).
pub(super) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 8);
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    out
}
