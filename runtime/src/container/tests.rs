//! On this kernel, as root: real processes in real cgroups, without a container around them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::cgroup::{Host, Request, plan};
use crate::error::Kind;
use crate::state::tests::{Scratch, state};
use crate::state::{Phase, Process};

/// A "container" that is a shell with a child of its own, in a cgroup.
struct Fixture {
    scratch: Scratch,
    id: String,
    child: Child,
}

impl Fixture {
    /// `change` is the last to touch the state before it is written.
    fn new(name: &str, change: impl FnOnce(&mut State)) -> Fixture {
        assert!(rustix::process::geteuid().is_root(), "needs root");
        let scratch = Scratch::new();
        let id = format!("rrun-test-{name}-{}", std::process::id());
        let resources = Resources::default();
        let path = format!("/{id}");
        let request = Request {
            id: &id,
            cgroups_path: Some(&path),
            systemd: false,
            resources: &resources,
            devices: &[],
            annotations: &Default::default(),
        };
        let plan = plan(&Host::detect().unwrap(), &request).unwrap();
        plan.create().unwrap();
        let mut child = Command::new("sh");
        // The shell leaves a child when it is killed: as in a container without a pid namespace of its own.
        child
            .args(["-c", "read go; sleep 1000 & echo started; wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = child.spawn().unwrap();
        plan.cgroup().add(child.id() as i32).unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
        assert_eq!(line, "started\n");

        let (dir, _lock) = scratch.root().create(&id).unwrap();
        let mut state = state(&id);
        state.phase = Phase::Created;
        state.init = Some(Process::of(child.id() as i32).unwrap());
        state.cgroup = Some(plan.cgroup().clone());
        change(&mut state);
        dir.write(&state).unwrap();
        Fixture { scratch, id, child }
    }

    fn load(&self) -> Result<Container> {
        Container::load(self.scratch.root().path(), &self.id)
    }

    fn delete(&self, force: bool) -> Result<Vec<String>> {
        delete(self.scratch.root().path(), &self.id, force)
    }

    fn status(&self) -> Status {
        self.load().unwrap().status().unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Ok(container) = self.load() {
            let _ = container.kill_group(None);
            let _ = container.cgroup().map(|group| group.destroy(PATIENCE));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn processes_are_those_of_the_cgroup_and_pause_and_resume_freeze_and_thaw_them() {
    let f = Fixture::new("pause", |_| {});
    let c = f.load().unwrap();
    let pids = c.processes().unwrap();
    assert_eq!(pids.len(), 2, "the shell and its sleep");
    assert!(pids.contains(&(f.child.id() as i32)));
    assert_eq!(c.status().unwrap(), Status::Running);
    assert_eq!(c.resume().unwrap_err().kind(), Kind::WrongState);
    c.pause().unwrap();
    assert_eq!(f.status(), Status::Paused);
    assert_eq!(c.pause().unwrap_err().kind(), Kind::WrongState);
    c.resume().unwrap();
    assert_eq!(f.status(), Status::Running);
}

#[test]
fn a_signal_goes_to_init_and_with_all_to_everybody() {
    let mut f = Fixture::new("kill", |s| s.own_pid_namespace = true);
    let c = f.load().unwrap();
    c.kill(0, false).unwrap();
    // The kernel's answer to a number that is no signal is passed on.
    assert_eq!(c.kill(65, false).unwrap_err().errno(), Some(rustix::io::Errno::INVAL));
    c.kill(libc::SIGKILL, false).unwrap();
    f.child.wait().unwrap();
    assert_eq!(c.processes().unwrap().len(), 1, "sleep is left: nobody sent it anything");
    let e = c.kill(libc::SIGTERM, false).unwrap_err();
    assert_eq!(e.kind(), Kind::WrongState);
    assert!(e.to_string().contains("container not running"), "containerd looks for this: {e}");
    assert_eq!(c.kill(0, false).unwrap_err().kind(), Kind::WrongState);
    c.kill(libc::SIGTERM, true).unwrap();
    assert!(c.cgroup().unwrap().wait_empty(PATIENCE).unwrap());
    c.kill(libc::SIGTERM, true).unwrap();
    c.kill(libc::SIGKILL, true).unwrap();
}

#[test]
fn without_a_pid_namespace_of_its_own_sigkill_ends_everybody() {
    let mut f = Fixture::new("shared", |s| s.own_pid_namespace = false);
    let c = f.load().unwrap();
    c.kill(libc::SIGKILL, false).unwrap();
    f.child.wait().unwrap();
    assert!(c.cgroup().unwrap().wait_empty(PATIENCE).unwrap());
    assert_eq!(c.kill(libc::SIGKILL, false).unwrap_err().kind(), Kind::WrongState);
}

#[test]
fn a_paused_container_can_be_killed() {
    let mut f = Fixture::new("frozen", |s| s.own_pid_namespace = true);
    let c = f.load().unwrap();
    c.pause().unwrap();
    c.kill(libc::SIGKILL, false).unwrap();
    f.child.wait().unwrap();
    assert_eq!(f.status(), Status::Stopped);
}

#[test]
fn a_running_container_is_deleted_only_by_force() {
    let mut f = Fixture::new("delete", |s| {
        let hook = crate::spec::config::Hook { path: "/bin/false".into(), ..Default::default() };
        s.poststop = vec![hook];
    });
    let e = f.delete(false).unwrap_err();
    assert_eq!(e.kind(), Kind::WrongState);
    assert_eq!(f.status(), Status::Running, "nothing happened to it");
    let group = f.load().unwrap().cgroup().unwrap().clone();
    assert_eq!(f.delete(true).unwrap(), ["hooks.poststop[0] (/bin/false): exit status 1"]);
    f.child.wait().unwrap();
    assert!(!group.exists());
    assert_eq!(f.load().unwrap_err().kind(), Kind::NotFound);
    assert_eq!(f.delete(true).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_paused_container_is_deleted_by_force_too() {
    let mut f = Fixture::new("delete-frozen", |_| {});
    f.load().unwrap().pause().unwrap();
    assert_eq!(f.delete(false).unwrap_err().kind(), Kind::WrongState);
    assert_eq!(f.delete(true).unwrap(), Vec::<String>::new());
    f.child.wait().unwrap();
}

#[test]
fn a_stopped_container_is_deleted_with_what_its_init_left_behind() {
    let mut f = Fixture::new("leftover", |_| {});
    f.child.kill().unwrap();
    f.child.wait().unwrap();
    let c = f.load().unwrap();
    assert_eq!((c.status().unwrap(), c.processes().unwrap().len()), (Status::Stopped, 1));
    for e in [c.pause(), c.resume(), c.update(&Resources::default()).map(|_| ())] {
        assert_eq!(e.unwrap_err().kind(), Kind::WrongState);
    }
    f.delete(false).unwrap();
    assert!(!c.cgroup().unwrap().exists());
}

#[test]
fn a_created_container_is_deleted_without_force() {
    let mut f = Fixture::new("created", |_| {});
    let c = f.load().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(c.dir().short_path(crate::state::START_SOCKET)).unwrap();
    assert_eq!(c.status().unwrap(), Status::Created);
    f.delete(false).unwrap();
    f.child.wait().unwrap();
    drop(listener);
}

#[test]
fn an_interrupted_create_is_removed_by_force_wherever_it_stopped() {
    let f = Fixture::new("interrupted", |s| {
        s.phase = Phase::Creating;
        s.creator.start_time += 1;
        s.init = None;
    });
    let group = f.load().unwrap().cgroup().unwrap().clone();
    f.delete(true).unwrap();
    assert!(!group.exists(), "the cgroup was known before it was made, and what ran in it is dead");

    let root = f.scratch.root();
    drop(root.create(&f.id).unwrap());
    let e = f.delete(false).unwrap_err();
    assert!(e.to_string().contains("delete --force removes what is left"), "{e}");
    f.delete(true).unwrap();
    assert_eq!(root.list().unwrap(), Vec::<String>::new());

    drop(root.create(&f.id).unwrap());
    std::fs::write(root.path().join(&f.id).join("state.json"), "{\"version\": 1, \"half").unwrap();
    assert!(f.delete(false).is_err());
    assert!(f.delete(true).unwrap()[0].contains("its cgroups, if there are any, are not"));
    assert_eq!(root.list().unwrap(), Vec::<String>::new());
}

#[test]
fn force_does_not_wait_for_a_create_that_hangs() {
    let f = Fixture::new("hangs", |s| s.phase = Phase::Creating);
    let c = f.load().unwrap();
    let lock = c.dir().lock().unwrap();
    assert_eq!(c.status().unwrap(), Status::Creating);
    let group = c.cgroup().unwrap().clone();
    // The one that hangs gives up when what it made has been killed.
    let creator = std::thread::spawn(move || {
        assert!(group.wait_empty(PATIENCE).unwrap());
        drop(lock);
    });
    f.delete(true).unwrap();
    creator.join().unwrap();
    assert_eq!(f.load().unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn of_two_deletes_one_finds_nothing() {
    let mut f = Fixture::new("twice", |_| {});
    f.child.kill().unwrap();
    f.child.wait().unwrap();
    let outcomes = std::thread::scope(|scope| {
        let two: Vec<_> = (0..2).map(|_| scope.spawn(|| f.delete(false))).collect();
        two.into_iter().map(|t| t.join().unwrap().map_err(|e| e.kind())).collect::<Vec<_>>()
    });
    let mut outcomes: Vec<_> = outcomes.into_iter().map(|o| o.err()).collect();
    outcomes.sort_by_key(|o| o.is_some());
    assert_eq!(outcomes, [None, Some(Kind::NotFound)]);
}

#[test]
fn an_update_moves_the_limit() {
    let f = Fixture::new("update", |_| {});
    let c = f.load().unwrap();
    let limit = |n| Resources { pids: Some(crate::spec::resources::Pids { limit: Some(n) }), ..Resources::default() };
    let read = || std::fs::read_to_string(format!("{}/pids.max", c.cgroup().unwrap().dir("pids").unwrap().full())).unwrap();
    c.update(&limit(20)).unwrap();
    assert_eq!(read(), "20\n");
    c.update(&limit(-1)).unwrap();
    assert_eq!(read(), "max\n");
    assert!(c.dir().lock_within(Duration::ZERO).is_ok(), "the lock was given back");
}

#[test]
fn who_watches_is_told_when_init_ends_and_refused_afterwards() {
    let mut f = Fixture::new("watch", |_| {});
    let c = f.load().unwrap();
    let (init, group) = c.watched("watch").unwrap();
    assert_eq!(group.pids(true).unwrap(), c.processes().unwrap());
    let mut fds = [rustix::event::PollFd::new(&init, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&now)).unwrap(), 0);
    f.child.kill().unwrap();
    f.child.wait().unwrap();
    assert_eq!(rustix::event::poll(&mut fds, Some(&now)).unwrap(), 1);
    assert_eq!(c.watched("watch").unwrap_err().kind(), Kind::WrongState);
}
