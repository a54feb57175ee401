//! What the checks say of a file that cannot be built.
//!
//! Whoever mends an error wants to hear of the warnings beside it in the same go. BuildKit tells
//! those that it meets before the first error; so does this, and it goes on to those below as far
//! as they are about one instruction, or about the way the file is written, so that nothing that
//! a broken instruction above was to say can make them untrue.

use crate::error::{Code, Diagnostics};

use super::{Check, Config, Inputs, Warning, check};

/// Runs the checks on what can be read of a file, with the plan of
/// [`Plan::salvage`](crate::Plan::salvage). `errors` is what keeps it from being built.
pub fn check_broken(inputs: &Inputs<'_>, config: &Config, errors: &Diagnostics) -> Vec<Warning> {
    // A target that is not there is no fault of the line that its error stands at.
    let faults = errors
        .iter()
        .filter(|error| error.code != Code::UnknownTarget);
    let first = faults.map(|error| error.span.start).min();
    let mut warnings = check(inputs, config);
    warnings.retain(|warning| {
        let alone = matches!(
            warning.rule.check,
            Check::File(_) | Check::Line(_) | Check::Stage(_)
        );
        alone || first.is_none_or(|first| warning.location.start < first)
    });
    warnings
}
