//! What a file tree is made of, by the records that package managers leave in it.
//!
//! | Records | Read |
//! |---|---|
//! | dpkg | `var/lib/dpkg/status`, `var/lib/dpkg/status.d/*` (distroless images) |
//! | apk | `lib/apk/db/installed`, `usr/lib/apk/db/installed` |
//! | rpm | `rpmdb.sqlite` and `Packages.db` in `var/lib/rpm`, `usr/lib/sysimage/rpm`, `usr/share/rpm` |
//! | npm | `package-lock.json`, `node_modules/*/package.json` |
//! | Cargo | `Cargo.lock` |
//! | Python | `*.dist-info/METADATA`, `*.egg-info/PKG-INFO` |
//! | Composer | `composer.lock`, `vendor/composer/installed.json` |
//! | Bundler | `Gemfile.lock` |
//! | Go | the build information in executables |
//!
//! The databases of an image's packages are read strictly as their formats are documented; what
//! is damaged in them is left out rather than guessed at, and a damaged lock file adds nothing.
//! The same tree gives the same packages in the same order.

mod apk;
mod dpkg;
mod go;
mod language;
mod paragraphs;
mod rpm;
mod spdx;
mod sqlite;

use std::io::Read;

use cooper_cache::{FileReader, MergedTree, Node, RelPath, StoreError};
use rayon::prelude::*;

use super::Purl;
pub use spdx::{Document, PREDICATE_TYPE};

/// Where rpm keeps its database.
const RPM: [&str; 3] = ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];
/// The largest record that is read, in bytes.
const MAX_RECORD: u64 = 256 << 20;

/// A package that a tree records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// What it is called everywhere.
    pub purl: String,
    /// Its name.
    pub name: String,
    /// Its version; may be empty.
    pub version: String,
    /// What the record says of its licence, as it is written there.
    pub license: String,
    /// Who distributes it, as it is written there.
    pub supplier: String,
    /// The file that records it.
    pub found_in: String,
}

impl Package {
    fn new(purl: &Purl, found_in: &RelPath) -> Self {
        let name = match (purl.kind, &*purl.namespace) {
            (_, "") | ("deb" | "apk" | "rpm", _) => purl.name.clone(),
            (_, namespace) => format!("{namespace}/{}", purl.name),
        };
        Self {
            purl: purl.to_string(),
            name,
            version: purl.version.clone(),
            license: String::new(),
            supplier: String::new(),
            found_in: found_in.to_string(),
        }
    }
}

/// The distribution whose packages a tree has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `ID` of os-release, such as `debian`.
    pub id: String,
    /// `VERSION_ID` of os-release, such as `12`.
    pub version: String,
}

impl Distribution {
    fn of(tree: &MergedTree) -> Self {
        let read = |path: &str| tree.read(&RelPath::from(path)).ok();
        let text = read("etc/os-release").or_else(|| read("usr/lib/os-release"));
        Self::parse(&String::from_utf8_lossy(&text.unwrap_or_default()))
    }

    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key));
            let value = found.unwrap_or_default().trim();
            value.trim_matches(['"', '\'']).to_owned()
        };
        Self {
            id: value("ID="),
            version: value("VERSION_ID="),
        }
    }

    /// Returns the namespace of its packages, `other` if it does not say who it is.
    fn namespace<'a>(&'a self, other: &'a str) -> &'a str {
        if self.id.is_empty() { other } else { &self.id }
    }

    /// Returns the qualifier `distro` of its packages.
    fn qualifier(&self) -> String {
        match (&*self.id, &*self.version) {
            ("", _) => String::new(),
            (id, "") => id.to_owned(),
            (id, version) => format!("{id}-{version}"),
        }
    }
}

/// Reads one kind of record.
type Reader = fn(&[u8], &RelPath, &Distribution) -> Vec<Package>;

/// Returns the databases in `tree` that are there and cannot be read: packages are missing
/// without them.
pub fn unreadable(tree: &MergedTree) -> Vec<RelPath> {
    // Berkeley DB, whose hash tables only rpm itself reads well.
    let old = RPM
        .iter()
        .map(|dir| RelPath::from(format!("{dir}/Packages").as_str()));
    let is_file = |path: &RelPath| tree.get(path).is_some_and(|node| node.entry.is_file());
    old.filter(is_file).collect()
}

