//! What will be made and written, decided before anything is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::devices::{self, Exceptions};
use super::path::{self, Inner, UnitName};
use super::systemd::{self, UnitPlan};
use super::writes::{self, Purpose, Write};
use super::{Binding, Cgroup, Dir, Host, Layout, annotation, bpf};
use crate::error::{Error, Result};
use crate::fingerprint::fingerprint;
use crate::spec::config::Device;
use crate::spec::resources::Resources;
use crate::sys::bpf::Insn;

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
    /// `linux.devices`: what it lists has no default rule.
    pub devices: &'a [Device],
    /// `annotations`: with the systemd driver, those that begin with `org.systemd.property.` become properties of the unit.
    pub annotations: &'a BTreeMap<String, String>,
}

/// How device rules are put into effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DevicePlan {
    /// They allow everything: nothing to do for a new cgroup.
    AllowAll,
    /// cgroup2.
    Program(Vec<Insn>),
    /// v1: index of the hierarchy in [`Cgroup::legacy`].
    Exceptions(usize, Exceptions),
}

impl DevicePlan {
    /// Reads the rules of `resources`, with the defaults after them.
    pub(crate) fn new(cgroup: &Cgroup, resources: &Resources, listed: &[Device], purpose: Purpose) -> Result<Self> {
        let rules = devices::rules(&resources.devices, listed, purpose.prefix())?;
        match cgroup.binding("devices") {
            Some(Binding::V2) => Ok(bpf::program(&rules)?.map_or(DevicePlan::AllowAll, DevicePlan::Program)),
            Some(Binding::V1(i)) => Ok(DevicePlan::Exceptions(i, Exceptions::new(&rules)?)),
            None => Err(Error::unsupported(
                "linux.resources.devices",
                "no hierarchy with the devices controller is mounted: a container could reach every device",
            )),
        }
    }
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
#[derive(Debug, Clone, PartialEq)]
pub struct CgroupPlan {
    /// The directories, the unified one first; never empty.
    pub dirs: Vec<DirPlan>,
    /// What was accepted and has no effect.
    pub warnings: Vec<String>,
    pub(crate) cgroup: Cgroup,
    pub(crate) devices: DevicePlan,
    pub(crate) unit: Option<UnitPlan>,
}

/// Plans the cgroup of a container. Pure: it touches nothing.
///
/// # Errors
/// A field that is wrong, or a limit for which the host has no hierarchy.
pub fn plan(host: &Host, request: &Request<'_>) -> Result<CgroupPlan> {
    let (cgroup, unit) = place(host, request)?;
    let mut warnings = Vec::new();
    let mut resources = Cow::Borrowed(request.resources);
    if unit.is_some() {
        resources = for_systemd(resources, &mut warnings);
    }
    let w = writes::all(&resources, Purpose::Create, &cgroup)?;
    warnings.extend(w.warnings);
    let mut dirs: Vec<DirPlan> = cgroup.dirs().map(|d| DirPlan { dir: d.clone(), writes: Vec::new() }).collect();
    let first_legacy = usize::from(cgroup.unified.is_some());
    for (at, write) in w.list {
        let i = match at {
            Binding::V2 => 0,
            Binding::V1(i) => first_legacy + i,
        };
        dirs[i].writes.push(write);
    }
    let devices = DevicePlan::new(&cgroup, request.resources, request.devices, Purpose::Create)?;
    let unit = match unit {
        Some(unit) => Some(unit_plan(&unit, request, &resources, &cgroup)?),
        None => None,
    };
    Ok(CgroupPlan { dirs, warnings, cgroup, devices, unit })
}

/// Values as systemd keeps them, so that it and the kernel are told the same.
pub(crate) fn for_systemd<'a>(mut r: Cow<'a, Resources>, warnings: &mut Vec<String>) -> Cow<'a, Resources> {
    if let Some(cpu) = &r.cpu {
        let quota = cpu.quota.unwrap_or(0);
        let rounded = systemd::rounded_quota(quota, cpu.period.unwrap_or(0));
        // CPUWeight is both: 0 stands for idle.
        let both = cpu.idle == Some(1) && cpu.shares.is_some_and(|s| s != 0);
        if (rounded != quota || both)
            && let Some(cpu) = &mut r.to_mut().cpu
        {
            cpu.quota = Some(rounded);
            if both {
                cpu.shares = None;
                warnings.push("unable to apply both cpu.shares and cpu.idle through systemd: ignoring cpu.shares".into());
            }
        }
    }
    if r.unified.get("cpu.idle").is_some_and(|v| v.trim() == "1") && r.unified.contains_key("cpu.weight") {
        r.to_mut().unified.remove("cpu.weight");
        warnings.push("unable to apply both cpu.weight and cpu.idle through systemd: ignoring cpu.weight".into());
    }
    r
}

