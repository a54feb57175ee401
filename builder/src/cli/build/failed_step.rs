//! `cooper build --on-error=shell`: a shell in the place of a RUN that failed.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal};

use super::run::failed;
use crate::build::{BuildError, FailedStep};
use crate::busybox;
use crate::container::attach::{self, Side, window_size};
use crate::progress::{Display, Summary};
use crate::report::{self, Report};

/// Refuses what nobody could type into.
pub(super) fn check_terminal() -> Result<(), Report> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return Ok(());
    }
    Err(
        Report::new("--on-error=shell needs a terminal: stdin or stdout is none").hint(
            "without it, `cooper run --rm -it failed-step` looks into what a failed step left",
        ),
    )
}

/// The display of a build, which ends before a shell begins.
pub(super) struct Shown {
    display: RefCell<Option<Display>>,
    summary: RefCell<Summary>,
    color: bool,
    told: Cell<bool>,
}

impl Shown {
    pub(super) fn new(display: Display, color: bool) -> Self {
        Self {
            display: RefCell::new(Some(display)),
            summary: RefCell::default(),
            color,
            told: Cell::new(false),
        }
    }

    /// Returns whether the failure was said before the shell was opened.
    pub(super) fn has_told(&self) -> bool {
        self.told.get()
    }

    /// Ends the display.
    pub(super) fn finish(self) -> Summary {
        self.end();
        self.summary.into_inner()
    }

    fn end(&self) {
        if let Some(display) = self.display.borrow_mut().take() {
            *self.summary.borrow_mut() = display.finish();
        }
    }

    /// Says what failed, and opens a shell there until it ends.
    pub(super) fn open_shell(&self, error: &BuildError, step: &FailedStep<'_>) {
        self.end();
        let summary = self.summary.borrow().clone();
        report::print_error(&failed(error, summary).render(self.color));
        self.told.set(true);
        if let Err(report) = shell(step) {
            report::print_error(&report.render(self.color));
        }
    }
}

fn shell(step: &FailedStep<'_>) -> Result<u8, Report> {
    let busybox = if step.shell().is_some() {
        None
    } else {
        Some(busybox::find().ok_or_else(no_shell)?)
    };
    let what = match step.shell() {
        Some(shell) => format!("{shell} in the failed step"),
        None => "a busybox of this machine in the failed step, which has no shell".to_owned(),
    };
    report::print_error(&format!("\n{what}; exit ends the build\n"));
    let side = Side::prepare(&attach::Options::default(), true, true)?;
    let process = step.open(window_size(), busybox).map_err(|error| {
        Report::from_error(&error).context("cannot open a shell in the failed step")
    })?;
    side.run_process(process)
}

fn no_shell() -> Report {
    Report::new("the failed step has no shell, and this machine has no static busybox to lend it")
        .hint("install the package busybox-static")
}
