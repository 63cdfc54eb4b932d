//! What will be made and written, decided before anything is.

use std::fmt;

use super::path::{self, Inner};
use super::writes::{self, Purpose, Write};
use super::{Binding, Cgroup, Dir, Host};
use crate::error::{Error, Result};
use crate::spec::resources::Resources;

/// What a container asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The container's id, already checked.
    pub id: &'a str,
    /// `linux.cgroupsPath`.
    pub cgroups_path: Option<&'a str>,
    /// `--systemd-cgroup`.
    pub systemd: bool,
    /// `linux.resources`.
    pub resources: &'a Resources,
}

/// What is written in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirPlan {
    /// The directory.
    pub dir: Dir,
    /// In order.
    pub writes: Vec<Write>,
}

/// How a container's cgroup will be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPlan {
    /// The directories, the unified one first; never empty.
    pub dirs: Vec<DirPlan>,
    /// What was accepted and has no effect.
    pub warnings: Vec<String>,
    pub(crate) cgroup: Cgroup,
}

/// Plans the cgroup of a container. Pure: it touches nothing.
///
/// # Errors
/// A field that is wrong, or a limit for which the host has no hierarchy.
pub fn plan(host: &Host, request: &Request<'_>) -> Result<CgroupPlan> {
    let cgroup = place(host, request)?;
    let w = writes::all(request.resources, Purpose::Create, &cgroup)?;
    let (list, warnings) = (w.list, w.warnings);
    let mut dirs: Vec<DirPlan> = cgroup.dirs().map(|d| DirPlan { dir: d.clone(), writes: Vec::new() }).collect();
    let first_legacy = usize::from(cgroup.unified.is_some());
    for (at, write) in list {
        let i = match at {
            Binding::V2 => 0,
            Binding::V1(i) => first_legacy + i,
        };
        dirs[i].writes.push(write);
    }
    Ok(CgroupPlan { dirs, warnings, cgroup })
}

/// The directories of a container.
fn place(host: &Host, request: &Request<'_>) -> Result<Cgroup> {
    let (inner, unit) = if request.systemd {
        let unit = path::unit(request.cgroups_path, request.id)?;
        (Inner::Absolute(unit.path), Some(unit.unit))
    } else {
        (path::inner(request.cgroups_path, request.id)?, None)
    };
    let unified = host.unified_path(&inner).map(|(mount, path)| Dir { mount, path, controllers: Vec::new() });
    let legacy = host
        .legacy
        .iter()
        .map(|h| Dir {
            mount: h.mount.clone(),
            path: match &inner {
                Inner::Absolute(p) => p.clone(),
                Inner::Relative(p) => path::join(&h.own, p),
            },
            controllers: h.controllers.clone(),
        })
        .collect();
    let cgroup = Cgroup { unified, legacy, unit };
    if cgroup.dirs().next().is_none() {
        return Err(Error::unsupported("cgroup", "no cgroup file system is mounted"));
    }
    Ok(cgroup)
}

impl CgroupPlan {
    /// The cgroup that will be: for the container's state, to be saved before [`CgroupPlan::create`].
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }
}

impl fmt::Display for CgroupPlan {
    /// One line a step, as `rrun explain` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for d in &self.dirs {
            let dir = d.dir.full();
            writeln!(f, "mkdir {dir}")?;
            for w in &d.writes {
                writeln!(f, "write {dir}/{} {:?}  # {}", w.file, w.value, w.field)?;
            }
        }
        Ok(())
    }
}
