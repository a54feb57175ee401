//! Sources: images, local directories, downloads.

use std::sync::Arc;

use cooper_frontend::ir::{ImageSource, LocalSource, SourceOp};
use cooper_solver::ExecContext;

use super::http;
use crate::build::engine::Engine;
use crate::build::error::OpError;
use crate::build::output::{Output, Root, RootLayer, ScannedContext};
use crate::build::resolve::layer_id;

/// Brings a source in, as far as that is needed to know it: an image's layers are not
/// fetched, a context's files not hashed.
pub(super) fn exec(
    engine: &Engine,
    source: &SourceOp,
    cx: &ExecContext<'_>,
) -> Result<Output, OpError> {
    match source {
        SourceOp::Image(image) => image_root(image).map(Output::Root),
        SourceOp::Scratch => Ok(Output::Root(Root::default())),
        SourceOp::Local(local) => context(engine, local),
        SourceOp::Http(request) => http::fetch(engine, request, cx).map(Output::Root),
        SourceOp::Git(_) => Err(OpError::Unsupported {
            what: "a git repository as a source",
        }),
    }
}

fn image_root(image: &ImageSource) -> Result<Root, OpError> {
    let mut root = Root::default();
    for name in &image.layers {
        let id = layer_id(name)?;
        root.layers.push(RootLayer { id, created: None });
    }
    Ok(root)
}

fn context(engine: &Engine, local: &LocalSource) -> Result<Output, OpError> {
    let context = engine.context(&local.name)?;
    let files = context.scan(&local.paths)?;
    let context = Arc::clone(context);
    Ok(Output::Context(Arc::new(ScannedContext { context, files })))
}
