//! Carrying out a plan: directories, controllers, limits. What fails is undone; what a crash leaves is found by the paths
//! that the container's state already holds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;

use super::devices::Exceptions;
use super::explain::{Refused, WriteFailed};
use super::plan::{CgroupPlan, DevicePlan};
use super::writes::{OnError, Write};
use super::{Cgroup, Dir, bpf, systemd};
use super::{file, path};
use crate::error::{Context, Error, Result};

/// Step name of what is no config field.
const STEP: &str = "cgroup";
/// Field of what concerns device rules.
const DEVICES: &str = "linux.resources.devices";
/// Controllers that every container gets where the host has them, limits or not: without them its statistics would be
/// those of its parent. Hugetlb, rdma, cpuset and the rest are enabled when a limit asks for them.
const ACCOUNTING: [&str; 4] = ["cpu", "memory", "pids", "io"];

/// A cgroup that was made and waits for its first process.
#[derive(Debug)]
pub struct Created {
    cgroup: Cgroup,
    unified: Option<OwnedFd>,
    /// Systemd driver: what is left to do after the clone.
    later: Option<Box<CgroupPlan>>,
}

impl Created {
    /// The directory in the unified tree, for clone3's CLONE_INTO_CGROUP. None on a host without cgroup2 and with the
    /// systemd driver: then [`Created::attach`] does all.
    pub fn clone_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Is a process that was cloned into [`Created::clone_fd`] already where it belongs? If not, the clone must be followed
    /// by [`Created::attach`] before the child goes on.
    pub fn complete_at_clone(&self) -> bool {
        self.unified.is_some() && self.cgroup.legacy.is_empty() && self.cgroup.unit.is_none()
    }

    /// Puts `pid` where the clone could not: the v1 hierarchies, and the unified one too if it was not cloned there. With the
    /// systemd driver this makes the scope around it, and waits for it.
    ///
    /// # Errors
    /// The kernel or systemd refuses, naming the hierarchy or property. Then the caller kills the process and calls
    /// [`Cgroup::destroy`].
    pub fn attach(&self, pid: i32) -> Result<()> {
        if let Some(plan) = &self.later {
            return plan.attach_by_systemd(pid);
        }
        for dir in &self.cgroup.legacy {
            join(dir, pid)?;
        }
        match (&self.cgroup.unified, &self.unified) {
            (Some(dir), None) => join(dir, pid),
            _ => Ok(()),
        }
    }
}

impl Cgroup {
    /// Moves `pid` into it, in every hierarchy.
    ///
    /// # Errors
    /// The kernel refuses, naming the directory.
    pub fn add(&self, pid: i32) -> Result<()> {
        self.dirs().try_for_each(|dir| join(dir, pid))
    }
}

/// The files that belong to whom a cgroup is delegated (cgroups(7), "Cgroup delegation"), if the kernel does not list them.
const DELEGATED: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Gives the cgroup in the unified tree to `uid` (of the host), so that the container's root may divide it: for a
    /// container with a user namespace, a cgroup namespace and a writable cgroup mount. v1 has no safe delegation.
    ///
    /// # Errors
    /// chown(2) is refused.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        let Some(dir) = &self.unified else { return Ok(()) };
        let path = dir.full();
        let fd = file::open_dir(&path, STEP)?;
        let owner = Some(rustix::fs::Uid::from_raw(uid));
        rustix::fs::fchown(&fd, owner, None).at(STEP, || format!("chown({path:?}, {uid})"))?;
        let files = file::read("/sys/kernel/cgroup/delegate").unwrap_or_else(|_| DELEGATED.into());
        for name in files.lines().filter(|n| !n.is_empty() && !n.contains('/')) {
            match rustix::fs::chownat(&fd, name, owner, None, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                // The list is that of all controllers.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::system(STEP, format!("chown(\"{path}/{name}\", {uid})"), errno)),
            }
        }
        Ok(())
    }

    /// Why clone3 with CLONE_INTO_CGROUP, or joining, failed with `errno`, if the cgroup tells.
    pub fn why_refused(&self, errno: Errno) -> Option<String> {
        let path = self.unified.as_ref()?.full();
        let read = |name: &str| file::read(&format!("{path}/{name}")).unwrap_or_default().trim().to_owned();
        match (errno, read("cgroup.type").as_str()) {
            (Errno::BUSY, _) => Some(format!(
                "{path} has handed {} to its children: it takes no processes of its own",
                read("cgroup.subtree_control")
            )),
            (Errno::OPNOTSUPP, kind @ ("domain invalid" | "threaded")) => Some(format!(
                "{path} is {kind}: a cgroup above it has processes in threaded mode; choose another linux.cgroupsPath"
            )),
            _ => None,
        }
    }
}

