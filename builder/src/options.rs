//! What a build is asked to do, as plain resolved values.
//!
//! The command line, the environment and the configuration file are read in `cli` and
//! `config`; what they mean is written down here, so that [`BuildOptions`] can be made
//! by a test or another front door just as well. Nothing in this module reads the environment or
//! touches the disk.
//!
//! Invariants: paths are as the user gave them (relative to the working directory), variables
//! named without a value are already looked up (or dropped, as docker does when unset), and every
//! name that has a grammar (reference, platform, size) is parsed.

mod cache;
mod output;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cooper_cache::FileTimes;
use cooper_frontend::ir::{GitSource, Resources, Sandbox};
use cooper_frontend::settings::Entitlements;
use cooper_oci::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};

use crate::registry::{Rules, ShortNames};

pub use cache::{
    ActionsPlace, ActionsVersion, BucketPlace, CacheFrom, CacheMode, CachePlace, CacheTo,
    ContainerPlace, Listing, ServicePlace, Token,
};
pub use output::{
    Annotation, AnnotationPlace, ArchiveDest, ArchiveOutput, ImageFormat, ImageOutput, LocalMode,
    Output, Push, Sink,
};

/// Everything that one `cooper build` needs to know.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct BuildOptions {
    /// What `COPY` and `ADD` read.
    pub context: ContextSource,
    /// Where the Dockerfile is read from.
    pub dockerfile: DockerfileSource,
    /// Names for the image, each with a tag.
    pub tags: Vec<Reference>,
    /// Stage to build; the last one when absent.
    pub target: Option<String>,
    /// What takes the place of the first `FROM`'s base.
    pub first_base: Option<String>,
    /// Variables that stages start with.
    pub env: Vec<(String, String)>,
    /// Variables that the image does not keep.
    pub unset_env: Vec<String>,
    /// What is read in place of the context's .dockerignore.
    pub ignore_file: Option<PathBuf>,
    /// What the modes of files in context directories count as.
    pub context_modes: ContextModes,
    /// How old a recorded result may be.
    pub cache_ttl: Option<Duration>,
    /// Shared caches whose results count as if they had been made here.
    pub cache_from: Vec<CacheFrom>,
    /// Shared caches that get the results.
    pub cache_to: Vec<CacheTo>,
    /// Whether the image says nothing of how it came to be.
    pub omit_history: bool,
    /// Where progress goes instead of stderr.
    pub log_file: Option<PathBuf>,
    /// Platforms that are asked for, each once; the machine's own when empty.
    pub platforms: Vec<Platform>,
    /// Values for `ARG`s, the environment's proxy settings among them.
    pub build_args: BTreeMap<String, String>,
    /// Labels put on the image after those of the Dockerfile.
    pub labels: Vec<(String, String)>,
    /// Steps that are executed although their results are known.
    pub no_cache: NoCache,
    /// Whether a registry is asked for images that the store already has.
    pub pull: Pull,
    /// Network of `RUN` steps that do not name one.
    pub network: BuildNetwork,
    /// What `RUN` steps may ask for beyond the usual.
    pub entitlements: Entitlements,
    /// What every `RUN` step's surroundings are changed by.
    pub sandbox: Sandbox,
    /// Lines added to /etc/hosts in `RUN` steps.
    pub add_hosts: Vec<HostEntry>,
    /// Directories of device specifications (CDI).
    pub cdi_dirs: Vec<PathBuf>,
    /// How `RUN` steps find names.
    pub dns: Dns,
    /// Contexts that take the place of a stage or image name, later ones first in precedence.
    pub build_contexts: Vec<(String, NamedContext)>,
    /// What `RUN --mount=type=secret` may mount.
    pub secrets: Vec<SecretSpec>,
    /// Agents that `RUN --mount=type=ssh` and git may use; ids are unique.
    pub ssh: Vec<SshSpec>,
    /// Which layers of the image become one.
    pub squash: Squash,
    /// What is done about secrets in outputs.
    pub leaks: Leaks,
    /// Limits for `RUN` steps; they are no part of any cache key.
    pub limits: StepLimits,
    /// What is said of the images beside them.
    pub attest: Attest,
    /// How much of how it was made stands in the metadata file, if there is one.
    pub metadata_provenance: Option<ProvenanceMode>,
    /// Whether the metadata file has what the build checks found.
    pub metadata_warnings: bool,
    /// What version control says of a context on this machine, if anyone is told.
    pub vcs: Option<Vcs>,
    /// Where the result goes. A target without outputs is only a base for other targets.
    pub outputs: Vec<Output>,
    /// File that receives the image ID.
    pub iidfile: Option<PathBuf>,
    /// File that receives the result's metadata as JSON.
    pub metadata_file: Option<PathBuf>,
    /// Time stamped on what the build creates, in seconds since 1970.
    pub source_date_epoch: Option<i64>,
    /// Whether that time is the context's own: a commit's, or that of its youngest file.
    pub epoch_of_context: bool,
    /// Other times for the files of new layers; theirs are kept when absent.
    pub file_times: Option<FileTimes>,
    /// Whether everything is executed twice and the results compared.
    pub verify_reproducible: bool,
    /// Whether a shell is opened in a RUN that fails.
    pub shell_on_error: bool,
    /// How many steps may run at once.
    pub jobs: NonZeroUsize,
    /// How many bytes of memory RUN steps that run at once may take together.
    pub memory_budget: Option<u64>,
    /// What is asked for, if not a build.
    pub call: Call,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// Whether only the image ID is printed.
    pub quiet: bool,
    /// Whether it is said why steps were executed or not.
    pub explain: bool,
    /// How registries are reached.
    pub registry: RegistryOptions,
}

