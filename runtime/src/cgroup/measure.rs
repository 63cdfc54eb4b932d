//! Reading [`Stats`] from the files of either hierarchy. A file that a kernel does not have leaves its numbers at zero.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::stats::{Blkio, BlkioEntry, CpuSet, Hugetlb, MemoryEntry, Pids, Psi, PsiData, Stats};
use super::{Binding, Cgroup, Dir, convert, explain, file};
use crate::error::{Error, Result};

const STEP: &str = "stats";
/// USER_HZ, the unit of cpuacct.stat, in nanoseconds: 100 on every Linux architecture that is still alive.
const TICK: u64 = 1_000_000_000 / 100;

/// An open directory of one hierarchy.
struct Files {
    fd: OwnedFd,
    path: String,
}

impl Files {
    /// None: the cgroup is gone.
    fn open(dir: &Dir) -> Result<Option<Self>> {
        let path = dir.full();
        match file::open_dir(&path, STEP) {
            Ok(fd) => Ok(Some(Files { fd, path })),
            Err(e) if e.errno() == Some(Errno::NOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// None: the kernel has no such file, or does not fill it (PSI that is turned off).
    fn text(&self, name: &str) -> Result<Option<String>> {
        match file::read_at(self.fd.as_fd(), name) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(Error::system(STEP, format!("read(\"{}/{name}\")", self.path), errno)),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        file::number(&text).map(Some).ok_or_else(|| self.odd(name, &text))
    }

    fn odd(&self, name: &str, text: &str) -> Error {
        Error::failed(STEP, format!("{}/{name} is not as expected: {text:?}", self.path))
    }

    fn psi(&self, name: &str) -> Result<Option<Psi>> {
        Ok(self.text(name)?.map(|t| parse_psi(&t)))
    }
}

impl Cgroup {
    /// What it has used so far.
    ///
    /// # Errors
    /// A file cannot be read or understood.
    pub fn stats(&self) -> Result<Stats> {
        let mut s = Stats::default();
        let unified = self.unified.as_ref().map_or(Ok(None), Files::open)?;
        let v1 = |controller: &str| match self.binding(controller) {
            Some(Binding::V1(i)) => Files::open(&self.legacy[i]).map(Some),
            _ => Ok(None),
        };
        // Some(None): bound to v1, and gone.
        match v1("pids")? {
            Some(files) => files.map_or(Ok(()), |f| pids(&f, &mut s.pids))?,
            None => unified.as_ref().map_or(Ok(()), |f| pids(f, &mut s.pids))?,
        }
        if let Some(files) = v1("cpu")?.flatten() {
            throttling(&files, &mut s, "throttled_time", 1)?;
        }
        if let Some(files) = v1("cpuacct")?.flatten() {
            cpuacct(&files, &mut s)?;
        } else if let Some(f) = &unified {
            cpu(f, &mut s)?;
        }
        if let Some(files) = v1("cpuset")?.flatten() {
            cpuset(&files, &mut s.cpuset)?;
        }
        if let Some(files) = v1("memory")?.flatten() {
            memory_v1(&files, &mut s)?;
        } else if let Some(f) = &unified {
            memory(f, &mut s)?;
        }
        if let Some(files) = v1("blkio")?.flatten() {
            blkio_v1(&files, &mut s.blkio)?;
        } else if let Some(f) = &unified {
            io(f, &mut s.blkio)?;
        }
        if let Some(files) = v1("hugetlb")?.flatten() {
            hugetlb(&files, &mut s, true)?;
        } else if let Some(f) = &unified {
            hugetlb(f, &mut s, false)?;
        }
        // Pressure is counted in the unified tree whatever controllers it has.
        if let Some(f) = &unified {
            s.cpu.psi = f.psi("cpu.pressure")?;
            s.memory.psi = f.psi("memory.pressure")?;
            s.blkio.psi = f.psi("io.pressure")?;
        }
        Ok(s)
    }
}

fn pids(f: &Files, p: &mut Pids) -> Result<()> {
    let Some(current) = f.number("pids.current")? else {
        // No pids controller: count.
        let mut all = Vec::new();
        let _ = super::walk::pids(f.fd.as_fd(), false, &mut all);
        p.current = all.len() as u64;
        return Ok(());
    };
    p.current = current;
    p.limit = f.number("pids.max")?.filter(|m| *m != u64::MAX).unwrap_or(0);
    Ok(())
}

/// cpu.stat's share of a quota; `unit` nanoseconds for each unit of `time_key`.
fn throttling(f: &Files, s: &mut Stats, time_key: &str, unit: u64) -> Result<()> {
    let Some(text) = f.text("cpu.stat")? else { return Ok(()) };
    let get = |key| file::keyed(&text, key).unwrap_or(0);
    s.cpu.throttling.periods = get("nr_periods");
    s.cpu.throttling.throttled_periods = get("nr_throttled");
    s.cpu.throttling.throttled_time = get(time_key) * unit;
    Ok(())
}

fn cpu(f: &Files, s: &mut Stats) -> Result<()> {
    let Some(text) = f.text("cpu.stat")? else { return Ok(()) };
    let get = |key| file::keyed(&text, key).unwrap_or(0) * 1000;
    s.cpu.usage.total = get("usage_usec");
    s.cpu.usage.user = get("user_usec");
    s.cpu.usage.kernel = get("system_usec");
    if file::keyed(&text, "nr_periods").is_some() {
        throttling(f, s, "throttled_usec", 1000)?;
    }
    Ok(())
}

fn cpuacct(f: &Files, s: &mut Stats) -> Result<()> {
    let usage = &mut s.cpu.usage;
    usage.total = f.number("cpuacct.usage")?.unwrap_or(0);
    if let Some(text) = f.text("cpuacct.stat")? {
        usage.user = file::keyed(&text, "user").unwrap_or(0) * TICK;
        usage.kernel = file::keyed(&text, "system").unwrap_or(0) * TICK;
    }
    if let Some(text) = f.text("cpuacct.usage_percpu")? {
        usage.percpu = text.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
    }
    if let Some(text) = f.text("cpuacct.usage_all")? {
        // `cpu user system`, then a line for each CPU.
        for line in text.lines().skip(1) {
            let mut n = line.split_ascii_whitespace().skip(1).map_while(|n| n.parse().ok());
            if let (Some(user), Some(kernel)) = (n.next(), n.next()) {
                usage.percpu_user.push(user);
                usage.percpu_kernel.push(kernel);
            }
        }
    }
    Ok(())
}

fn cpuset(f: &Files, c: &mut CpuSet) -> Result<()> {
    for (name, list) in [("cpuset.cpus", &mut c.cpus), ("cpuset.mems", &mut c.mems)] {
        if let Some(text) = f.text(name)? {
            *list = convert::parse_ranges(text.trim()).map_err(|_| f.odd(name, &text))?;
        }
    }
    let flags = [
        ("cpu_exclusive", &mut c.cpu_exclusive),
        ("mem_hardwall", &mut c.mem_hardwall),
        ("mem_exclusive", &mut c.mem_exclusive),
        ("memory_migrate", &mut c.memory_migrate),
        ("memory_spread_page", &mut c.memory_spread_page),
        ("memory_spread_slab", &mut c.memory_spread_slab),
        ("memory_pressure", &mut c.memory_pressure),
        ("sched_load_balance", &mut c.sched_load_balance),
    ];
    for (name, value) in flags {
        *value = f.number(&format!("cpuset.{name}"))?.unwrap_or(0);
    }
    if let Some(text) = f.text("cpuset.sched_relax_domain_level")? {
        c.sched_relax_domain_level = text.trim().parse().unwrap_or(0);
    }
    Ok(())
}

/// memory.stat: `key value` lines.
fn raw(f: &Files, s: &mut Stats) -> Result<()> {
    let Some(text) = f.text("memory.stat")? else { return Ok(()) };
    let pairs = text.lines().filter_map(|l| l.split_once(' '));
    s.memory.raw = pairs.filter_map(|(k, v)| Some((k.to_owned(), file::number(v)?))).collect();
    Ok(())
}

fn memory(f: &Files, s: &mut Stats) -> Result<()> {
    raw(f, s)?;
    s.memory.cache = s.memory.raw.get("file").copied().unwrap_or(0);
    let entry = |name: &str| -> Result<Option<MemoryEntry>> {
        let Some(usage) = f.number(&format!("{name}.current"))? else { return Ok(None) };
        let limit = f.number(&format!("{name}.max"))?.unwrap_or(0);
        Ok(Some(MemoryEntry { limit, usage, max: f.number(&format!("{name}.peak"))?.unwrap_or(0), failcnt: 0 }))
    };
    let Some(usage) = entry("memory")? else { return Ok(()) };
    // v1 counts memory and swap together, and that is what readers expect. The peaks cannot be added.
    let swap = entry("memory.swap")?.unwrap_or_default();
    let limit = if swap.limit == u64::MAX { u64::MAX } else { swap.limit.saturating_add(usage.limit) };
    s.memory.swap = MemoryEntry { limit, usage: swap.usage + usage.usage, max: 0, failcnt: 0 };
    s.memory.usage = usage;
    Ok(())
}

fn memory_v1(f: &Files, s: &mut Stats) -> Result<()> {
    raw(f, s)?;
    s.memory.cache = s.memory.raw.get("cache").copied().unwrap_or(0);
    let entry = |name: &str| -> Result<MemoryEntry> {
        let number = |file: &str| Ok::<_, Error>(f.number(&format!("{name}.{file}"))?.unwrap_or(0));
        Ok(MemoryEntry {
            limit: number("limit_in_bytes")?,
            usage: number("usage_in_bytes")?,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
        })
    };
    s.memory.usage = entry("memory")?;
    s.memory.swap = entry("memory.memsw")?;
    s.memory.kernel = entry("memory.kmem")?;
    s.memory.kernel_tcp = entry("memory.kmem.tcp")?;
    Ok(())
}

/// io.stat: `8:0 rbytes=1 wbytes=2 ...` for each device, under v1's names.
fn io(f: &Files, b: &mut Blkio) -> Result<()> {
    let Some(text) = f.text("io.stat")? else { return Ok(()) };
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let (op, list) = match key {
                "rbytes" => ("Read", &mut b.io_service_bytes_recursive),
                "wbytes" => ("Write", &mut b.io_service_bytes_recursive),
                "rios" => ("Read", &mut b.io_serviced_recursive),
                "wios" => ("Write", &mut b.io_serviced_recursive),
                _ => continue,
            };
            let value = value.parse().map_err(|_| f.odd("io.stat", line))?;
            list.push(BlkioEntry { major, minor, op: op.into(), value });
        }
    }
    Ok(())
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The schedulers count under names of their own: the first of BFQ with its debug files, BFQ, the generic throttling layer
/// (recursive or not) that has counted anything is used.
fn blkio_v1(f: &Files, b: &mut Blkio) -> Result<()> {
    let read = |name: String| -> Result<Option<Vec<BlkioEntry>>> {
        let Some(text) = f.text(&name)? else { return Ok(None) };
        // `8:0 Read 12`, or `8:0 12`; a line `Total 12` is the sum.
        Ok(Some(
            text.lines()
                .filter_map(|line| {
                    let words: Vec<&str> = line.split_ascii_whitespace().collect();
                    let (major, minor) = device(words.first()?)?;
                    let (op, value) = match words[1..] {
                        [value] => ("", value),
                        [op, value] => (op, value),
                        _ => return None,
                    };
                    Some(BlkioEntry { major, minor, op: op.into(), value: value.parse().ok()? })
                })
                .collect(),
        ))
    };
    if let Some(sectors) = read("blkio.bfq.sectors_recursive".into())? {
        b.sectors_recursive = sectors;
        let get = |name: &str| read(format!("blkio.bfq.{name}_recursive")).map(Option::unwrap_or_default);
        b.io_service_time_recursive = get("io_service_time")?;
        b.io_wait_time_recursive = get("io_wait_time")?;
        b.io_merged_recursive = get("io_merged")?;
        b.io_queued_recursive = get("io_queued")?;
        b.io_time_recursive = get("time")?;
    }
    for (prefix, suffix) in [("bfq", "_recursive"), ("throttle", "_recursive"), ("throttle", "")] {
        let Some(serviced) = read(format!("blkio.{prefix}.io_serviced{suffix}"))? else { continue };
        if serviced.is_empty() {
            continue;
        }
        b.io_serviced_recursive = serviced;
        b.io_service_bytes_recursive = read(format!("blkio.{prefix}.io_service_bytes{suffix}"))?.unwrap_or_default();
        break;
    }
    Ok(())
}

fn hugetlb(f: &Files, s: &mut Stats, v1: bool) -> Result<()> {
    for size in explain::page_sizes() {
        // Reservations are what a limit counts, where the kernel has them (5.7 and later).
        let mut entry = Hugetlb::default();
        let names = [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")];
        let mut found = false;
        for name in names {
            let current = if v1 { "usage_in_bytes" } else { "current" };
            let Some(usage) = f.number(&format!("{name}.{current}"))? else { continue };
            found = true;
            entry.usage = usage;
            if v1 {
                entry.max = f.number(&format!("{name}.max_usage_in_bytes"))?.unwrap_or(0);
                entry.failcnt = f.number(&format!("{name}.failcnt"))?.unwrap_or(0);
            } else if let Some(text) = f.text(&format!("hugetlb.{size}.events"))? {
                entry.failcnt = file::keyed(&text, "max").unwrap_or(0);
            }
            break;
        }
        if found {
            s.hugetlb.insert(size, entry);
        }
    }
    Ok(())
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn parse_psi(text: &str) -> Psi {
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let data = match words.next() {
            Some("some") => &mut psi.some,
            Some("full") => &mut psi.full,
            _ => continue,
        };
        *data = PsiData::default();
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            match key {
                "avg10" => data.avg10 = value.parse().unwrap_or(0.0),
                "avg60" => data.avg60 = value.parse().unwrap_or(0.0),
                "avg300" => data.avg300 = value.parse().unwrap_or(0.0),
                "total" => data.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    psi
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure() {
        let psi = parse_psi("some avg10=1.50 avg60=0.25 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.10 total=7\n");
        assert_eq!(psi.some, PsiData { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 42 });
        assert_eq!(psi.full, PsiData { avg10: 0.0, avg60: 0.0, avg300: 0.1, total: 7 });
    }
}
