//! What has broken container runtimes: the mechanism of each, replayed against the binary. Tests are named after the id.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rrun_tests::host::rounds;
use rrun_tests::runtime::{Running, binary, command};
use rrun_tests::{Bundle, Runtime, eventually};
use serde_json::json;

/// Gives the container every capability that a careless configuration would.
fn privileged(bundle: Bundle) -> Bundle {
    let caps = json!([
        "CAP_SYS_ADMIN",
        "CAP_DAC_OVERRIDE",
        "CAP_SYS_PTRACE",
        "CAP_MKNOD",
        "CAP_CHOWN",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_DAC_READ_SEARCH"
    ]);
    bundle.set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}))
}

fn with_inside(bundle: Bundle) -> Bundle {
    fs::copy(env!("CARGO_BIN_EXE_inside"), bundle.rootfs().join("inside")).unwrap();
    bundle
}

/// The binary's content may not change whatever happens inside.
fn fingerprint() -> (u64, i64, Vec<u8>) {
    let meta = fs::metadata(binary()).unwrap();
    (meta.len(), meta.mtime(), fs::read(binary()).unwrap())
}

#[test]
fn cve_2019_5736_binary_overwritten_through_proc_self_exe() {
    let before = fingerprint();
    let rt = Runtime::new();
    // The program of the container is a link to /proc/self/exe: whoever executes it, executes the runtime again, and a second process of the
    // container writes to /proc/PID/exe meanwhile.
    let bundle = privileged(with_inside(Bundle::sleeper()));
    symlink("/proc/self/exe", bundle.rootfs().join("bin/again")).unwrap();
    fs::write(bundle.rootfs().join("bin/script"), "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(bundle.rootfs().join("bin/script"), fs::Permissions::from_mode(0o755)).unwrap();
    rt.run_detached(&bundle);
    let attacker = rt.spawn(&["exec", &bundle.id, "/bin/sh", "-c", "echo up; i=0; while [ $i -lt 400 ]; do for p in /proc/[0-9]*; do [ \"$(readlink $p/exe)\" = /bin/busybox ] || /inside write $p/exe x; done; i=$((i+1)); done 2>/dev/null"]);
    attacker.wait_for("up");
    for _ in 0..rounds(5) {
        for program in ["/bin/again", "/bin/script"] {
            rt.exec(&bundle.id, &[program]);
        }
    }
    assert!(!attacker.out().contains("written"), "{}", attacker.out());
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    attacker.finish();
    assert!(fingerprint() == before, "the runtime's binary has changed");

    // The same at the start of a container.
    let bundle = privileged(Bundle::sh("true")).set("/process/args", vec!["/proc/self/exe", "--version"]);
    rt.run(&bundle);
    rt.assert_nothing_left(&bundle);
    assert!(fingerprint() == before);
}

#[test]
fn cve_2016_9962_the_joining_process_can_be_neither_traced_nor_read() {
    let rt = Runtime::new();
    // All that an attacker may have but CAP_SYS_PTRACE: with that, held in our own user namespace, it may take over the joining
    // process itself, whatever is open in it (docs/decisions.md).
    let bundle = privileged(with_inside(Bundle::sleeper()));
    let caps =
        json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_MKNOD", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_READ_SEARCH"]);
    let bundle = bundle.set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}));
    rt.run_detached(&bundle);
    // Looks at every process that joins, as early as it shows up, for descriptors that lead out of the container.
    let script = "echo up; i=0; while [ $i -lt 300 ]; do for p in /proc/[0-9]*; do for f in $p/fd/*; do l=$(readlink $f) || continue; \
                  case $l in /dev/*|pipe:*|socket:*|/proc*|/tmp/rrt*.out|/tmp/rrt*.err|'') ;; *) echo \"found $p $l\";; esac; done; done; i=$((i+1)); done 2>/dev/null";
    let attacker = rt.spawn(&["exec", &bundle.id, "/bin/sh", "-c", script]);
    attacker.wait_for("up");
    for _ in 0..rounds(10) {
        rt.exec(&bundle.id, &["/bin/true"]).ok();
    }
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
    let root = rt.root().to_str().unwrap();
    let out = attacker.finish().out;
    assert!(!out.contains(root) && !out.contains("/sys/fs/cgroup") && !out.contains(binary().to_str().unwrap()), "{out}");
}

