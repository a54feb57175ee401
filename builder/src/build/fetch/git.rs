//! Repositories: one commit's files as a layer.

use std::path::PathBuf;

use cooper_frontend::ir::{GitSource, GitTime};
use cooper_solver::{CacheKey, StableHasher};

use super::{Fetcher, Watch};
use crate::build::error::OpError;
use crate::build::output::Root;
use crate::git::{
    Access, CheckoutOptions, Git, GitError, Resolved, checkout, host_of, is_object_name, resolve,
    split_credentials, token_header,
};

/// Secrets with a whole `Authorization` header, and with a token to make one of.
const HEADER_SECRET: &str = "GIT_AUTH_HEADER";
const TOKEN_SECRET: &str = "GIT_AUTH_TOKEN";
/// The agent whose keys git uses.
const AGENT: &str = "default";

impl Fetcher {
    /// Checks out the commit that `source` means now; what is known of it is not fetched again.
    pub(crate) fn git(&self, source: &GitSource, watch: Watch<'_>) -> Result<Root, OpError> {
        let access = self.access(&source.remote)?;
        let git = Git {
            access: &access,
            watch,
        };
        let failed = |error| match error {
            GitError::Canceled => OpError::Canceled,
            source => OpError::Git {
                remote: access.remote.clone(),
                source: Box::new(source),
            },
        };
        let resolved = meaning(git, source).map_err(failed)?;
        if let Some(commit) = &resolved.commit {
            (watch.log)(format!("{} is {commit}\n", asked_for(source)).as_bytes());
            self.note_found(address(source), commit);
        }
        let key = key(source, &access.remote, &resolved);
        if let Some(root) = key.as_ref().and_then(|key| self.recorded(key)) {
            return Ok(root);
        }
        let root = self.check_out(git, source, &resolved, failed)?;
        if let Some(key) = key {
            self.record(&key, &root, &root);
        }
        Ok(root)
    }

    fn check_out(
        &self,
        git: Git<'_>,
        source: &GitSource,
        resolved: &Resolved,
        failed: impl Fn(GitError) -> OpError,
    ) -> Result<Root, OpError> {
        let staging = self.layers.prepare()?;
        let options = CheckoutOptions {
            subdir: subdir(source),
            keep_git_dir: source.keep_git_dir == Some(true),
            submodules: source.submodules,
            checksum: source.checksum.clone(),
            mtime: match source.mtime {
                GitTime::Checkout => Some(self.now().secs),
                GitTime::Commit => None,
            },
        };
        let places = (&*staging.fs(), &*staging.work());
        checkout(git, &self.mirrors(), resolved, &options, places).map_err(failed)?;
        let layer = self.layers.commit(staging)?.id().clone();
        Ok(Root::default().with(layer, self.now()))
    }

    /// Returns how the repository is reached.
    fn access(&self, remote: &str) -> Result<Access, OpError> {
        let (remote, own) = split_credentials(remote);
        let agent = if cooper_frontend::git::is_ssh(&remote) {
            let agent = self.agents.socket(AGENT);
            Some(agent.ok_or_else(|| OpError::MissingSsh {
                id: AGENT.to_owned(),
            })?)
        } else {
            None
        };
        let home = self.surroundings.home.as_ref();
        let known = home.map(|home| home.join(".ssh/known_hosts"));
        Ok(Access {
            authorization: own.or_else(|| self.authorization(&remote)),
            agent: agent.map(ToOwned::to_owned),
            path: self.surroundings.path.clone(),
            http: self.client.http().config().clone(),
            known_hosts: self.store.root().join("known_hosts"),
            more_known_hosts: known
                .into_iter()
                .chain([PathBuf::from("/etc/ssh/ssh_known_hosts")])
                .collect(),
            remote,
        })
    }

    /// Returns the header that the build's secrets have for the server: those of its host first.
    fn authorization(&self, remote: &str) -> Option<String> {
        if !remote.starts_with("http://") && !remote.starts_with("https://") {
            return None;
        }
        let host = host_of(remote)?;
        let secret = |id: &str| {
            let value = String::from_utf8(self.secrets.get(id)?).ok()?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let header = |suffix: &str| secret(&format!("{HEADER_SECRET}{suffix}"));
        let token = |suffix: &str| {
            secret(&format!("{TOKEN_SECRET}{suffix}")).map(|token| token_header(&token))
        };
        let of_host = format!(".{host}");
        header(&of_host)
            .or_else(|| token(&of_host))
            .or_else(|| header(""))
            .or_else(|| token(""))
    }
}

/// Finds the commit, and checks that it is the one that it must be.
fn meaning(git: Git<'_>, source: &GitSource) -> Result<Resolved, GitError> {
    if source.by_commit
        && let Some(commit) = &source.checksum
    {
        if !is_object_name(commit) {
            return Err(GitError::ShortCommit {
                commit: commit.clone(),
            });
        }
        return Ok(Resolved {
            name: source
                .reference
                .clone()
                .filter(|name| name.starts_with("refs/")),
            ..Resolved::named(commit)
        });
    }
    let resolved = resolve(git, source.reference.as_deref())?;
    if let Some(expected) = &source.checksum
        && resolved.commit.is_some()
    {
        resolved.verify(expected)?;
    }
    Ok(resolved)
}

/// Returns what a repository is called in a list of sources, without credentials.
pub(crate) fn address(source: &GitSource) -> String {
    let (remote, _) = split_credentials(&source.remote);
    match &source.reference {
        Some(reference) => format!("{remote}#{reference}"),
        None => remote,
    }
}

fn asked_for(source: &GitSource) -> &str {
    source.reference.as_deref().unwrap_or("HEAD")
}

/// Returns the directory that becomes the root, if it is not the whole.
fn subdir(source: &GitSource) -> Option<String> {
    let subdir = source.subdir.as_deref()?;
    let named = subdir.split('/').any(|name| !matches!(name, "" | "."));
    named.then(|| subdir.to_owned())
}

/// Returns the name of the result: the commit and what is done with it. A part of a commit's
/// name says too little for that.
fn key(source: &GitSource, remote: &str, resolved: &Resolved) -> Option<CacheKey> {
    let mut hasher = StableHasher::new("cooper.git-checkout");
    hasher.write(resolved.commit.as_ref()?);
    hasher.write(&subdir(source));
    hasher.write(&source.submodules);
    hasher.write(&(source.mtime == GitTime::Commit));
    if source.keep_git_dir == Some(true) {
        // What is kept speaks of where it came from.
        hasher.write(&(
            remote.to_owned(),
            resolved.name.clone(),
            resolved.object.clone(),
        ));
    }
    Some(hasher.finish_key())
}
