//! `rrun start`.

use super::args::{Command, Example, Operand};

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
