//! `rrun state`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Globals;
use super::args::{Args, Command, Example, Operand};
use crate::container::Container;
use crate::error::{Error, Result};
use crate::state::Status;

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "state",
    summary: "print what is known of a container, as JSON",
    about: "The status is asked of the kernel at this moment: creating, created, running, paused or stopped.\n\
            A stopped container has pid 0.",
    operands: &[Operand::Container],
    least: 1,
    most: 1,
    examples: &[Example { line: "rrun state web", does: "its status, pid, bundle and annotations" }],
    ..Command::EMPTY
};

/// What `state` and `list --format json` print of a container; runc's names and order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Version of the specification that its config follows.
    pub oci_version: String,
    /// The container.
    pub id: String,
    /// Init as the host sees it; 0 if it has ended.
    pub pid: i32,
    /// At this moment.
    pub status: Status,
    /// Absolute path.
    pub bundle: String,
    /// Absolute path.
    pub rootfs: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// The config's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name of the user that created it, or `#` and the number.
    pub owner: String,
}

impl Shown {
    /// Asks the kernel for the container's status.
    ///
    /// # Errors
    /// Those of [`Container::status`].
    pub fn of(container: &Container) -> Result<Shown> {
        let status = container.status()?;
        let state = container.state();
        let pid = if status == Status::Stopped { None } else { state.init };
        Ok(Shown {
            oci_version: state.oci_version.clone(),
            id: state.id.clone(),
            pid: pid.map_or(0, |init| init.pid),
            status,
            bundle: state.bundle.display().to_string(),
            rootfs: state.rootfs.display().to_string(),
            created: state.created.clone(),
            annotations: state.annotations.clone(),
            owner: user_name(state.owner),
        })
    }
}

/// The name of a user, or `#` and the number if there is none or /etc/passwd cannot be read.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    named(&passwd, uid).map_or_else(|| format!("#{uid}"), str::to_string)
}

fn named(passwd: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    })
}

/// Prints the state.
///
/// # Errors
/// If there is no such container, or its status cannot be found out.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    let container = Container::load(&globals.root, args.first())?;
    let mut text = serde_json::to_string_pretty(&Shown::of(&container)?).map_err(|e| Error::failed("state", e.to_string()))?;
    text.push('\n');
    super::print(&text)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n\ndaemon:x:1:1::/:/bin/false\n";
        assert_eq!((named(passwd, 0), named(passwd, 1), named(passwd, 10)), (Some("root"), Some("daemon"), None));
    }
}
