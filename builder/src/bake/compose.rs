//! Compose files: each service with a `build:` section is a target.
//!
//! Only what a build needs is read: `services.*.{image, build, environment, extends}` and
//! `secrets`. Several files are merged as compose does, the later ones having the last word.

mod node;
mod service;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_frontend::SourceFile;

use super::fault::Fault;
use super::interpolate::{Lookup, interpolate};
use super::target::{Group, Target};
use super::yaml::{self, Kind, Node};
use crate::cli::value::boolean;
use service::{Service, merge, read_service};
use target::Reader;

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

/// Returns `type=KIND,…` for a value of `--sbom` or `--provenance`.
pub(crate) fn attestation(kind: &str, value: &str) -> String {
    match boolean(kind, value) {
        Ok(wanted) => format!("type={kind},disabled={}", !wanted),
        Err(_) => format!("type={kind},{value}"),
    }
}
