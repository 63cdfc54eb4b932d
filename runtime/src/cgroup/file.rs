//! Cgroup files: small, kernel-made, read and written whole.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// Most that is read of one cgroup file. The longest (memory.numa_stat, cgroup.procs of a big container) stay below.
const LIMIT: usize = 16 << 20;

/// Opens the directory `path`, as a descriptor for `openat`, CLONE_INTO_CGROUP and BPF_PROG_ATTACH.
pub(crate) fn open_dir(path: &str, step: &str) -> Result<OwnedFd> {
    fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).at(step, || format!("open({path:?})"))
}

/// Writes `value` to `path` in one write(2); the kernel takes a cgroup file's value whole or not at all.
pub(crate) fn write(path: &str, value: &str) -> Result<(), Errno> {
    write_fd(open_for_writing(path)?.as_fd(), value)
}

/// Opens a file that takes several writes.
pub(crate) fn open_for_writing(path: &str) -> Result<OwnedFd, Errno> {
    fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

/// One write(2), again after a signal.
pub(crate) fn write_fd(fd: BorrowedFd<'_>, value: &str) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::io::write(fd, value.as_bytes())).map(drop)
}

/// The whole of `file`.
pub(crate) fn read_at(dir: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    let fd = fs::openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    read_fd(fd.as_fd(), false)
}

/// [`read_at`] for a file that the kernel gives out in one piece (cgroup.events, cgroup.controllers): one read(2).
pub(crate) fn read_piece_at(dir: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    let fd = fs::openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    read_fd(fd.as_fd(), true)
}

/// [`read_at`] with a path.
pub(crate) fn read(path: &str) -> Result<String, Errno> {
    let fd = fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    read_fd(fd.as_fd(), false)
}

/// [`read_piece_at`] with a path.
pub(crate) fn read_piece(path: &str) -> Result<String, Errno> {
    let fd = fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    read_fd(fd.as_fd(), true)
}

/// Reads to the end. Files of many records (mountinfo, cgroup.procs) end with an empty read only; one that is a single
/// `piece` ends with the first read that does not fill the buffer.
fn read_fd(fd: BorrowedFd<'_>, piece: bool) -> Result<String, Errno> {
    let mut text = vec![0u8; 4096];
    let mut len = 0;
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut text[len..]))?;
        len += n;
        if n == 0 || (piece && len < text.len()) {
            break;
        }
        if len == text.len() {
            if len >= LIMIT {
                return Err(Errno::FBIG);
            }
            text.resize(len * 2, 0);
        }
    }
    text.truncate(len);
    String::from_utf8(text).map_err(|_| Errno::ILSEQ)
}

/// The number after `key` in a file of `key value` lines; None: no such key.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' ')).and_then(number)
}

/// A number as cgroup files print it: `max` is `u64::MAX`, a negative one (some statistics err) is 0.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        t if t.starts_with('-') && t.len() > 1 && t[1..].bytes().all(|b| b.is_ascii_digit()) => Some(0),
        t => t.parse().ok(),
    }
}

/// A failed write as an error that shows the file and the value.
pub(crate) fn write_error(field: &str, dir: &str, file: &str, value: &str, errno: Errno) -> Error {
    Error::system(field, format!("write({:?}, {:?})", format!("{dir}/{file}"), value), errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_whole_words() {
        let text = "oom 3\noom_kill 7\npopulated 1\n";
        assert_eq!(keyed(text, "oom"), Some(3));
        assert_eq!(keyed(text, "oom_kill"), Some(7));
        assert_eq!(keyed(text, "oom_"), None);
        assert_eq!(keyed(text, "frozen"), None);
    }

    #[test]
    fn numbers_as_the_kernel_prints_them() {
        assert_eq!(number("max\n"), Some(u64::MAX));
        assert_eq!(number("-5"), Some(0));
        assert_eq!(number(" 42\n"), Some(42));
        assert_eq!(number("-"), None);
        assert_eq!(number("1x"), None);
    }

    #[test]
    fn a_file_of_several_reads_comes_whole() {
        // mountinfo and status files are seq_files with many records.
        let whole = std::fs::read_to_string("/proc/self/status").unwrap();
        let read = read("/proc/self/status").unwrap();
        assert_eq!(whole.lines().count(), read.lines().count());
        assert_eq!(read_piece("/proc/sys/kernel/ostype").unwrap(), "Linux\n");
    }
}
