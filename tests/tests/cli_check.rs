//! `rrun check`: each thing that can be wrong, broken here; the finding appears under its field, and `run` agrees with the exit code.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rrun_tests::{Bundle, Hierarchy, Runtime, hierarchy};
use serde_json::{Value, json};

/// Findings of a bundle, and the exit code.
fn check(rt: &Runtime, bundle: &Bundle) -> (Vec<Value>, i32) {
    let output = rt.cmd(&["check", "--format", "json", bundle.write()]);
    let findings = serde_json::from_str(&output.out).unwrap_or_else(|e| panic!("{e} in {output:?}"));
    (findings, output.code)
}

fn shown(findings: &[Value]) -> String {
    let line = |f: &Value| format!("{} | {} | {}", f["field"], f["verdict"], f["text"]);
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn find<'a>(findings: &'a [Value], field: &str, text: &str) -> Option<&'a Value> {
    let is = |f: &&Value, name: &str, what: &str| f[name].as_str().unwrap_or_default().contains(what);
    findings.iter().find(|f| f["field"].as_str().unwrap_or_default().starts_with(field) && is(f, "text", text))
}

/// The change brings a finding of this verdict that was not there before, and `run` agrees.
#[track_caller]
fn brings(rt: &Runtime, bundle: Bundle, change: impl FnOnce(Bundle) -> Bundle, field: &str, verdict: &str, text: &str) {
    let (before, _) = check(rt, &bundle);
    assert!(find(&before, field, text).is_none(), "{field}: {text:?} is there without the change: {}", shown(&before));
    let bundle = change(bundle);
    let (after, code) = check(rt, &bundle);
    let found = find(&after, field, text).unwrap_or_else(|| {
        panic!(
            "no {field} with {text:?} in
{}",
            shown(&after)
        )
    });
    assert_eq!(found["verdict"], verdict, "{found}");
    // Two are of no concern to `run`: exec's affinity, and a failing poststop hook, which is a warning (runtime.md#lifecycle, step 13).
    if verdict != "warning" && !field.starts_with("process.execCPUAffinity") && !field.starts_with("hooks.poststop") {
        let ran = rt.run(&bundle);
        assert_eq!(ran.code == 0, verdict == "ok", "check and run disagree on {field}: {found}\n{ran:?}");
    }
    assert_eq!(code, i32::from(matches!(verdict, "wrong" | "impossible")), "{}", shown(&after));
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_bundle_that_runs_has_nothing_but_good_findings() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    let (findings, code) = check(&rt, &bundle);
    assert_eq!(code, 0);
    for finding in &findings {
        assert_eq!(finding["verdict"], "ok", "{finding}");
    }
    for field in [
        "host",
        "root.path",
        "process.args[0]",
        "process.user",
        "process.capabilities",
        "process.rlimits[0]",
        "mounts[0] (/proc)",
        "default device (/dev/null)",
        "linux.namespaces (pid)",
        "linux.cgroupsPath",
    ] {
        assert!(find(&findings, field, "").is_some(), "no {field} in\n{}", shown(&findings));
    }
    rt.run(&bundle).ok();
    let table = rt.cmd(&["check", bundle.write()]);
    assert!(table.ok().ends_with("0 wrong, 0 impossible, 0 warnings"), "{}", table.out);
    assert_eq!(rt.cmd(&["check", "--quiet", "--format", "json", bundle.write()]).json(), json!([]));
}

