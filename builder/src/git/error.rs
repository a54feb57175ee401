//! Why a repository cannot be used.

use std::io;
use std::path::PathBuf;

use cooper_cache::StoreError;
use thiserror::Error;

/// Why git could not do what it was asked for, as far as its words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server wants credentials, or other ones.
    Credentials,
    /// The ssh server took no key.
    Key,
    /// The ssh server is not the one that is known by its name.
    HostKey,
    /// Nothing answers.
    Unreachable,
    /// There is no such repository.
    Missing,
    /// The address has a protocol that is not allowed.
    Protocol,
    /// Anything else.
    Other,
}

/// What git says, in lower case, and what it means.
const WORDS: &[(&str, Refusal)] = &[
    ("could not read username", Refusal::Credentials),
    ("could not read password", Refusal::Credentials),
    ("authentication failed", Refusal::Credentials),
    ("returned error: 401", Refusal::Credentials),
    ("returned error: 403", Refusal::Credentials),
    ("permission denied (", Refusal::Key),
    ("host key verification failed", Refusal::HostKey),
    ("could not resolve host", Refusal::Unreachable),
    ("connection refused", Refusal::Unreachable),
    ("connection timed out", Refusal::Unreachable),
    ("couldn't connect to server", Refusal::Unreachable),
    ("unable to connect to", Refusal::Unreachable),
    ("network is unreachable", Refusal::Unreachable),
    ("no route to host", Refusal::Unreachable),
    ("repository not found", Refusal::Missing),
    ("does not appear to be a git repository", Refusal::Missing),
    ("access denied or repository not exported", Refusal::Missing),
    (" not found", Refusal::Missing),
    ("' not allowed", Refusal::Protocol),
];

impl Refusal {
    pub(super) fn of(words: &str) -> Self {
        let words = words.to_lowercase();
        let known = WORDS.iter().find(|(known, _)| words.contains(known));
        known.map_or(Self::Other, |(_, refusal)| *refusal)
    }
}

/// A repository that cannot be used.
#[derive(Debug, Error)]
pub enum GitError {
    /// The program cannot be started.
    #[error("cannot run git")]
    Start {
        /// The system's answer.
        source: io::Error,
    },
    /// Git ended with an error.
    #[error("git {action} failed: {words}")]
    Failed {
        /// What it was to do.
        action: &'static str,
        /// What it said last.
        words: String,
        /// What that means.
        refusal: Refusal,
    },
    /// Git said something that is not understood.
    #[error("git {action} gave an answer that is not understood: {answer:?}")]
    Answer {
        /// What it was to do.
        action: &'static str,
        /// The answer.
        answer: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{remote} has no branch, tag or commit {reference}")]
    NoReference {
        /// The repository.
        remote: String,
        /// What was looked for.
        reference: String,
    },
    /// The repository has no commit at all.
    #[error("{remote} is empty")]
    Empty {
        /// The repository.
        remote: String,
    },
    /// The reference means another commit than it must.
    #[error("expected checksum to match {expected}, got {found}")]
    Checksum {
        /// The commit that it must be.
        expected: String,
        /// The commit that it is.
        found: String,
    },
    /// A commit must be named in full here.
    #[error("fetch-by-commit needs the full name of the commit, not {commit}")]
    ShortCommit {
        /// The name as given.
        commit: String,
    },
    /// The commit has no such directory.
    #[error("the repository has no directory {subdir}")]
    NoDirectory {
        /// The directory.
        subdir: String,
    },
    /// A submodule cannot be used.
    #[error("submodule {path}")]
    Submodule {
        /// Where it is in the repository.
        path: String,
        /// Why.
        source: Box<GitError>,
    },
    /// The commit has a submodule that it does not tell the address of.
    #[error(".gitmodules does not say where it is fetched from")]
    Unmapped,
    /// A submodule's address is none that is fetched from.
    #[error("{url:?} is no address that submodules may have")]
    Address {
        /// The address.
        url: String,
    },
    /// Submodules have submodules without end.
    #[error("submodules are nested more than {limit} deep")]
    TooDeep {
        /// How deep they may be.
        limit: usize,
    },
    /// A file of a checkout or mirror cannot be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The build was canceled.
    #[error("canceled")]
    Canceled,
}

impl GitError {
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Whether another way to ask for the same may be answered.
    pub(super) fn is_worth_another_way(&self) -> bool {
        let other = |refusal: &Refusal| matches!(refusal, Refusal::Other | Refusal::Missing);
        matches!(self, Self::Failed { refusal, .. } if other(refusal))
    }

    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Submodule { source, .. } => return source.hint(),
            Self::Start { source } if source.kind() == io::ErrorKind::NotFound => {
                "install git: repositories are fetched by it"
            }
            Self::Unmapped | Self::Address { .. } | Self::TooDeep { .. } => {
                "leave submodules out with ?submodules=false in the address"
            }
            Self::NoReference { .. } => "`git ls-remote` lists the branches and tags that it has",
            Self::Empty { .. } => "push a commit to it first",
            Self::Checksum { .. } => {
                "give the commit that is meant, or leave checksum= out where the branch may move"
            }
            Self::NoDirectory { .. } => {
                "what follows `:`, or subdir=, names a directory of the repository"
            }
            Self::ShortCommit { .. } => "give all 40 digits of commit=",
            Self::Failed { refusal, .. } => return refusal_hint(*refusal),
            _ => return None,
        };
        Some(text.to_owned())
    }
}

fn refusal_hint(refusal: Refusal) -> Option<String> {
    let text = match refusal {
        Refusal::Credentials => {
            "give a token for the server: --secret id=GIT_AUTH_TOKEN,env=NAME \
             (or id=GIT_AUTH_TOKEN.HOST for one host, id=GIT_AUTH_HEADER for a whole header)"
        }
        Refusal::Key => {
            "let the build use your ssh agent: --ssh default; `ssh-add -l` tells which keys it has"
        }
        Refusal::HostKey => {
            "the server's key is not the one in known_hosts; if it has changed for a good reason, \
             remove the old one with ssh-keygen -R HOST"
        }
        Refusal::Unreachable => "check the address, the network and the proxy settings",
        Refusal::Missing => {
            "check the address; servers also say so of repositories that need credentials: \
             --secret id=GIT_AUTH_TOKEN,env=NAME or --ssh default"
        }
        Refusal::Protocol => "repositories are fetched by https, http, ssh and git",
        Refusal::Other => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_known_by_their_words() {
        for (words, expected) in [
            (
                "fatal: could not read Username for 'https://h': terminal prompts disabled",
                Refusal::Credentials,
            ),
            ("git@h: Permission denied (publickey).", Refusal::Key),
            (
                "fatal: unable to access 'http://h/': Could not resolve host: h",
                Refusal::Unreachable,
            ),
            (
                "fatal: repository 'http://h/x.git/' not found",
                Refusal::Missing,
            ),
            ("fatal: transport 'ext' not allowed", Refusal::Protocol),
            (
                "fatal: remote error: upload-pack: not our ref",
                Refusal::Other,
            ),
        ] {
            assert_eq!(Refusal::of(words), expected, "{words}");
        }
    }
}
