//! What a build gives away: layers, archives, directories.

mod reproducible;
mod secrets;
mod squash;
