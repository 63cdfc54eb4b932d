//! Attributes of the calling process that rustix does not set: credentials by thread, limits, scheduling, keyrings, exec.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::io::Errno;

use super::check;

/// `struct rlimit64`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// Soft limit; u64::MAX: none.
    pub soft: u64,
    /// Hard limit; u64::MAX: none.
    pub hard: u64,
}

/// `struct sched_attr`, as of SCHED_ATTR_SIZE_VER0 (sched_setattr(2)).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SchedAttr {
    /// Size of this structure.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// prlimit64(2); `pid` 0 is the caller.
///
/// # Errors
/// The errno of prlimit.
pub fn prlimit(pid: i32, resource: u32, new: Option<&Limit>) -> Result<Limit, Errno> {
    let mut old = Limit::default();
    let new = new.map_or(std::ptr::null(), |l| &raw const *l);
    // SAFETY: both point at `struct rlimit64` or are null.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, new, &raw mut old) })?;
    Ok(old)
}

/// setresuid(2) for this thread, all three ids.
///
/// # Errors
/// The errno of setresuid.
pub fn set_uid(uid: u32) -> Result<(), Errno> {
    // SAFETY: takes no pointers; the raw call, as libc's would broadcast to threads.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// setresgid(2) for this thread, all three ids.
///
/// # Errors
/// The errno of setresgid.
pub fn set_gid(gid: u32) -> Result<(), Errno> {
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// setgroups(2) for this thread.
///
/// # Errors
/// The errno of setgroups.
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: pointer and length are those of one slice of gid_t.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// prctl(2) with integer arguments.
///
/// # Errors
/// The errno of prctl.
pub fn prctl(option: i32, arg2: u64, arg3: u64) -> Result<i64, Errno> {
    // SAFETY: only options with integer arguments are passed by our callers (PR_SET_*, PR_CAP*), none takes an address.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, arg2, arg3, 0usize, 0usize) })
}

/// capset(2): effective, permitted and inheritable sets of this thread as bit masks.
///
/// # Errors
/// The errno of capset.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
    // linux/capability.h: version 3, two 32-bit words of each set, low words first.
    let header: [u32; 2] = [0x2008_0522, 0];
    let words = |shift: u32| [effective >> shift, permitted >> shift, inheritable >> shift].map(|w| w as u32);
    let data: [[u32; 3]; 2] = [words(0), words(32)];
    // SAFETY: header and data have the layout of __user_cap_header_struct and two __user_cap_data_struct.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// personality(2).
///
/// # Errors
/// The errno of personality.
pub fn personality(persona: u64) -> Result<(), Errno> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::syscall(libc::SYS_personality, persona) }).map(drop)
}

/// sched_setattr(2) for the caller.
///
/// # Errors
/// The errno of sched_setattr.
pub fn sched_setattr(attr: &SchedAttr) -> Result<(), Errno> {
    // SAFETY: `attr.size` is the size of the structure pointed at.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *attr, 0) }).map(drop)
}

/// sched_setaffinity(2) for the caller; bit n of the mask is CPU n.
///
/// # Errors
/// The errno of sched_setaffinity.
pub fn set_affinity(mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: pointer and length in bytes of one slice.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) }).map(drop)
}

/// setpriority(2): nice value of the caller.
///
/// # Errors
/// The errno of setpriority.
pub fn set_nice(nice: i32) -> Result<(), Errno> {
    // SAFETY: takes no pointers. PRIO_PROCESS is 0.
    check(unsafe { libc::syscall(libc::SYS_setpriority, 0, 0, nice) }).map(drop)
}

/// ioprio_set(2) for the caller: class and priority as the kernel packs them.
///
/// # Errors
/// The errno of ioprio_set.
pub fn set_ioprio(class: u32, priority: u32) -> Result<(), Errno> {
    // SAFETY: takes no pointers. IOPRIO_WHO_PROCESS is 1.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, class << 13 | priority) }).map(drop)
}

/// set_mempolicy(2); `nodes` is a bit mask.
///
/// # Errors
/// The errno of set_mempolicy.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    let (pointer, bits) = if nodes.is_empty() { (std::ptr::null(), 0) } else { (nodes.as_ptr(), nodes.len() * 64 + 1) };
    // SAFETY: the kernel reads `bits - 1` bits, which is the length of the slice.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

/// keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: a new session keyring of this name.
///
/// # Errors
/// The errno of keyctl.
pub fn join_session_keyring(name: &CStr) -> Result<i64, Errno> {
    // SAFETY: `name` is NUL-terminated; operation 1 reads nothing else.
    check(unsafe { libc::syscall(libc::SYS_keyctl, 1, name.as_ptr(), 0usize, 0usize, 0usize) })
}

/// keyctl(2) KEYCTL_SETPERM.
///
/// # Errors
/// The errno of keyctl.
pub fn set_key_permissions(key: i64, permissions: u32) -> Result<(), Errno> {
    // SAFETY: operation 5 takes no pointers.
    check(unsafe { libc::syscall(libc::SYS_keyctl, 5, key, permissions, 0usize, 0usize) }).map(drop)
}

/// close_range(2) from `first` to the last descriptor; `cloexec`: only mark them close-on-exec.
///
/// # Errors
/// The errno of close_range.
pub fn close_from(first: RawFd, cloexec: bool) -> Result<(), Errno> {
    let flags = if cloexec { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: takes no pointers; callers own every descriptor from `first` on, and use none of those closed again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) }).map(drop)
}

