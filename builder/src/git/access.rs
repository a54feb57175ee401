//! What git may use to reach one repository: proxies, authorities, a header, an agent.

use std::ffi::OsString;
use std::path::PathBuf;

use base64::Engine as _;
use cooper_frontend::git::percent_decoded;

use crate::http::HttpConfig;

/// Protocols of remote repositories.
const REMOTE: &str = "https:http:ssh:git";

/// How one repository is reached.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// The address without credentials.
    pub(crate) remote: String,
    /// `PATH` of git.
    pub(crate) path: OsString,
    /// Proxies and authorities.
    pub(crate) http: HttpConfig,
    /// A value of the `Authorization` header.
    pub(crate) authorization: Option<String>,
    /// The socket of an ssh agent.
    pub(crate) agent: Option<PathBuf>,
    /// Where keys of ssh servers that are new are kept.
    pub(crate) known_hosts: PathBuf,
    /// Where else such keys are looked for.
    pub(crate) more_known_hosts: Vec<PathBuf>,
}

/// Takes the credentials out of an http address; returns the address and their header.
pub(crate) fn split_credentials(remote: &str) -> (String, Option<String>) {
    let http = remote.starts_with("http://") || remote.starts_with("https://");
    let split = || {
        let (scheme, rest) = remote.split_once("://").filter(|_| http)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (credentials, host) = authority.rsplit_once('@')?;
        let basic = basic(&percent_decoded(credentials));
        Some((format!("{scheme}://{host}{path}"), Some(basic)))
    };
    split().unwrap_or_else(|| (remote.to_owned(), None))
}

/// Returns the header's value for `USER:PASSWORD`.
fn basic(credentials: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
    format!("basic {encoded}")
}

/// Returns the header's value for a token, by any user that servers expect with one.
pub(crate) fn token_header(token: &str) -> String {
    basic(&format!("x-access-token:{token}"))
}

/// Returns the host, with its port, of an address; none of a file's.
pub(crate) fn host_of(remote: &str) -> Option<&str> {
    let authority = match remote.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split(['/', '?', '#']).next()?,
        None => remote.split_once(':')?.0,
    };
    Some(
        authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host),
    )
}

impl Access {
    /// Returns the protocols that git may speak: those of remote repositories, and files
    /// if that is what the address itself says.
    pub(super) fn protocols(&self) -> String {
        if self.remote.starts_with("file://") {
            "file".to_owned()
        } else {
            REMOTE.to_owned()
        }
    }

    /// Returns git's settings that have to do with the server.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        if let Some(authorization) = &self.authorization
            && let Some((scheme, _)) = self.remote.split_once("://")
            && let Some(host) = host_of(&self.remote)
        {
            // Servers that the first one sends git to do not get it.
            settings.push((
                format!("http.{scheme}://{host}/.extraHeader"),
                format!("Authorization: {authorization}"),
            ));
        }
        let first = |files: &[PathBuf]| files.first().map(|path| path.display().to_string());
        let http = &self.http;
        if let Some(file) = first(&http.extra_ca_files).or_else(|| first(&http.ca_files)) {
            settings.push(("http.sslCAInfo".to_owned(), file));
        }
        if let Some(dir) = first(&http.ca_dirs) {
            settings.push(("http.sslCAPath".to_owned(), dir));
        }
        settings
    }

    /// Returns the variables that have to do with the server.
    pub(super) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![
            ("GIT_SSH_COMMAND", self.ssh_command().into()),
            ("GIT_SSH_VARIANT", "ssh".into()),
            ("GIT_ALLOW_PROTOCOL", self.protocols().into()),
        ];
        let http = &self.http;
        for (name, value) in [
            ("http_proxy", &http.http_proxy),
            ("https_proxy", &http.https_proxy),
            ("no_proxy", &http.no_proxy),
        ] {
            variables.extend(value.as_ref().map(|value| (name, value.into())));
        }
        if let Some(agent) = &self.agent {
            variables.push(("SSH_AUTH_SOCK", agent.into()));
        }
        variables
    }

    /// The agent's keys and nothing of the user's configuration; a server that is met for the
    /// first time is believed, one whose key has changed is not.
    fn ssh_command(&self) -> String {
        let more: Vec<String> = self
            .more_known_hosts
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let options = [
            "BatchMode=yes".to_owned(),
            "StrictHostKeyChecking=accept-new".to_owned(),
            format!("UserKnownHostsFile={}", self.known_hosts.display()),
            format!("GlobalKnownHostsFile={}", more.join(" ")),
            "IdentityFile=none".to_owned(),
            "ClearAllForwardings=yes".to_owned(),
            "ConnectTimeout=15".to_owned(),
        ];
        let options: Vec<String> = options
            .iter()
            .map(|option| format!("-o {}", shell_quoted(option)))
            .collect();
        format!("ssh -F none {}", options.join(" "))
    }
}

/// Quotes a word for the shell that git hands the command to.
fn shell_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_address() {
        for (remote, address, header) in [
            ("https://h/x.git", "https://h/x.git", None),
            (
                "https://u:p%40@h:8443/x.git",
                "https://h:8443/x.git",
                Some("basic dTpwQA=="),
            ),
            ("ssh://git@h/x", "ssh://git@h/x", None),
            ("git@h:x", "git@h:x", None),
            ("https://h/a@b.git", "https://h/a@b.git", None),
        ] {
            let found = split_credentials(remote);
            assert_eq!(
                (found.0.as_str(), found.1.as_deref()),
                (address, header),
                "{remote}"
            );
        }
    }

    #[test]
    fn hosts_are_found_in_every_form() {
        for (remote, host) in [
            ("https://h:8443/x.git", Some("h:8443")),
            ("ssh://git@h/x", Some("h")),
            ("git@h:x/y", Some("h")),
            ("file:///srv/x", None),
        ] {
            assert_eq!(host_of(remote), host, "{remote}");
        }
    }

    #[test]
    fn the_shell_cannot_be_spoken_to() {
        assert_eq!(shell_quoted("a'; rm b"), r"'a'\''; rm b'");
    }
}
