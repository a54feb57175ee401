//! The build graph's operations: plain data that a builder executes.
//!
//! An operation says everything that decides its result, and nothing about
//! where it was written. What must not decide a cache key (proxies, added
//! hosts, resource limits, where an image is fetched from) sits in a separate
//! `unkeyed` part that [`StableHash`](cooper_solver::StableHash) skips.
//!
//! Inputs are positions in the vertex's input list. A vertex whose `base` flag
//! is set has its root filesystem as input 0; without the flag it starts from
//! an empty root and input 0 is an ordinary source.

mod hash;

use cooper_oci::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};

/// One vertex of the build graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BuildOp {
    /// Brings content in: an image, a context, a download.
    Source(SourceOp),
    /// Runs a process over a root filesystem; its changes are one new layer.
    Exec(Box<ExecOp>),
    /// Copies and makes files without running anything; one new layer.
    File(FileOp),
    /// Stacks the layers of all inputs, first input lowest, without looking
    /// into them (`COPY --link`).
    Merge,
    /// The layers that input 1 has on top of input 0.
    Diff,
}

/// Where content comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceOp {
    /// The layers of an image that has been resolved.
    Image(Box<ImageSource>),
    /// An empty filesystem, for `--from=scratch`.
    Scratch,
    /// Files of a local directory.
    Local(LocalSource),
    /// One downloaded file.
    Http(HttpSource),
    /// A checked-out git repository.
    Git(GitSource),
}

/// An image's layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// Layer names in the store, base first. The only keyed part.
    pub layers: Vec<String>,
    /// How to find the image again.
    pub unkeyed: ImageSourceUnkeyed,
}

/// The part of [`ImageSource`] that is no matter of content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSourceUnkeyed {
    /// Key of the answered request.
    pub key: crate::image::ImageKey,
    /// The reference as resolved, if the image came by one.
    pub reference: Option<Reference>,
    /// The platform asked for.
    pub platform: Platform,
}

/// Files of a local directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalSource {
    /// `context`, or the name of a named context.
    pub name: String,
    /// Sub-paths that steps of this build read, sorted, relative, possibly
    /// with wildcards; empty means everything. Paths below an entry count as
    /// read, and links on the way must be followed.
    pub paths: Vec<String>,
}

/// One downloaded file, which appears as `filename` in the source's root with
/// mode 0600.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSource {
    /// The address.
    pub url: String,
    /// The name of the one file in the root.
    pub filename: String,
    /// Digest the body must have.
    pub checksum: Option<Digest>,
}

/// A git repository's tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitSource {
    /// The address to fetch from.
    pub remote: String,
    /// Branch, tag or commit; `None` is the remote's HEAD.
    pub reference: Option<String>,
    /// Directory of the repository that becomes the root.
    pub subdir: Option<String>,
    /// Whether `.git` stays; not if nothing is said.
    pub keep_git_dir: Option<bool>,
    /// Commit the reference must resolve to (a prefix is enough).
    pub checksum: Option<String>,
    /// Whether submodules are fetched.
    pub submodules: bool,
    /// The time that all files get.
    pub mtime: GitTime,
    /// Whether the commit of `checksum` is fetched by its name, whatever the
    /// reference means by now.
    pub by_commit: bool,
}

/// The time of a repository's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GitTime {
    /// That of the checkout.
    #[default]
    Checkout,
    /// That of the commit.
    Commit,
}

/// A process over a root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOp {
    /// Whether input 0 is the root filesystem; an empty one otherwise.
    pub base: bool,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment in order, names unique.
    pub env: Vec<(String, String)>,
    /// Working directory, absolute.
    pub cwd: String,
    /// `USER` as written; empty is root.
    pub user: String,
    /// Host name inside.
    pub hostname: String,
    /// Network access.
    pub network: NetworkMode,
    /// Privileges.
    pub security: SecurityMode,
    /// Mounts, shallow targets before deep ones.
    pub mounts: Vec<MountOp>,
    /// Device names of `--device`.
    pub devices: Vec<DeviceRequest>,
    /// Executable files (mode 0755) that exist, read-only, only while the
    /// process runs: heredocs with a shebang.
    pub scripts: Vec<Script>,
    /// The platform of the root filesystem.
    pub platform: Platform,
    /// What the command line changes of the surroundings.
    pub sandbox: Sandbox,
    /// What does not decide the result.
    pub unkeyed: ExecUnkeyed,
}

/// A `RUN --device` request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// CDI name (`vendor.com/class=name`, or `vendor.com/class` for its first device).
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
}

/// What the command line changes of a process' surroundings, the same for every step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Capabilities beyond the usual, as `CAP_NAME`, sorted.
    pub cap_add: Vec<String>,
    /// Capabilities taken away; a name in both lists is taken away.
    pub cap_drop: Vec<String>,
    /// Files and directories of the host.
    pub volumes: Vec<Volume>,
    /// Devices of the host.
    pub devices: Vec<HostDevice>,
    /// Devices by their CDI names, which every process needs.
    pub cdi_devices: Vec<String>,
}

/// A file or directory of the host that a process sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Absolute path on the host. What is there is not keyed.
    pub source: String,
    /// Absolute path in the process' root.
    pub target: String,
    /// What happens to writes.
    pub access: VolumeAccess,
}

/// What happens to writes below a [`Volume`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VolumeAccess {
    /// They reach the host.
    #[default]
    ReadWrite,
    /// They are refused.
    ReadOnly,
    /// They are thrown away.
    Discarded,
}

/// A device node of the host that a process sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDevice {
    /// Absolute path on the host.
    pub source: String,
    /// Absolute path in the process' root.
    pub target: String,
}

/// A file made for the duration of one [`ExecOp`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Absolute path.
    pub path: String,
    /// Content.
    pub data: Vec<u8>,
}