/// close_range(2) of `first` to `last`; none if `last` is before `first`.
///
/// # Errors
/// The errno of close_range.
pub fn close_range(first: RawFd, last: RawFd) -> Result<(), Errno> {
    if last < first {
        return Ok(());
    }
    // SAFETY: as in `close_from`.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// fcntl(2) F_SETFD: close-on-exec on or off.
///
/// # Errors
/// The errno of fcntl.
pub fn set_cloexec(fd: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    let flags = if on { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: F_SETFD takes an integer.
    check(unsafe { libc::syscall(libc::SYS_fcntl, fd.as_raw_fd(), libc::F_SETFD, flags) }).map(drop)
}

/// dup2(2) onto a fixed number, without close-on-exec.
///
/// # Errors
/// The errno of dup3 (or of fcntl, when both are the same).
pub fn dup_onto(fd: BorrowedFd<'_>, target: RawFd) -> Result<(), Errno> {
    if fd.as_raw_fd() == target {
        return set_cloexec(fd, false);
    }
    // SAFETY: takes no pointers; `target` is a standard or preserved descriptor that the caller gives away.
    check(unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), target, 0) }).map(drop)
}

/// A NULL-terminated array of C strings, as execve(2) wants it, that owns its strings.
///
/// Made before the clone, so that nothing is allocated after it.
#[derive(Debug)]
pub struct StringArray {
    strings: Vec<std::ffi::CString>,
    pointers: Vec<*const libc::c_char>,
}

impl StringArray {
    /// From strings; the order is kept.
    pub fn new(strings: Vec<std::ffi::CString>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        StringArray { strings, pointers }
    }

    /// The strings.
    pub fn strings(&self) -> &[std::ffi::CString] {
        &self.strings
    }
}

impl Clone for StringArray {
    fn clone(&self) -> Self {
        StringArray::new(self.strings.clone())
    }
}

impl PartialEq for StringArray {
    fn eq(&self, other: &Self) -> bool {
        self.strings == other.strings
    }
}

/// execve(2); returns only on failure.
pub fn execve(path: &CStr, argv: &StringArray, envp: &StringArray) -> Errno {
    // SAFETY: both arrays end in NULL and point at strings that they own.
    let ret = unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    check(ret).err().unwrap_or(Errno::INVAL)
}

/// execveat(2) of an open file; returns only on failure.
pub fn execve_fd(fd: BorrowedFd<'_>, argv: &StringArray, envp: &StringArray) -> Errno {
    // SAFETY: as in `execve`; the path is empty.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    check(ret).err().unwrap_or(Errno::INVAL)
}

/// Ends the process at once, without running anything of the standard library.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and takes no pointers.
    unsafe { libc::_exit(code) }
}

/// ioctl(2) TIOCSCTTY: makes a terminal the controlling one of this session.
///
/// # Errors
/// The errno of ioctl.
pub fn set_controlling_terminal(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// ioctl(2) TIOCGPTPEER: opens the peer of a pseudo terminal's master without looking up a path.
///
/// # Errors
/// The errno of ioctl.
pub fn pty_peer(master: BorrowedFd<'_>) -> Result<std::os::fd::OwnedFd, Errno> {
    use std::os::fd::FromRawFd;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes an integer and returns a new descriptor that nobody else owns.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_ioctl, master.as_raw_fd(), libc::TIOCGPTPEER, flags))?;
        Ok(std::os::fd::OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// ioctl(2) TIOCSPTLCK 0: unlocks the peer of a pseudo terminal's master.
///
/// # Errors
/// The errno of ioctl.
pub fn pty_unlock(master: BorrowedFd<'_>) -> Result<(), Errno> {
    let zero: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    check(unsafe { libc::syscall(libc::SYS_ioctl, master.as_raw_fd(), libc::TIOCSPTLCK, &raw const zero) }).map(drop)
}

/// ioctl(2) SIOCSIFFLAGS: brings up `lo` of this network namespace (netdevice(7)).
///
/// # Errors
/// The errno of socket or ioctl.
pub fn loopback_up() -> Result<(), Errno> {
    /// `struct ifreq` of linux/if.h, with flags.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    // Of any family: the request is for the namespace.
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut request = Request { name: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0", flags: libc::IFF_UP as libc::c_short, rest: [0; 22] };
    // SAFETY: `request` has the size and layout of the ifreq that the kernel copies in.
    check(unsafe { libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) }).map(drop)
}

/// getcwd(2): the raw call, which says `(unreachable)` where libc's would hide it.
///
/// # Errors
/// The errno of getcwd.
pub fn getcwd(buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: pointer and length are those of one slice, which the kernel fills.
    check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) }).map(|n| n as usize)
}

/// close(2) of a descriptor that only this process has: in a child of the clone, its copy of the parent's.
pub fn close(fd: RawFd) {
    // SAFETY: the number is one that the child's code never uses as an owned descriptor.
    unsafe { libc::close(fd) };
}

/// Takes close-on-exec off `count` descriptors from `first` on.
///
/// # Errors
/// EBADF: one of them is not open.
pub fn keep_open(first: RawFd, count: u32) -> Result<(), Errno> {
    for fd in (first..).take(count as usize) {
        // SAFETY: F_SETFD takes an integer.
        check(unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_SETFD, 0) })?;
    }
    Ok(())
}

/// Is a descriptor of this number open?
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no argument.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}
