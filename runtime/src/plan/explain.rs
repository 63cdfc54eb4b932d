//! A Plan in words, for `rrun explain` and for error messages.

use std::fmt::{self, Display};

use super::{IdMap, IdMapSource, MustBe, Op, Plan};
use crate::caps;
use crate::mount::options::{attr_words, propagation_word};
use crate::plan::facts::RLIMITS;
use crate::spec::config::{IdMapping, NamespaceKind};
use crate::sys::mount::MountAttr;

impl Display for Op {
    /// One line: what init does, with its arguments.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Join { kind, path, .. } => write!(f, "join the {} namespace {path}", kind.name()),
            Op::JoinProcess { flags } => write!(f, "join the namespaces of the container ({flags:#x})"),
            Op::WaitForParent => write!(f, "wait for the parent: id maps, cgroup, network devices, hooks"),
            Op::BecomeRoot { .. } => write!(f, "become user 0 and group 0 of the user namespace"),
            Op::UnshareTime { offsets } => {
                write!(f, "new time namespace")?;
                if offsets.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {}", String::from_utf8_lossy(offsets).trim().replace('\n', ", "))
                }
            }
            Op::UnshareCgroup => write!(f, "new cgroup namespace, rooted at the container's cgroup"),
            Op::Loopback => write!(f, "bring up the loopback device"),
            Op::NewSession => write!(f, "new session"),
            Op::Keyring { name, .. } => write!(f, "new session keyring {}", name.to_string_lossy()),
            Op::Isolate => write!(f, "make all mounts slaves of the host's"),
            Op::AttachRoot { at } => write!(f, "attach the root file system on top of {}", at.to_string_lossy()),
            Op::OpenRoot { path } => {
                write!(f, "open the root file system {} in the joined mount namespace", path.to_string_lossy())
            }
            Op::Mount(mount) => {
                write!(f, "mount {} on {}", mount.kind.to_string_lossy(), mount.dest.as_str())?;
                let params = mount.params.iter().map(|(key, value)| match value {
                    Some(value) => format!("{}={}", key.to_string_lossy(), value.to_string_lossy()),
                    None => key.to_string_lossy().into_owned(),
                });
                let mut words: Vec<String> = params.collect();
                words.extend(Some(attr_words(mount.attr)).filter(|w| !w.is_empty()));
                words.extend(mount.copy_up.then(|| "tmpcopyup".to_owned()));
                words.extend(mount.changes.iter().map(change_words));
                if words.is_empty() { Ok(()) } else { write!(f, " ({})", words.join(", ")) }
            }
            Op::Bind { dest, source, .. } => write!(f, "bind {source} on {}", dest.as_str()),
            Op::Remount { dest, changes } => {
                write!(
                    f,
                    "change the mount {}: {}",
                    dest.as_str(),
                    changes.iter().map(change_words).collect::<Vec<_>>().join(", ")
                )
            }
            Op::Node { path, kind, mode, device, uid, gid } => {
                let letter = match *kind {
                    libc::S_IFBLK => 'b',
                    libc::S_IFIFO => 'p',
                    _ => 'c',
                };
                let (major, minor) = (libc::major(*device), libc::minor(*device));
                write!(f, "make the node {} {letter} {major}:{minor} mode {mode:04o} owner {uid}:{gid}", path.as_str())
            }
            Op::BindNode { path, .. } => write!(f, "bind the host's device node {}", path.as_str()),
            Op::Link { path, target } => write!(f, "link {} -> {}", path.as_str(), target.to_string_lossy()),
            Op::Directory { path } => write!(f, "make the directory {} if it is missing", path.as_str()),
            Op::Console { size, .. } => match size {
                Some((rows, columns)) => write!(f, "open a terminal of {columns}x{rows}"),
                None => write!(f, "open a terminal"),
            },
            Op::WaitForHooks => write!(f, "wait for the createContainer hooks"),
            Op::Pivot => write!(f, "pivot_root into the root file system"),
            Op::MoveRoot => write!(f, "chroot into the root file system (no pivot_root)"),
            Op::Chroot => write!(f, "chroot into the root file system"),
            Op::RootPropagation { kind, recursive } => write!(f, "make / {}", propagation_word(*kind, *recursive)),
            Op::RootReadonly => write!(f, "make / read-only"),
            Op::ReadonlyPath { path } => write!(f, "make {} read-only", path.as_str()),
            Op::MaskPath { path } => write!(f, "cover {}", path.as_str()),
            Op::Hostname { name } => write!(f, "set the host name {name}"),
            Op::Domainname { name } => write!(f, "set the domain name {name}"),
            Op::Sysctl { path, value } => write!(f, "write {} to /proc/sys/{}", value.to_string_lossy(), path.to_string_lossy()),
            Op::ProcSelf { file, value } => {
                write!(f, "write {} to /proc/self/{}", value.to_string_lossy(), file.to_string_lossy())
            }
            Op::Limits { limits } => {
                let number = |n: u64| if n == u64::MAX { "unlimited".to_owned() } else { n.to_string() };
                let words: Vec<_> = limits
                    .iter()
                    .map(|(r, l)| format!("{} {}:{}", &RLIMITS[*r as usize][7..], number(l.soft), number(l.hard)))
                    .collect();
                write!(f, "set limits: {}", words.join(", "))
            }
            Op::Scheduler { attr } => {
                write!(
                    f,
                    "schedule with policy {} nice {} priority {} flags {:#x}",
                    attr.policy, attr.nice, attr.priority, attr.flags
                )?;
                match (attr.runtime, attr.deadline, attr.period) {
                    (0, 0, 0) => Ok(()),
                    (runtime, deadline, period) => write!(f, " runtime {runtime} deadline {deadline} period {period} ns"),
                }
            }
            Op::IoPriority { class, priority } => write!(f, "set I/O class {class} priority {priority}"),
            Op::Affinity { mask } => {
                if mask.iter().all(|w| *w == u64::MAX) {
                    write!(f, "run on every CPU of the cpuset")
                } else {
                    write!(f, "run on the CPUs {}", mask.iter().map(|w| format!("{w:#x}")).collect::<Vec<_>>().join(" "))
                }
            }
            Op::MemoryPolicy { mode, nodes } => write!(f, "set memory policy {mode:#x} nodes {nodes:x?}"),
            Op::Personality { value } => write!(f, "set personality {value:#x}"),
            Op::Chdir { path, last: false, .. } => write!(f, "enter {}", path.to_string_lossy()),
            Op::Chdir { path, .. } => write!(f, "enter {} as the user, where root was not let in", path.to_string_lossy()),
            Op::FindProgram => write!(f, "look for the program"),
            Op::Release { .. } => write!(f, "close every descriptor of the host"),
            Op::WaitForStart => write!(f, "ready: wait for start"),
            Op::OwnStdio { uid } => write!(f, "give the standard streams to user {uid}"),
            Op::Seccomp => write!(f, "load the system call filter"),
            Op::NoNewPrivileges => write!(f, "set no_new_privs"),
            Op::Bounding { keep, .. } => write!(f, "drop all from the bounding set but {}", cap_words(*keep)),
            Op::Credentials { uid, gid, groups, umask } => {
                write!(f, "become user {uid} group {gid} groups {:?} umask {umask:04o}", groups.as_deref().unwrap_or_default())
            }
            Op::Capabilities { sets } => write!(
                f,
                "capabilities: effective {}; permitted {}; inheritable {}; ambient {}",
                cap_words(sets.effective),
                cap_words(sets.permitted),
                cap_words(sets.inheritable),
                cap_words(sets.ambient)
            ),
            Op::Disinherit { keep_fds } => write!(
                f,
                "default signals; close every descriptor from {} on at exec; the working directory is inside of the root",
                3 + keep_fds
            ),
            Op::DieWithParent => write!(f, "die with the parent"),
            Op::Execute => write!(f, "execute the program"),
        }
    }
}

