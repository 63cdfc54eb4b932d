//! The far end of `--console-socket`: receives the terminal's master and talks through it.

use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::host::{patience, unique};

/// A listening socket that a runtime sends a terminal's master to.
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Default for ConsoleSocket {
    fn default() -> Self {
        Self::new()
    }
}

impl ConsoleSocket {
    /// A socket with a unique path.
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("{}.sock", unique()));
        let listener = UnixListener::bind(&path).unwrap_or_else(|e| panic!("bind {}: {e}", path.display()));
        ConsoleSocket { listener, path }
    }

    /// Where the runtime connects to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts one connection and takes the one descriptor out of its one message.
    #[track_caller]
    pub fn receive(&self) -> Terminal {
        assert!(readable(&self.listener), "nobody connected to the console socket");
        let (stream, _) = self.listener.accept().expect("accept on the console socket");
        assert!(readable(&stream), "nothing came through the console socket");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 4096];
        recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .expect("recvmsg on the console socket");
        let mut fds: Vec<OwnedFd> = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        assert_eq!(fds.len(), 1, "one descriptor comes through the console socket");
        Terminal { master: File::from(fds.remove(0)), seen: String::new() }
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn readable(fd: impl std::os::fd::AsFd) -> bool {
    let timeout = Timespec { tv_sec: i64::try_from(patience().as_secs()).unwrap_or(20), tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)), Ok(n) if n > 0)
}

/// The master of a container's terminal.
pub struct Terminal {
    master: File,
    seen: String,
}

impl Terminal {
    /// A terminal from a master that the test opened itself.
    pub fn new(master: OwnedFd) -> Self {
        Terminal { master: File::from(master), seen: String::new() }
    }

    /// Types this text.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("write to the terminal");
    }

    /// Sets the size in characters.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .expect("size of the terminal");
    }

    /// Reads until `text` has been seen, and gives everything up to there.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            assert!(Instant::now() < deadline && readable(&self.master), "no {text:?} on the terminal, but {:?}", self.seen);
            let mut buffer = [0; 4096];
            match self.master.read(&mut buffer) {
                Ok(n) if n > 0 => self.seen.push_str(&String::from_utf8_lossy(&buffer[..n])),
                // EIO: the last process on the terminal has gone.
                end => panic!("the terminal ended ({end:?}) without {text:?}: {:?}", self.seen),
            }
        }
    }

    /// Reads until the last process on the terminal has gone.
    #[track_caller]
    pub fn until_hangup(&mut self) -> String {
        let deadline = Instant::now() + patience();
        loop {
            assert!(Instant::now() < deadline && readable(&self.master), "the terminal stays open: {:?}", self.seen);
            let mut buffer = [0; 4096];
            match self.master.read(&mut buffer) {
                Ok(n) if n > 0 => self.seen.push_str(&String::from_utf8_lossy(&buffer[..n])),
                _ => return std::mem::take(&mut self.seen),
            }
        }
    }
}