/// Writes `pid` to cgroup.procs of `dir`.
pub(crate) fn join(dir: &Dir, pid: i32) -> Result<()> {
    let path = dir.full();
    file::write(&format!("{path}/cgroup.procs"), &pid.to_string()).map_err(|errno| {
        let step = format!("{STEP}: adding pid {pid} to cgroups");
        let e = file::write_error(&step, &path, "cgroup.procs", &pid.to_string(), errno);
        match errno {
            Errno::BUSY => e.hint("a cgroup whose children have controllers takes no processes"),
            Errno::NOSPC => e.hint("its cpuset has no CPUs or no memory nodes"),
            Errno::OPNOTSUPP => e.hint("the cgroup is in threaded mode"),
            _ => e,
        }
    })
}

/// Directories made by this run, in order; removed again if it fails.
#[derive(Default)]
struct Made(Vec<String>);

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.drain(..).rev() {
            let _ = rustix::fs::rmdir(path.as_str());
        }
    }
}

impl CgroupPlan {
    /// Refuses a place that somebody else uses: a cgroup with processes in it, or a frozen one. Called before the plan's
    /// [`Cgroup`] is saved anywhere, as whoever finds it saved may kill what is in it.
    ///
    /// # Errors
    /// Which directory, and why.
    pub fn refuse_used(&self) -> Result<()> {
        for d in &self.dirs {
            if d.dir.controllers.is_empty() { refuse_used_v2(&d.dir.full()) } else { refuse_used_v1(&d.dir) }?;
        }
        Ok(())
    }

    /// Makes the directories and writes the limits.
    ///
    /// # Errors
    /// A limit that the kernel refuses, by its config field; a controller that the host does not have or has elsewhere; a
    /// cgroup that exists with processes in it, or frozen. Nothing is left behind.
    pub fn create(&self) -> Result<Created> {
        if self.unit.is_some() {
            if !systemd::is_running() {
                return Err(Error::unsupported("--systemd-cgroup", "this host was not booted with systemd"));
            }
            self.refuse_used()?;
            return Ok(Created { cgroup: self.cgroup.clone(), unified: None, later: Some(Box::new(self.clone())) });
        }
        let mut made = Made::default();
        let mut unified = None;
        let mut dirs = self.dirs.iter();
        if self.cgroup.unified.is_some()
            && let Some(d) = dirs.next()
        {
            let path = d.dir.full();
            let fresh = make(&path, &mut made)?;
            if !fresh {
                refuse_used_v2(&path)?;
            }
            let fd = file::open_dir(&path, STEP)?;
            refuse_frozen_parent(fd.as_fd(), &path)?;
            let refused = enable(fd.as_fd(), &d.dir, &d.writes)?;
            write_all(fd.as_fd(), &d.dir, &d.writes).map_err(|e| e.explain(&refused))?;
            if let DevicePlan::Program(program) = &self.devices {
                bpf::attach(fd.as_fd(), program, fresh, DEVICES)?;
            }
            unified = Some(fd);
        }
        for (i, d) in dirs.enumerate() {
            let path = d.dir.full();
            if !make(&path, &mut made)? {
                refuse_used_v1(&d.dir)?;
            }
            let cpuset = d.dir.controllers.iter().any(|c| c == "cpuset");
            if cpuset {
                inherit_cpuset(&d.dir.mount, &d.dir.path, &d.writes)?;
            }
            if !d.writes.is_empty() {
                let fd = file::open_dir(&path, STEP)?;
                write_all(fd.as_fd(), &d.dir, &d.writes).map_err(|e| e.explain(&Refused::default()))?;
            }
            if let DevicePlan::Exceptions(at, exceptions) = &self.devices
                && *at == i
            {
                write_exceptions(&d.dir, exceptions)?;
            }
        }
        made.0.clear();
        Ok(Created { cgroup: self.cgroup.clone(), unified, later: None })
    }

