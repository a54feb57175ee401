//! `registries.conf`: what podman, buildah and skopeo are told about registries
//! (containers-registries.conf(5), version 2).
//!
//! A rule is about images whose names begin with its prefix, the longest one counts: it can lead
//! elsewhere (`location`), name mirrors to be asked first, allow plain HTTP, or forbid the image.
//! Pushes go where their name says; only `blocked` and `insecure` mean something for them.
//!
//! Short names (`app` without a registry) are docker's: `docker.io/library/app`. Only where the
//! user asks for it do aliases and `unqualified-search-registries` count ([`ShortNames`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cooper_oci::{DEFAULT_DOMAIN, Reference};
use serde::Deserialize;

/// What the files say, the later ones over the earlier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    /// How short names are understood.
    pub short_names: ShortNames,
}

/// Which images a name without a registry can mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShortNames {
    aliases: BTreeMap<String, String>,
    search: Vec<String>,
}

/// What is to be done with images of one prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Rule {
    /// `host[:port][/path]`, or `*.domain`.
    prefix: String,
    /// What stands in place of the prefix.
    location: String,
    pub(super) insecure: bool,
    pub(super) blocked: bool,
    mirror_by_digest_only: bool,
    #[serde(rename = "mirror")]
    mirrors: Vec<Mirror>,
}

/// What is asked before the location.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    #[serde(rename = "pull-from-mirror")]
    when: String,
}

/// A place that serves an image in another one's stead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) mirror: bool,
    /// `host[:port]`
    pub(super) authority: &'a str,
    /// Comes before what is left of a repository's name; may be empty.
    pub(super) prefix: &'a str,
    /// What the repository's name loses in exchange.
    pub(super) stripped: String,
    pub(super) insecure: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(rename = "registry")]
    registries: Vec<Rule>,
    aliases: BTreeMap<String, String>,
}

/// Why a `registries.conf` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{} is not valid: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
}

impl Rules {
    /// Reads `file` and then the `*.conf` files of `dirs` in the order of their names; what does
    /// not exist says nothing.
    pub fn read(file: Option<&Path>, dirs: &[PathBuf]) -> Result<Self, RulesError> {
        let mut rules = Self::default();
        let mut files: Vec<PathBuf> = file.map(Path::to_owned).into_iter().collect();
        for dir in dirs {
            files.extend(conf_files(dir)?);
        }
        for path in files {
            match std::fs::read_to_string(&path) {
                Ok(text) => rules.add(&path, &text)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(RulesError::Read { path, source }),
            }
        }
        Ok(rules)
    }

    /// Adds what one file says.
    fn add(&mut self, path: &Path, text: &str) -> Result<(), RulesError> {
        let invalid = |reason: String| RulesError::Invalid {
            path: path.to_owned(),
            reason,
        };
        let first_version = text
            .lines()
            .any(|line| line.trim_start().starts_with("[registries."));
        if first_version {
            return Err(invalid(
                "it has the tables of version 1 ([registries.…]); write [[registry]] instead"
                    .to_owned(),
            ));
        }
        let file: File = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        for mut rule in file.registries {
            if rule.prefix.is_empty() {
                rule.prefix.clone_from(&rule.location);
            }
            rule.check().map_err(invalid)?;
            self.rules.retain(|known| known.prefix != rule.prefix);
            self.rules.push(rule);
        }
        if let Some(search) = file.unqualified_search_registries {
            self.short_names.search = search;
        }
        self.short_names.aliases.extend(file.aliases);
        Ok(())
    }

    /// Returns the rule for images of the repository `name`, registry and path.
    pub(super) fn of(&self, domain: &str, path: &str) -> Option<&Rule> {
        let fits = |rule: &&Rule| rule.matched(domain, path).is_some();
        self.rules
            .iter()
            .filter(fits)
            .max_by_key(|rule| rule.prefix.len())
    }
}

