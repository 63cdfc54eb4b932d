//! `rrun resume`.

use super::Globals;
use super::args::{Args, Command, Example, Operand};
use crate::container::Container;
use crate::error::Result;

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "resume",
    summary: "let a paused container go on",
    operands: &[Operand::Container],
    least: 1,
    most: 1,
    examples: &[Example { line: "rrun resume web", does: "after `rrun pause web`" }],
    ..Command::EMPTY
};

/// Thaws the container.
///
/// # Errors
/// If there is no such container, or it is not paused.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    Container::load(&globals.root, args.first())?.resume()?;
    Ok(0)
}
