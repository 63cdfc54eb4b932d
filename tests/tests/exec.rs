//! exec: another process in a running container, with its flags.

use std::fs;

use rrun_tests::runtime::Running;
use rrun_tests::{Bundle, Runtime, eventually};
use serde_json::json;

fn started() -> (Bundle, Runtime) {
    let bundle = Bundle::sleeper();
    let rt = Runtime::new();
    rt.run_detached(&bundle);
    // In this order the runtime is dropped, and the container deleted, before the bundle goes.
    (bundle, rt)
}

#[test]
fn output_and_exit_code_come_back() {
    let (bundle, rt) = started();
    let output = rt.exec_sh(&bundle.id, "echo out; echo err >&2; exit 9");
    assert_eq!(output.exits(9), "out");
    assert!(output.err.contains("err"));
    rt.exec_sh(&bundle.id, "kill -9 $$").exits(137);
    assert_eq!(rt.status(&bundle.id), "running");
}

#[test]
fn it_is_in_all_namespaces_and_in_the_cgroup_of_the_container() {
    let (bundle, rt) = started();
    let pid = rt.pid(&bundle.id);
    let output =
        rt.exec_sh(&bundle.id, "for n in pid net ipc uts mnt cgroup user; do echo $n $(readlink /proc/self/ns/$n); done");
    for line in output.ok().lines() {
        let (kind, name) = line.split_once(' ').unwrap();
        assert_eq!(fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_str().unwrap(), name, "{kind}");
    }
    let running = rt.spawn(&["exec", &bundle.id, "/bin/sh", "-c", "echo up; exec sleep 10012"]);
    running.wait_for("up");
    let pids = rt.cmd(&["ps", "--format", "json", &bundle.id]).json();
    let count = pids.as_array().unwrap().len();
    assert!(count >= 3, "the container's shell, its sleep and ours: {pids}");
}

#[test]
fn stdin_is_passed() {
    let (bundle, rt) = started();
    let input = bundle.path().join("input");
    fs::write(&input, "typed\n").unwrap();
    let mut command = rt.prepare(&["exec", &bundle.id, "/bin/cat"]);
    command.stdin(fs::File::open(&input).unwrap());
    assert_eq!(Running::start(command).finish().ok(), "typed");
}

#[test]
fn cwd_env_and_user() {
    let (bundle, rt) = started();
    let id = bundle.id.as_str();
    assert_eq!(rt.cmd(&["exec", "--cwd", "/usr/bin", id, "/bin/pwd"]).ok(), "/usr/bin");
    assert_eq!(rt.cmd(&["exec", "--env", "A=1", "--env", "B=two words", id, "/bin/sh", "-c", "echo $A $B"]).ok(), "1 two words");
    assert_eq!(rt.cmd(&["exec", "--user", "1000:2000", id, "/bin/sh", "-c", "id -u; id -g"]).ok(), "1000\n2000");
    assert_eq!(rt.cmd(&["exec", "-u", "1", id, "/bin/id", "-u"]).ok(), "1");
    assert_eq!(
        rt.cmd(&["exec", "-u", "1000", "--additional-gids", "3000", "--additional-gids", "3001", id, "/bin/id", "-G"])
            .ok()
            .split(' ')
            .filter(|g| ["3000", "3001"].contains(g))
            .count(),
        2
    );
    rt.cmd(&["exec", "--cwd", "relative", id, "/bin/pwd"]).fails_with(&["cwd"]);
    rt.cmd(&["exec", "--cwd", "/nowhere", id, "/bin/pwd"]).fails_with(&["/nowhere"]);
}

#[test]
fn a_process_file_says_everything() {
    let (bundle, rt) = started();
    let file = bundle.path().join("process.json");
    let process = json!({
        "terminal": false, "cwd": "/tmp", "args": ["/bin/sh", "-c", "pwd; id -u; id -g; echo $X; umask; grep -E 'NoNewPrivs|CapEff' /proc/self/status; ulimit -n"],
        "user": {"uid": 5, "gid": 6, "umask": 0o27}, "env": ["PATH=/bin", "X=y"], "noNewPrivileges": true,
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}]
    });
    fs::write(&file, process.to_string()).unwrap();
    let output = rt.cmd(&["exec", "--process", file.to_str().unwrap(), &bundle.id]);
    assert_eq!(output.ok(), "/tmp\n5\n6\ny\n0027\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n99");
}

#[test]
fn capabilities_are_those_of_the_config_and_of_the_flag() {
    let (bundle, rt) = started();
    let id = bundle.id.as_str();
    let effective = |flags: &[&str]| {
        let output = rt.cmd(&[&["exec"], flags, &[id, "/bin/sh", "-c", "grep CapEff /proc/self/status | cut -f2"]].concat());
        u64::from_str_radix(output.ok(), 16).unwrap()
    };
    // CAP_KILL 5, CAP_NET_BIND_SERVICE 10, CAP_AUDIT_WRITE 29.
    assert_eq!(effective(&[]), 1 << 5 | 1 << 10 | 1 << 29);
    assert_eq!(effective(&["--cap", "CAP_SYS_PTRACE"]) & 1 << 19, 1 << 19);
    // A user other than root has none of them.
    assert_eq!(effective(&["--user", "1000"]), 0);
}

#[test]
fn no_new_privs_by_the_flag() {
    let bundle = Bundle::sleeper().set("/process/noNewPrivileges", false);
    let rt = Runtime::new();
    rt.run_detached(&bundle);
    let read = |flags: &[&str]| {
        rt.cmd(
            &[&["exec"], flags, &[bundle.id.as_str(), "/bin/sh", "-c", "grep NoNewPrivs /proc/self/status | cut -f2"]].concat(),
        )
        .ok()
        .to_owned()
    };
    assert_eq!(read(&[]), "0");
    assert_eq!(read(&["--no-new-privs"]), "1");
}