#[test]
fn cve_2024_21626_leaked_directory_fd() {
    let rt = Runtime::new();
    // A working directory through a descriptor of the runtime would be a directory of the host.
    for fd in 3..3 + rounds(17) as i32 {
        let bundle = privileged(Bundle::sh("pwd; ls ../../../../../../etc/debian_version 2>/dev/null"))
            .set("/process/cwd", format!("/proc/self/fd/{fd}"));
        let output = rt.run(&bundle);
        assert!(!output.out.contains("debian_version"), "descriptor {fd} leads out: {output:?}");
        assert_ne!(output.code, 0, "descriptor {fd} was accepted as working directory: {output:?}");
        rt.assert_nothing_left(&bundle);
    }
    let bundle = privileged(Bundle::sleeper());
    rt.run_detached(&bundle);
    for fd in 3..3 + rounds(17) as i32 {
        let output = rt.cmd(&[
            "exec",
            "--cwd",
            &format!("/proc/self/fd/{fd}"),
            &bundle.id,
            "/bin/ls",
            "../../../../../../etc/debian_version",
        ]);
        assert_ne!(output.code, 0, "{output:?}");
    }
    // A link inside the image to such a place is the same.
    for fd in 3..3 + rounds(9) as i32 {
        let link = bundle.rootfs().join(format!("link{fd}"));
        symlink(format!("/proc/self/fd/{fd}"), link).unwrap();
        assert_ne!(rt.cmd(&["exec", "--cwd", &format!("/link{fd}"), &bundle.id, "/bin/pwd"]).code, 0);
    }
}

#[test]
fn cve_2024_21626_no_descriptor_is_left_at_exec() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    // Without a shell or a pipe, which would have descriptors of their own: ls has one of the directory that it reads.
    rt.run_detached(&bundle);
    let mut fds: Vec<_> =
        fs::read_dir(format!("/proc/{}/fd", rt.pid(&bundle.id))).unwrap().map(|e| e.unwrap().file_name()).collect();
    fds.sort();
    assert_eq!(fds, ["0", "1", "2"]);
    assert_eq!(
        rt.exec(&bundle.id, &["/bin/ls", "/proc/self/fd"]).ok().split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3"]
    );
}

#[test]
fn cve_2021_30465_mount_target_swapped_for_a_link() {
    let rt = Runtime::new();
    // Two containers share a volume; one swaps a directory in it for a link to the top of the root while the other is started with a mount
    // below it. Whatever wins, nothing may be mounted over the host.
    let first = Bundle::sleeper();
    let shared = first.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    let path = shared.to_str().unwrap().to_owned();
    let first = first.mount("/shared", "bind", &path, &["rbind", "rw"]);
    rt.run_detached(&first);
    let attacker = rt.spawn(&[
        "exec",
        &first.id,
        "/bin/sh",
        "-c",
        "cd /shared; echo up; i=0; while [ $i -lt 3000 ]; do mkdir t 2>/dev/null; mv t u 2>/dev/null; ln -s / t 2>/dev/null; rm -f t; rmdir u 2>/dev/null; i=$((i+1)); done",
    ]);
    attacker.wait_for("up");
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for _ in 0..rounds(15) {
        let second =
            Bundle::sh("cat /etc/passwd > /dev/null; cat /proc/self/mountinfo").mount("/shared", "bind", &path, &["rbind", "rw"]);
        let second = second.mount("/shared/t/x", "tmpfs", "tmpfs", &[]);
        let output = rt.run(&second);
        if output.code == 0 {
            let roots = output.out.lines().filter(|l| l.split(' ').nth(4) == Some("/")).count();
            assert_eq!(roots, 1, "{}", output.out);
        }
    }
    rt.cmd(&["delete", "--force", &first.id]).ok();
    attacker.finish();
    let now = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = |text: &str| {
        text.lines().filter(|l| !l.contains("rrt")).map(|l| l.split(' ').nth(4).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(points(&before), points(&now));
}

#[test]
fn cve_2024_45310_directories_made_outside_the_rootfs() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    let outside = bundle.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, bundle.rootfs().join("absolute")).unwrap();
    symlink("../outside", bundle.rootfs().join("relative")).unwrap();
    let bundle = bundle.mount("/absolute/made", "tmpfs", "tmpfs", &[]).mount("/relative/made", "tmpfs", "tmpfs", &[]);
    let file = bundle.path().join("file");
    fs::write(&file, "").unwrap();
    let path = file.to_str().unwrap().to_owned();
    let bundle = bundle.mount("/relative/file", "bind", &path, &["bind"]);
    rt.run(&bundle);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made outside of the root file system");
    rt.assert_nothing_left(&bundle);
}

