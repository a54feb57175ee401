//! What a RUN sees besides its root: binds, caches, tmpfs, secrets, agent sockets, scripts.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cooper_cache::{Driver, MountHold, RelPath, Snapshot, Staging, StoreError};
use cooper_frontend::ir::{CacheSharing, ExecOp, MountKind as Asked, MountOp};
use cooper_runner::{DeviceRule, Mount, MountKind, Propagation, TmpfsOptions};
use cooper_solver::{ExecContext, StableHasher, Stream};

use super::sandbox;
use crate::build::engine::Engine;
use crate::build::error::OpError;
use crate::build::output::Output;
use crate::build::remote::in_one_line;
use crate::ssh::{Relay, RelayOptions};

/// How often a lock that others hold is tried.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// How long a step waits for a lock before it says so.
const SILENT_WAIT: Duration = Duration::from_secs(2);

/// Mounts with what must stay alive while they are used.
#[derive(Default)]
pub(super) struct Mounts {
    pub(super) list: Vec<Mount>,
    /// What may be done with the devices among them.
    pub(super) devices: Vec<DeviceRule>,
    /// Variables that carry secrets, and those of devices.
    pub(super) env: Vec<(OsString, OsString)>,
    /// Directories that take writes which are thrown away.
    scratch: Vec<Staging>,
    /// Locks on caches.
    locks: Vec<File>,
    /// What keeps caches from being collected.
    holds: Vec<MountHold>,
    /// Copies of trees, which go with the mounts.
    copies: Vec<Snapshot>,
    /// Sockets in front of agents.
    relays: Vec<Relay>,
}

