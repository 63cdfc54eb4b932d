//! The systemd cgroup driver, on a machine where systemd is process 1 (the virtual machine is started with it for this file).

use std::fs;
use std::path::PathBuf;

use rrun_tests::host::{cgroup_of, state_hierarchy};
use rrun_tests::runtime::{Output, command};
use rrun_tests::{Bundle, Runtime, eventually};
use serde_json::json;

/// A bundle whose container asks for a scope of its own below system.slice.
fn scoped(bundle: Bundle) -> Bundle {
    let path = format!("system.slice:rrun:{}", bundle.id);
    bundle.set("/linux/cgroupsPath", path)
}

fn unit(bundle: &Bundle) -> String {
    format!("rrun-{}.scope", bundle.id)
}

fn directory(bundle: &Bundle) -> PathBuf {
    PathBuf::from("/sys/fs/cgroup/system.slice").join(unit(bundle))
}

fn run(rt: &Runtime, bundle: &Bundle) -> Output {
    rt.cmd(&["--systemd-cgroup", "run", "--bundle", bundle.write(), &bundle.id])
}

fn start(rt: &Runtime, bundle: &Bundle) {
    rt.cmd(&["--systemd-cgroup", "run", "--detach", "--bundle", bundle.write(), &bundle.id]).ok();
}

/// What systemd itself says of a property of the unit.
fn property(bundle: &Bundle, name: &str) -> String {
    command("systemctl", &["show", "--property", name, "--value", &unit(bundle)]).ok().to_owned()
}

fn read(bundle: &Bundle, file: &str) -> String {
    let path = directory(bundle).join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
}

#[track_caller]
fn assert_unit_gone(bundle: &Bundle) {
    // A scope goes when its last process has been seen to be gone.
    let gone = eventually(|| (!directory(bundle).exists() && property(bundle, "LoadState") == "not-found").then_some(()));
    assert!(gone.is_some(), "{} is {} and {}", unit(bundle), property(bundle, "LoadState"), property(bundle, "ActiveState"));
}

#[test]
fn the_container_is_a_scope_with_its_limits() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = scoped(Bundle::sleeper())
        .set("/linux/resources/memory/limit", 64 << 20)
        .set("/linux/resources/pids/limit", 55)
        .set("/linux/resources/cpu", json!({"quota": 50_000, "period": 100_000, "shares": 1024}));
    start(&rt, &bundle);
    let dir = cgroup_of(rt.pid(&bundle.id), "");
    assert_eq!(dir, directory(&bundle));
    assert_eq!(read(&bundle, "memory.max"), (64 << 20).to_string());
    assert_eq!(read(&bundle, "pids.max"), "55");
    assert_eq!(read(&bundle, "cpu.max"), "50000 100000");
    assert_eq!(read(&bundle, "cpu.weight"), "100");
    // systemd knows them too, or a reload would take them away.
    assert_eq!(property(&bundle, "MemoryMax"), (64 << 20).to_string());
    assert_eq!(property(&bundle, "TasksMax"), "55");
    assert_eq!(property(&bundle, "CPUQuotaPerSecUSec"), "500ms");
    assert_eq!(property(&bundle, "ActiveState"), "active");
    assert_eq!(property(&bundle, "Slice"), "system.slice");
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    assert_unit_gone(&bundle);
}

#[test]
fn a_run_to_the_end_leaves_no_unit() {
    let rt = Runtime::new();
    let bundle = scoped(Bundle::sh("cat /proc/self/cgroup; exit 6"));
    assert_eq!(run(&rt, &bundle).exits(6), "0::/");
    assert_unit_gone(&bundle);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn memory_limit_kills_in_a_scope() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = scoped(Bundle::sh("x=0123456789abcdef; while :; do x=$x$x; done"))
        .set("/linux/resources/memory/limit", 16 << 20)
        .set("/linux/resources/memory/swap", 16 << 20);
    let output = run(&rt, &bundle);
    assert_eq!(output.code, 137, "{output:?}");
    assert!(output.err.contains("memory"), "{output:?}");
    assert_unit_gone(&bundle);
}

#[test]
fn pids_limit_stops_a_fork_bomb_in_a_scope() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = scoped(Bundle::sh("i=0; while [ $i -lt 100 ]; do sleep 10020 & i=$((i+1)); done 2>&1; echo tried"))
        .set("/linux/resources/pids/limit", 10);
    let output = run(&rt, &bundle);
    assert!(output.out.contains("fork") && !output.out.contains("tried"), "{output:?}");
    assert_unit_gone(&bundle);
}

