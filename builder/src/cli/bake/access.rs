//! What targets may reach besides the working directory, and what `--allow` grants.
//!
//! A definition may be somebody else's, and reading it should not be the same as trusting it: a
//! context or a secret outside of the working directory, an output that is written somewhere
//! else, the agent's keys, and what a build cannot have unasked are wanted first and granted by
//! the command line, as `docker buildx bake` has it. What `--set` says is the user's own word.
//!
//! ```text
//! fs.read   context, dockerfile, contexts, secret, ssh (files), cache-from type=local
//! fs.write  output dest=, cache-to type=local
//! ssh       the agent's socket
//! others    entitlements
//! ```
//!
//! A layout of images is no file of the user's in that sense: nothing else can be read by it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::bake::{Override, Plan, ResolveError, Target, is_remote};
use crate::cli::value::ValueError;
use crate::report::Report;

/// What `--allow` takes.
const ENTITLEMENTS: [&str; 11] = [
    "network.host",
    "security.insecure",
    "device",
    "secret-export",
    "fs",
    "fs.read",
    "fs.write",
    "image",
    "image.load",
    "image.push",
    "ssh",
];

/// Something that is not had unasked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    /// An entitlement of steps.
    Entitlement(String),
    /// The agent's socket.
    Ssh,
    /// A path to read.
    Read(PathBuf),
    /// A path to write.
    Write(PathBuf),
}

impl Want {
    /// Returns the value of `--allow` that grants it.
    fn flag(&self) -> String {
        match self {
            Self::Entitlement(name) => name.clone(),
            Self::Ssh => "ssh".to_owned(),
            Self::Read(path) => format!("fs.read={}", path.display()),
            Self::Write(path) => format!("fs.write={}", path.display()),
        }
    }

    fn is_entitlement(&self) -> bool {
        matches!(self, Self::Entitlement(_))
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entitlement(name) => f.write_str(name),
            Self::Ssh => f.write_str("the ssh agent"),
            Self::Read(path) => write!(f, "leave to read {}", path.display()),
            Self::Write(path) => write!(f, "leave to write {}", path.display()),
        }
    }
}

/// What is granted.
#[derive(Debug, Default)]
pub(super) struct Grants {
    entitlements: Vec<String>,
    ssh: bool,
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Grants {
    /// Reads `--allow`. The working directory `here` is granted, and what the overrides name.
    pub(super) fn new(
        allow: &[String],
        overrides: &[Override],
        here: &Path,
    ) -> Result<Self, Report> {
        let mut grants = Self {
            read: vec![here.to_owned()],
            write: vec![here.to_owned()],
            ..Self::default()
        };
        for text in allow {
            grants.add(text, here)?;
        }
        let own = of_overrides(overrides).map_err(super::definition::unresolved)?;
        for want in wants(&own, here) {
            match want {
                Want::Read(path) => grants.read.push(path),
                Want::Write(path) => grants.write.push(path),
                Want::Ssh => grants.ssh = true,
                // Entitlements are granted by --allow alone, wherever they come from.
                Want::Entitlement(_) => {}
            }
        }
        Ok(grants)
    }

    fn add(&mut self, text: &str, here: &Path) -> Result<(), Report> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        if !ENTITLEMENTS.contains(&key) {
            let error = ValueError::unknown("entitlement", key, &ENTITLEMENTS);
            return Err(error.report("--allow", text));
        }
        if key == "fs" || key.starts_with("fs.") {
            let path = match value {
                None | Some("") => {
                    let error = ValueError::new("no path").hint(format!("write {key}=PATH"));
                    return Err(error.report("--allow", text));
                }
                Some("*") => PathBuf::from("/"),
                Some(path) => real(Path::new(path), here),
            };
            if key != "fs.write" {
                self.read.push(path.clone());
            }
            if key != "fs.read" {
                self.write.push(path);
            }
        } else if key == "ssh" {
            self.ssh = true;
        } else {
            self.entitlements.push(text.to_owned());
        }
        Ok(())
    }

    fn covers(&self, want: &Want) -> bool {
        let below =
            |path: &Path, granted: &[PathBuf]| granted.iter().any(|one| path.starts_with(one));
        match want {
            Want::Entitlement(name) => self.entitlements.contains(name),
            Want::Ssh => self.ssh,
            Want::Read(path) => below(path, &self.read),
            Want::Write(path) => below(path, &self.write),
        }
    }

    /// Returns what the targets want and do not have, each with the first target that wants it.
    /// Without `files` it is only the entitlements that count.
    pub(super) fn missing<'a>(
        &self,
        plan: &'a Plan,
        here: &Path,
        files: bool,
    ) -> Vec<(&'a str, Want)> {
        let mut seen = BTreeSet::new();
        let mut missing = Vec::new();
        for target in plan.targets.values() {
            for want in wants(target, here) {
                let counts = files || want.is_entitlement();
                if counts && !self.covers(&want) && seen.insert(want.clone()) {
                    missing.push((target.name.as_str(), want));
                }
            }
        }
        missing
    }
}

