//! Mounts: options, propagation, binds of files and directories, tmpcopyup, masked and read-only paths, devices, id-mapped and cgroup mounts.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rrun_tests::{Bundle, Hierarchy, Runtime, hierarchy};
use serde_json::json;

/// Options of the mount at `point`, from the mountinfo that the container printed.
fn options(mountinfo: &str, point: &str) -> String {
    let line = mountinfo
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some(point))
        .unwrap_or_else(|| panic!("no mount at {point}:\n{mountinfo}"));
    let (left, right) = line.split_once(" - ").unwrap();
    let fields: Vec<&str> = left.split(' ').collect();
    // Options of the mount, optional fields, then type, source and options of the file system.
    format!(",{},{} {}", fields[5], fields[6..].join(" "), right)
}

const SHOW: &str = "cat /proc/self/mountinfo";

#[test]
fn the_default_mounts_with_their_options() {
    let rt = Runtime::new();
    let output = rt.run(&Bundle::sh(SHOW));
    let info = output.ok();
    for (point, kind, wanted) in [
        ("/proc", " proc ", vec![]),
        ("/dev", " tmpfs ", vec!["nosuid"]),
        ("/dev/pts", " devpts ", vec!["nosuid", "noexec"]),
        ("/dev/shm", " tmpfs ", vec!["nosuid", "nodev", "noexec"]),
        ("/dev/mqueue", " mqueue ", vec!["nosuid", "nodev", "noexec"]),
        ("/sys", " sysfs ", vec!["ro", "nosuid", "nodev", "noexec"]),
    ] {
        let found = options(info, point);
        assert!(found.contains(kind), "{point}: {found}");
        for option in wanted {
            assert!(found.contains(&format!(",{option},")), "{point}: no {option} in {found}");
        }
    }
    // Nothing of the host's tree is there beside what was asked for.
    for line in info.lines() {
        let point = line.split(' ').nth(4).unwrap();
        assert!(point == "/" || ["/proc", "/dev", "/sys"].iter().any(|p| point.starts_with(p)), "{line}");
    }
}

#[test]
fn a_directory_is_bound_in_read_write_and_read_only() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("cat /data/file; echo new > /data/made; touch /fixed/x 2>/dev/null || echo refused; cat /fixed/file");
    let source = bundle.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "from outside\n").unwrap();
    let path = source.to_str().unwrap().to_owned();
    let bundle = bundle.mount("/data", "bind", &path, &["bind", "rw"]).mount("/fixed", "bind", &path, &["rbind", "ro"]);
    assert_eq!(rt.run(&bundle).ok(), "from outside\nrefused\nfrom outside");
    assert_eq!(fs::read_to_string(source.join("made")).unwrap(), "new\n");
}

#[test]
fn a_file_is_bound_and_its_target_is_made() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("cat /deep/below/file");
    let source = bundle.path().join("one");
    fs::write(&source, "content\n").unwrap();
    let path = source.to_str().unwrap().to_owned();
    assert_eq!(rt.run(&bundle.mount("/deep/below/file", "bind", &path, &["bind"])).ok(), "content");
}

#[test]
fn a_relative_bind_source_is_relative_to_the_bundle() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("cat /data/file");
    fs::create_dir(bundle.path().join("beside")).unwrap();
    fs::write(bundle.path().join("beside/file"), "relative\n").unwrap();
    assert_eq!(rt.run(&bundle.mount("/data", "bind", "beside", &["bind"])).ok(), "relative");
}

#[test]
fn bind_without_the_r_takes_no_submounts_and_with_it_all() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("ls /one /two");
    let source = bundle.path().join("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    rustix::mount::mount("tmpfs", source.join("sub"), "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    fs::write(source.join("sub/inside"), "").unwrap();
    let path = source.to_str().unwrap().to_owned();
    let bundle = bundle
        .set("/process/args/2", "ls /one/sub; echo --; ls /two/sub")
        .mount("/one", "bind", &path, &["bind"])
        .mount("/two", "bind", &path, &["rbind"]);
    let output = rt.run(&bundle);
    rustix::mount::unmount(source.join("sub"), rustix::mount::UnmountFlags::empty()).unwrap();
    assert_eq!(output.ok(), "--\ninside");
}

