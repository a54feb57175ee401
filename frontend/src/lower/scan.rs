//! What is to be looked through for packages besides the image.
//!
//! `ARG BUILDKIT_SBOM_SCAN_CONTEXT` and `ARG BUILDKIT_SBOM_SCAN_STAGE` say so, for all stages where
//! they stand before the first `FROM`, else for the stage that declares them.

use cooper_solver::VertexId;

use super::Lowering;
use super::stage::StageState;

/// Asks for the contexts.
const CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";
/// Asks for stages: a truth value, or a list of names.
const STAGE: &str = "BUILDKIT_SBOM_SCAN_STAGE";

/// What is to be looked through for packages besides the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scans {
    /// Whether the build context is.
    pub context: bool,
    /// Stages by name, `stage-N` for one without, each with its layers.
    pub stages: Vec<(String, VertexId)>,
}

impl Lowering<'_> {
    /// Returns what the finished stages ask for.
    pub(super) fn scans(&self) -> Scans {
        let mut scans = Scans::default();
        for (index, state) in self.done.iter().enumerate() {
            let Some(state) = state else { continue };
            let name = &self.plan.dockerfile.stages[index].name;
            let name = match name {
                Some(name) => name.value.clone(),
                None => format!("stage-{index}"),
            };
            scans.context |= self.asks(state, CONTEXT, &name);
            let wanted = index != self.plan.target && self.asks(state, STAGE, &name);
            let layers = state.layers.filter(|_| wanted);
            scans.stages.extend(layers.map(|layers| (name, layers)));
        }
        scans
    }

    fn asks(&self, state: &StageState, argument: &str, stage: &str) -> bool {
        let mut own = state.build_args.iter().rev();
        let own = own.find(|(name, _)| name == argument);
        let value = match own {
            Some((_, value)) => value.as_deref(),
            None => self.plan.globals.get(argument),
        };
        match value.unwrap_or_default() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            names => names.split(',').any(|name| name.trim() == stage),
        }
    }
}
