//! Sources: images, contexts, downloads, repositories.

use std::sync::Arc;

use cooper_frontend::ir::{ImageSource, LocalSource, SourceOp};
use cooper_solver::{ExecContext, Stream};

use crate::build::context::ContextFiles;
use crate::build::engine::Engine;
use crate::build::error::OpError;
use crate::build::fetch::Watch;
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
        SourceOp::Local(local) => context(engine, local, cx),
        SourceOp::Http(request) => {
            watched(cx, |watch| engine.fetcher().http(request, watch)).map(Output::Root)
        }
        SourceOp::Git(git) => {
            watched(cx, |watch| engine.fetcher().git(git, watch)).map(Output::Root)
        }
    }
}

/// Lets the step's own watchers see what is fetched.
fn watched<T>(cx: &ExecContext<'_>, fetch: impl FnOnce(Watch<'_>) -> T) -> T {
    fetch(Watch {
        cancel: cx.cancel,
        log: &|data| cx.log(Stream::Stderr, data),
    })
}

fn image_root(image: &ImageSource) -> Result<Root, OpError> {
    let mut root = Root::default();
    for name in &image.layers {
        let id = layer_id(name)?;
        root.layers.push(RootLayer { id, created: None });
    }
    Ok(root)
}

fn context(engine: &Engine, local: &LocalSource, cx: &ExecContext<'_>) -> Result<Output, OpError> {
    let fetcher = engine.fetcher();
    let root = match engine.context(&local.name)? {
        ContextFiles::Dir(context) => {
            let files = context.scan(&local.paths)?;
            let context = Arc::clone(context);
            return Ok(Output::Context(Arc::new(ScannedContext { context, files })));
        }
        ContextFiles::Root(root) => root.clone(),
        ContextFiles::Git(git) => watched(cx, |watch| fetcher.git(git, watch))?,
        ContextFiles::Http(url) => watched(cx, |watch| fetcher.http_context(url, watch))?.root,
    };
    Ok(Output::Root(root))
}
