//! Network devices that move into a container, and its loopback device.

use rrun_tests::runtime::command;
use rrun_tests::{Bundle, Runtime, unique};
use serde_json::json;

/// Both ends of a veth pair on the host; what is left of it goes with the test.
struct Pair(String, String);

impl Pair {
    fn new() -> Option<Pair> {
        // The last numbers tell tests apart, and 15 bytes is all that a name may have.
        let name: String =
            unique().chars().filter(char::is_ascii_alphanumeric).rev().take(11).collect::<Vec<_>>().into_iter().rev().collect();
        let pair = Pair(format!("ve{name}a"), format!("ve{name}b"));
        let made = command("ip", &["link", "add", &pair.0, "type", "veth", "peer", "name", &pair.1]);
        (made.code == 0).then_some(pair)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.0, &self.1] {
            command("ip", &["link", "delete", name]);
        }
    }
}

macro_rules! pair {
    () => {
        match Pair::new() {
            Some(pair) => pair,
            None => rrun_tests::skip!("this kernel makes no veth devices"),
        }
    };
}

fn on_host(name: &str) -> bool {
    command("ip", &["link", "show", name]).code == 0
}

#[test]
fn a_device_keeps_its_lasting_addresses_and_comes_up() {
    let rt = Runtime::new();
    let pair = pair!();
    let add = |address: &[&str]| {
        command("ip", &[&["address", "add"], address, &["dev", &pair.0]].concat()).ok();
    };
    add(&["192.0.2.7/24", "noprefixroute"]);
    add(&["198.18.0.8/24"]);
    add(&["198.51.100.1/24", "valid_lft", "1000", "preferred_lft", "1000"]);
    add(&["203.0.113.9/24", "scope", "link"]);
    add(&["2001:db8::7/64", "nodad"]);
    command("ip", &["link", "set", &pair.0, "up"]).ok();
    command("ip", &["link", "set", &pair.1, "up"]).ok();
    let bundle = Bundle::sh("ip address show dev inside0; ip route")
        .set("/linux/netDevices", json!({pair.0.as_str(): {"name": "inside0"}}));
    let output = rt.run(&bundle);
    let out = output.ok();
    for kept in ["inet 192.0.2.7/24", "inet 198.18.0.8/24", "inet6 2001:db8::7/64"] {
        assert!(out.contains(kept), "no {kept}: {out}");
    }
    for dropped in ["198.51.100.1", "203.0.113.9"] {
        assert!(!out.contains(dropped), "{dropped}: {out}");
    }
    assert!(out.lines().next().is_some_and(|l| l.contains("inside0") && l.contains("UP")), "{out}");
    assert!(out.contains("198.18.0.0/24 dev inside0"), "{out}");
    assert!(!out.contains("192.0.2.0/24 dev"), "was to have no route: {out}");
    assert!(!on_host(&pair.0), "a virtual device goes with its namespace");
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_template_gets_the_first_free_number() {
    let rt = Runtime::new();
    let (one, two) = (pair!(), pair!());
    let devices = json!({one.0.as_str(): {"name": "net%d"}, two.0.as_str(): {"name": "net%d"}});
    let bundle =
        Bundle::sh("ls /sys/class/net | sort | tr '\\n' ' '; cat /sys/class/net/net?/flags").set("/linux/netDevices", devices);
    let output = rt.run(&bundle);
    assert!(output.ok().starts_with("lo net0 net1"), "{output:?}");
    let flags = output.out.lines().filter_map(|l| l.rsplit("0x").next().and_then(|f| u32::from_str_radix(f.trim(), 16).ok()));
    assert_eq!(flags.filter(|f| f & 1 == 1).count(), 2, "both are up: {output:?}");
}

#[test]
fn a_name_that_is_taken_inside_is_refused_and_the_device_stays() {
    let rt = Runtime::new();
    let pair = pair!();
    command("ip", &["address", "add", "192.0.2.7/24", "dev", &pair.0]).ok();
    command("ip", &["link", "set", &pair.0, "up"]).ok();
    let bundle = Bundle::sh("true").set("/linux/netDevices", json!({pair.0.as_str(): {"name": "lo"}}));
    rt.run(&bundle).fails_with(&["linux.netDevices", "already has a device \"lo\""]);
    let after = command("ip", &["address", "show", "dev", &pair.0]);
    assert!(after.ok().contains("192.0.2.7") && after.out.contains(",UP"), "{after:?}");
    rt.assert_nothing_left(&bundle);
}

#[test]
fn if_one_is_missing_none_is_moved() {
    let rt = Runtime::new();
    let pair = pair!();
    let bundle = Bundle::sh("true").set("/linux/netDevices", json!({pair.0.as_str(): {}, "zzznothere": {}}));
    rt.run(&bundle).fails_with(&["linux.netDevices.zzznothere", "no such network device"]);
    assert!(on_host(&pair.0));
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_device_moves_into_a_user_namespace_and_into_a_joined_network() {
    let rt = Runtime::new();
    let pair = pair!();
    let bundle = Bundle::sh("ls /sys/class/net | tr '\\n' ' '")
        .user_namespace(100_000, 65_536)
        .set("/linux/netDevices", json!({pair.0.as_str(): {"name": "mine"}}));
    assert_eq!(rt.run(&bundle).ok(), "lo mine");

    let pair = pair!();
    let holder = Bundle::sleeper();
    rt.run_detached(&holder);
    let path = format!("/proc/{}/ns/net", rt.pid(&holder.id));
    let guest = Bundle::sh("ls /sys/class/net | tr '\\n' ' '")
        .namespace("network", Some(&path))
        .set("/linux/netDevices", json!({pair.0.as_str(): {"name": "ours"}}));
    assert_eq!(rt.run(&guest).ok(), "lo ours");
    // It belongs to the namespace, not to the container that brought it.
    assert_eq!(rt.exec_sh(&holder.id, "ls /sys/class/net | tr '\\n' ' '").ok(), "lo ours");
}

#[test]
fn only_a_new_namespaces_loopback_is_touched() {
    let rt = Runtime::new();
    let holder = Bundle::sleeper();
    rt.run_detached(&holder);
    let pid = rt.pid(&holder.id).to_string();
    let flags = |bundle: &Bundle| rt.run(bundle).ok().to_owned();
    assert_eq!(flags(&Bundle::sh("cat /sys/class/net/lo/flags")), "0x9", "up, and running as loopback");
    command("nsenter", &["--net", "--target", &pid, "ip", "link", "set", "lo", "down"]).ok();
    let guest = Bundle::sh("cat /sys/class/net/lo/flags").namespace("network", Some(&format!("/proc/{pid}/ns/net")));
    assert_eq!(flags(&guest), "0x8", "somebody wanted it down");
}
