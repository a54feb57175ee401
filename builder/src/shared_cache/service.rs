//! Requests to services that keep caches: what is asked, how long, how often, and what went wrong.
//!
//! A request is made anew for each attempt: signatures have a time in them, and what is sent is
//! read from its beginning again. Signed URLs are secrets in their query, which no message has.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use ureq::http::{Request, Response, StatusCode};
use ureq::{Body, SendBody};

use crate::http::{HttpClient, HttpError, Trust, describe, is_transient, is_transient_status};

/// How much of an error's text is read, in bytes.
const MAX_ANSWER: u64 = 16 << 10;

/// Why a service did not give or take something.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// It refused.
    #[error("{request}: {status}{}", said(code))]
    Status {
        /// The method and the URL.
        request: String,
        /// The answer.
        status: StatusCode,
        /// The service's own word for it, such as `AccessDenied`.
        code: String,
        /// What the service wants one to do, as far as it is known.
        hint: Option<&'static str>,
        /// How long it wants one to wait.
        retry_after: Option<Duration>,
    },
    /// No answer came.
    #[error("{request}: {reason}")]
    Transport {
        /// The method and the URL.
        request: String,
        /// What went wrong.
        reason: String,
        /// Another attempt may succeed.
        transient: bool,
    },
    /// The answer broke off, or what is sent could not be read.
    #[error("{request} broke off")]
    Broken {
        /// The method and the URL.
        request: String,
        /// How.
        source: io::Error,
    },
    /// A list is longer than any.
    #[error("{request}: the answer is longer than {limit} bytes")]
    TooLong {
        /// The method and the URL.
        request: String,
        /// The limit.
        limit: u64,
    },
    /// The answer is not what the protocol has there.
    #[error("{request}: {reason}")]
    Answer {
        /// The method and the URL.
        request: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing of that name.
    #[error("there is no {name}")]
    Missing {
        /// The name.
        name: String,
    },
    /// Nobody has said how the service is reached, as on a machine that is none of its own.
    #[error("{service} is not to be had here: {missing}")]
    Absent {
        /// The service.
        service: &'static str,
        /// What is not said.
        missing: &'static str,
    },
    /// It took longer than it may.
    #[error("it was not done within {} seconds", limit.as_secs())]
    Late {
        /// The limit.
        limit: Duration,
    },
    /// What was brought in cannot be written.
    #[error("cannot write what {request} gives")]
    Sink {
        /// The method and the URL.
        request: String,
        /// Why.
        source: io::Error,
    },
    /// Connections cannot be made at all.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The build was given up.
    #[error("canceled")]
    Canceled,
}

fn said(code: &str) -> String {
    if code.is_empty() {
        String::new()
    } else {
        format!(" ({code})")
    }
}

impl ServiceError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Status { hint, .. } => hint.map(str::to_owned),
            Self::Late { .. } => Some("give it longer: timeout=30m".to_owned()),
            _ => None,
        }
    }

    /// Whether it says that there is no such thing.
    pub(super) fn is_missing(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == StatusCode::NOT_FOUND,
            Self::Missing { .. } => true,
            _ => false,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => is_transient_status(*status),
            Self::Transport { transient, .. } => *transient,
            Self::Broken { .. } => true,
            _ => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// How long an operation may go on.
pub(crate) struct Patience<'a> {
    canceled: &'a (dyn Fn() -> bool + Sync),
    until: Option<(Instant, Duration)>,
}

impl<'a> Patience<'a> {
    /// Begins now and ends with the limit, or once `canceled` says yes.
    pub(crate) fn new(canceled: &'a (dyn Fn() -> bool + Sync), limit: Option<Duration>) -> Self {
        Self {
            canceled,
            until: limit.map(|limit| (Instant::now() + limit, limit)),
        }
    }

    /// Fails at the end; returns how long there is until then.
    pub(super) fn left(&self) -> Result<Option<Duration>, ServiceError> {
        if (self.canceled)() {
            return Err(ServiceError::Canceled);
        }
        let Some((until, limit)) = self.until else {
            return Ok(None);
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ServiceError::Late { limit });
        }
        Ok(Some(left))
    }
}

