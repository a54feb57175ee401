//! Running a container in the foreground, from its image to its exit code.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use cooper_cache::{ImageRecord, MergedTree, RelPath, Store};
use cooper_oci::ImageConfig;
use cooper_runner::{Mount, MountKind, Rootfs, RunError, Runner, RunnerOptions};
use jiff::Timestamp;

use super::attach::{Streams, window_size};
use super::config::{Config, VolumeMount, VolumeSource};
use super::process::Scene;
use super::record::{Containers, Held, NewContainer, State};
use super::spec::RunOptions;
use super::volume::Volumes;
use crate::report::{Exit, Report};

/// Runs a container of `image` to its end and returns its exit code.
///
/// Every error carries the exit code that docker gives for it.
pub fn run(
    options: &RunOptions,
    store: &Store,
    image: &ImageRecord,
    config: &ImageConfig,
) -> Result<u8, Report> {
    let made = options
        .config(image, config)
        .map_err(|error| failed(&error));
    let run = |config: Config| {
        let run = Run {
            options,
            store,
            image,
            config,
        };
        run.run()
    };
    made.and_then(run)
        .map_err(|report| match report.exit_kind() {
            Exit::Failure => report.exit(Exit::Code(125)),
            _ => report,
        })
}

struct Run<'a> {
    options: &'a RunOptions,
    store: &'a Store,
    image: &'a ImageRecord,
    config: Config,
}

