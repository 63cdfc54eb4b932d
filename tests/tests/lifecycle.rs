//! create, start, state, kill, delete, run, list, ps, pause, resume: what they do, print and return.

use std::fs;
use std::process::Command;

use rrun_tests::host::gone;
use rrun_tests::runtime::Running;
use rrun_tests::{Bundle, Runtime, eventually};

#[test]
fn run_passes_the_exit_code_on() {
    let rt = Runtime::new();
    for code in [0, 1, 7, 255] {
        let bundle = Bundle::sh(&format!("exit {code}"));
        rt.run(&bundle).exits(code);
        rt.assert_nothing_left(&bundle);
    }
}

#[test]
fn run_gives_128_and_the_signal_for_a_killed_process() {
    let rt = Runtime::new();
    // Process 1 of a pid namespace cannot kill itself with a signal that it does not handle: without that namespace it can.
    let bundle = Bundle::sh("kill -9 $$").namespace("pid", None);
    rt.run(&bundle).exits(137);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn run_passes_stdin_stdout_and_stderr() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("cat; echo to stderr >&2");
    let input = bundle.path().join("input");
    fs::write(&input, "from stdin\n").unwrap();
    let mut command = rt.prepare(&["run", "--bundle", bundle.write(), &bundle.id]);
    command.stdin(fs::File::open(&input).unwrap());
    let output = Running::start(command).finish();
    assert_eq!(output.exits(0), "from stdin");
    assert!(output.err.contains("to stderr"), "{}", output.err);
}

#[test]
fn create_start_kill_delete_with_the_states_between() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    let id = &bundle.id;
    rt.create(&bundle).ok();
    let state = rt.state(id);
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], id.as_str());
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
    assert_eq!(state["ociVersion"].as_str().unwrap().split('.').next(), Some("1"));
    let pid = rt.pid(id);
    assert!(pid > 1);

    rt.cmd(&["start", id]).ok();
    rt.wait_status(id, "running");
    assert_eq!(rt.pid(id), pid, "start executes the program in the same process");

    rt.cmd(&["kill", id, "TERM"]).ok();
    rt.wait_status(id, "stopped");
    rt.cmd(&["delete", id]).ok();
    rt.cmd(&["state", id]).fails_with(&["does not exist"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn the_program_does_not_run_before_start() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo ran > /marker");
    rt.create(&bundle).ok();
    assert!(!bundle.rootfs().join("marker").exists());
    rt.cmd(&["start", &bundle.id]).ok();
    rt.wait_status(&bundle.id, "stopped");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("marker")).unwrap(), "ran\n");
}

#[test]
fn config_json_is_read_at_create_only() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo first > /marker");
    rt.create(&bundle).ok();
    fs::write(bundle.path().join("config.json"), "{}").unwrap();
    rt.cmd(&["start", &bundle.id]).ok();
    rt.wait_status(&bundle.id, "stopped");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("marker")).unwrap(), "first\n");
}

#[test]
fn delete_refuses_a_running_container_and_force_kills_it() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    rt.cmd(&["delete", &bundle.id]).fails_with(&["running"]);
    assert_eq!(rt.status(&bundle.id), "running");
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}

#[test]
fn delete_force_of_a_created_container() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.create(&bundle).ok();
    let pid = rt.pid(&bundle.id);
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    assert!(gone(pid));
    rt.assert_nothing_left(&bundle);
}

#[test]
fn delete_force_of_an_unknown_container_succeeds_and_delete_fails() {
    let rt = Runtime::new();
    rt.cmd(&["delete", "nobody"]).fails_with(&["nobody", "does not exist"]);
    rt.cmd(&["delete", "--force", "nobody"]).ok();
}

#[test]
fn deleting_takes_processes_that_outlived_the_first_one() {
    let rt = Runtime::new();
    // Without a pid namespace of its own the container's children live on when its first process ends.
    let bundle = Bundle::sh("sleep 10000 & exec true").namespace("pid", None);
    rt.cmd(&["run", "--detach", "--bundle", bundle.write(), &bundle.id]).ok();
    rt.wait_status(&bundle.id, "stopped");
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}

#[test]
fn kill_takes_names_numbers_and_the_default_is_term() {
    let rt = Runtime::new();
    let bundle = Bundle::sh(
        "trap 'echo usr1 >> /seen' USR1; trap 'echo usr2 >> /seen' USR2; trap 'echo term >> /seen; exit 0' TERM; echo up > /seen; while :; do sleep 1000 & wait; done",
    );
    rt.run_detached(&bundle);
    let seen = || fs::read_to_string(bundle.rootfs().join("seen")).unwrap_or_default();
    let wait = |text: &str| assert!(eventually(|| seen().contains(text).then_some(())).is_some(), "no {text}: {}", seen());
    wait("up");
    rt.cmd(&["kill", &bundle.id, "USR1"]).ok();
    wait("usr1");
    rt.cmd(&["kill", &bundle.id, "SIGUSR2"]).ok();
    wait("usr2");
    let before = seen();
    rt.cmd(&["kill", &bundle.id, "10"]).ok();
    assert!(eventually(|| (seen() != before).then_some(())).is_some());
    rt.cmd(&["kill", &bundle.id]).ok();
    wait("term");
    rt.wait_status(&bundle.id, "stopped");
}

