//! The blocking half, in a fork of the caller.
//!
//! A worker takes nothing from its caller but the descriptors that it was given: signals are reset, all others closed (another
//! container's stdin among them). It is not dumpable, as it enters containers. Then it does what `rrun` does, with init cloned as
//! the caller's child, tells how it went and exits. It may allocate, as the caller has one thread only; [`fork`] refuses others.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::wire::Record;
use super::{Create, Delete, Exec, Stage};
use crate::container::create::{How, Milestone, Wait, Witness, create_watched};
use crate::container::{self, Container, exec, prepare, start};
use crate::error::{Context as _, Error, Result};
use crate::spec::config::Config;
use crate::state::{StateRoot, id};
use crate::sys::clone::{CLONE_CLEAR_SIGHAND, CloneArgs, clone3};
use crate::sys::{process, signal};

/// A worker as its caller sees it.
#[derive(Debug)]
pub(super) struct Worker {
    /// To be reaped by the caller.
    pub(super) pid: i32,
    /// Refers to exactly this process.
    pub(super) pidfd: OwnedFd,
    /// Its reports.
    pub(super) socket: OwnedFd,
}

/// The worker's end.
pub(super) struct Reporter(OwnedFd);

/// Starts `work` in a fork that keeps of our descriptors 0, 1, 2 and `keep`.
///
/// # Errors
/// We have more than one thread, or the fork fails.
pub(super) fn fork(keep: &[BorrowedFd<'_>], work: impl FnOnce(&Reporter) -> Result<Record>) -> Result<Worker> {
    // Two links, `.` and `..`, and one for each thread.
    let tasks = rustix::fs::stat(c"/proc/self/task").at("launch", || "stat(\"/proc/self/task\")".into())?.st_nlink;
    if tasks != 3 {
        let why =
            format!("the calling process has {} threads: a fork of it could hang on a lock that another one held", tasks - 2);
        return Err(Error::unsupported("launch", why));
    }
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.at("launch", || "socketpair".into())?;
    let mut numbers: Vec<i32> = keep.iter().map(|fd| fd.as_raw_fd()).chain([theirs.as_raw_fd()]).collect();
    numbers.sort_unstable();
    let args = CloneArgs { flags: CLONE_CLEAR_SIGHAND, cgroup: None };
    let reporter = Reporter(theirs);
    let child = || {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            settle(&numbers)?;
            work(&reporter)
        }));
        let last = match outcome {
            Ok(Ok(record)) => reporter.send(&record),
            Ok(Err(error)) => reporter.send(&Record::of(&error)),
            Err(_) => Err(Error::failed("launch", "the worker panicked")),
        };
        process::exit_now(i32::from(last.is_err()))
    };
    let (pid, pidfd) = clone3(&args, child).at("launch", || "clone3(worker)".into())?;
    Ok(Worker { pid, pidfd, socket: ours })
}

/// Nothing of the caller's goes along.
fn settle(keep: &[i32]) -> Result<()> {
    signal::reset_all();
    // As in any Rust program: an agent or a console that hangs up is an error, not our death.
    signal::ignore(libc::SIGPIPE);
    let mut first = 3;
    for number in keep.iter().filter(|n| **n >= 3) {
        process::close_range(first, number - 1).at("launch", || "close_range".into())?;
        first = number + 1;
    }
    process::close_from(first, false).at("launch", || "close_range".into())?;
    process::prctl(libc::PR_SET_DUMPABLE, 0, 0).at("launch", || "prctl(PR_SET_DUMPABLE)".into())?;
    Ok(())
}

impl Reporter {
    /// # Errors
    /// The caller is gone, or has dropped its Launch: nobody wants the container any more.
    fn send(&self, record: &Record) -> Result<()> {
        record.send(self.0.as_fd(), None).at("launch", || "sendmsg(caller)".into())
    }

    fn send_fd(&self, record: &Record, fd: BorrowedFd<'_>) -> Result<()> {
        record.send(self.0.as_fd(), Some(fd)).at("launch", || "sendmsg(caller)".into())
    }

