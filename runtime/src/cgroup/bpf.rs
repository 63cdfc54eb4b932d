//! Device rules as a cgroup device program (BPF_PROG_TYPE_CGROUP_DEVICE): returns 1 to allow an access, 0 to deny it.
//!
//! The program has no branch. Loading is what costs, not running, and the verifier walks every path: the default rules
//! took 370 us as compare-and-jump code and take 55 us this way. A set of allowed accesses (a register with the bits of
//! [`super::devices::ALL`]) starts from the last rule for everything; each later rule adds to it or takes from it, by
//! arithmetic on `device ^ rule`, which is zero exactly for the devices that the rule names.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::devices::{ALL, Kind, Rule};
use crate::error::{Error, Result};
use crate::sys::bpf::{self, Insn};

// Registers. The context and what is loaded from it (struct bpf_cgroup_dev_ctx):
const CTX: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
/// (type ^ char) << 32 | major << 20 | minor: Linux' device numbers have 12 and 20 bits.
const DEVICE: u8 = 4;
const MINOR: u8 = 5;
/// The accesses that are allowed so far.
const ALLOWED: u8 = 6;
/// Top bit set: one of a group of rules names the device.
const NAMED: u8 = 8;
const A: u8 = 0;
const B: u8 = 7;

// BPF_LDX|BPF_MEM|BPF_W, BPF_LD|BPF_IMM|BPF_DW, and 64-bit arithmetic with a constant or a register unless it says 32.
const LOAD: u8 = 0x61;
const LOAD_64: u8 = 0x18;
const MOVE: u8 = 0xb7;
const MOVE_REG: u8 = 0xbf;
const MOVE_REG_32: u8 = 0xbc;
const AND: u8 = 0x57;
const AND_REG: u8 = 0x5f;
const OR: u8 = 0x47;
const OR_REG: u8 = 0x4f;
const XOR: u8 = 0xa7;
const XOR_REG: u8 = 0xaf;
const SUBTRACT: u8 = 0x17;
const MULTIPLY: u8 = 0x27;
const SHIFT_LEFT: u8 = 0x67;
const SHIFT_RIGHT: u8 = 0x77;
const EXIT: u8 = 0x95;

/// BPF_DEVCG_DEV_CHAR.
const CHAR: i32 = 2;
/// Largest numbers that a device can have (MINORBITS of the kernel).
const MOST_MAJOR: u32 = (1 << 12) - 1;
const MOST_MINOR: u32 = (1 << 20) - 1;
/// Most instructions of a program for root (BPF_COMPLEXITY_LIMIT_INSNS).
const MOST: usize = 1_000_000;

/// The program for `rules`. None: they allow everything, and no program does that, too.
///
/// # Errors
/// More rules than a program can hold.
pub(crate) fn program(rules: &[Rule]) -> Result<Option<Vec<Insn>>> {
    // What stands before a rule for everything has no effect.
    let start = rules.iter().rposition(Rule::is_everything);
    let mut known = Some(if start.is_some_and(|i| rules[i].allow) { ALL } else { 0 });
    let mut p = Program::new();
    for run in rules[start.map_or(0, |i| i + 1)..].chunk_by(|a, b| a.allow == b.allow) {
        // Rules of one kind may come in any order: those with the same accesses together.
        let allow = run[0].allow;
        let mut groups: BTreeMap<u8, Vec<&Rule>> = BTreeMap::new();
        for rule in run.iter().filter(|r| r.major.unwrap_or(0) <= MOST_MAJOR && r.minor.unwrap_or(0) <= MOST_MINOR) {
            groups.entry(rule.access).or_default().push(rule);
        }
        // Those for all devices first: as long as only they come, the set is known now.
        groups.retain(|access, rules| {
            let all = every_device(rules);
            match &mut known {
                Some(set) if all => *set = if allow { *set | access } else { *set & !access },
                _ if all => p.for_all(allow, *access),
                _ => {}
            }
            !all
        });
        for (access, rules) in groups {
            if known.is_some_and(|set| if allow { set & access == access } else { set & access == 0 }) {
                continue;
            }
            if let Some(set) = known.take() {
                p.constant(MOVE, ALLOWED, set.into());
            }
            p.for_named(allow, access, &rules);
        }
    }
    match known {
        Some(ALL) => return Ok(None),
        Some(set) => p.constant(MOVE, ALLOWED, set.into()),
        None => {}
    }
    let p = p.end();
    if p.len() > MOST {
        let problem = format!("{} rules are more than a device program holds", rules.len());
        return Err(Error::config("linux.resources.devices", problem));
    }
    Ok(Some(p))
}

