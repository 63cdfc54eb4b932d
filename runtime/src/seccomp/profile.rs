//! `linux.seccomp`, checked field by field and turned into rules.

use super::arch::{self, Arch};
use super::names;
use crate::error::{Error, Result};
use crate::spec::seccomp::{ArgRule, Seccomp, SyscallRule};
use crate::sys::seccomp as sys;

/// `SCMP_ACT_*` and the kernel's answer for it (`SECCOMP_RET_*` of <linux/seccomp.h>), without data.
pub const ACTIONS: &[(&str, u32)] = &[
    ("SCMP_ACT_ALLOW", RET_ALLOW),
    ("SCMP_ACT_ERRNO", RET_ERRNO),
    ("SCMP_ACT_KILL", RET_KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", 0x8000_0000),
    ("SCMP_ACT_KILL_THREAD", RET_KILL_THREAD),
    ("SCMP_ACT_LOG", RET_LOG),
    ("SCMP_ACT_NOTIFY", RET_NOTIFY),
    ("SCMP_ACT_TRACE", RET_TRACE),
    ("SCMP_ACT_TRAP", 0x0003_0000),
];
pub const RET_KILL_THREAD: u32 = 0;
pub const RET_ERRNO: u32 = 0x0005_0000;
pub const RET_NOTIFY: u32 = 0x7fc0_0000;
pub const RET_TRACE: u32 = 0x7ff0_0000;
pub const RET_LOG: u32 = 0x7ffc_0000;
pub const RET_ALLOW: u32 = 0x7fff_0000;

/// `SCMP_CMP_*`.
pub const OPERATORS: &[(&str, Compare)] = &[
    ("SCMP_CMP_EQ", Compare::Eq),
    ("SCMP_CMP_GE", Compare::Ge),
    ("SCMP_CMP_GT", Compare::Gt),
    ("SCMP_CMP_LE", Compare::Le),
    ("SCMP_CMP_LT", Compare::Lt),
    ("SCMP_CMP_MASKED_EQ", Compare::MaskedEq),
    ("SCMP_CMP_NE", Compare::Ne),
];

/// `SECCOMP_FILTER_FLAG_*` and the kernel's bit. TSYNC puts all threads under the filter: the process that loads it has one.
pub const FLAGS: &[(&str, u32)] = &[
    ("SECCOMP_FILTER_FLAG_LOG", sys::FLAG_LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", sys::FLAG_SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", sys::FLAG_WAIT_KILLABLE_RECV),
];

/// MAX_ERRNO of the kernel: larger ones it cuts down to this.
const MAX_ERRNO: u32 = 4095;

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    MaskedEq,
}

/// A condition on one argument, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// 0 to 5.
    pub arg: u8,
    /// How it is compared.
    pub compare: Compare,
    /// Bits that count; all but for [`Compare::MaskedEq`].
    pub mask: u64,
    /// With this, already masked.
    pub value: u64,
}

/// All conditions hold: this answer.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Answer of the kernel, with data.
    pub action: u32,
    /// By rising argument, each at most once.
    pub conditions: Vec<Condition>,
    /// `linux.seccomp.syscalls[entry]`.
    pub entry: usize,
}

/// One name of an entry.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Index in [`super::numbers::NAMES`].
    pub name: u16,
    /// Its rules, a range of [`Profile::rules`]; none where the entry only says what the default says.
    pub rules: (usize, usize),
}

/// A checked `linux.seccomp`.
#[derive(Debug)]
pub struct Profile {
    /// Answer of the kernel for calls that no rule matches.
    pub default: u32,
    /// Those of the profile that we have numbers for.
    pub architectures: Vec<Arch>,
    /// Rules.
    pub rules: Vec<Rule>,
    /// In the order of the profile.
    pub calls: Vec<Call>,
    /// Flags of seccomp(2), NEW_LISTENER included.
    pub flags: u32,
    /// What is suspicious but no error.
    pub warnings: Vec<String>,
}

