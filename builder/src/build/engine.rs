//! What steps work with: what all of a build share ([`Workshop`]: the store, the process
//! runner, the layers still to be fetched) and what is one target's own ([`Engine`]: its
//! contexts and secrets).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cooper_cache::{
    Driver, Entry, Layer, LayerId, Layers, MergedTree, Needles, RelPath, ResolveError, Snapshot,
    Staging, Store, StoreError, Timestamp,
};
use cooper_oci::Platform;
use cooper_runner::{Runner, RunnerOptions};
use cooper_solver::CancelToken;

use super::ahead::{Ahead, Form};
use super::context::{ContextFiles, Contexts};
use super::error::OpError;
use super::failure::Failure;
use super::fetch::Fetcher;
use super::ops;
use super::output::{Output, Root, ScannedContext};
use super::remote::{FetchError, RemoteLayers};
use super::secrets::Secrets;
use crate::emulation::{self, Execution, Missing};
use crate::http::{TRANSFERS, at_once};
use crate::options::Dns;

/// Prepared children of the runner: one shortens a chain of steps; more only compete with them.
const WARM: usize = 1;

/// What the steps of one target work with. Everything in it is immutable or guards itself.
pub(crate) struct Engine {
    shared: Arc<Workshop>,
    contexts: Contexts,
    fetcher: Arc<Fetcher>,
    epoch: Option<i64>,
    dns: Dns,
    cdi: Vec<PathBuf>,
}

/// How a platform's programs are executed, or why they are not.
pub(crate) type Emulation = Result<Arc<Execution>, Missing>;

/// What the targets of one build share. Everything in it is immutable or guards itself.
pub(crate) struct Workshop {
    store: Store,
    layers: Layers,
    /// The same layers, once it is known what they are to be searched for.
    watched: OnceLock<Layers>,
    /// Packs layers while steps run.
    ahead: OnceLock<Ahead>,
    remote: RemoteLayers,
    resolv_conf: Vec<u8>,
    cancel: CancelToken,
    scratches: AtomicU32,
    runner: OnceLock<Runner>,
    /// How programs of other platforms are executed, as far as it was asked.
    emulation: Mutex<HashMap<Platform, Emulation>>,
    starting: Mutex<()>,
    /// The first RUN that failed, if it is wanted.
    failure: OnceLock<Failure>,
    keeps_failure: bool,
    /// Layers of steps that were shown a secret, and of failed steps.
    suspects: Mutex<BTreeSet<LayerId>>,
    /// Names of the cache mounts that steps have used.
    mounts: Mutex<BTreeSet<String>>,
    trees: Mutex<HashMap<Vec<LayerId>, MergedTree>>,
    /// What each layer says of the root directory.
    root_dirs: Mutex<HashMap<LayerId, Option<Entry>>>,
    /// Layers of images that steps of this build are going to mount.
    to_mount: Mutex<HashSet<LayerId>>,
}

/// What is one target's own.
pub(crate) struct TargetParts {
    /// What its steps read, by the name that they call it.
    pub(crate) contexts: Contexts,
    /// Brings in files from elsewhere, with its secrets and agents.
    pub(crate) fetcher: Arc<Fetcher>,
    /// The time of what its steps create, in seconds since 1970; now when absent.
    pub(crate) epoch: Option<i64>,
    /// How its steps find names.
    pub(crate) dns: Dns,
    /// Directories of device specifications.
    pub(crate) cdi: Vec<PathBuf>,
}

impl Workshop {
    /// Returns a workshop that has not started any process yet.
    pub(crate) fn new(
        store: &Store,
        remote: RemoteLayers,
        resolv_conf: Vec<u8>,
        cancel: CancelToken,
    ) -> Self {
        let canceled = cancel.clone();
        let store = store.while_wanted(move || !canceled.is_cancelled());
        Self {
            layers: store.layers(),
            ahead: OnceLock::new(),
            watched: OnceLock::new(),
            store,
            remote,
            resolv_conf,
            cancel,
            scratches: AtomicU32::new(0),
            runner: OnceLock::new(),
            emulation: Mutex::default(),
            starting: Mutex::new(()),
            failure: OnceLock::new(),
            suspects: Mutex::default(),
            keeps_failure: false,
            mounts: Mutex::default(),
            trees: Mutex::new(HashMap::new()),
            root_dirs: Mutex::new(HashMap::new()),
            to_mount: Mutex::default(),
        }
    }

    /// Returns the store.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the store's layers.
    pub(crate) fn layers(&self) -> &Layers {
        self.watched.get().unwrap_or(&self.layers)
    }

