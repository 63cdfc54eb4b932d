//! Device rules as a cgroup device program (BPF_PROG_TYPE_CGROUP_DEVICE): returns 1 to allow an access, 0 to deny it.
//!
//! The rules are tried from the last to the first, each for the accesses that no later one has decided. A rule for
//! everything ends the program: what stands before it has no effect (and the verifier refuses code that cannot be reached).

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::devices::{ALL, Kind, Rule};
use crate::error::{Error, Result};
use crate::sys::bpf::{self, Insn};

// Registers: the context, and what is loaded from it (struct bpf_cgroup_dev_ctx).
const CTX: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// BPF_LDX|BPF_MEM|BPF_W, BPF_ALU with a constant or register, BPF_JMP32 with a constant, BPF_JMP|BPF_EXIT.
const LOAD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xb4;
const MOVE_REG: u8 = 0xbc;
const JUMP_IF_EQUAL: u8 = 0x16;
const JUMP_IF_NOT_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

/// Most instructions of a program for root (BPF_COMPLEXITY_LIMIT_INSNS).
const MOST: usize = 1_000_000;

/// The program for `rules`. None: they allow everything, and no program does that, too.
///
/// # Errors
/// More rules than a program can hold.
pub(crate) fn program(rules: &[Rule]) -> Result<Option<Vec<Insn>>> {
    // Nothing is denied after the last rule that allows everything.
    if rules.iter().rev().find(|r| !r.allow || r.is_everything()).is_some_and(|r| r.allow) {
        return Ok(None);
    }
    let imm = |code, dst, imm| Insn::new(code, dst, 0, 0, imm);
    let load = |dst, off| Insn::new(LOAD, dst, CTX, off, 0);
    // access_type holds the type in its lower half and the access in its upper one.
    let mut p = vec![
        load(TYPE, 0),
        Insn::new(MOVE_REG, ACCESS, TYPE, 0, 0),
        imm(AND, TYPE, 0xffff),
        imm(SHIFT_RIGHT, ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    let answer = |p: &mut Vec<Insn>, allow: bool| p.extend([imm(MOVE, 0, i32::from(allow)), imm(EXIT, 0, 0)]);
    for rule in rules.iter().rev() {
        if rule.is_everything() {
            answer(&mut p, rule.allow);
            return Ok(Some(p));
        }
        let start = p.len();
        let compared = [(TYPE, rule.kind.map(|k| if k == Kind::Char { 2 } else { 1 })), (MAJOR, rule.major), (MINOR, rule.minor)];
        for (register, number) in compared {
            if let Some(n) = number {
                p.push(imm(JUMP_IF_NOT_EQUAL, register, n as i32));
            }
        }
        match (rule.allow, rule.access) {
            // Nothing is left to decide.
            (allow, ALL) => answer(&mut p, allow),
            (true, access) => {
                p.push(imm(AND, ACCESS, i32::from(!access & ALL)));
                p.push(imm(JUMP_IF_NOT_EQUAL, ACCESS, 0));
                answer(&mut p, true);
            }
            (false, access) => {
                p.push(Insn::new(MOVE_REG, 0, ACCESS, 0, 0));
                p.push(imm(AND, 0, i32::from(access)));
                p.push(imm(JUMP_IF_EQUAL, 0, 0));
                answer(&mut p, false);
            }
        }
        // Every jump so far goes to the next rule.
        let end = p.len();
        for (i, insn) in p.iter_mut().enumerate().skip(start) {
            if matches!(insn.code, JUMP_IF_EQUAL | JUMP_IF_NOT_EQUAL) {
                insn.off = (end - i - 1) as i16;
            }
        }
    }
    answer(&mut p, false);
    if p.len() > MOST {
        return Err(Error::config(
            "linux.resources.devices",
            format!("{} rules are more than a device program holds", rules.len()),
        ));
    }
    Ok(Some(p))
}

/// A program that allows everything: for taking the place of one that does not.
pub(crate) fn allow_all() -> Vec<Insn> {
    vec![Insn::new(MOVE, 0, 0, 0, 1), Insn::new(EXIT, 0, 0, 0, 0)]
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
