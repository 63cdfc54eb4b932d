//! `rrun update`: only what is given changes; when one write fails, those before it are put back.

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::time::Duration;

use super::apply::{self, enable, write_all};
use super::explain::Refused;
use super::plan::{DevicePlan, for_systemd};
use super::writes::{self, Purpose, Write};
use super::{Binding, Cgroup, Dir, Layout, bpf, devices, file, systemd};
use crate::error::{Error, Result};
use crate::spec::config::Device;
use crate::spec::resources::Resources;

/// Longest freeze around a change of device rules by systemd.
const FREEZE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Changes the limits of a running container.
    ///
    /// Fields that make sense only together are completed with the present values, as runc completes them from its saved
    /// configuration: period and quota, memory and swap. Device rules are left alone unless some are given; then they
    /// replace the present ones, in one step on cgroup2, with the defaults for what `listed` (`linux.devices`) lacks.
    /// Returns what was accepted without effect.
    ///
    /// # Errors
    /// A value that is wrong, a limit that the host lacks, a write that the kernel refuses: then all is as before.
    pub fn update(&self, resources: &Resources, listed: &[Device]) -> Result<Vec<String>> {
        let resources = self.completed(resources)?;
        let mut warnings = Vec::new();
        let resources = match &self.unit {
            Some(_) => for_systemd(Cow::Owned(resources), &mut warnings),
            None => Cow::Owned(resources),
        };
        let w = writes::all(&resources, Purpose::Update, self)?;
        let devices =
            if resources.devices.is_empty() { None } else { Some(DevicePlan::new(self, &resources, listed, Purpose::Update)?) };
        self.check_usage(&resources)?;
        let mut properties = None;
        if self.unit.is_some() {
            let mut p = systemd::properties(&resources, self.layout() == Layout::V2, Purpose::Update.prefix())?;
            if devices.is_some() {
                p.all.extend(systemd::device_properties(&devices::rules(&resources.devices, listed, "")?));
            }
            properties = Some(p);
        }
        let mut undo = Vec::new();
        let done = self.change(&w.list, devices.as_ref(), properties.as_ref(), &mut undo);
        if done.is_err() {
            // Twice, because values that bound each other may have to go back in the other order.
            for _ in 0..2 {
                for (dir, name, value) in undo.iter().rev() {
                    let _ = file::write(&format!("{}/{name}", dir.full()), value);
                }
            }
        }
        warnings.extend(w.warnings);
        done.map(|()| warnings)
    }

    /// The kernel first: what it refuses, systemd is not told. What systemd writes on being told may go beyond that, so the
    /// kernel has the last word, too.
    fn change<'a>(
        &'a self,
        list: &[(Binding, Write)],
        devices: Option<&DevicePlan>,
        properties: Option<&systemd::Properties>,
        undo: &mut Vec<(&'a Dir, String, String)>,
    ) -> Result<()> {
        self.write_recording(list, undo)?;
        if let (Some(unit), Some(properties)) = (&self.unit, properties) {
            // On v1 systemd denies everything for a moment when it is given device rules: nobody is to notice.
            let still = devices.is_some() && self.layout() != Layout::V2 && !self.is_frozen()?;
            if still {
                self.freeze(true, FREEZE)?;
            }
            let told = systemd::set(unit, properties);
            if still {
                self.freeze(false, FREEZE)?;
            }
            told?;
            self.write_recording(list, &mut Vec::new())?;
        }
        devices.map_or(Ok(()), |d| self.set_devices(d))
    }

    fn set_devices(&self, plan: &DevicePlan) -> Result<()> {
        let all = bpf::allow_all();
        let program = match plan {
            DevicePlan::Exceptions(i, e) => return apply::write_exceptions(&self.legacy[*i], e),
            DevicePlan::Program(program) => program,
            DevicePlan::AllowAll => &all,
        };
        let Some(dir) = &self.unified else { return Ok(()) };
        bpf::attach(file::open_dir(&dir.full(), "devices")?.as_fd(), program, false, "devices")
    }

    /// Carries the writes out; `undo` gets, before each, the file and value that bring it back.
    fn write_recording<'a>(&'a self, list: &[(Binding, Write)], undo: &mut Vec<(&'a Dir, String, String)>) -> Result<()> {
        // Directory by directory, so that writes which wait for their neighbours (RetryLast) meet them.
        for dir in self.dirs() {
            let mine: Vec<Write> =
                list.iter().filter(|(at, _)| self.at(*at) == Some(dir)).map(|(_, write)| write.clone()).collect();
            if mine.is_empty() {
                continue;
            }
            let fd = file::open_dir(&dir.full(), "cgroup")?;
            let v2 = dir.controllers.is_empty();
            let refused = if v2 { enable(fd.as_fd(), dir, &mine)? } else { Refused::default() };
            for write in &mine {
                for name in files(write) {
                    if let Ok(before) = file::read_at(fd.as_fd(), name) {
                        undo.extend(restoring(name, &write.value, &before).map(|value| (dir, name.to_owned(), value)));
                    }
                }
            }
            write_all(fd.as_fd(), dir, &mine).map_err(|failed| failed.explain(&refused))?;
        }
        Ok(())
    }

    fn at(&self, binding: Binding) -> Option<&Dir> {
        match binding {
            Binding::V2 => self.unified.as_ref(),
            Binding::V1(i) => self.legacy.get(i),
        }
    }

    /// A present value: bytes or microseconds, -1 for none.
    fn present(&self, controller: &str, name: &str) -> Option<i64> {
        let text = file::read(&format!("{}/{name}", self.dir(controller)?.full())).ok()?;
        let first = text.split_ascii_whitespace().next()?;
        // v1 prints "no limit" as a page-rounded i64::MAX.
        Some(match file::number(first)? {
            n if n >= (i64::MAX - 4096) as u64 => -1,
            n => n as i64,
        })
    }

    /// Quota (-1: none) and period, microseconds.
    fn present_quota(&self) -> Option<(i64, u64)> {
        let read = |name: &str| file::read(&format!("{}/{name}", self.dir("cpu")?.full())).ok();
        let (quota, period) = match self.binding("cpu")? {
            Binding::V2 => read("cpu.max")?.trim().split_once(' ').map(|(q, p)| (q.to_owned(), p.to_owned()))?,
            Binding::V1(_) => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
        };
        Some((quota.trim().parse().unwrap_or(-1), period.trim().parse().ok()?))
    }

    /// Adds to `r` the present partner of what is given alone.
    fn completed(&self, r: &Resources) -> Result<Resources> {
        let mut r = r.clone();
        let v2 = |c| self.binding(c) == Some(Binding::V2);
        // In v1's files each stands alone; systemd wants both there, too.
        if let Some(cpu) = &mut r.cpu
            && (v2("cpu") || self.unit.is_some())
        {
            let (quota, period) = (cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0));
            if (quota == 0) != (period == 0)
                && let Some((q, p)) = self.present_quota()
            {
                if quota == 0 {
                    cpu.quota = Some(q);
                } else {
                    cpu.period = Some(p);
                }
            }
        }
        // For systemd a weight ends cpu.idle; the kernel would refuse it.
        if self.unit.is_some() && self.present("cpu", "cpu.idle") == Some(1) {
            if let Some(cpu) = &mut r.cpu
                && cpu.shares.is_some_and(|s| s != 0)
            {
                cpu.idle.get_or_insert(0);
            }
            if r.unified.contains_key("cpu.weight") {
                r.unified.entry("cpu.idle".into()).or_insert_with(|| "0".into());
            }
        }
        if let Some(m) = &mut r.memory {
            let (limit, swap) = (m.limit.unwrap_or(0), m.swap.unwrap_or(0));
            let name = if v2("memory") { "memory.max" } else { "memory.limit_in_bytes" };
            if swap > 0 && limit == 0 {
                m.limit = self.present("memory", name);
            } else if limit > 0 && swap == 0 && v2("memory") {
                // The sum stays what it was, as on v1.
                let (max, swap_max) = (self.present("memory", name), self.present("memory", "memory.swap.max"));
                if let (Some(max @ 0..), Some(swap_max @ 0..)) = (max, swap_max) {
                    let sum = max.saturating_add(swap_max);
                    if sum < limit {
                        let problem = format!("{limit} is more than memory and swap together ({sum}): give memory.swap too");
                        return Err(Error::config("memory.limit", problem));
                    }
                    m.swap = Some(sum);
                }
            }
        }
        Ok(r)
    }

    /// `checkBeforeUpdate`: a limit below what is in use is refused, where the kernel (v2) would reclaim and then kill.
    fn check_usage(&self, r: &Resources) -> Result<()> {
        let Some(m) = r.memory.as_ref().filter(|m| m.check_before_update == Some(true)) else { return Ok(()) };
        let name = if self.binding("memory") == Some(Binding::V2) { "memory.current" } else { "memory.usage_in_bytes" };
        let Some(usage) = self.present("memory", name) else { return Ok(()) };
        for (field, what, value) in [("memory.swap", "memory+swap limit", m.swap), ("memory.limit", "memory limit", m.limit)] {
            if let Some(v) = value.filter(|v| *v > 0 && *v <= usage) {
                return Err(Error::config(field, format!("rejecting {what} {v} <= usage {usage} (bytes in use)")));
            }
        }
        Ok(())
    }
}

