//! From a system call's name to its place in the tables: an open hash built at compile time, for a profile has hundreds of names
//! and a container waits for them.

use super::numbers::{COUNT, NAMES};

const SLOTS: usize = 2048;
const EMPTY: u16 = u16::MAX;

/// Where each name starts in [`NAMES`].
static STARTS: [u16; COUNT + 1] = starts();
static TABLE: [u16; SLOTS] = table();

/// The index of a system call's name in [`NAMES`].
pub fn lookup(name: &str) -> Option<u16> {
    let mut slot = hash(name.as_bytes(), 0, name.len());
    loop {
        match TABLE[slot] {
            EMPTY => return None,
            index if at(index) == name => return Some(index),
            // Fewer names than slots: an empty one comes.
            _ => slot = (slot + 1) % SLOTS,
        }
    }
}

/// The name with this index.
pub fn at(index: u16) -> &'static str {
    let index = usize::from(index);
    &NAMES[usize::from(STARTS[index])..usize::from(STARTS[index + 1]) - 1]
}

/// Where each name starts in [`NAMES`], and where the last ends.
pub const fn starts() -> [u16; COUNT + 1] {
    let (mut starts, bytes) = ([0; COUNT + 1], NAMES.as_bytes());
    let (mut i, mut n) = (0, 1);
    while i < bytes.len() {
        if bytes[i] == b' ' {
            starts[n] = i as u16 + 1;
            n += 1;
        }
        i += 1;
    }
    starts
}

const fn table() -> [u16; SLOTS] {
    let (mut table, starts) = ([EMPTY; SLOTS], starts());
    let mut n = 0;
    while n < COUNT {
        let mut slot = hash(NAMES.as_bytes(), starts[n] as usize, starts[n + 1] as usize - 1);
        while table[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = n as u16;
        n += 1;
    }
    table
}

/// FNV-1a, folded.
const fn hash(bytes: &[u8], from: usize, to: usize) -> usize {
    let (mut h, mut i) = (0x811c_9dc5u32, from);
    while i < to {
        h = (h ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    (h ^ h >> 16) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::arch::Arch;

    #[test]
    fn every_name_finds_itself_and_no_other_does() {
        let names: Vec<&str> = NAMES.split_terminator(' ').collect();
        assert_eq!(names.len(), COUNT);
        for (i, name) in names.iter().enumerate() {
            assert_eq!(lookup(name), Some(i as u16), "{name}");
            assert_eq!(at(i as u16), *name);
        }
        for unknown in ["", " ", "rea", "read ", "readx", "READ"] {
            assert_eq!(lookup(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_headers() {
        let n = |arch: Arch, name| arch.number(lookup(name).unwrap());
        assert_eq!(n(Arch::X86_64, "read"), Some(0));
        assert_eq!(n(Arch::X86_64, "execve"), Some(libc::SYS_execve as u32));
        assert_eq!(n(Arch::X32, "execve"), Some(0x4000_0000 + 520));
        assert_eq!(n(Arch::X86, "socketcall"), Some(102));
        assert_eq!(n(Arch::X86_64, "socketcall"), None);
        assert_eq!(n(Arch::Arm, "set_tls"), Some(0xf0005));
        assert_eq!(n(Arch::Mips64, "read"), Some(5000));
        assert_eq!(n(Arch::Aarch64, "openat"), Some(56));
    }
}
