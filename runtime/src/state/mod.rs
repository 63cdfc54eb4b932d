//! What is known of each container, under the state root (`/run/rrun`, to be forgotten at a reboot).
//!
//! ```text
//! <root>/<id>/            0700, one directory per container, made exclusively; its flock serialises whoever changes it
//!     state.json          0600, [`State`], replaced by rename; written first while phase is `creating`
//!     config.json         0600, the config as it was at create: later edits of the bundle do not matter
//!     start.sock          init listens here until it is started
//! ```
//!
//! Nothing that the kernel knows is kept: whether a container runs is asked of /proc, the socket and the freezer ([`status`]).
//! There is no lock over all containers, and reading takes none at all.

mod dir;
pub mod id;
mod process;
mod root;
mod status;
pub mod time;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::rdt::Group;
use crate::spec::config::{Config, Hook, NamespaceKind};
pub use dir::{Dir, Lock, START_SOCKET};
pub use process::Process;
pub use root::StateRoot;
pub use status::{Status, status};

/// The version of state.json that this code writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// How far `create` has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Something may exist in the kernel, or nothing yet.
    Creating,
    /// Init waits to be started, runs or has ended.
    Created,
}

/// state.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// The config's `ociVersion`.
    pub oci_version: String,
    /// The container.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When `create` began: RFC 3339, UTC, nanoseconds.
    pub created: String,
    /// uid of who ran `create`.
    pub owner: u32,
    /// How far `create` has come.
    pub phase: Phase,
    /// The process that ran `create`: once it is gone, a container still in [`Phase::Creating`] was interrupted.
    pub creator: Process,
    /// The container's first process, seen from the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Process>,
    /// Whether the pid namespace is the container's own: then init takes all others with it.
    #[serde(default)]
    pub own_pid_namespace: bool,
    /// Where the container's cgroups are; written before they are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
    /// Its class of service (`linux.intelRdt`); written before it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<Group>,
    /// The config's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The config's `hooks.poststop`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

impl State {
    /// The state that `create` begins with: the calling process is the creator, and nothing exists yet.
    ///
    /// # Errors
    /// If /proc cannot be read.
    pub fn new(id: &str, bundle: PathBuf, config: &Config) -> Result<State> {
        let root = config.root.as_ref().map(|r| bundle.join(&r.path)).unwrap_or_default();
        let namespaces = config.linux.as_ref().map(|l| l.namespaces.as_slice()).unwrap_or_default();
        Ok(State {
            version: VERSION,
            oci_version: config.oci_version.clone(),
            id: id.to_string(),
            rootfs: root,
            bundle,
            created: time::Timestamp::now().nanoseconds(),
            owner: rustix::process::geteuid().as_raw(),
            phase: Phase::Creating,
            creator: Process::of(rustix::process::getpid().as_raw_nonzero().get())?,
            init: None,
            own_pid_namespace: namespaces.iter().any(|n| n.kind == NamespaceKind::Pid && n.path.is_none()),
            cgroup: None,
            rdt: None,
            annotations: config.annotations.clone(),
            poststop: config.hooks.as_ref().map(|h| h.poststop.clone()).unwrap_or_default(),
        })
    }

    /// The state as hooks and seccomp agents are given it (runtime.md#state), as JSON. `pid` as the receiver sees it.
    pub fn oci_json(&self, status: Status, pid: Option<i32>) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Oci<'a> {
            oci_version: &'a str,
            id: &'a str,
            status: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            pid: Option<i32>,
            bundle: &'a str,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            annotations: &'a BTreeMap<String, String>,
        }
        // The specification knows no "paused".
        let status = if status == Status::Paused { Status::Running } else { status };
        let bundle = self.bundle.to_string_lossy();
        let oci = Oci {
            oci_version: &self.oci_version,
            id: &self.id,
            status: status.name(),
            pid,
            bundle: &bundle,
            annotations: &self.annotations,
        };
        serde_json::to_string(&oci).unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory of a test's own, removed at its end.
    pub(crate) struct Scratch(pub PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Scratch {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("rrun-state-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        pub(crate) fn root(&self) -> StateRoot {
            StateRoot::make(&self.0.join("root")).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    pub(crate) fn state(id: &str) -> State {
        let mut state = State::new(id, "/srv/bundle".into(), &crate::cli::spec::default(true)).unwrap();
        state.annotations.insert("a".into(), "b".into());
        state
    }

    #[test]
    fn a_new_state_takes_what_it_needs_from_the_config() {
        let mut config = crate::cli::spec::default(false);
        let s = State::new("x", "/srv/bundle".into(), &config).unwrap();
        assert_eq!((s.rootfs.as_path(), s.own_pid_namespace), (Path::new("/srv/bundle/rootfs"), true));
        assert_eq!(s.creator.pid, std::process::id() as i32);
        config.root.as_mut().unwrap().path = "/abs".into();
        config.linux.as_mut().unwrap().namespaces[0].path = Some("/proc/1/ns/pid".into());
        let s = State::new("x", "/srv/bundle".into(), &config).unwrap();
        assert_eq!((s.rootfs.as_path(), s.own_pid_namespace), (Path::new("/abs"), false));
    }

    #[test]
    fn hooks_get_the_state_in_the_form_of_the_specification() {
        let got: serde_json::Value = serde_json::from_str(&state("x").oci_json(Status::Paused, Some(7))).unwrap();
        let want = serde_json::json!({"ociVersion": "1.3.0", "id": "x", "status": "running", "pid": 7,
            "bundle": "/srv/bundle", "annotations": {"a": "b"}});
        assert_eq!(got, want);
        let got: serde_json::Value = serde_json::from_str(&state("x").oci_json(Status::Stopped, None)).unwrap();
        assert!(got.get("pid").is_none());
    }
}
