//! Which stages a build needs, and what must be known before it can start.

use crate::error::{Diagnostic, Diagnostics};
use crate::image::{ImageRequest, ResolvedImages};
use crate::lower::Lowered;
use crate::settings::BuildSettings;
use crate::source::Span;
use crate::syntax::Dockerfile;

/// The stages that a target needs.
#[derive(Clone, Debug)]
pub struct Plan;

impl Plan {
    /// Finds the target and what it needs.
    pub fn new(_dockerfile: &Dockerfile, _settings: &BuildSettings) -> Result<Self, Diagnostics> {
        Ok(Self)
    }

    /// Returns what must still be answered before [`Self::lower`] can work.
    ///
    /// Ask again after each round of answers: triggers of a base image can
    /// copy from further images.
    pub fn requests(&self, _images: &ResolvedImages) -> Vec<ImageRequest> {
        Vec::new()
    }

    /// Makes the build graph and the image configuration.
    pub fn lower(&self, _images: &ResolvedImages) -> Result<Lowered, Diagnostics> {
        Err(vec![Diagnostic::error(
            "unsupported",
            Span::default(),
            "lowering is not there yet",
        )])
    }
}
