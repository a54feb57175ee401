//! What options mean to the front end.

use cooper_frontend::ir::{NetworkMode, Ulimit};
use cooper_frontend::settings::{self, BuildSettings};
use cooper_oci::Platform;

use super::cdi;
use crate::options::{BuildNetwork, BuildOptions, NamedContext, NoCache};

/// Returns what the front end is told for one of the platforms of `options`.
pub(super) fn of(options: &BuildOptions, platform: &Platform) -> BuildSettings {
    let mut settings = BuildSettings::new(platform.clone());
    settings.platform_explicit = !options.platforms.is_empty();
    settings.build_platform = Platform::host();
    settings.target.clone_from(&options.target);
    settings.first_base.clone_from(&options.first_base);
    settings.env.clone_from(&options.env);
    settings.unset_env.clone_from(&options.unset_env);
    settings.build_args.clone_from(&options.build_args);
    settings.labels.clone_from(&options.labels);
    settings.named_contexts = options
        .build_contexts
        .iter()
        .map(|(name, context)| {
            let kind = match context {
                NamedContext::Dir(_) | NamedContext::Git(_) | NamedContext::Http(_) => {
                    settings::NamedContext::Local
                }
                NamedContext::OciLayout { .. }
                | NamedContext::Image(_)
                | NamedContext::Target(_) => settings::NamedContext::Image,
            };
            (name.clone(), kind)
        })
        .collect();
    settings.no_cache = match &options.no_cache {
        NoCache::Off => settings::NoCache::None,
        NoCache::All => settings::NoCache::All,
        NoCache::Stages(names) => {
            settings::NoCache::Stages(names.iter().map(|name| name.to_lowercase()).collect())
        }
    };
    settings.network = match options.network {
        BuildNetwork::Default => NetworkMode::Default,
        BuildNetwork::Host => NetworkMode::Host,
        BuildNetwork::None => NetworkMode::None,
    };
    settings.add_hosts = options
        .add_hosts
        .iter()
        .map(|host| (host.name.clone(), host.address.to_string()))
        .collect();
    settings.shm_size = options.limits.shm_size;
    settings.ulimits = options.limits.ulimits.iter().map(ulimit).collect();
    settings.resources.clone_from(&options.limits.resources);
    settings.entitlements.clone_from(&options.entitlements);
    cdi::allow(&mut settings.entitlements.devices, &options.cdi_dirs);
    settings.sandbox.clone_from(&options.sandbox);
    settings
}

fn ulimit(limit: &crate::options::Ulimit) -> Ulimit {
    let value = |limit: Option<u64>| {
        limit
            .and_then(|value| i64::try_from(value).ok())
            .unwrap_or(-1)
    };
    Ulimit {
        name: limit.name.clone(),
        soft: value(limit.soft),
        hard: value(limit.hard),
    }
}
