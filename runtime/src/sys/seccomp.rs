//! seccomp(2).
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

/// One instruction of classic BPF: `struct sock_filter` of <linux/filter.h>.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockFilter {
    /// Opcode.
    pub code: u16,
    /// Instructions to skip when a test holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Constant, offset or distance.
    pub k: u32,
}

/// `struct sock_fprog` of <linux/filter.h>.
#[repr(C)]
struct SockFprog {
    len: u16,
    filter: *const SockFilter,
}

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;

/// `SECCOMP_FILTER_FLAG_LOG`: log what the filter answers, but for allowed calls.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: leave speculative store bypass mitigation as it is.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: return a descriptor on which calls are announced.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: once the listener has received a call, only a fatal signal interrupts it.
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Puts the calling thread under a filter, for ever and with all its children: `seccomp(SECCOMP_SET_MODE_FILTER)`. Returns the
/// listener where `flags` has [`FLAG_NEW_LISTENER`]; it is close-on-exec. Needs no_new_privs, or CAP_SYS_ADMIN in the user
/// namespace. Allocates nothing.
///
/// # Errors
/// EACCES without that privilege; EINVAL for a flag that the kernel lacks or a filter that it refuses, or one that is longer than
/// 4096 instructions; EBUSY where another filter has a listener already; ENOMEM when all filters together are too long.
pub fn load(filter: &[SockFilter], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let len = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = SockFprog { len, filter: filter.as_ptr() };
    // SAFETY: `program` and the `len` instructions that it points to outlive the call, which copies them; SockFilter and
    // SockFprog have the kernel's layout.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match result {
        fd if fd >= 0 && flags & FLAG_NEW_LISTENER != 0 => {
            // SAFETY: with this flag the answer is a descriptor that the kernel has just made for us.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
        }
        0 => Ok(None),
        _ => Err(last_errno()),
    }
}

/// Whether the kernel knows a filter's answer: `seccomp(SECCOMP_GET_ACTION_AVAIL)`.
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel reads four bytes from `action`, which lives across the call.
    unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

/// Whether the kernel knows these flags of [`load`]; nothing is loaded. A kernel that knows them goes on to read the filter, and
/// there is none at address 0: EFAULT.
pub fn flags_available(flags: u32) -> bool {
    let nowhere = std::ptr::null::<SockFprog>();
    // SAFETY: the kernel checks the address and fails; it changes nothing of ours.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, nowhere) };
    result == -1 && last_errno() == Errno::FAULT
}

fn last_errno() -> Errno {
    // SAFETY: errno is this thread's own.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_what_it_knows() {
        assert!(action_available(0x7fff_0000), "SECCOMP_RET_ALLOW");
        assert!(!action_available(0x1234_0000));
        assert!(flags_available(FLAG_LOG));
        assert!(!flags_available(1 << 30));
    }

    #[test]
    fn a_filter_that_ends_without_a_verdict_is_refused() {
        let load_nr = SockFilter { code: 0x20, jt: 0, jf: 0, k: 0 };
        assert_eq!(load(&[load_nr], 0).unwrap_err(), Errno::INVAL);
        assert_eq!(load(&[], 0).unwrap_err(), Errno::INVAL);
        assert_eq!(load(&vec![load_nr; 70_000], 0).unwrap_err(), Errno::INVAL);
    }
}