/// Prepares all mounts of `op`.
pub(super) fn prepare(
    engine: &Engine,
    op: &ExecOp,
    inputs: &[Output],
    cx: &ExecContext<'_>,
) -> Result<Mounts, OpError> {
    let mut mounts = Mounts::default();
    sandbox::mount(&mut mounts, engine, op)?;
    for mount in &op.mounts {
        mounts.add(engine, mount, inputs, cx)?;
    }
    for script in &op.scripts {
        let kind = MountKind::File {
            data: script.data.clone(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        mounts.push(&script.path, kind);
    }
    Ok(mounts)
}

/// Returns what the build was given for a mount; nothing is an error only where it is required.
fn given<T>(
    found: Option<T>,
    required: bool,
    missing: impl FnOnce() -> OpError,
) -> Result<Option<T>, OpError> {
    match found {
        None if required => Err(missing()),
        found => Ok(found),
    }
}

impl Mounts {
    pub(super) fn push(&mut self, target: &str, kind: MountKind) {
        self.list.push(Mount {
            target: target.into(),
            kind,
            create_target: true,
        });
    }

    fn add(
        &mut self,
        engine: &Engine,
        mount: &MountOp,
        inputs: &[Output],
        cx: &ExecContext<'_>,
    ) -> Result<(), OpError> {
        match &mount.kind {
            Asked::Bind { input, source, rw } => {
                self.bind(engine, &mount.target, &inputs[*input], source, *rw)
            }
            Asked::Cache { .. } => self.cache(engine, mount, inputs, cx),
            Asked::Tmpfs { size } => {
                self.push(
                    &mount.target,
                    MountKind::Tmpfs {
                        size: *size,
                        mode: 0o1777,
                        options: TmpfsOptions::default(),
                    },
                );
                Ok(())
            }
            Asked::Secret { .. } => self.secret(engine, mount),
            Asked::Ssh { .. } => self.ssh(engine, mount),
        }
    }

    /// Shows a secret as a file, a variable or both; one that was not given is left out.
    fn secret(&mut self, engine: &Engine, mount: &MountOp) -> Result<(), OpError> {
        let Asked::Secret {
            id,
            env,
            required,
            mode,
            uid,
            gid,
        } = &mount.kind
        else {
            return Ok(());
        };
        let data = engine.fetcher().secrets().get(id);
        let missing = || OpError::MissingSecret { id: id.clone() };
        let Some(data) = given(data, *required, missing)? else {
            return Ok(());
        };
        if let Some(name) = env {
            let value = OsString::from_vec(data.clone());
            self.env.push((name.into(), value));
        }
        if !mount.target.is_empty() {
            let kind = MountKind::File {
                data,
                mode: *mode,
                uid: *uid,
                gid: *gid,
            };
            self.push(&mount.target, kind);
        }
        Ok(())
    }

    /// Returns an upper and a work directory that are thrown away with the mounts.
    pub(super) fn scratch(&mut self, engine: &Engine) -> Result<(PathBuf, PathBuf), OpError> {
        let staging = engine.layers().prepare()?;
        let dirs = (staging.fs(), staging.work());
        self.scratch.push(staging);
        Ok(dirs)
    }

    /// Returns the mount of a part of a copy that is thrown away with the mounts.
    pub(super) fn copied(&mut self, copy: Snapshot, part: &RelPath, readonly: bool) -> MountKind {
        let source = copy.fs();
        self.copies.push(copy);
        MountKind::Bind {
            source,
            subpath: (!part.is_root()).then(|| part.as_path().to_owned()),
            readonly,
            recursive: false,
            propagation: Propagation::Private,
        }
    }

    /// Shows a socket of the step's own in front of an agent; one that was not given is left
    /// out.
    fn ssh(&mut self, engine: &Engine, mount: &MountOp) -> Result<(), OpError> {
        let Asked::Ssh {
            id,
            required,
            mode,
            uid,
            gid,
        } = &mount.kind
        else {
            return Ok(());
        };
        let agent = engine.fetcher().agents().socket(id);
        let missing = || OpError::MissingSsh { id: id.clone() };
        let Some(agent) = given(agent, *required, missing)? else {
            return Ok(());
        };
        let options = RelayOptions {
            mode: *mode,
            uid: *uid,
            gid: *gid,
        };
        let relay = Relay::open(agent, engine.scratch("relay"), options).map_err(|source| {
            OpError::Relay {
                id: id.clone(),
                source,
            }
        })?;
        let kind = MountKind::Bind {
            source: relay.socket().to_owned(),
            subpath: None,
            readonly: false,
            recursive: false,
            propagation: Propagation::Private,
        };
        self.push(&mount.target, kind);
        self.relays.push(relay);
        Ok(())
    }

    /// Mounts a path of a tree; writes, where allowed, go to a directory that is thrown away.
    fn bind(
        &mut self,
        engine: &Engine,
        target: &str,
        from: &Output,
        source: &str,
        rw: bool,
    ) -> Result<(), OpError> {
        let root = engine.as_root(from, &[RelPath::clean(source)])?;
        if engine.driver()? == Driver::Vfs {
            let real = engine.root_tree(&root)?;
            let real = real.resolve(&RelPath::clean(source), true);
            let real = real.map_err(StoreError::from)?.path;
            let copy = engine.snapshot(&root, &real)?;
            let kind = self.copied(copy, &real, !rw);
            self.push(target, kind);
            return Ok(());
        }
        let upper = rw.then(|| self.scratch(engine)).transpose()?;
        let kind = MountKind::Overlay {
            lowers: engine.lower_dirs(&root)?,
            upper,
            userxattr: engine.userxattr(),
            subpath: Some(source.into()),
        };
        self.push(target, kind);
        Ok(())
    }

    fn cache(
        &mut self,
        engine: &Engine,
        mount: &MountOp,
        inputs: &[Output],
        cx: &ExecContext<'_>,
    ) -> Result<(), OpError> {
        let Asked::Cache {
            id,
            sharing,
            mode,
            uid,
            gid,
            owned,
            input,
            source,
            readonly,
        } = &mount.kind
        else {
            return Ok(());
        };
        let seed = input.map(|input| Seed {
            from: &inputs[input],
            source,
            owned: *owned,
        });
        let name = cache_name(engine, id, (*uid, *gid), seed.as_ref())?;
        let (dir, lock) = take(&engine.mounts_dir(), &name, *sharing, cx)?;
        self.locks.extend(lock);
        let own = dir.file_name().unwrap_or_default().to_string_lossy();
        self.holds.push(engine.store().hold_mount(&own)?);
        engine.note_mount(&own);
        if !dir.exists() && !restore(engine, &own, cx) {
            create(engine, &dir, *mode, (*uid, *gid), seed.as_ref())?;
        }
        let subpath = if input.is_none() && source != "/" {
            Some(PathBuf::from(source))
        } else {
            None
        };
        let kind = MountKind::Bind {
            source: dir,
            subpath,
            readonly: *readonly,
            recursive: false,
            propagation: Propagation::Private,
        };
        self.push(&mount.target, kind);
        Ok(())
    }
}

/// What a cache begins with.
struct Seed<'a> {
    from: &'a Output,
    source: &'a str,
    /// Whether its directory gets another mode and owner than it has there.
    owned: bool,
}

/// How many private copies of a cache there may be; one more waits for the first.
const MOST_COPIES: u32 = 256;

/// Takes a cache over from a shared one, if that has it; whether it did. One that cannot be had
/// begins empty.
fn restore(engine: &Engine, name: &str, cx: &ExecContext<'_>) -> bool {
    match engine.remote().restore_mount(engine.store(), name) {
        Ok(restored) => restored,
        Err(error) => {
            let reason = in_one_line(&error);
            let said = format!("warning: the cache mount begins empty: {reason}\n");
            cx.log(Stream::Stderr, said.as_bytes());
            false
        }
    }
}

/// Returns the directories of the caches that `op` mounts and that begin empty, as far as they are
/// known before it runs.
pub(in crate::build) fn static_names(op: &ExecOp) -> impl Iterator<Item = String> {
    op.mounts.iter().filter_map(|mount| match &mount.kind {
        Asked::Cache {
            id,
            sharing,
            uid,
            gid,
            input: None,
            ..
        } => {
            let name = hasher(id, (*uid, *gid)).finish_content().to_string();
            Some(match sharing {
                CacheSharing::Private => format!("{name}.0"),
                CacheSharing::Shared | CacheSharing::Locked => name,
            })
        }
        _ => None,
    })
}

fn hasher(id: &str, (uid, gid): (u32, u32)) -> StableHasher {
    let mut name = StableHasher::new("cooper.cache-mount");
    name.write_str(id);
    name.write_u64(u64::from(uid));
    name.write_u64(u64::from(gid));
    name
}

/// Returns the name of a cache's directory: its id, its owner and what it begins with.
fn cache_name(
    engine: &Engine,
    id: &str,
    owner: (u32, u32),
    seed: Option<&Seed<'_>>,
) -> Result<String, OpError> {
    let mut name = hasher(id, owner);
    let Some(seed) = seed else {
        return Ok(name.finish_content().to_string());
    };
    match seed.from {
        Output::Root(root) => name.write_bytes(root.content().as_bytes()),
        context @ Output::Context(_) => {
            let path = RelPath::clean(seed.source);
            let tree = engine.hashed(context, std::slice::from_ref(&path))?;
            let digest = tree.digest(&path).map_err(StoreError::from)?;
            name.write_bytes(digest.as_bytes());
        }
    }
    if seed.owned {
        name.write_variant("owned");
    }
    Ok(name.finish_content().to_string())
}

/// Finds the directory of a cache and locks it as its sharing asks.
///
/// A private cache that is busy is another one: the first of [`MOST_COPIES`] that nobody holds.
fn take(
    dir: &Path,
    name: &str,
    sharing: CacheSharing,
    cx: &ExecContext<'_>,
) -> Result<(PathBuf, Option<File>), OpError> {
    let io = |action| move |source| OpError::Io { action, source };
    std::fs::create_dir_all(dir).map_err(io("create the directory of cache mounts"))?;
    let lock_file = |path: &Path| {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(io("open the lock of a cache mount"))
    };
    match sharing {
        CacheSharing::Shared => Ok((dir.join(name), None)),
        CacheSharing::Locked => {
            let lock = lock_file(&dir.join(format!("{name}.lock")))?;
            wait_for(&lock, cx)?;
            Ok((dir.join(name), Some(lock)))
        }
        CacheSharing::Private => {
            for number in 0..MOST_COPIES {
                let own = format!("{name}.{number}");
                let lock = lock_file(&dir.join(format!("{own}.lock")))?;
                match lock.try_lock() {
                    Ok(()) => return Ok((dir.join(own), Some(lock))),
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(source)) => {
                        return Err(io("lock a cache mount")(source));
                    }
                }
            }
            let first = format!("{name}.0");
            let lock = lock_file(&dir.join(format!("{first}.lock")))?;
            wait_for(&lock, cx)?;
            Ok((dir.join(first), Some(lock)))
        }
    }
}

