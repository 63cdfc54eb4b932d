//! What a container does at this moment, as the kernel tells it.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::{Serialize, Serializer};

use super::{Dir, Phase, START_SOCKET, State};
use crate::error::{Context, Error, Result};

/// `status` of runtime.md#state, and runc's `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `create` is at work.
    Creating,
    /// Init waits to be started.
    Created,
    /// The program runs.
    Running,
    /// The cgroup is frozen.
    Paused,
    /// Init has ended, or `create` was interrupted.
    Stopped,
}

impl Status {
    /// In lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The status of a container; `paused` asks its freezer and is called only if that decides.
///
/// # Errors
/// If /proc, the socket or the freezer cannot be asked.
pub fn status(state: &State, dir: &Dir, paused: impl FnOnce() -> Result<bool>) -> Result<Status> {
    if state.phase == Phase::Creating {
        return Ok(if state.creator.alive()? { Status::Creating } else { Status::Stopped });
    }
    let alive = state.init.map_or(Ok(false), |init| init.alive())?;
    if !alive {
        return Ok(Status::Stopped);
    }
    if paused()? {
        return Ok(Status::Paused);
    }
    Ok(if waits_for_start(dir)? { Status::Created } else { Status::Running })
}

/// Whether somebody has the start socket open.
///
/// Asked with a socket of another type than init's: the kernel then says EPROTOTYPE if somebody has it bound, without a
/// connection that init would have to wake up for, and ECONNREFUSED if nobody has (unix(7)).
fn waits_for_start(dir: &Dir) -> Result<bool> {
    let call = || format!("connect(\"{START_SOCKET}\")");
    let probe = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let probe = probe.at("status", || "socket(AF_UNIX, SOCK_DGRAM)".to_string())?;
    let address = SocketAddrUnix::new(dir.short_path(START_SOCKET)).at("status", call)?;
    match connect(&probe, &address) {
        Ok(()) | Err(Errno::PROTOTYPE) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(e) => Err(Error::system("status", call(), e)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::super::tests::{Scratch, state};
    use super::super::{Phase, Process};
    use super::*;

    fn no() -> Result<bool> {
        Ok(false)
    }

    fn gone() -> Process {
        Process { pid: std::process::id() as i32, start_time: 0 }
    }

    #[test]
    fn while_it_is_created_the_creator_decides() {
        let scratch = Scratch::new();
        let (dir, _lock) = scratch.root().create("x").unwrap();
        let mut s = state("x");
        assert_eq!(status(&s, &dir, no).unwrap(), Status::Creating);
        s.creator = gone();
        assert_eq!(status(&s, &dir, no).unwrap(), Status::Stopped);
    }

    #[test]
    fn afterwards_init_the_freezer_and_the_socket_decide() {
        let scratch = Scratch::new();
        let (dir, _lock) = scratch.root().create("x").unwrap();
        let mut s = state("x");
        s.phase = Phase::Created;
        assert_eq!(status(&s, &dir, no).unwrap(), Status::Stopped, "without an init");
        s.init = Some(gone());
        assert_eq!(status(&s, &dir, || unreachable!("asked although init is gone")).unwrap(), Status::Stopped);

        s.init = Some(s.creator);
        assert_eq!(status(&s, &dir, no).unwrap(), Status::Running, "without a socket");
        let listener = UnixListener::bind(dir.short_path(START_SOCKET)).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(status(&s, &dir, no).unwrap(), Status::Created);
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "init is not disturbed");
        assert_eq!(status(&s, &dir, || Ok(true)).unwrap(), Status::Paused, "paused comes first, as in runc");
        drop(listener);
        assert_eq!(status(&s, &dir, no).unwrap(), Status::Running, "the file alone says nothing");
        assert_eq!(status(&s, &dir, || Err(Error::failed("a", "b"))), Err(Error::failed("a", "b")));
    }
}
