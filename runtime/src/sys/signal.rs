//! Signal dispositions and masks, by raw system calls: no handler of ours ever runs in a container.

use rustix::io::Errno;

use super::check;

/// Puts every signal back to its default action and unblocks all.
///
/// CLONE_CLEAR_SIGHAND leaves ignored signals ignored, and Rust's start-up ignores SIGPIPE.
pub fn reset_all() {
    // SAFETY: an all-zero kernel_sigaction is SIG_DFL without flags; SIGKILL, SIGSTOP and unknown numbers are refused by the kernel
    // without harm.
    unsafe {
        let default = [0u64; 4];
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0usize, 8usize);
        }
        let none = 0u64;
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, 0usize, 8usize);
    }
}

/// Lets the signals that ask a process to end do so, although it is the first of its pid namespace: there the default action
/// does nothing (pid_namespaces(7)). None is blocked afterwards.
pub fn end_when_asked() {
    extern "C" fn end(signal: libc::c_int) {
        crate::sys::process::exit_now(128 + signal);
    }
    // SAFETY: the handler only calls _exit, which may be called in one; both structures are zeroed, valid and outlive the calls.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = end as extern "C" fn(libc::c_int) as usize;
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2] {
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
        let none = 0u64;
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, 0usize, 8usize);
    }
}

/// Puts one signal back to its default action: with SIGCHLD ignored the kernel would reap our children for us.
pub fn reset(signal: i32) {
    let default = [0u64; 4];
    // SAFETY: as in `reset_all`.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0usize, 8usize) };
}

/// Ignores a signal.
pub fn ignore(signal: i32) {
    // SAFETY: a kernel_sigaction whose handler is SIG_IGN and all else zero; it outlives the call.
    unsafe {
        let action = [libc::SIG_IGN as u64, 0, 0, 0];
        libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), 0usize, 8usize);
    }
}

/// Blocks `signals` for this thread and returns a signalfd (close-on-exec, non-blocking) that reads them.
///
/// # Errors
/// The errno of rt_sigprocmask or signalfd4.
pub fn signalfd(signals: &[i32]) -> Result<std::os::fd::OwnedFd, Errno> {
    use std::os::fd::FromRawFd;
    let mask = signals.iter().fold(0u64, |mask, s| mask | 1 << (s - 1));
    // SAFETY: `mask` is the kernel's 64-bit sigset and lives through both calls.
    unsafe {
        check(libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const mask, 0usize, 8usize))?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        let fd = check(libc::syscall(libc::SYS_signalfd4, -1, &raw const mask, 8usize, flags))?;
        Ok(std::os::fd::OwnedFd::from_raw_fd(fd as i32))
    }
}

/// kill(2) by pid, for a caller that knows the pid cannot have been reused (its own unreaped child).
///
/// # Errors
/// The errno of kill.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill takes no pointers.
    check(unsafe { libc::syscall(libc::SYS_kill, pid, signal) }).map(drop)
}

/// pidfd_send_signal(2) with any signal number, real-time ones and 0 included.
///
/// # Errors
/// The errno of pidfd_send_signal.
pub fn pidfd_send(pidfd: std::os::fd::BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    // SAFETY: a null siginfo means the one that kill(2) would send.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0usize, 0) }).map(drop)
}
