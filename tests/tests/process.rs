//! The process of a container: user, groups, capabilities, no_new_privs, rlimits, umask, oom score, scheduling, keyring, environment.

use std::fs;

use rrun_tests::{Bundle, Runtime};
use serde_json::json;

/// Value of a line of /proc/self/status inside the container.
fn status(bundle: &Bundle, field: &str) -> String {
    let rt = Runtime::new();
    let output = rt.run(bundle);
    let line = output.ok().lines().find_map(|line| line.strip_prefix(&format!("{field}:")).map(str::trim).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {field} in {}", output.out))
}

fn show() -> Bundle {
    Bundle::sh("cat /proc/self/status")
}

#[test]
fn user_group_and_additional_groups() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("id -u; id -g; id -G; grep Groups /proc/self/status")
        .set("/process/user", json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6, 7000]}));
    let output = rt.run(&bundle);
    let lines: Vec<&str> = output.ok().lines().collect();
    assert_eq!(&lines[..2], ["1000", "1001"]);
    assert_eq!(lines[3].split_whitespace().skip(1).collect::<Vec<_>>(), ["5", "6", "7000"]);
}

#[test]
fn without_additional_groups_there_are_none() {
    assert_eq!(status(&show(), "Groups"), "");
}

#[test]
fn the_five_capability_sets() {
    let caps = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"], "permitted": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]
    });
    let bundle = Bundle::sh("cat /proc/self/status")
        .set("/process/capabilities", caps.clone())
        .set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let bit = |n: u32| format!("{:016x}", 1u64 << n);
    // CAP_CHOWN 0, CAP_KILL 5, CAP_SETUID 7. A user other than root keeps through exec what is ambient.
    assert_eq!(status(&bundle, "CapBnd"), format!("{:016x}", 1u64 | 1 << 5 | 1 << 7));
    for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(status(&bundle, set), bit(5), "{set}");
    }
    // Root gets permitted = bounding at exec.
    let bundle = show().set("/process/capabilities", caps);
    assert_eq!(status(&bundle, "CapBnd"), format!("{:016x}", 1u64 | 1 << 5 | 1 << 7));
    assert_eq!(status(&bundle, "CapAmb"), bit(5));
}

#[test]
fn without_capabilities_there_are_none() {
    for bundle in [show().without("/process/capabilities"), show().set("/process/capabilities", json!({}))] {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(&bundle, set), "0000000000000000", "{set}");
        }
    }
}

#[test]
fn ambient_without_inheritable_is_a_warning_or_an_error_but_never_silent() {
    let rt = Runtime::new();
    let caps = json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": [], "ambient": ["CAP_KILL"]});
    let output = rt.run(&show().set("/process/capabilities", caps));
    assert!(output.err.contains("CAP_KILL") || output.err.contains("ambient"), "{output:?}");
}

#[test]
fn no_new_privs_as_configured() {
    assert_eq!(status(&show(), "NoNewPrivs"), "1");
    assert_eq!(status(&show().set("/process/noNewPrivileges", false), "NoNewPrivs"), "0");
    assert_eq!(status(&show().without("/process/noNewPrivileges"), "NoNewPrivs"), "0");
}

#[test]
fn rlimits() {
    let rt = Runtime::new();
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 111, "hard": 222}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_STACK", "soft": 1_048_576, "hard": 2_097_152}
    ]);
    let output = rt.run(&Bundle::sh("cat /proc/self/limits").set("/process/rlimits", limits));
    let row = |name: &str| {
        let line = output.out.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("{output:?}"));
        line[name.len()..].split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("Max open files"), "111 222");
    assert_eq!(row("Max core file size"), "0 0");
    assert_eq!(row("Max stack size"), "1048576 2097152");
}

#[test]
fn umask() {
    let rt = Runtime::new();
    assert_eq!(rt.run(&Bundle::sh("umask")).ok(), "0022");
    assert_eq!(rt.run(&Bundle::sh("umask; touch /made; stat -c %a /made").set("/process/user/umask", 0o77)).ok(), "0077\n600");
}

#[test]
fn oom_score_adj() {
    let rt = Runtime::new();
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(rt.run(&Bundle::sh("cat /proc/self/oom_score_adj").set("/process/oomScoreAdj", 321)).ok(), "321");
    assert_eq!(rt.run(&Bundle::sh("cat /proc/self/oom_score_adj")).ok(), own.trim(), "not set: that of the caller");
}

#[test]
fn environment_is_exactly_the_configured_one() {
    let rt = Runtime::new();
    let bundle =
        Bundle::sh("true").set("/process/args", vec!["/bin/env"]).set("/process/env", vec!["PATH=/bin", "A=b=c", "EMPTY="]);
    let mut lines: Vec<String> = rt.run(&bundle).ok().lines().map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with("HOME="));
    lines.sort();
    assert_eq!(lines, ["A=b=c", "EMPTY=", "PATH=/bin"]);
}

#[test]
fn home_comes_from_the_images_passwd() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo $HOME");
    assert_eq!(rt.run(&bundle).ok(), "/root");
    assert_eq!(rt.run(&Bundle::sh("echo $HOME").set("/process/user", json!({"uid": 1000, "gid": 1000}))).ok(), "/home/user");
    assert_eq!(rt.run(&Bundle::sh("echo $HOME").push("/process/env", "HOME=/set")).ok(), "/set");
}

