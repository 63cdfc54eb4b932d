//! sd_notify(3) for a container: our own NOTIFY_SOCKET is of no use inside, so it gets one of ours, and what says READY there is
//! passed on, with the process that the service manager is to watch.
//!
//! The socket lies in a directory of the container's state, bound read-only to /run/notify; as in runc.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode};
use rustix::io::{Errno, IoSlice};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;

use crate::error::{Context as _, Error, Result};
use crate::spec::config::Mount;
use crate::state::Dir;

const VARIABLE: &str = "NOTIFY_SOCKET";
/// In the state directory.
const DIR: &str = "notify";
const SOCKET: &str = "notify/notify.sock";
/// In the container.
const INSIDE: &str = "/run/notify";
/// Largest message that is looked at, as in runc.
const LARGEST: usize = 4096;
/// Messages taken in one turn: a container that floods us does not hold up the rest.
const BATCH: usize = 64;
/// How long a service manager may take to work off what it was told (sd_notify_barrier(3)).
const BARRIER: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// The service manager's socket.
#[derive(Debug, Clone)]
pub struct Manager(SocketAddrUnix);

impl Manager {
    /// The one in our environment, if there is one.
    ///
    /// # Errors
    /// Its address is of a kind that we do not know, or too long.
    pub fn from_env() -> Result<Option<Manager>> {
        match std::env::var(VARIABLE) {
            Ok(address) if !address.is_empty() => Manager::new(&address).map(Some),
            _ => Ok(None),
        }
    }

    fn new(address: &str) -> Result<Manager> {
        let made = match address.as_bytes() {
            [b'/', ..] => SocketAddrUnix::new(address),
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            _ => {
                return Err(Error::unsupported(
                    VARIABLE,
                    format!("{address:?} is neither a path nor an abstract socket (@name)"),
                ));
            }
        };
        made.map(Manager).at(VARIABLE, || format!("{address:?}"))
    }

    fn tell(&self, text: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let call = || format!("sendmsg({:?})", String::from_utf8_lossy(text).trim());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).at(VARIABLE, call)?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(fd) = &fd {
            control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(fd)));
        }
        let sent = rustix::net::sendmsg_addr(&socket, &self.0, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL);
        sent.at(VARIABLE, call).map(drop)
    }

    /// Waits until it has worked off what it was told: it finds out by our pid whose service it is, so we must still be there.
    fn barrier(&self) -> Result<()> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).at(VARIABLE, || "pipe2".into())?;
        self.tell(b"BARRIER=1", Some(writer.as_fd()))?;
        drop(writer);
        // It closes its copy. One that knows no barriers does so, too, or lets the time pass: that is no failure.
        let mut fds = [PollFd::new(&reader, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&BARRIER))).at(VARIABLE, || "poll".into()).map(drop)
    }
}

/// What a container gets for it: a mount and a variable. `state` is its state directory.
pub fn for_container(state: &Path) -> (Mount, String) {
    let mount = Mount {
        destination: INSIDE.to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(state.join(DIR).to_string_lossy().into_owned()),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec(),
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
    };
    (mount, format!("{VARIABLE}={INSIDE}/notify.sock"))
}

/// Makes the directory that the mount shows.
///
/// # Errors
/// It cannot be made.
pub fn make_directory(dir: &Dir) -> Result<()> {
    let call = |what: &str| format!("{what}({DIR:?})");
    rustix::fs::mkdirat(dir.fd(), DIR, Mode::from_raw_mode(0o755)).at(VARIABLE, || call("mkdir"))?;
    // Whatever our umask is, users in the container must get through it.
    rustix::fs::chmodat(dir.fd(), DIR, Mode::from_raw_mode(0o755), AtFlags::empty()).at(VARIABLE, || call("chmod"))
}

