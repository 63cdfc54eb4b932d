//! The container's terminal.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, IoSlice};
use rustix::mount::OpenTreeFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::Walk;
use super::fail::{By, Call, Done, Fail};
use super::mounts::move_onto;
use super::protocol::{Kind, Message};
use crate::plan::Inside;
use crate::sys::process::{dup_onto, pty_peer, pty_unlock, set_controlling_terminal};

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

impl Walk<'_> {
    /// Opens a pseudo terminal in the container's own devpts, hands the master to the parent and makes the peer our terminal.
    ///
    /// The peer comes from the master by TIOCGPTPEER and /dev/console is bound from that descriptor: no name in the container's
    /// /dev/pts is trusted (CVE-2025-52565).
    pub(super) fn console(&mut self, size: Option<(u16, u16)>, bind: Option<&Inside>) -> Done {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = if self.root.is_some() {
            let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_SYMLINKS;
            rustix::fs::openat2(self.root()?, c"dev/pts/ptmx", flags, Mode::empty(), resolve)
        } else {
            rustix::fs::open(c"/dev/pts/ptmx", flags, Mode::empty())
        };
        let master = master.by(Call::OpenPty)?;
        if rustix::fs::fstatfs(&master).by(Call::OpenPty)?.f_type != DEVPTS_SUPER_MAGIC {
            return Err(Fail { call: Call::OpenPty, errno: Errno::NOTTY, arg: 0 });
        }
        pty_unlock(master.as_fd()).by(Call::TtyIoctl)?;
        let peer = pty_peer(master.as_fd()).by(Call::TtyIoctl)?;
        if let Some((rows, columns)) = size {
            let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(&peer, size).by(Call::TtyIoctl)?;
        }
        if let Some(path) = bind {
            self.bind_console(path, peer.as_fd())?;
        }
        self.send_fd(&Message::new(Kind::Console), master.as_fd())?;
        for number in 0..3 {
            dup_onto(peer.as_fd(), number).by(Call::Dup)?;
        }
        set_controlling_terminal(peer.as_fd()).by(Call::TtyIoctl)
    }

    fn bind_console(&self, path: &Inside, peer: BorrowedFd<'_>) -> Done {
        let (dev, name) = self.parent_of(path, false)?;
        let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // A node that is there already serves as mount point, whatever it is; it is not opened for that.
        match rustix::fs::openat(&dev, name.as_c_str(), flags | OFlags::EXCL, Mode::from_raw_mode(0o666)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).by(Call::Openat2),
        }
        let place = rustix::fs::openat(&dev, name.as_c_str(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let place = place.by(Call::Openat2)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(peer, c"", flags).by(Call::OpenTree)?;
        move_onto(tree.as_fd(), place.as_fd(), c"")
    }

    /// A message with a descriptor (SCM_RIGHTS).
    fn send_fd(&self, message: &Message, fd: BorrowedFd<'_>) -> Done {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let bytes = message.encode();
        rustix::net::sendmsg(self.context.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
            .by(Call::Send)
            .map(drop)
    }
}
