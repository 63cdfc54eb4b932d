//! Init: the child of the clone. It walks the Plan step by step and executes the program.
//!
//! Between clone and execve nothing here allocates, locks or panics: every string, mask and program was made before the clone.
//! docs/init.md explains the order.
#![allow(unsafe_code)]

mod copyup;
pub mod fail;
mod inside;
mod mounts;
mod process;
pub mod protocol;
mod terminal;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::plan::{InitPlan, Op};
use crate::sys;
use fail::{By, Call, Done, Fail};
use protocol::{Kind, Message, SIZE};

/// A tree of the host, opened and cloned by the parent.
#[derive(Debug)]
pub struct OpenTree {
    /// The detached mount.
    pub fd: OwnedFd,
    /// Is its root a directory?
    pub is_dir: bool,
}

/// Where init waits for `start`.
#[derive(Debug, Clone, Copy)]
pub enum Gate<'fd> {
    /// Nowhere: `run` needs no stop.
    Open,
    /// On the socket of its parent. It has this one open meanwhile: by that others see that it waits.
    Parent(BorrowedFd<'fd>),
    /// On the listening socket of the state directory: the parent may go away.
    Listener(BorrowedFd<'fd>),
}

/// What init has from its parent, beside the Plan: descriptors.
#[derive(Debug)]
pub struct Context<'fd> {
    /// To the parent.
    pub socket: BorrowedFd<'fd>,
    /// Where it waits for `start`.
    pub gate: Gate<'fd>,
    /// The host's /proc.
    pub proc: BorrowedFd<'fd>,
    /// The cloned root tree.
    pub root: Option<BorrowedFd<'fd>>,
    /// Sources, by index of [`crate::plan::Plan::trees`].
    pub trees: &'fd [OpenTree],
    /// Namespace files, by index of [`crate::plan::Namespaces::joined`].
    pub namespaces: &'fd [OwnedFd],
    /// The process whose namespaces `exec` enters.
    pub target: Option<BorrowedFd<'fd>>,
    /// What becomes descriptors 0, 1 and 2; None: they stay as they are.
    pub stdio: Option<[BorrowedFd<'fd>; 3]>,
}

/// State of the walk.
pub(crate) struct Walk<'a> {
    plan: &'a InitPlan,
    context: &'a Context<'a>,
    /// Root of the container: the attached root tree.
    root: Option<OwnedFd>,
    /// /proc/self of the host's procfs.
    proc_self: Option<OwnedFd>,
    /// Read-only empty directory, mounted on masked directories.
    empty: Option<OwnedFd>,
    /// The host's /dev/null, bound onto masked files.
    null: Option<OwnedFd>,
    /// Which candidate of the program was found.
    program: usize,
    /// The working directory could not be entered yet.
    chdir_later: bool,
    /// Somebody said START.
    started: bool,
    /// The connection of `start`.
    starter: Option<OwnedFd>,
    /// Text for a failure.
    detail: [u8; protocol::DETAIL],
    detail_length: usize,
}

/// Walks the plan; never returns. The process exits with 1 when a step fails.
pub fn run(plan: &InitPlan, context: &Context<'_>) -> ! {
    let mut walk = Walk {
        plan,
        context,
        root: None,
        proc_self: None,
        empty: None,
        null: None,
        program: 0,
        chdir_later: false,
        started: false,
        starter: None,
        detail: [0; protocol::DETAIL],
        detail_length: 0,
    };
    // Modes given to mknod and mkdir are meant as they are; the program's own umask comes with its credentials.
    rustix::process::umask(Mode::empty());
    for (index, step) in plan.steps.iter().enumerate() {
        if let Err(fail) = walk.step(&step.op) {
            walk.tell(index, fail);
            sys::process::exit_now(1);
        }
    }
    sys::process::exit_now(1)
}

