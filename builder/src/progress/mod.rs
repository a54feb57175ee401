//! From the events of a build to what the user watches.
//!
//! ```text
//! solver, pipeline → Progress (clonable) → channel → one thread: Model → View → stderr
//! ```
//!
//! [`Display`] owns the thread, [`Progress`] feeds it. The thread is the only writer to stderr
//! while it lives: whoever wants to print something calls [`Display::finish`] first. All text
//! that steps produce passes the redaction of [`Progress::redact`]. A display never fails a
//! build: when stderr is gone, the output is dropped.

mod event;
mod look;
mod model;
mod plain;
mod rawjson;
mod redact;
mod screen;
mod tty;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use cooper_solver::{SolveEvent, VertexId};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

pub use event::{Event, StepId, Stream};
pub use look::Look;
pub use model::Line;
pub(crate) use plain::size;
pub use redact::Secrets;

use crate::options::ProgressMode;
use model::{Change, Model, StepState};
use screen::Sink;

/// How many events may wait to be shown; beyond it steps that print faster than the terminal
/// takes are slowed down instead of filling the memory.
const BACKLOG: usize = 1024;

/// How a build is shown.
#[derive(Clone, Debug)]
pub struct DisplayOptions {
    /// The kind of view.
    pub mode: ProgressMode,
    /// Whether colours are used.
    pub color: bool,
    /// How the live view looks.
    pub look: Look,
}

impl DisplayOptions {
    /// Returns the options of a display that looks as it always does.
    pub fn new(mode: ProgressMode, color: bool) -> Self {
        Self {
            mode,
            color,
            look: Look::default(),
        }
    }

    fn resolved(&self) -> ProgressMode {
        match self.mode {
            ProgressMode::Auto | ProgressMode::Tty if std::io::stderr().is_terminal() => {
                ProgressMode::Tty
            }
            ProgressMode::Auto | ProgressMode::Tty => ProgressMode::Plain,
            mode => mode,
        }
    }
}

/// What there is to say about a build once it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Steps that failed of themselves, in order of their numbers.
    pub failed: Vec<FailedStep>,
    /// How long the display was up.
    pub elapsed: Duration,
    /// How many steps ended well.
    pub done: usize,
    /// How many steps there were.
    pub total: usize,
    /// What must not be shown of it.
    pub redaction: Secrets,
}

/// A step that failed, with what it had printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedStep {
    /// The step.
    pub id: StepId,
    /// Its name.
    pub name: String,
    /// The last lines that it wrote.
    pub tail: Vec<Line>,
    /// How many lines before those were not kept.
    pub dropped: u64,
    /// Whether the display has already shown all its lines.
    pub shown: bool,
}

/// The running display. Dropping it ends it as [`Display::finish`] does.
#[derive(Debug)]
pub struct Display {
    progress: Progress,
    thread: Option<JoinHandle<Summary>>,
}

enum Message {
    Event(Event),
    Finish,
}

impl Display {
    /// Starts to show what the display's [`Progress`] is told.
    ///
    /// It starts a thread, so a user namespace must have been entered before.
    pub fn start(options: DisplayOptions) -> Self {
        Self::begin(move |clock| Worker::new(&options, clock))
    }

    /// Starts to write what there is to show to `file`, and nothing to stderr.
    pub fn start_in(file: File, mode: ProgressMode) -> Self {
        let mode = match mode {
            ProgressMode::Auto | ProgressMode::Tty => ProgressMode::Plain,
            mode => mode,
        };
        let options = DisplayOptions::new(mode, false);
        Self::begin(move |clock| Worker {
            sink: Sink::File(file),
            ..Worker::new(&options, clock)
        })
    }

    fn begin(worker: impl FnOnce(Clock) -> Worker + Send + 'static) -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(BACKLOG);
        let clock = Clock {
            start: Instant::now(),
            wall: SystemTime::now(),
        };
        let progress = Progress {
            sender,
            clock,
            next: Arc::new(AtomicU32::new(0)),
        };
        let thread = std::thread::Builder::new()
            .name("progress".into())
            .spawn(move || worker(clock).run(&receiver))
            .ok();
        Self { progress, thread }
    }

    /// Returns the display's input.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Shows what is still to be shown, gives the terminal back and returns the summary.
    pub fn finish(mut self) -> Summary {
        self.stop()
    }

    fn stop(&mut self) -> Summary {
        let Some(thread) = self.thread.take() else {
            return Summary::default();
        };
        // A send fails only if the thread is gone, which join then tells.
        let _ = self.progress.sender.send(Message::Finish);
        thread.join().unwrap_or_default()
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
    wall: SystemTime,
}

/// Takes the events of one build; clones feed the same display.
#[derive(Clone)]
pub struct Progress {
    sender: Sender<Message>,
    clock: Clock,
    next: Arc<AtomicU32>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

impl Progress {
    /// Returns the time since the display was started, which is what events are stamped with.
    pub fn now(&self) -> Duration {
        self.clock.start.elapsed()
    }

