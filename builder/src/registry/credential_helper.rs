//! Programs that keep credentials: `docker-credential-NAME get|store|erase`.
//!
//! They read a server's address, or a document with the credentials, from stdin and answer on
//! stdout; what went wrong they say on either stream.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::{Deserialize, Serialize};

use super::credentials::{Credential, CredentialError};

/// The user name by which helpers say that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// A program that keeps credentials.
pub(super) struct Helper<'a> {
    /// The part of its name after `docker-credential-`.
    pub(super) name: &'a str,
    /// Where it is, if not on the search path.
    pub(super) dir: Option<&'a Path>,
}

/// What is asked and answered.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server: String,
    username: String,
    secret: String,
}

impl Helper<'_> {
    /// Returns what it keeps for `server`.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credential>, CredentialError> {
        let output = self.run("get", server, server.as_bytes())?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let complaint = complaint(&output);
            if complaint.to_lowercase().contains("credentials not found") {
                return Ok(None);
            }
            return Err(self.failed(server, format!("{complaint} ({})", output.status)));
        }
        let entry: Entry = serde_json::from_str(&text)
            // The answer may hold a secret: its text is not quoted.
            .map_err(|_| {
                let reason = "its answer is not the JSON of the helper protocol";
                self.failed(server, reason.to_owned())
            })?;
        Ok(Some(if entry.username == TOKEN_USER {
            Credential::Identity(entry.secret)
        } else {
            Credential::Basic {
                username: entry.username,
                password: entry.secret,
            }
        }))
    }

    /// Gives it what it is to keep for `server`.
    pub(super) fn store(
        &self,
        server: &str,
        credential: &Credential,
    ) -> Result<(), CredentialError> {
        let (username, secret) = match credential {
            Credential::Basic { username, password } => (username.as_str(), password),
            Credential::Identity(token) | Credential::Bearer(token) => (TOKEN_USER, token),
        };
        let entry = Entry {
            server: server.to_owned(),
            username: username.to_owned(),
            secret: secret.clone(),
        };
        let input = serde_json::to_vec(&entry).expect("plain data always serialises");
        self.done(server, &self.run("store", server, &input)?)
    }

    /// Has it forget what it keeps for `server`.
    pub(super) fn erase(&self, server: &str) -> Result<(), CredentialError> {
        self.done(server, &self.run("erase", server, server.as_bytes())?)
    }

    fn done(&self, server: &str, output: &Output) -> Result<(), CredentialError> {
        if output.status.success() {
            return Ok(());
        }
        let reason = format!("{} ({})", complaint(output), output.status);
        Err(self.failed(server, reason))
    }

    fn run(&self, action: &str, server: &str, input: &[u8]) -> Result<Output, CredentialError> {
        if self.name.contains('/') {
            let reason = "a helper's name has no directory";
            return Err(self.failed(server, reason.to_owned()));
        }
        let program = self.program();
        let path = self
            .dir
            .map_or_else(|| PathBuf::from(&program), |dir| dir.join(&program));
        let mut child = Command::new(path)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.failed(server, format!("cannot start it: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that ends without reading says why by its status.
            let _ = stdin.write_all(input);
        }
        child
            .wait_with_output()
            .map_err(|error| self.failed(server, error.to_string()))
    }

    fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    fn failed(&self, server: &str, reason: String) -> CredentialError {
        CredentialError::Helper {
            program: self.program(),
            server: server.to_owned(),
            reason,
        }
    }
}

fn complaint(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{} {}", out.trim(), err.trim()).trim().to_owned()
}
