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
//! The environment is read once, by [`config`]. What is said to the user is said by [`progress`]
//! and [`report`]; besides them only data is written: a container's own output, and an archive
//! that was asked for on stdout. Everything else takes values and returns values or errors.

pub mod attest;
pub mod bake;
pub mod build;
mod busybox;
pub mod cli;
pub mod config;
pub mod container;
mod driver;
pub mod emulation;
pub mod events;
pub mod exit;
pub mod export;
pub mod git;
pub mod http;
pub mod image;
pub mod network;
pub mod options;
pub mod progress;
pub mod pull;
pub mod push;
pub mod registry;
pub mod report;
pub mod secrecy;
pub mod shared_cache;
pub mod ssh;
