//! `rrun explain`: every field of config.json that a plan uses moves a line of it, under its own name.

use rrun_tests::{Bundle, Hierarchy, Runtime, hierarchy};
use serde_json::{Value, json};

/// Changes to a bundle; the field of the line that must be new then, and words in it.
type Case = (Vec<(&'static str, Value)>, &'static str, &'static str);

fn one(pointer: &'static str, value: Value, field: &'static str, what: &'static str) -> Case {
    (vec![(pointer, value)], field, what)
}

fn explain(rt: &Runtime, bundle: &Bundle) -> Vec<Value> {
    let output = rt.cmd(&["explain", "--format", "json", bundle.write()]);
    output.json().as_array().cloned().unwrap_or_default()
}

fn has(lines: &[Value], field: &str, what: &str) -> bool {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    lines.iter().any(|line| text(line, "field").starts_with(field) && text(line, "what").contains(what))
}

/// Each case on a bundle of its own; `prepare` makes what the case is a change of.
fn all_move(cases: Vec<Case>, prepare: impl Fn(Bundle) -> Bundle) {
    let rt = Runtime::new();
    for (changes, field, what) in cases {
        let mut bundle = prepare(Bundle::sh("true"));
        let before = explain(&rt, &bundle);
        assert!(!has(&before, field, what), "{field} has {what:?} without the change");
        for (pointer, value) in &changes {
            bundle.put(pointer, value.clone());
        }
        let after = explain(&rt, &bundle);
        assert!(has(&after, field, what), "{changes:?}: no line {field} with {what:?} in {after:#?}");
        rt.assert_nothing_left(&bundle);
    }
}

#[test]
fn lines_are_numbered_and_say_who() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo ran > /marker");
    let lines = explain(&rt, &bundle);
    assert!(lines.len() > 50, "{lines:#?}");
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["n"], i + 1);
        assert!(["parent", "init"].contains(&line["who"].as_str().unwrap()), "{line}");
    }
    let at = |field: &str, what: &str| {
        let found = lines
            .iter()
            .position(|l| l["field"].as_str().unwrap().starts_with(field) && l["what"].as_str().unwrap().contains(what));
        found.unwrap_or_else(|| panic!("no {field}: {what} in {lines:#?}"))
    };
    let order = [
        at("linux.cgroupsPath", "mkdir"),
        at("root.path", "open and clone the tree"),
        at("linux.namespaces", "clone3"),
        at("mounts[0]", "mount proc on /proc"),
        at("root.path", "pivot_root"),
        at("process.capabilities", "capabilities:"),
        at("process.args[0]", "execute"),
    ];
    assert!(order.is_sorted(), "{order:?}");
    assert!(!bundle.rootfs().join("marker").exists() && !rt.root().exists());
    rt.assert_nothing_left(&bundle);
}

#[test]
fn the_table_has_the_lines_of_the_json() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    let lines = explain(&rt, &bundle);
    let table = rt.cmd(&["explain", bundle.write()]).ok().to_owned();
    assert_eq!(table.lines().count(), lines.len() + 1);
    for (row, line) in table.lines().skip(1).zip(&lines) {
        assert!(
            row.starts_with(&line["n"].to_string()) && row.ends_with(line["what"].as_str().unwrap().trim_end()),
            "{row}\n{line}"
        );
    }
}

#[test]
fn the_flags_of_run_move_it() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").without("/linux/cgroupsPath");
    let path = bundle.write();
    for (flags, here) in [
        (&["--no-pivot"][..], "no pivot_root"),
        (&["--name", "another-name"], "another-name"),
        (&[], "pivot_root into"),
        (&[], "session keyring"),
    ] {
        let lines = rt.cmd(&[&["explain"], flags, &[path]].concat()).ok().to_owned();
        assert!(lines.contains(here), "{flags:?}: {lines}");
    }
    assert!(!rt.cmd(&["explain", "--no-new-keyring", path]).ok().contains("session keyring"));
}

