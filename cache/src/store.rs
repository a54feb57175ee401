//! The store: one directory, shared by any number of processes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::content::{Blobs, BootMark};
use crate::driver::Driver;
use crate::error::{IoContext, StoreError};
use crate::images::Images;
use crate::layer::{Layers, RecentIndices, Wanted};
use crate::layout::{Layout, refused};
use crate::lease::{InUse, Lease};
use crate::lock::{ClaimGuard, FileLock, Gate, Mode};
use crate::meta::Meta;
use crate::notes::Notes;
use crate::origins::Origins;
use crate::records::Records;

/// How a store is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// Layers mark opaque directories with `user.overlay.opaque`, for overlays
    /// that are mounted with `userxattr` inside a user namespace; otherwise
    /// with `trusted.overlay.opaque`.
    pub userxattr: bool,
    /// How layers are to be mounted, if it was said; see [`Store::driver`].
    pub driver: Option<Driver>,
}

/// A store on disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// Ends what is being packed or digested.
    wanted: Option<Wanted>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) options: StoreOptions,
    pub(crate) boot_id: String,
    pub(crate) boot_mark: BootMark,
    pub(crate) gate: Gate,
    /// Bytes that the store may take; the greatest number is no limit.
    pub(crate) limit: AtomicU64,
    pub(crate) recent: Arc<RecentIndices>,
    pub(crate) in_use: Arc<InUse>,
    /// The name of what this process has in `tmp/`.
    owner: String,
    unfinished: OnceLock<Unfinished>,
    counter: AtomicU64,
}

/// A directory in `tmp/`.
#[derive(Debug)]
struct Unfinished {
    dir: PathBuf,
    /// Held as long as this process may have work there; none where none could be made: what is
    /// written there fails as that did.
    lock: Option<FileLock>,
}

impl Store {
    /// Opens the store at `root`, making it if there is none.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        fs::create_dir_all(root).map_err(|error| refused("create", root, error))?;
        let root = root.canonicalize().during("resolve", root)?;
        let layout = Layout::new(root);
        layout.ensure(options.userxattr)?;
        let boot_id = boot_id();
        let shared = Shared {
            gate: Gate::new(layout.dir("gate")),
            limit: AtomicU64::new(u64::MAX),
            recent: Arc::default(),
            in_use: Arc::default(),
            layout,
            options,
            boot_mark: BootMark::of(&boot_id),
            boot_id,
            owner: owner_name(),
            unfinished: OnceLock::new(),
            counter: AtomicU64::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
            wanted: None,
        })
    }

    /// Returns this store; what is packed or digested through its [`layers`](Self::layers) ends
    /// soon after `wanted` says no, with [`StoreError::Canceled`].
    #[must_use]
    pub fn while_wanted(&self, wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            wanted: Some(Wanted::new(wanted)),
            ..self.clone()
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns the store's directory.
    pub fn root(&self) -> &Path {
        self.shared.layout.root()
    }

    /// Returns the options it was opened with.
    pub fn options(&self) -> StoreOptions {
        self.shared.options
    }

    /// Returns the blobs, by digest.
    pub fn blobs(&self) -> Blobs {
        Blobs::new(self.shared.clone())
    }

    /// Returns the layers.
    pub fn layers(&self) -> Layers {
        Layers::new(self.shared.clone(), self.wanted.clone())
    }

    /// Returns the solver's records.
    pub fn records(&self) -> Records {
        Records::new(self.shared.clone())
    }

    /// Returns the images and their names.
    pub fn images(&self) -> Images {
        Images::new(self.shared.clone())
    }

    /// Returns what builds note about themselves.
    pub fn notes(&self) -> Notes {
        Notes::new(self.shared.clone())
    }

    /// Returns where registries are known to have blobs.
    pub fn origins(&self) -> Origins {
        Origins::new(self.shared.clone())
    }

    /// Returns how often results were used.
    pub(crate) fn meta(&self) -> Meta {
        Meta::new(self.shared.clone())
    }

    /// Returns this process' directory for unfinished work, on the store's file system.
    ///
    /// It is made when it is asked for first, and removed when the last clone of this store goes,
    /// or after a crash by the next process that makes one.
    pub fn tmp(&self) -> &Path {
        &self.shared.unfinished().dir
    }

    /// Returns where the stat index of the build context at `root` is kept.
    pub fn context_index(&self, root: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let name = blake3::hash(root.as_os_str().as_bytes()).to_hex();
        self.shared.layout.dir("contexts").join(name.as_str())
    }

    /// Waits until this process alone may execute `key`.
    pub fn claim(&self, key: &[u8; 32]) -> Result<ClaimGuard, StoreError> {
        ClaimGuard::wait(self.claim_path(key))
    }

    /// Claims `key` if no other process, nor this one, has it.
    pub fn try_claim(&self, key: &[u8; 32]) -> Result<Option<ClaimGuard>, StoreError> {
        ClaimGuard::attempt(self.claim_path(key))
    }

    fn claim_path(&self, key: &[u8; 32]) -> PathBuf {
        self.shared
            .layout
            .dir("locks")
            .join(blake3::Hash::from(*key).to_hex().as_str())
    }

    /// Shields from garbage collection what is made, found or used in the store until dropped.
    pub fn lease(&self) -> Result<Lease, StoreError> {
        Lease::hold(&self.shared)
    }
}

