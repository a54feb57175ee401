//! Services: `extends`, and the merging of several files.

use std::collections::BTreeMap;

use super::node::{text, text_map};
use crate::bake::ast::Name;
use crate::bake::fault::Fault;
use crate::bake::target::TextMap;
use crate::bake::yaml::{Kind, Merge, Node};

/// What a `build:` section may say.
const BUILD_KEYS: [&str; 25] = [
    "additional_contexts",
    "args",
    "cache_from",
    "cache_to",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "entitlements",
    "extra_hosts",
    "isolation",
    "labels",
    "network",
    "no_cache",
    "no_cache_filter",
    "platforms",
    "privileged",
    "provenance",
    "pull",
    "sbom",
    "secrets",
    "shm_size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// What a service is, with everything its build needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Service {
    pub build: BTreeMap<String, Node>,
    pub has_build: bool,
    pub image: Option<String>,
    pub environment: TextMap,
    /// Keys of the service that do away with what earlier files say of them.
    replaces: Vec<String>,
}

pub(super) fn read_service(
    node: &Node,
    all: &Node,
    path: &mut Vec<String>,
) -> Result<Service, Fault> {
    let mut service = match node.get("extends") {
        Some(extends) => extended(extends, all, path)?,
        None => Service::default(),
    };
    let is_set = |node: &&Node| node.merge != Merge::Reset;
    let mut own = Service {
        image: node.get("image").filter(is_set).map(text).transpose()?,
        ..Service::default()
    };
    for (name, value) in node.entries() {
        if value.merge != Merge::Together {
            own.replaces.push(name.text.clone());
        }
    }
    if let Some(environment) = node.get("environment").filter(is_set) {
        own.environment = text_map(environment, '=')?;
    }
    match node.get("build").filter(is_set) {
        None => {}
        Some(build) => {
            own.has_build = true;
            match &build.kind {
                Kind::Scalar(..) => drop(own.build.insert("context".to_owned(), build.clone())),
                Kind::List(_) => {
                    return Err(Fault::new(
                        "compose",
                        &build.place,
                        "build is a path or a mapping",
                    ));
                }
                Kind::Map(entries) => {
                    for (name, value) in entries {
                        check_key(name)?;
                        own.build.insert(name.text.clone(), value.clone());
                    }
                }
            }
        }
    }
    merge(&mut service, own);
    Ok(service)
}

fn extended(extends: &Node, all: &Node, path: &mut Vec<String>) -> Result<Service, Fault> {
    if let Some(file) = extends.get("file") {
        let fault = Fault::new(
            "extends",
            &file.place,
            "services of other files are not extended",
        );
        return Err(fault.help("name both files: -f FILE -f FILE"));
    }
    let name = match &extends.kind {
        Kind::Scalar(name, _) => name.clone(),
        _ => extends
            .get("service")
            .map(text)
            .transpose()?
            .unwrap_or_default(),
    };
    let Some(base) = all.get(&name) else {
        let message = format!("there is no service {name}");
        let known = all.entries().iter().map(|(name, _)| name.text.as_str());
        return Err(Fault::new("extends", &extends.place, message).suggest(&name, known));
    };
    if path.contains(&name) {
        let message = format!("the service {name} extends itself");
        return Err(Fault::new("cycle", &extends.place, message));
    }
    path.push(name);
    read_service(base, all, path)
}

fn check_key(name: &Name) -> Result<(), Fault> {
    let key = name.text.as_str();
    if key.starts_with("x-") || BUILD_KEYS.contains(&key) {
        return Ok(());
    }
    let message = format!("a build section has no key {key}");
    Err(Fault::new("unknown-attribute", &name.place, message).suggest(key, BUILD_KEYS))
}

/// Adds what a later file or a more special service says.
pub(super) fn merge(service: &mut Service, later: Service) {
    for key in &later.replaces {
        match key.as_str() {
            "build" => {
                service.has_build = false;
                service.build.clear();
            }
            "image" => service.image = None,
            "environment" => service.environment.clear(),
            _ => {}
        }
    }
    service.replaces.extend(later.replaces);
    service.has_build |= later.has_build;
    service.image = later.image.or(service.image.take());
    service.environment.extend(later.environment);
    for (key, node) in later.build {
        match service.build.get_mut(&key) {
            Some(earlier) => merge_nodes(earlier, node),
            None => drop(service.build.insert(key, node)),
        }
    }
}

fn merge_nodes(earlier: &mut Node, later: Node) {
    // What is reset stays as such, since a service is put together before it meets its earlier self.
    if later.merge != Merge::Together || earlier.merge == Merge::Reset {
        *earlier = later;
        return;
    }
    match (&mut earlier.kind, later.kind) {
        (Kind::List(items), Kind::List(more)) => items.extend(more),
        (Kind::Map(entries), Kind::Map(more)) => {
            for (name, node) in more {
                if node.merge == Merge::Reset {
                    entries.retain(|(own, _)| own.text != name.text);
                    continue;
                }
                match entries.iter_mut().find(|(own, _)| own.text == name.text) {
                    Some((_, own)) => merge_nodes(own, node),
                    None => entries.push((name, node)),
                }
            }
        }
        (kind, later) => *kind = later,
    }
}
