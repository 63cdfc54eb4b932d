//! `linux.namespaces`, id maps and time offsets.

use crate::error::{Error, Result};
use crate::spec::config::{Config, IdMapping, Linux, NamespaceKind, TimeOffset};
use crate::sys::clone::CLONE_NEWTIME;

/// One namespace to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Which kind.
    pub kind: NamespaceKind,
    /// Namespace file.
    pub path: String,
    /// Field of config.json.
    pub field: String,
}

/// The namespaces of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Kinds to make.
    pub new: Vec<NamespaceKind>,
    /// Kinds to join by path.
    pub joined: Vec<Joined>,
}

impl NamespaceKind {
    /// All eight, in the order of namespaces(7).
    pub const ALL: [NamespaceKind; 8] = [
        NamespaceKind::Cgroup,
        NamespaceKind::Ipc,
        NamespaceKind::Network,
        NamespaceKind::Mount,
        NamespaceKind::Pid,
        NamespaceKind::Time,
        NamespaceKind::User,
        NamespaceKind::Uts,
    ];

    /// CLONE_NEW*.
    pub fn flag(self) -> u64 {
        match self {
            NamespaceKind::User => libc::CLONE_NEWUSER as u64,
            NamespaceKind::Pid => libc::CLONE_NEWPID as u64,
            NamespaceKind::Network => libc::CLONE_NEWNET as u64,
            NamespaceKind::Ipc => libc::CLONE_NEWIPC as u64,
            NamespaceKind::Uts => libc::CLONE_NEWUTS as u64,
            NamespaceKind::Mount => libc::CLONE_NEWNS as u64,
            NamespaceKind::Cgroup => libc::CLONE_NEWCGROUP as u64,
            NamespaceKind::Time => CLONE_NEWTIME,
        }
    }

    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            NamespaceKind::User => "user",
            NamespaceKind::Pid => "pid",
            NamespaceKind::Network => "network",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::Mount => "mount",
            NamespaceKind::Cgroup => "cgroup",
            NamespaceKind::Time => "time",
        }
    }

    /// The file below /proc/PID/ns.
    pub fn proc_name(self) -> &'static str {
        match self {
            NamespaceKind::Network => "net",
            NamespaceKind::Mount => "mnt",
            other => other.name(),
        }
    }
}

impl Namespaces {
    /// Reads `linux.namespaces`.
    ///
    /// # Errors
    /// A kind that stands twice, or a path that is not absolute.
    pub fn read(linux: &Linux) -> Result<Namespaces> {
        let mut all = Namespaces::default();
        for (i, ns) in linux.namespaces.iter().enumerate() {
            let field = format!("linux.namespaces[{i}] ({})", ns.kind.name());
            if all.has(ns.kind) {
                return Err(Error::config(field, "stands twice; each kind may stand once"));
            }
            match ns.path.as_deref() {
                None | Some("") => all.new.push(ns.kind),
                Some(path) if path.starts_with('/') => all.joined.push(Joined { kind: ns.kind, path: path.to_owned(), field }),
                Some(path) => return Err(Error::config(field, format!("path {path:?} is not absolute"))),
            }
        }
        Ok(all)
    }

    /// Made anew?
    pub fn is_new(&self, kind: NamespaceKind) -> bool {
        self.new.contains(&kind)
    }

    /// Joined by path?
    pub fn joined(&self, kind: NamespaceKind) -> Option<&Joined> {
        self.joined.iter().find(|j| j.kind == kind)
    }

    /// Of its own, new or joined?
    pub fn has(&self, kind: NamespaceKind) -> bool {
        self.is_new(kind) || self.joined(kind).is_some()
    }

    /// Flags of all new ones.
    pub fn new_flags(&self) -> u64 {
        self.new.iter().fold(0, |flags, kind| flags | kind.flag())
    }
}

/// The content of a uid_map or gid_map file.
pub fn map_text(mappings: &[IdMapping]) -> String {
    mappings.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
}

