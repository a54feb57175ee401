//! Registries: resolving, pulling and pushing images over the OCI distribution
//! specification (v1.1), with docker's rules for names, mirrors and credentials.
//!
//! Owns the protocol, authentication, retries and verification. It knows no
//! store: blobs go to any [`std::io::Write`] and come from any
//! [`std::io::Read`]. Calls block; a [`Client`] is cheap to clone and is shared
//! by threads.
//!
//! Invariants:
//! - No content is handed out that does not have the digest and size it was asked
//!   for by; a manifest asked for by tag must have the digest that the registry
//!   itself states.
//! - Credentials go to the host they are for and to the token server that it
//!   names, never to where a redirect leads.
//! - Mirrors only serve pulls and are tried in order, then the registry itself, or what stands
//!   in its place by `registries.conf`.
//!   An error names every endpoint tried and what each answered.
//!
//! `docs/distribution.md` names the test of each endpoint and of each fault. Endpoints used
//! (specification's numbers): end-1 `GET /v2/`, end-2 blobs, end-3
//! manifests, end-4a/4b and end-5/6 uploads in parts, end-7 `PUT` manifest, end-11
//! mount, end-13 upload status, and docker's `DELETE` of an upload.

mod auth;
mod blob;
mod config;
mod credential_helper;
mod credentials;
mod document;
mod error;
mod push;
mod resolve;
mod rules;
mod transport;
mod upload;

use std::sync::Arc;

pub use config::{ConfigError, RegistryConfig};
pub use credentials::{Credential, Credentials, Kept, domain_of};
pub use document::RemoteDocument;
pub use error::{Attempt, Failure, RegistryError};

pub use push::{PushImage, PushManifest};
pub use resolve::Resolved;
pub use rules::{Rules, ShortNames};

use cooper_oci::Digest;

use crate::http::HttpClient;

/// A client of all registries.
#[derive(Clone)]
pub struct Client {
    inner: Arc<transport::Transport>,
}

impl Client {
    /// Makes a client; nothing is read or connected yet.
    pub fn new(config: RegistryConfig, credentials: Credentials) -> Self {
        let http = HttpClient::new(config.http.clone());
        Self {
            inner: Arc::new(transport::Transport::new(config, credentials, http)),
        }
    }

    /// Asks the registry `domain` (as in references) whether it knows `credential`; returns what
    /// is to be kept of it.
    pub fn log_in(
        &self,
        domain: &str,
        credential: &Credential,
    ) -> Result<Credential, RegistryError> {
        self.inner.log_in_to(domain, credential)
    }

    /// Returns what is known about how to identify oneself.
    pub fn credentials(&self) -> &Credentials {
        &self.inner.credentials
    }

    /// Returns the connections, for plain downloads.
    pub fn http(&self) -> &HttpClient {
        &self.inner.http
    }
}

/// What happens during a call.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A blob's transfer is `done` bytes far; the first of a transfer says 0.
    Transfer {
        /// The blob.
        digest: &'a Digest,
        /// Bytes that have been moved.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A blob need not be pushed: the repository has it already.
    Exists {
        /// The blob.
        digest: &'a Digest,
    },
    /// A blob need not be pushed: the registry took it from another repository.
    Mounted {
        /// The blob.
        digest: &'a Digest,
        /// The repository it was taken from.
        from: &'a str,
    },
    /// Something failed and is tried again.
    Retrying {
        /// What failed.
        failure: &'a Failure,
    },
}

/// Watches a call: hears what happens and may end it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Called from any of the call's threads.
    pub event: &'a (dyn Fn(&Event<'_>) + Sync),
    /// Asked often; once it says yes the call ends with
    /// [`RegistryError::Canceled`].
    pub canceled: &'a (dyn Fn() -> bool + Sync),
}

impl Watch<'_> {
    /// Hears nothing and never cancels.
    pub fn none() -> Watch<'static> {
        Watch {
            event: &|_| {},
            canceled: &|| false,
        }
    }

    fn emit(&self, event: &Event<'_>) {
        (self.event)(event);
    }

    fn check(&self) -> Result<(), Failure> {
        if (self.canceled)() {
            Err(Failure::Canceled)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
