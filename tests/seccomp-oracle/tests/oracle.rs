//! libseccomp and we decide alike, and as the profile says.
//!
//! `meaning` judges both. libseccomp 2.5 cannot be followed everywhere: pieces of code that it shares between rules, calls and
//! architectures do not always find the word in the accumulator that they compare. `bpf` refused for `a0 <= 0xfffffffe` and for
//! `a0 < 0x100000000` lets 0xffffffff pass, on the kernel too; several rules with several conditions each can send it into an
//! endless loop. So both filters have to be equal for every call without conditions, for a call with one rule of any conditions,
//! and for one with several rules of one condition each of the kinds that it gets right, under different actions too; for the
//! rest ours has to be right, and equal wherever libseccomp's is.

use rrun::seccomp::{Arch, Options, SockFilter, compile_for};
use rrun::spec::seccomp::{ArgRule, Seccomp, SyscallRule};
use seccomp_oracle::generate::{Random, Shape, VALUES, profile};
use seccomp_oracle::machine::{Data, run};
use seccomp_oracle::meaning::{Answer, Meaning, Said};
use seccomp_oracle::{docker_default, peer};

const X86: [Arch; 3] = [Arch::X86_64, Arch::X32, Arch::X86];
const X86_NAMES: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_X86"];

fn ours(section: &Seccomp, native: Arch) -> rrun::Result<Vec<SockFilter>> {
    compile_for(section, Options { native, enosys: false }).map(|program| program.filter)
}

/// Numbers at which something may change: all low ones of the ABI, and the ends of everything.
fn numbers(arch: Arch) -> impl Iterator<Item = u32> {
    let base = match arch {
        Arch::X32 => 0x4000_0000,
        Arch::Mipsel64 => 5000,
        Arch::Mipsel => 4000,
        _ => 0,
    };
    let ends =
        [0x3fff_ffff, 0x4000_0000, 0x4000_0400, 0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, 0xc000_0000, u32::MAX - 1, u32::MAX];
    (0..1024).map(move |n| base + n).chain(0xf_0000..0xf_0010).chain(ends)
}

/// Arguments around what the rules name: the value, its neighbours, its halves alone, more in the high half.
fn arguments(rules: &[Said], random: &mut Random, samples: usize) -> Vec<[u64; 6]> {
    let mut interesting: Vec<u64> = vec![0, 1, u64::MAX, 1 << 32, u32::MAX.into()];
    for c in rules.iter().flat_map(|rule| &rule.conditions) {
        for v in [c.value, c.value_two, c.value & c.value_two, !c.value] {
            let halves = [v & 0xffff_ffff, v >> 32 << 32, v ^ 1 << 32, v | 0xffff_ffff << 32, v >> 32, v << 32 | v & 0xffff_ffff];
            interesting.extend(halves.iter().chain(&[v]).flat_map(|v| [v.wrapping_sub(1), *v, v.wrapping_add(1)]));
        }
    }
    interesting.sort_unstable();
    interesting.dedup();
    let mut all = vec![[0; 6], [u64::MAX; 6]];
    if rules.iter().any(|rule| !rule.conditions.is_empty()) {
        all.extend(
            interesting.iter().flat_map(|&v| (0..6).map(move |arg| std::array::from_fn(|i| if i == arg { v } else { 0 }))),
        );
        all.extend((0..samples).map(|_| std::array::from_fn(|_| *random.pick(&interesting))));
    }
    all
}