impl Run<'_> {
    fn run(&self) -> Result<u8, Report> {
        self.check_terminal()?;
        // Nothing that the collector takes may be missing while the container runs.
        let _lease = self.store.lease().map_err(|error| failed(&error))?;
        let runner = Runner::start(RunnerOptions::new(self.store.tmp().join("runner")))
            .map_err(|error| failed(&error))?;
        let containers = Containers::of(self.store.root());
        let mut held = containers
            .create(self.new_container())
            .map_err(|error| failed(&error))?;
        let result = self.run_held(&runner, &mut held);
        let ended = self.end(held, result.as_ref().copied().unwrap_or(125));
        let code = result?;
        ended.map(|()| code)
    }

    fn check_terminal(&self) -> Result<(), Report> {
        if self.options.tty && self.options.interactive && !io::stdin().is_terminal() {
            return Err(Report::new("-it was asked for, and stdin is no terminal")
                .hint("leave -t out")
                .exit(Exit::Code(1)));
        }
        Ok(())
    }

    fn new_container(&self) -> NewContainer {
        NewContainer {
            name: self.options.name.clone(),
            created: Timestamp::now().to_string(),
            config: self.config.clone(),
        }
    }

    fn run_held(&self, runner: &Runner, held: &mut Held) -> Result<u8, Report> {
        let rootfs = self.rootfs(held)?;
        let mounts = self.mounts(held)?;
        let scene = Scene {
            rootfs,
            mounts,
            hostname: self.config.hostname(&held.container.id),
            // A host without one resolves names by files alone, and so does the container.
            resolv_conf: fs::read("/etc/resolv.conf").unwrap_or_default(),
        };
        let mut spec = self.config.process(scene).map_err(|error| failed(&error))?;
        self.ensure_cwd(&spec.cwd, &spec.mounts, &held.upper())?;
        let stream_error =
            |error: io::Error| failed(&error).context("cannot connect the container's streams");
        let mut streams = if self.options.tty {
            spec.terminal = Some(window_size());
            Streams::terminal(self.options.interactive)
        } else {
            Streams::plain(self.options.interactive)
        }
        .map_err(stream_error)?;
        let stdio = streams.take_stdio().map_err(stream_error)?;
        held.set(State::Running {
            started: Timestamp::now().to_string(),
        })
        .map_err(|error| failed(&error))?;
        let mut process = runner
            .spawn(&spec, stdio)
            .map_err(|error| self.not_run(&error))?;
        process.started().map_err(|error| self.not_run(&error))?;
        let attached = streams.connect(&mut process).map_err(stream_error)?;
        let exit = process.wait();
        attached.finish();
        let code = exit.map_err(|error| self.not_run(&error))?.shell_code();
        Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
    }

    fn not_run(&self, error: &RunError) -> Report {
        let code = u8::try_from(error.exit_code()).unwrap_or(125);
        let report = Report::from_error(error)
            .context(format!("cannot run {}", self.options.image))
            .exit(Exit::Code(code));
        match error.hint() {
            Some(hint) => report.hint(hint),
            None => report,
        }
    }

    /// Writes down how the container ended, or removes it.
    fn end(&self, mut held: Held, code: u8) -> Result<(), Report> {
        if !self.config.lifecycle.remove {
            let finished = Timestamp::now().to_string();
            let state = State::Exited {
                code: code.into(),
                finished,
            };
            return held.set(state).map_err(|error| failed(&error));
        }
        let volumes = Volumes::of(self.store.root());
        let names = held.container.anonymous_volumes.clone();
        names
            .iter()
            .try_for_each(|name| volumes.remove(name))
            .and_then(|()| held.remove())
            .map_err(|error| failed(&error))
    }

    /// Returns the image's layers with the container's own on top.
    fn rootfs(&self, held: &Held) -> Result<Rootfs, Report> {
        let layers = self.store.layers();
        let mut lowers: Vec<PathBuf> = Vec::new();
        for layer in self.image.layers.iter().rev() {
            let dir = layers
                .ensure_dir(&layer.layer)
                .map_err(|error| failed(&error))?
                .fs();
            // Overlayfs refuses a directory twice; its upper occurrence hides the lower one.
            if !lowers.contains(&dir) {
                lowers.push(dir);
            }
        }
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
        let ids: Vec<_> = self
            .image
            .layers
            .iter()
            .map(|layer| layer.layer.clone())
            .collect();
        self.store
            .layers()
            .tree(&ids)
            .map_err(|error| failed(&error))
    }

    fn mounts(&self, held: &mut Held) -> Result<Vec<Mount>, Report> {
        let volumes = self.config.mounts.volumes.clone();
        if volumes.is_empty() {
            return Ok(Vec::new());
        }
        let tree = self.tree()?;
        let mut mounts = Vec::new();
        for volume in volumes {
            let source = self.volume_source(&volume, &tree, held)?;
            let kind = MountKind::Bind {
                source,
                subpath: None,
                readonly: volume.readonly,
                recursive: true,
            };
            mounts.push(Mount {
                target: volume.target,
                kind,
                create_target: true,
            });
        }
        Ok(mounts)
    }

    fn volume_source(
        &self,
        volume: &VolumeMount,
        tree: &MergedTree,
        held: &mut Held,
    ) -> Result<PathBuf, Report> {
        let volumes = Volumes::of(self.store.root());
        let name = match &volume.source {
            VolumeSource::Host(path) => return host_path(path),
            VolumeSource::Named(name) => name.clone(),
            VolumeSource::Anonymous => {
                let name = super::random_id().map_err(|error| failed(&error))?;
                // Written down before it is made, so that a sweep finds it.
                held.container.anonymous_volumes.push(name.clone());
                held.write().map_err(|error| failed(&error))?;
                name
            }
        };
        volumes.ensure(&name, self.store, tree, &volume.target)
    }

    /// Makes the working directory in the container's own layer if the image lacks it. One that
    /// lies in a mount is the mount's.
    fn ensure_cwd(&self, cwd: &Path, mounts: &[Mount], upper: &Path) -> Result<(), Report> {
        if cwd == Path::new("/") || mounts.iter().any(|mount| cwd.starts_with(&mount.target)) {
            return Ok(());
        }
        let tree = self.tree()?;
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

/// Returns a bind's source; docker makes a directory where there is nothing.
fn host_path(path: &Path) -> Result<PathBuf, Report> {
    let made = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(path),
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

/// Gives the root of the container's own layer the mode and owner of the image's.
fn inherit(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::metadata(from)?;
    chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(to, metadata.permissions())
}
