//! Authentication: challenges, tokens and what to answer with.
//!
//! A registry that answers 401 names its scheme in `WWW-Authenticate` (RFC 9110,
//! section 11.6.1). Bearer tokens come from the token server that it names, for a
//! scope such as `repository:library/busybox:pull`; they are kept until shortly
//! before they expire.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::http::{Method, header};

use super::credentials::Credential;
use super::error::Failure;
use super::transport::{Call, Host, Payload, Transport, encode, origin, read_limited};

/// What a token lives for if its server does not say (distribution's token spec).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
const TOKEN_LIMIT: u64 = 1024 * 1024;
const CLIENT_ID: &str = "cooper";

/// A scheme that a server accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user name and a password.
    Basic,
    /// A token of a token server.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// Reads one `WWW-Authenticate` value; schemes that are not known are left out.
pub(super) fn parse_challenges(value: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = value;
    while let Some((scheme, parameters, next)) = next_challenge(rest) {
        rest = next;
        let get = |name: &str| {
            let found = parameters
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            let (service, scope) = (get("service"), get("scope"));
            challenges.push(Challenge::Bearer {
                realm,
                service,
                scope,
            });
        }
    }
    challenges
}

type Parameters = Vec<(String, String)>;

/// Splits off `scheme key=value, key="value", …`, up to the next scheme.
fn next_challenge(text: &str) -> Option<(&str, Parameters, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let end = text.find([' ', ',']).unwrap_or(text.len());
    let (scheme, mut rest) = text.split_at(end);
    if scheme.is_empty() {
        return None;
    }
    let mut parameters = Vec::new();
    loop {
        let candidate = rest.trim_start_matches([' ', '\t', ',']);
        let key_end = candidate
            .find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
            .unwrap_or(candidate.len());
        let (key, after) = candidate.split_at(key_end);
        let Some(value) = after
            .trim_start()
            .strip_prefix('=')
            .filter(|_| !key.is_empty())
        else {
            return Some((scheme, parameters, rest));
        };
        let (value, after) = parameter_value(value.trim_start());
        parameters.push((key.to_owned(), value));
        rest = after;
    }
}

/// Reads a token or a quoted string.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// An `Authorization` value and how long it is good for.
#[derive(Clone)]
pub(super) struct Authorization {
    value: String,
    expires: Option<Instant>,
    /// It identifies somebody.
    pub(super) identified: bool,
}

impl Authorization {
    pub(super) fn value(&self) -> &str {
        &self.value
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }

    fn basic(username: &str, password: &str) -> Self {
        let value = format!(
            "Basic {}",
            STANDARD.encode(format!("{username}:{password}"))
        );
        Self {
            value,
            expires: None,
            identified: true,
        }
    }
}

/// A token server's answer.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    refresh_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// What a token server gave.
struct Grant {
    authorization: Authorization,
    /// What further tokens can be had with, if the server gives such.
    identity: Option<String>,
}

impl Transport {
    /// Answers a server's challenges; none if there is nothing to answer with.
    pub(super) fn authenticate(
        &self,
        host: &Host<'_>,
        scope: &str,
        challenges: &[Challenge],
    ) -> Result<Option<Authorization>, Failure> {
        let repository = scope.split(':').nth(1).unwrap_or_default();
        let credential = self
            .credentials
            .lookup(&host.endpoint.credential_host, repository)?;
        if let Some(Credential::Bearer(token)) = &credential {
            let value = format!("Bearer {token}");
            return Ok(Some(Authorization {
                value,
                expires: None,
                identified: true,
            }));
        }
        let bearer = challenges
            .iter()
            .find(|c| matches!(c, Challenge::Bearer { .. }));
        if let Some(Challenge::Bearer {
            realm,
            service,
            scope: asked,
        }) = bearer
        {
            let scopes = merge_scopes(scope, asked.as_deref());
            let request = TokenRequest {
                realm,
                service: service.as_deref(),
                scopes: &scopes,
                offline: false,
            };
            let grant = self.fetch_token(host, &request, credential.as_ref())?;
            return Ok(Some(grant.authorization));
        }
        Ok(match credential {
            Some(Credential::Basic { username, password })
                if challenges.contains(&Challenge::Basic) =>
            {
                Some(Authorization::basic(&username, &password))
            }
            _ => None,
        })
    }

