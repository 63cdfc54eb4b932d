//! `rrun`: everything that touches the kernel for one container.
//!
//! The way of a container: [`spec`] reads config.json, [`plan`] turns it into a Plan (pure), the parent prepares and clones,
//! init walks the Plan. See docs/init.md.

pub mod cgroup;
pub mod cli;
pub mod control;
pub mod error;
pub mod seccomp;
pub mod spec;
pub mod state;
pub mod sys;

pub use error::{Error, Kind, Result};
