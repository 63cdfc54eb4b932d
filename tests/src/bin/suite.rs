//! Runs test executables one after the other and writes a summary that also counts skips, limit tests per hierarchy and leaks.
//!
//!     suite NAME RESULTS EXECUTABLE...
//!
//! NAME is how the stage is called, RESULTS a file for the summary ("-": none, only standard output). Executables come from `cargo test
//! --no-run`. The same program runs on the host and in the virtual machine. `TESTS` in the environment is a filter for test names.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use rrun_tests::host::hierarchy;
use rrun_tests::leaks::{self, Snapshot};

/// Seconds that one test executable may take; the slowest takes about 200 in the virtual machine.
const DEADLINE: u64 = 420;

#[derive(Default)]
struct Counts {
    passed: u32,
    failed: u32,
    failures: Vec<String>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, results, executables @ ..] = args.as_slice() else {
        eprintln!("usage: suite NAME RESULTS EXECUTABLE...");
        return ExitCode::from(2);
    };
    let tag = format!("rrt{}", std::process::id());
    let notes = std::env::temp_dir().join(format!("{tag}-notes"));
    if let Err(e) = fs::create_dir_all(&notes) {
        eprintln!("suite: mkdir {}: {e}", notes.display());
        return ExitCode::from(2);
    }
    let before = Snapshot::take();
    let mut counts = Counts::default();
    for executable in executables {
        run(executable, name, &tag, &notes, &mut counts);
    }

    let lines = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(notes.join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let skipped = lines("skipped");
    let limits = lines("limits");
    // A test that skips ends as "ok" for the harness: it has not passed.
    let passed = counts.passed.saturating_sub(u32::try_from(skipped.len()).unwrap_or(u32::MAX));
    let _ = fs::remove_dir_all(&notes);
    let leaks = leaks::lasting(&before, &tag);

    let mut text = String::new();
    let count = |kind: &str| limits.iter().filter(|line| line.starts_with(kind)).count();
    let _ = writeln!(
        text,
        "{name}: {passed} passed, {} failed, {} skipped, {} leaked (cgroup {})",
        counts.failed,
        skipped.len(),
        leaks.len(),
        hierarchy().name()
    );
    let _ = writeln!(text, "{name}: limit tests on v1: {}, on v2: {}", count("v1 "), count("v2 "));
    for line in &skipped {
        let _ = writeln!(text, "{name}: skipped: {line}");
    }
    for line in &counts.failures {
        let _ = writeln!(text, "{name}: failed: {line}");
    }
    for line in &leaks {
        let _ = writeln!(text, "{name}: left behind: {line}");
    }
    print!("{text}");
    if results != "-"
        && let Err(e) = fs::write(results, &text)
    {
        eprintln!("suite: {results}: {e}");
        return ExitCode::from(2);
    }
    if counts.failed == 0 && leaks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one executable and reads the harness's lines ("test NAME ... ok").
fn run(executable: &str, stage: &str, tag: &str, notes: &Path, counts: &mut Counts) {
    let stem = Path::new(executable).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let subject = stem.rsplit_once('-').map_or(stem.as_str(), |(name, _)| name).to_owned();
    let started = Instant::now();
    let mut command = Command::new(executable);
    // At least two threads: with one, the harness does not name its thread after the test.
    command.arg("--test-threads").arg(std::env::var("TEST_THREADS").unwrap_or_else(|_| "4".to_owned()));
    command.args(std::env::var("TESTS").ok());
    command.env("RRUN_TEST_TAG", tag).env("RRUN_SKIP_LOG", notes.join("skipped")).env("RRUN_HIERARCHY_LOG", notes.join("limits"));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(e) => {
            counts.failed += 1;
            counts.failures.push(format!("{subject}: cannot start {executable}: {e}"));
            return;
        }
    };
    let (mut ok, mut bad, mut complete) = (0, 0, false);
    // A reader of its own: a process that a failed test left behind may hold the pipe for ever, and a test may never end.
    let (sender, lines) = std::sync::mpsc::channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    }
    let deadline = started + Duration::from_secs(DEADLINE);
    let mut ended = None;
    loop {
        let line = match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break,
            // Ended a while ago, and nothing more was said.
            Err(RecvTimeoutError::Timeout) if ended.is_some_and(|at: Instant| at.elapsed().as_secs() >= 2) => break,
            Err(RecvTimeoutError::Timeout) => {
                if ended.is_none() && matches!(child.try_wait(), Ok(Some(_))) {
                    ended = Some(Instant::now());
                }
                if ended.is_none() && Instant::now() > deadline {
                    let _ = child.kill();
                    counts.failures.push(format!("{subject}: killed: not done after {DEADLINE} s"));
                }
                continue;
            }
        };
        let verdict = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "));
        match verdict {
            Some((_, "ok")) => ok += 1,
            Some((test, "FAILED")) => {
                bad += 1;
                counts.failures.push(format!("{subject}::{test}"));
            }
            _ if line.starts_with("test result:") => complete = true,
            // What failing tests printed.
            _ if !line.is_empty() && !line.starts_with("running ") => println!("{line}"),
            _ => {}
        }
    }
    let status = child.wait();
    if !complete || (bad == 0 && !status.as_ref().is_ok_and(|s| s.success())) {
        bad += 1;
        counts.failures.push(format!("{subject}: the test program itself ended early: {status:?}"));
    }
    if ok + bad > 0 {
        println!("{stage}: {subject}: {ok} ok, {bad} failed ({:.1} s)", started.elapsed().as_secs_f32());
    }
    counts.passed += ok;
    counts.failed += bad;
}
