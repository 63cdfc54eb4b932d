//! The clone itself.
//!
//! One clone3 makes the process in all its new namespaces. A stage process in between is needed only where a user namespace meets
//! namespaces to join: those are entered with our privileges first, then the user namespace, and what is cloned from there belongs
//! to it (KERNEL.md).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::{Child, Options, receive_with_fd, send_with_fd};
use crate::error::{Context as _, Error, Result};
use crate::init::{self, Context, Gate};
use crate::plan::{InitPlan, Namespaces, Op};
use crate::spec::config::NamespaceKind;
use crate::sys::clone::{CLONE_CLEAR_SIGHAND, CLONE_NEWTIME, CloneArgs, clone3, setns};
use crate::sys::process::exit_now;

/// What to clone.
pub(super) struct Request<'a> {
    /// CLONE_NEW* of all new namespaces.
    pub flags: u64,
    /// Those of them that init unshares later.
    pub late: u64,
    /// Namespaces to join, with their open files.
    pub namespaces: Option<(&'a Namespaces, &'a [OwnedFd])>,
    /// The host's /proc.
    pub proc: BorrowedFd<'a>,
    /// The caller's wishes.
    pub options: &'a Options<'a>,
}

/// New namespaces that clone3 does not make: time never, cgroup where the process is moved into its cgroup after the clone.
pub(super) fn late_flags(namespaces: &Namespaces, into_cgroup: bool) -> u64 {
    let cgroup = if into_cgroup { 0 } else { libc::CLONE_NEWCGROUP as u64 };
    namespaces.new_flags() & (CLONE_NEWTIME | cgroup)
}

/// The socket pair between us and init: ours, and init's.
pub(super) fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .at("create", || "socketpair".into())
}

/// Clones, and runs init in the child.
pub(super) fn spawn(request: &Request<'_>, plan: &InitPlan, context: &Context<'_>, ours: OwnedFd) -> Result<Child> {
    let stage = request.namespaces.is_some_and(|(n, _)| n.has(NamespaceKind::User) && !n.joined.is_empty());
    let own_pid_namespace = match request.namespaces {
        Some((namespaces, files)) if !stage => join_pid_namespace(namespaces, files, request.proc)?,
        _ => None,
    };
    let flags = request.flags & !request.late
        | CLONE_CLEAR_SIGHAND
        | if request.options.reparent { libc::CLONE_PARENT as u64 } else { 0 };
    let args = CloneArgs { flags, cgroup: request.options.cgroup };
    let keep = needed(context);
    let kept_fds = plan.steps.iter().find_map(|s| if let Op::Disinherit { keep_fds } = s.op { Some(keep_fds) } else { None });
    let cloned = if stage {
        through_stage(request, &args, plan, context, (&keep, kept_fds.unwrap_or(0)))
    } else {
        let init = || {
            // What else we have open is none of the container's business (CVE-2016-9962, CVE-2024-21626).
            let _ = init::close_gaps(&keep, kept_fds.unwrap_or(0));
            init::run(plan, context)
        };
        clone3(&args, init).map_err(|errno| clone_error(errno, request))
    };
    if let Some(own) = own_pid_namespace {
        setns(own.as_fd(), libc::CLONE_NEWPID as u64).at("create", || "setns(own pid namespace)".into())?;
    }
    let (pid, pidfd) = cloned?;
    Ok(Child { pid, pidfd, socket: ours })
}

/// Every descriptor that init works with, sorted.
fn needed(context: &Context<'_>) -> Vec<i32> {
    let mut all = vec![context.socket.as_raw_fd(), context.proc.as_raw_fd()];
    if let Gate::Listener(fd) | Gate::Parent(fd) = context.gate {
        all.push(fd.as_raw_fd());
    }
    all.extend(context.root.iter().chain(&context.target).map(|fd| fd.as_raw_fd()));
    all.extend(context.trees.iter().map(|tree| tree.fd.as_raw_fd()));
    all.extend(context.namespaces.iter().map(|fd| fd.as_raw_fd()));
    all.extend(context.stdio.iter().flatten().map(|fd| fd.as_raw_fd()));
    all.sort_unstable();
    all
}

/// Children are born in a joined pid namespace; returns our own, to go back to.
fn join_pid_namespace(namespaces: &Namespaces, files: &[OwnedFd], proc: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    let Some(at) = namespaces.joined.iter().position(|j| j.kind == NamespaceKind::Pid) else { return Ok(None) };
    let joined = &namespaces.joined[at];
    let own = own_pid_namespace(proc)?;
    setns(files[at].as_fd(), libc::CLONE_NEWPID as u64).at(&joined.field, || format!("setns({:?})", joined.path))?;
    Ok(Some(own))
}

