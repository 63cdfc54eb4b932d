//! A process as it can be told apart from a later one with the same number: pid and start time.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

/// A process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its number in the host's pid namespace.
    pub pid: i32,
    /// Clock ticks after boot at which it started (proc_pid_stat(5), field 22).
    pub start_time: u64,
}

/// What /proc/PID/stat says of it.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    threads: u64,
    start_time: u64,
}

impl Process {
    /// The process that has this number now.
    ///
    /// # Errors
    /// If there is none, or /proc cannot be read.
    pub fn of(pid: i32) -> Result<Process> {
        let stat = read(pid)?;
        let stat = stat.ok_or_else(|| Error::system("process", format!("open(\"/proc/{pid}/stat\")"), Errno::SRCH))?;
        Ok(Process { pid, start_time: stat.start_time })
    }

    /// Whether it is still there and not a zombie.
    ///
    /// # Errors
    /// If /proc cannot be read.
    pub fn alive(&self) -> Result<bool> {
        Ok(read(self.pid)?.is_some_and(|stat| stat.start_time == self.start_time && !stat.ended()))
    }

    /// A pidfd of it; `None` if it is gone or a zombie.
    ///
    /// # Errors
    /// If /proc cannot be read or pidfd_open(2) fails for another reason than that it is gone.
    pub fn pidfd(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Some(self.pid).filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            // EINVAL: the number is no process any more, but its last thread is not forgotten yet.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(e) => return Err(Error::system("process", format!("pidfd_open({})", self.pid), e)),
        };
        // Looked at after it was opened: it is the right one now, so the descriptor is of the right one.
        Ok(self.alive()?.then_some(fd))
    }
}

impl Stat {
    /// A zombie, or being reaped. The first thread may end before the others: then the process goes on, although its first
    /// thread is shown as a zombie.
    fn ended(&self) -> bool {
        matches!(self.state, b'X' | b'x') || (self.state == b'Z' && self.threads <= 1)
    }
}

fn read(pid: i32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    let mut text = Vec::with_capacity(512);
    let outcome = File::open(&path).and_then(|f| f.take(4096).read_to_end(&mut text));
    match outcome {
        Ok(_) => {}
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(None),
        Err(e) => return Err(e).at("process", || format!("read({path:?})")),
    }
    parse(&text).map(Some).ok_or_else(|| Error::failed("process", format!("{path} has an unknown form")))
}

/// The name in parentheses may contain anything, parentheses too: counting starts behind the last of them.
fn parse(text: &[u8]) -> Option<Stat> {
    let behind = text.iter().rposition(|b| *b == b')')?;
    let text = std::str::from_utf8(text.get(behind + 1..)?).ok()?;
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    // The first of them is field 3.
    let field = |n: usize| fields.get(n - 3);
    Some(Stat { state: *field(3)?.as_bytes().first()?, threads: field(20)?.parse().ok()?, start_time: field(22)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = b"7 (a) Z 9 (b)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 4711 1 1 18446744073709551615\n";
        assert_eq!(parse(line), Some(Stat { state: b'S', threads: 3, start_time: 4711 }));
        assert_eq!(parse(b"7 (a) S 1 2"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_zombie_has_ended_unless_other_threads_go_on() {
        let stat = |state, threads| Stat { state, threads, start_time: 1 };
        assert!(stat(b'Z', 1).ended() && stat(b'Z', 0).ended() && stat(b'X', 1).ended());
        assert!(!stat(b'Z', 2).ended() && !stat(b'S', 1).ended() && !stat(b'T', 1).ended());
    }

    #[test]
    fn a_child_lives_then_is_a_zombie_then_is_gone() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = Process::of(child.id() as i32).unwrap();
        assert!(process.alive().unwrap());
        assert!(process.pidfd().unwrap().is_some());
        let another = Process { start_time: process.start_time + 1, ..process };
        assert!(!another.alive().unwrap(), "a reused pid is another process");
        assert!(another.pidfd().unwrap().is_none());

        let fd = process.pidfd().unwrap().unwrap();
        child.kill().unwrap();
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        assert!(!process.alive().unwrap(), "a zombie is not alive");
        child.wait().unwrap();
        assert!(!process.alive().unwrap());
        assert!(process.pidfd().unwrap().is_none());
    }

    #[test]
    fn numbers_that_are_no_process() {
        assert!(Process::of(i32::MAX).is_err());
        for pid in [0, -1, i32::MAX] {
            assert!(Process { pid, start_time: 0 }.pidfd().unwrap().is_none(), "{pid}");
        }
    }
}
