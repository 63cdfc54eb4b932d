//! Walks over a cgroup's children. A container with a writable cgroup mount chooses their depth, so nothing here recurses,
//! builds a path or keeps a descriptor for each level.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Most directories in one walk: what a hostile container can cost us is bounded.
const MOST: usize = 1_000_000;

fn open(dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    fs::openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Names of the directories in `dir`.
fn subdirs(dir: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if entry.file_type() == FileType::Directory && !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Calls `enter` for `root` and every directory below it, parents first, and `leave(parent, name)` for each below it,
/// children first. A directory that vanishes meanwhile is passed over.
fn walk(
    root: BorrowedFd<'_>,
    mut enter: impl FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
    mut leave: impl FnMut(BorrowedFd<'_>, &std::ffi::CStr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    // For each level: the children still to visit, and the name of the one that was entered.
    let mut levels: Vec<(Vec<CString>, CString)> = Vec::new();
    let mut here = root.try_clone_to_owned().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE))?;
    enter(here.as_fd())?;
    let mut todo = subdirs(here.as_fd())?;
    let mut seen = 0;
    loop {
        if let Some(name) = todo.pop() {
            seen += 1;
            if seen > MOST {
                return Err(Errno::TOOBIG);
            }
            let below = match open(here.as_fd(), &name) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NODEV) => continue,
                Err(errno) => return Err(errno),
            };
            let entered = enter(below.as_fd()).and_then(|()| subdirs(below.as_fd()));
            match entered {
                Ok(names) => {
                    levels.push((std::mem::replace(&mut todo, names), name));
                    here = below;
                }
                Err(Errno::NOENT | Errno::NODEV) => {}
                Err(errno) => return Err(errno),
            }
        } else if let Some((rest, name)) = levels.pop() {
            here = open(here.as_fd(), c"..")?;
            leave(here.as_fd(), &name)?;
            todo = rest;
        } else {
            return Ok(());
        }
    }
}

/// Removes every directory below `root`, not `root` itself.
///
/// # Errors
/// EBUSY: one of them holds processes.
pub(crate) fn remove_children(root: BorrowedFd<'_>) -> Result<(), Errno> {
    walk(
        root,
        |_| Ok(()),
        |parent, name| match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        },
    )
}

/// The processes in `root` and below it, each once per cgroup that it has threads in.
pub(crate) fn pids(root: BorrowedFd<'_>, recursive: bool, pids: &mut Vec<i32>) -> Result<(), Errno> {
    let mut read = |dir: BorrowedFd<'_>| {
        let text = match super::file::read_at(dir, "cgroup.procs") {
            // A threaded cgroup lists threads only.
            Err(Errno::OPNOTSUPP) => super::file::read_at(dir, "cgroup.threads")?,
            text => text?,
        };
        pids.extend(text.lines().filter_map(|l| l.trim().parse::<i32>().ok()));
        Ok(())
    };
    if recursive { walk(root, read, |_, _| Ok(())) } else { read(root) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeper_than_a_path_can_be() {
        // An ordinary directory will do: 1100 levels of 20 bytes are five times PATH_MAX, and more than there are descriptors.
        let top = std::env::temp_dir().join(format!("rrun-walk-{}", std::process::id()));
        std::fs::create_dir(&top).unwrap();
        let root = fs::open(&top, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let mut at = root.try_clone().unwrap();
        for _ in 0..1100 {
            fs::mkdirat(&at, c"a-name-of-20-letters", Mode::RWXU).unwrap();
            fs::mkdirat(&at, c"other", Mode::RWXU).unwrap();
            at = open(at.as_fd(), c"a-name-of-20-letters").unwrap();
        }
        let mut entered = 0;
        walk(
            root.as_fd(),
            |_| {
                entered += 1;
                Ok(())
            },
            |_, _| Ok(()),
        )
        .unwrap();
        assert_eq!(entered, 2201);
        remove_children(root.as_fd()).unwrap();
        assert_eq!(subdirs(root.as_fd()).unwrap().len(), 0);
        std::fs::remove_dir(&top).unwrap();
    }
}
