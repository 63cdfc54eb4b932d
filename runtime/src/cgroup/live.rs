//! A cgroup with processes in it: freezing, killing, waiting, removing. Every wait has a deadline.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::{Cgroup, Dir, file, systemd, walk};
use crate::error::{Context, Error, Result};

const STEP: &str = "cgroup";

/// `cgroup.events` of a cgroup: [`Watch::fd`] gets POLLPRI when something changed, then [`Watch::on_ready`] tells.
#[derive(Debug)]
pub struct Watch {
    fd: OwnedFd,
    path: String,
}

/// What `cgroup.events` says (Documentation/admin-guide/cgroup-v2.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Live processes in it or below.
    pub populated: bool,
    /// All of them are frozen.
    pub frozen: bool,
}

impl Watch {
    fn open(dir: &Dir) -> Result<Option<Self>> {
        let path = format!("{}/cgroup.events", dir.full());
        match rustix::fs::open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(Some(Watch { fd, path })),
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(errno) => Err(Error::system(STEP, format!("open({path:?})"), errno)),
        }
    }

    /// To poll, for POLLPRI.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The state now; arms the fd for the next change. A cgroup that is gone is neither populated nor frozen.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn on_ready(&self) -> Result<State> {
        let mut buffer = [0u8; 256];
        let text = match rustix::io::pread(&self.fd, &mut buffer, 0) {
            Ok(n) => String::from_utf8_lossy(&buffer[..n]),
            Err(Errno::NODEV) => return Ok(State { populated: false, frozen: false }),
            Err(errno) => return Err(Error::system(STEP, format!("read({:?})", self.path), errno)),
        };
        let is = |key| file::keyed(&text, key) == Some(1);
        Ok(State { populated: is("populated"), frozen: is("frozen") })
    }

    /// Waits until `done`; false: the time is over.
    fn wait(&self, timeout: Duration, done: impl Fn(State) -> bool) -> Result<bool> {
        let end = Instant::now() + timeout;
        loop {
            if done(self.on_ready()?) {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            poll_one(self.fd(), PollFlags::PRI, left).at(STEP, || format!("poll({:?})", self.path))?;
        }
    }
}

fn poll_one(fd: BorrowedFd<'_>, flags: PollFlags, timeout: Duration) -> Result<(), Errno> {
    let timeout = Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ };
    match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// All processes in the directory and below.
pub(crate) fn collect_pids(path: &str, pids: &mut Vec<i32>) -> Result<()> {
    let dir = match file::open_dir(path, STEP) {
        Err(e) if e.errno() == Some(Errno::NOENT) => return Ok(()),
        dir => dir?,
    };
    match walk::pids(dir.as_fd(), true, pids) {
        Err(Errno::NODEV | Errno::NOENT) => Ok(()),
        result => result.at(STEP, || format!("read(\"{path}/cgroup.procs\")")),
    }
}

impl Cgroup {
    /// The directory to look at for membership: the unified tree, or one v1 hierarchy (all have the same processes).
    fn tracking(&self) -> Option<&Dir> {
        let any = ["devices", "freezer", "pids"].into_iter().find_map(|c| self.dir(c));
        self.unified.as_ref().or(any).or(self.legacy.first())
    }

    /// Does it exist?
    pub fn exists(&self) -> bool {
        self.tracking().is_some_and(|d| rustix::fs::stat(d.full().as_str()).is_ok())
    }