    /// From now on keeps the indices of the layers that are made.
    pub(crate) fn record(&mut self) {
        self.layers = self.layers.recording();
    }

    /// From now on looks for something in all layers that are digested or packed.
    pub(crate) fn watch(&self, needles: &Arc<Needles>) {
        self.watched
            .get_or_init(|| self.layers.watching(Arc::clone(needles)));
    }

    /// Has what is being packed ahead finished soon: no step runs any more.
    pub(crate) fn hurry(&self) {
        if let Some(ahead) = self.ahead.get() {
            ahead.hurry();
        }
    }

    /// Returns the layers that can be fetched when they are needed.
    pub(crate) fn remote(&self) -> &RemoteLayers {
        &self.remote
    }

    /// From now on keeps the first RUN that fails.
    pub(crate) fn keep_failure(&mut self) {
        self.keeps_failure = true;
    }

    /// Returns the layers that were made by steps which might have written a secret into them.
    pub(crate) fn suspects(&self) -> BTreeSet<LayerId> {
        let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.clone()
    }

    /// Returns the RUN that was kept.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// Returns the process runner if a step needed it.
    pub(crate) fn started_runner(&self) -> Option<&Runner> {
        self.runner.get()
    }

    /// Returns a fresh path for what lives no longer than this process.
    pub(crate) fn scratch(&self, what: &str) -> PathBuf {
        let number = self.scratches.fetch_add(1, Ordering::Relaxed);
        self.store.tmp().join(format!("{what}-{number}"))
    }
}

impl Engine {
    /// Returns the engine of a target.
    pub(crate) fn new(shared: Arc<Workshop>, parts: TargetParts) -> Self {
        Self {
            shared,
            contexts: parts.contexts,
            fetcher: parts.fetcher,
            epoch: parts.epoch,
            dns: parts.dns,
            cdi: parts.cdi,
        }
    }

    /// Returns the store.
    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Returns the store's layers.
    pub(crate) fn layers(&self) -> &Layers {
        self.shared.layers()
    }

    /// Returns the secrets that the target was given.
    pub(crate) fn secrets(&self) -> &Secrets {
        self.fetcher.secrets()
    }

    /// Returns a fresh path for what lives no longer than this process.
    pub(crate) fn scratch(&self, what: &str) -> PathBuf {
        self.shared.scratch(what)
    }

    /// Returns what brings in files from elsewhere.
    pub(crate) fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Has the layers of a finished step packed in these forms while others run.
    pub(crate) fn pack_ahead(&self, root: &Root, forms: &[Form]) {
        if !forms.is_empty() {
            let shared = &self.shared;
            let ahead = || Ahead::new(shared.layers(), &shared.cancel);
            shared.ahead.get_or_init(ahead).pack(root, forms);
        }
    }

    /// Returns the build's cancellation, for work that is not given a step's own.
    pub(crate) fn cancel(&self) -> &CancelToken {
        &self.shared.cancel
    }

    /// Returns the layers that can be fetched when they are needed.
    pub(crate) fn remote(&self) -> &RemoteLayers {
        &self.shared.remote
    }

    /// Returns the resolver configuration that steps see; none leaves the image's own.
    pub(crate) fn resolv_conf(&self) -> Option<Vec<u8>> {
        let host = String::from_utf8_lossy(&self.shared.resolv_conf);
        self.dns.resolv_conf(&host).map(String::into_bytes)
    }

    /// Returns the directories of device specifications.
    pub(crate) fn cdi(&self) -> &[PathBuf] {
        &self.cdi
    }

    /// Whether overlays keep their marks in `user.overlay.*`.
    pub(crate) fn userxattr(&self) -> bool {
        self.shared.store.options().userxattr
    }

    /// Notes that a step uses a cache mount.
    pub(crate) fn note_mount(&self, name: &str) {
        let mut mounts = self
            .shared
            .mounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        mounts.insert(name.to_owned());
    }

