//! The `rrun` command: parse, call the library, turn its answer into output and an exit code. One file per command.

pub mod args;
pub mod check;
pub mod completion;
pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod explain;
pub mod features;
pub mod globals;
pub mod help;
pub mod kill;
pub mod launch;
pub mod list;
pub mod log;
pub mod pause;
pub mod ps;
pub mod quantity;
pub mod resume;
pub mod run;
pub mod signal;
pub mod spec;
pub mod start;
pub mod state;
pub mod table;
pub mod target;
pub mod update;

use std::ffi::OsString;
use std::io::Write;

use args::{Args, Command};
pub use globals::{GLOBALS, Globals};
use log::Log;

use crate::error::{Context, Error, Kind, Result};

/// What carries out a command: gives the exit code.
pub type Run = fn(&Globals, &Args) -> Result<i32>;

/// Every command, in the order of the overview.
static COMMANDS: &[(&Command, Run)] = &[
    (&run::COMMAND, run::run),
    (&create::COMMAND, create::run),
    (&start::COMMAND, start::run),
    (&exec::COMMAND, exec::run),
    (&list::COMMAND, list::run),
    (&state::COMMAND, state::run),
    (&ps::COMMAND, ps::run),
    (&events::COMMAND, events::run),
    (&kill::COMMAND, kill::run),
    (&pause::COMMAND, pause::run),
    (&resume::COMMAND, resume::run),
    (&update::COMMAND, update::run),
    (&delete::COMMAND, delete::run),
    (&check::COMMAND, check::run),
    (&explain::COMMAND, explain::run),
    (&spec::COMMAND, spec::run),
    (&features::COMMAND, features::run),
    (&completion::COMMAND, completion::run),
];

/// What runc has and we do not, with the reason given.
static REFUSED: &[(&str, &str)] = &[
    ("checkpoint", "checkpointing (CRIU) is not part of this version"),
    ("restore", "restoring a checkpoint (CRIU) is not part of this version"),
];

/// The tables of all commands that this binary carries out.
pub fn commands() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().map(|(command, _)| *command)
}

/// Runs the command line and gives the exit code. `words` begins behind the program's name.
pub fn main(words: impl Iterator<Item = OsString>) -> i32 {
    let (log, command, outcome) = attempt(words);
    match outcome {
        Ok(code) => code,
        Err(error) => {
            log.error(&error.to_string());
            exit_code(command, &error)
        }
    }
}

/// The exit code of a failed command: that of a shell for a program that is missing (127) or cannot be executed (126), 255
/// for any other failure of `exec`, so that it is not taken for the program's own, and otherwise 1.
pub fn exit_code(command: &str, error: &Error) -> i32 {
    let starts_a_program = matches!(command, "run" | "create" | "start" | "exec");
    match error.kind() {
        Kind::CommandNotFound if starts_a_program => 127,
        Kind::CommandNotExecutable if starts_a_program => 126,
        _ if command == "exec" => 255,
        _ => 1,
    }
}

/// The log comes back too, since the outcome is reported through it.
fn attempt(words: impl Iterator<Item = OsString>) -> (Log, &'static str, Result<i32>) {
    let parsed = utf8(words).and_then(|words| args::parse_globals(&GLOBALS, &words));
    let (global_args, rest) = match parsed {
        Ok(parsed) => parsed,
        Err(e) => return (Log::default(), "", Err(e)),
    };
    let log = match globals::open_log(&global_args) {
        Ok(log) => log,
        Err(e) => return (Log::default(), "", Err(e)),
    };
    let globals = match globals::read(&global_args, log) {
        Ok(globals) => globals,
        Err((log, e)) => return (log, "", Err(e)),
    };
    let (command, outcome) = dispatch(&globals, &global_args, &rest);
    (globals.log, command, outcome)
}

fn dispatch(globals: &Globals, global_args: &Args, rest: &[String]) -> (&'static str, Result<i32>) {
    if global_args.on("version") {
        return ("", print(&version()).map(|()| 0));
    }
    let (name, words) = match rest.split_first() {
        Some((name, words)) if !global_args.help && name != "help" => (name, words),
        Some((name, words)) if name == "help" => return ("", help_for(words.first())),
        _ => return ("", help_for(rest.first())),
    };
    let Some((command, run)) = COMMANDS.iter().find(|(c, _)| c.name == name) else {
        return ("", Err(unknown(name)));
    };
    let outcome = args::parse(command, &GLOBALS, words).and_then(|args| {
        if args.help {
            return print(&help::command(command)).map(|()| 0);
        }
        globals.log.debug(|| format!("{} {words:?}", command.name));
        run(globals, &args)
    });
    (command.name, outcome)
}

fn help_for(name: Option<&String>) -> Result<i32> {
    let all: Vec<&Command> = commands().collect();
    let text = match name {
        None => help::overview(&GLOBALS, &all),
        Some(name) => help::command(all.iter().find(|c| c.name == name).ok_or_else(|| unknown(name))?),
    };
    print(&text).map(|()| 0)
}

fn unknown(name: &str) -> Error {
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Error::unsupported(name, *why);
    }
    let near = args::nearest(name, commands().map(|c| c.name));
    let hint = near.map_or("see rrun --help".to_string(), |n| format!("did you mean {n}?"));
    Error::config(format!("{name:?}"), format!("is not a command; {hint}"))
}