    /// Shows `event`.
    pub fn send(&self, event: Event) {
        // After the display has finished there is nobody left to show it to.
        let _ = self.sender.send(Message::Event(event));
    }

    /// Declares a step that is not started yet.
    pub fn declare(&self, name: impl Into<String>) -> StepId {
        let step = StepId(self.next.fetch_add(1, Ordering::Relaxed));
        self.send(Event::Declared {
            step,
            name: name.into(),
        });
        step
    }

    /// Starts a step of the builder's own.
    pub fn step(&self, name: impl Into<String>) -> StepGuard {
        let step = self.declare(name);
        self.send(Event::Started {
            step,
            at: self.now(),
        });
        StepGuard {
            progress: self.clone(),
            step,
            open: true,
        }
    }

    /// Declares the vertices that are shown, in the order given.
    pub fn vertices(&self, names: impl IntoIterator<Item = (VertexId, String)>) -> Vertices {
        let steps = names
            .into_iter()
            .map(|(vertex, name)| (vertex, self.declare(name)))
            .collect();
        Vertices {
            progress: self.clone(),
            steps,
            cached: Mutex::default(),
        }
    }

    /// Shows a warning.
    pub fn warn(&self, message: impl Into<String>) {
        self.send(Event::Warning {
            message: message.into(),
        });
    }

    /// Tells programs of what a build check found, as BuildKit's `VertexWarning`.
    pub fn found(&self, warning: serde_json::Value) {
        self.send(Event::Found { warning });
    }

    /// Keeps `values` out of everything shown from now on.
    pub fn redact(&self, values: Vec<Vec<u8>>) {
        self.send(Event::Redact { values });
    }
}

/// Shows what a solve tells, under names of the caller's.
///
/// A solve finds what is remembered from its targets backwards. Such finds are held until
/// something else happens and then shown in the order of the steps, as people read them.
#[derive(Debug)]
pub struct Vertices {
    progress: Progress,
    steps: BTreeMap<VertexId, StepId>,
    cached: Mutex<Vec<(StepId, Duration)>>,
}

impl Vertices {
    /// Returns the step of `vertex`, if it is shown at all.
    pub fn step(&self, vertex: VertexId) -> Option<StepId> {
        self.steps.get(&vertex).copied()
    }

    /// Shows `event`, unless its vertex has no name.
    pub fn show(&self, event: SolveEvent) {
        let Some(step) = self.step(event.vertex()) else {
            return;
        };
        let at = self.progress.now();
        let event = match event {
            SolveEvent::Cached { .. } => {
                self.held().push((step, at));
                return;
            }
            SolveEvent::Started { .. } => Event::Started { step, at },
            SolveEvent::Log { stream, data, .. } => Event::Log {
                step,
                at,
                stream: stream.into(),
                data,
            },
            SolveEvent::Completed { .. } => Event::Completed { step, at },
            SolveEvent::Failed {
                error, canceled, ..
            } => Event::Failed {
                step,
                at,
                error,
                canceled,
            },
        };
        self.show_cached();
        self.progress.send(event);
    }