    /// The scope around `pid`, then the limits that systemd does not know. In v1 hierarchies that it leaves alone (it joins
    /// those of its own controllers only) the cgroup is made as without systemd.
    fn attach_by_systemd(&self, pid: i32) -> Result<()> {
        if let Some(unit) = &self.unit {
            systemd::start(unit, pid)?;
        }
        let mut made = Made::default();
        for d in &self.dirs {
            let path = d.dir.full();
            let v2 = d.dir.controllers.is_empty();
            let by_systemd = v2 || d.dir.controllers.iter().any(|c| c == "name=systemd");
            if !by_systemd {
                make(&path, &mut made)?;
                if d.dir.controllers.iter().any(|c| c == "cpuset") {
                    inherit_cpuset(&d.dir.mount, &d.dir.path, &d.writes)?;
                }
            }
            let fd = file::open_dir(&path, STEP)?;
            let refused = if v2 { enable(fd.as_fd(), &d.dir, &d.writes)? } else { Refused::default() };
            write_all(fd.as_fd(), &d.dir, &d.writes).map_err(|e| e.explain(&refused))?;
            match &self.devices {
                DevicePlan::Program(program) if v2 => bpf::attach(fd.as_fd(), program, false, DEVICES)?,
                DevicePlan::Exceptions(i, e) if self.cgroup.legacy[*i] == d.dir => write_exceptions(&d.dir, e)?,
                _ => {}
            }
            if !by_systemd {
                join(&d.dir, pid)?;
            }
        }
        made.0.clear();
        Ok(())
    }
}

/// mkdir, with missing parents. False: it was there.
fn make(path: &str, made: &mut Made) -> Result<bool> {
    let mkdir = |path: &str| rustix::fs::mkdir(path, Mode::from_raw_mode(0o755));
    match mkdir(path) {
        Ok(()) => {
            made.0.push(path.to_owned());
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::NOENT) => {
            let Some((parent, _)) = path.rsplit_once('/').filter(|(p, _)| !p.is_empty()) else {
                return Err(Error::system(STEP, format!("mkdir({path:?})"), Errno::NOENT));
            };
            make(parent, made)?;
            // Somebody may have made it in between: then it is not ours to undo.
            match mkdir(path) {
                Ok(()) => {
                    made.0.push(path.to_owned());
                    Ok(true)
                }
                Err(Errno::EXIST) => Ok(false),
                Err(errno) => Err(mkdir_error(path, errno)),
            }
        }
        Err(errno) => Err(mkdir_error(path, errno)),
    }
}

fn mkdir_error(path: &str, errno: Errno) -> Error {
    let e = Error::system(STEP, format!("mkdir({path:?})"), errno);
    match errno {
        Errno::AGAIN => e.hint("cgroup.max.descendants or cgroup.max.depth of a parent is reached"),
        Errno::ROFS => e.hint("the cgroup file system is mounted read-only"),
        Errno::ACCESS | Errno::PERM => e.hint("this needs root or a delegated cgroup"),
        _ => e,
    }
}

/// An existing cgroup is taken over only if it is empty and not frozen (as runc does, 1.2 and later).
pub(super) fn refuse_used_v2(path: &str) -> Result<()> {
    let events = format!("{path}/cgroup.events");
    let text = match file::read(&events) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        text => text.at(STEP, || format!("read({events:?})"))?,
    };
    if file::keyed(&text, "populated") != Some(0) {
        return Err(Error::failed(
            STEP,
            format!("{path}: the container's cgroup is not empty: choose another linux.cgroupsPath"),
        ));
    }
    let freeze = file::read(&format!("{path}/cgroup.freeze")).unwrap_or_default();
    if freeze.trim() == "1" || file::keyed(&text, "frozen") == Some(1) {
        return Err(Error::failed(STEP, frozen(path, "cgroup.freeze")));
    }
    Ok(())
}

