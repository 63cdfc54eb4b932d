//! clone3(2), setns(2), unshare(2).

use std::convert::Infallible;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::check;

// libc's own constants for these are c_int and silently 0 on gnu targets: linux/sched.h.
/// Handlers go back to default in the child; ignored signals stay ignored.
pub const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// Start the child in the cgroup of `CloneArgs::cgroup`.
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// New time namespace; never a flag of clone3 here (docs/init.md).
pub const CLONE_NEWTIME: u64 = 0x80;

/// `struct clone_args` of linux/sched.h, as of CLONE_ARGS_SIZE_VER2.
#[derive(Debug, Default)]
#[repr(C)]
struct RawCloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Arguments of [`clone3`].
#[derive(Debug, Default)]
pub struct CloneArgs<'fd> {
    /// `CLONE_NEW*`, `CLONE_PARENT` and `CLONE_CLEAR_SIGHAND`.
    pub flags: u64,
    /// cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'fd>>,
}

/// clone3(2) without CLONE_VM: `child` runs in a copy of this process, which ends there. Gives the child's pid, as our pid
/// namespace sees it, and its pidfd.
///
/// The caller has one thread (rrun and its workers do). `child` must neither allocate nor lock: it makes system calls and ends in
/// execve or `exit_now`.
///
/// # Errors
/// The errno of clone3.
pub fn clone3(args: &CloneArgs<'_>, child: impl FnOnce() -> Infallible) -> Result<(i32, OwnedFd), Errno> {
    let mut pidfd: RawFd = -1;
    let mut raw = RawCloneArgs {
        flags: args.flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..RawCloneArgs::default()
    };
    if args.flags & libc::CLONE_PARENT as u64 != 0 {
        raw.exit_signal = 0; // the kernel takes the caller's own
    }
    if let Some(cgroup) = args.cgroup {
        raw.flags |= CLONE_INTO_CGROUP;
        raw.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `raw` lives through the call and its pointers point at locals. Without CLONE_VM the child has copies of everything;
    // it runs `child`, which never returns into our frames.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut raw, size_of::<RawCloneArgs>()) })?;
    if pid == 0 {
        child();
    }
    // SAFETY: CLONE_PIDFD made the kernel store a new descriptor there, which nobody else owns.
    Ok((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// setns(2) with a namespace file or a pidfd.
///
/// # Errors
/// The errno of setns.
pub fn setns(fd: BorrowedFd<'_>, flags: u64) -> Result<(), Errno> {
    // SAFETY: setns takes no pointers; it changes the namespaces of this single-threaded process only.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), flags as libc::c_int) }).map(drop)
}

/// unshare(2).
///
/// # Errors
/// The errno of unshare.
pub fn unshare(flags: u64) -> Result<(), Errno> {
    // SAFETY: unshare takes no pointers; no flag that we pass (CLONE_NEW*) touches memory or descriptors.
    check(unsafe { libc::syscall(libc::SYS_unshare, flags as libc::c_int) }).map(drop)
}
