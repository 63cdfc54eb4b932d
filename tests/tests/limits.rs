//! Limits, by running into them, on whatever hierarchy this machine has: memory kills and says so, pids stops a fork bomb, cpu halves a loop.
//! The same tests run on the host and in the virtual machine; each says which hierarchy it saw.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rrun_tests::host::{cgroup_of, has_controller, state_hierarchy};
use rrun_tests::{Bundle, Hierarchy, Runtime, eventually};
use serde_json::json;

/// The kernel's file for a limit of this process.
fn file(pid: i32, controller: &str, v1: &str, v2: &str) -> PathBuf {
    let name = if rrun_tests::hierarchy() == Hierarchy::V2 { v2 } else { v1 };
    cgroup_of(pid, controller).join(name)
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
}

/// A shell that doubles a string until it is killed.
const MEMORY_HOG: &str = "x=0123456789abcdef; while :; do x=$x$x; done";

#[test]
fn memory_limit_kills_and_says_so() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle =
        Bundle::sh(MEMORY_HOG).set("/linux/resources/memory/limit", 16 << 20).set("/linux/resources/memory/swap", 16 << 20);
    let output = rt.run(&bundle);
    assert_eq!(output.code, 137, "{output:?}");
    assert!(output.err.contains("memory"), "the message does not say why: {}", output.err);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_container_without_a_memory_limit_is_not_killed() {
    state_hierarchy();
    let rt = Runtime::new();
    // The same amount that the limit above forbids.
    let bundle = Bundle::sh("x=0123456789abcdef; i=0; while [ $i -lt 21 ]; do x=$x$x; i=$((i+1)); done; echo ${#x}");
    assert_eq!(rt.run(&bundle).ok(), "33554432");
}

#[test]
fn an_oom_kill_is_counted_in_the_events() {
    state_hierarchy();
    let rt = Runtime::new();
    // Process 1 survives: only the subshell is killed.
    let bundle = Bundle::sh(&format!("( {MEMORY_HOG} ); echo after; trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"));
    let bundle = bundle.set("/linux/resources/memory/limit", 16 << 20).set("/linux/resources/memory/swap", 16 << 20);
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("after");
    let pid = rt.pid(&bundle.id);
    let text = read(file(pid, "memory", "memory.oom_control", "memory.events"));
    let kills: u64 = text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().parse().unwrap();
    assert!(kills >= 1, "{text}");
}

#[test]
fn pids_limit_stops_a_fork_bomb() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sh("i=0; while [ $i -lt 100 ]; do sleep 10009 & i=$((i+1)); done 2>&1; echo tried")
        .set("/linux/resources/pids/limit", 10);
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    let output = running.finish();
    assert!(output.out.contains("fork"), "{output:?}");
    assert!(!output.out.contains("tried"), "100 processes fit into a limit of 10: {output:?}");
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_fork_bomb_stays_below_its_limit_and_dies_with_the_container() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sh(
        "bomb() { bomb & bomb & wait; }; trap '' TERM; echo up; bomb 2>/dev/null; while :; do sleep 1000 & wait; done 2>/dev/null",
    );
    let bundle = bundle.set("/linux/resources/pids/limit", 30);
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    let current = file(rt.pid(&bundle.id), "pids", "pids.current", "pids.current");
    for _ in 0..10 {
        let now: u32 = fs::read_to_string(&current).map_or(0, |text| text.trim().parse().unwrap_or(0));
        assert!(now <= 30, "{now} processes");
        std::thread::sleep(Duration::from_millis(10));
    }
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}

/// Microseconds of CPU that a busy loop got, for each second of real time.
fn cpu_share(quota: Option<i64>) -> f64 {
    let rt = Runtime::new();
    let mut bundle = Bundle::sh("echo up; while :; do :; done");
    if let Some(quota) = quota {
        bundle = bundle.set("/linux/resources/cpu/period", 100_000).set("/linux/resources/cpu/quota", quota);
    }
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    let pid = rt.pid(&bundle.id);
    // User and system time in ticks of 10 ms: the fields 14 and 15 of /proc/PID/stat, 12th and 13th after the name (proc(5)).
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
    };
    let (began, at_begin) = (Instant::now(), ticks());
    std::thread::sleep(Duration::from_secs(3));
    let share = (ticks() - at_begin) / 100.0 / began.elapsed().as_secs_f64();
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    share
}

