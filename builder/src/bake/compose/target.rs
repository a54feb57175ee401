//! From a service to a target.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::attestation;
use super::node::{text, text_map, texts, truth};
use super::service::Service;
use crate::bake::ast::Place;
use crate::bake::entry::Entry;
use crate::bake::fault::Fault;
use crate::bake::functions::clean;
use crate::bake::interpolate::Lookup;
use crate::bake::shape::Entries;
use crate::bake::target::{Field, Target, TextMap};
use crate::bake::yaml::{Kind, Merge, Node};
use crate::cli::value::size;

pub(super) struct Reader<'a> {
    pub service: &'a Service,
    pub secrets: &'a BTreeMap<String, Node>,
    pub lookup: Lookup<'a>,
}

impl Reader<'_> {
    fn get(&self, key: &str) -> Option<&Node> {
        let node = self.service.build.get(key)?;
        (!node.is_null() && node.merge != Merge::Reset).then_some(node)
    }

    pub(super) fn target(&self, name: &str) -> Result<Target, Fault> {
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
