//! Containers for a program that has many: an event loop polls the descriptor of each [`Launch`] and calls [`Launch::on_ready`].
//!
//! Nothing here waits, sleeps or keeps state outside of its Launch. What may wait on others (path walks, mounts, hooks, id maps,
//! D-Bus, the removal of a cgroup) is done by a worker, a fork of the caller that exits when it has told how it went.
//!
//! ```text
//! caller                        worker                        init
//!   create  ------ clone3 ----->
//!                                 cgroup
//!           <------ CGROUP -----
//!                                 clone3(CLONE_PARENT) ------>
//!           <-- CLONED, pidfd --                               mounts ...
//!           <------ STAGE ------  hooks, CONSOLE               READY
//!           <-- READY, socket --  exit
//!   start   ------------------------- START ---------------->  execve
//!           <----------------------- end of file ------------
//! ```
//!
//! What the caller does itself:
//! - It has one thread, as it is forked; a second one is refused.
//! - It reaps: the worker ([`Launch::worker`]), init ([`Launch::pid`]), and, where a user namespace meets namespaces to join, one
//!   process more that nobody names. Launch waits for none of them, and reaps none. An exit may be seen before the report that
//!   names its pid.
//! - It has the deadline: [`Launch::cancel`] kills all that this Launch has made; [`Launch::delete`] then removes what is left.
//! - It runs from an executable that containers cannot write to ([`crate::parent::protect`], or a sealed copy in memory).

mod wire;
mod worker;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::epoll;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::container::{Wishes, exec};
use crate::error::{Context as _, Error, Result};
use crate::init::protocol::Kind;
use crate::parent;
use crate::spec::config::{Config, Process};
use crate::sys::signal;
use wire::Record;
use worker::Worker;

/// Records that one call of [`Launch::on_ready`] takes at most: one busy Launch does not hold up the others.
const BATCH: usize = 32;

/// A container to make.
#[derive(Debug)]
pub struct Create {
    /// Directory of all containers' states.
    pub state_root: PathBuf,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Its id.
    pub id: String,
    /// What goes beyond config.json. Descriptors from 3 on are not passed on.
    pub wishes: Wishes,
    /// Its configuration; None: `config.json` of the bundle.
    pub config: Option<Config>,
    /// Descriptors 0, 1 and 2 of its program; None: the caller's.
    pub stdio: Option<[OwnedFd; 3]>,
}

/// A process to run in a container.
#[derive(Debug)]
pub struct Exec {
    /// Directory of all containers' states.
    pub state_root: PathBuf,
    /// The container.
    pub id: String,
    /// What to run.
    pub process: Process,
    /// What goes beyond it.
    pub wishes: exec::Wishes,
    /// Its descriptors 0, 1 and 2; None: the caller's.
    pub stdio: Option<[OwnedFd; 3]>,
}

/// A container to delete.
#[derive(Debug)]
pub struct Delete {
    /// Directory of all containers' states.
    pub state_root: PathBuf,
    /// The container.
    pub id: String,
    /// Even if it runs, or is half made.
    pub force: bool,
}

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Reading and checking the bundle, making the cgroup.
    Preparing = 1,
    /// prestart and createRuntime hooks.
    RuntimeHooks,
    /// Init makes the mounts.
    Mounts,
    /// createContainer hooks.
    ContainerHooks,
    /// START was sent: startContainer hooks, execve(2), poststart hooks.
    Starting,
    /// `exec` or `delete` is at work.
    Working,
}

impl Stage {
    const ALL: [Stage; 6] =
        [Stage::Preparing, Stage::RuntimeHooks, Stage::Mounts, Stage::ContainerHooks, Stage::Starting, Stage::Working];

    fn from_byte(byte: u8) -> Option<Stage> {
        Stage::ALL.into_iter().find(|s| *s as u8 == byte)
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Preparing => "preparing",
            Stage::RuntimeHooks => "createRuntime hooks",
            Stage::Mounts => "mounts",
            Stage::ContainerHooks => "createContainer hooks",
            Stage::Starting => "start",
            Stage::Working => "working",
        }
    }
}

/// What [`Launch::on_ready`] answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Not there yet.
    Pending(Stage),
    /// The container is created: [`Launch::start`] may be called.
    Ready {
        /// Its first process.
        pid: i32,
    },
    /// The program runs. Nothing more will come.
    Started {
        /// Its process.
        pid: i32,
    },
    /// The container is gone. Nothing more will come.
    Deleted,
    /// It went wrong; nothing of a container that was to be created is left, but what is being killed. Nothing more will come.
    Failed(Error),
}

/// One operation on its way: create and start, exec, or delete. Dropped early, it undoes a creation.
#[derive(Debug)]
pub struct Launch {
    /// The worker's socket and pidfd, init's socket: the one descriptor for the caller's loop.
    epoll: OwnedFd,
    what: &'static str,
    worker: Option<Worker>,
    init: Option<(i32, OwnedFd)>,
    socket: Option<OwnedFd>,
    console: Option<OwnedFd>,
    cgroup: Option<Cgroup>,
    warnings: Vec<String>,
    progress: Progress,
    /// Of a creation: for a start that needs a worker.
    request: Option<Create>,
    blocking: bool,
    program: String,
    cancelled: bool,
}

