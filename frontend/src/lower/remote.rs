//! ADD's remote sources: downloads and git repositories.

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
pub(super) fn classify(source: &str) -> Result<Remote, String> {
    let is_http = source.starts_with("http://") || source.starts_with("https://");
    if !is_git(source, is_http) {
        return Ok(if is_http { Remote::Http } else { Remote::No });
    }
    let (address, fragment) = source.split_once('#').unwrap_or((source, ""));
    let (remote, query) = address.split_once('?').unwrap_or((address, ""));
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut git = GitSource {
        remote: remote.to_owned(),
        reference: text(reference),
        subdir: text(subdir),
        keep_git_dir: false,
        checksum: None,
        submodules: true,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "ref" => git.reference = text(value),
            "tag" => git.reference = Some(format!("refs/tags/{value}")),
            "branch" => git.reference = Some(format!("refs/heads/{value}")),
            "subdir" => git.subdir = text(value),
            "checksum" | "commit" => git.checksum = text(value),
            "keep-git-dir" => git.keep_git_dir = truth(key, value)?,
            "submodules" => git.submodules = truth(key, value)?,
            _ => return Err(format!("unexpected query {key:?} in a git address")),
        }
    }
    Ok(Remote::Git(git))
}

fn truth(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("invalid {key} value: {value:?}")),
    }
}

fn is_git(source: &str, is_http: bool) -> bool {
    if is_http {
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
    let name = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
    };
    name(user)
        && rest
            .split_once(':')
            .is_some_and(|(host, path)| name(host) && !path.is_empty())
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
    let name = percent_decoded(name);
    if matches!(name.as_str(), "" | "." | "..") || name.contains('/') {
        "__unnamed__".to_owned()
    } else {
        name
    }
}

fn percent_decoded(text: &str) -> String {
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
    fn git_addresses_carry_reference_and_directory() {
        let got = classify("https://a/b.git?keep-git-dir=1&checksum=abc#v1:sub/dir");
        let want = GitSource {
            remote: "https://a/b.git".into(),
            reference: Some("v1".into()),
            subdir: Some("sub/dir".into()),
            keep_git_dir: true,
            checksum: Some("abc".into()),
            submodules: true,
        };
        assert_eq!(got, Ok(Remote::Git(want)));
        assert!(classify("https://a/b.git?nonsense=1").is_err());
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
