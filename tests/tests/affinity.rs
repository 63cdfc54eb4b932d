//! execCPUAffinity: the first mask holds before the process is in the container's cgroup, the second one after.

use rrun_tests::host::has_controller;
use rrun_tests::{Bundle, Runtime};
use serde_json::json;

fn two_cpus() -> bool {
    std::thread::available_parallelism().is_ok_and(|n| n.get() >= 2) && has_controller("cpuset")
}

#[test]
fn the_first_mask_may_be_outside_of_the_containers_cpuset() {
    if !two_cpus() {
        rrun_tests::skip!("one CPU, or no cpuset controller");
    }
    let rt = Runtime::new();
    let bundle = Bundle::sleeper()
        .set("/linux/resources/cpu", json!({"cpus": "1", "mems": "0"}))
        .set("/process/execCPUAffinity", json!({"initial": "0", "final": "1"}));
    rt.run_detached(&bundle);
    // In a cpuset of CPU 1 alone, sched_setaffinity(2) refuses CPU 0: it worked, so it came before.
    assert_eq!(rt.exec_sh(&bundle.id, "grep Cpus_allowed_list /proc/self/status | cut -f2").ok(), "1");
    let cgroup = |output: &str| output.lines().map(str::to_owned).collect::<Vec<_>>();
    let own = cgroup(rt.exec_sh(&bundle.id, "cat /proc/1/cgroup").ok());
    assert_eq!(cgroup(rt.exec_sh(&bundle.id, "cat /proc/self/cgroup").ok()), own, "every hierarchy");
}

#[test]
fn the_last_mask_must_be_inside() {
    if !two_cpus() {
        rrun_tests::skip!("one CPU, or no cpuset controller");
    }
    let rt = Runtime::new();
    let bundle = Bundle::sleeper()
        .set("/linux/resources/cpu", json!({"cpus": "1", "mems": "0"}))
        .set("/process/execCPUAffinity", json!({"final": "0"}));
    rt.run_detached(&bundle);
    rt.exec_sh(&bundle.id, "true").fails_with(&["process.execCPUAffinity", "none of these CPUs is in the container's cpuset"]);
}

#[test]
fn without_a_last_mask_all_of_the_cpuset_is_allowed() {
    if !two_cpus() {
        rrun_tests::skip!("one CPU, or no cpuset controller");
    }
    let rt = Runtime::new();
    let bundle = Bundle::sleeper()
        .set("/linux/resources/cpu", json!({"cpus": "0-1", "mems": "0"}))
        .set("/process/execCPUAffinity", json!({"initial": "0"}));
    rt.run_detached(&bundle);
    assert_eq!(rt.exec_sh(&bundle.id, "grep Cpus_allowed_list /proc/self/status | cut -f2").ok(), "0-1");
}
