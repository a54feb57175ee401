//! Devices by name: the specifications of the Container Device Interface.
//!
//! A vendor's specification (JSON or YAML; of several, the last directory's wins) says
//! for each of its devices what a container needs to use it: device nodes, mounts, variables.
//! <https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>
//!
//! Hooks, which are programs of the host's, are not run: a device that needs one is refused.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cooper_frontend::ir::DeviceRequest;
use cooper_frontend::settings::AllowedDevices;
use serde::Deserialize;
use thiserror::Error;

/// Why a device cannot be had.
#[derive(Debug, Error)]
pub enum CdiError {
    /// No specification has it.
    #[error("there is no device {name}: {}", known_words(known))]
    Unknown {
        /// Its name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// It needs programs to be run on the host.
    #[error("device {name} needs the hook {hook} on the host, and hooks are not run")]
    Hook {
        /// Its name.
        name: String,
        /// The program.
        hook: PathBuf,
    },
    /// A specification cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A specification is malformed.
    #[error("{} is no CDI specification: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn known_words(known: &[String]) -> String {
    if known.is_empty() {
        "no specification names any".to_owned()
    } else {
        format!("known are {}", known.join(", "))
    }
}

/// What a step, or a container, gets for its devices.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Edits {
    /// Device nodes.
    pub(crate) devices: Vec<Shown>,
    /// Files and directories.
    pub(crate) mounts: Vec<Shown>,
    /// Variables.
    pub(crate) env: Vec<(String, String)>,
}

/// A path of the host and where it is seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) readonly: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    kind: String,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: ContainerEdits,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: Name,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    container_edits: ContainerEdits,
}

/// What a specification says to builders, by the names that BuildKit gives it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    /// A name that several devices share, for steps that can do with any of them.
    #[serde(rename = "org.mobyproject.buildkit.device.class")]
    class: Option<String>,
    /// Steps may have it without the command line's leave.
    #[serde(rename = "org.mobyproject.buildkit.device.autoallow")]
    autoallow: Option<Switch>,
}

impl Annotations {
    fn allows(&self) -> bool {
        match &self.autoallow {
            Some(Switch::Bool(allowed)) => *allowed,
            Some(Switch::Text(text)) => text == "true",
            None => false,
        }
    }
}

/// An annotation is a text, which YAML takes for a truth value if it looks like one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Switch {
    Bool(bool),
    Text(String),
}

/// A device's name, which YAML takes for a number if it looks like one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(u64),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerEdits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    mounts: Vec<Mount>,
    hooks: Vec<Hook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceNode {
    path: String,
    host_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
}

#[derive(Deserialize)]
struct Hook {
    path: PathBuf,
}

/// Returns where specifications are looked for unless somewhere else is named.
pub(crate) fn default_directories() -> Vec<PathBuf> {
    ["/etc/cdi", "/var/run/cdi"].map(PathBuf::from).to_vec()
}

/// Whether a device is given by its name, `vendor.com/class=name`, rather than by a path.
pub(crate) fn is_name(text: &str) -> bool {
    !text.starts_with(['/', '.']) && text.contains('/') && text.contains('=')
}

/// Allows the devices that specifications say may be had by every build: by their names, and by
/// that of a class if all of it may. A specification that cannot be read is an error only for a
/// step that asks for a device.
pub(crate) fn allow(devices: &mut AllowedDevices, directories: &[PathBuf]) {
    let AllowedDevices::Named(named) = devices else {
        return;
    };
    let Ok(registry) = Registry::read(directories) else {
        return;
    };
    let allowed = |name: &&str| registry.allows(name);
    let kinds = registry.first.keys().map(|kind| format!("{kind}=*"));
    let classes = registry.classes.keys().cloned();
    let whole = kinds
        .chain(classes)
        .filter(|name| registry.find(name).iter().all(allowed));
    let single = registry.devices.keys().map(String::as_str).filter(allowed);
    for name in whole.chain(single.map(str::to_owned)) {
        named.entry(name.clone()).or_insert(name);
    }
}

