//! `process` of config.json into steps: shared by a container's first process and by `exec`.

use std::ffi::CString;

use super::facts::{Facts, RLIMITS};
use super::namespaces::is_mapped;
use super::{Filter, Op, Program, Step};
use crate::caps;
use crate::error::{Error, Result};
use crate::spec::config::{IdMapping, Process, Scheduler};
use crate::sys::process::{Limit, SchedAttr, StringArray};

/// What a program gets as PATH for its own look-up when `process.env` has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Fields of a process that are checked and turned into numbers and C strings.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Program, arguments, environment.
    pub program: Program,
    /// Working directory.
    pub cwd: CString,
    /// Limits of all sixteen resources.
    pub limits: Vec<(u32, Limit)>,
    /// Those that config.json names.
    pub named_limits: usize,
    /// Capability sets.
    pub caps: caps::Sets,
    /// A filter.
    pub filter: Option<Filter>,
}

/// Surroundings of the checks.
pub struct Surroundings<'a> {
    /// Facts of the host.
    pub facts: &'a Facts,
    /// In a user namespace of the container's?
    pub userns: bool,
    /// Its maps, where they are known.
    pub maps: Option<(&'a [IdMapping], &'a [IdMapping])>,
    /// System call filter.
    pub filter: Option<Filter>,
}

/// Checks every field that stands by itself.
///
/// # Errors
/// The first field that is not valid.
pub fn check(process: &Process, around: &Surroundings<'_>, warnings: &mut Vec<String>) -> Result<Checked> {
    let Some(name) = process.args.first().filter(|a| !a.is_empty()) else {
        return Err(Error::config("process.args", "is empty; its first entry is the program to run"));
    };
    if !process.cwd.starts_with('/') {
        return Err(Error::config("process.cwd", format!("{:?} is not an absolute path", process.cwd)));
    }
    let ids = [("uid", &process.user.uid), ("gid", &process.user.gid)];
    let groups = process.user.additional_gids.iter().map(|gid| ("additionalGids", gid));
    if let Some((name, _)) = ids.into_iter().chain(groups).find(|(_, id)| **id == u32::MAX) {
        return Err(Error::config(format!("process.user.{name}"), "4294967295 means \"no id\" to the kernel; it cannot be one"));
    }
    if let Some((uids, gids)) = around.maps {
        let user = &process.user;
        if !is_mapped(uids, user.uid) {
            return Err(Error::config("process.user.uid", format!("{} is not mapped in linux.uidMappings", user.uid)));
        }
        if let Some(gid) = std::iter::once(&user.gid).chain(&user.additional_gids).find(|gid| !is_mapped(gids, **gid)) {
            return Err(Error::config("process.user", format!("group {gid} is not mapped in linux.gidMappings")));
        }
    }
    let argv = c_strings("process.args", &process.args)?;
    let environment = environment(process);
    let envp = c_strings("process.env", &environment)?;
    let candidates = if name.contains('/') {
        vec![argv[0].clone()]
    } else {
        let path = environment.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        let in_dir = |dir: &str| format!("{}/{name}", if dir.is_empty() { "." } else { dir });
        c_strings("process.args", &path.split(':').map(in_dir).collect::<Vec<_>>())?
    };
    let grantable = if around.userns { u64::MAX } else { around.facts.permitted };
    let mut caps = caps::sets(&process.capabilities.clone().unwrap_or_default(), grantable, warnings);
    consistent(&mut caps, warnings);
    Ok(Checked {
        program: Program { candidates, argv: StringArray::new(argv), envp: StringArray::new(envp) },
        cwd: c_string("process.cwd", &process.cwd)?,
        limits: limits(process, around.facts)?,
        named_limits: process.rlimits.len(),
        caps,
        filter: around.filter.clone(),
    })
}

/// `process.env`, the last of equal names winning, and HOME where it is missing is init's to find: runc's users rely on both.
fn environment(process: &Process) -> Vec<String> {
    let mut environment: Vec<String> = Vec::with_capacity(process.env.len());
    for entry in &process.env {
        let name = |e: &str| e.split_once('=').map_or(e.len(), |(n, _)| n.len() + 1);
        let prefix = &entry[..name(entry)];
        match environment.iter_mut().find(|e| e.len() >= prefix.len() && e.starts_with(prefix)) {
            Some(earlier) => entry.clone_into(earlier),
            None => environment.push(entry.clone()),
        }
    }
    environment
}