    fn show_cached(&self) {
        let mut held = std::mem::take(&mut *self.held());
        held.sort_by_key(|(step, _)| *step);
        for (step, at) in held {
            self.progress.send(Event::Cached { step, at });
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<(StepId, Duration)>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Vertices {
    fn drop(&mut self) {
        self.show_cached();
    }
}

/// A started step of the builder's own; one that is dropped without an end counts as cancelled.
#[derive(Debug)]
pub struct StepGuard {
    progress: Progress,
    step: StepId,
    open: bool,
}

impl StepGuard {
    /// Shows output of the step.
    pub fn log(&self, data: &[u8]) {
        let at = self.progress.now();
        let (step, data) = (self.step, data.to_vec());
        self.progress.send(Event::Log {
            step,
            at,
            stream: Stream::Stderr,
            data,
        });
    }

    /// Shows how far `item`, a part of the step's work, has come.
    pub fn status(&self, item: &str, current: u64, total: Option<u64>, done: bool) {
        let (step, at, item) = (self.step, self.progress.now(), item.to_owned());
        self.progress.send(Event::Status {
            step,
            at,
            item,
            current,
            total,
            done,
        });
    }

    /// Ends the step: it was carried out.
    pub fn done(mut self) {
        self.end(Event::Completed {
            step: self.step,
            at: self.progress.now(),
        });
    }

    /// Ends the step: it failed.
    pub fn fail(mut self, error: &dyn std::fmt::Display) {
        let (step, at) = (self.step, self.progress.now());
        self.end(Event::Failed {
            step,
            at,
            error: error.to_string(),
            canceled: false,
        });
    }

    /// Ends the step with `result`, which is handed on.
    pub fn end_with<T, E: std::fmt::Display>(self, result: Result<T, E>) -> Result<T, E> {
        match &result {
            Ok(_) => self.done(),
            Err(error) => self.fail(error),
        }
        result
    }

    /// Ends the step with `result`, which is handed on to where a failure is said.
    pub fn silently<T, E>(self, result: Result<T, E>) -> Result<T, E> {
        match &result {
            Ok(_) => self.done(),
            Err(_) => self.fail(&""),
        }
        result
    }

    fn end(&mut self, event: Event) {
        if std::mem::take(&mut self.open) {
            self.progress.send(event);
        }
    }
}

impl Drop for StepGuard {
    fn drop(&mut self) {
        let (step, at) = (self.step, self.progress.now());
        self.end(Event::Failed {
            step,
            at,
            error: String::new(),
            canceled: true,
        });
    }
}

/// Lays changes out. `out` receives text that stays; a frame is redrawn in place below it.
trait View: Send {
    /// Lays out one change.
    fn change(&mut self, model: &Model, change: &Change, now: Duration, out: &mut String);

    /// Lays out what was held back until `now`, and the frame for a screen of `size`.
    fn frame(
        &mut self,
        _model: &Model,
        _now: Duration,
        _size: screen::Size,
        _out: &mut String,
    ) -> Vec<String> {
        Vec::new()
    }

    /// Returns how long the view can wait for the next event before [`View::frame`] is due.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// Lays out what is left at the end.
    fn finish(&mut self, _model: &Model, _now: Duration, _out: &mut String) {}

    /// Returns whether every line of a step is shown for good.
    fn shows_lines(&self) -> bool {
        false
    }
}

/// Shows nothing.
struct Silent;

impl View for Silent {
    fn change(&mut self, _: &Model, _: &Change, _: Duration, _: &mut String) {}
}

struct Worker {
    model: Model,
    view: Box<dyn View>,
    sink: Sink,
    clock: Clock,
    out: String,
}

impl Worker {
    fn new(options: &DisplayOptions, clock: Clock) -> Self {
        let (view, sink): (Box<dyn View>, _) = match options.resolved() {
            ProgressMode::Tty | ProgressMode::Auto => {
                let sink = Sink::screen();
                let look = options.color.then(|| options.look.clone());
                let lines = options.look.log_lines;
                (Box::new(tty::Tty::new(look, lines, sink.size())), sink)
            }
            ProgressMode::Plain => (Box::new(plain::Plain::default()), Sink::stderr()),
            ProgressMode::RawJson => (Box::new(rawjson::RawJson::new(clock.wall)), Sink::stderr()),
            ProgressMode::Quiet => (Box::new(Silent), Sink::stderr()),
        };
        Self {
            model: Model::default(),
            view,
            sink,
            clock,
            out: String::new(),
        }
    }

    fn run(mut self, receiver: &Receiver<Message>) -> Summary {
        loop {
            let first = match self.view.patience() {
                Some(patience) => receiver.recv_timeout(patience),
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let more = match first {
                Ok(message) => self.take(message) && self.drain(receiver),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if !more {
                return self.finish();
            }
            let now = self.clock.start.elapsed();
            let size = self.sink.size();
            let frame = self.view.frame(&self.model, now, size, &mut self.out);
            self.sink.show(&std::mem::take(&mut self.out), &frame);
        }
    }

    /// Takes what else is there, so that one write shows it all. False is the end.
    fn drain(&mut self, receiver: &Receiver<Message>) -> bool {
        for _ in 0..BACKLOG {
            let more = match receiver.try_recv() {
                Ok(message) => self.take(message),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => false,
            };
            if !more {
                return false;
            }
        }
        true
    }

    fn take(&mut self, message: Message) -> bool {
        let Message::Event(event) = message else {
            return false;
        };
        let now = self.clock.start.elapsed();
        for change in self.model.apply(event) {
            self.view.change(&self.model, &change, now, &mut self.out);
        }
        true
    }

    fn finish(mut self) -> Summary {
        let elapsed = self.clock.start.elapsed();
        self.view.finish(&self.model, elapsed, &mut self.out);
        self.sink.finish(&self.out);
        let (done, total) = self.model.totals();
        let failed = |step: &model::Step| matches!(step.state, StepState::Failed(_));
        let failed = self
            .model
            .appeared()
            .into_iter()
            .filter(|(_, step)| failed(step));
        let shown = self.view.shows_lines();
        let failed = failed.map(|(id, step)| FailedStep {
            id,
            name: step.name.clone(),
            tail: step.tail.iter().cloned().collect(),
            dropped: step.dropped,
            shown,
        });
        Summary {
            failed: failed.collect(),
            elapsed,
            done,
            total,
            redaction: self.model.secrets().clone(),
        }
    }
}

/// Writes `text` to stderr; a closed stderr is nobody's error.
fn write_stderr(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}
