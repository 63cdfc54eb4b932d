//! The parent's side of a clone: open what the container needs, clone, do what only we may do, watch until the program runs.
//!
//! [`create`] blocks until init is ready (or, without a gate, until the program runs). What it needs from its caller, where to
//! record the pid, how hooks run, who gets the terminal, it asks through [`Events`].

mod duties;
mod own_exe;
mod report;
mod sources;
mod spawn;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::error::{Context as _, Error, Result};
use crate::init::protocol::{Kind, Message, SIZE};
use crate::init::{Context, Gate};
use crate::plan::{Duties, InitPlan, Op, Plan};
use crate::sys;

pub use own_exe::protect;
pub(crate) use report::failed_start;
pub use sources::{open_rootfs, try_sources};

/// What a caller of [`create`] does at points of a container's birth. Each may block.
pub trait Events {
    /// The process exists: record it, and put it into its cgroup where clone3 did not.
    fn cloned(&mut self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()>;
    /// Id maps and limits are set: prestart and createRuntime hooks.
    fn runtime_hooks(&mut self, pid: i32) -> Result<()>;
    /// The mounts are there: createContainer hooks, in the container's namespaces.
    fn container_hooks(&mut self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()>;
    /// The master of the container's terminal.
    fn console(&mut self, master: OwnedFd) -> Result<()>;
    /// The notification descriptor of the system call filter.
    fn seccomp_listener(&mut self, listener: OwnedFd, pid: i32) -> Result<()>;
}

/// For processes of which nobody wants to know: hooks.
#[derive(Debug)]
pub struct NoEvents;

impl Events for NoEvents {
    fn cloned(&mut self, _: i32, _: BorrowedFd<'_>) -> Result<()> {
        Ok(())
    }
    fn runtime_hooks(&mut self, _: i32) -> Result<()> {
        Ok(())
    }
    fn container_hooks(&mut self, _: i32, _: BorrowedFd<'_>) -> Result<()> {
        Ok(())
    }
    fn console(&mut self, _: OwnedFd) -> Result<()> {
        Ok(())
    }
    fn seccomp_listener(&mut self, _: OwnedFd, _: i32) -> Result<()> {
        Ok(())
    }
}

/// How a process is made.
#[derive(Debug)]
pub struct Options<'fd> {
    /// Where init waits for `start`.
    pub gate: Gate<'fd>,
    /// cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'fd>>,
    /// The child becomes our parent's child (CLONE_PARENT): we are a worker.
    pub reparent: bool,
    /// Descriptors 0, 1 and 2 of the program; None: ours.
    pub stdio: Option<[BorrowedFd<'fd>; 3]>,
}

/// A process that is ready, or that runs already.
#[derive(Debug)]
pub struct Child {
    /// In our pid namespace.
    pub pid: i32,
    /// Refers to exactly this process.
    pub pidfd: OwnedFd,
    /// To init, until it executes the program.
    pub socket: OwnedFd,
}

/// Makes a container's first process. On failure nothing of it is left but what `events` recorded.
///
/// # Errors
/// The failed step, in the words of config.json.
pub fn create(plan: &Plan, options: &Options<'_>, events: &mut dyn Events) -> Result<Child> {
    let opened = sources::Opened::open(plan)?;
    let proc = open_proc()?;
    let (ours, theirs) = spawn::socket_pair()?;
    let context = Context {
        socket: theirs.as_fd(),
        gate: options.gate,
        proc: proc.as_fd(),
        root: opened.root.as_ref().map(|fd| fd.as_fd()),
        trees: &opened.trees,
        namespaces: &opened.namespaces,
        target: None,
        stdio: options.stdio,
    };
    let clone = spawn::Request {
        flags: plan.namespaces.new_flags(),
        late: spawn::late_flags(&plan.namespaces, plan.clone_into_cgroup),
        namespaces: Some((&plan.namespaces, &opened.namespaces)),
        proc: proc.as_fd(),
        options,
    };
    let child = spawn::spawn(&clone, &plan.init, &context, ours)?;
    drop(theirs);
    watch(child, &plan.init, &plan.duties, options, proc.as_fd(), events)
}

/// Runs a process in the namespaces of `target`, a pidfd, or in our own. `pid_namespace`: enter its pid namespace, too.
///
/// # Errors
/// The failed step.
pub fn exec(
    init: &InitPlan,
    duties: &Duties,
    target: Option<BorrowedFd<'_>>,
    pid_namespace: bool,
    options: &Options<'_>,
    events: &mut dyn Events,
) -> Result<Child> {
    let proc = open_proc()?;
    let (ours, theirs) = spawn::socket_pair()?;
    let context = Context {
        socket: theirs.as_fd(),
        gate: options.gate,
        proc: proc.as_fd(),
        root: None,
        trees: &[],
        namespaces: &[],
        target,
        stdio: options.stdio,
    };
    let own = match target.filter(|_| pid_namespace) {
        Some(target) => Some(spawn::enter_pid_namespace(target, proc.as_fd())?),
        None => None,
    };
    let clone = spawn::Request { flags: 0, late: 0, namespaces: None, proc: proc.as_fd(), options };
    let child = spawn::spawn(&clone, init, &context, ours);
    drop(theirs);
    if let Some(own) = own {
        sys::clone::setns(own.as_fd(), libc::CLONE_NEWPID as u64).at("exec", || "setns(own pid namespace)".into())?;
    }
    watch(child?, init, duties, options, proc.as_fd(), events)
}

fn open_proc() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open(c"/proc", flags, Mode::empty()).at("create", || "open(\"/proc\")".into())?;
    let stat = rustix::fs::fstatfs(&proc).at("create", || "fstatfs(\"/proc\")".into())?;
    if stat.f_type != libc::PROC_SUPER_MAGIC {
        return Err(Error::failed("create", "/proc is not a procfs; mount one"));
    }
    Ok(proc)
}

/// Serves init's messages until it is ready or runs the program; ends it when anything fails.
fn watch(
    child: Child,
    init: &InitPlan,
    duties: &Duties,
    options: &Options<'_>,
    proc: BorrowedFd<'_>,
    events: &mut dyn Events,
) -> Result<Child> {
    let result = serve(&child, init, duties, options, proc, events);
    match result {
        Ok(()) => Ok(child),
        Err(error) => {
            let _ = sys::signal::pidfd_send(child.pidfd.as_fd(), libc::SIGKILL);
            if !options.reparent {
                let _ = rustix::process::waitid(
                    rustix::process::WaitId::PidFd(child.pidfd.as_fd()),
                    rustix::process::WaitIdOptions::EXITED,
                );
            }
            Err(error)
        }
    }
}

fn serve(
    child: &Child,
    init: &InitPlan,
    duties: &Duties,
    options: &Options<'_>,
    proc: BorrowedFd<'_>,
    events: &mut dyn Events,
) -> Result<()> {
    events.cloned(child.pid, child.pidfd.as_fd())?;
    let socket = child.socket.as_fd();
    // Without that step there is nothing to say before execve closes the socket.
    let mut ready = !init.steps.iter().any(|s| matches!(s.op, Op::WaitForStart));
    loop {
        let (message, fd) = match receive(socket) {
            Ok(Some(received)) => received,
            // Closed by execve: the program runs.
            Ok(None) if ready => return Ok(()),
            Ok(None) | Err(Errno::CONNRESET) => return Err(died(child, options.reparent)),
            Err(errno) => return Err(Error::system("create", "recvmsg(init)", errno)),
        };
        match message.kind {
            Kind::Waiting => {
                duties::perform(duties, child.pid, proc)?;
                events.runtime_hooks(child.pid)?;
                send(socket, Kind::Go)?;
            }
            Kind::Mounted => {
                events.container_hooks(child.pid, child.pidfd.as_fd())?;
                send(socket, Kind::Go)?;
            }
            Kind::Console => match fd {
                Some(master) => events.console(master)?,
                None => return Err(Error::failed("process.terminal", "init sent no terminal")),
            },
            Kind::Seccomp => {
                let listener = fetch(child.pidfd.as_fd(), message.arg)?;
                events.seccomp_listener(listener, child.pid)?;
                send(socket, Kind::Go)?;
            }
            Kind::Ready if matches!(options.gate, Gate::Open) => ready = true,
            Kind::Ready => return Ok(()),
            Kind::Failed => return Err(report::failed_step(&message, init)),
            Kind::Go | Kind::Start => return Err(Error::failed("create", "init sent a message that only the parent sends")),
        }
    }
}

/// Tells a waiting init to execute the program, and waits until it has (or has not: the error says why).
///
/// # Errors
/// The failed step.
pub fn start(
    socket: BorrowedFd<'_>,
    pidfd: BorrowedFd<'_>,
    args: &[String],
    listener: &mut dyn FnMut(OwnedFd) -> Result<()>,
) -> Result<()> {
    send(socket, Kind::Start)?;
    loop {
        match receive(socket) {
            Ok(None) => return Ok(()),
            Ok(Some((message, _))) => match message.kind {
                Kind::Failed => return Err(report::failed_start(&message, args.first().map_or("", |a| a))),
                Kind::Seccomp => {
                    listener(fetch(pidfd, message.arg)?)?;
                    send(socket, Kind::Go)?;
                }
                _ => {}
            },
            Err(Errno::CONNRESET) => {
                return Err(Error::failed("start", "the container's init ended before it executed the program"));
            }
            Err(errno) => return Err(Error::system("start", "recvmsg(init)", errno)),
        }
    }
}

/// The notification descriptor, out of init (pidfd_getfd(2)).
fn fetch(pidfd: BorrowedFd<'_>, number: u16) -> Result<OwnedFd> {
    rustix::process::pidfd_getfd(pidfd, number.into(), rustix::process::PidfdGetfdFlags::empty())
        .at("linux.seccomp", || format!("pidfd_getfd({number})"))
}

/// Init is gone without a word: say by what.
fn died(child: &Child, reparent: bool) -> Error {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    if reparent {
        // Its exit status is our parent's to know.
        return Error::failed("create", "init ended without a report");
    }
    // Not reaped here: the caller's clean-up does it.
    let status = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    let how = match status {
        Ok(Some(status)) => match (status.terminating_signal(), status.exit_status()) {
            (Some(libc::SIGKILL), _) => {
                "init was killed (signal 9): if the memory limit is very small, it may be below what starting takes".into()
            }
            (Some(signal), _) => format!("init was ended by signal {signal}"),
            (_, Some(code)) => format!("init exited with code {code} without a report"),
            _ => "init ended without a report".into(),
        },
        _ => "init ended without a report".to_owned(),
    };
    Error::failed("create", how)
}

/// Sends a message without contents.
pub fn send(socket: BorrowedFd<'_>, kind: Kind) -> Result<()> {
    use rustix::net::{SendFlags, send};
    match send(socket, &Message::new(kind).encode(), SendFlags::NOSIGNAL) {
        Ok(_) => Ok(()),
        // What it died of is in the next message, or in its exit status.
        Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(Error::system("create", "sendmsg(init)", errno)),
    }
}

/// Receives a message, with a descriptor where there is one. None: the other end is closed.
///
/// # Errors
/// The errno of recvmsg; EBADMSG for what is no message.
pub fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Message, Option<OwnedFd>)>, Errno> {
    receive_flags(socket, RecvFlags::empty())
}