#[test]
fn cpu_quota_bounds_a_loop() {
    state_hierarchy();
    // The quota is an upper bound whatever else the machine does; a little more is the period that had begun.
    let half = cpu_share(Some(50_000));
    assert!(half <= 0.6, "a quota of one half got {half:.2} CPUs");
    assert!(half > 0.05, "the loop did not run: {half:.2}");
    let fifth = cpu_share(Some(20_000));
    assert!(fifth <= 0.3, "a quota of one fifth got {fifth:.2} CPUs");
}

#[test]
fn a_throttled_loop_is_counted_as_throttled() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo up; while :; do :; done")
        .set("/linux/resources/cpu/period", 100_000)
        .set("/linux/resources/cpu/quota", 20_000);
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    let stat = file(rt.pid(&bundle.id), "cpu", "cpu.stat", "cpu.stat");
    let throttled = eventually(|| {
        let text = fs::read_to_string(&stat).unwrap_or_default();
        let count: u64 = text.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap_or("0").parse().unwrap();
        (count > 0).then_some(())
    });
    assert!(throttled.is_some(), "never throttled");
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn every_limit_is_in_its_file() {
    let kind = state_hierarchy();
    let rt = Runtime::new();
    let resources = json!({
        "devices": [{"allow": false, "access": "rwm"}],
        "memory": {"limit": 64 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 512, "quota": 70_000, "period": 100_000},
        "pids": {"limit": 77}
    });
    let bundle = Bundle::sleeper().set("/linux/resources", resources);
    rt.run_detached(&bundle);
    let pid = rt.pid(&bundle.id);
    assert_eq!(read(file(pid, "memory", "memory.limit_in_bytes", "memory.max")), (64 << 20).to_string());
    assert_eq!(read(file(pid, "memory", "memory.soft_limit_in_bytes", "memory.low")), (32 << 20).to_string());
    assert_eq!(read(file(pid, "pids", "pids.max", "pids.max")), "77");
    match kind {
        Hierarchy::V1 => {
            assert_eq!(read(cgroup_of(pid, "cpu").join("cpu.shares")), "512");
            assert_eq!(read(cgroup_of(pid, "cpu").join("cpu.cfs_quota_us")), "70000");
            assert_eq!(read(cgroup_of(pid, "cpu").join("cpu.cfs_period_us")), "100000");
        }
        Hierarchy::V2 => {
            assert_eq!(read(cgroup_of(pid, "cpu").join("cpu.max")), "70000 100000");
            let weight: u32 = read(cgroup_of(pid, "cpu").join("cpu.weight")).parse().unwrap();
            // Shares of 1024 are the default weight of 100; half of it lies below, by runc's curve or by the older straight line.
            assert!((15..100).contains(&weight), "shares 512 became weight {weight}");
        }
    }
}

#[test]
fn shares_of_1024_are_the_default_weight() {
    if state_hierarchy() == Hierarchy::V1 {
        return;
    }
    let rt = Runtime::new();
    let bundle = Bundle::sleeper().set("/linux/resources/cpu/shares", 1024);
    rt.run_detached(&bundle);
    assert_eq!(read(cgroup_of(rt.pid(&bundle.id), "cpu").join("cpu.weight")), "100");
}

