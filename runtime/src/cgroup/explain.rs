//! Why a limit could not be written, as far as the host tells.

use rustix::io::Errno;

use super::writes::Write;
use super::{Dir, Host, file};
use crate::error::Error;

/// Why a controller could not be enabled: ancestor's subtree_control file and what the kernel said.
#[derive(Default)]
pub(crate) struct Refused(pub Vec<(String, String, Errno)>);

/// A write that failed.
pub(crate) struct WriteFailed<'a> {
    pub dir: &'a Dir,
    pub write: &'a Write,
    pub errno: Errno,
    /// The file itself was not there.
    pub missing: bool,
}

impl WriteFailed<'_> {
    /// The error, with what is known about the reason.
    pub(crate) fn explain(self, refused: &Refused) -> Error {
        let WriteFailed { dir, write, errno, missing } = self;
        if missing && errno == Errno::NOENT {
            return Error::unsupported(&write.field, why_missing(dir, write, refused));
        }
        let path = dir.full();
        let e = file::write_error(&write.field, &path, &write.file, &write.value, errno);
        match (errno, &*write.controller) {
            (Errno::BUSY, "memory") => {
                let used = |f: &str| file::read(&format!("{path}/{f}")).ok().and_then(|t| file::number(&t)).unwrap_or(0);
                let (usage, peak) = (used("memory.usage_in_bytes"), used("memory.max_usage_in_bytes"));
                e.hint(format!("in use: {usage} bytes, at most so far: {peak} bytes"))
            }
            (Errno::INVAL, "cpu") if write.file.contains("rt_") => {
                e.hint("realtime bandwidth comes out of the parent's: set cpu.rt_runtime_us there first")
            }
            (Errno::INVAL, "cpu") if write.file == "cpu.shares" || write.file == "cpu.weight" => {
                e.hint("a cgroup with cpu.idle 1 takes no weight")
            }
            (Errno::NODEV | Errno::NXIO, "io" | "blkio") => e.hint("no such block device"),
            _ => e,
        }
    }
}

/// Why a file is not there, as far as the host tells.
pub(super) fn why_missing(dir: &Dir, write: &Write, refused: &Refused) -> String {
    let c = &*write.controller;
    if !dir.controllers.is_empty() {
        return match write.file.strip_prefix("hugetlb.") {
            Some(_) => no_page_size(&write.file),
            None if matches!(&*write.file, "blkio.weight" | "blkio.weight_device") => {
                format!("this kernel has neither blkio.bfq.weight (the BFQ scheduler) nor {} (v1, at {})", write.file, dir.mount)
            }
            None if write.file.contains("memsw") => "no swap accounting: boot with swapaccount=1".into(),
            None => format!("this kernel's {c} controller (v1, at {}) has no {}", dir.mount, write.file),
        };
    }
    let lists = |file: String| file::read(&file).unwrap_or_default().split_ascii_whitespace().any(|x| x == c);
    if c != "cgroup" && !lists(format!("{}/cgroup.controllers", dir.mount)) {
        return elsewhere(c, dir);
    }
    if let Some((_, file, errno)) = refused.0.iter().find(|r| r.0 == c) {
        let why = crate::error::words(*errno);
        let hint = if *errno == Errno::BUSY { " (that cgroup has processes of its own)" } else { "" };
        return format!("{c} cannot be enabled below {}: write({file:?}, \"+{c}\"): {why}{hint}", dir.mount);
    }
    if c != "cgroup" && !lists(format!("{}/cgroup.controllers", dir.full())) {
        return format!("{c} is not enabled for {}", dir.full());
    }
    kernel_lacks(write)
}

/// For a file that cgroup2's controller does not have in this kernel.
pub(super) fn kernel_lacks(write: &Write) -> String {
    let c = &*write.controller;
    match &*write.file {
        f if f.starts_with("hugetlb.") => no_page_size(f),
        "memory.swap.max" => "this kernel has no swap accounting".into(),
        "io.bfq.weight" => "this kernel has neither io.bfq.weight (the BFQ scheduler) nor io.weight (iocost)".into(),
        f => format!("this kernel's {c} controller has no {f}"),
    }
}

/// Where a controller is, if not in the cgroup2 tree.
fn elsewhere(controller: &str, dir: &Dir) -> String {
    let v1_name = if controller == "io" { "blkio" } else { controller };
    if let Ok(host) = Host::detect_v1() {
        for name in [controller, v1_name] {
            if let Some(mount) = host.bound_to_v1(name) {
                return format!("{name} is bound to v1 at {mount}");
            }
        }
    }
    // /proc/cgroups: name, hierarchy, number of cgroups, enabled.
    let all = file::read("/proc/cgroups").unwrap_or_default();
    let line = all.lines().find(|l| l.split_ascii_whitespace().next() == Some(v1_name));
    match line.map(|l| l.split_ascii_whitespace().collect::<Vec<_>>()) {
        Some(f) if f.get(3) == Some(&"0") => format!("{controller} is disabled in this kernel (cgroup_disable=)"),
        Some(f) if f.get(1).is_some_and(|h| *h != "0") => {
            format!("{v1_name} is bound to a v1 hierarchy (number {}) that is not mounted here", f[1])
        }
        _ => format!("cgroup2 at {} has no {controller} controller", dir.mount),
    }
}

/// For a limit of a page size that the host lacks.
fn no_page_size(file: &str) -> String {
    let size = file.trim_start_matches("hugetlb.").split('.').next().unwrap_or_default();
    match page_sizes() {
        sizes if sizes.is_empty() => "this kernel has no huge pages".into(),
        sizes => format!("this host has no huge pages of {size}: it has {}", sizes.join(", ")),
    }
}

/// The sizes of this host's huge pages as cgroup files name them, smallest first.
pub(crate) fn page_sizes() -> Vec<String> {
    let mut sizes: Vec<u64> = Vec::new();
    for entry in std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
        let name = entry.file_name();
        sizes.extend(name.to_str().and_then(|n| n.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()));
    }
    sizes.sort_unstable();
    sizes.into_iter().map(page_size).collect()
}

/// The kernel's name for a page size in kB (mm/hugetlb_cgroup.c).
pub(crate) fn page_size(kb: u64) -> String {
    match kb {
        0..1024 => format!("{kb}KB"),
        1024..1_048_576 => format!("{}MB", kb >> 10),
        _ => format!("{}GB", kb >> 20),
    }
}