/// The socket that a container talks to.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Opens it, for anyone in the container. None: the container was made without one.
    ///
    /// # Errors
    /// It cannot be bound.
    pub fn bind(dir: &Dir) -> Result<Option<Listener>> {
        let call = |what: &str| format!("{what}({SOCKET:?})");
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).at(VARIABLE, || call("socket"))?;
        let address = SocketAddrUnix::new(dir.short_path(SOCKET)).at(VARIABLE, || call("bind"))?;
        match rustix::net::bind(&socket, &address) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::system(VARIABLE, call("bind"), errno)),
        }
        // The container cannot have put anything else there: it sees the directory read-only.
        rustix::fs::chmodat(dir.fd(), SOCKET, Mode::from_raw_mode(0o777), AtFlags::empty()).at(VARIABLE, || call("chmod"))?;
        Ok(Some(Listener(socket)))
    }

    /// The next message's line that says READY; None if there is none for now.
    fn ready(&self) -> Result<Option<Vec<u8>>> {
        let mut room = [0u8; LARGEST];
        for _ in 0..BATCH {
            let length = match rustix::net::recv(&self.0, &mut room[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::system(VARIABLE, "recv", errno)),
            };
            if let Some(line) = ready_line(&room[..length]) {
                return Ok(Some([line, b"\n"].concat()));
            }
        }
        Ok(None)
    }

    /// Passes on what there is; the service manager is to watch the process `main`.
    ///
    /// # Errors
    /// The service manager cannot be reached.
    pub fn forward(&self, manager: &Manager, main: i32) -> Result<bool> {
        let Some(line) = self.ready()? else { return Ok(false) };
        manager.tell(&line, None)?;
        manager.tell(format!("MAINPID={main}\n").as_bytes(), None)?;
        Ok(true)
    }

    /// Waits until the container is ready, or has ended, and passes it on: for a caller that goes away afterwards. A container that
    /// never says so is waited for; the service manager has a time-out.
    ///
    /// # Errors
    /// The service manager cannot be reached.
    pub fn wait(&self, manager: &Manager, main: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.0, PollFlags::IN), PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut fds, None)).at(VARIABLE, || "poll".into())?;
            let ended = !fds[1].revents().is_empty();
            if self.forward(manager, main)? {
                return manager.barrier();
            }
            if ended {
                return Ok(());
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Nothing else of a container's is for the service manager: MAINPID would be of its own pid namespace, FDSTORE is not its to fill.
fn ready_line(message: &[u8]) -> Option<&[u8]> {
    message.split(|b| *b == b'\n').find(|line| line.starts_with(b"READY="))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::state::StateRoot;
    use crate::state::tests::Scratch;

    #[test]
    fn only_the_ready_line_goes_on() {
        assert_eq!(ready_line(b"STATUS=x\nREADY=1\nMAINPID=7"), Some(&b"READY=1"[..]));
        assert_eq!(ready_line(b"MAINPID=7\nFDSTORE=1"), None);
        assert_eq!(ready_line(b"ALREADY=1"), None);
        assert_eq!(ready_line(b""), None);
    }

    #[test]
    fn addresses_are_paths_or_abstract_names() {
        assert!(Manager::new("/run/systemd/notify").is_ok());
        assert!(Manager::new("@abstract").is_ok());
        assert!(Manager::new("vsock:2:1").unwrap_err().to_string().starts_with("NOTIFY_SOCKET: not supported"));
        assert!(Manager::new(&format!("/{}", "x".repeat(200))).is_err());
    }

    #[test]
    fn ready_is_passed_on_with_the_process_to_watch_and_a_barrier() {
        let scratch = Scratch::new();
        let root: StateRoot = scratch.root();
        let (dir, _lock) = root.create("x").unwrap();
        assert!(Listener::bind(&dir).unwrap().is_none(), "made without one");
        make_directory(&dir).unwrap();
        let listener = Listener::bind(&dir).unwrap().unwrap();
        let path = scratch.0.join("manager");
        let manager = UnixDatagram::bind(&path).unwrap();
        let to = Manager::new(path.to_str().unwrap()).unwrap();

        let inside = UnixDatagram::unbound().unwrap();
        let address = root.path().join("x").join(SOCKET);
        inside.send_to(b"MAINPID=1", &address).unwrap();
        assert!(!listener.forward(&to, 4711).unwrap());
        inside.send_to(b"STATUS=up\nREADY=1", &address).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = String::new();
            // Received without room for the descriptor of the barrier, which is closed by that.
            for _ in 0..3 {
                let mut room = [0; 100];
                let length = manager.recv(&mut room).unwrap();
                all.push_str(&String::from_utf8_lossy(&room[..length]));
            }
            all
        });
        let pid = rustix::process::getpid();
        let own = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        listener.wait(&to, 4711, own.as_fd()).unwrap();
        assert_eq!(reader.join().unwrap(), "READY=1\nMAINPID=4711\nBARRIER=1");
    }
}
