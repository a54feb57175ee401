//! Layers packed before anybody asks, while later steps still run.
//!
//! What the outputs and shared caches of a target will want of a layer (its digest, a blob in some
//! compression) is known before the solve, and of a finished layer it can be made at once. A thread
//! does that with a lower priority than the steps, so that it has what they leave idle. Nothing
//! depends on it: it makes what the outputs would make, under the same claims and searched for the
//! same secrets, and they find it made or wait for it.
//!
//! When the solve is over, what is in work is finished at the usual priority, and the rest is left
//! to the outputs, which pack several layers at once.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cooper_cache::{LayerId, Layers, Repacking, StoreError};
use cooper_frontend::ir::BuildOp;
use cooper_oci::Compression;
use cooper_solver::{CancelGuard, CancelToken, Graph, VertexId};
use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::process::{Pid, getpriority_process, setpriority_process};

use super::output::Root;
use super::target::TargetBuild;
use super::{repack, sharing};
use crate::options::{BuildOptions, CacheMode, CachePlace, ImageFormat, Output, Squash};

/// What the thread and those that it starts are called.
const NAME: &str = "packing ahead";
/// How far its priority is below that of the steps.
const NICE: i32 = 19;
/// The same where it cannot be raised again: an output that waits is not to wait for everybody else.
const NICE_FOR_GOOD: i32 = 5;

/// What will be wanted of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// The digest of its tar.
    Digest,
    /// A blob, unless it came as one and `force` does not ask for another.
    Blob {
        compression: Compression,
        level: Option<i32>,
        force: bool,
    },
    /// A blob with another tar.
    Anew(Repacking),
}

impl Form {
    fn blob(format: &ImageFormat, compression: Compression) -> Self {
        Self::Blob {
            compression,
            level: format.level,
            force: format.force,
        }
    }

    /// Makes it, if it is not made yet.
    fn make(&self, layers: &Layers, id: &LayerId) -> Result<(), StoreError> {
        match self {
            Self::Digest => layers.diff_id(id).map(drop),
            Self::Blob {
                compression,
                level,
                force,
            } => {
                let diff_id = layers.noted_diff_id(id).filter(|_| !force);
                if diff_id.is_some_and(|diff_id| layers.original_blob(&diff_id).is_some()) {
                    return Ok(());
                }
                layers.pack(id, *compression, *level).map(drop)
            }
            Self::Anew(how) => layers.repack(id, how).map(drop),
        }
    }
}

/// The forms that the layers of a step will be wanted in.
pub(crate) type Forms = Arc<[Form]>;

