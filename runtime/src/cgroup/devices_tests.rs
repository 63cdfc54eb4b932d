//! The three forms of a rule list - read by hand, as a program, as exceptions - decide alike.

use super::super::bpf;
use super::*;
use crate::sys::bpf::Insn;

fn rule(text: &str) -> DeviceRule {
    // `+c 1:3 rw` or `-a`.
    let allow = text.starts_with('+');
    let mut words = text[1..].split(' ');
    let kind = words.next().map(str::to_owned);
    let (major, minor) = words.next().and_then(|n| n.split_once(':')).unwrap_or(("*", "*"));
    let number = |n: &str| if n == "*" { None } else { n.parse().ok() };
    DeviceRule { allow, kind, major: number(major), minor: number(minor), access: words.next().map(str::to_owned) }
}

fn list(texts: &[&str]) -> Vec<Rule> {
    texts.iter().enumerate().map(|(i, t)| read(&rule(t), format!("devices[{i}]")).unwrap()).collect()
}

/// The meaning, said plainly: for each single access the last rule that names it.
fn allowed(rules: &[Rule], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    [MKNOD, READ, WRITE].iter().filter(|bit| access & **bit != 0).all(|bit| {
        let names = |r: &&Rule| {
            r.kind.is_none_or(|k| k == kind)
                && r.major.is_none_or(|m| m == major)
                && r.minor.is_none_or(|m| m == minor)
                && r.access & bit != 0
        };
        rules.iter().rev().find(names).is_some_and(|r| r.allow)
    })
}

/// Runs a program: the few instructions that ours have.
fn run(program: &[Insn], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    let context = [u32::from(access) << 16 | if kind == Kind::Char { 2 } else { 1 }, major, minor];
    let mut r = [0u64; 11];
    let mut at = 0;
    loop {
        let i = program[at];
        at += 1;
        let (dst, imm) = (usize::from(i.dst()), i64::from(i.imm) as u64);
        let (d, s) = (r[dst], r[usize::from(i.src())]);
        r[dst] = match i.code {
            0x61 => context[i.off as usize / 4].into(),
            0x18 => {
                at += 1;
                u64::from(i.imm as u32) | u64::from(program[at - 1].imm as u32) << 32
            }
            0xb7 => imm,
            0xbf => s,
            0xbc => s as u32 as u64,
            0x57 => d & imm,
            0x5f => d & s,
            0x47 => d | imm,
            0x4f => d | s,
            0xa7 => d ^ imm,
            0xaf => d ^ s,
            0x17 => d.wrapping_sub(imm),
            0x27 => d.wrapping_mul(imm),
            0x67 => d << imm,
            0x77 => d >> imm,
            0x95 => {
                assert!(r[0] <= 1);
                return r[0] == 1;
            }
            code => panic!("instruction {code:#x}"),
        };
    }
}

fn by_program(rules: &[Rule], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    bpf::program(rules).unwrap().is_none_or(|p| run(&p, kind, major, minor, access))
}

#[test]
fn the_last_rule_decides() {
    let rules = list(&["-a", "+c 1:* rwm", "-c 1:3 w", "+b 8:0 r", "+c 1:3 w"]);
    let table = [
        (Kind::Char, 1, 3, READ | WRITE, true),
        (Kind::Char, 1, 5, ALL, true),
        (Kind::Char, 2, 5, READ, false),
        (Kind::Block, 8, 0, READ, true),
        (Kind::Block, 8, 0, READ | WRITE, false),
        (Kind::Block, 1, 3, READ, false),
    ];
    for (kind, major, minor, access, expected) in table {
        assert_eq!(allowed(&rules, kind, major, minor, access), expected);
        assert_eq!(by_program(&rules, kind, major, minor, access), expected, "{kind:?} {major}:{minor} {access}");
    }
    let rules = list(&["+a", "-c 1:3 w"]);
    assert!(by_program(&rules, Kind::Char, 1, 3, READ) && !by_program(&rules, Kind::Char, 1, 3, READ | WRITE));
    assert!(bpf::program(&list(&["-c 1:3 w", "+a"])).unwrap().is_none());
    assert!(!by_program(&[], Kind::Char, 1, 3, READ));
    // The largest numbers that a device can have, and beyond.
    let rules = list(&["+c 4095:1048575 r", "+b 4095:1048575 w", "+c 4096:0 r", "+c 0:1048576 r", "+c 4294967295:0 w"]);
    assert!(by_program(&rules, Kind::Char, 4095, 1_048_575, READ) && !by_program(&rules, Kind::Char, 4095, 1_048_575, WRITE));
    assert!(by_program(&rules, Kind::Block, 4095, 1_048_575, WRITE) && !by_program(&rules, Kind::Block, 4095, 1_048_575, READ));
    assert!(!by_program(&rules, Kind::Char, 0, 0, READ) && !by_program(&rules, Kind::Char, 1, 0, READ));
}

#[test]
fn the_default_program_is_small() {
    let p = bpf::program(&rules(&[rule("-a")], &[], "").unwrap()).unwrap().unwrap();
    assert!(p.len() <= 64, "{} instructions", p.len());
    // And a list that allows everything needs none.
    assert!(bpf::program(&rules(&[rule("+a")], &[], "").unwrap()).unwrap().is_none());
}