#[test]
fn fields_of_the_process_move_their_lines() {
    let io = json!({"class": "IOPRIO_CLASS_BE", "priority": 3});
    let scheduler = json!({"policy": "SCHED_BATCH", "nice": 7});
    let flagged = json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    let deadline = json!({"policy": "SCHED_DEADLINE", "runtime": 11, "deadline": 22, "period": 33});
    let fifo = json!({"policy": "SCHED_FIFO", "priority": 5});
    let mut cases = vec![
        one("/process/args/2", json!("echo changed"), "process.args", "echo changed"),
        one("/process/args/0", json!("/bin/busybox"), "process.args[0]", "the program: /bin/busybox"),
        one("/process/env/1", json!("COLOUR=blue"), "process.env", "COLOUR=blue"),
        one("/process/cwd", json!("/var"), "process.cwd", "enter /var"),
        one("/process/user/uid", json!(4242), "process.user", "user 4242"),
        one("/process/user/gid", json!(4243), "process.user", "group 4243"),
        one("/process/user/additionalGids", json!([4244, 4245]), "process.user", "[4244, 4245]"),
        one("/process/user/umask", json!(0o27), "process.user", "umask 0027"),
        one("/process/terminal", json!(true), "process.terminal", "open a terminal"),
        (
            vec![("/process/terminal", json!(true)), ("/process/consoleSize", json!({"height": 33, "width": 99}))],
            "process.terminal",
            "99x33",
        ),
        one("/process/noNewPrivileges", json!(true), "process.noNewPrivileges", "no_new_privs"),
        one("/process/oomScoreAdj", json!(321), "process.oomScoreAdj", "write 321"),
        one("/process/rlimits/0/soft", json!(77), "process.rlimits", "NOFILE 77:1024"),
        one("/process/rlimits/0/hard", json!(1023), "process.rlimits", "NOFILE 1022:1023"),
        one("/process/rlimits/0/type", json!("RLIMIT_CORE"), "process.rlimits", "CORE 1022:1024"),
        one("/process/scheduler", scheduler, "process.scheduler", "policy 3 nice 7"),
        one("/process/scheduler", flagged, "process.scheduler", "flags 0x1"),
        one("/process/scheduler", deadline, "process.scheduler", "runtime 11 deadline 22 period 33"),
        one("/process/scheduler", fifo, "process.scheduler", "policy 1 nice 0 priority 5"),
        one("/process/ioPriority", io, "process.ioPriority", "class 2 priority 3"),
    ];
    let (kill, chown) = (json!(["CAP_KILL"]), json!(["CAP_KILL", "CAP_CHOWN"]));
    let ambient = vec![("/process/capabilities/inheritable", kill.clone()), ("/process/capabilities/ambient", kill.clone())];
    cases.extend([
        one("/process/capabilities/bounding", json!(["CAP_SYS_TIME"]), "process.capabilities.bounding", "CAP_SYS_TIME"),
        one("/process/capabilities/inheritable", kill.clone(), "process.capabilities", "inheritable CAP_KILL"),
        one("/process/capabilities/permitted", chown, "process.capabilities", "permitted CAP_CHOWN CAP_KILL"),
        one("/process/capabilities/effective", kill, "process.capabilities", "effective CAP_KILL;"),
        (ambient, "process.capabilities", "ambient CAP_KILL"),
    ]);
    all_move(cases, |b| b.set("/process/noNewPrivileges", false).set("/process/rlimits/0/soft", 1022));
}