/// Returns in which forms what each vertex makes will be wanted.
pub(super) fn plan(
    graph: &Graph<BuildOp>,
    targets: &[TargetBuild<'_>],
) -> BTreeMap<VertexId, Forms> {
    let mut plan: BTreeMap<VertexId, Vec<Form>> = BTreeMap::new();
    for target in targets {
        let ends = target.variants.iter();
        let ends: Vec<_> = ends
            .filter_map(|variant| variant.lowered().target)
            .collect();
        let options = target.target.options;
        let chain = chain(graph, &ends);
        let mut add = |vertices: &[VertexId], forms: &[Form]| {
            for vertex in vertices {
                let known = plan.entry(*vertex).or_default();
                for form in forms {
                    if !known.contains(form) {
                        known.push(*form);
                    }
                }
            }
        };
        add(&chain, &of_image(options, target.epoch));
        for to in &options.cache_to {
            let format = sharing::export::packing(options, to);
            let blob = Form::blob(&format, format.compression.unwrap_or(Compression::Gzip));
            match (to.place == CachePlace::Inline, to.mode) {
                (true, _) => {}
                (false, CacheMode::Min) => add(&chain, &[blob]),
                (false, CacheMode::Max) => add(&graph.reachable(&ends), &[blob]),
            }
        }
    }
    let planned = plan.into_iter().filter(|(_, forms)| !forms.is_empty());
    planned
        .map(|(vertex, forms)| (vertex, forms.into()))
        .collect()
}

/// Returns what a target's outputs will want of the layers of its image.
fn of_image(options: &BuildOptions, epoch: Option<i64>) -> Vec<Form> {
    if options.squash != Squash::Off {
        return Vec::new();
    }
    let mut forms = Vec::new();
    let mut add = |form| {
        if !forms.contains(&form) {
            forms.push(form);
        }
    };
    let anew = repack::asked(options, epoch);
    for output in &options.outputs {
        let (format, compression) = match output {
            Output::CacheOnly | Output::Local { .. } | Output::Tar { .. } => continue,
            Output::Image(to) if to.push.is_none() => (&to.format, Compression::None),
            Output::Image(to) => (
                &to.format,
                to.format.compression.unwrap_or(Compression::Gzip),
            ),
            Output::Oci(to) | Output::Docker(to) => (
                &to.format,
                to.format.compression.unwrap_or(Compression::Gzip),
            ),
        };
        let pushed = matches!(output, Output::Image(to) if to.push.is_some());
        match (&anew, compression) {
            (Some(how), _) => {
                add(Form::Digest);
                add(Form::Anew(*how));
            }
            // Archives get plain tars straight from the layers' files.
            (None, Compression::None) if !pushed => add(Form::Digest),
            (None, compression) => add(Form::blob(format, compression)),
        }
    }
    forms
}

/// Returns the vertices whose layers the results of `ends` consist of.
fn chain(graph: &Graph<BuildOp>, ends: &[VertexId]) -> Vec<VertexId> {
    let mut found = BTreeSet::new();
    let mut next = ends.to_vec();
    while let Some(vertex) = next.pop() {
        if !found.insert(vertex) {
            continue;
        }
        let inputs = graph.inputs(vertex);
        match &graph.vertex(vertex).op {
            BuildOp::Exec(op) if op.base => next.push(inputs[0]),
            BuildOp::File(op) if op.base => next.push(inputs[0]),
            BuildOp::Merge => next.extend(inputs),
            BuildOp::Exec(_) | BuildOp::File(_) | BuildOp::Diff | BuildOp::Source(_) => {}
        }
    }
    found.into_iter().collect()
}

/// The packing that goes on beside a solve.
pub(crate) struct Ahead {
    layers: Layers,
    /// Ends it in the middle of a layer.
    stop: CancelToken,
    _linked: CancelGuard,
    /// Whether the solve is over.
    over: Arc<AtomicBool>,
    state: Mutex<State>,
}

/// A layer, and what is made of it.
type Task = (LayerId, Form);

#[derive(Default)]
struct State {
    asked: HashSet<Task>,
    /// Where tasks go; none before there is a thread, and once the solve is over.
    tasks: Option<Sender<Task>>,
}

impl Ahead {
    /// Prepares to pack; nothing is started before there is something to do.
    pub(super) fn new(layers: &Layers, cancel: &CancelToken) -> Self {
        let (stop, linked) = cancel.child();
        let wanted = stop.clone();
        Self {
            layers: layers.while_wanted(move || !wanted.is_cancelled()),
            stop,
            _linked: linked,
            over: Arc::default(),
            state: Mutex::default(),
        }
    }

    /// Has the layers of a finished step packed, as far as a build has made them.
    pub(crate) fn pack(&self, root: &Root, forms: &[Form]) {
        if self.over.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in root.layers.iter().filter(|layer| layer.created.is_some()) {
            for form in forms {
                let task = (layer.id.clone(), *form);
                if state.asked.insert(task.clone()) {
                    self.ask(&mut state, task);
                }
            }
        }
    }

    fn ask(&self, state: &mut State, task: Task) {
        if state.tasks.is_none() {
            // The pool's threads are not to begin with the priority of this one.
            rayon::current_num_threads();
            let (sender, tasks) = unbounded();
            let (layers, over) = (self.layers.clone(), Arc::clone(&self.over));
            let thread = std::thread::Builder::new()
                .name(NAME.to_owned())
                .spawn(move || work(&layers, &tasks, &over));
            // Without a thread the outputs do it all.
            if thread.is_err() {
                return;
            }
            state.tasks = Some(sender);
        }
        if let Some(tasks) = &state.tasks {
            let _ = tasks.send(task);
        }
    }

    /// Has what is in work finished soon, and nothing else begun.
    pub(crate) fn hurry(&self) {
        self.over.store(true, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.tasks.take().is_some() {
            raise();
        }
    }
}

impl Drop for Ahead {
    /// Lets the thread go. It ends with the block that it is at, for which nobody waits: at a high
    /// level of compression and a low priority that may take long.
    fn drop(&mut self) {
        self.stop.cancel();
        self.hurry();
    }
}

fn work(layers: &Layers, tasks: &Receiver<Task>, over: &AtomicBool) {
    step_aside();
    for (id, form) in tasks {
        if over.load(Ordering::Relaxed) {
            return;
        }
        // What is only elsewhere is fetched when it is needed, and what fails is told of then.
        if matches!(id, LayerId::Built(_)) && layers.has(&id) {
            let _ = form.make(layers, &id);
        }
    }
}

/// Lets the steps go first.
fn step_aside() {
    let Ok(usual) = getpriority_process(None) else {
        return;
    };
    let set = |nice: i32| setpriority_process(None, nice.min(19));
    let can_return = set(usual + 1).is_ok() && set(usual).is_ok();
    let _ = set(usual + if can_return { NICE } else { NICE_FOR_GOOD });
}

/// Gives all threads that pack ahead the priority of this one.
///
/// Threads begin with the name and the priority of the one that starts them; whoever started
/// another one before it was raised itself is followed by a second look.
fn raise() {
    let Ok(usual) = getpriority_process(None) else {
        return;
    };
    loop {
        let mut raised = false;
        for thread in packing_threads() {
            let low = getpriority_process(Some(thread)).is_ok_and(|nice| nice > usual);
            raised |= low && setpriority_process(Some(thread), usual).is_ok();
        }
        if !raised {
            return;
        }
    }
}

fn packing_threads() -> Vec<Pid> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let named = |thread: fs::DirEntry| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let id = thread.file_name().to_str()?.parse().ok()?;
        Pid::from_raw(id).filter(|_| name.trim_end() == NAME)
    };
    threads.flatten().filter_map(named).collect()
}
