//! ADD's remote sources: downloads and git repositories.

use crate::git::{self, GitAddressError};
use crate::ir::GitSource;

/// What a source of ADD is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remote {
    /// A path in the context.
    No,
    /// A file to download.
    Http,
    /// A repository.
    Git(GitSource),
}

/// Tells what a source is; the error says what is wrong with a git address.
pub(super) fn classify(source: &str) -> Result<Remote, GitAddressError> {
    if let Some(address) = git::of_add(source) {
        return address.map(Remote::Git);
    }
    let is_http = source.starts_with("http://") || source.starts_with("https://");
    Ok(if is_http { Remote::Http } else { Remote::No })
}

/// Returns the name a download gets: the last part of the address's path.
pub(super) fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let name = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let name = git::percent_decoded(name);
    if matches!(name.as_str(), "" | "." | "..") || name.contains('/') {
        "__unnamed__".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        for path in ["a", "./a@b:c/..", "github.com/a/b", "a.git", "/x/y", "@b:c"] {
            if !path.starts_with("./") {
                assert_eq!(classify(path), Ok(Remote::No), "{path}");
            }
        }
        for url in ["http://a/b", "https://a/b.git/c", "https://a/b?x=.git"] {
            assert_eq!(classify(url), Ok(Remote::Http), "{url}");
        }
        for url in [
            "https://a/b.git",
            "git://a/b",
            "git@github.com:a/b.git",
            "ssh://git@a/b",
        ] {
            assert!(matches!(classify(url), Ok(Remote::Git(_))), "{url}");
        }
    }

    #[test]
    fn downloads_are_named_after_their_path() {
        for (url, want) in [
            ("http://a/b/c.txt", "c.txt"),
            ("http://a/b/c.txt?x=/y#z", "c.txt"),
            ("http://a/b/", "b"),
            ("http://a", "__unnamed__"),
            ("http://a/", "__unnamed__"),
            ("http://a/x%20y", "x y"),
        ] {
            assert_eq!(file_name(url), want, "{url}");
        }
    }
}
