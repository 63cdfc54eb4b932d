//! `linux.intelRdt` (config-linux.md#intelrdt): shares of caches and of memory bandwidth, by the kernel's resctrl file system.
//!
//! A class of service is a directory there: its `schemata` has the shares, its `tasks` the threads, which children inherit. It belongs
//! to the container where it is named after it and we have made it; otherwise to somebody else, and is left alone.

mod schema;
pub mod stats;

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::cgroup::file::read as read_file;
use crate::error::{Context as _, Error, Result};
use crate::spec::config::IntelRdt;

const FIELD: &str = "linux.intelRdt";
/// RDTGROUP_SUPER_MAGIC of linux/magic.h.
const RESCTRL_MAGIC: i64 = 0x0765_5821;
/// Made by the kernel; mounting something there is the operator's business.
const USUAL: &str = "/sys/fs/resctrl";

/// Where resctrl is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// Looks for it. None: it is not mounted.
    ///
    /// # Errors
    /// The list of mounts cannot be read.
    pub fn detect() -> Result<Option<Host>> {
        if rustix::fs::statfs(USUAL).is_ok_and(|stat| stat.f_type == RESCTRL_MAGIC) {
            return Ok(Some(Host::at(USUAL)));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").at(FIELD, || "read(\"/proc/self/mountinfo\")".into())?;
        Ok(mounts.lines().find_map(mount_point).map(Host::at))
    }

    /// The one that is mounted here.
    pub fn at(root: impl Into<PathBuf>) -> Host {
        Host { root: root.into() }
    }

    /// Does it have this below `info`: `L3`, `MB`, `L3_MON`?
    fn has(&self, info: &str) -> bool {
        self.root.join("info").join(info).is_dir()
    }

    /// What the kernel says about the last refused request, for its error.
    fn explain(&self, error: Error) -> Error {
        match read_file(&path_text(&self.root.join("info/last_cmd_status"))) {
            Ok(text) if !text.trim().is_empty() && text.trim() != "ok" => error.hint(text.trim().to_owned()),
            _ => error,
        }
    }
}

/// Mount point of a line of mountinfo, if it is a resctrl (proc_pid_mountinfo(5)).
fn mount_point(line: &str) -> Option<PathBuf> {
    let (left, right) = line.split_once(" - ")?;
    (right.split(' ').next()? == "resctrl").then(|| left.split(' ').nth(4).map(|p| PathBuf::from(p.replace("\\040", " "))))?
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A container's class of service: what its state keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Mount point of resctrl.
    root: PathBuf,
    /// Its directory.
    path: PathBuf,
    /// Is it ours to remove?
    owned: bool,
    /// Monitoring group of the container's own; always ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monitor: Option<PathBuf>,
}

/// What is to be done for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RdtPlan {
    group: Group,
    /// `closID` is given.
    named: bool,
    /// `l3CacheSchema` and `memBwSchema`, with their fields.
    lines: Vec<(&'static str, String)>,
    /// `schemata`.
    schemata: Vec<String>,
}

/// Checks the section; touches nothing.
///
/// # Errors
/// A field that is wrong, or that this host cannot do.
pub fn plan(host: Option<&Host>, section: &IntelRdt, id: &str) -> Result<RdtPlan> {
    let Some(host) = host else {
        let why =
            "no resctrl file system is mounted: where the CPU and the kernel have it, mount -t resctrl resctrl /sys/fs/resctrl";
        return Err(Error::unsupported(FIELD, why));
    };
    let clos = section.clos_id.as_deref().filter(|c| !c.is_empty());
    let path = match clos {
        Some("/") => host.root.clone(),
        Some(name) => host.root.join(checked_name(name, "linux.intelRdt.closID")?),
        None => host.root.join(checked_name(id, "the container's id, as the name of its class of service")?),
    };
    let mut lines = Vec::new();
    for (field, line, prefix, info) in [
        ("linux.intelRdt.l3CacheSchema", &section.l3_cache_schema, "L3", "L3"),
        ("linux.intelRdt.memBwSchema", &section.mem_bw_schema, "MB:", "MB"),
    ] {
        let Some(line) = line.as_deref().filter(|l| !l.is_empty()) else { continue };
        check_line(field, line, prefix)?;
        if !(host.has(info) || info == "L3" && host.has("L3CODE")) {
            return Err(Error::unsupported(field, format!("this CPU or kernel has no {info} in {}/info", host.root.display())));
        }
        lines.push((field, line.to_owned()));
    }
    for (i, line) in section.schemata.iter().enumerate() {
        check_line(&format!("linux.intelRdt.schemata[{i}]"), line, "")?;
    }
    if section.enable_monitoring && !host.has("L3_MON") {
        let why = format!("this CPU or kernel has no L3_MON in {}/info", host.root.display());
        return Err(Error::unsupported("linux.intelRdt.enableMonitoring", why));
    }
    let monitor = section.enable_monitoring.then(|| path.join("mon_groups").join(id));
    let owned = clos.is_none() && !path.exists();
    let group = Group { root: host.root.clone(), path, owned, monitor };
    Ok(RdtPlan { group, named: clos.is_some(), lines, schemata: section.schemata.clone() })
}

/// A name for a directory there, which is not one of the kernel's.
fn checked_name<'a>(name: &'a str, field: &str) -> Result<&'a str> {
    let kernels = [".", "..", "info", "mon_groups", "mon_data"].contains(&name);
    if kernels || name.contains(['/', '\n', '\0']) {
        return Err(Error::config(field, format!("{name:?} is not a name of a class of service")));
    }
    Ok(name)
}

