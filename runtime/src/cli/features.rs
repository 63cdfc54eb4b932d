//! `rrun features`: what this version knows, as runtime-spec's features.md and features-linux.md define it.
//!
//! The lists are those that the code itself works from ([`known`]); a part that is absent is one that the specification calls
//! "unknown". As the specification has it they describe the program, not the host, save `seccomp.supportedFlags`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Globals;
use super::args::{Args, Command, Example};
use crate::error::{Error, Result};
use crate::mount;
use crate::plan::memory;
use crate::spec::config::NamespaceKind;

/// The oldest `ociVersion` that is accepted.
pub const OCI_VERSION_MIN: &str = "1.0.0";
/// The newest `ociVersion` that is known.
pub const OCI_VERSION_MAX: &str = "1.3.0";

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "features",
    summary: "print what this version of rrun supports, as JSON",
    about: "The form is runtime-spec's features.md.",
    examples: &[Example { line: "rrun features", does: "hooks, mount options, namespaces, seccomp actions and more" }],
    ..Command::EMPTY
};

/// The whole answer (features.md).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_options: Option<Vec<&'static str>>,
    linux: Linux,
    annotations: BTreeMap<&'static str, String>,
    potentially_unsafe_config_annotations: Vec<&'static str>,
}

/// `linux` (features-linux.md).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<NamespaceKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<Cgroup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seccomp: Option<Seccomp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    apparmor: Option<Enabled>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selinux: Option<Enabled>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intel_rdt: Option<IntelRdt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_policy: Option<MemoryPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_extensions: Option<MountExtensions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    net_devices: Option<Enabled>,
}

/// `{"enabled": ...}`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Enabled {
    /// Whether it is implemented.
    pub enabled: bool,
}

/// `linux.cgroup`: which managers are implemented.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cgroup {
    /// The legacy hierarchies.
    pub v1: bool,
    /// The unified hierarchy.
    pub v2: bool,
    /// The systemd driver.
    pub systemd: bool,
    /// The driver of a user's own systemd.
    pub systemd_user: bool,
    /// The rdma controller.
    pub rdma: bool,
}

/// `linux.seccomp`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// Whether filters can be loaded at all.
    pub enabled: bool,
    /// `SCMP_ACT_*`.
    pub actions: Vec<&'static str>,
    /// `SCMP_CMP_*`.
    pub operators: Vec<&'static str>,
    /// `SCMP_ARCH_*`.
    pub archs: Vec<&'static str>,
    /// `SECCOMP_FILTER_FLAG_*` that are understood.
    pub known_flags: Vec<&'static str>,
    /// Those of them that this kernel takes.
    pub supported_flags: Vec<&'static str>,
}

/// `linux.intelRdt`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct IntelRdt {
    /// Whether classes of service are implemented.
    pub enabled: bool,
    /// `linux.intelRdt.schemata`.
    pub schemata: bool,
    /// `linux.intelRdt.enableMonitoring`.
    pub monitoring: bool,
}

/// `linux.memoryPolicy`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct MemoryPolicy {
    /// `MPOL_*`.
    pub modes: Vec<&'static str>,
    /// `MPOL_F_*`.
    pub flags: Vec<&'static str>,
}

/// `linux.mountExtensions`.
#[derive(Debug, Clone, Copy, Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

/// What the other modules know, from the tables that they work from. `None` is left out of the answer.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Mount options, without those of single file systems.
    pub mount_options: Option<Vec<&'static str>>,
    /// Capabilities.
    pub capabilities: Option<Vec<String>>,
    /// cgroup managers.
    pub cgroup: Option<Cgroup>,
    /// The seccomp compiler.
    pub seccomp: Option<Seccomp>,
    /// AppArmor profiles.
    pub apparmor: Option<bool>,
    /// SELinux labels.
    pub selinux: Option<bool>,
    /// Intel RDT.
    pub intel_rdt: Option<IntelRdt>,
    /// NUMA policies.
    pub memory_policy: Option<MemoryPolicy>,
    /// Idmapped mounts.
    pub idmap: Option<bool>,
    /// Network devices moved into the container.
    pub net_devices: Option<bool>,
    /// Annotations of a config that change what rrun does; one that ends in `.` is a prefix.
    pub annotations: Vec<&'static str>,
}

/// The one place where the tables of the other modules come in.
pub fn known() -> Known {
    let seccomp = crate::seccomp::features();
    Known {
        mount_options: Some(mount::options::known().collect()),
        capabilities: Some(caps::all().into_iter().map(|c| c.to_string()).collect()),
        cgroup: Some(Cgroup { v1: true, v2: true, systemd: true, systemd_user: false, rdma: true }),
        seccomp: Some(Seccomp {
            enabled: !seccomp.actions.is_empty(),
            actions: seccomp.actions,
            operators: seccomp.operators,
            archs: seccomp.archs,
            known_flags: seccomp.known_flags,
            supported_flags: seccomp.supported_flags,
        }),
        apparmor: Some(true),
        selinux: Some(true),
        intel_rdt: Some(IntelRdt { enabled: true, schemata: true, monitoring: true }),
        memory_policy: Some(MemoryPolicy {
            modes: sorted(memory::MODES.to_vec()),
            flags: memory::FLAGS.map(|(name, _)| name).to_vec(),
        }),
        idmap: Some(true),
        net_devices: Some(true),
        annotations: vec![crate::cgroup::PROPERTY_ANNOTATION],
    }
}