#[test]
fn recursive_attributes_reach_the_submounts() {
    let rt = Runtime::new();
    let bundle = Bundle::sh(SHOW);
    let source = bundle.path().join("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    rustix::mount::mount("tmpfs", source.join("sub"), "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    let path = source.to_str().unwrap().to_owned();
    let bundle = bundle.mount("/ro", "bind", &path, &["rbind", "ro"]).mount(
        "/rro",
        "bind",
        &path,
        &["rbind", "rro", "rnosuid", "rnodev", "rnoexec"],
    );
    let output = rt.run(&bundle);
    rustix::mount::unmount(source.join("sub"), rustix::mount::UnmountFlags::empty()).unwrap();
    let info = output.ok();
    assert!(options(info, "/ro").contains(",ro"));
    assert!(options(info, "/ro/sub").starts_with(",rw"), "ro is for the mount alone");
    for point in ["/rro", "/rro/sub"] {
        for option in [",ro", ",nosuid", ",nodev", ",noexec"] {
            assert!(options(info, point).contains(option), "{point}: {}", options(info, point));
        }
    }
}

#[test]
fn mount_flags_are_what_was_asked_for() {
    let rt = Runtime::new();
    let bundle = Bundle::sh(SHOW)
        .mount("/a", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec", "noatime", "size=1m", "mode=700"])
        .mount("/b", "tmpfs", "tmpfs", &["ro", "nodiratime", "strictatime"])
        .mount("/c", "tmpfs", "tmpfs", &["suid", "dev", "exec", "relatime", "sync", "nosymfollow"]);
    let output = rt.run(&bundle);
    let info = output.ok();
    let a = options(info, "/a");
    for wanted in ["nosuid", "nodev", "noexec", "noatime", "size=1024k", "mode=700"] {
        assert!(a.contains(wanted), "{wanted}: {a}");
    }
    let b = options(info, "/b");
    assert!(b.contains(",ro") && b.contains("nodiratime") && !b.contains("relatime"), "{b}");
    let c = options(info, "/c");
    assert!(
        !c.contains("nosuid") && !c.contains("nodev") && !c.contains("noexec") && c.contains("nosymfollow") && c.contains("sync"),
        "{c}"
    );
}

#[test]
fn an_unknown_option_goes_to_the_file_system_which_refuses_it() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").mount("/a", "tmpfs", "tmpfs", &["flavour=mint"]);
    rt.run(&bundle).fails_with(&["mounts[7]", "/a"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn propagation_of_mounts_and_of_the_root() {
    let rt = Runtime::new();
    let bundle = Bundle::sh(SHOW).mount("/p", "tmpfs", "tmpfs", &["private"]).mount("/s", "tmpfs", "tmpfs", &["shared"]).mount(
        "/u",
        "tmpfs",
        "tmpfs",
        &["unbindable"],
    );
    let output = rt.run(&bundle);
    let info = output.ok();
    assert!(!options(info, "/p").contains("shared:"));
    assert!(options(info, "/s").contains("shared:"), "{}", options(info, "/s"));
    assert!(options(info, "/u").contains("unbindable"), "{}", options(info, "/u"));

    let output = rt.run(&Bundle::sh(SHOW).set("/linux/rootfsPropagation", "shared"));
    assert!(options(output.ok(), "/").contains("shared:"), "{}", output.out);
    let output = rt.run(&Bundle::sh(SHOW).set("/linux/rootfsPropagation", "private"));
    assert!(!options(output.ok(), "/").contains("shared:"), "{}", output.out);
}

#[test]
fn nothing_mounted_inside_is_seen_outside() {
    let rt = Runtime::new();
    let caps = json!(["CAP_SYS_ADMIN"]);
    let bundle = Bundle::sh("mount -t tmpfs inside /tmp && echo mounted; echo up; sleep 10008");
    let bundle = bundle.set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}));
    let running = rt.spawn(&["run", "--bundle", bundle.write(), &bundle.id]);
    running.wait_for("up");
    assert!(running.out().contains("mounted"), "{}", running.err());
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&bundle.id));
    rt.cmd(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn a_read_only_root() {
    let rt = Runtime::new();
    let bundle =
        Bundle::sh("touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo shm is writable").set("/root/readonly", true);
    assert_eq!(rt.run(&bundle).ok(), "refused\nshm is writable");
}

#[test]
fn masked_paths_are_empty_and_readonly_paths_are_read_only() {
    let rt = Runtime::new();
    let script = "cat /secret/file; ls /closed; echo x > /fixed/file 2>/dev/null || echo refused; cat /fixed/file; cat /proc/kcore | wc -c; echo 1 > /proc/sys/kernel/shm_rmid_forced 2>/dev/null || echo refused";
    let bundle = Bundle::sh(script);
    for dir in ["secret", "closed", "fixed"] {
        fs::create_dir(bundle.rootfs().join(dir)).unwrap();
        fs::write(bundle.rootfs().join(dir).join("file"), "content\n").unwrap();
    }
    // A path that does not exist is no error.
    let bundle = bundle
        .push("/linux/maskedPaths", "/secret/file")
        .push("/linux/maskedPaths", "/closed")
        .push("/linux/maskedPaths", "/not/there");
    let bundle = bundle.push("/linux/readonlyPaths", "/fixed").push("/linux/readonlyPaths", "/not/there");
    assert_eq!(rt.run(&bundle).ok(), "refused\ncontent\n0\nrefused");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("secret/file")).unwrap(), "content\n");
}

