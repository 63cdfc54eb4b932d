//! Being told when the OOM killer strikes, for `rrun events`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, inotify};
use rustix::io::Errno;

use super::{Cgroup, file};
use crate::error::{Context, Error, Result};

const STEP: &str = "oom events";

/// Tells of OOM kills: poll [`OomWatch::fd`] for POLLIN, then ask [`OomWatch::on_ready`].
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    cgroup: Cgroup,
    /// Kills that were already told.
    seen: u64,
    /// v1: the eventfd stands for memory.oom_control, which has to stay open.
    v1: Option<OwnedFd>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomEvent {
    /// Nothing that concerns memory.
    None,
    /// The limit was hit and something killed.
    Oom,
    /// The cgroup is empty (v2) or removed: nothing more will come.
    Gone,
}

impl Cgroup {
    /// Starts watching.
    ///
    /// # Errors
    /// No memory controller, or the cgroup is gone.
    pub fn oom_watch(&self) -> Result<OomWatch> {
        let dir = self
            .dir("memory")
            .ok_or_else(|| Error::unsupported("events", "no memory controller here: out-of-memory events are not told"))?;
        let path = dir.full();
        if dir.controllers.is_empty() { self.oom_watch_v2(&path) } else { self.oom_watch_v1(&path) }
    }

    fn oom_watch_v2(&self, path: &str) -> Result<OomWatch> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .at(STEP, || "inotify_init1()".into())?;
        // cgroupfs has no event for removal, so the end is seen by the last process leaving.
        for name in ["memory.events", "cgroup.events"] {
            let file = format!("{path}/{name}");
            inotify::add_watch(&fd, file.as_str(), inotify::WatchFlags::MODIFY).map_err(|errno| match errno {
                Errno::NOENT if name == "memory.events" => {
                    Error::unsupported("events", format!("the memory controller is not enabled for {path}"))
                }
                _ => Error::system(STEP, format!("inotify_add_watch({file:?})"), errno),
            })?;
        }
        let seen = self.oom_kill_count()?.unwrap_or(0);
        Ok(OomWatch { fd, cgroup: self.clone(), seen, v1: None })
    }

    fn oom_watch_v1(&self, path: &str) -> Result<OomWatch> {
        let file = format!("{path}/memory.oom_control");
        let control = rustix::fs::open(file.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .at(STEP, || format!("open({file:?})"))?;
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).at(STEP, || "eventfd()".into())?;
        let (file, line) = (format!("{path}/cgroup.event_control"), format!("{} {}", fd.as_raw_fd(), control.as_raw_fd()));
        file::write(&file, &line).at(STEP, || format!("write({file:?}, {line:?})"))?;
        Ok(OomWatch { fd, cgroup: self.clone(), seen: 0, v1: Some(control) })
    }
}

impl OomWatch {
    /// To poll, for POLLIN.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What the fd became readable for. Never blocks.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn on_ready(&mut self) -> Result<OomEvent> {
        let mut buffer = [0u8; 4096];
        let mut any = false;
        while matches!(rustix::io::read(&self.fd, &mut buffer), Ok(n) if n > 0) {
            any = true;
        }
        if self.v1.is_some() {
            // One event is also sent when the cgroup is removed.
            return Ok(match (any, self.cgroup.dir("memory").map(|d| rustix::fs::stat(d.full().as_str()))) {
                (false, _) => OomEvent::None,
                (true, Some(Ok(_))) => OomEvent::Oom,
                (true, _) => OomEvent::Gone,
            });
        }
        match self.cgroup.oom_kill_count()? {
            Some(count) if count > self.seen => {
                self.seen = count;
                Ok(OomEvent::Oom)
            }
            Some(_) if self.cgroup.populated()? => Ok(OomEvent::None),
            _ => Ok(OomEvent::Gone),
        }
    }
}
