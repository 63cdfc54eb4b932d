//! What a worker tells its caller: one SOCK_SEQPACKET record each, with a descriptor where there is one.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::Stage;
use crate::error::{Error, Kind};
use crate::parent::{receive_with_fd, send_with_fd};

/// The largest record. A cgroup in every hierarchy at the longest path still fits; texts are cut.
const LARGEST: usize = 64 * 1024;
/// Longest text of an error or a warning.
const TEXT: usize = 16 * 1024;

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    /// How far it is.
    Stage(Stage),
    /// The cgroup that is about to be made, as JSON.
    Cgroup(String),
    /// The new process's pid; comes with a pidfd.
    Cloned(i32),
    /// Comes with the master of the terminal.
    Console,
    /// Accepted, but to be said.
    Warning(String),
    /// Created. Comes with init's socket. `blocking`: its start needs a worker, too. `program`: `args[0]`.
    Ready { blocking: bool, program: String },
    /// The program runs.
    Started,
    /// The container is gone.
    Deleted,
    /// What went wrong.
    Failed(Kind, String),
}

const KINDS: [Kind; 9] = [
    Kind::Config,
    Kind::Unsupported,
    Kind::NotFound,
    Kind::AlreadyExists,
    Kind::WrongState,
    Kind::CommandNotFound,
    Kind::CommandNotExecutable,
    Kind::Hook,
    Kind::System,
];

impl Record {
    /// The record of an error.
    pub(super) fn of(error: &Error) -> Record {
        Record::Failed(error.kind(), error.to_string())
    }

    fn encode(&self) -> Vec<u8> {
        let cut = |text: &str| text.as_bytes()[..text.floor_char_boundary(TEXT)].to_vec();
        let with = |head: &[u8], rest: Vec<u8>| [head, &rest].concat();
        match self {
            Record::Stage(stage) => vec![1, *stage as u8],
            Record::Cgroup(json) => with(&[2], json.as_bytes().to_vec()),
            Record::Cloned(pid) => with(&[3], pid.to_le_bytes().to_vec()),
            Record::Console => vec![4],
            Record::Warning(text) => with(&[5], cut(text)),
            Record::Ready { blocking, program } => with(&[6, u8::from(*blocking)], cut(program)),
            Record::Started => vec![7],
            Record::Deleted => vec![8],
            Record::Failed(kind, text) => {
                let number = KINDS.iter().position(|k| k == kind).unwrap_or(KINDS.len() - 1);
                with(&[9, number as u8], cut(text))
            }
        }
    }

    fn decode(bytes: &[u8]) -> Option<Record> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(match bytes {
            [1, stage] => Record::Stage(Stage::from_byte(*stage)?),
            [2, json @ ..] => Record::Cgroup(text(json)),
            [3, a, b, c, d] => Record::Cloned(i32::from_le_bytes([*a, *b, *c, *d])),
            [4] => Record::Console,
            [5, warning @ ..] => Record::Warning(text(warning)),
            [6, blocking, program @ ..] => Record::Ready { blocking: *blocking != 0, program: text(program) },
            [7] => Record::Started,
            [8] => Record::Deleted,
            [9, kind, what @ ..] => Record::Failed(*KINDS.get(usize::from(*kind))?, text(what)),
            _ => return None,
        })
    }

    /// Sends it; waits while the receiver is behind.
    ///
    /// # Errors
    /// EPIPE: nobody is interested any more.
    pub(super) fn send(&self, socket: BorrowedFd<'_>, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        send_with_fd(socket, &self.encode(), fd)
    }

    /// The next one, if there is one. None: the other end is closed.
    ///
    /// # Errors
    /// EAGAIN: not yet. EBADMSG: it is no record.
    pub(super) fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Record, Option<OwnedFd>)>, Errno> {
        let mut bytes = vec![0; LARGEST];
        let (length, fd) = receive_with_fd(socket, &mut bytes, RecvFlags::DONTWAIT)?;
        if length == 0 {
            return Ok(None);
        }
        Record::decode(&bytes[..length]).map(|record| Some((record, fd))).ok_or(Errno::BADMSG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_socket() {
        let all = [
            Record::Stage(Stage::RuntimeHooks),
            Record::Cgroup("{}".into()),
            Record::Cloned(70_000),
            Record::Console,
            Record::Warning("w".into()),
            Record::Ready { blocking: true, program: "/bin/true".into() },
            Record::Started,
            Record::Deleted,
            Record::Failed(Kind::CommandNotFound, "text".into()),
        ];
        for record in all {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
        for bad in [&[][..], &[0], &[1], &[1, 99], &[3, 1], &[9, 99], &[200, 1]] {
            assert_eq!(Record::decode(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = format!("a{}", "ä".repeat(TEXT));
        let Some(Record::Failed(_, text)) = Record::decode(&Record::Failed(Kind::Hook, long).encode()) else { panic!() };
        assert_eq!(text.len(), TEXT - 1);
        assert!(text.ends_with('ä'));
    }
}