/// The kernel's rules on the sets (capabilities(7)): what breaks them cannot be granted, and is left out with a warning.
fn consistent(caps: &mut caps::Sets, warnings: &mut Vec<String>) {
    let mut clamp = |field: &str, set: &mut u64, within: u64, rule: &str| {
        if *set & !within != 0 {
            let names = caps::names(*set & !within).join(", ");
            warnings.push(format!("process.capabilities.{field}: {names} left out: {rule}"));
            *set &= within;
        }
    };
    clamp("effective", &mut caps.effective, caps.permitted, "not in permitted");
    let within = caps.permitted & caps.inheritable;
    clamp("ambient", &mut caps.ambient, within, "not in both permitted and inheritable");
}

/// Limits of all resources: those named, and the machine's defaults for the others.
fn limits(process: &Process, facts: &Facts) -> Result<Vec<(u32, Limit)>> {
    let mut named: [Option<Limit>; 16] = [None; 16];
    for (i, limit) in process.rlimits.iter().enumerate() {
        let field = format!("process.rlimits[{i}] ({})", limit.kind);
        let Some(resource) = RLIMITS.iter().position(|name| *name == limit.kind) else {
            return Err(Error::config(field, format!("unknown resource; known are {}", RLIMITS.join(", "))));
        };
        if named[resource].is_some() {
            return Err(Error::config(field, "stands twice"));
        }
        if limit.soft > limit.hard {
            return Err(Error::config(field, format!("soft limit {} is above the hard limit {}", limit.soft, limit.hard)));
        }
        if limit.hard > facts.own_hard[resource] && !facts.may_raise_limits() {
            let why = format!(
                "hard limit {} is above our own, {}, and raising it needs CAP_SYS_RESOURCE, which rrun lacks here",
                limit.hard, facts.own_hard[resource]
            );
            return Err(Error::unsupported(field, why));
        }
        named[resource] = Some(Limit { soft: limit.soft, hard: limit.hard });
    }
    Ok((0..16).map(|r| (r as u32, named[r].unwrap_or_else(|| facts.default_limit(r)))).collect())
}

/// Attributes of the process itself that need no privilege of a later step: after the mounts, before start.
///
/// # Errors
/// A field that is not valid.
pub fn attribute_steps(process: &Process, checked: &Checked, around: &Surroundings<'_>, steps: &mut Vec<Step>) -> Result<()> {
    let mut add = |field: &str, op: Op| steps.push(Step { field: field.into(), op });
    // In a user namespace the parent does it: CAP_SYS_RESOURCE there does not count.
    if !around.userns {
        add("process.rlimits", Op::Limits { limits: checked.limits.clone() });
    }
    let scheduler = match &process.scheduler {
        Some(scheduler) => scheduler_attr(scheduler)?,
        None => SchedAttr { size: size_of::<SchedAttr>() as u32, ..SchedAttr::default() },
    };
    add("process.scheduler", Op::Scheduler { attr: scheduler });
    let (class, priority) = match &process.io_priority {
        Some(io) => {
            let class = ["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"].iter().position(|c| *c == io.class);
            let class =
                class.ok_or_else(|| Error::config("process.ioPriority.class", format!("unknown class {:?}", io.class)))?;
            let priority = u32::try_from(io.priority).ok().filter(|p| *p <= 7);
            let priority = priority.ok_or_else(|| Error::config("process.ioPriority.priority", "is not from 0 to 7"))?;
            (class as u32 + 1, priority)
        }
        None => (0, 0),
    };
    add("process.ioPriority", Op::IoPriority { class, priority });
    Ok(())
}

