//! The systemd driver, where systemd runs.

use std::process::Command;

use rrun::cgroup::{Binding, Host, Layout};
use rrun::error::Kind;

use crate::support::*;

/// Whether systemd runs here; if not, that the driver says so.
fn has_systemd() -> bool {
    if std::path::Path::new("/run/systemd/system").is_dir() {
        return true;
    }
    let e = Scratch::scope("system.slice:rrun:x", "{}", &[]).map(|_| ()).unwrap_err();
    assert_eq!(e.kind(), Kind::Unsupported);
    assert!(e.to_string().contains("not booted with systemd"), "{e}");
    println!("systemd: none here");
    false
}

/// `systemctl show -p NAME UNIT`.
fn shown(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl").args(["show", "--value", "-p", name, unit]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_scope_with_its_limits() {
    if !has_systemd() {
        return;
    }
    let name = unique();
    let json = r#"{"memory":{"limit":33554432,"swap":33554432},"cpu":{"quota":12345,"shares":512,"cpus":"0"},"pids":{"limit":33},
        "devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}],
        "hugepageLimits":[{"pageSize":"2MB","limit":0}]UNIFIED}"#;
    // With memory on v1, unified cannot speak of it.
    let v2 = Host::detect().unwrap().layout() == Layout::V2;
    let json = json.replace("UNIFIED", if v2 { r#","unified":{"memory.high":"30000000"}"# } else { "" });
    let path = format!("rruncg-test.slice:{name}:x");
    let annotations = [("org.systemd.property.TimeoutStopSec", "uint16 7"), ("unrelated", "x")];
    let (scope, mut child) = Scratch::scope(&path, &json, &annotations).unwrap();
    scope.hierarchy("memory");
    println!("driver: systemd");
    let unit = format!("{name}-x.scope");
    assert!(scope.0.dirs().next().unwrap().full().ends_with(&format!("/rruncg.slice/rruncg-test.slice/{unit}")));
    assert_eq!(scope.0.pids(true).unwrap(), [child.id() as i32]);
    // systemd knows what it can know, and the kernel has everything.
    let table = [
        (if v2 { "MemoryMax" } else { "MemoryLimit" }, "33554432"),
        ("TasksMax", "33"),
        ("CPUQuotaPerSecUSec", "130ms"),
        ("Delegate", "yes"),
        ("Slice", "rruncg-test.slice"),
        ("DevicePolicy", "strict"),
        ("TimeoutStopUSec", "7s"),
        ("AllowedCPUs", "0"),
        (if v2 { "CPUWeight" } else { "CPUShares" }, if v2 { "59" } else { "512" }),
        ("ActiveState", "active"),
    ];
    for (property, expected) in table {
        assert_eq!(shown(&unit, property), expected, "{property}");
    }
    let max = |controller: &str, v1: &str, v2: &str| scope.read(controller, v1, v2);
    assert_eq!(max("memory", "memory.limit_in_bytes", "memory.max"), "33554432");
    assert_eq!(max("pids", "pids.max", "pids.max"), "33");
    let quota = if scope.0.binding("cpu") == Some(Binding::V2) { "13000 100000" } else { "13000" };
    assert_eq!(max("cpu", "cpu.cfs_quota_us", "cpu.max"), quota);
    assert_eq!(max("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(max("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"), "0");
    if v2 {
        assert_eq!((shown(&unit, "MemoryHigh").as_str(), max("memory", "", "memory.high").as_str()), ("30000000", "29999104"));
        assert_eq!(max("memory", "", "memory.swap.max"), "0");
    }
    assert!(can(&scope, "head -c1 </dev/zero") && can(&scope, "head -c0 /dev/kmsg") && !can(&scope, "true >>/dev/kmsg"));
    // systemd's reload does not take away what it does not know, nor the devices.
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    assert_eq!(max("memory", "memory.limit_in_bytes", "memory.max"), "33554432");
    assert_eq!(max("cpu", "cpu.cfs_quota_us", "cpu.max"), quota);
    assert!(can(&scope, "head -c0 /dev/kmsg") && !can(&scope, "true >>/dev/kmsg"));

    let update = r#"{"memory":{"limit":67108864,"swap":-1},"pids":{"limit":44},"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":11}]}"#;
    scope.0.update(&resources(update), &[]).unwrap();
    assert_eq!((shown(&unit, table[0].0).as_str(), shown(&unit, "TasksMax").as_str()), ("67108864", "44"));
    assert_eq!(max("memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    if v2 {
        assert_eq!(
            (max("memory", "", "memory.swap.max").as_str(), max("memory", "", "memory.high").as_str()),
            ("max", "29999104")
        );
    }
    assert!(can(&scope, "true >>/dev/kmsg"));
    // A refused update reaches neither.
    let e = scope.0.update(&resources(r#"{"pids":{"limit":55},"cpu":{"cpus":"65000"}}"#), &[]).unwrap_err();
    assert!(e.to_string().starts_with("cpu.cpus: "), "{e}");
    assert_eq!((shown(&unit, "TasksMax").as_str(), max("pids", "pids.max", "pids.max").as_str()), ("44", "44"));

    // Idle and a weight are one property of systemd's: the later one holds.
    if v2 {
        let warnings = scope.0.update(&resources(r#"{"cpu":{"idle":1,"shares":200}}"#), &[]).unwrap();
        assert!(warnings[0].contains("unable to apply both"), "{warnings:?}");
        assert_eq!(max("cpu", "", "cpu.idle"), "1");
        scope.0.update(&resources(r#"{"cpu":{"shares":1024}}"#), &[]).unwrap();
        assert_eq!((max("cpu", "", "cpu.idle").as_str(), max("cpu", "", "cpu.weight").as_str()), ("0", "100"));
        let both = resources(r#"{"unified":{"cpu.idle":"1","cpu.weight":"8"}}"#);
        assert!(scope.0.update(&both, &[]).unwrap()[0].contains("unable to apply both"));
        assert_eq!(max("cpu", "", "cpu.idle"), "1");
        scope.0.update(&resources(r#"{"unified":{"cpu.weight":"8"}}"#), &[]).unwrap();
        assert_eq!((max("cpu", "", "cpu.idle").as_str(), max("cpu", "", "cpu.weight").as_str()), ("0", "8"));
    }
    // Half of a pair keeps the other half.
    scope.0.update(&resources(r#"{"cpu":{"period":50000}}"#), &[]).unwrap();
    assert_eq!(max("cpu", "cpu.cfs_period_us", "cpu.max"), if v2 { "13000 50000" } else { "50000" });
    assert_eq!(shown(&unit, "CPUQuotaPerSecUSec"), "260ms");

    scope.0.kill_all().unwrap();
    child.wait().unwrap();
    scope.0.destroy(PATIENCE).unwrap();
    assert_eq!(shown(&unit, "LoadState"), "not-found");
    assert!(!scope.0.exists());
}

#[test]
fn what_systemd_refuses_is_said() {
    if !has_systemd() {
        return;
    }
    let path = format!("system.slice:rrun:{}", unique());
    let e = Scratch::scope(&path, "{}", &[("org.systemd.property.NoSuchThing", "true")]).map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("StartTransientUnit") && e.to_string().contains("NoSuchThing"), "{e}");
    // A limit that only the kernel can refuse: the scope goes again.
    let e = Scratch::scope(&path, r#"{"hugepageLimits":[{"pageSize":"3MB","limit":0}]}"#, &[]).map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("3MB"), "{e}");
    // One that runs is not taken over, and does not come to harm.
    let (scope, mut child) = Scratch::scope(&path, "{}", &[]).unwrap();
    let e = Scratch::scope(&path, "{}", &[]).map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("cgroup is not empty"), "{e}");
    assert_eq!(scope.0.pids(true).unwrap(), [child.id() as i32]);
    // When all its processes are gone systemd removes it by itself; removing it then is no error.
    child.kill().unwrap();
    child.wait().unwrap();
    until("systemd has removed it", || !scope.0.exists());
}
