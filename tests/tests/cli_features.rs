//! `rrun features`: what it lists, the runtime takes; what it does not list, it does not take.

use std::collections::BTreeSet;

use rrun_tests::runtime::{binary, command};
use rrun_tests::{Bundle, Hierarchy, Runtime, hierarchy};
use serde_json::{Value, json};

fn features() -> Value {
    command(binary(), &["features"]).json()
}

fn list(features: &Value, pointer: &str) -> Vec<String> {
    let list = features.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("no {pointer} in {features}"));
    let names: Vec<String> = list.iter().map(|v| v.as_str().unwrap_or_else(|| panic!("{v} in {pointer}")).to_owned()).collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{pointer} lists something twice");
    names
}

/// `explain` makes the whole plan and runs nothing.
fn plans(rt: &Runtime, bundle: &Bundle) -> Result<String, String> {
    let output = rt.cmd(&["explain", bundle.write()]);
    if output.code == 0 { Ok(output.out) } else { Err(output.err) }
}

#[track_caller]
fn refused(rt: &Runtime, bundle: &Bundle, words: &[&str]) {
    let error = plans(rt, bundle).err().unwrap_or_else(|| panic!("accepted, without any of {words:?}"));
    for word in words {
        assert!(error.contains(word), "no {word:?} in {error}");
    }
}

#[test]
fn versions_between_the_two_are_taken_and_others_are_not() {
    let rt = Runtime::new();
    let features = features();
    for name in ["ociVersionMin", "ociVersionMax"] {
        let version = features[name].as_str().unwrap();
        plans(&rt, &Bundle::sh("true").set("/ociVersion", version)).unwrap();
    }
    for other in ["0.9.0", "2.0.0", "x"] {
        refused(&rt, &Bundle::sh("true").set("/ociVersion", other), &["ociVersion", other]);
    }
}

#[test]
fn every_namespace_is_made_and_an_invented_one_is_not() {
    let rt = Runtime::new();
    let names = list(&features(), "/linux/namespaces");
    assert_eq!(names.len(), 8, "{names:?}");
    for name in &names {
        let file = match name.as_str() {
            "network" => "net",
            "mount" => "mnt",
            other => other,
        };
        let kept = ["mount", "pid", "ipc", "network", "uts"].into_iter().filter(|k| k != name);
        let all: Vec<Value> = kept.chain([name.as_str()]).map(|kind| json!({"type": kind})).collect();
        let bundle = Bundle::sh(&format!("readlink /proc/self/ns/{file}")).set("/linux/namespaces", all);
        let bundle = if name == "user" { bundle.user_namespace(100_000, 70_000) } else { bundle };
        let inside = rt.run(&bundle).ok().to_owned();
        let outside = std::fs::read_link(format!("/proc/self/ns/{file}")).unwrap();
        assert!(inside.starts_with(&format!("{file}:[")) && inside != outside.to_str().unwrap(), "{name}: {inside}");
    }
    refused(&rt, &Bundle::sh("true").set("/linux/namespaces/0/type", "invented"), &["linux.namespaces[0].type", "invented"]);
}

#[test]
fn every_hook_runs() {
    let rt = Runtime::new();
    for kind in list(&features(), "/hooks") {
        let bundle = Bundle::sh("true");
        let inside = kind == "startContainer";
        let marker = if inside { "/marker".to_owned() } else { bundle.path().join("marker").to_str().unwrap().to_owned() };
        let hook =
            json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo {kind} > {marker}")], "env": ["PATH=/bin:/usr/bin"]}]);
        let bundle = bundle.set(&format!("/hooks/{kind}"), hook);
        rt.run(&bundle).ok();
        let file = if inside { bundle.rootfs().join("marker") } else { bundle.path().join("marker") };
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default().trim(), kind);
    }
}

#[test]
fn an_invented_mount_option_is_refused() {
    // That every listed one is accepted is tested in cli.rs.
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").mount("/data", "bind", "/etc", &["rbind", "rinvented"]);
    refused(&rt, &bundle, &["mounts[7] (/data)", "rinvented"]);
}

#[test]
fn every_capability_is_known_and_an_invented_one_is_warned_of() {
    let rt = Runtime::new();
    let names = list(&features(), "/linux/capabilities");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |text: &str, name: &str| {
        let value = text.lines().find_map(|l| l.strip_prefix(name).map(|v| v.trim().to_owned()));
        u64::from_str_radix(&value.unwrap_or_else(|| panic!("no {name} in {text}")), 16).unwrap()
    };
    let ours = line(&status, "CapPrm:");
    let bundle = Bundle::sh("grep CapBnd /proc/self/status").set("/process/capabilities", json!({"bounding": names}));
    let output = rt.run(&bundle);
    assert_eq!(line(output.ok(), "CapBnd:"), ours, "{}", output.err);
    assert!(!output.err.contains("unknown"), "{}", output.err);
    // Each alone moves its own bit.
    let mut seen = 0;
    for name in names {
        let text = plans(&rt, &Bundle::sh("true").set("/process/capabilities", json!({"bounding": [name]}))).unwrap();
        seen += u32::from(text.contains(&format!("bounding set but {name}\n")));
    }
    assert_eq!(seen, ours.count_ones());
    let output = rt.cmd(&["explain", Bundle::sh("true").set("/process/capabilities/bounding/0", "CAP_INVENTED").write()]);
    assert!(output.err.contains("CAP_INVENTED"), "{output:?}");
}

