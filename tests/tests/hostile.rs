//! A container gets nothing from the process that starts it: from a hostile parent its /proc/PID/status, limits and fd are those from a clean one.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use rrun_tests::runtime::{Running, binary};
use rrun_tests::{Bundle, Runtime};

/// What the kernel says of the container's process, without what differs from run to run.
fn portrait(rt: &Runtime, id: &str) -> BTreeMap<String, String> {
    let pid = rt.pid(id);
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let mut seen = BTreeMap::new();
    for line in read("status").lines() {
        let (name, value) = line.split_once(':').unwrap();
        let differs = ["Pid", "Tgid", "PPid", "NStgid", "NSpid", "NSpgid", "NSsid"].contains(&name)
            || name.starts_with("Vm")
            || name.starts_with("Rss")
            || name.ends_with("ctxt_switches")
            || name == "State"
            || name == "FDSize"
            || name == "SigQ";
        if !differs {
            seen.insert(format!("status {name}"), value.trim().to_owned());
        }
    }
    // "Max pending signals" and the like come from the parent unless set; they must at least not be those of the hostile one.
    for line in read("limits").lines().skip(1) {
        seen.insert(format!("limits {}", line[..26].trim()), line[26..].trim().to_owned());
    }
    let mut fds: Vec<String> =
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    fds.sort();
    seen.insert("fd".to_owned(), fds.join(" "));
    seen.insert("environ".to_owned(), read("environ").replace('\0', " "));
    seen.insert("oom_score_adj".to_owned(), read("oom_score_adj"));
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    seen.insert("nice and policy".to_owned(), format!("{} {}", fields[16], fields[38]));
    let exec = rt.exec_sh(id, "umask; grep -E '^(Sig|Shd|Cap|Umask|NoNew|Cpus_allowed_list)' /proc/self/status; ls /proc/$$/fd");
    seen.insert(
        "exec from a clean parent".to_owned(),
        exec.ok().lines().filter(|l| !l.starts_with("SigQ")).collect::<Vec<_>>().join("\n"),
    );
    seen
}

/// Everything that a parent can pass on without meaning to: all signals blocked and ignored, odd soft limits (a lower hard limit cannot be
/// raised again without CAP_SYS_RESOURCE), one CPU, a strange umask and nice
/// value, 500 descriptors without close-on-exec, an odd environment.
fn hostile(args: &[&str]) -> Command {
    let script = "ulimit -Sc 4096; ulimit -Ss 2000; ulimit -Sn 1500; ulimit -Su 3000; ulimit -Sx 77; ulimit -Sq 1000; umask 0137; \
                  for i in $(seq 10 510); do eval \"exec $i</dev/null\"; done; \
                  exec taskset -c 0 nice -n 5 env --ignore-signal --block-signal LD_PRELOAD=/nowhere GLIBC_TUNABLES=x=y RUST_LOG=trace \"$@\"";
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash"]).args(args).stdin(Stdio::null());
    command
}

#[test]
fn a_container_from_a_hostile_parent_equals_one_from_a_clean_parent() {
    let rt = Runtime::new();
    let (clean, odd) = (Bundle::sleeper(), Bundle::sleeper());
    rt.cmd(&["run", "--detach", "--bundle", clean.write(), &clean.id]).ok();
    let root = rt.root().to_str().unwrap();
    let binary = binary();
    Running::start(hostile(&[binary.to_str().unwrap(), "--root", root, "run", "--detach", "--bundle", odd.write(), &odd.id]))
        .finish()
        .ok();
    let (expected, found) = (portrait(&rt, &clean.id), portrait(&rt, &odd.id));
    for (name, value) in &expected {
        assert_eq!(found.get(name), Some(value), "{name}: from the clean parent on the right");
    }
    assert_eq!(expected.len(), found.len());
}

#[test]
fn exec_from_a_hostile_parent_equals_exec_from_a_clean_parent() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    let show = "umask; grep -E '^(Sig[BIC]|Shd|Cap|NoNew|Seccomp|Cpus_allowed_list|Groups|Uid|Gid|Umask)' /proc/self/status; cat /proc/self/limits; ls /proc/$$/fd; /bin/env; awk '{print $19, $41}' /proc/self/stat; cat /proc/self/oom_score_adj";
    let root = rt.root().to_str().unwrap();
    let clean = rt.exec_sh(&bundle.id, show);
    let binary = binary();
    let odd =
        Running::start(hostile(&[binary.to_str().unwrap(), "--root", root, "exec", &bundle.id, "/bin/sh", "-c", show])).finish();
    assert_eq!(odd.ok(), clean.ok());
}

#[test]
fn signals_work_inside_although_the_parent_blocked_and_ignored_them() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("trap 'echo got usr1; exit 11' USR1; kill -USR1 $$; sleep 5; echo nothing came");
    let root = rt.root().to_str().unwrap();
    let binary = binary();
    let output =
        Running::start(hostile(&[binary.to_str().unwrap(), "--root", root, "run", "--bundle", bundle.write(), &bundle.id]))
            .finish();
    assert_eq!(output.exits(11), "got usr1");
    rt.assert_nothing_left(&bundle);
}

#[test]
fn closed_standard_streams_do_not_shift_descriptors() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("ls /proc/$$/fd > /list; echo done > /list.done");
    bundle.write();
    let line = format!(
        "exec {} --root {} run --bundle {} {} <&- >&- 2>&-",
        binary().display(),
        rt.root().display(),
        bundle.path().display(),
        bundle.id
    );
    rrun_tests::runtime::command("bash", &["-c", &line]);
    rt.assert_nothing_left(&bundle);
    if let Ok(list) = fs::read_to_string(bundle.rootfs().join("list")) {
        // Whatever stands there, it is no descriptor of the runtime: the container sees nothing above 2 but what the shell itself opened.
        assert!(list.lines().all(|n| n.parse::<u32>().unwrap() <= 2 || n == "10"), "{list}");
    }
}
