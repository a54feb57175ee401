//! The builder.

pub mod options;
pub mod progress;
pub mod report;
