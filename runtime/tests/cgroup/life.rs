//! Making, finding, freezing, killing and removing.

use std::process::Command;
use std::time::Duration;

use rrun::cgroup::{Host, Layout, Request, SubCgroups, plan};
use rrun::spec::resources::Resources;

use crate::support::*;

#[test]
fn made_with_its_parents_and_removed() {
    let top = unique();
    let cgroup = Scratch::at(&format!("/{top}/a/b"), "{}").unwrap();
    assert!(cgroup.0.exists());
    for dir in cgroup.0.dirs() {
        assert!(dir.full().ends_with(&format!("{top}/a/b")));
        assert!(std::path::Path::new(&dir.full()).join("cgroup.procs").exists());
    }
    let dirs: Vec<String> = cgroup.0.dirs().map(|d| d.full()).collect();
    drop(cgroup);
    for dir in dirs {
        let a = std::path::Path::new(&dir).parent().unwrap().to_owned();
        assert!(a.exists(), "parents may be somebody else's: they stay");
        std::fs::remove_dir(&a).unwrap();
        std::fs::remove_dir(a.parent().unwrap()).unwrap();
    }
}

#[test]
fn a_failed_create_leaves_nothing() {
    let top = unique();
    // No machine has a CPU of this number.
    let e = Scratch::at(&format!("/{top}/a/b"), r#"{"pids":{"limit":5},"cpu":{"cpus":"65000"}}"#).map(|_| ()).unwrap_err();
    assert!(e.to_string().starts_with("linux.resources.cpu.cpus: write("), "{e}");
    let host = Host::detect().unwrap();
    let mounts = host.unified.iter().map(|u| &u.mount).chain(host.legacy.iter().map(|l| &l.mount));
    for mount in mounts {
        assert!(!std::path::Path::new(mount).join(&top).exists(), "{mount}/{top}");
    }
}

#[test]
fn one_that_is_used_or_frozen_is_refused() {
    let path = format!("/{}", unique());
    let first = Scratch::at(&path, "{}").unwrap();
    let mut child = first.run("sleep 1000");
    let e = Scratch::at(&path, "{}").map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("cgroup is not empty"), "{e}");
    assert!(planned(&path, "{}").unwrap().refuse_used().is_err());
    assert!(planned(&format!("{path}-not-there"), "{}").unwrap().refuse_used().is_ok());
    assert!(child.try_wait().unwrap().is_none(), "who was there first came to no harm");
    first.0.kill_all().unwrap();
    child.wait().unwrap();
    assert!(first.0.wait_empty(PATIENCE).unwrap());
    first.0.freeze(true, PATIENCE).unwrap();
    let e = Scratch::at(&path, "{}").map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("frozen"), "{e}");
    let e = Scratch::at(&format!("{path}/below"), "{}").map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("above") && e.to_string().contains("frozen"), "{e}");
    first.0.freeze(false, PATIENCE).unwrap();
    // Empty and thawed, it is taken.
    std::mem::forget(Scratch::at(&path, "{}").unwrap());
}

#[test]
fn frozen_it_stands_still_and_can_be_killed() {
    let cgroup = Scratch::new("{}");
    let mut child = cgroup.run("while :; do sleep 0.01; done");
    cgroup.0.freeze(true, PATIENCE).unwrap();
    assert!(cgroup.0.is_frozen().unwrap());
    let before = cgroup.0.pids(true).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(cgroup.0.pids(true).unwrap(), before, "no process came or went");
    cgroup.0.freeze(false, PATIENCE).unwrap();
    assert!(!cgroup.0.is_frozen().unwrap());
    until("it goes on", || cgroup.0.pids(true).unwrap() != before);
    cgroup.0.freeze(true, PATIENCE).unwrap();
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
    assert!(cgroup.0.wait_empty(PATIENCE).unwrap());
}

#[test]
fn everything_in_it_and_below_is_killed_and_removed() {
    let cgroup = Scratch::new("{}");
    let mut child = cgroup.run("(sleep 1000 & sleep 1000) & sleep 1000");
    until("all four are there", || cgroup.0.pids(false).unwrap().len() == 4);
    // As a container with a writable cgroup mount may: children of its own, with processes.
    let pid = cgroup.0.pids(false).unwrap()[3];
    for dir in cgroup.0.dirs() {
        for below in ["x", "x/y", "z"] {
            std::fs::create_dir(format!("{}/{below}", dir.full())).unwrap();
        }
        if dir.controllers.iter().all(|c| c != "cpuset") {
            std::fs::write(format!("{}/x/y/cgroup.procs", dir.full()), pid.to_string()).unwrap();
        }
    }
    assert_eq!(cgroup.0.pids(true).unwrap().len(), 4);
    assert_eq!(cgroup.0.pids(false).unwrap().len(), 3);
    let e = cgroup.0.destroy(Duration::from_millis(20)).unwrap_err();
    assert!(e.to_string().contains("still has processes"), "{e}");
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
    assert!(cgroup.0.wait_empty(PATIENCE).unwrap());
    assert!(!cgroup.0.populated().unwrap());
}

