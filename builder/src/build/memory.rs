//! What is remembered of a definition's steps from build to build.
//!
//! One small file for each Dockerfile, target and platform ([`Place`]) below the store's `builds/`
//! tells of each step what it was made of, what it gave and how long it took. From it come the
//! order in which steps start (the longest known path first), and the answer to why a step ran.
//! It is a plain file, since every build looks at it; losing it costs an answer, never a result.
//! Its first line tells the sources of the steps, so that a build in which all is known and they
//! are the same need not read on. Values of variables are kept as hashes only.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cooper_cache::{LayerId, Store, StoreError};
use cooper_frontend::ir::BuildOp;
use cooper_frontend::lower::Step;
use cooper_oci::ImageConfig;
use cooper_solver::{StableHasher, VertexId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bump when the form changes: files of another version count as none.
const VERSION: u32 = 2;

/// Digits of a short ID, as docker has them.
const SHORT: usize = 12;

/// Which definition a memory is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place(String);

impl Place {
    /// Returns the place of a Dockerfile (its path, or what stands for one) built in a context for
    /// a target and a platform.
    pub(crate) fn new(parts: &[String]) -> Self {
        let mut hasher = StableHasher::new("cooper.definition");
        for part in parts {
            hasher.write_str(part);
        }
        Self(hasher.finish_content().to_string())
    }
}

/// What former builds of some steps left. It is read when it is first asked for: where all is
/// known nobody asks.
pub(crate) struct Past {
    store: Store,
    place: Place,
    steps: Arc<BTreeMap<VertexId, Step>>,
    kept: OnceLock<Option<Kept>>,
    memory: OnceLock<Memory>,
}

impl Past {
    /// Prepares to tell of `steps`, which are of the definition at `place`.
    pub(crate) fn new(store: Store, place: Place, steps: Arc<BTreeMap<VertexId, Step>>) -> Self {
        Self {
            store,
            place,
            steps,
            kept: OnceLock::new(),
            memory: OnceLock::new(),
        }
    }

    fn kept(&self) -> Option<&Kept> {
        let load = || self.store.notes().get(&self.place.0).map(Kept);
        self.kept.get_or_init(load).as_ref()
    }

    fn memory(&self) -> &Memory {
        let read = || self.kept().and_then(Kept::read).unwrap_or_default();
        self.memory.get_or_init(read)
    }

    /// Returns whether the sources were these; see [`digest_of`].
    pub(crate) fn has_sources(&self, digest: &str) -> bool {
        self.kept().is_some_and(|kept| kept.has_sources(digest))
    }

    /// Returns what is remembered of a vertex.
    pub(crate) fn of(&self, vertex: VertexId) -> Option<&StepMemory> {
        self.memory().of(self.steps.get(&vertex)?)
    }

    /// Returns how long a vertex took when it was last executed, if that is known.
    pub(crate) fn duration(&self, vertex: VertexId) -> Option<Duration> {
        self.of(vertex)?.millis.map(Duration::from_millis)
    }

    /// Returns the layer on top of what a vertex gave when it was last executed, if that is known.
    pub(crate) fn last_layer(&self, vertex: VertexId) -> Option<&LayerId> {
        self.of(vertex)?.layers.last()
    }
}

/// A memory's file, not read yet.
struct Kept(Vec<u8>);

impl Kept {
    /// Returns its two parts: what tells the sources, and the memory in JSON.
    fn parts(&self) -> Option<(&[u8], &[u8])> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        Some((&self.0[..end], &self.0[end + 1..]))
    }

    fn has_sources(&self, digest: &str) -> bool {
        let parts = self.parts();
        parts.is_some_and(|(sources, _)| sources == digest.as_bytes())
    }

    /// Returns the memory; none if it is damaged, or of another version.
    fn read(&self) -> Option<Memory> {
        let (_, json) = self.parts()?;
        let memory: Memory = serde_json::from_slice(json).ok()?;
        (memory.version == VERSION).then_some(memory)
    }
}

/// Returns what tells sources from others.
pub(crate) fn digest_of<'a>(sources: impl Iterator<Item = &'a BuildOp>) -> String {
    let mut hasher = StableHasher::new("cooper.sources");
    for op in sources {
        hasher.write_str(&describe(op).to_string());
    }
    hasher.finish_content().to_string()
}

/// All that is remembered of a definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    version: u32,
    /// What was built, for people.
    pub title: String,
    /// When a step was last executed, in seconds since the epoch.
    pub at: i64,
    /// The steps of the last build that executed any.
    pub steps: Vec<StepMemory>,
}

