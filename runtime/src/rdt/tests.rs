//! On a tree of plain files in the shape of resctrl's. What the kernel puts into a new directory, the tests put there.

use std::fs;

use super::*;
use crate::error::Kind;
use crate::state::tests::Scratch;

/// A resctrl of plain files with L3, MB and monitoring.
fn tree() -> (Scratch, Host) {
    let scratch = Scratch::new();
    let root = scratch.0.join("resctrl");
    for (file, text) in [
        ("schemata", "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n"),
        ("tasks", ""),
        ("info/last_cmd_status", "ok\n"),
        ("info/L3/cbm_mask", "7ff\n"),
        ("info/L3/min_cbm_bits", "1\n"),
        ("info/L3/num_closids", "16\n"),
        ("info/MB/bandwidth_gran", "10\n"),
        ("info/MB/delay_linear", "1\n"),
        ("info/MB/min_bandwidth", "10\n"),
        ("info/MB/num_closids", "8\n"),
        ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
    ] {
        put(&root.join(file), text);
    }
    (scratch, Host::at(root))
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn section(json: &str) -> IntelRdt {
    serde_json::from_str(json).unwrap()
}

fn planned(host: &Host, json: &str) -> Result<RdtPlan> {
    plan(Some(host), &section(json), "web")
}

#[test]
fn without_resctrl_it_is_refused() {
    let error = plan(None, &section("{}"), "web").unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().starts_with("linux.intelRdt: not supported: no resctrl file system is mounted"), "{error}");
}

