//! A container's life, as the commands drive it: create, start, run, exec, delete. Each function blocks; `rrun` calls them itself,
//! a daemon in a forked worker.

pub mod create;
pub mod delete;
pub mod exec;
pub mod passwd;
pub mod prepare;
pub mod start;

use std::os::fd::OwnedFd;

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::spec::config::{Config, NamespaceKind};
use crate::state::{Dir, State, Status, status};

pub use prepare::{Prepared, Wishes, prepare};

/// A container that exists: its directory and state.
#[derive(Debug)]
pub struct Found {
    /// State directory.
    pub dir: Dir,
    /// state.json.
    pub state: State,
}

impl Found {
    /// Its cgroup; None if `create` was interrupted before it had one.
    ///
    /// # Errors
    /// The state's record of it is damaged.
    pub fn cgroup(&self) -> Result<Option<Cgroup>> {
        cgroup_of(&self.state)
    }

    /// What it does now.
    ///
    /// # Errors
    /// Those of [`status`].
    pub fn status(&self) -> Result<Status> {
        status(&self.state, &self.dir, || self.cgroup()?.map_or(Ok(false), |c| c.is_frozen()))
    }

    /// A pidfd of its first process.
    ///
    /// # Errors
    /// It is not running.
    pub fn init(&self, operation: &'static str) -> Result<(i32, OwnedFd)> {
        if let Some(init) = self.state.init
            && let Some(pidfd) = init.pidfd()?
        {
            return Ok((init.pid, pidfd));
        }
        Err(Error::WrongState { id: self.state.id.clone(), operation, status: self.status()?.to_string() })
    }
}

/// The cgroup that a state records.
///
/// # Errors
/// The record is damaged.
pub fn cgroup_of(state: &State) -> Result<Option<Cgroup>> {
    if state.cgroup.is_null() {
        return Ok(None);
    }
    let read = serde_json::from_value(state.cgroup.clone());
    read.map(Some).map_err(|e| Error::failed(format!("container {:?}", state.id), format!("state.json: cgroup: {e}")))
}

/// CLONE_NEW* of the namespaces that a container does not share with us, without pid, and whether it has a pid and a user
/// namespace of its own.
pub fn namespaces_to_enter(config: &Config) -> (u64, bool, bool) {
    let all = config.linux.as_ref().map(|l| &l.namespaces[..]).unwrap_or_default();
    let has = |kind| all.iter().any(|n| n.kind == kind);
    let flags = all.iter().filter(|n| n.kind != NamespaceKind::Pid).fold(0, |flags, n| flags | n.kind.flag());
    (flags, has(NamespaceKind::Pid), has(NamespaceKind::User))
}
