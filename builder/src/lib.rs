//! The `cooper` program: joins the rooms into builds, images and containers.
//!
//! ```text
//! cli: arguments ─→ options ─→ build ──→ image ─→ export | push
//!      (+ config)              │  pull ──↗  └───→ container
//!                              └→ progress, report ─→ stderr
//! ```
//!
//! It owns the command line, the pipeline from options to outputs, registries and what the user
//! sees. It defines no rule of a Dockerfile, a cache key, a layer on disk or a namespace: those
//! are the front end's, the solver's, the cache's and the runner's.
//!
//! The environment is read once, by `config`. What is said to the user is said by `progress`
//! and `report`; besides them only data is written: a container's own output, and an archive
//! that was asked for on stdout. Everything else takes values and returns values or errors.

// A module's `pub` is its door to the other modules of this crate. None of them is a door of the
// crate, so that the compiler finds what nobody uses.
#![allow(unreachable_pub)]

mod attest;
mod bake;
mod build;
mod busybox;
mod cli;
mod config;
mod container;
mod driver;
mod emulation;
mod events;
mod exit;
mod export;
mod git;
mod http;
mod image;
mod network;
mod options;
mod progress;
mod pull;
mod push;
mod registry;
mod report;
mod secrecy;
mod shared_cache;
mod ssh;

pub use cli::main;

/// Becomes the monitor of a container or the service of a network where this process was started
/// as one; comes back where it is the command itself.
pub fn init() {
    container::init();
    network::init();
}
