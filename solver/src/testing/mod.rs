//! Fakes for tests of the solver and of its callers: an op that counts its calls and
//! does as it is told, and an index that remembers what it was asked.
//!
//! ```
//! use cooper_solver::testing::{FakeOp, SpyIndex, solve_with};
//! use cooper_solver::{Graph, Vertex};
//!
//! let op = FakeOp::new("compile");
//! let mut graph = Graph::new();
//! let target = graph.add(Vertex::new("compile", op.clone()), &[]);
//! let index = SpyIndex::new();
//!
//! solve_with(&graph, &[target], &index).result.unwrap();
//! solve_with(&graph, &[target], &index).result.unwrap();
//!
//! assert_eq!(op.calls().exec, 1);
//! ```

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    CacheKey, CancelToken, Claim, ContentDigest, ExecContext, Graph, KeyIndex, MemoryIndex, Op,
    Record, SolveError, SolveEvent, SolveOptions, VertexId, solve,
};

/// What a [`FakeOp`] gives: a text, which is also its content.
pub type FakeOutput = Arc<str>;

/// A [`FakeOp`] was told to fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FakeError {
    /// With what words.
    pub message: String,
}

impl FakeError {
    /// Returns an error with these words.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

/// How often each method of a [`FakeOp`] was called, all clones together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// Calls of [`Op::definition`].
    pub definition: usize,
    /// Calls of [`Op::input_content`].
    pub input_content: usize,
    /// Calls of [`Op::exec`].
    pub exec: usize,
}

#[derive(Default)]
struct Counters {
    definition: AtomicUsize,
    input_content: AtomicUsize,
    exec: AtomicUsize,
}

type Define = dyn Fn() -> Result<Option<CacheKey>, FakeError> + Send + Sync;
type Run = dyn Fn(&[FakeOutput], &ExecContext<'_>) -> Result<FakeOutput, FakeError> + Send + Sync;
type Select = dyn Fn(usize, &str) -> String + Send + Sync;

/// An op that counts its calls. Clones share their counters.
///
/// By default its definition is its label, it reads its inputs whole, and it
/// gives `label(input,input…)`.
#[derive(Clone)]
pub struct FakeOp {
    define: Arc<Define>,
    select: Arc<Select>,
    run: Arc<Run>,
    counters: Arc<Counters>,
}

impl FakeOp {
    /// Returns an op with the default behaviour.
    pub fn new(label: &str) -> Self {
        let text = label.to_owned();
        let definition = CacheKey::of("fake op", label);
        Self {
            define: Arc::new(move || Ok(Some(definition))),
            select: Arc::new(|_, output| output.to_owned()),
            run: Arc::new(move |inputs, _| Ok(format!("{text}({})", inputs.join(",")).into())),
            counters: Arc::default(),
        }
    }

    /// Returns an op without a definition that gives `content`.
    pub fn source(content: &str) -> Self {
        Self::new("source").defines(|| Ok(None)).gives(content)
    }

    /// Lets it do this when it is asked for its definition.
    #[must_use]
    pub fn defines<F>(self, define: F) -> Self
    where
        F: Fn() -> Result<Option<CacheKey>, FakeError> + Send + Sync + 'static,
    {
        Self {
            define: Arc::new(define),
            ..self
        }
    }

    /// Lets it give a fixed output.
    #[must_use]
    pub fn gives(self, content: &str) -> Self {
        let content: FakeOutput = content.into();
        self.runs(move |_, _| Ok(Arc::clone(&content)))
    }

    /// Lets it fail.
    #[must_use]
    pub fn fails(self, message: &str) -> Self {
        let error = FakeError::new(message);
        self.runs(move |_, _| Err(error.clone()))
    }

    /// Lets it do this when it is run.
    #[must_use]
    pub fn runs<F>(self, run: F) -> Self
    where
        F: Fn(&[FakeOutput], &ExecContext<'_>) -> Result<FakeOutput, FakeError>
            + Send
            + Sync
            + 'static,
    {
        Self {
            run: Arc::new(run),
            ..self
        }
    }

    /// Lets it read only this of each input's output.
    #[must_use]
    pub fn reads(self, select: impl Fn(usize, &str) -> String + Send + Sync + 'static) -> Self {
        Self {
            select: Arc::new(select),
            ..self
        }
    }

    /// Returns how often it was called.
    pub fn calls(&self) -> Calls {
        let load = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        Calls {
            definition: load(&self.counters.definition),
            input_content: load(&self.counters.input_content),
            exec: load(&self.counters.exec),
        }
    }
}

impl fmt::Debug for FakeOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeOp")
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

impl Op for FakeOp {
    type Output = FakeOutput;
    type Error = FakeError;

    fn definition(&self) -> Result<Option<CacheKey>, FakeError> {
        self.counters.definition.fetch_add(1, Ordering::SeqCst);
        (self.define)()
    }

    fn input_content(&self, index: usize, output: &FakeOutput) -> Result<ContentDigest, FakeError> {
        self.counters.input_content.fetch_add(1, Ordering::SeqCst);
        Ok(ContentDigest::of(
            "fake content",
            &(self.select)(index, output),
        ))
    }

    fn exec(&self, inputs: &[FakeOutput], cx: &ExecContext<'_>) -> Result<FakeOutput, FakeError> {
        self.counters.exec.fetch_add(1, Ordering::SeqCst);
        (self.run)(inputs, cx)
    }
}

/// A [`MemoryIndex`] that remembers what it was asked.
#[derive(Debug, Default)]
pub struct SpyIndex {
    memory: MemoryIndex<FakeOutput>,
    looked_up: Mutex<Vec<CacheKey>>,
    recorded: Mutex<Vec<String>>,
}

impl SpyIndex {
    /// Returns an empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns and forgets the keys that were looked up.
    pub fn take_looked_up(&self) -> Vec<CacheKey> {
        take(&self.looked_up)
    }

    /// Returns and forgets the names of the vertices that were recorded.
    pub fn take_recorded(&self) -> Vec<String> {
        take(&self.recorded)
    }
}

fn take<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
}

impl KeyIndex<FakeOutput> for SpyIndex {
    fn lookup(&self, key: &CacheKey) -> Option<FakeOutput> {
        self.looked_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(*key);
        self.memory.lookup(key)
    }

    fn record(&self, record: &Record<'_, FakeOutput>) {
        let name = record.name.to_owned();
        self.recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name);
        self.memory.record(record);
    }

    fn try_claim(&self, key: &CacheKey) -> Option<Box<dyn Claim + '_>> {
        self.memory.try_claim(key)
    }
}

