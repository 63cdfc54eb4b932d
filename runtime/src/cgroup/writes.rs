//! From `linux.resources` to the files that are written, checked and in order. Pure; what a host lacks shows when the
//! writes are carried out ([`super::apply`]), but what is bound to v1 is known here.

use std::borrow::Cow;

use super::{Binding, Cgroup};
use crate::error::{Error, Result};
use crate::spec::resources::{BlockIo, Cpu, HugepageLimit, Memory, Network, Pids, Rdma, Resources, ThrottleDevice, WeightDevice};

use super::convert;

/// What to do when a write fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnError {
    /// It is an error.
    Fail,
    /// A file that is missing is no error: the kernel has no such limit, and none is asked for.
    SkipMissing,
    /// On EINVAL, once more after the other writes: the kernel compares with a neighbour that is about to change.
    RetryLast,
    /// Where the file is missing, this one and value instead.
    Instead(&'static str, String),
}

/// One write to a cgroup file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The config field it comes from: `linux.resources.memory.limit`.
    pub field: String,
    /// Controller: `memory`.
    pub controller: Cow<'static, str>,
    /// File: `memory.max`.
    pub file: Cow<'static, str>,
    /// Value, as written.
    pub value: String,
    /// What to do when it fails.
    pub on_error: OnError,
}

/// What the writes are for, which names their fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A new container: fields are `linux.resources...`.
    Create,
    /// `rrun update`: fields are as in its input.
    Update,
}

impl Purpose {
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Purpose::Create => "linux.resources.",
            Purpose::Update => "",
        }
    }
}

/// Collects the writes of one hierarchy kind.
pub(crate) struct Writes<'a> {
    cgroup: &'a Cgroup,
    prefix: &'static str,
    /// In order, each with where it goes.
    pub(crate) list: Vec<(Binding, Write)>,
    /// What was accepted and has no effect, as runc does.
    pub(crate) warnings: Vec<String>,
}

/// All writes for `r`, in runc's order.
///
/// # Errors
/// A value that no kernel takes, or a limit that the hierarchy of its controller does not have.
pub(crate) fn all<'a>(r: &Resources, purpose: Purpose, cgroup: &'a Cgroup) -> Result<Writes<'a>> {
    let mut w = Writes { cgroup, prefix: purpose.prefix(), list: Vec::new(), warnings: Vec::new() };
    if let Some(pids) = &r.pids {
        w.pids(pids)?;
    }
    if let Some(memory) = &r.memory {
        w.memory(memory)?;
    }
    if let Some(io) = &r.block_io {
        w.block_io(io)?;
    }
    if let Some(cpu) = &r.cpu {
        w.cpu(cpu)?;
        w.cpuset(cpu)?;
    }
    for (i, limit) in r.hugepage_limits.iter().enumerate() {
        w.hugetlb(i, limit)?;
    }
    for (device, limit) in &r.rdma {
        w.rdma(device, limit)?;
    }
    if let Some(network) = &r.network {
        w.network(network)?;
    }
    for (key, value) in &r.unified {
        w.unified(key, value)?;
    }
    Ok(w)
}

