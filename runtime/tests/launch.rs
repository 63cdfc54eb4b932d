//! Many containers from one event loop, by the library: nothing blocks it, and it reaps everything. Needs root.
//!
//! A caller of Launch has one thread, so this program has no test harness, but speaks like one.

use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rrun::container::Container;
use rrun::launch::{Create, Delete, Exec, Launch, Progress, Stage};
use rrun::{Error, Kind};
use rrun_tests::leaks::{Snapshot, lasting};
use rrun_tests::{Bundle, host, patience, unique};
use rustix::event::epoll;
use rustix::process::{WaitOptions, WaitStatus};
use serde_json::json;

fn main() {
    let tests: [(&str, fn()); 9] = [
        ("three_containers_one_loop", three_containers_one_loop),
        ("cancelled_while_a_hook_hangs", cancelled_while_a_hook_hangs),
        ("a_program_that_cannot_run_fails_at_start", a_program_that_cannot_run_fails_at_start),
        ("hooks_of_start_run_in_a_worker", hooks_of_start_run_in_a_worker),
        ("exec_with_streams_of_its_own", exec_with_streams_of_its_own),
        ("a_user_namespace_with_a_joined_network", a_user_namespace_with_a_joined_network),
        ("nothing_of_the_callers_stays_open", nothing_of_the_callers_stays_open),
        ("dropped_before_the_start_it_is_undone", dropped_before_the_start_it_is_undone),
        ("a_second_thread_is_refused", a_second_thread_is_refused),
    ];
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-') && a.parse::<u32>().is_err()).collect();
    let mut failed = 0;
    let chosen = tests.iter().filter(|(name, _)| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str())));
    for (name, test) in chosen {
        let before = Snapshot::take();
        let mut good = catch_unwind(test).is_ok();
        // Others are at work on the machine, too: what is ours has our tag in its name, or is our child.
        let leaks = lasting(&before, &host::tag());
        for leak in leaks.iter().filter(|leak| leak.contains(&host::tag())) {
            println!("left behind: {leak}");
            good = false;
        }
        if !rustix::process::wait(WaitOptions::NOHANG).is_err_and(|e| e == rustix::io::Errno::CHILD) {
            println!("left behind: a child of ours");
            good = false;
        }
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        failed += u32::from(!good);
    }
    println!("test result: {}. {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    std::process::exit(i32::from(failed > 0));
}

/// A program with containers: one epoll, one reaper.
struct Loop {
    epoll: OwnedFd,
    root: PathBuf,
    launches: HashMap<u64, (String, Launch)>,
    /// What happened, in order: "name: what".
    events: Vec<String>,
    /// Answers, in order, with what was launched.
    answers: VecDeque<(String, Progress)>,
    exits: HashMap<i32, i32>,
    next: u64,
}

impl Loop {
    fn new() -> Loop {
        Loop {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
            root: std::env::temp_dir().join(format!("{}-state", unique())),
            launches: HashMap::new(),
            events: Vec::new(),
            answers: VecDeque::new(),
            exits: HashMap::new(),
            next: 0,
        }
    }

    fn add(&mut self, name: &str, launch: Launch) -> u64 {
        self.next += 1;
        epoll::add(&self.epoll, &launch, epoll::EventData::new_u64(self.next), epoll::EventFlags::IN).unwrap();
        self.launches.insert(self.next, (name.to_owned(), launch));
        self.next
    }

    fn request(&self, bundle: &Bundle) -> Create {
        Create {
            state_root: self.root.clone(),
            bundle: bundle.write().into(),
            id: bundle.id.clone(),
            wishes: Default::default(),
            config: None,
            stdio: None,
        }
    }

    fn create(&mut self, name: &str, bundle: &Bundle) -> u64 {
        let launch = Launch::create(self.request(bundle)).unwrap();
        self.add(name, launch)
    }

    fn delete(&mut self, name: &str, bundle: &Bundle, force: bool) -> u64 {
        let request = Delete { state_root: self.root.clone(), id: bundle.id.clone(), force };
        let launch = Launch::delete(&request).unwrap();
        self.add(name, launch)
    }

    fn launch(&mut self, token: u64) -> &mut Launch {
        &mut self.launches.get_mut(&token).unwrap().1
    }

