//! Packages of programming languages: lock files and installed metadata.

use std::collections::BTreeMap;

use cooper_cache::RelPath;
use serde::Deserialize;
use serde_json::Value;

use super::{Distribution, Package, Purl};

/// An npm lock file: `packages` by path since version 2, `dependencies` in a tree before.
#[derive(Deserialize)]
struct NpmLock {
    #[serde(default)]
    packages: BTreeMap<String, NpmEntry>,
    #[serde(default)]
    dependencies: BTreeMap<String, NpmEntry>,
}

#[derive(Deserialize)]
struct NpmEntry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    license: Value,
    /// A link to a directory of the project is no package of its own.
    #[serde(default)]
    link: bool,
    #[serde(default)]
    dependencies: Value,
}

pub(super) fn npm_lock(text: &[u8], path: &RelPath, _: &Distribution) -> Vec<Package> {
    let Ok(lock) = serde_json::from_slice::<NpmLock>(text) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (place, entry) in &lock.packages {
        // The project itself has the empty path.
        let name = place.rsplit_once("node_modules/").map(|(_, name)| name);
        let name = entry.name.as_deref().filter(|_| name.is_some()).or(name);
        if let Some(name) = name.filter(|_| !entry.link) {
            found.extend(npm(name, entry, path));
        }
    }
    if lock.packages.is_empty() {
        npm_tree(&lock.dependencies, path, &mut found, 0);
    }
    found
}

/// Lists a tree of dependencies; no project nests them as deep as this.
fn npm_tree(
    entries: &BTreeMap<String, NpmEntry>,
    path: &RelPath,
    found: &mut Vec<Package>,
    depth: usize,
) {
    const DEEPEST: usize = 64;
    for (name, entry) in entries {
        found.extend(npm(name, entry, path));
        let inner = BTreeMap::<String, NpmEntry>::deserialize(&entry.dependencies);
        if let Ok(inner) = inner
            && depth < DEEPEST
        {
            npm_tree(&inner, path, found, depth + 1);
        }
    }
}

pub(super) fn npm_package(text: &[u8], path: &RelPath, _: &Distribution) -> Vec<Package> {
    let entry = serde_json::from_slice::<NpmEntry>(text).ok();
    let named = entry.and_then(|entry| {
        let name = entry.name.clone()?;
        npm(&name, &entry, path)
    });
    named.into_iter().collect()
}

fn npm(name: &str, entry: &NpmEntry, path: &RelPath) -> Option<Package> {
    let version = entry.version.as_deref()?;
    let (scope, name) = name.rsplit_once('/').unwrap_or(("", name));
    let mut package = Package::new(&Purl::new("npm", scope, name, version), path);
    // Old packages have an object with a type.
    let license = entry.license.as_str().or(entry.license["type"].as_str());
    license.unwrap_or_default().clone_into(&mut package.license);
    Some(package)
}

/// Cargo.lock.
#[derive(Deserialize)]
struct CargoLock {
    #[serde(default)]
    package: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    /// Members of the workspace have none.
    source: Option<String>,
}

pub(super) fn cargo_lock(text: &[u8], path: &RelPath, _: &Distribution) -> Vec<Package> {
    let text = String::from_utf8_lossy(text);
    let Ok(lock) = toml::from_str::<CargoLock>(&text) else {
        return Vec::new();
    };
    let crates = lock
        .package
        .iter()
        .filter(|package| package.source.is_some());
    crates
        .map(|one| Package::new(&Purl::new("cargo", "", &one.name, &one.version), path))
        .collect()
}

/// The core metadata of a Python distribution: a header like that of a mail.
pub(super) fn python(text: &[u8], path: &RelPath, _: &Distribution) -> Vec<Package> {
    let text = String::from_utf8_lossy(text);
    let header = text.split("\n\n").next().unwrap_or_default();
    let field = |name: &str| {
        let found = header.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        found
            .filter(|value| *value != "UNKNOWN")
            .unwrap_or_default()
    };
    let (name, version) = (field("Name"), field("Version"));
    if name.is_empty() || version.is_empty() {
        return Vec::new();
    }
    // Names are the same whatever their case and separators (PEP 503).
    let normal = name.to_ascii_lowercase().replace(['_', '.'], "-");
    let mut package = Package::new(&Purl::new("pypi", "", &normal, version), path);
    let license = [field("License-Expression"), field("License")];
    let license = license.iter().find(|license| !license.is_empty());
    let license = license.copied().unwrap_or_default();
    license.clone_into(&mut package.license);
    field("Author").clone_into(&mut package.supplier);
    vec![package]
}

/// composer.lock, and what Composer writes of what it installed.
#[derive(Deserialize)]
struct Composer {
    #[serde(default)]
    packages: Vec<ComposerPackage>,
    #[serde(default, rename = "packages-dev")]
    dev: Vec<ComposerPackage>,
}

#[derive(Deserialize)]
struct ComposerPackage {
    name: String,
    version: String,
    #[serde(default)]
    license: Vec<String>,
}

