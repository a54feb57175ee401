//! `--squash`: the layers of a build become one before the image is made.
//!
//! Steps and records know nothing of it: the layers that were squashed stay in the store under
//! their own names, so a later build, squashed or not, takes all of them from the cache.

use cooper_cache::LayerId;

use super::engine::Engine;
use super::error::{BuildError, OpError};
use super::output::Root;
use crate::image::Squashed;
use crate::options::Squash;
use crate::progress::Progress;

/// Makes the layers of the image out of those of `root`; nothing if they stay as they are.
pub(super) fn squash(
    engine: &Engine,
    root: &Root,
    how: Squash,
    progress: &Progress,
) -> Result<Option<Squashed>, BuildError> {
    let ids = root.ids();
    let from = match how {
        Squash::Off => return Ok(None),
        Squash::New => root
            .layers
            .iter()
            .take_while(|l| l.created.is_none())
            .count(),
        Squash::All => 0,
    };
    let (base, layers) = ids.split_at(from);
    // One layer is what squashing makes of it, save for the marks that a base's layer may have.
    if layers.len() < 2 {
        return Ok(None);
    }
    let step = progress.step(format!("squashing {} layers", layers.len()));
    let squashed = step.end_with(one_layer(engine, &ids, base, layers));
    let squashed = squashed.map_err(|source| BuildError::Internal { source })?;
    Ok(Some(Squashed {
        layers: [base, &[squashed]].concat(),
        count: layers.len(),
    }))
}

fn one_layer(
    engine: &Engine,
    all: &[LayerId],
    base: &[LayerId],
    layers: &[LayerId],
) -> Result<LayerId, OpError> {
    engine.ensure(all)?;
    let wanted = || !engine.cancel().is_cancelled();
    Ok(engine.layers().squash(base, layers, &wanted)?)
}
