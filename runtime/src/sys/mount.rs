//! mount_setattr(2), and the mount attributes as plain numbers.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::check;

/// `struct mount_attr` of linux/mount.h.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0: as it is.
    pub propagation: u64,
    /// User namespace of `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

impl MountAttr {
    /// Nothing to change?
    pub fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation == 0
    }
}

/// mount_setattr(2) on the mount that `dir` and `path` name (`path` empty: on `dir` itself); `recursive`: on all below it, too.
///
/// # Errors
/// The errno of mount_setattr.
pub fn mount_setattr(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, attr: &MountAttr) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `path` is NUL-terminated and `attr` has the layout and size passed; the kernel only reads both.
    check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, dir.as_raw_fd(), path.as_ptr(), flags, &raw const *attr, size_of::<MountAttr>())
    })
    .map(drop)
}