/// Checks all of it.
pub fn parse(section: &Seccomp) -> Result<Profile> {
    let mut warnings = Vec::new();
    let field = |name: &str| format!("linux.seccomp.default{}{}", name[..1].to_uppercase(), &name[1..]);
    let default = action(&section.default_action, section.default_errno_ret, field)?;
    if default == RET_NOTIFY {
        let problem = "SCMP_ACT_NOTIFY cannot be the default: the runtime's own write, which hands over the listener, would wait for \
                       it for ever. List the system calls to be announced in syscalls";
        return Err(Error::config("linux.seccomp.defaultAction", problem));
    }
    let architectures = architectures(&section.architectures)?;
    let mut flags = flags(section.flags.as_deref())?;

    let mut rules = Vec::with_capacity(section.syscalls.len());
    let mut calls = Vec::with_capacity(512);
    for (entry, syscall) in section.syscalls.iter().enumerate() {
        let first = rules.len();
        let notify = add_rules(entry, syscall, default, &mut rules)?;
        if notify {
            flags |= sys::FLAG_NEW_LISTENER;
        }
        add_calls(entry, syscall, notify, (first, rules.len()), &mut calls, &mut warnings)?;
    }

    if flags & sys::FLAG_NEW_LISTENER != 0 && section.listener_path.is_empty() {
        let problem = "missing: an entry of linux.seccomp.syscalls has SCMP_ACT_NOTIFY, and nobody would answer it. Give the socket \
                       of the seccomp agent";
        return Err(Error::config("linux.seccomp.listenerPath", problem));
    }
    if !section.listener_metadata.is_empty() && section.listener_path.is_empty() {
        let problem = "must not be set without linux.seccomp.listenerPath";
        return Err(Error::config("linux.seccomp.listenerMetadata", problem));
    }
    if flags & sys::FLAG_WAIT_KILLABLE_RECV != 0 && flags & sys::FLAG_NEW_LISTENER == 0 {
        let problem = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs an entry of linux.seccomp.syscalls with SCMP_ACT_NOTIFY: the \
                       kernel takes it for filters with a listener only";
        return Err(Error::config("linux.seccomp.flags", problem));
    }
    Ok(Profile { default, architectures, rules, calls, flags, warnings })
}

/// An action with its errno; `field` is the path of the field `action` or `errnoRet`.
fn action(name: &str, errno: Option<u32>, field: impl Fn(&str) -> String) -> Result<u32> {
    let Some(&(_, base)) = ACTIONS.iter().find(|(known, _)| *known == name) else {
        return Err(Error::config(field("action"), format!("{name:?} is not an action; known are {}", list(ACTIONS))));
    };
    match (base, errno) {
        // EPERM.
        (RET_ERRNO | RET_TRACE, None) => Ok(base | 1),
        (RET_ERRNO, Some(errno)) if errno > MAX_ERRNO => {
            Err(Error::config(field("errnoRet"), format!("{errno} is no errno: they end at {MAX_ERRNO}")))
        }
        (RET_TRACE, Some(data)) if data > 0xffff => {
            Err(Error::config(field("errnoRet"), format!("{data} does not fit: a tracer is handed 16 bits, 65535 at most")))
        }
        (RET_ERRNO | RET_TRACE, Some(errno)) => Ok(base | errno),
        (_, Some(_)) => {
            let problem = format!("{name} takes no errno (SCMP_ACT_ERRNO and SCMP_ACT_TRACE do): leave it out");
            Err(Error::config(field("errnoRet"), problem))
        }
        (_, None) => Ok(base),
    }
}

fn architectures(names: &[String]) -> Result<Vec<Arch>> {
    let mut found = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        let Some(&(_, arch)) = arch::NAMES.iter().find(|(known, _)| known == name) else {
            let problem = format!("{name:?} is not an architecture; known are {}", list(arch::NAMES));
            return Err(Error::config(format!("linux.seccomp.architectures[{i}]"), problem));
        };
        found.extend(arch.filter(|arch| !found.contains(arch)));
    }
    Ok(found)
}