/// Returns all packages that `tree` records, sorted, each once.
pub fn scan(tree: &MergedTree) -> Result<Vec<Package>, StoreError> {
    let distribution = Distribution::of(tree);
    let files: Vec<Node<'_>> = tree
        .walk(&RelPath::root())
        .filter(|node| node.entry.is_file() && node.entry.size() <= MAX_RECORD)
        .collect();
    let found: Vec<Vec<Package>> = files
        .par_iter()
        .map(|node| packages(tree, node, &distribution))
        .collect::<Result<_, _>>()?;
    let mut packages = found.concat();
    packages.sort();
    packages.dedup_by(|a, b| a.purl == b.purl);
    Ok(packages)
}

fn packages(
    tree: &MergedTree,
    node: &Node<'_>,
    distribution: &Distribution,
) -> Result<Vec<Package>, StoreError> {
    let path = &node.entry.path;
    if let Some(reader) = reader(&String::from_utf8_lossy(path.as_bytes())) {
        return Ok(reader(&tree.read(path)?, path, distribution));
    }
    // Programs of a few bytes are scripts.
    if node.entry.mode & 0o111 != 0 && node.entry.size() > 4096 {
        let bytes = node.bytes();
        let open = bytes.open().map_err(|source| StoreError::Io {
            action: "read",
            path: bytes.path().to_owned(),
            source,
        })?;
        return Ok(go::packages(&open, path));
    }
    Ok(Vec::new())
}

/// Returns who reads the file at `path`; none if it is no record.
fn reader(path: &str) -> Option<Reader> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (above, _) = dir.rsplit_once('/').unwrap_or(("", dir));
    let reader: Reader = match (dir, name) {
        ("var/lib/dpkg", "status") => dpkg::packages,
        ("var/lib/dpkg/status.d", name) if !name.ends_with(".md5sums") => dpkg::packages,
        ("lib/apk/db" | "usr/lib/apk/db", "installed") => apk::packages,
        (dir, "rpmdb.sqlite") if RPM.contains(&dir) => rpm::packages,
        (dir, "Packages.db") if RPM.contains(&dir) => rpm::ndb_packages,
        (_, "package-lock.json" | ".package-lock.json") => language::npm_lock,
        (_, "package.json") if is_module(above) => language::npm_package,
        (_, "Cargo.lock") => language::cargo_lock,
        (_, "METADATA") if dir.ends_with(".dist-info") => language::python,
        (_, "PKG-INFO") if dir.ends_with(".egg-info") => language::python,
        (_, "composer.lock") => language::composer,
        (_, "installed.json") if dir.ends_with("vendor/composer") => language::composer,
        (_, "Gemfile.lock") => language::bundler,
        _ => return None,
    };
    Some(reader)
}

/// Whether what is in a directory are modules of npm: it is their directory, or one of a scope's.
fn is_module(dir: &str) -> bool {
    let (above, name) = dir.rsplit_once('/').unwrap_or(("", dir));
    name == "node_modules" || (name.starts_with('@') && above.ends_with("node_modules"))
}

/// Reads as much of a file as there is, up to `length` bytes at `offset`.
fn read_at(file: &FileReader, offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = file.behind(offset).take(length as u64);
    part.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_known_by_their_paths() {
        for (path, known) in [
            ("var/lib/dpkg/status", true),
            ("var/lib/dpkg/status.d/base", true),
            ("var/lib/dpkg/status.d/base.md5sums", false),
            ("var/lib/dpkg/status-old", false),
            ("lib/apk/db/installed", true),
            ("usr/lib/sysimage/rpm/rpmdb.sqlite", true),
            ("app/package-lock.json", true),
            ("app/package.json", false),
            ("app/node_modules/a/package.json", true),
            ("app/node_modules/a/lib/package.json", false),
            ("app/node_modules/@s/a/package.json", true),
            ("app/node_modules/@s/a/lib/package.json", false),
            ("usr/lib/python3/dist-packages/a-1.dist-info/METADATA", true),
            ("METADATA", false),
            ("srv/vendor/composer/installed.json", true),
            ("srv/installed.json", false),
        ] {
            assert_eq!(reader(path).is_some(), known, "{path}");
        }
    }

    #[test]
    fn the_distribution_says_who_it_is() {
        let text = "NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n";
        let found = Distribution::parse(text);
        assert_eq!(found.qualifier(), "debian-12");
        assert_eq!(found.namespace("x"), "debian");
        let unknown = Distribution::parse("");
        assert_eq!(unknown.qualifier(), "");
        assert_eq!(unknown.namespace("debian"), "debian");
    }
}
