//! What a build gives away: layers, archives, directories.

mod secrets;
mod squash;
