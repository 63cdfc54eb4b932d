//! `create` and the first half of `run`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::namespaces_to_enter;
use super::prepare::Prepared;
use crate::cgroup::{Cgroup, Created};
use crate::error::{Context as _, Error, Result};
use crate::hooks::{self, Place};
use crate::init::Gate;
use crate::notify::{self, Listener};
use crate::parent::{self, Child, Events, Options};
use crate::seccomp::send_listener;
use crate::state::{Dir, Lock, Phase, Process, START_SOCKET, State, StateRoot, Status};

/// How long the processes of a failed container may take to go.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// A container that is ready to be started, or runs.
#[derive(Debug)]
pub struct Launched {
    /// State directory.
    pub dir: Dir,
    /// The right to change it.
    pub lock: Lock,
    /// state.json.
    pub state: State,
    /// Its first process.
    pub child: Child,
    /// Where it says that it is ready; with [`Wait::ForStart`] that is for `start` to open.
    pub notify: Option<Listener>,
}

/// Who gets the container's terminal.
pub type Console<'a> = dyn FnMut(OwnedFd) -> Result<()> + 'a;

/// What a new container's program waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: it runs when [`create`] returns.
    No,
    /// START on [`Child::socket`].
    ForParent,
    /// `start`.
    ForStart,
}

/// How a container is made.
#[derive(Debug)]
pub struct How<'fd> {
    /// What its program waits for.
    pub wait: Wait,
    /// Its init becomes our parent's child: we are a worker.
    pub reparent: bool,
    /// Descriptors 0, 1 and 2 of its program; None: ours.
    pub stdio: Option<[BorrowedFd<'fd>; 3]>,
}

/// How far the creation of a container has come.
#[derive(Debug)]
pub enum Milestone<'a> {
    /// Its cgroup is about to be made here.
    Cgroup(&'a Cgroup),
    /// Its first process exists: pid and pidfd.
    Cloned(i32, BorrowedFd<'a>),
    /// prestart and createRuntime hooks are about to run.
    RuntimeHooks,
    /// Init makes the mounts.
    Mounts,
    /// createContainer hooks are about to run.
    ContainerHooks,
}

/// Who is told of a container's creation while it goes on.
pub trait Witness {
    /// Takes the master of the terminal.
    ///
    /// # Errors
    /// Ends the creation.
    fn console(&mut self, master: OwnedFd) -> Result<()>;

    /// Hears how far it is.
    ///
    /// # Errors
    /// Ends the creation.
    fn reached(&mut self, milestone: Milestone<'_>) -> Result<()>;
}

/// Somebody who wants the terminal alone.
pub(super) struct TerminalOnly<'a, 'c>(pub(super) &'a mut Console<'c>);

impl Witness for TerminalOnly<'_, '_> {
    fn console(&mut self, master: OwnedFd) -> Result<()> {
        (self.0)(master)
    }

    fn reached(&mut self, _: Milestone<'_>) -> Result<()> {
        Ok(())
    }
}

/// Makes a container.
///
/// # Errors
/// The failed step; nothing is left of the container then.
pub fn create(root: &StateRoot, prepared: &Prepared, wait: Wait, console: &mut Console<'_>) -> Result<Launched> {
    let how = How { wait, reparent: false, stdio: None };
    create_watched(root, prepared, &how, &mut TerminalOnly(console))
}

/// Makes a container, while `witness` is told how far it is.
///
/// # Errors
/// The failed step, or that of `witness`; nothing is left of the container then.
pub fn create_watched(root: &StateRoot, prepared: &Prepared, how: &How<'_>, witness: &mut dyn Witness) -> Result<Launched> {
    let (dir, lock) = root.create(&prepared.id)?;
    let mut state = match State::new(&prepared.id, prepared.bundle.clone(), &prepared.config) {
        Ok(state) => state,
        Err(error) => {
            let _ = dir.remove();
            return Err(error);
        }
    };
    match attempt(&dir, &mut state, prepared, how, witness) {
        Ok((child, notify)) => Ok(Launched { dir, lock, state, child, notify }),
        Err(error) => {
            undo(&dir, &state);
            Err(error)
        }
    }
}

fn attempt(
    dir: &Dir,
    state: &mut State,
    prepared: &Prepared,
    how: &How<'_>,
    witness: &mut dyn Witness,
) -> Result<(Child, Option<Listener>)> {
    // A cgroup that others use must never get into the state: what stands there is killed and removed.
    prepared.cgroup.refuse_used()?;
    // Written before anything is made: whoever finds it can remove what a crash leaves.
    state.cgroup = Some(prepared.cgroup.cgroup().clone());
    state.rdt = prepared.rdt.as_ref().map(|rdt| rdt.group().clone());
    let config = serde_json::to_vec(&prepared.config).map_err(|e| Error::failed("config.json", e.to_string()))?;
    dir.write_config(&config)?;
    dir.write(state)?;
    if prepared.notify {
        notify::make_directory(dir)?;
    }
    let notify = if prepared.notify && how.wait != Wait::ForStart { Listener::bind(dir)? } else { None };
    witness.reached(Milestone::Cgroup(prepared.cgroup.cgroup()))?;
    let listener = match how.wait {
        Wait::No => None,
        wait => Some(start_socket(dir, wait == Wait::ForStart)?),
    };
    let created = prepared.cgroup.create();
    if created.is_err() {
        state.cgroup = None; // it has undone itself
    }
    let cgroup = created?;
    if let Some(rdt) = &prepared.rdt {
        rdt.make()?;
        rdt.write()?;
    }
    let gate = match (&listener, how.wait) {
        (Some(fd), Wait::ForStart) => Gate::Listener(fd.as_fd()),
        (Some(fd), Wait::ForParent) => Gate::Parent(fd.as_fd()),
        _ => Gate::Open,
    };
    let options = Options { gate, cgroup: cgroup.clone_fd(), reparent: how.reparent, stdio: how.stdio };
    let mut events = Birth { dir, state, prepared, cgroup: &cgroup, witness };
    let child = parent::create(&prepared.plan, &options, &mut events)?;
    state.phase = Phase::Created;
    match dir.write(state) {
        Ok(()) => Ok((child, notify)),
        Err(error) => {
            let _ = crate::sys::signal::pidfd_send(child.pidfd.as_fd(), libc::SIGKILL);
            Err(error)
        }
    }
}

/// The socket that init has open until it is started, by which it is known to wait; where it waits for `start` and not for us, it
/// listens there.
fn start_socket(dir: &Dir, listening: bool) -> Result<OwnedFd> {
    let call = |name: &str| format!("{name}({START_SOCKET:?})");
    let fd =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).at("state", || call("socket"))?;
    let address = SocketAddrUnix::new(dir.short_path(START_SOCKET)).at("state", || call("bind"))?;
    bind(&fd, &address).at("state", || call("bind"))?;
    if listening {
        listen(&fd, 16).at("state", || call("listen"))?;
    }
    Ok(fd)
}

/// Removes what a failed create has made. What cannot be removed now, `delete --force` finds by the state.
fn undo(dir: &Dir, state: &State) {
    let gone = match &state.cgroup {
        Some(cgroup) => cgroup.kill_all().and_then(|()| cgroup.destroy(LAST_WAIT)),
        None => Ok(()),
    };
    let gone = gone.and_then(|()| state.rdt.as_ref().map_or(Ok(()), |group| group.remove()));
    if state.init.is_some() {
        let _ = super::delete::poststop(state);
    }
    if gone.is_ok() {
        let _ = dir.remove();
    }
}

/// What happens between clone and ready.
struct Birth<'a, 'w> {
    dir: &'a Dir,
    state: &'a mut State,
    prepared: &'a Prepared,
    cgroup: &'a Created,
    witness: &'a mut (dyn Witness + 'w),
}