/// A request as it is made once.
pub(super) struct Call<'a> {
    method: &'static str,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Option<(Box<dyn Read + 'a>, u64)>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: &'static str, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Asks for what comes after the first `offset` bytes.
    pub(super) fn after(self, offset: u64) -> Self {
        match offset {
            0 => self,
            _ => self.with("range", format!("bytes={offset}-")),
        }
    }

    /// Sends so many bytes of a reader.
    pub(super) fn sending(mut self, reader: Box<dyn Read + 'a>, length: u64) -> Self {
        self.body = Some((reader, length));
        self.with("content-length", length.to_string())
    }

    /// Sends a document.
    pub(super) fn sending_bytes(self, bytes: Vec<u8>) -> Self {
        let length = bytes.len() as u64;
        self.sending(Box::new(io::Cursor::new(bytes)), length)
    }

    /// Sends JSON.
    pub(super) fn sending_json(self, value: &serde_json::Value) -> Self {
        self.with("content-type", "application/json")
            .sending_bytes(value.to_string().into_bytes())
    }

    /// Returns what messages call it: no query, which may be a signature.
    fn name(&self) -> String {
        let url = self.url.split('?').next().unwrap_or_default();
        format!("{} {url}", self.method)
    }
}

/// An answer, and what was asked.
pub(super) struct Answer {
    pub(super) request: String,
    pub(super) response: Response<Body>,
}

impl Answer {
    /// Returns a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Returns the body, if it has no more than `limit` bytes.
    pub(super) fn bytes(mut self, limit: u64) -> Result<Vec<u8>, ServiceError> {
        let mut bytes = Vec::new();
        let reader = self.response.body_mut().as_reader();
        if let Err(source) = reader.take(limit + 1).read_to_end(&mut bytes) {
            let request = self.request;
            return Err(ServiceError::Broken { request, source });
        }
        if bytes.len() as u64 > limit {
            let request = self.request;
            return Err(ServiceError::TooLong { request, limit });
        }
        Ok(bytes)
    }

    /// Returns the body as JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, ServiceError> {
        let request = self.request.clone();
        let bytes = self.bytes(MAX_JSON)?;
        serde_json::from_slice(&bytes).map_err(|error| ServiceError::Answer {
            request,
            reason: error.to_string(),
        })
    }
}

/// The longest answer that is read besides lists, in bytes.
const MAX_JSON: u64 = 4 << 20;

/// Connections to a service; cheap to clone.
#[derive(Clone)]
pub(super) struct Service {
    http: Arc<HttpClient>,
    /// Advice on its refusals.
    advice: fn(StatusCode, &str) -> Option<&'static str>,
}

impl Service {
    /// Returns a service that is reached as `http` says; nothing is connected yet.
    pub(super) fn new(
        http: &HttpClient,
        advice: fn(StatusCode, &str) -> Option<&'static str>,
    ) -> Self {
        Self {
            http: Arc::new(HttpClient::new(http.config().clone())),
            advice,
        }
    }