#[test]
fn root_names_and_mounts_move_their_lines() {
    let tmpfs = json!({"destination": "/t", "type": "tmpfs", "source": "x", "options": ["size=12k", "noexec", "tmpcopyup"]});
    let bind = |options: Value| json!({"destination": "/b", "type": "bind", "source": "/etc", "options": options});
    let mapped = json!({"destination": "/b", "type": "bind", "source": "/etc", "options": ["bind"],
        "uidMappings": [{"containerID": 0, "hostID": 77, "size": 5}], "gidMappings": [{"containerID": 0, "hostID": 88, "size": 6}]});
    let cases = vec![
        one("/root/readonly", json!(true), "root.readonly", "read-only"),
        one("/root/path", json!("elsewhere/../rootfs"), "root.path", "elsewhere/../rootfs"),
        one("/hostname", json!("named"), "hostname", "named"),
        one("/domainname", json!("domain"), "domainname", "domain"),
        one("/mounts/7", tmpfs, "mounts[7] (/t)", "tmpfs on /t (source=x, size=12k, noexec, tmpcopyup"),
        one("/mounts/7", bind(json!(["bind", "ro"])), "mounts[7] (/b)", "open and clone /etc"),
        one("/mounts/7", bind(json!(["rbind", "rnosuid"])), "mounts[7] (/b)", "nosuid (recursive)"),
        one("/mounts/7", bind(json!(["rbind", "rshared"])), "mounts[7] (/b)", "rshared"),
        one("/mounts/7", bind(json!(["rbind"])), "mounts[7] (/b)", "bind /etc on /b"),
        one("/mounts/7", mapped, "mounts[7] (/b)", "idmap uids 0:77:5 gids 0:88:6"),
        one("/mounts/2/destination", json!("/dev/other"), "mounts[2] (/dev/other)", "devpts on /dev/other"),
        one("/mounts/3/type", json!("ramfs"), "mounts[3]", "ramfs on /dev/shm"),
        one("/mounts/3/source", json!("named"), "mounts[3]", "source=named"),
        one("/mounts/3/options", json!(["size=77k"]), "mounts[3]", "size=77k"),
    ];
    // A place for one more mount, so that each case is a change of it.
    all_move(cases, |b| b.mount("/other", "tmpfs", "tmpfs", &[]));
}

#[test]
fn fields_of_linux_move_their_lines() {
    let map = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1000}]);
    let userns =
        json!([{"type": "user"}, {"type": "mount"}, {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}]);
    let times = json!([{"type": "time"}, {"type": "mount"}, {"type": "uts"}, {"type": "network"}]);
    let device = |mode: u32, uid: u32| json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": mode, "uid": uid, "gid": 9}]);
    let seccomp = |call: &str| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": [call], "action": "SCMP_ACT_ERRNO"}]})
    };
    let notify = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock", "listenerMetadata": "opaque",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    let policy = json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    let with_user = |mut more: Vec<(&'static str, Value)>| {
        more.extend([
            ("/linux/namespaces", userns.clone()),
            ("/linux/uidMappings", map(70_000)),
            ("/linux/gidMappings", map(80_000)),
        ]);
        more
    };
    let cases = vec![
        one("/linux/namespaces", json!([{"type": "mount"}, {"type": "uts"}]), "linux.namespaces", "new namespaces: mount uts"),
        one(
            "/linux/namespaces/1/path",
            json!("/proc/1/ns/net"),
            "linux.namespaces[1] (network)",
            "join the network namespace /proc/1/ns/net",
        ),
        one("/linux/namespaces", times.clone(), "linux.timeOffsets", "new time namespace"),
        (
            vec![("/linux/namespaces", times), ("/linux/timeOffsets", json!({"monotonic": {"secs": 55, "nanosecs": 66}}))],
            "linux.timeOffsets",
            "monotonic 55 66",
        ),
        (with_user(vec![]), "linux.uidMappings", "write 0 70000 1000 to /proc/PID/uid_map"),
        (with_user(vec![]), "linux.gidMappings", "write 0 80000 1000 to /proc/PID/gid_map"),
        (with_user(vec![]), "linux.uidMappings", "become user 0"),
        (with_user(vec![("/process/oomScoreAdj", json!(99))]), "process.oomScoreAdj", "write 99 to /proc/PID"),
        (with_user(vec![]), "default device (/dev/null)", "if it is the device 1:3"),
        (with_user(vec![]), "mounts[5] (/sys)", "where the kernel refuses that: bind /sys"),
        one(
            "/linux/sysctl",
            json!({"net.ipv4.ip_forward": "1"}),
            "linux.sysctl.net.ipv4.ip_forward",
            "write 1 to /proc/sys/net/ipv4/ip_forward",
        ),
        one("/linux/cgroupsPath", json!("/other-place/x"), "linux.cgroupsPath", "/other-place/x"),
        one("/linux/devices", device(0o600, 0), "linux.devices[0] (/dev/fuse)", "/dev/fuse c 10:229 mode 0600 owner 0:9"),
        one("/linux/devices", device(0o640, 8), "linux.devices[0] (/dev/fuse)", "mode 0640 owner 8:9"),
        one("/linux/seccomp", seccomp("mkdir"), "linux.seccomp", "SECCOMP_FILTER_FLAG_LOG"),
        one("/linux/seccomp", notify.clone(), "linux.seccomp", "listener to /run/agent.sock with \"opaque\""),
        one("/linux/seccomp", notify, "linux.seccomp", "SECCOMP_FILTER_FLAG_NEW_LISTENER"),
        one("/linux/rootfsPropagation", json!("rshared"), "linux.rootfsPropagation", "make / rshared"),
        one("/linux/maskedPaths/0", json!("/proc/masked"), "linux.maskedPaths[0] (/proc/masked)", "cover /proc/masked"),
        one("/linux/readonlyPaths/0", json!("/proc/fixed"), "linux.readonlyPaths[0] (/proc/fixed)", "make /proc/fixed read-only"),
        one("/linux/personality", json!({"domain": "LINUX32"}), "linux.personality", "0x8"),
        one("/linux/memoryPolicy", policy, "linux.memoryPolicy", "memory policy 0x8001 nodes [1]"),
    ];
    all_move(cases, |b| b);

    // Two filters of one size: the fingerprint tells them apart.
    let rt = Runtime::new();
    let line = |call: &str| {
        let lines = explain(&rt, &Bundle::sh("true").set("/linux/seccomp", seccomp(call)));
        lines.into_iter().find(|l| l["what"].as_str().unwrap().starts_with("load")).unwrap()["what"].clone()
    };
    assert_ne!(line("mkdir"), line("rmdir"));
}

