//! What a test run leaves behind on the machine: mounts, cgroups, state, namespaces and processes, by comparing two snapshots.
//!
//! Other programs live on the machine too. Therefore something new is a leak when it is a mount, a cgroup or state, or a process that runs in
//! namespaces of its own or belongs to the run; and what carries the tag of another test run of this machine belongs to that run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::host::cgroup_mounts;

/// One look at the machine. Each set holds lines that are compared literally.
#[derive(Default, Clone)]
pub struct Snapshot {
    kinds: BTreeMap<&'static str, BTreeSet<String>>,
}

const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

impl Snapshot {
    /// Looks at the machine as it is now.
    pub fn take() -> Self {
        let mut kinds = BTreeMap::new();
        kinds.insert("mount", mounts());
        kinds.insert("cgroup", cgroups());
        kinds.insert("state", state());
        let (namespaces, processes) = processes();
        kinds.insert("namespace", namespaces);
        kinds.insert("process", processes);
        Snapshot { kinds }
    }

    /// What is there now and was not before, as "kind: what".
    pub fn added_since(&self, before: &Snapshot, tag: &str) -> Vec<String> {
        let mut added = Vec::new();
        for (kind, now) in &self.kinds {
            let nothing = BTreeSet::new();
            for item in now.difference(before.kinds.get(kind).unwrap_or(&nothing)) {
                // systemd starts its bus when somebody first speaks to it.
                if !belongs_to_another_run(item, tag) && !item.ends_with("/system.slice/dbus.service") {
                    added.push(format!("{kind}: {item}"));
                }
            }
        }
        added
    }

    /// One line per item, for `leakcheck`'s file.
    pub fn to_text(&self) -> String {
        self.kinds
            .iter()
            .flat_map(|(kind, set)| set.iter().map(move |item| format!("{kind}\t{}\n", item.replace('\n', " "))))
            .collect()
    }

    /// Reads what `to_text` wrote.
    pub fn from_text(text: &str) -> Self {
        let mut snapshot = Snapshot::default();
        for (kind, item) in text.lines().filter_map(|line| line.split_once('\t')) {
            if let Some(kind) = ["mount", "cgroup", "state", "namespace", "process"].into_iter().find(|k| *k == kind) {
                snapshot.kinds.entry(kind).or_default().insert(item.to_owned());
            }
        }
        snapshot
    }
}

/// Tags look like "rrt" and a number; see `host::tag`.
fn belongs_to_another_run(item: &str, tag: &str) -> bool {
    let mut rest = item;
    while let Some(at) = rest.find("rrt") {
        let digits: String = rest[at + 3..].chars().take_while(char::is_ascii_digit).collect();
        if !digits.is_empty() {
            return format!("rrt{digits}") != tag;
        }
        rest = &rest[at + 3..];
    }
    false
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut fields = left.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            let kind = right.split(' ').next()?;
            // Root of the mount too: a pinned namespace shows its number there.
            Some(format!("{point} ({kind}, {root})"))
        })
        .collect()
}

fn cgroups() -> BTreeSet<String> {
    fn walk(dir: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                found.insert(entry.path().display().to_string());
                walk(&entry.path(), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    for (mount, _) in cgroup_mounts() {
        walk(&mount, &mut found);
    }
    found
}

fn state() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for dir in ["/run/rrun", "/run/runc", "/var/lib/rrun"] {
        found.extend(fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path().display().to_string()));
    }
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("rrt") {
            found.insert(entry.path().display().to_string());
        }
    }
    found
}

/// Namespaces other than ours that a process is in, and the processes that matter.
fn processes() -> (BTreeSet<String>, BTreeSet<String>) {
    let link = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok().map(|l| l.display().to_string());
    let own: Vec<Option<String>> = NAMESPACES.iter().map(|kind| link("self", kind)).collect();
    let tag = crate::host::tag();
    let (mut namespaces, mut found) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|b| b.is_ascii_digit()) || pid == std::process::id().to_string() {
            continue;
        }
        let read =
            |name: &str| String::from_utf8_lossy(&fs::read(entry.path().join(name)).unwrap_or_default()).replace('\0', " ");
        let (comm, command) = (read("comm"), read("cmdline"));
        // The virtual machine that runs beside this suite, and what starts it.
        if command.contains("qemu-system-") {
            continue;
        }
        let mut contained = false;
        for (kind, own) in NAMESPACES.iter().zip(&own) {
            let Some(name) = link(&pid, kind) else { continue };
            if Some(&name) != own.as_ref() {
                namespaces.insert(name);
                contained |= *kind == "pid" || *kind == "mnt";
            }
        }
        // Threads of the kernel have no command line; the test harness itself carries the tag but is our parent or sibling.
        let ours = comm.starts_with("rrun:")
            || comm.trim() == "rrun"
            || command.contains(&format!("{tag}-"))
            || read("cgroup").contains(&tag);
        if contained || ours {
            found.insert(format!("{pid} {} [{}]", command.trim(), comm.trim()));
        }
    }
    (namespaces, found)
}

/// What is new since `before` and stays: what is on its way out gets five seconds to go.
pub fn lasting(before: &Snapshot, tag: &str) -> Vec<String> {
    let mut leaks = Vec::new();
    for _ in 0..50 {
        leaks = Snapshot::take().added_since(before, tag);
        if leaks.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    leaks
}
