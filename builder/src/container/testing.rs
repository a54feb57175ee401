//! Containers for unit tests.

use cooper_oci::{Digest, RuntimeConfig};

use super::config::{Config, Isolation, Lifecycle, LogConfig, MountConfig, Resources};
use crate::network::NetworkConfig;

/// Returns a container of busybox that runs a shell.
pub(crate) fn config(remove: bool) -> Config {
    Config {
        image: "busybox".into(),
        image_id: Digest::sha256("image"),
        layers: Vec::new(),
        runtime: RuntimeConfig {
            cmd: Some(vec!["sh".into()]),
            ..RuntimeConfig::default()
        },
        hostname: None,
        groups: Vec::new(),
        terminal: false,
        open_stdin: false,
        isolation: Isolation::default(),
        network: NetworkConfig::default(),
        mounts: MountConfig::default(),
        resources: Resources::default(),
        lifecycle: Lifecycle {
            remove,
            ..Lifecycle::default()
        },
        log: LogConfig::default(),
    }
}
