//! Addresses of git repositories, as ADD, contexts and named contexts write them.
//!
//! ```text
//! https://HOST/PATH.git?KEY=VALUE&…#REF:SUBDIR      also http://
//! git://HOST/PATH  ssh://[USER@]HOST/PATH  USER@HOST:PATH
//! ```
//!
//! What decides whether a text is such an address is its form alone: nothing is
//! asked over a network. Where the address stands decides more: ADD stands in a
//! Dockerfile, which may come from anywhere, so it reaches no repository on the
//! machine that builds; a context is named by whoever runs the build, so it may
//! be `file://` too, and docker's old `github.com/USER/REPOSITORY`.
//!
//! Nothing that is taken from an address can be mistaken for an option by the
//! programs that it is handed to: hosts, users and references never start with
//! a dash.

use std::ops::Range;

use crate::error::closest;
use crate::ir::{GitSource, GitTime};

/// Something that is wrong with the address of a repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitAddressError {
    /// A query key that means nothing.
    #[error("unexpected query {key:?} in a git address")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A query key without its value.
    #[error("query {key:?} has no value")]
    NoValue {
        /// The key.
        key: String,
    },
    /// A query key that is given twice.
    #[error("query {key:?} has multiple values")]
    Repeated {
        /// The key.
        key: String,
    },
    /// A query key whose value is none of those it can have.
    #[error("invalid {key} value: {value:?}")]
    InvalidValue {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// The address says the same thing twice, differently.
    #[error("{what} conflicts: {first:?} vs {second:?}")]
    Conflict {
        /// What is said.
        what: &'static str,
        /// What it is first.
        first: String,
        /// What it is then.
        second: String,
    },
    /// Fetching by commit needs a commit.
    #[error("fetch-by-commit needs the commit: add commit=SHA")]
    NoCommit,
    /// A part that a program could take for something else.
    #[error("invalid {what} in a git address: {value:?}")]
    Invalid {
        /// Which part.
        what: &'static str,
        /// It.
        value: String,
    },
}

/// What can stand behind the `?` of an address.
const KEYS: [&str; 10] = [
    "ref",
    "tag",
    "branch",
    "commit",
    "checksum",
    "subdir",
    "submodules",
    "keep-git-dir",
    "mtime",
    "fetch-by-commit",
];

impl GitAddressError {
    /// Returns which part of `address` it is about, if that is a pair of its query.
    pub fn range(&self, address: &str) -> Option<Range<usize>> {
        let (wanted, last) = match self {
            Self::UnknownKey { key } | Self::NoValue { key } | Self::InvalidValue { key, .. } => {
                (key, false)
            }
            Self::Repeated { key } => (key, true),
            Self::Conflict { .. } | Self::NoCommit | Self::Invalid { .. } => return None,
        };
        let begin = address.find('?')? + 1;
        let query = address[begin..].split('#').next().unwrap_or_default();
        let mut at = begin;
        let pairs = query.split('&').map(|pair| {
            let start = at;
            at += pair.len() + 1;
            (start, pair)
        });
        let about = |(start, pair): (usize, &str)| {
            let (key, _) = pair.split_once('=').unwrap_or((pair, ""));
            let end = match self {
                Self::UnknownKey { .. } => key.len(),
                _ => pair.len(),
            };
            (key == wanted).then(|| start..start + end)
        };
        let mut found = pairs.filter_map(about);
        if last { found.last() } else { found.next() }
    }

    /// Returns what to write instead.
    pub fn help(&self) -> String {
        match self {
            Self::UnknownKey { key } => match closest(key, KEYS) {
                Some(best) => format!("did you mean {best}?"),
                None => format!("known are {}", KEYS.join(", ")),
            },
            Self::NoValue { key } => format!("write {key}=VALUE, or leave {key} out"),
            Self::Repeated { key } => format!("write {key} once"),
            Self::InvalidValue { key, .. } if key == "mtime" => {
                "it is checkout or commit".to_owned()
            }
            Self::InvalidValue { .. } => "it is true or false".to_owned(),
            Self::Conflict { what, .. } => {
                format!("say the {what} once: as part of the query, or behind the #")
            }
            Self::NoCommit => "add commit=SHA to the query".to_owned(),
            Self::Invalid { what: "commit", .. } => {
                "a commit is a hexadecimal number; a branch or a tag is ref=NAME".to_owned()
            }
            Self::Invalid { .. } => {
                "write URL.git#REFERENCE:DIRECTORY; no name begins with a dash, nor has it blanks \
                 or any of ~^:?*[\\"
                    .to_owned()
            }
        }
    }
}