    /// Returns the names of the cache mounts that steps have used.
    pub(crate) fn used_mounts(&self) -> BTreeSet<String> {
        let mounts = self.shared.mounts.lock();
        mounts.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns where RUN cache mounts live.
    pub(crate) fn mounts_dir(&self) -> PathBuf {
        self.shared.store.mounts_dir()
    }

    /// Returns a context by name.
    pub(crate) fn context(&self, name: &str) -> Result<&ContextFiles, OpError> {
        self.contexts
            .get(name)
            .ok_or_else(|| OpError::UnknownContext {
                name: name.to_owned(),
            })
    }

    /// Returns the time for what is created now: the source date epoch if one is set.
    pub(crate) fn now(&self) -> Timestamp {
        now(self.epoch)
    }

    /// Returns how programs of `platform` are executed. An emulator that was registered for this
    /// build stays so until its end.
    pub(crate) fn emulation(&self, platform: &Platform) -> Emulation {
        let mut known = self
            .shared
            .emulation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let private = self.userxattr();
        let found = known
            .entry(platform.clone())
            .or_insert_with(|| emulation::execution(platform, private).map(Arc::new));
        found.clone()
    }

    /// Returns the process runner, started when the first step needs it.
    pub(crate) fn runner(&self) -> Result<&Runner, OpError> {
        let shared = &*self.shared;
        if let Some(runner) = shared.runner.get() {
            return Ok(runner);
        }
        let _starting = shared
            .starting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(runner) = shared.runner.get() {
            return Ok(runner);
        }
        let mut options = RunnerOptions::new(shared.store.tmp().join("runner"));
        options.warm = WARM;
        let runner = Runner::start(options)?;
        Ok(shared.runner.get_or_init(|| runner))
    }

    /// Whether a RUN that fails now is to be kept.
    pub(crate) fn keeps_failure(&self) -> bool {
        self.shared.keeps_failure && self.shared.failure.get().is_none()
    }

    /// Keeps a RUN that failed, unless another was faster.
    pub(crate) fn keep_failure(&self, failure: Failure) {
        let _ = self.shared.failure.set(failure);
    }

    /// Has a layer searched at the end, for what was secret when it was made.
    pub(crate) fn suspect(&self, layer: &LayerId) {
        let suspects = &self.shared.suspects;
        let mut suspects = suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.insert(layer.clone());
    }

    /// Makes sure that all layers are here, fetching and unpacking in parallel.
    pub(crate) fn ensure(&self, layers: &[LayerId]) -> Result<(), OpError> {
        self.ensure_where(layers, |layer| self.lock_to_mount().contains(layer))
    }

    /// Notes that a step is going to mount these layers: they are unpacked to files at once.
    pub(crate) fn expect_mounts(&self, root: &Root) {
        self.lock_to_mount().extend(root.ids());
    }

    fn ensure_where(
        &self,
        layers: &[LayerId],
        is_mounted: impl Fn(&LayerId) -> bool + Sync,
    ) -> Result<(), OpError> {
        let failed = |(layer, source): (LayerId, FetchError)| match layer {
            LayerId::Pulled(_) => OpError::BaseLayer { layer, source },
            LayerId::Built(_) => source.into(),
        };
        let (remote, store) = (self.remote(), self.store());
        remote
            .ensure_blobs(store, layers.iter().cloned())
            .map_err(failed)?;
        let mut missing = Vec::new();
        for layer in layers {
            if !store.layers().is_ready(layer, is_mounted(layer))? {
                missing.push(layer);
            }
        }
        // A layer that another step has in work is waited for, by no thread of the pool: what makes
        // the layer needs them.
        let ensure = |layer: &&LayerId| {
            let ensured = remote.ensure(store, layer, is_mounted(layer));
            ensured.map_err(|source| failed(((*layer).clone(), source)))
        };
        at_once(&missing, TRANSFERS, ensure).map(drop)
    }

    /// Returns the directories of a root's layers, topmost first, as overlayfs wants them.
    pub(crate) fn lower_dirs(&self, root: &Root) -> Result<Vec<PathBuf>, OpError> {
        let ids = root.ids();
        // Of what is merged first no files are needed.
        let all = ids.len() <= cooper_runner::most_lowers();
        self.ensure_where(&ids, |_| all)?;
        let wanted = || !self.cancel().is_cancelled();
        let lowers = self
            .layers()
            .lowers(&ids, cooper_runner::most_lowers(), &wanted)?;
        Ok(lowers.iter().map(Layer::fs).collect())
    }

    /// Returns how layers are mounted.
    pub(crate) fn driver(&self) -> Result<Driver, OpError> {
        Ok(crate::driver::of(self.store())?)
    }

    /// Copies what a root has at, above and below `path`, to be mounted without an overlay.
    pub(crate) fn snapshot(&self, root: &Root, path: &RelPath) -> Result<Snapshot, OpError> {
        let wanted = || !self.cancel().is_cancelled();
        let tree = self.root_tree(root)?;
        Ok(self.layers().snapshot(&tree, path, &wanted)?)
    }

    /// Copies a directory of this machine, to be written to and thrown away.
    pub(crate) fn copy_of(&self, directory: &Path) -> Result<Snapshot, OpError> {
        let wanted = || !self.cancel().is_cancelled();
        Ok(self.layers().copy_of(directory, &wanted)?)
    }

    /// Returns the merged view of a root; views are kept for the whole build.
    pub(crate) fn root_tree(&self, root: &Root) -> Result<MergedTree, OpError> {
        let ids = root.ids();
        if let Some(tree) = self.lock_trees().get(&ids) {
            return Ok(tree.clone());
        }
        let below = ids
            .split_last()
            .and_then(|(last, below)| Some((last, self.lock_trees().get(below)?.clone())));
        let tree = if let Some((last, below)) = below {
            // A chain grows by a layer a step: the others are not looked for again at each.
            self.ensure(std::slice::from_ref(last))?;
            let layer = self.layers().ensure(last)?;
            below.with_layer(layer.index()?, layer.files()?)
        } else {
            self.ensure(&ids)?;
            self.layers().tree(&ids)?
        };
        self.lock_trees().insert(ids, tree.clone());
        Ok(tree)
    }

    /// Returns the root directory of a root as its topmost layer that has one knows it.
    pub(crate) fn root_dir(&self, root: &Root) -> Result<Option<Entry>, OpError> {
        for layer in root.layers.iter().rev() {
            let known = self.lock_root_dirs().get(&layer.id).cloned();
            let entry = if let Some(entry) = known {
                entry
            } else {
                let index = self.layers().ensure(&layer.id)?.index()?;
                let entry = index.get(&RelPath::root()).cloned();
                self.lock_root_dirs()
                    .insert(layer.id.clone(), entry.clone());
                entry
            };
            if entry.is_some() {
                return Ok(entry);
            }
        }
        Ok(None)
    }

    fn lock_to_mount(&self) -> std::sync::MutexGuard<'_, HashSet<LayerId>> {
        self.shared
            .to_mount
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_root_dirs(&self) -> std::sync::MutexGuard<'_, HashMap<LayerId, Option<Entry>>> {
        self.shared
            .root_dirs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_trees(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<LayerId>, MergedTree>> {
        self.shared
            .trees
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the files of an output; those of a context need not be hashed.
    pub(crate) fn tree(&self, output: &Output) -> Result<MergedTree, OpError> {
        match output {
            Output::Root(root) => self.root_tree(root),
            Output::Context(context) => Ok(context.files.tree()),
        }
    }

    /// Returns the files of an output, of which those at and below `paths` are hashed.
    pub(crate) fn hashed(&self, output: &Output, paths: &[RelPath]) -> Result<MergedTree, OpError> {
        match output {
            Output::Root(root) => self.root_tree(root),
            Output::Context(context) => Ok(self.hash(context, paths)?),
        }
    }

    /// Returns an output as layers; of a context, the part at and below `paths` becomes one.
    pub(crate) fn as_root(&self, output: &Output, paths: &[RelPath]) -> Result<Root, OpError> {
        match output {
            Output::Root(root) => Ok(root.clone()),
            Output::Context(context) => {
                let tree = context.files.tree();
                let mut real = Vec::with_capacity(paths.len());
                for path in paths {
                    real.push(tree.resolve(path, true).map_err(StoreError::from)?.path);
                }
                let layer = ops::context_layer(self, &self.hash(context, &real)?, &real)?;
                Ok(Root::default().with(layer, self.now()))
            }
        }
    }

    /// Copies a path of an output into a staging directory, as files, and returns its own entry.
    pub(crate) fn copy_out(
        &self,
        output: &Output,
        source: &str,
        dest: &Staging,
    ) -> Result<Entry, OpError> {
        let path = RelPath::clean(source);
        let tree = self.tree(output)?;
        let real = tree.resolve(&path, true).map_err(StoreError::from)?.path;
        ops::copy_out(self, &tree, &real, dest)?;
        let missing = || StoreError::from(ResolveError::NotFound { path });
        Ok(tree.get(&real).ok_or_else(missing)?.entry.clone())
    }

    fn hash(&self, context: &ScannedContext, paths: &[RelPath]) -> Result<MergedTree, OpError> {
        let wanted = || !self.cancel().is_cancelled();
        context.files.ensure_hashed_while(paths, &wanted)?;
        Ok(context.files.tree())
    }
}

/// Returns the time for what is created now: the source date epoch if there is one.
pub(super) fn now(epoch: Option<i64>) -> Timestamp {
    match epoch {
        Some(secs) => Timestamp { secs, nanos: 0 },
        None => since_epoch(std::time::SystemTime::now()),
    }
}

/// Returns a system time as file systems keep it; times before the epoch count as the epoch.
fn since_epoch(time: std::time::SystemTime) -> Timestamp {
    let since = time
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        secs: since.as_secs() as i64,
        nanos: since.subsec_nanos(),
    }
}
