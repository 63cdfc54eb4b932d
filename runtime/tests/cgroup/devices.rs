//! Device rules, and block devices.

use rrun::cgroup::Binding;

use crate::support::*;

#[test]
fn device_rules() {
    let cgroup = Scratch::new(
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#,
    );
    cgroup.hierarchy("devices");
    let dir = std::env::temp_dir().join(unique());
    std::fs::create_dir(&dir).unwrap();
    let node =
        |kind: &str, numbers: &str| format!("mknod {}/{kind}{} {kind} {numbers}", dir.display(), numbers.replace(' ', "-"));
    assert!(can(&cgroup, "head -c1 </dev/zero") && can(&cgroup, "head -c1 </dev/urandom"));
    // Nodes may be made, not opened.
    assert!(can(&cgroup, &node("b", "7 100")) && can(&cgroup, &node("c", "1 1")));
    assert!(!can(&cgroup, &format!("head -c0 {}/c1-1", dir.display())), "/dev/mem");
    // Reading is not writing: /dev/kmsg.
    assert!(can(&cgroup, "head -c0 /dev/kmsg") && !can(&cgroup, "true >>/dev/kmsg"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_running_container_s_device_rules_are_replaced() {
    let cgroup = Scratch::new(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#);
    cgroup.hierarchy("devices");
    // An access that stays allowed is never refused meanwhile.
    let mut child = cgroup.run("while head -c1 /dev/zero >/dev/null; do :; done");
    assert!(!can(&cgroup, "head -c0 /dev/kmsg"));
    for _ in 0..50 {
        cgroup
            .0
            .update(&resources(r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":11}]}"#), &[])
            .unwrap();
        cgroup.0.update(&resources(r#"{"devices":[{"allow":false}]}"#), &[]).unwrap();
    }
    cgroup.0.update(&resources(r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":11}]}"#), &[]).unwrap();
    assert!(can(&cgroup, "head -c0 /dev/kmsg"));
    assert!(child.try_wait().unwrap().is_none(), "it was refused /dev/zero");
    // An update without rules leaves them.
    cgroup.0.update(&resources(r#"{"pids":{"limit":100}}"#), &[]).unwrap();
    assert!(can(&cgroup, "head -c0 /dev/kmsg"));
    cgroup.0.update(&resources(r#"{"devices":[{"allow":true}]}"#), &[]).unwrap();
    assert!(can(&cgroup, "true >>/dev/kmsg"));
    cgroup.0.kill_all().unwrap();
    child.wait().unwrap();
}

#[test]
fn block_devices() {
    // The disk of /data (the virtual machine's scratch disk), or any, or none.
    let disk = std::fs::read_dir("/sys/block").into_iter().flatten().flatten().find_map(|d| {
        let name = d.file_name().into_string().ok()?;
        let real = !["loop", "ram", "zram", "sr", "fd"].iter().any(|virtual_one| name.starts_with(virtual_one));
        let number = std::fs::read_to_string(d.path().join("dev")).ok()?.trim().to_owned();
        let (major, minor) = number.split_once(':')?;
        real.then(|| (major.to_owned(), minor.to_owned()))
    });
    let limit = |major: &str, minor: &str| {
        format!(r#"{{"blockIO":{{"throttleWriteBpsDevice":[{{"major":{major},"minor":{minor},"rate":1048576}}]}}}}"#)
    };
    let e = Scratch::at(&format!("/{}", unique()), &limit("4000", "7")).map(|_| ()).unwrap_err();
    assert!(e.to_string().starts_with("linux.resources.blockIO.throttleWriteBpsDevice[0]: write("), "{e}");
    assert!(e.to_string().contains("no such block device"), "{e}");
    // A weight is taken if the kernel has one of the two schedulers that know weights; if not, both are named.
    match Scratch::at(&format!("/{}", unique()), r#"{"blockIO":{"weight":500}}"#) {
        Ok(cgroup) if cgroup.0.binding("blkio") != Some(Binding::V2) => {
            let dir = cgroup.0.dir("blkio").unwrap().full();
            let read = |f: &str| std::fs::read_to_string(format!("{dir}/{f}")).unwrap_or_default();
            assert!(read("blkio.weight").contains("500") || read("blkio.bfq.weight").contains("500"));
        }
        Ok(cgroup) => {
            let dir = cgroup.0.dir("io").unwrap().full();
            let read = |f: &str| std::fs::read_to_string(format!("{dir}/{f}")).unwrap_or_default();
            assert!(read("io.bfq.weight").contains("500") || read("io.weight").contains("4950"));
        }
        Err(e) => assert!(e.to_string().contains("bfq.weight (the BFQ scheduler) nor "), "{e}"),
    }
    let Some((major, minor)) = disk else {
        println!("block devices: none here");
        return;
    };
    let cgroup = Scratch::new(&limit(&major, &minor));
    cgroup.hierarchy(if cgroup.0.binding("blkio") == Some(Binding::V2) { "io" } else { "blkio" });
    let limits = if cgroup.0.binding("io") == Some(Binding::V2) && cgroup.0.binding("blkio") == Some(Binding::V2) {
        cgroup.read("io", "", "io.max")
    } else {
        cgroup.read("blkio", "blkio.throttle.write_bps_device", "")
    };
    assert!(limits.starts_with(&format!("{major}:{minor}")) && limits.contains("1048576"), "{limits}");
    // An update changes that device's line; a failed one puts it back.
    cgroup.0.update(&resources(&limit(&major, &minor).replace("1048576", "2097152")), &[]).unwrap();
    let bad = limit(&major, &minor).replace("1048576", "3145728").replace("}}", r#"},"cpu":{"cpus":"65000"}}"#);
    cgroup.0.update(&resources(&bad), &[]).unwrap_err();
    let limits = if limits.contains("wbps") {
        cgroup.read("io", "", "io.max")
    } else {
        cgroup.read("blkio", "blkio.throttle.write_bps_device", "")
    };
    assert!(limits.contains("2097152"), "{limits}");
    if std::path::Path::new("/data/lost+found").exists() {
        let mut child = cgroup.run(&format!("dd if=/dev/zero of=/data/{} bs=64k count=20 oflag=direct 2>/dev/null", unique()));
        child.wait().unwrap();
        let io = cgroup.0.stats().unwrap().blkio;
        println!("block devices: {:?}", io.io_service_bytes_recursive);
        let written = |list: &[rrun::cgroup::stats::BlkioEntry]| {
            list.iter()
                .filter(|e| e.op == "Write" && e.major.to_string() == major && e.minor.to_string() == minor)
                .map(|e| e.value)
                .sum::<u64>()
        };
        assert!(written(&io.io_service_bytes_recursive) >= 20 * 65536 && written(&io.io_serviced_recursive) >= 20);
    }
}