impl Op {
    /// The main argument of the step's system calls, for errors: a path or a name.
    pub fn argument(&self, arg: u16) -> String {
        let quoted = |text: &str| format!("{text:?}");
        match self {
            Op::Join { path, .. } => quoted(path),
            Op::Mount(mount) => match usize::from(arg).checked_sub(1).and_then(|i| mount.params.get(i)) {
                Some((key, Some(value))) => format!("{:?}, {:?}", key.to_string_lossy(), value.to_string_lossy()),
                Some((key, None)) => quoted(&key.to_string_lossy()),
                None => format!("{:?}, {:?}", mount.kind.to_string_lossy(), mount.dest.as_str()),
            },
            Op::Bind { dest, source, .. } => format!("{source:?}, {:?}", dest.as_str()),
            Op::Remount { dest: path, .. }
            | Op::Node { path, .. }
            | Op::BindNode { path, .. }
            | Op::Link { path, .. }
            | Op::Directory { path }
            | Op::ReadonlyPath { path }
            | Op::MaskPath { path } => quoted(path.as_str()),
            Op::Hostname { name } | Op::Domainname { name } => quoted(name),
            Op::Sysctl { path, value } => format!("\"/proc/sys/{}\", {:?}", path.to_string_lossy(), value.to_string_lossy()),
            Op::ProcSelf { file, value } => format!("\"/proc/self/{}\", {:?}", file.to_string_lossy(), value.to_string_lossy()),
            Op::Limits { limits } => {
                let named = limits.iter().find(|(r, _)| *r == u32::from(arg));
                named.map_or_else(String::new, |(r, l)| format!("{}, {}, {}", RLIMITS[*r as usize], l.soft, l.hard))
            }
            Op::Chdir { path, .. } | Op::OpenRoot { path } => quoted(&path.to_string_lossy()),
            Op::Credentials { uid, gid, .. } => format!("{uid}, {gid}"),
            Op::Bounding { .. } | Op::Capabilities { .. } if arg > 0 => caps::names(1 << arg).join(""),
            Op::Affinity { mask } => mask.iter().map(|w| format!("{w:#x}")).collect::<Vec<_>>().join(" "),
            _ => String::new(),
        }
    }
}

