//! Credentials as docker stores them: `config.json` and credential helpers.
//!
//! Keys are registry hosts; `https://index.docker.io/v1/` is Docker Hub's. Podman's
//! keys with a repository path (`quay.io/team`) count too, the longest match first.
//! What a helper keeps (`credsStore`, `credHelpers`) is asked of it. Only entries of one registry
//! are ever written; whatever else is in the file stays as it is.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use cooper_oci::DEFAULT_DOMAIN;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::credential_helper::Helper;
use super::error::show;

/// What docker stores Docker Hub's credentials under.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

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
    /// The file cannot be written.
    #[error("cannot write the credentials to {}: {source}", show(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
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
    /// Other files, asked for what this one does not say.
    others: Vec<Credentials>,
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
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    path: path.to_owned(),
                    ..Self::default()
                });
            }
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
    #[cfg(test)]
    #[must_use]
    pub fn with_helper_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.helper_dir = Some(dir.into());
        self
    }

    /// Asks `other` for what this file does not say.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.others.push(other);
        self
    }

    /// Knows `credential` for `host` alone.
    #[cfg(test)]
    pub fn of(host: &str, credential: &Credential) -> Self {
        let file = json!({ "auths": { host: entry(credential) } });
        Self::from_json(file.to_string().as_bytes(), Path::new("config.json"))
            .expect("a file of ours")
    }

    /// Returns what to identify oneself with to `host` (as in references) for
    /// `repository`; none means anonymously.
    pub fn lookup(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
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
        if !self.file.creds_store.is_empty()
            && let Some(found) = self.ask(&self.file.creds_store, &server_address(host))?
        {
            return Ok(Some(found));
        }
        for other in &self.others {
            if let Some(found) = other.lookup(host, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Keeps `credential` for the registry `host`: in the helper that the file names, else in the
    /// file. Returns where.
    pub fn keep(&self, host: &str, credential: &Credential) -> Result<Kept, CredentialError> {
        let key = server_address(host);
        let Some(helper) = self.helper_of(host) else {
            self.edit(|auths| {
                auths.retain(|known, _| normalized(known) != host);
                auths.insert(key, entry(credential));
            })?;
            return Ok(Kept::File(self.path.clone()));
        };
        self.helper(helper).store(&key, credential)?;
        // Docker, too, leaves an empty entry that says where one is logged in.
        self.edit(|auths| {
            auths.retain(|known, _| normalized(known) != host);
            auths.insert(key, json!({}));
        })?;
        Ok(Kept::Helper(helper.to_owned()))
    }

    /// Forgets what is kept for the registry `host`; returns whether there was something.
    pub fn forget(&self, host: &str) -> Result<bool, CredentialError> {
        let mut found = false;
        if let Some(helper) = self.helper_of(host) {
            let key = server_address(host);
            found = self.helper(helper).get(&key)?.is_some();
            if found {
                self.helper(helper).erase(&key)?;
            }
        }
        if self
            .file
            .auths
            .keys()
            .any(|known| normalized(known) == host)
        {
            found = true;
            self.edit(|auths| auths.retain(|known, _| normalized(known) != host))?;
        }
        Ok(found)
    }

    /// Returns the helper that keeps the credentials for a host.
    fn helper_of(&self, host: &str) -> Option<&str> {
        let own = find(&self.file.cred_helpers, host).map(|(_, helper)| helper);
        let helper = own.unwrap_or(&self.file.creds_store);
        Some(helper.as_str()).filter(|helper| !helper.is_empty())
    }

    fn helper<'a>(&'a self, name: &'a str) -> Helper<'a> {
        Helper {
            name,
            dir: self.helper_dir.as_deref(),
        }
    }

    /// Rewrites the file's `auths`; everything else in it stays.
    fn edit(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), CredentialError> {
        // Through a link, as dotfiles often are: what it leads to is replaced.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let failed = |source| CredentialError::Write {
            path: path.clone(),
            source,
        };
        let mut document: Map<String, Value> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| {
                let path = path.clone();
                CredentialError::Parse { path, source }
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
            Err(source) => return Err(CredentialError::Read { path, source }),
        };
        let auths = document.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        change(auths.as_object_mut().expect("made one above"));
        let mut text = Vec::new();
        let indented = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, indented);
        document
            .serialize(&mut serializer)
            .expect("plain data always serialises");
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir).map_err(failed)?;
        let temporary = path.with_extension(format!("json.{}", std::process::id()));
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            failed(error)
        })
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
        let answer = self.helper(helper).get(server)?;
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(key, answer.clone());
        Ok(answer)
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