#[test]
fn seccomp_takes_every_listed_word_and_no_other() {
    let rt = Runtime::new();
    let features = features();
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    let section = |action: &str| {
        let listener = if action == "SCMP_ACT_NOTIFY" { "/run/no-agent.sock" } else { "" };
        let rule = json!({"names": ["mkdir"], "action": action});
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": listener, "syscalls": [rule]})
    };
    let with = |section: Value| Bundle::sh("true").set("/linux/seccomp", section);
    let actions = list(&features, "/linux/seccomp/actions");
    for action in &actions {
        let bundle = with(section(action));
        assert!(plans(&rt, &bundle).unwrap().contains("load the system call filter"), "{action}");
        if action != "SCMP_ACT_NOTIFY" {
            rt.run(&bundle).ok();
        }
    }
    refused(&rt, &with(section("SCMP_ACT_INVENTED")), &["linux.seccomp.syscalls[0].action", "SCMP_ACT_INVENTED"]);

    let mut filters = BTreeSet::new();
    for op in list(&features, "/linux/seccomp/operators") {
        let mut section = section("SCMP_ACT_ERRNO");
        section["syscalls"][0]["args"] = json!([{"index": 0, "value": 6, "valueTwo": 4, "op": op}]);
        let text = plans(&rt, &with(section)).unwrap_or_else(|e| panic!("{op}: {e}"));
        let line = text
            .lines()
            .find(|l| l.contains("load the system call filter"))
            .unwrap()
            .split("fingerprint")
            .nth(1)
            .unwrap()
            .to_owned();
        assert!(filters.insert(line), "{op} makes the same filter as another one");
    }
    let mut wrong = section("SCMP_ACT_ERRNO");
    wrong["syscalls"][0]["args"] = json!([{"index": 0, "value": 6, "op": "SCMP_CMP_INVENTED"}]);
    refused(&rt, &with(wrong), &["linux.seccomp.syscalls[0].args[0].op", "SCMP_CMP_INVENTED"]);

    for arch in list(&features, "/linux/seccomp/archs") {
        let mut section = section("SCMP_ACT_ERRNO");
        section["architectures"] = json!([arch]);
        plans(&rt, &with(section)).unwrap_or_else(|e| panic!("{arch}: {e}"));
    }
    let mut wrong = section("SCMP_ACT_ERRNO");
    wrong["architectures"] = json!(["SCMP_ARCH_INVENTED"]);
    refused(&rt, &with(wrong), &["linux.seccomp.architectures[0]", "SCMP_ARCH_INVENTED"]);

    let known = list(&features, "/linux/seccomp/knownFlags");
    let supported = list(&features, "/linux/seccomp/supportedFlags");
    assert!(supported.iter().all(|f| known.contains(f)), "{supported:?} {known:?}");
    for flag in known {
        let notify = flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
        let mut section = section(if notify { "SCMP_ACT_NOTIFY" } else { "SCMP_ACT_ERRNO" });
        section["flags"] = json!([flag]);
        let bundle = with(section);
        let text = plans(&rt, &bundle).unwrap_or_else(|e| panic!("{flag}: {e}"));
        // TSYNC means nothing for a process with one thread.
        assert!(text.contains(&flag) || flag.ends_with("TSYNC"), "{text}");
        if supported.contains(&flag) && !notify {
            rt.run(&bundle).ok();
        }
    }
    let mut wrong = section("SCMP_ACT_ERRNO");
    wrong["flags"] = json!(["SECCOMP_FILTER_FLAG_INVENTED"]);
    refused(&rt, &with(wrong), &["linux.seccomp.flags[0]", "SECCOMP_FILTER_FLAG_INVENTED"]);
}

#[test]
fn cgroup_managers_are_those_that_it_says() {
    let rt = Runtime::new();
    let features = features();
    let cgroup = &features["linux"]["cgroup"];
    let here = if hierarchy() == Hierarchy::V1 { "v1" } else { "v2" };
    assert_eq!(cgroup[here], true);
    let bundle = Bundle::sh("true").set("/linux/resources/pids/limit", 77);
    rt.run(&bundle).ok();
    // The driver's plan is the same on a host without systemd; only carrying it out needs one.
    assert_eq!(cgroup["systemd"], true);
    let bundle = bundle.set("/linux/cgroupsPath", "rrun.slice:test:unit");
    let plan = rt.cmd(&["--systemd-cgroup", "explain", bundle.write()]).ok().to_owned();
    assert!(plan.contains("test-unit.scope"), "{plan}");
    assert_eq!(cgroup["systemdUser"], false);
    rt.cmd(&["--rootless", "true", "--systemd-cgroup", "explain", bundle.write()]).fails_with(&["not supported"]);
    assert_eq!(cgroup["rdma"], true);
    let rdma = Bundle::sh("true").set("/linux/resources/rdma", json!({"mlx5_1": {"hcaHandles": 3}}));
    let said = plans(&rt, &rdma).unwrap_or_else(|e| e);
    assert!(said.contains("rdma"), "{said}");
}

