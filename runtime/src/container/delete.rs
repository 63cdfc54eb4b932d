//! Deleting: processes, then cgroups, then state, then the poststop hooks. Interrupted anywhere, it can be done again.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Container, PATIENCE};
use crate::error::{Error, Kind, Result};
use crate::hooks::{self, Place};
use crate::state::{Dir, Lock, State, StateRoot, Status};

/// Deletes a container: one that has stopped or was never started, with `force` any, even an interrupted one. `poststop` runs the
/// hooks and gives back warnings, as all failures of these hooks are (runtime.md#lifecycle); so does `delete`.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::WrongState`] if it runs and `force` is not given; otherwise what could not be removed.
pub fn delete(root: &Path, id: &str, force: bool) -> Result<Vec<String>> {
    let dir = StateRoot::find(root, id)?;
    let lock = if force { lock_by_force(&dir)? } else { dir.lock()? };
    // Read under the lock: what was read before it may be of yesterday.
    let state = match dir.try_read() {
        Ok(Some(state)) => state,
        Ok(None) if force => return dir.remove().map(|()| Vec::new()),
        Ok(None) => return dir.read().map(|_| Vec::new()),
        Err(e) if force && e.kind() != Kind::Unsupported => {
            dir.remove()?;
            return Ok(vec![format!("{e}; its state is removed, its cgroups, if there are any, are not")]);
        }
        Err(e) => return Err(e),
    };
    let container = Container { dir, state };
    match container.status()? {
        status @ (Status::Running | Status::Paused | Status::Creating) if !force => Err(container.wrong_state("delete", status)),
        _ => destroy(&container, lock),
    }
}

/// The lock; whoever has it now, most likely a `create` that waits for a hook, is stopped by killing what it is making.
fn lock_by_force(dir: &Dir) -> Result<Lock> {
    match dir.lock_within(Duration::ZERO) {
        Err(e) if e.kind() == Kind::System => {
            if let Ok(Some(state)) = dir.try_read() {
                let container = Container { dir: dir.clone(), state };
                container.end()?;
            }
            dir.lock()
        }
        outcome => outcome,
    }
}

/// Ends and removes a container that may be in any state, for whoever holds its lock. Gives back the warnings of `poststop`.
///
/// # Errors
/// What could not be ended or removed; done again, it goes on from there.
pub fn destroy(container: &Container, lock: Lock) -> Result<Vec<String>> {
    container.end()?;
    if let Some(group) = container.cgroup() {
        group.destroy(PATIENCE)?;
    }
    if let Some(group) = &container.state.rdt {
        group.remove()?;
    }
    container.dir.remove()?;
    drop(lock);
    Ok(poststop(&container.state))
}

/// Runs the poststop hooks, all of them; gives back what went wrong.
pub(super) fn poststop(state: &State) -> Vec<String> {
    if state.poststop.is_empty() {
        return Vec::new();
    }
    let json = state.oci_json(Status::Stopped, None);
    let each = state.poststop.iter().enumerate().filter_map(|(i, hook)| {
        let result = hooks::run("poststop", std::slice::from_ref(hook), &json, Place::Runtime(&state.bundle));
        result.err().map(|e| e.to_string().replacen("poststop[0]", &format!("poststop[{i}]"), 1))
    });
    each.collect()
}

impl Container {
    /// Kills everything, and waits until init is dead.
    fn end(&self) -> Result<()> {
        let init = match self.state.init {
            Some(init) => init.pidfd()?,
            None => None,
        };
        let waiting = match &init {
            Some(fd) => Some(fd.try_clone().map_err(|e| Error::failed("delete", format!("dup: {e}")))?),
            None => None,
        };
        self.kill_group(init)?;
        let Some(init) = waiting else { return Ok(()) };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&init, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => {
                    let problem = format!(
                        "init ({}) is not dead {} s after SIGKILL; it is stuck in the kernel",
                        self.pid(),
                        PATIENCE.as_secs()
                    );
                    return Err(Error::failed(format!("container {:?}", self.state.id), problem));
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::system("delete", format!("poll(pidfd of {})", self.pid()), e)),
            }
        }
    }

    fn pid(&self) -> i32 {
        self.state.init.map_or(0, |init| init.pid)
    }
}
