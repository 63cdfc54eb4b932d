//! What `run`, `create` and `exec` share: flags, files for the caller, and the wait for the end of a program in the foreground.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus};

use super::Globals;
use super::args::Args;
use super::log::Log;
use crate::container::Wishes;
use crate::container::prepare::check_fds;
use crate::error::{Context as _, Error, Result};
use crate::notify::{Listener, Manager};
use crate::sys::signal;
use crate::tty::{Relay, send_fd};

/// Signals that a foreground `rrun` passes on to its program: all that can be caught, but for those about itself.
const FORWARDED: &[i32] = &[
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
];

/// Descriptors to pass on: those of systemd (sd_listen_fds(3)), then `--preserve-fds`.
///
/// # Errors
/// One of them is not open.
pub fn passed_fds(args: &Args) -> Result<(u32, u32)> {
    let variable = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u32>().ok());
    let listen = match (variable("LISTEN_PID"), variable("LISTEN_FDS")) {
        // Without LISTEN_PID a supervisor that does not know our pid means us, as podman and runc have it.
        (Some(pid), _) if pid != std::process::id() => 0,
        (_, count) => count.unwrap_or(0),
    };
    let preserve = args.number("preserve-fds").unwrap_or(0);
    let preserve = u32::try_from(preserve).map_err(|_| Error::config("--preserve-fds", format!("{preserve} is not a count")))?;
    check_fds(listen, preserve)?;
    Ok((listen, preserve))
}

/// The flags of `run` and `create` for the library.
///
/// # Errors
/// Those of [`passed_fds`].
pub fn wishes(globals: &Globals, args: &Args, id: &str) -> Result<Wishes> {
    let (listen_fds, preserve_fds) = passed_fds(args)?;
    Ok(Wishes {
        systemd: globals.systemd_cgroup,
        no_pivot: args.on("no-pivot"),
        no_new_keyring: args.on("no-new-keyring"),
        preserve_fds,
        listen_fds,
        notify: Manager::from_env()?.map(|_| globals.root.join(id)),
    })
}

/// A terminal and who it goes to must fit together.
///
/// # Errors
/// In runc's cases.
pub fn check_terminal(terminal: bool, detached: bool, socket: Option<&str>) -> Result<()> {
    match (terminal, detached, socket) {
        (true, true, None) => {
            Err(Error::config("--console-socket", "a terminal of a detached container needs one to be sent to"))
        }
        (true, false, Some(_)) => {
            Err(Error::config("--console-socket", "is for detached containers; without --detach the terminal is relayed"))
        }
        (false, _, Some(_)) => Err(Error::config("--console-socket", "given, but process.terminal is false")),
        _ => Ok(()),
    }
}

/// What the caller asked to be told about the new process: `--pid-file` and `--pidfd-socket`.
///
/// # Errors
/// The file cannot be written, or the socket not be reached.
pub fn tell_caller(args: &Args, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
    if let Some(socket) = args.text("pidfd-socket") {
        send_fd(socket, "--pidfd-socket", "pidfd", pidfd)?;
    }
    let Some(path) = args.text("pid-file") else { return Ok(()) };
    // Renamed into place: whoever waits for the file finds a whole number in it.
    let path = std::path::Path::new(path);
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .ok_or_else(|| Error::config("--pid-file", format!("{path:?} names no file")))?;
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = std::fs::write(&temporary, pid.to_string()).and_then(|()| std::fs::rename(&temporary, path));
    written.at("--pid-file", || format!("write({path:?})")).inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

/// Where a terminal's master goes: to the console socket, or to a relay of ours.
pub fn console<'a>(socket: Option<&'a str>, relay: &'a mut Option<Relay>) -> impl FnMut(OwnedFd) -> Result<()> + 'a {
    move |master| match socket {
        Some(socket) => send_fd(socket, "--console-socket", "/dev/ptmx", master.as_fd()),
        None => {
            *relay = Some(Relay::new(master)?);
            Ok(())
        }
    }
}

/// A container's readiness, passed on while it runs in the foreground: the service manager watches us, not the container.
#[derive(Debug)]
pub struct Forward<'a> {
    /// What the container talks to.
    pub listener: Listener,
    /// Whom we tell.
    pub manager: Manager,
    /// For what goes wrong.
    pub log: &'a Log,
}

