//! The flags in front of the command.

use std::path::{Component, Path, PathBuf};

use super::args::{Args, Command, Example, Flag};
use super::log::Log;
use crate::error::{Context, Error, Result};

/// Where state lives unless `--root` says otherwise.
pub const DEFAULT_ROOT: &str = "/run/rrun";

/// The table of rrun itself.
pub static GLOBALS: Command = Command {
    name: "rrun",
    summary: "run containers from OCI bundles",
    about: "A bundle is a directory with a config.json and a root file system (OCI runtime-spec 1.3).\nThe command line is runc's; \
            `run bundle/`, `check` and `explain` are rrun's own.",
    flags: &[
        Flag::text("root", "DIR", "directory for the state of containers, best on a tmpfs (default: /run/rrun)"),
        Flag::text("log", "FILE", "append errors, warnings and debug lines to this file"),
        Flag::word("log-format", &["text", "json"], "form of log lines (default: text)"),
        Flag::switch("debug", "log what is being done"),
        Flag::switch("systemd-cgroup", "let systemd make the cgroup; linux.cgroupsPath is then slice:prefix:name"),
        Flag::word("rootless", &["auto", "true", "false"], "runc's flag; true is not supported yet").hidden(),
        Flag::text("criu", "FILE", "runc's flag; not supported").hidden(),
        Flag::switch("version", "print the version").short('v'),
    ],
    examples: &[
        Example { line: "rrun spec; mkdir rootfs", does: "begin a bundle in this directory" },
        Example { line: "rrun run bundle/", does: "run the bundle until its program ends, and pass on its exit code" },
        Example { line: "rrun features", does: "what this version supports" },
    ],
    ..Command::EMPTY
};

/// The values of the flags in front of the command.
#[derive(Debug)]
pub struct Globals {
    /// Absolute path of the state root.
    pub root: PathBuf,
    /// Whether `--root` was given: a root named by hand has to exist for `list`.
    pub root_given: bool,
    /// Use the systemd cgroup driver.
    pub systemd_cgroup: bool,
    /// Where errors, warnings and debug lines go.
    pub log: Log,
}

/// Opens the log first: everything after it is reported there.
pub(super) fn open_log(args: &Args) -> Result<Log> {
    Log::open(args.text("log"), args.text("log-format") == Some("json"), args.on("debug"))
}

/// Checks the other global flags.
pub(super) fn read(args: &Args, log: Log) -> Result<Globals, (Log, Error)> {
    match root(args).and_then(|root| unsupported(args).map(|()| root)) {
        Ok(root) => Ok(Globals { root, root_given: args.given("root"), systemd_cgroup: args.on("systemd-cgroup"), log }),
        Err(e) => Err((log, e)),
    }
}

fn unsupported(args: &Args) -> Result<()> {
    if args.text("rootless") == Some("true") {
        return Err(Error::unsupported("--rootless=true", "this version runs as root only"));
    }
    if args.text("criu").is_some() {
        return Err(Error::unsupported("--criu", "checkpoint and restore are not part of this version"));
    }
    Ok(())
}

fn root(args: &Args) -> Result<PathBuf> {
    if !args.given("root") {
        return Ok(PathBuf::from(DEFAULT_ROOT));
    }
    let given = args.text("root").ok_or_else(|| Error::config("--root", "is empty"))?;
    let root = absolute(Path::new(given))?;
    if root == Path::new("/") {
        return Err(Error::config("--root", format!("{given:?} is /, where no state is kept; name a directory below it")));
    }
    Ok(root)
}

/// Makes a path absolute and clean.
///
/// # Errors
/// If the working directory is needed and gone.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    if path.is_absolute() {
        return Ok(clean(path));
    }
    let here = std::env::current_dir().at(path.display().to_string(), || "getcwd()".to_string())?;
    Ok(clean(&here.join(path)))
}

/// Cleans an absolute path by its text alone, as runc does: `..` takes the name before it away.
pub fn clean(path: &Path) -> PathBuf {
    let mut whole = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            Component::Normal(name) => whole.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::super::args::parse_globals;
    use super::*;

    fn globals(line: &str) -> Result<Globals> {
        let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        let (args, _) = parse_globals(&GLOBALS, &words)?;
        read(&args, Log::default()).map_err(|(_, e)| e)
    }

    #[test]
    fn the_root_is_made_absolute_and_is_never_slash() {
        assert_eq!(globals("list").unwrap().root, Path::new("/run/rrun"));
        assert!(!globals("list").unwrap().root_given);
        let g = globals("--root /a/./b/../c// --systemd-cgroup list").unwrap();
        assert_eq!((g.root.as_path(), g.root_given, g.systemd_cgroup), (Path::new("/a/c"), true, true));
        let cwd = std::env::current_dir().unwrap();
        assert_eq!(globals("--root x list").unwrap().root, cwd.join("x"));
        for line in ["--root / list", "--root= list", "--root /a/../.. list"] {
            assert!(globals(line).unwrap_err().to_string().starts_with("--root: "), "{line}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        assert!(globals("--rootless false list").is_ok() && globals("--rootless=auto list").is_ok());
        let e = globals("--rootless=true list").unwrap_err();
        assert_eq!(e.to_string(), "--rootless=true: not supported: this version runs as root only");
        assert!(globals("--criu /usr/bin/criu list").unwrap_err().to_string().contains("not supported"));
    }
}