#[test]
fn limits_move_their_lines() {
    let v1 = hierarchy() == Hierarchy::V1;
    let pick = |on_v1: &'static str, on_v2: &'static str| if v1 { on_v1 } else { on_v2 };
    let throttle = json!([{"major": 7, "minor": 1, "rate": 4321}]);
    let mut cases = vec![
        one("/linux/resources/memory/limit", json!(123_456_512), "linux.resources.memory.limit", "123456512"),
        one("/linux/resources/memory/reservation", json!(1_234_944), "linux.resources.memory.reservation", "1234944"),
        (
            vec![("/linux/resources/memory/limit", json!(10_000_000)), ("/linux/resources/memory/swap", json!(15_000_000))],
            "linux.resources.memory.swap",
            pick("15000000", "5000000"),
        ),
        one("/linux/resources/cpu/quota", json!(54_321), "linux.resources.cpu.quota", "54321"),
        one("/linux/resources/cpu/shares", json!(2048), "linux.resources.cpu.shares", pick("2048", "cpu.weight")),
        one("/linux/resources/cpu/burst", json!(1234), "linux.resources.cpu.burst", "1234"),
        one("/linux/resources/cpu/idle", json!(1), "linux.resources.cpu.idle", "cpu.idle"),
        one("/linux/resources/cpu/cpus", json!("0"), "linux.resources.cpu.cpus", "cpuset.cpus"),
        one("/linux/resources/cpu/mems", json!("0"), "linux.resources.cpu.mems", "cpuset.mems"),
        one("/linux/resources/pids/limit", json!(4321), "linux.resources.pids.limit", "4321"),
        one("/linux/resources/blockIO/weight", json!(321), "linux.resources.blockIO.weight", "321"),
    ];
    let throttles = [
        ("/linux/resources/blockIO/throttleReadBpsDevice", "linux.resources.blockIO.throttleReadBpsDevice[0]"),
        ("/linux/resources/blockIO/throttleWriteBpsDevice", "linux.resources.blockIO.throttleWriteBpsDevice[0]"),
        ("/linux/resources/blockIO/throttleReadIOPSDevice", "linux.resources.blockIO.throttleReadIOPSDevice[0]"),
        ("/linux/resources/blockIO/throttleWriteIOPSDevice", "linux.resources.blockIO.throttleWriteIOPSDevice[0]"),
    ];
    cases.extend(throttles.map(|(pointer, field)| one(pointer, throttle.clone(), field, "4321")));
    if v1 {
        let allowed =
            json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"}]);
        cases.push(one("/linux/resources/devices", allowed, "linux.resources.devices", "c 10:229 r"));
        cases.push(one("/linux/resources/cpu/period", json!(54_321), "linux.resources.cpu.period", "54321"));
        cases.push(one("/linux/resources/memory/swappiness", json!(33), "linux.resources.memory.swappiness", "33"));
        cases.push(one(
            "/linux/resources/memory/disableOOMKiller",
            json!(true),
            "linux.resources.memory.disableOOMKiller",
            "oom_control",
        ));
    } else {
        let period = vec![("/linux/resources/cpu/quota", json!(5000)), ("/linux/resources/cpu/period", json!(54_321))];
        let rt = Runtime::new();
        let program = |major: u32| {
            let rules = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": major, "minor": 1, "access": "r"}]);
            let lines = explain(&rt, &Bundle::sh("true").set("/linux/resources/devices", rules));
            lines.into_iter().find(|l| l["field"] == "linux.resources.devices").unwrap()["what"].clone()
        };
        assert_ne!(program(240), program(241));
        cases.push((period, "linux.resources.cpu.quota", "5000 54321"));
        cases.push(one(
            "/linux/resources/unified",
            json!({"memory.high": "1000000"}),
            "linux.resources.unified[\"memory.high\"]",
            "1000000",
        ));
    }
    all_move(cases, |b| b);
}

