//! Where `rrun exec` puts a process: the container's cgroup, one below it (`--cgroup`), or the one its init went to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::{Cgroup, Dir, file, path};
use crate::error::{Context, Error, Result};

const STEP: &str = "exec cgroup: adding pid of the new process to cgroups";
/// The flag that [`SubCgroups`] comes from.
const FLAG: &str = "--cgroup";

/// `exec --cgroup [CONTROLLER[,CONTROLLER...]:]PATH`, as often as given: existing cgroups below the container's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubCgroups(Vec<(String, String)>);

impl SubCgroups {
    /// Reads the flag's values. A path alone is for the unified tree; with controllers it is for their v1 hierarchies.
    ///
    /// # Errors
    /// An empty controller, the same one twice, several values without controllers, or a path that leaves the container.
    pub fn parse<S: AsRef<str>>(values: &[S]) -> Result<Self> {
        let mut all: Vec<(String, String)> = Vec::new();
        for value in values.iter().map(AsRef::as_ref) {
            let bad = |problem: String| Error::config(FLAG, problem);
            let (controllers, sub) = match value.split_once(':') {
                Some((controllers, sub)) => (controllers.split(',').collect(), sub),
                None if values.len() == 1 => (vec![""], value),
                None => return Err(bad(format!("{value:?}: missing the <controller>: prefix"))),
            };
            let sub = below(sub).ok_or_else(|| bad(format!("bad sub cgroup path {sub:?}: it leaves the container's cgroup")))?;
            for controller in controllers {
                if controller.is_empty() && value.contains(':') {
                    return Err(bad(format!("{value:?}: empty <controller> prefix")));
                }
                if all.iter().any(|(c, _)| c == controller) {
                    return Err(bad(format!("controller {controller} specified multiple times")));
                }
                all.push((controller.to_owned(), sub.clone()));
            }
        }
        Ok(SubCgroups(all))
    }

    /// None were given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `sub` without `.` and `..`; None: it climbs above its start.
fn below(sub: &str) -> Option<String> {
    let mut depth = 0i32;
    for part in sub.split('/') {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        if depth < 0 {
            return None;
        }
    }
    (!sub.contains(['\0', '\n'])).then(|| path::clean(sub))
}

/// Where an exec'd process goes.
#[derive(Debug)]
pub struct Join {
    unified: Option<(OwnedFd, String)>,
    legacy: Vec<Dir>,
}

impl Cgroup {
    /// The cgroup that a process joins the container in.
    ///
    /// # Errors
    /// It does not exist, or `sub` names a controller that is not there.
    pub fn join(&self, sub: &SubCgroups) -> Result<Join> {
        let mut unified = self.unified.clone();
        let mut legacy = self.legacy.clone();
        for (controller, sub) in &sub.0 {
            let dir = if controller.is_empty() {
                unified.as_mut()
            } else {
                legacy.iter_mut().find(|d| d.controllers.iter().any(|c| c == controller))
            };
            let Some(dir) = dir else {
                let problem = match controller.as_str() {
                    "" => "this host has no unified tree: give <controller>:<path>".to_owned(),
                    c => format!("unknown controller {c}: this host has no v1 hierarchy with it"),
                };
                return Err(Error::config(FLAG, problem));
            };
            dir.path = path::join(&dir.path, sub);
        }
        let unified = match unified {
            Some(dir) => Some(open(dir.full())?),
            None => None,
        };
        Ok(Join { unified, legacy })
    }

