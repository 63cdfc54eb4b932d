//! System calls that rustix lacks, each a thin wrapper. With `init` the only `unsafe` of the library.
#![allow(unsafe_code)]

pub mod clone;
pub mod mount;
pub mod process;
pub mod seccomp;
pub mod signal;

use rustix::io::Errno;

/// Turns the answer of a raw system call into a result.
pub(crate) fn check(ret: libc::c_long) -> Result<libc::c_long, Errno> {
    if ret < 0 { Err(last_errno()) } else { Ok(ret) }
}

/// errno of the calling thread.
pub(crate) fn last_errno() -> Errno {
    // SAFETY: __errno_location always points at this thread's errno.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}
