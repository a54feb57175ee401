//! The registry client of a command, made of the configuration and the environment.

use std::time::Duration;

use super::Settings;
use crate::http::{HttpConfig, RetryPolicy};
use crate::options::RegistryOptions;
use crate::registry::{Client, Credentials, RegistryConfig};
use crate::report::Report;

/// Returns the client that `options` describe. Nothing is connected yet.
pub fn client(settings: &Settings, options: &RegistryOptions) -> Result<Client, Report> {
    let credentials = match &options.docker_config {
        Some(dir) => {
            Credentials::from_docker_config(&dir.join("config.json")).map_err(|error| {
                Report::from_error(&error).context("cannot read the registry credentials")
            })?
        }
        None => Credentials::none(),
    };
    let config = RegistryConfig {
        mirrors: options.mirrors.clone(),
        insecure: options.insecure.iter().cloned().collect(),
        http: http(settings, options),
        ..RegistryConfig::default()
    };
    Ok(Client::new(config, credentials))
}

fn http(settings: &Settings, options: &RegistryOptions) -> HttpConfig {
    let environment = &settings.environment;
    let proxies = environment.proxies();
    let proxy = |name: &str| proxies.get(name).or(proxies.get("ALL_PROXY")).cloned();
    let defaults = HttpConfig::default();
    HttpConfig {
        ca_files: environment.path("SSL_CERT_FILE").into_iter().collect(),
        ca_dirs: environment.path("SSL_CERT_DIR").into_iter().collect(),
        extra_ca_files: options.ca_file.iter().cloned().collect(),
        http_proxy: proxy("HTTP_PROXY"),
        https_proxy: proxy("HTTPS_PROXY"),
        no_proxy: proxies.get("NO_PROXY").cloned(),
        retry: RetryPolicy {
            attempts: options.retries.saturating_add(1),
            first_delay: Duration::from_millis(250),
            ..defaults.retry
        },
        ..defaults
    }
}
