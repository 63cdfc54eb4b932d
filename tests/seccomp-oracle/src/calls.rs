//! System calls that the tests make and rustix does not.
#![allow(unsafe_code)]

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

/// Any system call with numbers for arguments. For calls that a test's filter answers, or that take no addresses.
pub fn call(number: u32, args: [u64; 6]) -> Result<i64> {
    let a = args.map(|arg| arg as libc::c_long);
    // SAFETY: the tests pass numbers that are no addresses, to calls that the filter refuses or that change nothing in memory.
    let result = unsafe { libc::syscall(libc::c_long::from(number as i32), a[0], a[1], a[2], a[3], a[4], a[5]) };
    if result == -1 { Err(Error::last_os_error()) } else { Ok(result) }
}

/// A call of i386 from this 64-bit program: `int $0x80`. Minus errno on failure.
#[cfg(target_arch = "x86_64")]
pub fn call_i386(number: u32, arg: u32) -> i32 {
    let result: u32;
    // SAFETY: the kernel keeps all registers but the answer's and r8 to r11; rbx is put back by hand, as the compiler needs it.
    unsafe {
        std::arch::asm!(
            "xchg {arg:r}, rbx",
            "int 0x80",
            "xchg {arg:r}, rbx",
            arg = inout(reg) u64::from(arg) => _,
            inout("eax") number => result,
            in("ecx") 0, in("edx") 0, in("esi") 0, in("edi") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result as i32
}

static TRAPPED: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_trap(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid siginfo.
    TRAPPED.store(unsafe { (*info).si_code }, Ordering::SeqCst);
}

/// Catches SIGSYS from now on; [`trapped`] tells the last one's `si_code`.
pub fn catch_trap() {
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_trap;
    // SAFETY: all zeroes is a valid sigaction; the handler only stores to an atomic.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut());
    }
}

/// `si_code` of the last SIGSYS that [`catch_trap`] caught, -1 without one. 1 is SYS_SECCOMP.
pub fn trapped() -> i32 {
    TRAPPED.load(Ordering::SeqCst)
}

/// Runs a command under ptrace(2) until it ends; returns the messages of its seccomp stops. At each the call goes on.
pub fn trace(command: &mut Command) -> Result<Vec<u64>> {
    // SAFETY: between fork and exec only ptrace is called.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            -1 => Err(Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let child = command.spawn()?.id() as i32;
    let mut messages = Vec::new();
    let mut first = true;
    loop {
        let mut status = 0;
        // SAFETY: `status` and `message` outlive the calls; the child is ours.
        unsafe {
            if libc::waitpid(child, &raw mut status, 0) == -1 {
                return Err(Error::last_os_error());
            }
            if !libc::WIFSTOPPED(status) {
                return Ok(messages);
            }
            if std::mem::take(&mut first) {
                libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, libc::PTRACE_O_TRACESECCOMP | libc::PTRACE_O_EXITKILL);
            }
            if status >> 8 == libc::SIGTRAP | libc::PTRACE_EVENT_SECCOMP << 8 {
                let mut message: libc::c_ulong = 0;
                libc::ptrace(libc::PTRACE_GETEVENTMSG, child, 0, &raw mut message);
                messages.push(message);
            }
            libc::ptrace(libc::PTRACE_CONT, child, 0, 0);
        }
    }
}

/// Receives bytes and one descriptor, as a seccomp agent does: reads to the end of the connection.
pub fn receive(stream: &UnixStream) -> Result<(Vec<u8>, Option<OwnedFd>)> {
    let (mut bytes, mut found) = (Vec::new(), None);
    loop {
        let mut buffer = [0u8; 4096];
        let mut control = [0u64; 8];
        let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all zeroes is a valid msghdr; its buffers outlive the call; the kernel fills the control messages that are read
        // here, and a descriptor in them is ours.
        unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            (message.msg_iov, message.msg_iovlen) = (&raw mut iov, 1);
            (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control) as _);
            let read = libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
            match read {
                -1 => return Err(Error::last_os_error()),
                0 => return Ok((bytes, found)),
                n => bytes.extend_from_slice(&buffer[..n as usize]),
            }
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            if !header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS {
                found = Some(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<i32>().read_unaligned()));
            }
        }
    }
}

/// Answers one announced call on a listener with an errno; the call's number and first argument.
pub fn answer(listener: BorrowedFd<'_>, errno: i32) -> Result<(i32, u64)> {
    // <linux/seccomp.h>: SECCOMP_IOCTL_NOTIF_RECV and _SEND.
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const SEND: libc::c_ulong = 0xc018_2101;
    // SAFETY: all zeroes are valid structures of the kernel's layout, as RECEIVE demands; they outlive the calls.
    unsafe {
        let mut request: libc::seccomp_notif = std::mem::zeroed();
        if libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut request) == -1 {
            return Err(Error::last_os_error());
        }
        let mut response: libc::seccomp_notif_resp = std::mem::zeroed();
        (response.id, response.error) = (request.id, -errno);
        if libc::ioctl(listener.as_raw_fd(), SEND as _, &raw mut response) == -1 {
            return Err(Error::last_os_error());
        }
        Ok((request.data.nr, request.data.args[0]))
    }
}
