//! `rrun delete`.

use super::Globals;
use super::args::{Args, Command, Example, Flag, Operand};
use crate::container;
use crate::error::{Error, Result};

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "delete",
    summary: "remove a container and what it holds",
    about: "Removes the cgroups and the state of a container that has stopped or has not been started, and runs its\n\
            poststop hooks. With --force it may be in any state, interrupted in the middle of create or delete too.",
    flags: &[Flag::switch("force", "kill it first if it runs; not to exist is no error").short('f')],
    operands: &[Operand::Container],
    least: 1,
    most: 1,
    examples: &[
        Example { line: "rrun delete web", does: "after it has ended" },
        Example { line: "rrun delete --force web", does: "whatever it does" },
    ],
    ..Command::EMPTY
};

/// Removes the container.
///
/// # Errors
/// If it runs and `--force` is not given, or something of it cannot be removed.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    let force = args.on("force");
    match container::delete(&globals.root, args.first(), force) {
        Ok(warnings) => warnings.iter().for_each(|w| globals.log.warn(w)),
        Err(Error::NotFound { .. }) if force => {}
        Err(e) => return Err(e),
    }
    Ok(0)
}