#[test]
fn cve_2019_19921_cve_2023_27561_cve_2023_28642_proc_is_a_link() {
    let rt = Runtime::new();
    for (name, position) in [("proc", 0), ("sys", 5)] {
        let bundle = Bundle::sh("true");
        fs::remove_dir(bundle.rootfs().join(name)).unwrap();
        fs::create_dir_all(bundle.rootfs().join("fake").join(name)).unwrap();
        symlink(format!("fake/{name}"), bundle.rootfs().join(name)).unwrap();
        let output = rt.run(&bundle);
        output.fails_with(&[&format!("mounts[{position}]"), &format!("/{name}")]);
        rt.assert_nothing_left(&bundle);
    }
}

#[test]
fn cve_2019_16884_proc_covered_by_a_volume() {
    let rt = Runtime::new();
    for destination in ["/proc", "/proc/self", "/proc/self/attr", "/proc/sys/kernel"] {
        let bundle = Bundle::sh("true");
        let volume = bundle.path().join("volume");
        fs::create_dir_all(volume.join("self/attr")).unwrap();
        let path = volume.to_str().unwrap().to_owned();
        let bundle = bundle.mount(destination, "bind", &path, &["rbind"]);
        rt.run(&bundle).fails_with(&["mounts[7]", destination]);
        rt.assert_nothing_left(&bundle);
    }
    // What is needed for lxcfs and the like stays possible: single files that hold nothing the runtime relies on.
    let bundle = Bundle::sh("cat /proc/uptime");
    let file = bundle.path().join("uptime");
    fs::write(&file, "1.00 1.00\n").unwrap();
    let path = file.to_str().unwrap().to_owned();
    assert_eq!(rt.run(&bundle.mount("/proc/uptime", "bind", &path, &["bind"])).ok(), "1.00 1.00");
}

#[test]
fn cve_2025_52881_sysctl_writes_reach_only_what_they_name() {
    let rt = Runtime::new();
    // A name that climbs, or that would become another path.
    for name in [
        "net.../../kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net.ipv4..ip_forward",
        "kernel.shm_rmid_forced/../core_pattern",
        "/etc/passwd",
    ] {
        let bundle = Bundle::sh("true").set("/linux/sysctl", json!({name: "1"}));
        rt.run(&bundle).fails_with(&["sysctl"]);
        rt.assert_nothing_left(&bundle);
    }
}

#[test]
fn cve_2025_31133_masked_path_through_a_replaced_dev_null() {
    let rt = Runtime::new();
    // The image's /dev/null is a link to a file that the attacker wants bound read-write; /dev is not a fresh tmpfs here.
    let bundle =
        Bundle::sh("head -c 10 /proc/uptime | wc -c; stat -c %t:%T /proc/uptime").push("/linux/maskedPaths", "/proc/uptime");
    let mut mounts = bundle.config["mounts"].as_array().unwrap().clone();
    mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
    fs::write(bundle.rootfs().join("target"), "attacked\n").unwrap();
    symlink("../target", bundle.rootfs().join("dev/null")).unwrap();
    let bundle = bundle.set("/mounts", mounts);
    let output = rt.run(&bundle);
    if output.code == 0 {
        assert_eq!(output.out.trim(), "0\n1:3", "{output:?}");
    }
    assert_eq!(fs::read_to_string(bundle.rootfs().join("target")).unwrap(), "attacked\n");
    rt.assert_nothing_left(&bundle);
}

#[test]
fn cve_2025_52565_dev_console_from_a_replaced_pty() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("stat -c '%F %t' /dev/console; tty").set("/process/terminal", true);
    symlink("/proc/sysrq-trigger", bundle.rootfs().join("dev/console")).unwrap();
    let socket = rrun_tests::ConsoleSocket::new();
    let output =
        rt.cmd(&["run", "--detach", "--console-socket", socket.path().to_str().unwrap(), "--bundle", bundle.write(), &bundle.id]);
    output.ok();
    let mut terminal = socket.receive();
    terminal.expect("character special file 88");
    terminal.expect("/dev/pts/0");
}

#[test]
fn cve_2026_41579_cve_2026_47766_the_images_dev_is_a_link() {
    let rt = Runtime::new();
    for (absolute, keep_dev_mount) in [(true, true), (false, true), (true, false), (false, false)] {
        let bundle = Bundle::sh("true");
        let outside = bundle.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
        let target = if absolute { outside.to_str().unwrap().to_owned() } else { "../outside".to_owned() };
        symlink(target, bundle.rootfs().join("dev")).unwrap();
        let mut mounts = bundle.config["mounts"].as_array().unwrap().clone();
        if !keep_dev_mount {
            mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
        }
        let bundle = bundle.set("/mounts", mounts);
        rt.run(&bundle);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "devices were made outside of the root file system");
        rt.assert_nothing_left(&bundle);
    }
}

