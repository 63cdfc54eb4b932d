//! `exec`: one more process in a container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::create::{Console, Milestone, TerminalOnly, Witness, announce};
use super::{Container, namespaces_to_enter, passwd, prepare};
use crate::cgroup::{Join, SubCgroups};
use crate::error::{Context as _, Result};
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
pub fn exec(
    found: &Container,
    config: &Config,
    process: Process,
    wishes: &Wishes,
    warnings: &mut Vec<String>,
    console: &mut Console<'_>,
) -> Result<Child> {
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
    add_home(&mut process, pid)?;
    let seccomp = config.linux.as_ref().and_then(|l| l.seccomp.as_ref());
    let filter = seccomp.map(|s| prepare::compile(s, warnings)).transpose()?;
    let (namespaces, own_pid, userns) = namespaces_to_enter(config);
    let linux = config.linux.as_ref();
    let (memory_policy, personality) = (linux.and_then(|l| l.memory_policy.clone()), linux.and_then(|l| l.personality.clone()));
    let cgroup = found.group("exec")?;
    let asked = SubCgroups::parse(&wishes.cgroups)?;
    // The first affinity holds until the process is in the cgroup: it must not be born there, nor be moved before it has set it.
    let affinity = process.exec_cpu_affinity.as_ref().and_then(|a| a.initial.as_deref());
    let late = affinity.is_some_and(|list| !list.is_empty());
    let mut attempt = |place: &Join, filter: Option<Filter>, warnings: &mut Vec<String>| {
        let wait = late || !place.complete_at_clone() || found.state.rdt.is_some();
        let request = ExecRequest {
            namespaces,
            userns,
            wait,
            filter,
            keep_fds: wishes.keep_fds,
            id: id.clone(),
            memory_policy: memory_policy.clone(),
            personality: personality.clone(),
        };
        let (init, duties) = build_exec(&process, &Facts::gather(), &request, warnings)?;
        let cgroup = place.clone_fd().filter(|_| !late);
        let options = Options { gate: Gate::Open, cgroup, reparent: how.reparent, stdio: how.stdio };
        let mut events = Visit { found, filter: &init.filter, place, late, witness };
        parent::exec(&init, &duties, Some(pidfd.as_fd()), own_pid, &options, &mut events)
    };
    // A cgroup that the container has divided takes no process, or is gone from under it: then where its init is, as runc does.
    match cgroup.join(&asked).and_then(|place| attempt(&place, filter.clone(), warnings)) {
        Err(error) if wishes.cgroups.is_empty() && matches!(error.errno(), Some(Errno::BUSY | Errno::NOENT)) => {
            attempt(&cgroup.join_init(pid)?, filter, &mut Vec::new())
        }
        outcome => outcome,
    }
}

/// Adds HOME from the /etc/passwd of the container whose init is `pid`, where the environment has none.
///
/// # Errors
/// The container's root cannot be opened.
pub fn add_home(process: &mut Process, pid: i32) -> Result<()> {
    if !prepare::has_home(process) {
        let root = root_of(pid)?;
        let home = passwd::home(root.as_fd(), process.user.uid).unwrap_or_else(|| "/".into());
        process.env.push(format!("HOME={home}"));
    }
    Ok(())
}

/// The root directory of a process.
fn root_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).at("exec", || format!("open({path:?})"))
}

/// What happens between clone and the program.
struct Visit<'a, 'w> {
    found: &'a Container,
    filter: &'a Option<Filter>,
    place: &'a Join,
    /// It waits for us outside of its cgroup.
    late: bool,
    witness: &'a mut (dyn Witness + 'w),
}

impl Events for Visit<'_, '_> {
    fn cloned(&mut self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        self.witness.reached(Milestone::Cloned(pid, pidfd))?;
        if !self.late && !self.place.complete_at_clone() {
            self.place.attach(pid)?;
        }
        self.found.state.rdt.as_ref().map_or(Ok(()), |group| group.assign(pid))
    }

    fn runtime_hooks(&mut self, pid: i32) -> Result<()> {
        if self.late { self.place.enter(pid) } else { Ok(()) }
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