pub(super) fn composer(text: &[u8], path: &RelPath, _: &Distribution) -> Vec<Package> {
    // The first version of Composer writes the list alone.
    let lock = serde_json::from_slice::<Composer>(text).or_else(|_| {
        let packages = serde_json::from_slice(text)?;
        let dev = Vec::new();
        Ok::<_, serde_json::Error>(Composer { packages, dev })
    });
    let Ok(lock) = lock else { return Vec::new() };
    let all = lock.packages.iter().chain(&lock.dev);
    all.map(|one| {
        let (vendor, name) = one.name.split_once('/').unwrap_or(("", &one.name));
        let version = one.version.trim_start_matches('v');
        let mut package = Package::new(&Purl::new("composer", vendor, name, version), path);
        package.license = one.license.join(" OR ");
        package
    })
    .collect()
}

/// Gemfile.lock: below `GEM`, under `specs:`, gems stand four spaces deep as `name (version)`.
pub(super) fn bundler(text: &[u8], path: &RelPath, _: &Distribution) -> Vec<Package> {
    let text = String::from_utf8_lossy(text);
    let mut section = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if !line.starts_with(' ') {
            section = line.trim();
            continue;
        }
        let gem = line
            .strip_prefix("    ")
            .filter(|gem| !gem.starts_with(' '));
        let parts = gem.and_then(|gem| gem.strip_suffix(')')?.split_once(" ("));
        if let Some((name, version)) = parts
            && section == "GEM"
        {
            found.push(Package::new(&Purl::new("gem", "", name, version), path));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    #[test]
    fn what_is_locked_or_installed_is_listed() {
        let cases: [(Reader, &str, &[&str]); 9] = [
            (
                npm_lock,
                r#"{"lockfileVersion":3,"packages":{"":{"name":"app","version":"1.0.0"},
                  "node_modules/a":{"version":"1.2.3","license":"MIT"},
                  "node_modules/a/node_modules/@s/b":{"version":"2.0.0"},
                  "node_modules/other":{"name":"real","version":"4.0.0"},
                  "node_modules/local":{"link":true,"resolved":"local"}}}"#,
                &[
                    "pkg:npm/a@1.2.3",
                    "pkg:npm/%40s/b@2.0.0",
                    "pkg:npm/real@4.0.0",
                ],
            ),
            (
                npm_lock,
                r#"{"lockfileVersion":1,"dependencies":{"a":{"version":"1.0.0",
                  "dependencies":{"b":{"version":"2.0.0"}}}}}"#,
                &["pkg:npm/a@1.0.0", "pkg:npm/b@2.0.0"],
            ),
            (
                npm_package,
                r#"{"name":"@s/a","version":"1.0.0","license":{"type":"BSD"}}"#,
                &["pkg:npm/%40s/a@1.0.0"],
            ),
            (
                cargo_lock,
                "version = 4\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n\n\
                 [[package]]\nname = \"serde\"\nversion = \"1.0.0\"\n\
                 source = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
                &["pkg:cargo/serde@1.0.0"],
            ),
            (
                python,
                "Metadata-Version: 2.1\nName: Flask_Login\nVersion: 0.6.3\nLicense: UNKNOWN\n\
                 Author: Someone\n\nName: not-a-field\n",
                &["pkg:pypi/flask-login@0.6.3"],
            ),
            (
                composer,
                r#"{"packages":[{"name":"v/a","version":"v1.0","license":["MIT","GPL-2.0"]}],
                  "packages-dev":[{"name":"v/b","version":"2.0"}]}"#,
                &["pkg:composer/v/a@1.0", "pkg:composer/v/b@2.0"],
            ),
            (
                composer,
                r#"[{"name":"v/a","version":"1.0"}]"#,
                &["pkg:composer/v/a@1.0"],
            ),
            (
                bundler,
                "GIT\n  remote: x\n  specs:\n    mine (1.0)\n\nGEM\n  remote: https://rubygems.org/\n  \
                 specs:\n    rack (3.0.8)\n    rails (7.1.2)\n      rack (>= 2.2.4)\n\nPLATFORMS\n  ruby\n",
                &["pkg:gem/rack@3.0.8", "pkg:gem/rails@7.1.2"],
            ),
            (cargo_lock, "[[package]]\nname = 1\n", &[]),
        ];
        for (reader, text, expected) in cases {
            let found = reader(
                text.as_bytes(),
                &RelPath::from("f"),
                &Distribution::default(),
            );
            let purls: Vec<_> = found.iter().map(|package| &*package.purl).collect();
            assert_eq!(purls, expected, "{text}");
        }
    }

    #[test]
    fn damage_gives_no_package() {
        let readers: [Reader; 6] = [npm_lock, npm_package, cargo_lock, python, composer, bundler];
        for reader in readers {
            for text in [&b""[..], b"{", b"[]", b"\0\xff", b"{\"packages\":3}"] {
                assert_eq!(reader(text, &RelPath::root(), &Distribution::default()), []);
            }
        }
    }
}
