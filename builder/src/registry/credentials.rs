//! Credentials as docker stores them: `config.json` and credential helpers.
//!
//! Keys are registry hosts; `https://index.docker.io/v1/` is Docker Hub's. Podman's
//! keys with a repository path (`quay.io/team`) count too, the longest match first.
//! Helpers are programs `docker-credential-NAME` that speak a line protocol.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use cooper_oci::DEFAULT_DOMAIN;
use serde::Deserialize;

use super::error::show;

/// What docker stores Docker Hub's credentials under.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name by which helpers say that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// How to identify oneself to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password.
    Basic {
        /// The user name.
        username: String,
        /// The password or access token.
        password: String,
    },
    /// A refresh token, to be exchanged at the registry's token server.
    Identity(String),
    /// A token that the registry itself accepts.
    Bearer(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets never reach logs.
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username:?}, …)"),
            Self::Identity(_) => f.write_str("Identity(…)"),
            Self::Bearer(_) => f.write_str("Bearer(…)"),
        }
    }
}

/// Why credentials could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("cannot read the credentials in {}: {source}", show(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not docker's `config.json`.
    #[error("invalid credentials file {}: {source}", show(path))]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// An entry's `auth` is not the base64 of `user:password`.
    #[error("invalid credentials for {key}: `auth` is not the base64 of USER:PASSWORD")]
    Auth {
        /// The entry.
        key: String,
    },
    /// A helper cannot be started or breaks its protocol.
    #[error("the credential helper {program} failed for {server}: {reason}")]
    Helper {
        /// The program.
        program: String,
        /// The server asked for.
        server: String,
        /// What went wrong.
        reason: String,
    },
}

