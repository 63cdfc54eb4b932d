//! `rrun pause`.

use super::Globals;
use super::args::{Args, Command, Example, Operand};
use crate::container::Container;
use crate::error::Result;

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "pause",
    summary: "stop all processes of a container where they are",
    about: "Returns when the kernel has frozen every one of them. `rrun resume` lets them go on.",
    operands: &[Operand::Container],
    least: 1,
    most: 1,
    examples: &[Example { line: "rrun pause web", does: "then `rrun resume web`" }],
    ..Command::EMPTY
};

/// Freezes the container.
///
/// # Errors
/// If there is no such container, or it does not run.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    Container::load(&globals.root, args.first())?.pause()?;
    Ok(0)
}
