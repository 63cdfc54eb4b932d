//! The messages between init and its parent: one SOCK_SEQPACKET pair, one fixed-size record a message.
//!
//! ```text
//! init                                   parent
//!   (cloned)
//!   WAITING        ------------------->  uid and gid maps, limits, oom_score_adj, time offsets,
//!                                        v1 or systemd cgroup, network devices, prestart and createRuntime hooks
//!                  <-------------------  GO
//!   mounts, devices
//!   CONSOLE + fd   ------------------->  to the console socket, or relayed
//!   MOUNTED        ------------------->  createContainer hooks
//!                  <-------------------  GO
//!   covered paths, pivot_root, process attributes
//!   READY          ------------------->  created
//!                  <-------------------  START   (from `start`, over the listening socket of the state directory)
//!   SECCOMP + number ----------------->  pidfd_getfd, to the agent
//!                  <-------------------  GO
//!   privileges dropped, execve           end of file: the program runs
//!
//!   FAILED         ------------------->  at any point: step, call, errno
//! ```
//! What a container does not need is left out: without maps, v1 cgroups and hooks there is no WAITING and no GO, and `run` sends
//! no START. Init exits when the other end closes before READY.

use rustix::io::Errno;

/// Bytes of one record.
pub const SIZE: usize = 256;
/// Bytes of text in a record.
pub const DETAIL: usize = SIZE - 12;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Init waits for the parent's duties.
    Waiting = 1,
    /// The mounts are there; createContainer hooks may run.
    Mounted = 2,
    /// Carries the master of the pseudo terminal.
    Console = 3,
    /// `arg` is the number of the seccomp notification descriptor in init.
    Seccomp = 4,
    /// Everything is prepared.
    Ready = 5,
    /// A step failed; init is exiting.
    Failed = 6,
    /// Parent to init: go on.
    Go = 7,
    /// Parent to init: execute the program.
    Start = 8,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::*;
        [Waiting, Mounted, Console, Seccomp, Ready, Failed, Go, Start].into_iter().find(|k| *k as u8 == byte)
    }
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub kind: Kind,
    /// FAILED: which system call, an index of [`super::fail::Call`].
    pub call: u8,
    /// FAILED: index of the step.
    pub step: u16,
    /// FAILED: errno.
    pub errno: i32,
    /// FAILED: which parameter; SECCOMP: descriptor.
    pub arg: u16,
    /// Bytes of `detail` in use.
    pub length: u16,
    /// FAILED: what the kernel's mount log says.
    pub detail: [u8; DETAIL],
}

impl Message {
    /// A record without contents.
    pub fn new(kind: Kind) -> Message {
        Message { kind, call: 0, step: 0, errno: 0, arg: 0, length: 0, detail: [0; DETAIL] }
    }

    /// To bytes.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[0] = self.kind as u8;
        bytes[1] = self.call;
        bytes[2..4].copy_from_slice(&self.step.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.errno.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.arg.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..].copy_from_slice(&self.detail);
        bytes
    }

    /// From bytes; None if they are no record.
    pub fn decode(bytes: &[u8]) -> Option<Message> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let length = short(10);
        if usize::from(length) > DETAIL {
            return None;
        }
        let mut detail = [0; DETAIL];
        detail.copy_from_slice(&bytes[12..]);
        Some(Message {
            kind: Kind::from_byte(bytes[0])?,
            call: bytes[1],
            step: short(2),
            errno: i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            arg: short(8),
            length,
            detail,
        })
    }

    /// The text, where there is one.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.detail[..usize::from(self.length).min(DETAIL)]).trim().to_owned()
    }

    /// The errno of a FAILED record.
    pub fn errno(&self) -> Errno {
        Errno::from_raw_os_error(self.errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_socket() {
        let mut message = Message::new(Kind::Failed);
        message.call = 7;
        message.step = 300;
        message.errno = 2;
        message.arg = 9;
        message.length = 3;
        message.detail[..3].copy_from_slice(b"abc");
        assert_eq!(Message::decode(&message.encode()), Some(message));
        assert_eq!(message.text(), "abc");
        assert_eq!(Message::decode(&[0; SIZE]), None);
        assert_eq!(Message::decode(&[6; 10]), None);
        let mut long = message.encode();
        long[10..12].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(Message::decode(&long), None);
    }
}