/// Checks the mappings of a new user namespace.
///
/// # Errors
/// Mappings without a new user namespace, none with one, an empty or overflowing range, container id 0 left out.
pub fn check_mappings(config: &Config, linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    let any = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    if let Some(joined) = namespaces.joined(NamespaceKind::User) {
        // runc lets both stand if they agree; the kernel has only one truth, so the file's is ignored after a check of its form.
        let _ = joined;
    } else if !namespaces.is_new(NamespaceKind::User) {
        if any && !config.mounts.iter().any(|m| m.options.iter().any(|o| o == "idmap" || o == "ridmap")) {
            return Err(Error::config(
                "linux.uidMappings",
                "given, but linux.namespaces has no user namespace: add one or remove the mappings",
            ));
        }
        return Ok(());
    }
    for (name, mappings) in [("linux.uidMappings", &linux.uid_mappings), ("linux.gidMappings", &linux.gid_mappings)] {
        if namespaces.is_new(NamespaceKind::User) && mappings.is_empty() {
            return Err(Error::config(name, "empty; a new user namespace needs at least a mapping of container id 0"));
        }
        for (i, m) in mappings.iter().enumerate() {
            if m.size == 0 || m.container_id.checked_add(m.size - 1).is_none() || m.host_id.checked_add(m.size - 1).is_none() {
                return Err(Error::config(format!("{name}[{i}]"), "size is 0, or the range goes beyond 4294967295"));
            }
        }
        if namespaces.is_new(NamespaceKind::User) && !mappings.iter().any(|m| m.container_id == 0) {
            return Err(Error::config(name, "container id 0 is not mapped; the container is set up as that user"));
        }
    }
    Ok(())
}

/// Is a container id mapped?
pub fn is_mapped(mappings: &[IdMapping], id: u32) -> bool {
    mappings.iter().any(|m| id >= m.container_id && id - m.container_id < m.size)
}

/// The content of /proc/PID/timens_offsets (time_namespaces(7)).
///
/// # Errors
/// Offsets without a new time namespace, or an unknown clock.
pub fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<Option<Vec<u8>>> {
    if linux.time_offsets.is_empty() {
        return Ok(None);
    }
    if !namespaces.is_new(NamespaceKind::Time) {
        let what = if namespaces.has(NamespaceKind::Time) {
            "joins one by path, whose offsets are fixed"
        } else {
            "has no time namespace"
        };
        return Err(Error::config("linux.timeOffsets", format!("given, but linux.namespaces {what}")));
    }
    let mut text = String::new();
    for (clock, TimeOffset { secs, nanosecs }) in &linux.time_offsets {
        if clock != "monotonic" && clock != "boottime" {
            return Err(Error::config(format!("linux.timeOffsets.{clock}"), "unknown clock; known are monotonic and boottime"));
        }
        if *nanosecs > 999_999_999 {
            return Err(Error::config(format!("linux.timeOffsets.{clock}.nanosecs"), "above 999999999"));
        }
        text.push_str(&format!("{clock} {secs} {nanosecs}\n"));
    }
    Ok(Some(text.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(json: &str) -> Linux {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_kind_may_stand_once() {
        let l = linux(r#"{"namespaces":[{"type":"pid"},{"type":"pid","path":"/proc/1/ns/pid"}]}"#);
        assert_eq!(
            Namespaces::read(&l).unwrap_err().to_string(),
            "linux.namespaces[1] (pid): stands twice; each kind may stand once"
        );
    }

    #[test]
    fn mappings_must_cover_root_and_not_overflow() {
        let l = linux(
            r#"{"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":1,"hostID":0,"size":1}],"gidMappings":[{"containerID":0,"hostID":0,"size":1}]}"#,
        );
        let ns = Namespaces::read(&l).unwrap();
        let e = check_mappings(&Config::default(), &l, &ns).unwrap_err();
        assert!(e.to_string().starts_with("linux.uidMappings: container id 0"), "{e}");
        let l = linux(
            r#"{"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":4294967295,"size":2}],"gidMappings":[{"containerID":0,"hostID":0,"size":1}]}"#,
        );
        assert!(check_mappings(&Config::default(), &l, &ns).is_err());
    }

    #[test]
    fn offsets_need_a_new_time_namespace() {
        let l = linux(r#"{"timeOffsets":{"monotonic":{"secs":5}}}"#);
        assert!(time_offsets(&l, &Namespaces::read(&l).unwrap()).is_err());
        let l = linux(
            r#"{"namespaces":[{"type":"time"}],"timeOffsets":{"monotonic":{"secs":5},"boottime":{"secs":-1,"nanosecs":7}}}"#,
        );
        let text = time_offsets(&l, &Namespaces::read(&l).unwrap()).unwrap().unwrap();
        assert_eq!(text, b"boottime -1 7\nmonotonic 5 0\n");
    }
}
