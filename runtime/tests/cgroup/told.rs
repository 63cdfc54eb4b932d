//! Statistics and events.

use rrun::cgroup::{Binding, OomEvent};

use crate::support::*;

#[test]
fn statistics_move_with_the_work() {
    let cgroup = Scratch::new(
        r#"{"memory":{"limit":104857600},"pids":{"limit":50},"cpu":{"quota":2000,"period":10000},"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#,
    );
    cgroup.hierarchy("memory");
    let empty = cgroup.0.stats().unwrap();
    assert_eq!((empty.pids.current, empty.pids.limit, empty.memory.usage.limit), (0, 50, 104_857_600));
    assert!(empty.hugetlb.contains_key("2MB"));
    // Both kinds of CPU time, anonymous memory, the page cache, and a write to a disk that has one.
    let dir = std::env::temp_dir().join(unique());
    std::fs::create_dir(&dir).unwrap();
    let script = format!(
        "x=$(head -c 6000000 /dev/zero | tr '\\0' x); dd if=/dev/zero of={}/f bs=1M count=4 conv=fsync 2>/dev/null; while :; do read a </proc/self/stat; done",
        dir.display()
    );
    let mut child = cgroup.run(&script);
    until("both CPU times move", || {
        let s = cgroup.0.stats().unwrap();
        s.cpu.usage.kernel > empty.cpu.usage.kernel
            && s.cpu.usage.user > empty.cpu.usage.user
            && s.cpu.throttling.throttled_periods > 0
            && s.memory.usage.usage > 4_000_000
            && s.memory.cache > empty.memory.cache
    });
    let busy = cgroup.0.stats().unwrap();
    assert!(
        busy.cpu.usage.total > empty.cpu.usage.total && busy.cpu.throttling.throttled_time > 0 && busy.cpu.throttling.periods > 0
    );
    assert!(
        busy.pids.current >= 1 && busy.memory.usage.usage > 4_000_000 && busy.memory.usage.max >= busy.memory.usage.usage,
        "{busy:?}"
    );
    assert!(busy.memory.swap.usage >= busy.memory.usage.usage);
    assert!(busy.memory.raw.len() > 10 && busy.memory.cache > empty.memory.cache, "{busy:?}");
    if let Some(psi) = &busy.cpu.psi {
        println!("pressure: {:?}", psi.some);
        assert!(psi.some.total > 0, "a throttled process waits: {psi:?}");
    }
    if cgroup.0.binding("cpuset") != Some(Binding::V2) {
        assert!(!busy.cpuset.cpus.is_empty() && busy.cpu.usage.percpu.iter().sum::<u64>() > 0);
    }
    println!("block devices: {:?}", busy.blkio.io_service_bytes_recursive);
    let json = serde_json::to_value(&busy).unwrap();
    assert_eq!(json["memory"]["usage"]["limit"], 104_857_600);
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}

fn poll_in(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)).unwrap() == 1
}

#[test]
fn an_oom_kill_is_told_and_so_is_the_end() {
    let cgroup = Scratch::new(r#"{"memory":{"limit":16777216,"swap":16777216}}"#);
    cgroup.hierarchy("memory");
    let mut watch = cgroup.0.oom_watch().unwrap();
    assert_eq!(watch.on_ready().unwrap(), if watch_is_v1(&cgroup) { OomEvent::None } else { OomEvent::Gone }, "nothing yet");
    let mut child = cgroup.run("while sleep 0.01; do :; done & head -c 100000000 /dev/zero | tail >/dev/null; wait");
    loop {
        assert!(poll_in(watch.fd()));
        match watch.on_ready().unwrap() {
            OomEvent::Oom => break,
            OomEvent::None => {}
            OomEvent::Gone => panic!("gone before it was told"),
        }
    }
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
    let paths = cgroup.0.clone();
    drop(cgroup);
    assert!(!paths.exists());
    while watch.on_ready().unwrap() != OomEvent::Gone {
        assert!(poll_in(watch.fd()));
    }
}

fn watch_is_v1(cgroup: &Scratch) -> bool {
    cgroup.0.binding("memory") != Some(Binding::V2)
}
