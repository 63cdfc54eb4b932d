//! What the kernel and our own privileges say to a process and to the sections of `linux`.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::files::exists;
use super::{Report, Verdict};
use crate::container::Prepared;
use crate::error::{Error, Result};
use crate::plan::process::cpu_mask;
use crate::plan::{Facts, Op};
use crate::seccomp;
use crate::spec::config::{Config, IdMapping, Linux, Process};

/// The oldest kernel that rrun runs on: major, minor.
const OLDEST: (u32, u32) = (6, 1);
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_SYS_NICE: u64 = 1 << 23;

/// The machine itself.
pub(super) fn machine(report: &mut Report, facts: &Facts) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let verdict = if version >= OLDEST { Verdict::Ok } else { Verdict::Impossible };
    report.add("host", verdict, format!("kernel {release}; rrun needs {}.{}", OLDEST.0, OLDEST.1));
    if facts.permitted & CAP_SYS_ADMIN == 0 || !rustix::process::geteuid().is_root() {
        report.add("host", Verdict::Impossible, "rrun needs root with CAP_SYS_ADMIN: rootless containers are not supported yet");
    }
    match crate::cgroup::Host::detect() {
        Ok(host) => report.add("host", Verdict::Ok, format!("cgroups: {}", host.layout())),
        Err(error) => report.outcome("host", Err(error)),
    }
}

/// `process`.
pub(super) fn process(report: &mut Report, config: &Config, prepared: &Prepared, facts: &Facts) {
    let Some(process) = &config.process else { return };
    let user = &process.user;
    report.add("process.user", Verdict::Ok, format!("user {} group {} groups {:?}", user.uid, user.gid, user.additional_gids));
    for step in &prepared.plan.init.steps {
        match &step.op {
            Op::Capabilities { .. } | Op::Bounding { .. } => report.add(&step.field, Verdict::Ok, step.op.to_string()),
            Op::Seccomp => {}
            _ => {}
        }
    }
    let most_files = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|n| n.trim().parse::<u64>().ok());
    for (i, limit) in process.rlimits.iter().enumerate() {
        if let Some(most) = most_files.filter(|most| limit.kind == "RLIMIT_NOFILE" && limit.hard > *most) {
            let text = format!("hard limit {} is above fs.nr_open, {most}, which nobody may exceed", limit.hard);
            report.add(format!("process.rlimits[{i}] ({})", limit.kind), Verdict::Impossible, text);
            continue;
        }
        report.add(
            format!("process.rlimits[{i}] ({})", limit.kind),
            Verdict::Ok,
            format!("soft {} hard {}", limit.soft, limit.hard),
        );
    }
    if let Some(adj) = process.oom_score_adj {
        report.outcome("process.oomScoreAdj", oom_score_adj(adj, facts));
    }
    priorities(report, process, facts);
    if let Some(profile) = process.apparmor_profile.as_deref().filter(|p| !p.is_empty() && *p != "unconfined") {
        report.outcome("process.apparmorProfile", apparmor(profile));
    }
    if let Some(label) = process.selinux_label.as_deref().filter(|l| !l.is_empty()) {
        report.add("process.selinuxLabel", Verdict::Ok, label);
    }
    if let Some(affinity) = &process.exec_cpu_affinity {
        for (name, list) in [("initial", &affinity.initial), ("final", &affinity.final_)] {
            let Some(list) = list.as_deref().filter(|l| !l.is_empty()) else { continue };
            let field = format!("process.execCPUAffinity.{name}");
            report.outcome(&field, within(&field, list, "/sys/devices/system/cpu/online"));
        }
    }
}

/// Lowering it below what we started with needs CAP_SYS_RESOURCE (proc_pid_oom_score_adj(5)). Asked of the kernel, with our own.
fn oom_score_adj(adj: i32, facts: &Facts) -> Result<String> {
    const FIELD: &str = "process.oomScoreAdj";
    const OWN: &str = "/proc/self/oom_score_adj";
    if !(-1000..=1000).contains(&adj) {
        return Err(Error::config(FIELD, format!("{adj} is not from -1000 to 1000")));
    }
    let own = std::fs::read_to_string(OWN).unwrap_or_default();
    if !facts.may_raise_limits() && own.trim().parse::<i32>().is_ok_and(|own| adj < own) {
        let taken = std::fs::write(OWN, adj.to_string());
        // Raising it again is always allowed.
        let _ = std::fs::write(OWN, own.trim());
        if taken.is_err() {
            let why =
                format!("{adj} is below our own, {}, and lowering it needs CAP_SYS_RESOURCE, which rrun lacks here", own.trim());
            return Err(Error::unsupported(FIELD, why));
        }
    }
    Ok(adj.to_string())
}