impl Writes<'_> {
    fn field(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn bad(&self, name: &str, problem: impl Into<String>) -> Error {
        Error::config(self.field(name), problem)
    }

    /// Where `controller` is bound; a host without it is an error that names the field.
    fn binding(&self, name: &str, controller: &str) -> Result<Binding> {
        self.cgroup.binding(controller).ok_or_else(|| {
            let why = format!("no hierarchy with the {controller} controller is mounted here");
            Error::unsupported(self.field(name), why)
        })
    }

    fn push(
        &mut self,
        at: Binding,
        name: &str,
        controller: &'static str,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
        on_error: OnError,
    ) {
        let field = self.field(name);
        self.list
            .push((at, Write { field, controller: controller.into(), file: file.into(), value: value.to_string(), on_error }));
    }

    /// Runtime-spec 1.3 and runc 1.4: absent leaves it, 0 is the strictest limit that both drivers can set (1), less is none.
    fn pids(&mut self, p: &Pids) -> Result<()> {
        let Some(limit) = p.limit else { return Ok(()) };
        let at = self.binding("pids.limit", "pids")?;
        let value = match limit {
            ..0 => "max".to_owned(),
            0 => "1".to_owned(),
            n => n.to_string(),
        };
        self.push(at, "pids.limit", "pids", "pids.max", value, OnError::Fail);
        Ok(())
    }

    /// A number of bytes: 0 is "not set", -1 no limit.
    fn bytes(&self, name: &str, value: Option<i64>) -> Result<i64> {
        match value.unwrap_or(0) {
            ..-1 => Err(self.bad(name, format!("{} is no number of bytes; -1 is no limit", value.unwrap_or(0)))),
            v => Ok(v),
        }
    }

    fn memory(&mut self, m: &Memory) -> Result<()> {
        let limit = self.bytes("memory.limit", m.limit)?;
        let swap = self.bytes("memory.swap", m.swap)?;
        let low = self.bytes("memory.reservation", m.reservation)?;
        if m.kernel.is_some_and(|k| k != 0) || m.kernel_tcp.is_some_and(|k| k != 0) {
            self.warnings.push(format!(
                "{}: kernel memory limits are gone from the kernel: ignored (kernel memory counts towards memory.limit)",
                self.field("memory.kernel")
            ));
        }
        if m.use_hierarchy == Some(false) {
            self.warnings
                .push(format!("{}: the kernel always accounts for children: ignored", self.field("memory.useHierarchy")));
        }
        let swappiness = match m.swappiness {
            // -1 comes as its two's complement from callers that carry it in an unsigned field.
            None | Some(u64::MAX) => None,
            Some(v @ 0..=100) => Some(v),
            Some(v) => return Err(self.bad("memory.swappiness", format!("{v} is not between 0 and 100"))),
        };
        let no_oom_killer = m.disable_oom_killer == Some(true);
        if limit == 0 && swap == 0 && low == 0 && swappiness.is_none() && !no_oom_killer {
            return Ok(());
        }
        let at = self.binding("memory.limit", "memory")?;
        if let Binding::V1(_) = at {
            return self.memory_v1(at, (limit, swap, low), swappiness, no_oom_killer);
        }
        if swappiness.is_some() {
            return Err(self.v1_only("memory.swappiness", "swappiness is one value for the whole host there (vm.swappiness)"));
        }
        if no_oom_killer {
            return Err(self.v1_only("memory.disableOOMKiller", "cgroup2 always kills; memory.high throttles instead"));
        }
        let bytes = |v: i64| if v == -1 { "max".to_owned() } else { v.to_string() };
        // Swap first: with memory.max lowered before, the container would be pushed into swap that it is not to have.
        if let Some(max) = convert::swap_max(swap, limit).map_err(|e| self.bad("memory.swap", e))? {
            // A host without swap accounting has no file: nothing to limit, unless a real amount was asked for.
            let on_error = if max <= 0 { OnError::SkipMissing } else { OnError::Fail };
            self.push(at, "memory.swap", "memory", "memory.swap.max", bytes(max), on_error);
        }
        if limit != 0 {
            self.push(at, "memory.limit", "memory", "memory.max", bytes(limit), OnError::Fail);
        }
        if low != 0 {
            self.push(at, "memory.reservation", "memory", "memory.low", bytes(low), OnError::Fail);
        }
        Ok(())
    }

    fn memory_v1(
        &mut self,
        at: Binding,
        (limit, swap, soft): (i64, i64, i64),
        swappiness: Option<u64>,
        no_oom_killer: bool,
    ) -> Result<()> {
        // The same checks as on v2: the kernel's own answer would be a bare EINVAL.
        convert::swap_max(swap, limit).map_err(|e| self.bad("memory.swap", e))?;
        // The kernel keeps limit <= memsw at every moment: when both go up, the first write fails and is made last.
        if limit != 0 {
            self.push(at, "memory.limit", "memory", "memory.limit_in_bytes", limit, OnError::RetryLast);
        }
        if swap != 0 {
            self.push(at, "memory.swap", "memory", "memory.memsw.limit_in_bytes", swap, OnError::Fail);
        } else if limit == -1 {
            self.push(at, "memory.limit", "memory", "memory.memsw.limit_in_bytes", -1, OnError::SkipMissing);
        }
        if soft != 0 {
            self.push(at, "memory.reservation", "memory", "memory.soft_limit_in_bytes", soft, OnError::Fail);
        }
        if no_oom_killer {
            self.push(at, "memory.disableOOMKiller", "memory", "memory.oom_control", 1, OnError::Fail);
        }
        if let Some(v) = swappiness {
            self.push(at, "memory.swappiness", "memory", "memory.swappiness", v, OnError::Fail);
        }
        Ok(())
    }

    fn v1_only(&self, name: &str, why: &str) -> Error {
        Error::unsupported(self.field(name), format!("cgroup2 has no such limit: {why}"))
    }

    fn cpu(&mut self, c: &Cpu) -> Result<()> {
        let shares = c.shares.unwrap_or(0);
        let (quota, period) = (c.quota.unwrap_or(0), c.period.unwrap_or(0));
        let realtime = c.realtime_runtime.unwrap_or(0) != 0 || c.realtime_period.unwrap_or(0) != 0;
        if let Some(idle) = c.idle
            && idle != 0
            && idle != 1
        {
            return Err(self.bad("cpu.idle", format!("{idle} is neither 0 nor 1")));
        }
        if c.idle == Some(1) && shares != 0 {
            return Err(self.bad("cpu.shares", "the kernel takes no weight for a cgroup with cpu.idle 1: leave one of them out"));
        }
        if shares == 0 && quota == 0 && period == 0 && !realtime && c.burst.is_none() && c.idle.is_none() {
            return Ok(());
        }
        let at = self.binding("cpu", "cpu")?;
        if let Binding::V1(_) = at {
            return self.cpu_v1(at, c);
        }
        if realtime {
            return Err(self.v1_only("cpu.realtimeRuntime", "realtime bandwidth is not distributed among cgroups there"));
        }
        if let Some(idle) = c.idle {
            self.push(at, "cpu.idle", "cpu", "cpu.idle", idle, OnError::Fail);
        }
        if let Some(weight) = convert::weight_from_shares(shares) {
            self.push(at, "cpu.shares", "cpu", "cpu.weight", weight, OnError::Fail);
        }
        // A burst above the present quota is EINVAL until the quota is written.
        if let Some(burst) = c.burst {
            self.push(at, "cpu.burst", "cpu", "cpu.max.burst", burst, OnError::RetryLast);
        }
        if quota != 0 || period != 0 {
            let quota = if quota > 0 { quota.to_string() } else { "max".into() };
            let period = if period == 0 { 100_000 } else { period };
            self.push(at, "cpu.quota", "cpu", "cpu.max", format!("{quota} {period}"), OnError::Fail);
        }
        Ok(())
    }

    fn cpu_v1(&mut self, at: Binding, c: &Cpu) -> Result<()> {
        match c.shares.unwrap_or(0) {
            0 => {}
            shares @ 2..=262_144 => self.push(at, "cpu.shares", "cpu", "cpu.shares", shares, OnError::Fail),
            // The kernel would clamp it silently.
            shares => return Err(self.bad("cpu.shares", format!("{shares} is not between 2 and 262144"))),
        }
        // Period, burst and quota are checked against each other and against the parent's.
        if let Some(period) = c.period.filter(|p| *p != 0) {
            self.push(at, "cpu.period", "cpu", "cpu.cfs_period_us", period, OnError::RetryLast);
        }
        if let Some(burst) = c.burst {
            self.push(at, "cpu.burst", "cpu", "cpu.cfs_burst_us", burst, OnError::RetryLast);
        }
        if let Some(quota) = c.quota.filter(|q| *q != 0) {
            self.push(at, "cpu.quota", "cpu", "cpu.cfs_quota_us", quota.max(-1), OnError::Fail);
        }
        if let Some(idle) = c.idle {
            self.push(at, "cpu.idle", "cpu", "cpu.idle", idle, OnError::Fail);
        }
        if let Some(period) = c.realtime_period.filter(|p| *p != 0) {
            self.push(at, "cpu.realtimePeriod", "cpu", "cpu.rt_period_us", period, OnError::RetryLast);
        }
        if let Some(runtime) = c.realtime_runtime.filter(|r| *r != 0) {
            self.push(at, "cpu.realtimeRuntime", "cpu", "cpu.rt_runtime_us", runtime, OnError::Fail);
        }
        Ok(())
    }

    fn cpuset(&mut self, c: &Cpu) -> Result<()> {
        for (name, file, list) in [("cpu.cpus", "cpuset.cpus", &c.cpus), ("cpu.mems", "cpuset.mems", &c.mems)] {
            let Some(list) = list.as_deref().filter(|l| !l.is_empty()) else { continue };
            convert::parse_ranges(list).map_err(|e| self.bad(name, e))?;
            let at = self.binding(name, "cpuset")?;
            self.push(at, name, "cpuset", file, list, OnError::Fail);
        }
        Ok(())
    }

    fn block_io(&mut self, io: &BlockIo) -> Result<()> {
        let throttles: [(&str, &str, &'static str, &[ThrottleDevice]); 4] = [
            ("throttleReadBpsDevice", "rbps", "blkio.throttle.read_bps_device", &io.throttle_read_bps_device),
            ("throttleWriteBpsDevice", "wbps", "blkio.throttle.write_bps_device", &io.throttle_write_bps_device),
            ("throttleReadIOPSDevice", "riops", "blkio.throttle.read_iops_device", &io.throttle_read_iops_device),
            ("throttleWriteIOPSDevice", "wiops", "blkio.throttle.write_iops_device", &io.throttle_write_iops_device),
        ];
        let weight = self.weight("blockIO.weight", io.weight)?;
        let leaf = self.weight("blockIO.leafWeight", io.leaf_weight)?;
        if weight == 0 && leaf == 0 && io.weight_device.is_empty() && throttles.iter().all(|t| t.3.is_empty()) {
            return Ok(());
        }
        // One controller, two names.
        let at = match self.binding("blockIO", "blkio") {
            Ok(at @ Binding::V1(_)) => at,
            _ => self.binding("blockIO", "io")?,
        };
        let v1 = matches!(at, Binding::V1(_));
        if weight != 0 && v1 {
            let on_error = OnError::Instead("blkio.bfq.weight", weight.to_string());
            self.push(at, "blockIO.weight", "blkio", "blkio.weight", weight, on_error);
        } else if let Some(converted) = convert::io_weight_from_blkio(weight) {
            // BFQ takes runc's range as it is; io.weight, of the iocost controller, has its own.
            let on_error = OnError::Instead("io.weight", converted.to_string());
            self.push(at, "blockIO.weight", "io", "io.bfq.weight", weight, on_error);
        }
        if leaf != 0 {
            self.leaf_weight(at, "blockIO.leafWeight", "blkio.leaf_weight", leaf.to_string())?;
        }
        for (i, d) in io.weight_device.iter().enumerate() {
            self.weight_device(at, i, d)?;
        }
        for (name, key, file, devices) in throttles {
            for (i, d) in devices.iter().enumerate() {
                let name = format!("blockIO.{name}[{i}]");
                let device = self.device(&name, d.major, d.minor)?;
                if v1 {
                    self.push(at, &name, "blkio", file, format!("{device} {}", d.rate), OnError::Fail);
                } else {
                    // 0 lifts the limit on v1; cgroup2 refuses it as a number.
                    let rate = if d.rate == 0 { "max".into() } else { d.rate.to_string() };
                    self.push(at, &name, "io", "io.max", format!("{device} {key}={rate}"), OnError::Fail);
                }
            }
        }
        Ok(())
    }

    fn weight_device(&mut self, at: Binding, i: usize, d: &WeightDevice) -> Result<()> {
        let name = format!("blockIO.weightDevice[{i}]");
        let device = self.device(&name, d.major, d.minor)?;
        let weight = self.weight(&name, d.weight)?;
        let leaf = self.weight(&name, d.leaf_weight)?;
        if weight != 0 && matches!(at, Binding::V1(_)) {
            let value = format!("{device} {weight}");
            self.push(
                at,
                &name,
                "blkio",
                "blkio.weight_device",
                &value,
                OnError::Instead("blkio.bfq.weight_device", value.clone()),
            );
        } else if let Some(converted) = convert::io_weight_from_blkio(weight) {
            let on_error = OnError::Instead("io.weight", format!("{device} {converted}"));
            self.push(at, &name, "io", "io.bfq.weight", format!("{device} {weight}"), on_error);
        }
        if leaf != 0 {
            self.leaf_weight(at, &name, "blkio.leaf_weight_device", format!("{device} {leaf}"))?;
        }
        Ok(())
    }

    fn leaf_weight(&mut self, at: Binding, name: &str, file: &'static str, value: String) -> Result<()> {
        if at == Binding::V2 {
            return Err(self.v1_only(name, "leaf weights were the CFQ scheduler's"));
        }
        self.push(at, name, "blkio", file, value, OnError::Fail);
        Ok(())
    }

    fn weight(&self, name: &str, weight: Option<u16>) -> Result<u16> {
        match weight.unwrap_or(0) {
            w @ (0 | 10..=1000) => Ok(w),
            w => Err(self.bad(name, format!("{w} is not between 10 and 1000"))),
        }
    }

    fn device(&self, name: &str, major: i64, minor: i64) -> Result<String> {
        match (u32::try_from(major), u32::try_from(minor)) {
            (Ok(major), Ok(minor)) => Ok(format!("{major}:{minor}")),
            _ => Err(self.bad(name, format!("{major}:{minor} is no device number"))),
        }
    }

    fn hugetlb(&mut self, i: usize, h: &HugepageLimit) -> Result<()> {
        let name = format!("hugepageLimits[{i}]");
        let digits = h.page_size.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || !matches!(&h.page_size[digits..], "KB" | "MB" | "GB") {
            return Err(self.bad(&format!("{name}.pageSize"), format!("{:?} is no page size such as 2MB or 1GB", h.page_size)));
        }
        let at = self.binding(&name, "hugetlb")?;
        let suffix = if at == Binding::V2 { "max" } else { "limit_in_bytes" };
        let size = &h.page_size;
        self.push(at, &name, "hugetlb", format!("hugetlb.{size}.{suffix}"), h.limit, OnError::Fail);
        // Reservations too, or a limit is met by SIGBUS at the first touch instead of ENOMEM at mmap (5.7 and later).
        self.push(at, &name, "hugetlb", format!("hugetlb.{size}.rsvd.{suffix}"), h.limit, OnError::SkipMissing);
        Ok(())
    }

    fn rdma(&mut self, device: &str, limit: &Rdma) -> Result<()> {
        let name = format!("rdma[{device:?}]");
        if device.is_empty() || device.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(self.bad(&name, "not the name of a device"));
        }
        let mut value = device.to_owned();
        for (key, number) in [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)] {
            if let Some(n) = number {
                value.push_str(&format!(" {key}={n}"));
            }
        }
        if value == device {
            return Err(self.bad(&name, "neither hcaHandles nor hcaObjects is given"));
        }
        let at = self.binding(&name, "rdma")?;
        self.push(at, &name, "rdma", "rdma.max", value, OnError::Fail);
        Ok(())
    }

    fn network(&mut self, n: &Network) -> Result<()> {
        if let Some(class) = n.class_id.filter(|c| *c != 0) {
            let at = self.network_binding("network.classID", "net_cls")?;
            self.push(at, "network.classID", "net_cls", "net_cls.classid", class, OnError::Fail);
        }
        for (i, p) in n.priorities.iter().enumerate() {
            let name = format!("network.priorities[{i}]");
            if p.name.is_empty() || p.name.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(self.bad(&name, format!("{:?} is not the name of an interface", p.name)));
            }
            let at = self.network_binding(&name, "net_prio")?;
            self.push(at, &name, "net_prio", "net_prio.ifpriomap", format!("{} {}", p.name, p.priority), OnError::Fail);
        }
        Ok(())
    }

    /// net_cls and net_prio have no cgroup2 form; filters match on the cgroup's path there.
    fn network_binding(&self, name: &str, controller: &'static str) -> Result<Binding> {
        match self.binding(name, controller)? {
            Binding::V2 => Err(Error::unsupported(
                self.field(name),
                format!("{controller} exists on v1 only, and no v1 hierarchy with it is mounted"),
            )),
            at => Ok(at),
        }
    }

    fn unified(&mut self, key: &str, value: &str) -> Result<()> {
        let name = format!("unified[{key:?}]");
        let controller = match key.split_once('.') {
            Some((c, file)) if !c.is_empty() && !file.is_empty() && !key.contains(['/', '\0', '\n']) => c,
            _ => return Err(self.bad(&name, "not a cgroup2 file name of the form CONTROLLER.PARAMETER")),
        };
        // Membership and life of the cgroup are ours: a frozen or killed one could not start the container.
        if matches!(
            key,
            "cgroup.procs" | "cgroup.threads" | "cgroup.freeze" | "cgroup.kill" | "cgroup.type" | "cgroup.subtree_control"
        ) {
            return Err(self.bad(&name, "the runtime itself owns this file"));
        }
        let at = self.binding(&name, controller)?;
        if let Binding::V1(i) = at {
            let mount = &self.cgroup.legacy[i].mount;
            return Err(Error::unsupported(
                self.field(&name),
                format!("{controller} is bound to v1 at {mount}: invalid configuration, as unified is for what cgroup2 has"),
            ));
        }
        let field = self.field(&name);
        let (controller, file) = (controller.to_owned().into(), key.to_owned().into());
        self.list.push((at, Write { field, controller, file, value: value.to_owned(), on_error: OnError::Fail }));
        Ok(())
    }
}