/// What the modes of files in context directories count as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContextModes {
    /// What they are.
    #[default]
    Kept,
    /// As git has them: 755 for directories and what its owner may execute, 644 for the rest,
    /// whatever umask they were made under.
    Normalized,
}

impl BuildOptions {
    /// Returns what `cooper build CONTEXT` asks for: the image, in the store.
    #[cfg(test)]
    pub fn of(context: PathBuf) -> Self {
        let image = ImageOutput {
            store: true,
            ..ImageOutput::default()
        };
        Self {
            context: ContextSource::Dir(context),
            ssh: Vec::new(),
            dockerfile: DockerfileSource::Lookup,
            tags: Vec::new(),
            target: None,
            first_base: None,
            env: Vec::new(),
            unset_env: Vec::new(),
            ignore_file: None,
            context_modes: ContextModes::default(),
            cache_ttl: None,
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            omit_history: false,
            log_file: None,
            platforms: Vec::new(),
            build_args: BTreeMap::new(),
            labels: Vec::new(),
            no_cache: NoCache::default(),
            pull: Pull::default(),
            entitlements: Entitlements::default(),
            sandbox: Sandbox::default(),
            cdi_dirs: Vec::new(),
            dns: Dns::default(),
            network: BuildNetwork::default(),
            add_hosts: Vec::new(),
            build_contexts: Vec::new(),
            secrets: Vec::new(),
            limits: StepLimits::default(),
            outputs: vec![Output::Image(image)],
            squash: Squash::default(),
            leaks: Leaks::default(),
            attest: Attest::default(),
            metadata_provenance: None,
            metadata_warnings: false,
            vcs: None,
            iidfile: None,
            metadata_file: None,
            source_date_epoch: None,
            epoch_of_context: false,
            file_times: None,
            verify_reproducible: false,
            shell_on_error: false,
            jobs: NonZeroUsize::MIN,
            memory_budget: None,
            call: Call::default(),
            progress: ProgressMode::default(),
            quiet: false,
            explain: false,
            registry: RegistryOptions::default(),
        }
    }

    /// Returns the platforms to build for; never none.
    pub fn platforms(&self) -> Vec<Platform> {
        if self.platforms.is_empty() {
            vec![Platform::host()]
        } else {
            self.platforms.clone()
        }
    }
}

/// What is done with the Dockerfile, and how the answer is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// What is done.
    pub method: Method,
    /// Whether the answer is JSON.
    pub json: bool,
    /// Whether warnings leave the exit code at 0.
    pub ignore_status: bool,
}

/// What is done with the Dockerfile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// It is built.
    #[default]
    Build,
    /// The build checks run alone.
    Check,
    /// What the target takes is listed.
    Outline,
    /// The stages are listed.
    Targets,
    /// These methods are listed.
    Methods,
}

/// Where the build context is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory.
    Dir(PathBuf),
    /// A repository.
    Git(GitSource),
    /// An http address: of an archive, or of a Dockerfile that comes alone.
    Http(String),
    /// Standard input: an archive, or a Dockerfile that comes alone.
    Stdin,
}