/// Everything known about how to identify oneself.
#[derive(Default)]
pub struct Credentials {
    path: PathBuf,
    file: ConfigFile,
    /// Where helpers are, if not on the search path.
    helper_dir: Option<PathBuf>,
    /// Given directly, by host; they come before the file's.
    explicit: BTreeMap<String, Credential>,
    /// What helpers said; asking costs a process.
    answers: Mutex<HashMap<String, Option<Credential>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: BTreeMap<String, AuthEntry>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Knows nobody.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads docker's `config.json`; a missing file is an empty one.
    pub fn from_docker_config(path: &Path) -> Result<Self, CredentialError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::none()),
            Err(source) => {
                return Err(CredentialError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        Self::from_json(&bytes, path)
    }

    fn from_json(bytes: &[u8], path: &Path) -> Result<Self, CredentialError> {
        let file = serde_json::from_slice(bytes).map_err(|source| CredentialError::Parse {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            ..Self::default()
        })
    }

    /// Looks for helper programs in `dir` instead of on the search path.
    #[must_use]
    pub fn with_helper_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.helper_dir = Some(dir.into());
        self
    }

    /// Uses `credential` for `host`, whatever is stored.
    #[must_use]
    pub fn with(mut self, host: impl Into<String>, credential: Credential) -> Self {
        self.explicit.insert(host.into(), credential);
        self
    }

    /// Returns what to identify oneself with to `host` (as in references) for
    /// `repository`; none means anonymously.
    pub fn lookup(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        if let Some(credential) = self.explicit.get(host) {
            return Ok(Some(credential.clone()));
        }
        let keys = keys(host, repository);
        let helper = keys.iter().find_map(|key| {
            let (_, helper) = find(&self.file.cred_helpers, key)?;
            Some((helper.as_str(), key.as_str()))
        });
        if let Some((helper, _)) = helper {
            return self.ask(helper, &server_address(host));
        }
        let entry = keys.iter().find_map(|key| find(&self.file.auths, key));
        if let Some((key, entry)) = entry
            && let Some(credential) = entry.credential(key)?
        {
            return Ok(Some(credential));
        }
        match self.file.creds_store.as_str() {
            "" => Ok(None),
            store => self.ask(store, &server_address(host)),
        }
    }

    fn ask(&self, helper: &str, server: &str) -> Result<Option<Credential>, CredentialError> {
        let key = format!("{helper} {server}");
        let known = self
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(answer) = known {
            return Ok(answer);
        }
        let answer = self.run_helper(helper, server)?;
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(key, answer.clone());
        Ok(answer)
    }

    fn run_helper(
        &self,
        helper: &str,
        server: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        let program = format!("docker-credential-{helper}");
        let failed = |reason: String| CredentialError::Helper {
            program: program.clone(),
            server: server.to_owned(),
            reason,
        };
        if helper.contains('/') {
            return Err(failed("a helper's name has no directory".to_owned()));
        }
        let path = self
            .helper_dir
            .as_deref()
            .map_or_else(|| PathBuf::from(&program), |dir| dir.join(&program));
        let mut child = Command::new(path)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("cannot start it: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that ends without reading says why by its status.
            let _ = stdin.write_all(server.as_bytes());
        }
        let output = child
            .wait_with_output()
            .map_err(|error| failed(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let complaint = format!(
                "{} {}",
                text.trim(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
            if complaint.to_lowercase().contains("credentials not found") {
                return Ok(None);
            }
            return Err(failed(format!("{} ({})", complaint.trim(), output.status)));
        }
        let answer: HelperAnswer = serde_json::from_str(&text)
            // The answer may hold a secret: its text is not quoted.
            .map_err(|_| failed("its answer is not the JSON of the helper protocol".to_owned()))?;
        Ok(Some(answer.credential()))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl HelperAnswer {
    fn credential(self) -> Credential {
        if self.username == TOKEN_USER {
            Credential::Identity(self.secret)
        } else {
            Credential::Basic {
                username: self.username,
                password: self.secret,
            }
        }
    }
}

impl AuthEntry {
    /// Returns none for the empty entries that docker leaves where a helper keeps
    /// the secret.
    fn credential(&self, key: &str) -> Result<Option<Credential>, CredentialError> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Bearer(self.registrytoken.clone())));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(self.identitytoken.clone())));
        }
        if self.auth.is_empty() {
            let (username, password) = (self.username.clone(), self.password.clone());
            return Ok((!username.is_empty()).then_some(Credential::Basic { username, password }));
        }
        let malformed = || CredentialError::Auth {
            key: key.to_owned(),
        };
        let auth = self.auth.trim();
        let bytes = STANDARD
            .decode(auth)
            .or_else(|_| STANDARD_NO_PAD.decode(auth));
        let text = String::from_utf8(bytes.map_err(|_| malformed())?).map_err(|_| malformed())?;
        let (username, password) = text.split_once(':').ok_or_else(malformed)?;
        let password = password.trim_end_matches('\0');
        Ok(Some(Credential::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        }))
    }
}

/// Returns the name that helpers know a registry by.
fn server_address(host: &str) -> String {
    if host == DEFAULT_DOMAIN {
        DOCKER_HUB_KEY.to_owned()
    } else {
        host.to_owned()
    }
}

/// Returns the keys that may hold the credentials, the most specific first.
fn keys(host: &str, repository: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = repository;
    while !path.is_empty() {
        keys.push(format!("{host}/{path}"));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.push(host.to_owned());
    keys
}

/// Finds an entry by its normalised key.
fn find<'a, T>(entries: &'a BTreeMap<String, T>, key: &str) -> Option<(&'a String, &'a T)> {
    entries.iter().find(|(stored, _)| normalized(stored) == key)
}

