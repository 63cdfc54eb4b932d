//! Hooks (config.md#posix-platform-hooks): programs of the operator's, given the container's state on stdin.
//!
//! All six kinds are run by the parent: in our own namespaces, or in those of the container by its pidfd. Init never forks.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::error::{Context as _, Error, Result};
use crate::init::Gate;
use crate::parent::{self, NoEvents, Options};
use crate::plan::{Duties, InitPlan, Op, Program, Step};
use crate::spec::config::Hook;
use crate::sys::process::StringArray;
use crate::sys::signal;

/// What a hook writes is kept up to this size, for its error.
const OUTPUT: usize = 4096;

/// Where hooks run.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// In our namespaces, working directory there.
    Runtime(&'a Path),
    /// In those of a container that is being made, as its root user: createContainer.
    Container {
        /// Its init.
        pidfd: BorrowedFd<'a>,
        /// CLONE_NEW* to enter, without pid.
        flags: u64,
        /// Enter its pid namespace?
        pid: bool,
        /// In a user namespace?
        userns: bool,
    },
    /// As `exec` would run it, with all of the container's confinement: startContainer. Its program comes from the container.
    Confined {
        /// Its init.
        pidfd: BorrowedFd<'a>,
        /// Enter its pid namespace?
        pid: bool,
        /// The steps of a process in it.
        init: &'a InitPlan,
        /// What the parent does for it.
        duties: &'a Duties,
        /// The container's cgroup, where clone3 can put it there.
        cgroup: Option<BorrowedFd<'a>>,
    },
}

/// Checks hooks before anything is made.
///
/// # Errors
/// A path that is not absolute, a time-out that is not above 0, a NUL byte.
pub fn check(name: &str, hooks: &[Hook]) -> Result<()> {
    for (i, hook) in hooks.iter().enumerate() {
        let field = format!("hooks.{name}[{i}]");
        if !hook.path.starts_with('/') {
            return Err(Error::config(format!("{field}.path"), format!("{:?} is not an absolute path", hook.path)));
        }
        if hook.timeout.is_some_and(|t| t <= 0) {
            return Err(Error::config(format!("{field}.timeout"), "is not above 0; leave it out for no limit"));
        }
        let all = std::iter::once(&hook.path).chain(&hook.args).chain(&hook.env);
        if all.into_iter().any(|text| text.contains('\0')) {
            return Err(Error::config(field, "holds a NUL byte"));
        }
    }
    Ok(())
}

/// Runs hooks in order; the first that fails ends it.
///
/// # Errors
/// Names the hook: how it ended, and what it wrote.
pub fn run(name: &str, hooks: &[Hook], state: &str, place: Place<'_>) -> Result<()> {
    for (i, hook) in hooks.iter().enumerate() {
        let field = format!("hooks.{name}[{i}] ({})", hook.path);
        one(hook, &field, state, place).map_err(|error| match error {
            Error::Hook { .. } => error,
            other => Error::Hook { hook: field.clone(), problem: other.to_string() },
        })?;
    }
    Ok(())
}

fn one(hook: &Hook, field: &str, state: &str, place: Place<'_>) -> Result<()> {
    let failed = |problem: String| Error::Hook { hook: field.to_owned(), problem };
    let stdin = state_file(state).at(field, || "memfd_create".into())?;
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(field, || "pipe2".into())?;
    let stdio = Some([stdin.as_fd(), writer.as_fd(), writer.as_fd()]);
    let (init, duties, target, pid, cgroup) = match place {
        Place::Runtime(cwd) => (plan(hook, cwd_steps(cwd)), Duties::default(), None, false, None),
        Place::Container { pidfd, flags, pid, userns } => {
            let mut steps = vec![Op::JoinProcess { flags }];
            steps.extend(userns.then_some(Op::BecomeRoot { set_groups: true }));
            (plan(hook, steps), Duties::default(), Some(pidfd), pid, None)
        }
        Place::Confined { pidfd, pid, init, duties, cgroup } => {
            let mut init = init.clone();
            init.program = program(hook, Some(&init.program));
            (init, duties.clone(), Some(pidfd), pid, cgroup)
        }
    };
    let options = Options { gate: Gate::Open, cgroup, reparent: false, stdio };
    let child = parent::exec(&init, &duties, target, pid, &options, &mut NoEvents)?;
    drop(writer);
    wait(hook, child.pid, child.pidfd.as_fd(), reader, &failed)
}

/// The state in a file of its own: a hook that does not read it holds nobody up.
fn state_file(state: &str) -> Result<OwnedFd, rustix::io::Errno> {
    let file = rustix::fs::memfd_create(c"state", MemfdFlags::CLOEXEC)?;
    let mut rest = state.as_bytes();
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest)?..];
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}

/// The bundle is where runc's hooks start; a deleted one is no reason to fail.
fn cwd_steps(cwd: &Path) -> Vec<Op> {
    let c_path = CString::new(cwd.as_os_str().as_encoded_bytes()).ok().filter(|_| cwd.is_dir());
    c_path.map(|path| Op::Chdir { path, create: false, last: false }).into_iter().collect()
}

fn plan(hook: &Hook, mut ops: Vec<Op>) -> InitPlan {
    // Killed in the middle of a hook, we leave none behind that goes on with what has become of the container.
    ops.extend([Op::NewSession, Op::Disinherit { keep_fds: 0 }, Op::DieWithParent, Op::Execute]);
    let steps = ops.into_iter().map(|op| Step { field: "hook".into(), op }).collect();
    InitPlan { steps, program: program(hook, None), filter: None }
}

