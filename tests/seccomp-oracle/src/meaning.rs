//! What a profile means, read plainly and slowly: the judge between the two compilers. Knows nothing of BPF or of either's code.

use std::collections::HashMap;

use rrun::seccomp::Arch;
use rrun::spec::seccomp::{ArgRule, Seccomp};

use crate::peer;

/// The answers that are right for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This one.
    Only(u32),
    /// Rules with different actions apply: one of theirs.
    OneOf(Vec<u32>),
}

impl Answer {
    /// Whether a filter answered rightly.
    pub fn allows(&self, said: u32) -> bool {
        match self {
            Answer::Only(right) => *right == said,
            Answer::OneOf(right) => right.contains(&said),
        }
    }
}

/// A rule for one number.
#[derive(Debug, Clone)]
pub struct Said {
    /// The kernel's answer.
    pub action: u32,
    /// All must hold.
    pub conditions: Vec<ArgRule>,
}

/// A profile on one machine.
pub struct Meaning {
    default: u32,
    rules: HashMap<(ArchId, u32), Vec<Said>>,
}

type ArchId = u8;

/// Answer of the kernel for an action.
pub fn answer(action: &str, errno: Option<u32>) -> u32 {
    match action {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno.unwrap_or(1),
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno.unwrap_or(1),
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        other => panic!("action {other}"),
    }
}

// <linux/net.h>, <linux/ipc.h>
const SOCKETCALL: &str = "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown \
                          setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg";
const IPC: &str = "semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - shmat shmdt shmget shmctl";
// <asm/unistd_32.h>
const I386_SOCKET: &str = "socket=359 socketpair=360 bind=361 connect=362 listen=363 accept4=364 getsockopt=365 setsockopt=366 \
                           getsockname=367 getpeername=368 sendto=369 sendmsg=370 recvfrom=371 recvmsg=372 shutdown=373 \
                           recvmmsg=337 sendmmsg=345 semget=393 semctl=394 shmget=395 shmctl=396 shmat=397 shmdt=398 msgget=399 \
                           msgsnd=400 msgrcv=401 msgctl=402";

/// The numbers under which a call comes in, each with the operation of a multiplexing call.
fn numbers(name: &str, arch: Arch) -> Vec<(u32, Option<u64>)> {
    let place = |list: &str| list.split_whitespace().position(|known| known == name).map(|i| i as u64 + 1);
    if arch != Arch::X86 {
        return peer::number(name, arch).map(|number| (number, None)).into_iter().collect();
    }
    match (place(SOCKETCALL), place(IPC)) {
        (None, None) => peer::number(name, arch).map(|number| (number, None)).into_iter().collect(),
        (socket, ipc) => {
            let direct = I386_SOCKET.split_whitespace().filter_map(|pair| pair.split_once('='));
            let direct = direct.filter(|(known, _)| *known == name).map(|(_, n)| (n.parse().expect("a number"), None));
            let multiplexed = socket.map(|op| (102, Some(op))).or(ipc.map(|op| (117, Some(op))));
            direct.chain(multiplexed).collect()
        }
    }
}

impl Meaning {
    /// Of a profile on `arches`.
    pub fn of(section: &Seccomp, arches: &[Arch]) -> Meaning {
        let default = answer(&section.default_action, section.default_errno_ret);
        let mut rules: HashMap<(ArchId, u32), Vec<Said>> = HashMap::new();
        for rule in &section.syscalls {
            let action = answer(&rule.action, rule.errno_ret);
            if action == default {
                continue;
            }
            let mut seen = [0; 6];
            rule.args.iter().for_each(|arg| seen[arg.index as usize] += 1);
            let alternatives: Vec<Vec<ArgRule>> = match seen.iter().any(|&n| n > 1) {
                true => rule.args.iter().map(|arg| vec![arg.clone()]).collect(),
                false => vec![rule.args.clone()],
            };
            for name in rule.names.iter().filter(|name| peer::known(name)) {
                for &arch in arches {
                    for (number, operation) in numbers(name, arch) {
                        for alternative in &alternatives {
                            let mut conditions = alternative.clone();
                            if let Some(value) = operation {
                                conditions.retain(|c| c.index != 0);
                                conditions.push(ArgRule { index: 0, value, value_two: 0, op: "SCMP_CMP_EQ".into() });
                            }
                            conditions.retain(|c| !idle(c, arch));
                            rules.entry((arch as u8, number)).or_default().push(Said { action, conditions });
                        }
                    }
                }
            }
        }
        Meaning { default, rules }
    }

    /// The rules of a number.
    pub fn rules(&self, arch: Arch, number: u32) -> &[Said] {
        self.rules.get(&(arch as u8, number)).map_or(&[], Vec::as_slice)
    }

    /// The right answer for a call.
    pub fn answer(&self, arch: Arch, number: u32, args: &[u64; 6]) -> Answer {
        let rules = self.rules(arch, number);
        if let Some(always) = rules.iter().find(|rule| rule.conditions.is_empty()) {
            return Answer::Only(always.action);
        }
        let mut actions: Vec<u32> =
            rules.iter().filter(|rule| rule.conditions.iter().all(|c| holds(c, arch, args))).map(|rule| rule.action).collect();
        actions.sort_unstable();
        actions.dedup();
        match actions[..] {
            [] => Answer::Only(self.default),
            [only] => Answer::Only(only),
            _ => Answer::OneOf(actions),
        }
    }
}

fn cut(arch: Arch, value: u64) -> u64 {
    if matches!(arch, Arch::X32 | Arch::X86 | Arch::Arm | Arch::Mipsel) { value & 0xffff_ffff } else { value }
}

/// True of everything.
fn idle(c: &ArgRule, arch: Arch) -> bool {
    c.op == "SCMP_CMP_MASKED_EQ" && cut(arch, c.value) == 0
}

fn holds(c: &ArgRule, arch: Arch, args: &[u64; 6]) -> bool {
    let (arg, value) = (cut(arch, args[c.index as usize]), cut(arch, c.value));
    match c.op.as_str() {
        "SCMP_CMP_NE" => arg != value,
        "SCMP_CMP_LT" => arg < value,
        "SCMP_CMP_LE" => arg <= value,
        "SCMP_CMP_EQ" => arg == value,
        "SCMP_CMP_GE" => arg >= value,
        "SCMP_CMP_GT" => arg > value,
        "SCMP_CMP_MASKED_EQ" => arg & value == c.value_two & value,
        other => panic!("operator {other}"),
    }
}