/// Do these rules together name every device?
fn every_device(rules: &[&Rule]) -> bool {
    let all_of = |kind| rules.iter().any(|r| r.kind.is_none_or(|k| k == kind) && r.major.is_none() && r.minor.is_none());
    all_of(Kind::Char) && all_of(Kind::Block)
}

struct Program(Vec<Insn>);

impl Program {
    fn new() -> Self {
        let mut p = Program(Vec::with_capacity(80));
        // access_type holds the type in its lower half and the access in its upper one.
        p.0.push(Insn::new(LOAD, TYPE, CTX, 0, 0));
        p.register(MOVE_REG, ACCESS, TYPE);
        p.constant(SHIFT_RIGHT, ACCESS, 16);
        p.constant(AND, TYPE, 0xffff);
        p.constant(XOR, TYPE, CHAR);
        p.constant(SHIFT_LEFT, TYPE, 32);
        p.0.push(Insn::new(LOAD, DEVICE, CTX, 4, 0));
        p.constant(SHIFT_LEFT, DEVICE, 20);
        p.0.push(Insn::new(LOAD, MINOR, CTX, 8, 0));
        p.register(OR_REG, DEVICE, MINOR);
        p.register(OR_REG, DEVICE, TYPE);
        p
    }

    fn constant(&mut self, code: u8, register: u8, value: i32) {
        self.0.push(Insn::new(code, register, 0, 0, value));
    }

    fn register(&mut self, code: u8, register: u8, other: u8) {
        self.0.push(Insn::new(code, register, other, 0, 0));
    }

    fn xor(&mut self, register: u8, value: u64) {
        // Constants are 32 bits with a sign.
        match i32::try_from(value) {
            Ok(value) => self.constant(XOR, register, value),
            Err(_) => {
                self.constant(LOAD_64, B, value as u32 as i32);
                self.constant(0, 0, (value >> 32) as i32);
                self.register(XOR_REG, register, B);
            }
        }
    }

    /// A rule for every device.
    fn for_all(&mut self, allow: bool, access: u8) {
        match allow {
            true => self.constant(OR, ALLOWED, access.into()),
            false => self.constant(AND, ALLOWED, !i32::from(access)),
        }
    }

    /// Rules for some devices, with the same accesses.
    fn for_named(&mut self, allow: bool, access: u8, rules: &[&Rule]) {
        for (i, rule) in rules.iter().enumerate() {
            let register = if i == 0 { NAMED } else { A };
            self.difference(register, rule);
            // Zero becomes all ones. No other difference has the top bit, so that minus one has it for none of them.
            self.constant(SUBTRACT, register, 1);
            if i > 0 {
                self.register(OR_REG, NAMED, A);
            }
        }
        self.constant(SHIFT_RIGHT, NAMED, 63);
        self.constant(MULTIPLY, NAMED, access.into());
        if allow {
            self.register(OR_REG, ALLOWED, NAMED);
        } else {
            self.constant(XOR, NAMED, -1);
            self.register(AND_REG, ALLOWED, NAMED);
        }
    }