/// Real-time policies and negative nice values are a matter of CAP_SYS_NICE (sched(7), ioprio_set(2)).
fn priorities(report: &mut Report, process: &Process, facts: &Facts) {
    let may = facts.permitted & CAP_SYS_NICE != 0;
    if let Some(s) = &process.scheduler {
        let realtime = matches!(s.policy.as_str(), "SCHED_FIFO" | "SCHED_RR" | "SCHED_DEADLINE");
        if (realtime || s.nice < 0) && !may {
            report.add(
                "process.scheduler",
                Verdict::Impossible,
                format!("{} nice {} needs CAP_SYS_NICE, which rrun lacks here", s.policy, s.nice),
            );
        } else {
            report.add("process.scheduler", Verdict::Ok, format!("{} nice {} priority {}", s.policy, s.nice, s.priority));
        }
    }
    if let Some(io) = &process.io_priority {
        if io.class == "IOPRIO_CLASS_RT" && !may && facts.permitted & CAP_SYS_ADMIN == 0 {
            report.add("process.ioPriority", Verdict::Impossible, "IOPRIO_CLASS_RT needs CAP_SYS_NICE, which rrun lacks here");
        } else {
            report.add("process.ioPriority", Verdict::Ok, format!("{} {}", io.class, io.priority));
        }
    }
}

fn apparmor(profile: &str) -> Result<String> {
    const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
    // Lines such as `docker-default (enforce)`; where the list cannot be read nothing is known.
    let known = std::fs::read_to_string(LOADED).ok();
    match known {
        Some(text) if !text.lines().any(|l| l.rsplit_once(" (").map_or(l, |(name, _)| name) == profile) => {
            Err(Error::unsupported(
                "process.apparmorProfile",
                format!("the profile {profile:?} is not loaded: apparmor_parser loads it"),
            ))
        }
        _ => Ok(profile.to_owned()),
    }
}

/// `linux`, without what has a file of its own here.
pub(super) fn linux(report: &mut Report, config: &Config, prepared: &Prepared) {
    let empty = Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&empty);
    namespaces(report, prepared);
    for (field, maps) in [("linux.uidMappings", &linux.uid_mappings), ("linux.gidMappings", &linux.gid_mappings)] {
        if !maps.is_empty() {
            report.outcome(field, mappings(field, maps));
        }
    }
    for step in &prepared.plan.init.steps {
        if let Op::Sysctl { path, .. } = &step.op {
            sysctl(report, &step.field, &path.to_string_lossy(), step.op.to_string());
        }
    }
    for name in linux.net_devices.keys() {
        let field = format!("linux.netDevices.{name}");
        if exists(format!("/sys/class/net/{name}")) {
            report.add(field, Verdict::Ok, format!("{name} is moved in"));
        } else {
            report.add(field, Verdict::Wrong, format!("there is no network device {name} here"));
        }
    }
    if let Some(policy) = linux.memory_policy.as_ref() {
        let field = "linux.memoryPolicy.nodes";
        match policy.nodes.as_str() {
            "" => report.add("linux.memoryPolicy", Verdict::Ok, &*policy.mode),
            nodes => report.outcome(field, within(field, nodes, "/sys/devices/system/node/online")),
        }
    }
    filter(report, linux, prepared);
}

fn namespaces(report: &mut Report, prepared: &Prepared) {
    let namespaces = &prepared.plan.namespaces;
    for kind in &namespaces.new {
        let field = format!("linux.namespaces ({})", kind.name());
        let most = match kind.proc_name() {
            "cgroup" | "ipc" | "net" | "mnt" | "pid" | "time" | "user" | "uts" => {
                format!("/proc/sys/user/max_{}_namespaces", kind.proc_name())
            }
            _ => String::new(),
        };
        let limit = std::fs::read_to_string(&most).ok();
        if !exists(format!("/proc/self/ns/{}", kind.proc_name())) {
            report.add(field, Verdict::Impossible, "this kernel has no such namespaces");
        } else if limit.is_some_and(|l| l.trim() == "0") {
            report.add(field, Verdict::Impossible, format!("{most} is 0: raise it"));
        } else {
            report.add(field, Verdict::Ok, "a new one");
        }
    }
    for joined in &namespaces.joined {
        let outcome = namespace_file(&joined.path, joined.kind.proc_name(), &joined.field);
        report.outcome(&joined.field, outcome);
    }
}

