//! Integration tests: they drive the built `cooper` from outside.
//!
//! Every test has its own store, home and environment (`support::Cooper`) and starts
//! from the base images that `testdata/images/make.sh` makes without a registry. What a
//! machine lacks (root, a peer's tool, a network) is reported as `SKIPPED: reason` on
//! standard error and ends that test.

mod arrows;
mod bake;
mod behaviours;
mod build;
mod cache;
mod checks;
mod concurrency;
mod container;
mod crash;
mod debug;
mod drivers;
mod explain;
mod export;
mod hostile;
mod images;
mod interchange;
mod interrupt;
mod layers;
mod metadata;
mod negative;
mod network;
mod options;
mod platforms;
mod pull;
mod real;
mod rootless;
mod sharing;
mod sources;
mod support;
mod upkeep;