#[test]
fn tmpcopyup_brings_the_content_along() {
    let rt = Runtime::new();
    let bundle = Bundle::sh(
        "cat /stuff/sub/file; stat -c %a /stuff/sub/file; readlink /stuff/link; echo changed > /stuff/sub/file; cat /stuff/sub/file",
    );
    fs::create_dir_all(bundle.rootfs().join("stuff/sub")).unwrap();
    fs::write(bundle.rootfs().join("stuff/sub/file"), "original\n").unwrap();
    fs::set_permissions(bundle.rootfs().join("stuff/sub/file"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("sub/file", bundle.rootfs().join("stuff/link")).unwrap();
    let bundle = bundle.mount("/stuff", "tmpfs", "tmpfs", &["tmpcopyup", "size=1m"]);
    assert_eq!(rt.run(&bundle).ok(), "original\n640\nsub/file\nchanged");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("stuff/sub/file")).unwrap(), "original\n");
}

#[test]
fn a_tmpfs_takes_the_mode_of_the_directory_that_it_covers() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("stat -c %a /stuff");
    fs::create_dir(bundle.rootfs().join("stuff")).unwrap();
    fs::set_permissions(bundle.rootfs().join("stuff"), fs::Permissions::from_mode(0o711)).unwrap();
    assert_eq!(rt.run(&bundle.mount("/stuff", "tmpfs", "tmpfs", &[])).ok(), "711");
}

#[test]
fn the_default_devices_and_links() {
    let rt = Runtime::new();
    let script = "for d in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do n=${d%%:*}; [ -c /dev/$n ] || echo no $n; \
                  [ \"$(stat -c %t:%T:%a /dev/$n)\" = \"${d#*:}:666\" ] || stat -c '%n %t:%T:%a' /dev/$n; done; \
                  for l in fd stdin stdout stderr ptmx; do echo $(readlink /dev/$l); done";
    assert_eq!(rt.run(&Bundle::sh(script)).ok(), "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx");
}

