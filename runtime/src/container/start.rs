//! `start`: the container's init gets the word over the socket that it listens on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::create::announce;
use super::exec::add_home;
use super::{Container, namespaces_to_enter, prepare};
use crate::error::{Context as _, Error, Result};
use crate::hooks::{self, Place};
use crate::parent;
use crate::plan::{ExecRequest, Facts, build_exec};
use crate::spec::config::{Config, Process};
use crate::state::{Dir, START_SOCKET, State, Status};

/// Starts a created container; returns when its program runs. The caller holds the lock.
///
/// # Errors
/// It is not in the state `created`, a hook fails, or the program cannot be executed; the container is stopped then.
pub fn start(found: &Container) -> Result<()> {
    let status = found.status()?;
    if status != Status::Created {
        return Err(found.wrong_state("start", status));
    }
    let config = found.dir.config()?;
    let (pid, pidfd) = found.init("start")?;
    let connection = reach(&found.dir)?;
    let begun = go(&config, &found.state, pid, pidfd.as_fd(), connection.as_fd()).and_then(|()| {
        // From here on the kernel says that it runs: nobody listens any more. The file only takes room.
        let _ = rustix::fs::unlinkat(found.dir.fd(), START_SOCKET, rustix::fs::AtFlags::empty());
        poststart(&config, &found.state, pid)
    });
    if begun.is_err() {
        let _ = crate::sys::signal::pidfd_send(pidfd.as_fd(), libc::SIGKILL);
    }
    begun
}

/// Connects to the waiting init.
fn reach(dir: &Dir) -> Result<OwnedFd> {
    let call = || format!("connect({START_SOCKET:?})");
    let fd =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).at("start", || "socket".into())?;
    let address = SocketAddrUnix::new(dir.short_path(START_SOCKET)).at("start", call)?;
    match connect(&fd, &address) {
        Ok(()) => Ok(fd),
        Err(Errno::CONNREFUSED | Errno::NOENT) => {
            Err(Error::WrongState { id: dir.id().to_owned(), operation: "start", status: "no longer waiting".into() })
        }
        Err(errno) => Err(Error::system("start", call(), errno)),
    }
}

/// startContainer hooks, then START to the waiting init.
///
/// # Errors
/// A hook fails, or the program cannot be executed.
pub fn go(config: &Config, state: &State, pid: i32, pidfd: BorrowedFd<'_>, init: BorrowedFd<'_>) -> Result<()> {
    start_container_hooks(config, state, pid, pidfd)?;
    let seccomp = config.linux.as_ref().and_then(|l| l.seccomp.as_ref());
    let args = config.process.as_ref().map(|p| &p.args[..]).unwrap_or_default();
    let mut listener = |fd: OwnedFd| {
        let filter = seccomp.map(|s| prepare::compile(s, &mut Vec::new())).transpose()?;
        announce(state, &filter, Status::Created, pid, fd)
    };
    parent::start(init, pidfd, args, &mut listener)
}

/// startContainer hooks run as `exec` would run them: their programs come from the container, so its confinement holds for them.
fn start_container_hooks(config: &Config, state: &State, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
    let hooks = config.hooks.as_ref().map(|h| &h.start_container[..]).unwrap_or_default();
    let Some(process) = config.process.as_ref().filter(|_| !hooks.is_empty()) else { return Ok(()) };
    let (namespaces, own_pid, userns) = namespaces_to_enter(config);
    // Under the container's filter, but for one that asks an agent: it is the program's.
    let seccomp = config.linux.as_ref().and_then(|l| l.seccomp.as_ref());
    let filter = seccomp.map(|s| prepare::compile(s, &mut Vec::new())).transpose()?.filter(|f| f.listener.is_none());
    let linux = config.linux.as_ref();
    let (memory_policy, personality) = (linux.and_then(|l| l.memory_policy.clone()), linux.and_then(|l| l.personality.clone()));
    let request = ExecRequest {
        namespaces,
        userns,
        wait: false,
        filter,
        keep_fds: 0,
        id: state.id.clone(),
        memory_policy: memory_policy.clone(),
        personality: personality.clone(),
    };
    let mut process = Process { terminal: false, oom_score_adj: None, ..process.clone() };
    add_home(&mut process, pid)?;
    let (init, duties) = build_exec(&process, &Facts::gather(), &request, &mut Vec::new())?;
    let seen = if state.own_pid_namespace { 1 } else { pid };
    let json = state.oci_json(Status::Created, Some(seen));
    let place = Place::Confined { pidfd, pid: own_pid, init: &init, duties: &duties, cgroup: None };
    hooks::run("startContainer", hooks, &json, place)
}

/// poststart hooks; a failure stops the container (runtime.md#lifecycle, step 9).
///
/// # Errors
/// The hook that failed.
pub fn poststart(config: &Config, state: &State, pid: i32) -> Result<()> {
    let Some(hooks) = config.hooks.as_ref().filter(|h| !h.poststart.is_empty()) else { return Ok(()) };
    let json = state.oci_json(Status::Running, Some(pid));
    hooks::run("poststart", &hooks.poststart, &json, Place::Runtime(&state.bundle))
}
