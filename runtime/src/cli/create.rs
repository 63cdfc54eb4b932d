//! `rrun create`.

use std::os::fd::AsFd;
use std::path::Path;

use super::Globals;
use super::args::{Args, Command, Example, Flag, Operand};
use super::globals::absolute;
use super::launch::{check_terminal, console, tell_caller, wishes};
use super::run::launch_flags;
use crate::container::create::{Wait, create};
use crate::container::{Container, destroy, prepare};
use crate::error::Result;
use crate::spec::Config;
use crate::state::{StateRoot, id};

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "create",
    summary: "create a container; its program waits for start",
    about: "Everything is prepared: namespaces, mounts, cgroup, limits. The program runs when `rrun start` says so.",
    flags: launch_flags![],
    operands: &[Operand::Other("container-id")],
    least: 1,
    most: 1,
    examples: &[
        Example { line: "rrun create --bundle bundle --pid-file pid web", does: "create the container web" },
        Example { line: "rrun start web", does: "then start its program" },
    ],
    ..Command::EMPTY
};

/// Creates a container.
///
/// # Errors
/// The failed step; nothing is left of the container then.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    crate::parent::protect()?;
    let name = args.first();
    id::check(name)?;
    let wishes = wishes(globals, args, name)?;
    let bundle = absolute(Path::new(args.text("bundle").unwrap_or(".")))?;
    let config = Config::read(&bundle)?;
    let socket = args.text("console-socket");
    check_terminal(config.process.as_ref().is_some_and(|p| p.terminal), true, socket)?;
    let prepared = prepare(config, &bundle, name, &wishes)?;
    prepared.plan.warnings.iter().for_each(|w| globals.log.warn(w));
    let root = StateRoot::make(&globals.root)?;
    let mut relay = None;
    let launched = create(&root, &prepared, Wait::ForStart, &mut console(socket, &mut relay))?;
    let told = tell_caller(args, launched.child.pid, launched.child.pidfd.as_fd());
    if told.is_err() {
        let _ = destroy(&Container::new(launched.dir, launched.state), launched.lock);
    }
    told.map(|()| 0)
}
