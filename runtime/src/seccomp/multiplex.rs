//! Socket and System V IPC calls that older ABIs also take as operations of `socketcall(2)` and `ipc(2)`.

use super::arch::Arch;
use super::numbers::{COUNT, NAMES};
use super::profile::{Compare, Condition, Rule};
use super::{names, number};

// Operations of <linux/net.h> and <linux/ipc.h>, from 1 on.
const SOCKETCALL: &str = "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown \
                          setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg ";
const IPC: &str = "semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - shmat shmdt shmget shmctl ";
const OF_IPC: u8 = 0x80;

/// The operation of each name of [`NAMES`]; 0 for all other calls.
static OPERATIONS: [u8; COUNT] = operations();

/// Where the call with this index in [`NAMES`] also comes in on this architecture: the number of the multiplexing call, and the
/// operation.
pub fn multiplexed(arch: Arch, name: u16) -> Option<(u32, u64)> {
    let operation = OPERATIONS[usize::from(name)];
    if operation == 0 || !arch.multiplexes() {
        return None;
    }
    let call = if operation & OF_IPC != 0 { "ipc" } else { "socketcall" };
    Some((number(call, arch)?, u64::from(operation & !OF_IPC)))
}

/// The rule of a call for its operation: the operation in place of what the rule says of the first argument. libseccomp keeps the
/// conditions on the others, though they are different things there.
pub fn of_operation(rule: &Rule, operation: u64) -> Rule {
    let first = Condition { arg: 0, compare: Compare::Eq, mask: u64::MAX, value: operation };
    let others = rule.conditions.iter().copied().filter(|c| c.arg != 0);
    Rule { conditions: std::iter::once(first).chain(others).collect(), ..*rule }
}

const fn operations() -> [u8; COUNT] {
    let mut operations = [0; COUNT];
    let starts = names::starts();
    let mut n = 0;
    while n < COUNT {
        let (from, to) = (starts[n] as usize, starts[n + 1] as usize);
        operations[n] = match (place(SOCKETCALL, from, to), place(IPC, from, to)) {
            (0, 0) => 0,
            (0, ipc) => ipc | OF_IPC,
            (socket, _) => socket,
        };
        n += 1;
    }
    operations
}

/// Which word of the list is this part of [`NAMES`] (with the space behind it), from 1 on; 0 for none.
const fn place(list: &str, from: usize, to: usize) -> u8 {
    let (list, name) = (list.as_bytes(), NAMES.as_bytes());
    let (mut at, mut word) = (0, 1);
    while at < list.len() {
        let mut i = 0;
        while from + i < to && at + i < list.len() && list[at + i] == name[from + i] {
            i += 1;
        }
        if from + i == to {
            return word;
        }
        while list[at] != b' ' {
            at += 1;
        }
        at += 1;
        word += 1;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_those_of_the_headers() {
        let of = |name| multiplexed(Arch::X86, names::lookup(name).unwrap());
        assert_eq!(of("socket"), Some((102, 1)));
        assert_eq!(of("sendmmsg"), Some((102, 20)));
        assert_eq!(of("semop"), Some((117, 1)));
        assert_eq!(of("msgsnd"), Some((117, 11)));
        assert_eq!(of("shmctl"), Some((117, 24)));
        for name in ["socketcall", "ipc", "read", "send_nothing", "recvmmsg_time64"] {
            assert_eq!(names::lookup(name).and_then(|index| multiplexed(Arch::X86, index)), None, "{name}");
        }
        assert_eq!(multiplexed(Arch::X86_64, names::lookup("socket").unwrap()), None);
    }
}