/// Strips the scheme and the API version that older keys have.
fn normalized(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key
        .strip_suffix("/v1")
        .or_else(|| key.strip_suffix("/v2"))
        .unwrap_or(key);
    match key {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_DOMAIN,
        key => key,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn basic(username: &str, password: &str) -> Credential {
        Credential::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn entries_are_found_by_host_and_path() {
        // dTpw = u:p, dTpwOng= = u:p:x
        let text = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"dTpw"},
            "plain.example:5000":{"auth":"dTpwOng="},
            "https://scheme.example/v2/":{"username":"a","password":"b"},
            "quay.io/team":{"auth":"dTpw"},
            "quay.io":{"identitytoken":"refresh"},
            "token.example":{"registrytoken":"t"},
            "empty.example":{}}, "HttpHeaders":{"X":"y"}}"#;
        let credentials =
            Credentials::from_json(text.as_bytes(), Path::new("config.json")).unwrap();
        let cases = [
            ("docker.io", "library/x", Some(basic("u", "p"))),
            ("plain.example:5000", "x", Some(basic("u", "p:x"))),
            ("plain.example", "x", None),
            ("scheme.example", "x", Some(basic("a", "b"))),
            ("quay.io", "team/app", Some(basic("u", "p"))),
            (
                "quay.io",
                "teams/app",
                Some(Credential::Identity("refresh".to_owned())),
            ),
            (
                "token.example",
                "x",
                Some(Credential::Bearer("t".to_owned())),
            ),
            ("empty.example", "x", None),
            ("other.example", "x", None),
        ];
        for (host, repository, expected) in cases {
            assert_eq!(
                credentials.lookup(host, repository).unwrap(),
                expected,
                "{host}/{repository}"
            );
        }
    }

    #[test]
    fn broken_files_and_entries_are_named() {
        let path = Path::new("/x/config.json");
        let error = Credentials::from_json(b"{", path).unwrap_err().to_string();
        assert!(
            error.starts_with("invalid credentials file /x/config.json: EOF"),
            "{error}"
        );
        let credentials = Credentials::from_json(br#"{"auths":{"h":{"auth":"!"}}}"#, path).unwrap();
        assert!(matches!(
            credentials.lookup("h", "x"),
            Err(CredentialError::Auth { .. })
        ));
        let missing =
            Credentials::from_docker_config(Path::new("/nonexistent/config.json")).unwrap();
        assert_eq!(missing.lookup("h", "x").unwrap(), None);
    }

    #[test]
    fn helpers_are_asked_once() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"#!/bin/sh
read -r server
echo "$server" >> "$(dirname "$0")/asked"
case "$server" in
  https://index.docker.io/v1/) echo '{"ServerURL":"x","Username":"hub","Secret":"s"}' ;;
  token.example) echo '{"ServerURL":"x","Username":"<token>","Secret":"refresh"}' ;;
  bad.example) echo nonsense ;;
  *) echo "credentials not found in native keychain"; exit 1 ;;
esac
"#;
        for name in ["docker-credential-store", "docker-credential-own"] {
            let path = dir.path().join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let text = r#"{"auths":{"docker.io":{}},"credsStore":"store","credHelpers":{"token.example":"own","gone.example":"gone"}}"#;
        let credentials = Credentials::from_json(text.as_bytes(), Path::new("config.json"))
            .unwrap()
            .with_helper_dir(dir.path());
        for _ in 0..2 {
            assert_eq!(
                credentials.lookup("docker.io", "a").unwrap(),
                Some(basic("hub", "s"))
            );
            let identity = Some(Credential::Identity("refresh".to_owned()));
            assert_eq!(credentials.lookup("token.example", "a").unwrap(), identity);
            assert_eq!(credentials.lookup("none.example", "a").unwrap(), None);
        }
        let asked = fs::read_to_string(dir.path().join("asked")).unwrap();
        assert_eq!(
            asked,
            "https://index.docker.io/v1/\ntoken.example\nnone.example\n"
        );
        for host in ["bad.example", "gone.example"] {
            let error = credentials.lookup(host, "a").unwrap_err();
            assert!(matches!(error, CredentialError::Helper { .. }), "{host}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let shown = format!(
            "{:?} {:?}",
            basic("u", "hidden"),
            Credential::Identity("hidden".to_owned())
        );
        assert_eq!(shown, "Basic(\"u\", …) Identity(…)");
    }
}
