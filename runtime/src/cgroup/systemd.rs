//! The systemd driver: the container is a transient scope that systemd makes, accounts and removes; its limits are told to
//! systemd as properties and then written as the cgroupfs driver writes them (systemd knows only a part of them).
//!
//! The mapping is runc's (docs/systemd.md there). A scope cannot exist without a process, so it is started after the clone.

use std::time::Duration;

use super::convert;
use super::dbus::{CallError, Connection, Method, SYSTEM_BUS, Value};
use super::devices::{Exceptions, Kind, Rule, letters};
use super::path::UnitName;
use crate::error::{Error, Result};
use crate::spec::resources::{Cpu, Memory, Resources};

const STEP: &str = "systemd";
/// For one request to systemd with its job; runc waits as long.
const PATIENCE: Duration = Duration::from_secs(30);
/// `USEC_INFINITY`, `CGROUP_LIMIT_MAX`.
const INFINITY: u64 = u64::MAX;
/// Default of CPUQuotaPeriodUSec and of the kernel, microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// A property of a unit.
pub(crate) type Property = (String, Value);

/// A unit to be started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnitPlan {
    pub name: String,
    /// All but PIDs.
    pub properties: Vec<Property>,
    /// Properties for systemd of this version or later.
    pub newer: Vec<(u32, Property)>,
}

fn property(name: &str, value: Value) -> Property {
    (name.to_owned(), value)
}

fn number(name: &str, value: u64) -> Property {
    property(name, Value::U64(value))
}

impl UnitPlan {
    /// The scope of container `id`.
    pub(crate) fn new(unit: &UnitName, id: &str, resources: Properties, annotations: Vec<Property>, v2: bool) -> Self {
        let mut properties = vec![
            property("Description", Value::str(format!("rrun container {id}"))),
            property("Slice", Value::str(&unit.slice)),
            property("Delegate", Value::Bool(true)),
        ];
        // Always accounted, so that statistics are the container's own; as without systemd.
        let io = if v2 { "IOAccounting" } else { "BlockIOAccounting" };
        for name in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
            properties.push(property(name, Value::Bool(true)));
        }
        // No ordering against shutdown.target and the like: the container's manager decides when it goes.
        properties.push(property("DefaultDependencies", Value::Bool(false)));
        properties.extend(resources.all);
        properties.extend(annotations);
        UnitPlan { name: unit.unit.clone(), properties, newer: resources.newer }
    }
}

/// `linux.resources` as systemd knows them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Properties {
    pub all: Vec<Property>,
    /// With the version of systemd that they need.
    pub newer: Vec<(u32, Property)>,
}

/// A CPU quota that is a whole percentage per second, as systemd keeps it: rounded up, in microseconds per `period`.
/// Written to the kernel too, or the next reload of systemd would change it.
pub(crate) fn rounded_quota(quota: i64, period: u64) -> i64 {
    let period = if period == 0 { DEFAULT_PERIOD } else { period };
    match u64::try_from(quota) {
        Ok(q) if q > 0 => ((per_second(q, period) as u128 * u128::from(period) / 1_000_000) as i64).max(quota),
        _ => quota,
    }
}

/// CPUQuotaPerSecUSec, rounded up to 1 %.
fn per_second(quota: u64, period: u64) -> u64 {
    (u128::from(quota) * 1_000_000 / u128::from(period)).next_multiple_of(10_000) as u64
}

/// Translates limits.
///
/// # Errors
/// A value of `unified` that systemd's property cannot take.
pub(crate) fn properties(r: &Resources, v2: bool, prefix: &str) -> Result<Properties> {
    let mut p = Properties::default();
    if let Some(m) = &r.memory {
        memory(m, v2, prefix, &mut p.all)?;
    }
    if let Some(c) = &r.cpu {
        cpu(c, v2, &mut p);
    }
    if let Some(weight) = r.block_io.as_ref().and_then(|b| b.weight).filter(|w| *w != 0 && !v2) {
        p.all.push(number("BlockIOWeight", weight.into()));
    }
    if let Some(limit) = r.pids.as_ref().and_then(|p| p.limit) {
        p.all.push(number("TasksMax", u64::try_from(limit).map_or(INFINITY, |l| l.max(1))));
    }
    let idle = r.unified.get("cpu.idle").is_some_and(|v| v.trim() == "1");
    for (key, value) in &r.unified {
        let field = format!("{prefix}unified[{key:?}]");
        unified(key, value.trim(), idle, &mut p).ok_or_else(|| Error::config(field, format!("{value:?} is no value for it")))?;
    }
    Ok(p)
}

