//! `rrun exec`.

use super::args::{Command, Example, Flag, Operand};

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "exec",
    summary: "run one more program in a container",
    about: "Passes on the program's exit code (128 + the number of a signal that ended it). 127: there is no such program;\n\
            126: it cannot be executed; 255: it could not be started for another reason.\n\
            What follows the container's id belongs to the program, flags included.",
    flags: &[
        Flag::text("process", "FILE", "take the whole process from this JSON file (the config's `process`)").short('p'),
        Flag::text("env", "NAME=VALUE", "set a variable; may be repeated").short('e').many(),
        Flag::text("user", "UID[:GID]", "run as these numeric ids").short('u'),
        Flag::number("additional-gids", "GID", "add a supplementary group; may be repeated").short('g').many(),
        Flag::text("cwd", "DIR", "working directory inside the container"),
        Flag::switch("tty", "give it a terminal").short('t'),
        Flag::text("cap", "NAME", "add a capability, such as CAP_NET_ADMIN; may be repeated").short('c').many(),
        Flag::switch("no-new-privs", "forbid gaining privileges (PR_SET_NO_NEW_PRIVS)"),
        Flag::text("apparmor", "PROFILE", "AppArmor profile"),
        Flag::text("process-label", "LABEL", "SELinux label"),
        Flag::text("cgroup", "PATH", "sub-cgroup of the container's, v1: [controller,...:]path; may be repeated").many(),
        Flag::switch("ignore-paused", "allow it in a paused container, where it waits for resume"),
        Flag::switch("detach", "return once it has started").short('d'),
        Flag::text("pid-file", "FILE", "write its process id to this file"),
        Flag::text("console-socket", "SOCKET", "unix socket that is sent the master end of the terminal"),
        Flag::text("pidfd-socket", "SOCKET", "unix socket that is sent a pidfd of the process"),
        Flag::number("preserve-fds", "N", "pass on N more descriptors, from 3 (after those of LISTEN_FDS)"),
    ],
    operands: &[Operand::Container, Operand::Other("program"), Operand::Other("argument...")],
    least: 1,
    most: usize::MAX,
    stops: true,
    examples: &[
        Example { line: "rrun exec -t web sh", does: "a shell in the container web" },
        Example { line: "rrun exec -e A=1 --user 1000:1000 web ls -l /", does: "-l is an argument of ls" },
        Example { line: "rrun exec --process process.json --detach --pid-file pid web", does: "what containerd does" },
    ],
    ..Command::EMPTY
};
