//! Row 6 of the budgets: Docker's default profile, our filter against libseccomp's (as runc builds it), in turn.
//!
//! usage: `seccomp-bench [ROUNDS]`. Each round starts one process for each: it builds the filter, loads it and makes calls.

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use rrun::seccomp::{Arch, Options, SockFilter, compile_for};
use rrun::sys::seccomp::{FLAG_SPEC_ALLOW, load};
use seccomp_oracle::{calls, docker_default, peer};

const KINDS: [&str; 3] = ["none", "libseccomp", "rrun"];
/// What a process measures.
const COLUMNS: [&str; 7] =
    ["instructions", "build, first us", "build, warm us", "attach us", "allowed ns", "by rule ns", "denied ns"];

fn main() {
    let argument = std::env::args().nth(1);
    if let Some(kind) = KINDS.iter().find(|kind| argument.as_deref() == Some(**kind)) {
        let values = measure(kind);
        println!("{}", values.map(|v| v.to_string()).join(" "));
        return;
    }
    let rounds = argument.and_then(|n| n.parse().ok()).unwrap_or(21);
    let mut seen: Vec<Vec<[f64; 7]>> = vec![Vec::new(); KINDS.len()];
    for _ in 0..rounds {
        for (kind, seen) in KINDS.iter().zip(&mut seen) {
            let exe = std::env::current_exe().expect("/proc");
            let output = Command::new(exe).arg(kind).output().expect("a process of its own");
            let text = String::from_utf8_lossy(&output.stdout);
            let values: Vec<f64> = text.split_whitespace().map(|v| v.parse().expect("numbers")).collect();
            seen.push(values.try_into().unwrap_or_else(|_| panic!("{kind}: {output:?}")));
        }
    }
    let median = |kind: usize, column: usize| {
        let mut values: Vec<f64> = seen[kind].iter().map(|row| row[column]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!("docker-default on x86_64, medians of {rounds} processes each, in turn");
    println!("{:12} {}", "", COLUMNS.map(|c| format!("{c:>16}")).join(""));
    for (i, kind) in KINDS.iter().enumerate() {
        println!("{kind:12} {}", (0..7).map(|c| format!("{:>16.1}", median(i, c))).collect::<String>());
    }
    let mut alone = docker_default();
    alone.architectures.clear();
    let ours = compile_for(&alone, Options { native: Arch::X86_64, enosys: false }).expect("ours").filter.len();
    let theirs = peer::compile(&alone, &[Arch::X86_64]).expect("libseccomp").len();
    println!("instructions for x86_64 alone: rrun {ours}, libseccomp {theirs}");
    println!(
        "| 6 | docker-default seccomp profile (x86_64, i386, x32), rrun : libseccomp | {:.0} : {:.0} instructions, attach {:.2} : {:.2} ms, \
         ns per call: by rule {:.0} : {:.0}, denied {:.0} : {:.0} |",
        median(2, 0),
        median(1, 0),
        median(2, 3) / 1e3,
        median(1, 3) / 1e3,
        median(2, 5),
        median(1, 5),
        median(2, 6),
        median(1, 6),
    );
}

fn build(kind: &str) -> Vec<SockFilter> {
    match kind {
        "libseccomp" => peer::compile(&docker_default(), &[Arch::X86_64, Arch::X86, Arch::X32]).expect("libseccomp"),
        // Without runc's addition, which libseccomp's filter lacks too.
        _ => compile_for(&docker_default(), Options { native: Arch::X86_64, enosys: false }).expect("ours").filter,
    }
}

fn measure(kind: &str) -> [f64; 7] {
    let us = |from: Instant| from.elapsed().as_nanos() as f64 / 1e3;
    // The JSON is neither's work.
    let section = black_box(docker_default());
    let json = {
        let from = Instant::now();
        black_box(docker_default());
        us(from)
    };
    drop(section);
    let (mut filter, mut first, mut warm, mut attach) = (Vec::new(), 0.0, 0.0, 0.0);
    if kind != "none" {
        let from = Instant::now();
        filter = build(kind);
        first = us(from) - json;
        let mut all: Vec<f64> = (0..21)
            .map(|_| {
                let from = Instant::now();
                black_box(build(kind));
                us(from) - json
            })
            .collect();
        all.sort_by(f64::total_cmp);
        warm = all[10];
        let from = Instant::now();
        load(&filter, FLAG_SPEC_ALLOW).expect("as root");
        attach = us(from);
    }
    let per_call = |number: u32, args: [u64; 6]| {
        let count = 100_000;
        let from = Instant::now();
        for _ in 0..count {
            let _ = black_box(calls::call(number, black_box(args)));
        }
        from.elapsed().as_nanos() as f64 / f64::from(count)
    };
    // getppid; personality(PER_QUERY); swapoff of no address, which root is refused by the filter or told EFAULT by the kernel.
    let allowed = per_call(110, [0; 6]);
    let by_rule = per_call(135, [0xffff_ffff, 0, 0, 0, 0, 0]);
    let denied = per_call(168, [0; 6]);
    [filter.len() as f64, first, warm, attach, allowed, by_rule, denied]
}