fn frozen(path: &str, file: &str) -> String {
    format!("{path}: the container's cgroup unexpectedly frozen: thaw it ({file}) or choose another linux.cgroupsPath")
}

/// Below a frozen cgroup a process would not get to its first instruction, and whoever waits for it would wait for ever.
fn refuse_frozen_parent(dir: BorrowedFd<'_>, path: &str) -> Result<()> {
    let text = file::read_piece_at(dir, "cgroup.events").at(STEP, || format!("read(\"{path}/cgroup.events\")"))?;
    match file::keyed(&text, "frozen") {
        Some(1) => {
            Err(Error::failed(STEP, format!("a cgroup above {path} is frozen: thaw it (cgroup.freeze) or choose another")))
        }
        _ => Ok(()),
    }
}

/// The same for a v1 hierarchy.
pub(super) fn refuse_used_v1(dir: &Dir) -> Result<()> {
    let path = dir.full();
    let mut pids = Vec::new();
    super::live::collect_pids(&path, &mut pids)?;
    if !pids.is_empty() {
        let problem =
            format!("{path}: the container's cgroup is not empty: {} process(es); choose another linux.cgroupsPath", pids.len());
        return Err(Error::failed(STEP, problem));
    }
    if dir.controllers.iter().any(|c| c == "freezer") {
        let state = file::read(&format!("{path}/freezer.state")).unwrap_or_default();
        if !matches!(state.trim(), "" | "THAWED") {
            return Err(Error::failed(STEP, frozen(&path, "freezer.state")));
        }
    }
    Ok(())
}

/// Enables, down the path, the controllers that the writes need and the accounting ones, where they are missing. In the
/// common case (a manager has enabled them) it is one read. What cannot be enabled comes back: whether that matters shows
/// when a limit is written.
pub(crate) fn enable(fd: BorrowedFd<'_>, dir: &Dir, writes: &[Write]) -> Result<Refused> {
    let has =
        file::read_piece_at(fd, "cgroup.controllers").at(STEP, || format!("read(\"{}/cgroup.controllers\")", dir.full()))?;
    let missing = |c: &str| !has.split_ascii_whitespace().any(|h| h == c);
    let mut wanted: Vec<&str> = ACCOUNTING.into_iter().filter(|c| missing(c)).collect();
    for w in writes {
        if missing(&w.controller) && !wanted.contains(&&*w.controller) {
            wanted.push(&w.controller);
        }
    }
    let mut refused = Refused::default();
    if wanted.is_empty() {
        return Ok(refused);
    }
    // Only the mount's own root says what this hierarchy has at all.
    let root = file::read_piece(&format!("{}/cgroup.controllers", dir.mount)).unwrap_or_default();
    wanted.retain(|c| root.split_ascii_whitespace().any(|r| r == *c));
    if wanted.is_empty() {
        return Ok(refused);
    }
    // From the top: a controller can be enabled only where the parent has it. The leaf itself has no children yet.
    let parents = dir.path.rsplit_once('/').map_or("", |(parents, _)| parents);
    let mut at = dir.mount.clone();
    for part in std::iter::once("").chain(parents.split('/').filter(|p| !p.is_empty())) {
        if !part.is_empty() {
            at = format!("{at}/{part}");
        }
        let file = format!("{at}/cgroup.subtree_control");
        let all: String = wanted.iter().map(|c| format!("+{c} ")).collect();
        if file::write(&file, all.trim_end()).is_ok() {
            continue;
        }
        // All or nothing is the kernel's rule: one by one, then.
        for c in &wanted {
            if let Err(errno) = file::write(&file, &format!("+{c}")) {
                refused.0.push(((*c).to_owned(), file.clone(), errno));
            }
        }
    }
    Ok(refused)
}