/// As [`receive`], but gives EAGAIN instead of waiting.
///
/// # Errors
/// Those of [`receive`].
pub fn try_receive(socket: BorrowedFd<'_>) -> Result<Option<(Message, Option<OwnedFd>)>, Errno> {
    receive_flags(socket, RecvFlags::DONTWAIT)
}

fn receive_flags(socket: BorrowedFd<'_>, flags: RecvFlags) -> Result<Option<(Message, Option<OwnedFd>)>, Errno> {
    let mut bytes = [0u8; SIZE];
    let (length, fd) = receive_with_fd(socket, &mut bytes, flags)?;
    if length == 0 {
        return Ok(None);
    }
    Message::decode(&bytes[..length]).map(|m| Some((m, fd))).ok_or(Errno::BADMSG)
}

/// recvmsg(2) of one record and at most one descriptor, which is close-on-exec.
///
/// # Errors
/// The errno of recvmsg.
pub(crate) fn receive_with_fd(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    flags: RecvFlags,
) -> Result<(usize, Option<OwnedFd>), Errno> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(socket, &mut [rustix::io::IoSliceMut::new(bytes)], &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            fd = fds.last();
        }
    }
    Ok((received.bytes, fd))
}

/// sendmsg(2) of one record, with a descriptor where there is one. Does not allocate.
///
/// # Errors
/// The errno of sendmsg.
pub(crate) fn send_with_fd(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(fd) = &fd
        && !control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(fd)))
    {
        return Err(Errno::NOBUFS);
    }
    rustix::io::retry_on_intr(|| sendmsg(socket, &[rustix::io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)).map(drop)
}
