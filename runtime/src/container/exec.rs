//! `exec`: one more process in a container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::create::{Console, Milestone, TerminalOnly, Witness, announce};
use super::{Container, namespaces_to_enter, passwd, prepare};
use crate::cgroup::{Cgroup, Layout};
use crate::error::{Context as _, Error, Result};
use crate::init::Gate;
use crate::parent::{self, Child, Events, Options};
use crate::plan::{ExecRequest, Facts, Filter, build_exec};
use crate::spec::config::{Config, Process};
use crate::state::Status;

/// What the command line adds.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// `--ignore-paused`.
    pub ignore_paused: bool,
    /// `--cgroup`: sub-cgroups, `[controller,...:]path`.
    pub cgroups: Vec<String>,
    /// `--preserve-fds` and LISTEN_FDS together.
    pub keep_fds: u32,
}

/// How the process is made.
#[derive(Debug, Default)]
pub struct How<'fd> {
    /// It becomes our parent's child: we are a worker.
    pub reparent: bool,
    /// Its descriptors 0, 1 and 2; None: ours.
    pub stdio: Option<[BorrowedFd<'fd>; 3]>,
}

/// Runs `process` in a container; returns when its program runs.
///
/// # Errors
/// The container is not running, or paused; the failed step.
pub fn exec(found: &Container, config: &Config, process: Process, wishes: &Wishes, warnings: &mut Vec<String>, console: &mut Console<'_>) -> Result<Child> {
    exec_watched(found, config, process, wishes, &How::default(), warnings, &mut TerminalOnly(console))
}

/// The same, while `witness` is told how far it is.
///
/// # Errors
/// Those of [`exec`], and that of `witness`.
pub fn exec_watched(
    found: &Container,
    config: &Config,
    mut process: Process,
    wishes: &Wishes,
    how: &How<'_>,
    warnings: &mut Vec<String>,
    witness: &mut dyn Witness,
) -> Result<Child> {
    let id = &found.state.id;
    let status = found.status()?;
    let refused = match status {
        Status::Stopped | Status::Creating => true,
        Status::Paused => !wishes.ignore_paused,
        Status::Created | Status::Running => false,
    };
    if refused {
        return Err(found.wrong_state("exec", status));
    }
    let (pid, pidfd) = found.init("exec")?;
    if !process.env.iter().any(|e| e.starts_with("HOME=")) {
        let root = root_of(pid)?;
        let home = passwd::home(root.as_fd(), process.user.uid).unwrap_or_else(|| "/".into());
        process.env.push(format!("HOME={home}"));
    }
    let seccomp = config.linux.as_ref().and_then(|l| l.seccomp.as_ref());
    let filter = seccomp.map(|s| prepare::compile(s, warnings)).transpose()?;
    let (namespaces, own_pid, userns) = namespaces_to_enter(config);
    let cgroup = found.group("exec")?.clone();
    let place = Place::of(cgroup, wishes)?;
    let wait = !place.complete_at_clone() || found.state.rdt.is_some();
    let request = ExecRequest { namespaces, userns, wait, filter, keep_fds: wishes.keep_fds, id: id.clone() };
    let (init, duties) = build_exec(&process, &Facts::gather(), &request, warnings)?;
    let options = Options { gate: Gate::Open, cgroup: place.clone_fd(), reparent: how.reparent, stdio: how.stdio };
    let mut events = Visit { found, filter: &init.filter, place: &place, witness };
    parent::exec(&init, &duties, Some(pidfd.as_fd()), own_pid, &options, &mut events)
}

/// The root directory of a process.
fn root_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).at("exec", || format!("open({path:?})"))
}

/// Where the process goes in the cgroup tree.
struct Place {
    cgroup: Cgroup,
    fd: Option<OwnedFd>,
}

impl Place {
    fn of(cgroup: Cgroup, wishes: &Wishes) -> Result<Place> {
        if let Some(path) = wishes.cgroups.first() {
            return Err(Error::unsupported("--cgroup", format!("sub-cgroups such as {path:?} are not supported yet")));
        }
        let unified = cgroup.unified.as_ref().filter(|_| cgroup.layout() == Layout::V2);
        let fd = match unified {
            Some(dir) => {
                let path = dir.full();
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                Some(rustix::fs::open(&path, flags, Mode::empty()).at("exec", || format!("open({path:?})"))?)
            }
            None => None,
        };
        Ok(Place { cgroup, fd })
    }

    fn clone_fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(|fd| fd.as_fd())
    }

    fn complete_at_clone(&self) -> bool {
        self.fd.is_some()
    }

    fn attach(&self, pid: i32) -> Result<()> {
        if self.complete_at_clone() { Ok(()) } else { self.cgroup.add(pid) }
    }
}

/// What happens between clone and the program.
struct Visit<'a, 'w> {
    found: &'a Container,
    filter: &'a Option<Filter>,
    place: &'a Place,
    witness: &'a mut (dyn Witness + 'w),
}

impl Events for Visit<'_, '_> {
    fn cloned(&mut self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        self.witness.reached(Milestone::Cloned(pid, pidfd))?;
        self.place.attach(pid)?;
        self.found.state.rdt.as_ref().map_or(Ok(()), |group| group.assign(pid))
    }

    fn runtime_hooks(&mut self, _pid: i32) -> Result<()> {
        Ok(())
    }

    fn container_hooks(&mut self, _pid: i32, _pidfd: BorrowedFd<'_>) -> Result<()> {
        Ok(())
    }

    fn console(&mut self, master: OwnedFd) -> Result<()> {
        self.witness.console(master)
    }

    fn seccomp_listener(&mut self, listener: OwnedFd, pid: i32) -> Result<()> {
        announce(&self.found.state, self.filter, Status::Running, pid, listener)
    }
}