/// `process.scheduler` for sched_setattr(2).
fn scheduler_attr(s: &Scheduler) -> Result<SchedAttr> {
    const POLICIES: [(&str, u32); 7] = [
        ("SCHED_OTHER", 0),
        ("SCHED_FIFO", 1),
        ("SCHED_RR", 2),
        ("SCHED_BATCH", 3),
        ("SCHED_ISO", 4),
        ("SCHED_IDLE", 5),
        ("SCHED_DEADLINE", 6),
    ];
    const FLAGS: [(&str, u64); 7] = [
        ("SCHED_FLAG_RESET_ON_FORK", 0x01),
        ("SCHED_FLAG_RECLAIM", 0x02),
        ("SCHED_FLAG_DL_OVERRUN", 0x04),
        ("SCHED_FLAG_KEEP_POLICY", 0x08),
        ("SCHED_FLAG_KEEP_PARAMS", 0x10),
        ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
        ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
    ];
    let known = POLICIES.iter().find(|(name, _)| *name == s.policy);
    let Some((_, policy)) = known else {
        return Err(Error::config("process.scheduler.policy", format!("unknown policy {:?}", s.policy)));
    };
    let mut flags = 0;
    for name in &s.flags {
        let flag = FLAGS.iter().find(|(known, _)| known == name);
        flags |= flag.ok_or_else(|| Error::config("process.scheduler.flags", format!("unknown flag {name:?}")))?.1;
    }
    if !(-20..=19).contains(&s.nice) {
        return Err(Error::config("process.scheduler.nice", "is not from -20 to 19"));
    }
    if s.priority != 0 && !matches!(policy, 1 | 2) {
        return Err(Error::config("process.scheduler.priority", "is for SCHED_FIFO and SCHED_RR only"));
    }
    if (s.runtime != 0 || s.deadline != 0 || s.period != 0) && *policy != 6 {
        return Err(Error::config("process.scheduler", "runtime, deadline and period are for SCHED_DEADLINE only"));
    }
    Ok(SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: *policy,
        flags,
        nice: s.nice,
        priority: u32::try_from(s.priority).map_err(|_| Error::config("process.scheduler.priority", "is negative"))?,
        runtime: s.runtime,
        deadline: s.deadline,
        period: s.period,
    })
}

/// LSM labels for the coming exec; written while the host's /proc can still be reached.
///
/// # Errors
/// A label on a kernel without that LSM.
pub fn label_steps(process: &Process, facts: &Facts, steps: &mut Vec<Step>) -> Result<()> {
    if let Some(profile) = process.apparmor_profile.as_deref().filter(|p| !p.is_empty() && *p != "unconfined") {
        if !facts.apparmor {
            return Err(Error::unsupported("process.apparmorProfile", "this kernel has no AppArmor; remove the profile"));
        }
        let op = Op::ProcSelf {
            file: c"attr/apparmor/exec".to_owned(),
            value: c_string("process.apparmorProfile", &format!("exec {profile}"))?,
        };
        steps.push(Step { field: "process.apparmorProfile".into(), op });
    }
    if let Some(label) = process.selinux_label.as_deref().filter(|l| !l.is_empty()) {
        if !facts.selinux {
            return Err(Error::unsupported("process.selinuxLabel", "this kernel has no SELinux; remove the label"));
        }
        let op = Op::ProcSelf { file: c"attr/exec".to_owned(), value: c_string("process.selinuxLabel", label)? };
        steps.push(Step { field: "process.selinuxLabel".into(), op });
    }
    Ok(())
}

/// From `start` to execve: the last privileges go in the order that the kernel allows (docs/init.md).
pub fn final_steps(process: &Process, checked: &Checked, around: &Surroundings<'_>, keep_fds: u32, steps: &mut Vec<Step>) {
    let user = &process.user;
    let mut add = |field: &str, op: Op| steps.push(Step { field: field.into(), op });
    // Before any filter: afterwards only calls may be made that every profile must allow anyway.
    add("process", Op::Disinherit { keep_fds });
    add("process.user", Op::OwnStdio { uid: user.uid });
    // Without no_new_privs the filter needs CAP_SYS_ADMIN: before the drop. With it: last of all.
    if process.no_new_privileges {
        add("process.noNewPrivileges", Op::NoNewPrivileges);
    } else if checked.filter.is_some() {
        add("linux.seccomp", Op::Seccomp);
    }
    add("process.capabilities.bounding", Op::Bounding { keep: checked.caps.bounding, last_cap: around.facts.last_cap });
    let groups = Some(user.additional_gids.clone());
    let umask = user.umask.unwrap_or(0o022);
    add("process.user", Op::Credentials { uid: user.uid, gid: user.gid, groups, umask });
    add("process.capabilities", Op::Capabilities { sets: checked.caps });
    add("process.cwd", Op::Chdir { path: checked.cwd.clone(), create: false, last: true });
    if process.no_new_privileges && checked.filter.is_some() {
        add("linux.seccomp", Op::Seccomp);
    }
    add("process.args[0]", Op::Execute);
}

/// A CPU list such as `0-3,7` as a bit mask (cpuset(7), "List format").
///
/// # Errors
/// A list that is none.
pub fn cpu_mask(field: &str, list: &str) -> Result<Vec<u64>> {
    let wrong = || Error::config(field, format!("{list:?} is not a list such as 0-3,7"));
    let mut mask: Vec<u64> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<usize>().ok().filter(|n| *n < 8192).ok_or_else(wrong);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        for n in first..=last {
            if mask.len() <= n / 64 {
                mask.resize(n / 64 + 1, 0);
            }
            mask[n / 64] |= 1 << (n % 64);
        }
    }
    if mask.is_empty() { Err(wrong()) } else { Ok(mask) }
}

