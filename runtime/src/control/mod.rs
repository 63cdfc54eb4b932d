//! An existing container: what can be done with it by its id, after `create`.
//!
//! Nothing here waits without a deadline, and nothing trusts a pid: init is reached through a pidfd that was checked against
//! its start time, everything else through the container's cgroup.

mod delete;
mod kill;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::spec::Resources;
use crate::state::{Dir, State, StateRoot, Status, status};

pub use delete::{delete, destroy};

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

    /// A pidfd of init and the cgroup, for whoever watches the container.
    ///
    /// # Errors
    /// [`Error::WrongState`] if it has stopped.
    pub fn watched(&self, operation: &'static str) -> Result<(OwnedFd, &Cgroup)> {
        let init = self.state.init.map_or(Ok(None), |init| init.pidfd())?;
        let init = init.ok_or_else(|| self.wrong_state(operation, Status::Stopped))?;
        Ok((init, self.group(operation)?))
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

#[cfg(test)]
mod tests;
