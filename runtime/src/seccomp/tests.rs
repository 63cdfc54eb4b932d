//! What does not need libseccomp; tests/seccomp-oracle has the rest.

use super::machine::{Data, run};
use super::*;
use serde_json::{Value, json};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;

fn section(value: Value) -> Seccomp {
    serde_json::from_value(value).expect("a section")
}

fn compiled(value: Value, enosys: bool) -> Program {
    compile_for(&section(value), Options { native: Arch::X86_64, enosys }).expect("a program")
}

fn refused(value: Value) -> String {
    compile_for(&section(value), Options { native: Arch::X86_64, enosys: true }).unwrap_err().to_string()
}

fn answer(program: &Program, name: &str, args: [u64; 6]) -> u32 {
    let nr = number(name, Arch::X86_64).expect("a call of x86_64");
    run(&program.filter, &Data { nr, arch: Arch::X86_64.audit(), args }).0
}

fn with(rule: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]})
}

#[test]
fn a_rule_and_the_default() {
    let program = compiled(with(json!({"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"})), false);
    assert_eq!(answer(&program, "read", [0; 6]), ALLOW);
    assert_eq!(answer(&program, "write", [0; 6]), EPERM);
    assert_eq!(run(&program.filter, &Data { arch: Arch::X86.audit(), ..Data::default() }).0, 0, "an unlisted architecture");
    assert_eq!((program.flags, program.uses_notify), (crate::sys::seccomp::FLAG_SPEC_ALLOW, false));
    let warning = "linux.seccomp.syscalls[0].names[1]: no system call \"no_such_call\" is known on any architecture: ignored";
    assert_eq!(program.warnings, [warning]);
}

#[test]
fn ranges_and_single_numbers_stay_few() {
    // read, write, open, close, stat are 0 to 4: one range.
    let five = with(json!({"names": ["read", "write", "open", "close", "stat"], "action": "SCMP_ACT_ALLOW"}));
    // Load and test the architecture; load the number and find it above 4, x32's or -1; four answers.
    assert!(compiled(five, false).filter.len() <= 11);
    let all: Vec<&str> = numbers::NAMES.split_terminator(' ').collect();
    assert!(compiled(with(json!({"names": all, "action": "SCMP_ACT_ALLOW"})), false).filter.len() < 30);
}

#[test]
fn equal_rules_are_one_piece_of_code() {
    let rule = |names: &[&str]| {
        with(
            json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "op": "SCMP_CMP_GT", "value": 1u64 << 40}]}),
        )
    };
    let one = compiled(rule(&["read"]), false).filter.len();
    let three = compiled(rule(&["read", "bpf", "ioctl"]), false).filter.len();
    assert!(three <= one + 4, "{one} {three}");
}

#[test]
fn halves_of_a_word_that_say_nothing_are_not_looked_at() {
    let loads = |mask: u64| {
        let args = json!([{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": 0}]);
        let program = compiled(with(json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": args})), false);
        program.filter.iter().filter(|i| i.code == 0x20 && i.k >= 16).count()
    };
    assert_eq!((loads(0x7e02_0000), loads(1 << 40), loads(u64::MAX), loads(0)), (1, 1, 2, 0));
}

#[test]
fn new_calls_are_unknown_and_not_refused() {
    let rule = json!({"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"});
    let (with_stub, without) = (compiled(with(rule.clone()), true), compiled(with(rule), false));
    for (name, stub) in [("openat2", ALLOW), ("mount", EPERM), ("cachestat", 0x0005_0026)] {
        assert_eq!(answer(&with_stub, name, [0; 6]), stub, "{name}");
        assert_eq!(answer(&without, name, [0; 6]), if name == "openat2" { ALLOW } else { EPERM }, "{name}");
    }
}

#[test]
fn flags() {
    let bits = |flags: Value| compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags}), true).flags;
    assert_eq!(bits(Value::Null), 4, "runc's default");
    assert_eq!(bits(json!([])), 0);
    assert_eq!(bits(json!(["SECCOMP_FILTER_FLAG_TSYNC"])), 0);
    assert_eq!(bits(json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"])), 6);
    let notify = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "listenerPath": "/s", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]});
    let program = compiled(notify, true);
    assert_eq!((program.flags, program.uses_notify), (32 + 8, true));
}

#[test]
fn the_first_of_two_rules_without_conditions_counts_and_beats_those_with() {
    let rule = |action: &str, args: Value| json!({"names": ["read"], "action": action, "args": args});
    let args = json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": 0}]);
    let rules = json!([rule("SCMP_ACT_TRAP", args), rule("SCMP_ACT_ALLOW", json!([])), rule("SCMP_ACT_LOG", json!([]))]);
    let program = compiled(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}), false);
    assert_eq!(answer(&program, "read", [0; 6]), ALLOW);
    // A mask without bits is no condition.
    let idle = json!([{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0, "valueTwo": 1}]);
    let rules = json!([rule("SCMP_ACT_ALLOW", idle), rule("SCMP_ACT_LOG", json!([]))]);
    let program = compiled(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}), false);
    assert_eq!(answer(&program, "read", [7; 6]), ALLOW);
}

