//! Sending a blob: by one request, or in blocks, several at once.
//!
//! "Put Blob", "Put Block" and "Put Block List" of the REST API of Azure's Blob service.

use std::fmt::Write as _;
use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::service::{Patience, Service, ServiceError};
use super::super::sign::encode_query;
use super::account::{Account, ask};
use crate::http::at_once;

/// What a block is, and a blob that is sent in one go.
const BYTES: &str = "application/octet-stream";

/// A blob, and how it is reached.
pub(in super::super) struct Blob<'a> {
    pub(in super::super) service: &'a Service,
    /// Its address, with the signature if that is how it is reached.
    pub(in super::super) url: &'a str,
    /// Who asks, if the address does not say.
    pub(in super::super) account: Option<&'a Account>,
    /// How many blocks travel at once.
    pub(in super::super) parallel: usize,
}

impl Blob<'_> {
    /// Sends the parts as one blob.
    pub(in super::super) fn put(
        &self,
        open: &(dyn Fn(u64) -> io::Result<Box<dyn Read>> + Sync),
        parts: &[(u64, u64)],
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError> {
        if let [] | [_] = parts {
            let length = parts.first().map_or(0, |(_, length)| *length);
            let kind = [("x-ms-blob-type", "BlockBlob"), ("content-type", BYTES)];
            return self.send("", &kind, patience, &|| Ok((open(0)?, length)));
        }
        // All names are of one length, as the service wants them.
        let name = |number: usize| STANDARD.encode(format!("{number:06}"));
        let numbered: Vec<_> = parts.iter().enumerate().collect();
        at_once(&numbered, self.parallel, |(number, part)| {
            let (start, length) = **part;
            let query = format!("comp=block&blockid={}", encode_query(&name(*number)));
            let kind = [("content-type", BYTES)];
            self.send(&query, &kind, patience, &|| Ok((open(start)?, length)))
        })?;
        let mut list = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>".to_owned();
        for number in 0..parts.len() {
            let _ = write!(list, "<Latest>{}</Latest>", name(number));
        }
        list.push_str("</BlockList>");
        let kind = [("content-type", "application/xml")];
        self.send("comp=blocklist", &kind, patience, &|| {
            let length = list.len() as u64;
            let list: Box<dyn Read> = Box::new(io::Cursor::new(list.clone().into_bytes()));
            Ok((list, length))
        })
    }

    fn send(
        &self,
        query: &str,
        headers: &[(&'static str, &str)],
        patience: &Patience<'_>,
        body: &dyn Fn() -> io::Result<(Box<dyn Read>, u64)>,
    ) -> Result<(), ServiceError> {
        let url = match (query, self.url.contains('?')) {
            ("", _) => self.url.to_owned(),
            (query, true) => format!("{}&{query}", self.url),
            (query, false) => format!("{}?{query}", self.url),
        };
        let make = || {
            let (reader, length) = body()?;
            Ok(ask(self.account, "PUT", &url, headers, length).sending(reader, length))
        };
        self.service.run(patience, &make, &|_| Ok(()))
    }
}
