//! Compose files: each service with a `build:` section is a target.
//!
//! Only what a build needs is read: `services.*.{image, build, environment, extends}` and
//! `secrets`. Several files are merged as compose does, the later ones having the last word.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use cooper_frontend::SourceFile;

use super::ast::{Name, Place};
use super::entry::Entry;
use super::fault::Fault;
use super::functions::clean;
use super::interpolate::{Lookup, interpolate};
use super::shape::Entries;
use super::target::{Field, Group, Target, TextMap};
use super::yaml::{self, Kind, Node};
use crate::cli::value::{boolean, size};

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
struct Service {
    build: BTreeMap<String, Node>,
    has_build: bool,
    image: Option<String>,
    environment: TextMap,
}

/// Reads compose files into targets and the group of all of them.
pub(super) fn parse(
    files: &[Arc<SourceFile>],
    lookup: Lookup<'_>,
) -> Result<(Vec<Target>, Group), Vec<Fault>> {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    let mut secrets: BTreeMap<String, Node> = BTreeMap::new();
    let one = |fault| vec![fault];
    for file in files {
        let mut root = yaml::parse(file).map_err(one)?;
        fill(&mut root, lookup).map_err(one)?;
        if let Some((name, _)) = root
            .entries()
            .iter()
            .find(|(name, _)| name.text == "include")
        {
            let fault = Fault::new(
                "include",
                &name.place,
                "other compose files are not included",
            );
            return Err(one(fault.help("name the files: -f FILE -f FILE")));
        }
        let Some(all) = root.get("services") else {
            let fault = Fault::new("compose", &root.place, "there are no services");
            return Err(one(fault));
        };
        for (name, node) in all.entries() {
            let service = read_service(node, all, &mut Vec::new()).map_err(one)?;
            merge(services.entry(name.text.clone()).or_default(), service);
        }
        let own = root.get("secrets").map(Node::entries).unwrap_or_default();
        secrets.extend(
            own.iter()
                .map(|(name, node)| (name.text.clone(), node.clone())),
        );
    }
    let mut targets = Vec::new();
    let mut faults = Vec::new();
    for (name, service) in services.iter().filter(|(_, service)| service.has_build) {
        match (Reader {
            service,
            secrets: &secrets,
            lookup,
        })
        .target(&name.replace('.', "_"))
        {
            Ok(target) => targets.push(target),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let group = Group {
        name: "default".to_owned(),
        targets: targets.iter().map(|target| target.name.clone()).collect(),
        ..Group::default()
    };
    Ok((targets, group))
}

/// Returns whether a text has the line that compose files start their services with.
pub(super) fn is_likely(text: &str) -> bool {
    text.lines().any(|line| line.trim_end() == "services:")
}

/// Replaces the variables in all texts.
fn fill(node: &mut Node, lookup: Lookup<'_>) -> Result<(), Fault> {
    match &mut node.kind {
        Kind::Scalar(text, plain) if text.contains('$') => {
            *text = interpolate(text, lookup)
                .map_err(|message| Fault::new("interpolation", &node.place, message))?;
            // An empty variable is an empty text, not a null.
            *plain = *plain && !text.is_empty();
            Ok(())
        }
        Kind::Scalar(..) => Ok(()),
        Kind::List(items) => items.iter_mut().try_for_each(|item| fill(item, lookup)),
        Kind::Map(entries) => entries
            .iter_mut()
            .try_for_each(|(_, node)| fill(node, lookup)),
    }
}

fn read_service(node: &Node, all: &Node, path: &mut Vec<String>) -> Result<Service, Fault> {
    let mut service = match node.get("extends") {
        Some(extends) => extended(extends, all, path)?,
        None => Service::default(),
    };
    let mut own = Service {
        image: node.get("image").map(text).transpose()?,
        ..Service::default()
    };
    if let Some(environment) = node.get("environment") {
        own.environment = text_map(environment, '=')?;
    }
    match node.get("build") {
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
fn merge(service: &mut Service, later: Service) {
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
    match (&mut earlier.kind, later.kind) {
        (Kind::List(items), Kind::List(more)) => items.extend(more),
        (Kind::Map(entries), Kind::Map(more)) => {
            for (name, node) in more {
                match entries.iter_mut().find(|(own, _)| own.text == name.text) {
                    Some((_, own)) => merge_nodes(own, node),
                    None => entries.push((name, node)),
                }
            }
        }
        (kind, later) => *kind = later,
    }
}

fn text(node: &Node) -> Result<String, Fault> {
    match &node.kind {
        Kind::Scalar(text, _) => Ok(text.clone()),
        _ => Err(Fault::new(
            "type",
            &node.place,
            "a plain value is needed here",
        )),
    }
}

fn truth(node: &Node) -> Result<bool, Fault> {
    let text = text(node)?;
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" => Ok(true),
        "no" | "off" => Ok(false),
        _ => {
            boolean("it", &text).map_err(|error| Fault::new("type", &node.place, error.to_string()))
        }
    }
}

fn texts(node: &Node) -> Result<Vec<String>, Fault> {
    match &node.kind {
        Kind::List(items) => items.iter().map(text).collect(),
        Kind::Scalar(text, _) => Ok(text.split_whitespace().map(str::to_owned).collect()),
        Kind::Map(_) => Err(Fault::new("type", &node.place, "a list is needed here")),
    }
}

/// Reads a mapping, or a list of texts with a separator.
fn text_map(node: &Node, separator: char) -> Result<TextMap, Fault> {
    match &node.kind {
        Kind::Map(entries) => entries
            .iter()
            .map(|(name, node)| {
                let value = if node.is_null() {
                    None
                } else {
                    Some(text(node)?)
                };
                Ok((name.text.clone(), value))
            })
            .collect(),
        Kind::List(items) => items
            .iter()
            .map(|item| {
                let item = text(item)?;
                Ok(match item.split_once(separator) {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (item, None),
                })
            })
            .collect(),
        Kind::Scalar(..) => Err(Fault::new("type", &node.place, "a mapping is needed here")),
    }
}

/// A path as compose hands it on: relative ones without `./`.
fn path(text: &str) -> String {
    if text.contains("://") || text.starts_with("git@") || text.is_empty() {
        text.to_owned()
    } else {
        clean(text)
    }
}

/// Another service's result, a directory or an address.
fn named_context(value: &str) -> String {
    match value.split_once(':') {
        Some(("service" | "target", name)) => format!("target:{}", name.replace('.', "_")),
        _ => path(value),
    }
}

struct Reader<'a> {
    service: &'a Service,
    secrets: &'a BTreeMap<String, Node>,
    lookup: Lookup<'a>,
}

impl Reader<'_> {
    fn get(&self, key: &str) -> Option<&Node> {
        self.service.build.get(key).filter(|node| !node.is_null())
    }

    fn target(&self, name: &str) -> Result<Target, Fault> {
        let mut target = Target::new(name);
        self.plain(&mut target)?;
        self.maps(&mut target)?;
        self.lists(&mut target)?;
        if let Some(extension) = self.get("x-bake") {
            extend(&mut target, extension)?;
        }
        if target.texts("tags").is_empty()
            && let Some(image) = &self.service.image
        {
            target.set("tags", Field::Texts(vec![image.clone()]));
        }
        Ok(target)
    }

    fn plain(&self, target: &mut Target) -> Result<(), Fault> {
        for (key, name) in [
            ("context", "context"),
            ("dockerfile", "dockerfile"),
            ("dockerfile_inline", "dockerfile-inline"),
            ("target", "target"),
            ("network", "network"),
        ] {
            let Some(node) = self.get(key) else { continue };
            let value = text(node)?;
            let value = if key == "context" {
                path(&value)
            } else {
                value
            };
            if !value.is_empty() {
                target.set_at(name, Field::Text(value), node.place.clone());
            }
        }
        for (key, name) in [("no_cache", "no-cache"), ("pull", "pull")] {
            if let Some(node) = self.get(key)
                && truth(node)?
            {
                target.set_at(name, Field::Bool(true), node.place.clone());
            }
        }
        if let Some(node) = self.get("shm_size") {
            let bytes = size(&text(node)?)
                .map_err(|error| Fault::new("type", &node.place, error.to_string()))?;
            target.set_at("shm-size", Field::Text(human(bytes)), node.place.clone());
        }
        Ok(())
    }

    fn maps(&self, target: &mut Target) -> Result<(), Fault> {
        if let Some(node) = self.get("args") {
            let args = text_map(node, '=')?
                .into_iter()
                .filter_map(|(name, value)| {
                    let own = self.service.environment.get(&name).cloned().flatten();
                    let value = value.or(own).or_else(|| (self.lookup)(&name))?;
                    Some((name, Some(value)))
                });
            target.set_at("args", Field::Map(args.collect()), node.place.clone());
        }
        if let Some(node) = self.get("labels") {
            let labels = text_map(node, '=')?;
            let labels = labels
                .into_iter()
                .map(|(name, value)| (name, Some(value.unwrap_or_default())));
            target.set_at("labels", Field::Map(labels.collect()), node.place.clone());
        }
        if let Some(node) = self.get("additional_contexts") {
            let contexts = text_map(node, '=')?.into_iter();
            let contexts =
                contexts.map(|(name, value)| (name, value.as_deref().map(named_context)));
            target.set_at(
                "contexts",
                Field::Map(contexts.collect()),
                node.place.clone(),
            );
        }
        if let Some(node) = self.get("extra_hosts") {
            target.set_at("extra-hosts", Field::Map(hosts(node)?), node.place.clone());
        }
        Ok(())
    }

    fn lists(&self, target: &mut Target) -> Result<(), Fault> {
        for (key, name) in [
            ("tags", "tags"),
            ("platforms", "platforms"),
            ("entitlements", "entitlements"),
            ("no_cache_filter", "no-cache-filter"),
        ] {
            if let Some(node) = self.get(key) {
                target.set_at(name, Field::Texts(texts(node)?), node.place.clone());
            }
        }
        if let Some(node) = self.get("ulimits") {
            target.set_at("ulimits", Field::Texts(ulimits(node)?), node.place.clone());
        }
        for (key, name) in [("cache_from", "cache-from"), ("cache_to", "cache-to")] {
            if let Some(node) = self.get(key) {
                let entries = entries(Entries::Cache, &texts(node)?, &node.place)?;
                target.set_at(name, Field::Entries(entries), node.place.clone());
            }
        }
        if let Some(node) = self.get("ssh") {
            target.set_at("ssh", Field::Entries(ssh(node)?), node.place.clone());
        }
        if let Some(node) = self.get("secrets") {
            target.set_at(
                "secret",
                Field::Entries(self.build_secrets(node)?),
                node.place.clone(),
            );
        }
        let mut attest = Vec::new();
        for kind in ["sbom", "provenance"] {
            if let Some(node) = self.get(kind) {
                let wanted = attestation(kind, &text(node)?);
                attest.extend(entries(Entries::Attest, &[wanted], &node.place)?);
            }
        }
        if !attest.is_empty() {
            target.set("attest", Field::Entries(attest));
        }
        Ok(())
    }

    fn build_secrets(&self, node: &Node) -> Result<Vec<Entry>, Fault> {
        let Kind::List(items) = &node.kind else {
            return Err(Fault::new("type", &node.place, "a list is needed here"));
        };
        let mut out = Vec::new();
        for item in items {
            let source = match item.get("source") {
                Some(source) => text(source)?,
                None => text(item)?,
            };
            let Some(secret) = self.secrets.get(&source) else {
                let message = format!("there is no secret {source}");
                return Err(Fault::new("secret", &item.place, message)
                    .suggest(&source, self.secrets.keys().map(String::as_str)));
            };
            if let Some(external) = secret.get("external")
                && truth(external)?
            {
                let message =
                    format!("the secret {source} is external; a build needs a file or a variable");
                return Err(Fault::new("secret", &external.place, message));
            }
            let mut spec = format!("id={source}");
            if let Some(file) = secret.get("file") {
                let file = path(&text(file)?).replace('"', "\"\"");
                let _ = write!(spec, ",\"src={file}\"");
            }
            if let Some(variable) = secret.get("environment") {
                let _ = write!(spec, ",env={}", text(variable)?);
            }
            out.extend(entries(Entries::Secret, &[spec], &item.place)?);
        }
        Ok(out)
    }
}

/// Returns `type=KIND,…` for a value of `--sbom` or `--provenance`.
pub(crate) fn attestation(kind: &str, value: &str) -> String {
    match boolean(kind, value) {
        Ok(wanted) => format!("type={kind},disabled={}", !wanted),
        Err(_) => format!("type={kind},{value}"),
    }
}

fn entries(kind: Entries, specs: &[String], place: &Place) -> Result<Vec<Entry>, Fault> {
    let mut out = Vec::new();
    for spec in specs {
        let parsed = Entry::parse(kind, spec);
        out.extend(parsed.map_err(|message| Fault::new("entry", place, message))?);
    }
    Ok(out)
}

fn ssh(node: &Node) -> Result<Vec<Entry>, Fault> {
    let mut specs: Vec<String> = match &node.kind {
        Kind::Map(_) => text_map(node, '=')?
            .into_iter()
            .map(|(id, path)| path.map_or(id.clone(), |path| format!("{id}={path}")))
            .collect(),
        _ => texts(node)?,
    };
    specs.sort();
    entries(Entries::Ssh, &specs, &node.place)
}

/// Reads names with one or more addresses each.
fn hosts(node: &Node) -> Result<TextMap, Fault> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    match &node.kind {
        Kind::Map(map) => {
            for (name, value) in map {
                out.entry(name.text.clone())
                    .or_default()
                    .extend(texts(value)?);
            }
        }
        _ => {
            for item in texts(node)? {
                let split = item.split_once('=').or_else(|| item.split_once(':'));
                let Some((name, address)) = split else {
                    let message = format!("{item:?} is no HOST=ADDRESS");
                    return Err(Fault::new("type", &node.place, message));
                };
                out.entry(name.to_owned())
                    .or_default()
                    .push(address.to_owned());
            }
        }
    }
    Ok(out
        .into_iter()
        .map(|(name, addresses)| (name, Some(addresses.join(","))))
        .collect())
}