impl Launch {
    /// Begins to create a container.
    ///
    /// # Errors
    /// The worker cannot be forked; what goes wrong later, [`Launch::on_ready`] says.
    pub fn create(request: Create) -> Result<Launch> {
        if request.wishes.preserve_fds + request.wishes.listen_fds > 0 {
            return Err(Error::unsupported(
                "preserve_fds",
                "a worker has no descriptors of its caller's but the standard streams",
            ));
        }
        let keep: Vec<_> = request.stdio.iter().flatten().map(|fd| fd.as_fd()).collect();
        let worker = worker::fork(&keep, |reporter| worker::create(&request, reporter))?;
        Ok(Launch { request: Some(request), ..Launch::new("create", Stage::Preparing, worker)? })
    }

    /// Begins to run a process in a container.
    ///
    /// # Errors
    /// Those of [`Launch::create`].
    pub fn exec(request: &Exec) -> Result<Launch> {
        if request.wishes.keep_fds > 0 {
            return Err(Error::unsupported("keep_fds", "a worker has no descriptors of its caller's but the standard streams"));
        }
        let keep: Vec<_> = request.stdio.iter().flatten().map(|fd| fd.as_fd()).collect();
        Launch::new("exec", Stage::Working, worker::fork(&keep, |reporter| worker::exec(request, reporter))?)
    }

    /// Begins to delete a container.
    ///
    /// # Errors
    /// Those of [`Launch::create`].
    pub fn delete(request: &Delete) -> Result<Launch> {
        Launch::new("delete", Stage::Working, worker::fork(&[], |reporter| worker::delete(request, reporter))?)
    }

    fn new(what: &'static str, stage: Stage, worker: Worker) -> Result<Launch> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).at("launch", || "epoll_create".into())?;
        let mut launch = Launch {
            epoll,
            what,
            worker: None,
            init: None,
            socket: None,
            console: None,
            cgroup: None,
            warnings: Vec::new(),
            progress: Progress::Pending(stage),
            request: None,
            blocking: false,
            program: String::new(),
            cancelled: false,
        };
        launch.attend(worker)?;
        Ok(launch)
    }

    /// Where it is, after having taken in what there is. Never blocks; to be called when the descriptor is readable.
    pub fn on_ready(&mut self) -> Progress {
        for _ in 0..BATCH {
            let went_on = if self.worker.is_some() { self.hear_worker() } else { self.hear_init() };
            if !went_on {
                break;
            }
        }
        self.progress.clone()
    }

    /// Where it was at the last call of [`Launch::on_ready`].
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Starts the program of a created container; [`Launch::on_ready`] says whether it runs.
    ///
    /// # Errors
    /// It is not [`Progress::Ready`], or a worker is needed for its hooks and cannot be forked.
    pub fn start(&mut self) -> Result<()> {
        let (Some(socket), Progress::Ready { .. }, Some(request)) = (&self.socket, &self.progress, &self.request) else {
            let id = self.request.as_ref().map_or(String::new(), |r| r.id.clone());
            return Err(Error::WrongState { id, operation: "start", status: "not waiting to be started".into() });
        };
        if self.blocking {
            let socket = socket.as_fd();
            let worker = worker::fork(&[socket], |_| worker::start(request, socket))?;
            // From here on what init says is for that worker.
            let _ = epoll::delete(&self.epoll, socket);
            self.attend(worker)?;
        } else {
            parent::send(socket.as_fd(), Kind::Start)?;
        }
        self.progress = Progress::Pending(Stage::Starting);
        Ok(())
    }

    /// Kills the worker, the new process, and all in the cgroup that a creation has made. [`Launch::on_ready`] then ends in
    /// [`Progress::Failed`], but for a program that runs already: its end is for the caller to reap.
    pub fn cancel(&mut self) {
        self.cancelled = true;
        if let Some(worker) = &self.worker {
            let _ = signal::pidfd_send(worker.pidfd.as_fd(), libc::SIGKILL);
        }
        if let Some((_, pidfd)) = &self.init {
            let _ = signal::pidfd_send(pidfd.as_fd(), libc::SIGKILL);
        }
        // One write. Without a unified tree it would take a freezer, which waits: that is for delete.
        if let Some(cgroup) = self.cgroup.as_ref().filter(|c| c.unified.is_some()) {
            let _ = cgroup.kill_all();
        }
    }

    /// The worker, until it has told how it went: the caller reaps it.
    pub fn worker(&self) -> Option<i32> {
        self.worker.as_ref().map(|w| w.pid)
    }

    /// The new process, as soon as it is known: the caller reaps it.
    pub fn pid(&self) -> Option<i32> {
        self.init.as_ref().map(|(pid, _)| *pid)
    }

