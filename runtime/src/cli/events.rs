//! `rrun events`.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::args::{Args, Command, Example, Flag, Operand};
use super::{Globals, quantity};
use crate::cgroup::stats::Stats;
use crate::cgroup::{OomEvent, OomWatch};
use crate::container::Container;
use crate::error::{Error, Kind, Result};

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "events",
    summary: "print what a container uses, and when it runs out of memory",
    about: "One JSON object a line: \"stats\" at each interval, \"oom\" when the kernel has killed a process for lack of\n\
            memory. Ends when the container's first process does.",
    flags: &[
        Flag::text("interval", "TIME", "time between two lines of statistics, such as 500ms or 1m (default: 5s)"),
        Flag::switch("stats", "print the statistics once"),
    ],
    operands: &[Operand::Container],
    least: 1,
    most: 1,
    examples: &[
        Example { line: "rrun events --stats web", does: "what it uses now" },
        Example { line: "rrun events --interval 1s web", does: "every second, until it ends" },
    ],
    ..Command::EMPTY
};

/// One line.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

fn line(kind: &'static str, id: &str, data: Option<Stats>) -> Result<()> {
    let text = serde_json::to_string(&Event { kind, id, data }).map_err(|e| Error::failed("events", e.to_string()))?;
    super::print(&(text + "\n"))
}

/// Prints the events.
///
/// # Errors
/// If there is no such container, it has stopped, or its cgroup cannot be read.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    let interval = interval(args)?;
    let container = Container::load(&globals.root, args.first())?;
    let (init, group) = container.watched("watch")?;
    let id = container.state().id.as_str();
    if args.on("stats") {
        line("stats", id, Some(container.stats()?))?;
        return Ok(0);
    }
    let mut watch = match group.oom_watch() {
        Ok(watch) => Some(watch),
        // Statistics are worth having without it.
        Err(e) if e.kind() == Kind::Unsupported => {
            globals.log.warn(&e.to_string());
            None
        }
        Err(e) => return Err(e),
    };
    let mut next = Instant::now() + interval;
    loop {
        let ended = wait(&init, watch.as_ref(), next)?;
        match watch.as_mut().map_or(Ok(OomEvent::None), OomWatch::on_ready)? {
            OomEvent::Oom => line("oom", id, None)?,
            // Said as soon as the cgroup is empty, and then again and again: init decides when it is over.
            OomEvent::Gone => watch = None,
            OomEvent::None => {}
        }
        if ended {
            return Ok(0);
        }
        if Instant::now() >= next {
            line("stats", id, Some(container.stats()?))?;
            // Lines that a slow reader has missed are not made up for.
            next = (next + interval).max(Instant::now());
        }
    }
}

fn interval(args: &Args) -> Result<Duration> {
    let Some(text) = args.text("interval") else { return Ok(Duration::from_secs(5)) };
    let interval = quantity::duration(text).filter(|d| !d.is_zero());
    interval.ok_or_else(|| Error::config("--interval", format!("{text:?} is no time above 0; give one such as 5s or 1m30s")))
}

/// Waits until init has ended (true), or for `next`, or for something to ask `watch` about.
fn wait(init: &OwnedFd, watch: Option<&OomWatch>, next: Instant) -> Result<bool> {
    let left = next.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
    let mut fds = vec![PollFd::new(init, PollFlags::IN)];
    fds.extend(watch.map(|w| PollFd::from_borrowed_fd(w.fd(), PollFlags::IN)));
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => Ok(fds.first().is_some_and(|init| !init.revents().is_empty())),
        Err(Errno::INTR) => Ok(false),
        Err(e) => Err(Error::system("events", "poll(pidfd of init, oom events)", e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{GLOBALS, args};

    #[test]
    fn the_interval_is_a_time_above_zero() {
        let read = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
            interval(&args::parse(&COMMAND, &GLOBALS, &words).unwrap())
        };
        assert_eq!(read("web"), Ok(Duration::from_secs(5)));
        assert_eq!(read("--interval 250ms web"), Ok(Duration::from_millis(250)));
        for bad in ["0", "0s", "5", "-1s"] {
            let e = read(&format!("--interval {bad} web")).unwrap_err().to_string();
            assert!(e.starts_with(&format!("--interval: {bad:?} is no time above 0")), "{e}");
        }
    }

    #[test]
    fn lines_have_the_shape_of_runc() {
        let text = |data| serde_json::to_value(Event { kind: "x", id: "web", data }).unwrap();
        assert_eq!(text(None), serde_json::json!({"type": "x", "id": "web"}));
        let mut stats = Stats::default();
        stats.pids.current = 3;
        assert_eq!(text(Some(stats))["data"]["pids"], serde_json::json!({"current": 3}));
    }
}
