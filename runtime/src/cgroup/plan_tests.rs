//! From config.json to files and values, without root.

use super::*;
use crate::error::Kind;
use crate::spec::resources::Resources;

fn v2() -> Host {
    Host { unified: Some(Unified { mount: "/sys/fs/cgroup".into(), own: "user.slice/me.scope".into() }), legacy: vec![] }
}

fn v1(name: &str, controllers: &[&str]) -> Hierarchy {
    let controllers = controllers.iter().map(|c| (*c).to_owned()).collect();
    Hierarchy { mount: format!("/sys/fs/cgroup/{name}"), controllers, own: "me".into() }
}

fn hybrid() -> Host {
    Host {
        unified: Some(Unified { mount: "/sys/fs/cgroup/unified".into(), own: "me".into() }),
        legacy: vec![
            v1("cpu,cpuacct", &["cpu", "cpuacct"]),
            v1("cpuset", &["cpuset"]),
            v1("memory", &["memory"]),
            v1("blkio", &["blkio"]),
            v1("pids", &["pids"]),
            v1("devices", &["devices"]),
            v1("net_cls,net_prio", &["net_cls", "net_prio"]),
            v1("systemd", &["name=systemd"]),
        ],
    }
}

fn planned(host: &Host, resources: &str) -> Result<CgroupPlan, crate::Error> {
    let resources: Resources = serde_json::from_str(resources).unwrap();
    plan(
        host,
        &Request {
            id: "id",
            cgroups_path: Some("/a/id"),
            systemd: false,
            resources: &resources,
            devices: &[],
            annotations: &Default::default(),
        },
    )
}

/// `file=value` of every write, in order.
fn writes(host: &Host, resources: &str) -> Vec<String> {
    let plan = planned(host, resources).unwrap_or_else(|e| panic!("{resources}: {e}"));
    plan.dirs.iter().flat_map(|d| &d.writes).map(|w| format!("{}={}", w.file, w.value)).collect()
}

