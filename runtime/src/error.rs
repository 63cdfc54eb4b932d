//! The one error type of the library. Its text has the form of docs/errors.md: step, field, path, errno in words, what to do.

use rustix::io::Errno;

/// Result of every fallible function of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`], without reading its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// config.json or a request is wrong: change it.
    Config,
    /// This host, kernel or version cannot do what was asked.
    Unsupported,
    /// No such container.
    NotFound,
    /// The id is taken.
    AlreadyExists,
    /// The container is not in a state that allows the operation.
    WrongState,
    /// `process.args[0]` does not exist (exit code 127).
    CommandNotFound,
    /// `process.args[0]` cannot be executed (exit code 126).
    CommandNotExecutable,
    /// A hook failed or ran out of time.
    Hook,
    /// A system call failed.
    System,
}

/// A failed operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field of config.json (or of a request) is wrong.
    #[error("{field}: {problem}")]
    Config {
        /// Path of the field, as in `linux.resources.memory.limit`.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The host cannot do what a field asks.
    #[error("{what}: not supported: {why}")]
    Unsupported {
        /// The field, flag or feature.
        what: String,
        /// Why, and what to do.
        why: String,
    },
    /// No such container.
    #[error("container {id:?} does not exist")]
    NotFound {
        /// The id asked for.
        id: String,
    },
    /// The id is taken.
    #[error("container {id:?} already exists")]
    AlreadyExists {
        /// The id asked for.
        id: String,
    },
    /// The container's state forbids it.
    #[error("container {id:?}: cannot {operation}: it is {status}")]
    WrongState {
        /// The container.
        id: String,
        /// What was asked.
        operation: &'static str,
        /// Its status.
        status: String,
    },
    /// The program is not there.
    #[error("process.args[0]: exec {program}: {why}")]
    CommandNotFound {
        /// `args[0]`.
        program: String,
        /// In words.
        why: String,
    },
    /// The program cannot be executed.
    #[error("process.args[0]: exec {program}: {why}")]
    CommandNotExecutable {
        /// `args[0]`.
        program: String,
        /// In words.
        why: String,
    },
    /// A hook failed.
    #[error("{hook}: {problem}")]
    Hook {
        /// As in `hooks.createRuntime[0] (/bin/x)`.
        hook: String,
        /// Exit status, signal or time-out, with what it wrote to stderr.
        problem: String,
    },
    /// A system call failed.
    #[error("{step}: {call}: {}{}", words(*errno), hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default())]
    System {
        /// The step or config field: `mounts[3] (/data)`.
        step: String,
        /// The call with its arguments: `open_tree("/srv/data")`.
        call: String,
        /// What the kernel answered.
        errno: Errno,
        /// What to do about it, where we know.
        hint: Option<String>,
    },
    /// Said by another process of ours: a worker.
    #[error("{text}")]
    Reported {
        /// Its kind.
        kind: Kind,
        /// Its text.
        text: String,
    },
    /// Anything else that went wrong at a step: a helper that answered nonsense, a time-out.
    #[error("{step}: {problem}")]
    Failed {
        /// The step or config field.
        step: String,
        /// What happened.
        problem: String,
    },
}

impl Error {
    /// What kind of error this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Config { .. } => Kind::Config,
            Error::Unsupported { .. } => Kind::Unsupported,
            Error::NotFound { .. } => Kind::NotFound,
            Error::AlreadyExists { .. } => Kind::AlreadyExists,
            Error::WrongState { .. } => Kind::WrongState,
            Error::CommandNotFound { .. } => Kind::CommandNotFound,
            Error::CommandNotExecutable { .. } => Kind::CommandNotExecutable,
            Error::Hook { .. } => Kind::Hook,
            Error::Reported { kind, .. } => *kind,
            Error::System { .. } | Error::Failed { .. } => Kind::System,
        }
    }

    /// A wrong field.
    pub fn config(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Error::Config { field: field.into(), problem: problem.into() }
    }

    /// Something that this host cannot do.
    pub fn unsupported(what: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Unsupported { what: what.into(), why: why.into() }
    }

    /// A failed system call; `call` carries its arguments.
    pub fn system(step: impl Into<String>, call: impl Into<String>, errno: Errno) -> Self {
        Error::System { step: step.into(), call: call.into(), errno, hint: None }
    }

    /// A failed step that is not a single system call.
    pub fn failed(step: impl Into<String>, problem: impl Into<String>) -> Self {
        Error::Failed { step: step.into(), problem: problem.into() }
    }

    /// Adds what to do about it to a failed system call.
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        if let Error::System { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// The errno, where a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::System { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// An errno in words, as `strerror` says it, in lower case: `no such file or directory`.
pub fn words(errno: Errno) -> String {
    let mut text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    if let Some(at) = text.rfind(" (os error") {
        text.truncate(at);
    }
    let acronym = text.chars().nth(1).is_some_and(|c| c.is_uppercase());
    match text.get_mut(..1) {
        Some(first) if !acronym => first.make_ascii_lowercase(),
        _ => {}
    }
    text
}

/// Turns a failed system call into an [`Error`] with its step and arguments.
pub trait Context<T> {
    /// `step` is the config field or stage, `call` the system call with its arguments; built only on failure.
    fn at(self, step: impl Into<String>, call: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T, Errno> {
    fn at(self, step: impl Into<String>, call: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::system(step, call(), errno))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn at(self, step: impl Into<String>, call: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::system(step, call(), Errno::from_io_error(&e).unwrap_or(Errno::IO)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_reads_as_documented() {
        let e = Error::system("mounts[3] (/data)", "open_tree(\"/srv/data\")", Errno::NOENT);
        assert_eq!(e.to_string(), "mounts[3] (/data): open_tree(\"/srv/data\"): no such file or directory");
        assert_eq!(e.kind(), Kind::System);
        assert_eq!(e.errno(), Some(Errno::NOENT));
        let e = e.hint("create it");
        assert!(e.to_string().ends_with("directory (create it)"));
    }
}
