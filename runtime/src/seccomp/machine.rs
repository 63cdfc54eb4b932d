//! For tests: the part of classic BPF that seccomp takes, as the kernel runs it (Documentation/networking/filter.rst).

use crate::sys::seccomp::SockFilter;

/// `struct seccomp_data` of <linux/seccomp.h>, without the instruction pointer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Data {
    /// System call number.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Arguments.
    pub args: [u64; 6],
}

impl Data {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            16..64 if offset.is_multiple_of(4) => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
            }
            _ => panic!("load from {offset}"),
        }
    }
}

/// The filter's answer on a little-endian machine, and how many instructions it took. Panics at what the kernel would refuse.
pub fn run(filter: &[SockFilter], data: &Data) -> (u32, usize) {
    let (mut pc, mut a, mut steps) = (0, 0u32, 0);
    loop {
        let SockFilter { code, jt, jf, k } = filter[pc];
        pc += 1;
        steps += 1;
        let jump = |yes: bool| usize::from(if yes { jt } else { jf });
        match code {
            0x20 => a = data.word(k),
            0x54 => a &= k,
            0x05 => pc += k as usize,
            0x15 => pc += jump(a == k),
            0x25 => pc += jump(a > k),
            0x35 => pc += jump(a >= k),
            0x45 => pc += jump(a & k != 0),
            0x06 => return (k, steps),
            _ => panic!("instruction {code:#x}"),
        }
    }
}
