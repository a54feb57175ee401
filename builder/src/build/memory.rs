//! What is remembered of a definition's steps from build to build.
//!
//! One small file for each Dockerfile, target and platform ([`Place`]) below the store's `builds/`
//! tells of each step what it was made of, what it gave and how long it took. From it come the
//! order in which steps start (the longest known path first), and the answer to why a step ran.
//! It is a plain file, since every build reads it before it starts; losing it costs an answer,
//! never a result. Values of variables are kept as hashes only.

use std::collections::HashMap;
use std::time::Duration;

use cooper_cache::{LayerId, Store, StoreError};
use cooper_frontend::ir::BuildOp;
use cooper_frontend::lower::Step;
use cooper_oci::ImageConfig;
use cooper_solver::StableHasher;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bump when the form changes: files of another version count as none.
const VERSION: u32 = 1;

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
    /// Returns what is remembered of a definition; nothing if that was never built, or is damaged.
    pub(crate) fn load(store: &Store, place: &Place) -> Option<Self> {
        let bytes = store.notes().get(&place.0)?;
        let memory: Self = serde_json::from_slice(&bytes).ok()?;
        (memory.version == VERSION).then_some(memory)
    }

    /// Returns what is to be remembered of a build that ended at `at`.
    pub(crate) fn new(title: String, at: i64, steps: Vec<StepMemory>) -> Self {
        Self {
            version: VERSION,
            title,
            at,
            steps,
        }
    }

    /// Remembers this instead of what was.
    pub(crate) fn save(&self, store: &Store, place: &Place) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(self).expect("plain data always serialises");
        store.notes().put(&place.0, &bytes)
    }

    /// Returns everything that is remembered, the latest first.
    pub fn all(store: &Store) -> Result<Vec<Self>, StoreError> {
        let files = store.notes().all()?;
        let mut found: Vec<Self> = files
            .iter()
            .filter_map(|bytes| serde_json::from_slice(bytes).ok())
            .filter(|memory: &Self| memory.version == VERSION)
            .collect();
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
    pub(crate) fn of(&self, step: &Step) -> Option<&StepMemory> {
        let same_stage = || self.steps.iter().filter(|old| old.stage == step.stage);
        let same = same_stage().filter(|old| old.command == step.command);
        same.min_by_key(|old| old.index.abs_diff(step.index))
            .or_else(|| same_stage().find(|old| old.index == step.index))
    }

    /// Returns how long a step took, if that is known.
    pub(crate) fn duration(&self, step: &Step) -> Option<Duration> {
        self.of(step)?.millis.map(Duration::from_millis)
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
