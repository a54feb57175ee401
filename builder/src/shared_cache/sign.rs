//! Signing requests to S3: AWS Signature Version 4, in headers.
//!
//! Four HMACs over a canonical form of the request (AWS' "Signature Version 4 signing process"). A
//! payload is not part of it (`UNSIGNED-PAYLOAD`): blobs are named by their digest, and whoever
//! reads them checks it. Crates for it bring a URL library with Unicode's tables along; what is
//! signed here are host names and paths that are made here.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

/// What is known of who signs.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The public part.
    pub access: String,
    /// The secret.
    pub secret: String,
    /// What temporary keys come with.
    pub session: Option<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// A request as it is signed.
pub(super) struct Signing<'a> {
    pub(super) method: &'a str,
    /// Host and port as the `Host` header has them.
    pub(super) host: &'a str,
    /// The path, encoded.
    pub(super) path: &'a str,
    /// The query, encoded and in order.
    pub(super) query: &'a str,
    pub(super) region: &'a str,
    /// `YYYYMMDDTHHMMSSZ`.
    pub(super) time: &'a str,
    /// What `x-amz-content-sha256` says.
    pub(super) payload: &'a str,
    /// Headers that are signed besides `host` and those of `x-amz-`; lower case.
    pub(super) others: &'a [(&'a str, &'a str)],
}

impl Signing<'_> {
    /// Returns the headers that make the request one of `keys`.
    pub(super) fn headers(&self, keys: &Keys) -> Vec<(&'static str, String)> {
        let mut signed: Vec<(&str, &str)> = vec![
            ("host", self.host),
            ("x-amz-content-sha256", self.payload),
            ("x-amz-date", self.time),
        ];
        if let Some(session) = &keys.session {
            signed.push(("x-amz-security-token", session));
        }
        signed.extend(self.others);
        signed.sort_unstable();
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut canonical = format!("{}\n{}\n{}\n", self.method, self.path, self.query);
        for (name, value) in &signed {
            let _ = writeln!(canonical, "{name}:{}", value.trim());
        }
        let _ = write!(canonical, "\n{names}\n{}", self.payload);
        let day = &self.time[..8];
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            self.time,
            hex(&Sha256::digest(canonical))
        );
        let mut key = format!("AWS4{}", keys.secret).into_bytes();
        for part in [day, self.region, "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let signature = hex(&hmac(&key, text.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
            keys.access
        );
        let mut headers = vec![
            ("x-amz-content-sha256", self.payload.to_owned()),
            ("x-amz-date", self.time.to_owned()),
            ("authorization", authorization),
        ];
        let session = keys.session.clone();
        headers.extend(session.map(|session| ("x-amz-security-token", session)));
        headers
    }
}

/// Returns the HMAC-SHA256 of `data`.
pub(super) fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Encodes a path as S3 signs it: everything but unreserved characters and slashes.
pub(super) fn encode_path(path: &str) -> String {
    encode(path, b"-._~/")
}

/// Encodes a name or a value of a query: everything but unreserved characters (RFC 3986).
pub(super) fn encode_query(text: &str) -> String {
    encode(text, b"-._~")
}

fn encode(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of AWS' documentation.
    fn keys() -> Keys {
        Keys {
            access: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session: None,
        }
    }

    #[test]
    fn signatures_are_those_of_awss_examples() {
        let empty = hex(&Sha256::digest(b""));
        let put = hex(&Sha256::digest(b"Welcome to Amazon S3."));
        let get = Signing {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: "",
            region: "us-east-1",
            time: "20130524T000000Z",
            payload: &empty,
            others: &[("range", "bytes=0-9")],
        };
        let list = Signing {
            path: "/",
            query: "max-keys=2&prefix=J",
            others: &[],
            ..get
        };
        let put = Signing {
            method: "PUT",
            path: &encode_path("/test$file.text"),
            payload: &put,
            others: &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            ..get
        };
        for (request, signature) in [
            (
                &get,
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                &list,
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
            (
                &put,
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
        ] {
            let headers = request.headers(&keys());
            let (_, authorization) = &headers[2];
            assert!(authorization.ends_with(signature), "{authorization}");
        }
    }

    #[test]
    fn a_session_is_signed_and_keys_are_never_shown() {
        let with_session = Keys {
            session: Some("token".to_owned()),
            ..keys()
        };
        let request = Signing {
            method: "GET",
            host: "h",
            path: "/",
            query: "",
            region: "r",
            time: "20130524T000000Z",
            payload: "UNSIGNED-PAYLOAD",
            others: &[],
        };
        let headers = request.headers(&with_session);
        assert_eq!(headers[3], ("x-amz-security-token", "token".to_owned()));
        assert!(headers[2].1.contains(";x-amz-security-token,"));
        assert!(!format!("{with_session:?}").contains("EXAMPLE"));
        assert_eq!(encode_path("/a b/ü:1"), "/a%20b/%C3%BC%3A1");
        assert_eq!(encode_query("a/b+c=="), "a%2Fb%2Bc%3D%3D");
    }
}
