//! Limits that bite, and how they change.

use std::time::{Duration, Instant};

use rrun::cgroup::{Binding, Host};
use rrun::error::Kind;

use crate::support::*;

#[test]
fn a_memory_limit_kills_and_is_counted() {
    let cgroup = Scratch::new(r#"{"memory":{"limit":16777216,"swap":16777216}}"#);
    cgroup.hierarchy("memory");
    assert_eq!(cgroup.read("memory", "memory.limit_in_bytes", "memory.max"), "16777216");
    assert_eq!(cgroup.0.oom_kill_count().unwrap(), Some(0));
    // tail keeps everything that has no newline.
    let mut child = cgroup.run("head -c 100000000 /dev/zero | tail >/dev/null; exit 3");
    child.wait().unwrap();
    assert!(cgroup.0.oom_kill_count().unwrap().unwrap() >= 1);
}

#[test]
fn a_pids_limit_stops_a_fork_loop() {
    let cgroup = Scratch::new(r#"{"pids":{"limit":8}}"#);
    cgroup.hierarchy("pids");
    // The shell gives up at the first fork that fails; what it started lives on.
    let child = cgroup.run("i=0; while [ $i -lt 40 ]; do sleep 1000 >/dev/null 2>&1 & i=$((i+1)); done; echo all");
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).to_lowercase());
    assert!(err.contains("fork") && !out.contains("all"), "{output:?}");
    assert_eq!(cgroup.0.pids(true).unwrap().len(), 7, "eight less the shell");
    assert_eq!(cgroup.read("pids", "pids.current", "pids.current"), "7");
}

