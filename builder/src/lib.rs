//! The builder.

pub mod cli;
pub mod config;
pub mod container;
pub mod http;
pub mod options;
pub mod progress;
pub mod pull;
pub mod registry;
pub mod report;