/// Is it a namespace of that kind? The link in /proc/self/fd says so: `net:[4026531840]`.
fn namespace_file(path: &str, kind: &str, field: &str) -> Result<String> {
    use crate::error::Context as _;
    let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    let fd = fd.at(field, || format!("open({path:?})"))?;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let target = rustix::fs::readlinkat(CWD, link, Vec::new()).at(field, || format!("readlink({path:?})"))?;
    let target = target.to_string_lossy();
    match target.split_once(":[") {
        Some((found, _)) if found == kind => Ok(format!("joins {path}")),
        Some((found, _)) => Err(Error::config(field, format!("{path:?} is a {found} namespace"))),
        // A namespace file that is bound somewhere shows its path; the file system tells.
        None if rustix::fs::fstatfs(&fd).is_ok_and(|s| s.f_type == NSFS_MAGIC) => Ok(format!("joins {path}")),
        None => Err(Error::config(field, format!("{path:?} is not a namespace"))),
    }
}

/// NSFS_MAGIC of linux/magic.h.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// The kernel refuses ranges that meet, and more than 340 (user_namespaces(7)).
fn mappings(field: &str, maps: &[IdMapping]) -> Result<String> {
    if maps.len() > 340 {
        return Err(Error::config(field, format!("has {} ranges; the kernel takes 340", maps.len())));
    }
    let meet = |a: (u32, u32), b: (u32, u32)| {
        u64::from(a.0) < u64::from(b.0) + u64::from(b.1) && u64::from(b.0) < u64::from(a.0) + u64::from(a.1)
    };
    for (i, a) in maps.iter().enumerate() {
        for (j, b) in maps.iter().enumerate().skip(i + 1) {
            if meet((a.container_id, a.size), (b.container_id, b.size)) || meet((a.host_id, a.size), (b.host_id, b.size)) {
                return Err(Error::config(
                    format!("{field}[{j}]"),
                    format!("overlaps with {field}[{i}], which the kernel refuses"),
                ));
            }
        }
    }
    Ok(maps.iter().map(|m| format!("{} to {} ({} ids)", m.container_id, m.host_id, m.size)).collect::<Vec<_>>().join(", "))
}

fn sysctl(report: &mut Report, field: &str, path: &str, what: String) {
    if exists(Path::new("/proc/sys").join(path)) {
        report.add(field, Verdict::Ok, what);
    } else if path.starts_with("net/") {
        // A new network namespace has devices and thereby files of its own.
        report.add(field, Verdict::Warning, format!("the host has no /proc/sys/{path}; the container's network namespace may"));
    } else {
        report.add(field, Verdict::Impossible, format!("this kernel has no /proc/sys/{path}"));
    }
}

/// What the kernel knows of the filter's actions and flags, and whether its agent listens.
fn filter(report: &mut Report, linux: &Linux, prepared: &Prepared) {
    let (Some(section), Some(filter)) = (&linux.seccomp, &prepared.plan.init.filter) else { return };
    let known = seccomp::features();
    let mut fine = true;
    let mut lacks = |field: String, what: &str| {
        report.add(field, Verdict::Impossible, format!("this kernel has no {what}"));
        fine = false;
    };
    if !known.actions.contains(&section.default_action.as_str()) {
        lacks("linux.seccomp.defaultAction".into(), &section.default_action);
    }
    for (i, rule) in section.syscalls.iter().enumerate() {
        if !known.actions.contains(&rule.action.as_str()) {
            lacks(format!("linux.seccomp.syscalls[{i}].action"), &rule.action);
        }
    }
    for (i, flag) in section.flags.iter().flatten().enumerate() {
        if !known.supported_flags.contains(&flag.as_str()) {
            lacks(format!("linux.seccomp.flags[{i}]"), flag);
        }
    }
    if fine {
        report.add("linux.seccomp", Verdict::Ok, format!("{} instructions", filter.filter.len()));
    }
    if let Some((path, _)) = &filter.listener {
        let stat = rustix::fs::statat(CWD, path.as_str(), AtFlags::empty());
        if stat.is_ok_and(|s| s.st_mode & libc::S_IFMT == libc::S_IFSOCK) {
            report.add("linux.seccomp.listenerPath", Verdict::Ok, &**path);
        } else {
            let text = format!("{path} is not a socket now; an agent has to listen there when the container starts");
            report.add("linux.seccomp.listenerPath", Verdict::Warning, text);
        }
    }
}

/// A list of CPUs or nodes that the host has at least one of.
fn within(field: &str, list: &str, online: &str) -> Result<String> {
    let asked = cpu_mask(field, list)?;
    let Ok(text) = std::fs::read_to_string(online) else { return Ok(list.to_owned()) };
    let there = cpu_mask(field, text.trim())?;
    if asked.iter().zip(&there).all(|(a, b)| a & b == 0) {
        return Err(Error::unsupported(field, format!("{list}: this host has {} only", text.trim())));
    }
    Ok(list.to_owned())
}