    /// The same, with the cgroup in the unified tree that the container's init (`pid`) is in now. For when the container's
    /// own takes no process (EBUSY: it has handed controllers to its children, as systemd inside does) or is gone.
    ///
    /// # Errors
    /// There is no such process, or no unified tree.
    pub fn join_init(&self, pid: i32) -> Result<Join> {
        let file = format!("/proc/{pid}/cgroup");
        let text = file::read(&file).at(STEP, || format!("read({file:?})"))?;
        let own = text.lines().find_map(|l| l.strip_prefix("0::"));
        let (Some(own), Some(dir)) = (own, &self.unified) else {
            return Err(Error::failed(STEP, format!("process {pid} is in no cgroup of a unified tree")));
        };
        let unified = Some(open(path::full(&dir.mount, &path::clean(own), "").trim_end_matches('/').to_owned())?);
        Ok(Join { unified, legacy: self.legacy.clone() })
    }
}

fn open(path: String) -> Result<(OwnedFd, String)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match fs::open(path.as_str(), flags, Mode::empty()) {
        Ok(fd) => Ok((fd, path)),
        Err(errno) => Err(Error::system(STEP, format!("open({path:?})"), errno)),
    }
}

impl Join {
    /// For CLONE_INTO_CGROUP. None on a host without cgroup2.
    pub fn clone_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|(fd, _)| fd.as_fd())
    }

    /// Is a process that was cloned into [`Join::clone_fd`] already where it belongs?
    pub fn complete_at_clone(&self) -> bool {
        self.unified.is_some() && self.legacy.is_empty()
    }

    /// Puts `pid` where the clone could not: the v1 hierarchies.
    ///
    /// # Errors
    /// The kernel refuses, naming the hierarchy.
    pub fn attach(&self, pid: i32) -> Result<()> {
        self.legacy.iter().try_for_each(|dir| super::apply::join(dir, pid))
    }

    /// Puts `pid`, which was not cloned into [`Join::clone_fd`], into all of it.
    ///
    /// # Errors
    /// The kernel refuses, naming the hierarchy.
    pub fn enter(&self, pid: i32) -> Result<()> {
        if let Some((_, path)) = &self.unified {
            let written = file::write(&format!("{path}/cgroup.procs"), &pid.to_string());
            written.map_err(|errno| file::write_error(STEP, path, "cgroup.procs", &pid.to_string(), errno))?;
        }
        self.attach(pid)
    }

    /// Is it frozen, by itself or by a parent? A process cloned into a frozen cgroup does not get to its first instruction.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_frozen(&self) -> Result<bool> {
        if let Some((fd, path)) = &self.unified {
            let read = |name: &str| match file::read_at(fd.as_fd(), name) {
                // The root has neither.
                Err(Errno::NOENT | Errno::NODEV) => Ok(String::new()),
                text => text.at(STEP, || format!("read(\"{path}/{name}\")")),
            };
            if file::keyed(&read("cgroup.events")?, "frozen") == Some(1) || read("cgroup.freeze")?.trim() == "1" {
                return Ok(true);
            }
        }
        let freezer = self.legacy.iter().find(|d| d.controllers.iter().any(|c| c == "freezer"));
        let state = freezer.map(|d| file::read(&format!("{}/freezer.state", d.full())).unwrap_or_default());
        Ok(state.is_some_and(|s| matches!(s.trim(), "FROZEN" | "FREEZING")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags() {
        let none: [&str; 0] = [];
        assert!(SubCgroups::parse(&none).unwrap().is_empty());
        assert_eq!(SubCgroups::parse(&["/a/./b"]).unwrap().0, [(String::new(), "a/b".into())]);
        let two = SubCgroups::parse(&["cpu,cpuacct:x", "pids:y/z"]).unwrap();
        let expected = [("cpu", "x"), ("cpuacct", "x"), ("pids", "y/z")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(two.0, expected);
        let table: [(&[&str], &str); 6] = [
            (&["../x"], "bad sub cgroup path"),
            (&["a/../../x"], "bad sub cgroup path"),
            (&["cpu:/.."], "bad sub cgroup path"),
            (&[":x"], "empty <controller>"),
            (&["a", "b"], "missing the <controller>"),
            (&["cpu:a", "pids,cpu:b"], "specified multiple times"),
        ];
        for (values, part) in table {
            let e = SubCgroups::parse(values).unwrap_err().to_string();
            assert!(e.starts_with("--cgroup: ") && e.contains(part), "{values:?}: {e}");
        }
    }
}