/// Waits for a lock, unless the build is canceled meanwhile. A long wait is said.
fn wait_for(lock: &File, cx: &ExecContext<'_>) -> Result<(), OpError> {
    let started = Instant::now();
    let mut said = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => {
                let action = "lock a cache mount";
                return Err(OpError::Io { action, source });
            }
        }
        if cx.cancel.is_cancelled() {
            return Err(OpError::Canceled);
        }
        if !said && started.elapsed() >= SILENT_WAIT {
            cx.log(
                Stream::Stderr,
                b"waiting for a cache mount that another step has locked\n",
            );
            said = true;
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// Makes a new cache directory, seeded from an input if asked. It appears all at once.
///
/// Mode and owner are those of the directory alone. What it begins with keeps its own, and so does
/// the directory, unless others were asked for.
fn create(
    engine: &Engine,
    dir: &Path,
    mut mode: u32,
    mut owner: (u32, u32),
    seed: Option<&Seed<'_>>,
) -> Result<(), OpError> {
    let io = |source| OpError::Io {
        action: "create a cache mount",
        source,
    };
    let staging = engine.layers().prepare()?;
    if let Some(seed) = seed {
        let root = engine.copy_out(seed.from, seed.source, &staging)?;
        if !seed.owned {
            (mode, owner) = (root.mode, (root.uid, root.gid));
        }
    }
    std::os::unix::fs::chown(staging.fs(), Some(owner.0), Some(owner.1)).map_err(io)?;
    std::fs::set_permissions(staging.fs(), std::fs::Permissions::from_mode(mode)).map_err(io)?;
    match std::fs::rename(staging.fs(), dir) {
        // Another step was faster; its directory is as good.
        Err(_) if dir.exists() => Ok(()),
        other => other.map_err(io),
    }
}

#[cfg(test)]
mod tests;