#[test]
fn hooks_stand_where_they_run() {
    let rt = Runtime::new();
    let mut bundle = Bundle::sh("true");
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    for kind in kinds {
        let hook =
            json!({"path": format!("/bin/{kind}"), "args": [kind, "argument"], "env": [format!("OF={kind}")], "timeout": 7});
        bundle.put(&format!("/hooks/{kind}"), json!([hook]));
    }
    let lines = explain(&rt, &bundle);
    let at = |kind: &str| {
        let field = format!("hooks.{kind}[0]");
        let found = lines.iter().position(|l| l["field"] == field.as_str()).unwrap_or_else(|| panic!("no {field} in {lines:#?}"));
        let what = lines[found]["what"].as_str().unwrap();
        for word in [format!("run /bin/{kind}"), "argument".into(), format!("OF={kind}"), "7 s".into()] {
            assert!(what.contains(&word), "{kind}: no {word} in {what}");
        }
        found
    };
    let places: Vec<usize> = kinds.into_iter().map(at).collect();
    assert!(places.is_sorted(), "{places:?}");
    let line = |what: &str| lines.iter().position(|l| l["what"].as_str().unwrap().contains(what)).unwrap();
    assert!(line("wait for the parent") < places[0] && places[1] < line("mount proc"), "{lines:#?}");
    assert!(line("wait for the createContainer hooks") < places[2] && places[2] < line("pivot_root"));
    assert!(
        line("wait for start") < places[3] && places[3] < line("execute the program") && line("execute the program") < places[4]
    );
}

#[test]
fn what_cannot_be_planned_is_refused_by_its_field() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").set("/process/cwd", "not-absolute");
    rt.cmd(&["explain", bundle.write()]).fails_with(&["process.cwd", "not-absolute"]);
    rt.cmd(&["explain", "/no/such/bundle"]).fails_with(&["/no/such/bundle/config.json", "no such file"]);
}
