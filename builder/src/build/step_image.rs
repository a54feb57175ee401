//! Results of steps as images, so that they can be run.

use cooper_cache::{ImageRecord, LayerId, Layers, Store, Timestamp};
use cooper_oci::ImageConfig;

use super::engine::now;
use super::error::OpError;
use super::memory::{Memory, StepMemory};
use crate::image::{DatedLayer, Image, Parts, rfc3339};

/// The fewest digits of a step's ID that mean it.
const FEWEST: usize = 6;

/// Why a step has no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepImageError {
    /// Several steps begin so.
    #[error("{id} could mean several steps: {}", found.join(", "))]
    Ambiguous {
        /// The digits.
        id: String,
        /// How the steps are shown.
        found: Vec<String>,
    },
    /// It was built by a version that did not remember enough, or its result is gone.
    #[error("the result of {step} is not there any more")]
    Gone {
        /// How the step is shown.
        step: String,
        /// What is missing.
        source: Option<Box<OpError>>,
    },
    /// What is remembered cannot be read.
    #[error(transparent)]
    Store(#[from] cooper_cache::StoreError),
}

/// Returns the image of the step whose ID begins with `id`, put into the store without a name;
/// none if no build remembers such a step.
pub fn step_image(store: &Store, id: &str) -> Result<Option<ImageRecord>, StepImageError> {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if id.len() < FEWEST || !id.bytes().all(hexadecimal) {
        return Ok(None);
    }
    let memories = Memory::all(store)?;
    let mut steps: Vec<&StepMemory> = Vec::new();
    for step in memories.iter().flat_map(|memory| &memory.steps) {
        if step.id().starts_with(id) && steps.iter().all(|known| known.key != step.key) {
            steps.push(step);
        }
    }
    match steps.as_slice() {
        [] => Ok(None),
        [step] => image_of(store, step).map(Some),
        several => Err(StepImageError::Ambiguous {
            id: id.to_owned(),
            found: several.iter().map(|step| step.display.clone()).collect(),
        }),
    }
}

fn image_of(store: &Store, step: &StepMemory) -> Result<ImageRecord, StepImageError> {
    let gone = |source| StepImageError::Gone {
        step: step.display.clone(),
        source,
    };
    let config = step.image.as_ref().ok_or_else(|| gone(None))?;
    let layers = store.layers();
    let put = put(store, &layers, config.clone(), &step.layers, now(None));
    put.map_err(|source| gone(Some(Box::new(source))))
}

/// Puts an image of these layers into the store.
pub(super) fn put(
    store: &Store,
    layers: &Layers,
    config: ImageConfig,
    ids: &[LayerId],
    created: Timestamp,
) -> Result<ImageRecord, OpError> {
    let mut size = 0;
    for id in ids {
        size += layers.ensure(id)?.size()?;
    }
    let dated = ids.iter().map(|id| DatedLayer {
        id: id.clone(),
        created: None,
    });
    let root: Vec<_> = dated.collect();
    let parts = Parts {
        config,
        base_created: Some(rfc3339(created)),
        history: &[],
        root: &root,
        squashed: None,
        epoch: None,
        omit_history: false,
    };
    let image = Image::assemble(parts, layers)?;
    store.blobs().put(&image.config_bytes)?;
    let record = image.record(size);
    store.images().put(&record)?;
    Ok(record)
}