impl Walk<'_> {
    fn step(&mut self, op: &Op) -> Done {
        match op {
            Op::Join { index, kind, .. } => {
                let file = self.context.namespaces.get(*index).ok_or(missing(Call::Setns))?;
                sys::clone::setns(file.as_fd(), kind.flag()).by(Call::Setns)
            }
            Op::JoinProcess { flags } => {
                let target = self.context.target.ok_or(missing(Call::Setns))?;
                sys::clone::setns(target, *flags).by(Call::Setns)
            }
            Op::WaitForParent => {
                self.send(Kind::Waiting)?;
                self.receive(Kind::Go)
            }
            Op::BecomeRoot { set_groups } => {
                sys::process::set_gid(0).by(Call::Setresgid)?;
                if *set_groups {
                    // EPERM where /proc/PID/setgroups says deny: then there is nothing to drop either.
                    match sys::process::set_groups(&[]) {
                        Err(Errno::PERM) | Ok(()) => {}
                        Err(errno) => return Err(errno).by(Call::Setgroups),
                    }
                }
                sys::process::set_uid(0).by(Call::Setresuid)
            }
            Op::UnshareTime { offsets } => {
                sys::clone::unshare(sys::clone::CLONE_NEWTIME).by(Call::Unshare)?;
                if offsets.is_empty() { Ok(()) } else { self.write_proc_self(c"timens_offsets", offsets) }
            }
            Op::UnshareCgroup => sys::clone::unshare(libc::CLONE_NEWCGROUP as u64).by(Call::Unshare),
            Op::Loopback => sys::process::loopback_up().by(Call::NetIoctl),
            Op::NewSession => match rustix::process::setsid() {
                Ok(_) | Err(Errno::PERM) => Ok(()), // already a leader
                Err(errno) => Err(errno).by(Call::Setsid),
            },
            Op::Keyring { name, permissions } => process::keyring(name, *permissions),
            Op::Isolate => mounts::isolate(),
            Op::AttachRoot { at } => self.attach_root(at),
            Op::OpenRoot { path } => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                self.root = Some(rustix::fs::open(path.as_c_str(), flags, Mode::empty()).by(Call::Openat2)?);
                Ok(())
            }
            Op::Mount(mount) => self.new_mount(mount),
            Op::Bind { dest, tree, .. } => self.bind(dest, *tree),
            Op::Remount { dest, changes } => self.remount(dest, changes),
            Op::Node { path, kind, mode, device, uid, gid } => self.node(path, *kind, *mode, *device, *uid, *gid),
            Op::BindNode { path, tree } => self.bind(path, *tree),
            Op::Link { path, target } => self.link(path, target),
            Op::Directory { path } => self.directory(path),
            Op::Console { size, bind } => self.console(*size, bind.as_ref()),
            Op::WaitForHooks => {
                self.send(Kind::Mounted)?;
                self.receive(Kind::Go)
            }
            Op::Pivot => self.pivot(),
            Op::MoveRoot => self.move_root(),
            Op::Chroot => self.chroot(),
            Op::RootPropagation { kind, recursive } => self.root_propagation(*kind, *recursive),
            Op::RootReadonly => self.root_readonly(),
            Op::ReadonlyPath { path } => self.readonly_path(path),
            Op::MaskPath { path } => self.mask_path(path),
            Op::Hostname { name } => rustix::system::sethostname(name.as_bytes()).by(Call::Sethostname),
            Op::Domainname { name } => rustix::system::setdomainname(name.as_bytes()).by(Call::Setdomainname),
            Op::Sysctl { path, value } => self.sysctl(path, value),
            Op::ProcSelf { file, value } => self.write_proc_self(file, value.as_bytes()),
            Op::Limits { limits } => process::limits(limits),
            Op::Scheduler { attr } => sys::process::sched_setattr(attr).by(Call::SchedSetattr),
            Op::IoPriority { class, priority } => sys::process::set_ioprio(*class, *priority).by(Call::IoprioSet),
            Op::Affinity { mask } => process::affinity(mask),
            Op::MemoryPolicy { mode, nodes } => sys::process::set_mempolicy(*mode, nodes).by(Call::SetMempolicy),
            Op::Personality { value } => sys::process::personality(*value).by(Call::Personality),
            Op::Chdir { path, last, .. } => self.chdir(path, *last),
            Op::FindProgram => self.find_program(),
            Op::Release { keep_fds } => self.release(*keep_fds),
            Op::WaitForStart => self.wait_for_start(),
            Op::OwnStdio { uid } => process::own_stdio(*uid),
            Op::Seccomp => self.seccomp(),
            Op::NoNewPrivileges => sys::process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).by(Call::Prctl).map(drop),
            Op::Bounding { keep, last_cap } => process::bounding(*keep, *last_cap),
            Op::Credentials { uid, gid, groups, umask } => process::credentials(*uid, *gid, groups.as_deref(), *umask),
            Op::Capabilities { sets } => process::capabilities(sets),
            Op::Disinherit { keep_fds } => self.disinherit(*keep_fds),
            Op::DieWithParent => sys::process::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0).by(Call::Prctl).map(drop),
            Op::Execute => self.execute(),
        }
    }

    /// /proc/self of the host's procfs, opened while it can be reached.
    fn proc_self(&mut self) -> Done<BorrowedFd<'_>> {
        if self.proc_self.is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(self.context.proc, c"self", flags, Mode::empty()).by(Call::Openat2)?;
            self.proc_self = Some(fd);
        }
        self.proc_self.as_ref().map(|fd| fd.as_fd()).ok_or(missing(Call::Openat2))
    }

    fn write_proc_self(&mut self, file: &std::ffi::CStr, value: &[u8]) -> Done {
        let dir = self.proc_self()?;
        let file = rustix::fs::openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).by(Call::Openat2)?;
        write_once(file.as_fd(), value)
    }

    /// From here on only the ways to the parent, the listener and the streams are left. What is closed is not used any more.
    fn release(&mut self, keep_fds: u32) -> Done {
        (self.root, self.proc_self, self.empty, self.null) = (None, None, None, None);
        let mut keep = [self.context.socket.as_raw_fd(); 5];
        if let Gate::Listener(fd) | Gate::Parent(fd) = self.context.gate {
            keep[1] = fd.as_raw_fd();
        }
        for (slot, fd) in keep[2..].iter_mut().zip(self.context.stdio.iter().flatten()) {
            *slot = fd.as_raw_fd();
        }
        keep.sort_unstable(); // five numbers: no allocation
        close_gaps(&keep, keep_fds).by(Call::CloseRange)
    }

    /// Kernel parameters are written through the host's procfs: which namespace they belong to depends on the writer, and nothing
    /// of the image can stand in for the file (CVE-2025-52881).
    fn sysctl(&mut self, path: &std::ffi::CStr, value: &std::ffi::CStr) -> Done {
        use rustix::fs::ResolveFlags as R;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(self.context.proc, c"sys", flags, Mode::empty()).by(Call::Openat2)?;
        let resolve = R::BENEATH | R::NO_SYMLINKS | R::NO_XDEV;
        let file = rustix::fs::openat2(dir, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve).by(Call::Openat2)?;
        write_once(file.as_fd(), value.to_bytes())
    }

    fn wait_for_start(&mut self) -> Done {
        if !matches!(self.context.gate, Gate::Open) {
            sys::signal::end_when_asked();
        }
        self.send(Kind::Ready)?; // EPIPE: the parent is gone, and so are we
        match self.context.gate {
            Gate::Open => Ok(()),
            Gate::Parent(_) => {
                self.receive(Kind::Start)?;
                self.started = true;
                Ok(())
            }
            Gate::Listener(listener) => loop {
                let connection = match rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
                    Ok(connection) => connection,
                    Err(Errno::INTR | Errno::CONNABORTED | Errno::AGAIN) => continue,
                    Err(errno) => return Err(errno).by(Call::Accept),
                };
                // `state` and `list` connect to see whether we listen, and hang up.
                if receive_from(connection.as_fd()) == Ok(Some(Kind::Start)) {
                    self.started = true;
                    self.starter = Some(connection);
                    return Ok(());
                }
            },
        }
    }

    /// Whom we talk to now: the starter once there is one.
    fn peer(&self) -> BorrowedFd<'_> {
        self.starter.as_ref().map_or(self.context.socket, |fd| fd.as_fd())
    }

    fn send(&self, kind: Kind) -> Done {
        self.send_message(&Message::new(kind))
    }

    /// By write(2), which every filter must allow; SIGPIPE is ignored until exec.
    fn send_message(&self, message: &Message) -> Done {
        loop {
            match rustix::io::write(self.peer(), &message.encode()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).by(Call::Send),
            }
        }
    }

    fn receive(&self, wanted: Kind) -> Done {
        match receive_from(self.peer()).by(Call::Recv)? {
            Some(kind) if kind == wanted => Ok(()),
            // The other end closed: whoever made us is gone.
            _ => sys::process::exit_now(1),
        }
    }

    /// Tells why the walk ended. Nobody may be there any more: then the exit code has to do.
    fn tell(&self, index: usize, fail: Fail) {
        let mut message = Message::new(Kind::Failed);
        message.call = fail.call as u8;
        message.step = index as u16;
        message.errno = fail.errno.raw_os_error();
        message.arg = fail.arg;
        message.length = self.detail_length as u16;
        message.detail = self.detail;
        // `start` does not have our Plan: it gets the field along.
        if let (Some(step), true) = (self.plan.steps.get(index), self.started) {
            let length = step.field.len().min(protocol::DETAIL);
            message.detail[..length].copy_from_slice(&step.field.as_bytes()[..length]);
            message.length = length as u16;
        }
        let _ = self.send_message(&message);
    }
}

