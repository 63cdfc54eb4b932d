//! What the tests share.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rrun::cgroup::{Binding, Cgroup, CgroupPlan, Host, Request, plan};
use rrun::error::Result;
use rrun::spec::resources::Resources;

/// Long: the machine may be an emulated one.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn resources(json: &str) -> Resources {
    serde_json::from_str(json).expect(json)
}

/// A name of our own for each cgroup, so that tests run side by side.
pub fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("rrun-cgtest-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A plan for the cgroupfs driver.
pub fn planned(path: &str, json: &str) -> Result<CgroupPlan> {
    let resources = resources(json);
    let request = Request {
        id: "unused",
        cgroups_path: Some(path),
        systemd: false,
        resources: &resources,
        devices: &[],
        annotations: &Default::default(),
    };
    plan(&Host::detect()?, &request)
}

/// A cgroup that is killed and removed at the end of the test, and checked to be gone.
pub struct Scratch(pub Cgroup);

impl Scratch {
    pub fn new(json: &str) -> Self {
        Self::at(&format!("/{}", unique()), json).unwrap_or_else(|e| panic!("{json}: {e}"))
    }

    /// A scope with a sleeping process in it.
    pub fn scope(path: &str, json: &str, annotations: &[(&str, &str)]) -> Result<(Self, Child)> {
        let resources = resources(json);
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let request = Request {
            id: "unused",
            cgroups_path: Some(path),
            systemd: true,
            resources: &resources,
            devices: &[],
            annotations: &annotations,
        };
        let plan = plan(&Host::detect()?, &request)?;
        let created = plan.create()?;
        assert!(created.clone_fd().is_none() && !created.complete_at_clone());
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let scope = Scratch(plan.cgroup().clone());
        if let Err(e) = created.attach(child.id() as i32) {
            child.kill().unwrap();
            child.wait().unwrap();
            return Err(e);
        }
        Ok((scope, child))
    }

    pub fn at(path: &str, json: &str) -> Result<Self> {
        let plan = planned(path, json)?;
        plan.create()?;
        Ok(Scratch(plan.cgroup().clone()))
    }

    /// Where `controller` is bound, said aloud.
    pub fn hierarchy(&self, controller: &str) -> Binding {
        let at = self.0.binding(controller).unwrap_or_else(|| panic!("no {controller} controller on this machine"));
        println!("hierarchy: {}", if at == Binding::V2 { "v2" } else { "v1" });
        at
    }

    /// Content of a file of `controller`.
    pub fn read(&self, controller: &str, v1: &str, v2: &str) -> String {
        let name = if self.0.binding(controller) == Some(Binding::V2) { v2 } else { v1 };
        let path = format!("{}/{name}", self.0.dir(controller).unwrap().full());
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
    }

    /// A shell inside that runs `script` once it is in.
    pub fn run(&self, script: &str) -> Child {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.0.add(child.id() as i32).unwrap();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        child
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.0.freeze(false, PATIENCE);
        let ended = self.0.kill_all().and(self.0.destroy(PATIENCE));
        let left: Vec<String> = self.0.dirs().map(|d| d.full()).filter(|d| std::path::Path::new(d).exists()).collect();
        if !std::thread::panicking() {
            ended.unwrap();
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}

/// Waits until `done` says so: for what has no event of its own in a test.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a shell inside can do: `can(&cgroup, "head -c1 </dev/zero")`.
pub fn can(cgroup: &Scratch, command: &str) -> bool {
    cgroup.run(&format!("{command} >/dev/null")).wait().unwrap().success()
}
