//! `cooper pull`, and how every command reaches registries.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use cooper_oci::{Platform, PlatformError, Reference};

use super::Settings;
use super::interrupt::Interrupt;
use super::session::Session;
use super::value::ValueError;
use crate::config;
use crate::http::{HttpConfig, RetryPolicy};
use crate::options::{ProgressMode, RegistryOptions};
use crate::progress::{Display, DisplayOptions};
use crate::pull::{Pull, PullError, Pulled};
use crate::registry::{Client, Credentials, RegistryConfig, RegistryError};
use crate::report::{Exit, Report, print_data};

impl Settings {
    /// Returns a client of registries; it connects to nothing yet.
    pub fn registry_client(&self, options: &RegistryOptions) -> Result<Client, Report> {
        let credentials = match &options.docker_config {
            Some(dir) => Credentials::from_docker_config(&dir.join("config.json"))
                .map_err(|error| Report::from_error(&error))?,
            None => Credentials::none(),
        };
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
            http,
            ..RegistryConfig::default()
        };
        Ok(Client::new(config, credentials))
    }
}

/// Options of `cooper pull`.
#[derive(Args, Clone, Debug)]
pub struct PullArgs {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,

    /// Platform, of an image that is made for several
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,

    /// Show only the image's name at the end
    #[arg(short, long)]
    pub quiet: bool,

    /// How to show progress: auto, tty, plain, quiet or rawjson
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,

    /// Ask URL before the registry HOST
    #[arg(long, value_name = "HOST=URL")]
    pub registry_mirror: Vec<String>,
}

impl PullArgs {
    /// Pulls the image.
    pub fn run(&self, settings: &Settings) -> Result<ExitCode, Report> {
        let reference = reference(&self.name)?;
        let platform = platform(self.platform.as_deref())?;
        let options = settings.registry(&self.registry_mirror)?;
        let mode = config::progress_mode(
            self.progress.as_deref(),
            &settings.environment,
            &settings.file,
        )?;
        let mode = if self.quiet {
            ProgressMode::Quiet
        } else {
            mode
        };
        let session = Session::open(settings)?;
        let _lease = session.lease()?;
        let pulled = pull(&session, settings, &options, mode, &reference, &platform)?;
        print_data(&format!("{}\n", pulled.reference))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Pulls an image and shows how it goes.
pub(super) fn pull(
    session: &Session,
    settings: &Settings,
    options: &RegistryOptions,
    mode: ProgressMode,
    reference: &Reference,
    platform: &Platform,
) -> Result<Pulled, Report> {
    let client = settings.registry_client(options)?;
    let display = Display::start(DisplayOptions {
        mode,
        color: settings.color(&std::io::stderr()),
    });
    let interrupt = Interrupt::listen().map_err(|error| Report::from_error(&error))?;
    let progress = display.progress();
    let pull = Pull {
        store: &session.store,
        client: &client,
        progress: &progress,
        canceled: &|| interrupt.token().is_cancelled(),
    };
    let result = pull.run(reference, platform);
    display.finish();
    result.map_err(|error| failure(&error))
}

fn failure(error: &PullError) -> Report {
    if matches!(error, PullError::Registry(RegistryError::Canceled)) {
        return Report::new("interrupted").exit(Exit::Interrupted);
    }
    let report = Report::from_error(error);
    match error.hint() {
        Some(hint) => report.hint(hint),
        None => report,
    }
}

/// Returns the image that `name` means at a registry.
pub(super) fn reference(name: &str) -> Result<Reference, Report> {
    let reference: Reference = name
        .parse()
        .map_err(|error: cooper_oci::ReferenceError| Report::from_error(&error))?;
    Ok(reference.with_default_tag())
}

/// Returns the platform that `--platform` names, this machine's by default.
pub(super) fn platform(text: Option<&str>) -> Result<Platform, Report> {
    let Some(text) = text else {
        return Ok(Platform::host());
    };
    text.parse().map_err(|error: PlatformError| {
        ValueError::new(error.to_string()).report("--platform", text)
    })
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
