//! What is wrong gets a clear message, the exit code that runc has for it, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use rrun_tests::host::gone;
use rrun_tests::runtime::{Running, binary};
use rrun_tests::{Bundle, Runtime};

/// Neither run nor create may succeed or leave anything; the message of each holds these words.
#[track_caller]
fn refused(bundle: &Bundle, words: &[&str]) {
    let rt = Runtime::new();
    for verb in ["run", "create"] {
        rt.cmd(&[verb, "--bundle", bundle.path().to_str().unwrap(), &bundle.id]).fails_with(words);
        rt.assert_nothing_left(bundle);
    }
}

#[track_caller]
fn refused_config(bundle: Bundle, words: &[&str]) {
    bundle.write();
    refused(&bundle, words);
}

#[test]
fn config_json_missing() {
    refused(&Bundle::sh("true"), &["config.json", "no such file"]);
}

#[test]
fn config_json_empty() {
    let bundle = Bundle::sh("true");
    fs::write(bundle.path().join("config.json"), "").unwrap();
    refused(&bundle, &["config.json"]);
}

#[test]
fn config_json_malformed_says_where() {
    let bundle = Bundle::sh("true");
    fs::write(bundle.path().join("config.json"), "{\n  \"ociVersion\": \"1.0.2\",\n  \"process\": oops\n}").unwrap();
    refused(&bundle, &["config.json", "line 3"]);
}

#[test]
fn a_field_of_the_wrong_type_is_named_with_what_is_expected() {
    refused_config(Bundle::sh("true").set("/process/user/uid", "root"), &["process.user.uid", "u32"]);
    refused_config(Bundle::sh("true").set("/process/args", "true"), &["process.args", "expected a sequence"]);
    refused_config(Bundle::sh("true").set("/process/terminal", "yes"), &["process.terminal", "expected a boolean"]);
    refused_config(Bundle::sh("true").set("/mounts/0/options", 5), &["mounts[0].options"]);
}

#[test]
fn a_directory_as_config_json() {
    let bundle = Bundle::sh("true");
    fs::create_dir(bundle.path().join("config.json")).unwrap();
    refused(&bundle, &["config.json"]);
}

#[test]
fn unknown_fields_are_ignored() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo fine").set("/process/colour", "red").set("/future", serde_json::json!({"a": [1]}));
    assert_eq!(rt.run(&bundle).ok(), "fine");
}

#[test]
fn an_unknown_capability_is_a_warning() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo fine").push("/process/capabilities/bounding", "CAP_WALK_ON_WATER");
    let output = rt.run(&bundle);
    assert_eq!(output.ok(), "fine");
    assert!(output.err.contains("CAP_WALK_ON_WATER"), "no warning: {}", output.err);
}

#[test]
fn rootfs_absent() {
    let bundle = Bundle::sh("true");
    fs::remove_dir_all(bundle.rootfs()).unwrap();
    refused_config(bundle, &["rootfs", "no such file"]);
}

#[test]
fn rootfs_is_a_file() {
    let bundle = Bundle::sh("true");
    fs::remove_dir_all(bundle.rootfs()).unwrap();
    fs::write(bundle.rootfs(), "").unwrap();
    refused_config(bundle, &["rootfs", "not a directory"]);
}

#[test]
fn rootfs_is_a_symlink() {
    let bundle = Bundle::sh("true");
    fs::rename(bundle.rootfs(), bundle.path().join("elsewhere")).unwrap();
    symlink("elsewhere", bundle.rootfs()).unwrap();
    // runc refuses such a bundle.
    refused_config(bundle, &["rootfs", "symbolic link"]);
}