    /// Asks a server whether it knows `credential`, as `docker login` does; returns what is to
    /// be kept: the token that its token server gives for it, if there is one.
    pub(super) fn log_in(
        &self,
        host: &Host<'_>,
        credential: &Credential,
    ) -> Result<Credential, Failure> {
        let call = Call::new(Method::GET, format!("{}/v2/", host.base));
        let Err((refused, challenges)) = self.raw(&call, None, host.trust) else {
            // It wants nobody to identify himself.
            return Ok(credential.clone());
        };
        let bearer = challenges
            .iter()
            .find(|c| matches!(c, Challenge::Bearer { .. }));
        if let Some(Challenge::Bearer { realm, service, .. }) = bearer {
            let request = TokenRequest {
                realm,
                service: service.as_deref(),
                scopes: &[],
                offline: true,
            };
            let grant = self.fetch_token(host, &request, Some(credential))?;
            self.exchange(&call, Some(&grant.authorization), host.trust)?;
            return Ok(match grant.identity {
                Some(token) => Credential::Identity(token),
                None => credential.clone(),
            });
        }
        match credential {
            Credential::Basic { username, password } if challenges.contains(&Challenge::Basic) => {
                let basic = Authorization::basic(username, password);
                self.exchange(&call, Some(&basic), host.trust)?;
                Ok(credential.clone())
            }
            _ => Err(refused),
        }
    }

    fn fetch_token(
        &self,
        host: &Host<'_>,
        request: &TokenRequest<'_>,
        credential: Option<&Credential>,
    ) -> Result<Grant, Failure> {
        let grant = self.ask_for_token(host, request, credential);
        grant.map_err(|source| Failure::Token {
            host: host.endpoint.authority.clone(),
            source: Box::new(source),
        })
    }

    fn ask_for_token(
        &self,
        host: &Host<'_>,
        request: &TokenRequest<'_>,
        credential: Option<&Credential>,
    ) -> Result<Grant, Failure> {
        let downgrade = host.base.starts_with("https:") && !request.realm.starts_with("https:");
        if origin(request.realm).is_none() || (downgrade && credential.is_some()) {
            return Err(Failure::Protocol {
                method: "GET".to_owned(),
                url: request.realm.to_owned(),
                what: "the token server's address is not safe to send credentials to".to_owned(),
            });
        }
        let form;
        let mut call = match credential {
            Some(Credential::Identity(token)) => {
                form = request.refresh_form(token);
                let mut call = Call::new(Method::POST, request.realm.to_owned());
                call.body = Payload::Bytes(form.as_bytes());
                call.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            }
            Some(Credential::Basic { username, .. }) => {
                Call::new(Method::GET, request.url(Some(username)))
            }
            _ => Call::new(Method::GET, request.url(None)),
        };
        if let Some(Credential::Basic { username, password }) = credential {
            let basic = Authorization::basic(username, password);
            call = call.header(header::AUTHORIZATION, basic.value());
        }
        let trust = if origin(request.realm) == Some(host.base.as_str()) {
            host.trust
        } else {
            self.trust_of(request.realm)
        };
        let mut response = self.exchange(&call, None, trust)?;
        let bytes = read_limited(&mut response, &call.url, TOKEN_LIMIT)?;
        parse_token(&bytes, credential.is_some()).ok_or_else(|| Failure::Protocol {
            method: call.method.to_string(),
            url: call.url.clone(),
            what: "the answer has no token".to_owned(),
        })
    }
}

fn parse_token(bytes: &[u8], identified: bool) -> Option<Grant> {
    let answer: TokenAnswer = serde_json::from_slice(bytes).ok()?;
    let token = if answer.token.is_empty() {
        answer.access_token
    } else {
        answer.token
    };
    let lifetime = answer
        .expires_in
        .map_or(DEFAULT_LIFETIME, Duration::from_secs);
    // A token that expires on the way fails the request: renew a tenth early.
    let expires = Instant::now().checked_add(lifetime.mul_f64(0.9));
    (!token.is_empty()).then(|| Grant {
        authorization: Authorization {
            value: format!("Bearer {token}"),
            expires,
            identified,
        },
        identity: Some(answer.refresh_token).filter(|token| !token.is_empty()),
    })
}

struct TokenRequest<'a> {
    realm: &'a str,
    service: Option<&'a str>,
    scopes: &'a [String],
    /// Whether a token is wanted with which further ones can be had.
    offline: bool,
}

