//! A container's life, as the commands drive it: create, start, exec; pause, update, kill; delete. Each function blocks; `rrun` calls
//! them itself, a daemon in a forked worker.
//!
//! Nothing here waits without a deadline (but on hooks that have none), and nothing trusts a pid: init is reached through a pidfd
//! that was checked against its start time, everything else through the container's cgroup.

pub mod create;
mod delete;
pub mod exec;
mod kill;
pub mod passwd;
pub mod prepare;
pub mod start;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use crate::cgroup::Cgroup;
use crate::cgroup::stats::Stats;
use crate::error::{Error, Result};
use crate::spec::Resources;
use crate::spec::config::{Config, NamespaceKind};
use crate::state::{Dir, State, StateRoot, Status, status};

pub use delete::{delete, destroy};
pub use prepare::{Prepared, Wishes, prepare};

/// How long the kernel may take to kill, freeze, thaw or empty a cgroup.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container with a readable state.
#[derive(Debug)]
pub struct Container {
    dir: Dir,
    state: State,
}

impl Container {
    /// Loads a container from the state root at `root`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; otherwise if its state cannot be read.
    pub fn load(root: &Path, id: &str) -> Result<Container> {
        Container::read(StateRoot::find(root, id)?)
    }

    /// Loads a container from an opened state root.
    ///
    /// # Errors
    /// Those of [`Container::load`].
    pub fn open(root: &StateRoot, id: &str) -> Result<Container> {
        Container::read(root.load(id)?)
    }

    fn read(dir: Dir) -> Result<Container> {
        let state = dir.read()?;
        Ok(Container { dir, state })
    }

    /// One that was just created.
    pub fn new(dir: Dir, state: State) -> Container {
        Container { dir, state }
    }

