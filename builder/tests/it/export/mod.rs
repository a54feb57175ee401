//! What a build gives away: layers, archives, directories.

mod outputs;
mod reproducible;
mod secrets;
mod squash;
