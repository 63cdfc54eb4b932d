//! `rrun check`.

use super::args::{Command, Example, Operand};

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "check",
    summary: "say what is wrong with a bundle, and what this host cannot do of it",
    about: "Nothing is run or changed. The exit code is 0 if `rrun run` could carry the bundle out here.",
    operands: &[Operand::Bundle],
    least: 1,
    most: 1,
    examples: &[Example { line: "rrun check bundle/", does: "before the first run" }],
    ..Command::EMPTY
};
