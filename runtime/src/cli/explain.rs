//! `rrun explain`.

use super::args::{Command, Example, Operand};

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "explain",
    summary: "print step by step what running a bundle would do",
    about: "Nothing is run or changed.",
    operands: &[Operand::Bundle],
    least: 1,
    most: 1,
    examples: &[Example { line: "rrun explain bundle/", does: "namespaces, mounts, limits and filters, in their order" }],
    ..Command::EMPTY
};
