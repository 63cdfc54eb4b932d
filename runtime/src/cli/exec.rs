//! `rrun exec`.

use std::os::fd::AsFd;
use std::path::Path;

use super::Globals;
use super::args::{Args, Command, Example, Flag, Operand};
use super::launch::{Signals, check_terminal, console, passed_fds, tell_caller};
use crate::container::{Container, exec};
use crate::error::{Error, Result};
use crate::spec::config::{Config, Process};
use crate::spec::{parse, read_flag};

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "exec",
    summary: "run one more program in a container",
    about: "Passes on the program's exit code (128 + the number of a signal that ended it). 127: there is no such program;\n\
            126: it cannot be executed; 255: it could not be started for another reason.\n\
            What follows the container's id belongs to the program, flags included.",
    flags: &[
        Flag::text("process", "FILE", "take the whole process from this JSON file (the config's `process`)").short('p'),
        Flag::text("env", "NAME=VALUE", "set a variable; may be repeated").short('e').many(),
        Flag::text("user", "UID[:GID]", "run as these numeric ids").short('u'),
        Flag::number("additional-gids", "GID", "add a supplementary group; may be repeated").short('g').many(),
        Flag::text("cwd", "DIR", "working directory inside the container"),
        Flag::switch("tty", "give it a terminal").short('t'),
        Flag::text("cap", "NAME", "add a capability, such as CAP_NET_ADMIN; may be repeated").short('c').many(),
        Flag::switch("no-new-privs", "forbid gaining privileges (PR_SET_NO_NEW_PRIVS)"),
        Flag::text("apparmor", "PROFILE", "AppArmor profile"),
        Flag::text("process-label", "LABEL", "SELinux label"),
        Flag::text("cgroup", "PATH", "sub-cgroup of the container's, v1: [controller,...:]path; may be repeated").many(),
        Flag::switch("ignore-paused", "allow it in a paused container, where it waits for resume"),
        Flag::switch("detach", "return once it has started").short('d'),
        Flag::text("pid-file", "FILE", "write its process id to this file"),
        Flag::text("console-socket", "SOCKET", "unix socket that is sent the master end of the terminal"),
        Flag::text("pidfd-socket", "SOCKET", "unix socket that is sent a pidfd of the process"),
        Flag::number("preserve-fds", "N", "pass on N more descriptors, from 3 (after those of LISTEN_FDS)"),
    ],
    operands: &[Operand::Container, Operand::Other("program"), Operand::Other("argument...")],
    least: 1,
    most: usize::MAX,
    stops: true,
    examples: &[
        Example { line: "rrun exec -t web sh", does: "a shell in the container web" },
        Example { line: "rrun exec -e A=1 --user 1000:1000 web ls -l /", does: "-l is an argument of ls" },
        Example { line: "rrun exec --process process.json --detach --pid-file pid web", does: "what containerd does" },
    ],
    ..Command::EMPTY
};

/// Runs one more program in a container.
///
/// # Errors
/// The container is not running; a flag or the process is wrong; the failed step.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    crate::parent::protect()?;
    let (listen, preserve) = passed_fds(args)?;
    let container = Container::load(&globals.root, args.first())?;
    let config = container.dir().config()?;
    let mut process = process(args, &config)?;
    if listen > 0 {
        process.env.extend([format!("LISTEN_FDS={listen}"), "LISTEN_PID=1".to_owned()]);
    }
    let detached = args.on("detach");
    let socket = args.text("console-socket");
    check_terminal(process.terminal, detached, socket)?;
    let wishes = exec::Wishes {
        ignore_paused: args.on("ignore-paused"),
        cgroups: args.all("cgroup").map(str::to_owned).collect(),
        keep_fds: listen + preserve,
    };
    let signals = if detached { None } else { Some(Signals::block()?) };
    let mut relay = None;
    let mut warnings = Vec::new();
    let child = exec::exec(&container, &config, process, &wishes, &mut warnings, &mut console(socket, &mut relay));
    warnings.iter().for_each(|w| globals.log.warn(w));
    let child = child?;
    if let Err(error) = tell_caller(args, child.pid, child.pidfd.as_fd()) {
        let _ = crate::sys::signal::pidfd_send(child.pidfd.as_fd(), libc::SIGKILL);
        return Err(error);
    }
    drop(child.socket);
    match signals {
        Some(signals) => signals.wait(child.pid, child.pidfd.as_fd(), relay, None),
        None => Ok(0),
    }
}

/// The process: from `--process`, or the container's own with what the flags change.
fn process(args: &Args, config: &Config) -> Result<Process> {
    let program: Vec<String> = args.operands.iter().skip(1).cloned().collect();
    if let Some(file) = args.text("process") {
        let mut process: Process = parse(&read_flag(Path::new(file), "--process")?, file)?;
        process.terminal |= args.on("tty");
        return Ok(process);
    }
    if program.is_empty() {
        return Err(Error::config("exec", "no program: name one behind the container's id, or give --process"));
    }
    let own = config.process.clone().ok_or_else(|| Error::failed("exec", "the container's config has no process"))?;
    let mut process =
        Process { args: program, terminal: args.on("tty"), console_size: None, oom_score_adj: own.oom_score_adj, ..own };
    process.env.extend(args.all("env").map(str::to_owned));
    if let Some(cwd) = args.text("cwd") {
        process.cwd = cwd.to_owned();
    }
    if let Some(user) = args.text("user") {
        (process.user.uid, process.user.gid) = user_ids(user, process.user.gid)?;
    }
    for gid in args.numbers("additional-gids") {
        let gid = u32::try_from(gid).map_err(|_| Error::config("--additional-gids", format!("{gid} is not a group id")))?;
        process.user.additional_gids.push(gid);
    }
    let mut caps = process.capabilities.take().unwrap_or_default();
    for name in args.all("cap") {
        if crate::caps::bit(name).is_none() {
            return Err(Error::config("--cap", format!("{name:?} is not the name of a capability")));
        }
        // Neither inheritable nor ambient: what the program executes does not get it (CVE-2022-29162).
        for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
            set.push(name.to_owned());
        }
    }
    process.capabilities = Some(caps);
    process.no_new_privileges |= args.on("no-new-privs");
    if let Some(profile) = args.text("apparmor") {
        process.apparmor_profile = Some(profile.to_owned());
    }
    if let Some(label) = args.text("process-label") {
        process.selinux_label = Some(label.to_owned());
    }
    Ok(process)
}

/// `UID[:GID]`. What is not a number is an error, never 0 (CVE-2026-30892).
fn user_ids(text: &str, gid: u32) -> Result<(u32, u32)> {
    let (uid, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
    let number = |part: &str| {
        let id = part.parse::<u32>().ok().filter(|id| *id != u32::MAX && part.bytes().all(|b| b.is_ascii_digit()));
        id.ok_or_else(|| Error::config("--user", format!("{text:?} is not UID or UID:GID, in numbers up to 4294967294")))
    };
    Ok((number(uid)?, group.map_or(Ok(gid), number)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_2026_30892_cve_2024_40635_user_ids_are_numbers_or_an_error() {
        assert_eq!(user_ids("1", 7).unwrap(), (1, 7));
        assert_eq!(user_ids("1:2", 7).unwrap(), (1, 2));
        for bad in ["", ":", "1:", ":1", "root", "-1", "+1", "4294967295", "4294967296", "1:x", "0x1", " 1"] {
            assert!(user_ids(bad, 0).is_err(), "{bad:?}");
        }
    }
}
