//! `rrun events --stats`: the container uses something, or a limit changes, and the number moves.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rrun_tests::host::{cgroup_of, has_controller, state_hierarchy};
use rrun_tests::runtime::Running;
use rrun_tests::{Bundle, Hierarchy, Runtime, eventually, hierarchy, skip};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// A container that does what is written to its stdin-like file, one script a line, and says `done N` after the Nth.
struct Worker {
    rt: Runtime,
    bundle: Bundle,
    running: Running,
    scripts: usize,
}

impl Worker {
    fn new(adjust: impl FnOnce(Bundle) -> Bundle) -> Worker {
        let script = "n=0; echo ready; while :; do n=$((n+1)); while [ ! -e /todo/$n ]; do sleep 0.05; done; . /todo/$n; echo done $n; done";
        let bundle = adjust(Bundle::sh(script));
        fs::create_dir(bundle.rootfs().join("todo")).unwrap();
        let rt = Runtime::new();
        let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
        running.wait_for("ready");
        Worker { rt, bundle, running, scripts: 0 }
    }

    /// Runs a script in the container to its end.
    fn does(&mut self, script: &str) {
        self.scripts += 1;
        let todo = self.bundle.rootfs().join("todo");
        fs::write(todo.join("next"), script).unwrap();
        fs::rename(todo.join("next"), todo.join(self.scripts.to_string())).unwrap();
        self.running.wait_for(&format!("done {}", self.scripts));
    }

    fn stats(&self) -> Value {
        let mut event = self.rt.cmd(&["events", "--stats", &self.bundle.id]).json();
        assert_eq!((event["type"].as_str(), event["id"].as_str()), (Some("stats"), Some(self.bundle.id.as_str())));
        event["data"].take()
    }

    fn update(&self, flags: &[&str]) {
        self.rt.cmd(&[&["update"], flags, &[self.bundle.id.as_str()]].concat()).ok();
    }

    /// The numbers grow when the container does this.
    #[track_caller]
    fn grows(&mut self, pointers: &[&str], script: &str) {
        let before = self.stats();
        self.does(script);
        for pointer in pointers {
            let grown = eventually(|| (number(&self.stats(), pointer) > number(&before, pointer)).then_some(()));
            assert!(grown.is_some(), "{pointer} did not grow with {script:?}:\n{before}\n{}", self.stats());
        }
    }
}

