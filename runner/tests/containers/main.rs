//! Real processes in real namespaces, over a root made of busybox.
//!
//! There is no libtest here: `main` must be able to become the runner's worker. Each case is a
//! function; arguments filter by substring, as libtest's do.

#![expect(clippy::print_stderr, reason = "this is the test harness")]

mod escapes;
mod mounts;
mod processes;
mod rootless;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// One test: its name and body.
pub(crate) type Case = (&'static str, fn());

/// Lists functions as cases.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(crate) const CASES: &[$crate::Case] = &[$((stringify!($name), $name)),*];
    };
}

fn main() -> ExitCode {
    cooper_runner::init();
    let helpers = [
        rootless::become_helper,
        processes::become_helper,
        escapes::become_probe,
    ];
    if let Some(code) = helpers.into_iter().find_map(|helper| helper()) {
        return code;
    }
    if let Err(reason) = support::requirements() {
        eprintln!("SKIPPED: {reason}");
        return ExitCode::SUCCESS;
    }
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let all = [
        processes::CASES,
        mounts::CASES,
        escapes::CASES,
        rootless::CASES,
    ]
    .concat();
    let wanted = |name: &str| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    let mut failed = Vec::new();
    for (name, body) in all.into_iter().filter(|(name, _)| wanted(name)) {
        let passed = catch_unwind(AssertUnwindSafe(body)).is_ok();
        eprintln!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(name);
        }
    }
    let _ = std::fs::remove_dir_all(support::scratch());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
