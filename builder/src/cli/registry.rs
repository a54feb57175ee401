//! How registries are reached: configuration, environment and `--registry-mirror` as one.

use std::collections::BTreeMap;

use super::Settings;
use super::value::{each, mirror};
use crate::options::RegistryOptions;
use crate::report::Report;

impl Settings {
    /// Returns how registries are reached; `flags` are the `--registry-mirror`s.
    pub fn registry(&self, flags: &[String]) -> Result<RegistryOptions, Report> {
        let section = &self.file.registry;
        let variable = self
            .environment
            .text("COOPER_REGISTRY_MIRRORS")
            .unwrap_or_default();
        let variable: Vec<_> = variable
            .split([',', ' ', '\n'])
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect();
        let mut mirrors = section.mirrors.clone();
        for (option, values) in [
            ("COOPER_REGISTRY_MIRRORS", variable.as_slice()),
            ("--registry-mirror", flags),
        ] {
            let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (host, url) in each(option, values, mirror)? {
                named.entry(host).or_default().push(url);
            }
            mirrors.extend(named);
        }
        let home = || Some(self.environment.path("HOME")?.join(".docker"));
        Ok(RegistryOptions {
            mirrors,
            insecure: section.insecure.clone(),
            docker_config: self.environment.path("DOCKER_CONFIG").or_else(home),
            ca_file: section.ca_file.clone(),
            retries: section.retries.unwrap_or(3),
            retry_delay: None,
        })
    }
}