/// Lists the configuration files of a directory, sorted.
fn conf_files(dir: &Path) -> Result<Vec<PathBuf>, RulesError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            let path = dir.to_owned();
            return Err(RulesError::Read { path, source });
        }
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "conf")
        })
        .collect();
    files.sort();
    Ok(files)
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let plain = |text: &str| {
            !text.contains("://")
                && !text.ends_with('/')
                && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if self.prefix.is_empty() {
            return Err("a [[registry]] has neither a prefix nor a location".to_owned());
        }
        let bare = self.prefix.strip_prefix("*.").unwrap_or(&self.prefix);
        let mirrors = self.mirrors.iter().map(|mirror| mirror.location.as_str());
        for text in mirrors.chain([bare, &self.location]) {
            if !plain(text) || text.contains('*') {
                return Err(format!("{text:?} is not HOST[:PORT][/PATH]"));
            }
        }
        if self.prefix.starts_with("*.") && self.prefix.contains('/') {
            return Err(format!("the wildcard {:?} may have no path", self.prefix));
        }
        if self.mirrors.iter().any(|mirror| mirror.location.is_empty()) {
            return Err(format!("a mirror of {} has no location", self.prefix));
        }
        let known = ["", "all", "digest-only", "tag-only"];
        match self
            .mirrors
            .iter()
            .find(|mirror| !known.contains(&mirror.when.as_str()))
        {
            Some(mirror) => Err(format!(
                "pull-from-mirror = {:?}: known are all, digest-only and tag-only",
                mirror.when
            )),
            None => Ok(()),
        }
    }

    /// Returns how much of a repository's path the prefix covers; nothing if it is about others.
    fn matched(&self, domain: &str, path: &str) -> Option<String> {
        if let Some(suffix) = self.prefix.strip_prefix('*') {
            return domain.ends_with(suffix).then(String::new);
        }
        let (host, covered) = self.prefix.split_once('/').unwrap_or((&self.prefix, ""));
        let inside = path == covered
            || covered.is_empty()
            || path
                .strip_prefix(covered)
                .is_some_and(|rest| rest.starts_with('/'));
        (host == domain && inside).then(|| covered.to_owned())
    }

    /// Returns who is to be asked for an image, mirrors first; `by_digest` says how it is named.
    /// If all are mirrors, the registry itself comes last.
    pub(super) fn places(&self, domain: &str, path: &str, by_digest: bool) -> Vec<Place<'_>> {
        let stripped = self.matched(domain, path).unwrap_or_default();
        let mirrors = self.mirrors.iter().filter(|mirror| {
            let only = match mirror.when.as_str() {
                "" if self.mirror_by_digest_only => "digest-only",
                only => only,
            };
            match only {
                "digest-only" => by_digest,
                "tag-only" => !by_digest,
                _ => true,
            }
        });
        let mirrors = mirrors.map(|mirror| (mirror.location.as_str(), true, mirror.insecure));
        // A wildcard has no place of its own unless it says one.
        let own = (!self.location.is_empty() && self.location != self.prefix).then_some((
            self.location.as_str(),
            false,
            self.insecure,
        ));
        mirrors
            .chain(own)
            .map(|(location, mirror, insecure)| {
                let (authority, prefix) = location.split_once('/').unwrap_or((location, ""));
                Place {
                    mirror,
                    authority,
                    prefix,
                    stripped: stripped.clone(),
                    insecure,
                }
            })
            .collect()
    }
}

impl ShortNames {
    /// Returns what `name`, as the user wrote it, can mean, in the order to try: docker's meaning
    /// if it names a registry, or if nothing is said of short names.
    pub fn meanings(&self, name: &str, docker: &Reference) -> Vec<Reference> {
        let (short, suffix) = split(name);
        let first = short.split('/').next().unwrap_or_default();
        let qualified = short.contains('/') && (first == "localhost" || first.contains(['.', ':']))
            || docker.domain() != DEFAULT_DOMAIN;
        if qualified {
            return vec![docker.clone()];
        }
        if let Some(alias) = self.aliases.get(short)
            && let Ok(meant) = format!("{alias}{suffix}").parse()
        {
            return vec![meant];
        }
        let found: Vec<Reference> = self
            .search
            .iter()
            .filter_map(|registry| format!("{registry}/{short}{suffix}").parse().ok())
            .collect();
        if found.is_empty() {
            return vec![docker.clone()];
        }
        found
    }
}

