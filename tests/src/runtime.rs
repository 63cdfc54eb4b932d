//! The built binary under test, with a state directory of its own for every test.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bundle::Bundle;
use crate::host::{alive, cgroup_dirs, eventually, patience, unique};

/// Path of the binary under test: `RRUN_BIN`, or `bin/rrun` of this repository.
pub fn binary() -> PathBuf {
    match std::env::var_os("RRUN_BIN") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository's root").join("bin/rrun"),
    }
}

/// What a finished command left: exit code (128 + signal where a signal ended it) and its output.
#[derive(Debug)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// The command line, for messages.
    pub command: String,
}

impl Output {
    /// Standard output of a command that must have succeeded, without the white space around it.
    #[track_caller]
    pub fn ok(&self) -> &str {
        self.exits(0)
    }

    /// Standard output of a command that must have ended with this code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{}\nstdout: {}\nstderr: {}", self.command, self.out, self.err);
        self.out.trim()
    }

    /// The command must have failed, and its standard error must hold all of these, in capitals or not.
    #[track_caller]
    pub fn fails_with(&self, words: &[&str]) {
        assert_ne!(self.code, 0, "{} succeeded\nstdout: {}", self.command, self.out);
        for word in words {
            assert!(
                self.err.to_lowercase().contains(&word.to_lowercase()),
                "{}: no {word:?} in its message: {}",
                self.command,
                self.err
            );
        }
        assert!(!self.err.contains("panicked at"), "{}: {}", self.command, self.err);
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|e| panic!("{}: {e} in {}", self.command, self.out))
    }
}

/// A program that runs beside the test; its output goes to files, so that it can be read at any time and nobody waits for an open pipe.
pub struct Running {
    child: Child,
    files: PathBuf,
    command: String,
}

impl Running {
    /// Starts the command with stdout and stderr in files.
    pub fn start(mut command: Command) -> Running {
        let files = std::env::temp_dir().join(unique());
        let shown = format!("{command:?}");
        let open =
            |ending: &str| File::create(files.with_extension(ending)).unwrap_or_else(|e| panic!("{}: {e}", files.display()));
        command.stdout(open("out")).stderr(open("err"));
        let child = command.spawn().unwrap_or_else(|e| panic!("{shown}: {e}"));
        Running { child, files, command: shown }
    }

    /// Process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// What is in standard output so far.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.files.with_extension("out")).unwrap_or_default()).into_owned()
    }

    /// What is in standard error so far.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.files.with_extension("err")).unwrap_or_default()).into_owned()
    }

    /// Waits until standard output holds `text`. When the program has ended, what it left running gets a tenth of the patience to say it.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let mut ended: Option<Instant> = None;
        let seen = eventually(|| {
            if self.out().contains(text) {
                return Some(true);
            }
            if ended.is_none() && !alive(self.pid()) {
                ended = Some(Instant::now());
            }
            ended.is_some_and(|at| at.elapsed() > patience() / 10).then_some(false)
        });
        assert_eq!(seen, Some(true), "{}: no {text:?} in its output: {}\n{}", self.command, self.out(), self.err());
    }

    /// Waits for the end; a program that does not end in time is killed and the test fails.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        let deadline = Instant::now() + patience();
        let status = loop {
            match self.child.try_wait().expect("wait for a child of ours") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    panic!("{} did not end\nstdout: {}\nstderr: {}", self.command, self.out(), self.err())
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Output { code, out: self.out(), err: self.err(), command: self.command.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Ended in between is fine; it is reaped either way.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for ending in ["out", "err"] {
            let _ = fs::remove_file(self.files.with_extension(ending));
        }
    }
}

/// Runs any command to its end.
#[track_caller]
pub fn command(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    Running::start(command).finish()
}

/// The runtime with a private state directory. Dropping it deletes every container that it knows, and the directory.
pub struct Runtime {
    root: PathBuf,
}

