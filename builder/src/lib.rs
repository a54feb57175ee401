//! The builder.

pub mod build;
pub mod cli;
pub mod config;
pub mod container;
pub mod export;
pub mod http;
pub mod image;
pub mod options;
pub mod progress;
pub mod pull;
pub mod push;
pub mod registry;
pub mod report;