type Result<T> = std::result::Result<T, GitAddressError>;

/// Reads a source of ADD; none if it is no repository.
pub fn of_add(source: &str) -> Option<Result<GitSource>> {
    is_remote(source).then(|| parse(source, source))
}

/// Reads a build context; none if it is no repository.
pub fn of_context(context: &str) -> Option<Result<GitSource>> {
    if context.starts_with("github.com/") {
        return Some(parse(&format!("https://{context}"), context));
    }
    (is_remote(context) || context.starts_with("file://")).then(|| parse(context, context))
}

/// Whether the repository is reached through ssh, and so with an agent's keys.
pub fn is_ssh(remote: &str) -> bool {
    remote.starts_with("ssh://") || is_scp(remote)
}

fn is_remote(source: &str) -> bool {
    if source.starts_with("http://") || source.starts_with("https://") {
        let path = source.split(['#', '?']).next().unwrap_or_default();
        return path.strip_suffix(".git").is_some();
    }
    source.starts_with("git://") || source.starts_with("ssh://") || is_scp(source)
}

/// `user@host:path`, as ssh copies.
fn is_scp(source: &str) -> bool {
    let Some((user, rest)) = source.split_once('@') else {
        return false;
    };
    is_name(user)
        && rest
            .split_once(':')
            .is_some_and(|(host, path)| is_name(host) && !path.is_empty())
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
}

fn parse(address: &str, written: &str) -> Result<GitSource> {
    let (address, fragment) = address.split_once('#').unwrap_or((address, ""));
    let (remote, query) = address.split_once('?').unwrap_or((address, ""));
    check_remote(remote, written)?;
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut git = GitSource {
        remote: remote.to_owned(),
        reference: text(reference),
        subdir: text(subdir),
        keep_git_dir: None,
        checksum: None,
        submodules: true,
        mtime: GitTime::Checkout,
        by_commit: false,
    };
    Query::default().read(query, &mut git)?;
    if let Some(reference) = &git.reference {
        check_reference(reference)?;
    }
    if let Some(checksum) = &git.checksum
        && !checksum.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Err(invalid("commit", checksum));
    }
    Ok(git)
}

fn invalid(what: &'static str, value: &str) -> GitAddressError {
    GitAddressError::Invalid {
        what,
        value: value.to_owned(),
    }
}

/// Refuses hosts and users that programs could take for options.
fn check_remote(remote: &str, written: &str) -> Result<()> {
    let authority = match remote.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
        None => remote.split(':').next().unwrap_or_default(),
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.starts_with('-') || host.starts_with('-') || remote.chars().any(char::is_control) {
        return Err(invalid("host", written));
    }
    Ok(())
}

/// Refuses what no reference of git can be (git-check-ref-format).
fn check_reference(reference: &str) -> Result<()> {
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    if reference.starts_with('-')
        || reference.contains("..")
        || reference.contains("@{")
        || reference.contains(forbidden)
    {
        return Err(invalid("reference", reference));
    }
    Ok(())
}

/// What the query says of the reference, until all of it has been read.
#[derive(Default)]
struct Query {
    tag: Option<String>,
    branch: Option<String>,
    seen: Vec<String>,
}