    /// The processes in it and, if `recursive`, in the cgroups below; sorted, each once. Empty if it is gone.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn pids(&self, recursive: bool) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        if let Some(dir) = self.tracking() {
            let path = dir.full();
            match file::open_dir(&path, STEP) {
                Ok(fd) => match walk::pids(fd.as_fd(), recursive, &mut pids) {
                    Ok(()) | Err(Errno::NODEV | Errno::NOENT) => {}
                    Err(errno) => return Err(Error::system(STEP, format!("read(\"{path}/cgroup.procs\")"), errno)),
                },
                Err(e) if e.errno() == Some(Errno::NOENT) => {}
                Err(e) => return Err(e),
            }
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// For a loop that waits on many things. None: no unified tree here, or the cgroup is gone.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn watch(&self) -> Result<Option<Watch>> {
        self.unified.as_ref().map_or(Ok(None), Watch::open)
    }

    /// Are there live processes in it or below? False if it is gone.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn populated(&self) -> Result<bool> {
        match self.watch()? {
            Some(w) => Ok(w.on_ready()?.populated),
            None => Ok(!self.pids(true)?.is_empty()),
        }
    }

    /// Waits until no process is left, at most `timeout`; false: there are some.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn wait_empty(&self, timeout: Duration) -> Result<bool> {
        if let Some(w) = self.watch()? {
            return w.wait(timeout, |s| !s.populated);
        }
        // v1 alone has nothing to poll but its processes. New ones may appear while we wait for the old.
        let end = Instant::now() + timeout;
        loop {
            let pids = self.pids(true)?;
            let Some(pid) = pids.first().and_then(|p| Pid::from_raw(*p)) else { return Ok(true) };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
                Ok(fd) => poll_one(fd.as_fd(), PollFlags::IN, left).at(STEP, || "poll(pidfd)".into())?,
                Err(Errno::SRCH) => {}
                Err(errno) => return Err(Error::system(STEP, format!("pidfd_open({})", pids[0]), errno)),
            }
        }
    }

    /// Freezes all of it and waits until every process stands still, or thaws it. Freezing that does not succeed within
    /// `timeout` is undone.
    ///
    /// The unified tree's freezer is used where there is one, on hybrid hosts too: it keeps up with forks, and what it
    /// froze can be killed.
    ///
    /// # Errors
    /// No freezer, or the time is over (a process in uninterruptible sleep).
    pub fn freeze(&self, on: bool, timeout: Duration) -> Result<()> {
        let Some(dir) = &self.unified else { return self.freeze_v1(on, timeout) };
        let path = dir.full();
        let set = |value: &str| file::write(&format!("{path}/cgroup.freeze"), value);
        set(if on { "1" } else { "0" }).map_err(|errno| match errno {
            Errno::NOENT => Error::failed(STEP, format!("{path} does not exist: nothing to freeze")),
            _ => file::write_error(STEP, &path, "cgroup.freeze", if on { "1" } else { "0" }, errno),
        })?;
        // An empty cgroup counts as frozen at once; a vanished one never gets there, so it ends the wait, too.
        let Some(watch) = Watch::open(dir)? else { return Ok(()) };
        if !on {
            return Ok(());
        }
        if watch.wait(timeout, |s| s.frozen || !s.populated)? {
            return Ok(());
        }
        let _ = set("0");
        Err(still_running(&path, timeout))
    }

    fn freeze_v1(&self, on: bool, timeout: Duration) -> Result<()> {
        let Some(dir) = self.legacy.iter().find(|d| d.controllers.iter().any(|c| c == "freezer")) else {
            return Err(Error::unsupported("freeze", "neither cgroup2 nor the v1 freezer controller is mounted"));
        };
        let path = dir.full();
        let set = |state: &str| {
            let file = format!("{path}/freezer.state");
            file::write(&file, state).at(STEP, || format!("write({file:?}, {state:?})"))
        };
        if !on {
            return set("THAWED");
        }
        let end = Instant::now() + timeout;
        // The v1 freezer misses processes that are forked while it freezes: written again until it says FROZEN, and
        // thawed once in a while so that a fork storm gets on. It has nothing to poll.
        for round in 1u32.. {
            set("FROZEN")?;
            let state = file::read(&format!("{path}/freezer.state")).at(STEP, || format!("read(\"{path}/freezer.state\")"))?;
            if state.trim() == "FROZEN" {
                return Ok(());
            }
            if Instant::now() >= end {
                break;
            }
            if round.is_multiple_of(50) {
                set("THAWED")?;
                std::thread::sleep(Duration::from_millis(1));
            } else {
                std::thread::yield_now();
            }
        }
        set("THAWED")?;
        Err(still_running(&path, timeout))
    }

    /// Is it frozen, or about to be, by itself or by a parent?
    ///
    /// # Errors
    /// It cannot be read. A cgroup that is gone is not frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        let read = |path: String| match file::read(&path) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(errno) => Err(Error::system(STEP, format!("read({path:?})"), errno)),
        };
        if let Some(dir) = &self.unified {
            let own = read(format!("{}/cgroup.freeze", dir.full()))?;
            if own.is_some_and(|t| t.trim() == "1") {
                return Ok(true);
            }
            if let Some(w) = Watch::open(dir)?
                && w.on_ready()?.frozen
            {
                return Ok(true);
            }
        }
        let Some(dir) = self.legacy.iter().find(|d| d.controllers.iter().any(|c| c == "freezer")) else { return Ok(false) };
        let state = read(format!("{}/freezer.state", dir.full()))?;
        Ok(state.is_some_and(|s| matches!(s.trim(), "FROZEN" | "FREEZING")))
    }

    /// SIGKILL for every process in it and below, those that are being forked too. Does not wait.
    ///
    /// # Errors
    /// The kernel refuses. A cgroup that is gone is no error.
    pub fn kill_all(&self) -> Result<()> {
        if let Some(dir) = &self.unified {
            let path = dir.full();
            match file::write(&format!("{path}/cgroup.kill"), "1") {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
                // Threaded: no process is whole in it.
                Err(Errno::OPNOTSUPP) => self.kill_each()?,
                Err(errno) => return Err(file::write_error(STEP, &path, "cgroup.kill", "1", errno)),
            }
            // Whoever froze it by the v1 freezer: a process that stands there dies only when thawed.
            self.thaw_v1();
            return Ok(());
        }
        // v1 alone: held still, so that no fork escapes, then thawed to die.
        let frozen = self.freeze_v1(true, Duration::from_secs(2));
        let killed = self.kill_each();
        self.thaw_v1();
        match frozen {
            Err(Error::Failed { .. }) => self.kill_each(),
            _ => killed,
        }
    }

    fn thaw_v1(&self) {
        for dir in self.legacy.iter().filter(|d| d.controllers.iter().any(|c| c == "freezer")) {
            let _ = file::write(&format!("{}/freezer.state", dir.full()), "THAWED");
        }
    }

    fn kill_each(&self) -> Result<()> {
        for pid in self.pids(true)? {
            let Some(target) = Pid::from_raw(pid) else { continue };
            match rustix::process::kill_process(target, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(Error::system(STEP, format!("kill({pid}, SIGKILL)"), errno)),
            }
        }
        Ok(())
    }

    /// How many processes the OOM killer has taken from it and its children. None: the host does not count (no memory
    /// controller here, or the cgroup is gone).
    ///
    /// # Errors
    /// It cannot be read.
    pub fn oom_kill_count(&self) -> Result<Option<u64>> {
        let Some(dir) = self.dir("memory") else { return Ok(None) };
        let name = if dir.controllers.is_empty() { "memory.events" } else { "memory.oom_control" };
        let path = format!("{}/{name}", dir.full());
        match file::read(&path) {
            Ok(text) => Ok(file::keyed(&text, "oom_kill")),
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(errno) => Err(Error::system(STEP, format!("read({path:?})"), errno)),
        }
    }

    /// Removes it with everything below, in every hierarchy. The processes must have been killed: at most `timeout` is
    /// waited for them. What is already gone is no error, so that it can be tried again after a crash.
    ///
    /// # Errors
    /// There are still processes in it (one in uninterruptible sleep), or the kernel refuses; the rest is removed all the
    /// same.
    pub fn destroy(&self, timeout: Duration) -> Result<()> {
        let end = Instant::now() + timeout;
        // The directories are removed whatever systemd says: it may be gone for good.
        let mut first = self.unit.as_ref().and_then(|unit| systemd::stop(unit).err());
        for dir in self.dirs() {
            if let Err(e) = self.remove(dir, end) {
                first.get_or_insert(e);
            }
        }
        match first {
            // A scope that cannot be asked about and has no directory any more is no loss.
            Some(e) if self.unit.is_none() || self.exists() || systemd::is_running() => Err(e),
            _ => Ok(()),
        }
    }

    fn remove(&self, dir: &Dir, end: Instant) -> Result<()> {
        let path = dir.full();
        let call = || format!("rmdir({path:?})");
        for round in 0..3 {
            match rustix::fs::rmdir(path.as_str()) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // EROFS comes for what does not exist, too.
                Err(Errno::ROFS) if rustix::fs::stat(path.as_str()).err() == Some(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY) if round < 2 => {}
                Err(errno) => return Err(Error::system(STEP, call(), errno)),
            }
            let left = end.saturating_duration_since(Instant::now());
            if round > 0 && !self.wait_empty(left)? {
                let pids = self.pids(true)?;
                return Err(Error::failed(STEP, format!("{path} still has processes: {}", list(&pids))));
            }
            match file::open_dir(&path, STEP) {
                Ok(fd) => match walk::remove_children(fd.as_fd()) {
                    Ok(()) | Err(Errno::BUSY | Errno::NOENT | Errno::NODEV) => {}
                    Err(errno) => return Err(Error::system(STEP, format!("remove the cgroups below {path:?}"), errno)),
                },
                Err(e) if e.errno() == Some(Errno::NOENT) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn still_running(path: &str, timeout: Duration) -> Error {
    let problem =
        format!("{path} did not freeze within {} ms (a process in uninterruptible sleep?): thawed", timeout.as_millis());
    Error::failed("freeze", problem)
}

fn list(pids: &[i32]) -> String {
    let shown: Vec<String> = pids.iter().take(10).map(i32::to_string).collect();
    let more = if pids.len() > 10 { format!(" and {} more", pids.len() - 10) } else { String::new() };
    shown.join(", ") + &more
}