fn ulimits(node: &Node) -> Result<Vec<String>, Fault> {
    node.entries()
        .iter()
        .map(|(name, value)| {
            let part = |key: &str| value.get(key).map(text).transpose();
            let zero = || "0".to_owned();
            let (soft, hard) = if let Kind::Scalar(both, _) = &value.kind {
                (both.clone(), both.clone())
            } else {
                let soft = part("soft")?.unwrap_or_else(zero);
                (soft, part("hard")?.unwrap_or_else(zero))
            };
            Ok(format!("{}={soft}:{hard}", name.text))
        })
        .collect()
}

/// Returns a number of bytes with a binary unit and up to four digits, as docker writes it.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = 3usize.saturating_sub((value.max(1.0).log10()) as usize);
    let number = format!("{value:.digits$}");
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        &number
    };
    format!("{number}{}", UNITS[unit])
}

/// Adds what the extension `x-bake` says; keys it does not know are left to others.
fn extend(target: &mut Target, node: &Node) -> Result<(), Fault> {
    for (name, value) in node.entries().iter().filter(|(_, value)| !value.is_null()) {
        let place = &value.place;
        match name.text.as_str() {
            key @ ("tags" | "platforms" | "no-cache-filter") => {
                let known = ["tags", "platforms", "no-cache-filter"];
                let key = known
                    .into_iter()
                    .find(|known| *known == key)
                    .unwrap_or("tags");
                let more = texts(value)?;
                if let Some(own) = target.texts_mut(key) {
                    own.extend(more);
                }
            }
            "pull" => target.set("pull", Field::Bool(truth(value)?)),
            "no-cache" => target.set("no-cache", Field::Bool(truth(value)?)),
            "contexts" => {
                let more = text_map(value, '=')?;
                if let Some(own) = target.map_mut("contexts") {
                    for (name, value) in more {
                        let value = value.as_deref().map(named_context);
                        own.entry(name).or_insert(value);
                    }
                }
            }
            key => {
                let (name, kind) = match key {
                    "cache-from" => ("cache-from", Entries::Cache),
                    "cache-to" => ("cache-to", Entries::Cache),
                    "secret" => ("secret", Entries::Secret),
                    "ssh" => ("ssh", Entries::Ssh),
                    "output" => ("output", Entries::Output),
                    _ => continue,
                };
                let more = entries(kind, &texts(value)?, place)?;
                if let Some(own) = target.entries_mut(name) {
                    own.extend(more);
                }
            }
        }
    }
    target.tidy();
    Ok(())
}
