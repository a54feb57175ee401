//! What a build is asked for besides the Dockerfile: the resolved meaning of
//! the command line, as far as it decides the graph or the image.

use std::collections::{BTreeMap, BTreeSet};

use cooper_oci::Platform;

use crate::ir::{NetworkMode, Resources, Sandbox, Ulimit};

/// Settings of one build for one target platform.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    /// Stage to build; the last one if `None`.
    pub target: Option<String>,
    /// What takes the place of the first `FROM`'s base (`--from`).
    pub first_base: Option<String>,
    /// Variables that every stage without a stage as its base starts with (`--env`).
    pub env: Vec<(String, String)>,
    /// Variables that the image does not keep (`--unsetenv`).
    pub unset_env: Vec<String>,
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
    /// What `RUN` steps may ask for beyond the usual.
    pub entitlements: Entitlements,
    /// What every `RUN` step's surroundings are changed by.
    pub sandbox: Sandbox,
    /// `--add-host` entries as name and address.
    pub add_hosts: Vec<(String, String)>,
    /// Bytes of /dev/shm in `RUN` steps.
    pub shm_size: Option<u64>,
    /// Limits of `RUN` steps.
    pub ulimits: Vec<Ulimit>,
    /// Memory and processor time of `RUN` steps.
    pub resources: Resources,
}

impl BuildSettings {
    /// The settings of a build without options, for one platform.
    pub fn new(platform: Platform) -> Self {
        Self {
            target: None,
            first_base: None,
            env: Vec::new(),
            unset_env: Vec::new(),
            build_args: BTreeMap::new(),
            labels: Vec::new(),
            build_platform: platform.clone(),
            platform,
            platform_explicit: false,
            named_contexts: BTreeMap::new(),
            no_cache: NoCache::None,
            network: NetworkMode::Default,
            entitlements: Entitlements::default(),
            sandbox: Sandbox::default(),
            add_hosts: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
            resources: Resources::default(),
        }
    }
}

/// What `RUN` steps may ask for beyond the usual (`--allow`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`: the host's network where a step names it.
    pub network_host: bool,
    /// `security.insecure`: all privileges.
    pub insecure: bool,
    /// `device`: devices by their CDI names.
    pub devices: AllowedDevices,
}

/// The devices that steps may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedDevices {
    /// Any.
    All,
    /// These, each by the name that steps use; the value is the device's own.
    Named(BTreeMap<String, String>),
}

impl Default for AllowedDevices {
    fn default() -> Self {
        Self::Named(BTreeMap::new())
    }
}

impl AllowedDevices {
    /// Returns the device that a step means by `name`, if it may have it. A device that is
    /// allowed as a class (`vendor.com/class`) or as `class=*` is allowed by every name in it.
    pub fn find(&self, name: &str) -> Option<String> {
        let Self::Named(named) = self else {
            return Some(name.to_owned());
        };
        if let Some(device) = named.get(name) {
            return Some(device.clone());
        }
        let class = name.split_once('=').map_or(name, |(class, _)| class);
        let whole = [class.to_owned(), format!("{class}=*")];
        let allowed = whole.iter().any(|class| named.contains_key(class));
        allowed.then(|| name.to_owned())
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
