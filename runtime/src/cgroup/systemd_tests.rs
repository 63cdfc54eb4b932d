//! From limits to properties, without systemd.

use super::super::{Host, Request, Unified, devices, plan};
use super::*;

fn text(resources: &str, v2: bool) -> Vec<String> {
    let r: Resources = serde_json::from_str(resources).unwrap();
    let p = properties(&r, v2, "").unwrap_or_else(|e| panic!("{resources}: {e}"));
    let newer = p.newer.iter().map(|(since, (name, value))| format!("{since}:{name}={value}"));
    p.all.iter().map(|(name, value)| format!("{name}={value}")).chain(newer).collect()
}

#[test]
fn limits() {
    let table: &[(&str, bool, &[&str])] = &[
        ("{}", true, &[]),
        (
            r#"{"memory":{"limit":4096,"swap":8192,"reservation":1024}}"#,
            true,
            &["MemoryMax=4096", "MemoryLow=1024", "MemorySwapMax=4096"],
        ),
        (r#"{"memory":{"limit":-1}}"#, true, &["MemoryMax=infinity", "MemorySwapMax=infinity"]),
        (r#"{"memory":{"limit":4096,"swap":8192,"reservation":1024}}"#, false, &["MemoryLimit=4096"]),
        (r#"{"cpu":{"shares":1024}}"#, true, &["CPUWeight=100"]),
        (r#"{"cpu":{"shares":1024}}"#, false, &["CPUShares=1024"]),
        (r#"{"cpu":{"quota":50000,"period":50000}}"#, true, &["CPUQuotaPeriodUSec=50000", "CPUQuotaPerSecUSec=1000000"]),
        (r#"{"cpu":{"quota":-1}}"#, true, &["CPUQuotaPerSecUSec=infinity"]),
        (r#"{"cpu":{"quota":12345}}"#, true, &["CPUQuotaPerSecUSec=130000"]),
        (r#"{"cpu":{"idle":1}}"#, true, &["252:CPUWeight=0"]),
        (r#"{"cpu":{"cpus":"0,2-3,9","mems":"1"}}"#, true, &["AllowedCPUs=[13, 2]", "AllowedMemoryNodes=[2]"]),
        (r#"{"pids":{"limit":0}}"#, true, &["TasksMax=1"]),
        (r#"{"pids":{"limit":-1}}"#, true, &["TasksMax=infinity"]),
        (r#"{"blockIO":{"weight":100}}"#, false, &["BlockIOWeight=100"]),
        (
            r#"{"unified":{"cpu.max":"max 50000","memory.high":"max","memory.min":"4096","pids.max":"0","cpuset.cpus":" 0-1 ","io.max":"8:0 rbps=1"}}"#,
            true,
            &[
                "CPUQuotaPeriodUSec=50000",
                "CPUQuotaPerSecUSec=infinity",
                "AllowedCPUs=[3]",
                "MemoryHigh=infinity",
                "MemoryMin=4096",
                "TasksMax=1",
            ],
        ),
        (r#"{"unified":{"cpu.idle":"1","cpu.weight":"50"}}"#, true, &["252:CPUWeight=0"]),
        (r#"{"unified":{"memory.oom.group":"1"}}"#, true, &["253:OOMPolicy=\"kill\""]),
    ];
    for (resources, v2, expected) in table {
        assert_eq!(text(resources, *v2), *expected, "{resources}");
    }
    for bad in [r#"{"unified":{"memory.max":"lots"}}"#, r#"{"unified":{"cpu.max":"1 2 3"}}"#, r#"{"unified":{"cpu.max":"1 0"}}"#]
    {
        let e = properties(&serde_json::from_str(bad).unwrap(), true, "linux.resources.").unwrap_err().to_string();
        assert!(e.starts_with("linux.resources.unified["), "{e}");
    }
}

#[test]
fn quotas_are_whole_percents() {
    for (quota, period, rounded) in
        [(50_000, 100_000, 50_000), (12_345, 0, 13_000), (-1, 0, -1), (0, 0, 0), (1, 1_000_000, 10_000), (999, 100_000, 1000)]
    {
        assert_eq!(rounded_quota(quota, period), rounded, "{quota} {period}");
    }
    assert!(rounded_quota(i64::MAX, 1) > 0);
}

#[test]
fn devices_that_systemd_can_say() {
    let list = |json: &str| {
        let rules: Vec<crate::spec::resources::DeviceRule> = serde_json::from_str(json).unwrap();
        let all = device_properties(&devices::rules(&rules, &[], "").unwrap());
        all.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>()
    };
    let strict = list(r#"[{"allow":false},{"allow":true,"type":"b","major":8,"access":"r"}]"#);
    assert_eq!(strict[..2], ["DeviceAllow=[]", "DevicePolicy=\"strict\""]);
    for part in ["(\"block-8\", \"r\")", "(\"/dev/char/1:3\", \"rwm\")", "(\"char-*\", \"m\")", "(\"char-136\", \"rwm\")"] {
        assert!(strict[2].contains(part), "{part}: {}", strict[2]);
    }
    let open = ["DeviceAllow=[]", "DevicePolicy=\"auto\""];
    assert_eq!(list(r#"[{"allow":true}]"#), open);
    assert_eq!(list(r#"[{"allow":true},{"allow":false,"type":"c","major":1,"minor":1}]"#), open, "everything but one");
    assert_eq!(list(r#"[{"allow":true,"type":"c","minor":1}]"#), open, "a minor number of every major");
}

#[test]
fn the_scope() {
    let host = Host { unified: Some(Unified { mount: "/sys/fs/cgroup".into(), own: String::new() }), legacy: vec![] };
    let resources: Resources = serde_json::from_str(r#"{"memory":{"limit":4096},"cpu":{"quota":12345}}"#).unwrap();
    let annotations = [("org.systemd.property.CollectMode".to_owned(), "'inactive-or-failed'".to_owned())].into();
    let request = Request {
        id: "abc",
        cgroups_path: Some("user-1.slice:p:n"),
        systemd: true,
        resources: &resources,
        devices: &[],
        annotations: &annotations,
    };
    let plan = plan(&host, &request).unwrap();
    assert_eq!(plan.cgroup().unit.as_deref(), Some("p-n.scope"));
    let text = plan.to_string();
    for line in [
        "systemd: StartTransientUnit p-n.scope",
        "    Slice=\"user-1.slice\"",
        "    Delegate=true",
        "    MemoryAccounting=true",
        "    DefaultDependencies=false",
        "    MemoryMax=4096",
        "    CollectMode=\"inactive-or-failed\"",
        "write /sys/fs/cgroup/user.slice/user-1.slice/p-n.scope/cpu.max \"13000 100000\"  # linux.resources.cpu.quota",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
    }
    assert!(!text.contains("mkdir"), "{text}");
}
