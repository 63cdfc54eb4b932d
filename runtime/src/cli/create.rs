//! `rrun create`.

use super::args::{Command, Example, Flag, Operand};
use super::run::launch_flags;

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
