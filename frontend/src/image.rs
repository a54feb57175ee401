//! Questions about images that a plan raises, and their answers.

use std::collections::BTreeMap;

use cooper_oci::{Digest, ImageConfig, Platform, Reference};
use cooper_solver::VertexId;
use serde::{Deserialize, Serialize};

use crate::lower::HistoryItem;
use crate::source::Span;

/// What tells two image requests apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageKey {
    /// Which image.
    pub name: ImageName,
    /// For which platform.
    pub platform: Platform,
}

/// Which image is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ImageName {
    /// By canonical reference, tag included.
    Reference(String),
    /// The image of a named context, by the context's name as the user gave it.
    Context(String),
}

/// An image the plan needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRequest {
    /// Under which its answer goes into [`ResolvedImages`].
    pub key: ImageKey,
    /// As written in the Dockerfile, variables expanded.
    pub name: String,
    /// The reference; `None` for a named context.
    pub reference: Option<Reference>,
    /// The platform wanted.
    pub platform: Platform,
    /// Where the image is asked for first.
    pub span: Span,
    /// The stage whose name looks much like this one, for when there is no
    /// such image.
    pub suggestion: Option<String>,
}

/// What the plan needs to know of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers.
    pub layers: ImageLayers,
    /// The reference with the digest found, if it came by one.
    pub reference: Option<Reference>,
    /// What says exactly which image it is: the digest of its manifest, or of the
    /// configuration of one that has none. None of what another target comes to.
    pub digest: Option<Digest>,
}

/// Where an image's layers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageLayers {
    /// In the store, by name, base first, one for each diff id of the
    /// configuration.
    Stored(Vec<String>),
    /// In the graph that is being made: the image is what another target of
    /// the same build comes to.
    Target {
        /// The vertex with its layers; `None` without layers.
        vertex: Option<VertexId>,
        /// The history that the other target adds to that of its base.
        history: Vec<HistoryItem>,
    },
}

impl From<Vec<String>> for ImageLayers {
    fn from(names: Vec<String>) -> Self {
        Self::Stored(names)
    }
}

/// Answers so far.
pub type ResolvedImages = BTreeMap<ImageKey, ResolvedImage>;