impl Query {
    fn read(mut self, query: &str, git: &mut GitSource) -> Result<()> {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.set(&decoded(key), &decoded(value), git)?;
        }
        self.settle(git)
    }

    fn set(&mut self, key: &str, value: &str, git: &mut GitSource) -> Result<()> {
        if self.seen.iter().any(|seen| seen == key) {
            let key = key.to_owned();
            return Err(GitAddressError::Repeated { key });
        }
        self.seen.push(key.to_owned());
        let is_switch = matches!(key, "keep-git-dir" | "submodules" | "fetch-by-commit");
        if value.is_empty() && !is_switch {
            let key = key.to_owned();
            return Err(GitAddressError::NoValue { key });
        }
        match key {
            "ref" => agree("ref", &mut git.reference, value)?,
            "tag" => self.tag = Some(prefixed("refs/tags/", value)),
            "branch" => self.branch = Some(prefixed("refs/heads/", value)),
            "subdir" => agree("subdir", &mut git.subdir, value)?,
            "checksum" | "commit" => agree("commit", &mut git.checksum, value)?,
            "keep-git-dir" => git.keep_git_dir = Some(truth(key, value)?),
            "submodules" => git.submodules = truth(key, value)?,
            "fetch-by-commit" => git.by_commit = truth(key, value)?,
            "mtime" => git.mtime = time(key, value)?,
            _ => {
                let key = key.to_owned();
                return Err(GitAddressError::UnknownKey { key });
            }
        }
        Ok(())
    }

    fn settle(self, git: &mut GitSource) -> Result<()> {
        if let (Some(tag), Some(branch)) = (&self.tag, &self.branch) {
            return Err(conflict("ref", tag, branch));
        }
        if let Some(named) = self.tag.or(self.branch) {
            agree("ref", &mut git.reference, &named)?;
        }
        if git.reference.is_none() {
            git.reference.clone_from(&git.checksum);
        }
        if git.by_commit && git.checksum.is_none() {
            return Err(GitAddressError::NoCommit);
        }
        Ok(())
    }
}

fn conflict(what: &'static str, first: &str, second: &str) -> GitAddressError {
    GitAddressError::Conflict {
        what,
        first: first.to_owned(),
        second: second.to_owned(),
    }
}

/// Sets a field that may have been set before, but not to anything else.
fn agree(what: &'static str, field: &mut Option<String>, value: &str) -> Result<()> {
    match field {
        Some(known) if known != value => Err(conflict(what, known, value)),
        _ => {
            *field = Some(value.to_owned());
            Ok(())
        }
    }
}

fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) {
        name.to_owned()
    } else {
        format!("{prefix}{name}")
    }
}

fn truth(key: &str, value: &str) -> Result<bool> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid_value(key, value)),
    }
}

fn time(key: &str, value: &str) -> Result<GitTime> {
    match value {
        "checkout" => Ok(GitTime::Checkout),
        "commit" => Ok(GitTime::Commit),
        _ => Err(invalid_value(key, value)),
    }
}

