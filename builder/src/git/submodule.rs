//! Submodules: repositories that a commit holds by the names of their commits.

use std::collections::BTreeMap;
use std::path::Path;

use cooper_frontend::git::of_add;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::access::{Access, split_credentials};
use super::checkout::Job;
use super::command::Git;
use super::error::GitError;
use super::mirror::Mirror;
use super::resolve::Resolved;

/// How deep submodules may be nested.
const MAX_DEPTH: usize = 16;
/// The mode of a submodule in a tree.
const GITLINK: &str = "160000";

/// Checks out all submodules of `commit`, which is checked out at `tree`.
pub(super) fn check_out_all(
    job: &Job<'_>,
    git: Git<'_>,
    mirror: &Mirror,
    commit: &str,
    tree: &Path,
    depth: usize,
) -> Result<(), GitError> {
    let links = links(git, mirror, commit)?;
    if links.is_empty() {
        return Ok(());
    }
    if depth == MAX_DEPTH {
        return Err(GitError::TooDeep { limit: MAX_DEPTH });
    }
    let modules = modules(git, mirror, commit)?;
    for (path, object) in links {
        let module = modules.values().find(|module| module.path == path);
        let checked_out = match module {
            Some(module) if module.update.as_deref() == Some("none") => continue,
            Some(module) => check_out(job, git, module, &object, tree, depth),
            None => Err(GitError::Unmapped),
        };
        checked_out.map_err(|source| GitError::Submodule {
            path,
            source: Box::new(source),
        })?;
    }
    Ok(())
}

fn check_out(
    job: &Job<'_>,
    git: Git<'_>,
    module: &Module,
    object: &str,
    tree: &Path,
    depth: usize,
) -> Result<(), GitError> {
    let access = access(git.access, &module.url)?;
    let own = Git {
        access: &access,
        watch: git.watch,
    };
    refuse_links(tree, &module.path)?;
    let resolved = Resolved::named(object);
    let into = tree.join(&module.path);
    job.check_out(own, &resolved, &into, depth + 1).map(drop)
}

/// Fails if the submodule's directory would be reached through a link.
fn refuse_links(tree: &Path, path: &str) -> Result<(), GitError> {
    let open = |flags| rustix::fs::open(tree, flags, Mode::empty());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = open(flags).map_err(|error| GitError::io("open", tree)(error.into()))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(&top, path, flags, Mode::empty(), resolve) {
        Ok(_) => Ok(()),
        Err(error) => Err(GitError::io("enter", tree.join(path))(error.into())),
    }
}

/// Returns how the submodule at `url` is reached; its parent's credentials go to the same
/// host alone.
fn access(parent: &Access, url: &str) -> Result<Access, GitError> {
    let refused = || GitError::Address {
        url: split_credentials(url).0,
    };
    let absolute = absolute(&parent.remote, url).ok_or_else(refused)?;
    // `.git` marks an address as a repository's for ADD, but submodules are nothing else.
    let is_http = absolute.starts_with("http://") || absolute.starts_with("https://");
    let marked = if is_http && absolute.strip_suffix(".git").is_none() {
        format!("{}.git", absolute.trim_end_matches('/'))
    } else {
        absolute.clone()
    };
    if absolute.contains(['#', '?']) || !matches!(of_add(&marked), Some(Ok(_))) {
        return Err(refused());
    }
    let (remote, own) = split_credentials(&absolute);
    let same_host = super::access::host_of(&remote) == super::access::host_of(&parent.remote)
        && remote.split_once("://").map(|(scheme, _)| scheme)
            == parent.remote.split_once("://").map(|(scheme, _)| scheme);
    let inherited = parent.authorization.clone().filter(|_| same_host);
    Ok(Access {
        authorization: own.or(inherited),
        remote,
        ..parent.clone()
    })
}

/// Returns the address that a relative one means beside that of the repository above.
fn absolute(parent: &str, url: &str) -> Option<String> {
    if !url.starts_with("./") && !url.starts_with("../") {
        return Some(url.to_owned());
    }
    let mut base = parent.trim_end_matches('/');
    let mut rest = url;
    loop {
        if let Some(below) = rest.strip_prefix("./") {
            rest = below;
        } else if let Some(above) = rest.strip_prefix("../") {
            rest = above;
            let path_start = base.find("://").map_or(0, |at| at + 3);
            let cut = base[path_start..].rfind(['/', ':'])?;
            base = &base[..path_start + cut + usize::from(is_scp_colon(base, path_start + cut))];
        } else {
            break;
        }
    }
    let joint = if base.ends_with(':') { "" } else { "/" };
    Some(format!("{base}{joint}{rest}"))
}

