//! What a build gives away: layers, archives, directories.

mod attestations;
mod outputs;
mod reproducible;
mod secrets;
mod squash;
