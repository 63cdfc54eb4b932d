//! Paths inside the root, resolved by openat2(2) with RESOLVE_IN_ROOT: no link of the image leads out, however it races.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Walk;
use super::fail::{By, Call, Done, Fail};
use crate::plan::Inside;

const PATH_MAX: usize = 4096;

impl Walk<'_> {
    /// The root of the container.
    pub(super) fn root(&self) -> Done<BorrowedFd<'_>> {
        self.root.as_ref().map(|fd| fd.as_fd()).ok_or(super::missing(Call::Openat2))
    }

    /// Opens a path in the root as O_PATH.
    pub(super) fn open_inside(&self, path: &CStr, no_links: bool) -> Result<OwnedFd, Errno> {
        let root = self.root().map_err(|f| f.errno)?;
        let mut resolve = ResolveFlags::IN_ROOT;
        if no_links {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        open_retrying(root, path, OFlags::PATH | OFlags::CLOEXEC, resolve)
    }

    /// Opens the place where something is to be mounted, making directories and at the end a directory or an empty file.
    pub(super) fn mount_point(&self, path: &Inside, directory: bool, strict: bool) -> Done<OwnedFd> {
        match self.open_inside(path.as_c_str(), strict) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOENT) => {
                let (parent, name) = self.parent_of(path, strict)?;
                if directory {
                    make_directory(parent.as_fd(), name.as_c_str())?;
                } else {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
                    match rustix::fs::openat(&parent, name.as_c_str(), flags, Mode::from_raw_mode(0o644)) {
                        Ok(_) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno).by(Call::Openat2),
                    }
                }
                self.open_inside(path.as_c_str(), strict).by(Call::Openat2)
            }
            Err(errno) => Err(errno).by(Call::Openat2),
        }
    }

    /// Opens the directory of a path, making it and those above it, and returns the last name.
    pub(super) fn parent_of(&self, path: &Inside, strict: bool) -> Done<(OwnedFd, Name)> {
        let bytes = path.as_c_str().to_bytes();
        let cut = bytes.iter().rposition(|b| *b == b'/').unwrap_or(0);
        let name = Name::new(&bytes[cut + 1..])?;
        if let Some(parent) = Name::new(&bytes[..cut.max(1)]).ok()
            && let Ok(fd) = self.open_inside(parent.as_c_str(), strict)
        {
            return Ok((fd, name));
        }
        // Prefix by prefix: each is resolved from the root again, so links within the image keep their meaning.
        let mut dir = self.open_inside(c"/", strict).by(Call::Openat2)?;
        let mut start = 1;
        while start <= cut {
            let end = bytes[start..].iter().position(|b| *b == b'/').map_or(bytes.len(), |n| start + n);
            let prefix = Name::new(&bytes[..end])?;
            dir = match self.open_inside(prefix.as_c_str(), strict) {
                Err(Errno::NOENT) => {
                    let part = Name::new(&bytes[start..end])?;
                    make_directory(dir.as_fd(), part.as_c_str())?;
                    self.open_inside(prefix.as_c_str(), strict).by(Call::Openat2)?
                }
                other => other.by(Call::Openat2)?,
            };
            start = end + 1;
        }
        Ok((dir, name))
    }

    /// A directory in the root, made where it is missing.
    pub(super) fn directory(&self, path: &Inside) -> Done {
        match self.mount_point(path, true, false) {
            // What else may be wrong with it, chdir will say better.
            Ok(_) => Ok(()),
            Err(Fail { errno: Errno::ROFS | Errno::ACCESS | Errno::NOTDIR | Errno::PERM, .. }) => Ok(()),
            Err(fail) => Err(fail),
        }
    }
}

/// openat2 with the EAGAIN that a rename during the walk causes.
fn open_retrying(dir: BorrowedFd<'_>, path: &CStr, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    for _ in 0..128 {
        match rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

fn make_directory(dir: BorrowedFd<'_>, name: &CStr) -> Done {
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno).by(Call::Mkdirat),
    }
}

/// Type of an open file.
pub(super) fn file_type(fd: BorrowedFd<'_>) -> Done<FileType> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH).by(Call::Statx)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Part of a path, NUL-terminated, without allocation.
pub(super) struct Name {
    bytes: [u8; PATH_MAX],
    length: usize,
}

impl Name {
    /// Copies the bytes; ENAMETOOLONG beyond PATH_MAX.
    pub(super) fn new(part: &[u8]) -> Done<Name> {
        let too_long = Fail { call: Call::Openat2, errno: Errno::NAMETOOLONG, arg: 0 };
        if part.len() >= PATH_MAX {
            return Err(too_long);
        }
        let mut bytes = [0; PATH_MAX];
        bytes[..part.len()].copy_from_slice(part);
        Ok(Name { bytes, length: part.len() })
    }

    /// For system calls.
    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.bytes[..=self.length]).unwrap_or(c"")
    }
}
