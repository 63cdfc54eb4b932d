//! Namespaces: new ones, joined ones, absent ones; time offsets, id maps, host and domain name.

use std::fs;
use std::process::{Command, Stdio};

use rrun_tests::host::gone;
use rrun_tests::{Bundle, Runtime, eventually};
use serde_json::json;

/// Name in the configuration, name in /proc/PID/ns.
const KINDS: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("user", "user"),
];

fn link(pid: i32, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap_or_else(|e| panic!("ns/{kind} of {pid}: {e}")).display().to_string()
}

fn own(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string()
}

#[test]
fn each_listed_namespace_is_new_and_each_absent_one_is_the_callers() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    let pid = rt.pid(&bundle.id);
    for (name, kind) in KINDS {
        if name == "user" {
            assert_eq!(link(pid, kind), own(kind), "{name}");
        } else {
            assert_ne!(link(pid, kind), own(kind), "{name}");
        }
    }
    assert_eq!(link(pid, "time"), own("time"));
}

#[test]
fn leaving_one_out_shares_exactly_that_one() {
    let rt = Runtime::new();
    for (name, kind) in [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")] {
        let mut bundle = Bundle::sleeper().namespace(name, None);
        if name == "uts" {
            bundle = bundle.without("/hostname");
        }
        if name == "network" {
            // A fresh sysfs needs a network namespace of one's own only inside a user namespace; as root it just shows the host's devices.
            bundle = bundle.set("/mounts/5/options", vec!["nosuid", "noexec", "nodev", "ro"]);
        }
        rt.run_detached(&bundle);
        let pid = rt.pid(&bundle.id);
        for (other, other_kind) in KINDS.into_iter().filter(|(n, _)| *n != "user") {
            assert_eq!(link(pid, other_kind) == own(other_kind), other_kind == kind, "without {name}: {other}");
        }
    }
}

#[test]
fn process_one_sees_only_its_own_processes() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo pid $$; ls /proc | grep -c '^[0-9]*$'");
    let output = rt.run(&bundle);
    let lines: Vec<&str> = output.ok().lines().collect();
    assert_eq!(lines[0], "pid 1");
    let count: u32 = lines[1].parse().unwrap();
    assert!((1..=3).contains(&count), "{count} processes");
}

#[test]
fn host_and_domain_name() {
    let rt = Runtime::new();
    let bundle =
        Bundle::sh("hostname; cat /proc/sys/kernel/domainname").set("/hostname", "a-name").set("/domainname", "a-domain");
    assert_eq!(rt.run(&bundle).ok(), "a-name\na-domain");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "a-name");
}

#[test]
fn a_new_network_namespace_has_only_loopback_and_it_is_up() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("ls /sys/class/net; ping -c 1 -w 2 127.0.0.1 > /dev/null && echo reachable")
        .push("/process/capabilities/bounding", "CAP_NET_RAW");
    let bundle =
        bundle.push("/process/capabilities/effective", "CAP_NET_RAW").push("/process/capabilities/permitted", "CAP_NET_RAW");
    assert_eq!(rt.run(&bundle).ok(), "lo\nreachable");
}

/// A process in fresh namespaces that lives as long as the value.
struct Holder(std::process::Child);

impl Holder {
    fn new(flags: &[&str]) -> Self {
        let child = Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", "echo up; exec sleep 10005"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("unshare");
        let mut byte = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).expect("unshare says that it is up");
        Holder(child)
    }

    fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.0.id())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn namespaces_are_joined_by_path() {
    let rt = Runtime::new();
    let holder = Holder::new(&["--net", "--ipc", "--uts"]);
    let bundle = Bundle::sleeper().without("/hostname");
    let bundle = bundle
        .namespace("network", Some(&holder.path("net")))
        .namespace("ipc", Some(&holder.path("ipc")))
        .namespace("uts", Some(&holder.path("uts")));
    rt.run_detached(&bundle);
    let pid = rt.pid(&bundle.id);
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(link(pid, kind), link(holder.pid(), kind), "{kind}");
        assert_ne!(link(pid, kind), own(kind), "{kind}");
    }
    assert_ne!(link(pid, "pid"), own("pid"));
}

#[test]
fn the_pid_namespace_of_another_container_is_joined() {
    let rt = Runtime::new();
    let first = Bundle::sleeper();
    rt.run_detached(&first);
    let pid = rt.pid(&first.id);
    let second = Bundle::sh("echo $$; ps | grep -c 'sleep 1000'").namespace("pid", Some(&format!("/proc/{pid}/ns/pid")));
    let output = rt.run(&second);
    let lines: Vec<&str> = output.ok().lines().collect();
    assert_ne!(lines[0], "1", "it joined: somebody else is process 1");
    assert!(lines[1].parse::<u32>().unwrap() >= 1, "{lines:?}");
    assert_eq!(rt.status(&first.id), "running");
}