#[test]
fn the_program_does_not_exist() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").set("/process/args", vec!["/bin/nothing-here"]);
    let output = rt.run(&bundle);
    output.fails_with(&["/bin/nothing-here", "no such file"]);
    assert_eq!(output.code, 127);
    rt.assert_nothing_left(&bundle);

    let bundle = Bundle::sh("true").set("/process/args", vec!["nothing-here"]);
    let output = rt.run(&bundle);
    output.fails_with(&["nothing-here", "PATH"]);
    assert_eq!(output.code, 127);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn the_program_is_not_executable() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").set("/process/args", vec!["/etc/passwd"]);
    let output = rt.run(&bundle);
    output.fails_with(&["/etc/passwd", "permission denied"]);
    assert_eq!(output.code, 126);
    rt.assert_nothing_left(&bundle);

    let bundle = Bundle::sh("true").set("/process/args", vec!["/etc"]);
    let output = rt.run(&bundle);
    output.fails_with(&["/etc"]);
    assert_eq!(output.code, 126);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn exec_of_a_missing_and_of_a_non_executable_program() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    let output = rt.exec(&bundle.id, &["/bin/nothing-here"]);
    output.fails_with(&["/bin/nothing-here"]);
    assert_eq!(output.code, 127);
    let output = rt.exec(&bundle.id, &["/etc/passwd"]);
    output.fails_with(&["/etc/passwd"]);
    assert_eq!(output.code, 126);
    assert_eq!(rt.status(&bundle.id), "running");
}

#[test]
fn no_args_no_process_and_a_relative_cwd() {
    refused_config(Bundle::sh("true").set("/process/args", Vec::<String>::new()), &["args"]);
    refused_config(Bundle::sh("true").set("/process/cwd", "relative"), &["process.cwd", "absolute"]);
    refused_config(Bundle::sh("true").set("/process/cwd", ""), &["process.cwd"]);
    refused_config(Bundle::sh("true").without("/root"), &["root"]);
}

#[test]
fn ids_that_are_not_names() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    let path = bundle.write();
    let long = "x".repeat(1025);
    for id in ["", "a/b", "../up", "/abs", "..", ".", "with space", "new\nline", "semi;colon", long.as_str()] {
        for verb in ["run", "create"] {
            rt.cmd(&[verb, "--bundle", path, id]).fails_with(&["container id"]);
        }
        for verb in ["state", "start", "delete", "pause"] {
            assert_ne!(rt.cmd(&[verb, id]).code, 0, "{verb} {id:?}");
        }
    }
    rt.assert_nothing_left(&bundle);
    assert!(rt.list().is_empty());
}