#[test]
fn what_this_cpu_lacks_is_named() {
    let (_scratch, host) = tree();
    for (dir, json, field) in [
        ("L3", r#"{"l3CacheSchema": "L3:0=f"}"#, "linux.intelRdt.l3CacheSchema"),
        ("MB", r#"{"memBwSchema": "MB:0=20"}"#, "linux.intelRdt.memBwSchema"),
        ("L3_MON", r#"{"enableMonitoring": true}"#, "linux.intelRdt.enableMonitoring"),
    ] {
        assert!(planned(&host, json).is_ok());
        fs::remove_dir_all(host.root.join("info").join(dir)).unwrap();
        let error = planned(&host, json).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().starts_with(&format!("{field}: not supported")), "{error}");
    }
}

#[test]
fn names_and_lines_that_are_none_are_refused() {
    let (_scratch, host) = tree();
    for json in [
        r#"{"closID": ".."}"#,
        r#"{"closID": "a/b"}"#,
        r#"{"closID": "info"}"#,
        r#"{"closID": "mon_groups"}"#,
        r#"{"l3CacheSchema": "L2:0=f"}"#,
        r#"{"l3CacheSchema": "L3:0=f\nMB:0=1"}"#,
        r#"{"memBwSchema": "0=20"}"#,
        r#"{"schemata": ["L2:0=f\nL3:0=f"]}"#,
        r#"{"schemata": ["nothing"]}"#,
    ] {
        assert_eq!(planned(&host, json).unwrap_err().kind(), Kind::Config, "{json}");
    }
}

#[test]
fn a_class_of_its_own_is_made_filled_and_removed() {
    let (_scratch, host) = tree();
    let plan = planned(&host, r#"{"l3CacheSchema": "L3:0=7f0", "schemata": ["L2:0=f"], "enableMonitoring": true}"#).unwrap();
    let own = host.root.join("web");
    put(&own.join("mon_groups/placeholder"), "");
    fs::remove_dir_all(&own).unwrap();
    // The parent of a monitoring group is the kernel's: made in two steps here.
    let error = plan.make().unwrap_err().to_string();
    assert!(error.contains("mon_groups"), "{error}");
    put(&own.join("schemata"), "");
    put(&own.join("tasks"), "");
    fs::create_dir(own.join("mon_groups")).unwrap();
    plan.make().unwrap();
    put(&own.join("mon_groups/web/tasks"), "");
    plan.write().unwrap();
    // One write after the other into a plain file: the last one stands there.
    assert_eq!(fs::read_to_string(own.join("schemata")).unwrap(), "L2:0=f\n0\n");
    plan.group().assign(4711).unwrap();
    assert_eq!(fs::read_to_string(own.join("tasks")).unwrap(), "4711");
    assert_eq!(fs::read_to_string(own.join("mon_groups/web/tasks")).unwrap(), "4711");

    // As the kernel removes the files with the directory.
    for file in ["mon_groups/web/tasks", "schemata", "tasks"] {
        fs::remove_file(own.join(file)).unwrap();
    }
    assert!(plan.group().remove().is_err(), "mon_groups is in the way, as nobody takes it away here");
    assert!(!own.join("mon_groups/web").exists());
    fs::remove_dir(own.join("mon_groups")).unwrap();
    plan.group().remove().unwrap();
    assert!(!own.exists());
    plan.group().remove().unwrap();
    let text = serde_json::to_string(plan.group()).unwrap();
    assert_eq!(&serde_json::from_str::<Group>(&text).unwrap(), plan.group());
}

#[test]
fn a_class_of_somebody_elses_is_compared_and_left() {
    let (_scratch, host) = tree();
    let missing = planned(&host, r#"{"closID": "gold"}"#).unwrap().make().unwrap_err();
    assert!(missing.to_string().starts_with("linux.intelRdt.closID: "), "{missing}");
    put(&host.root.join("gold/schemata"), "    MB:0= 50;1=100\n    L3:0=00f;1=7ff\n");
    let make = |json: &str| planned(&host, json).unwrap().make();
    make(r#"{"closID": "gold"}"#).unwrap();
    make(r#"{"closID": "gold", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=45"}"#).unwrap();
    let error = make(r#"{"closID": "gold", "l3CacheSchema": "L3:0=ff"}"#).unwrap_err();
    assert!(error.to_string().starts_with("linux.intelRdt.l3CacheSchema: \"L3:0=ff\" is not what"), "{error}");

    // Made by us, but under a name that others may use.
    let new = planned(&host, r#"{"closID": "silver", "l3CacheSchema": "L3:0=f"}"#).unwrap();
    new.make().unwrap();
    new.group().remove().unwrap();
    assert!(host.root.join("silver").is_dir());
    // Named after the container, but there before.
    fs::create_dir(host.root.join("web")).unwrap();
    let found = planned(&host, "{}").unwrap();
    found.make().unwrap();
    found.group().remove().unwrap();
    assert!(host.root.join("web").is_dir());
    // The default class.
    let root = planned(&host, r#"{"closID": "/"}"#).unwrap();
    root.make().unwrap();
    root.group().assign(7).unwrap();
    assert_eq!(fs::read_to_string(host.root.join("tasks")).unwrap(), "7");
}

#[test]
fn a_refused_line_carries_the_kernels_reason() {
    let (_scratch, host) = tree();
    fs::create_dir(host.root.join("web")).unwrap();
    // A directory in the place of the file refuses to be written.
    fs::create_dir(host.root.join("web/schemata")).unwrap();
    let plan = planned(&host, r#"{"memBwSchema": "MB:0=20"}"#).unwrap();
    let error = plan.write().unwrap_err().to_string();
    assert!(error.starts_with("linux.intelRdt.memBwSchema: write("), "{error}");
    put(&host.root.join("info/last_cmd_status"), "Mask out of range\n");
    let explained = host.explain(Error::system("a", "b", Errno::INVAL)).to_string();
    assert_eq!(explained, "a: b: invalid argument (Mask out of range)");
}

#[test]
fn update_writes_the_lines_that_are_given() {
    let (_scratch, host) = tree();
    let group = planned(&host, "{}").unwrap().group().clone();
    put(&host.root.join("web/schemata"), "");
    group.update(None, Some("MB:0=30")).unwrap();
    assert_eq!(fs::read_to_string(host.root.join("web/schemata")).unwrap(), "MB:0=30\n");
    assert!(group.update(Some("x"), None).unwrap_err().to_string().starts_with("--l3-cache-schema: "));
    fs::remove_dir_all(host.root.join("info/MB")).unwrap();
    assert_eq!(group.update(None, Some("MB:0=30")).unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn statistics_have_runcs_shape() {
    let (_scratch, host) = tree();
    let group = planned(&host, r#"{"enableMonitoring": true}"#).unwrap().group().clone();
    let own = host.root.join("web");
    put(&own.join("schemata"), "    MB:0= 20;1= 70\n    L3:0=7f0;1=01f\n");
    for (domain, total) in [("mon_L3_00", "100"), ("mon_L3_01", "200")] {
        let dir = own.join("mon_groups/web/mon_data").join(domain);
        put(&dir.join("mbm_total_bytes"), total);
        put(&dir.join("mbm_local_bytes"), "50\n");
        put(&dir.join("llc_occupancy"), "4096\n");
    }
    let stats = serde_json::to_value(group.stats().unwrap()).unwrap();
    let expected = serde_json::json!({
        "l3_cache_info": {"cbm_mask": "7ff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=7ff;1=7ff",
        "l3_cache_schema": "L3:0=7f0;1=01f",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0= 20;1= 70",
        "schemata": ["MB:0= 20;1= 70", "L3:0=7f0;1=01f"],
        "mbm_stats": [{"mbm_total_bytes": 100, "mbm_local_bytes": 50}, {"mbm_total_bytes": 200, "mbm_local_bytes": 50}],
        "cmt_stats": [{"llc_occupancy": 4096}, {"llc_occupancy": 4096}],
    });
    assert_eq!(stats, expected);
}

#[test]
fn a_mount_elsewhere_is_found() {
    let line = "36 35 98:0 / /mnt/res\\040ctrl rw,noatime - resctrl resctrl rw";
    assert_eq!(mount_point(line), Some(PathBuf::from("/mnt/res ctrl")));
    assert_eq!(mount_point("36 35 98:0 / /mnt rw - ext4 resctrl rw"), None);
}