#[test]
fn annotations_that_change_something_are_listed() {
    let rt = Runtime::new();
    let features = features();
    let prefixes = list(&features, "/potentiallyUnsafeConfigAnnotations");
    assert_eq!(prefixes, ["org.systemd.property."]);
    let bundle = Bundle::sh("true").set("/linux/cgroupsPath", "rrun.slice:test:unit");
    let plan = |bundle: &Bundle| rt.cmd(&["--systemd-cgroup", "explain", bundle.write()]).ok().to_owned();
    let plain = plan(&bundle);
    let bundle = bundle.set("/annotations", json!({"org.example.other": "'inactive'"}));
    assert_eq!(plan(&bundle), plain);
    let bundle = bundle.set("/annotations", json!({"org.systemd.property.CollectMode": "'inactive'"}));
    assert!(plan(&bundle).contains("CollectMode") && !plain.contains("CollectMode"));
}

#[test]
fn labels_are_taken_where_the_kernel_has_them() {
    let rt = Runtime::new();
    let features = features();
    for (name, pointer, lsm) in
        [("apparmor", "/process/apparmorProfile", "AppArmor"), ("selinux", "/process/selinuxLabel", "SELinux")]
    {
        assert_eq!(features["linux"][name]["enabled"], true);
        match plans(&rt, &Bundle::sh("true").set(pointer, "some-label")) {
            Ok(text) => assert!(text.contains("some-label"), "{text}"),
            Err(text) => assert!(text.contains(lsm) && text.contains("this kernel has no"), "{text}"),
        }
    }
}

#[test]
fn every_memory_policy_is_taken_and_an_invented_one_is_not() {
    let rt = Runtime::new();
    let features = features();
    let mut steps = BTreeSet::new();
    let with = |policy: Value| Bundle::sh("true").set("/linux/memoryPolicy", policy);
    let mut plan = |policy: Value| {
        let text = plans(&rt, &with(policy)).unwrap();
        let line = text.lines().find(|l| l.contains("set memory policy")).unwrap_or_else(|| panic!("{text}"));
        assert!(steps.insert(line.to_owned()), "{line} stands for two");
    };
    for mode in list(&features, "/linux/memoryPolicy/modes") {
        plan(json!({"mode": mode}));
    }
    for flag in list(&features, "/linux/memoryPolicy/flags") {
        plan(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}));
    }
    refused(&rt, &with(json!({"mode": "MPOL_INVENTED"})), &["linux.memoryPolicy.mode", "MPOL_INVENTED"]);
    refused(
        &rt,
        &with(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_INVENTED"]})),
        &["linux.memoryPolicy.flags", "MPOL_F_INVENTED"],
    );
}

#[test]
fn idmapped_mounts_work_if_they_are_listed() {
    let rt = Runtime::new();
    assert_eq!(features().pointer("/linux/mountExtensions/idmap/enabled"), Some(&Value::Bool(true)));
    let bundle = Bundle::sh("stat -c %u:%g /data");
    let map = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 10}]);
    let source = bundle.path().to_str().unwrap().to_owned();
    let mount = json!({"destination": "/data", "type": "bind", "source": source, "options": ["bind"], "uidMappings": map(4000), "gidMappings": map(5000)});
    assert_eq!(rt.run(&bundle.push("/mounts", mount)).ok(), "4000:5000");
}

#[test]
fn what_is_not_enabled_is_refused() {
    let rt = Runtime::new();
    let features = features();
    for (name, pointer, value) in [
        ("intelRdt", "/linux/intelRdt", json!({"closID": "c", "schemata": ["L3:0=f"]})),
        ("netDevices", "/linux/netDevices", json!({"no-such-dev": {}})),
    ] {
        let enabled = features.pointer(&format!("/linux/{name}/enabled")).and_then(Value::as_bool);
        let output = rt.run(&Bundle::sh("true").set(pointer, value));
        output.fails_with(&[name]);
        // Enabled: the kernel's or the device's fault. Not enabled: ours, and said so.
        let ours = output.err.contains("this version") || output.err.contains("cannot be moved yet");
        assert_eq!(enabled, Some(!ours), "{name}: {}", output.err);
    }
}

#[test]
fn the_version_is_that_of_the_program() {
    let features = features();
    let version = command(binary(), &["--version"]);
    let own = features.pointer("/annotations/rrun.version").or_else(|| features["annotations"].get("rrun.version"));
    assert_eq!(version.ok().lines().next(), own.and_then(Value::as_str).map(|v| format!("rrun version {v}")).as_deref());
    let spec = features["ociVersionMax"].as_str().unwrap();
    assert!(version.out.contains(&format!("spec: {spec}")), "{}", version.out);
    // As in `rrun checkpoint`, which is refused.
    assert_eq!(features["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "false");
    command(binary(), &["checkpoint", "x"]).fails_with(&["not supported"]);
}
