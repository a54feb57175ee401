//! Who asks for a blob: the owner of a storage account, by its key.
//!
//! "Authorize with Shared Key" of the REST API of Azure's storage: an HMAC over a canonical form of
//! the request.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::service::Call;
use super::super::sign::hmac;
use crate::options::Token;

/// The version of the API that is spoken.
const VERSION: &str = "2021-08-06";

/// The headers that have a line of their own in what is signed, between the length and the end.
const LINES: [&str; 8] = [
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// A storage account.
#[derive(Clone, Debug)]
pub(in super::super) struct Account {
    pub(super) name: String,
    /// In base64, as Azure gives it.
    pub(super) key: Token,
}

/// Returns a request for a blob; `length` is that of what it will send.
pub(super) fn ask<'b>(
    account: Option<&Account>,
    method: &'static str,
    url: &str,
    headers: &[(&'static str, &str)],
    length: u64,
) -> Call<'b> {
    let owned = headers.iter();
    let mut headers: Vec<_> = owned
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    headers.push(("x-ms-version", VERSION.to_owned()));
    if let Some(account) = account {
        let now = jiff::Timestamp::now();
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        headers.push(("x-ms-date", date));
        let signature = account.signature(method, url, &headers, length);
        let who = format!("SharedKey {}:{signature}", account.name);
        headers.push(("authorization", who));
    }
    let call = Call::new(method, url);
    let headers = headers.into_iter();
    headers.fold(call, |call, (name, value)| call.with(name, value))
}

impl Account {
    fn signature(
        &self,
        method: &str,
        url: &str,
        headers: &[(&'static str, String)],
        length: u64,
    ) -> String {
        let key = STANDARD.decode(self.key.0.trim()).unwrap_or_default();
        let text = self.canonical(method, url, headers, length);
        STANDARD.encode(hmac(&key, text.as_bytes()))
    }

    fn canonical(
        &self,
        method: &str,
        url: &str,
        headers: &[(&'static str, String)],
        length: u64,
    ) -> String {
        let header = |wanted: &str| {
            let mut all = headers.iter();
            all.find(|(name, _)| *name == wanted)
                .map_or("", |(_, value)| value)
        };
        let length = if length == 0 {
            String::new()
        } else {
            length.to_string()
        };
        // Nothing is ever encoded, and no language is said.
        let mut text = format!("{method}\n\n\n{length}\n");
        for name in LINES {
            let _ = writeln!(text, "{}", header(name));
        }
        let mut own: Vec<_> = headers
            .iter()
            .filter(|(name, _)| name.starts_with("x-ms-"))
            .collect();
        own.sort_unstable();
        for (name, value) in own {
            let _ = writeln!(text, "{name}:{value}");
        }
        let after = url.split_once("://").map_or(url, |(_, after)| after);
        let resource = after.find('/').map_or("/", |at| &after[at..]);
        let (path, query) = resource.split_once('?').unwrap_or((resource, ""));
        let _ = write!(text, "/{}{path}", self.name);
        let mut pairs: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).collect();
        pairs.sort_unstable();
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let _ = write!(text, "\n{name}:{}", decode(value));
        }
        text
    }
}

/// Undoes the encoding of a query's value.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let byte = after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        rest = byte.map_or(after, |_| &after[2..]);
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_has_the_form_that_azure_describes() {
        let account = Account {
            name: "myaccount".to_owned(),
            key: Token(STANDARD.encode("key")),
        };
        let headers = [
            ("x-ms-version", "2021-08-06".to_owned()),
            ("content-type", "application/xml".to_owned()),
            ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT".to_owned()),
        ];
        let url = "https://myaccount.blob.core.windows.net/c/b%3Ac?comp=block&blockid=MDA%3D";
        assert_eq!(
            account.canonical("PUT", url, &headers, 3),
            "PUT\n\n\n3\n\napplication/xml\n\n\n\n\n\n\n\
             x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2021-08-06\n\
             /myaccount/c/b%3Ac\nblockid:MDA=\ncomp:block"
        );
        assert!(
            account
                .canonical("GET", url, &[], 0)
                .starts_with("GET\n\n\n\n\n")
        );
        assert!(!format!("{account:?}").contains(&account.key.0));
        assert_eq!(decode("a%2Fb%"), "a/b%");
    }
}