#[test]
fn values_on_v2() {
    let table: &[(&str, &[&str])] = &[
        ("{}", &[]),
        (r#"{"memory":{"limit":4096}}"#, &["memory.max=4096"]),
        (r#"{"memory":{"limit":0,"swap":0,"reservation":0}}"#, &[]),
        (r#"{"memory":{"limit":-1}}"#, &["memory.swap.max=max", "memory.max=max"]),
        (
            r#"{"memory":{"limit":4096,"swap":8192,"reservation":1024}}"#,
            &["memory.swap.max=4096", "memory.max=4096", "memory.low=1024"],
        ),
        (r#"{"memory":{"limit":4096,"swap":4096}}"#, &["memory.swap.max=0", "memory.max=4096"]),
        (r#"{"memory":{"limit":4096,"swap":-1}}"#, &["memory.swap.max=max", "memory.max=4096"]),
        (r#"{"memory":{"limit":-1,"swap":8192}}"#, &["memory.swap.max=8192", "memory.max=max"]),
        (r#"{"memory":{"limit":9223372036854775807}}"#, &["memory.max=9223372036854775807"]),
        (r#"{"memory":{"useHierarchy":true,"disableOOMKiller":false,"kernel":0}}"#, &[]),
        (r#"{"pids":{}}"#, &[]),
        (r#"{"pids":{"limit":0}}"#, &["pids.max=1"]),
        (r#"{"pids":{"limit":-1}}"#, &["pids.max=max"]),
        (r#"{"pids":{"limit":7}}"#, &["pids.max=7"]),
        (r#"{"cpu":{"shares":1024}}"#, &["cpu.weight=100"]),
        (r#"{"cpu":{"shares":0,"quota":0,"period":0}}"#, &[]),
        (r#"{"cpu":{"shares":18446744073709551615}}"#, &["cpu.weight=10000"]),
        (r#"{"cpu":{"quota":50000}}"#, &["cpu.max=50000 100000"]),
        (r#"{"cpu":{"quota":-1}}"#, &["cpu.max=max 100000"]),
        (r#"{"cpu":{"period":50000}}"#, &["cpu.max=max 50000"]),
        (
            r#"{"cpu":{"quota":20000,"period":50000,"burst":10000,"idle":0}}"#,
            &["cpu.idle=0", "cpu.max.burst=10000", "cpu.max=20000 50000"],
        ),
        (r#"{"cpu":{"idle":1}}"#, &["cpu.idle=1"]),
        (r#"{"cpu":{"cpus":"0-1,3","mems":"0"}}"#, &["cpuset.cpus=0-1,3", "cpuset.mems=0"]),
        (r#"{"cpu":{"cpus":"","mems":""}}"#, &[]),
        (r#"{"blockIO":{"weight":500}}"#, &["io.bfq.weight=500"]),
        (r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":10}]}}"#, &["io.bfq.weight=8:0 10"]),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":2}],
               "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":0}]}}"#,
            &["io.max=8:0 rbps=1", "io.max=8:0 wbps=2", "io.max=8:0 riops=3", "io.max=8:0 wiops=max"],
        ),
        (r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#, &["hugetlb.2MB.max=0", "hugetlb.2MB.rsvd.max=0"]),
        (
            r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":0},"mlx5_2":{"hcaObjects":9}}}"#,
            &["rdma.max=mlx5_1 hca_handle=3 hca_object=0", "rdma.max=mlx5_2 hca_object=9"],
        ),
        (r#"{"network":{"classID":0,"priorities":[]}}"#, &[]),
        (r#"{"unified":{"memory.high":"4096","cgroup.max.depth":"3"}}"#, &["cgroup.max.depth=3", "memory.high=4096"]),
        // Explicit files come last, over what is translated.
        (r#"{"unified":{"pids.max":"9"},"pids":{"limit":7}}"#, &["pids.max=7", "pids.max=9"]),
    ];
    for (resources, expected) in table {
        assert_eq!(writes(&v2(), resources), *expected, "{resources}");
    }
}

#[test]
fn values_on_v1() {
    let table: &[(&str, &[&str])] = &[
        (
            r#"{"memory":{"limit":4096,"swap":8192,"reservation":1024,"swappiness":60,"disableOOMKiller":true}}"#,
            &[
                "memory.limit_in_bytes=4096",
                "memory.memsw.limit_in_bytes=8192",
                "memory.soft_limit_in_bytes=1024",
                "memory.oom_control=1",
                "memory.swappiness=60",
            ],
        ),
        (r#"{"memory":{"limit":-1}}"#, &["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]),
        (r#"{"memory":{"swappiness":18446744073709551615}}"#, &[]),
        (r#"{"pids":{"limit":0}}"#, &["pids.max=1"]),
        (r#"{"cpu":{"shares":2,"quota":-7,"period":5000,"burst":1,"idle":1,"realtimeRuntime":10,"realtimePeriod":20}}"#, &[]),
        (
            r#"{"cpu":{"shares":2,"quota":-7,"period":5000,"burst":1,"realtimeRuntime":10,"realtimePeriod":20}}"#,
            &[
                "cpu.shares=2",
                "cpu.cfs_period_us=5000",
                "cpu.cfs_burst_us=1",
                "cpu.cfs_quota_us=-1",
                "cpu.rt_period_us=20",
                "cpu.rt_runtime_us=10",
            ],
        ),
        (r#"{"cpu":{"cpus":"0"}}"#, &["cpuset.cpus=0"]),
        (
            r#"{"blockIO":{"weight":10,"leafWeight":20,"throttleReadBpsDevice":[{"major":8,"minor":1,"rate":0}]}}"#,
            &["blkio.weight=10", "blkio.leaf_weight=20", "blkio.throttle.read_bps_device=8:1 0"],
        ),
        (
            r#"{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":3}]}}"#,
            &["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 3"],
        ),
        // Not on v1 here, so in the unified tree.
        (
            r#"{"hugepageLimits":[{"pageSize":"1GB","limit":1073741824}]}"#,
            &["hugetlb.1GB.max=1073741824", "hugetlb.1GB.rsvd.max=1073741824"],
        ),
        (r#"{"unified":{"hugetlb.2MB.max":"0"}}"#, &["hugetlb.2MB.max=0"]),
    ];
    for (resources, expected) in table {
        if resources.contains("\"idle\":1") && resources.contains("shares") {
            assert!(planned(&hybrid(), resources).is_err(), "{resources}");
            continue;
        }
        assert_eq!(writes(&hybrid(), resources), *expected, "{resources}");
    }
}

#[test]
fn errors_name_the_field_and_the_reason() {
    // (host, resources, kind, start of the text, part of it)
    let table = [
        (v2(), r#"{"memory":{"swap":4096}}"#, Kind::Config, "linux.resources.memory.swap: ", "needs memory.limit"),
        (
            v2(),
            r#"{"memory":{"limit":8192,"swap":4096}}"#,
            Kind::Config,
            "linux.resources.memory.swap: ",
            "less than memory.limit",
        ),
        (
            hybrid(),
            r#"{"memory":{"limit":8192,"swap":4096}}"#,
            Kind::Config,
            "linux.resources.memory.swap: ",
            "less than memory.limit",
        ),
        (v2(), r#"{"memory":{"limit":-2}}"#, Kind::Config, "linux.resources.memory.limit: ", "-2"),
        (v2(), r#"{"memory":{"swappiness":60}}"#, Kind::Unsupported, "linux.resources.memory.swappiness: ", "cgroup2"),
        (
            v2(),
            r#"{"memory":{"disableOOMKiller":true}}"#,
            Kind::Unsupported,
            "linux.resources.memory.disableOOMKiller: ",
            "cgroup2",
        ),
        (hybrid(), r#"{"memory":{"swappiness":101}}"#, Kind::Config, "linux.resources.memory.swappiness: ", "101"),
        (v2(), r#"{"cpu":{"realtimeRuntime":5}}"#, Kind::Unsupported, "linux.resources.cpu.realtimeRuntime: ", "cgroup2"),
        (v2(), r#"{"cpu":{"idle":2}}"#, Kind::Config, "linux.resources.cpu.idle: ", "neither 0 nor 1"),
        (v2(), r#"{"cpu":{"idle":1,"shares":5}}"#, Kind::Config, "linux.resources.cpu.shares: ", "cpu.idle"),
        (hybrid(), r#"{"cpu":{"shares":1}}"#, Kind::Config, "linux.resources.cpu.shares: ", "between 2 and 262144"),
        (hybrid(), r#"{"cpu":{"shares":262145}}"#, Kind::Config, "linux.resources.cpu.shares: ", "between 2 and 262144"),
        (v2(), r#"{"cpu":{"cpus":"3-1"}}"#, Kind::Config, "linux.resources.cpu.cpus: ", "backwards"),
        (v2(), r#"{"cpu":{"mems":"x"}}"#, Kind::Config, "linux.resources.cpu.mems: ", "no list"),
        (v2(), r#"{"cpu":{"cpus":"0-4294967295"}}"#, Kind::Config, "linux.resources.cpu.cpus: ", "no list"),
        (v2(), r#"{"cpu":{"cpus":"0-65535,0-65535"}}"#, Kind::Config, "linux.resources.cpu.cpus: ", "more than"),
        (v2(), r#"{"blockIO":{"weight":9}}"#, Kind::Config, "linux.resources.blockIO.weight: ", "between 10 and 1000"),
        (v2(), r#"{"blockIO":{"leafWeight":100}}"#, Kind::Unsupported, "linux.resources.blockIO.leafWeight: ", "CFQ"),
        (
            v2(),
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":-1,"minor":0,"rate":1}]}}"#,
            Kind::Config,
            "linux.resources.blockIO.throttleReadBpsDevice[0]: ",
            "no device number",
        ),
        (
            v2(),
            r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#,
            Kind::Config,
            "linux.resources.hugepageLimits[0].pageSize: ",
            "no page size",
        ),
        (v2(), r#"{"rdma":{"a b":{"hcaHandles":1}}}"#, Kind::Config, "linux.resources.rdma[\"a b\"]: ", "not the name"),
        (v2(), r#"{"rdma":{"a":{}}}"#, Kind::Config, "linux.resources.rdma[\"a\"]: ", "neither"),
        (
            v2(),
            r#"{"network":{"classID":1}}"#,
            Kind::Unsupported,
            "linux.resources.network.classID: ",
            "net_cls exists on v1 only",
        ),
        (
            hybrid(),
            r#"{"network":{"priorities":[{"name":"a b","priority":1}]}}"#,
            Kind::Config,
            "linux.resources.network.priorities[0]: ",
            "interface",
        ),
        (
            v2(),
            r#"{"unified":{"memory/max":"1"}}"#,
            Kind::Config,
            "linux.resources.unified[\"memory/max\"]: ",
            "CONTROLLER.PARAMETER",
        ),
        (
            v2(),
            r#"{"unified":{"a.b/../c":"1"}}"#,
            Kind::Config,
            "linux.resources.unified[\"a.b/../c\"]: ",
            "CONTROLLER.PARAMETER",
        ),
        (v2(), r#"{"unified":{"memory":"1"}}"#, Kind::Config, "linux.resources.unified[\"memory\"]: ", "CONTROLLER.PARAMETER"),
        (v2(), r#"{"unified":{"cgroup.procs":"1"}}"#, Kind::Config, "linux.resources.unified[\"cgroup.procs\"]: ", "owns"),
        (
            hybrid(),
            r#"{"unified":{"memory.max":"1"}}"#,
            Kind::Unsupported,
            "linux.resources.unified[\"memory.max\"]: ",
            "memory is bound to v1 at /sys/fs/cgroup/memory",
        ),
    ];
    for (host, resources, kind, start, part) in table {
        let e = planned(&host, resources).map(|_| ()).expect_err(resources);
        let text = e.to_string();
        assert_eq!(e.kind(), kind, "{resources}: {text}");
        assert!(text.starts_with(start) && text.contains(part), "{resources}: {text}");
    }
}

#[test]
fn a_v1_host_without_a_controller() {
    let host = Host { unified: None, legacy: vec![v1("memory", &["memory"]), v1("devices", &["devices"])] };
    let e = planned(&host, r#"{"pids":{"limit":1}}"#).unwrap_err();
    assert_eq!(e.kind(), Kind::Unsupported);
    assert!(e.to_string().contains("no hierarchy with the pids controller"), "{e}");
    assert_eq!(writes(&host, r#"{"memory":{"limit":1}}"#), ["memory.limit_in_bytes=1"]);
}

#[test]
fn what_is_ignored_is_said() {
    let warnings = planned(&v2(), r#"{"memory":{"kernel":4096,"useHierarchy":false}}"#).unwrap().warnings;
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("kernel memory limits are gone") && warnings[1].contains("useHierarchy"), "{warnings:?}");
}

#[test]
fn places() {
    let resources = Resources::default();
    let at = |host: &Host, path: Option<&str>, systemd: bool| {
        let p = plan(
            host,
            &Request {
                id: "id",
                cgroups_path: path,
                systemd,
                resources: &resources,
                devices: &[],
                annotations: &Default::default(),
            },
        )
        .unwrap();
        p.cgroup().dirs().map(Dir::full).collect::<Vec<_>>()
    };
    assert_eq!(at(&v2(), None, false), ["/sys/fs/cgroup/user.slice/id"]);
    assert_eq!(at(&v2(), Some("/x/y"), false), ["/sys/fs/cgroup/x/y"]);
    assert_eq!(at(&v2(), Some("../../x"), false), ["/sys/fs/cgroup/user.slice/x"]);
    assert_eq!(at(&v2(), Some("a-b.slice:p:n"), true), ["/sys/fs/cgroup/a.slice/a-b.slice/p-n.scope"]);
    let dirs = at(&hybrid(), Some("/x"), false);
    assert_eq!(dirs.len(), 9, "each hierarchy once, co-mounted controllers together: {dirs:?}");
    assert_eq!(dirs[..2], ["/sys/fs/cgroup/unified/x", "/sys/fs/cgroup/cpu,cpuacct/x"]);
    let dirs = at(&hybrid(), None, false);
    assert_eq!(dirs[..2], ["/sys/fs/cgroup/unified/id", "/sys/fs/cgroup/cpu,cpuacct/me/id"]);
}

#[test]
fn the_state_survives_json_and_is_small() {
    let p = planned(&v2(), "{}").unwrap();
    let json = serde_json::to_string(p.cgroup()).unwrap();
    assert_eq!(json, r#"{"unified":{"mount":"/sys/fs/cgroup","path":"a/id"}}"#);
    assert_eq!(serde_json::from_str::<Cgroup>(&json).unwrap(), *p.cgroup());
    let p = planned(&hybrid(), "{}").unwrap();
    let json = serde_json::to_string(p.cgroup()).unwrap();
    assert_eq!(serde_json::from_str::<Cgroup>(&json).unwrap(), *p.cgroup());
}

#[test]
fn explained_step_by_step() {
    let p = planned(&v2(), r#"{"memory":{"limit":4096}}"#).unwrap();
    let text = p.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "mkdir /sys/fs/cgroup/a/id");
    assert_eq!(lines[1], "write /sys/fs/cgroup/a/id/memory.max \"4096\"  # linux.resources.memory.limit");
    assert!(lines[2].starts_with("bpf: device program of ") && lines.len() == 3, "{text}");
    let text = planned(&hybrid(), "{}").unwrap().to_string();
    assert!(text.contains("write /sys/fs/cgroup/devices/a/id/devices.allow \"c 1:3 rwm\"  # linux.resources.devices"), "{text}");
    let open = planned(&v2(), r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"access":"rwm"}]}"#).unwrap();
    assert!(!open.to_string().contains("device program"), "where everything is allowed there is no program");
}
