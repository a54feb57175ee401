//! What vertices yield: layers on disk, or a directory of the user's.

use std::sync::Arc;

use cooper_cache::{ContextTree, LayerId, Timestamp};
use cooper_frontend::Span;
use cooper_frontend::lower::HistoryItem;
use cooper_solver::{ContentDigest, StableHasher};
use serde::{Deserialize, Serialize};

use super::context::LocalContext;
use super::error::OpError;

/// The result of a vertex; cheap to clone.
#[derive(Clone)]
pub(crate) enum Output {
    /// A root filesystem.
    Root(Root),
    /// A local directory that has been scanned.
    Context(Arc<ScannedContext>),
}

/// What a scan found in a local directory.
pub(crate) struct ScannedContext {
    /// The directory.
    pub(crate) context: Arc<LocalContext>,
    /// Its files.
    pub(crate) files: ContextTree,
}

/// A stack of layers, base first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Root {
    /// The layers.
    pub(crate) layers: Vec<RootLayer>,
}

/// One layer of a root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct RootLayer {
    /// Its name in the store.
    pub(crate) id: LayerId,
    /// When a step of a build made it; none for layers of a base image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<Timestamp>,
}

impl Root {
    /// Returns this root with a new layer on top.
    pub(crate) fn with(mut self, id: LayerId, created: Timestamp) -> Self {
        self.layers.push(RootLayer {
            id,
            created: Some(created),
        });
        self
    }

    /// Returns the layers' names, base first.
    pub(crate) fn ids(&self) -> Vec<LayerId> {
        self.layers.iter().map(|layer| layer.id.clone()).collect()
    }

    /// Returns where the step is written that made the layer of that number; `history` is what
    /// the build added to it.
    pub(crate) fn place(&self, history: &[HistoryItem], layer: usize) -> Option<Span> {
        let made = |number: usize| self.layers[number].created.is_some();
        let nth = (0..layer).filter(|number| made(*number)).count();
        let mut items = history.iter().filter(|item| item.layer.is_some());
        made(layer).then(|| items.nth(nth).map(|item| item.span))?
    }

    /// Returns the digest of the whole filesystem: the chain of its layers' names, each
    /// of which stands for the layer's content.
    pub(crate) fn content(&self) -> ContentDigest {
        let mut hasher = StableHasher::new("cooper.root");
        for layer in &self.layers {
            hasher.write_str(&layer.id.to_string());
        }
        hasher.finish_content()
    }
}

impl Output {
    /// Returns the root filesystem; a context is none.
    pub(crate) fn root(&self) -> Result<&Root, OpError> {
        match self {
            Self::Root(root) => Ok(root),
            Self::Context(_) => Err(OpError::NotARoot),
        }
    }

    /// Returns the digest of a root filesystem as a whole.
    pub(crate) fn content(&self) -> Result<ContentDigest, OpError> {
        self.root().map(Root::content)
    }
}
