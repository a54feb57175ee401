//! A shared cache in a container of Azure's Blob storage.
//!
//! ```text
//! [PREFIX/]manifests/NAME        the list, by each of its names
//! [PREFIX/]blobs/sha256:HEX      layers
//! ```
//!
//! The layout is BuildKit's. The container is made if it is not there. Blobs appear when they are
//! complete: one that is sent in blocks is nothing before the list of its blocks has come.

mod account;
mod blob;

use std::io::Read;

use cooper_oci::Descriptor;
use ureq::http::StatusCode;

use super::MAX_DOCUMENT;
use super::service::{Answer, Call, Patience, Service, ServiceError};
use super::shelf::{Payload, Shelf, first_of, of_size, parts, rest};
use super::sign::encode_path;
use crate::http::HttpClient;
use crate::options::ContainerPlace;
pub(super) use account::Account;
use account::ask;
pub(super) use blob::Blob;

/// How many blocks a blob can have.
pub(super) const MAX_BLOCKS: u64 = 50_000;

/// Advice on what the storage refuses.
fn advice(status: StatusCode, code: &str) -> Option<&'static str> {
    match (status.as_u16(), code) {
        (401 | 403, _) => Some(
            "check secret_access_key= and account_name=: the key is one of the account's, in base64",
        ),
        (400, "OutOfRangeInput" | "InvalidResourceName") => {
            Some("check container=: a name is of 3 to 63 lower-case letters, digits and hyphens")
        }
        _ => None,
    }
}

/// A container and how it is reached.
pub(super) struct Container {
    place: ContainerPlace,
    account: Option<Account>,
    service: Service,
}

impl Container {
    /// Returns the container of `place`; nothing is connected yet.
    pub(super) fn new(place: &ContainerPlace, http: &HttpClient) -> Self {
        let account = place.key.as_ref().map(|key| Account {
            name: place.account_name(),
            key: key.clone(),
        });
        Self {
            place: place.clone(),
            account,
            service: Service::new(http, advice),
        }
    }

    fn url(&self, key: &str) -> String {
        let path = encode_path(&format!("/{}/{key}", self.place.container));
        format!("{}{path}", self.place.account_url.trim_end_matches('/'))
    }

    fn ask<'b>(&self, method: &'static str, key: &str, offset: u64) -> Call<'b> {
        let range = format!("bytes={offset}-");
        let headers = [("range", &*range)];
        let headers = if offset == 0 { &[][..] } else { &headers };
        ask(self.account.as_ref(), method, &self.url(key), headers, 0)
    }

    fn blob<'b>(&'b self, url: &'b str) -> Blob<'b> {
        Blob {
            service: &self.service,
            url,
            account: self.account.as_ref(),
            parallel: self.place.parallel,
        }
    }

    /// Makes the container unless it is there.
    fn ensure(&self, patience: &Patience<'_>) -> Result<(), ServiceError> {
        let url = self.url("");
        let url = format!("{}?restype=container", url.trim_end_matches('/'));
        let make = || Ok(ask(self.account.as_ref(), "PUT", &url, &[], 0).sending_bytes(Vec::new()));
        match self.service.run(patience, &make, &|_| Ok(())) {
            Err(ServiceError::Status { status, .. }) if status == StatusCode::CONFLICT => Ok(()),
            other => other,
        }
    }
}

impl Shelf for Container {
    fn service(&self) -> &Service {
        &self.service
    }

    fn prepare(&self, patience: &Patience<'_>) -> Result<(), ServiceError> {
        self.ensure(patience)
    }

    fn lists(&self, patience: &Patience<'_>) -> Result<Vec<(String, Vec<u8>)>, ServiceError> {
        let names = self.place.names.iter();
        first_of(names.map(|name| self.place.manifest(name)), |key| {
            let make = || Ok(self.ask("GET", key, 0));
            let read = |answer: Answer| answer.bytes(MAX_DOCUMENT);
            let list = self.service.run(patience, &make, &read)?;
            Ok((self.url(key), list))
        })
    }

    fn has(&self, blob: &Descriptor, patience: &Patience<'_>) -> Result<bool, ServiceError> {
        let key = self.place.blob(&blob.digest);
        let make = || Ok(self.ask("HEAD", &key, 0));
        let answer = self.service.run(patience, &make, &Ok);
        Ok(of_size(answer, blob.size)?.is_some())
    }

    fn put(&self, payload: &Payload<'_>, patience: &Patience<'_>) -> Result<bool, ServiceError> {
        let url = self.url(&self.place.blob(&payload.blob.digest));
        let parts = parts(payload.blob.size, self.place.part_size, MAX_BLOCKS);
        let open = |offset| payload.open(offset);
        self.blob(&url).put(&open, &parts, patience)?;
        Ok(true)
    }

    fn put_list(&self, list: &[u8], patience: &Patience<'_>) -> Result<(), ServiceError> {
        let open = |_| -> std::io::Result<Box<dyn Read>> {
            Ok(Box::new(std::io::Cursor::new(list.to_vec())))
        };
        let whole = [(0, list.len() as u64)];
        let mut names = self.place.names.iter();
        names.try_for_each(|name| {
            let url = self.url(&self.place.manifest(name));
            self.blob(&url).put(&open, &whole, patience)
        })
    }

    fn open(
        &self,
        blob: &Descriptor,
        offset: u64,
        patience: &Patience<'_>,
    ) -> Result<(String, Box<dyn Read>), ServiceError> {
        let key = self.place.blob(&blob.digest);
        let make = || Ok(self.ask("GET", &key, offset));
        self.service
            .run(patience, &make, &|answer| rest(answer, offset))
    }
}

impl ContainerPlace {
    fn manifest(&self, name: &str) -> String {
        self.below(&self.manifests_prefix, name)
    }

    fn blob(&self, digest: &cooper_oci::Digest) -> String {
        self.below(&self.blobs_prefix, digest.as_str())
    }

    fn below(&self, directory: &str, name: &str) -> String {
        let parts = [&*self.prefix, directory, name];
        let parts = parts.map(|part| part.trim_matches('/'));
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("/")
    }

    /// Returns the account: as it is named, else the first part of the host's name.
    fn account_name(&self) -> String {
        let host = || {
            let (_, after) = self.account_url.split_once("://")?;
            after.split(['.', ':', '/']).next()
        };
        let name = self.account_name.clone();
        name.unwrap_or_else(|| host().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_where_buildkit_keeps_them() {
        let place = ContainerPlace {
            account_url: "https://myaccount.blob.core.windows.net/".to_owned(),
            prefix: "ci/".to_owned(),
            ..ContainerPlace::default()
        };
        assert_eq!(place.account_name(), "myaccount");
        assert_eq!(place.manifest("main"), "ci/manifests/main");
        let container =
            Container::new(&place, &HttpClient::new(crate::http::HttpConfig::default()));
        let url = container.url(&place.blob(&cooper_oci::Digest::sha256("x")));
        let expected =
            "https://myaccount.blob.core.windows.net/buildkit-cache/ci/blobs/sha256%3A2d7116";
        assert!(url.starts_with(expected), "{url}");
    }
}