impl ContextSource {
    /// Returns the directory, if it is one.
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Self::Dir(dir) => Some(dir),
            Self::Git(_) | Self::Http(_) | Self::Stdin => None,
        }
    }
}

/// Where a Dockerfile's text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerfileSource {
    /// `Dockerfile`, `dockerfile` or `Containerfile` at the context's top, the first that exists.
    Lookup,
    /// The file named by `-f`: on this machine, but in the context if that is somewhere else
    /// and the path is relative.
    Path(PathBuf),
    /// The http address named by `-f`.
    Url(String),
    /// Standard input.
    Stdin,
    /// This text, which a bake definition holds.
    Inline(String),
}

/// What is done about secrets in outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Whether an output is written although it holds a secret.
    pub allowed: bool,
    /// Whether credentials that nobody told of are looked for too.
    pub credentials: bool,
}

/// What version control says of the directory that is built. Nobody has checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vcs {
    /// Address of the repository, without credentials.
    pub source: Option<String>,
    /// Name of the commit; `-dirty` follows if there are changes beside it.
    pub revision: String,
    /// The context, from the repository's top.
    pub context: PathBuf,
    /// The Dockerfile, from there too, if it is in the repository.
    pub dockerfile: Option<PathBuf>,
}

/// What is said of an image beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attest {
    /// How it was made.
    pub provenance: Option<Provenance>,
    /// What it is made of, in a file of this name.
    pub sbom: Option<String>,
}

impl Attest {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.provenance.is_none() && self.sbom.is_none()
    }
}

/// What is told of how an image was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// How much.
    pub mode: ProvenanceMode,
    /// URI of who made it; may be empty.
    pub builder_id: String,
    /// Whether the user says that the build gives the same each time.
    pub reproducible: bool,
    /// Whether outputs that are no images go without.
    pub inline_only: bool,
    /// What a file with it is called.
    pub file_name: String,
}

impl Default for Provenance {
    fn default() -> Self {
        Self {
            mode: ProvenanceMode::default(),
            builder_id: String::new(),
            reproducible: false,
            inline_only: false,
            file_name: "provenance.json".to_owned(),
        }
    }
}

/// How much is told of a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProvenanceMode {
    /// Nothing that was passed in.
    #[default]
    Min,
    /// Everything that is not secret.
    Max,
}

/// Which layers of an image become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Squash {
    /// None do.
    #[default]
    Off,
    /// Those that the build made do.
    New,
    /// Those of the base do too.
    All,
}

/// Which steps ignore recorded results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None does.
    #[default]
    Off,
    /// Every step does.
    All,
    /// Those of the named stages do.
    Stages(Vec<String>),
}

/// When a registry is asked for an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    /// Only for images that the store lacks.
    #[default]
    Missing,
    /// For every image, so that a moved tag is noticed.
    Always,
    /// Never; an image that the store lacks is an error.
    Never,
}

/// A `RUN` step's network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BuildNetwork {
    /// What there is, which is the host's network.
    #[default]
    Default,
    /// The host's network, asked for by name.
    Host,
    /// A namespace with nothing but its own loopback device.
    None,
}

/// What stands in /etc/resolv.conf in `RUN` steps, if not what stands in the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Whether the image's own file stays (`--dns=none`).
    pub of_image: bool,
    /// Name servers in place of the host's.
    pub servers: Vec<IpAddr>,
    /// Search domains in place of the host's.
    pub search: Vec<String>,
    /// Resolver options in place of the host's.
    pub options: Vec<String>,
}

impl Dns {
    /// Returns the file's content, given the host's; none leaves the image's own.
    pub fn resolv_conf(&self, host: &str) -> Option<String> {
        use std::fmt::Write as _;
        if self.of_image {
            return None;
        }
        let replaced = |line: &str| match line.split_whitespace().next() {
            Some("nameserver") => !self.servers.is_empty(),
            Some("search" | "domain") => !self.search.is_empty(),
            Some("options") => !self.options.is_empty(),
            _ => false,
        };
        let mut text = String::new();
        for line in host.lines().filter(|line| !replaced(line)) {
            let _ = writeln!(text, "{line}");
        }
        for server in &self.servers {
            let _ = writeln!(text, "nameserver {server}");
        }
        if !self.search.is_empty() {
            let _ = writeln!(text, "search {}", self.search.join(" "));
        }
        if !self.options.is_empty() {
            let _ = writeln!(text, "options {}", self.options.join(" "));
        }
        Some(text)
    }
}