#[test]
fn the_longest_id_that_works_and_the_one_after() {
    let rt = Runtime::new();
    // A file name of Linux has 255 bytes.
    let bundle = Bundle::sleeper();
    let longest = format!("{}{}", bundle.id, "x".repeat(255 - bundle.id.len()));
    rt.cmd(&["create", "--bundle", bundle.write(), &longest]).ok();
    assert_eq!(rt.status(&longest), "created");
    rt.cmd(&["delete", "--force", &longest]).ok();
    rt.cmd(&["create", "--bundle", bundle.write(), &format!("{longest}x")]).fails_with(&["container id", "256"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_bundle_that_is_not_there() {
    let rt = Runtime::new();
    rt.cmd(&["run", "--bundle", "/nowhere/at/all", "x"]).fails_with(&["/nowhere/at/all"]);
    rt.cmd(&["create", "--bundle", "/nowhere/at/all", "x"]).fails_with(&["/nowhere/at/all"]);
}

#[test]
fn the_state_directory_cannot_be_written() {
    // Root writes everywhere but into a read-only file system; proc takes no directories.
    let bundle = Bundle::sh("true");
    for root in ["/proc/rrun-state", "/proc/self/cmdline/state"] {
        let mut command = Command::new(binary());
        command.args(["--root", root, "run", "--bundle", bundle.write(), &bundle.id]);
        Running::start(command).finish().fails_with(&[root]);
    }
    Runtime::new().assert_nothing_left(&bundle);
}

#[test]
fn a_full_disk_for_the_state() {
    let bundle = Bundle::sleeper();
    let full = bundle.path().join("full");
    fs::create_dir(&full).unwrap();
    rustix::mount::mount("tmpfs", &full, "tmpfs", rustix::mount::MountFlags::empty(), Some(c"size=4k,nr_inodes=3")).unwrap();
    let state = full.join("state");
    let mut command = Command::new(binary());
    command.arg("--root").arg(&state).args(["create", "--bundle", bundle.write(), &bundle.id]);
    let output = Running::start(command).finish();
    output.fails_with(&["no space left"]);
    let list = rrun_tests::runtime::command(binary(), &["--root", state.to_str().unwrap(), "list", "-q"]);
    assert_eq!(list.ok(), "");
    rustix::mount::unmount(&full, rustix::mount::UnmountFlags::empty()).unwrap();
    Runtime::new().assert_nothing_left(&bundle);
}

#[test]
fn a_mount_source_that_is_not_there_names_the_mount() {
    refused_config(
        Bundle::sh("true").mount("/data", "bind", "/srv/not/there", &["bind"]),
        &["mounts[7]", "/data", "/srv/not/there", "no such file"],
    );
}

#[test]
fn mount_destinations_must_be_absolute_and_types_known() {
    refused_config(Bundle::sh("true").mount("/x", "nosuchfs", "none", &[]), &["mounts[7]", "/x", "nosuchfs"]);
}

#[test]
fn namespaces_that_are_wrong() {
    refused_config(
        Bundle::sh("true").push("/linux/namespaces", serde_json::json!({"type": "planet"})),
        &["namespaces[6]", "planet"],
    );
    refused_config(Bundle::sh("true").push("/linux/namespaces", serde_json::json!({"type": "pid"})), &["pid"]);
    refused_config(
        Bundle::sh("true").namespace("network", Some("/nowhere/net")),
        &["namespaces", "/nowhere/net", "no such file"],
    );
    // A file that is no namespace.
    refused_config(Bundle::sh("true").namespace("network", Some("/etc/passwd")), &["/etc/passwd"]);
    // A namespace of another type.
    refused_config(Bundle::sh("true").namespace("network", Some("/proc/self/ns/uts")), &["/proc/self/ns/uts"]);
}

#[test]
fn a_hostname_without_its_namespace() {
    refused_config(Bundle::sh("true").namespace("uts", None), &["hostname", "uts"]);
}

#[test]
fn id_maps_without_a_user_namespace_and_the_reverse() {
    let map = serde_json::json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    refused_config(Bundle::sh("true").set("/linux/uidMappings", map), &["uidMappings"]);
    refused_config(Bundle::sh("true").namespace("user", Some("")), &["uidMappings"]);
}

#[test]
fn sysctls_of_namespaces_that_the_container_does_not_have() {
    refused_config(
        Bundle::sh("true").namespace("network", None).set("/linux/sysctl", serde_json::json!({"net.ipv4.ip_forward": "1"})),
        &["net.ipv4.ip_forward"],
    );
    refused_config(Bundle::sh("true").set("/linux/sysctl", serde_json::json!({"vm.swappiness": "1"})), &["vm.swappiness"]);
}

#[test]
fn rlimits_that_are_wrong() {
    let rlimit = |kind: &str, soft: u64, hard: u64| serde_json::json!([{"type": kind, "soft": soft, "hard": hard}]);
    refused_config(Bundle::sh("true").set("/process/rlimits", rlimit("RLIMIT_LOVE", 1, 1)), &["rlimits[0]", "RLIMIT_LOVE"]);
    refused_config(
        Bundle::sh("true").set("/process/rlimits", rlimit("RLIMIT_NOFILE", 2000, 1000)),
        &["rlimits[0]", "RLIMIT_NOFILE"],
    );
}

#[test]
fn limits_at_their_edges() {
    use serde_json::json;
    let rt = Runtime::new();
    // -1 is "no limit" everywhere; the container starts.
    let bundle = Bundle::sh("echo fine")
        .set("/linux/resources/memory/limit", -1)
        .set("/linux/resources/pids/limit", -1)
        .set("/linux/resources/cpu/quota", -1);
    assert_eq!(rt.run(&bundle).ok(), "fine");
    rt.assert_nothing_left(&bundle);
    // 0 means "not set" for these, as in runc.
    let bundle = Bundle::sh("echo fine")
        .set("/linux/resources/cpu/shares", 0)
        .set("/linux/resources/cpu/quota", 0)
        .set("/linux/resources/cpu/period", 0);
    assert_eq!(rt.run(&bundle).ok(), "fine");
    rt.assert_nothing_left(&bundle);
    // Not in the range of the field's type: refused, named.
    for (pointer, field) in [
        ("/linux/resources/memory/limit", "linux.resources.memory.limit"),
        ("/linux/resources/pids/limit", "linux.resources.pids.limit"),
    ] {
        refused_config(Bundle::sh("true").set(pointer, json!(u64::MAX)), &[field, "18446744073709551615"]);
    }
    refused_config(Bundle::sh("true").set("/linux/resources/cpu/shares", -1), &["linux.resources.cpu.shares", "-1"]);
    // Below what any program needs: clone or exec fails or the process is killed, and nothing is left.
    let bundle = Bundle::sh("echo fine").set("/linux/resources/memory/limit", 1);
    assert_ne!(rt.run(&bundle).code, 0);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_huge_config_json_is_refused() {
    let bundle = Bundle::sh("true");
    bundle.write();
    // Sparse: takes no room on the disk.
    fs::OpenOptions::new().write(true).open(bundle.path().join("config.json")).unwrap().set_len(1 << 32).unwrap();
    refused(&bundle, &["config.json"]);
}

#[test]
fn a_fifo_as_config_json_does_not_hang() {
    let bundle = Bundle::sh("true");
    rrun_tests::runtime::command("mkfifo", &[bundle.path().join("config.json").to_str().unwrap()]).ok();
    refused(&bundle, &["config.json"]);
}

#[test]
fn strings_with_a_nul_byte_are_refused() {
    refused_config(Bundle::sh("true").set("/process/cwd", "/a\0b"), &["process.cwd"]);
    refused_config(Bundle::sh("true").set("/process/args", vec!["/bin/echo", "a\0b"]), &["process.args[1]"]);
    refused_config(Bundle::sh("true").set("/hostname", "a\0b"), &["hostname"]);
}

#[test]
fn unknown_commands_and_flags() {
    let rt = Runtime::new();
    rt.cmd(&["dance"]).fails_with(&["dance"]);
    rt.cmd(&["run", "--dance", "x"]).fails_with(&["--dance"]);
    rt.cmd(&["state"]).fails_with(&["state"]);
    rt.cmd(&["state", "one", "two"]).fails_with(&["state"]);
    let bundle = Bundle::sh("true");
    for verb in ["checkpoint", "restore"] {
        rt.cmd(&[verb, "--bundle", bundle.write(), &bundle.id]).fails_with(&[verb, "not supported"]);
    }
}

#[test]
fn a_corrupt_state_file_is_named_and_deleted_by_force() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.create(&bundle).ok();
    let pid = rt.pid(&bundle.id);
    let file = fs::read_dir(rt.root().join(&bundle.id))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "json"))
        .unwrap();
    let intact = fs::read(&file).unwrap();
    fs::write(&file, "{\"half\":").unwrap();
    rt.cmd(&["state", &bundle.id]).fails_with(&[file.file_name().unwrap().to_str().unwrap()]);
    rt.cmd(&["list"]);
    fs::write(&file, intact).unwrap();
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    assert!(gone(pid));
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_hook_or_program_path_without_permission_names_it() {
    let bundle = Bundle::sh("true");
    let hook = bundle.path().join("hook");
    fs::write(&hook, "not a program").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).unwrap();
    let path = hook.to_str().unwrap().to_owned();
    refused_config(bundle.set("/hooks/createRuntime", serde_json::json!([{"path": path}])), &["hooks.createRuntime[0]", &path]);
}