#[derive(Default, Debug)]
struct Tally {
    profiles: usize,
    refused: usize,
    calls: usize,
    conditional: usize,
    differ: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Against {
    /// Every answer is libseccomp's, and right.
    Both,
    /// Every answer is right; where it is not libseccomp's, that one is wrong, or several would be right.
    JudgeFirst,
    /// Every answer is right.
    JudgeOnly,
}

/// Our filter for every number and many arguments.
fn compare(section: &Seccomp, native: Arch, arches: &[Arch], seed: u64, samples: usize, against: Against, tally: &mut Tally) {
    let text = || serde_json::to_string(section).expect("JSON");
    let mine = ours(section, native);
    let theirs = match (&mine, against) {
        (_, Against::JudgeOnly) => None,
        _ => Some(peer::compile(section, arches)),
    };
    tally.profiles += 1;
    let (mine, theirs) = match (mine, theirs) {
        (Ok(mine), None) => (mine, None),
        (Ok(mine), Some(Ok(theirs))) => (mine, Some(theirs)),
        // Rules that contradict each other. They refuse some more: those that a rule without conditions makes idle.
        (Err(_), None) | (_, Some(Err(peer::Refused::Rule(_)))) => {
            tally.refused += 1;
            return;
        }
        (_, Some(Err(e))) => panic!("libseccomp: {e:?}: {}", text()),
        (Err(e), Some(Ok(_))) => panic!("we refuse what libseccomp takes: {e}: {}", text()),
    };
    let meaning = Meaning::of(section, arches);
    let mut random = Random(seed);
    for &arch in arches {
        for nr in numbers(arch) {
            // The numbers of x32 are beside those of x86_64.
            let x32 = matches!(arch, Arch::X86_64 | Arch::X32) && arches.contains(&Arch::X32) && nr & 0x4000_0000 != 0;
            let arch = if x32 { Arch::X32 } else { arch };
            let rules = meaning.rules(arch, nr);
            let mut differ = false;
            for args in arguments(rules, &mut random, samples) {
                let data = Data { nr, arch: arch.audit(), args };
                let a = run(&mine, &data).0;
                let b = theirs.as_ref().map_or(a, |theirs| run(theirs, &data).0);
                let what = || {
                    format!("seed {seed}, {arch:?} {nr:#x} {args:x?}: ours {a:#x}, libseccomp's {b:#x}\n{rules:x?}\n{}", text())
                };
                if rules.is_empty() {
                    // Also numbers of the other half of x86_64, and of none: libseccomp is the judge.
                    assert_eq!(a, b, "{}", what());
                } else {
                    let right = meaning.answer(arch, nr, &args);
                    assert!(right.allows(a), "we are wrong: {right:x?}: {}", what());
                    assert!(a == b || against == Against::JudgeFirst, "the filters differ: {}", what());
                    assert!(a == b || right != Answer::Only(b), "{}", what());
                }
                differ |= a != b;
            }
            tally.calls += usize::from(!rules.is_empty());
            tally.conditional += usize::from(rules.iter().any(|rule| !rule.conditions.is_empty()));
            tally.differ += usize::from(differ);
        }
    }
    // An architecture that is not listed.
    let data = Data { nr: 1, arch: 0x1234, args: [0; 6] };
    assert_eq!(run(&mine, &data).0, 0);
    assert!(theirs.is_none_or(|theirs| run(&theirs, &data).0 == 0));
}

const MANY: [&str; 21] = [
    "read",
    "write",
    "socket",
    "clone",
    "openat",
    "semget",
    "semop",
    "personality",
    "bpf",
    "ioctl",
    "socketcall",
    "accept",
    "prctl",
    "execve",
    "mmap",
    "stat64",
    "recv",
    "ptrace",
    "no_such_call",
    "set_tls",
    "rt_sigaction",
];
const MULTIPLEXED: [&str; 7] = ["socket", "semget", "semop", "socketcall", "accept", "recv", "ipc"];
/// Calls that i386 has as operations of others alone. libseccomp keeps them under a pseudo-number, and where that is the first
/// of the filter, it forgets to load the number of the call: nothing is found.
const NUMBERLESS: [&str; 3] = ["semop", "accept", "recv"];
const ALL: &[&str] =
    &["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"];

/// Many generated profiles with these operators.
fn generated(
    seeds: std::ops::Range<u64>,
    shape: Shape,
    machine: (Arch, &[Arch], &[&str]),
    operators: &[&str],
    against: Against,
) -> Tally {
    let (native, arches, listed) = machine;
    let mut tally = Tally::default();
    for seed in seeds {
        let mut section = profile(seed, shape, &MANY, listed);
        for arg in section.syscalls.iter_mut().flat_map(|rule| &mut rule.args).filter(|arg| !operators.contains(&arg.op.as_str()))
        {
            arg.op = operators[(arg.value % operators.len() as u64) as usize].into();
        }
        compare(&section, native, arches, seed, 60, against, &mut tally);
    }
    println!("{shape:?}: {tally:?}");
    assert!(tally.refused * 4 < tally.profiles * 3, "too many are refused for the rest to say much: {tally:?}");
    tally
}

const PC: (Arch, &[Arch], &[&str]) = (Arch::X86_64, &X86, &X86_NAMES);
const AMD64: (Arch, &[Arch], &[&str]) = (Arch::X86_64, &[Arch::X86_64], &[]);
const ARM: (Arch, &[Arch], &[&str]) = (Arch::Aarch64, &[Arch::Aarch64, Arch::Arm], &["SCMP_ARCH_ARM"]);
const ARM32: (Arch, &[Arch], &[&str]) = (Arch::Arm, &[Arch::Arm], &[]);

/// Without the names that libseccomp is too old for.
fn docker_default_of_its_time() -> Seccomp {
    let mut section = docker_default();
    let missing = |name: &str| {
        let multiplexed = rrun::seccomp::number(name, Arch::X86).is_some_and(|n| matches!(n, 102 | 117 | 337..=402));
        let on = |arch| rrun::seccomp::number(name, arch).is_some() && peer::number(name, arch).is_none();
        !peer::known(name) || on(Arch::X32) || on(Arch::X86_64) || !multiplexed && on(Arch::X86)
    };
    section.syscalls.iter_mut().for_each(|rule| rule.names.retain(|name| !missing(name)));
    section
}

#[test]
fn docker_default_alike() {
    let mut tally = Tally::default();
    compare(&docker_default_of_its_time(), Arch::X86_64, &X86, 1, 500, Against::Both, &mut tally);
    assert!(tally.calls > 900 && tally.conditional >= 9, "{tally:?}");
}

#[test]
fn docker_default_on_other_machines() {
    let section = docker_default_of_its_time();
    for (native, also, listed) in [
        (Arch::Aarch64, Some(Arch::Arm), "SCMP_ARCH_ARM"),
        (Arch::Riscv64, None, "SCMP_ARCH_RISCV64"),
        (Arch::Arm, None, "SCMP_ARCH_ARM"),
        (Arch::X86_64, None, "SCMP_ARCH_S390X"),
        (Arch::X86_64, Some(Arch::X86), "SCMP_ARCH_X86"),
        (Arch::X86_64, Some(Arch::X32), "SCMP_ARCH_X32"),
    ] {
        let section = Seccomp { architectures: vec![listed.into()], ..section.clone() };
        let arches: Vec<Arch> = [native].into_iter().chain(also).collect();
        let mut tally = Tally::default();
        compare(&section, native, &arches, 2, 100, Against::Both, &mut tally);
        assert!(tally.calls > 200, "{native:?} {tally:?}");
    }
    // The judge knows the multiplexed calls of i386 alone.
    for (native, also, listed) in
        [(Arch::Ppc64Le, None, "SCMP_ARCH_PPC64LE"), (Arch::Mipsel64, Some(Arch::Mipsel), "SCMP_ARCH_MIPSEL")]
    {
        let section = Seccomp { architectures: vec![listed.into()], ..section.clone() };
        let arches: Vec<Arch> = [native].into_iter().chain(also).collect();
        alike(&ours(&section, native).unwrap(), &peer::compile(&section, &arches).unwrap(), &arches);
    }
}

/// The filters, without a judge.
fn alike(mine: &[SockFilter], theirs: &[SockFilter], arches: &[Arch]) {
    let mut random = Random(3);
    for &arch in arches {
        for nr in numbers(arch) {
            for _ in 0..50 {
                let args = std::array::from_fn(|_| random.pick(&VALUES).wrapping_add(random.number() % 50));
                let data = Data { nr, arch: arch.audit(), args };
                assert_eq!(run(mine, &data).0, run(theirs, &data).0, "{data:x?}");
            }
        }
    }
}

#[test]
fn without_conditions() {
    let mut tally = Tally::default();
    for seed in 0..150 {
        let shape = Shape { entries: 12, names: 8, pool: 40, conditional: 0, conditions: 1, one_action: false };
        let mut section = profile(seed, shape, &MANY, &X86_NAMES);
        // Different actions for one call: the first counts. For the multiplexed ones that is a contradiction.
        section.syscalls.iter_mut().for_each(|rule| rule.names.retain(|name| !MULTIPLEXED.contains(&name.as_str())));
        compare(&section, Arch::X86_64, &X86, seed, 0, Against::Both, &mut tally);
    }
    assert!(tally.calls > 3000 && tally.refused == 0, "{tally:?}");
}

#[test]
fn one_rule() {
    // The comparisons themselves: all operators, six conditions, halves of words, on words of 32 and 64 bits.
    for (machine, seeds) in [(PC, 1000..1400), (ARM, 1400..1500), (ARM32, 1500..1600)] {
        let mut tally = Tally::default();
        for seed in seeds {
            let shape = Shape { entries: 1, names: 1, pool: 1, conditional: 100, conditions: 6, one_action: false };
            let names: Vec<&str> = MANY.into_iter().filter(|name| !NUMBERLESS.contains(name)).collect();
            let mut section = profile(seed, shape, &names, machine.2);
            let args = section.syscalls[0].args.iter_mut();
            args.enumerate().for_each(|(i, arg)| arg.index = (seed as u32 + i as u32) % 6);
            compare(&section, machine.0, machine.1, seed, 300, Against::Both, &mut tally);
        }
        assert!(tally.conditional > 30 && tally.refused == 0, "{tally:?}");
    }
}

#[test]
fn one_call_several_equalities() {
    let operators = &["SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"];
    for (one_action, seeds) in [(true, 2000..2200), (false, 2200..2500)] {
        for machine in [AMD64, ARM32] {
            let shape = Shape { entries: 6, names: 1, pool: 1, conditional: 97, conditions: 1, one_action };
            generated(seeds.clone(), shape, machine, operators, Against::Both);
        }
    }
}

#[test]
fn one_call_several_lower_bounds() {
    let operators = &["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT"];
    let shape = Shape { entries: 6, names: 1, pool: 1, conditional: 97, conditions: 1, one_action: true };
    generated(3000..3300, shape, AMD64, operators, Against::Both);
}

#[test]
fn one_call_all_operators_on_32_bits() {
    for (one_action, seeds) in [(true, 4000..4200), (false, 4200..4500)] {
        let shape = Shape { entries: 5, names: 1, pool: 1, conditional: 97, conditions: 1, one_action };
        generated(seeds, shape, ARM32, ALL, Against::Both);
    }
}

#[test]
fn several_calls_one_condition_a_rule() {
    for (one_action, seeds) in [(true, 5000..5200), (false, 5200..5400)] {
        let shape = Shape { entries: 6, names: 4, pool: 10, conditional: 90, conditions: 1, one_action };
        for machine in [PC, ARM] {
            let tally = generated(seeds.clone(), shape, machine, ALL, Against::JudgeFirst);
            assert!(tally.differ * 5 < tally.calls, "{tally:?}");
        }
    }
}

#[test]
fn several_calls_several_conditions_a_rule() {
    for (machine, one_action, seeds) in [(PC, true, 6000..6150), (PC, false, 6150..6300), (ARM, false, 6300..6400)] {
        let shape = Shape { entries: 6, names: 3, pool: 6, conditional: 90, conditions: 4, one_action };
        let tally = generated(seeds, shape, machine, ALL, Against::JudgeOnly);
        assert!(tally.conditional > 200, "{tally:?}");
    }
}

#[test]
fn long_profiles_with_long_jumps() {
    // Every call with a rule of its own: arguments of all calls lie far from the search.
    let names: Vec<String> = (0..450).filter_map(|n| libseccomp::ScmpSyscall::from(n).get_name().ok()).collect();
    for (count, one) in [(60, true), (200, false), (340, true)] {
        let rule = |i: usize, name: &String| SyscallRule {
            names: vec![name.clone()],
            action: if i.is_multiple_of(3) && !one { "SCMP_ACT_LOG" } else { "SCMP_ACT_ALLOW" }.into(),
            args: vec![ArgRule { index: (i % 6) as u32, value: i as u64 * 7, value_two: 0, op: "SCMP_CMP_NE".into() }],
            ..SyscallRule::default()
        };
        let section = Seccomp {
            default_action: "SCMP_ACT_ERRNO".into(),
            syscalls: names.iter().enumerate().step_by(names.len() / count).map(|(i, name)| rule(i, name)).collect(),
            ..Seccomp::default()
        };
        let mut tally = Tally::default();
        compare(&section, Arch::X86_64, &[Arch::X86_64], count as u64, 20, Against::Both, &mut tally);
        assert!(tally.calls >= count && tally.differ == 0, "{count}: {tally:?}");
        let length = ours(&section, Arch::X86_64).unwrap().len();
        assert!(count < 200 || length > 600, "{length} instructions: no long jumps were needed");
    }
}

#[test]
fn numbers_of_all_names_are_libseccomps() {
    let section = docker_default();
    let mut compared = 0;
    for arch in
        [Arch::X86_64, Arch::X32, Arch::X86, Arch::Aarch64, Arch::Arm, Arch::Riscv64, Arch::Ppc64Le, Arch::S390x, Arch::Mipsel64]
    {
        for name in section.syscalls.iter().flat_map(|rule| &rule.names).filter(|name| peer::known(name)) {
            if let Some(theirs) = peer::number(name, arch) {
                assert_eq!(rrun::seccomp::number(name, arch), Some(theirs), "{name} {arch:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 2500, "{compared}");
}

#[test]
fn numbers_above_the_profile_are_unknown_calls() {
    // runc's addition to libseccomp.
    let section = docker_default();
    let with = rrun::seccomp::compile_for(&section, Options { native: Arch::X86_64, enosys: true }).unwrap().filter;
    let without = ours(&section, Arch::X86_64).unwrap();
    for arch in X86 {
        let highest = section
            .syscalls
            .iter()
            .flat_map(|rule| &rule.names)
            .filter_map(|name| rrun::seccomp::number(name, arch))
            .max()
            .unwrap();
        for nr in numbers(arch) {
            let data = Data { nr, arch: arch.audit(), args: [0; 6] };
            let same_half = arch != Arch::X86_64 && arch != Arch::X32 || (nr & 0x4000_0000 != 0) == (arch == Arch::X32);
            let right = if nr > highest && same_half { 0x0005_0026 } else { run(&without, &data).0 };
            if same_half {
                assert_eq!(run(&with, &data).0, right, "{arch:?} {nr:#x}");
            }
        }
    }
    for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
        let section = Seccomp { default_action: action.into(), ..section.clone() };
        let section = Seccomp { default_errno_ret: None, ..section };
        let with = rrun::seccomp::compile_for(&section, Options { native: Arch::X86_64, enosys: true }).unwrap().filter;
        assert_eq!(with, ours(&section, Arch::X86_64).unwrap(), "{action} lets new calls through");
    }
}