#[test]
fn good_findings_say_what_will_be() {
    let rt = Runtime::new();
    let v1 = hierarchy() == Hierarchy::V1;
    let memory = if v1 { "memory.limit_in_bytes = 123456512" } else { "memory.max = 123456512" };
    for (pointer, value, field, text) in [
        ("/root/readonly", json!(true), "root.path", "read-only"),
        ("/process/user/uid", json!(4242), "process.user", "user 4242"),
        ("/process/rlimits/0/soft", json!(1001), "process.rlimits[0] (RLIMIT_NOFILE)", "soft 1001"),
        ("/process/oomScoreAdj", json!(999), "process.oomScoreAdj", "999"),
        ("/process/scheduler", json!({"policy": "SCHED_BATCH"}), "process.scheduler", "SCHED_BATCH"),
        ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 3}), "process.ioPriority", "IOPRIO_CLASS_BE 3"),
        ("/process/execCPUAffinity", json!({"initial": "0"}), "process.execCPUAffinity.initial", "0"),
        (
            "/process/capabilities/permitted",
            json!(["CAP_KILL", "CAP_CHOWN"]),
            "process.capabilities",
            "permitted CAP_CHOWN CAP_KILL",
        ),
        ("/mounts/3/options", json!(["size=77k"]), "mounts[3] (/dev/shm)", "size=77k"),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "time"}]), "linux.namespaces (time)", "a new one"),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}), "linux.sysctl.net.ipv4.ip_forward", "write 1"),
        ("/linux/resources/memory/limit", json!(123_456_512), "linux.resources.memory.limit", memory),
        ("/linux/resources/pids/limit", json!(321), "linux.resources.pids.limit", "pids.max = 321"),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "linux.memoryPolicy.nodes", "0"),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}), "linux.seccomp", "instructions"),
        ("/hooks/poststop", json!([{"path": "/bin/true"}]), "hooks.poststop[0]", "/bin/true"),
    ] {
        let bundle = Bundle::sh("true").without("/hostname").set("/process/noNewPrivileges", false);
        brings(&rt, bundle, |b| b.set(pointer, value), field, "ok", text);
    }
}

