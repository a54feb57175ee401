//! Starting a container: from what is written down of it to a process under a monitor.
//!
//! The command does all that needs the store; the monitor gets a finished process description. It
//! is started first and told last, so that it has made its namespaces by the time there is work.

use std::fs;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use cooper_cache::{Driver, Layer, LayerId, MergedTree, RelPath, Store};
use cooper_runner::rootless::Shared;
use cooper_runner::{
    Cgroup, Detached, DeviceRule, IdMapping, Mount, MountKind, Namespace, ProcessSpec, Purpose,
    Rootfs, UserNamespace, WindowSize,
};
use rustix::fs::MemfdFlags;

use super::apparmor;
use super::config::{Config, NamespaceMode, VolumeMount, VolumeSource};
use super::connect;
use super::containers::Containers;
use super::link;
use super::log;
use super::monitor;
use super::process::{Namespaces, Scene};
use super::protocol::{self, Answer, Connection, Failure, Launch, Outbox, Request, kind};
use super::record::{self, Held};
use super::spec::RunOptions;
use super::volume::{Filling, Volumes};
use crate::driver;
use crate::network::{self, Networks};
use crate::report::{Exit, Report, print_error};

/// How a container is started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attachment {
    /// Whether its output is wanted.
    pub(crate) output: bool,
    /// Whether input is sent.
    pub(crate) stdin: bool,
    /// The size of its terminal.
    pub(crate) window: Option<WindowSize>,
}

/// A monitor that waits to be told what to run, and ends if it never is.
#[derive(Debug)]
pub(crate) struct Monitor(Detached);

impl Monitor {
    /// Starts the monitor of a container that is still to be made: it takes as long to come up as
    /// that takes. None for one with limits, whose group comes first: groups that are divided
    /// hold no process, and the monitor must not be in one of them.
    pub(crate) fn ahead(options: &RunOptions) -> Result<Option<Self>, Report> {
        if options.resources.needs_group() {
            return Ok(None);
        }
        Self::start(&options.isolation.pid).map(Some)
    }

    fn start(pid: &NamespaceMode) -> Result<Self, Report> {
        let own_pids = *pid == NamespaceMode::Private;
        let started = cooper_runner::detach(monitor::NAME, own_pids);
        started.map(Self).map_err(|error| failed(&error))
    }
}

/// Starts the container under `monitor` or one that is started now, and returns the connection to
/// it, once the container runs.
pub(crate) fn start(
    store: &Store,
    mut held: Held,
    monitor: Option<Monitor>,
    attachment: Attachment,
) -> Result<Connection, Report> {
    let cgroup = cgroup(&held)?;
    let Monitor(started) = match monitor {
        Some(monitor) => monitor,
        None => Monitor::start(&held.container.config.isolation.pid)?,
    };
    let cgroup = cgroup.or_else(|| Cgroup::unlimited(&held.container.id));
    let named = connect::share_hostname(store, &mut held.container);
    let start = Start {
        store,
        config: &held.container.config.clone(),
    };
    let spec = named.and_then(|()| start.spec(&held));
    let spec = spec.and_then(|mut spec| {
        let users = start.users()?;
        let kept = start.connect(&held, &mut spec, users)?;
        Ok((spec, kept))
    });
    let (mut spec, kept) = match spec {
        Ok(spec) => spec,
        Err(report) => {
            if held.container.config.lifecycle.remove {
                // What cannot be removed now stays listed, as made and not started.
                let _ = Containers::of(store.root()).remove(held);
            }
            return Err(report);
        }
    };
    if held.container.config.terminal {
        spec.terminal = Some(
            attachment
                .window
                .unwrap_or(WindowSize { rows: 24, cols: 80 }),
        );
    }
    let image = held.container.config.image.clone();
    let name = held.container.name.clone();
    let stranded = |error: io::Error| {
        failed(&error).context(format!("cannot reach the monitor of container {name}"))
    };
    let mut connection =
        launch(store, held, (spec, kept, cgroup), attachment, &started).map_err(stranded)?;
    match connection.answer().map_err(stranded)? {
        Answer::Failed(failure) => Err(report(&failure).context(format!("cannot run {image}"))),
        _ => Ok(connection),
    }
}