/// Every list of rules over a small world, pseudo-randomly drawn, read in all three ways.
#[test]
fn programs_and_exceptions_mean_the_same() {
    let mut seed = 7u64;
    let mut random = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let (mut expressible, mut refused) = (0, 0);
    for _ in 0..4000 {
        let mut rules = Vec::new();
        for _ in 0..random(7) {
            let number = |n: u64| if n == 0 { None } else { Some(n as u32) };
            rules.push(Rule {
                allow: random(2) == 0,
                kind: [None, Some(Kind::Char), Some(Kind::Block)][random(3) as usize],
                major: number(random(3)),
                minor: number(random(3)),
                access: [ALL, ALL, READ, WRITE | MKNOD, MKNOD][random(5) as usize],
                field: String::new(),
            });
        }
        let exceptions = Exceptions::new(&rules);
        if exceptions.is_ok() {
            expressible += 1
        } else {
            refused += 1
        }
        for kind in [Kind::Char, Kind::Block] {
            for (major, minor) in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3)] {
                for access in 1..=ALL {
                    let expected = allowed(&rules, kind, major, minor, access);
                    assert_eq!(by_program(&rules, kind, major, minor, access), expected, "{rules:?}");
                    // v1 wants one exception that has the whole access, so single ones are what can be compared.
                    if let Ok(e) = &exceptions
                        && access.count_ones() == 1
                    {
                        let device = Devices { kind, major: Some(major), minor: Some(minor) };
                        let excepted = e.list.iter().any(|(d, a)| d.covers(&device) && a & access != 0);
                        assert_eq!(e.default_allow != excepted, expected, "{rules:?} as {e:?}");
                    }
                }
            }
        }
    }
    assert!(expressible > 1000 && refused > 100, "{expressible} {refused}");
}

#[test]
fn no_hole_in_a_wider_rule_on_v1() {
    let e = Exceptions::new(&list(&["-a", "+c 1:* rwm", "-c 1:3 w"])).unwrap_err().to_string();
    assert!(e.starts_with("devices[2]: ") && e.contains("cannot deny c 1:3 w") && e.contains("c 1:*"), "{e}");
    assert!(Exceptions::new(&list(&["-a", "+c 1:* r", "-c 1:3 w"])).is_ok(), "no access in common");
    assert!(Exceptions::new(&list(&["-a", "+c 1:3 rwm", "-c 1:* rwm"])).unwrap().list.is_empty());
    assert!(Exceptions::new(&list(&["+a", "-c 1:* rwm", "+c 1:3 r"])).is_err());
}

#[test]
fn v1_writes_what_changes() {
    let e = |texts: &[&str]| Exceptions::new(&list(texts)).unwrap();
    let from_root = Exceptions::parse("a *:* rwm\n").unwrap();
    assert!(from_root.default_allow);
    let writes = e(&["-a", "+c 1:3 rwm", "+b *:* m"]).writes_from(&from_root);
    let text: Vec<String> = writes.iter().map(|(allow, w)| format!("{}{w}", if *allow { '+' } else { '-' })).collect();
    assert_eq!(text, ["-a", "+b *:* m", "+c 1:3 rwm"]);
    // From a list to another: what stays is not touched.
    let present = Exceptions::parse("c 1:3 rwm\nc 1:5 rw\nb *:* m\n").unwrap();
    let writes = e(&["-a", "+c 1:3 rwm", "+c 1:5 rm", "+c 1:7 r"]).writes_from(&present);
    let text: Vec<String> = writes.iter().map(|(allow, w)| format!("{}{w}", if *allow { '+' } else { '-' })).collect();
    assert_eq!(text, ["-b *:* m", "-c 1:5 w", "+c 1:5 m", "+c 1:7 r"]);
    assert_eq!(present.writes_from(&present), []);
    assert_eq!(e(&["+a"]).writes_from(&present), [(true, "a".to_owned())]);
}

#[test]
fn rules_are_checked() {
    let bad = |json: &str| {
        let rule: DeviceRule = serde_json::from_str(json).unwrap();
        read(&rule, "linux.resources.devices[0]".into()).unwrap_err().to_string()
    };
    assert!(bad(r#"{"allow":true,"type":"x"}"#).starts_with("linux.resources.devices[0].type: \"x\""));
    assert!(bad(r#"{"allow":true,"access":"rx"}"#).starts_with("linux.resources.devices[0].access: 'x'"));
    assert!(bad(r#"{"allow":true,"access":"a"}"#).starts_with("linux.resources.devices[0].access: empty"));
    assert!(bad(r#"{"allow":true,"access":""}"#).starts_with("linux.resources.devices[0].access: empty"));
    assert!(bad(r#"{"allow":true,"major":-2}"#).starts_with("linux.resources.devices[0].major: -2"));
    assert!(bad(r#"{"allow":true,"minor":4294967296}"#).starts_with("linux.resources.devices[0].minor: "));
}

#[test]
fn defaults_follow_unless_listed() {
    let all = rules(&[rule("-a")], &[], "").unwrap();
    assert!(allowed(&all, Kind::Char, 1, 3, ALL) && allowed(&all, Kind::Char, 136, 7, READ | WRITE));
    assert!(allowed(&all, Kind::Block, 8, 0, MKNOD) && !allowed(&all, Kind::Block, 8, 0, READ));
    let listed: [Device; 1] = [serde_json::from_str(r#"{"path":"/dev/null","type":"c","major":1,"minor":3}"#).unwrap()];
    let all = rules(&[rule("-a")], &listed, "").unwrap();
    assert!(!allowed(&all, Kind::Char, 1, 3, READ) && allowed(&all, Kind::Char, 1, 5, READ));
}