#[test]
fn detached_with_a_pid_file() {
    let (bundle, rt) = started();
    let file = bundle.path().join("pid");
    rt.cmd(&["exec", "--detach", "--pid-file", file.to_str().unwrap(), &bundle.id, "/bin/sleep", "10013"]).ok();
    let pid: i32 = fs::read_to_string(&file).unwrap().parse().unwrap();
    let command = eventually(|| fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|c| c.starts_with(b"/bin/sleep\x0010013")));
    assert!(command.is_some(), "process {pid} is not the one that was started");
    let pids = rt.cmd(&["ps", "--format", "json", &bundle.id]).json();
    assert!(pids.as_array().unwrap().contains(&json!(pid)), "{pids}");
}

#[test]
fn a_paused_container_is_refused_unless_ignored() {
    let (bundle, rt) = started();
    rt.cmd(&["pause", &bundle.id]).ok();
    rt.exec_sh(&bundle.id, "true").fails_with(&["paused"]);
    let running = rt.spawn(&["exec", "--ignore-paused", &bundle.id, "/bin/echo", "after the pause"]);
    rt.cmd(&["resume", &bundle.id]).ok();
    assert_eq!(running.finish().ok(), "after the pause");
}

#[test]
fn a_container_that_does_not_run_is_refused() {
    let bundle = Bundle::sleeper();
    let rt = Runtime::new();
    rt.exec_sh(&bundle.id, "true").fails_with(&["does not exist"]);
    rt.run_detached(&bundle);
    rt.cmd(&["kill", &bundle.id, "KILL"]).ok();
    rt.wait_status(&bundle.id, "stopped");
    rt.exec_sh(&bundle.id, "true").fails_with(&["stopped"]);
}

#[test]
fn exec_into_a_created_container_works_before_start() {
    let bundle = Bundle::sleeper();
    let rt = Runtime::new();
    rt.create(&bundle).ok();
    assert_eq!(rt.exec_sh(&bundle.id, "hostname").ok(), "tested");
    assert_eq!(rt.status(&bundle.id), "created");
}

#[test]
fn exec_into_a_user_namespace() {
    let bundle = Bundle::sleeper().user_namespace(100_000, 65536);
    let rt = Runtime::new();
    rt.run_detached(&bundle);
    assert_eq!(rt.exec_sh(&bundle.id, "id -u; cut -c1-40 /proc/self/uid_map | tr -s ' '").ok(), "0\n 0 100000 65536");
    assert_eq!(rt.cmd(&["exec", "--user", "1000", &bundle.id, "/bin/id", "-u"]).ok(), "1000");
}

#[test]
fn preserved_descriptors_reach_the_process_and_no_others_do() {
    let (bundle, rt) = started();
    let given = bundle.path().join("given");
    fs::write(&given, "through a descriptor\n").unwrap();
    let script = format!("exec 3<{0}; exec 4<{0}; exec 5<{0}; exec \"$@\"", given.display());
    let binary = rrun_tests::runtime::binary();
    let root = rt.root().to_str().unwrap().to_owned();
    let run = |flags: &[&str], inside: &str| {
        let args = [
            &["-c", script.as_str(), "sh", binary.to_str().unwrap(), "--root", root.as_str(), "exec"],
            flags,
            &[bundle.id.as_str(), "/bin/sh", "-c", inside],
        ]
        .concat();
        rrun_tests::runtime::command("bash", &args)
    };
    // Not through a pipe: the shell would have its ends open.
    let seen = "cat <&3; for f in /proc/$$/fd/[3-9]; do readlink $f; done";
    assert_eq!(run(&["--preserve-fds", "1"], seen).out.trim(), format!("through a descriptor\n{}", given.display()));
    assert_eq!(run(&[], "for f in /proc/$$/fd/[3-9]; do readlink $f; done").out.trim(), "");
}

#[test]
fn rlimits_of_the_container_hold_for_exec_too() {
    let bundle = Bundle::sleeper().set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]));
    let rt = Runtime::new();
    rt.run_detached(&bundle);
    assert_eq!(rt.exec_sh(&bundle.id, "ulimit -n; ulimit -Hn").ok(), "77\n88");
}

#[test]
fn many_at_once() {
    let (bundle, rt) = started();
    let all: Vec<Running> = (0..20).map(|n| rt.spawn(&["exec", &bundle.id, "/bin/echo", &n.to_string()])).collect();
    for (n, running) in all.into_iter().enumerate() {
        assert_eq!(running.finish().ok(), n.to_string());
    }
    assert_eq!(rt.status(&bundle.id), "running");
}

#[test]
fn what_outlives_exec_is_counted_and_deleted_with_the_container() {
    let (bundle, rt) = started();
    rt.exec_sh(&bundle.id, "sleep 10014 > /dev/null 2>&1 < /dev/null & true").ok();
    let orphan = rt.exec_sh(&bundle.id, "ps | grep -c '[s]leep 10014'");
    assert_eq!(orphan.out.trim(), "1");
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}

#[test]
fn the_missing_command_is_a_usage_error() {
    let (bundle, rt) = started();
    assert_ne!(rt.cmd(&["exec", &bundle.id]).code, 0);
    assert_ne!(rt.cmd(&["exec"]).code, 0);
    assert_eq!(rt.status(&bundle.id), "running");
}
