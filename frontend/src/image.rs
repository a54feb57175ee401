//! Questions about images that a plan raises, and their answers.

use std::collections::BTreeMap;

use cooper_oci::{ImageConfig, Platform, Reference};
use serde::{Deserialize, Serialize};

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
    /// The names of its layers in the store, base first, one for each diff id
    /// of the configuration.
    pub layers: Vec<String>,
    /// The reference with the digest found, if it came by one.
    pub reference: Option<Reference>,
}

/// Answers so far.
pub type ResolvedImages = BTreeMap<ImageKey, ResolvedImage>;