/// Makes the control group of a container that has limits.
fn cgroup(held: &Held) -> Result<Option<Cgroup>, Report> {
    let resources = &held.container.config.resources;
    if !resources.needs_group() {
        return Ok(None);
    }
    let limits = resources.group_limits().map_err(|error| failed(&error))?;
    let parent = resources.cgroup_parent.as_deref();
    let made = Cgroup::create(parent, &held.container.id, &limits, Purpose::Freezing);
    let group = made.map_err(|error| {
        let report = failed(&error).context("cannot limit the container");
        error.hint().into_iter().fold(report, Report::hint)
    })?;
    warn_of_discarded(group.missing());
    Ok(Some(group))
}

/// Says which limits this kernel does not have; docker goes on without them too.
pub(crate) fn warn_of_discarded(files: &[impl AsRef<str>]) {
    for file in files {
        print_error(&format!(
            "WARNING: this kernel has no {}: that limit is left out\n",
            file.as_ref()
        ));
    }
}

/// Handles that the monitor keeps for the container.
struct Kept {
    /// What keeps it connected, its network namespace first; none in the host's.
    network: Vec<OwnedFd>,
    /// Its user namespace; none in the host's.
    user: Option<OwnedFd>,
}

/// Hands everything over to the monitor, the lock among it.
fn launch(
    store: &Store,
    held: Held,
    (spec, kept, cgroup): (ProcessSpec, Kept, Option<Cgroup>),
    attachment: Attachment,
    monitor: &Detached,
) -> io::Result<Connection> {
    let (ours, theirs) = protocol::pair()?;
    let connection = Connection::new(ours);
    if attachment.output {
        let stdin = attachment.stdin;
        connection.request(&Request::Attach { stdin }, Vec::new())?;
    }
    let launch = Launch {
        dir: held.dir,
        container: held.container,
        state: held.state,
        spec,
        cgroup: cgroup.map(Cgroup::release).unwrap_or_default(),
        scratch: store.root().join("mountpoints"),
        stdin_once: attachment.stdin,
        rootless: store.options().userxattr,
    };
    let shared = Shared::at(network::shared(store.root()));
    let shared = launch.rootless.then(|| shared.hold()).transpose()?;
    let memory = rustix::fs::memfd_create("cooper-launch", MemfdFlags::CLOEXEC)?;
    let mut file = fs::File::from(memory);
    // Written piece by piece it would take a system call for each word.
    file.write_all(&serde_json::to_vec(&launch)?)?;
    file.rewind()?;
    let mut outbox = Outbox::default();
    outbox.push(
        kind::REQUEST,
        &[],
        [file.into(), held.lock.into(), theirs]
            .into_iter()
            .chain(kept.user)
            .chain(shared)
            .chain(kept.network)
            .collect(),
    );
    outbox.flush(&monitor.socket)?;
    Ok(connection)
}

/// Returns what a monitor's failure says.
pub(crate) fn report(failure: &Failure) -> Report {
    let mut messages = failure.messages.iter().rev();
    let innermost = messages.next().cloned().unwrap_or_default();
    let report = messages.fold(Report::new(innermost), |report, message| {
        report.context(message.clone())
    });
    let report = report.exit(Exit::Code(failure.code));
    match &failure.hint {
        Some(hint) => report.hint(hint.clone()),
        None => report,
    }
}

/// Returns the root file system of a container as its next start would have it.
pub(crate) fn rootfs(store: &Store, held: &Held) -> Result<Rootfs, Report> {
    let config = &held.container.config;
    Start { store, config }.rootfs(held)
}

struct Start<'a> {
    store: &'a Store,
    config: &'a Config,
}