#[test]
fn a_cpu_quota_halves_a_loop() {
    let cgroup = Scratch::new(r#"{"cpu":{"quota":50000,"period":100000}}"#);
    let at = cgroup.hierarchy("cpu");
    let usage = || -> Duration {
        if at == Binding::V2 {
            let text = cgroup.read("cpu", "", "cpu.stat");
            Duration::from_micros(text.lines().next().unwrap().rsplit(' ').next().unwrap().parse().unwrap())
        } else {
            Duration::from_nanos(cgroup.read("cpuacct", "cpuacct.usage", "").parse().unwrap())
        }
    };
    let throttled = || {
        let text = cgroup.read("cpu", "cpu.stat", "cpu.stat");
        text.lines().find_map(|l| l.strip_prefix("nr_throttled ")).unwrap().parse::<u64>().unwrap()
    };
    let mut child = cgroup.run("while :; do :; done");
    // A share over some time, never more than the quota, whatever else the machine does meanwhile.
    let share = |window: Duration| {
        let (start, before) = (Instant::now(), usage());
        until("some of it has run", || start.elapsed() > window && usage() > before + window / 20);
        (usage() - before).as_secs_f64() / start.elapsed().as_secs_f64()
    };
    let half = share(Duration::from_millis(1500));
    assert!(half < 0.6, "{half}");
    // A tenth, in periods so short that even on a busy machine each of its turns is longer than the quota.
    cgroup.0.update(&resources(r#"{"cpu":{"quota":1000,"period":10000}}"#), &[]).unwrap();
    let before = throttled();
    until("it is throttled ten times", || throttled() >= before + 10);
    // And without the limit no more.
    cgroup.0.update(&resources(r#"{"cpu":{"quota":-1}}"#), &[]).unwrap();
    let now = throttled();
    let whole = share(Duration::from_millis(500));
    assert!(throttled() <= now + 1);
    println!("share of a CPU with a quota of half of one: {half:.2}, without: {whole:.2}");
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_update_moves_what_is_given_and_nothing_else() {
    let cgroup = Scratch::new(r#"{"memory":{"limit":16777216},"cpu":{"quota":20000,"period":50000},"pids":{"limit":20}}"#);
    let v2 = cgroup.hierarchy("memory") == Binding::V2;
    cgroup.0.update(&resources(r#"{"memory":{"limit":33554432,"swap":67108864}}"#), &[]).unwrap();
    assert_eq!(cgroup.read("memory", "memory.limit_in_bytes", "memory.max"), "33554432");
    let swap = if v2 { "33554432" } else { "67108864" };
    assert_eq!(cgroup.read("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"), swap);
    let cpu_v2 = cgroup.0.binding("cpu") == Some(Binding::V2);
    let quota = if cpu_v2 { "20000 50000" } else { "20000" };
    assert_eq!(cgroup.read("cpu", "cpu.cfs_quota_us", "cpu.max"), quota);
    // Both up, both down: the order of the writes depends on the direction.
    for (limit, swap) in [(134_217_728, 268_435_456), (16_777_216, 33_554_432)] {
        cgroup.0.update(&resources(&format!(r#"{{"memory":{{"limit":{limit},"swap":{swap}}}}}"#)), &[]).unwrap();
        assert_eq!(cgroup.read("memory", "memory.limit_in_bytes", "memory.max"), limit.to_string());
    }
    // Half of a pair keeps the other half.
    cgroup.0.update(&resources(r#"{"cpu":{"quota":10000}}"#), &[]).unwrap();
    cgroup.0.update(&resources(r#"{"memory":{"limit":8388608}}"#), &[]).unwrap();
    let swap = if v2 { 33_554_432 - 8_388_608 } else { 33_554_432 };
    assert_eq!(cgroup.read("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"), swap.to_string());
    let period = if cpu_v2 { "10000 50000" } else { "50000" };
    assert_eq!(cgroup.read("cpu", "cpu.cfs_period_us", "cpu.max"), period);
    assert_eq!(cgroup.read("pids", "pids.max", "pids.max"), "20");
}

#[test]
fn a_failed_update_changes_nothing() {
    let cgroup = Scratch::new(r#"{"memory":{"limit":16777216,"swap":33554432},"pids":{"limit":20}}"#);
    cgroup.hierarchy("pids");
    let bad = r#"{"pids":{"limit":7},"memory":{"limit":67108864,"swap":134217728},"cpu":{"cpus":"65000"}}"#;
    let e = cgroup.0.update(&resources(bad), &[]).unwrap_err();
    assert!(e.to_string().starts_with("cpu.cpus: write("), "{e}");
    assert_eq!(cgroup.read("pids", "pids.max", "pids.max"), "20");
    assert_eq!(cgroup.read("memory", "memory.limit_in_bytes", "memory.max"), "16777216");
    let swap = cgroup.read("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    assert!(swap == "33554432" || swap == "16777216", "{swap}");
    // Refused before anything is written.
    let e = cgroup.0.update(&resources(r#"{"pids":{"limit":7},"blockIO":{"weight":1}}"#), &[]).unwrap_err();
    assert_eq!(e.kind(), Kind::Config);
    assert_eq!(cgroup.read("pids", "pids.max", "pids.max"), "20");
}

#[test]
fn check_before_update_refuses_what_is_in_use() {
    let cgroup = Scratch::new(r#"{"memory":{"limit":104857600}}"#);
    cgroup.hierarchy("memory");
    let mut child = cgroup.run("x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo; sleep 1000");
    let usage = || cgroup.read("memory", "memory.usage_in_bytes", "memory.current").parse::<u64>().unwrap();
    until("it uses some", || usage() > 4_000_000);
    let e = cgroup.0.update(&resources(r#"{"memory":{"limit":1048576,"checkBeforeUpdate":true}}"#), &[]).unwrap_err();
    assert!(e.to_string().starts_with("memory.limit: ") && e.to_string().contains("rejecting memory limit 1048576"), "{e}");
    assert_eq!(cgroup.read("memory", "memory.limit_in_bytes", "memory.max"), "104857600");
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_the_host_lacks_is_named() {
    let refused = |json: &str| {
        let e = Scratch::at(&format!("/{}", unique()), json).map(|_| ()).unwrap_err();
        assert_eq!(e.kind(), Kind::Unsupported, "{e}");
        e.to_string()
    };
    let e = refused(r#"{"hugepageLimits":[{"pageSize":"3MB","limit":0}]}"#);
    assert!(e.starts_with("linux.resources.hugepageLimits[0]: ") && e.contains("3MB"), "{e}");
    let e = refused(r#"{"unified":{"nonsense.max":"1"}}"#);
    assert!(e.starts_with("linux.resources.unified[\"nonsense.max\"]: ") && e.contains("nonsense"), "{e}");
    if let Some(mount) = Host::detect().unwrap().bound_to_v1("memory") {
        let e = refused(r#"{"unified":{"memory.max":"1"}}"#);
        assert!(e.contains(&format!("memory is bound to v1 at {mount}")), "{e}");
    } else {
        let e = refused(r#"{"unified":{"memory.nonsense":"1"}}"#);
        assert!(e.contains("has no memory.nonsense"), "{e}");
    }
}

#[test]
fn values_land_in_their_files() {
    // (resources, controller, v1 file and value, v2 file and value); an empty value: not on that hierarchy.
    let table = [
        (r#"{"cpu":{"idle":1}}"#, "cpu", "cpu.idle", "1", "cpu.idle", "1"),
        (r#"{"cpu":{"shares":512}}"#, "cpu", "cpu.shares", "512", "cpu.weight", "59"),
        (r#"{"cpu":{"quota":50000,"burst":20000}}"#, "cpu", "cpu.cfs_burst_us", "20000", "cpu.max.burst", "20000"),
        (r#"{"cpu":{"period":50000}}"#, "cpu", "cpu.cfs_period_us", "50000", "cpu.max", "max 50000"),
        (r#"{"cpu":{"quota":-1}}"#, "cpu", "cpu.cfs_quota_us", "-1", "cpu.max", "max 100000"),
        (r#"{"cpu":{"mems":"0"}}"#, "cpuset", "cpuset.mems", "0", "cpuset.mems", "0"),
        (r#"{"memory":{"reservation":8388608}}"#, "memory", "memory.soft_limit_in_bytes", "8388608", "memory.low", "8388608"),
        (r#"{"memory":{"limit":-1}}"#, "memory", "memory.limit_in_bytes", "9223372036854771712", "memory.max", "max"),
        (r#"{"memory":{"swappiness":17}}"#, "memory", "memory.swappiness", "17", "", ""),
        (r#"{"pids":{"limit":-1}}"#, "pids", "pids.max", "max", "pids.max", "max"),
        (r#"{"pids":{"limit":0}}"#, "pids", "pids.max", "1", "pids.max", "1"),
        (r#"{"unified":{"memory.high":"8388608"}}"#, "memory", "", "", "memory.high", "8388608"),
        (r#"{"unified":{"cgroup.max.depth":"3"}}"#, "cgroup", "", "", "cgroup.max.depth", "3"),
    ];
    for (json, controller, v1, v1_value, v2, v2_value) in table {
        let on_v1 = Host::detect().unwrap().bound_to_v1(controller).is_some();
        if (if on_v1 { v1 } else { v2 }).is_empty() {
            assert_eq!(Scratch::at(&format!("/{}", unique()), json).map(|_| ()).unwrap_err().kind(), Kind::Unsupported, "{json}");
            continue;
        }
        let cgroup = Scratch::new(json);
        cgroup.hierarchy(controller);
        assert_eq!(cgroup.read(controller, v1, v2), if on_v1 { v1_value } else { v2_value }, "{json}");
    }
}

#[test]
fn huge_pages() {
    let cgroup = Scratch::new(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#);
    cgroup.hierarchy("hugetlb");
    assert_eq!(cgroup.read("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"), "4194304");
    assert_eq!(cgroup.read("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max"), "4194304");
}

#[test]
fn cpusets() {
    let cgroup = Scratch::new(r#"{"cpu":{"cpus":"0"}}"#);
    cgroup.hierarchy("cpuset");
    let child = cgroup.run("grep Cpus_allowed_list /proc/self/status");
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).trim().ends_with("\t0"), "{output:?}");
}