#[test]
fn each_wrong_field_is_found() {
    let rt = Runtime::new();
    let range = |id: u32, host: u32, size: u32| json!({"containerID": id, "hostID": host, "size": size});
    for (pointer, value, field, text) in [
        ("/ociVersion", json!("2.0"), "ociVersion", "2.0"),
        ("/process/args", json!([]), "process.args", "empty"),
        ("/process/args/0", json!("/bin/nowhere"), "process.args[0]", "not found"),
        ("/process/args/0", json!("/etc/passwd"), "process.args[0]", "permission denied"),
        ("/process/args/0", json!("/etc"), "process.args[0]", "is a directory"),
        ("/process/args/0", json!("no-such-applet"), "process.args[0]", "not found in $PATH"),
        ("/process/cwd", json!("relative"), "process.cwd", "not an absolute path"),
        ("/process/env/0", json!("A=\0"), "process.env[0]", "NUL"),
        ("/process/rlimits/0/type", json!("RLIMIT_LOVE"), "process.rlimits[0]", "unknown resource"),
        ("/process/rlimits/0/soft", json!(2000), "process.rlimits[0]", "above the hard limit"),
        ("/process/oomScoreAdj", json!(1001), "process.oomScoreAdj", "not from -1000 to 1000"),
        ("/process/scheduler", json!({"policy": "SCHED_MINE"}), "process.scheduler.policy", "SCHED_MINE"),
        ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_MINE"}), "process.ioPriority.class", "IOPRIO_CLASS_MINE"),
        ("/process/execCPUAffinity", json!({"final": "x-y"}), "process.execCPUAffinity.final", "x-y"),
        ("/process/terminal", json!("yes"), "process.terminal", "invalid type"),
        ("/root/path", json!("nowhere"), "root.path", "no such file"),
        ("/root/path", json!("config.json"), "root.path", "not a directory"),
        ("/hostname", json!("x".repeat(65)), "hostname", "65 bytes"),
        ("/mounts/0/destination", json!(""), "mounts[0]", "empty"),
        ("/mounts/3/options", json!(["size=a-lot"]), "mounts[3] (/dev/shm)", "a-lot"),
        ("/mounts/3/options", json!(["no-such-option"]), "mounts[3] (/dev/shm)", "no-such-option"),
        ("/linux/namespaces/0/type", json!("pids"), "linux.namespaces[0].type", "pids"),
        ("/linux/namespaces/1/path", json!("/proc/self/ns/uts"), "linux.namespaces[1] (network)", "is a uts namespace"),
        ("/linux/namespaces/1/path", json!("/etc/passwd"), "linux.namespaces[1] (network)", "not a namespace"),
        ("/linux/namespaces/1/path", json!("/no/such/ns"), "linux.namespaces[1] (network)", "no such file"),
        ("/linux/uidMappings", json!([range(0, 1, 1)]), "linux.uidMappings", "no user namespace"),
        ("/linux/sysctl", json!({"kernel.panic": "1"}), "linux.sysctl.kernel.panic", "would change the host"),
        ("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}), "linux.timeOffsets", "no time namespace"),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "q"}]), "linux.devices[0] (/dev/x).type", "one of c, b, u, p"),
        ("/linux/cgroupsPath", json!("/a\nb"), "linux.cgroupsPath", "newline"),
        ("/linux/resources/memory/limit", json!(-5), "linux.resources.memory.limit", "-5"),
        ("/linux/resources/cpu/idle", json!(3), "linux.resources.cpu.idle", "neither 0 nor 1"),
        ("/linux/resources/cpu/quota", json!(10), "linux.resources.cpu.quota", "1000 or more"),
        ("/linux/resources/blockIO/weight", json!(5), "linux.resources.blockIO.weight", "between 10 and 1000"),
        (
            "/linux/resources/blockIO/throttleReadBpsDevice",
            json!([{"major": 4000, "minor": 1, "rate": 1}]),
            "linux.resources.blockIO.throttleReadBpsDevice[0]",
            "no block device 4000:1",
        ),
        ("/linux/resources/devices/0/access", json!("rwx"), "linux.resources.devices[0].access", "none of r, w, m"),
        ("/linux/rootfsPropagation", json!("sideways"), "linux.rootfsPropagation", "sideways"),
        ("/linux/maskedPaths/0", json!("relative"), "linux.maskedPaths[0] (relative)", "absolute"),
        ("/linux/personality", json!({"domain": "BSD"}), "linux.personality.domain", "BSD"),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_MINE"}), "linux.memoryPolicy.mode", "MPOL_MINE"),
        ("/linux/netDevices", json!({"no-such-dev": {}}), "linux.netDevices.no-such-dev", "no network device"),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_MAYBE"}), "linux.seccomp.defaultAction", "SCMP_ACT_MAYBE"),
        ("/hooks/createRuntime", json!([{"path": "/no/such/hook"}]), "hooks.createRuntime[0]", "no such file"),
        ("/hooks/poststart", json!([{"path": "/etc/passwd"}]), "hooks.poststart[0]", "permission denied"),
        ("/hooks/startContainer", json!([{"path": "/bin/not-in-the-image"}]), "hooks.startContainer[0]", "no such file"),
        ("/hooks/prestart", json!([{"path": "relative"}]), "hooks.prestart[0].path", "not an absolute path"),
        ("/hooks/prestart", json!([{"path": "/bin/true", "timeout": 0}]), "hooks.prestart[0].timeout", "not above 0"),
    ] {
        brings(&rt, Bundle::sh("true"), |b| b.set(pointer, value), field, "wrong", text);
    }
}

#[test]
fn mounts_are_tried_on_the_kernel() {
    let rt = Runtime::new();
    let try_mount = |kind: &str, source: &str, options: &[&str], verdict: &str, text: &str| {
        let (kind, source) = (kind.to_owned(), source.to_owned());
        brings(&rt, Bundle::sh("true"), |b| b.mount("/other", &kind, &source, options), "mounts[7] (/other)", verdict, text);
    };
    try_mount("bind", "/etc", &["rbind", "ro"], "ok", "bind /etc on /other");
    try_mount("bind", "/no/such/source", &["rbind"], "wrong", "no such file");
    try_mount("bind", "/etc", &["rbind", "size=5"], "wrong", "size");
    try_mount("no-such-fs", "x", &[], "impossible", "no file system");
    try_mount("tmpfs", "x", &["mode=rwx"], "wrong", "mode");
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    let mapped = |source: &str| json!({"destination": "/other", "type": "bind", "source": source, "options": ["bind"], "uidMappings": map, "gidMappings": map});
    // procfs cannot be idmapped; what a bundle is on, can.
    brings(&rt, Bundle::sh("true"), |b| b.push("/mounts", mapped("/proc/sys")), "mounts[7] (/other)", "wrong", "idmap");
    let bundle = Bundle::sh("true");
    let own = bundle.path().to_str().unwrap().to_owned();
    brings(&rt, bundle, |b| b.push("/mounts", mapped(&own)), "mounts[7] (/other)", "ok", &own);
}

#[test]
fn the_host_is_asked() {
    let rt = Runtime::new();
    let resource = Path::new("/proc/self/status");
    let effective = fs::read_to_string(resource).unwrap();
    let effective = effective.lines().find_map(|l| l.strip_prefix("CapEff:\t")).unwrap();
    let may_raise = u64::from_str_radix(effective, 16).unwrap() & 1 << 24 != 0;
    let verdict = if may_raise { "ok" } else { "impossible" };
    let text = if may_raise { "-1000" } else { "CAP_SYS_RESOURCE" };
    brings(&rt, Bundle::sh("true"), |b| b.set("/process/oomScoreAdj", -1000), "process.oomScoreAdj", verdict, text);
    let high = json!([{"type": "RLIMIT_NPROC", "soft": 1000, "hard": 1u64 << 40}]);
    let text = if may_raise { "soft 1000 " } else { "CAP_SYS_RESOURCE" };
    brings(&rt, Bundle::sh("true"), |b| b.set("/process/rlimits", high), "process.rlimits[0] (RLIMIT_NPROC)", verdict, text);
    // fs.nr_open bounds everybody.
    let files = json!([{"type": "RLIMIT_NOFILE", "soft": 1000, "hard": 1u64 << 40}]);
    let text = if may_raise { "fs.nr_open" } else { "CAP_SYS_RESOURCE" };
    brings(
        &rt,
        Bundle::sh("true"),
        |b| b.set("/process/rlimits", files),
        "process.rlimits[0] (RLIMIT_NOFILE)",
        "impossible",
        text,
    );

    // 2^12 CPUs are more than this suite will see.
    let cpus = json!("4000");
    brings(
        &rt,
        Bundle::sh("true"),
        |b| b.set("/linux/resources/cpu/cpus", cpus),
        "linux.resources.cpu.cpus",
        "impossible",
        "this host has",
    );
    let nodes = json!({"mode": "MPOL_BIND", "nodes": "900"});
    brings(
        &rt,
        Bundle::sh("true"),
        |b| b.set("/linux/memoryPolicy", nodes),
        "linux.memoryPolicy.nodes",
        "impossible",
        "this host has",
    );
    let huge = json!([{"pageSize": "3MB", "limit": 3 << 20}]);
    brings(
        &rt,
        Bundle::sh("true"),
        |b| b.set("/linux/resources/hugepageLimits", huge),
        "linux.resources.hugepageLimits[0]",
        "impossible",
        "huge",
    );
    if hierarchy() == Hierarchy::V1 {
        let unified = json!({"memory.high": "1000000"});
        brings(
            &rt,
            Bundle::sh("true"),
            |b| b.set("/linux/resources/unified", unified),
            "linux.resources.unified",
            "impossible",
            "bound to v1",
        );
    } else {
        let swappiness = json!(10);
        let field = "linux.resources.memory.swappiness";
        brings(
            &rt,
            Bundle::sh("true"),
            |b| b.set("/linux/resources/memory/swappiness", swappiness),
            field,
            "impossible",
            "cgroup2",
        );
    }
    if !Path::new("/sys/kernel/security/apparmor").exists() {
        brings(
            &rt,
            Bundle::sh("true"),
            |b| b.set("/process/apparmorProfile", "p"),
            "process.apparmorProfile",
            "impossible",
            "no AppArmor",
        );
    }
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        brings(
            &rt,
            Bundle::sh("true"),
            |b| b.set("/process/selinuxLabel", "l"),
            "process.selinuxLabel",
            "impossible",
            "no SELinux",
        );
    }
}