impl Default for Runtime {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime {
    /// A runtime without containers.
    pub fn new() -> Self {
        let binary = binary();
        assert!(binary.exists(), "{} is not there: make build", binary.display());
        Runtime { root: std::env::temp_dir().join(format!("{}-state", unique())) }
    }

    /// The state directory (made by the runtime itself).
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The command, to be adjusted and started by the test.
    pub fn prepare(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--root").arg(&self.root).args(args).stdin(Stdio::null());
        command
    }

    /// Starts the command and does not wait for it.
    pub fn spawn(&self, args: &[&str]) -> Running {
        Running::start(self.prepare(args))
    }

    /// Runs the command to its end.
    #[track_caller]
    pub fn cmd(&self, args: &[&str]) -> Output {
        self.spawn(args).finish()
    }

    /// Writes the bundle's configuration and runs its container to the end.
    #[track_caller]
    pub fn run(&self, bundle: &Bundle) -> Output {
        self.cmd(&["run", "--bundle", bundle.write(), &bundle.id])
    }

    /// Creates the bundle's container.
    #[track_caller]
    pub fn create(&self, bundle: &Bundle) -> Output {
        self.cmd(&["create", "--bundle", bundle.write(), &bundle.id])
    }

    /// Runs the bundle's container in the background.
    #[track_caller]
    pub fn run_detached(&self, bundle: &Bundle) {
        self.cmd(&["run", "--detach", "--bundle", bundle.write(), &bundle.id]).ok();
    }

    /// `exec` with these arguments in the container.
    #[track_caller]
    pub fn exec(&self, id: &str, args: &[&str]) -> Output {
        self.cmd(&[&["exec", id], args].concat())
    }

    /// `exec` of a shell script.
    #[track_caller]
    pub fn exec_sh(&self, id: &str, script: &str) -> Output {
        self.exec(id, &["/bin/sh", "-c", script])
    }

    /// `state`, as JSON.
    #[track_caller]
    pub fn state(&self, id: &str) -> Value {
        self.cmd(&["state", id]).json()
    }

    /// The state's `status`.
    #[track_caller]
    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap_or("?").to_owned()
    }

    /// Process id of the container's first process.
    #[track_caller]
    pub fn pid(&self, id: &str) -> i32 {
        let pid = self.state(id)["pid"].as_i64().and_then(|p| i32::try_from(p).ok());
        pid.unwrap_or_else(|| panic!("state of {id} has no pid"))
    }

    /// Waits until the container has this status.
    #[track_caller]
    pub fn wait_status(&self, id: &str, status: &str) {
        let mut last = String::new();
        let reached = eventually(|| {
            last = self.status(id);
            (last == status).then_some(())
        });
        assert!(reached.is_some(), "{id} is {last}, not {status}");
    }

    /// Identifiers of all containers.
    pub fn list(&self) -> Vec<String> {
        let output = self.cmd(&["list", "--quiet"]);
        output.out.split_whitespace().map(str::to_owned).collect()
    }

    /// Nothing of the bundle's container may be left: no state, no cgroup in any hierarchy, no mount below the bundle.
    #[track_caller]
    pub fn assert_nothing_left(&self, bundle: &Bundle) {
        let known: Vec<String> = fs::read_dir(&self.root)
            .map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        assert!(
            !known.iter().any(|name| name.contains(&bundle.id)),
            "state of {} is left in {}: {known:?}",
            bundle.id,
            self.root.display()
        );
        let path = bundle.cgroup();
        if !path.is_empty() {
            let dirs = cgroup_dirs(&path);
            assert!(dirs.is_empty(), "cgroups are left: {dirs:?}");
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&bundle.id)).collect();
        assert!(left.is_empty(), "mounts are left: {left:#?}");
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.root.exists() {
            return;
        }
        // Also when the test has failed: a second panic would abort the whole test binary, so errors are ignored here.
        let mut command = self.prepare(&["list", "--quiet"]);
        if let Ok(output) = command.stderr(Stdio::null()).output() {
            for id in String::from_utf8_lossy(&output.stdout).split_whitespace() {
                let _ = self.prepare(&["delete", "--force", id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
            }
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}