#[test]
fn two_conditions_on_one_argument_are_alternatives() {
    let args = json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": 3}, {"index": 0, "op": "SCMP_CMP_EQ", "value": 5},
        {"index": 1, "op": "SCMP_CMP_EQ", "value": 9}]);
    let program = compiled(with(json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": args})), false);
    for (args, right) in [([3, 0], ALLOW), ([5, 0], ALLOW), ([0, 9], ALLOW), ([4, 0], EPERM)] {
        assert_eq!(answer(&program, "read", [args[0], args[1], 0, 0, 0, 0]), right, "{args:?}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let arg = |arg: Value| with(json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [arg]}));
    let names = |names: Value, action: &str| {
        json!({"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/s",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": names, "action": action}]})
    };
    let contradiction = |second: Value| {
        let args = json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}, {"index": 1, "op": "SCMP_CMP_EQ", "value": 2}]);
        json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": args},
            {"names": ["read"], "action": "SCMP_ACT_LOG", "args": second}]})
    };
    for (value, start) in [
        (json!({"defaultAction": ""}), "linux.seccomp.defaultAction: \"\" is not an action; known are SCMP_ACT_ALLOW, "),
        (
            json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s"}),
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
            "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW takes no errno",
        ),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}), "linux.seccomp.defaultErrnoRet: 4096 is no errno"),
        (
            json!({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536}),
            "linux.seccomp.defaultErrnoRet: 65536 does not fit",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86", "Z80"]}),
            "linux.seccomp.architectures[1]: \"Z80\" is not an architecture; known are SCMP_ARCH_AARCH64, ",
        ),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "flags": ["X"]}), "linux.seccomp.flags[0]: \"X\" is not a flag; known are "),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}),
            "linux.seccomp.flags: ",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "listenerMetadata": "x"}),
            "linux.seccomp.listenerMetadata: must not be set without",
        ),
        (with(json!({"names": ["mount"], "action": "SCMP_ACT_NOTIFY"})), "linux.seccomp.listenerPath: missing"),
        (with(json!({"names": ["read"], "action": "ALLOW"})), "linux.seccomp.syscalls[0].action: \"ALLOW\" is not an action"),
        (
            with(json!({"names": ["read"], "action": "SCMP_ACT_TRAP", "errnoRet": 0})),
            "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_TRAP",
        ),
        (
            names(json!(["mount", "write"]), "SCMP_ACT_NOTIFY"),
            "linux.seccomp.syscalls[1].names[1]: SCMP_ACT_NOTIFY cannot be used for write",
        ),
        (names(json!([""]), "SCMP_ACT_ALLOW"), "linux.seccomp.syscalls[1].names[0]: an empty string"),
        (arg(json!({"index": 6, "op": "SCMP_CMP_EQ", "value": 1})), "linux.seccomp.syscalls[0].args[0].index: 6: "),
        (
            arg(json!({"index": 0, "op": "==", "value": 1})),
            "linux.seccomp.syscalls[0].args[0].op: \"==\" is not an operator; known are ",
        ),
        (
            contradiction(json!([{"index": 1, "op": "SCMP_CMP_EQ", "value": 2}, {"index": 0, "op": "SCMP_CMP_EQ", "value": 1}])),
            "linux.seccomp.syscalls[1]: contradicts linux.seccomp.syscalls[0]: another action for read under the same conditions",
        ),
        (
            contradiction(json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}])),
            "linux.seccomp.syscalls[1]: contradicts linux.seccomp.syscalls[0]: another action for read, whose conditions include",
        ),
    ] {
        let said = refused(value);
        assert!(said.starts_with(start), "{said}\nshould start with\n{start}");
    }
}

#[test]
fn a_filter_that_the_kernel_would_not_take_is_refused() {
    let rule = |i: u64| json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": i << 32 | i}]});
    let profile = |rules: u64| json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": (0..rules).map(rule).collect::<Vec<_>>()});
    assert!(compiled(profile(1000), true).filter.len() <= 4096);
    let said = refused(profile(3000));
    assert!(said.starts_with("linux.seccomp.syscalls: a filter of ") && said.contains("the kernel takes 4096 at most"), "{said}");
}
