//! What init reports, in words.

use rustix::io::Errno;

use crate::error::{Error, words};
use crate::init::fail::NAMES;
use crate::init::protocol::Message;
use crate::plan::{InitPlan, Op};

/// The error behind a FAILED message.
pub fn failed_step(message: &Message, init: &InitPlan) -> Error {
    let Some(step) = init.steps.get(usize::from(message.step)) else {
        return Error::failed(
            "create",
            format!("init reported a failure of step {}, which the plan does not have", message.step),
        );
    };
    let call = NAMES.get(usize::from(message.call)).copied().unwrap_or("?");
    let errno = message.errno();
    if let Op::FindProgram | Op::Execute = step.op {
        let name = init.program.argv.strings().first().map(|a| a.to_string_lossy().into_owned());
        return program_error(name.unwrap_or_default(), errno, matches!(step.op, Op::FindProgram));
    }
    if call == "getcwd" && errno == Errno::XDEV {
        return outside(&step.field);
    }
    let text = message.text();
    let argument = step.op.argument(message.arg);
    let error = Error::system(&step.field, format!("{call}({argument})"), errno);
    match hint(&step.op, call, errno) {
        _ if !text.is_empty() => error.hint(text),
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The error behind a FAILED message that came after START, whose text is the step's field.
pub fn failed_start(message: &Message, program: &str) -> Error {
    let call = NAMES.get(usize::from(message.call)).copied().unwrap_or("?");
    let errno = message.errno();
    match call {
        "execve" => program_error(program.to_owned(), errno, false),
        "getcwd" if errno == Errno::XDEV => outside(&message.text()),
        _ => Error::system(message.text(), format!("{call}()"), errno),
    }
}

/// CVE-2024-21626.
fn outside(field: &str) -> Error {
    Error::failed(field, "the working directory is outside of the container's root, or was removed")
}

/// A program that is not there, or not executable: runc's exit codes 127 and 126 hang on the difference.
fn program_error(name: String, errno: Errno, searching: bool) -> Error {
    let in_path = !name.contains('/');
    match errno {
        Errno::NOENT | Errno::NOTDIR if searching && in_path => {
            Error::CommandNotFound { program: name, why: "executable file not found in $PATH of process.env".into() }
        }
        Errno::NOENT | Errno::NOTDIR if searching => Error::CommandNotFound { program: name, why: words(errno) },
        Errno::NOENT => {
            let why = "no such file or directory: the file is there, but the interpreter or loader that it names is not".into();
            Error::CommandNotFound { program: name, why }
        }
        Errno::NOEXEC => Error::CommandNotExecutable {
            program: name,
            why: "exec format error: not a program of this machine's kind, or a script without #!".into(),
        },
        errno => Error::CommandNotExecutable { program: name, why: words(errno) },
    }
}

/// What to do about failures whose errno does not say.
fn hint(op: &Op, call: &str, errno: Errno) -> Option<&'static str> {
    match (op, call, errno) {
        (Op::Mount(_), "openat2", Errno::LOOP) => Some(
            "must be mounted on ordinary directory: the destination goes through a symbolic link, which is refused for proc and sysfs",
        ),
        (Op::Mount(_) | Op::Bind { .. }, "move_mount", Errno::NOTDIR) => {
            Some("one of source and destination is a directory and the other is not")
        }
        (Op::Mount(_), "fsopen", Errno::NODEV) => Some("this kernel has no such file system"),
        (Op::Mount(_), "fsconfig", Errno::PERM) => {
            Some("a user namespace may mount it only with a namespace of its own that goes with it")
        }
        (Op::Limits { .. }, _, Errno::PERM) => Some("raising a hard limit needs CAP_SYS_RESOURCE"),
        (Op::ProcSelf { .. }, "write", Errno::ACCESS) => Some("lowering oom_score_adj needs CAP_SYS_RESOURCE"),
        (Op::Console { .. }, "open(/dev/pts/ptmx)", _) => Some("a terminal needs a mount of type devpts on /dev/pts"),
        (Op::Affinity { .. }, _, Errno::INVAL) => Some("none of these CPUs is in the container's cpuset"),
        (Op::Join { .. }, "setns", Errno::INVAL) => Some("the file is not a namespace of this kind"),
        (_, "mkdirat" | "openat2" | "mknodat", Errno::ROFS) => {
            Some("the root file system is read-only and lacks this path: make it there")
        }
        _ => None,
    }
}