fn memory(m: &Memory, v2: bool, prefix: &str, all: &mut Vec<Property>) -> Result<()> {
    let (limit, swap, low) = (m.limit.unwrap_or(0), m.swap.unwrap_or(0), m.reservation.unwrap_or(0));
    let bytes = |v: i64| u64::try_from(v).unwrap_or(INFINITY);
    if limit != 0 {
        all.push(number(if v2 { "MemoryMax" } else { "MemoryLimit" }, bytes(limit)));
    }
    if v2 && low != 0 {
        all.push(number("MemoryLow", bytes(low)));
    }
    if v2 && let Some(max) = convert::swap_max(swap, limit).map_err(|e| Error::config(format!("{prefix}memory.swap"), e))? {
        all.push(number("MemorySwapMax", bytes(max)));
    }
    Ok(())
}

fn cpu(c: &Cpu, v2: bool, p: &mut Properties) {
    let idle = v2 && c.idle == Some(1);
    if idle {
        // Weight 0 is systemd's word for cpu.idle.
        p.newer.push((252, number("CPUWeight", 0)));
    }
    match c.shares.unwrap_or(0) {
        0 => {}
        shares if !v2 => p.all.push(number("CPUShares", shares)),
        shares if !idle => p.all.extend(convert::weight_from_shares(shares).map(|w| number("CPUWeight", w))),
        _ => {}
    }
    quota(c.quota.unwrap_or(0), c.period.unwrap_or(0), &mut p.all);
    for (name, list) in [("AllowedCPUs", &c.cpus), ("AllowedMemoryNodes", &c.mems)] {
        let bits = list.as_deref().filter(|l| !l.is_empty()).and_then(bit_mask);
        p.all.extend(bits.map(|b| property(name, Value::bytes(b))));
    }
}

fn quota(quota: i64, period: u64, all: &mut Vec<Property>) {
    if quota == 0 && period == 0 {
        return;
    }
    if period != 0 {
        all.push(number("CPUQuotaPeriodUSec", period));
    }
    let period = if period == 0 { DEFAULT_PERIOD } else { period };
    let value = u64::try_from(quota).ok().filter(|q| *q > 0).map_or(INFINITY, |q| per_second(q, period));
    all.push(number("CPUQuotaPerSecUSec", value));
}

/// A list such as `0-2,5` as systemd takes it: bit n of byte n / 8. None: it is not of the plain kind (already checked to
/// be a list; strides are the kernel's own), and only the kernel is told.
fn bit_mask(list: &str) -> Option<Vec<u8>> {
    if list.contains(':') {
        return None;
    }
    let numbers = convert::parse_ranges(list).ok()?;
    let mut mask = vec![0u8; *numbers.iter().max()? as usize / 8 + 1];
    for n in numbers {
        mask[n as usize / 8] |= 1 << (n % 8);
    }
    Some(mask)
}