/// Puts the answer together. Lists are sorted, so that two versions can be compared line by line.
pub fn features(known: Known) -> Features {
    let enabled = |e: Option<bool>| e.map(|enabled| Enabled { enabled });
    Features {
        oci_version_min: OCI_VERSION_MIN,
        oci_version_max: OCI_VERSION_MAX,
        hooks: vec!["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        mount_options: known.mount_options.map(sorted),
        linux: Linux {
            namespaces: vec![
                NamespaceKind::Cgroup,
                NamespaceKind::Ipc,
                NamespaceKind::Mount,
                NamespaceKind::Network,
                NamespaceKind::Pid,
                NamespaceKind::Time,
                NamespaceKind::User,
                NamespaceKind::Uts,
            ],
            capabilities: known.capabilities.map(sorted),
            cgroup: known.cgroup,
            seccomp: known.seccomp,
            apparmor: enabled(known.apparmor),
            selinux: enabled(known.selinux),
            intel_rdt: known.intel_rdt,
            memory_policy: known.memory_policy,
            mount_extensions: enabled(known.idmap).map(|idmap| MountExtensions { idmap }),
            net_devices: enabled(known.net_devices),
        },
        annotations: annotations(),
        potentially_unsafe_config_annotations: known.annotations,
    }
}

/// The names are runc's where a caller looks for them, and otherwise in our own name as those of runc are in its.
fn annotations() -> BTreeMap<&'static str, String> {
    let mut all = BTreeMap::from([
        ("org.opencontainers.runc.checkpoint.enabled", "false".to_string()),
        ("rrun.version", env!("CARGO_PKG_VERSION").to_string()),
    ]);
    all.extend(option_env!("RRUN_COMMIT").filter(|c| !c.is_empty()).map(|commit| ("rrun.commit", commit.to_string())));
    all
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

/// Prints the answer.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(_: &Globals, _: &Args) -> Result<i32> {
    let mut text = serde_json::to_string_pretty(&features(known())).map_err(|e| Error::failed("features", e.to_string()))?;
    text.push('\n');
    super::print(&text)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_value_follows_its_table() {
        let known = Known {
            mount_options: Some(vec!["rw", "bind"]),
            capabilities: Some(vec!["CAP_KILL".into()]),
            cgroup: Some(Cgroup { v1: true, v2: false, systemd: true, systemd_user: false, rdma: true }),
            seccomp: Some(Seccomp {
                enabled: true,
                known_flags: vec!["A", "B"],
                supported_flags: vec!["A"],
                ..Seccomp::default()
            }),
            apparmor: Some(true),
            selinux: Some(false),
            intel_rdt: Some(IntelRdt { enabled: true, schemata: false, monitoring: true }),
            memory_policy: Some(MemoryPolicy { modes: vec!["MPOL_BIND"], flags: vec![] }),
            idmap: Some(true),
            net_devices: Some(true),
            annotations: vec!["x."],
        };
        let got = serde_json::to_value(features(known)).unwrap();
        assert_eq!(got["mountOptions"], json!(["bind", "rw"]));
        assert_eq!(got["potentiallyUnsafeConfigAnnotations"], json!(["x."]));
        let linux = &got["linux"];
        assert_eq!(linux["capabilities"], json!(["CAP_KILL"]));
        assert_eq!(linux["cgroup"], json!({"v1": true, "v2": false, "systemd": true, "systemdUser": false, "rdma": true}));
        assert_eq!(linux["seccomp"]["knownFlags"], json!(["A", "B"]));
        assert_eq!(linux["seccomp"]["supportedFlags"], json!(["A"]));
        assert_eq!((&linux["apparmor"]["enabled"], &linux["selinux"]["enabled"]), (&json!(true), &json!(false)));
        assert_eq!(linux["intelRdt"], json!({"enabled": true, "schemata": false, "monitoring": true}));
        assert_eq!(linux["memoryPolicy"], json!({"modes": ["MPOL_BIND"], "flags": []}));
        assert_eq!(linux["mountExtensions"]["idmap"]["enabled"], json!(true));
        assert_eq!(linux["netDevices"]["enabled"], json!(true));
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let got = serde_json::to_value(features(Known::default())).unwrap();
        assert_eq!((&got["ociVersionMin"], &got["ociVersionMax"]), (&json!("1.0.0"), &json!("1.3.0")));
        assert!(got.get("mountOptions").is_none());
        let names: Vec<&String> = got["linux"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["namespaces"]);
        assert_eq!(got["linux"]["namespaces"].as_array().unwrap().len(), 8);
    }

    #[test]
    fn every_namespace_and_hook_named_is_one_that_the_config_takes() {
        let got = serde_json::to_value(features(Known::default())).unwrap();
        for name in got["linux"]["namespaces"].as_array().unwrap() {
            serde_json::from_value::<NamespaceKind>(name.clone()).unwrap();
        }
        for name in got["hooks"].as_array().unwrap() {
            let text = json!({ name.as_str().unwrap(): [{"path": "/x"}] });
            let hooks: crate::spec::config::Hooks = serde_json::from_value(text).unwrap();
            assert_ne!(hooks, Default::default(), "{name}");
        }
    }
}