/// Says what is missing and how to grant all of it.
pub(super) fn refusal(missing: &[(&str, Want)]) -> Report {
    let flags: Vec<_> = missing
        .iter()
        .map(|(_, want)| format!("--allow={}", want.flag()))
        .collect();
    let mut report = Report::new("additional privileges requested");
    for (target, want) in missing {
        report = report.cause(format!("the target {target} asks for {want}"));
    }
    report.hint(format!("to grant it: {}", flags.join(" ")))
}

/// Returns a target that holds nothing but what the overrides say.
fn of_overrides(overrides: &[Override]) -> Result<Target, ResolveError> {
    let mut target = Target::new("");
    for one in overrides {
        one.apply(&mut target)?;
    }
    Ok(target)
}

/// Returns what a target reaches and asks for.
fn wants(target: &Target, here: &Path) -> BTreeSet<Want> {
    let read = |path: &str| Want::Read(real(Path::new(path), here));
    let write = |path: &str| Want::Write(real(Path::new(path), here));
    let mut wants: BTreeSet<_> = inputs(target).iter().map(|path| read(path)).collect();
    for secret in target.entries("secret") {
        wants.extend(secret.get("src").map(read));
    }
    for agent in target.entries("ssh") {
        wants.extend(agent.paths().iter().map(|path| read(path)));
        wants.extend(agent.paths().is_empty().then_some(Want::Ssh));
    }
    let local = |entries: &'static str| {
        let entries = target.entries(entries).iter();
        entries.filter(|entry| entry.kind() == "local")
    };
    wants.extend(
        local("cache-from")
            .filter_map(|cache| cache.get("src"))
            .map(read),
    );
    wants.extend(
        local("cache-to")
            .filter_map(|cache| cache.get("dest"))
            .map(write),
    );
    let outputs = target.entries("output").iter();
    let files = outputs.filter_map(|output| output.get("dest"));
    wants.extend(files.filter(|path| !matches!(*path, "" | "-")).map(write));
    let entitlements = target.texts("entitlements").iter().cloned();
    wants.extend(entitlements.map(Want::Entitlement));
    wants
}

/// Returns the paths of contexts and of the Dockerfile.
fn inputs(target: &Target) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    let context = target.text("context").unwrap_or(".");
    paths.extend(local_path(context).map(str::to_owned));
    let others = target
        .map("contexts")
        .filter_map(|(_, path)| local_path(path));
    paths.extend(others.map(str::to_owned));
    let inline = target.text("dockerfile-inline").is_some();
    if let Some(file) = target.text("dockerfile").filter(|_| !inline) {
        let path = match (file.strip_prefix("cwd://"), local_path(context)) {
            (Some(path), _) => Some(path.to_owned()),
            (None, Some(context)) if local_path(file).is_some() => {
                Some(Path::new(context).join(file).display().to_string())
            }
            // It is in what is fetched.
            _ => None,
        };
        paths.extend(path);
    }
    paths
}

/// Returns the path of a context that is a directory, or a repository on this machine.
fn local_path(context: &str) -> Option<&str> {
    let elsewhere = ["docker-image://", "oci-layout://", "target:"];
    if matches!(context, "" | "-")
        || is_remote(context)
        || elsewhere.iter().any(|scheme| context.starts_with(scheme))
    {
        return None;
    }
    let context = context.strip_prefix("cwd://").unwrap_or(context);
    let Some(repository) = context.strip_prefix("file://") else {
        return Some(context);
    };
    repository.split(['#', '?']).next()
}