    /// Zero in `register` for the devices that `rule` names, a positive number for others.
    fn difference(&mut self, register: u8, rule: &Rule) {
        let kind: u64 = if rule.kind == Some(Kind::Block) { 1 ^ CHAR as u64 } else { 0 };
        // Without a kind, the upper half is left out.
        let from = if rule.kind.is_some() { MOVE_REG } else { MOVE_REG_32 };
        match (rule.major, rule.minor) {
            (Some(major), Some(minor)) => {
                self.register(from, register, DEVICE);
                self.xor(register, kind << 32 | u64::from(major) << 20 | u64::from(minor));
            }
            (Some(major), None) => {
                self.register(from, register, DEVICE);
                self.constant(SHIFT_RIGHT, register, 20);
                self.xor(register, kind << 12 | u64::from(major));
            }
            (None, Some(minor)) => {
                self.register(MOVE_REG, register, MINOR);
                self.xor(register, minor.into());
                if rule.kind.is_some() {
                    // TYPE is the type alone, 32 bits up.
                    self.register(MOVE_REG, B, TYPE);
                    self.constant(SHIFT_RIGHT, B, 32);
                    self.constant(XOR, B, kind as i32);
                    self.constant(SHIFT_LEFT, B, 32);
                    self.register(OR_REG, register, B);
                }
            }
            (None, None) if rule.kind.is_none() => self.constant(MOVE, register, 0),
            (None, None) => {
                self.register(MOVE_REG, register, DEVICE);
                self.constant(SHIFT_RIGHT, register, 32);
                self.xor(register, kind);
            }
        }
    }

    /// 1 if nothing is asked for that is not allowed.
    fn end(mut self) -> Vec<Insn> {
        self.constant(XOR, ALLOWED, -1);
        self.register(AND_REG, ACCESS, ALLOWED);
        self.register(MOVE_REG, A, ACCESS);
        self.constant(SUBTRACT, A, 1);
        self.constant(SHIFT_RIGHT, A, 63);
        self.constant(EXIT, 0, 0);
        self.0
    }
}

/// A program that allows everything: for taking the place of one that does not.
pub(crate) fn allow_all() -> Vec<Insn> {
    vec![Insn::new(MOVE, A, 0, 0, 1), Insn::new(EXIT, 0, 0, 0, 0)]
}

/// Puts `program` on the cgroup. `fresh`: it was just made and has none yet. Otherwise the one that is there is replaced
/// in one step; where there are several (systemd's among them) ours comes first and they go then, so that at no moment
/// more is allowed than either says.
pub(crate) fn attach(cgroup: BorrowedFd<'_>, program: &[Insn], fresh: bool, step: &str) -> Result<()> {
    use std::os::fd::AsFd;
    let new = bpf::load_device_program(program).map_err(|(errno, log)| {
        let e = Error::system(step, format!("bpf(BPF_PROG_LOAD, {} instructions)", program.len()), errno);
        match errno {
            Errno::PERM => e.hint("device rules on cgroup2 need CAP_BPF or CAP_SYS_ADMIN"),
            Errno::INVAL if log.is_empty() => e.hint("a kernel without CONFIG_CGROUP_BPF?"),
            _ if !log.is_empty() => e.hint(log),
            _ => e,
        }
    })?;
    let attach = |replace| {
        bpf::attach_device_program(cgroup, new.as_fd(), replace).map_err(|errno| {
            let e = Error::system(step, "bpf(BPF_PROG_ATTACH, BPF_CGROUP_DEVICE)", errno);
            if errno == Errno::PERM { e.hint("a parent cgroup has a program that allows none below it") } else { e }
        })
    };
    if fresh {
        return attach(None);
    }
    let old =
        bpf::device_programs(cgroup).map_err(|errno| Error::system(step, "bpf(BPF_PROG_QUERY, BPF_CGROUP_DEVICE)", errno))?;
    if let [one] = &old[..] {
        return attach(Some(one.as_fd()));
    }
    attach(None)?;
    for program in &old {
        match bpf::detach_device_program(cgroup, program.as_fd()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::system(step, "bpf(BPF_PROG_DETACH, BPF_CGROUP_DEVICE)", errno)),
        }
    }
    Ok(())
}