/// One `--add-host`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// Name to resolve.
    pub name: String,
    /// What it resolves to.
    pub address: IpAddr,
}

/// What a `--build-context` name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory, with a .dockerignore of its own.
    Dir(PathBuf),
    /// An image in an OCI layout directory.
    OciLayout {
        /// The layout.
        dir: PathBuf,
        /// Which of its images; `latest`, or the only one, when neither is given.
        tag: Option<String>,
        /// Manifest digest, which settles the matter.
        digest: Option<Digest>,
    },
    /// An image as `FROM` would name it.
    Image(Reference),
    /// What another target of the same build comes to, by that target's name.
    Target(String),
    /// A repository.
    Git(GitSource),
    /// What an http address gives: the files of an archive, or that one file, as `context`.
    Http(String),
}

/// One `--secret`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSpec {
    /// Name by which a mount asks for it.
    pub id: String,
    /// Where its bytes are read when a step first needs them.
    pub source: SecretSource,
}

/// Where a secret's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

/// One `--ssh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSpec {
    /// Name by which a mount asks for it.
    pub id: String,
    /// Where its keys are.
    pub source: SshSource,
}

/// Where keys for ssh are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshSource {
    /// In the agent that listens at this socket.
    Agent(PathBuf),
    /// In files.
    Keys(Vec<PathBuf>),
}

/// Resource settings of `RUN` steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepLimits {
    /// Size of /dev/shm in bytes; 64 MiB when absent.
    pub shm_size: Option<u64>,
    /// Limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// Limits of each step's control group.
    pub resources: Resources,
}

/// One `--ulimit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name as `ulimit` knows it, such as `nofile`.
    pub name: String,
    /// Soft limit; none is unlimited.
    pub soft: Option<u64>,
    /// Hard limit; none is unlimited.
    pub hard: Option<u64>,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgressMode {
    /// `Tty` when stderr is a terminal, `Plain` otherwise.
    #[default]
    Auto,
    /// A live view.
    Tty,
    /// One line an event, as they come.
    Plain,
    /// Nothing but errors.
    Quiet,
    /// One JSON object an event.
    RawJson,
}

/// How registries are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryOptions {
    /// For a registry's host, the URLs that are asked before it, in order.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Hosts that may be spoken to over HTTP, or HTTPS without a trusted certificate.
    pub insecure: Vec<String>,
    /// What `registries.conf` says.
    pub rules: Rules,
    /// How names without a registry are understood; docker's way by default.
    pub short_names: ShortNames,
    /// Directories with a directory of certificates for each server (`certs.d`).
    pub host_cert_dirs: Vec<PathBuf>,
    /// Podman's files of credentials, asked for what docker's config.json does not say.
    pub auth_files: Vec<PathBuf>,
    /// Directory of docker's config.json, which holds credentials.
    pub docker_config: Option<PathBuf>,
    /// File of additional trusted certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// How often a failed request is tried again.
    pub retries: u32,
    /// The pause before the first of these, if it is not the usual one.
    pub retry_delay: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolvers_file_is_the_hosts_but_for_what_is_given() {
        let host = "# by hand\nnameserver 9.9.9.9\nsearch a.example\noptions ndots:2\n";
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let server = "1.1.1.1".parse().expect("an address");
        for (dns, want) in [
            (Dns::default(), Some(host)),
            (
                Dns {
                    servers: vec![server],
                    ..Dns::default()
                },
                Some("# by hand\nsearch a.example\noptions ndots:2\nnameserver 1.1.1.1\n"),
            ),
            (
                Dns {
                    search: texts(&["b.example", "c.example"]),
                    options: texts(&["edns0"]),
                    ..Dns::default()
                },
                Some("# by hand\nnameserver 9.9.9.9\nsearch b.example c.example\noptions edns0\n"),
            ),
            (
                Dns {
                    of_image: true,
                    ..Dns::default()
                },
                None,
            ),
        ] {
            assert_eq!(dns.resolv_conf(host).as_deref(), want, "{dns:?}");
        }
    }
}
