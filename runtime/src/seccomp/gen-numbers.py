#!/usr/bin/env python3
"""Writes numbers.rs: the system call numbers of every architecture, from the headers that the crate linux-raw-sys carries.

usage: python3 runtime/src/seccomp/gen-numbers.py     (from the top of the repository, after `cargo fetch`)
"""

import glob
import os
import re
import sys

# Our column, the crate's folder, what to subtract. One line per ABI.
COLUMNS = [
    ("X86_64", "x86_64", 0),
    ("X32", "x32", 0x4000_0000),
    ("X86", "x86", 0),
    ("AARCH64", "aarch64", 0),
    ("ARM", "arm", 0),
    ("RISCV64", "riscv64", 0),
    ("PPC64", "powerpc64", 0),
    ("PPC", "powerpc", 0),
    ("S390X", "s390x", 0),
    ("LOONGARCH64", "loongarch64", 0),
    ("MIPS64", "mips64", 5000),
    ("MIPS", "mips", 4000),
]
# Names whose numbers exist on no ABI of ours but which profiles list: known, so that nobody is warned of them.
KNOWN_ELSEWHERE = "atomic_barrier atomic_cmpxchg_32 getpagesize kern_features memory_ordering perfctr sched_set_affinity " \
    "utrap_install".split()
NOT_CALLS = re.compile(r"Linux|(OABI_)?SYSCALL_\w+|(unused|reserved)\d+")
ABSENT = 0xFFFF
ARM_PRIVATE = 0xF0000  # kept in 16 bits as 0xf000 + n


def main():
    crates = sorted(glob.glob(os.path.expanduser("~/.cargo/registry/src/*/linux-raw-sys-*/src")))
    if not crates:
        sys.exit("linux-raw-sys is not in cargo's registry: run `cargo fetch` first")
    source = crates[-1]
    kernel = re.search(r"LINUX_VERSION_CODE: u32 = (\d+)", open(f"{source}/x86_64/general.rs").read())
    kernel = int(kernel.group(1))
    columns = {}
    for column, folder, base in COLUMNS:
        text = open(f"{source}/{folder}/general.rs").read()
        numbers = {n: int(v) - base for n, v in re.findall(r"\bconst __NR_(\w+): u32 = (\d+);", text) if not NOT_CALLS.fullmatch(n)}
        for name, value in re.findall(r"\bconst __ARM_NR_(\w+): u32 = (\d+);", text):
            if name != "BASE":
                numbers[name] = int(value) - ARM_PRIVATE + 0xF000
        assert all(0 <= v < ABSENT for v in numbers.values()), column
        columns[column] = numbers
    names = sorted(set(KNOWN_ELSEWHERE).union(*columns.values()))
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "numbers.rs"), "w") as out:
        out.write(f"//! System call names and numbers of Linux {kernel >> 16}.{kernel >> 8 & 255}. Made by gen-numbers.py: do not edit.\n\n")
        out.write(f"/// How many names.\npub const COUNT: usize = {len(names)};\n\n")
        out.write("/// All names in order, a space after each.\npub const NAMES: &str = concat!(\n")
        line = ""
        for name in names:
            if len(line) + len(name) > 110:
                out.write(f'    "{line}",\n')
                line = ""
            line += name + " "
        out.write(f'    "{line}",\n);\n')
        out.write("\n/// Of a call that an ABI does not have.\npub const ABSENT: u16 = 0xffff;\n")
        for column, _, base in COLUMNS:
            what = f" less {base:#x}" if base else ", ARM's private ones (0xf0001 on) as 0xf001 on" if column == "ARM" else ""
            out.write(f"\n/// Numbers{what}, in the order of [`NAMES`].\n#[rustfmt::skip]\npub static {column}: [u16; COUNT] = [\n")
            line = "   "
            for name in names:
                number = columns[column].get(name, ABSENT)
                cell = " ABSENT," if number == ABSENT else f" {number},"
                if len(line) + len(cell) > 128:
                    out.write(line + "\n")
                    line = "   "
                line += cell
            out.write(line + "\n];\n")


main()
