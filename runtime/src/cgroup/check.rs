//! What the host will say to a plan, as far as that can be known without making anything: for `rrun check`.

use std::path::Path;

use super::apply::{refuse_used_v1, refuse_used_v2};
use super::explain::{Refused, kernel_lacks, page_sizes, why_missing};
use super::writes::{OnError, Write};
use super::{CgroupPlan, Dir, file};
use crate::error::{Error, Result};

impl CgroupPlan {
    /// For the place and for every limit its field, and where it will be or why it cannot be.
    pub fn outlook(&self) -> Vec<(String, Result<String>)> {
        let mut all = Vec::new();
        for d in &self.dirs {
            if let Err(error) = free(&d.dir) {
                all.push(("linux.cgroupsPath".to_owned(), Err(error)));
            }
        }
        if all.is_empty() {
            let places: Vec<String> = self.dirs.iter().map(|d| d.dir.full()).collect();
            all.push(("linux.cgroupsPath".to_owned(), Ok(places.join(" "))));
        }
        for d in &self.dirs {
            for write in &d.writes {
                let outcome = value(write).and_then(|()| reach(&d.dir, write));
                let kind = if d.dir.controllers.is_empty() { "cgroup2" } else { "v1" };
                let place = format!("{} = {} ({kind} at {})", write.file, write.value.trim(), d.dir.mount);
                all.push((write.field.clone(), outcome.map(|()| place)));
            }
        }
        all
    }
}

/// Nobody else's processes may be in it.
fn free(dir: &Dir) -> Result<()> {
    if !Path::new(&dir.full()).is_dir() {
        return Ok(());
    }
    if dir.controllers.is_empty() { refuse_used_v2(&dir.full()) } else { refuse_used_v1(dir) }
}

/// The existing directory that the container's will be made below, or itself; with the ones above it, from there up to the mount.
fn ancestors(dir: &Dir) -> Vec<String> {
    let mut path = dir.path.as_str();
    let mut found = Vec::new();
    loop {
        let full = if path.is_empty() { dir.mount.clone() } else { format!("{}/{path}", dir.mount) };
        if Path::new(&full).is_dir() {
            found.push(full);
        }
        if path.is_empty() {
            return found;
        }
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
}

/// Will there be a file to write to?
fn reach(dir: &Dir, write: &Write) -> Result<()> {
    let c = &*write.controller;
    let v2 = dir.controllers.is_empty();
    let absent = || why_missing(dir, write, &Refused::default());
    let lacking = || Error::unsupported(&write.field, if v2 { kernel_lacks(write) } else { absent() });
    let above = ancestors(dir);
    if v2 && c != "cgroup" {
        if !lists(&format!("{}/cgroup.controllers", dir.mount), c) {
            return Err(Error::unsupported(&write.field, absent()));
        }
        // Below a cgroup with processes of its own no controller can be enabled (cgroups(7), "no internal processes"); the root may.
        for path in above.iter().filter(|p| **p != dir.mount && **p != dir.full()) {
            let occupied = !file::read(&format!("{path}/cgroup.procs")).unwrap_or_default().trim().is_empty();
            if occupied && !lists(&format!("{path}/cgroup.subtree_control"), c) {
                let why = format!("{c} cannot be enabled below {path}: that cgroup has processes of its own");
                return Err(Error::unsupported(&write.field, why));
            }
        }
    }
    // No cgroup may have the controller yet, so that there is nothing to look at: the page sizes tell.
    let size = write.file.strip_prefix("hugetlb.").and_then(|rest| rest.split('.').next());
    if size.is_some_and(|size| !page_sizes().iter().any(|s| s == size)) {
        return Err(lacking());
    }
    let missing = |file: &str| sample(dir, &above, c).is_some_and(|sample| !Path::new(&format!("{sample}/{file}")).exists());
    match &write.on_error {
        OnError::SkipMissing => Ok(()),
        OnError::Instead(other, _) if missing(&write.file) && missing(other) => Err(lacking()),
        OnError::Fail | OnError::RetryLast if missing(&write.file) => Err(lacking()),
        _ => Ok(()),
    }
}

/// A cgroup below the root that has the controller: the container's will have the same files. The root itself lacks some.
fn sample(dir: &Dir, above: &[String], controller: &str) -> Option<String> {
    let has = |path: &str| {
        !dir.controllers.is_empty() || controller == "cgroup" || lists(&format!("{path}/cgroup.controllers"), controller)
    };
    if let Some(path) = above.iter().find(|p| **p != dir.mount && has(p)) {
        return Some(path.clone());
    }
    let below = std::fs::read_dir(&dir.mount).into_iter().flatten().flatten().take(1000);
    below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path().display().to_string()).find(|p| has(p))
}

