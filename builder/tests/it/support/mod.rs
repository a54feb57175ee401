//! What the tests share: a private `cooper`, build contexts, base images, peers.

pub(crate) mod actions;
pub(crate) mod context;
pub(crate) mod cooper;
pub(crate) mod http;
pub(crate) mod layout;
pub(crate) mod mounts;
pub(crate) mod need;
pub(crate) mod peers;
pub(crate) mod process;
pub(crate) mod registry;
pub(crate) mod repository;
pub(crate) mod terminal;
pub(crate) mod tree;

pub(crate) use context::Context;
pub(crate) use cooper::Cooper;
pub(crate) use process::Outcome;

/// No further options.
pub(crate) const NONE: &[&str] = &[];
