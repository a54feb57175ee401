//! What a job's token allows: the branches and tags whose entries it reads and writes.
//!
//! The token is a JSON web token (RFC 7519) whose claim `ac` holds, as a text, a JSON list of
//! `{"Scope": "refs/heads/main", "Permission": 3}`; 1 is to read, 2 to write. It is the service that
//! checks it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

const READ: u32 = 1;
const WRITE: u32 = 2;

/// A branch or tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) name: String,
    pub(super) readable: bool,
    pub(super) writable: bool,
}

#[derive(Deserialize)]
struct Claims {
    ac: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    scope: String,
    permission: u32,
}

/// Returns what a token allows, in its own order. Services besides GitHub's give tokens that say
/// nothing of it: then there is one scope without a name.
pub(super) fn scopes(token: &str) -> Vec<Scope> {
    let found = claimed(token).filter(|scopes| !scopes.is_empty());
    found.unwrap_or_else(|| {
        let everything = Wire {
            scope: String::new(),
            permission: READ | WRITE,
        };
        vec![everything.into()]
    })
}

fn claimed(token: &str) -> Option<Vec<Scope>> {
    let payload = token.split('.').nth(1)?.trim_end_matches('=');
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    let scopes: Vec<Wire> = serde_json::from_str(&claims.ac).ok()?;
    Some(scopes.into_iter().map(Scope::from).collect())
}

impl From<Wire> for Scope {
    fn from(wire: Wire) -> Self {
        Self {
            name: wire.scope,
            readable: wire.permission & READ != 0,
            writable: wire.permission & WRITE != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_may_be_read_and_written() {
        let ac = r#"[{"Scope":"refs/heads/x","Permission":3},{"Scope":"refs/heads/main","Permission":1}]"#;
        let claims = serde_json::json!({ "ac": ac, "exp": 1 }).to_string();
        let token = format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        let scope = |name: &str, writable| Scope {
            name: name.to_owned(),
            readable: true,
            writable,
        };
        let both = [scope("refs/heads/x", true), scope("refs/heads/main", false)];
        assert_eq!(scopes(&token), both);
        for other in ["", "opaque", "a.b.c", "e30.e30.sig"] {
            assert_eq!(scopes(other), [scope("", true)], "{other}");
        }
    }
}
