//! What only the parent may do for init: id maps, limits, oom_score_adj, time offsets, network devices.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};

use crate::error::{Context as _, Result};
use crate::network::move_devices;
use crate::plan::Duties;
use crate::plan::facts::RLIMITS;
use crate::sys::process::prlimit;

/// Performs them all, gid map before uid map as user_namespaces(7) shows it.
pub(super) fn perform(duties: &Duties, pid: i32, proc: BorrowedFd<'_>) -> Result<()> {
    if let Some(offsets) = &duties.time_offsets {
        write(proc, pid, "timens_offsets", offsets, "linux.timeOffsets")?;
    }
    if let Some(map) = &duties.gid_map {
        write(proc, pid, "gid_map", map.as_bytes(), "linux.gidMappings")?;
    }
    if let Some(map) = &duties.uid_map {
        write(proc, pid, "uid_map", map.as_bytes(), "linux.uidMappings")?;
    }
    for (resource, limit) in &duties.limits {
        let name = RLIMITS[*resource as usize];
        prlimit(pid, *resource, Some(limit))
            .at("process.rlimits", || format!("prlimit({name}, {}, {})", limit.soft, limit.hard))?;
    }
    if let Some(adj) = duties.oom_score_adj {
        write(proc, pid, "oom_score_adj", adj.to_string().as_bytes(), "process.oomScoreAdj")
            .map_err(|e| e.hint("lowering oom_score_adj needs CAP_SYS_RESOURCE"))?;
    }
    if duties.net_devices.is_empty() {
        return Ok(());
    }
    let path = format!("{pid}/ns/net");
    let namespace = rustix::fs::openat(proc, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let namespace = namespace.at("linux.netDevices", || format!("open(\"/proc/{path}\")"))?;
    move_devices(&duties.net_devices, namespace.as_fd())
}

/// Writes a file of /proc/PID in one call, as the kernel wants it.
pub(super) fn write(proc: BorrowedFd<'_>, pid: i32, file: &str, value: &[u8], field: &str) -> Result<()> {
    let path = format!("{pid}/{file}");
    let fd = rustix::fs::openat(proc, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let fd = fd.at(field, || format!("open(\"/proc/{path}\")"))?;
    rustix::io::write(&fd, value)
        .at(field, || format!("write(\"/proc/{path}\", {:?})", String::from_utf8_lossy(value).trim()))?;
    Ok(())
}