/// Where a credential was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In this file, for whoever can read it.
    File(PathBuf),
    /// In the care of this helper.
    Helper(String),
}

/// Returns the entry of `auths` that says `credential`.
fn entry(credential: &Credential) -> Value {
    match credential {
        Credential::Basic { username, password } => {
            json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
        }
        Credential::Identity(token) => json!({ "identitytoken": token }),
        Credential::Bearer(token) => json!({ "registrytoken": token }),
    }
}

/// Returns the registry (as in references) that a key of `auths`, a URL or a host, is about.
pub fn domain_of(key: &str) -> &str {
    let host = normalized(key);
    host.split_once('/').map_or(host, |(host, _)| host)
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
    fn what_else_is_in_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config.json");
        let keep = |host: &str, credential| {
            let credentials = Credentials::from_docker_config(&path).unwrap();
            credentials.keep(host, &credential).unwrap()
        };
        let kept = Kept::File(path.clone());
        assert_eq!(keep("h.example:5000", basic("u", "p")), kept);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let text =
            "{\n\t\"auths\": {\n\t\t\"h.example:5000\": {\n\t\t\t\"auth\": \"dTpw\"\n\t\t}\n\t}\n}";
        assert_eq!(fs::read_to_string(&path).unwrap(), text);

        let before = r#"{"HttpHeaders":{"X":"y"},"auths":{"https://h.example:5000/v2/":{"auth":"eDp5"},"o.example":{"auth":"dTpw","email":"e"}},"detachKeys":"ctrl-e"}"#;
        fs::write(&path, before).unwrap();
        keep("h.example:5000", Credential::Identity("i".to_owned()));
        keep("docker.io", basic("u", "p"));
        let after: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let expected = r#"{"HttpHeaders":{"X":"y"},"auths":{"o.example":{"auth":"dTpw","email":"e"},"h.example:5000":{"identitytoken":"i"},"https://index.docker.io/v1/":{"auth":"dTpw"}},"detachKeys":"ctrl-e"}"#;
        assert_eq!(after.to_string(), expected);

        let forget = |host: &str| {
            let credentials = Credentials::from_docker_config(&path).unwrap();
            credentials.forget(host).unwrap()
        };
        assert_eq!(
            ["docker.io", "docker.io", "none.example"].map(forget),
            [true, false, false]
        );
        assert_eq!([fs::read_dir(path.parent().unwrap()).unwrap().count()], [1]);
    }

    #[test]
    fn a_helper_keeps_and_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"#!/bin/sh
kept="$(dirname "$0")/kept"
case "$1" in
  get) if [ -e "$kept" ]; then cat "$kept"; else echo "credentials not found in native keychain"; exit 1; fi ;;
  store) cat > "$kept" ;;
  erase) rm "$kept" ;;
esac
"#;
        let program = dir.path().join("docker-credential-own");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, r#"{"credHelpers":{"h.example":"own"}}"#).unwrap();
        let credentials = || {
            Credentials::from_docker_config(&path)
                .unwrap()
                .with_helper_dir(dir.path())
        };
        let kept = credentials().keep("h.example", &basic("u", "p")).unwrap();
        assert_eq!(kept, Kept::Helper("own".to_owned()));
        assert!(!fs::read_to_string(&path).unwrap().contains("auth\""));
        let said = fs::read_to_string(dir.path().join("kept")).unwrap();
        assert_eq!(
            said,
            r#"{"ServerURL":"h.example","Username":"u","Secret":"p"}"#
        );
        assert_eq!(
            credentials().lookup("h.example", "a").unwrap(),
            Some(basic("u", "p"))
        );
        assert!(credentials().forget("h.example").unwrap());
        assert!(!credentials().forget("h.example").unwrap());
        assert_eq!(credentials().lookup("h.example", "a").unwrap(), None);
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