impl Start<'_> {
    fn spec(&self, held: &Held) -> Result<ProcessSpec, Report> {
        log::check(&held.container).map_err(|error| {
            let driver = self.config.log.driver.name();
            failed(&error).context(format!("cannot start the log driver {driver}"))
        })?;
        let scene = Scene {
            rootfs: self.rootfs(held)?,
            mounts: self.mounts()?,
            hostname: self.config.hostname(&held.container.id),
            namespaces: self.namespaces()?,
            apparmor: self.apparmor()?,
            devices: self.devices()?,
        };
        let mut spec = self.config.process(scene).map_err(|error| failed(&error))?;
        spec.ids = self.config.isolation.users.ids().map(|ids| IdMapping {
            ids,
            store: self.store.root().to_owned(),
        });
        let (written, _) = record::written(&held.dir);
        self.ensure_cwd(&spec.cwd, &spec.mounts, &written)?;
        Ok(spec)
    }

    /// Connects the container, which comes last: what follows cannot fail without its monitor
    /// knowing, and that disconnects it.
    fn connect(
        &self,
        held: &Held,
        spec: &mut ProcessSpec,
        users: Option<UserNamespace>,
    ) -> Result<Kept, Report> {
        let (user, network) = users.map(|users| (users.user, users.network)).unzip();
        let connected = connect::connect(self.store, &held.container, network)?;
        let networks = Networks::of(self.store.root(), self.store.options().userxattr);
        let containers = Containers::of(self.store.root());
        let told = link::variables(&containers, &networks, &held.container);
        for (name, value) in told.map_err(|error| connect::report(&error))? {
            if !spec.env.iter().any(|(known, _)| *known == name) {
                spec.env.push((name, value));
            }
        }
        spec.network = connected.network;
        spec.hosts = Some(connected.hosts);
        spec.resolv_conf = Some(connected.resolv_conf);
        Ok(Kept {
            network: connected.kept,
            user,
        })
    }

    /// Makes the container's user namespace, if it has ids of its own.
    fn users(&self) -> Result<Option<UserNamespace>, Report> {
        let Some(ids) = self.config.isolation.users.ids() else {
            return Ok(None);
        };
        let made = UserNamespace::create(ids)
            .map_err(|error| failed(&error).context("cannot make the container's user namespace"));
        made.map(Some)
    }

    fn namespaces(&self) -> Result<Namespaces, Report> {
        let isolation = &self.config.isolation;
        let namespace = |mode: &NamespaceMode, kind: &str| {
            Ok(match mode {
                NamespaceMode::Private => Namespace::Private,
                NamespaceMode::Host => Namespace::Host,
                NamespaceMode::Container(name) => Namespace::Join(self.namespace_of(name, kind)?),
            })
        };
        Ok(Namespaces {
            pid: namespace(&isolation.pid, "pid")?,
            ipc: namespace(&isolation.ipc, "ipc")?,
            uts: namespace(&isolation.uts, "uts")?,
        })
    }

    /// Returns the file that stands for a namespace of a running container.
    fn namespace_of(&self, name: &str, kind: &str) -> Result<PathBuf, Report> {
        let found = Containers::of(self.store.root())
            .one(name)
            .map_err(|error| failed(&error))?;
        if !found.is_active() || found.state.pid == 0 {
            return Err(Report::new(format!(
                "container {name}, whose {kind} namespace was asked for, is not running"
            )));
        }
        let theirs = &found.container.config.isolation;
        if kind == "ipc" && theirs.ipc == NamespaceMode::Private && !theirs.shareable_ipc {
            return Err(Report::new(format!(
                "can't join IPC of container {name}: it is not shareable"
            ))
            .hint("make that container with --ipc=shareable"));
        }
        Ok(PathBuf::from(format!(
            "/proc/{}/ns/{kind}",
            found.state.pid
        )))
    }

    /// Returns the devices that the container may use.
    fn devices(&self) -> Result<Vec<DeviceRule>, Report> {
        let isolation = &self.config.isolation;
        let mut rules = isolation.device_rules.clone();
        for device in &isolation.devices {
            let found = DeviceRule::of(&device.host, &device.permissions).map_err(|error| {
                let path = device.host.display();
                failed(&error).context(format!("cannot give the container the device {path}"))
            })?;
            rules.extend(found);
        }
        Ok(rules)
    }

    fn apparmor(&self) -> Result<Option<String>, Report> {
        let isolation = &self.config.isolation;
        apparmor::profile(isolation.apparmor.as_deref(), isolation.privileged)
            .map_err(|error| failed(&error).hint(error.hint()))
    }

    /// Returns the image's layers with the container's own on top, or a copy of all that, made
    /// when the container starts first.
    fn rootfs(&self, held: &Held) -> Result<Rootfs, Report> {
        let copy = held.copy();
        if !copy.is_dir() {
            let driver = driver::of(self.store).map_err(|error| failed(&error))?;
            if driver == Driver::Overlay || !is_empty(&held.upper()) {
                return self.overlay(held);
            }
            let layers = self.store.layers();
            let root = RelPath::root();
            layers
                .snapshot(&self.tree()?, &root, &|| true)
                .and_then(|snapshot| snapshot.keep_at(&copy))
                .map_err(|error| failed(&error))?;
        }
        Ok(Rootfs::Directory(copy))
    }

    fn overlay(&self, held: &Held) -> Result<Rootfs, Report> {
        let chain = &self.config.layers;
        let layers = self.store.layers();
        let lowers = layers
            .lowers(chain, cooper_runner::most_lowers(), &|| true)
            .map_err(|error| failed(&error))?;
        if !lowers.iter().all(|layer| chain.contains(layer.id())) {
            // What its lower layers were merged to is mounted for as long as it runs.
            let merged = lowers.iter().map(|layer| layer.id().clone());
            let all: Vec<_> = self.config.all_layers().into_iter().chain(merged).collect();
            self.store
                .hold(&held.container.id, &all)
                .map_err(|error| failed(&error))?;
        }
        forget_mark(&held.work()).map_err(|error| failed(&error))?;
        let lowers: Vec<PathBuf> = lowers.iter().map(Layer::fs).collect();
        if let Some(top) = lowers.first() {
            inherit(top, &held.upper()).map_err(|error| failed(&error))?;
        }
        Ok(Rootfs::Overlay {
            lowers,
            upper: held.upper(),
            work: held.work(),
            userxattr: self.store.options().userxattr,
        })
    }

    fn tree(&self) -> Result<MergedTree, Report> {
        let layers = self.store.layers();
        layers
            .tree(&self.config.layers)
            .map_err(|error| failed(&error))
    }

    fn mounts(&self) -> Result<Vec<Mount>, Report> {
        let mut mounts = Vec::new();
        for volume in &self.config.mounts.volumes {
            let options = &volume.options;
            let kind = if let VolumeSource::Image { name, layers } = &volume.source {
                self.image(name, layers, options.subpath.clone())?
            } else {
                MountKind::Bind {
                    source: volume_source(self.store, volume, None)?,
                    subpath: options.subpath.clone(),
                    readonly: volume.readonly,
                    recursive: !options.flat,
                    propagation: options.propagation(),
                }
            };
            mounts.push(Mount {
                target: volume.target.clone(),
                kind,
                create_target: true,
            });
        }
        Ok(mounts)
    }

    /// Returns an image that is mounted, which cannot be written to.
    fn image(
        &self,
        name: &str,
        chain: &[LayerId],
        subpath: Option<PathBuf>,
    ) -> Result<MountKind, Report> {
        if driver::of(self.store).map_err(|error| failed(&error))? != Driver::Overlay {
            return Err(Report::new(format!(
                "cannot mount image {name}: there are no overlays here"
            ))
            .hint("copy what is needed: cooper create, then cooper cp"));
        }
        // As many as there are: what some were merged to would have to be held.
        let lowers = self.store.layers().lowers(chain, usize::MAX, &|| true);
        let lowers =
            lowers.map_err(|error| failed(&error).context(format!("cannot mount image {name}")))?;
        Ok(MountKind::Overlay {
            lowers: lowers.iter().map(Layer::fs).collect(),
            upper: None,
            userxattr: self.store.options().userxattr,
            subpath,
        })
    }

    /// Makes the working directory in the container's own layer if the image lacks it. One that
    /// lies in a mount is the mount's.
    fn ensure_cwd(&self, cwd: &Path, mounts: &[Mount], upper: &Path) -> Result<(), Report> {
        if cwd == Path::new("/") || mounts.iter().any(|mount| cwd.starts_with(&mount.target)) {
            return Ok(());
        }
        let tree = self.tree()?;
        if upper.join(cwd.strip_prefix("/").unwrap_or(cwd)).is_dir() {
            return Ok(());
        }
        let resolved = tree
            .resolve(&RelPath::clean(cwd.as_os_str().as_encoded_bytes()), true)
            .map_err(|error| failed(&error))?;
        if resolved.exists {
            return Ok(());
        }
        make_dirs(&tree, &resolved.path, upper).map_err(|error| {
            failed(&error).context(format!(
                "cannot make the working directory {}",
                cwd.display()
            ))
        })
    }
}