fn lists(file: &str, word: &str) -> bool {
    file::read(file).unwrap_or_default().split_ascii_whitespace().any(|w| w == word)
}

/// Values that the kernel is known to refuse (Documentation/scheduler/sched-bwc.rst, block devices that are not there).
fn value(write: &Write) -> Result<()> {
    let wrong = |problem: String| Err(Error::config(&write.field, problem));
    let number = |text: &str| text.trim().parse::<i64>().ok();
    match &*write.file {
        "cpu.cfs_period_us" if number(&write.value).is_some_and(|n| !(1000..=1_000_000).contains(&n)) => {
            wrong(format!("{} µs: a period is from 1000 to 1000000", write.value))
        }
        "cpu.cfs_quota_us" if number(&write.value).is_some_and(|n| (0..1000).contains(&n)) => {
            wrong(format!("{} µs: a quota is 1000 or more; -1 is no limit", write.value))
        }
        "cpu.max" => {
            let (quota, period) = write.value.split_once(' ').unwrap_or((&write.value, "100000"));
            match (number(quota), number(period)) {
                (Some(0..1000), _) => wrong(format!("{quota} µs: a quota is 1000 or more; -1 is no limit")),
                (_, Some(n)) if !(1000..=1_000_000).contains(&n) => {
                    wrong(format!("{period} µs: a period is from 1000 to 1000000"))
                }
                _ => Ok(()),
            }
        }
        "cpuset.cpus" => online(write, "/sys/devices/system/cpu/online"),
        "cpuset.mems" => online(write, "/sys/devices/system/node/online"),
        _ if matches!(&*write.controller, "io" | "blkio") => match write.value.split_once(' ') {
            Some((device, _)) if device.contains(':') && !Path::new(&format!("/sys/dev/block/{device}")).exists() => {
                wrong(format!("there is no block device {device} here"))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// CPUs and memory nodes that the host does not have are refused by the kernel.
fn online(write: &Write, list: &str) -> Result<()> {
    use crate::plan::process::cpu_mask;
    let Ok(text) = std::fs::read_to_string(list) else { return Ok(()) };
    let (Ok(asked), Ok(there)) = (cpu_mask(&write.field, &write.value), cpu_mask(list, text.trim())) else { return Ok(()) };
    if asked.iter().enumerate().any(|(i, word)| word & !there.get(i).copied().unwrap_or(0) != 0) {
        return Err(Error::unsupported(&write.field, format!("this host has {} only", text.trim())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &'static str, controller: &'static str, value: &str) -> Write {
        Write {
            field: "f".into(),
            controller: controller.into(),
            file: file.into(),
            value: value.into(),
            on_error: OnError::Fail,
        }
    }

    #[test]
    fn values_that_no_kernel_takes() {
        for (file, bad, good) in [
            ("cpu.cfs_period_us", "999", "1000"),
            ("cpu.cfs_quota_us", "999", "-1"),
            ("cpu.max", "999 100000", "max 100000"),
            ("cpu.max", "5000 1000001", "5000 1000000"),
            ("cpuset.cpus", "8000", "0"),
        ] {
            assert!(value(&write(file, "cpu", bad)).is_err(), "{file} {bad}");
            assert!(value(&write(file, "cpu", good)).is_ok(), "{file} {good}");
        }
        assert!(value(&write("io.max", "io", "4095:1 rbps=1")).is_err());
    }

    #[test]
    fn the_mount_point_is_the_last_ancestor() {
        let dir = Dir { mount: "/proc".into(), path: "self/no/such".into(), controllers: Vec::new() };
        assert_eq!(ancestors(&dir), ["/proc/self", "/proc"]);
    }
}
