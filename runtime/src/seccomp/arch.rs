//! The architectures of `linux.seccomp.architectures` and what the kernel tells a filter about them.

use super::numbers;

/// An ABI: one table of system call numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86_64.
    X86_64,
    /// x86_64 with 32-bit pointers; its numbers carry bit 30.
    X32,
    /// i386.
    X86,
    /// arm64.
    Aarch64,
    /// 32-bit ARM, EABI.
    Arm,
    /// riscv64.
    Riscv64,
    /// 64-bit POWER, little-endian.
    Ppc64Le,
    /// 64-bit POWER, big-endian.
    Ppc64,
    /// 32-bit POWER, big-endian.
    Ppc,
    /// s390x.
    S390x,
    /// loongarch64.
    LoongArch64,
    /// 64-bit MIPS, n64, little-endian.
    Mipsel64,
    /// 64-bit MIPS, n64, big-endian.
    Mips64,
    /// 32-bit MIPS, o32, little-endian.
    Mipsel,
    /// 32-bit MIPS, o32, big-endian.
    Mips,
}

/// Set in the number of every x32 system call (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u32 = 0x4000_0000;

const AUDIT_64BIT: u32 = 0x8000_0000;
const AUDIT_LE: u32 = 0x4000_0000;

impl Arch {
    /// The ABI that this program was built for.
    pub const NATIVE: Arch = if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) {
        Arch::X32
    } else if cfg!(target_arch = "x86_64") {
        Arch::X86_64
    } else if cfg!(target_arch = "x86") {
        Arch::X86
    } else if cfg!(target_arch = "aarch64") {
        Arch::Aarch64
    } else if cfg!(target_arch = "arm") {
        Arch::Arm
    } else if cfg!(target_arch = "riscv64") {
        Arch::Riscv64
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
        Arch::Ppc64Le
    } else if cfg!(target_arch = "powerpc64") {
        Arch::Ppc64
    } else if cfg!(target_arch = "powerpc") {
        Arch::Ppc
    } else if cfg!(target_arch = "s390x") {
        Arch::S390x
    } else if cfg!(target_arch = "loongarch64") {
        Arch::LoongArch64
    } else if cfg!(all(target_arch = "mips64", target_endian = "little")) {
        Arch::Mipsel64
    } else if cfg!(target_arch = "mips64") {
        Arch::Mips64
    } else if cfg!(target_endian = "little") {
        Arch::Mipsel
    } else {
        Arch::Mips
    };

    /// `seccomp_data.arch` of a call of this ABI: `AUDIT_ARCH_*` of <linux/audit.h>, an ELF machine number with two flags.
    pub const fn audit(self) -> u32 {
        match self {
            // The kernel does not tell x32 from x86_64 here.
            Arch::X86_64 | Arch::X32 => 62 | AUDIT_64BIT | AUDIT_LE,
            Arch::X86 => 3 | AUDIT_LE,
            Arch::Aarch64 => 183 | AUDIT_64BIT | AUDIT_LE,
            Arch::Arm => 40 | AUDIT_LE,
            Arch::Riscv64 => 243 | AUDIT_64BIT | AUDIT_LE,
            Arch::Ppc64Le => 21 | AUDIT_64BIT | AUDIT_LE,
            Arch::Ppc64 => 21 | AUDIT_64BIT,
            Arch::Ppc => 20,
            Arch::S390x => 22 | AUDIT_64BIT,
            Arch::LoongArch64 => 258 | AUDIT_64BIT | AUDIT_LE,
            Arch::Mipsel64 => 8 | AUDIT_64BIT | AUDIT_LE,
            Arch::Mips64 => 8 | AUDIT_64BIT,
            Arch::Mipsel => 8 | AUDIT_LE,
            Arch::Mips => 8,
        }
    }

    /// Whether arguments are compared by all 64 bits. libseccomp compares the low words alone for the others, x32 among them.
    pub const fn wide(self) -> bool {
        !matches!(self, Arch::X32 | Arch::X86 | Arch::Arm | Arch::Ppc | Arch::Mips | Arch::Mipsel)
    }

    /// Whether the high word of an argument comes first in memory.
    pub const fn big_endian(self) -> bool {
        matches!(self, Arch::Ppc64 | Arch::Ppc | Arch::S390x | Arch::Mips64 | Arch::Mips)
    }

    /// Where socket and System V IPC calls can also be made through `socketcall` and `ipc`.
    pub const fn multiplexes(self) -> bool {
        use Arch::*;
        matches!(self, X86 | Ppc64Le | Ppc64 | Ppc | S390x | Mips | Mipsel)
    }

    /// Whether a kernel for `self` can run programs of `other`.
    pub fn runs(self, other: Arch) -> bool {
        use Arch::*;
        self == other
            || matches!(
                (self, other),
                (X86_64, X32 | X86) | (X32, X86_64 | X86) | (Aarch64, Arm) | (Ppc64, Ppc) | (Mips64, Mips) | (Mipsel64, Mipsel)
            )
    }

    /// The number of the call with this index in `numbers::NAMES`, as `seccomp_data.nr` has it.
    pub fn number(self, name: u16) -> Option<u32> {
        use Arch::*;
        let (column, base) = match self {
            X86_64 => (&numbers::X86_64, 0),
            X32 => (&numbers::X32, X32_BIT),
            X86 => (&numbers::X86, 0),
            Aarch64 => (&numbers::AARCH64, 0),
            Arm => (&numbers::ARM, 0),
            Riscv64 => (&numbers::RISCV64, 0),
            Ppc64Le | Ppc64 => (&numbers::PPC64, 0),
            Ppc => (&numbers::PPC, 0),
            S390x => (&numbers::S390X, 0),
            LoongArch64 => (&numbers::LOONGARCH64, 0),
            Mipsel64 | Mips64 => (&numbers::MIPS64, 5000),
            Mipsel | Mips => (&numbers::MIPS, 4000),
        };
        match column[usize::from(name)] {
            numbers::ABSENT => None,
            // ARM's private calls are kept in 16 bits.
            n if self == Arm && n >= 0xf000 => Some(0xf_0000 + u32::from(n & 0xfff)),
            n => Some(u32::from(n) + base),
        }
    }
}