/// Numbers that are 0 are left out, as runc does.
fn number(stats: &Value, pointer: &str) -> u64 {
    stats.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

#[test]
fn cpu_time_grows_with_a_loop_and_throttling_with_a_quota() {
    let v1 = state_hierarchy() == Hierarchy::V1;
    let mut worker = Worker::new(|b| b);
    let spin = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
    worker.grows(&["/cpu/usage/total", "/cpu/usage/user"], spin);
    worker.grows(
        &["/cpu/usage/kernel"],
        "i=0; while [ $i -lt 60 ]; do i=$((i+1)); cat /bin/busybox > /dev/null; ls /proc > /dev/null; done",
    );
    if v1 {
        let sum = |stats: &Value, list: &str| -> u64 {
            stats["cpu"]["usage"][list].as_array().into_iter().flatten().filter_map(Value::as_u64).sum()
        };
        let before = worker.stats();
        worker.does(spin);
        let after = worker.stats();
        for list in ["percpu", "percpu_user"] {
            assert!(sum(&after, list) > sum(&before, list), "{list}: {before}\n{after}");
        }
    }
    assert_eq!(number(&worker.stats(), "/cpu/throttling/throttledPeriods"), 0);
    worker.update(&["--cpu-quota", "5000", "--cpu-period", "50000"]);
    worker.grows(&["/cpu/throttling/periods", "/cpu/throttling/throttledPeriods", "/cpu/throttling/throttledTime"], spin);
}

#[test]
fn memory_grows_with_what_is_kept_and_its_limit_with_update() {
    let v1 = state_hierarchy() == Hierarchy::V1;
    let mut worker = Worker::new(|b| b.set("/linux/resources/memory/limit", 64 * MIB));
    let limit = |worker: &Worker| number(&worker.stats(), "/memory/usage/limit");
    assert_eq!(limit(&worker), 64 * MIB);
    worker.grows(&["/memory/usage/usage"], "keep=$(head -c 6000000 /dev/zero | tr '\\0' x)");
    worker.grows(&["/memory/cache"], "head -c 5000000 /dev/zero > /file");
    worker.grows(&[if v1 { "/memory/raw/rss" } else { "/memory/raw/anon" }], "more=$(head -c 6000000 /dev/zero | tr '\\0' y)");
    let raw = worker.stats()["memory"]["raw"].as_object().map_or(0, serde_json::Map::len);
    assert!(raw > 10, "{raw} lines of memory.stat");
    if v1 {
        worker.grows(&["/memory/kernel/usage"], "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done");
        // More than the limit goes through the page cache: the limit is hit, and the peak is at it.
        worker.grows(&["/memory/usage/failcnt", "/memory/usage/max"], "head -c 100000000 /dev/zero > /file; rm /file");
    }
    worker.update(&["--memory", &(96 * MIB).to_string(), "--memory-swap", &(128 * MIB).to_string()]);
    assert_eq!(limit(&worker), 96 * MIB);
    if worker.stats()["memory"].get("swap").is_some() && (!v1 || number(&worker.stats(), "/memory/swap/limit") != 0) {
        assert_eq!(number(&worker.stats(), "/memory/swap/limit"), 128 * MIB);
    }
}

#[test]
fn pids_count_processes_and_their_limit_moves_with_update() {
    state_hierarchy();
    let mut worker = Worker::new(|b| b.set("/linux/resources/pids/limit", 40));
    assert_eq!(number(&worker.stats(), "/pids/limit"), 40);
    let before = number(&worker.stats(), "/pids/current");
    worker.does("for i in 1 2 3; do sleep 1000 & done");
    let counted = eventually(|| (number(&worker.stats(), "/pids/current") >= before + 3).then_some(()));
    assert!(counted.is_some(), "{} after {before}", worker.stats());
    worker.update(&["--pids-limit", "41"]);
    assert_eq!(number(&worker.stats(), "/pids/limit"), 41);
    worker.update(&["--pids-limit", "-1"]);
    assert_eq!(number(&worker.stats(), "/pids/limit"), 0, "no limit is 0, as in runc");
}

#[test]
fn the_cpuset_is_the_one_that_update_sets() {
    if hierarchy() == Hierarchy::V2 {
        skip!("the statistics have a cpuset on version 1 only, as those of runc");
    }
    if !has_controller("cpuset") {
        skip!("no cpuset controller");
    }
    state_hierarchy();
    let worker = Worker::new(|b| b.set("/linux/resources/cpu/cpus", "0"));
    let cpus = |worker: &Worker| worker.stats()["cpuset"]["cpus"].clone();
    assert_eq!(cpus(&worker), serde_json::json!([0]));
    if fs::read_to_string("/sys/devices/system/cpu/online").unwrap().trim() != "0" {
        worker.update(&["--cpuset-cpus", "0-1"]);
        assert_eq!(cpus(&worker), serde_json::json!([0, 1]));
    }
    worker.update(&["--cpuset-mems", "0"]);
    assert_eq!(worker.stats()["cpuset"]["mems"], serde_json::json!([0]));
    let dir = cgroup_of(worker.rt.pid(&worker.bundle.id), "cpuset");
    for name in ["memory_migrate", "memory_spread_page", "memory_spread_slab", "sched_load_balance", "sched_relax_domain_level"] {
        let value = |worker: &Worker| worker.stats()["cpuset"][name].as_i64().unwrap_or(0);
        let before = value(&worker);
        let other = if before == 0 { 1 } else { 0 };
        // A flag that this kernel does not have any more cannot be written.
        if fs::write(dir.join(format!("cpuset.{name}")), other.to_string()).is_ok() {
            let now = fs::read_to_string(dir.join(format!("cpuset.{name}"))).unwrap();
            assert_eq!(value(&worker).to_string(), now.trim(), "{name}");
            assert_ne!(value(&worker), before, "{name}");
        }
    }
}

/// A directory of its own on a disk, removed when dropped.
struct OnDisk {
    dir: PathBuf,
    major: u32,
    minor: u32,
}

impl OnDisk {
    fn new() -> Option<OnDisk> {
        let on_disk = |place: &Path| {
            let device = fs::metadata(place).ok()?.dev();
            let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
            // Rules are for whole disks.
            Path::new(&format!("/sys/dev/block/{major}:{minor}/queue")).exists().then_some((major, minor))
        };
        let places = [std::env::temp_dir(), "/data".into()];
        let (place, (major, minor)) = places.iter().find_map(|p| Some((p, on_disk(p)?)))?;
        let dir = place.join(rrun_tests::unique());
        fs::create_dir(&dir).unwrap();
        Some(OnDisk { dir, major, minor })
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn block_io_counts_what_is_read_from_a_disk() {
    state_hierarchy();
    if !has_controller("blkio") && !has_controller("io") {
        skip!("no controller of block I/O");
    }
    let Some(disk) = OnDisk::new() else { skip!("neither the temporary directory nor /data is on a whole disk") };
    let file = disk.dir.join("data");
    fs::write(&file, vec![7u8; 8 << 20]).unwrap();
    // Some kernels count only what a rule could throttle: one that never does.
    let rule = serde_json::json!([{"major": disk.major, "minor": disk.minor, "rate": 1u64 << 40}]);
    let source = disk.dir.to_str().unwrap();
    let mut worker = Worker::new(|b| {
        b.set("/linux/resources/blockIO/throttleReadBpsDevice", rule).mount("/disk", "bind", source, &["bind", "ro"])
    });
    let count = |stats: &Value, list: &str| -> u64 {
        let entries = stats["blkio"][list].as_array().cloned().unwrap_or_default();
        entries.iter().filter(|e| e["op"] == "Read").map(|e| e["value"].as_u64().unwrap_or(0)).sum()
    };
    let before = worker.stats();
    let data = fs::File::open(&file).unwrap();
    rustix::fs::fsync(&data).unwrap();
    rustix::fs::fadvise(&data, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    worker.does("cat /disk/data > /dev/null");
    for list in ["ioServiceBytesRecursive", "ioServicedRecursive"] {
        let grown = eventually(|| (count(&worker.stats(), list) > count(&before, list)).then_some(()));
        assert!(grown.is_some(), "{list}: {before}\n{}", worker.stats());
    }
}

#[test]
fn lines_come_at_the_interval_and_end_with_the_container() {
    state_hierarchy();
    let worker = Worker::new(|b| b);
    let events = worker.rt.spawn(&["events", "--interval", "20ms", &worker.bundle.id]);
    let lines = eventually(|| (events.out().lines().count() >= 5).then_some(()));
    assert!(lines.is_some(), "{}", events.out());
    worker.rt.cmd(&["kill", &worker.bundle.id, "KILL"]).ok();
    let output = events.finish();
    for line in output.ok().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["type"], "stats", "{line}");
        assert!(
            number(&event["data"], "/pids/current") > 0 || event["data"]["cpu"]["usage"]["total"].as_u64() > Some(0),
            "{line}"
        );
    }
}
