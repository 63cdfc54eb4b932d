//! Profiles by pseudo-random numbers: the same seed, the same profile.

use rrun::spec::seccomp::{ArgRule, Seccomp, SyscallRule};

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.number() % n as u64) as usize
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Entries.
    pub entries: usize,
    /// Names in an entry, at most.
    pub names: usize,
    /// Out of how many names they are taken; few make many rules for one call.
    pub pool: usize,
    /// Percentage of entries with conditions.
    pub conditional: usize,
    /// Conditions in one, at most.
    pub conditions: usize,
    /// One action for all entries.
    pub one_action: bool,
}

/// Values around which conditions are made; few, so that rules overlap.
pub const VALUES: [u64; 12] =
    [0, 1, 2, 5, 0x7e02_0000, 0xffff_ffff, 1 << 32, (1 << 32) + 5, (1 << 32) - 2, 5 << 32, u64::MAX - 1, u64::MAX];
const OPERATORS: [&str; 7] =
    ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"];
const ACTIONS: [(&str, Option<u32>); 10] = [
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_ERRNO", None),
    ("SCMP_ACT_ERRNO", Some(38)),
    ("SCMP_ACT_ERRNO", Some(4094)),
    ("SCMP_ACT_LOG", None),
    ("SCMP_ACT_KILL_THREAD", None),
    ("SCMP_ACT_KILL_PROCESS", None),
    ("SCMP_ACT_TRAP", None),
    ("SCMP_ACT_TRACE", Some(7)),
    ("SCMP_ACT_NOTIFY", None),
];

/// A profile with names out of `names`. With ORACLE_SEED=N in the environment all seeds are others.
pub fn profile(seed: u64, shape: Shape, names: &[&str], architectures: &[&str]) -> Seccomp {
    let base: u64 = std::env::var("ORACLE_SEED").map_or(0, |n| n.parse().expect("ORACLE_SEED is a number"));
    let mut random = Random(seed.wrapping_add(base.wrapping_mul(1 << 32)));
    let pool: Vec<&str> = (0..shape.pool).map(|_| *random.pick(names)).collect();
    // NOTIFY, the last, cannot be the default.
    let default = random.below(ACTIONS.len() - 1);
    let one = (default + 1 + random.below(ACTIONS.len() - 1)) % ACTIONS.len();
    let mut syscalls = Vec::new();
    for _ in 0..shape.entries {
        let action = if shape.one_action { one } else { random.below(ACTIONS.len()) };
        let conditional = random.below(100) < shape.conditional;
        let args = if conditional { 1 + random.below(shape.conditions) } else { 0 };
        syscalls.push(SyscallRule {
            names: (0..1 + random.below(shape.names)).map(|_| random.pick(&pool).to_string()).filter(|n| n != "write").collect(),
            action: ACTIONS[action].0.into(),
            errno_ret: ACTIONS[action].1,
            args: (0..args).map(|_| condition(&mut random)).collect(),
        });
    }
    Seccomp {
        default_action: ACTIONS[default].0.into(),
        default_errno_ret: ACTIONS[default].1,
        architectures: architectures.iter().map(|&a| a.into()).collect(),
        listener_path: "/run/agent.sock".into(),
        syscalls,
        ..Seccomp::default()
    }
}

fn condition(random: &mut Random) -> ArgRule {
    ArgRule {
        index: random.below(3) as u32 * 2 % 5,
        value: *random.pick(&VALUES),
        value_two: *random.pick(&VALUES),
        op: (*random.pick(&OPERATORS)).into(),
    }
}