    /// One turn: waits for events, takes them in, reaps.
    fn turn(&mut self) {
        let mut room = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 16];
        // A short time-out stands for SIGCHLD.
        let time = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let ready = rustix::io::retry_on_intr(|| epoll::wait(&self.epoll, &mut room, Some(&time))).unwrap();
        for event in &room[..ready] {
            let Some((name, launch)) = self.launches.get_mut(&event.data.u64()) else { continue };
            let before = launch.progress().clone();
            let now = launch.on_ready();
            if now != before {
                let what = match &now {
                    Progress::Pending(stage) => format!("stage {}", stage.name()),
                    Progress::Ready { .. } => "ready".to_owned(),
                    Progress::Started { .. } => "started".to_owned(),
                    Progress::Deleted => "deleted".to_owned(),
                    Progress::Failed(error) => format!("failed {error}"),
                };
                self.events.push(format!("{name}: {what}"));
                self.answers.push_back((name.clone(), now));
            }
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.exits.insert(pid.as_raw_nonzero().get(), code(status));
        }
    }

    /// The next answer about `name`: not a stage, unless it is `stage`.
    #[track_caller]
    fn answer(&mut self, name: &str, stage: Option<Stage>) -> Progress {
        let deadline = Instant::now() + patience();
        loop {
            while let Some(at) = self.answers.iter().position(|(n, _)| n == name) {
                let (_, progress) = self.answers.remove(at).unwrap();
                match progress {
                    Progress::Pending(at) if Some(at) != stage => {}
                    decisive => return decisive,
                }
            }
            assert!(Instant::now() < deadline, "nothing of {name}: {:?}", self.events);
            self.turn();
        }
    }

    /// Reaps until this process has ended.
    #[track_caller]
    fn exit(&mut self, pid: i32) -> i32 {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(code) = self.exits.get(&pid) {
                return *code;
            }
            assert!(Instant::now() < deadline, "{pid} does not end");
            self.turn();
        }
    }

    #[track_caller]
    fn ready(&mut self, name: &str) -> i32 {
        match self.answer(name, None) {
            Progress::Ready { pid } => pid,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[track_caller]
    fn started(&mut self, name: &str) -> i32 {
        match self.answer(name, None) {
            Progress::Started { pid } => pid,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[track_caller]
    fn failed(&mut self, name: &str) -> Error {
        match self.answer(name, None) {
            Progress::Failed(error) => error,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Where in the order of events this stands.
    #[track_caller]
    fn place(&self, event: &str) -> usize {
        self.events.iter().position(|e| e.starts_with(event)).unwrap_or_else(|| panic!("no {event} in {:?}", self.events))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.launches.clear();
        let names = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        for id in names.map(|e| e.file_name().to_string_lossy().into_owned()) {
            let _ = rrun::container::delete(&self.root, &id, true);
        }
        let _ = std::fs::remove_dir_all(&self.root);
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
    }
}

fn code(status: WaitStatus) -> i32 {
    status.exit_status().or(status.terminating_signal().map(|s| 128 + s)).unwrap()
}

fn hook(script: &str) -> serde_json::Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
}

/// One fails, one has a hook that lasts until the others are done and gone: if anything waited for it, this would never end.
fn three_containers_one_loop() {
    let mut l = Loop::new();
    let flag = std::env::temp_dir().join(unique());
    let quick = Bundle::sh("exit 3");
    let wrong = Bundle::sh("").set("/process/args", json!(["/no/such"]));
    let slow = Bundle::sh("exit 5")
        .set("/hooks/createRuntime", hook(&format!("while ! [ -e {} ]; do sleep 0.05; done", flag.display())));
    let slow_token = l.create("slow", &slow);
    let wrong_token = l.create("wrong", &wrong);
    let quick_token = l.create("quick", &quick);
    assert!(
        [slow_token, wrong_token, quick_token].iter().all(|t| *l.launch(*t).progress() == Progress::Pending(Stage::Preparing))
    );

    let error = l.failed("wrong");
    assert_eq!(error.kind(), Kind::CommandNotFound);
    assert_eq!(error.to_string(), "process.args[0]: exec /no/such: no such file or directory");
    let pid = l.ready("quick");
    assert_eq!(l.launch(quick_token).pid(), Some(pid));
    let container = Container::load(&l.root, &quick.id).unwrap();
    assert_eq!(container.status().unwrap().name(), "created");
    assert_eq!(
        std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().split(' ').nth(3).unwrap(),
        std::process::id().to_string()
    );
    l.launch(quick_token).start().unwrap();
    assert!(l.launch(quick_token).start().is_err(), "a second start");
    assert_eq!(l.started("quick"), pid);
    assert_eq!(l.exit(pid), 3);
    l.delete("quick again", &quick, false);
    assert_eq!(l.answer("quick again", None), Progress::Deleted);

    assert_eq!(*l.launch(slow_token).progress(), Progress::Pending(Stage::RuntimeHooks));
    std::fs::write(&flag, "").unwrap();
    let pid = l.ready("slow");
    l.launch(slow_token).start().unwrap();
    l.started("slow");
    assert_eq!(l.exit(pid), 5);
    l.delete("slow again", &slow, false);
    assert_eq!(l.answer("slow again", None), Progress::Deleted);
    for earlier in ["wrong: failed", "quick: ready", "quick: started", "quick again: deleted"] {
        assert!(l.place(earlier) < l.place("slow: ready"), "{earlier}: {:?}", l.events);
    }
    assert_eq!(std::fs::read_dir(&l.root).unwrap().count(), 0, "state of a failed or deleted container");
    // Workers of three creations and two deletions, three inits.
    assert!(l.exits.len() >= 8, "{:?}", l.exits);
    std::fs::remove_file(flag).unwrap();
}

fn cancelled_while_a_hook_hangs() {
    let mut l = Loop::new();
    let hung = Bundle::sh("exit 0").set("/hooks/createRuntime", hook("exec sleep 10027"));
    let token = l.create("hung", &hung);
    assert_eq!(l.answer("hung", Some(Stage::RuntimeHooks)), Progress::Pending(Stage::RuntimeHooks));
    let pid = l.launch(token).pid().unwrap();
    let worker = l.launch(token).worker().unwrap();
    let cgroup = l.launch(token).cgroup().cloned().unwrap();
    l.launch(token).cancel();
    let error = l.failed("hung").to_string();
    assert_eq!(error, "create: cancelled (stage: createRuntime hooks)");
    assert_eq!((l.exit(pid), l.exit(worker)), (128 + 9, 128 + 9));
    assert!(cgroup.pids(true).unwrap().is_empty());
    l.delete("removal", &hung, true);
    assert_eq!(l.answer("removal", None), Progress::Deleted);
    assert_eq!(std::fs::read_dir(&l.root).unwrap().count(), 0);
}

fn a_program_that_cannot_run_fails_at_start() {
    let mut l = Loop::new();
    let bundle = Bundle::sh("").set("/process/args", json!(["/odd"]));
    std::fs::write(bundle.rootfs().join("odd"), "no program\n").unwrap();
    std::fs::set_permissions(bundle.rootfs().join("odd"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let token = l.create("odd", &bundle);
    let pid = l.ready("odd");
    l.launch(token).start().unwrap();
    let error = l.failed("odd");
    assert_eq!(error.kind(), Kind::CommandNotExecutable);
    assert!(error.to_string().contains("exec /odd: exec format error"), "{error}");
    assert_eq!(l.exit(pid), 1);
    l.delete("removal", &bundle, false);
    assert_eq!(l.answer("removal", None), Progress::Deleted);
}

fn hooks_of_start_run_in_a_worker() {
    let mut l = Loop::new();
    let note = std::env::temp_dir().join(unique());
    let good = Bundle::sh("test -e /hooked && exit 6")
        .set("/hooks/startContainer", json!([{"path": "/bin/touch", "args": ["touch", "/hooked"]}]))
        .set("/hooks/poststart", hook(&format!("cat > {}", note.display())));
    let bad = Bundle::sh("sleep 10028").set("/hooks/poststart", hook("echo no; exit 1"));
    let (good_token, bad_token) = (l.create("good", &good), l.create("bad", &bad));
    let (good_pid, bad_pid) = (l.ready("good"), l.ready("bad"));
    l.launch(good_token).start().unwrap();
    l.launch(bad_token).start().unwrap();
    assert!(l.launch(good_token).worker().is_some());
    let error = l.failed("bad");
    assert_eq!(error.kind(), Kind::Hook);
    assert_eq!(error.to_string(), "hooks.poststart[0] (/bin/sh): exit status 1; it wrote: no");
    assert_eq!(l.exit(bad_pid), 128 + 9);
    assert_eq!(l.started("good"), good_pid);
    assert_eq!(l.exit(good_pid), 6);
    assert!(std::fs::read_to_string(&note).unwrap().contains(&good.id), "the state on the hook's stdin");
    std::fs::remove_file(note).unwrap();
}

fn exec_with_streams_of_its_own() {
    let mut l = Loop::new();
    let bundle = Bundle::sh("sleep 10029");
    let token = l.create("main", &bundle);
    let main = l.ready("main");
    l.launch(token).start().unwrap();
    l.started("main");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let null = || OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/null").unwrap());
    let text = json!({"args": ["/bin/sh", "-c", "echo in $(cat /proc/1/comm); exit 7"], "cwd": "/", "env": ["PATH=/bin"]});
    let request = Exec {
        state_root: l.root.clone(),
        id: bundle.id.clone(),
        process: serde_json::from_value(text).unwrap(),
        wishes: Default::default(),
        stdio: Some([null(), writer.into(), null()]),
    };
    let launch = Launch::exec(&request).unwrap();
    drop(request);
    l.add("exec", launch);
    let pid = l.started("exec");
    assert_eq!(l.exit(pid), 7);
    let mut out = String::new();
    reader.read_to_string(&mut out).unwrap();
    assert_eq!(out, "in sleep\n");
    let request = Exec {
        state_root: l.root.clone(),
        id: bundle.id.clone(),
        process: serde_json::from_value(json!({"args": ["nowhere"], "cwd": "/"})).unwrap(),
        wishes: Default::default(),
        stdio: None,
    };
    l.add("bad exec", Launch::exec(&request).unwrap());
    assert_eq!(l.failed("bad exec").kind(), Kind::CommandNotFound);
    assert!(!l.exits.contains_key(&main));
    l.launch(token).cancel();
    assert_eq!(l.exit(main), 128 + 9);
    l.delete("removal", &bundle, false);
    assert_eq!(l.answer("removal", None), Progress::Deleted);
}

/// The one case with a stage process: it is ours to reap, too.
fn a_user_namespace_with_a_joined_network() {
    let mut l = Loop::new();
    let bundle = Bundle::sh("test \"$(readlink /proc/self/ns/net)\" = \"$(cat /wanted)\" && exit 8")
        .user_namespace(100_000, 65_536)
        .namespace("network", Some("/proc/self/ns/net"))
        .without("/mounts/5");
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    std::fs::write(bundle.rootfs().join("wanted"), own.to_str().unwrap()).unwrap();
    let token = l.create("user", &bundle);
    let pid = l.ready("user");
    l.launch(token).start().unwrap();
    l.started("user");
    assert_eq!(l.exit(pid), 8);
    assert_eq!(l.exits.len(), 3, "worker, stage, init: {:?}", l.exits);
    l.delete("removal", &bundle, false);
    assert_eq!(l.answer("removal", None), Progress::Deleted);
}

/// Another container's stdin must not be kept open by a worker, nor by the init that it leaves.
fn nothing_of_the_callers_stays_open() {
    let mut l = Loop::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    // As a careless caller's would be: inherited by every exec.
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).unwrap();
    let bundle = Bundle::sh("sleep 10030");
    let token = l.create("main", &bundle);
    let pid = l.ready("main");
    l.launch(token).start().unwrap();
    l.started("main");
    drop(writer);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    l.launch(token).cancel();
    l.exit(pid);
    l.delete("removal", &bundle, false);
    assert_eq!(l.answer("removal", None), Progress::Deleted);
}

fn dropped_before_the_start_it_is_undone() {
    let mut l = Loop::new();
    let bundle = Bundle::sh("exit 0");
    let token = l.create("main", &bundle);
    let pid = l.ready("main");
    l.launches.remove(&token);
    assert_eq!(l.exit(pid), 1, "init goes when nobody can start it");
    l.delete("removal", &bundle, false);
    assert_eq!(l.answer("removal", None), Progress::Deleted);
}

fn a_second_thread_is_refused() {
    let l = Loop::new();
    let bundle = Bundle::sh("exit 0");
    let request = l.request(&bundle);
    let (tell, wait) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || wait.recv_timeout(Duration::from_secs(60)).is_ok());
    let outcome = catch_unwind(AssertUnwindSafe(|| Launch::create(request)));
    tell.send(()).unwrap();
    other.join().unwrap();
    let error = outcome.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("2 threads"), "{error}");
}