/// Returns what a step gets for `requests`. A device that is not there and not required is left
/// out; a name without `=` is the first device of its vendor's, or all of a class.
pub(crate) fn resolve(
    directories: &[PathBuf],
    requests: &[DeviceRequest],
) -> Result<Edits, CdiError> {
    let registry = Registry::read(directories)?;
    let mut edits = Edits::default();
    for request in requests {
        match registry.find(&request.name) {
            found if found.is_empty() && request.required => {
                return Err(CdiError::Unknown {
                    name: request.name.clone(),
                    known: registry.devices.keys().cloned().collect(),
                });
            }
            found => {
                for name in found {
                    registry.add(name, &mut edits)?;
                }
            }
        }
    }
    Ok(edits)
}

/// Returns whether a specification has devices of `kind`, `vendor.com/class`.
pub(crate) fn has_kind(directories: &[PathBuf], kind: &str) -> Result<bool, CdiError> {
    Registry::read(directories).map(|registry| registry.first.contains_key(kind))
}

/// All specifications.
struct Registry {
    specs: Vec<Spec>,
    /// Position of specification and device by qualified name, in the order of their names.
    devices: BTreeMap<String, (usize, usize)>,
    /// The first device of each kind.
    first: BTreeMap<String, String>,
    /// The devices of each class.
    classes: BTreeMap<String, Vec<String>>,
}

impl Registry {
    fn read(directories: &[PathBuf]) -> Result<Self, CdiError> {
        let mut registry = Self {
            specs: Vec::new(),
            devices: BTreeMap::new(),
            first: BTreeMap::new(),
            classes: BTreeMap::new(),
        };
        for directory in directories {
            for path in specifications(directory)? {
                registry.take(parse(&path)?);
            }
        }
        Ok(registry)
    }

    fn take(&mut self, spec: Spec) {
        let at = self.specs.len();
        for (index, device) in spec.devices.iter().enumerate() {
            let name = format!("{}={}", spec.kind, device.name);
            self.first
                .entry(spec.kind.clone())
                .or_insert_with(|| name.clone());
            if let Some(class) = &device.annotations.class {
                let of_class = self.classes.entry(class.clone()).or_default();
                of_class.push(name.clone());
            }
            self.devices.insert(name, (at, index));
        }
        self.specs.push(spec);
    }

    /// Returns the qualified names of the devices that `name` means.
    fn find(&self, name: &str) -> Vec<&str> {
        if let Some(class) = name.strip_suffix("=*") {
            let of_class = |known: &&String| {
                known
                    .strip_prefix(class)
                    .is_some_and(|rest| rest.starts_with('='))
            };
            return self
                .devices
                .keys()
                .filter(of_class)
                .map(String::as_str)
                .collect();
        }
        if let Some(of_class) = self.classes.get(name) {
            return of_class.iter().map(String::as_str).collect();
        }
        let name = self.first.get(name).map_or(name, String::as_str);
        let found = self.devices.get_key_value(name);
        found.map(|(name, _)| name.as_str()).into_iter().collect()
    }

    /// Whether every build may have a device.
    fn allows(&self, name: &str) -> bool {
        self.devices.get(name).is_some_and(|(spec, device)| {
            let spec = &self.specs[*spec];
            spec.annotations.allows() || spec.devices[*device].annotations.allows()
        })
    }

    fn add(&self, name: &str, edits: &mut Edits) -> Result<(), CdiError> {
        let Some((spec, device)) = self.devices.get(name) else {
            return Ok(());
        };
        let spec = &self.specs[*spec];
        for own in [
            &spec.container_edits,
            &spec.devices[*device].container_edits,
        ] {
            own.apply(name, edits)?;
        }
        Ok(())
    }
}

