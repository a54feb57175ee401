//! What a build gives away: layers, archives, directories.

mod squash;
