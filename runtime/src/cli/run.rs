//! `rrun run`.

use super::args::{Command, Example, Flag, Operand};

/// What `run` and `create` share.
macro_rules! launch_flags {
    ($($own:expr),* $(,)?) => {
        &[
            Flag::text("bundle", "DIR", "the bundle (default: the working directory)").short('b'),
            Flag::text("console-socket", "SOCKET", "unix socket that is sent the master end of the terminal"),
            Flag::text("pidfd-socket", "SOCKET", "unix socket that is sent a pidfd of the container's process"),
            Flag::text("pid-file", "FILE", "write the process id of the container's process to this file"),
            Flag::switch("no-pivot", "use chroot instead of pivot_root, for a root file system on a ramdisk; less safe"),
            Flag::switch("no-new-keyring", "keep the caller's session keyring"),
            Flag::number("preserve-fds", "N", "pass on N more descriptors, from 3 (after those of LISTEN_FDS)"),
            $($own),*
        ]
    };
}
pub(super) use launch_flags;

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "run",
    summary: "create a container and run it",
    about: "Runs the bundle's program and passes on its exit code (128 + the number of a signal that ended it).\n\n\
            The argument is a bundle if it contains a `/`, or is `.`, or if --name is given, or if it names a\n\
            directory with a config.json and there is none here; the id is then --name, or the directory's name\n\
            with six random digits. Otherwise it is the id of the container, as in runc, and the bundle is\n\
            --bundle or the working directory.",
    flags: launch_flags![
        Flag::text("name", "ID", "id of the container, when the argument is a bundle"),
        Flag::switch("detach", "leave the container running and return once it has started").short('d'),
        Flag::switch("keep", "do not delete the container when its program has ended"),
        Flag::switch("no-subreaper", "do not adopt what the container's process leaves behind"),
    ],
    operands: &[Operand::Bundle],
    least: 1,
    most: 1,
    examples: &[
        Example { line: "rrun run bundle/", does: "run the bundle under a generated id" },
        Example { line: "rrun run --name web --detach bundle/", does: "the same in the background, as web" },
        Example { line: "rrun run -b bundle web", does: "runc's form" },
    ],
    ..Command::EMPTY
};