fn failed(error: &dyn std::error::Error) -> Report {
    Report::from_error(error)
}

/// Whether nothing was written yet.
fn is_empty(upper: &Path) -> bool {
    fs::read_dir(upper).is_ok_and(|mut items| items.next().is_none())
}

/// Returns what is mounted for a volume of a container. A named one is made if there is none, and
/// filled if it is empty.
pub(super) fn volume_source(
    store: &Store,
    volume: &VolumeMount,
    filling: Option<&Filling<'_>>,
) -> Result<PathBuf, Report> {
    let name = match &volume.source {
        VolumeSource::Host(path) => return host_path(path, volume.options.strict),
        VolumeSource::Named(name) => name,
        VolumeSource::Anonymous | VolumeSource::Image { .. } => {
            let target = volume.target.display();
            return Err(
                Report::new(format!("the volume at {target} was never made"))
                    .hint("make the container again"),
            );
        }
    };
    Volumes::of(store.root()).ensure(name, filling, store.options().userxattr)
}

/// Returns a bind's source; docker makes a directory where there is nothing, unless it was asked
/// for by `--mount`.
fn host_path(path: &Path, strict: bool) -> Result<PathBuf, Report> {
    let made = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !strict => {
            fs::create_dir_all(path)
        }
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    };
    made.and_then(|()| path.canonicalize())
        .map_err(|error| failed(&error).context(format!("cannot mount {}", path.display())))
}

/// Makes `path` and what is missing above it in `upper`. Directories that the image has keep
/// their mode and owner there, since overlayfs shows those of the uppermost.
fn make_dirs(tree: &MergedTree, path: &RelPath, upper: &Path) -> io::Result<()> {
    let mut here = RelPath::root();
    for name in path.components() {
        here = here.join(name);
        let dir = here.under(upper);
        fs::create_dir(&dir)?;
        let (mode, uid, gid) = match tree.get(&here) {
            Some(node) => (node.entry.mode, node.entry.uid, node.entry.gid),
            None => (0o755, 0, 0),
        };
        chown(&dir, Some(uid), Some(gid))?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Takes away overlayfs' mark of a mount whose writes may have been lost in a power failure, with
/// which it refuses to mount the directories again. Commands that copy files mount them so, and
/// what they have copied is as safe as what any program has written.
fn forget_mark(work: &Path) -> io::Result<()> {
    match fs::remove_dir_all(work.join("work/incompat")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Gives the root of the container's own layer the mode and owner of the image's.
fn inherit(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::metadata(from)?;
    chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(to, metadata.permissions())
}