    /// Its state as it was read.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Its cgroup; `None` while there is none yet.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.state.cgroup.as_ref()
    }

    /// Its status at this moment.
    ///
    /// # Errors
    /// If /proc, the start socket or the freezer cannot be asked.
    pub fn status(&self) -> Result<Status> {
        status(&self.state, &self.dir, || self.cgroup().map_or(Ok(false), Cgroup::is_frozen))
    }

    /// The processes in its cgroup and those below, as the host numbers them; none if it has stopped.
    ///
    /// # Errors
    /// If the cgroup cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>> {
        self.cgroup().map_or(Ok(Vec::new()), |group| group.pids(true))
    }

    /// Freezes all its processes, and returns when they are.
    ///
    /// # Errors
    /// [`Error::WrongState`] if it neither runs nor waits to be started.
    pub fn pause(&self) -> Result<()> {
        let _lock = self.dir.lock()?;
        match self.status()? {
            Status::Running | Status::Created => self.group("pause")?.freeze(true, PATIENCE),
            status => Err(self.wrong_state("pause", status)),
        }
    }

    /// Thaws all its processes.
    ///
    /// # Errors
    /// [`Error::WrongState`] if it is not paused.
    pub fn resume(&self) -> Result<()> {
        let _lock = self.dir.lock()?;
        match self.status()? {
            Status::Paused => self.group("resume")?.freeze(false, PATIENCE),
            status => Err(self.wrong_state("resume", status)),
        }
    }

    /// Changes its limits; what `resources` does not name stays as it is. Gives warnings.
    ///
    /// # Errors
    /// [`Error::WrongState`] if it has stopped; otherwise if a limit is wrong or cannot be applied.
    pub fn update(&self, resources: &Resources) -> Result<Vec<String>> {
        let _lock = self.dir.lock()?;
        match self.status()? {
            status @ (Status::Stopped | Status::Creating) => return Err(self.wrong_state("update", status)),
            Status::Running | Status::Created | Status::Paused => {}
        }
        // New device rules still have to let the container's own device nodes work.
        let config = if resources.devices.is_empty() { None } else { Some(self.dir.config()?) };
        let devices = config.and_then(|c| c.linux).map(|l| l.devices).unwrap_or_default();
        self.group("update")?.update(resources, &devices)
    }

    /// Changes its shares of cache and memory bandwidth (`linux.intelRdt`).
    ///
    /// # Errors
    /// [`Error::WrongState`] if it has stopped; it was made without any; the kernel refuses.
    pub fn update_rdt(&self, l3_cache: Option<&str>, memory_bandwidth: Option<&str>) -> Result<()> {
        let _lock = self.dir.lock()?;
        match self.status()? {
            status @ (Status::Stopped | Status::Creating) => return Err(self.wrong_state("update", status)),
            Status::Running | Status::Created | Status::Paused => {}
        }
        let problem = "the container was created without linux.intelRdt, and has no class of service to change";
        let group = self.state.rdt.as_ref().ok_or_else(|| Error::config("update", problem))?;
        group.update(l3_cache, memory_bandwidth)
    }

    /// What it has used, class of service included.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = self.group("stats")?.stats()?;
        if let Some(group) = &self.state.rdt {
            stats.intel_rdt = group.stats()?;
        }
        Ok(stats)
    }

    /// A pidfd of init and the cgroup, for whoever watches the container.
    ///
    /// # Errors
    /// [`Error::WrongState`] if it has stopped.
    pub fn watched(&self, operation: &'static str) -> Result<(OwnedFd, &Cgroup)> {
        let init = self.state.init.map_or(Ok(None), |init| init.pidfd())?;
        let init = init.ok_or_else(|| self.wrong_state(operation, Status::Stopped))?;
        Ok((init, self.group(operation)?))
    }

    /// Says so if the kernel killed something of it for want of memory: its exit code alone (137) does not.
    pub fn say_oom(&self, code: i32, say: impl FnOnce(&str)) {
        let id = &self.state.id;
        if code == 128 + libc::SIGKILL && self.cgroup().is_some_and(|c| !c.exists()) {
            // systemd removes the scope with its last process: the counter is gone.
            let text = "was killed (signal 9), and its cgroup is gone: whether the memory limit did it cannot be told any more";
            return say(&format!("container {id:?}: {text}"));
        }
        let Some(killed) = self.cgroup().and_then(|c| c.oom_kill_count().ok().flatten()).filter(|n| *n > 0) else { return };
        let limit = self.dir.config().ok().and_then(|c| c.linux?.resources?.memory?.limit).filter(|l| *l > 0);
        let of = limit.map_or(String::new(), |l| format!(" of {l} bytes (linux.resources.memory.limit)"));
        say(&format!("container {id:?}: out of memory: the kernel killed {killed} of its processes at the memory limit{of}"));
    }

    /// Its first process: pid and pidfd.
    ///
    /// # Errors
    /// [`Error::WrongState`] if it is gone.
    pub fn init(&self, operation: &'static str) -> Result<(i32, OwnedFd)> {
        if let Some(init) = self.state.init
            && let Some(pidfd) = init.pidfd()?
        {
            return Ok((init.pid, pidfd));
        }
        Err(self.wrong_state(operation, self.status()?))
    }

    fn group(&self, operation: &'static str) -> Result<&Cgroup> {
        self.cgroup().ok_or_else(|| Error::failed(operation, format!("container {:?} has no cgroup", self.state.id)))
    }

    /// The refusal of an operation. For a stopped container its text contains "container not running", which containerd
    /// looks for.
    fn wrong_state(&self, operation: &'static str, status: Status) -> Error {
        let mut text = status.to_string();
        if status == Status::Stopped {
            text.push_str(" (container not running)");
        }
        Error::WrongState { id: self.state.id.clone(), operation, status: text }
    }
}

/// CLONE_NEW* of the namespaces that a container does not share with us, without pid, and whether it has a pid and a user
/// namespace of its own.
pub fn namespaces_to_enter(config: &Config) -> (u64, bool, bool) {
    let all = config.linux.as_ref().map(|l| &l.namespaces[..]).unwrap_or_default();
    let has = |kind| all.iter().any(|n| n.kind == kind);
    let flags = all.iter().filter(|n| n.kind != NamespaceKind::Pid).fold(0, |flags, n| flags | n.kind.flag());
    (flags, has(NamespaceKind::Pid), has(NamespaceKind::User))
}

#[cfg(test)]
mod tests;
