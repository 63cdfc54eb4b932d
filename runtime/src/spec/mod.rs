//! The bundle's `config.json`: the types of the file, and reading it with errors that name line, field and expectation.

pub mod config;
pub mod resources;
pub mod seccomp;

pub use config::Config;
pub use resources::Resources;
