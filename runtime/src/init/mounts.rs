//! Mounts, by descriptor only: open_tree, fsopen, fsmount, move_mount.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::fail::{By, Call, Done, Fail};
use super::inside::file_type;
use super::{Walk, missing};
use crate::mount::options::ATTR_RDONLY;
use crate::plan::{Inside, NewMount};
use crate::sys::mount::{MountAttr, mount_setattr};

/// Makes all mounts of this namespace slaves: nothing that happens here reaches the host.
pub(super) fn isolate() -> Done {
    let attr = MountAttr { propagation: libc::MS_SLAVE, ..MountAttr::default() };
    mount_setattr(CWD, c"/", true, &attr).by(Call::MountSetattr)
}

impl Walk<'_> {
    /// The root tree becomes part of the namespace.
    pub(super) fn attach_root(&mut self, at: &CStr) -> Done {
        let tree = self.context.root.ok_or(missing(Call::MoveMount))?;
        move_onto(tree, CWD, at)?;
        self.root = Some(rustix::io::fcntl_dupfd_cloexec(tree, 3).by(Call::Dup)?);
        Ok(())
    }

    /// A new file system instance.
    pub(super) fn new_mount(&mut self, mount: &NewMount) -> Done {
        let existed = self.open_inside(mount.dest.as_c_str(), mount.strict).ok();
        let dest = match &existed {
            Some(fd) => fd.try_clone().map_err(|_| missing(Call::Dup))?,
            None => self.mount_point(&mount.dest, true, mount.strict)?,
        };
        let is_tmpfs = mount.kind.as_bytes() == b"tmpfs";
        // Its root takes over the mode of the directory that it covers, unless the options say another.
        let mode = match &existed {
            Some(fd) if is_tmpfs && !mount.params.iter().any(|(key, _)| key.as_bytes() == b"mode") => {
                Some(rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH).by(Call::Statx)?.st_mode & 0o7777)
            }
            _ => None,
        };
        let late_readonly = mount.attr & ATTR_RDONLY != 0 && mount.copy_up;
        let attr = if late_readonly { mount.attr & !ATTR_RDONLY } else { mount.attr };
        let fd = match self.superblock(mount, attr, mode) {
            Err(Fail { errno: Errno::PERM | Errno::BUSY, .. }) if mount.fallback.is_some() => {
                return self.bind(&mount.dest, mount.fallback.unwrap_or_default());
            }
            other => other?,
        };
        if mount.copy_up && existed.is_some() {
            super::copyup::copy(dest.as_fd(), fd.as_fd()).by(Call::CopyUp)?;
        }
        if late_readonly {
            set(fd.as_fd(), false, &MountAttr { set: ATTR_RDONLY, ..MountAttr::default() })?;
        }
        move_onto(fd.as_fd(), dest.as_fd(), c"")?;
        for (recursive, attr) in &mount.changes {
            set(fd.as_fd(), *recursive, attr)?;
        }
        Ok(())
    }

    /// fsopen, fsconfig, fsmount. What the file system says about a refused parameter goes along with the failure.
    fn superblock(&mut self, mount: &NewMount, attr: u64, mode: Option<u32>) -> Done<OwnedFd> {
        let fs = rustix::mount::fsopen(mount.kind.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC).by(Call::Fsopen)?;
        for (index, (key, value)) in mount.params.iter().enumerate() {
            let done = match value {
                Some(value) => rustix::mount::fsconfig_set_string(fs.as_fd(), key.as_c_str(), value.as_c_str()),
                None => rustix::mount::fsconfig_set_flag(fs.as_fd(), key.as_c_str()),
            };
            if let Err(errno) = done {
                self.read_log(fs.as_fd());
                return Err(Fail { call: Call::Fsconfig, errno, arg: index as u16 + 1 });
            }
        }
        if let Some(mode) = mode {
            // As octal text, without allocation.
            let digits = [9, 6, 3, 0].map(|shift| b'0' + (mode >> shift & 7) as u8);
            let text = [digits[0], digits[1], digits[2], digits[3], 0];
            let text = CStr::from_bytes_until_nul(&text).unwrap_or(c"0755");
            rustix::mount::fsconfig_set_string(fs.as_fd(), c"mode", text).by(Call::Fsconfig)?;
        }
        if let Err(errno) = rustix::mount::fsconfig_create(fs.as_fd()) {
            self.read_log(fs.as_fd());
            return Err(errno).by(Call::Fsconfig);
        }
        let attr = MountAttrFlags::from_bits_retain(attr as u32);
        rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attr).by(Call::Fsmount)
    }

    fn read_log(&mut self, fs: BorrowedFd<'_>) {
        self.detail_length = rustix::io::read(fs, &mut self.detail).unwrap_or(0);
    }

    /// Attaches a tree that the parent has cloned.
    pub(super) fn bind(&mut self, dest: &Inside, tree: usize) -> Done {
        let tree = self.context.trees.get(tree).ok_or(missing(Call::MoveMount))?;
        let dest = self.mount_point(dest, tree.is_dir, false)?;
        move_onto(tree.fd.as_fd(), dest.as_fd(), c"")
    }

    /// Attributes of an existing mount.
    pub(super) fn remount(&mut self, dest: &Inside, changes: &[(bool, MountAttr)]) -> Done {
        let fd = self.open_inside(dest.as_c_str(), false).by(Call::Openat2)?;
        changes.iter().try_for_each(|(recursive, attr)| set(fd.as_fd(), *recursive, attr))
    }

    /// A device node or FIFO.
    pub(super) fn node(&mut self, path: &Inside, kind: u32, mode: u32, device: u64, uid: u32, gid: u32) -> Done {
        let (parent, name) = self.parent_of(path, false)?;
        let name = name.as_c_str();
        match rustix::fs::mknodat(&parent, name, FileType::from_raw_mode(kind), Mode::from_raw_mode(mode), device) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()), // the image's or a mount's own: theirs to keep
            Err(errno) => return Err(errno).by(Call::Mknodat),
        }
        if (uid, gid) == (0, 0) {
            return Ok(());
        }
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).by(Call::Fchown)?;
        // chown(2) clears set-id bits.
        if mode & 0o6000 == 0 {
            Ok(())
        } else {
            rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(mode), AtFlags::empty()).by(Call::Fchmod)
        }
    }

    /// A symbolic link, unless something is there.
    pub(super) fn link(&mut self, path: &Inside, target: &CStr) -> Done {
        let (parent, name) = self.parent_of(path, false)?;
        match rustix::fs::symlinkat(target, &parent, name.as_c_str()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno).by(Call::Symlinkat),
        }
    }

    /// A read-only copy of the tree at a path, on top of itself.
    pub(super) fn readonly_path(&mut self, path: &Inside) -> Done {
        let Some(place) = self.existing(path)? else { return Ok(()) };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
        let tree = clone_tree(place.as_fd(), flags)?;
        set(tree.as_fd(), true, &MountAttr { set: ATTR_RDONLY, ..MountAttr::default() })?;
        move_onto(tree.as_fd(), place.as_fd(), c"")
    }

    /// Covers a directory by an empty read-only one, anything else by the host's /dev/null.
    pub(super) fn mask_path(&mut self, path: &Inside) -> Done {
        let Some(place) = self.existing(path)? else { return Ok(()) };
        if file_type(place.as_fd())? != FileType::Directory {
            let null = self.null()?;
            let tree = clone_tree(null, OpenTreeFlags::OPEN_TREE_CLONE)?;
            return move_onto(tree.as_fd(), place.as_fd(), c"");
        }
        if let Some(empty) = &self.empty {
            let tree = clone_tree(empty.as_fd(), OpenTreeFlags::OPEN_TREE_CLONE)?;
            return move_onto(tree.as_fd(), place.as_fd(), c"");
        }
        // The first one is attached itself: a mount must be in the namespace before it can be cloned (before Linux 6.15).
        let fs = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).by(Call::Fsopen)?;
        rustix::mount::fsconfig_set_string(fs.as_fd(), c"nr_inodes", c"1").by(Call::Fsconfig)?;
        rustix::mount::fsconfig_create(fs.as_fd()).by(Call::Fsconfig)?;
        let attr = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let empty = rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attr).by(Call::Fsmount)?;
        move_onto(empty.as_fd(), place.as_fd(), c"")?;
        self.empty = Some(empty);
        Ok(())
    }

    /// A path to cover, where it exists.
    fn existing(&self, path: &Inside) -> Done<Option<OwnedFd>> {
        match self.open_inside(path.as_c_str(), false) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno).by(Call::Openat2),
        }
    }

    /// The host's /dev/null, opened once before pivot_root and known by its number, not by its name (CVE-2025-31133).
    fn null(&mut self) -> Done<BorrowedFd<'_>> {
        if self.null.is_none() {
            let fd = rustix::fs::open(c"/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                .by(Call::Openat2)?;
            let stat = rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH).by(Call::Statx)?;
            if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || stat.st_rdev != libc::makedev(1, 3) {
                return Err(Fail { call: Call::Statx, errno: Errno::NXIO, arg: 0 });
            }
            self.null = Some(fd);
        }
        self.null.as_ref().map(|fd| fd.as_fd()).ok_or(missing(Call::Openat2))
    }

    /// pivot_root(2) with both arguments `.`: the old root ends up on top of the new one and is dropped from there.
    pub(super) fn pivot(&mut self) -> Done {
        let root = self.root()?;
        rustix::process::fchdir(root).by(Call::Chdir)?;
        rustix::process::pivot_root(c".", c".").by(Call::PivotRoot)?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH).by(Call::Umount)?;
        rustix::process::chdir(c"/").by(Call::Chdir)
    }

    /// Where `/` is the initial ramfs, pivot_root(2) is not possible. The new root is on top of `/` already; the host's /proc and
    /// /sys below it would let the container make full ones of its own, so they go.
    pub(super) fn move_root(&mut self) -> Done {
        for path in [c"/proc", c"/sys"] {
            match rustix::mount::unmount(path, UnmountFlags::DETACH) {
                Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
                Err(errno) => return Err(errno).by(Call::Umount),
            }
        }
        self.chroot()
    }

    /// chroot(2) into the root.
    pub(super) fn chroot(&mut self) -> Done {
        let root = self.root()?;
        rustix::process::fchdir(root).by(Call::Chdir)?;
        rustix::process::chroot(c".").by(Call::Chroot)?;
        rustix::process::chdir(c"/").by(Call::Chdir)
    }

    /// `linux.rootfsPropagation`, once pivot_root has no say in it any more.
    pub(super) fn root_propagation(&mut self, kind: u64, recursive: bool) -> Done {
        set(self.root()?, recursive, &MountAttr { propagation: kind, ..MountAttr::default() })
    }

    /// `root.readonly`, once all mount points are made.
    pub(super) fn root_readonly(&mut self) -> Done {
        set(self.root()?, false, &MountAttr { set: ATTR_RDONLY, ..MountAttr::default() })
    }
}

/// A readable descriptor of a directory known by an O_PATH one.
pub(super) fn open_dir(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn set(fd: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> Done {
    mount_setattr(fd, c"", recursive, attr).by(Call::MountSetattr)
}

fn clone_tree(fd: BorrowedFd<'_>, flags: OpenTreeFlags) -> Done<OwnedFd> {
    rustix::mount::open_tree(fd, c"", flags | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::OPEN_TREE_CLOEXEC).by(Call::OpenTree)
}

/// move_mount(2) of a mount onto a place; an empty path: onto the descriptor itself.
pub(super) fn move_onto(mount: BorrowedFd<'_>, place: BorrowedFd<'_>, path: &CStr) -> Done {
    let mut flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    if path.is_empty() {
        flags |= MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    }
    rustix::mount::move_mount(mount, c"", place, path, flags).by(Call::MoveMount)
}