impl ContainerEdits {
    fn apply(&self, name: &str, edits: &mut Edits) -> Result<(), CdiError> {
        if let Some(hook) = self.hooks.first() {
            return Err(CdiError::Hook {
                name: name.to_owned(),
                hook: hook.path.clone(),
            });
        }
        let add = |to: &mut Vec<Shown>, shown: Shown| {
            // Devices of one vendor share what their specification as a whole asks for.
            if !to.iter().any(|known| known.target == shown.target) {
                to.push(shown);
            }
        };
        for node in &self.device_nodes {
            let shown = Shown {
                source: node.host_path.clone().unwrap_or_else(|| node.path.clone()),
                target: node.path.clone(),
                readonly: false,
            };
            add(&mut edits.devices, shown);
        }
        for mount in &self.mounts {
            let shown = Shown {
                source: mount.host_path.clone(),
                target: mount.container_path.clone(),
                readonly: mount.options.iter().any(|option| option == "ro"),
            };
            add(&mut edits.mounts, shown);
        }
        for entry in &self.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            edits.env.retain(|(known, _)| known != name);
            edits.env.push((name.to_owned(), value.to_owned()));
        }
        Ok(())
    }
}

/// Returns the specifications in a directory, sorted; a directory that is not there has none.
fn specifications(directory: &Path) -> Result<Vec<PathBuf>, CdiError> {
    let failed = |source| CdiError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("json" | "yaml" | "yml")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn parse(path: &Path) -> Result<Spec, CdiError> {
    let text = std::fs::read_to_string(path).map_err(|source| CdiError::Read {
        path: path.to_owned(),
        source,
    })?;
    let parsed = if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        serde_saphyr::from_str(&text).map_err(|error| error.to_string())
    };
    parsed.map_err(|reason| CdiError::Malformed {
        path: path.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{
        "cdiVersion": "0.6.0",
        "kind": "v.example/gpu",
        "containerEdits": {
            "env": ["DRIVER=1"],
            "mounts": [{"hostPath": "/lib/g", "containerPath": "/lib/g", "options": ["ro"]}]
        },
        "devices": [
            {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/g0"}]}},
            {"name": "1", "containerEdits": {
                "env": ["DRIVER=2"],
                "deviceNodes": [{"path": "/dev/g1", "hostPath": "/dev/host1"}]
            }}
        ]
    }"#;

    const YAML: &str = "cdiVersion: 0.6.0\nkind: v.example/net\ndevices:\n- name: 7\n  \
                        containerEdits:\n    hooks:\n    - hookName: createContainer\n      \
                        path: /usr/bin/hook\n";

    fn directories() -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("gpu.json"), JSON).expect("write");
        std::fs::write(dir.path().join("net.yaml"), YAML).expect("write");
        std::fs::write(dir.path().join("notes.txt"), "{").expect("write");
        let directories = vec![dir.path().join("missing"), dir.path().to_owned()];
        (dir, directories)
    }

    fn resolved(name: &str, required: bool) -> Result<Edits, String> {
        let (_dir, directories) = directories();
        let name = name.to_owned();
        resolve(&directories, &[DeviceRequest { name, required }])
            .map_err(|error| error.to_string())
    }

    fn shown(source: &str, target: &str, readonly: bool) -> Shown {
        Shown {
            source: source.to_owned(),
            target: target.to_owned(),
            readonly,
        }
    }

    /// Devices of the reference's classes, of which some are for every build.
    const CLASSES: &str = "cdiVersion: 0.6.0\nkind: v.example/device\ndevices:\n\
        - name: foo\n  containerEdits: {env: [FOO=1]}\n\
        - name: bar\n  annotations: {org.mobyproject.buildkit.device.class: class1}\n  \
          containerEdits: {env: [BAR=1]}\n\
        - name: baz\n  annotations:\n    org.mobyproject.buildkit.device.class: class1\n    \
          org.mobyproject.buildkit.device.autoallow: true\n  containerEdits: {env: [BAZ=1]}\n\
        - name: qux\n  annotations:\n    org.mobyproject.buildkit.device.class: class2\n    \
          org.mobyproject.buildkit.device.autoallow: \"true\"\n  containerEdits: {env: [QUX=1]}\n";

    #[test]
    fn devices_of_a_class_come_together_and_some_unasked() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("classes.yaml"), CLASSES).expect("write");
        let directories = [dir.path().to_owned()];
        for (name, variables) in [
            ("v.example/device", "FOO"),
            ("v.example/device=bar", "BAR"),
            ("v.example/device=*", "BAR BAZ FOO QUX"),
            ("class1", "BAR BAZ"),
            ("class2", "QUX"),
        ] {
            let name = name.to_owned();
            let request = DeviceRequest {
                name: name.clone(),
                required: true,
            };
            let edits = resolve(&directories, &[request]).expect("it is there");
            let found: Vec<_> = edits.env.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(found.join(" "), variables, "{name}");
        }
        let allowed = |directories: &[PathBuf]| {
            let mut devices = AllowedDevices::default();
            allow(&mut devices, directories);
            devices
        };
        let devices = allowed(&directories);
        for (name, is_allowed) in [
            ("v.example/device=baz", true),
            ("v.example/device=qux", true),
            ("class2", true),
            ("class1", false),
            ("v.example/device=foo", false),
            ("v.example/device", false),
            ("v.example/device=*", false),
        ] {
            assert_eq!(devices.find(name).is_some(), is_allowed, "{name}");
        }
        let all = CLASSES.replace(
            "devices:\n",
            "annotations: {org.mobyproject.buildkit.device.autoallow: true}\ndevices:\n",
        );
        std::fs::write(dir.path().join("classes.yaml"), all).expect("write");
        let devices = allowed(&directories);
        for name in ["v.example/device", "v.example/device=*", "class1"] {
            assert!(devices.find(name).is_some(), "{name}");
        }
        std::fs::write(dir.path().join("classes.yaml"), "{").expect("write");
        assert_eq!(allowed(&directories), AllowedDevices::default());
    }

    #[test]
    fn a_device_brings_what_its_specification_says() {
        let library = || vec![shown("/lib/g", "/lib/g", true)];
        let env = |value: &str| vec![("DRIVER".to_owned(), value.to_owned())];
        let (zero, one) = (
            shown("/dev/g0", "/dev/g0", false),
            shown("/dev/host1", "/dev/g1", false),
        );
        for (name, devices, value) in [
            ("v.example/gpu=1", vec![&one], "2"),
            ("v.example/gpu", vec![&zero], "1"),
            ("v.example/gpu=*", vec![&zero, &one], "2"),
        ] {
            let edits = resolved(name, true).expect(name);
            assert_eq!(edits.devices.iter().collect::<Vec<_>>(), devices, "{name}");
            assert_eq!((edits.mounts, edits.env), (library(), env(value)), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_an_error_if_it_is_required() {
        assert_eq!(resolved("v.example/gpu=9", false), Ok(Edits::default()));
        for (name, message) in [
            (
                "v.example/gpu=9",
                "there is no device v.example/gpu=9: known are v.example/gpu=0, v.example/gpu=1, \
                 v.example/net=7",
            ),
            (
                "v.example/net=7",
                "device v.example/net=7 needs the hook /usr/bin/hook on the host, and hooks are \
                 not run",
            ),
        ] {
            assert_eq!(resolved(name, true), Err(message.to_owned()));
        }
    }

    #[test]
    fn a_malformed_specification_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        for (file, text) in [("a.json", "{"), ("a.yaml", "kind: [")] {
            let path = dir.path().join(file);
            std::fs::write(&path, text).expect("write");
            let error = parse(&path).err().expect("malformed").to_string();
            assert!(
                error.contains(file) && error.contains("no CDI specification"),
                "{error}"
            );
        }
    }
}