/// What came of a solve, and what it told.
#[derive(Debug)]
pub struct Solved {
    /// The outputs of the targets.
    pub result: Result<Vec<FakeOutput>, SolveError<FakeError>>,
    /// All events, in the order in which they were told.
    pub events: Vec<SolveEvent>,
}

impl Solved {
    /// Returns the terminal event of a vertex in a word; panics unless it has exactly one, last.
    pub fn end_of(&self, vertex: VertexId) -> &'static str {
        let mut events = self.events.iter().filter(|event| event.vertex() == vertex);
        let ends: Vec<_> = events.clone().filter(|event| event.is_terminal()).collect();
        assert_eq!(ends.len(), 1, "terminal events of {vertex}: {ends:?}");
        assert_eq!(
            events.next_back(),
            Some(ends[0]),
            "it is the last event of {vertex}"
        );
        match ends[0] {
            SolveEvent::Cached { .. } => "cached",
            SolveEvent::Completed { .. } => "completed",
            SolveEvent::Failed { canceled: true, .. } => "canceled",
            _ => "failed",
        }
    }

    /// Returns the terminal events of vertices in a word each.
    pub fn ends_of<const N: usize>(&self, vertices: [VertexId; N]) -> [&'static str; N] {
        vertices.map(|vertex| self.end_of(vertex))
    }
}

/// Solves with four jobs and without cancellation from outside.
pub fn solve_with(
    graph: &Graph<FakeOp>,
    targets: &[VertexId],
    index: &dyn KeyIndex<FakeOutput>,
) -> Solved {
    let cancel = CancelToken::new();
    solve_as(graph, targets, index, &SolveOptions::new(4, &cancel))
}

/// Solves with options, whose events it takes for itself.
pub fn solve_as(
    graph: &Graph<FakeOp>,
    targets: &[VertexId],
    index: &dyn KeyIndex<FakeOutput>,
    options: &SolveOptions<'_>,
) -> Solved {
    let events = Mutex::new(Vec::new());
    let keep = |event| {
        events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    };
    let result = solve(
        graph,
        targets,
        index,
        &SolveOptions {
            events: &keep,
            ..*options
        },
    );
    Solved {
        result,
        events: events.into_inner().unwrap_or_else(PoisonError::into_inner),
    }
}