/// What is remembered of one step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMemory {
    /// Stage that it belongs to.
    pub stage: String,
    /// Number in its stage, from 1.
    pub index: usize,
    /// The instruction.
    pub command: String,
    /// As it is shown: `[build 2/5] RUN make`.
    pub display: String,
    /// Key under which its result is recorded, in hexadecimal.
    pub key: String,
    /// What it does, without what does not decide its result.
    pub op: Value,
    /// What it read.
    pub inputs: Vec<InputMemory>,
    /// The layers of its result, base first.
    pub layers: Vec<LayerId>,
    /// The configuration of an image of its result, to run it by; none in memories of before.
    #[serde(default)]
    pub image: Option<ImageConfig>,
    /// How long it took when it was last executed, in milliseconds.
    pub millis: Option<u64>,
    /// Why it was executed, or not, in the last build.
    pub why: Vec<String>,
}

/// What is remembered of a step's input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InputMemory {
    /// What gave it: a step's instruction, an image, a context.
    pub name: String,
    /// Digest of what was read from it.
    pub content: String,
}

impl StepMemory {
    /// Returns the digits of its key, by which it can be run; none if the result is not known.
    pub fn id(&self) -> &str {
        self.key.rsplit(':').next().unwrap_or_default()
    }

    /// Returns the start of its ID that is shown.
    pub fn short_id(&self) -> &str {
        let id = self.id();
        id.get(..SHORT).unwrap_or(id)
    }
}

impl Memory {
    /// Returns what is to be remembered of a build that ended at `at`.
    pub(crate) fn new(title: String, at: i64, steps: Vec<StepMemory>) -> Self {
        Self {
            version: VERSION,
            title,
            at,
            steps,
        }
    }

    /// Remembers this instead of what was, of steps with these sources; see [`digest_of`].
    pub(crate) fn save(
        &self,
        store: &Store,
        place: &Place,
        sources: &str,
    ) -> Result<(), StoreError> {
        let json = serde_json::to_string(self).expect("plain data always serialises");
        let file = format!("{sources}\n{json}");
        store.notes().put(&place.0, file.as_bytes())
    }

    /// Returns everything that is remembered, the latest first.
    pub fn all(store: &Store) -> Result<Vec<Self>, StoreError> {
        let files = store.notes().all()?;
        let files = files.into_iter().map(Kept);
        let mut found: Vec<Self> = files.filter_map(|kept| kept.read()).collect();
        found.sort_by_key(|memory| std::cmp::Reverse(memory.at));
        Ok(found)
    }

    /// Returns the steps by the keys of their results.
    pub fn by_key(memories: &[Self]) -> HashMap<&str, &StepMemory> {
        let steps = memories.iter().flat_map(|memory| &memory.steps);
        steps.map(|step| (step.key.as_str(), step)).collect()
    }

    /// Returns what is remembered of a step: of the same instruction in the same stage, else of
    /// the one in its place.
    fn of(&self, step: &Step) -> Option<&StepMemory> {
        let same_stage = || self.steps.iter().filter(|old| old.stage == step.stage);
        let same = same_stage().filter(|old| old.command == step.command);
        same.min_by_key(|old| old.index.abs_diff(step.index))
            .or_else(|| same_stage().find(|old| old.index == step.index))
    }
}

/// Returns what `op` does in a form that can be compared and shown to nobody but its author.
///
/// What does not decide the result is left out; values of variables and inline files are hashed.
pub(crate) fn describe(op: &BuildOp) -> Value {
    let mut value = serde_json::to_value(op).unwrap_or_default();
    veil(&mut value, "");
    value
}

fn veil(value: &mut Value, name: &str) {
    match value {
        Value::Object(fields) => {
            fields.shift_remove("unkeyed");
            for (name, field) in fields {
                veil(field, name);
            }
        }
        Value::Array(items) if name == "data" => {
            let bytes: Vec<u8> = items
                .iter()
                .filter_map(|item| item.as_u64().map(|byte| byte as u8))
                .collect();
            *value = hash(&bytes);
        }
        Value::Array(items) if name == "env" => {
            for item in items {
                if let Some(Value::String(text)) = item.get_mut(1) {
                    item[1] = hash(text.clone().as_bytes());
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| veil(item, "")),
        _ => {}
    }
}

fn hash(bytes: &[u8]) -> Value {
    let mut hasher = StableHasher::new("cooper.veiled");
    hasher.write_bytes(bytes);
    Value::String(hasher.finish_content().to_string())
}
