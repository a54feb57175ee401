//! The builder.

pub mod cli;
pub mod config;
pub mod options;
pub mod progress;
pub mod report;