impl Shared {
    /// Returns a fresh path below this process' temporary directory.
    pub(crate) fn tmp_path(&self) -> PathBuf {
        let serial = self.counter.fetch_add(1, Ordering::Relaxed).to_string();
        let unfinished = self.unfinished();
        match unfinished.lock {
            Some(_) => unfinished.dir.join(serial),
            None => unfinished.dir.with_extension(serial),
        }
    }

    fn unfinished(&self) -> &Unfinished {
        self.unfinished.get_or_init(|| {
            let root = self.layout.dir("tmp");
            let dir = root.join(&self.owner);
            let lock = own_tmp(&dir).ok();
            // What cannot be removed now is found again.
            let _ = sweep_tmp(&root);
            Unfinished { dir, lock }
        })
    }

    /// Writes a small file so that it appears at `path` whole or not at all.
    pub(crate) fn write_atomic(&self, path: &Path, data: &[u8]) -> Result<(), StoreError> {
        let temporary = self.tmp_path();
        let written = File::create(&temporary)
            .and_then(|mut file| file.write_all(data))
            .during("write", &temporary)
            .and_then(|()| fs::rename(&temporary, path).during("write", path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(Unfinished { dir, lock: Some(_) }) = self.unfinished.get() {
            // The lock file outlives the directory: what is left of it without an owner is garbage.
            let _ = fs::remove_dir(dir).or_else(|_| fs::remove_dir_all(dir));
            let _ = fs::remove_file(lock_of(dir));
        }
    }
}

fn lock_of(tmp: &Path) -> PathBuf {
    tmp.with_extension("lock")
}

/// Returns a name that no other process has, and no other store of this one.
fn owner_name() -> String {
    static OPENED: AtomicU64 = AtomicU64::new(0);
    let serial = OPENED.fetch_add(1, Ordering::Relaxed);
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let nanos = since.unwrap_or_default().as_nanos();
    format!("{}-{serial}-{nanos:x}", std::process::id())
}

/// Makes a directory in `tmp/` and holds its lock.
fn own_tmp(dir: &Path) -> Result<FileLock, StoreError> {
    let path = lock_of(dir);
    loop {
        // A sweeper may remove the lock file between its creation and our lock.
        let lock = FileLock::attempt(&path, Mode::Exclusive)?;
        if let Some(lock) = lock.filter(|lock| lock.is_current(&path)) {
            fs::create_dir(dir).map_err(|error| refused("create", dir, error))?;
            return Ok(lock);
        }
    }
}

/// Removes what processes that no longer live left in `tmp/`.
pub(crate) fn sweep_tmp(root: &Path) -> Result<u64, StoreError> {
    let mut removed = 0;
    for item in fs::read_dir(root).during("list", root)? {
        let path = item.during("list", root)?.path();
        let lock = lock_of(&path);
        if path
            .extension()
            .is_some_and(|extension| extension == "lock")
            && path.exists()
        {
            if path.with_extension("").exists() {
                continue;
            }
        } else if !lock.exists() && path.exists() {
            removed += u64::from(remove_tree(&path).is_ok());
            continue;
        }
        if let Some(held) = FileLock::attempt(&lock, Mode::Exclusive)?
            && held.is_current(&lock)
        {
            if path != lock {
                removed += u64::from(remove_tree(&path).is_ok());
            }
            let _ = fs::remove_file(&lock);
        }
    }
    Ok(removed)
}

/// Removes a file or a tree, also one with directories nobody may enter.
pub(crate) fn remove_tree(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if !path.symlink_metadata()?.is_dir() {
        return fs::remove_file(path);
    }
    if fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    for item in walkdir::WalkDir::new(path).into_iter().flatten() {
        if item.file_type().is_dir() {
            let _ = fs::set_permissions(item.path(), fs::Permissions::from_mode(0o700));
        }
    }
    fs::remove_dir_all(path)
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".to_owned(), |id| id.trim_end().to_owned())
}
