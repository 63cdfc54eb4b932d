//! `rrun start`.

use std::os::fd::AsFd;

use super::Globals;
use super::args::{Args, Command, Example, Operand};
use crate::container::{Container, start};
use crate::error::Result;
use crate::notify::{Listener, Manager};
use crate::state::Status;

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "start",
    summary: "start the program of a created container",
    operands: &[Operand::Container],
    least: 1,
    most: 1,
    examples: &[Example { line: "rrun start web", does: "start what `rrun create` prepared" }],
    ..Command::EMPTY
};

/// Starts a container.
///
/// # Errors
/// It is not there or not created; a hook fails; the program cannot be executed.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    let container = Container::load(&globals.root, args.first())?;
    if container.dir().config()?.hooks.is_some_and(|h| !h.start_container.is_empty()) {
        crate::parent::protect()?; // they run in the container
    }
    let lock = container.dir().lock()?;
    let notify = match Manager::from_env()? {
        Some(manager) if container.status()? == Status::Created => Listener::bind(container.dir())?.map(|l| (l, manager)),
        _ => None,
    };
    start::start(&container)?;
    drop(lock);
    if let (Some((listener, manager)), Ok((pid, pidfd))) = (notify, container.init("start")) {
        listener.wait(&manager, pid, pidfd.as_fd())?;
    }
    Ok(0)
}
