//! The command line itself: global options, logs, help, completion, spec, features, check, explain.

use std::fs;

use rrun_tests::runtime::{binary, command};
use rrun_tests::{Bundle, Runtime};
use serde_json::Value;

const COMMANDS: &[&str] = &[
    "check", "create", "delete", "events", "exec", "explain", "features", "kill", "list", "pause", "ps", "resume", "run", "spec",
    "start", "state", "update",
];

#[test]
fn help_names_every_command_and_every_command_has_help_with_an_example() {
    let help = command(binary(), &["--help"]);
    for name in COMMANDS {
        assert!(help.ok().contains(name), "{name} is not in the help");
        let own = command(binary(), &[name, "--help"]);
        let text = own.ok().to_lowercase();
        assert!(text.contains("usage") && text.contains("example"), "{name}: {text}");
    }
    assert_eq!(command(binary(), &["help"]).ok(), help.ok());
    assert_eq!(command(binary(), &["-h"]).ok(), help.ok());
}

#[test]
fn version_names_the_program_and_the_specification() {
    let output = command(binary(), &["--version"]);
    assert!(output.ok().starts_with("rrun version "), "{output:?}");
    assert!(output.out.lines().any(|l| l.starts_with("spec: 1.")), "{output:?}");
}

#[test]
fn no_command_shows_the_help_and_an_unknown_one_fails() {
    assert!(
        command(binary(), &[]).out.to_lowercase().contains("usage")
            || command(binary(), &[]).err.to_lowercase().contains("usage")
    );
    command(binary(), &["no-such-command"]).fails_with(&["no-such-command"]);
}

#[test]
fn errors_are_one_line_on_stderr_and_json_in_the_log() {
    let bundle = Bundle::empty();
    let log = bundle.path().join("log");
    let rt = Runtime::new();
    let path = log.to_str().unwrap();
    let output = rt.cmd(&["--log", path, "--log-format", "json", "state", "nobody"]);
    output.fails_with(&["nobody"]);
    assert_eq!(output.err.trim().lines().count(), 1, "{}", output.err);
    assert_eq!(output.out, "");
    let text = fs::read_to_string(&log).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("nobody"), "{line}");
    assert!(line["time"].as_str().unwrap().starts_with("20"), "{line}");
    // Text is the default format; the log is appended to.
    rt.cmd(&["--log", path, "state", "somebody"]).fails_with(&["somebody"]);
    let text = fs::read_to_string(&log).unwrap();
    let last = text.lines().last().unwrap();
    assert!(text.lines().count() >= 2 && last.contains("level=error") && last.contains("somebody"), "{text}");
}

#[test]
fn debug_says_more() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    let log = bundle.path().join("log");
    let path = log.to_str().unwrap();
    rt.cmd(&["--log", path, "run", "--bundle", bundle.write(), &bundle.id]).ok();
    let quiet = fs::read_to_string(&log).unwrap_or_default().lines().count();
    rt.cmd(&["--debug", "--log", path, "run", "--bundle", bundle.path().to_str().unwrap(), &bundle.id]).ok();
    assert!(fs::read_to_string(&log).unwrap().lines().count() > quiet + 1);
}

#[test]
fn a_log_format_or_log_file_that_cannot_be_is_refused() {
    let rt = Runtime::new();
    rt.cmd(&["--log-format", "xml", "list"]).fails_with(&["xml"]);
    rt.cmd(&["--log", "/nowhere/at/all/log", "list"]).fails_with(&["/nowhere/at/all/log"]);
}

#[test]
fn options_take_their_value_either_way() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo fine");
    let path = bundle.write();
    let root = format!("--root={}", rt.root().display());
    assert_eq!(command(binary(), &[&root, "run", &format!("--bundle={path}"), &bundle.id]).ok(), "fine");
    assert_eq!(rt.cmd(&["run", "-b", path, &bundle.id]).ok(), "fine");
    assert_eq!(rt.cmd(&["run", "--bundle", path, "--", &bundle.id]).ok(), "fine");
}

#[test]
fn spec_writes_a_config_that_runs() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    let path = bundle.path().to_str().unwrap();
    rt.cmd(&["spec", "--bundle", path]).ok();
    let file = bundle.path().join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(config["process"]["args"], serde_json::json!(["sh"]));
    assert_eq!(config["process"]["terminal"], true);
    assert_eq!(config["root"]["path"], "rootfs");
    rt.cmd(&["spec", "--bundle", path]).fails_with(&["config.json", "exist"]);
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["sh", "-c", "echo runs"]);
    fs::write(&file, config.to_string()).unwrap();
    assert_eq!(rt.cmd(&["run", "--bundle", path, &bundle.id]).ok(), "runs");
    rt.assert_nothing_left(&bundle);
}

