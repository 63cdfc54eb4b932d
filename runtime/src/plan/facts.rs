//! What a Plan needs to know about this host. Gathered once, so that building a Plan stays pure.

use crate::sys::process::{Limit, prlimit};

/// Resources of getrlimit(2) in the kernel's order.
pub const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// Facts about the host and about ourselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Capabilities that we hold (permitted set).
    pub permitted: u64,
    /// Number of the kernel's last capability.
    pub last_cap: u32,
    /// Hard limits of the machine's first process: what a container gets where config.json is silent.
    pub default_hard: [u64; 16],
    /// Our own hard limits: what can be had without CAP_SYS_RESOURCE.
    pub own_hard: [u64; 16],
    /// Is SELinux there?
    pub selinux: bool,
    /// Is AppArmor there?
    pub apparmor: bool,
}

impl Facts {
    /// Asks the kernel.
    pub fn gather() -> Facts {
        let hard = |pid: i32| -> [u64; 16] {
            std::array::from_fn(|r| {
                prlimit(pid, r as u32, None).or_else(|_| prlimit(0, r as u32, None)).map_or(u64::MAX, |l| l.hard)
            })
        };
        Facts {
            permitted: permitted(),
            last_cap: last_cap(),
            default_hard: hard(1),
            own_hard: hard(0),
            selinux: std::path::Path::new("/sys/fs/selinux/enforce").exists(),
            apparmor: std::path::Path::new("/sys/kernel/security/apparmor").exists(),
        }
    }

    /// CAP_SYS_RESOURCE?
    pub fn may_raise_limits(&self) -> bool {
        self.permitted & (1 << 24) != 0
    }

    /// The limit of a resource that config.json does not name: nothing is inherited from the caller (docs/decisions.md).
    pub fn default_limit(&self, resource: usize) -> Limit {
        let mut hard = self.default_hard[resource];
        if !self.may_raise_limits() {
            hard = hard.min(self.own_hard[resource]);
        }
        // The kernel's own soft limits where they are below the hard ones: include/asm-generic/resource.h.
        let soft = match resource {
            3 => 8 << 20,
            4 => 0,
            7 => 1024,
            8 => 8 << 20,
            12 => 819_200,
            _ => u64::MAX,
        };
        Limit { soft: soft.min(hard), hard }
    }
}

fn permitted() -> u64 {
    rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits())
}

/// Number of the last capability: the bounding set knows it, without a file.
fn last_cap() -> u32 {
    // PR_CAPBSET_READ is EINVAL beyond the last one.
    (40..64).take_while(|&c| crate::sys::process::prctl(libc::PR_CAPBSET_READ, c, 0).is_ok()).last().unwrap_or(40) as u32
}

#[cfg(test)]
pub(crate) fn for_tests() -> Facts {
    Facts {
        permitted: (1 << 41) - 1,
        last_cap: 40,
        default_hard: [u64::MAX; 16],
        own_hard: [u64::MAX; 16],
        selinux: false,
        apparmor: false,
    }
}
