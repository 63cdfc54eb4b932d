//! Intel RDT where there is none: said, and nothing is left. What is done where there is one, the unit tests show on a tree of files.

use rrun_tests::{Bundle, Runtime};
use serde_json::json;

fn mounted() -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|text| text.contains(" - resctrl "))
}

#[test]
fn a_host_without_resctrl_refuses_the_section() {
    if mounted() {
        rrun_tests::skip!("resctrl is mounted here");
    }
    let rt = Runtime::new();
    let bundle = Bundle::sh("true").set("/linux/intelRdt", json!({"closID": "gold", "l3CacheSchema": "L3:0=f"}));
    rt.run(&bundle).fails_with(&["linux.intelRdt", "not supported", "resctrl"]);
    rt.assert_nothing_left(&bundle);
}

#[test]
fn a_container_without_the_section_has_no_shares_to_change() {
    let rt = Runtime::new();
    let bundle = Bundle::sleeper();
    rt.run_detached(&bundle);
    rt.cmd(&["update", "--l3-cache-schema", "L3:0=f", &bundle.id]).fails_with(&["linux.intelRdt"]);
    rt.cmd(&["update", "--mem-bw-schema", "MB:0=50", &bundle.id]).fails_with(&["linux.intelRdt"]);
    assert_eq!(rt.cmd(&["events", "--stats", &bundle.id]).json()["data"]["intel_rdt"], json!({}));
}
