//! What the kernel shows to this process, gathered section by section.

use std::fs;
use std::path::Path;

use rustix::process;

use crate::report::Value;

/// Names of the capabilities in the order of their numbers (capabilities(7)).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The whole report.
pub fn everything() -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Value::Group(vec![
        ("process", who(&status)),
        ("namespaces", namespaces()),
        ("capabilities", capabilities(&status)),
        ("security", security(&status)),
        ("cgroup", cgroup()),
        ("mounts", mounts()),
        ("network", network()),
    ])
}

/// The value of a line of /proc/self/status.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn who(status: &str) -> Value {
    let uname = rustix::system::uname();
    let groups: Vec<String> = field(status, "Groups").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let mut fds: Vec<u32> = fs::read_dir("/proc/self/fd")
        .map_or_else(|_| Vec::new(), |dir| dir.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect());
    // The last one is the directory that was being read.
    fds.sort_unstable();
    fds.pop();
    Value::Group(vec![
        ("pid", std::process::id().into()),
        ("hostname", uname.nodename().to_string_lossy().into_owned().into()),
        ("kernel", uname.release().to_string_lossy().into_owned().into()),
        ("uid", process::getuid().as_raw().into()),
        ("gid", process::getgid().as_raw().into()),
        ("groups", groups.into()),
        ("cwd", std::env::current_dir().map_or_else(|e| e.to_string(), |dir| dir.display().to_string()).into()),
        ("umask", field(status, "Umask").unwrap_or("unknown").into()),
        ("open files", fds.into()),
    ])
}

fn namespaces() -> Value {
    let one = |kind: &'static str| {
        let link = fs::read_link(Path::new("/proc/self/ns").join(kind));
        (kind, link.map_or_else(|_| "unknown".to_owned(), |l| l.display().to_string()).into())
    };
    Value::Group(["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"].map(one).into())
}

fn capabilities(status: &str) -> Value {
    let set = |name: &str| -> Value {
        let Some(mask) = field(status, name).and_then(|text| u64::from_str_radix(text, 16).ok()) else { return "unknown".into() };
        let known = CAPABILITIES.iter().enumerate().filter(|(n, _)| mask & (1 << n) != 0).map(|(_, name)| (*name).to_owned());
        let newer = (CAPABILITIES.len()..64).filter(|n| mask & (1 << n) != 0).map(|n| format!("number {n}"));
        known.chain(newer).collect::<Vec<_>>().into()
    };
    Value::Group(vec![
        ("effective", set("CapEff")),
        ("permitted", set("CapPrm")),
        ("inheritable", set("CapInh")),
        ("bounding", set("CapBnd")),
        ("ambient", set("CapAmb")),
    ])
}

fn security(status: &str) -> Value {
    let seccomp = match field(status, "Seccomp") {
        Some("0") => "off",
        Some("1") => "strict",
        Some("2") => "filter",
        _ => "unknown",
    };
    let no_new_privs = match field(status, "NoNewPrivs") {
        Some("0") => "no",
        Some("1") => "yes",
        _ => "unknown",
    };
    let label = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    Value::Group(vec![
        ("seccomp", seccomp.into()),
        ("no_new_privs", no_new_privs.into()),
        ("label", label.trim_end_matches(['\0', '\n']).into()),
    ])
}

/// The path and the limits of the cgroup, on whichever hierarchy is mounted at /sys/fs/cgroup.
fn cgroup() -> Value {
    let root = Path::new("/sys/fs/cgroup");
    let lines = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = lines.lines().last().and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or("unknown").to_owned();
    let read = |name: &str| {
        fs::read_to_string(root.join(name)).map_or_else(|_| "unknown".to_owned(), |text| text.trim().replace('\n', " "))
    };
    if root.join("cgroup.controllers").exists() {
        return Value::Group(vec![
            ("hierarchy", "v2".into()),
            ("path", path.into()),
            ("memory", read("memory.max").into()),
            ("swap", read("memory.swap.max").into()),
            ("pids", read("pids.max").into()),
            ("cpu", read("cpu.max").into()),
            ("cpu weight", read("cpu.weight").into()),
            ("cpus", read("cpuset.cpus.effective").into()),
        ]);
    }
    // A limit that is not set shows as the largest number of pages.
    let memory = match read("memory/memory.limit_in_bytes") {
        number if number.len() >= 19 => "max".to_owned(),
        other => other,
    };
    let quota = match read("cpu/cpu.cfs_quota_us").as_str() {
        "-1" => "max".to_owned(),
        other => other.to_owned(),
    };
    Value::Group(vec![
        ("hierarchy", if root.join("memory").exists() { "v1" } else { "unknown" }.into()),
        ("path", path.into()),
        ("memory", memory.into()),
        ("pids", read("pids/pids.max").into()),
        ("cpu", format!("{quota} {}", read("cpu/cpu.cfs_period_us")).into()),
        ("cpu shares", read("cpu/cpu.shares").into()),
        ("cpus", read("cpuset/cpuset.cpus").into()),
    ])
}

fn mounts() -> Value {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let one = |line: &str| -> Option<Value> {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(4);
        let (point, options) = (fields.next()?, fields.next()?);
        let kind = right.split(' ').next()?;
        Some(Value::Group(vec![("point", point.into()), ("type", kind.into()), ("options", options.into())]))
    };
    text.lines().filter_map(one).collect::<Vec<_>>().into()
}

fn network() -> Value {
    let devices = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let own = local_addresses(&fs::read_to_string("/proc/net/fib_trie").unwrap_or_default());
    let six = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let one = |line: &str| {
        let name = line.split(':').next().unwrap_or_default().trim();
        let state = fs::read_to_string(format!("/sys/class/net/{name}/operstate"))
            .map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned());
        let mut addresses: Vec<String> =
            six.lines().filter(|l| l.split_whitespace().last() == Some(name)).filter_map(ipv6).collect();
        // The routing table names no devices: what is 127.* is the loopback's, the rest belongs to the others.
        addresses.extend(own.iter().filter(|a| a.starts_with("127.") == (name == "lo")).cloned());
        Value::Group(vec![("name", name.into()), ("state", state.into()), ("addresses", addresses.into())])
    };
    devices.lines().skip(2).map(one).collect::<Vec<_>>().into()
}

/// IPv4 addresses that the kernel takes for its own, from /proc/net/fib_trie: a line "|-- ADDRESS" and below it "/32 host LOCAL".
fn local_addresses(trie: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut last = "";
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address;
        } else if line.trim() == "/32 host LOCAL" && !found.iter().any(|a| a == last) {
            found.push(last.to_owned());
        }
    }
    found
}

/// "fe80...: 32 hexadecimal digits" of /proc/net/if_inet6 as an address.
fn ipv6(line: &str) -> Option<String> {
    let number = u128::from_str_radix(line.split(' ').next()?, 16).ok()?;
    Some(std::net::Ipv6Addr::from(number).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_once() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.1.2.3\n        /32 host LOCAL\n     |-- 10.1.2.0\n        /24 link UNICAST\nLocal:\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.1.2.3\n        /32 host LOCAL\n";
        assert_eq!(local_addresses(trie), ["10.1.2.3", "127.0.0.1"]);
        assert_eq!(ipv6("00000000000000000000000000000001 01 80 10 80       lo").as_deref(), Some("::1"));
    }

    #[test]
    fn a_field_is_matched_by_its_whole_name() {
        let status = "Seccomp:\t2\nSeccomp_filters:\t1\nGroups:\t5 6 \n";
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert_eq!(field(status, "Groups"), Some("5 6"));
        assert_eq!(field(status, "Sec"), None);
    }
}