#[test]
fn a_cgroup_namespace_shows_the_containers_cgroup_as_root() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("cat /proc/self/cgroup");
    let output = rt.run(&bundle);
    for line in output.ok().lines() {
        assert!(line.ends_with(":/"), "{line}");
    }
}

#[test]
fn time_offsets() {
    if !fs::exists("/proc/self/ns/time").unwrap() {
        rrun_tests::skip!("this kernel has no time namespaces");
    }
    let rt = Runtime::new();
    let bundle = Bundle::sh("cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets; readlink /proc/self/ns/time");
    let bundle = bundle.namespace("time", Some("")).set(
        "/linux/timeOffsets",
        json!({"monotonic": {"secs": 7777, "nanosecs": 5}, "boottime": {"secs": 1_000_000, "nanosecs": 0}}),
    );
    let output = rt.run(&bundle);
    let lines: Vec<&str> = output.ok().lines().collect();
    let uptime: u64 = lines[0].parse().unwrap();
    let host: f64 = fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(uptime >= 1_000_000 && (uptime as f64) < 1_000_000.0 + host + 3600.0, "{uptime} on a host with {host}");
    let offsets: Vec<Vec<&str>> = lines[1..3].iter().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(offsets[0], ["monotonic", "7777", "5"]);
    assert_eq!(offsets[1], ["boottime", "1000000", "0"]);
    assert_ne!(lines[3], own("time"));
}

#[test]
fn a_user_namespace_maps_ids() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("id -u; cat /proc/self/uid_map /proc/self/gid_map; touch /made; echo up; sleep 10006")
        .user_namespace(100_000, 65536);
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    let pid = rt.pid(&bundle.id);
    let out = running.out();
    let lines: Vec<Vec<&str>> = out.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["0"]);
    assert_eq!(lines[1], ["0", "100000", "65536"]);
    assert_eq!(lines[2], ["0", "100000", "65536"]);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(bundle.rootfs().join("made")).unwrap().uid(), 100_000);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t100000\t100000\t100000\t100000"), "{status}");
    for (_, kind) in KINDS {
        assert_ne!(link(pid, kind), own(kind), "{kind}");
    }
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    assert!(gone(pid));
}

#[test]
fn a_user_namespace_still_has_its_devices_and_mounts() {
    let rt = Runtime::new();
    let script = "for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo no $d; done; echo x > /dev/null && head -c 1 /dev/zero | wc -c; ls /dev/pts/ptmx";
    let bundle = Bundle::sh(script).user_namespace(100_000, 65536);
    assert_eq!(rt.run(&bundle).ok(), "1\n/dev/pts/ptmx");
}

#[test]
fn a_user_namespace_is_joined_by_path() {
    let rt = Runtime::new();
    let first = Bundle::sleeper().user_namespace(200_000, 65536);
    rt.run_detached(&first);
    let pid = rt.pid(&first.id);
    let second = Bundle::sh("cat /proc/self/uid_map; readlink /proc/self/ns/user").user_namespace(200_000, 65536);
    let second = second
        .namespace("user", Some(&format!("/proc/{pid}/ns/user")))
        .without("/linux/uidMappings")
        .without("/linux/gidMappings");
    let output = rt.run(&second);
    let lines: Vec<&str> = output.ok().lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["0", "200000", "65536"]);
    assert_eq!(lines[1], link(pid, "user"));
}

#[test]
fn sysctls_are_set_in_the_containers_namespaces_only() {
    let rt = Runtime::new();
    let host = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let bundle = Bundle::sh("cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max");
    let sysctl = json!({"net.ipv4.ip_default_ttl": "77", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "11"});
    assert_eq!(rt.run(&bundle.set("/linux/sysctl", sysctl)).ok(), "77\n1\n11");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap(), host);
}

#[test]
fn the_rootless_looking_mount_namespace_alone() {
    // Without a mount namespace there is no root to pivot to: refused by name (runc says the same).
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").namespace("mount", None);
    rt.run(&bundle).fails_with(&["mount"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn no_pivot_and_no_new_keyring_still_run() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("ls -d /bin; ls /host-only 2>/dev/null; true");
    assert_eq!(rt.cmd(&["run", "--no-pivot", "--no-new-keyring", "--bundle", bundle.write(), &bundle.id]).ok(), "/bin");
    rt.assert_nothing_left(&bundle);
}

#[test]
fn the_first_process_ending_ends_its_namespace() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("sleep 10007 & echo $!; sleep 0.1");
    rt.run(&bundle).ok();
    let left = eventually(|| {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let found = processes.filter(|e| fs::read(e.path().join("cmdline")).is_ok_and(|c| c == b"sleep\x0010007\0")).count();
        (found == 0).then_some(())
    });
    assert!(left.is_some());
}
