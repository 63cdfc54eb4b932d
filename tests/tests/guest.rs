//! The guest program of `make run`, in a container: what it prints moves with the configuration.

use std::fs;
use std::path::PathBuf;

use rrun_tests::{Bundle, Hierarchy, Runtime, hierarchy};
use serde_json::{Value, json};

fn guest(format: &str) -> Bundle {
    let bundle = Bundle::empty();
    let binary = rrun_tests::runtime::binary();
    let program: PathBuf = std::env::var_os("RRUN_GUEST").map_or_else(|| binary.with_file_name("guest"), Into::into);
    for dir in ["proc", "sys", "dev"] {
        fs::create_dir(bundle.rootfs().join(dir)).unwrap();
    }
    fs::copy(&program, bundle.rootfs().join("guest")).unwrap_or_else(|e| panic!("{}: {e}: make build", program.display()));
    bundle.set("/process/args", vec!["/guest", "--format", format])
}

fn seen(bundle: &Bundle) -> Value {
    Runtime::new().run(bundle).json()
}

#[test]
fn it_sees_the_container_and_not_the_host() {
    let view = seen(&guest("json"));
    assert_eq!(view["process"]["pid"], 1);
    assert_eq!(view["process"]["hostname"], "tested");
    assert_eq!(view["process"]["uid"], 0);
    assert_eq!(view["process"]["open files"], json!([0, 1, 2]));
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "uts"] {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
        assert_ne!(view["namespaces"][kind], own, "{kind}");
    }
    assert_eq!(view["capabilities"]["effective"], json!(["KILL", "NET_BIND_SERVICE", "AUDIT_WRITE"]));
    assert_eq!(view["security"], json!({"seccomp": "off", "no_new_privs": "yes", "label": view["security"]["label"]}));
    assert_eq!(view["network"].as_array().unwrap().len(), 1);
    assert_eq!(view["network"][0]["name"], "lo");
}

#[test]
fn every_value_moves_with_the_configuration() {
    let caps = json!(["CAP_CHOWN"]);
    let bundle = guest("json")
        .set("/hostname", "other")
        .set("/process/user", json!({"uid": 7, "gid": 8, "additionalGids": [9]}))
        .set("/process/cwd", "/proc")
        .set("/process/noNewPrivileges", false)
        .set(
            "/process/capabilities",
            json!({"bounding": caps, "permitted": caps, "effective": caps, "inheritable": caps, "ambient": caps}),
        )
        .set("/linux/resources/memory/limit", 50 << 20)
        .set("/linux/resources/pids/limit", 17)
        .set("/linux/resources/cpu", json!({"quota": 30_000, "period": 100_000}))
        .set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]}),
        )
        .mount("/extra", "tmpfs", "tmpfs", &["noexec"]);
    let view = seen(&bundle);
    let process = &view["process"];
    assert_eq!((&process["hostname"], &process["uid"], &process["gid"]), (&json!("other"), &json!(7), &json!(8)));
    assert_eq!((&process["groups"], &process["cwd"]), (&json!(["9"]), &json!("/proc")));
    assert_eq!((&view["security"]["seccomp"], &view["security"]["no_new_privs"]), (&json!("filter"), &json!("no")));
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        assert_eq!(view["capabilities"][set], json!(["CHOWN"]), "{set}");
    }
    let cgroup = &view["cgroup"];
    assert_eq!(cgroup["hierarchy"], if hierarchy() == Hierarchy::V2 { "v2" } else { "v1" });
    assert_eq!(
        (&cgroup["memory"], &cgroup["pids"], &cgroup["cpu"]),
        (&json!((50 << 20).to_string()), &json!("17"), &json!("30000 100000"))
    );
    let extra = view["mounts"].as_array().unwrap().iter().find(|m| m["point"] == "/extra").unwrap();
    assert!(extra["type"] == "tmpfs" && extra["options"].as_str().unwrap().contains("noexec"), "{extra}");
}

#[test]
fn the_table_is_for_people() {
    let output = Runtime::new().run(&guest("table"));
    for heading in ["process", "namespaces", "capabilities", "security", "cgroup", "mounts", "network"] {
        assert!(output.ok().lines().any(|line| line == heading), "{heading}: {}", output.out);
    }
}
