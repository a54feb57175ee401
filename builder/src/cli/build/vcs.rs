//! What git knows of a context that is a directory: provenance tells it, labels may.
//!
//! As buildx, by the user's own git, whose trust in other people's repositories decides:
//!
//! | Variable | Means |
//! |---|---|
//! | `BUILDX_GIT_INFO=false` | nothing is asked of git |
//! | `BUILDX_GIT_CHECK_DIRTY=true` | a revision with changes beside it is told as such |
//! | `BUILDX_GIT_LABELS=true` | the revision and the Dockerfile's place become labels |
//! | `BUILDX_GIT_LABELS=full` | the repository's address as well |
//!
//! A context that no repository has, or that git will not speak of, is built all the same.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::value::boolean;
use crate::config::Environment;
use crate::git::split_credentials;
use crate::options::{ContextSource, DockerfileSource, Vcs};
use crate::report::Report;

const INFO: &str = "BUILDX_GIT_INFO";
const CHECK_DIRTY: &str = "BUILDX_GIT_CHECK_DIRTY";
const LABELS: &str = "BUILDX_GIT_LABELS";

/// What is asked of git.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    labels: LabelSet,
    check_dirty: bool,
}

/// Which labels are made of what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LabelSet {
    None,
    Revision,
    Full,
}

impl Asked {
    /// Returns what is to be asked, by the environment and by whether provenance is `told`.
    pub(super) fn resolve(environment: &Environment, told: bool) -> Result<Option<Self>, Report> {
        let switch = |name: &str, otherwise: bool| match environment.text(name).as_deref() {
            None | Some("") => Ok(otherwise),
            Some(text) => boolean(name, text).map_err(|error| error.report(name, text)),
        };
        let labels = match environment.text(LABELS).as_deref() {
            Some("full") => LabelSet::Full,
            _ if switch(LABELS, false)? => LabelSet::Revision,
            _ => LabelSet::None,
        };
        let asked = Self {
            labels,
            check_dirty: switch(CHECK_DIRTY, false)?,
        };
        let wanted = told || labels != LabelSet::None;
        Ok((switch(INFO, true)? && wanted).then_some(asked))
    }

    /// Asks git of the repository that a context is in.
    pub(super) fn of(self, context: &ContextSource, dockerfile: &DockerfileSource) -> Option<Vcs> {
        let dir = context.dir()?.canonicalize().ok()?;
        let repository = Repository { dir: &dir };
        let answer = repository.git(&["rev-parse", "--show-toplevel", "HEAD"])?;
        let (top, revision) = answer.split_once('\n')?;
        let dirty = self.check_dirty && !repository.git(&["status", "--porcelain"])?.is_empty();
        let top = PathBuf::from(top);
        let file = match dockerfile {
            DockerfileSource::Path(path) => path.canonicalize().ok(),
            DockerfileSource::Lookup => Some(dir.join("Dockerfile")),
            _ => None,
        };
        let file = file.and_then(|file| Some(file.strip_prefix(&top).ok()?.to_owned()));
        Some(Vcs {
            source: repository.address(),
            revision: format!("{revision}{}", if dirty { "-dirty" } else { "" }),
            context: dir.strip_prefix(&top).ok()?.to_owned(),
            dockerfile: file,
        })
    }

    /// Adds the labels that are asked for and that nobody has given.
    pub(super) fn label(self, vcs: &Vcs, labels: &mut Vec<(String, String)>) {
        let mut add = |name: &str, value: Option<String>| {
            let known = labels.iter().any(|(label, _)| label == name);
            if let Some(value) = value.filter(|_| !known) {
                labels.push((name.to_owned(), value));
            }
        };
        if self.labels != LabelSet::None {
            let entry = vcs.dockerfile.as_deref().map(Path::display);
            let entry = entry.map(|entry| entry.to_string());
            add("com.docker.image.source.entrypoint", entry);
            add(
                "org.opencontainers.image.revision",
                Some(vcs.revision.clone()),
            );
        }
        if self.labels == LabelSet::Full {
            add("org.opencontainers.image.source", vcs.source.clone());
        }
    }
}

struct Repository<'a> {
    dir: &'a Path,
}

impl Repository<'_> {
    /// Returns what git answers, without the last line break.
    fn git(&self, args: &[&str]) -> Option<String> {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.dir).args(args);
        let command = command.env("LC_ALL", "C").stdin(Stdio::null());
        let output = command.stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim_end().to_owned())
    }

    /// Returns the address of the remote that the branch follows, of `origin` or of `upstream`,
    /// without credentials. A path is of this machine alone and is no address.
    fn address(&self) -> Option<String> {
        let follows = || {
            let branch = self.git(&["symbolic-ref", "--short", "HEAD"])?;
            self.git(&["config", "--get", &format!("branch.{branch}.remote")])
        };
        let named = ["origin", "upstream"].map(str::to_owned);
        let mut remotes = follows().into_iter().chain(named);
        let address = remotes.find_map(|name| self.git(&["remote", "get-url", &name]))?;
        let path = address.starts_with(['/', '.']) || address.starts_with("file:");
        (!path).then(|| split_credentials(&address).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(variables: &[(&str, &str)], told: bool) -> Option<Asked> {
        let environment = Environment::of(variables.iter().copied());
        Asked::resolve(&environment, told).expect("resolves")
    }

    #[test]
    fn git_is_asked_only_for_what_is_told() {
        assert!(asked(&[], true).is_some());
        assert!(asked(&[], false).is_none());
        assert!(asked(&[(INFO, "false")], true).is_none());
        let full = asked(&[(LABELS, "full")], false).expect("labels");
        assert_eq!((full.labels, full.check_dirty), (LabelSet::Full, false));
        let some = asked(&[(LABELS, "1"), (CHECK_DIRTY, "1")], false).expect("labels");
        assert_eq!((some.labels, some.check_dirty), (LabelSet::Revision, true));
        let environment = Environment::of([(INFO, "perhaps")]);
        assert!(Asked::resolve(&environment, true).is_err());
    }

    #[test]
    fn labels_that_are_given_stay() {
        let asked = asked(&[(LABELS, "full")], false).expect("labels");
        let vcs = Vcs {
            source: Some("https://host.example/app".to_owned()),
            revision: "abc".to_owned(),
            context: PathBuf::new(),
            dockerfile: Some("docker/Dockerfile".into()),
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut labels = vec![pair("org.opencontainers.image.revision", "mine")];
        asked.label(&vcs, &mut labels);
        assert_eq!(
            labels,
            [
                pair("org.opencontainers.image.revision", "mine"),
                pair("com.docker.image.source.entrypoint", "docker/Dockerfile"),
                pair(
                    "org.opencontainers.image.source",
                    "https://host.example/app"
                ),
            ]
        );
    }
}
