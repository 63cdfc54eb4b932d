//! `rrun run`.

use std::os::fd::AsFd;

use super::args::{Args, Command, Example, Flag, Operand};
use super::launch::{Forward, Signals, check_terminal, console, tell_caller, wishes};
use super::{Globals, target};
use crate::container::create::{Launched, Wait, create};
use crate::container::{Container, destroy, prepare, start};
use crate::error::Result;
use crate::notify::Manager;
use crate::spec::Config;
use crate::state::StateRoot;

/// What `run` and `create` share.
macro_rules! launch_flags {
    ($($own:expr),* $(,)?) => {
        &[
            Flag::text("bundle", "DIR", "the bundle (default: the working directory)").short('b'),
            Flag::text("console-socket", "SOCKET", "unix socket that is sent the master end of the terminal"),
            Flag::text("pidfd-socket", "SOCKET", "unix socket that is sent a pidfd of the container's process"),
            Flag::text("pid-file", "FILE", "write the process id of the container's process to this file"),
            Flag::switch("no-pivot", "use chroot instead of pivot_root, for a root file system on a ramdisk; less safe"),
            Flag::switch("no-new-keyring", "keep the caller's session keyring"),
            Flag::number("preserve-fds", "N", "pass on N more descriptors, from 3 (after those of LISTEN_FDS)"),
            $($own),*
        ]
    };
}
pub(super) use launch_flags;

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "run",
    summary: "create a container and run it",
    about: "Runs the bundle's program and passes on its exit code (128 + the number of a signal that ended it).\n\n\
            The argument is a bundle if it contains a `/`, or is `.`, or if --name is given, or if it names a\n\
            directory with a config.json and there is none here; the id is then --name, or the directory's name\n\
            with six random digits. Otherwise it is the id of the container, as in runc, and the bundle is\n\
            --bundle or the working directory.",
    flags: launch_flags![
        Flag::text("name", "ID", "id of the container, when the argument is a bundle"),
        Flag::switch("detach", "leave the container running and return once it has started").short('d'),
        Flag::switch("keep", "do not delete the container when its program has ended"),
        Flag::switch("no-subreaper", "do not adopt what the container's process leaves behind"),
    ],
    operands: &[Operand::Bundle],
    least: 1,
    most: 1,
    examples: &[
        Example { line: "rrun run bundle/", does: "run the bundle under a generated id" },
        Example { line: "rrun run --name web --detach bundle/", does: "the same in the background, as web" },
        Example { line: "rrun run -b bundle web", does: "runc's form" },
    ],
    ..Command::EMPTY
};

/// Runs a bundle.
///
/// # Errors
/// The failed step; nothing is left of the container then.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    crate::parent::protect()?;
    let target = target::of_run(args)?;
    let wishes = wishes(globals, args, &target.id)?;
    let config = Config::read(&target.bundle)?;
    let detached = args.on("detach");
    let socket = args.text("console-socket");
    check_terminal(config.process.as_ref().is_some_and(|p| p.terminal), detached, socket)?;
    let hooks = config.hooks.as_ref().is_some_and(|h| !h.start_container.is_empty());
    let prepared = prepare(config, &target.bundle, &target.id, &wishes)?;
    prepared.plan.warnings.iter().for_each(|w| globals.log.warn(w));
    let root = StateRoot::make(&globals.root)?;

    let signals = if detached { None } else { Some(Signals::block()?) };
    if !detached && !args.on("no-subreaper") {
        // Needed where the container shares its pid namespace: what its first process leaves behind is ours to reap.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
    let mut relay = None;
    let wait = if hooks { Wait::ForParent } else { Wait::No };
    let launched = create(&root, &prepared, wait, &mut console(socket, &mut relay))?;
    let pid = launched.child.pid;
    let pidfd = launched.child.pidfd.as_fd();
    let begun =
        if hooks { start::go(&prepared.config, &launched.state, pid, pidfd, launched.child.socket.as_fd()) } else { Ok(()) };
    let begun = begun
        .and_then(|()| tell_caller(args, pid, pidfd))
        .and_then(|()| start::poststart(&prepared.config, &launched.state, pid));
    if let Err(error) = begun {
        drop(relay);
        finish(globals, launched);
        return Err(error);
    }
    let Launched { dir, lock, state, child, notify } = launched;
    drop(lock); // others may stop, pause or change it while it runs
    drop(child.socket);
    let notify = notify.zip(Manager::from_env()?);
    let Some(signals) = signals else {
        if let Some((listener, manager)) = notify {
            let told = listener.wait(&manager, pid, child.pidfd.as_fd());
            told.unwrap_or_else(|error| globals.log.warn(&error.to_string()));
        }
        return Ok(0);
    };
    let forward = notify.map(|(listener, manager)| Forward { listener, manager, log: &globals.log });
    let code = signals.wait(pid, child.pidfd.as_fd(), relay, forward)?;
    let container = Container::new(dir, state);
    container.say_oom(code, |text| globals.log.warn(text));
    if !args.on("keep") {
        match container.dir().lock().and_then(|lock| destroy(&container, lock)) {
            Ok(warnings) => warnings.iter().for_each(|w| globals.log.warn(w)),
            // Deleted by somebody else meanwhile, or not to be removed now: the program's exit code is what counts.
            Err(error) if error.kind() == crate::error::Kind::NotFound => {}
            Err(error) => globals.log.warn(&error.to_string()),
        }
    }
    Ok(code)
}

/// Ends a container that could not be started.
fn finish(globals: &Globals, launched: Launched) {
    let Launched { dir, lock, state, .. } = launched;
    match destroy(&Container::new(dir, state), lock) {
        Ok(warnings) => warnings.iter().for_each(|w| globals.log.warn(w)),
        Err(error) => globals.log.warn(&error.to_string()),
    }
}
