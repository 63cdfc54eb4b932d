//! cgroups for real: limits that bite, on the hierarchy of the machine that this runs on. Needs root.
//!
//! Each test of a limit prints `hierarchy: v1` or `hierarchy: v2`, by where the controller is bound.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rrun::cgroup::{Binding, Cgroup, CgroupPlan, Host, Layout, OomEvent, Request, SubCgroups, plan};
use rrun::error::{Kind, Result};
use rrun::spec::resources::Resources;

/// Long: the machine may be an emulated one.
const PATIENCE: Duration = Duration::from_secs(60);

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).expect(json)
}

/// A name of our own for each cgroup, so that tests run side by side.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("rrun-cgtest-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A plan for the cgroupfs driver.
fn planned(path: &str, json: &str) -> Result<CgroupPlan> {
    let resources = resources(json);
    let request = Request {
        id: "unused",
        cgroups_path: Some(path),
        systemd: false,
        resources: &resources,
        devices: &[],
        annotations: &Default::default(),
    };
    plan(&Host::detect()?, &request)
}

/// A cgroup that is killed and removed at the end of the test, and checked to be gone.
struct Scratch(Cgroup);

impl Scratch {
    fn new(json: &str) -> Self {
        Self::at(&format!("/{}", unique()), json).unwrap_or_else(|e| panic!("{json}: {e}"))
    }

    /// A scope with a sleeping process in it.
    fn scope(path: &str, json: &str, annotations: &[(&str, &str)]) -> Result<(Self, Child)> {
        let resources = resources(json);
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let request = Request {
            id: "unused",
            cgroups_path: Some(path),
            systemd: true,
            resources: &resources,
            devices: &[],
            annotations: &annotations,
        };
        let plan = plan(&Host::detect()?, &request)?;
        let created = plan.create()?;
        assert!(created.clone_fd().is_none() && !created.complete_at_clone());
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let scope = Scratch(plan.cgroup().clone());
        if let Err(e) = created.attach(child.id() as i32) {
            child.kill().unwrap();
            child.wait().unwrap();
            return Err(e);
        }
        Ok((scope, child))
    }

    fn at(path: &str, json: &str) -> Result<Self> {
        let plan = planned(path, json)?;
        plan.create()?;
        Ok(Scratch(plan.cgroup().clone()))
    }

    /// Where `controller` is bound, said aloud.
    fn hierarchy(&self, controller: &str) -> Binding {
        let at = self.0.binding(controller).unwrap_or_else(|| panic!("no {controller} controller on this machine"));
        println!("hierarchy: {}", if at == Binding::V2 { "v2" } else { "v1" });
        at
    }

    /// Content of a file of `controller`.
    fn read(&self, controller: &str, v1: &str, v2: &str) -> String {
        let name = if self.0.binding(controller) == Some(Binding::V2) { v2 } else { v1 };
        let path = format!("{}/{name}", self.0.dir(controller).unwrap().full());
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
    }