/// Closes every descriptor from the preserved ones on that is not in `keep`, which is sorted.
pub(crate) fn close_gaps(keep: &[i32], keep_fds: u32) -> Result<(), Errno> {
    let mut first = 3 + keep_fds as i32;
    for fd in keep.iter().chain([&i32::MAX]) {
        // Equal neighbours and those below the preserved ones leave no gap.
        if *fd > first {
            sys::process::close_range(first, fd - 1)?;
        }
        first = first.max(fd.saturating_add(1));
    }
    Ok(())
}

/// An index of the Plan without its descriptor: a mistake of the parent.
fn missing(call: Call) -> Fail {
    Fail { call, errno: Errno::BADF, arg: 0 }
}

fn receive_from(fd: BorrowedFd<'_>) -> Result<Option<Kind>, Errno> {
    let mut bytes = [0; SIZE];
    loop {
        match rustix::io::read(fd, &mut bytes) {
            Ok(length) => return Ok(Message::decode(&bytes[..length]).map(|m| m.kind)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Files of /proc and of cgroups take a value in one write.
fn write_once(fd: BorrowedFd<'_>, value: &[u8]) -> Done {
    match rustix::io::write(fd, value).by(Call::Write)? {
        n if n == value.len() => Ok(()),
        _ => Err(Fail { call: Call::Write, errno: Errno::IO, arg: 0 }),
    }
}
