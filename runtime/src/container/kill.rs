//! Signals.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Container, PATIENCE};
use crate::error::{Error, Result};
use crate::state::Status;
use crate::sys::signal::pidfd_send;

impl Container {
    /// Sends a signal to init, or with `all` to every process of the container. SIGKILL of a container that shares its pid
    /// namespace goes to all of them: nobody else would end those that init leaves. 0 asks only whether it is there.
    ///
    /// No lock is taken: whatever another rrun does with the container, it can be killed.
    ///
    /// # Errors
    /// [`Error::WrongState`] if init is gone; with `all` that is no error.
    pub fn kill(&self, signal: i32, all: bool) -> Result<()> {
        let init = match self.state.init {
            Some(init) => init.pidfd()?,
            None => None,
        };
        if signal == libc::SIGKILL && (all || !self.state.own_pid_namespace) {
            if init.is_none() && !all {
                return Err(self.wrong_state("kill", Status::Stopped));
            }
            return self.kill_group(init);
        }
        match init {
            _ if all => self.signal_group(signal),
            Some(init) => self.signal_init(&init, signal),
            None => Err(self.wrong_state("kill", Status::Stopped)),
        }
    }

    fn signal_init(&self, init: &OwnedFd, signal: i32) -> Result<()> {
        match pidfd_send(init.as_fd(), signal) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Err(self.wrong_state("kill", Status::Stopped)),
            Err(e) => return Err(self.failed_signal(signal, e)),
        }
        // Under the v1 freezer even SIGKILL waits for the thaw; the unified tree's lets it through.
        match self.cgroup() {
            Some(group) if signal == libc::SIGKILL && group.unified.is_none() && group.is_frozen()? => {
                group.freeze(false, PATIENCE)
            }
            _ => Ok(()),
        }
    }

    /// SIGKILL to init and to everything in the cgroup.
    pub(super) fn kill_group(&self, init: Option<OwnedFd>) -> Result<()> {
        if let Some(init) = init {
            match pidfd_send(init.as_fd(), libc::SIGKILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(e) => return Err(self.failed_signal(libc::SIGKILL, e)),
            }
        }
        self.cgroup().map_or(Ok(()), |group| group.kill_all())
    }

    /// Any other signal to everything in the cgroup, which is frozen meanwhile: so no process is missed because it was forked
    /// just then, and no number is given to another.
    fn signal_group(&self, signal: i32) -> Result<()> {
        let Some(group) = self.cgroup() else { return Ok(()) };
        if group.pids(true)?.is_empty() {
            return Ok(());
        }
        let thaw = !group.is_frozen()?;
        if thaw {
            group.freeze(true, PATIENCE)?;
        }
        let sent = group.pids(true).and_then(|pids| pids.iter().try_for_each(|pid| self.signal_one(*pid, signal)));
        let thawed = if thaw { group.freeze(false, PATIENCE) } else { Ok(()) };
        sent.and(thawed)
    }

    fn signal_one(&self, pid: i32, signal: i32) -> Result<()> {
        // 0 stands for a process of another pid namespace, which has no number here.
        let Some(pid) = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw) else { return Ok(()) };
        // EINVAL of pidfd_open: it is being reaped just now.
        let sent = pidfd_open(pid, PidfdFlags::empty()).and_then(|fd| pidfd_send(fd.as_fd(), signal));
        match sent {
            Ok(()) | Err(Errno::SRCH | Errno::INVAL) => Ok(()),
            Err(e) => Err(self.failed_signal(signal, e)),
        }
    }

    fn failed_signal(&self, signal: i32, errno: Errno) -> Error {
        Error::system(format!("container {:?}", self.state.id), format!("pidfd_send_signal({signal})"), errno)
    }
}