    /// A shell inside that runs `script` once it is in.
    fn run(&self, script: &str) -> Child {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.0.add(child.id() as i32).unwrap();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        child
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.0.freeze(false, PATIENCE);
        let ended = self.0.kill_all().and(self.0.destroy(PATIENCE));
        let left: Vec<String> = self.0.dirs().map(|d| d.full()).filter(|d| std::path::Path::new(d).exists()).collect();
        if !std::thread::panicking() {
            ended.unwrap();
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}

/// Waits until `done` says so: for what has no event of its own in a test.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn made_with_its_parents_and_removed() {
    let top = unique();
    let cgroup = Scratch::at(&format!("/{top}/a/b"), "{}").unwrap();
    assert!(cgroup.0.exists());
    for dir in cgroup.0.dirs() {
        assert!(dir.full().ends_with(&format!("{top}/a/b")));
        assert!(std::path::Path::new(&dir.full()).join("cgroup.procs").exists());
    }
    let dirs: Vec<String> = cgroup.0.dirs().map(|d| d.full()).collect();
    drop(cgroup);
    for dir in dirs {
        let a = std::path::Path::new(&dir).parent().unwrap().to_owned();
        assert!(a.exists(), "parents may be somebody else's: they stay");
        std::fs::remove_dir(&a).unwrap();
        std::fs::remove_dir(a.parent().unwrap()).unwrap();
    }
}

#[test]
fn a_failed_create_leaves_nothing() {
    let top = unique();
    // No machine has a CPU of this number.
    let e = Scratch::at(&format!("/{top}/a/b"), r#"{"pids":{"limit":5},"cpu":{"cpus":"65000"}}"#).map(|_| ()).unwrap_err();
    assert!(e.to_string().starts_with("linux.resources.cpu.cpus: write("), "{e}");
    let host = Host::detect().unwrap();
    let mounts = host.unified.iter().map(|u| &u.mount).chain(host.legacy.iter().map(|l| &l.mount));
    for mount in mounts {
        assert!(!std::path::Path::new(mount).join(&top).exists(), "{mount}/{top}");
    }
}

#[test]
fn one_that_is_used_or_frozen_is_refused() {
    let path = format!("/{}", unique());
    let first = Scratch::at(&path, "{}").unwrap();
    let mut child = first.run("sleep 1000");
    let e = Scratch::at(&path, "{}").map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("exists and"), "{e}");
    assert!(planned(&path, "{}").unwrap().refuse_used().is_err());
    assert!(planned(&format!("{path}-not-there"), "{}").unwrap().refuse_used().is_ok());
    assert!(child.try_wait().unwrap().is_none(), "who was there first came to no harm");
    first.0.kill_all().unwrap();
    child.wait().unwrap();
    assert!(first.0.wait_empty(PATIENCE).unwrap());
    first.0.freeze(true, PATIENCE).unwrap();
    let e = Scratch::at(&path, "{}").map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("frozen"), "{e}");
    let e = Scratch::at(&format!("{path}/below"), "{}").map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("above") && e.to_string().contains("frozen"), "{e}");
    first.0.freeze(false, PATIENCE).unwrap();
    // Empty and thawed, it is taken.
    std::mem::forget(Scratch::at(&path, "{}").unwrap());
}

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
fn frozen_it_stands_still_and_can_be_killed() {
    let cgroup = Scratch::new("{}");
    let mut child = cgroup.run("while :; do sleep 0.01; done");
    cgroup.0.freeze(true, PATIENCE).unwrap();
    assert!(cgroup.0.is_frozen().unwrap());
    let before = cgroup.0.pids(true).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(cgroup.0.pids(true).unwrap(), before, "no process came or went");
    cgroup.0.freeze(false, PATIENCE).unwrap();
    assert!(!cgroup.0.is_frozen().unwrap());
    until("it goes on", || cgroup.0.pids(true).unwrap() != before);
    cgroup.0.freeze(true, PATIENCE).unwrap();
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
    assert!(cgroup.0.wait_empty(PATIENCE).unwrap());
}