/// Returns the path that `path` means: links are followed as far as it exists.
fn real(path: &Path, here: &Path) -> PathBuf {
    let path = here.join(path);
    let mut rest = Vec::new();
    let mut known = path.as_path();
    loop {
        if let Ok(mut found) = known.canonicalize() {
            for part in rest.iter().rev() {
                match part {
                    Component::ParentDir => drop(found.pop()),
                    Component::Normal(name) => found.push(name),
                    _ => {}
                }
            }
            return found;
        }
        let (Some(last), Some(parent)) = (known.components().next_back(), known.parent()) else {
            return path;
        };
        rest.push(last);
        known = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(fields: &[&str]) -> Target {
        let overrides = fields.iter().map(|text| {
            let parsed = Override::parse(&format!("*.{text}"), &|_| None).expect("valid");
            parsed.expect("has a value")
        });
        of_overrides(&overrides.collect::<Vec<_>>()).expect("applies")
    }

    #[test]
    fn what_a_target_reaches() {
        let dir = tempfile::tempdir().expect("a directory");
        let here = dir.path().canonicalize().expect("it exists");
        std::fs::create_dir(here.join("in")).expect("created");
        std::os::unix::fs::symlink("/etc", here.join("link")).expect("created");
        let table: &[(&[&str], &[&str])] = &[
            (&[], &["fs.read=HERE"]),
            (
                &["context=in", "dockerfile=../../D"],
                &["fs.read=HERE/in", "fs.read=UP/D"],
            ),
            (
                &["context=..", "dockerfile=cwd://D"],
                &["fs.read=HERE/D", "fs.read=UP"],
            ),
            (&["context=https://h/r.git", "dockerfile=a/D"], &[]),
            (
                &["context=file:///srv/r.git#main:sub"],
                &["fs.read=/srv/r.git"],
            ),
            (&["context=link/ssl"], &["fs.read=/etc/ssl"]),
            (&["context=none/../../x"], &["fs.read=UP/x"]),
            (
                &[
                    "contexts.a=/usr",
                    "contexts.b=target:c",
                    "contexts.d=docker-image://e",
                    "contexts.f=oci-layout:///g",
                ],
                &["fs.read=HERE", "fs.read=/usr"],
            ),
            (
                &["secret=id=a,src=/etc/shadow"],
                &["fs.read=/etc/shadow", "fs.read=HERE"],
            ),
            (&["secret=id=a,env=A"], &["fs.read=HERE"]),
            (&["ssh=default"], &["ssh", "fs.read=HERE"]),
            (
                &["ssh=k=/nowhere/key"],
                &["fs.read=/nowhere/key", "fs.read=HERE"],
            ),
            (
                &[
                    "cache-from=type=local,src=/c",
                    "cache-to=type=local,dest=/d",
                ],
                &["fs.read=/c", "fs.read=HERE", "fs.write=/d"],
            ),
            (&["cache-from=user/app:cache"], &["fs.read=HERE"]),
            (&["output=out"], &["fs.read=HERE", "fs.write=HERE/out"]),
            (
                &["output=type=oci,dest=/x.tar"],
                &["fs.read=HERE", "fs.write=/x.tar"],
            ),
            (&["output=-"], &["fs.read=HERE"]),
            (
                &["entitlements=network.host"],
                &["network.host", "fs.read=HERE"],
            ),
        ];
        let up = here.parent().expect("not the root").display().to_string();
        for (fields, want) in table {
            let found = wants(&target(fields), &here);
            let mut found: Vec<_> = found.iter().map(Want::flag).collect();
            let fill = |text: &&str| {
                text.replace("HERE", &here.display().to_string())
                    .replace("UP", &up)
            };
            let mut want: Vec<_> = want.iter().map(fill).collect();
            found.sort();
            want.sort();
            assert_eq!(found, want, "{fields:?}");
        }
    }

    #[test]
    fn what_is_granted() {
        let here = Path::new("/usr/share");
        let granted = |allow: &[&str], set: &[&str], want: &Want| {
            let allow: Vec<_> = allow.iter().map(|&text| text.to_owned()).collect();
            let set: Vec<_> = set
                .iter()
                .filter_map(|text| Override::parse(text, &|_| None).expect("valid"))
                .collect();
            Grants::new(&allow, &set, here).expect("valid").covers(want)
        };
        let read = |path: &str| Want::Read(path.into());
        let write = |path: &str| Want::Write(path.into());
        let host = Want::Entitlement("network.host".to_owned());
        assert!(granted(&[], &[], &read("/usr/share/x")));
        assert!(granted(&[], &[], &write("/usr/share")));
        assert!(!granted(&[], &[], &read("/usr/shared")));
        assert!(granted(&["fs.read=.."], &[], &read("/usr/bin")));
        assert!(!granted(&["fs.read=.."], &[], &write("/usr/bin")));
        assert!(granted(&["fs=/usr"], &[], &write("/usr/bin")));
        assert!(granted(&["fs.write=*"], &[], &write("/nowhere/at/all")));
        assert!(granted(
            &["fs.write=/nowhere/at"],
            &[],
            &write("/nowhere/at/all")
        ));
        assert!(granted(&[], &["*.output=/out"], &write("/out")));
        assert!(granted(&[], &["*.context=/src"], &read("/src/D")));
        assert!(!granted(&[], &[], &Want::Ssh));
        assert!(granted(&["ssh"], &[], &Want::Ssh));
        assert!(granted(&["network.host"], &[], &host));
        assert!(!granted(&["ssh"], &["*.entitlements=network.host"], &host));
        for wrong in ["fs", "fs.read=", "fs.raed=/x"] {
            assert!(
                Grants::new(&[wrong.to_owned()], &[], here).is_err(),
                "{wrong}"
            );
        }
    }
}
