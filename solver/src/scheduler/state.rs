//! The state of one vertex: its name, and how far its result has come.

use crate::index::InputComponent;
use crate::key::{CacheKey, ContentDigest, InputName, vertex_key};

/// How a vertex is known to its consumers' definition keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Not known yet; the op's definition and inputs' names that are missing are counted.
    Pending { missing: usize },
    /// By its definition key.
    Key(CacheKey),
    /// By its content: the op has no definition.
    Nameless,
}

/// How far the result of a vertex has come.
pub(super) enum Phase<T> {
    /// Nobody asked for it.
    Idle,
    /// Asked for, but its name is not known yet.
    Wanted,
    /// Its definition key is being looked up.
    LookingUp,
    /// Inputs' results are missing.
    Gathering { missing: usize },
    /// Its content key is being made, or looked up.
    Settling,
    /// Another vertex with the same content key is on its way.
    Following(Box<Keys>),
    /// Ready to run, and waits for its turn.
    Queued(Option<Box<Keys>>),
    /// Handed to a worker to be claimed and run.
    Running,
    /// Claimed elsewhere; to be looked up again.
    Contended(Box<Keys>),
    /// The result is there.
    Done(T),
    /// Nothing will ask for it, as all consumers have their results.
    Skipped,
    /// It failed.
    Failed,
}

/// All that the scheduler knows of a vertex.
pub(super) struct Slot<T> {
    pub(super) op: Option<CacheKey>,
    pub(super) name: Name,
    pub(super) phase: Phase<T>,
    /// Contents by input, as far as they were needed; empty if none was.
    pub(super) contents: Vec<Option<ContentDigest>>,
    /// Consumers (by edge) that may still ask for the result. Targets are asked for at once.
    pub(super) readers: usize,
    pub(super) is_target: bool,
    /// The vertex ignores the cache, or its definition key names one that does: a
    /// result of that key from before must not pass for what the forced run gives.
    pub(super) forced: bool,
    /// How often it was found to be claimed elsewhere.
    pub(super) contentions: u32,
}

impl<T> Slot<T> {
    pub(super) fn new(inputs: usize) -> Self {
        Self {
            op: None,
            name: Name::Pending {
                missing: inputs + 1,
            },
            phase: Phase::Idle,
            contents: Vec::new(),
            readers: 0,
            is_target: false,
            forced: false,
            contentions: 0,
        }
    }

    /// Returns the result if it is there.
    pub(super) fn output(&self) -> Option<&T> {
        match &self.phase {
            Phase::Done(output) => Some(output),
            _ => None,
        }
    }

    /// Returns whether the terminal event was sent.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Done(_) | Phase::Skipped | Phase::Failed)
    }

    /// Returns the content of an input if it is known.
    pub(super) fn content(&self, index: usize) -> Option<ContentDigest> {
        self.contents.get(index).copied().flatten()
    }

    /// Counts a missing part of the name as known; returns whether it was the last.
    pub(super) fn part_named(&mut self) -> bool {
        match &mut self.name {
            Name::Pending { missing } => {
                *missing -= 1;
                *missing == 0
            }
            Name::Key(_) | Name::Nameless => false,
        }
    }
}

/// The keys of a vertex and what they are made of.
pub(super) struct Keys {
    pub(super) op: CacheKey,
    pub(super) definition: CacheKey,
    pub(super) content: CacheKey,
    pub(super) inputs: Box<[InputComponent]>,
}

impl Keys {
    pub(super) fn new(op: CacheKey, definition: CacheKey, inputs: Vec<InputComponent>) -> Self {
        let content = vertex_key(
            op,
            inputs.iter().map(|input| InputName::Content(input.content)),
        );
        Self {
            op,
            definition,
            content,
            inputs: inputs.into(),
        }
    }
}

/// Keys without all contents.
pub(super) struct Draft {
    pub(super) op: CacheKey,
    pub(super) definition: CacheKey,
    /// Definition key and content of each input, as far as they are known.
    pub(super) inputs: Vec<(Option<CacheKey>, Option<ContentDigest>)>,
}

impl Draft {
    /// Returns the keys if all contents are known.
    pub(super) fn finish(self) -> Result<Keys, Self> {
        let component = |&(definition, content): &(_, Option<_>)| {
            content.map(|content| InputComponent {
                definition,
                content,
            })
        };
        match self.inputs.iter().map(component).collect() {
            Some(inputs) => Ok(Keys::new(self.op, self.definition, inputs)),
            None => Err(self),
        }
    }
}