impl Forward<'_> {
    /// False if it cannot be done: once is enough to be told.
    fn pass_on(&self) -> bool {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        self.listener.forward(&self.manager, own).map_err(|e| self.log.warn(&e.to_string())).is_ok()
    }
}

/// Blocked signals, to be passed on once there is somebody to pass them to.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks them; to be called before the clone, so that none is lost.
    ///
    /// # Errors
    /// The errno of signalfd.
    pub fn block() -> Result<Signals> {
        let all: Vec<i32> = FORWARDED.iter().copied().chain([libc::SIGCHLD, libc::SIGWINCH]).collect();
        signal::signalfd(&all).map(Signals).at("run", || "signalfd".into())
    }

    /// Waits for the end of a child in the foreground: passes signals on, relays the terminal, reaps orphans. Gives the exit code:
    /// 128 + signal if one ended it.
    ///
    /// # Errors
    /// poll fails.
    pub fn wait(
        &self,
        pid: i32,
        pidfd: BorrowedFd<'_>,
        mut relay: Option<Relay>,
        mut notify: Option<Forward<'_>>,
    ) -> Result<i32> {
        let mut exit = None;
        while exit.is_none() {
            let (child, signals, terminal) = self.poll(pidfd, relay.as_ref(), notify.as_ref())?;
            if notify.as_ref().is_some_and(|n| !n.pass_on()) {
                notify = None;
            }
            if let (Some(relay), Some([input, output])) = (&mut relay, terminal) {
                relay.on_ready(input, output);
            }
            if signals {
                self.forward(pidfd, relay.as_ref());
            }
            if child || signals {
                exit = reap(pid);
            }
        }
        if let Some(relay) = &mut relay {
            relay.drain();
        }
        Ok(exit.unwrap_or(255))
    }

    /// Waits until something is ready: the child, signals, the ends of the terminal.
    fn poll(
        &self,
        pidfd: BorrowedFd<'_>,
        relay: Option<&Relay>,
        notify: Option<&Forward<'_>>,
    ) -> Result<(bool, bool, Option<[PollFlags; 2]>)> {
        let mut fds = vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN), PollFd::new(&self.0, PollFlags::IN)];
        let interest = relay.map(Relay::interest);
        // An end that we want nothing from must not wake us by hanging up: it is left out.
        let places = interest.as_ref().map(|ends| {
            ends.each_ref().map(|(fd, flags)| {
                (!flags.is_empty()).then(|| {
                    fds.push(PollFd::from_borrowed_fd(*fd, *flags));
                    fds.len() - 1
                })
            })
        });
        fds.extend(notify.map(|n| PollFd::new(&n.listener, PollFlags::IN)));
        rustix::io::retry_on_intr(|| poll(&mut fds, None)).at("run", || "poll".into())?;
        let ready = |at: usize| fds[at].revents();
        let terminal = places.map(|p| p.map(|place| place.map_or(PollFlags::empty(), ready)));
        Ok((!ready(0).is_empty(), !ready(1).is_empty(), terminal))
    }

    /// Empties the signalfd.
    fn forward(&self, pidfd: BorrowedFd<'_>, relay: Option<&Relay>) {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        while let Ok(n) = rustix::io::read(&self.0, &mut info) {
            if n < 4 {
                return;
            }
            match i32::from_le_bytes([info[0], info[1], info[2], info[3]]) {
                libc::SIGCHLD => {}
                libc::SIGWINCH => {
                    if let Some(relay) = relay {
                        relay.resize();
                    }
                }
                signal => drop(signal::pidfd_send(pidfd, signal)),
            }
        }
    }
}

/// Reaps all that has ended, orphans of the container too (we are subreaper); gives the exit code of `pid` if it was among them.
fn reap(pid: i32) -> Option<i32> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended.as_raw_nonzero().get() == pid => return Some(exit_code(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return None,
            // No child at all: ours is gone, and how it ended is lost.
            Err(_) => return Some(255),
        }
    }
}

/// The exit code that a shell would show.
fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or(status.terminating_signal().map(|s| 128 + s)).unwrap_or(255)
}