fn flags(names: Option<&[String]>) -> Result<u32> {
    // runc's choice where the field is absent.
    let Some(names) = names else { return Ok(sys::FLAG_SPEC_ALLOW) };
    let mut bits = 0;
    for (i, name) in names.iter().enumerate() {
        let Some((_, bit)) = FLAGS.iter().find(|(known, _)| known == name) else {
            let problem = format!("{name:?} is not a flag; known are {}", list(FLAGS));
            return Err(Error::config(format!("linux.seccomp.flags[{i}]"), problem));
        };
        bits |= bit;
    }
    Ok(bits)
}

/// The rules of one entry; whether they announce to a listener.
fn add_rules(entry: usize, syscall: &SyscallRule, default: u32, rules: &mut Vec<Rule>) -> Result<bool> {
    let at = || format!("linux.seccomp.syscalls[{entry}]");
    let action = action(&syscall.action, syscall.errno_ret, |name| format!("{}.{name}", at()))?;
    let mut conditions = Vec::with_capacity(syscall.args.len());
    for (i, arg) in syscall.args.iter().enumerate() {
        conditions.push(condition(arg, || format!("{}.args[{i}]", at()))?);
    }
    if action == default {
        // It says what is so anyway.
        return Ok(false);
    }
    let mut seen = [0; 6];
    conditions.iter().for_each(|c| seen[usize::from(c.arg)] += 1);
    if seen.iter().any(|&n| n > 1) {
        // Two conditions on one argument: runc makes each condition a rule of its own, and so "or" of them all.
        rules.extend(conditions.into_iter().map(|c| Rule { action, conditions: vec![c], entry }));
    } else {
        conditions.sort_unstable_by_key(|c| c.arg);
        rules.push(Rule { action, conditions, entry });
    }
    Ok(action == RET_NOTIFY && !syscall.names.is_empty())
}

fn condition(arg: &ArgRule, at: impl Fn() -> String) -> Result<Condition> {
    if arg.index > 5 {
        return Err(Error::config(format!("{}.index", at()), format!("{}: a system call has arguments 0 to 5", arg.index)));
    }
    let Some(&(_, compare)) = OPERATORS.iter().find(|(known, _)| *known == arg.op) else {
        let problem = format!("{:?} is not an operator; known are {}", arg.op, list(OPERATORS));
        return Err(Error::config(format!("{}.op", at()), problem));
    };
    let (mask, value) = match compare {
        Compare::MaskedEq => (arg.value, arg.value_two & arg.value),
        _ => (u64::MAX, arg.value),
    };
    Ok(Condition { arg: arg.index as u8, compare, mask, value })
}

fn add_calls(
    entry: usize,
    syscall: &SyscallRule,
    notify: bool,
    rules: (usize, usize),
    calls: &mut Vec<Call>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if syscall.names.is_empty() {
        warnings.push(format!("linux.seccomp.syscalls[{entry}].names: empty: the entry does nothing"));
    }
    for (i, name) in syscall.names.iter().enumerate() {
        let at = || format!("linux.seccomp.syscalls[{entry}].names[{i}]");
        if name.is_empty() {
            return Err(Error::config(at(), "an empty string is no system call"));
        }
        if notify && name == "write" {
            let problem = "SCMP_ACT_NOTIFY cannot be used for write: the runtime's own write, which hands over the listener, would \
                           wait for it for ever";
            return Err(Error::config(at(), problem));
        }
        match names::lookup(name) {
            Some(name) => calls.push(Call { name, rules }),
            None => warnings.push(format!("{}: no system call {name:?} is known on any architecture: ignored", at())),
        }
    }
    Ok(())
}

fn list<T>(known: &[(&str, T)]) -> String {
    known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
