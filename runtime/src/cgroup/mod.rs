//! cgroups: v2 natively, v1 and hybrid as the legacy backend, the systemd driver.
//!
//! Two stages. [`plan`] is pure: [`Host`] and [`Request`] in, a [`CgroupPlan`] out, with every directory, file and value in
//! the order in which they are written. [`CgroupPlan::create`] carries it out. What is left for later commands is a
//! [`Cgroup`], a few paths that go into the container's state *before* anything is made: whoever finds that state can
//! remove what a crash left.
//!
//! | | before the clone | at the clone | after it |
//! |---|---|---|---|
//! | cgroupfs, v2 | mkdir, limits, device program | CLONE_INTO_CGROUP | – |
//! | cgroupfs, v1 and hybrid | mkdir and limits in each hierarchy | CLONE_INTO_CGROUP for the unified tree | pid into each v1 hierarchy |
//! | systemd | – | – | scope by D-Bus, limits, device program |

mod annotation;
mod apply;
mod bpf;
mod check;
pub mod convert;
mod dbus;
mod devices;
mod exec;
mod explain;
pub(crate) mod file;
mod host;
mod live;
mod measure;
mod oom;
mod path;
mod plan;
#[cfg(test)]
mod plan_tests;
pub mod stats;
mod systemd;
mod update;
mod walk;
mod writes;

use serde::{Deserialize, Serialize};

pub use annotation::PREFIX as PROPERTY_ANNOTATION;
pub use apply::Created;
pub use exec::{Join, SubCgroups};
pub use host::{Hierarchy, Host, Layout, Unified};
pub use live::{State, Watch};
pub use oom::{OomEvent, OomWatch};
pub(crate) use path::clean as clean_path;
pub use plan::{CgroupPlan, DirPlan, Request, plan};
pub use writes::{OnError, Purpose, Write};

/// The hierarchy that a controller is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// cgroup2.
    V2,
    /// A v1 hierarchy: index into [`Cgroup::legacy`].
    V1(usize),
}

/// A directory in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// Mount point of the hierarchy.
    pub mount: String,
    /// From there; no leading slash.
    pub path: String,
    /// v1: what is bound to it. cgroup2: empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<String>,
}

impl Dir {
    /// The whole path.
    pub fn full(&self) -> String {
        format!("{}/{}", self.mount, self.path)
    }
}

/// A container's cgroup: what its state keeps, and the handle for everything that is done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// In the cgroup2 tree. None on a host without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unified: Option<Dir>,
    /// In the v1 hierarchies, one for each distinct one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legacy: Vec<Dir>,
    /// Systemd driver: the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl Cgroup {
    /// Where `controller` is bound; on a host with cgroup2, what no v1 hierarchy has is taken to be there.
    pub fn binding(&self, controller: &str) -> Option<Binding> {
        let v1 = self.legacy.iter().position(|d| d.controllers.iter().any(|c| c == controller));
        v1.map(Binding::V1).or(self.unified.as_ref().map(|_| Binding::V2))
    }

    /// The directory of `controller`.
    pub fn dir(&self, controller: &str) -> Option<&Dir> {
        match self.binding(controller)? {
            Binding::V2 => self.unified.as_ref(),
            Binding::V1(i) => self.legacy.get(i),
        }
    }

    /// What kind of host it is on.
    pub fn layout(&self) -> Layout {
        match (&self.unified, self.legacy.is_empty()) {
            (Some(_), true) => Layout::V2,
            (Some(_), false) => Layout::Hybrid,
            (None, _) => Layout::V1,
        }
    }

    /// All directories, the unified one first.
    pub fn dirs(&self) -> impl DoubleEndedIterator<Item = &Dir> {
        self.unified.iter().chain(&self.legacy)
    }
}
