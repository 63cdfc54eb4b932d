//! tmpcopyup: what a directory holds, into the tmpfs that is about to cover it. By descriptors, without allocation.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::mounts::open_dir;

/// Deeper trees are refused: each level costs stack.
const MAX_DEPTH: usize = 64;

/// Copies the contents of `from` into `to`; both may be O_PATH. Owners, modes, times, links, devices and extended attributes stay.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    directory(from, to, 0)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    if depth >= MAX_DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    let (from, to) = (open_dir(from)?, open_dir(to)?);
    let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
    let mut entries = RawDir::new(&from, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        one(from.as_fd(), to.as_fd(), name, depth)?;
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Errno> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
            let target = rustix::fs::openat(to, name, flags, Mode::empty())?;
            directory(source.as_fd(), target.as_fd(), depth + 1)?;
            attributes(source.as_fd(), target.as_fd())?;
        }
        FileType::RegularFile => {
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let source = rustix::fs::openat(from, name, OFlags::RDONLY | flags, Mode::empty())?;
            let target = rustix::fs::openat(to, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | flags, mode)?;
            while rustix::fs::sendfile(&target, &source, None, 1 << 30)? > 0 {}
            attributes(source.as_fd(), target.as_fd())?;
        }
        FileType::Symlink => {
            let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
            let (target, rest) = rustix::fs::readlinkat_raw(from, name, &mut buffer)?;
            let length = target.len();
            if rest.is_empty() {
                return Err(Errno::NAMETOOLONG);
            }
            rest[0].write(0);
            // The link's text and the NUL just written, as one initialised slice.
            let mut text = [0u8; 4096];
            text[..length].copy_from_slice(target);
            let text = CStr::from_bytes_until_nul(&text).map_err(|_| Errno::INVAL)?;
            rustix::fs::symlinkat(text, to, name)?;
        }
        other => rustix::fs::mknodat(to, name, other, mode, stat.st_rdev)?,
    }
    finish(to, name, &stat, mode)
}

/// Owner, mode (chown clears set-id bits) and times.
fn finish(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat, mode: Mode) -> Result<(), Errno> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?;
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    };
    rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Extended attributes, those that the tmpfs takes.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut names = [0u8; 1024];
    let length = match rustix::fs::flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::RANGE) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let mut rest = &names[..length];
    while let Ok(name) = CStr::from_bytes_until_nul(rest) {
        rest = &rest[name.count_bytes() + 1..];
        let mut value = [0u8; 1024];
        let Ok(length) = rustix::fs::fgetxattr(from, name, &mut value[..]) else { continue };
        match rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
