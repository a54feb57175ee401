//! What can go wrong with a registry, and what the user can do about it.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use cooper_oci::{Digest, DocumentError, Platform, Reference};

use super::credentials::CredentialError;
use crate::http::HttpError;

/// What a call that logs in says it could not do.
pub(super) const LOG_IN: &str = "log in to";

/// An error as registries report it (distribution specification, "Error codes").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// `MANIFEST_UNKNOWN`, `DENIED`, …
    pub code: String,
    /// The registry's words; may be empty.
    pub message: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", message) => f.write_str(message),
            (code, "") => f.write_str(code),
            (code, message) => write!(f, "{code} ({message})"),
        }
    }
}

/// Why one request to one endpoint failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The registry refused.
    #[error("{method} {url}: {status}{}", list(errors))]
    Status {
        /// The request's method.
        method: String,
        /// The request's URL.
        url: String,
        /// The status with its reason.
        status: ureq::http::StatusCode,
        /// What the registry says about it.
        errors: Vec<ApiError>,
        /// The pause that the registry asks for.
        retry_after: Option<Duration>,
        /// Credentials were sent.
        authenticated: bool,
    },
    /// No answer came.
    #[error("{method} {url}: {reason}")]
    Transport {
        /// The request's method.
        method: String,
        /// The request's URL.
        url: String,
        /// What went wrong on the way.
        reason: String,
        /// Another attempt may succeed.
        transient: bool,
        /// The server's host name has no address.
        unknown_host: bool,
    },
    /// The answer broke off.
    #[error("GET {url}: the connection broke after {received} of {expected} bytes: {source}")]
    Interrupted {
        /// The request's URL.
        url: String,
        /// Bytes that came.
        received: u64,
        /// Bytes that were due.
        expected: u64,
        /// How it broke.
        source: io::Error,
    },
    /// The content is not what it should be.
    #[error("{url} sent wrong content: the digest is {actual}, not {expected}")]
    Digest {
        /// The request's URL.
        url: String,
        /// The digest it should have.
        expected: Digest,
        /// The digest it has.
        actual: Digest,
    },
    /// The content is longer than it should be.
    #[error("{url} sent more than the {limit} bytes that are due")]
    TooLong {
        /// The request's URL.
        url: String,
        /// How many bytes are due.
        limit: u64,
    },
    /// The server has less than it should have.
    #[error("{url} has {actual} bytes, but {expected} are due")]
    Size {
        /// The request's URL.
        url: String,
        /// How many bytes are due.
        expected: u64,
        /// How many bytes there are.
        actual: u64,
    },
    /// A manifest or configuration cannot be understood.
    #[error("{url} sent an unusable document: {source}")]
    Document {
        /// The request's URL.
        url: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// The answer breaks the protocol.
    #[error("{method} {url}: the registry broke the protocol: {what}")]
    Protocol {
        /// The request's method.
        method: String,
        /// The request's URL.
        url: String,
        /// What is missing or wrong.
        what: String,
    },
    /// No token could be had.
    #[error("cannot get a token for {host}: {source}")]
    Token {
        /// The registry that wants the token.
        host: String,
        /// Why.
        source: Box<Failure>,
    },
    /// No credentials could be had.
    #[error("{source}")]
    Credentials {
        /// Why.
        #[from]
        source: CredentialError,
    },
    /// Connections cannot be made at all.
    #[error("{source}")]
    Http {
        /// Why.
        #[from]
        source: HttpError,
    },
    /// What came cannot be written here.
    #[error("cannot write the blob {digest}: {source}")]
    Sink {
        /// The blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// What is to be sent cannot be read here.
    #[error("cannot read the blob {digest}: {source}")]
    Source {
        /// The blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// The mirror was not asked, as it was out of order before.
    #[error("not asked again after: {reason}")]
    Skipped {
        /// What was wrong with it.
        reason: String,
    },
    /// The caller ended it.
    #[error("canceled")]
    Canceled,
}

fn list(errors: &[ApiError]) -> String {
    let texts: Vec<String> = errors.iter().map(ApiError::to_string).collect();
    if texts.is_empty() {
        String::new()
    } else {
        format!(": {}", texts.join("; "))
    }
}

impl Failure {
    /// Returns the status that a registry answered with.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(status.as_u16()),
            _ => None,
        }
    }

    /// Whether the server does not know who asks, or what for.
    fn is_refused(&self) -> bool {
        match self {
            Self::Token { source, .. } => source.is_refused(),
            other => matches!(other.status(), Some(401 | 403)),
        }
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => crate::http::is_transient_status(*status),
            Self::Transport { transient, .. } => *transient,
            Self::Interrupted { .. } => true,
            Self::Token { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// Whether the endpoint as a whole is out of order, not just one answer wrong.
    pub(super) fn is_outage(&self) -> bool {
        matches!(self, Self::Transport { .. }) || self.is_transient()
    }

    /// Whether other endpoints cannot help: the fault is on this side.
    pub(super) fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Sink { .. } | Self::Source { .. } | Self::Canceled
        )
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Token { source, .. } => source.retry_after(),
            _ => None,
        }
    }

    fn hint(&self, host: &str) -> Option<String> {
        match self {
            Self::Token { source, .. } => source.hint(host),
            Self::Status {
                status,
                authenticated,
                ..
            } => match status.as_u16() {
                401 | 403 if *authenticated => Some(format!(
                    "the stored credentials for {host} do not allow this: check the repository's name, or log in again with `cooper login {host}`"
                )),
                401 | 403 => Some(format!(
                    "check the repository's name; if it is private, log in with `cooper login {host}`"
                )),
                404 => Some("check the spelling of the repository and the tag".to_owned()),
                429 => Some(format!(
                    "the registry limits requests: wait, log in with `cooper login {host}`, or use a mirror"
                )),
                _ => None,
            },
            Self::Transport {
                unknown_host: true, ..
            } => Some(format!(
                "check the name {host} and this machine's DNS; without a direct connection, set a mirror or a proxy"
            )),
            Self::Transport { url, reason, .. } if url.starts_with("https:") => {
                let lower = reason.to_lowercase();
                (lower.contains("certificate") || lower.contains("corrupt message") || lower.contains("tls"))
                    .then(|| format!("if {host} has a certificate of its own, add its authority (SSL_CERT_FILE); if it speaks plain HTTP, name it an insecure registry"))
            }
            Self::Transport { .. } => Some(format!(
                "check that {host} is up and can be reached from here"
            )),
            _ => None,
        }
    }
}