#[test]
fn warnings_do_not_fail_it() {
    let rt = Runtime::new();
    let unknown = json!(["CAP_KILL", "CAP_OF_MINE"]);
    brings(
        &rt,
        Bundle::sh("true"),
        |b| b.set("/process/capabilities/bounding", unknown),
        "process.capabilities.bounding",
        "warning",
        "CAP_OF_MINE",
    );
    let ambient = json!(["CAP_KILL"]);
    brings(
        &rt,
        Bundle::sh("true"),
        |b| b.set("/process/capabilities/ambient", ambient),
        "process.capabilities.ambient",
        "warning",
        "left out",
    );
    brings(
        &rt,
        Bundle::sh("true"),
        |b| b.set("/linux/resources/memory/kernel", 1 << 20),
        "linux.resources.memory.kernel",
        "warning",
        "ignored",
    );
    let notify = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/agent", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    brings(&rt, Bundle::sh("true"), |b| b.set("/linux/seccomp", notify), "linux.seccomp.listenerPath", "warning", "not a socket");
    let below = |b: Bundle| b.mount("/bin", "tmpfs", "tmpfs", &[]);
    brings(&rt, Bundle::sh("true"), below, "process.args[0]", "warning", "below the mount on /bin");
    let sysctl = json!({"net.ipv4.conf.no-such-device.forwarding": "1"});
    brings(
        &rt,
        Bundle::sh("true"),
        |b| b.set("/linux/sysctl", sysctl),
        "linux.sysctl.net.ipv4.conf",
        "warning",
        "no-such-device",
    );
}