impl TokenRequest<'_> {
    fn url(&self, account: Option<&str>) -> String {
        let mut url = self.realm.to_owned();
        let mut separator = if url.contains('?') { '&' } else { '?' };
        let service = self.service.map(|service| ("service", service));
        let account = account.map(|account| ("account", account));
        let scopes = self.scopes.iter().map(|scope| ("scope", scope.as_str()));
        let offline = [("offline_token", "true"), ("client_id", CLIENT_ID)];
        let offline = offline.into_iter().filter(|_| self.offline);
        let parameters = service.into_iter().chain(account).chain(offline);
        for (name, value) in parameters.chain(scopes) {
            url.push(separator);
            url.extend([name, "=", &encode(value)]);
            separator = '&';
        }
        url
    }

    fn refresh_form(&self, token: &str) -> String {
        format!(
            "grant_type=refresh_token&service={}&client_id={CLIENT_ID}&scope={}&refresh_token={}",
            encode(self.service.unwrap_or_default()),
            encode(&self.scopes.join(" ")),
            encode(token)
        )
    }
}

/// Joins what is needed with what the server asks for, without repetitions.
fn merge_scopes(needed: &str, asked: Option<&str>) -> Vec<String> {
    let mut scopes: Vec<String> = needed.split_whitespace().map(str::to_owned).collect();
    for scope in asked.unwrap_or_default().split_whitespace() {
        let resource = |scope: &str| scope.rsplit_once(':').map(|(r, _)| r.to_owned());
        // The same resource is asked for already, with at least the same rights.
        let covered = scopes
            .iter()
            .any(|s| s == scope || resource(s) == resource(scope));
        if !covered {
            scopes.push(scope.to_owned());
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_are_read() {
        let cases = [
            (
                r#"Bearer realm="https://a/token",service="s",scope="repository:a/b:pull,push""#,
                vec![bearer(
                    "https://a/token",
                    Some("s"),
                    Some("repository:a/b:pull,push"),
                )],
            ),
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            ("Basic", vec![Challenge::Basic]),
            (
                r#"bearer Realm = "x y\"z" , service=plain, Basic realm="r", Negotiate"#,
                vec![bearer("x y\"z", Some("plain"), None), Challenge::Basic],
            ),
            (r#"Negotiate, Basic realm="r""#, vec![Challenge::Basic]),
            (r#"Digest realm="r", nonce="1""#, vec![]),
            (r#"Bearer service="no realm""#, vec![]),
            (
                r#"Bearer realm="unterminated"#,
                vec![bearer("unterminated", None, None)],
            ),
            ("", vec![]),
            (",, ,", vec![]),
        ];
        for (value, expected) in cases {
            assert_eq!(parse_challenges(value), expected, "{value}");
        }
    }

    #[test]
    fn scopes_are_joined() {
        let push = "repository:a:pull,push";
        let cases: [(&str, Option<&str>, &[&str]); 4] = [
            (push, None, &[push]),
            (push, Some("repository:a:pull"), &[push]),
            (
                push,
                Some("repository:a:pull registry:catalog:*"),
                &[push, "registry:catalog:*"],
            ),
            (
                "repository:a:pull repository:b:pull",
                None,
                &["repository:a:pull", "repository:b:pull"],
            ),
        ];
        for (needed, asked, expected) in cases {
            assert_eq!(merge_scopes(needed, asked), expected, "{needed} {asked:?}");
        }
    }

    #[test]
    fn token_requests_are_encoded() {
        let scopes = ["repository:a/b:pull".to_owned()];
        let request = TokenRequest {
            realm: "https://a/t",
            service: Some("a b"),
            scopes: &scopes,
            offline: false,
        };
        assert_eq!(
            request.url(Some("me&you")),
            "https://a/t?service=a%20b&account=me%26you&scope=repository%3Aa%2Fb%3Apull"
        );
        let request = TokenRequest {
            realm: "https://a/t?x=1",
            service: None,
            scopes: &scopes,
            offline: false,
        };
        assert_eq!(
            request.url(None),
            "https://a/t?x=1&scope=repository%3Aa%2Fb%3Apull"
        );
        assert_eq!(
            request.refresh_form("r/t"),
            "grant_type=refresh_token&service=&client_id=cooper&scope=repository%3Aa%2Fb%3Apull&refresh_token=r%2Ft"
        );
    }

    #[test]
    fn token_answers_are_read() {
        let token = parse_token(br#"{"token":"t","expires_in":300}"#, false).unwrap();
        assert_eq!(token.authorization.value(), "Bearer t");
        assert!(token.authorization.is_fresh());
        let token = parse_token(br#"{"access_token":"a","expires_in":0}"#, true).unwrap();
        assert_eq!(token.authorization.value(), "Bearer a");
        assert!(!token.authorization.is_fresh());
        assert!(parse_token(b"{}", false).is_none());
        assert!(parse_token(b"<html>", false).is_none());
    }
}
