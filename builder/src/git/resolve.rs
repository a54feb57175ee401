//! From a branch, tag or commit to the object that it means now.

use super::command::Git;
use super::error::GitError;
use super::is_object_name;

/// What a reference means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// What is fetched: the commit, or the annotated tag that points to it. It may be a part of
    /// a commit's name, if no server knows it as a reference.
    pub(crate) object: String,
    /// The commit, if it is known yet.
    pub(crate) commit: Option<String>,
    /// The full name of the reference, such as `refs/heads/main`.
    pub(crate) name: Option<String>,
}

impl Resolved {
    /// The object that bears this full name.
    pub(crate) fn named(object: &str) -> Self {
        Self {
            object: object.to_ascii_lowercase(),
            commit: Some(object.to_ascii_lowercase()),
            name: None,
        }
    }

    /// Fails unless this is the commit (or tag) whose name begins with `expected`.
    pub(crate) fn verify(&self, expected: &str) -> Result<(), GitError> {
        let wanted = expected.to_ascii_lowercase();
        let known = self.commit.iter().chain([&self.object]);
        if known.clone().any(|name| name.starts_with(&wanted)) {
            return Ok(());
        }
        Err(GitError::Checksum {
            expected: expected.to_owned(),
            found: self.commit.clone().unwrap_or_else(|| self.object.clone()),
        })
    }
}

/// Asks the server what `reference` (its HEAD if there is none) means; a full name is known.
pub(crate) fn resolve(git: Git<'_>, reference: Option<&str>) -> Result<Resolved, GitError> {
    match reference {
        Some(name) if is_object_name(name) => Ok(Resolved::named(name)),
        Some(name) => by_name(git, name),
        None => head(git),
    }
}

/// Returns the lines of ls-remote: what stands before the tab, and the reference behind it.
fn list(
    git: Git<'_>,
    options: &[&str],
    patterns: &[String],
) -> Result<Vec<(String, String)>, GitError> {
    let mut words = vec![git.access.remote.clone()];
    words.extend_from_slice(patterns);
    let answer = git.run("ls-remote").options(options).words(&words).text()?;
    Ok(answer
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(object, name)| (object.to_owned(), name.to_owned()))
        .collect())
}

fn head(git: Git<'_>) -> Result<Resolved, GitError> {
    let lines = list(git, &["--symref"], &["HEAD".to_owned()])?;
    let of_head = || lines.iter().filter(|(_, name)| name == "HEAD");
    let branch = of_head().find_map(|(object, _)| object.strip_prefix("ref: "));
    let object = of_head().find(|(object, _)| is_object_name(object));
    let Some((object, _)) = object else {
        return Err(GitError::Empty {
            remote: git.access.remote.clone(),
        });
    };
    Ok(Resolved {
        name: branch.map(str::to_owned),
        ..Resolved::named(object)
    })
}

/// Names are looked up as git's checkout does: branches go before tags.
fn by_name(git: Git<'_>, reference: &str) -> Result<Resolved, GitError> {
    let candidates = candidates(reference);
    let mut patterns = candidates.clone();
    patterns.extend(candidates.iter().map(|name| format!("{name}^{{}}")));
    let lines = list(git, &[], &patterns)?;
    let find = |wanted: &str| {
        let found = lines.iter().find(|(_, name)| name == wanted);
        found.map(|(object, _)| object.clone())
    };
    for name in candidates {
        let Some(object) = find(&name).filter(|object| is_object_name(object)) else {
            continue;
        };
        let commit = find(&format!("{name}^{{}}")).unwrap_or_else(|| object.clone());
        return Ok(Resolved {
            object,
            commit: Some(commit),
            name: Some(name),
        });
    }
    let is_short = (4..40).contains(&reference.len());
    if is_short && reference.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Resolved {
            object: reference.to_ascii_lowercase(),
            commit: None,
            name: None,
        });
    }
    Err(GitError::NoReference {
        remote: git.access.remote.clone(),
        reference: reference.to_owned(),
    })
}

/// Returns the full names that a reference can stand for, best first.
fn candidates(reference: &str) -> Vec<String> {
    let mut names: Vec<String> = ["refs/heads/", "refs/tags/", "refs/"]
        .iter()
        .map(|prefix| {
            let rest = reference.strip_prefix(prefix).unwrap_or(reference);
            format!("{prefix}{rest}")
        })
        .collect();
    if reference.starts_with("refs/") {
        names = vec![reference.to_owned()];
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_go_before_tags_and_full_names_stand_alone() {
        for (reference, expected) in [
            ("v1", &["refs/heads/v1", "refs/tags/v1", "refs/v1"][..]),
            ("refs/tags/v1", &["refs/tags/v1"]),
            (
                "pull/4/head",
                &[
                    "refs/heads/pull/4/head",
                    "refs/tags/pull/4/head",
                    "refs/pull/4/head",
                ],
            ),
        ] {
            assert_eq!(candidates(reference), expected, "{reference}");
        }
    }

    #[test]
    fn a_commit_is_known_by_the_beginning_of_its_name() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let tagged = Resolved {
            object: "f".repeat(40),
            commit: Some(commit.to_owned()),
            name: Some("refs/tags/v1".to_owned()),
        };
        for (expected, fits) in [
            (commit, true),
            ("0123456789AB", true),
            ("ffff", true),
            ("1234", false),
        ] {
            assert_eq!(tagged.verify(expected).is_ok(), fits, "{expected}");
        }
    }
}
