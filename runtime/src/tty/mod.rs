//! The outer side of a terminal: hand the master over a console socket, or relay it to our own terminal.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::io::{Errno, IoSlice};
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::termios::{OptionalActions, OutputModes, Termios};

use crate::error::{Context as _, Result};

/// Sends a descriptor over a unix stream socket, with its name as payload, as runc does (docs/terminals.md there).
///
/// # Errors
/// The socket cannot be reached.
pub fn send_fd(socket: &str, flag: &str, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
    let call = |what: &str| format!("{what}({socket:?})");
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .at(flag, || call("socket"))?;
    let address = SocketAddrUnix::new(socket).at(flag, || call("connect"))?;
    rustix::net::connect(&stream, &address).at(flag, || call("connect"))?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(&stream, &[IoSlice::new(name.as_bytes())], &mut control, SendFlags::NOSIGNAL)
        .at(flag, || call("sendmsg"))?;
    Ok(())
}

/// Our terminal, in raw mode, joined to a container's.
#[derive(Debug)]
pub struct Relay {
    master: OwnedFd,
    /// What the user typed and the container has not taken yet.
    pending: Vec<u8>,
    stdin_open: bool,
    master_open: bool,
    saved: Option<Termios>,
}

impl Relay {
    /// Takes over stdin, if it is a terminal.
    ///
    /// # Errors
    /// The terminal cannot be put into raw mode.
    pub fn new(master: OwnedFd) -> Result<Relay> {
        let flags = rustix::fs::fcntl_getfl(&master).at("terminal", || "fcntl(F_GETFL)".into())?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK).at("terminal", || "fcntl(F_SETFL)".into())?;
        if let Ok(mut inner) = rustix::termios::tcgetattr(&master) {
            inner.output_modes &= !OutputModes::ONLCR;
            let _ = rustix::termios::tcsetattr(&master, OptionalActions::Now, &inner);
        }
        let stdin = rustix::stdio::stdin();
        let saved = if rustix::termios::isatty(stdin) {
            let saved = rustix::termios::tcgetattr(stdin).at("terminal", || "tcgetattr(stdin)".into())?;
            let mut raw = saved.clone();
            raw.make_raw();
            // The container's side does not make CR LF of LF, so that what is piped stays as it was written; ours does.
            raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
            rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw).at("terminal", || "tcsetattr(stdin)".into())?;
            Some(saved)
        } else {
            None
        };
        let relay = Relay { master, pending: Vec::new(), stdin_open: true, master_open: true, saved };
        relay.resize();
        Ok(relay)
    }

    /// Gives the container's terminal the size of ours.
    pub fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// What to wait for: stdin and the master, with no flags where there is nothing to wait for.
    pub fn interest(&self) -> [(BorrowedFd<'_>, PollFlags); 2] {
        let stdin = if self.stdin_open && self.pending.is_empty() { PollFlags::IN } else { PollFlags::empty() };
        let mut master = if self.master_open { PollFlags::IN } else { PollFlags::empty() };
        if !self.pending.is_empty() && self.master_open {
            master |= PollFlags::OUT;
        }
        [(rustix::stdio::stdin(), stdin), (self.master.as_fd(), master)]
    }

    /// Moves what can be moved.
    pub fn on_ready(&mut self, stdin: PollFlags, master: PollFlags) {
        if !stdin.is_empty() {
            self.read_stdin();
        }
        if master.contains(PollFlags::OUT) {
            self.write_master();
        }
        if master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.read_master();
        }
    }

    /// The last words of a program that has ended.
    pub fn drain(&mut self) {
        if self.master_open {
            self.read_master();
        }
    }

    fn read_stdin(&mut self) {
        let mut buffer = [0u8; 4096];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) => {
                // ^D, as a terminal says it: the container reads the end of its input.
                self.pending.push(4);
                self.stdin_open = false;
            }
            Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.stdin_open = false,
        }
        self.write_master();
    }

    fn write_master(&mut self) {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.master, &self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.pending.clear(),
            }
        }
    }

    fn read_master(&mut self) {
        let mut buffer = [0u8; 8192];
        loop {
            match rustix::io::read(&self.master, &mut buffer) {
                Ok(n) if n > 0 => write_all(&buffer[..n]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // EIO: the last one who had the other side open is gone.
                _ => {
                    self.master_open = false;
                    return;
                }
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, saved);
        }
    }
}

fn write_all(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [rustix::event::PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::OUT)];
                let _ = rustix::event::poll(&mut fds, None);
            }
            Err(_) => return,
        }
    }
}