#[test]
fn files_of_the_bundle_are_looked_at() {
    let rt = Runtime::new();
    let unexecutable = |b: Bundle| {
        fs::set_permissions(b.rootfs().join("bin/busybox"), fs::Permissions::from_mode(0o644)).unwrap();
        b
    };
    brings(&rt, Bundle::sh("true"), unexecutable, "process.args[0]", "wrong", "permission denied");
    let linked = |b: Bundle| {
        symlink("rootfs", b.path().join("link")).unwrap();
        b.set("/root/path", "link")
    };
    brings(&rt, Bundle::sh("true"), linked, "root.path", "wrong", "symbolic link");
    let escaping = |b: Bundle| {
        symlink("/../../../../../../../../bin/sh", b.rootfs().join("usr/bin/sh")).unwrap();
        b.set("/process/args/0", "/usr/bin/sh")
    };
    // The link leads to /bin/sh of the root file system, not of the host.
    brings(&rt, Bundle::sh("true"), escaping, "process.args[0]", "ok", "/usr/bin/sh");
}

#[test]
fn a_terminal_needs_devpts() {
    let rt = Runtime::new();
    brings(&rt, Bundle::sh("true"), |b| b.set("/process/terminal", true), "process.terminal", "ok", "/dev/pts");
    let elsewhere = Bundle::sh("true").set("/mounts/2/destination", "/dev/elsewhere");
    brings(&rt, elsewhere, |b| b.set("/process/terminal", true), "process.terminal", "wrong", "devpts on /dev/pts");
}

