//! What a build is asked for besides the Dockerfile: the resolved meaning of
//! the command line, as far as it decides the graph or the image.

use std::collections::{BTreeMap, BTreeSet};

use cooper_oci::Platform;

use crate::ir::{NetworkMode, Ulimit};

/// Settings of one build for one target platform.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    /// Stage to build; the last one if `None`.
    pub target: Option<String>,
    /// `--build-arg` values.
    pub build_args: BTreeMap<String, String>,
    /// `--label` values, applied last, in order.
    pub labels: Vec<(String, String)>,
    /// Platform to build for.
    pub platform: Platform,
    /// Whether the platform was asked for rather than assumed: then the
    /// image's platform fields say so, whatever the base image says.
    pub platform_explicit: bool,
    /// Platform of the machine that builds.
    pub build_platform: Platform,
    /// `--build-context` entries by the name as given.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// What must not come from the cache.
    pub no_cache: NoCache,
    /// Network of `RUN` steps that do not say.
    pub network: NetworkMode,
    /// Whether `RUN --security=insecure` is allowed.
    pub allow_insecure: bool,
    /// `--add-host` entries as name and address.
    pub add_hosts: Vec<(String, String)>,
    /// Bytes of /dev/shm in `RUN` steps.
    pub shm_size: Option<u64>,
    /// Limits of `RUN` steps.
    pub ulimits: Vec<Ulimit>,
    /// Host name of `RUN` steps.
    pub hostname: Option<String>,
}

impl BuildSettings {
    /// The settings of a build without options, for one platform.
    pub fn new(platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            labels: Vec::new(),
            build_platform: platform.clone(),
            platform,
            platform_explicit: false,
            named_contexts: BTreeMap::new(),
            no_cache: NoCache::None,
            network: NetworkMode::Default,
            allow_insecure: false,
            add_hosts: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
            hostname: None,
        }
    }
}

/// What a named context holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// An image (registry, OCI layout, another target); the caller resolves it
    /// by the context's name.
    Image,
    /// A tree of files (directory, unpacked archive, repository); the caller
    /// serves it as the local source of that name.
    Local,
}

/// Steps that must run even if the cache knows their result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of the named stages (lower case).
    Stages(BTreeSet<String>),
}

impl NoCache {
    /// Whether a stage's steps must run. An unnamed stage has the empty name.
    pub fn covers(&self, stage: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Stages(names) => names.contains(&stage.to_lowercase()),
        }
    }
}
