//! libseccomp, used as runc uses it.

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use rrun::seccomp::{Arch, SockFilter};
use rrun::spec::seccomp::{ArgRule, Seccomp};

/// Why there is no filter.
#[derive(Debug)]
pub enum Refused {
    /// libseccomp's errno for a rule: EEXIST where it holds two rules to contradict each other.
    Rule(String),
    /// Anything else.
    Other(String),
}

/// libseccomp's name for one of ours.
pub fn arch(ours: Arch) -> ScmpArch {
    match ours {
        Arch::X86_64 => ScmpArch::X8664,
        Arch::X32 => ScmpArch::X32,
        Arch::X86 => ScmpArch::X86,
        Arch::Aarch64 => ScmpArch::Aarch64,
        Arch::Arm => ScmpArch::Arm,
        Arch::Riscv64 => ScmpArch::Riscv64,
        Arch::Ppc64Le => ScmpArch::Ppc64Le,
        Arch::Ppc64 => ScmpArch::Ppc64,
        Arch::Ppc => ScmpArch::Ppc,
        Arch::S390x => ScmpArch::S390X,
        Arch::LoongArch64 => ScmpArch::Loongarch64,
        Arch::Mipsel64 => ScmpArch::Mipsel64,
        Arch::Mips64 => ScmpArch::Mips64,
        Arch::Mipsel => ScmpArch::Mipsel,
        Arch::Mips => ScmpArch::Mips,
    }
}

/// The number of a call as the kernel shows it to a filter; none where the ABI lacks it. Calls that can also be multiplexed have
/// pseudo-numbers in libseccomp; `number` then asks for nothing.
pub fn number(name: &str, on: Arch) -> Option<u32> {
    let number = ScmpSyscall::from_name_by_arch(name, arch(on)).ok()?.as_raw_syscall();
    u32::try_from(number).ok()
}

/// Whether libseccomp has heard of it anywhere.
pub fn known(name: &str) -> bool {
    ScmpSyscall::from_name(name).is_ok()
}

fn action(name: &str, errno: Option<u32>) -> ScmpAction {
    ScmpAction::from_str(name, Some(errno.unwrap_or(1) as i32)).expect("an action")
}

fn compare(rule: &ArgRule) -> ScmpArgCompare {
    let (op, datum) = match rule.op.as_str() {
        "SCMP_CMP_NE" => (ScmpCompareOp::NotEqual, rule.value),
        "SCMP_CMP_LT" => (ScmpCompareOp::Less, rule.value),
        "SCMP_CMP_LE" => (ScmpCompareOp::LessOrEqual, rule.value),
        "SCMP_CMP_EQ" => (ScmpCompareOp::Equal, rule.value),
        "SCMP_CMP_GE" => (ScmpCompareOp::GreaterEqual, rule.value),
        "SCMP_CMP_GT" => (ScmpCompareOp::Greater, rule.value),
        "SCMP_CMP_MASKED_EQ" => (ScmpCompareOp::MaskedEqual(rule.value), rule.value_two),
        other => panic!("operator {other}"),
    };
    ScmpArgCompare::new(rule.index, op, datum)
}

/// libseccomp's filter for a profile on a machine, with runc's choices around it; `arches` are those that are ruled.
pub fn compile(section: &Seccomp, arches: &[Arch]) -> Result<Vec<SockFilter>, Refused> {
    let other = |e: libseccomp::error::SeccompError| Refused::Other(e.to_string());
    let default = action(&section.default_action, section.default_errno_ret);
    let mut filter = ScmpFilterContext::new(default).map_err(other)?;
    for &each in arches {
        filter.add_arch(arch(each)).map_err(other)?;
    }
    if !arches.contains(&Arch::NATIVE) {
        filter.remove_arch(ScmpArch::native()).map_err(other)?;
    }
    // runc: libseccomp's own search for long profiles.
    let calls: usize = section.syscalls.iter().map(|rule| rule.names.len()).sum();
    if calls > 32 {
        filter.set_ctl_optimize(2).map_err(other)?;
    }
    for rule in &section.syscalls {
        let action = action(&rule.action, rule.errno_ret);
        if action == default {
            continue;
        }
        let compares: Vec<ScmpArgCompare> = rule.args.iter().map(compare).collect();
        let mut seen = [0; 6];
        rule.args.iter().for_each(|arg| seen[arg.index as usize] += 1);
        for name in &rule.names {
            let Ok(call) = ScmpSyscall::from_name(name) else { continue };
            let mut add = |compares: &[ScmpArgCompare]| {
                let added = match compares {
                    [] => filter.add_rule(action, call).map(|_| ()),
                    some => filter.add_rule_conditional(action, call, some).map(|_| ()),
                };
                added.map_err(|e| Refused::Rule(format!("{name}: {e}")))
            };
            if seen.iter().any(|&n| n > 1) {
                compares.iter().try_for_each(|one| add(std::slice::from_ref(one)))?;
            } else {
                add(&compares)?;
            }
        }
    }
    let bytes = export(&filter).map_err(Refused::Other)?;
    Ok(bytes.chunks_exact(8).map(instruction).collect())
}

fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, String> {
    use std::io::{Read, Seek};
    let mut file = rustix_memfd().map_err(|e| e.to_string())?;
    filter.export_bpf(&file).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|e| e.to_string())?;
    Ok(bytes)
}

fn rustix_memfd() -> std::io::Result<std::fs::File> {
    Ok(rustix::fs::memfd_create("bpf", rustix::fs::MemfdFlags::CLOEXEC)?.into())
}

fn instruction(bytes: &[u8]) -> SockFilter {
    let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    SockFilter { code: u16::from_ne_bytes([bytes[0], bytes[1]]), jt: bytes[2], jf: bytes[3], k: word(4) }
}
