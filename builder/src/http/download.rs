//! Downloads of plain URLs, as `ADD <url>` makes them.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use cooper_oci::{Algorithm, Digest, Hasher};
use ureq::Body;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, StatusCode, Uri, header};

use super::{BUFFER, HttpClient, HttpError, Trust, describe, is_transient, redact, text};

impl HttpClient {
    /// Downloads `request` into the writer that `open` gives, whole or not at all;
    /// `open` is called again if the bytes so far must be dropped.
    pub fn download<W: Write>(
        &self,
        request: &HttpRequest<'_>,
        open: &mut dyn FnMut() -> io::Result<W>,
    ) -> Result<Download<W>, HttpError> {
        let mut transfer = Transfer::new(self, request)?;
        let mut failures = 0;
        loop {
            let before = transfer.received;
            let error = match transfer.attempt(open) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            failures = if transfer.received > before {
                1
            } else {
                failures + 1
            };
            match self
                .config
                .retry
                .delay(failures, None)
                .filter(|_| error.is_transient())
            {
                Some(pause) => std::thread::sleep(pause),
                None => return Err(error),
            }
        }
    }
}

/// What to download.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpRequest<'a> {
    /// An `http://` or `https://` URL.
    pub url: &'a str,
    /// The entity tag of a copy that is at hand.
    pub etag: Option<&'a str>,
    /// The modification time of a copy that is at hand, as the server wrote it.
    pub last_modified: Option<&'a str>,
    /// The digest that the content must have.
    pub checksum: Option<&'a Digest>,
    /// The value of the `Authorization` header, which other hosts never get.
    pub authorization: Option<&'a str>,
    /// Is told how far the download has come.
    pub meter: Option<&'a Meter>,
}

/// How far a download has come, for another thread to look at.
#[derive(Debug, Default)]
pub struct Meter {
    received: AtomicU64,
    /// 0 while it is not known.
    total: AtomicU64,
}

impl Meter {
    /// Returns the bytes so far, and those in all if the server has said.
    pub fn read(&self) -> (u64, Option<u64>) {
        let total = self.total.load(Ordering::Relaxed);
        let received = self.received.load(Ordering::Relaxed);
        (received, (total > 0).then_some(total))
    }

    fn write(&self, received: u64, total: Option<u64>) {
        self.total.store(total.unwrap_or(0), Ordering::Relaxed);
        self.received.store(received, Ordering::Relaxed);
    }
}

/// What a download brought.
#[derive(Debug)]
pub enum Download<W> {
    /// The copy at hand is the current one.
    NotModified,
    /// The whole content was written.
    Complete(Downloaded<W>),
}

/// A complete download.
#[derive(Debug)]
pub struct Downloaded<W> {
    /// The writer with the whole content.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a file is read by its path afterwards")
    )]
    pub sink: W,
    /// How many bytes there are.
    pub size: u64,
    /// Their digest, by the algorithm of the checksum asked for, else sha256.
    pub digest: Digest,
    /// `Last-Modified`, as the server wrote it.
    pub last_modified: Option<String>,
    /// `ETag`, as the server wrote it.
    pub etag: Option<String>,
}

/// A download in progress over any number of connections.
struct Transfer<'a, W> {
    client: &'a HttpClient,
    request: &'a HttpRequest<'a>,
    shown_url: String,
    sink: Option<W>,
    hasher: Hasher,
    received: u64,
    expected: Option<u64>,
    /// What proves that a later answer is a part of the same content.
    validator: Option<String>,
}

impl<'a, W: Write> Transfer<'a, W> {
    fn new(client: &'a HttpClient, request: &'a HttpRequest<'a>) -> Result<Self, HttpError> {
        let url = request.url;
        let invalid = |reason: &str| HttpError::Url {
            url: redact(url),
            reason: reason.to_owned(),
        };
        let uri: Uri = url
            .parse()
            .map_err(|e: ureq::http::uri::InvalidUri| invalid(&e.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid("only http:// and https:// are supported"));
        }
        Ok(Self {
            client,
            request,
            shown_url: redact(url),
            sink: None,
            hasher: Hasher::new(Algorithm::Sha256),
            received: 0,
            expected: None,
            validator: None,
        })
    }