#[test]
fn cpuset_confines_to_one_cpu() {
    state_hierarchy();
    if !has_controller("cpuset") {
        rrun_tests::skip!("the cpuset controller is not mounted here");
    }
    let rt = Runtime::new();
    let bundle = Bundle::sh("grep Cpus_allowed_list /proc/self/status; nproc")
        .set("/linux/resources/cpu/cpus", "0")
        .set("/linux/resources/cpu/mems", "0");
    assert_eq!(rt.run(&bundle).ok(), "Cpus_allowed_list:\t0\n1");
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_cpu_that_does_not_exist_is_refused() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").set("/linux/resources/cpu/cpus", "4000");
    rt.run(&bundle).fails_with(&["cpu"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn swap_can_be_forbidden_and_is_relative_to_memory() {
    let kind = state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sleeper().set("/linux/resources/memory/limit", 32 << 20).set("/linux/resources/memory/swap", 48 << 20);
    rt.run_detached(&bundle);
    let pid = rt.pid(&bundle.id);
    match kind {
        Hierarchy::V1 => {
            let file = cgroup_of(pid, "memory").join("memory.memsw.limit_in_bytes");
            if !file.exists() {
                rrun_tests::skip!("this kernel does not account swap");
            }
            assert_eq!(read(file), (48 << 20).to_string());
        }
        // The configuration counts memory and swap together, version 2 counts swap alone.
        Hierarchy::V2 => assert_eq!(read(cgroup_of(pid, "memory").join("memory.swap.max")), (16 << 20).to_string()),
    }
}

#[test]
fn device_rules_deny_and_allow() {
    state_hierarchy();
    let rt = Runtime::new();
    let caps = json!(["CAP_MKNOD"]);
    // A node of a device that is not allowed cannot be opened, whoever made it; one of an allowed device can.
    let script = "mknod /tmp/kmsg c 1 11 2>/dev/null; for d in /tmp/kmsg /dev/denied; do (: < $d) 2>/dev/null && echo opened $d; done; \
                  mknod /tmp/zero c 1 5 && head -c 3 /tmp/zero | wc -c";
    let bundle = Bundle::sh(script)
        .set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}))
        .set("/linux/devices", json!([{"path": "/dev/denied", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]))
        .push("/linux/resources/devices", json!({"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm"}));
    assert_eq!(rt.run(&bundle).ok(), "3");
}

#[test]
fn a_device_may_be_readable_only() {
    state_hierarchy();
    let rt = Runtime::new();
    // Major 1, minor 11 is /dev/kmsg, which wants CAP_SYSLOG too.
    let caps = json!(["CAP_SYSLOG"]);
    let bundle = Bundle::sh("(: < /dev/log) 2>/dev/null && echo readable; (: >> /dev/log) 2>/dev/null || echo not writable")
        .set("/linux/devices", json!([{"path": "/dev/log", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]))
        .set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}))
        .push("/linux/resources/devices", json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}));
    let all = bundle.config["linux"]["resources"]["devices"].clone();
    assert_eq!(rt.run(&bundle).ok(), "readable\nnot writable");
    let mut all = all.as_array().unwrap().clone();
    all[1]["access"] = json!("rw");
    assert_eq!(rt.run(&bundle.set("/linux/resources/devices", all)).ok(), "readable");
}

