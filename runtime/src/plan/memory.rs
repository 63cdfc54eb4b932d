//! `linux.memoryPolicy` (set_mempolicy(2)).

use super::Op;
use super::process::cpu_mask;
use crate::error::{Error, Result};
use crate::spec::config::MemoryPolicy;

/// Modes in the kernel's order: the index is the number (include/uapi/linux/mempolicy.h).
pub const MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

/// Flags and their bits.
pub const FLAGS: [(&str, u32); 3] =
    [("MPOL_F_NUMA_BALANCING", 1 << 13), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_STATIC_NODES", 1 << 15)];

/// The step of a policy.
///
/// # Errors
/// An unknown mode or flag, or nodes that are no list.
pub fn op(policy: &MemoryPolicy) -> Result<Op> {
    let MemoryPolicy { mode, nodes, flags } = policy;
    let Some(number) = MODES.iter().position(|m| m == mode) else {
        return Err(Error::config("linux.memoryPolicy.mode", format!("unknown mode {mode:?}; known are {}", MODES.join(", "))));
    };
    let mut value = number as u32;
    for flag in flags {
        let Some((_, bit)) = FLAGS.iter().find(|(name, _)| name == flag) else {
            return Err(Error::config(
                "linux.memoryPolicy.flags",
                format!("unknown flag {flag:?}; known are {}", FLAGS.map(|f| f.0).join(", ")),
            ));
        };
        value |= bit;
    }
    let nodes = if nodes.is_empty() { Vec::new() } else { cpu_mask("linux.memoryPolicy.nodes", nodes)? };
    Ok(Op::MemoryPolicy { mode: value, nodes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_flags_have_the_kernels_numbers() {
        let op = |mode: &str, flags: &[&str], nodes: &str| {
            op(&MemoryPolicy { mode: mode.into(), nodes: nodes.into(), flags: flags.iter().map(|f| f.to_string()).collect() })
        };
        let wanted = Op::MemoryPolicy { mode: libc::MPOL_BIND as u32 | libc::MPOL_F_STATIC_NODES as u32, nodes: vec![0b11] };
        assert_eq!(op("MPOL_BIND", &["MPOL_F_STATIC_NODES"], "0-1").unwrap(), wanted);
        assert_eq!(op("MPOL_LOCAL", &[], "").unwrap(), Op::MemoryPolicy { mode: 4, nodes: vec![] });
        assert!(op("MPOL_X", &[], "").unwrap_err().to_string().contains("linux.memoryPolicy.mode: unknown mode"));
        assert!(op("MPOL_BIND", &["MPOL_F_X"], "0").unwrap_err().to_string().contains("linux.memoryPolicy.flags: unknown flag"));
    }
}