/// What one endpoint answered in the end.
#[derive(Debug)]
pub struct Attempt {
    /// The mirror's or the registry's host and port.
    pub host: String,
    /// It is a mirror.
    pub mirror: bool,
    /// Why it did not serve.
    pub failure: Failure,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.mirror { "mirror" } else { "registry" };
        write!(f, "{role} {}: {}", self.host, self.failure)
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No endpoint served. The message has a line for each one tried.
    #[error("cannot {action} {subject}{}", lines(attempts))]
    Failed {
        /// `resolve`, `pull`, `push`, `log in to`.
        action: &'static str,
        /// The image, or the blob of an image.
        subject: String,
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
    /// The image is not made for the platform.
    #[error("{reference} has no image for {wanted}; it has {}", names(available))]
    NoPlatform {
        /// The image.
        reference: Box<Reference>,
        /// The platform asked for.
        wanted: Box<Platform>,
        /// The platforms it has.
        available: Vec<Platform>,
    },
    /// What the reference names is something else than an image.
    #[error("{reference} is no image: its media type is {media_type:?}")]
    NotAnImage {
        /// The reference.
        reference: Box<Reference>,
        /// The type it has.
        media_type: String,
    },
    /// There is no manifest to push.
    #[error("nothing to push to {reference}: the image has no manifest")]
    NothingToPush {
        /// The image.
        reference: Box<Reference>,
    },
    /// Indexes name indexes without end.
    #[error("{reference} nests image indexes more than {limit} deep")]
    Nesting {
        /// The image.
        reference: Box<Reference>,
        /// How deep is allowed.
        limit: usize,
    },
    /// A document is larger than any sensible one.
    #[error("{subject} is {size} bytes long (at most {limit} are accepted)")]
    Oversized {
        /// The document.
        subject: String,
        /// Its size.
        size: u64,
        /// The largest accepted size.
        limit: u64,
    },
    /// The configuration of registries is wrong.
    #[error(transparent)]
    Config(#[from] super::ConfigError),
    /// A blob cannot be written or read on this machine.
    #[error("cannot {verb} the blob {digest}")]
    Local {
        /// `write` or `read`.
        verb: &'static str,
        /// The blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// The caller ended it.
    #[error("canceled")]
    Canceled,
}

fn lines(attempts: &[Attempt]) -> String {
    match attempts {
        [only] => format!(": {only}"),
        many => many
            .iter()
            .flat_map(|attempt| ["\n  ".to_owned(), attempt.to_string()])
            .collect(),
    }
}

fn names(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none".to_owned();
    }
    platforms
        .iter()
        .map(Platform::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl RegistryError {
    /// Returns advice for the user. It is not part of the message.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Failed {
                action: LOG_IN,
                attempts,
                ..
            } if attempts.iter().any(|a| a.failure.is_refused()) => {
                Some("check the user name and the password; many registries want an access token for one".to_owned())
            }
            // The registry itself comes last and knows best.
            Self::Failed { attempts, .. } => {
                attempts.iter().rev().find_map(|a| a.failure.hint(&a.host))
            }
            Self::NoPlatform { available, .. } => {
                let first = available.first()?;
                Some(format!(
                    "build for one that it has, for example with --platform {first}"
                ))
            }
            _ => None,
        }
    }

    /// Whether the registry said that there is no such image.
    #[cfg(test)]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Failed { attempts, .. }
            if attempts.last().is_some_and(|a| a.failure.status() == Some(404)))
    }

    pub(super) fn failed(
        action: &'static str,
        subject: impl fmt::Display,
        mut attempts: Vec<Attempt>,
    ) -> Self {
        match attempts.pop() {
            Some(Attempt {
                failure: Failure::Canceled,
                ..
            }) => Self::Canceled,
            Some(Attempt {
                failure: Failure::Sink { digest, source },
                ..
            }) => Self::Local {
                verb: "write",
                digest,
                source,
            },
            Some(Attempt {
                failure: Failure::Source { digest, source },
                ..
            }) => Self::Local {
                verb: "read",
                digest,
                source,
            },
            last => {
                attempts.extend(last);
                Self::Failed {
                    action,
                    subject: subject.to_string(),
                    attempts,
                }
            }
        }
    }
}

/// A file that an error is about; kept apart so that messages quote it alike.
pub(super) fn show(path: &Path) -> impl fmt::Display + '_ {
    path.display()
}
