//! Mounts of config.json: options, and what they become.

pub mod options;
pub mod plan;

pub use options::Options;
