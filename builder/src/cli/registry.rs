//! How every command reaches registries: what the command line, the environment and the files of
//! cooper, docker and podman say about them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Settings;
use super::value::{each, mirror};
use crate::http::{HttpConfig, RetryPolicy};
use crate::options::RegistryOptions;
use crate::registry::{Client, Credentials, RegistryConfig, Rules, ShortNames};
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
        let home = self.environment.path("HOME");
        let docker = home.as_ref().map(|home| home.join(".docker"));
        let rules = self.rules()?;
        Ok(RegistryOptions {
            mirrors,
            insecure: section.insecure.clone(),
            short_names: short_names(section.short_names.as_deref(), &rules)?,
            rules,
            host_cert_dirs: self.host_cert_dirs(),
            auth_files: self.auth_files(),
            docker_config: self.environment.path("DOCKER_CONFIG").or(docker),
            ca_file: section.ca_file.clone(),
            retries: section.retries.unwrap_or(3),
            retry_delay: None,
        })
    }

    /// Reads `registries.conf`: the user's or else the system's, and then what is in the
    /// directories beside both.
    fn rules(&self) -> Result<Rules, Report> {
        let user = self.user_config("containers");
        let named = self.environment.path("CONTAINERS_REGISTRIES_CONF");
        let places = [user.clone(), Some(PathBuf::from("/etc/containers"))];
        let usual = places
            .into_iter()
            .flatten()
            .map(|dir| dir.join("registries.conf"));
        let file = named.or_else(|| usual.into_iter().find(|path| path.is_file()));
        let system = PathBuf::from("/etc/containers/registries.conf.d");
        let own = user.map(|dir| dir.join("registries.conf.d"));
        let dirs: Vec<_> = match self.environment.path("CONTAINERS_REGISTRIES_CONF_DIR") {
            Some(dir) => vec![dir],
            None => [system].into_iter().chain(own).collect(),
        };
        Rules::read(file.as_deref(), &dirs).map_err(|error| {
            Report::from_error(&error)
                .hint("containers-registries.conf(5) describes the file; CONTAINERS_REGISTRIES_CONF names another")
        })
    }

    /// Returns the directories where certificates of single servers are kept.
    fn host_cert_dirs(&self) -> Vec<PathBuf> {
        let users = ["cooper", "docker", "containers"].map(|name| self.user_config(name));
        let system =
            ["cooper", "docker", "containers"].map(|name| Some(format!("/etc/{name}").into()));
        let dirs = users.into_iter().chain(system).flatten();
        dirs.map(|dir| dir.join("certs.d")).collect()
    }

    /// Returns where podman and its kin keep credentials.
    fn auth_files(&self) -> Vec<PathBuf> {
        let running = self.environment.path("XDG_RUNTIME_DIR");
        let files = [
            self.environment.path("REGISTRY_AUTH_FILE"),
            running.map(|dir| dir.join("containers/auth.json")),
            self.environment
                .is_root
                .then(|| "/run/containers/0/auth.json".into()),
            self.user_config("containers")
                .map(|dir| dir.join("auth.json")),
        ];
        files.into_iter().flatten().collect()
    }

    /// Returns where the user keeps the configuration of the program `name`.
    fn user_config(&self, name: &str) -> Option<PathBuf> {
        let home = || Some(self.environment.path("HOME")?.join(".config"));
        let base = self.environment.path("XDG_CONFIG_HOME").or_else(home)?;
        Some(base.join(name))
    }

    /// Returns a client of registries; it connects to nothing yet.
    pub fn registry_client(&self, options: &RegistryOptions) -> Result<Client, Report> {
        let credentials = match &options.docker_config {
            Some(dir) => Credentials::from_docker_config(&dir.join("config.json"))
                .map_err(|error| Report::from_error(&error))?,
            None => Credentials::none(),
        };
        let credentials = options
            .auth_files
            .iter()
            .try_fold(credentials, |known, path| {
                let other = Credentials::from_docker_config(path);
                other
                    .map(|other| known.or(other))
                    .map_err(|error| Report::from_error(&error))
            })?;
        let proxies = self.environment.proxies();
        let proxy = |name: &str| {
            proxies
                .get(name)
                .or_else(|| proxies.get("ALL_PROXY"))
                .cloned()
        };
        let defaults = HttpConfig::default();
        let http = HttpConfig {
            ca_files: self.environment.path("SSL_CERT_FILE").into_iter().collect(),
            ca_dirs: self.environment.path("SSL_CERT_DIR").into_iter().collect(),
            host_cert_dirs: options.host_cert_dirs.clone(),
            extra_ca_files: options.ca_file.iter().cloned().collect(),
            http_proxy: proxy("HTTP_PROXY"),
            https_proxy: proxy("HTTPS_PROXY"),
            no_proxy: proxies.get("NO_PROXY").cloned(),
            retry: RetryPolicy {
                attempts: options.retries.saturating_add(1),
                first_delay: options.retry_delay.unwrap_or(defaults.retry.first_delay),
                max_delay: (options.retry_delay.into_iter())
                    .fold(defaults.retry.max_delay, Duration::max),
            },
            ..defaults
        };
        let config = RegistryConfig {
            mirrors: options.mirrors.clone(),
            insecure: options.insecure.iter().cloned().collect(),
            rules: options.rules.clone(),
            http,
            ..RegistryConfig::default()
        };
        Ok(Client::new(config, credentials))
    }
}

/// Returns what names without a registry mean: `setting` is `short-names` of the configuration.
fn short_names(setting: Option<&str>, rules: &Rules) -> Result<ShortNames, Report> {
    match setting {
        None | Some("docker") => Ok(ShortNames::default()),
        Some("search") => Ok(rules.short_names.clone()),
        Some(other) => Err(Report::new(format!(
            "`registry.short-names` in the configuration: {other:?} is no way to understand names"
        ))
        .hint("known are docker and search")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_retries_that_can_be_configured_makes_a_client() {
        for retries in [0, 3, u32::MAX] {
            let options = RegistryOptions {
                retries,
                ..RegistryOptions::default()
            };
            assert!(Settings::default().registry_client(&options).is_ok());
        }
    }
}