/// The files that a write may change.
fn files(write: &Write) -> impl Iterator<Item = &str> {
    let other = match &write.on_error {
        writes::OnError::Instead(file, _) => Some(*file),
        _ => None,
    };
    std::iter::once(&*write.file).chain(other)
}

/// What to write to bring `file` back from `value` to `before`, its whole content.
fn restoring(file: &str, value: &str, before: &str) -> Option<String> {
    match file {
        // One line for each device: the one that the write was about, or no limit if it had none.
        "io.max" => {
            let device = value.split(' ').next()?;
            let line = before.lines().find(|l| l.split(' ').next() == Some(device));
            Some(line.map_or_else(|| format!("{device} rbps=max wbps=max riops=max wiops=max"), str::to_owned))
        }
        f if f.starts_with("blkio.throttle.") || f.contains("weight_device") => {
            let device = value.split(' ').next()?;
            let line = before.lines().find(|l| l.split([' ', '\t']).next() == Some(device));
            Some(line.map_or_else(|| format!("{device} 0"), |l| l.split_whitespace().collect::<Vec<_>>().join(" ")))
        }
        "io.weight" | "io.bfq.weight" | "blkio.weight" | "blkio.bfq.weight" => {
            let device = value.split_once(' ').map(|(d, _)| d);
            let line = before.lines().find(|l| l.split(' ').next() == Some(device.unwrap_or("default")));
            match (line, device) {
                (Some(line), _) => Some(line.to_owned()),
                (None, Some(device)) => Some(format!("{device} default")),
                (None, None) => before.split_whitespace().next().map(str::to_owned),
            }
        }
        "rdma.max" => before.lines().find(|l| l.split(' ').next() == value.split(' ').next()).map(str::to_owned),
        // Accumulating or computed: nothing to put back.
        "memory.oom_control" => before.contains("oom_kill_disable 0").then(|| "0".into()),
        _ => Some(before.trim().to_owned()).filter(|b| !b.is_empty() && !b.contains('\n')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_puts_a_file_back() {
        let table = [
            ("memory.max", "5", "max\n", Some("max")),
            ("cpu.max", "1 2", "50000 100000\n", Some("50000 100000")),
            (
                "io.max",
                "8:0 rbps=1",
                "8:0 rbps=7 wbps=max riops=max wiops=max\n",
                Some("8:0 rbps=7 wbps=max riops=max wiops=max"),
            ),
            ("io.max", "8:16 rbps=1", "8:0 rbps=7\n", Some("8:16 rbps=max wbps=max riops=max wiops=max")),
            ("io.weight", "50", "default 100\n8:0 20\n", Some("default 100")),
            ("io.weight", "8:0 50", "default 100\n8:0 20\n", Some("8:0 20")),
            ("io.weight", "8:16 50", "default 100\n", Some("8:16 default")),
            ("blkio.bfq.weight", "50", "100\n", Some("100")),
            ("blkio.throttle.read_bps_device", "8:0 50", "8:0 7\n", Some("8:0 7")),
            ("blkio.throttle.read_bps_device", "8:16 50", "8:0 7\n", Some("8:16 0")),
            ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", Some("0")),
        ];
        for (file, value, before, expected) in table {
            assert_eq!(restoring(file, value, before).as_deref(), expected, "{file} {value}");
        }
    }
}
