//! Hooks: all six kinds, in their order and namespaces, with the state on stdin, timeouts, and what a failing one does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rrun_tests::{Bundle, Runtime, eventually};
use serde_json::{Value, json};

/// A script on the host that hooks run; `$LOG` is a file that they write to.
fn script(bundle: &Bundle, name: &str, text: &str) -> PathBuf {
    let path = bundle.path().join(name);
    fs::write(&path, format!("#!/bin/sh\nLOG={}/log\n{text}\n", bundle.path().display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn log(bundle: &Bundle) -> String {
    fs::read_to_string(bundle.path().join("log")).unwrap_or_default()
}

#[test]
fn the_six_kinds_run_in_their_order() {
    let rt = Runtime::new();
    let mut bundle = Bundle::sh("echo program >> /data/log");
    let path = script(&bundle, "hook", "cat > /dev/null; echo $1 >> $LOG");
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        bundle.put(&format!("/hooks/{kind}"), json!([{"path": path, "args": ["hook", kind]}]));
    }
    // These two run in the container's mount namespace; startContainer after pivot_root, so that its path is one of the container.
    bundle.put("/hooks/createContainer", json!([{"path": path, "args": ["hook", "createContainer"]}]));
    let inside = bundle.rootfs().join("inside");
    fs::write(&inside, "#!/bin/sh\ncat > /dev/null\necho startContainer >> /data/log\n").unwrap();
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.put("/hooks/startContainer", json!([{"path": "/inside"}]));
    let directory = bundle.path().to_str().unwrap().to_owned();
    let bundle = bundle.mount("/data", "bind", &directory, &["bind", "rw"]);
    rt.run(&bundle).ok();
    // poststart runs beside the program.
    let text = log(&bundle);
    let mut lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|l| *l == "poststart").unwrap_or_else(|| panic!("{text}"));
    lines.remove(at);
    assert!(at >= 4, "{text}");
    assert_eq!(lines, ["prestart", "createRuntime", "createContainer", "startContainer", "program", "poststop"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn the_state_is_on_stdin() {
    let rt = Runtime::new();
    let mut bundle = Bundle::sleeper().set("/annotations/note", "of ours");
    for kind in ["createRuntime", "createContainer", "poststart", "poststop"] {
        let path = script(&bundle, kind, &format!("cat > $LOG.{kind}.new && mv $LOG.{kind}.new $LOG.{kind}"));
        bundle.put(&format!("/hooks/{kind}"), json!([{"path": path}]));
    }
    let read = |kind: &str| -> Value {
        let file = bundle.path().join(format!("log.{kind}"));
        let text = eventually(|| fs::read_to_string(&file).ok()).unwrap_or_else(|| panic!("{kind} did not run"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{kind}: {e}: {text}"))
    };
    rt.create(&bundle).ok();
    let pid = rt.pid(&bundle.id);
    for kind in ["createRuntime", "createContainer"] {
        let state = read(kind);
        assert_eq!(state["id"], bundle.id.as_str(), "{kind}");
        assert_eq!(state["status"], "creating", "{kind}");
        assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
        assert_eq!(state["annotations"]["note"], "of ours");
        assert!(state["ociVersion"].is_string());
    }
    assert_eq!(read("createRuntime")["pid"], pid);
    rt.cmd(&["start", &bundle.id]).ok();
    assert_eq!(read("poststart")["status"], "running");
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(read("poststop")["status"], "stopped");
}

#[test]
fn each_kind_runs_in_its_namespaces() {
    let rt = Runtime::new();
    let mut bundle = Bundle::sleeper();
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let path = script(&bundle, kind, &format!("cat >/dev/null; readlink /proc/self/ns/mnt > $LOG.{kind}"));
        bundle.put(&format!("/hooks/{kind}"), json!([{"path": path}]));
    }
    rt.create(&bundle).ok();
    let read = |kind: &str| {
        eventually(|| fs::read_to_string(bundle.path().join(format!("log.{kind}"))).ok().filter(|t| !t.is_empty()))
            .unwrap_or_default()
    };
    let own = fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    let inside = fs::read_link(format!("/proc/{}/ns/mnt", rt.pid(&bundle.id))).unwrap().display().to_string();
    assert_eq!(read("prestart").trim(), own);
    assert_eq!(read("createRuntime").trim(), own);
    assert_eq!(read("createContainer").trim(), inside);
    rt.cmd(&["start", &bundle.id]).ok();
    assert_eq!(read("poststart").trim(), own);
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(read("poststop").trim(), own);
}

#[test]
fn arguments_and_environment_are_exactly_those_given() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    let path =
        script(&bundle, "hook", "cat >/dev/null; { echo \"$0 $*\"; /usr/bin/env | grep -vE '^(PWD|SHLVL|_|OLDPWD)='; } > $LOG");
    let name = path.display().to_string();
    let bundle = bundle
        .set("/hooks/createRuntime", json!([{"path": path, "args": ["argv0", "one", "two words"], "env": ["A=1", "B=x y"]}]));
    rt.run(&bundle).ok();
    let text = log(&bundle);
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.remove(0), format!("{name} one two words"));
    lines.sort_unstable();
    assert_eq!(lines, ["A=1", "B=x y"]);
}

#[test]
fn a_failing_hook_before_start_stops_everything() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let rt = Runtime::new();
        let mut bundle = Bundle::sh("echo ran");
        let path = script(&bundle, "hook", "cat >/dev/null; echo why it failed >&2; exit 3");
        bundle.put(&format!("/hooks/{kind}"), json!([{"path": path}]));
        let output = rt.run(&bundle);
        output.fails_with(&[&format!("hooks.{kind}[0]"), "3"]);
        assert!(!output.out.contains("ran"));
        rt.assert_nothing_left(&bundle);
    }
}

#[test]
fn a_failing_start_container_hook_ends_the_container() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo ran").set("/hooks/startContainer", json!([{"path": "/bin/false"}]));
    let output = rt.run(&bundle);
    output.fails_with(&["hooks.startContainer[0]"]);
    assert!(!output.out.contains("ran"));
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_failing_poststop_hook_is_a_warning_and_the_others_run() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("exit 4");
    let (bad, good) =
        (script(&bundle, "bad", "cat >/dev/null; exit 1"), script(&bundle, "good", "cat >/dev/null; echo good >> $LOG"));
    let bundle = bundle.set("/hooks/poststop", json!([{"path": bad}, {"path": good}]));
    rt.run(&bundle).exits(4);
    assert_eq!(log(&bundle), "good\n");
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo ran");
    let path = script(&bundle, "hook", "cat >/dev/null; exec sleep 10016");
    let bundle = bundle.set("/hooks/createRuntime", json!([{"path": path, "timeout": 1}]));
    let output = rt.run(&bundle);
    output.fails_with(&["hooks.createRuntime[0]", "1 s"]);
    rt.assert_nothing_left(&bundle);
    let left = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|e| fs::read(e.path().join("cmdline")).is_ok_and(|c| c == b"sleep\x0010016\0"))
        .count();
    assert_eq!(left, 0, "the hook still runs");
}

#[test]
fn a_hook_that_does_not_read_its_stdin_is_no_failure() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo ran").set("/annotations/long", "x".repeat(200_000));
    let path = script(&bundle, "hook", "exit 0");
    let bundle = bundle.set("/hooks/createRuntime", json!([{"path": path}]));
    assert_eq!(rt.run(&bundle).ok(), "ran");
}

#[test]
fn a_relative_hook_path_is_refused() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").set("/hooks/poststop", json!([{"path": "relative/hook"}]));
    rt.run(&bundle).fails_with(&["hooks.poststop[0]", "relative/hook"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_hook_may_enter_the_network_namespace_by_the_pid() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("cat /proc/sys/net/ipv4/ip_default_ttl");
    let path = script(
        &bundle,
        "hook",
        "pid=$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'); exec nsenter -t $pid -n sh -c 'echo 99 > /proc/sys/net/ipv4/ip_default_ttl'",
    );
    let bundle = bundle.set("/hooks/createRuntime", json!([{"path": path}]));
    assert_eq!(rt.run(&bundle).ok(), "99");
}
