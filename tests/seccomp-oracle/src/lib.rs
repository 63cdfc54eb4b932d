//! What the tests and measurements of rrun's seccomp compiler share: libseccomp used as runc uses it, a plain reading of a
//! profile's meaning, generated profiles, and a machine that runs filters.

pub mod calls;
pub mod generate;
pub mod meaning;
pub mod peer;

#[path = "../../../runtime/src/seccomp/machine.rs"]
pub mod machine;

// For `machine`, which is a file of rrun.
use rrun::sys;

use rrun::spec::seccomp::Seccomp;

/// Docker's default profile, as it is for a container without added capabilities on x86_64.
pub fn docker_default() -> Seccomp {
    serde_json::from_str(include_str!("../testdata/docker-default.json")).expect("the fixture is a profile")
}
