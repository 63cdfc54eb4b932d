//! `rrun`: everything that touches the kernel for one container.
//!
//! The way of a container: [`spec`] reads config.json, [`plan`] turns it into a Plan (pure), [`parent`] prepares and clones,
//! [`init`] walks the Plan; [`container`] is what can be done with one, [`cli`] the commands, [`launch`] the same for an event
//! loop with many containers. See docs/init.md.

pub mod caps;
pub mod cgroup;
pub mod check;
pub mod cli;
pub mod container;
pub mod devices;
pub mod error;
pub mod fingerprint;
pub mod hooks;
pub mod init;
pub mod launch;
pub mod mount;
pub mod network;
pub mod notify;
pub mod parent;
pub mod plan;
pub mod rdt;
pub mod seccomp;
pub mod spec;
pub mod state;
pub mod sys;
pub mod tty;

pub use error::{Error, Kind, Result};
pub use launch::{Launch, Progress, Stage};