#[test]
fn everything_in_it_and_below_is_killed_and_removed() {
    let cgroup = Scratch::new("{}");
    let mut child = cgroup.run("(sleep 1000 & sleep 1000) & sleep 1000");
    until("all four are there", || cgroup.0.pids(false).unwrap().len() == 4);
    // As a container with a writable cgroup mount may: children of its own, with processes.
    let pid = cgroup.0.pids(false).unwrap()[3];
    for dir in cgroup.0.dirs() {
        for below in ["x", "x/y", "z"] {
            std::fs::create_dir(format!("{}/{below}", dir.full())).unwrap();
        }
        if dir.controllers.iter().all(|c| c != "cpuset") {
            std::fs::write(format!("{}/x/y/cgroup.procs", dir.full()), pid.to_string()).unwrap();
        }
    }
    assert_eq!(cgroup.0.pids(true).unwrap().len(), 4);
    assert_eq!(cgroup.0.pids(false).unwrap().len(), 3);
    let e = cgroup.0.destroy(Duration::from_millis(20)).unwrap_err();
    assert!(e.to_string().contains("still has processes"), "{e}");
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
    assert!(cgroup.0.wait_empty(PATIENCE).unwrap());
    assert!(!cgroup.0.populated().unwrap());
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
    assert!(e.to_string().starts_with("memory.limit: ") && e.to_string().contains("in use"), "{e}");
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
fn given_to_a_user() {
    use std::os::unix::fs::MetadataExt;
    let cgroup = Scratch::new("{}");
    cgroup.0.delegate(12345).unwrap();
    let unified = cgroup.0.unified.as_ref().unwrap().full();
    let owner = |name: &str| std::fs::metadata(format!("{unified}/{name}")).unwrap().uid();
    assert_eq!((owner(""), owner("cgroup.procs"), owner("cgroup.subtree_control")), (12345, 12345, 12345));
    // Limits and life stay the host's.
    assert_eq!((owner("cgroup.max.depth"), owner("cgroup.kill")), (0, 0));
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

/// What a shell inside can do: `can(&cgroup, "head -c1 </dev/zero")`.
fn can(cgroup: &Scratch, command: &str) -> bool {
    cgroup.run(&format!("{command} >/dev/null")).wait().unwrap().success()
}

#[test]
fn device_rules() {
    let cgroup = Scratch::new(
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#,
    );
    cgroup.hierarchy("devices");
    let dir = std::env::temp_dir().join(unique());
    std::fs::create_dir(&dir).unwrap();
    let node =
        |kind: &str, numbers: &str| format!("mknod {}/{kind}{} {kind} {numbers}", dir.display(), numbers.replace(' ', "-"));
    assert!(can(&cgroup, "head -c1 </dev/zero") && can(&cgroup, "head -c1 </dev/urandom"));
    // Nodes may be made, not opened.
    assert!(can(&cgroup, &node("b", "7 100")) && can(&cgroup, &node("c", "1 1")));
    assert!(!can(&cgroup, &format!("head -c0 {}/c1-1", dir.display())), "/dev/mem");
    // Reading is not writing: /dev/kmsg.
    assert!(can(&cgroup, "head -c0 /dev/kmsg") && !can(&cgroup, "true >>/dev/kmsg"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_running_container_s_device_rules_are_replaced() {
    let cgroup = Scratch::new(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#);
    cgroup.hierarchy("devices");
    // An access that stays allowed is never refused meanwhile.
    let mut child = cgroup.run("while head -c1 /dev/zero >/dev/null; do :; done");
    assert!(!can(&cgroup, "head -c0 /dev/kmsg"));
    for _ in 0..50 {
        cgroup
            .0
            .update(&resources(r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":11}]}"#), &[])
            .unwrap();
        cgroup.0.update(&resources(r#"{"devices":[{"allow":false}]}"#), &[]).unwrap();
    }
    cgroup.0.update(&resources(r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":11}]}"#), &[]).unwrap();
    assert!(can(&cgroup, "head -c0 /dev/kmsg"));
    assert!(child.try_wait().unwrap().is_none(), "it was refused /dev/zero");
    // An update without rules leaves them.
    cgroup.0.update(&resources(r#"{"pids":{"limit":100}}"#), &[]).unwrap();
    assert!(can(&cgroup, "head -c0 /dev/kmsg"));
    cgroup.0.update(&resources(r#"{"devices":[{"allow":true}]}"#), &[]).unwrap();
    assert!(can(&cgroup, "true >>/dev/kmsg"));
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
}

#[test]
fn statistics_move_with_the_work() {
    let cgroup = Scratch::new(
        r#"{"memory":{"limit":104857600},"pids":{"limit":50},"cpu":{"quota":2000,"period":10000},"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#,
    );
    cgroup.hierarchy("memory");
    let empty = cgroup.0.stats().unwrap();
    assert_eq!((empty.pids.current, empty.pids.limit, empty.memory.usage.limit), (0, 50, 104_857_600));
    assert!(empty.hugetlb.contains_key("2MB"));
    // Both kinds of CPU time, anonymous memory, the page cache, and a write to a disk that has one.
    let dir = std::env::temp_dir().join(unique());
    std::fs::create_dir(&dir).unwrap();
    let script = format!(
        "x=$(head -c 6000000 /dev/zero | tr '\\0' x); dd if=/dev/zero of={}/f bs=1M count=4 conv=fsync 2>/dev/null; while :; do read a </proc/self/stat; done",
        dir.display()
    );
    let mut child = cgroup.run(&script);
    until("both CPU times move", || {
        let s = cgroup.0.stats().unwrap();
        s.cpu.usage.kernel > empty.cpu.usage.kernel
            && s.cpu.usage.user > empty.cpu.usage.user
            && s.cpu.throttling.throttled_periods > 0
            && s.memory.usage.usage > 4_000_000
            && s.memory.cache > empty.memory.cache
    });
    let busy = cgroup.0.stats().unwrap();
    assert!(
        busy.cpu.usage.total > empty.cpu.usage.total && busy.cpu.throttling.throttled_time > 0 && busy.cpu.throttling.periods > 0
    );
    assert!(
        busy.pids.current >= 1 && busy.memory.usage.usage > 4_000_000 && busy.memory.usage.max >= busy.memory.usage.usage,
        "{busy:?}"
    );
    assert!(busy.memory.swap.usage >= busy.memory.usage.usage);
    assert!(busy.memory.raw.len() > 10 && busy.memory.cache > empty.memory.cache, "{busy:?}");
    if let Some(psi) = &busy.cpu.psi {
        println!("pressure: {:?}", psi.some);
        assert!(psi.some.total > 0, "a throttled process waits: {psi:?}");
    }
    if cgroup.0.binding("cpuset") != Some(Binding::V2) {
        assert!(!busy.cpuset.cpus.is_empty() && busy.cpu.usage.percpu.iter().sum::<u64>() > 0);
    }
    println!("block devices: {:?}", busy.blkio.io_service_bytes_recursive);
    let json = serde_json::to_value(&busy).unwrap();
    assert_eq!(json["memory"]["usage"]["limit"], 104_857_600);
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn block_devices() {
    // The disk of /data (the virtual machine's scratch disk), or any, or none.
    let disk = std::fs::read_dir("/sys/block").into_iter().flatten().flatten().find_map(|d| {
        let name = d.file_name().into_string().ok()?;
        let real = !["loop", "ram", "zram", "sr", "fd"].iter().any(|virtual_one| name.starts_with(virtual_one));
        let number = std::fs::read_to_string(d.path().join("dev")).ok()?.trim().to_owned();
        let (major, minor) = number.split_once(':')?;
        real.then(|| (major.to_owned(), minor.to_owned()))
    });
    let limit = |major: &str, minor: &str| {
        format!(r#"{{"blockIO":{{"throttleWriteBpsDevice":[{{"major":{major},"minor":{minor},"rate":1048576}}]}}}}"#)
    };
    let e = Scratch::at(&format!("/{}", unique()), &limit("4000", "7")).map(|_| ()).unwrap_err();
    assert!(e.to_string().starts_with("linux.resources.blockIO.throttleWriteBpsDevice[0]: write("), "{e}");
    assert!(e.to_string().contains("no such block device"), "{e}");
    // A weight is taken if the kernel has one of the two schedulers that know weights; if not, both are named.
    match Scratch::at(&format!("/{}", unique()), r#"{"blockIO":{"weight":500}}"#) {
        Ok(cgroup) if cgroup.0.binding("blkio") != Some(Binding::V2) => {
            let dir = cgroup.0.dir("blkio").unwrap().full();
            let read = |f: &str| std::fs::read_to_string(format!("{dir}/{f}")).unwrap_or_default();
            assert!(read("blkio.weight").contains("500") || read("blkio.bfq.weight").contains("500"));
        }
        Ok(cgroup) => {
            let dir = cgroup.0.dir("io").unwrap().full();
            let read = |f: &str| std::fs::read_to_string(format!("{dir}/{f}")).unwrap_or_default();
            assert!(read("io.bfq.weight").contains("500") || read("io.weight").contains("4950"));
        }
        Err(e) => assert!(e.to_string().contains("bfq.weight (the BFQ scheduler) nor "), "{e}"),
    }
    let Some((major, minor)) = disk else {
        println!("block devices: none here");
        return;
    };
    let cgroup = Scratch::new(&limit(&major, &minor));
    cgroup.hierarchy(if cgroup.0.binding("blkio") == Some(Binding::V2) { "io" } else { "blkio" });
    let limits = if cgroup.0.binding("io") == Some(Binding::V2) && cgroup.0.binding("blkio") == Some(Binding::V2) {
        cgroup.read("io", "", "io.max")
    } else {
        cgroup.read("blkio", "blkio.throttle.write_bps_device", "")
    };
    assert!(limits.starts_with(&format!("{major}:{minor}")) && limits.contains("1048576"), "{limits}");
    // An update changes that device's line; a failed one puts it back.
    cgroup.0.update(&resources(&limit(&major, &minor).replace("1048576", "2097152")), &[]).unwrap();
    let bad = limit(&major, &minor).replace("1048576", "3145728").replace("}}", r#"},"cpu":{"cpus":"65000"}}"#);
    cgroup.0.update(&resources(&bad), &[]).unwrap_err();
    let limits = if limits.contains("wbps") {
        cgroup.read("io", "", "io.max")
    } else {
        cgroup.read("blkio", "blkio.throttle.write_bps_device", "")
    };
    assert!(limits.contains("2097152"), "{limits}");
    if std::path::Path::new("/data/lost+found").exists() {
        let mut child = cgroup.run(&format!("dd if=/dev/zero of=/data/{} bs=64k count=20 oflag=direct 2>/dev/null", unique()));
        child.wait().unwrap();
        let io = cgroup.0.stats().unwrap().blkio;
        println!("block devices: {:?}", io.io_service_bytes_recursive);
        let written = |list: &[rrun::cgroup::stats::BlkioEntry]| {
            list.iter()
                .filter(|e| e.op == "Write" && e.major.to_string() == major && e.minor.to_string() == minor)
                .map(|e| e.value)
                .sum::<u64>()
        };
        assert!(written(&io.io_service_bytes_recursive) >= 20 * 65536 && written(&io.io_serviced_recursive) >= 20);
    }
}

fn poll_in(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)).unwrap() == 1
}

#[test]
fn an_oom_kill_is_told_and_so_is_the_end() {
    let cgroup = Scratch::new(r#"{"memory":{"limit":16777216,"swap":16777216}}"#);
    cgroup.hierarchy("memory");
    let mut watch = cgroup.0.oom_watch().unwrap();
    assert_eq!(watch.on_ready().unwrap(), if watch_is_v1(&cgroup) { OomEvent::None } else { OomEvent::Gone }, "nothing yet");
    let mut child = cgroup.run("while sleep 0.01; do :; done & head -c 100000000 /dev/zero | tail >/dev/null; wait");
    loop {
        assert!(poll_in(watch.fd()));
        match watch.on_ready().unwrap() {
            OomEvent::Oom => break,
            OomEvent::None => {}
            OomEvent::Gone => panic!("gone before it was told"),
        }
    }
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
    let paths = cgroup.0.clone();
    drop(cgroup);
    assert!(!paths.exists());
    while watch.on_ready().unwrap() != OomEvent::Gone {
        assert!(poll_in(watch.fd()));
    }
}

fn watch_is_v1(cgroup: &Scratch) -> bool {
    cgroup.0.binding("memory") != Some(Binding::V2)
}

#[test]
fn exec_finds_its_place() {
    let cgroup = Scratch::new("{}");
    let mut init = cgroup.run("exec sleep 1000");
    let join = cgroup.0.join(&SubCgroups::default()).unwrap();
    assert_eq!(join.complete_at_clone(), Host::detect().unwrap().layout() == Layout::V2);
    assert!(join.clone_fd().is_some() && !join.is_frozen().unwrap());
    cgroup.0.freeze(true, PATIENCE).unwrap();
    assert!(join.is_frozen().unwrap());
    cgroup.0.freeze(false, PATIENCE).unwrap();
    // A cgroup below, which must exist and be below.
    let unified = cgroup.0.unified.as_ref().unwrap().full();
    assert!(cgroup.0.join(&SubCgroups::parse(&["sub"]).unwrap()).is_err());
    std::fs::create_dir(format!("{unified}/sub")).unwrap();
    assert!(cgroup.0.join(&SubCgroups::parse(&["sub"]).unwrap()).is_ok());
    let e = cgroup.0.join(&SubCgroups::parse(&["nonsense:sub"]).unwrap()).unwrap_err();
    assert!(e.to_string().contains("nonsense"), "{e}");
    // The init went below, and its cgroup hands out controllers: it takes no process any more.
    std::fs::write(format!("{unified}/sub/cgroup.procs"), init.id().to_string()).unwrap();
    let controllers = std::fs::read_to_string(format!("{unified}/cgroup.controllers")).unwrap();
    if let Some(c) = controllers.split_whitespace().find(|c| ["memory", "io", "hugetlb"].contains(c)) {
        std::fs::write(format!("{unified}/cgroup.subtree_control"), format!("+{c}")).unwrap();
        let mut other = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let e = cgroup.0.add(other.id() as i32).unwrap_err();
        assert!(e.to_string().contains("takes no processes"), "{e}");
        other.kill().unwrap();
        other.wait().unwrap();
    }
    let join = cgroup.0.join_init(init.id() as i32).unwrap();
    join.attach(init.id() as i32).unwrap();
    assert!(join.clone_fd().is_some());
    cgroup.0.kill_all().unwrap();
    init.wait().unwrap();
}

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
    assert!(e.to_string().contains("exists and is not empty"), "{e}");
    assert_eq!(scope.0.pids(true).unwrap(), [child.id() as i32]);
    // When all its processes are gone systemd removes it by itself; removing it then is no error.
    child.kill().unwrap();
    child.wait().unwrap();
    until("systemd has removed it", || !scope.0.exists());
}

/// A machine with v1 alone is rare; its code paths are run here by leaving the unified tree out of the picture.
#[test]
fn v1_without_a_unified_tree() {
    let mut host = Host::detect().unwrap();
    if host.layout() != Layout::Hybrid {
        println!("not for this machine: it has no v1 hierarchies");
        return;
    }
    host.unified = None;
    let (path, none) = (format!("/{}", unique()), Resources::default());
    let plan = plan(
        &host,
        &Request {
            id: "unused",
            cgroups_path: Some(&path),
            systemd: false,
            resources: &none,
            devices: &[],
            annotations: &Default::default(),
        },
    )
    .unwrap();
    plan.create().unwrap();
    let cgroup = Scratch(plan.cgroup().clone());
    println!("hierarchy: v1");
    let mut child = cgroup.run("while :; do sleep 0.01 & sleep 0.01; done");
    until("it runs", || cgroup.0.pids(true).unwrap().len() > 1);
    cgroup.0.freeze(true, PATIENCE).unwrap();
    assert!(cgroup.0.is_frozen().unwrap() && cgroup.0.populated().unwrap());
    let before = cgroup.0.pids(true).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(cgroup.0.pids(true).unwrap(), before);
    assert!(!cgroup.0.wait_empty(Duration::from_millis(10)).unwrap());
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
    assert!(cgroup.0.wait_empty(PATIENCE).unwrap());
    assert!(!cgroup.0.is_frozen().unwrap());
}