fn check_line(field: &str, line: &str, prefix: &str) -> Result<()> {
    if line.contains('\n') {
        return Err(Error::config(field, "has more than one line; linux.intelRdt.schemata takes several"));
    }
    if !line.starts_with(prefix) || !line.contains(':') {
        let example = if prefix == "MB:" { "MB:0=50" } else { "L3:0=ff" };
        return Err(Error::config(field, format!("{line:?} is not a line such as {example}")));
    }
    Ok(())
}

impl RdtPlan {
    /// For the state, which is written before anything is made.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Makes the directories, as far as they are to be made.
    ///
    /// # Errors
    /// A class that should be there is not, or has other shares; or there is no room for another.
    pub fn make(&self) -> Result<()> {
        let path = &self.group.path;
        let writes = !self.lines.is_empty() || !self.schemata.is_empty();
        match path.is_dir() {
            true if self.named => self.compare()?,
            true => {}
            false if self.named && !writes => {
                let problem = format!("{} is not there, and without a schema to give it, it has to be", path.display());
                return Err(Error::config("linux.intelRdt.closID", problem));
            }
            false => self.group.mkdir(path)?,
        }
        self.group.monitor.as_ref().map_or(Ok(()), |monitor| self.group.mkdir(monitor))
    }

    /// Writes the shares: cache, then bandwidth, then the others.
    ///
    /// # Errors
    /// The kernel refuses a line, and says why.
    pub fn write(&self) -> Result<()> {
        self.lines.iter().try_for_each(|(field, line)| self.group.schema(field, line))?;
        let lines = self.schemata.iter().enumerate();
        lines.into_iter().try_for_each(|(i, line)| self.group.schema(&format!("linux.intelRdt.schemata[{i}]"), line))
    }

    /// A class that somebody else has made must have the shares that are asked for, or we would change his.
    fn compare(&self) -> Result<()> {
        let file = self.group.path.join("schemata");
        if self.lines.is_empty() {
            return Ok(());
        }
        let text = read_file(&path_text(&file)).at(FIELD, || format!("read({file:?})"))?;
        let unit = |name: &str| read_file(&path_text(&self.group.root.join("info/MB").join(name))).ok()?.trim().parse().ok();
        let steps = schema::Steps { granularity: unit("bandwidth_gran").unwrap_or(1), least: unit("min_bandwidth").unwrap_or(0) };
        match self.lines.iter().find(|(_, line)| !schema::holds(&text, line, steps)) {
            Some((field, line)) => {
                let problem =
                    format!("{line:?} is not what the class of service {} has: {:?}", self.group.path.display(), text.trim());
                Err(Error::config(*field, problem))
            }
            None => Ok(()),
        }
    }
}

impl Group {
    fn host(&self) -> Host {
        Host::at(&self.root)
    }

    fn mkdir(&self, path: &Path) -> Result<()> {
        match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => {
                let error = self.host().explain(Error::system(FIELD, format!("mkdir({path:?})"), errno));
                Err(if errno == Errno::NOSPC {
                    error.hint("every class of service or monitoring group of this CPU is in use")
                } else {
                    error
                })
            }
        }
    }

    fn write_file(&self, field: &str, path: &Path, text: &str) -> Result<()> {
        let call = || format!("write({path:?}, {:?})", text.trim());
        let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).at(field, call)?;
        let written = rustix::io::write(&file, text.as_bytes()).at(field, call);
        written.map(drop).map_err(|error| self.host().explain(error))
    }

    fn schema(&self, field: &str, line: &str) -> Result<()> {
        self.write_file(field, &self.path.join("schemata"), &format!("{line}\n"))
    }

    /// Puts a process, with one thread so far, into it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn assign(&self, pid: i32) -> Result<()> {
        let dirs = std::iter::once(&self.path).chain(&self.monitor);
        dirs.into_iter().try_for_each(|dir| self.write_file(FIELD, &dir.join("tasks"), &pid.to_string()))
    }

    /// Changes shares of a container that exists.
    ///
    /// # Errors
    /// A line is wrong, or the kernel refuses it.
    pub fn update(&self, l3_cache: Option<&str>, memory_bandwidth: Option<&str>) -> Result<()> {
        for (flag, line, prefix, info) in
            [("--l3-cache-schema", l3_cache, "L3", "L3"), ("--mem-bw-schema", memory_bandwidth, "MB:", "MB")]
        {
            let Some(line) = line else { continue };
            check_line(flag, line, prefix)?;
            if !(self.host().has(info) || info == "L3" && self.host().has("L3CODE")) {
                return Err(Error::unsupported(
                    flag,
                    format!("this CPU or kernel has no {info} in {}/info", self.root.display()),
                ));
            }
        }
        for (flag, line) in [("--l3-cache-schema", l3_cache), ("--mem-bw-schema", memory_bandwidth)] {
            line.map_or(Ok(()), |line| self.schema(flag, line))?;
        }
        Ok(())
    }

    /// Removes what is ours. What is gone already is no error.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self) -> Result<()> {
        let ours = self.monitor.iter().chain(self.owned.then_some(&self.path));
        for path in ours {
            match rustix::fs::rmdir(path) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::system(FIELD, format!("rmdir({path:?})"), errno)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