/// Whether the byte at `at` is the colon of `user@host:path`, which stays.
fn is_scp_colon(address: &str, at: usize) -> bool {
    !address.contains("://") && address.as_bytes().get(at) == Some(&b':')
}

/// Returns the submodules of a commit: their paths and commits.
fn links(git: Git<'_>, mirror: &Mirror, commit: &str) -> Result<Vec<(String, String)>, GitError> {
    let answer = git
        .run("ls-tree")
        .within(mirror.dir())
        .options(&["-r", "-z", "--full-tree"])
        .plain(commit.to_owned())
        .answer()?;
    let mut links = Vec::new();
    for line in answer.split(|byte| *byte == 0) {
        let line = String::from_utf8_lossy(line);
        let Some((fields, path)) = line.split_once('\t') else {
            continue;
        };
        let mut fields = fields.split(' ');
        if fields.next() == Some(GITLINK)
            && let Some(object) = fields.nth(1)
        {
            links.push((path.to_owned(), object.to_owned()));
        }
    }
    Ok(links)
}

/// What .gitmodules says of one submodule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Module {
    path: String,
    url: String,
    update: Option<String>,
}

/// Returns the submodules of .gitmodules that say where they are and where they come from.
fn modules(
    git: Git<'_>,
    mirror: &Mirror,
    commit: &str,
) -> Result<BTreeMap<String, Module>, GitError> {
    let blob = format!("--blob={commit}:.gitmodules");
    let answer = git
        .run("config")
        .within(mirror.dir())
        .options(&[&blob, "--null", "--list"])
        .answer();
    match answer {
        Ok(answer) => Ok(read_modules(&String::from_utf8_lossy(&answer))),
        Err(GitError::Failed { .. }) => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn read_modules(listing: &str) -> BTreeMap<String, Module> {
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    for item in listing.split('\0') {
        let (key, value) = item.split_once('\n').unwrap_or((item, ""));
        let Some((name, field)) = key
            .strip_prefix("submodule.")
            .and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        let module = modules.entry(name.to_owned()).or_default();
        match field {
            "path" => value.clone_into(&mut module.path),
            "url" => value.clone_into(&mut module.url),
            "update" => module.update = Some(value.to_owned()),
            _ => {}
        }
    }
    modules.retain(|_, module| !module.path.is_empty() && !module.url.is_empty());
    modules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HttpConfig;

    fn parent(remote: &str) -> Access {
        Access {
            remote: remote.to_owned(),
            path: "/bin".into(),
            http: HttpConfig::default(),
            authorization: Some("secret".to_owned()),
            agent: None,
            known_hosts: "/k".into(),
            more_known_hosts: Vec::new(),
        }
    }

    #[test]
    fn relative_addresses_stand_beside_their_repository() {
        for (above, url, expected) in [
            ("https://h/a/b.git", "../c.git", Some("https://h/a/c.git")),
            ("https://h/a/b.git/", "../../c", Some("https://h/c")),
            ("https://h/a", "./sub", Some("https://h/a/sub")),
            ("https://h/a", "../../../c", None),
            ("git@h:a/b.git", "../c.git", Some("git@h:a/c.git")),
            ("git@h:b.git", "../c.git", Some("git@h:c.git")),
            ("https://h/a", "https://other/x", Some("https://other/x")),
        ] {
            assert_eq!(absolute(above, url).as_deref(), expected, "{above} {url}");
        }
    }

    #[test]
    fn only_servers_are_reached_and_credentials_stay_with_their_host() {
        for (url, expected) in [
            ("../c.git", Some(("https://h/a/c.git", true))),
            ("https://h/x", Some(("https://h/x", true))),
            ("http://h/x", Some(("http://h/x", false))),
            ("https://other/x.git", Some(("https://other/x.git", false))),
            ("git@h:x", Some(("git@h:x", false))),
            ("ext::sh -c touch% /x", None),
            ("file:///etc", None),
            ("/etc", None),
            ("--upload-pack=x", None),
            ("-oProxyCommand=x@h:y", None),
            ("ssh://-oProxyCommand=x/y", None),
            ("https://h/x.git#--upload-pack", None),
        ] {
            let found = access(&parent("https://h/a/b.git"), url).ok();
            let found = found
                .as_ref()
                .map(|found| (found.remote.as_str(), found.authorization.is_some()));
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn gitmodules_are_read_by_name() {
        let listing = "submodule.a.b.path\nlib/a\0submodule.a.b.url\n../a\0submodule.x.url\n../x\0core.bare\ntrue\0";
        let modules = read_modules(listing);
        assert_eq!(modules.len(), 1);
        assert_eq!(modules["a.b"].path, "lib/a");
        assert_eq!(modules["a.b"].url, "../a");
    }
}