/// Without arguments a hook gets its path as `args[0]`; without an environment that of the container's process, or ours.
fn program(hook: &Hook, of: Option<&Program>) -> Program {
    let c = |text: &str| CString::new(text).unwrap_or_default();
    let path = c(&hook.path);
    let argv = if hook.args.is_empty() { vec![path.clone()] } else { hook.args.iter().map(|a| c(a)).collect() };
    let envp = match of {
        _ if !hook.env.is_empty() => StringArray::new(hook.env.iter().map(|e| c(e)).collect()),
        Some(of) => of.envp.clone(),
        None => {
            use std::os::unix::ffi::OsStrExt;
            let ours =
                std::env::vars_os().map(|(k, v)| CString::new([k.as_bytes(), b"=", v.as_bytes()].concat()).unwrap_or_default());
            StringArray::new(ours.collect())
        }
    };
    Program { candidates: vec![path], argv: StringArray::new(argv), envp }
}

/// Waits for the end of a hook, reading what it writes; kills it at its time-out.
fn wait(hook: &Hook, pid: i32, pidfd: BorrowedFd<'_>, reader: OwnedFd, failed: &dyn Fn(String) -> Error) -> Result<()> {
    let deadline = hook.timeout.map(|s| std::time::Instant::now() + std::time::Duration::from_secs(s.unsigned_abs()));
    let flags = rustix::fs::fcntl_getfl(&reader).unwrap_or(OFlags::empty());
    let _ = rustix::fs::fcntl_setfl(&reader, flags | OFlags::NONBLOCK);
    let mut output = Vec::new();
    let mut open = true;
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(std::time::Instant::now()));
        let timeout = left.map(|d| Timespec { tv_sec: d.as_secs() as i64, tv_nsec: d.subsec_nanos().into() });
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(&reader, PollFlags::IN)];
        let watched = if open { 2 } else { 1 };
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds[..watched], timeout.as_ref())).unwrap_or(0);
        let ended = !fds[0].revents().is_empty();
        open = read_some(&reader, &mut output);
        if ended {
            break;
        }
        if ready == 0 && left.is_some_and(|l| l.is_zero()) {
            // It leads a session of its own: its children go with it.
            let _ = signal::kill(-pid, libc::SIGKILL);
            let _ = signal::pidfd_send(pidfd, libc::SIGKILL);
            let _ = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
            let seconds = hook.timeout.unwrap_or_default();
            return Err(failed(format!("ran longer than its timeout of {seconds} s and was killed{}", said(&output))));
        }
    }
    let status = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED).ok().flatten();
    match status.map(|s| (s.exit_status(), s.terminating_signal())) {
        Some((Some(0), _)) => Ok(()),
        Some((Some(code), _)) => Err(failed(format!("exit status {code}{}", said(&output)))),
        Some((_, Some(signal))) => Err(failed(format!("ended by signal {signal}{}", said(&output)))),
        _ => Err(failed("its exit status is not known".into())),
    }
}

/// Reads what is there; false at the end of the file.
fn read_some(reader: &OwnedFd, output: &mut Vec<u8>) -> bool {
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::read(reader, &mut buffer) {
            Ok(0) => return false,
            Ok(n) => {
                let keep = n.min(OUTPUT - output.len().min(OUTPUT));
                output.extend_from_slice(&buffer[..keep]);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

fn said(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!("; it wrote: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(path: &str, args: &[&str], timeout: Option<i64>) -> Hook {
        Hook {
            path: path.into(),
            args: args.iter().map(|a| a.to_string()).collect(),
            env: vec!["PATH=/bin:/usr/bin".into()],
            timeout,
        }
    }

    #[test]
    fn hooks_are_checked_before_anything_is_made() {
        assert!(check("prestart", &[hook("bin/x", &[], None)]).unwrap_err().to_string().contains("hooks.prestart[0].path"));
        assert!(check("prestart", &[hook("/bin/x", &[], Some(0))]).unwrap_err().to_string().contains("timeout"));
        assert!(check("prestart", &[hook("/bin/x", &[], Some(1))]).is_ok());
    }

    #[test]
    fn a_hook_reads_the_state_and_its_failure_is_told() {
        let place = Place::Runtime(Path::new("/"));
        let ok = hook("/bin/sh", &["sh", "-c", "read x; test \"$x\" = '{\"a\":1}'"], None);
        run("prestart", &[ok], "{\"a\":1}", place).unwrap();
        let bad = hook("/bin/sh", &["sh", "-c", "echo oh no >&2; exit 3"], None);
        let e = run("prestart", &[bad], "{}", place).unwrap_err();
        assert_eq!(e.to_string(), "hooks.prestart[0] (/bin/sh): exit status 3; it wrote: oh no");
        let e = run("prestart", &[hook("/no/such", &[], None)], "{}", place).unwrap_err();
        assert!(e.to_string().starts_with("hooks.prestart[0] (/no/such): "), "{e}");
    }

    #[test]
    fn a_hook_is_killed_at_its_timeout_with_its_children() {
        let place = Place::Runtime(Path::new("/"));
        let e = run("prestart", &[hook("/bin/sh", &["sh", "-c", "sleep 600 & wait"], Some(1))], "{}", place).unwrap_err();
        assert!(e.to_string().contains("longer than its timeout of 1 s"), "{e}");
    }
}