fn unit_plan(unit: &UnitName, request: &Request<'_>, resources: &Resources, cgroup: &Cgroup) -> Result<UnitPlan> {
    let v2 = cgroup.layout() == Layout::V2;
    let mut properties = systemd::properties(resources, v2, Purpose::Create.prefix())?;
    let rules = devices::rules(&resources.devices, request.devices, Purpose::Create.prefix())?;
    properties.all.extend(systemd::device_properties(&rules));
    let annotations = annotation::properties(request.annotations.iter())?;
    Ok(UnitPlan::new(unit, request.id, properties, annotations, v2))
}

/// The directories of a container.
fn place(host: &Host, request: &Request<'_>) -> Result<(Cgroup, Option<UnitName>)> {
    let (inner, unit) = if request.systemd {
        let unit = path::unit(request.cgroups_path, request.id)?;
        (Inner::Absolute(unit.path.clone()), Some(unit))
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
    let cgroup = Cgroup { unified, legacy, unit: unit.as_ref().map(|u| u.unit.clone()) };
    if cgroup.dirs().next().is_none() {
        return Err(Error::unsupported("cgroup", "no cgroup file system is mounted"));
    }
    Ok((cgroup, unit))
}

impl CgroupPlan {
    /// The cgroup that will be: for the container's state, to be saved before [`CgroupPlan::create`].
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Does clone3 alone put the process where it belongs? See [`super::Created::complete_at_clone`].
    pub fn complete_at_clone(&self) -> bool {
        self.cgroup.unified.is_some() && self.cgroup.legacy.is_empty() && self.cgroup.unit.is_none()
    }
}

impl fmt::Display for CgroupPlan {
    /// One line a step, as `rrun explain` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(unit) = &self.unit {
            writeln!(f, "systemd: StartTransientUnit {}", unit.name)?;
            for (name, value) in unit.properties.iter().chain(unit.newer.iter().map(|(_, p)| p)) {
                writeln!(f, "    {name}={value}")?;
            }
        }
        for d in &self.dirs {
            let dir = d.dir.full();
            let by_systemd = self.unit.is_some() && d.dir.controllers.is_empty();
            if !by_systemd {
                writeln!(f, "mkdir {dir}")?;
            }
            for w in &d.writes {
                writeln!(f, "write {dir}/{} {:?}  # {}", w.file, w.value, w.field)?;
            }
        }
        match &self.devices {
            DevicePlan::AllowAll => {}
            DevicePlan::Program(p) => {
                let print = fingerprint(p.iter().map(|i| i.word()));
                writeln!(
                    f,
                    "bpf: device program of {} instructions, fingerprint {print:016x}  # linux.resources.devices",
                    p.len()
                )?;
            }
            DevicePlan::Exceptions(i, e) => {
                let dir = self.cgroup.legacy[*i].full();
                for (allow, line) in e.writes_from(&Exceptions { default_allow: true, list: Default::default() }) {
                    let file = if allow { "allow" } else { "deny" };
                    writeln!(f, "write {dir}/devices.{file} {line:?}  # linux.resources.devices")?;
                }
            }
        }
        Ok(())
    }
}