/// One of `unified`; unknown ones are left to the kernel. None: a value that is wrong.
fn unified(key: &str, value: &str, idle: bool, p: &mut Properties) -> Option<()> {
    let limit = || if value == "max" { Some(INFINITY) } else { value.parse::<u64>().ok() };
    match key {
        "cpu.idle" if idle => p.newer.push((252, number("CPUWeight", 0))),
        "cpu.weight" if !idle => p.all.push(number("CPUWeight", value.parse().ok()?)),
        "cpu.max" => {
            let mut words = value.split_ascii_whitespace();
            let first = words.next()?;
            let period = words.next().map_or(Some(DEFAULT_PERIOD), |w| w.parse().ok().filter(|p| *p > 0))?;
            if words.next().is_some() {
                return None;
            }
            quota(if first == "max" { -1 } else { first.parse().ok()? }, period, &mut p.all);
        }
        "cpuset.cpus" => p.all.extend(bit_mask(value).map(|b| property("AllowedCPUs", Value::bytes(b)))),
        "cpuset.mems" => p.all.extend(bit_mask(value).map(|b| property("AllowedMemoryNodes", Value::bytes(b)))),
        "memory.high" => p.all.push(number("MemoryHigh", limit()?)),
        "memory.low" => p.all.push(number("MemoryLow", limit()?)),
        "memory.min" => p.all.push(number("MemoryMin", limit()?)),
        "memory.max" => p.all.push(number("MemoryMax", limit()?)),
        "memory.swap.max" => p.all.push(number("MemorySwapMax", limit()?)),
        "pids.max" => p.all.push(number("TasksMax", limit()?.max(1))),
        // Of a scope that runs, systemd does not change it: told at the start.
        "memory.oom.group" => {
            let policy = match value {
                "0" => "continue",
                "1" => "kill",
                _ => return None,
            };
            p.newer.push((253, property("OOMPolicy", Value::str(policy))));
        }
        _ => {}
    }
    Some(())
}

/// Device rules as systemd can say them: a strict list of what is allowed. What it cannot say (everything but ..., or a
/// minor number of all majors) is left to our own program: a list that is nearly right would come back with systemd's
/// next reload and deny what is allowed.
pub(crate) fn device_properties(rules: &[Rule]) -> Vec<Property> {
    let list = |entries: Vec<Value>| property("DeviceAllow", Value::Array("(ss)".into(), entries));
    let policy = |name: &str| property("DevicePolicy", Value::str(name));
    let entries = Exceptions::new(rules).ok().filter(|e| !e.default_allow).and_then(|e| {
        e.list
            .iter()
            .map(|(d, access)| {
                let kind = if d.kind == Kind::Char { "char" } else { "block" };
                let path = match (d.major, d.minor) {
                    (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
                    (Some(major), None) => format!("{kind}-{major}"),
                    (None, None) => format!("{kind}-*"),
                    (None, Some(_)) => return None,
                };
                Some(Value::Struct(vec![Value::str(path), Value::str(letters(*access))]))
            })
            .collect::<Option<Vec<_>>>()
    });
    match entries {
        // The empty list first: properties add to what is there.
        Some(entries) => vec![list(Vec::new()), policy("strict"), list(entries)],
        None => vec![list(Vec::new()), policy("auto")],
    }
}

/// A method of systemd's manager.
fn manager(name: &str) -> Method<'_> {
    Method {
        service: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        name,
    }
}

/// A connection that hears of jobs on `unit`.
struct Systemd {
    bus: Connection,
}

impl Systemd {
    fn connect() -> Result<Self> {
        Ok(Systemd { bus: Connection::open(SYSTEM_BUS, PATIENCE)? })
    }

    /// So that [`Systemd::job`] hears the end of a job on `unit`: before the job is asked for.
    fn listen(&mut self, unit: &str) -> Result<()> {
        self.bus.add_match(&format!(
            "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',\
             member='JobRemoved',arg2='{unit}'"
        ))
    }

    /// Asks for a job and waits for its result: `done`, or a word for why not.
    fn job(&mut self, name: &str, arguments: &[Value]) -> Result<Result<String, CallError>> {
        let answer = match self.bus.call(manager(name), arguments)? {
            Ok(answer) => answer,
            Err(e) => return Ok(Err(e)),
        };
        let job = answer.first().and_then(Value::as_str).unwrap_or_default().to_owned();
        // JobRemoved(u id, o job, s unit, s result)
        let result = self.bus.signal(|m| match &m.body[..] {
            [_, Value::Path(path), _, Value::Str(result)] if m.member == "JobRemoved" && *path == job => Some(result.clone()),
            _ => None,
        })?;
        Ok(Ok(result))
    }