    fn attempt(
        &mut self,
        open: &mut dyn FnMut() -> io::Result<W>,
    ) -> Result<Download<W>, HttpError> {
        let mut response = self.send()?;
        match response.status() {
            StatusCode::NOT_MODIFIED => return Ok(Download::NotModified),
            StatusCode::PARTIAL_CONTENT if self.resumes(response.headers()) => {}
            status if status.is_success() && status != StatusCode::PARTIAL_CONTENT => {
                self.restart(response.headers(), open)?;
            }
            // A part of something else: drop what came and ask for the whole.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.validator = None;
                let source = io::Error::other("the content changed meanwhile");
                return Err(self.interrupted(source));
            }
            status => {
                return Err(HttpError::Status {
                    url: self.shown_url.clone(),
                    status,
                });
            }
        }
        self.receive(&mut response)?;
        self.finish(&response)
    }

    fn send(&self) -> Result<Response<Body>, HttpError> {
        let request = self.request;
        let mut call = self
            .client
            .agent(request.url, Trust::Verified)?
            .get(request.url)
            .config()
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .build();
        if let Some(authorization) = request.authorization {
            call = call.header(header::AUTHORIZATION, authorization);
        }
        if let (Some(validator), true) = (&self.validator, self.received > 0) {
            call = call
                .header(header::RANGE, format!("bytes={}-", self.received))
                .header(header::IF_RANGE, validator);
        } else if let Some(etag) = request.etag {
            call = call.header(header::IF_NONE_MATCH, etag);
        } else if let Some(time) = request.last_modified {
            call = call.header(header::IF_MODIFIED_SINCE, time);
        }
        call.call().map_err(|error| HttpError::Transport {
            url: self.shown_url.clone(),
            reason: describe(&error),
            transient: is_transient(&error),
        })
    }

    fn resumes(&self, headers: &HeaderMap) -> bool {
        let range = text(headers, &header::CONTENT_RANGE).unwrap_or_default();
        range.starts_with(&format!("bytes {}-", self.received)) && self.sink.is_some()
    }

    fn restart(
        &mut self,
        headers: &HeaderMap,
        open: &mut dyn FnMut() -> io::Result<W>,
    ) -> Result<(), HttpError> {
        let url = &self.shown_url;
        self.sink = Some(open().map_err(|source| HttpError::Sink {
            url: url.clone(),
            source,
        })?);
        let algorithm = self
            .request
            .checksum
            .map_or(Algorithm::Sha256, Digest::algorithm);
        self.hasher = Hasher::new(algorithm);
        self.received = 0;
        self.expected = text(headers, &header::CONTENT_LENGTH).and_then(|n| n.parse().ok());
        let strong_etag = text(headers, &header::ETAG).filter(|tag| !tag.starts_with("W/"));
        self.validator = strong_etag.or_else(|| text(headers, &header::LAST_MODIFIED));
        Ok(())
    }

    fn receive(&mut self, response: &mut Response<Body>) -> Result<(), HttpError> {
        let mut reader = response.body_mut().as_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.interrupted(source)),
            };
            self.hasher.update(&buffer[..count]);
            if let Some(sink) = &mut self.sink {
                sink.write_all(&buffer[..count])
                    .map_err(|source| HttpError::Sink {
                        url: self.shown_url.clone(),
                        source,
                    })?;
            }
            self.received += count as u64;
            if let Some(meter) = self.request.meter {
                meter.write(self.received, self.expected);
            }
        }
        if self
            .expected
            .is_some_and(|expected| expected != self.received)
        {
            return Err(self.interrupted(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    fn interrupted(&self, source: io::Error) -> HttpError {
        HttpError::Interrupted {
            url: self.shown_url.clone(),
            received: self.received,
            expected: self.expected,
            source,
        }
    }

    fn finish(&mut self, response: &Response<Body>) -> Result<Download<W>, HttpError> {
        let digest = self.hasher.clone().finish();
        if let Some(expected) = self
            .request
            .checksum
            .filter(|expected| **expected != digest)
        {
            return Err(HttpError::Checksum {
                url: self.shown_url.clone(),
                expected: expected.clone(),
                actual: digest,
            });
        }
        let sink = self
            .sink
            .take()
            .expect("an answer that is received has a sink");
        let headers = response.headers();
        Ok(Download::Complete(Downloaded {
            sink,
            size: self.received,
            digest,
            last_modified: text(headers, &header::LAST_MODIFIED),
            etag: text(headers, &header::ETAG),
        }))
    }
}