/// Parts of an [`ExecOp`] outside its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecUnkeyed {
    /// Proxy variables, both cases; they yield to names in `env`.
    pub proxy_env: Vec<(String, String)>,
    /// `--add-host` entries as name and address.
    pub add_hosts: Vec<(String, String)>,
    /// Bytes of /dev/shm.
    pub shm_size: Option<u64>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Limits of the control group.
    pub resources: Resources,
}

/// Limits of a process and all that it starts together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// The control group below which those of the processes are made.
    pub cgroup_parent: Option<String>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 is unlimited swap.
    pub memory_swap: Option<i64>,
    /// Weight among others, 1024 being usual.
    pub cpu_shares: Option<u64>,
    /// Microseconds in which the quota holds.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in each period; -1 is unlimited.
    pub cpu_quota: Option<i64>,
    /// Processors, such as `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
}

/// A resource limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name without `RLIMIT_`, lower case.
    pub name: String,
    /// Soft limit; -1 is unlimited.
    pub soft: i64,
    /// Hard limit; -1 is unlimited.
    pub hard: i64,
}

/// Network access of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NetworkMode {
    /// What the builder offers by default.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's network.
    Host,
}

/// Privileges of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SecurityMode {
    /// Confined as usual.
    #[default]
    Sandbox,
    /// All capabilities, nothing masked.
    Insecure,
}

/// A mount for one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountOp {
    /// Absolute target; empty for a secret that is only a variable.
    pub target: String,
    /// What is mounted.
    pub kind: MountKind,
}

/// What a [`MountOp`] mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A path of an input.
    Bind {
        /// Which input.
        input: usize,
        /// Absolute path in it.
        source: String,
        /// Writable; what is written is thrown away.
        rw: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Identity, together with owner, mode and the seeding input.
        id: String,
        /// Behaviour when two steps want it at once.
        sharing: CacheSharing,
        /// Mode of a new directory.
        mode: u32,
        /// Owner of a new directory.
        uid: u32,
        /// Group of a new directory.
        gid: u32,
        /// Whether any of these three was asked for; otherwise a seed's directory stays as it is.
        owned: bool,
        /// Input that seeds a new directory.
        input: Option<usize>,
        /// Absolute path in the input, or in the cache without an input.
        source: String,
        /// Mounted read-only.
        readonly: bool,
    },
    /// A tmpfs.
    Tmpfs {
        /// Limit in bytes.
        size: Option<u64>,
    },
    /// A secret as a file at the mount's target, as a variable, or both.
    Secret {
        /// Which secret.
        id: String,
        /// Variable to set.
        env: Option<String>,
        /// Whether its absence is an error.
        required: bool,
        /// File mode.
        mode: u32,
        /// File owner.
        uid: u32,
        /// File group.
        gid: u32,
    },
    /// An agent socket.
    Ssh {
        /// Which agent.
        id: String,
        /// Whether its absence is an error.
        required: bool,
        /// Socket mode.
        mode: u32,
        /// Socket owner.
        uid: u32,
        /// Socket group.
        gid: u32,
    },
}

/// What happens when two steps want one cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CacheSharing {
    /// Both use it.
    #[default]
    Shared,
    /// The second gets a new one.
    Private,
    /// The second waits.
    Locked,
}

/// File operations that make one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOp {
    /// Whether input 0 is the root filesystem; an empty one otherwise.
    pub base: bool,
    /// Done in order.
    pub actions: Vec<FileAction>,
}

/// One file operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileAction {
    /// Copies from another input.
    Copy(Box<CopyAction>),
    /// Writes one file of mode 0644 given in the Dockerfile.
    Inline(InlineAction),
    /// Makes a directory and its parents (`WORKDIR`); existing ones stay as
    /// they are.
    Mkdir {
        /// Absolute path.
        path: String,
        /// Mode of new directories.
        mode: u32,
        /// Owner of new directories as written; `None` is root.
        owner: Option<String>,
    },
}

/// `COPY` and `ADD` of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyAction {
    /// Which input.
    pub input: usize,
    /// Sources in order.
    pub sources: Vec<CopySource>,
    /// Absolute destination; a trailing slash means a directory.
    pub dest: String,
    /// Owner as written; `None` is 0:0.
    pub chown: Option<String>,
    /// Mode as written, octal or symbolic; checked to be valid.
    pub chmod: Option<String>,
    /// Patterns of `--exclude`, relative to each source.
    pub exclude: Vec<String>,
    /// Whether archives are unpacked.
    pub unpack: Unpack,
    /// Whether a source that is a link is followed, a directory's content is
    /// copied rather than the directory, and wildcards may match nothing.
    /// False only for downloads.
    pub local_rules: bool,
}

/// One source of a [`CopyAction`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySource {
    /// Absolute path or pattern (Go `filepath.Match`) in the input, cleaned.
    /// With `--parents` the directory that stays behind (the part before
    /// `/./`, or `/`).
    pub path: String,
    /// As the user wrote it after expansion, for messages.
    pub written: String,
    /// With `--parents`: the pattern below `path` whose directories are kept;
    /// `**` matches any depth.
    pub parents: Option<String>,
    /// Whether a missing source is an error.
    pub required: bool,
}

/// What happens to an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unpack {
    /// Copied as a file.
    Never,
    /// Unpacked if its content is a known archive, copied otherwise.
    IfArchive,
}

/// A file given in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InlineAction {
    /// File name if the destination is a directory.
    pub name: String,
    /// Content.
    pub data: Vec<u8>,
    /// Absolute destination; a trailing slash means a directory.
    pub dest: String,
    /// Owner as written; `None` is 0:0.
    pub chown: Option<String>,
    /// Mode as written.
    pub chmod: Option<String>,
}