    fn version(&mut self) -> Result<u32> {
        let get = Method { interface: "org.freedesktop.DBus.Properties", ..manager("Get") };
        let arguments = [Value::str("org.freedesktop.systemd1.Manager"), Value::str("Version")];
        let answer = self.bus.call(get, &arguments)?.map_err(|e| e.at("Get(Version)"))?;
        let text = answer.first().and_then(Value::as_str).unwrap_or_default().trim_start_matches('v');
        let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| &text[..end]);
        digits.parse().map_err(|_| Error::failed(STEP, format!("its version {text:?} is no number")))
    }

    /// `newer` as far as this systemd has them.
    fn supported(&mut self, newer: &[(u32, Property)]) -> Result<Vec<Property>> {
        if newer.is_empty() {
            return Ok(Vec::new());
        }
        let version = self.version()?;
        Ok(newer.iter().filter(|(since, _)| version >= *since).map(|(_, p)| p.clone()).collect())
    }

    /// A failed unit keeps its name until it is reset.
    fn reset(&mut self, unit: &str) -> Result<()> {
        let _ = self.bus.call(manager("ResetFailedUnit"), &[Value::str(unit)])?;
        Ok(())
    }
}

/// `a(sv)`.
fn list(properties: &[Property]) -> Value {
    let one = |(name, value): &Property| Value::Struct(vec![Value::str(name), value.clone().variant()]);
    Value::Array("(sv)".into(), properties.iter().map(one).collect())
}

/// Was this host booted with systemd? (sd_booted(3))
pub(crate) fn is_running() -> bool {
    rustix::fs::lstat("/run/systemd/system").is_ok_and(|s| rustix::fs::FileType::from_raw_mode(s.st_mode).is_dir())
}

/// Starts the scope with `pid` in it, and waits until it is there.
///
/// # Errors
/// systemd refuses a property or the unit, by its own words.
pub(crate) fn start(unit: &UnitPlan, pid: i32) -> Result<()> {
    let mut systemd = Systemd::connect()?;
    systemd.listen(&unit.name)?;
    let mut properties = unit.properties.clone();
    properties.extend(systemd.supported(&unit.newer)?);
    properties.push(property("PIDs", Value::Array("u".into(), vec![Value::U32(pid as u32)])));
    let arguments =
        [Value::str(&unit.name), Value::str("replace"), list(&properties), Value::Array("(sa(sv))".into(), Vec::new())];
    let mut answer = systemd.job("StartTransientUnit", &arguments)?;
    if answer.as_ref().is_err_and(|e| e.name == "org.freedesktop.systemd1.UnitExists") {
        // Perhaps one that failed earlier: with that reset, once more.
        systemd.reset(&unit.name)?;
        answer = systemd.job("StartTransientUnit", &arguments)?;
    }
    match answer.map_err(|e| e.at(&format!("StartTransientUnit({:?})", unit.name)))?.as_str() {
        "done" => Ok(()),
        result => {
            systemd.reset(&unit.name)?;
            Err(Error::failed(STEP, format!("StartTransientUnit({:?}): the job ended as {result:?}", unit.name)))
        }
    }
}

/// Changes properties of a running unit, until the next boot.
///
/// # Errors
/// systemd refuses one of them; then none is changed.
pub(crate) fn set(unit: &str, properties: &Properties) -> Result<()> {
    let mut systemd = Systemd::connect()?;
    let mut all = properties.all.clone();
    all.extend(systemd.supported(&properties.newer)?.into_iter().filter(|(name, _)| name != "OOMPolicy"));
    if all.is_empty() {
        return Ok(());
    }
    let arguments = [Value::str(unit), Value::Bool(true), list(&all)];
    let answer = systemd.bus.call(manager("SetUnitProperties"), &arguments)?;
    answer.map(drop).map_err(|e| e.at(&format!("SetUnitProperties({unit:?})")))
}

/// Stops the unit and forgets it. One that is gone is no error.
///
/// # Errors
/// systemd cannot be reached, or does not stop it in time.
pub(crate) fn stop(unit: &str) -> Result<()> {
    let mut systemd = Systemd::connect()?;
    systemd.listen(unit)?;
    let answer = systemd.job("StopUnit", &[Value::str(unit), Value::str("replace")])?;
    systemd.reset(unit)?;
    match answer {
        Err(e) if e.name != "org.freedesktop.systemd1.NoSuchUnit" => Err(e.at(&format!("StopUnit({unit:?})"))),
        Ok(result) if result != "done" => Err(Error::failed(STEP, format!("StopUnit({unit:?}): the job ended as {result:?}"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "systemd_tests.rs"]
mod tests;