#[test]
fn the_program_is_found_by_path_of_the_container() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").set("/process/args", vec!["echo", "found"]).set("/process/env", vec!["PATH=/nowhere:/bin"]);
    assert_eq!(rt.run(&bundle).ok(), "found");
    let bundle = Bundle::sh("true").set("/process/args", vec!["./sh", "-c", "pwd"]).set("/process/cwd", "/bin");
    assert_eq!(rt.run(&bundle).ok(), "/bin");
}

#[test]
fn cwd_is_made_when_it_is_missing() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("pwd").set("/process/cwd", "/new/place");
    assert_eq!(rt.run(&bundle).ok(), "/new/place");
}

#[test]
fn scheduler_and_io_priority() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("cat /proc/self/sched | head -0; grep -o '^.*) [A-Z] .*' /proc/self/stat | awk '{print $41, $19}'");
    let output = rt.run(&bundle.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 7})));
    // Field 41 is the policy (SCHED_BATCH is 3), field 19 the nice value (proc(5)).
    assert_eq!(output.ok(), "3 7");
    let bundle =
        Bundle::sh("echo up; sleep 10015").set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}));
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    let shown = rrun_tests::runtime::command("ionice", &["-p", &rt.pid(&bundle.id).to_string()]);
    assert_eq!(shown.ok(), "best-effort: prio 6");
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn a_real_time_policy_that_needs_a_priority() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").set("/process/scheduler", json!({"policy": "SCHED_NOTHING"}));
    rt.run(&bundle).fails_with(&["scheduler", "SCHED_NOTHING"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn personality_of_a_32_bit_machine() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("uname -m").set("/linux/personality", json!({"domain": "LINUX32"}));
    assert_ne!(rt.run(&bundle).ok(), rt.run(&Bundle::sh("uname -m")).ok());
}

#[test]
fn a_new_session_keyring_unless_told_otherwise() {
    if !fs::exists("/proc/keys").unwrap() {
        rrun_tests::skip!("this kernel has no keyrings");
    }
    let rt = Runtime::new();
    // The default masks /proc/keys. A new session keyring is named after its container, as runc does.
    let bundle = Bundle::sh("cat /proc/keys; echo end").set("/linux/maskedPaths", Vec::<String>::new());
    let name = format!("_ses.{}", bundle.id);
    let keys = rt.run(&bundle);
    assert!(keys.ok().contains(&name), "{keys:?}");
    // Under another id: the kernel removes the ring of the first one when it likes.
    let other = format!("{}-other", bundle.id);
    let keys = rt.cmd(&["run", "--no-new-keyring", "--bundle", bundle.write(), &other]);
    assert!(!keys.ok().contains(&format!("_ses.{other}")), "{keys:?}");
}

#[test]
fn exec_cpu_affinity() {
    let rt = Runtime::new();
    let cpus = std::thread::available_parallelism().unwrap().get();
    if cpus < 2 {
        rrun_tests::skip!("one CPU: there is no affinity to choose");
    }
    let bundle = Bundle::sleeper().set("/process/execCPUAffinity", json!({"initial": "0", "final": "1"}));
    rt.run_detached(&bundle);
    assert_eq!(rt.exec_sh(&bundle.id, "grep Cpus_allowed_list /proc/self/status | cut -f2").ok(), "1");
}

#[test]
fn dumpable_and_other_leftovers_of_the_start_are_gone() {
    let rt = Runtime::new();
    // A program that is not set-user-id is dumpable after exec: its /proc files belong to its own user.
    let bundle = Bundle::sh("stat -c %u /proc/self/environ; cat /proc/self/environ > /dev/null && echo readable")
        .set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(rt.run(&bundle).ok(), "1000\nreadable");
}

/// What `ls /proc/self/fd` prints with three open files: 3 is the directory that it reads.
const OPEN: &str = "0\n1\n2\n3";

#[test]
fn only_three_descriptors_are_open() {
    let rt = Runtime::new();
    assert_eq!(rt.run(&Bundle::sh("ls /proc/self/fd")).ok(), OPEN);
}

#[test]
fn no_net_devices_are_taken_without_being_asked_and_a_missing_one_is_named() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").set("/linux/netDevices", json!({"nothere0": {"name": "eth0"}}));
    rt.run(&bundle).fails_with(&["nothere0"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_net_device_moves_into_the_container_and_is_renamed() {
    let rt = Runtime::new();
    let name = format!("rr{}", std::process::id() % 100_000);
    let made = std::process::Command::new("ip").args(["link", "add", &name, "type", "dummy"]).output();
    if !made.as_ref().is_ok_and(|o| o.status.success()) {
        rrun_tests::skip!(
            "no dummy network device can be made here: {}",
            made.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stderr).trim().to_owned())
        );
    }
    let bundle =
        Bundle::sh("ls /sys/class/net | tr '\\n' ' '").set("/linux/netDevices", json!({name.as_str(): {"name": "inside0"}}));
    let output = rt.run(&bundle);
    // It dies with its namespace; when the run failed it is still here.
    let _ = std::process::Command::new("ip").args(["link", "del", &name]).output();
    assert_eq!(output.ok(), "inside0 lo");
}