#[test]
fn mappings_that_the_kernel_refuses() {
    let rt = Runtime::new();
    let bundle = || Bundle::sh("true").user_namespace(100_000, 1000);
    let range = |id: u32, host: u32, size: u32| json!({"containerID": id, "hostID": host, "size": size});
    let pointer = "/linux/uidMappings";
    brings(&rt, bundle(), |b| b.set(pointer, json!([range(0, 1, 5)])), "linux.uidMappings", "ok", "0 to 1 (5 ids)");
    brings(
        &rt,
        bundle(),
        |b| b.set(pointer, json!([range(0, 1, 5), range(3, 900, 5)])),
        "linux.uidMappings",
        "wrong",
        "overlaps",
    );
    brings(&rt, bundle(), |b| b.set(pointer, json!([range(5, 1, 5)])), "linux.uidMappings", "wrong", "0 is not mapped");
    brings(&rt, bundle(), |b| b.set("/process/user/uid", 5000), "process.user.uid", "wrong", "5000 is not mapped");
}

#[test]
fn a_cgroup_that_is_in_use_is_found() {
    let rt = Runtime::new();
    let runs = Bundle::sleeper();
    rt.run_detached(&runs);
    let cgroup = runs.cgroup();
    let bundle = Bundle::sh("true");
    let original = bundle.cgroup();
    let (after, code) = check(&rt, &bundle.set("/linux/cgroupsPath", cgroup.clone()));
    assert_eq!(code, 1);
    let found = find(&after, "linux.cgroupsPath", "choose another").unwrap_or_else(|| panic!("{}", shown(&after)));
    assert_eq!(found["verdict"], "impossible");
    assert_ne!(original, cgroup);
    rt.cmd(&["delete", "--force", &runs.id]).ok();
}

#[test]
fn all_that_is_wrong_is_found_at_once() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true")
        .set("/process/rlimits/0/type", "RLIMIT_LOVE")
        .set("/process/cwd", "here")
        .set("/linux/resources/cpu/idle", 5)
        .set("/linux/sysctl", json!({"vm.swappiness": "1", "kernel.panic": "1"}))
        .set("/hooks/poststop", json!([{"path": "/bin/true"}, {"path": "gone"}, {"path": "/no/such"}]))
        .mount("/a", "bind", "/no/such/source", &[])
        .mount("", "tmpfs", "x", &[])
        .mount("/c", "no-such-fs", "x", &[])
        .set("/process/terminal", 5);
    let (findings, code) = check(&rt, &bundle);
    assert_eq!(code, 1);
    for (field, text) in [
        ("process.rlimits[0] (RLIMIT_LOVE)", "unknown"),
        ("process.cwd", "here"),
        ("process.terminal", "invalid type"),
        ("linux.resources.cpu.idle", "5"),
        ("linux.sysctl.vm.swappiness", "host"),
        ("linux.sysctl.kernel.panic", "host"),
        ("hooks.poststop[1].path", "gone"),
        ("hooks.poststop[2]", "no such file"),
        ("mounts[7] (/a)", "no such file"),
        ("mounts[8]", "empty"),
        ("mounts[9] (/c)", "no file system"),
    ] {
        assert!(find(&findings, field, text).is_some(), "no {field}: {text} in\n{}", shown(&findings));
    }
    rt.assert_nothing_left(&bundle);
}

#[test]
fn broken_json_is_a_finding_and_no_bundle_an_error() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    let path = bundle.write().to_owned();
    let file = bundle.path().join("config.json");
    fs::write(&file, "{\n  \"ociVersion\": }").unwrap();
    let output = rt.cmd(&["check", &path]);
    assert!(output.exits(1).contains("line 2"), "{}", output.out);
    fs::write(&file, "{\n  \"ociVersion\": \"1.0.2\",\n  \"mounts\": 7 }").unwrap();
    let output = rt.cmd(&["check", &path]);
    assert!(
        output.exits(1).contains("at line 3") && output.out.contains("root") && output.out.contains("process"),
        "{}",
        output.out
    );
    fs::remove_file(&file).unwrap();
    rt.cmd(&["check", &path]).fails_with(&["config.json", "no such file"]);
}
