//! Our own executable must not be writable through a container's /proc (CVE-2019-5736): what enters a container runs from a
//! read-only mount that nobody else has, or from a sealed copy in memory.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::error::{Context as _, Error, Result};
use crate::mount::options::ATTR_RDONLY;
use crate::sys::mount::{MountAttr, mount_setattr};
use crate::sys::process::{StringArray, execve_fd};

const EXE: &std::ffi::CStr = c"/proc/self/exe";

/// Prepares this process for making others: see the parts. Executes this program again, from where it cannot be overwritten, with the same arguments. Returns if it runs from there
/// already.
///
/// # Errors
/// Neither a mount nor a copy can be made.
pub fn protect() -> Result<()> {
    // Our children are ours to reap, whatever our caller ignores; and nobody may look into us or into what we become in a
    // container (CVE-2016-9962). execve gives the program its own mark.
    crate::sys::signal::reset(libc::SIGCHLD);
    let _ = crate::sys::process::prctl(libc::PR_SET_DUMPABLE, 0, 0);
    if is_protected()? {
        return Ok(());
    }
    let exe = match read_only_mount() {
        Ok(fd) => fd,
        Err(_) => sealed_copy().at("rrun", || "memfd_create(copy of rrun)".into())?,
    };
    let c = |text: &std::ffi::OsStr| CString::new(text.as_bytes()).unwrap_or_default();
    let argv = StringArray::new(std::env::args_os().map(|a| c(&a)).collect());
    let envp = std::env::vars_os().map(|(k, v)| CString::new([k.as_bytes(), b"=", v.as_bytes()].concat()).unwrap_or_default());
    let errno = execve_fd(exe.as_fd(), &argv, &StringArray::new(envp.collect()));
    Err(Error::system("rrun", "execveat(itself, protected)", errno).hint("vm.memfd_noexec may forbid it"))
}

/// Is /proc/self/exe on a read-only mount, or a file that is sealed?
fn is_protected() -> Result<bool> {
    let fd = rustix::fs::open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at("rrun", || format!("open({EXE:?})"))?;
    let flags = rustix::fs::fstatvfs(&fd).at("rrun", || format!("fstatvfs({EXE:?})"))?.f_flag;
    let sealed = rustix::fs::fcntl_get_seals(&fd).is_ok_and(|s| s.contains(SealFlags::WRITE));
    Ok(sealed || flags.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// A detached read-only mount of our executable: no copy, and no name by which anybody else could reach it.
fn read_only_mount() -> Result<OwnedFd, Errno> {
    let fd = rustix::mount::open_tree(CWD, EXE, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let attr = MountAttr { set: ATTR_RDONLY, propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    mount_setattr(fd.as_fd(), c"", false, &attr)?;
    Ok(fd)
}

fn sealed_copy() -> Result<OwnedFd, Errno> {
    // MFD_EXEC: Linux 6.3; without it vm.memfd_noexec decides.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy =
        rustix::fs::memfd_create(c"rrun", flags | MemfdFlags::EXEC).or_else(|_| rustix::fs::memfd_create(c"rrun", flags))?;
    let own = rustix::fs::open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    while rustix::fs::sendfile(&copy, &own, None, 1 << 30)? > 0 {}
    rustix::fs::fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    // Executing needs a descriptor that is not open for writing.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
