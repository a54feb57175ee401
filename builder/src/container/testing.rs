//! Containers for unit tests.

use cooper_oci::{Digest, RuntimeConfig};

use super::config::{Config, Isolation, Lifecycle, LogConfig, MountConfig, Resources};
use super::record::{Container, Found};
use super::state::State;
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
        domainname: None,
        annotations: std::collections::BTreeMap::new(),
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

/// Returns a container whose ID is `id` again and again.
pub(crate) fn found(id: char, state: State) -> Found {
    let mut config = config(false);
    config.runtime.cmd = Some(
        ["sh", "-c", "sleep 100 && echo done"]
            .map(str::to_owned)
            .into(),
    );
    config.runtime.labels = [("a".to_owned(), "b".to_owned())].into();
    let container = Container {
        id: id.to_string().repeat(64),
        name: format!("{id}_name"),
        created: "2024-05-01T10:00:00Z".into(),
        config,
        anonymous_volumes: Vec::new(),
    };
    Found {
        live: state.status.is_active(),
        container,
        state,
        dir: "/c".into(),
    }
}
