//! `mounts`, `linux.devices` and the namespaces to join: asked of the kernel, without attaching anything.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::mount::FsOpenFlags;

use super::{Report, Verdict};
use crate::container::Prepared;
use crate::error::{Error, Result};
use crate::parent;
use crate::plan::{Inside, NewMount, Op};

/// Sources are opened and cloned as `run` does it, file systems get their parameters; all of it goes when it is dropped.
pub(super) fn check(report: &mut Report, prepared: &Prepared) {
    let plan = &prepared.plan;
    // The container's cgroups are sources that do not exist yet.
    let own: Vec<String> = prepared.cgroup.cgroup().dirs().map(|d| d.full()).collect();
    let mut failed = Vec::new();
    for (tree, outcome) in plan.trees.iter().zip(parent::try_sources(plan)) {
        match outcome {
            _ if own.iter().any(|dir| tree.path.as_os_str() == dir.as_str()) => {}
            Ok(()) => {}
            Err(error) => {
                failed.push(tree.field.clone());
                report.outcome(&tree.field, Err(error));
            }
        }
    }
    for step in plan.init.steps.iter().filter(|s| !failed.contains(&s.field)) {
        match &step.op {
            Op::Mount(mount) => match file_system(mount, &step.field) {
                Ok(()) => report.add(&step.field, Verdict::Ok, step.op.to_string()),
                Err(_) if mount.fallback.is_some() => report.add(&step.field, Verdict::Ok, "the host's is bound"),
                Err(error) => report.outcome(&step.field, Err(error)),
            },
            Op::Bind { .. } | Op::BindNode { .. } | Op::Remount { .. } => {
                report.add(&step.field, Verdict::Ok, step.op.to_string())
            }
            Op::Node { path, .. } => report.add(&step.field, Verdict::Ok, format!("{} by mknod", path.as_str())),
            _ => {}
        }
    }
    terminal(report, prepared);
}

/// Does the kernel know it, and does it take these parameters? Whether it can be mounted shows only when it is.
fn file_system(mount: &NewMount, field: &str) -> Result<()> {
    let kind = mount.kind.to_string_lossy();
    let fs = rustix::mount::fsopen(mount.kind.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| match errno {
        Errno::NODEV => Error::unsupported(field, format!("this kernel has no file system {kind:?}")),
        errno => Error::system(field, format!("fsopen({kind:?})"), errno),
    })?;
    for (key, value) in &mount.params {
        let (done, call) = match value {
            Some(value) => (
                rustix::mount::fsconfig_set_string(fs.as_fd(), key.as_c_str(), value.as_c_str()),
                format!("fsconfig({:?}, {:?})", key.to_string_lossy(), value.to_string_lossy()),
            ),
            None => {
                (rustix::mount::fsconfig_set_flag(fs.as_fd(), key.as_c_str()), format!("fsconfig({:?})", key.to_string_lossy()))
            }
        };
        done.map_err(|errno| Error::system(field, call, errno).hint(said(fs.as_fd(), errno)))?;
    }
    Ok(())
}

/// The kernel's own words on a refused parameter.
fn said(fs: BorrowedFd<'_>, errno: Errno) -> String {
    let mut text = [0u8; 256];
    let length = rustix::io::read(fs, &mut text).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]).trim().trim_start_matches("e ").to_owned();
    if text.is_empty() {
        format!("{kind} of this file system", kind = if errno == Errno::INVAL { "no such option" } else { "an option" })
    } else {
        text
    }
}

/// A terminal comes from the container's own devpts.
fn terminal(report: &mut Report, prepared: &Prepared) {
    if !prepared.config.process.as_ref().is_some_and(|p| p.terminal) {
        return;
    }
    let devpts = |dest: &Inside, kind: &str| dest.as_str() == "/dev/pts" && kind == "devpts";
    let there = prepared.plan.init.steps.iter().any(|step| match &step.op {
        Op::Mount(mount) => devpts(&mount.dest, &mount.kind.to_string_lossy()),
        Op::Bind { dest, .. } => matches!(dest.as_str(), "/dev" | "/dev/pts"),
        _ => false,
    });
    if there {
        report.add("process.terminal", Verdict::Ok, "a terminal from the container's /dev/pts");
    } else {
        report.add("process.terminal", Verdict::Wrong, "a terminal needs a mount of type devpts on /dev/pts");
    }
}