/// Brings the v1 devices cgroup to `target`; lines that are there already are not written.
pub(crate) fn write_exceptions(dir: &Dir, target: &Exceptions) -> Result<()> {
    let path = dir.full();
    let list = file::read(&format!("{path}/devices.list")).at(DEVICES, || format!("read(\"{path}/devices.list\")"))?;
    let present = Exceptions::parse(&list)
        .ok_or_else(|| Error::failed(DEVICES, format!("{path}/devices.list is not as expected: {list:?}")))?;
    let mut open: [Option<OwnedFd>; 2] = [None, None];
    for (allow, line) in target.writes_from(&present) {
        let name = if allow { "devices.allow" } else { "devices.deny" };
        let fd = match &mut open[usize::from(allow)] {
            Some(fd) => fd,
            none => {
                none.insert(file::open_for_writing(&format!("{path}/{name}")).at(DEVICES, || format!("open(\"{path}/{name}\")"))?)
            }
        };
        file::write_fd(fd.as_fd(), &line).map_err(|errno| {
            let e = file::write_error(DEVICES, &path, name, &line, errno);
            if errno == Errno::PERM { e.hint("the parent cgroup does not allow that much") } else { e }
        })?;
    }
    Ok(())
}

/// Carries out `writes` in `dir`.
pub(crate) fn write_all<'a>(fd: BorrowedFd<'_>, dir: &'a Dir, writes: &'a [Write]) -> Result<(), WriteFailed<'a>> {
    let mut again = Vec::new();
    for write in writes {
        let failed = |errno, missing| WriteFailed { dir, write, errno, missing };
        match (put(fd, &write.file, &write.value), &write.on_error) {
            (Ok(()), _) | (Err((Errno::NOENT, true)), OnError::SkipMissing) => {}
            (Err((Errno::INVAL, false)), OnError::RetryLast) => again.push(write),
            (Err((Errno::NOENT, true)), OnError::Instead(file, value)) => {
                put(fd, file, value).map_err(|(errno, missing)| failed(errno, missing))?;
            }
            (Err((errno, missing)), _) => return Err(failed(errno, missing)),
        }
    }
    for write in again {
        put(fd, &write.file, &write.value).map_err(|(errno, missing)| WriteFailed { dir, write, errno, missing })?;
    }
    Ok(())
}

/// Writes a value, one with several lines line by line. The error says whether the file itself was missing.
fn put(dir: BorrowedFd<'_>, file: &str, value: &str) -> Result<(), (Errno, bool)> {
    use rustix::fs::{OFlags, openat};
    let fd = openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| (errno, true))?;
    if !value.contains('\n') {
        return file::write_fd(fd.as_fd(), value).map_err(|errno| (errno, false));
    }
    for line in value.split_inclusive('\n') {
        file::write_fd(fd.as_fd(), line).map_err(|errno| (errno, false))?;
    }
    Ok(())
}

/// Fills cpuset.cpus and cpuset.mems of a v1 cgroup from its parent, down from the first parent that has them: a new
/// cpuset is empty, and attaching to an empty one is ENOSPC. What the container asks for is written instead.
fn inherit_cpuset(mount: &str, path: &str, writes: &[Write]) -> Result<()> {
    let asked = |file: &str| writes.iter().any(|w| w.file == file);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if !asked(file) {
            cpuset_of(mount, path, file)?;
        } else if let Some((parent, _)) = path.rsplit_once('/') {
            cpuset_of(mount, parent, file)?;
        }
    }
    Ok(())
}

/// The value of `file` at `path`, copied down from above where it is empty.
fn cpuset_of(mount: &str, path: &str, file: &str) -> Result<String> {
    let full = path::full(mount, path, file);
    let own = file::read(&full).at(STEP, || format!("read({full:?})"))?;
    let own = own.trim();
    if !own.is_empty() || path.is_empty() {
        return Ok(own.to_owned());
    }
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let value = cpuset_of(mount, parent, file)?;
    file::write(&full, &value).at(STEP, || format!("write({full:?}, {value:?})"))?;
    Ok(value)
}