    fn warn(&self, warnings: &[String]) -> Result<()> {
        warnings.iter().try_for_each(|w| self.send(&Record::Warning(w.clone())))
    }
}

impl Witness for &Reporter {
    fn console(&mut self, master: OwnedFd) -> Result<()> {
        self.send_fd(&Record::Console, master.as_fd())
    }

    fn reached(&mut self, milestone: Milestone<'_>) -> Result<()> {
        match milestone {
            Milestone::Cgroup(cgroup) => {
                let json = serde_json::to_string(cgroup).map_err(|e| Error::failed("launch", e.to_string()))?;
                self.send(&Record::Cgroup(json))
            }
            Milestone::Cloned(pid, pidfd) => self.send_fd(&Record::Cloned(pid), pidfd),
            Milestone::RuntimeHooks => self.send(&Record::Stage(Stage::RuntimeHooks)),
            Milestone::Mounts => self.send(&Record::Stage(Stage::Mounts)),
            Milestone::ContainerHooks => self.send(&Record::Stage(Stage::ContainerHooks)),
        }
    }
}

fn borrowed(stdio: Option<&[OwnedFd; 3]>) -> Option<[BorrowedFd<'_>; 3]> {
    stdio.map(|fds| fds.each_ref().map(|fd| fd.as_fd()))
}

/// Creates a container.
pub(super) fn create(request: &Create, reporter: &Reporter) -> Result<Record> {
    id::check(&request.id)?;
    let config = match &request.config {
        Some(config) => config.clone(),
        None => Config::read(&request.bundle)?,
    };
    let prepared = prepare(config, &request.bundle, &request.id, &request.wishes)?;
    reporter.warn(&prepared.plan.warnings)?;
    let root = StateRoot::make(&request.state_root)?;
    let how = How { wait: Wait::ForParent, reparent: true, stdio: borrowed(request.stdio.as_ref()) };
    let launched = create_watched(&root, &prepared, &how, &mut &*reporter)?;
    let hooks = prepared.config.hooks.as_ref();
    let listener = prepared.plan.init.filter.as_ref().is_some_and(|f| f.listener.is_some());
    let blocking = listener || hooks.is_some_and(|h| !h.start_container.is_empty() || !h.poststart.is_empty());
    let program = prepared.config.process.as_ref().and_then(|p| p.args.first().cloned()).unwrap_or_default();
    drop(launched.lock);
    // Where nobody takes it, init sees the end of its socket when we exit, and goes, too.
    reporter.send_fd(&Record::Ready { blocking, program }, launched.child.socket.as_fd())?;
    process::exit_now(0)
}

/// startContainer hooks, START, the notification descriptor, poststart hooks.
pub(super) fn start(request: &Create, socket: BorrowedFd<'_>) -> Result<Record> {
    let container = Container::load(&request.state_root, &request.id)?;
    let _lock = container.dir().lock()?;
    let config = container.dir().config()?;
    let (pid, pidfd) = container.init("start")?;
    let begun = start::go(&config, container.state(), pid, pidfd.as_fd(), socket)
        .and_then(|()| start::poststart(&config, container.state(), pid));
    if begun.is_err() {
        let _ = signal::pidfd_send(pidfd.as_fd(), libc::SIGKILL);
    }
    begun.map(|()| Record::Started)
}

/// Runs one more process in a container.
pub(super) fn exec(request: &Exec, reporter: &Reporter) -> Result<Record> {
    let container = Container::load(&request.state_root, &request.id)?;
    let config = container.dir().config()?;
    let mut warnings = Vec::new();
    let how = exec::How { reparent: true, stdio: borrowed(request.stdio.as_ref()) };
    let process = request.process.clone();
    let made = exec::exec_watched(&container, &config, process, &request.wishes, &how, &mut warnings, &mut &*reporter);
    reporter.warn(&warnings)?;
    made.map(|_| Record::Started)
}

/// Deletes a container.
pub(super) fn delete(request: &Delete, reporter: &Reporter) -> Result<Record> {
    let warnings = container::delete(&request.state_root, &request.id, request.force)?;
    reporter.warn(&warnings)?;
    Ok(Record::Deleted)
}
