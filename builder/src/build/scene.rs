//! What a failed RUN leaves for whoever looks into it: an image of its root filesystem.
//!
//! It holds what the step had written until it failed, with the step's environment, user
//! and working directory, and starts a shell. There is one at a time, under one name: the
//! next failure replaces it. Secrets and other mounts of the step are not in it.

use cooper_cache::RelPath;
use cooper_frontend::ir::ExecOp;
use cooper_oci::{ImageConfig, Reference, RuntimeConfig};

use super::engine::Engine;
use super::error::OpError;
use super::ops::exec::StepRoot;
use super::output::Root;
use super::step_image;

/// The name of the image.
const NAME: &str = "failed-step";
/// What it runs; without it there is nothing to look around with.
const SHELL: &str = "/bin/sh";

/// Keeps the failed step's root filesystem and returns the name to run it by.
///
/// Nothing is kept of a root without a shell, nor where the store cannot take it: the
/// failure of the step itself is what matters.
pub(super) fn keep(engine: &Engine, op: &ExecOp, base: &Root, left: StepRoot) -> Option<String> {
    let name: Reference = NAME.parse().ok()?;
    try_keep(engine, op, base, left, &name.with_default_tag())
        .ok()
        .flatten()
        .map(|()| NAME.to_owned())
}

fn try_keep(
    engine: &Engine,
    op: &ExecOp,
    base: &Root,
    left: StepRoot,
    name: &Reference,
) -> Result<Option<()>, OpError> {
    let below = engine.root_tree(base)?;
    if below
        .resolve(&RelPath::clean(SHELL), true)
        .map_or(true, |shell| below.get(&shell.path).is_none())
    {
        return Ok(None);
    }
    let layer = left.commit(engine, base)?;
    engine.suspect(layer.id());
    let root = base.clone().with(layer.id().clone(), engine.now());
    let store = engine.store();
    let images = store.images();
    let record = step_image::put(
        store,
        engine.layers(),
        config(op),
        &root.ids(),
        engine.now(),
    )?;
    let replaced = images.untag(name)?;
    if let Some(old) = replaced
        && old != record.id
        && images.tags()?.iter().all(|(_, id)| *id != old)
    {
        images.remove(&old)?;
    }
    images.tag(name, &record.id)?;
    Ok(Some(()))
}

fn config(op: &ExecOp) -> ImageConfig {
    let mut config = ImageConfig::new(&op.platform);
    config.config = RuntimeConfig {
        env: op
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        user: op.user.clone(),
        working_dir: op.cwd.clone(),
        cmd: Some(vec![SHELL.to_owned()]),
        ..RuntimeConfig::default()
    };
    config
}