#[test]
fn kill_of_an_unknown_signal_is_refused() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    rt.cmd(&["kill", &bundle.id, "SIGNOTHING"]).fails_with(&["SIGNOTHING"]);
    rt.cmd(&["kill", &bundle.id, "999"]).fails_with(&["999"]);
    assert_eq!(rt.status(&bundle.id), "running");
}

#[test]
fn kill_of_a_stopped_container_fails() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    rt.cmd(&["kill", &bundle.id, "KILL"]).ok();
    rt.wait_status(&bundle.id, "stopped");
    rt.cmd(&["kill", &bundle.id, "TERM"]).fails_with(&["not running"]);
    // A second KILL too is refused; `--all` reaches what is left, here nothing.
    rt.cmd(&["delete", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}

#[test]
fn start_twice_fails_and_leaves_the_container_alone() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.create(&bundle).ok();
    rt.cmd(&["start", &bundle.id]).ok();
    rt.wait_status(&bundle.id, "running");
    rt.cmd(&["start", &bundle.id]).fails_with(&["running"]);
    assert_eq!(rt.status(&bundle.id), "running");
    rt.cmd(&["kill", &bundle.id, "KILL"]).ok();
    rt.wait_status(&bundle.id, "stopped");
    rt.cmd(&["start", &bundle.id]).fails_with(&["stopped"]);
}

#[test]
fn the_same_id_twice_is_refused_and_the_first_lives_on() {
    let rt = Runtime::new();
    let first = Bundle::sleeper();
    rt.run_detached(&first);
    let mut second = Bundle::sleeper();
    second.id.clone_from(&first.id);
    rt.create(&second).fails_with(&["exist"]);
    assert_eq!(rt.status(&first.id), "running");
    assert_eq!(rt.state(&first.id)["bundle"], first.path().to_str().unwrap());
}

#[test]
fn pause_stops_everything_until_resume() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.01; done");
    rt.run_detached(&bundle);
    let count = || fs::read_to_string(bundle.rootfs().join("count")).unwrap_or_default();
    assert!(eventually(|| (!count().is_empty()).then_some(())).is_some());
    rt.cmd(&["pause", &bundle.id]).ok();
    assert_eq!(rt.status(&bundle.id), "paused");
    let at_pause = count();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(count(), at_pause, "the container ran while it was paused");
    rt.exec_sh(&bundle.id, "true").fails_with(&["paused"]);
    rt.cmd(&["resume", &bundle.id]).ok();
    assert_eq!(rt.status(&bundle.id), "running");
    assert!(eventually(|| (count() != at_pause).then_some(())).is_some(), "it does not go on after resume");
}

#[test]
fn a_paused_container_can_be_deleted_by_force() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    rt.cmd(&["pause", &bundle.id]).ok();
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}

#[test]
fn pause_and_resume_in_the_wrong_state_fail() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    rt.cmd(&["resume", &bundle.id]).fails_with(&["cannot resume: it is running"]);
    rt.cmd(&["kill", &bundle.id, "KILL"]).ok();
    rt.wait_status(&bundle.id, "stopped");
    rt.cmd(&["pause", &bundle.id]).fails_with(&["not running"]);
}

