//! What a build gives away: layers, archives, directories.

mod ahead;
mod attestations;
mod estargz;
mod outputs;
mod reproducible;
mod secrets;
mod squash;