fn own_pid_namespace(proc: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::fs::openat(proc, c"self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at("create", || "open(\"/proc/self/ns/pid\")".into())
}

/// Children are born in the pid namespace of the process behind `target`; returns our own.
pub(super) fn enter_pid_namespace(target: BorrowedFd<'_>, proc: BorrowedFd<'_>) -> Result<OwnedFd> {
    let own = own_pid_namespace(proc)?;
    setns(target, libc::CLONE_NEWPID as u64).at("exec", || "setns(container's pid namespace)".into())?;
    Ok(own)
}

/// A process that joins, clones init as our child (CLONE_PARENT), reports its pid and exits. Where init is to be our parent's child,
/// the stage is, too: somebody else reaps it.
fn through_stage(
    request: &Request<'_>,
    args: &CloneArgs<'_>,
    plan: &InitPlan,
    context: &Context<'_>,
    (keep, keep_fds): (&[i32], u32),
) -> Result<(i32, OwnedFd)> {
    let Some((namespaces, files)) = request.namespaces else { return Err(Error::failed("create", "no namespaces to join")) };
    // Others first, while we have our privileges over them; the user namespace last.
    let mut order: Vec<usize> = (0..namespaces.joined.len()).collect();
    order.sort_by_key(|i| namespaces.joined[*i].kind == NamespaceKind::User);
    let (reader, writer) = socket_pair()?;
    let stage_args = CloneArgs { flags: args.flags & libc::CLONE_PARENT as u64, cgroup: None };
    let child_args = CloneArgs { flags: args.flags | libc::CLONE_PARENT as u64, cgroup: args.cgroup };
    let (_, stage) = clone3(&stage_args, || {
        let report = |which: i32, number: i32, pidfd: Option<OwnedFd>| {
            let mut bytes = [0u8; 8];
            bytes[..4].copy_from_slice(&which.to_le_bytes());
            bytes[4..].copy_from_slice(&number.to_le_bytes());
            let _ = send_with_fd(writer.as_fd(), &bytes, pidfd.as_ref().map(|fd| fd.as_fd()));
            exit_now(0)
        };
        for at in &order {
            if let Err(errno) = setns(files[*at].as_fd(), namespaces.joined[*at].kind.flag()) {
                report(*at as i32, errno.raw_os_error(), None);
            }
        }
        let init = || {
            let _ = init::close_gaps(keep, keep_fds);
            init::run(plan, context)
        };
        match clone3(&child_args, init) {
            Ok((pid, pidfd)) => report(-1, pid, Some(pidfd)),
            Err(errno) => report(-2, errno.raw_os_error(), None),
        }
    })
    .at("create", || "clone3(stage)".into())?;
    drop(writer);
    let mut bytes = [0u8; 8];
    let (length, pidfd) =
        receive_with_fd(reader.as_fd(), &mut bytes, RecvFlags::empty()).at("create", || "recvmsg(stage)".into())?;
    if !request.options.reparent {
        let _ = rustix::process::waitid(rustix::process::WaitId::PidFd(stage.as_fd()), rustix::process::WaitIdOptions::EXITED);
    }
    if length != bytes.len() {
        return Err(Error::failed("create", "the process that joins namespaces ended without a report"));
    }
    let half = |at: usize| i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    match (half(0), half(4)) {
        // The descriptor comes along: whoever reaps init, if it is not us, may have done so, and the number be another's.
        (-1, pid) => pidfd.map(|fd| (pid, fd)).ok_or_else(|| Error::failed("create", "init has no pidfd")),
        (-2, errno) => Err(clone_error(Errno::from_raw_os_error(errno), request)),
        (at, errno) => {
            let joined = &namespaces.joined[(at as usize).min(namespaces.joined.len() - 1)];
            Err(Error::system(&joined.field, format!("setns({:?})", joined.path), Errno::from_raw_os_error(errno)))
        }
    }
}

fn clone_error(errno: Errno, request: &Request<'_>) -> Error {
    let kinds: Vec<_> =
        NamespaceKind::ALL.iter().filter(|k| (request.flags & !request.late) & k.flag() != 0).map(|k| k.name()).collect();
    let error = Error::system("linux.namespaces", format!("clone3({})", kinds.join(", ")), errno);
    match errno {
        Errno::NOSYS => error.hint("a seccomp profile around rrun forbids clone3: allow it"),
        Errno::PERM => error.hint("rrun needs root, or CAP_SYS_ADMIN"),
        Errno::NOSPC => error.hint("a limit below /proc/sys/user is reached, or 32 levels of pid namespaces"),
        Errno::AGAIN => error.hint("the pids limit of a cgroup, or RLIMIT_NPROC, is reached"),
        Errno::BUSY => error.hint("the container's cgroup has children with controllers enabled: no process may be in it"),
        Errno::NOMEM => error.hint("out of memory, or the pid namespace is being torn down"),
        _ => error,
    }
}
