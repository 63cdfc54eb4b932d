//! The machine that a test runs on: which cgroup hierarchy it has, how patient to be, where to note skips and limits.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How the cgroup controllers of this machine are mounted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hierarchy {
    /// Controllers in version 1 hierarchies, with or without a unified tree beside them.
    V1,
    /// One unified tree with all controllers.
    V2,
}

impl Hierarchy {
    /// The name that the summary counts by.
    pub fn name(self) -> &'static str {
        match self {
            Hierarchy::V1 => "v1",
            Hierarchy::V2 => "v2",
        }
    }
}

/// The hierarchy at /sys/fs/cgroup.
pub fn hierarchy() -> Hierarchy {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { Hierarchy::V2 } else { Hierarchy::V1 }
}

/// Whether the test runs in the slow virtual machine of `integration/vm`.
pub fn in_vm() -> bool {
    std::env::var_os("RRUN_IN_VM").is_some()
}

/// The longest that anything here may take. It is a bound for hung tests, never an expectation; the virtual machine gets ten times as long.
pub fn patience() -> Duration {
    Duration::from_secs(if in_vm() { 200 } else { 20 })
}

/// How often to repeat something that may go wrong at any time: less often where everything is slow.
pub fn rounds(on_the_host: u32) -> u32 {
    if in_vm() { on_the_host.div_ceil(10) } else { on_the_host }
}

/// Asks again and again until the answer is `Some`, and gives `None` when patience has run out.
pub fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The tag of this test run: part of every name that a test gives to anything, so that what it leaves behind can be told from the rest.
pub fn tag() -> String {
    std::env::var("RRUN_TEST_TAG").unwrap_or_else(|_| format!("rrt{}", std::process::id()))
}

/// A name that no other test of this machine uses.
pub fn unique() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}-{}", tag(), std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Name of the running test (the test harness names its threads after them).
pub fn test_name() -> String {
    std::thread::current().name().unwrap_or("?").to_owned()
}

fn append(variable: &str, line: &str) {
    let Some(file) = std::env::var_os(variable) else {
        eprintln!("{line}");
        return;
    };
    // One write of one short line in append mode: tests in parallel do not mix their lines.
    let written =
        OpenOptions::new().create(true).append(true).open(&file).and_then(|mut f| f.write_all(format!("{line}\n").as_bytes()));
    if let Err(e) = written {
        panic!("cannot note {line:?} in {}: {e}", file.display());
    }
}

/// Called by `skip!`: notes the running test and the reason for the summary.
pub fn note_skip(reason: &str) {
    append("RRUN_SKIP_LOG", &format!("{}: {reason}", test_name()));
}

/// Said by every limit test: which hierarchy it ran on. The summary counts both sides, and 0 on either one fails.
pub fn state_hierarchy() -> Hierarchy {
    let kind = hierarchy();
    append("RRUN_HIERARCHY_LOG", &format!("{} {}", kind.name(), test_name()));
    kind
}

/// Mount points of all cgroup file systems of this machine, with their controllers (empty for the unified tree).
pub fn cgroup_mounts() -> Vec<(PathBuf, String)> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let kind = right.split(' ').next().unwrap_or("");
        let Some(point) = left.split(' ').nth(4) else { continue };
        match kind {
            "cgroup2" => found.push((PathBuf::from(point), String::new())),
            "cgroup" => found.push((PathBuf::from(point), right.rsplit(' ').next().unwrap_or("").to_owned())),
            _ => {}
        }
    }
    found
}

/// Directory of the cgroup of process `pid` in the hierarchy that has `controller` (on v2: in the unified tree).
pub fn cgroup_of(pid: i32, controller: &str) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup file of the container's process");
    let wanted = if hierarchy() == Hierarchy::V2 { "" } else { controller };
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        if controllers.split(',').any(|c| c == wanted) {
            let mount = cgroup_mounts().into_iter().find(|(_, options)| options.split(',').any(|o| o == wanted));
            let Some((mount, _)) = mount else { panic!("controller {wanted:?} is mounted nowhere") };
            return mount.join(path.trim_start_matches('/'));
        }
    }
    panic!("process {pid} has no cgroup for {controller:?}:\n{text}");
}

/// All directories that a cgroup path has in the hierarchies of this machine.
pub fn cgroup_dirs(path: &str) -> Vec<PathBuf> {
    let relative = path.trim_start_matches('/');
    cgroup_mounts().into_iter().map(|(mount, _)| mount.join(relative)).filter(|dir| dir.exists()).collect()
}

/// Whether the machine's kernel lets us use `controller` at all.
pub fn has_controller(controller: &str) -> bool {
    match hierarchy() {
        Hierarchy::V2 => fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
            .is_ok_and(|text| text.split_whitespace().any(|c| c == controller)),
        // What no v1 hierarchy has, the unified one beside them may have.
        Hierarchy::V1 => {
            cgroup_mounts().iter().any(|(_, options)| options.split(',').any(|o| o == controller))
                || fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers")
                    .is_ok_and(|text| text.split_whitespace().any(|c| c == controller))
        }
    }
}

/// Whether a process runs (a zombie that nobody has reaped yet does not).
pub fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Whether the process is gone before patience runs out.
pub fn gone(pid: i32) -> bool {
    eventually(|| (!alive(pid)).then_some(())).is_some()
}

/// Kills all processes of a cgroup path, by the unified tree, and waits for a moment until they are gone.
pub fn kill_cgroup(path: &str) {
    for dir in cgroup_dirs(path) {
        if fs::write(dir.join("cgroup.kill"), "1").is_ok() {
            let empty = || fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|text| text.is_empty());
            for _ in 0..200 {
                if empty() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