#[test]
fn listed_devices_are_made_with_owner_and_mode() {
    let rt = Runtime::new();
    let bundle = Bundle::sh(
        "stat -c '%F %t:%T %a %u:%g' /dev/fuse-like /dev/sub/zero2; stat -c %F /dev/pipe; head -c 2 /dev/sub/zero2 | wc -c",
    );
    let bundle = bundle.set(
        "/linux/devices",
        json!([
            {"path": "/dev/fuse-like", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4},
            {"path": "/dev/sub/zero2", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666, "uid": 0, "gid": 0},
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o600}
        ]),
    );
    let bundle =
        bundle.push("/linux/resources/devices", json!({"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"}));
    assert_eq!(rt.run(&bundle).ok(), "character special file a:e5 640 3:4\ncharacter special file 1:5 666 0:0\nfifo\n2");
}

#[test]
fn the_cgroup_mount_shows_the_containers_own_cgroup() {
    let rt = Runtime::new();
    let script = match hierarchy() {
        Hierarchy::V2 => "cat /sys/fs/cgroup/pids.max; echo 1 > /sys/fs/cgroup/pids.max 2>/dev/null || echo refused",
        Hierarchy::V1 => "cat /sys/fs/cgroup/pids/pids.max; echo 1 > /sys/fs/cgroup/pids/pids.max 2>/dev/null || echo refused",
    };
    let bundle = Bundle::sh(script).set("/linux/resources/pids/limit", 123);
    assert_eq!(rt.run(&bundle).ok(), "123\nrefused");
}

#[test]
fn an_id_mapped_bind_shows_other_owners() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("stat -c %u:%g /data/file; touch /data/made; stat -c %u:%g /data/made");
    let source = bundle.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    for path in [source.clone(), source.join("file")] {
        std::os::unix::fs::chown(&path, Some(5000), Some(6000)).unwrap();
    }
    let (uids, gids) =
        (json!([{"containerID": 5000, "hostID": 0, "size": 1}]), json!([{"containerID": 6000, "hostID": 0, "size": 1}]));
    let path = source.to_str().unwrap().to_owned();
    let mount = json!({"destination": "/data", "type": "bind", "source": path, "options": ["bind"], "uidMappings": uids, "gidMappings": gids});
    let bundle = bundle.push("/mounts", mount);
    assert_eq!(rt.run(&bundle).ok(), "0:0\n0:0");
    let made = fs::metadata(source.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (5000, 6000));
}

#[test]
fn a_mount_on_a_symlink_stays_inside_the_root() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("cat /etc-inside/where; ls -d /link/");
    let outside = bundle.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(bundle.rootfs().join("etc-inside")).unwrap();
    // Read on the host this link leads out of the root; inside, `..` at the top stays at the top.
    symlink("../../../../etc-inside", bundle.rootfs().join("link")).unwrap();
    let source = bundle.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("where"), "inside\n").unwrap();
    let path = source.to_str().unwrap().to_owned();
    assert_eq!(rt.run(&bundle.mount("/link", "bind", &path, &["bind"])).ok(), "inside\n/link/");
}

#[test]
fn mounts_are_made_in_the_order_of_the_list() {
    let rt = Runtime::new();
    let bundle = Bundle::sh("ls /a; ls /a/b").mount("/a", "tmpfs", "tmpfs", &[]).mount("/a/b", "tmpfs", "tmpfs", &[]).mount(
        "/a/b/c",
        "tmpfs",
        "tmpfs",
        &[],
    );
    assert_eq!(rt.run(&bundle).ok(), "b\nc");
}

#[test]
fn mountpoints_and_bundles_are_unmounted_at_the_end() {
    let rt = Runtime::new();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let bundle = Bundle::sh("exit 5").mount("/a", "tmpfs", "tmpfs", &["shared"]);
    rt.run(&bundle).exits(5);
    rt.assert_nothing_left(&bundle);
    // Other tests run beside this one and may mount below their own bundles.
    let now = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(now.lines().filter(|l| !l.contains("rrt")).count() <= before);
}