#[test]
fn update_changes_the_limits_of_a_running_container() {
    let kind = state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sleeper().set("/linux/resources/memory/limit", 64 << 20).set("/linux/resources/pids/limit", 50);
    rt.run_detached(&bundle);
    let id = &bundle.id;
    let pid = rt.pid(id);
    let memory = || read(file(pid, "memory", "memory.limit_in_bytes", "memory.max"));
    let pids = || read(file(pid, "pids", "pids.max", "pids.max"));
    let shares = || read(file(pid, "cpu", "cpu.shares", "cpu.weight"));
    rt.cmd(&["update", "--memory", "48M", id]).ok();
    assert_eq!(memory(), (48 << 20).to_string());
    assert_eq!(pids(), "50", "what update is not told stays");
    rt.cmd(&["update", "--pids-limit", "33", id]).ok();
    assert_eq!(pids(), "33");
    let before = shares();
    rt.cmd(&["update", "--cpu-share", "200", id]).ok();
    assert_ne!(shares(), before);
    rt.cmd(&["update", "--cpu-period", "200000", "--cpu-quota", "60000", id]).ok();
    match kind {
        Hierarchy::V1 => assert_eq!(read(cgroup_of(pid, "cpu").join("cpu.cfs_quota_us")), "60000"),
        Hierarchy::V2 => assert_eq!(read(cgroup_of(pid, "cpu").join("cpu.max")), "60000 200000"),
    }
    // A file with resources, and standard input.
    let resources = bundle.path().join("resources.json");
    fs::write(&resources, r#"{"memory": {"limit": 41943040}, "pids": {"limit": 20}}"#).unwrap();
    rt.cmd(&["update", "--resources", resources.to_str().unwrap(), id]).ok();
    assert_eq!((memory(), pids()), ((40 << 20).to_string(), "20".to_owned()));
    fs::write(&resources, r#"{"pids": {"limit": 21}}"#).unwrap();
    let mut command = rt.prepare(&["update", "--resources", "-", id]);
    command.stdin(fs::File::open(&resources).unwrap());
    rrun_tests::runtime::Running::start(command).finish().ok();
    assert_eq!(pids(), "21");
    rt.cmd(&["update", "--memory", "lots", id]).fails_with(&["lots"]);
    assert_eq!(memory(), (40 << 20).to_string());
}

#[test]
fn update_below_what_is_used_is_refused_or_kills_but_never_half() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sh(
        "x=0123456789abcdef; i=0; while [ $i -lt 20 ]; do x=$x$x; i=$((i+1)); done; echo up; while :; do sleep 1000 & wait; done",
    );
    let bundle = bundle.set("/linux/resources/memory/limit", 200 << 20);
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    let pid = rt.pid(&bundle.id);
    let output = rt.cmd(&["update", "--memory", "1", &bundle.id]);
    if output.code == 0 {
        // cgroup2 takes it and kills what is above it; v1 refuses.
        running.finish().exits(137);
        return;
    }
    let limit = read(file(pid, "memory", "memory.limit_in_bytes", "memory.max"));
    assert_eq!(limit, (200 << 20).to_string(), "{output:?}");
    assert_eq!(rt.status(&bundle.id), "running");
}

#[test]
fn events_stats_move_with_what_the_container_does() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sh(
        "trap 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; x=$(head -c 8000000 /dev/zero | tr \"\\0\" x); sleep 10010 & echo done' USR1; echo up; while :; do sleep 1000 & wait; done",
    );
    let bundle = bundle.set("/linux/resources/memory/limit", 128 << 20).set("/linux/resources/pids/limit", 40);
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    let stats = || rt.cmd(&["events", "--stats", &bundle.id]).json();
    let number = |value: &serde_json::Value, pointer: &str| {
        value.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {value}"))
    };
    let before = stats();
    assert_eq!(before["type"], "stats");
    assert_eq!(before["id"], bundle.id.as_str());
    assert_eq!(number(&before, "/data/pids/limit"), 40);
    assert_eq!(number(&before, "/data/memory/usage/limit"), 128 << 20);
    rt.cmd(&["kill", &bundle.id, "USR1"]).ok();
    running.wait_for("done");
    let after = stats();
    for pointer in ["/data/cpu/usage/total", "/data/memory/usage/usage", "/data/pids/current"] {
        assert!(number(&after, pointer) > number(&before, pointer), "{pointer} did not grow:\n{before}\n{after}");
    }
    rt.cmd(&["update", "--pids-limit", "41", &bundle.id]).ok();
    assert_eq!(number(&stats(), "/data/pids/limit"), 41);
}

#[test]
fn events_go_on_until_the_container_ends_and_tell_of_an_oom() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle =
        Bundle::sh(&format!("trap '( {MEMORY_HOG} )' USR1; trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait; done"));
    let bundle = bundle.set("/linux/resources/memory/limit", 16 << 20).set("/linux/resources/memory/swap", 16 << 20);
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    let events = rt.spawn(&["events", "--interval", "100ms", &bundle.id]);
    events.wait_for("\"stats\"");
    rt.cmd(&["kill", &bundle.id, "USR1"]).ok();
    events.wait_for("\"oom\"");
    rt.cmd(&["kill", &bundle.id, "KILL"]).ok();
    running.finish().exits(137);
    events.finish();
}

#[test]
fn the_cgroup_path_is_the_configured_one() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    let dir = cgroup_of(rt.pid(&bundle.id), "pids");
    assert!(dir.to_str().unwrap().ends_with(&bundle.cgroup()), "{}", dir.display());
    // Nested paths are made, and removed again as far as they are ours.
    let nested = Bundle::sleeper();
    let path = format!("/{}/deeper/still", nested.id);
    let nested = nested.set("/linux/cgroupsPath", path.clone());
    rt.run_detached(&nested);
    assert!(cgroup_of(rt.pid(&nested.id), "pids").to_str().unwrap().ends_with(&path));
    rt.cmd(&["delete", "--force", &nested.id]).ok();
    assert!(rrun_tests::host::cgroup_dirs(&path).is_empty());
    // runc too leaves the parents: they may be somebody's. This test made them, so it removes them.
    for parent in [format!("/{}/deeper", nested.id), format!("/{}", nested.id)] {
        for dir in rrun_tests::host::cgroup_dirs(&parent) {
            fs::remove_dir(&dir).unwrap_or_else(|e| panic!("rmdir {}: {e}", dir.display()));
        }
    }
}