fn utf8(words: impl Iterator<Item = OsString>) -> Result<Vec<String>> {
    let text = |(i, word): (usize, OsString)| {
        word.into_string().map_err(|w| Error::config(format!("argument {}", i + 1), format!("{w:?} is not UTF-8")))
    };
    words.enumerate().map(text).collect()
}

/// What `--version` prints: first line and `commit:` and `spec:` as podman and containerd read them from runc.
fn version() -> String {
    let mut text = format!("rrun version {}\n", env!("CARGO_PKG_VERSION"));
    if let Some(commit) = option_env!("RRUN_COMMIT").filter(|c| !c.is_empty()) {
        text.push_str(&format!("commit: {commit}\n"));
    }
    text.push_str(&format!("spec: {}\nrust: {}\n", features::OCI_VERSION_MAX, env!("RRUN_RUSTC")));
    text
}

/// Writes to stdout; a reader that has gone away is an error, not a panic.
///
/// # Errors
/// If stdout cannot be written.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).at("stdout", || format!("write({} bytes)", text.len()))
}

#[cfg(test)]
mod tests {
    use super::args::Takes;
    use super::*;

    fn all_tables() -> Vec<&'static Command> {
        commands().chain([&GLOBALS]).collect()
    }

    #[test]
    fn tables_are_sound() {
        for command in all_tables() {
            let mut spellings: Vec<String> = vec!["help".into(), "h".into()];
            for flag in command.flags {
                spellings.push(flag.long.to_string());
                spellings.extend(flag.short.map(String::from));
                assert!(!flag.help.is_empty() && !flag.help.ends_with('.'), "{}: --{}", command.name, flag.long);
                assert!(!(flag.many && flag.takes == Takes::Switch), "{}: --{}", command.name, flag.long);
            }
            let count = spellings.len();
            spellings.sort();
            spellings.dedup();
            assert_eq!(spellings.len(), count, "{}: a flag is spelled twice", command.name);
            assert!(command.hidden || !command.summary.is_empty(), "{}", command.name);
            assert!(command.hidden || !command.examples.is_empty(), "{}: no example", command.name);
            assert!(command.least <= command.most && (command.most == 0) == command.operands.is_empty(), "{}", command.name);
        }
    }

    #[test]
    fn help_shows_every_flag_and_example_and_its_lines_are_short() {
        for command in all_tables() {
            let text = help::command(command);
            for flag in command.flags {
                assert_eq!(text.contains(&format!("--{}", flag.long)), !flag.hidden, "{}: {}", command.name, flag.long);
            }
            for example in command.examples {
                assert!(text.contains(example.line), "{}", command.name);
            }
            let longest = text.lines().map(|l| l.chars().count()).max();
            assert!(longest <= Some(110), "{}: {longest:?}", command.name);
        }
        let all: Vec<&Command> = commands().collect();
        let overview = help::overview(&GLOBALS, &all);
        assert!(all.iter().all(|c| c.hidden || overview.contains(c.summary)));
    }

    #[test]
    fn examples_parse() {
        for command in all_tables() {
            for example in command.examples {
                let line = example.line.split([';', '>', '|']).next().unwrap_or_default();
                let Some(at) = line.find("rrun ") else { continue };
                let words: Vec<String> = line[at + 5..].split_whitespace().map(str::to_string).collect();
                let (_, rest) = args::parse_globals(&GLOBALS, &words).unwrap();
                let Some(of) = all_tables().into_iter().find(|c| Some(c.name) == rest.first().map(String::as_str)) else {
                    panic!("{}: {line:?} is of no command", command.name)
                };
                args::parse(of, &GLOBALS, &rest[1..]).unwrap_or_else(|e| panic!("{line:?}: {e}"));
            }
        }
    }

    #[test]
    fn exit_codes_are_those_of_runc_and_the_shell() {
        let missing = Error::CommandNotFound { program: "x".into(), why: "y".into() };
        let denied = Error::CommandNotExecutable { program: "x".into(), why: "y".into() };
        let other = Error::failed("a", "b");
        assert_eq!((exit_code("run", &missing), exit_code("exec", &missing)), (127, 127));
        assert_eq!((exit_code("run", &denied), exit_code("exec", &denied)), (126, 126));
        assert_eq!((exit_code("run", &other), exit_code("exec", &other), exit_code("delete", &missing)), (1, 255, 1));
    }

    #[test]
    fn unknown_and_refused_commands_are_named() {
        assert_eq!(unknown("feature").to_string(), "\"feature\": is not a command; did you mean features?");
        assert_eq!(unknown("zzzzz").to_string(), "\"zzzzz\": is not a command; see rrun --help");
        assert_eq!(unknown("restore").kind(), Kind::Unsupported);
    }

    #[test]
    fn the_version_has_the_lines_that_callers_look_for() {
        let text = version();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("rrun version {}", env!("CARGO_PKG_VERSION")));
        assert!(lines.contains(&"spec: 1.3.0"));
        assert!(lines.iter().any(|l| l.starts_with("rust: 1.")));
    }
}