/// A string without NUL bytes.
///
/// # Errors
/// Names the field.
pub fn c_string(field: &str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::config(field, "holds a NUL byte"))
}

fn c_strings<S: AsRef<str>>(field: &str, texts: &[S]) -> Result<Vec<CString>> {
    texts
        .iter()
        .enumerate()
        .map(|(i, t)| CString::new(t.as_ref()).map_err(|_| Error::config(format!("{field}[{i}]"), "holds a NUL byte")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::facts::for_tests;

    fn process(json: &str) -> Process {
        serde_json::from_str(json).unwrap()
    }

    fn checked(json: &str) -> Result<Checked> {
        let facts = for_tests();
        check(&process(json), &Surroundings { facts: &facts, userns: false, maps: None, filter: None }, &mut Vec::new())
    }

    #[test]
    fn the_program_is_searched_in_the_containers_path() {
        let c = checked(r#"{"args":["ls","-l"],"cwd":"/","env":["PATH=/a:/b"]}"#).unwrap();
        let candidates: Vec<_> = c.program.candidates.iter().map(|c| c.to_str().unwrap()).collect();
        assert_eq!(candidates, ["/a/ls", "/b/ls"]);
        let c = checked(r#"{"args":["./ls"],"cwd":"/"}"#).unwrap();
        assert_eq!(c.program.candidates.len(), 1);
    }

    #[test]
    fn bad_fields_are_named() {
        for (json, says) in [
            (r#"{"args":[],"cwd":"/"}"#, "process.args: is empty"),
            (r#"{"args":["a"],"cwd":"tmp"}"#, "process.cwd: \"tmp\" is not"),
            (r#"{"args":["a\u0000b"],"cwd":"/"}"#, "process.args[0]: holds a NUL"),
            (
                r#"{"args":["a"],"cwd":"/","rlimits":[{"type":"RLIMIT_X","soft":1,"hard":1}]}"#,
                "process.rlimits[0] (RLIMIT_X): unknown",
            ),
            (r#"{"args":["a"],"cwd":"/","rlimits":[{"type":"RLIMIT_NOFILE","soft":2,"hard":1}]}"#, "soft limit 2 is above"),
        ] {
            let e = checked(json).unwrap_err().to_string();
            assert!(e.contains(says), "{e}");
        }
    }

    #[test]
    fn sets_are_made_consistent_with_a_warning() {
        let mut caps = caps::Sets { effective: 0b11, permitted: 0b10, inheritable: 0b10, ambient: 0b11, bounding: 0 };
        let mut warnings = Vec::new();
        consistent(&mut caps, &mut warnings);
        assert_eq!((caps.effective, caps.ambient, warnings.len()), (0b10, 0b10, 2));
    }

    #[test]
    fn later_variables_win() {
        let c = checked(r#"{"args":["a"],"cwd":"/","env":["A=1","AB=2","A=3"]}"#).unwrap();
        let env: Vec<_> = c.program.envp.strings().iter().map(|c| c.to_str().unwrap()).collect();
        assert_eq!(env, ["A=3", "AB=2"]);
    }

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_mask("f", "0-2,5").unwrap(), [0b100111]);
        assert_eq!(cpu_mask("f", "64").unwrap(), [0, 1]);
        for bad in ["", "a", "3-1", "0,,x", "9999"] {
            assert!(cpu_mask("f", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_filter_comes_before_the_drop_only_without_no_new_privs() {
        let facts = for_tests();
        let filter = Some(Filter { filter: Vec::new(), flags: 0, listener: None });
        let around = Surroundings { facts: &facts, userns: false, maps: None, filter };
        for (nnp, before) in [(false, true), (true, false)] {
            let p = process(&format!(r#"{{"args":["a"],"cwd":"/","noNewPrivileges":{nnp}}}"#));
            let c = check(&p, &around, &mut Vec::new()).unwrap();
            let mut steps = Vec::new();
            final_steps(&p, &c, &around, 0, &mut steps);
            let at = |wanted: fn(&Op) -> bool| steps.iter().position(|s| wanted(&s.op)).unwrap();
            let (filter, drop) = (at(|o| matches!(o, Op::Seccomp)), at(|o| matches!(o, Op::Capabilities { .. })));
            assert_eq!(filter < drop, before);
            assert!(matches!(steps[steps.len() - 1].op, Op::Execute));
        }
    }
}