#[test]
fn cve_2023_25809_the_cgroup_mount_is_read_only_unless_asked() {
    let rt = Runtime::new();
    let caps = privileged(Bundle::sh(
        "d=/sys/fs/cgroup; [ -d $d/pids ] && d=$d/pids; mkdir $d/made 2>/dev/null && echo made; awk '$5 ~ \"^/sys/fs/cgroup\" && $6 !~ \"^ro\"' /proc/self/mountinfo",
    ));
    assert_eq!(rt.run(&caps).ok(), "", "made or mounted writable");
    // Also when `ro` is missing and there is a user namespace that the controllers do not belong to.
    let bundle =
        Bundle::sh("d=/sys/fs/cgroup; [ -d $d/pids ] && d=$d/pids; cat $d/release_agent 2>/dev/null && echo readable; true")
            .namespace("cgroup", None);
    rt.run(&bundle).ok();
}

#[test]
fn cve_2022_0492_release_agent_is_out_of_reach() {
    let rt = Runtime::new();
    let bundle = privileged(Bundle::sh(
        "for f in $(ls -d /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/release_agent 2>/dev/null); do (echo /evil > $f) 2>/dev/null && echo written $f; done; true",
    ));
    assert_eq!(rt.run(&bundle).ok(), "");
}

#[test]
fn cve_2025_24965_nothing_of_ours_is_written_into_the_rootfs() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    let outside = bundle.path().join("outside");
    fs::write(&outside, "untouched\n").unwrap();
    for name in ["config.json", "krun_config.json", ".krun_config.json", "state.json", "etc/hostname", "etc/hosts", "etc/mtab"] {
        let link = bundle.rootfs().join(name);
        symlink(&outside, link).unwrap();
    }
    let before = list(&bundle.rootfs());
    rt.run(&bundle).ok();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched\n");
    assert_eq!(list(&bundle.rootfs()), before, "files have come or gone in the root file system");
}

fn list(dir: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|e| e.unwrap()) {
        found.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            found.extend(list(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn cve_2022_29162_cve_2022_24769_cve_2025_27612_inheritable_is_empty_unless_asked() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    let show = "grep -E '^Cap(Inh|Amb)' /proc/self/status | cut -f2 | tr '\\n' ' '";
    assert_eq!(rt.run(&Bundle::sh(show)).ok(), "0000000000000000 0000000000000000");
    assert_eq!(rt.exec_sh(&bundle.id, show).ok(), "0000000000000000 0000000000000000");
    assert_eq!(
        rt.cmd(&["exec", "--cap", "CAP_NET_RAW", &bundle.id, "/bin/sh", "-c", show]).ok().split(' ').next(),
        Some("0000000000000000")
    );
}

#[test]
fn cve_2026_30892_exec_as_user_one_is_not_root() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    assert_eq!(rt.cmd(&["exec", "-u", "1", &bundle.id, "/bin/sh", "-c", "id -u; id -g"]).ok(), "1\n0");
    assert_eq!(rt.cmd(&["exec", "-u", "1:1", &bundle.id, "/bin/sh", "-c", "id -u; id -g"]).ok(), "1\n1");
}

#[test]
fn cve_2024_40635_cve_2026_46680_user_numbers_out_of_range_never_end_at_root() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    for user in [
        "4294967296",
        "4294967295",
        "-1",
        "65536:4294967296",
        "1:-1",
        ":",
        "1:",
        "1:2:3",
        "0x0",
        " 1",
        "1e3",
        "nobody-here",
        "18446744073709551616",
    ] {
        let output = rt.cmd(&["exec", "--user", user, &bundle.id, "/bin/id", "-u"]);
        output.fails_with(&["user"]);
        assert_eq!(output.out, "", "{user:?}");
    }
    for uid in [json!(4_294_967_296_u64), json!(-1), json!("0"), json!(4_294_967_295_u64)] {
        let bundle = Bundle::sh("id -u").set("/process/user/uid", uid.clone());
        let output = rt.run(&bundle);
        output.fails_with(&["process.user.uid"]);
        assert_eq!(output.out, "", "{uid}");
        rt.assert_nothing_left(&bundle);
    }
}