#[test]
fn update_reaches_the_file_and_systemd() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = scoped(Bundle::sleeper()).set("/linux/resources/pids/limit", 30);
    start(&rt, &bundle);
    rt.cmd(&["update", "--pids-limit", "44", "--memory", "33M", &bundle.id]).ok();
    assert_eq!((read(&bundle, "pids.max"), read(&bundle, "memory.max")), ("44".to_owned(), (33 << 20).to_string()));
    assert_eq!((property(&bundle, "TasksMax"), property(&bundle, "MemoryMax")), ("44".to_owned(), (33 << 20).to_string()));
}

#[test]
fn device_rules_survive_a_reload_of_systemd() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = scoped(Bundle::sleeper())
        .set("/linux/devices", json!([{"path": "/dev/denied", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]));
    start(&rt, &bundle);
    let script = "(: > /dev/denied) 2>/dev/null && echo opened; (: > /dev/null) && echo null works";
    assert_eq!(rt.exec_sh(&bundle.id, script).ok(), "null works");
    command("systemctl", &["daemon-reload"]).ok();
    assert_eq!(rt.exec_sh(&bundle.id, script).ok(), "null works");
    rt.cmd(&["update", "--pids-limit", "90", &bundle.id]).ok();
    assert_eq!(rt.exec_sh(&bundle.id, script).ok(), "null works");
}

#[test]
fn limits_survive_a_reload_of_systemd() {
    state_hierarchy();
    let rt = Runtime::new();
    let bundle = scoped(Bundle::sleeper()).set("/linux/resources/memory/limit", 48 << 20).set("/linux/resources/cpu/shares", 512);
    start(&rt, &bundle);
    let weight = read(&bundle, "cpu.weight");
    assert_ne!(weight, "100");
    command("systemctl", &["daemon-reload"]).ok();
    assert_eq!(read(&bundle, "memory.max"), (48 << 20).to_string());
    assert_eq!(read(&bundle, "cpu.weight"), weight);
}

#[test]
fn exec_is_in_the_scope_and_pause_freezes_it() {
    let rt = Runtime::new();
    let bundle = scoped(Bundle::sleeper());
    start(&rt, &bundle);
    let file = bundle.path().join("pid");
    rt.cmd(&["exec", "--detach", "--pid-file", file.to_str().unwrap(), &bundle.id, "/bin/sleep", "10021"]).ok();
    let pid: i32 = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_eq!(cgroup_of(pid, ""), directory(&bundle));
    rt.cmd(&["pause", &bundle.id]).ok();
    assert!(read(&bundle, "cgroup.events").contains("frozen 1"));
    rt.cmd(&["resume", &bundle.id]).ok();
    assert!(read(&bundle, "cgroup.events").contains("frozen 0"));
}

#[test]
fn another_slice_is_made_on_demand() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    let path = format!("rruntest-deep.slice:rrun:{}", bundle.id);
    let bundle = bundle.set("/linux/cgroupsPath", path);
    start(&rt, &bundle);
    let expected = format!("/sys/fs/cgroup/rruntest.slice/rruntest-deep.slice/{}", unit(&bundle));
    assert_eq!(cgroup_of(rt.pid(&bundle.id), ""), PathBuf::from(expected));
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    // Slices without units may stay in systemd's hands; this test asked for them.
    command("systemctl", &["stop", "rruntest.slice"]).ok();
}

#[test]
fn a_path_in_the_other_drivers_form_is_refused_and_names_both() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    run(&rt, &bundle).fails_with(&["cgroupsPath", "slice"]);
    rt.assert_nothing_left(&bundle);
    for wrong in ["system.slice:rrun", "not-a-slice:rrun:x", "../up.slice:rrun:x", "a:b:c:d"] {
        let bundle = Bundle::sh("true").set("/linux/cgroupsPath", wrong);
        run(&rt, &bundle).fails_with(&["cgroupsPath"]);
        rt.assert_nothing_left(&bundle);
    }
}

#[test]
fn annotations_do_not_become_properties_of_the_unit() {
    let rt = Runtime::new();
    let bundle = scoped(Bundle::sleeper())
        .set("/annotations/org.example.MemoryMax", "1")
        .set("/annotations/ExecStopPost", "'/bin/touch /tmp/evil'");
    start(&rt, &bundle);
    assert_eq!(property(&bundle, "MemoryMax"), "infinity");
    assert_eq!(property(&bundle, "ExecStopPost"), "");
}
