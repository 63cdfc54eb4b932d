//! `rrun kill`.

use super::args::{Args, Command, Example, Flag, Operand};
use super::{Globals, signal};
use crate::container::Container;
use crate::error::Result;

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "kill",
    summary: "send a signal to a container",
    about: "The signal (default: TERM) goes to the container's first process; KILL of a container without a pid namespace\n\
            of its own goes to all. A container that has stopped is an error, except with --all.",
    flags: &[Flag::switch("all", "send it to every process of the container").short('a')],
    operands: &[Operand::Container, Operand::Signal],
    least: 1,
    most: 2,
    stops: true,
    examples: &[
        Example { line: "rrun kill web", does: "ask it to end" },
        Example { line: "rrun kill web KILL", does: "end it; 9 and SIGKILL are the same" },
        Example { line: "rrun kill --all web HUP", does: "every process gets the signal" },
    ],
    ..Command::EMPTY
};

/// Sends the signal.
///
/// # Errors
/// If there is no such container or signal, or the container has stopped.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    let signal = signal::parse(args.operands.get(1).filter(|s| !s.is_empty()).map_or("TERM", String::as_str))?;
    Container::load(&globals.root, args.first())?.kill(signal, args.on("all"))?;
    Ok(0)
}