#[test]
fn without_a_cgroup_path_the_container_has_one_of_its_own() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sleeper().without("/linux/cgroupsPath");
    rt.run_detached(&bundle);
    let dir = cgroup_of(rt.pid(&bundle.id), "pids");
    assert!(dir.to_str().unwrap().contains(&bundle.id), "{}", dir.display());
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    assert!(!dir.exists(), "{} is left", dir.display());
}

#[test]
fn unified_writes_any_file_of_version_2_and_is_refused_on_version_1() {
    let kind = state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sleeper().set("/linux/resources/unified", json!({"memory.high": "50331648"}));
    if kind == Hierarchy::V2 {
        rt.run_detached(&bundle);
        assert_eq!(read(cgroup_of(rt.pid(&bundle.id), "memory").join("memory.high")), "50331648");
        for (name, value) in [("memory.nothing", "1"), ("../escape", "1"), ("cgroup.procs", "1"), ("nocontroller.max", "1")] {
            let bad = Bundle::sh("true").set("/linux/resources/unified", json!({name: value}));
            rt.run(&bad).fails_with(&["unified", name]);
            rt.assert_nothing_left(&bad);
        }
    } else {
        rt.run(&bundle).fails_with(&["unified"]);
        rt.assert_nothing_left(&bundle);
    }
}

#[test]
fn cpu_idle_and_burst() {
    let kind = state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sleeper().set("/linux/resources/cpu", json!({"quota": 50_000, "period": 100_000, "burst": 10_000}));
    rt.run_detached(&bundle);
    let dir = cgroup_of(rt.pid(&bundle.id), "cpu");
    let name = if kind == Hierarchy::V2 { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
    assert_eq!(read(dir.join(name)), "10000");
    let bundle = Bundle::sleeper().set("/linux/resources/cpu/idle", 1);
    rt.run_detached(&bundle);
    assert_eq!(read(cgroup_of(rt.pid(&bundle.id), "cpu").join("cpu.idle")), "1");
}

#[test]
fn a_limit_of_a_controller_that_the_host_lacks_is_an_error_that_names_it() {
    state_hierarchy();
    let rt = Runtime::new();
    let cases = [
        ("hugetlb", json!([{"pageSize": "2MB", "limit": 2_097_152}]), "/linux/resources/hugepageLimits"),
        ("rdma", json!({"mlx5_1": {"hcaHandles": 3}}), "/linux/resources/rdma"),
    ];
    let mut tried = 0;
    for (controller, value, pointer) in cases {
        let bound_to_v1_or_absent = !has_controller(controller);
        if !bound_to_v1_or_absent {
            continue;
        }
        tried += 1;
        let bundle = Bundle::sh("true").set(pointer, value);
        rt.run(&bundle).fails_with(&[controller]);
        rt.assert_nothing_left(&bundle);
    }
    if tried == 0 {
        rrun_tests::skip!("this machine has every controller");
    }
}

#[test]
fn exec_joins_the_limits() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = Bundle::sleeper().set("/linux/resources/pids/limit", 8);
    rt.run_detached(&bundle);
    let output =
        rt.exec_sh(&bundle.id, "i=0; while [ $i -lt 30 ]; do sleep 10011 > /dev/null 2>&1 & i=$((i+1)); done 2>&1; echo tried");
    assert!(!output.out.contains("tried"), "{output:?}");
}

#[test]
fn the_systemd_driver_without_systemd_is_refused() {
    state_hierarchy();
    if std::path::Path::new("/run/systemd/system").exists() {
        rrun_tests::skip!("systemd runs here: its driver has tests of its own");
    }
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    let path = format!("system.slice:rrun:{}", bundle.id);
    let bundle = bundle.set("/linux/cgroupsPath", path);
    rt.cmd(&["--systemd-cgroup", "run", "--bundle", bundle.write(), &bundle.id]).fails_with(&["systemd"]);
    rt.assert_nothing_left(&bundle);
}
