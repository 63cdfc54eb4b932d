//! `delete`, and the end of `run`.

use std::path::Path;
use std::time::Duration;

use super::cgroup_of;
use crate::error::{Error, Result};
use crate::hooks::{self, Place};
use crate::state::{Dir, Lock, State, Status};

/// How long processes may take to go after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes what a container that is not running has: processes left in its cgroup, cgroups, state; then runs its poststop hooks,
/// whose failures are only warnings (runtime.md#lifecycle, step 13).
///
/// # Errors
/// Something cannot be removed; the state stays, so that it can be tried again.
pub fn remove(dir: &Dir, _lock: Lock, state: &State) -> Result<Vec<String>> {
    if let Some(cgroup) = cgroup_of(state)? {
        cgroup.kill_all()?;
        cgroup.destroy(PATIENCE)?;
    }
    let warnings = poststop(state);
    dir.remove()?;
    Ok(warnings)
}

/// Runs the poststop hooks, all of them; returns what went wrong.
pub fn poststop(state: &State) -> Vec<String> {
    if state.poststop.is_empty() {
        return Vec::new();
    }
    let json = state.oci_json(Status::Stopped, None);
    let cwd: &Path = &state.bundle;
    let each = state.poststop.iter().enumerate().filter_map(|(i, hook)| {
        let result = hooks::run("poststop", std::slice::from_ref(hook), &json, Place::Runtime(cwd));
        result.err().map(|e: Error| e.to_string().replacen("poststop[0]", &format!("poststop[{i}]"), 1))
    });
    each.collect()
}