#[test]
fn features_is_what_the_specification_asks_for() {
    let features = command(binary(), &["features"]).json();
    assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string(), "{features}");
    let has = |pointer: &str, name: &str| {
        let list = features.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("no {pointer} in {features}"));
        assert!(list.iter().any(|v| v == name), "{name} is not in {pointer}");
    };
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        has("/hooks", kind);
    }
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        has("/linux/namespaces", kind);
    }
    has("/mountOptions", "rro");
    has("/mountOptions", "tmpcopyup");
    has("/linux/capabilities", "CAP_SYS_ADMIN");
    has("/linux/seccomp/actions", "SCMP_ACT_NOTIFY");
    has("/linux/seccomp/operators", "SCMP_CMP_MASKED_EQ");
    has("/linux/seccomp/archs", "SCMP_ARCH_X86_64");
    assert_eq!(features.pointer("/linux/cgroup/v1"), Some(&Value::Bool(true)));
    assert_eq!(features.pointer("/linux/cgroup/v2"), Some(&Value::Bool(true)));
}

#[test]
fn every_mount_option_of_features_is_accepted() {
    let rt = Runtime::new();
    let features = command(binary(), &["features"]).json();
    let options: Vec<String> =
        features["mountOptions"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect();
    assert!(options.len() > 30, "{options:?}");
    // Those that need something more than a bind mount have tests of their own.
    for option in
        options.iter().filter(|o| !["idmap", "ridmap", "remount", "tmpcopyup", "mand", "loud", "silent"].contains(&o.as_str()))
    {
        let bundle = Bundle::sh("true");
        let path = bundle.path().to_str().unwrap().to_owned();
        let bundle = bundle.mount("/data", "bind", &path, &["rbind", option]);
        let output = rt.run(&bundle);
        assert_eq!(output.code, 0, "{option}: {}", output.err);
    }
}

#[test]
fn check_says_what_is_wrong_and_runs_nothing() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo ran > /marker");
    bundle.write();
    let path = bundle.path().to_str().unwrap().to_owned();
    rt.cmd(&["check", &path]).ok();
    assert!(!bundle.rootfs().join("marker").exists());
    rt.assert_nothing_left(&bundle);

    let bundle = bundle.set("/process/rlimits/0/type", "RLIMIT_LOVE");
    bundle.write();
    let output = rt.cmd(&["check", &path]);
    assert_ne!(output.code, 0);
    assert!(format!("{}{}", output.out, output.err).contains("RLIMIT_LOVE"), "{output:?}");
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    rt.cmd(&["check", &path]).fails_with(&["config.json"]);
}

#[test]
fn explain_prints_the_plan_and_moves_with_the_config() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo ran > /marker");
    let path = bundle.path().to_str().unwrap().to_owned();
    let explain = |bundle: &Bundle| {
        bundle.write();
        rt.cmd(&["explain", &path]).ok().to_owned()
    };
    let plain = explain(&bundle);
    assert!(!bundle.rootfs().join("marker").exists());
    for changed in [
        ("/hostname", serde_json::json!("other-name"), "other-name"),
        ("/process/args/2", serde_json::json!("echo something else"), "something else"),
        ("/process/user/uid", serde_json::json!(4242), "4242"),
        ("/process/cwd", serde_json::json!("/tmp/elsewhere"), "/tmp/elsewhere"),
        ("/linux/resources/memory/limit", serde_json::json!(123_456_789), "123456789"),
        ("/linux/resources/pids/limit", serde_json::json!(4321), "4321"),
        ("/mounts/2/destination", serde_json::json!("/dev/elsewhere"), "/dev/elsewhere"),
        ("/linux/maskedPaths/0", serde_json::json!("/proc/masked-here"), "/proc/masked-here"),
        ("/linux/readonlyPaths/0", serde_json::json!("/proc/fixed-here"), "/proc/fixed-here"),
        ("/linux/sysctl", serde_json::json!({"net.ipv4.ip_forward": "1"}), "net.ipv4.ip_forward"),
        ("/process/rlimits/0/soft", serde_json::json!(321), "321"),
        ("/process/oomScoreAdj", serde_json::json!(654), "654"),
        ("/linux/cgroupsPath", serde_json::json!("/some-other/path"), "/some-other/path"),
        ("/process/capabilities/bounding/0", serde_json::json!("CAP_SYS_TIME"), "SYS_TIME"),
    ] {
        let (pointer, value, shown) = changed;
        let mut other = Bundle::sh("true");
        other.config = bundle.config.clone();
        other.put(pointer, value);
        fs::write(bundle.path().join("config.json"), other.config.to_string()).unwrap();
        let text = rt.cmd(&["explain", &path]).ok().to_owned();
        assert!(!plain.contains(shown) && text.contains(shown), "{pointer}: no {shown:?} in\n{text}");
    }
    rt.assert_nothing_left(&bundle);
}

#[test]
fn completion_for_three_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let output = command(binary(), &["completion", shell]);
        for name in ["create", "explain", "--bundle"] {
            let name = if shell == "fish" { name.trim_start_matches('-') } else { name };
            assert!(output.ok().contains(name), "{shell}: no {name}");
        }
    }
    let file = std::env::temp_dir().join(rrun_tests::unique());
    fs::write(&file, command(binary(), &["completion", "bash"]).out).unwrap();
    let checked = command("bash", &["-n", file.to_str().unwrap()]);
    fs::remove_file(&file).unwrap();
    checked.ok();
}

#[test]
fn what_is_not_supported_yet_says_so() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    rt.cmd(&["--rootless", "true", "run", "--bundle", bundle.write(), &bundle.id]).fails_with(&["rootless", "not supported"]);
    rt.assert_nothing_left(&bundle);
}