/// Splits a name from its tag and digest.
fn split(name: &str) -> (&str, &str) {
    let end = name.find('@').unwrap_or(name.len());
    let slash = name[..end].rfind('/').map_or(0, |at| at + 1);
    let at = name[slash..end].find(':').map_or(end, |at| slash + at);
    name.split_at(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        unqualified-search-registries = ["one.example", "two.example:5000"]
        short-name-mode = "permissive"

        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.example/hub"
        [[registry.mirror]]
        location = "plain.example:5000"
        insecure = true
        pull-from-mirror = "digest-only"

        [[registry]]
        prefix = "docker.io/library"
        location = "official.example/copies"

        [[registry]]
        prefix = "docker.io/library/bad"
        blocked = true

        [[registry]]
        prefix = "*.internal.example"
        insecure = true

        [aliases]
        "debian" = "deb.example/linux/debian"
    "#;

    fn rules() -> Rules {
        let mut rules = Rules::default();
        rules
            .add(Path::new("registries.conf"), FILE)
            .expect("valid");
        rules
    }

    /// Where an image is looked for, as `authority/repository`, with `!` if HTTP is allowed.
    fn places(domain: &str, path: &str, by_digest: bool) -> Vec<String> {
        let rules = rules();
        let Some(rule) = rules.of(domain, path) else {
            return vec!["no rule".to_owned()];
        };
        let show = |place: &Place<'_>| {
            let mark = if place.insecure { "!" } else { "" };
            format!(
                "{}/{}-{}{mark}",
                place.authority, place.prefix, place.stripped
            )
        };
        rule.places(domain, path, by_digest)
            .iter()
            .map(show)
            .collect()
    }

    #[test]
    fn the_longest_prefix_counts() {
        let hub = ["mirror.example/hub-"];
        assert_eq!(places("docker.io", "me/app", false), hub);
        let both = ["mirror.example/hub-", "plain.example:5000/-!"];
        assert_eq!(places("docker.io", "me/app", true), both);
        let moved = ["official.example/copies-library"];
        assert_eq!(places("docker.io", "library/app", false), moved);
        assert_eq!(places("docker.io", "library/badly", false), moved);
        assert_eq!(places("quay.io", "library/bad", false), ["no rule"]);
        let rules = rules();
        let rule = |domain, path| rules.of(domain, path).expect("a rule");
        assert!(rule("docker.io", "library/bad").blocked);
        assert!(rule("docker.io", "library/bad/deeper").blocked);
        assert!(rule("a.internal.example", "x").insecure);
        assert_eq!(rules.of("internal.example", "x"), None);
    }

    #[test]
    fn later_files_change_what_earlier_ones_say() {
        let mut rules = rules();
        let text = "[[registry]]\nprefix = \"docker.io/library/bad\"\n[aliases]\ndebian = \"d.example/d\"\n";
        rules.add(Path::new("10.conf"), text).expect("valid");
        assert!(
            !rules
                .of("docker.io", "library/bad")
                .expect("a rule")
                .blocked
        );
        assert_eq!(rules.short_names.search.len(), 2);
        assert_eq!(rules.short_names.aliases["debian"], "d.example/d");
    }

    #[test]
    fn short_names_mean_what_the_user_says() {
        let rules = rules();
        let meanings = |name: &str| -> Vec<String> {
            let docker: Reference = name.parse().expect("valid");
            let found = rules.short_names.meanings(name, &docker);
            found.iter().map(ToString::to_string).collect()
        };
        let digest = format!("@sha256:{}", "a".repeat(64));
        for (name, expected) in [
            ("app", vec!["one.example/app", "two.example:5000/app"]),
            (
                "me/app:1",
                vec!["one.example/me/app:1", "two.example:5000/me/app:1"],
            ),
            ("debian:12", vec!["deb.example/linux/debian:12"]),
            ("docker.io/app", vec!["docker.io/library/app"]),
            ("localhost/app", vec!["localhost/app"]),
            ("h.example:5000/app:1", vec!["h.example:5000/app:1"]),
        ] {
            assert_eq!(meanings(name), expected, "{name}");
        }
        let pinned = format!("debian{digest}");
        assert_eq!(
            meanings(&pinned),
            [format!("deb.example/linux/debian{digest}")]
        );
        let docker: Reference = "app".parse().expect("valid");
        assert_eq!(ShortNames::default().meanings("app", &docker), [docker]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        for (text, expected) in [
            (
                "[registries.search]\nregistries = []\n",
                "tables of version 1",
            ),
            (
                "[[registry]]\nblocked = true\n",
                "neither a prefix nor a location",
            ),
            (
                "[[registry]]\nlocation = \"https://a\"\n",
                "\"https://a\" is not HOST",
            ),
            ("[[registry]]\nlocation = \"a/\"\n", "\"a/\" is not HOST"),
            ("[[registry]]\nprefix = \"*.a/b\"\n", "may have no path"),
            ("[[registry]]\nprefix = \"a.*\"\n", "is not HOST"),
            (
                "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\n",
                "has no location",
            ),
            (
                "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\nlocation = \"b\"\npull-from-mirror = \"no\"\n",
                "known are all, digest-only and tag-only",
            ),
            ("[[registry]]\nlocation = 1\n", "invalid type"),
        ] {
            let error = Rules::default()
                .add(Path::new("/x/registries.conf"), text)
                .expect_err(text);
            let message = error.to_string();
            assert!(
                message.starts_with("/x/registries.conf is not valid: "),
                "{message}"
            );
            assert!(message.contains(expected), "{message}");
        }
    }
}
