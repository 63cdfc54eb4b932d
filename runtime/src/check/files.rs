//! Files that a bundle names: the root file system, the program in it, hooks.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Report, Verdict};
use crate::container::Prepared;
use crate::error::{Error, Result, words};
use crate::parent::open_rootfs;
use crate::plan::{Inside, Op};
use crate::spec::config::{Config, Hook};

/// `root`, `process.cwd`, `process.args[0]`.
pub(super) fn root_and_program(report: &mut Report, prepared: &Prepared) {
    let root = match open_rootfs(&prepared.plan.rootfs) {
        Ok(root) => root,
        Err(error) => {
            report.outcome("root.path", Err(error));
            return;
        }
    };
    let mode = if prepared.config.root.as_ref().is_some_and(|r| r.readonly) { "read-only" } else { "read-write" };
    report.add("root.path", Verdict::Ok, format!("{}, {mode}", prepared.plan.rootfs.display()));
    if let Some(process) = &prepared.config.process {
        program(report, prepared, &root, &process.cwd);
    }
}

/// Looks for the program as init does; what a mount covers is not looked at.
fn program(report: &mut Report, prepared: &Prepared, root: &OwnedFd, cwd: &str) {
    const FIELD: &str = "process.args[0]";
    let program = &prepared.plan.init.program;
    let name = program.argv.strings().first().map(|a| a.to_string_lossy().into_owned()).unwrap_or_default();
    let mut refused = None;
    let mut covered = None;
    for candidate in &program.candidates {
        let text = candidate.to_string_lossy();
        let Some(path) = Inside::new(&if text.starts_with('/') { text.to_string() } else { format!("{cwd}/{text}") }) else {
            continue;
        };
        if let Some(mount) = cover(prepared, &path) {
            covered = covered.or(Some(mount));
            continue;
        }
        match executable(root, path.as_str()) {
            Ok(()) => return report.add(FIELD, Verdict::Ok, path.as_str()),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => refused = Some((path, errno)),
        }
    }
    match (refused, covered) {
        (Some((path, errno)), _) => {
            let error = Error::CommandNotExecutable { program: path.as_str().to_owned(), why: words(errno) };
            report.outcome(FIELD, Err(error));
        }
        (None, Some(mount)) => {
            report.add(FIELD, Verdict::Warning, format!("{name:?} may be below the mount on {mount}, which is not looked into"))
        }
        (None, None) => {
            let place = if name.contains('/') { "in the root file system" } else { "in $PATH of process.env" };
            let error = Error::CommandNotFound { program: name, why: format!("executable file not found {place}") };
            report.outcome(FIELD, Err(error));
        }
    }
}

/// The mount that hides a path of the root file system.
fn cover(prepared: &Prepared, path: &Inside) -> Option<String> {
    let dests = prepared.plan.init.steps.iter().filter_map(|step| match &step.op {
        Op::Mount(mount) => Some(&mount.dest),
        Op::Bind { dest, .. } => Some(dest),
        _ => None,
    });
    dests.into_iter().find(|dest| path.is_within(dest.as_str())).map(|dest| dest.as_str().to_owned())
}

/// A regular file with a bit that lets somebody execute it, inside of the root.
fn executable(root: &OwnedFd, path: &str) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?;
    may_execute(&file)
}

fn may_execute(file: impl AsFd) -> Result<(), Errno> {
    let stat = rustix::fs::statat(file, c"", AtFlags::EMPTY_PATH)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_mode & 0o111 != 0 => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::ACCESS),
    }
}

/// `hooks`: programs of the host, but for startContainer, whose programs come from the container.
pub(super) fn hooks(report: &mut Report, prepared: &Prepared) {
    let Config { hooks: Some(all), .. } = &prepared.config else { return };
    let root = open_rootfs(&prepared.plan.rootfs).ok();
    for (kind, hooks) in [
        ("prestart", &all.prestart),
        ("createRuntime", &all.create_runtime),
        ("createContainer", &all.create_container),
        ("poststart", &all.poststart),
        ("poststop", &all.poststop),
    ] {
        each(report, kind, hooks, |path| {
            let file = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            may_execute(&file)
        });
    }
    let covered: Vec<&Hook> = all
        .start_container
        .iter()
        .filter(|h| Inside::new(&h.path).is_some_and(|path| cover(prepared, &path).is_some()))
        .collect();
    each(report, "startContainer", &all.start_container, |path| match &root {
        Some(root) if !covered.iter().any(|h| h.path == path) => executable(root, path),
        _ => Ok(()),
    });
}

fn each(report: &mut Report, kind: &str, hooks: &[Hook], test: impl Fn(&str) -> Result<(), Errno>) {
    for (i, hook) in hooks.iter().enumerate() {
        let field = format!("hooks.{kind}[{i}]");
        match test(&hook.path) {
            Ok(()) => report.add(field, Verdict::Ok, &*hook.path),
            Err(errno) => report.add(field, Verdict::Wrong, format!("{}: {}", hook.path, words(errno))),
        }
    }
}

/// Is there a file?
pub(super) fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().symlink_metadata().is_ok()
}
