//! Asking before something is done that cannot be undone.

use std::io;

use crate::report::{Report, print_error};

/// Returns whether the user agrees to remove `what`, as docker asks it: the answer is a line of
/// standard input, terminal or not, and its end is a no.
pub(super) fn confirmed(what: &str) -> Result<bool, Report> {
    agreed(&format!(
        "WARNING! This will remove {what}.\nAre you sure you want to continue?"
    ))
}

/// Asks a question; anything but `y` is a no.
pub(super) fn agreed(question: &str) -> Result<bool, Report> {
    print_error(&format!("{question} [y/N] "));
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(|error| Report::from_error(&error).context("cannot read the answer"))?;
    Ok(matches!(line.trim(), "y" | "Y"))
}