/// Every name that runtime-spec 1.3 lists, and the ABI where we have its numbers. The others are of machines that this runtime
/// does not run on, or whose calls a 64-bit kernel of today does not take: naming them is no error, their calls are refused.
pub const NAMES: &[(&str, Option<Arch>)] = &[
    ("SCMP_ARCH_AARCH64", Some(Arch::Aarch64)),
    ("SCMP_ARCH_ARM", Some(Arch::Arm)),
    ("SCMP_ARCH_LOONGARCH64", Some(Arch::LoongArch64)),
    ("SCMP_ARCH_M68K", None),
    ("SCMP_ARCH_MIPS", Some(Arch::Mips)),
    ("SCMP_ARCH_MIPS64", Some(Arch::Mips64)),
    ("SCMP_ARCH_MIPS64N32", None),
    ("SCMP_ARCH_MIPSEL", Some(Arch::Mipsel)),
    ("SCMP_ARCH_MIPSEL64", Some(Arch::Mipsel64)),
    ("SCMP_ARCH_MIPSEL64N32", None),
    ("SCMP_ARCH_PARISC", None),
    ("SCMP_ARCH_PARISC64", None),
    ("SCMP_ARCH_PPC", Some(Arch::Ppc)),
    ("SCMP_ARCH_PPC64", Some(Arch::Ppc64)),
    ("SCMP_ARCH_PPC64LE", Some(Arch::Ppc64Le)),
    ("SCMP_ARCH_RISCV64", Some(Arch::Riscv64)),
    ("SCMP_ARCH_S390", None),
    ("SCMP_ARCH_S390X", Some(Arch::S390x)),
    ("SCMP_ARCH_SH", None),
    ("SCMP_ARCH_SHEB", None),
    ("SCMP_ARCH_X32", Some(Arch::X32)),
    ("SCMP_ARCH_X86", Some(Arch::X86)),
    ("SCMP_ARCH_X86_64", Some(Arch::X86_64)),
];