    /// Makes a request, again if that may help, and takes what is wanted from the answer.
    pub(super) fn run<'a, T>(
        &self,
        patience: &Patience<'_>,
        make: &dyn Fn() -> io::Result<Call<'a>>,
        take: &dyn Fn(Answer) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let mut failures = 0;
        loop {
            patience.left()?;
            let call = make().map_err(|source| ServiceError::Broken {
                request: "what is to be sent".to_owned(),
                source,
            })?;
            match self.send(call, patience).and_then(take) {
                Err(error) if error.is_transient() => {
                    failures += 1;
                    self.pause(failures, error, patience)?;
                }
                other => return other,
            }
        }
    }

    /// Waits before the attempt that follows so many failures in a row; fails with the last one's
    /// error if there is to be none.
    pub(super) fn pause(
        &self,
        failures: u32,
        error: ServiceError,
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError> {
        let left = patience.left()?;
        let policy = self.http.config().retry;
        let Some(delay) = policy.delay(failures, error.retry_after()) else {
            return Err(error);
        };
        std::thread::sleep(left.map_or(delay, |left| left.min(delay)));
        Ok(())
    }

    fn send(&self, call: Call<'_>, patience: &Patience<'_>) -> Result<Answer, ServiceError> {
        let name = call.name();
        let failed = |error: &ureq::Error| ServiceError::Transport {
            request: name.clone(),
            reason: describe(error),
            transient: is_transient(error),
        };
        let mut request = Request::builder().method(call.method).uri(&call.url);
        for (header, value) in &call.headers {
            request = request.header(*header, value);
        }
        let agent = self.http.agent(&call.url, Trust::Verified)?;
        let left = patience.left()?;
        let invalid = |error: ureq::http::Error| failed(&ureq::Error::Http(error));
        let answer = match call.body {
            None => {
                let request = request.body(()).map_err(invalid)?;
                let request = agent.configure_request(request).timeout_global(left);
                agent.run(request.build())
            }
            Some((reader, length)) => {
                let mut reader = reader.take(length);
                let request = request.body(SendBody::from_reader(&mut reader));
                let request = request.map_err(invalid)?;
                let request = agent.configure_request(request).timeout_global(left);
                agent.run(request.build())
            }
        };
        let response = answer.map_err(|error| {
            // The whole request's limit is that of the operation.
            match patience.left() {
                Err(over) => over,
                Ok(_) => failed(&error),
            }
        })?;
        if response.status().is_success() {
            let request = name;
            return Ok(Answer { request, response });
        }
        Err(self.refusal(name, response))
    }

    fn refusal(&self, request: String, mut response: Response<Body>) -> ServiceError {
        let status = response.status();
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let named = header("x-ms-error-code").map(str::to_owned);
        let retry_after = header("retry-after").and_then(|seconds| seconds.trim().parse().ok());
        let mut text = String::new();
        let reader = response.body_mut().as_reader();
        // Only the words are lost if it cannot be read.
        let _ = reader.take(MAX_ANSWER).read_to_string(&mut text);
        let code = named.unwrap_or_else(|| code(&text));
        ServiceError::Status {
            request,
            status,
            hint: (self.advice)(status, &code),
            code,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }
}

/// Returns the word for an error: in the XML of S3 and Azure, in the JSON of GitHub and Twirp.
fn code(text: &str) -> String {
    let xml = || {
        let (_, rest) = text.split_once("<Code>")?;
        Some(rest.split_once("</Code>")?.0.to_owned())
    };
    let json = || {
        // GitHub's first answers begin with a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        let fields: serde_json::Value = serde_json::from_str(text).ok()?;
        let mut words = ["typeKey", "code", "message"].into_iter();
        words.find_map(|word| Some(fields.get(word)?.as_str()?.to_owned()))
    };
    xml().or_else(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_for_an_error_is_found_in_each_services_answer() {
        for (text, expected) in [
            ("<Error><Code>NoSuchKey</Code></Error>", "NoSuchKey"),
            (
                "\u{feff}{\"typeKey\":\"ArtifactCacheItemAlreadyExistsException\",\"message\":\"m\"}",
                "ArtifactCacheItemAlreadyExistsException",
            ),
            (r#"{"code":"already_exists","msg":"m"}"#, "already_exists"),
            (r#"{"message":"Bad credentials"}"#, "Bad credentials"),
            ("<html>", ""),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
    }

    #[test]
    fn a_signature_is_in_no_message() {
        let call = Call::new("PUT", "https://h/c/b?sv=1&sig=secret");
        assert_eq!(call.name(), "PUT https://h/c/b");
    }

    #[test]
    fn patience_ends_with_its_limit_and_with_the_build() {
        let no = || false;
        assert!(matches!(Patience::new(&no, None).left(), Ok(None)));
        let over = Patience::new(&no, Some(Duration::ZERO)).left();
        assert!(matches!(over, Err(ServiceError::Late { .. })), "{over:?}");
        let canceled = Patience::new(&|| true, None).left();
        assert!(matches!(canceled, Err(ServiceError::Canceled)));
    }
}