fn invalid_value(key: &str, value: &str) -> GitAddressError {
    GitAddressError::InvalidValue {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// Undoes the escapes of a query.
fn decoded(text: &str) -> String {
    percent_decoded(&text.replace('+', " "))
}

/// Undoes `%XX`; what is no escape stays.
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(hex.unwrap_or(first));
        rest = if hex.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(remote: &str) -> GitSource {
        GitSource {
            remote: remote.into(),
            reference: None,
            subdir: None,
            keep_git_dir: None,
            checksum: None,
            submodules: true,
            mtime: GitTime::Checkout,
            by_commit: false,
        }
    }

    #[test]
    fn repositories_are_told_from_files_and_downloads() {
        let neither = [
            "a",
            "a.git",
            "/x/y.git",
            "../a@b:c",
            "@b:c",
            "http://a/b",
            "https://a/b.git/c",
            "https://a/b?x=.git",
        ];
        for source in neither {
            assert_eq!(of_add(source), None, "{source}");
            assert_eq!(of_context(source), None, "{source}");
        }
        for remote in [
            "https://a/b.git",
            "http://a/b.git",
            "git://a/b",
            "git@github.com:a/b.git",
            "ssh://git@a:22/b",
        ] {
            assert_eq!(of_add(remote), Some(Ok(plain(remote))), "{remote}");
            assert_eq!(of_context(remote), Some(Ok(plain(remote))), "{remote}");
        }
        for (context, remote) in [
            ("file:///srv/a", "file:///srv/a"),
            ("github.com/a/b", "https://github.com/a/b"),
        ] {
            assert_eq!(of_context(context), Some(Ok(plain(remote))), "{context}");
            assert_eq!(of_add(context), None, "{context}");
        }
    }

    #[test]
    fn ssh_addresses_are_known() {
        for (remote, expected) in [
            ("ssh://a/b", true),
            ("git@a:b", true),
            ("https://a/b.git", false),
            ("git://a/b", false),
        ] {
            assert_eq!(is_ssh(remote), expected, "{remote}");
        }
    }

    #[test]
    fn addresses_carry_reference_directory_and_queries() {
        let a = |change: fn(&mut GitSource)| {
            let mut git = plain("https://a/b.git");
            change(&mut git);
            Ok(git)
        };
        for (rest, expected) in [
            ("#v1", a(|git| git.reference = Some("v1".into()))),
            ("#:sub/dir", a(|git| git.subdir = Some("sub/dir".into()))),
            (
                "?ref=pull/42/head&subdir=x",
                a(|git| {
                    git.reference = Some("pull/42/head".into());
                    git.subdir = Some("x".into());
                }),
            ),
            (
                "?tag=v1",
                a(|git| git.reference = Some("refs/tags/v1".into())),
            ),
            (
                "?branch=refs/heads/a%2Fb",
                a(|git| git.reference = Some("refs/heads/a/b".into())),
            ),
            (
                "?keep-git-dir=1&checksum=abc#v1:sub",
                a(|git| {
                    git.reference = Some("v1".into());
                    git.subdir = Some("sub".into());
                    git.keep_git_dir = Some(true);
                    git.checksum = Some("abc".into());
                }),
            ),
            (
                "?commit=abc&fetch-by-commit&submodules=false&mtime=commit&keep-git-dir=f",
                a(|git| {
                    git.reference = Some("abc".into());
                    git.checksum = Some("abc".into());
                    git.by_commit = true;
                    git.submodules = false;
                    git.mtime = GitTime::Commit;
                    git.keep_git_dir = Some(false);
                }),
            ),
            ("?ref=v1#v1", a(|git| git.reference = Some("v1".into()))),
        ] {
            let found = of_add(&format!("https://a/b.git{rest}")).expect("a repository");
            assert_eq!(found, expected, "{rest}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        for (address, expected) in [
            (
                "https://a/b.git?nonsense=1",
                "unexpected query \"nonsense\" in a git address",
            ),
            ("https://a/b.git?ref=", "query \"ref\" has no value"),
            (
                "https://a/b.git?ref=a&ref=b",
                "query \"ref\" has multiple values",
            ),
            ("https://a/b.git?ref=a#b", "ref conflicts: \"b\" vs \"a\""),
            (
                "https://a/b.git?tag=a&branch=b",
                "ref conflicts: \"refs/tags/a\" vs \"refs/heads/b\"",
            ),
            (
                "https://a/b.git?submodules=maybe",
                "invalid submodules value: \"maybe\"",
            ),
            ("https://a/b.git?mtime=now", "invalid mtime value: \"now\""),
            (
                "https://a/b.git?fetch-by-commit=1",
                "fetch-by-commit needs the commit: add commit=SHA",
            ),
            (
                "https://a/b.git?commit=--all",
                "invalid reference in a git address: \"--all\"",
            ),
            (
                "https://a/b.git?commit=xyz&ref=a",
                "invalid commit in a git address: \"xyz\"",
            ),
            (
                "https://a/b.git#--upload-pack=touch%20x",
                "invalid reference in a git address: \"--upload-pack=touch%20x\"",
            ),
            (
                "https://a/b.git#a..b",
                "invalid reference in a git address: \"a..b\"",
            ),
            (
                "ssh://-oProxyCommand=x/b",
                "invalid host in a git address: \"ssh://-oProxyCommand=x/b\"",
            ),
            ("-oX@h:b", "invalid host in a git address: \"-oX@h:b\""),
        ] {
            let found = of_add(address).expect("a repository");
            assert_eq!(
                found.map_err(|error| error.to_string()),
                Err(expected.to_owned()),
                "{address}"
            );
        }
    }
}