impl Events for Birth<'_, '_> {
    fn cloned(&mut self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        self.witness.reached(Milestone::Cloned(pid, pidfd))?;
        self.state.init = Some(Process::of(pid)?);
        self.dir.write(self.state)?;
        if !self.cgroup.complete_at_clone() {
            self.cgroup.attach(pid)?;
        }
        // Before init forks or goes on: threads and children inherit it.
        if let Some(group) = &self.state.rdt {
            group.assign(pid)?;
        }
        self.witness.reached(Milestone::Mounts)
    }

    fn runtime_hooks(&mut self, pid: i32) -> Result<()> {
        let hooks = self.prepared.config.hooks.as_ref().filter(|h| !h.prestart.is_empty() || !h.create_runtime.is_empty());
        let Some(hooks) = hooks else { return Ok(()) };
        let json = self.state.oci_json(Status::Creating, Some(pid));
        let place = Place::Runtime(&self.prepared.bundle);
        self.witness.reached(Milestone::RuntimeHooks)?;
        hooks::run("prestart", &hooks.prestart, &json, place)?;
        hooks::run("createRuntime", &hooks.create_runtime, &json, place)?;
        self.witness.reached(Milestone::Mounts)
    }

    fn container_hooks(&mut self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        let Some(hooks) = &self.prepared.config.hooks else { return Ok(()) };
        let (flags, own_pid, userns) = namespaces_to_enter(&self.prepared.config);
        let seen = if self.state.own_pid_namespace { 1 } else { pid };
        let json = self.state.oci_json(Status::Creating, Some(seen));
        self.witness.reached(Milestone::ContainerHooks)?;
        hooks::run("createContainer", &hooks.create_container, &json, Place::Container { pidfd, flags, pid: own_pid, userns })
    }

    fn console(&mut self, master: OwnedFd) -> Result<()> {
        self.witness.console(master)
    }

    fn seccomp_listener(&mut self, listener: OwnedFd, pid: i32) -> Result<()> {
        announce(self.state, &self.prepared.plan.init.filter, Status::Creating, pid, listener)
    }
}

/// Sends a notification descriptor to its agent.
///
/// # Errors
/// Those of [`send_listener`].
pub fn announce(state: &State, filter: &Option<crate::plan::Filter>, status: Status, pid: i32, listener: OwnedFd) -> Result<()> {
    let Some((path, metadata)) = filter.as_ref().and_then(|f| f.listener.as_ref()) else { return Ok(()) };
    let json: serde_json::Value = serde_json::from_str(&state.oci_json(status, state.init.map(|p| p.pid))).unwrap_or_default();
    send_listener(path, metadata, crate::cli::features::OCI_VERSION_MAX, pid, &json, listener.as_fd())
}