#[test]
fn kill_all_reaches_every_process() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("sleep 10001 & sleep 10002 & echo up; wait").namespace("pid", None);
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    rt.cmd(&["kill", "--all", &bundle.id, "KILL"]).ok();
    running.finish().exits(137);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn list_shows_what_is_there() {
    let rt = Runtime::new();
    let (first, second) = (Bundle::sleeper(), Bundle::sleeper());
    // runc: a root that was named and is not there is an error of `list`, and of `list` alone.
    rt.cmd(&["list"]).fails_with(&["does not exist"]);
    rt.run_detached(&first);
    rt.create(&second).ok();
    let mut ids = rt.list();
    ids.sort();
    let mut expected = vec![first.id.clone(), second.id.clone()];
    expected.sort();
    assert_eq!(ids, expected);
    let table = rt.cmd(&["list"]);
    let heading = table.ok().lines().next().unwrap();
    assert_eq!(heading.split_whitespace().collect::<Vec<_>>(), ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let row = table.out.lines().find(|line| line.contains(&second.id)).unwrap();
    assert!(row.contains("created") && row.contains(second.path().to_str().unwrap()) && row.contains("root"), "{row}");
    let json = rt.cmd(&["list", "--format", "json"]).json();
    let entry = json.as_array().unwrap().iter().find(|e| e["id"] == first.id.as_str()).unwrap();
    assert_eq!(entry["status"], "running");
    assert_eq!(entry["pid"], rt.pid(&first.id));
    assert_eq!(entry["owner"], "root");
    assert_eq!(entry["rootfs"], first.rootfs().to_str().unwrap());
    assert!(entry["created"].as_str().unwrap().starts_with("20"), "{entry}");
    rt.cmd(&["delete", "--force", &first.id]).ok();
    assert_eq!(rt.list(), std::slice::from_ref(&second.id));
}

#[test]
fn ps_lists_the_processes() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("sleep 10003 & echo up; wait");
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    let pids = rt.cmd(&["ps", "--format", "json", &bundle.id]).json();
    let pids: Vec<i64> = pids.as_array().unwrap().iter().filter_map(serde_json::Value::as_i64).collect();
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert!(pids.contains(&i64::from(rt.pid(&bundle.id))));
    let table = rt.cmd(&["ps", &bundle.id]);
    assert!(table.ok().lines().next().unwrap().contains("PID"), "{}", table.out);
    assert!(table.out.contains("sleep 10003"), "{}", table.out);
    let options = rt.cmd(&["ps", &bundle.id, "-o", "pid,args"]);
    assert!(options.ok().contains("sleep 10003"), "{}", options.out);
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn pid_file_holds_the_containers_pid() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    let file = bundle.path().join("pid");
    rt.cmd(&["create", "--pid-file", file.to_str().unwrap(), "--bundle", bundle.write(), &bundle.id]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), rt.pid(&bundle.id).to_string());
}

#[test]
fn run_in_the_background_returns_while_the_container_lives() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    let file = bundle.path().join("pid");
    rt.cmd(&["run", "-d", "--pid-file", file.to_str().unwrap(), "-b", bundle.write(), &bundle.id]).ok();
    assert_eq!(rt.status(&bundle.id), "running");
    assert_eq!(fs::read_to_string(&file).unwrap(), rt.pid(&bundle.id).to_string());
}

#[test]
fn keep_leaves_the_stopped_container() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("exit 3");
    rt.cmd(&["run", "--keep", "--bundle", bundle.write(), &bundle.id]).exits(3);
    assert_eq!(rt.status(&bundle.id), "stopped");
    rt.cmd(&["delete", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}

#[test]
fn bundle_defaults_to_the_working_directory() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo from the working directory");
    let path = bundle.write();
    let mut command = rt.prepare(&["run", &bundle.id]);
    command.current_dir(path);
    assert_eq!(Running::start(command).finish().ok(), "from the working directory");
}

#[test]
fn run_takes_a_bundle_as_its_argument() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("hostname");
    bundle.write();
    let output = rt.cmd(&["run", &format!("{}/", bundle.path().display())]);
    assert_eq!(output.ok(), "tested");
    assert!(rt.list().is_empty());
    let named = Bundle::sleeper();
    rt.cmd(&["run", "--detach", "--name", &named.id, named.write()]).ok();
    assert_eq!(rt.list(), std::slice::from_ref(&named.id));
}

#[test]
fn signals_to_run_reach_the_container() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("trap 'exit 42' TERM; echo up; while :; do sleep 1000 & wait; done");
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    Command::new("kill").args(["-TERM", &running.pid().to_string()]).status().unwrap();
    running.finish().exits(42);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn delete_force_cleans_up_after_a_killed_run() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo up; sleep 10004");
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    Command::new("kill").args(["-KILL", &running.pid().to_string()]).status().unwrap();
    running.finish().exits(137);
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    rt.assert_nothing_left(&bundle);
}

#[test]
fn annotations_are_in_the_state() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper().set("/annotations/org.example.key", "value of it");
    rt.create(&bundle).ok();
    // The dots and slashes of the key are part of it.
    assert_eq!(rt.state(&bundle.id)["annotations"]["org.example.key"], "value of it");
}

#[test]
fn two_state_directories_know_nothing_of_each_other() {
    let (one, other) = (Runtime::new(), Runtime::new());
    let bundle = Bundle::sleeper();
    one.run_detached(&bundle);
    assert!(other.list().is_empty());
    other.cmd(&["state", &bundle.id]).fails_with(&["does not exist"]);
    assert_eq!(one.status(&bundle.id), "running");
}

#[test]
fn state_and_its_files_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    fn walk(path: &std::path::Path) {
        let mode = fs::symlink_metadata(path).unwrap().permissions().mode();
        assert!(path.is_symlink() || mode & 0o077 == 0 || !path.is_dir(), "{} has mode {mode:o}", path.display());
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| walk(&entry.unwrap().path()));
        }
    }
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    walk(rt.root());
}