#[test]
fn cve_2023_25173_additional_groups_are_exact() {
    let rt = Runtime::new();
    // As listed, whatever the image's group file says and whatever groups the caller has.
    let bundle = Bundle::sh("grep Groups /proc/self/status | tr -s '\\t ' ' '")
        .set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [42]}));
    assert_eq!(rt.run(&bundle).ok(), "Groups: 42");
    let bundle =
        Bundle::sh("grep Groups /proc/self/status | tr -s '\\t ' ' '").set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let root = rt.root().to_str().unwrap();
    let line =
        format!("exec setpriv --groups 5,6,7 {} --root {root} run --bundle {} {}", binary().display(), bundle.write(), bundle.id);
    assert_eq!(command("bash", &["-c", &line]).ok(), "Groups:");
}

#[test]
fn cve_2026_47262_a_huge_or_special_passwd_file() {
    let rt = Runtime::new();
    for kind in ["huge", "fifo", "device", "directory", "link out"] {
        let bundle = Bundle::sh("echo home $HOME");
        let file = bundle.rootfs().join("etc/passwd");
        fs::remove_file(&file).unwrap();
        match kind {
            "huge" => fs::File::create(&file).unwrap().set_len(1 << 40).unwrap(),
            "fifo" => drop(command("mkfifo", &[file.to_str().unwrap()])),
            "device" => symlink("/dev/zero", &file).unwrap(),
            "directory" => fs::create_dir(&file).unwrap(),
            _ => {
                let outside = bundle.path().join("outside");
                fs::write(&outside, "root:x:0:0:root:/from-outside:/bin/sh\n").unwrap();
                symlink(&outside, &file).unwrap();
            }
        }
        let output = rt.run(&bundle);
        assert!(!output.out.contains("from-outside"), "{kind}: {output:?}");
        rt.assert_nothing_left(&bundle);
        if kind == "device" {
            fs::remove_file(&file).unwrap();
        }
    }
}

#[test]
fn cve_2022_4318_cve_2026_15809_control_bytes_in_home_do_not_get_through() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("echo \"$HOME\" | wc -l; cat /etc/passwd").push("/process/env", "HOME=/x\nevil:x:0:0::/:/bin/sh");
    let passwd = fs::read_to_string(bundle.rootfs().join("etc/passwd")).unwrap();
    rt.run(&bundle);
    assert_eq!(fs::read_to_string(bundle.rootfs().join("etc/passwd")).unwrap(), passwd);
}

#[test]
fn cve_2025_47291_the_cgroup_is_right_with_a_user_namespace() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper().user_namespace(100_000, 65536);
    rt.run_detached(&bundle);
    let text = fs::read_to_string(format!("/proc/{}/cgroup", rt.pid(&bundle.id))).unwrap();
    for line in text.lines() {
        assert!(line.ends_with(&bundle.cgroup()), "{line}");
    }
}

#[test]
fn cve_2021_41103_state_cannot_be_read_by_others() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    let mode = fs::metadata(rt.root().join(&bundle.id)).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let output = Running::start({
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups", "ls"]).arg(rt.root().join(&bundle.id));
        command
    });
    assert_ne!(output.finish().code, 0);
}

#[test]
fn a_rootfs_that_changes_while_it_is_mounted_stays_inside() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true");
    let outside = bundle.path().join("outside");
    fs::create_dir(&outside).unwrap();
    // From the host side: a directory and a link to the outside are exchanged again and again while containers start.
    let root = bundle.rootfs();
    let target = root.join("swap");
    fs::create_dir(&target).unwrap();
    let link = root.join("link");
    symlink("../outside", &link).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (flag, a, b) = (stop.clone(), target.clone(), link.clone());
    let swapper = std::thread::spawn(move || {
        while !flag.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &b, rustix::fs::RenameFlags::EXCHANGE);
        }
    });
    let bundle = bundle.mount("/swap/made", "tmpfs", "tmpfs", &[]);
    for _ in 0..rounds(30) {
        rt.run(&bundle);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_stopped_container_pid_that_was_reused_is_not_touched() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    let pid = rt.pid(&bundle.id);
    rt.cmd(&["kill", &bundle.id, "KILL"]).ok();
    rt.wait_status(&bundle.id, "stopped");
    // Whoever has that number now, it is not the container: its start time differs.
    let gone = eventually(|| (!rrun_tests::host::alive(pid)).then_some(()));
    assert!(gone.is_some());
    assert_ne!(rt.cmd(&["kill", &bundle.id, "KILL"]).code, 0);
    rt.cmd(&["delete", &bundle.id]).ok();
}