fn cap_words(mask: u64) -> String {
    if mask == 0 { "none".to_owned() } else { caps::names(mask).join(" ") }
}

fn change_words((recursive, attr): &(bool, MountAttr)) -> String {
    if attr.propagation != 0 {
        return propagation_word(attr.propagation, *recursive).to_owned();
    }
    let (set, cleared) = (attr_words(attr.set), attr_words(attr.clear));
    let mut words = Vec::new();
    words.extend(Some(set).filter(|w| !w.is_empty()));
    words.extend(Some(cleared).filter(|w| !w.is_empty()).map(|w| format!("not {w}")));
    format!("{}{}", words.join(" "), if *recursive { " (recursive)" } else { "" })
}

impl Plan {
    /// What the parent does up to the clone, line by line: (field, what).
    pub fn steps_before_clone(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        for joined in &self.namespaces.joined {
            lines.push((joined.field.clone(), format!("open {}", joined.path)));
        }
        if self.namespaces.is_new(NamespaceKind::Mount) {
            let propagation = propagation_word(self.root_propagation, true);
            lines.push(("root.path".into(), format!("open and clone the tree {} ({propagation})", self.rootfs.display())));
        }
        for tree in &self.trees {
            let mut words: Vec<String> = tree.idmap.iter().map(idmap_words).collect();
            words.extend(tree.changes.iter().map(change_words));
            words.extend(tree.must_be.map(must_be_words));
            let how = if tree.recursive { "open and clone the tree" } else { "open and clone" };
            let options = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
            lines.push((tree.field.clone(), format!("{how} {}{options}", tree.path.display())));
        }
        let userns = self.namespaces.has(NamespaceKind::User);
        for joined in self.namespaces.joined.iter().filter(|j| userns || j.kind == NamespaceKind::Pid) {
            let who = if userns { "in a process between us and init: " } else { "" };
            lines.push((joined.field.clone(), format!("{who}join the {} namespace {}", joined.kind.name(), joined.path)));
        }
        let at_clone = self.namespaces.new.iter().filter(|k| match k {
            NamespaceKind::Time => false,
            NamespaceKind::Cgroup => self.clone_into_cgroup,
            _ => true,
        });
        let new: Vec<_> = at_clone.map(|k| k.name()).collect();
        let with = if new.is_empty() { "no new namespaces".to_owned() } else { format!("new namespaces: {}", new.join(" ")) };
        let into = if self.clone_into_cgroup { ", into the container's cgroup" } else { "" };
        lines.push(("linux.namespaces".into(), format!("clone3 with {with}{into}")));
        lines
    }

    /// What the parent does while init waits for it, line by line: (field, what).
    pub fn duty_steps(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        let duties = &self.duties;
        if let Some(offsets) = &duties.time_offsets {
            let text = String::from_utf8_lossy(offsets).trim().replace('\n', ", ");
            lines.push(("linux.timeOffsets".into(), format!("write {text} to /proc/PID/timens_offsets")));
        }
        for (name, file, map) in
            [("linux.gidMappings", "gid_map", &duties.gid_map), ("linux.uidMappings", "uid_map", &duties.uid_map)]
        {
            if let Some(map) = map {
                lines.push((name.into(), format!("write {} to /proc/PID/{file}", map.trim().replace('\n', ", "))));
            }
        }
        if !duties.limits.is_empty() {
            lines.push(("process.rlimits".into(), Op::Limits { limits: duties.limits.clone() }.to_string()));
        }
        if let Some(adj) = duties.oom_score_adj {
            lines.push(("process.oomScoreAdj".into(), format!("write {adj} to /proc/PID/oom_score_adj")));
        }
        for (host, inside) in &duties.net_devices {
            lines.push((format!("linux.netDevices.{host}"), format!("move the network device {host} in as {inside}")));
        }
        lines
    }
}

/// A mapping as `idmap 0:100000:65536`, gids after uids.
fn idmap_words(map: &IdMap) -> String {
    let word = if map.recursive { "ridmap" } else { "idmap" };
    let ranges = |all: &[IdMapping]| {
        all.iter().map(|m| format!("{}:{}:{}", m.container_id, m.host_id, m.size)).collect::<Vec<_>>().join(" ")
    };
    match &map.source {
        IdMapSource::Path(path) => format!("{word} of {path}"),
        IdMapSource::Mappings(uids, gids) => format!("{word} uids {} gids {}", ranges(uids), ranges(gids)),
    }
}

fn must_be_words(what: MustBe) -> String {
    match what {
        MustBe::Proc => "if it is a procfs".to_owned(),
        MustBe::Node(_, device) => format!("if it is the device {}:{}", libc::major(device), libc::minor(device)),
    }
}