    /// A pidfd of the new process.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.init.as_ref().map(|(_, fd)| fd.as_fd())
    }

    /// The cgroup of a creation, as soon as it is about to be made.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// The master of the terminal, once.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// What was accepted but should be said, since the last call.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn watch(&self, fd: BorrowedFd<'_>) -> Result<()> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN).at("launch", || "epoll_ctl".into())
    }

    /// Its socket for what it says, its pidfd for when it dies without a word: children of its own may have the socket, too.
    fn attend(&mut self, worker: Worker) -> Result<()> {
        self.watch(worker.socket.as_fd())?;
        self.watch(worker.pidfd.as_fd())?;
        self.worker = Some(worker);
        Ok(())
    }

    /// The worker has said its last word. Where it ended is for the caller to see.
    fn dismiss(&mut self) {
        if let Some(worker) = self.worker.take() {
            let _ = epoll::delete(&self.epoll, &worker.socket);
            let _ = epoll::delete(&self.epoll, &worker.pidfd);
        }
    }

    /// Takes one record of the worker's; false if there is no more for now.
    fn hear_worker(&mut self) -> bool {
        let Some(worker) = &self.worker else { return false };
        // Asked before the last record is looked for: what it said before it died is there by then.
        let ended = has_ended(worker.pidfd.as_fd());
        match Record::receive(worker.socket.as_fd()) {
            Ok(Some((record, fd))) => self.take(record, fd),
            Err(Errno::AGAIN) if !ended => return false,
            Ok(None) | Err(Errno::AGAIN | Errno::CONNRESET) => self.fail("its worker ended without a report"),
            Err(errno) => self.finish(Progress::Failed(Error::system(self.what, "recvmsg(worker)", errno))),
        }
        true
    }

    fn take(&mut self, record: Record, fd: Option<OwnedFd>) {
        match (record, fd) {
            (Record::Stage(stage), _) => self.progress = Progress::Pending(stage),
            (Record::Cgroup(json), _) => self.cgroup = serde_json::from_str(&json).ok(),
            (Record::Cloned(pid), Some(pidfd)) => self.init = Some((pid, pidfd)),
            (Record::Console, Some(master)) => self.console = Some(master),
            (Record::Warning(text), _) => self.warnings.push(text),
            (Record::Ready { blocking, program }, Some(socket)) => {
                self.dismiss();
                (self.blocking, self.program) = (blocking, program);
                match (self.watch(socket.as_fd()), self.pid()) {
                    (Ok(()), Some(pid)) => {
                        self.socket = Some(socket);
                        self.progress = Progress::Ready { pid };
                    }
                    (Err(error), _) => self.finish(Progress::Failed(error)),
                    (Ok(()), None) => self.fail("the worker named no process"),
                }
            }
            (Record::Started, _) => match self.pid() {
                Some(pid) => self.finish(Progress::Started { pid }),
                None => self.fail("the worker named no process"),
            },
            (Record::Deleted, _) => self.finish(Progress::Deleted),
            (Record::Failed(kind, text), _) => self.finish(Progress::Failed(Error::Reported { kind, text })),
            (Record::Cloned(_) | Record::Console | Record::Ready { .. }, None) => {
                self.fail("a descriptor of the worker's was lost")
            }
        }
    }

    /// Takes one message of init's, between READY and execve; false if there is no more for now.
    fn hear_init(&mut self) -> bool {
        let Some(socket) = &self.socket else { return false };
        let starting = matches!(self.progress, Progress::Pending(_));
        match parent::try_receive(socket.as_fd()) {
            Err(Errno::AGAIN) => return false,
            // Closed by execve: the program runs.
            Ok(None) if starting && !self.cancelled => match self.pid() {
                Some(pid) => self.finish(Progress::Started { pid }),
                None => self.fail("init has no pid"),
            },
            Ok(Some((message, _))) if message.kind == Kind::Failed => {
                let error = parent::failed_start(&message, &self.program);
                self.finish(Progress::Failed(error));
            }
            Ok(_) | Err(Errno::CONNRESET) => self.fail("its init ended before it executed the program"),
            Err(errno) => self.finish(Progress::Failed(Error::system("start", "recvmsg(init)", errno))),
        }
        true
    }

    fn fail(&mut self, problem: &str) {
        let stage = match &self.progress {
            Progress::Pending(stage) => stage.name(),
            _ => "created",
        };
        let problem = if self.cancelled { "cancelled" } else { problem };
        self.finish(Progress::Failed(Error::failed(self.what, format!("{problem} (stage: {stage})"))));
    }

    /// Nothing more will come: nothing is watched any more.
    fn finish(&mut self, progress: Progress) {
        self.dismiss();
        if let Some(socket) = self.socket.take() {
            let _ = epoll::delete(&self.epoll, &socket);
        }
        self.progress = progress;
    }
}

impl AsFd for Launch {
    /// Readable when [`Launch::on_ready`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|n| n > 0)
}