#[test]
fn given_to_a_user() {
    use std::os::unix::fs::MetadataExt;
    let cgroup = Scratch::new("{}");
    cgroup.0.delegate(12345).unwrap();
    let unified = cgroup.0.unified.as_ref().unwrap().full();
    let owner = |name: &str| std::fs::metadata(format!("{unified}/{name}")).unwrap().uid();
    assert_eq!((owner(""), owner("cgroup.procs"), owner("cgroup.subtree_control")), (12345, 12345, 12345));
    // Limits and life stay the host's.
    assert_eq!((owner("cgroup.max.depth"), owner("cgroup.kill")), (0, 0));
}

#[test]
fn exec_finds_its_place() {
    let cgroup = Scratch::new("{}");
    let mut init = cgroup.run("exec sleep 1000");
    let join = cgroup.0.join(&SubCgroups::default()).unwrap();
    assert_eq!(join.complete_at_clone(), Host::detect().unwrap().layout() == Layout::V2);
    assert!(join.clone_fd().is_some() && !join.is_frozen().unwrap());
    cgroup.0.freeze(true, PATIENCE).unwrap();
    assert!(join.is_frozen().unwrap());
    cgroup.0.freeze(false, PATIENCE).unwrap();
    // A cgroup below, which must exist and be below.
    let unified = cgroup.0.unified.as_ref().unwrap().full();
    assert!(cgroup.0.join(&SubCgroups::parse(&["sub"]).unwrap()).is_err());
    std::fs::create_dir(format!("{unified}/sub")).unwrap();
    assert!(cgroup.0.join(&SubCgroups::parse(&["sub"]).unwrap()).is_ok());
    let e = cgroup.0.join(&SubCgroups::parse(&["nonsense:sub"]).unwrap()).unwrap_err();
    assert!(e.to_string().contains("nonsense"), "{e}");
    // The init went below, and its cgroup hands out controllers: it takes no process any more.
    std::fs::write(format!("{unified}/sub/cgroup.procs"), init.id().to_string()).unwrap();
    let controllers = std::fs::read_to_string(format!("{unified}/cgroup.controllers")).unwrap();
    if let Some(c) = controllers.split_whitespace().find(|c| ["memory", "io", "hugetlb"].contains(c)) {
        std::fs::write(format!("{unified}/cgroup.subtree_control"), format!("+{c}")).unwrap();
        let mut other = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let e = cgroup.0.add(other.id() as i32).unwrap_err();
        assert!(e.to_string().contains("takes no processes"), "{e}");
        other.kill().unwrap();
        other.wait().unwrap();
    }
    let join = cgroup.0.join_init(init.id() as i32).unwrap();
    join.attach(init.id() as i32).unwrap();
    assert!(join.clone_fd().is_some());
    cgroup.0.kill_all().unwrap();
    init.wait().unwrap();
}

/// A machine with v1 alone is rare; its code paths are run here by leaving the unified tree out of the picture.
#[test]
fn v1_without_a_unified_tree() {
    let mut host = Host::detect().unwrap();
    if host.layout() != Layout::Hybrid {
        println!("not for this machine: it has no v1 hierarchies");
        return;
    }
    host.unified = None;
    let (path, none) = (format!("/{}", unique()), Resources::default());
    let plan = plan(
        &host,
        &Request {
            id: "unused",
            cgroups_path: Some(&path),
            systemd: false,
            resources: &none,
            devices: &[],
            annotations: &Default::default(),
        },
    )
    .unwrap();
    plan.create().unwrap();
    let cgroup = Scratch(plan.cgroup().clone());
    println!("hierarchy: v1");
    let mut child = cgroup.run("while :; do sleep 0.01 & sleep 0.01; done");
    until("it runs", || cgroup.0.pids(true).unwrap().len() > 1);
    cgroup.0.freeze(true, PATIENCE).unwrap();
    assert!(cgroup.0.is_frozen().unwrap() && cgroup.0.populated().unwrap());
    let before = cgroup.0.pids(true).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(cgroup.0.pids(true).unwrap(), before);
    assert!(!cgroup.0.wait_empty(Duration::from_millis(10)).unwrap());
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
    assert!(cgroup.0.wait_empty(PATIENCE).unwrap());
    assert!(!cgroup.0.is_frozen().unwrap());
}
