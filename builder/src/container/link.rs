//! What a container learns of those that it is linked to on the default network, by variables.
//!
//! On networks with names a link is a name and nothing else. The default one has none, and docker
//! tells a container there where the others are, and what they were told themselves.

use std::ffi::OsString;

use super::containers::Containers;
use super::record::Container;
use crate::network::{DEFAULT, NetworkError, Networks, port};

/// Variables of the other that say something of that container alone.
const ITS_OWN: [&str; 2] = ["HOME", "PATH"];

/// Returns the variables of the links of a container that is connected by now.
pub(super) fn variables(
    containers: &Containers,
    networks: &Networks,
    container: &Container,
) -> Result<Vec<(OsString, OsString)>, NetworkError> {
    let config = &container.config.network;
    if config.links.is_empty() {
        return Ok(Vec::new());
    }
    let default = networks.find(DEFAULT)?;
    let endpoints = networks.endpoints();
    let mut variables = Vec::new();
    for link in &config.links {
        let Ok(other) = containers.one(&link.container) else {
            continue;
        };
        let at = endpoints.iter().find(|endpoint| {
            endpoint.container == other.container.id && endpoint.network == default.id
        });
        if let Some(ip) = at.and_then(|endpoint| endpoint.address(true)) {
            let name = format!("/{}/{}", container.name, link.alias);
            let prefix = link.alias.replace('-', "_").to_uppercase();
            variables.extend(of(&other.container, (&prefix, &name), &ip.to_string()));
        }
    }
    let os = variables.into_iter();
    Ok(os
        .map(|(name, value)| (name.into(), value.into()))
        .collect())
}

/// Returns what is said of one container, at `ip`, under names that begin with `prefix`.
fn of(other: &Container, (prefix, name): (&str, &str), ip: &str) -> Vec<(String, String)> {
    let runtime = &other.config.runtime;
    let mut ports: Vec<_> = runtime
        .exposed_ports
        .keys()
        .filter_map(|text| port::exposed(text))
        .collect();
    ports.sort_by_key(|(port, protocol)| (*port, protocol.to_string()));
    let mut variables = vec![(format!("{prefix}_NAME"), name.to_owned())];
    for (index, (port, protocol)) in ports.into_iter().enumerate() {
        let protocol = protocol.to_string();
        let url = format!("{protocol}://{ip}:{port}");
        if index == 0 {
            variables.push((format!("{prefix}_PORT"), url.clone()));
        }
        let one = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
        variables.push((one.clone(), url));
        variables.push((format!("{one}_ADDR"), ip.to_owned()));
        variables.push((format!("{one}_PORT"), port.to_string()));
        variables.push((format!("{one}_PROTO"), protocol));
    }
    let told = runtime.env.iter().filter_map(|pair| pair.split_once('='));
    let told = told.filter(|(name, _)| !ITS_OWN.contains(name));
    variables.extend(told.map(|(name, value)| (format!("{prefix}_ENV_{name}"), value.to_owned())));
    variables
}
