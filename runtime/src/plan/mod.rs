//! The Plan: everything that init will do, decided before the clone, without touching the kernel.
//!
//! [`build`] is pure: Config + [`Facts`] -> [`Plan`]. A Plan is a list of [`Step`]s, each a config field and an [`Op`] with its C
//! strings ready. Init walks them by index; when one fails it reports only the index, the system call and the errno, and the
//! parent says it in words from its own copy. `rrun explain` prints the same list.

mod build;
mod explain;
pub mod facts;
pub mod memory;
pub mod namespaces;
pub mod process;
mod rootfs;

use std::ffi::CString;
use std::path::PathBuf;

pub use build::{ExecRequest, Request, build, build_exec};
pub use facts::Facts;
pub use namespaces::Namespaces;

use crate::caps::Sets;
use crate::spec::config::{IdMapping, NamespaceKind};
use crate::sys::mount::MountAttr;
use crate::sys::process::{Limit, SchedAttr, StringArray};
use crate::sys::seccomp::SockFilter;

/// A path inside the container: absolute, without `.`, `..` or double slashes. It is resolved by openat2(2) inside the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside(CString);

impl Inside {
    /// From a path of config.json; relative ones count from `/`. None if it holds a NUL byte.
    pub fn new(path: &str) -> Option<Inside> {
        CString::new(format!("/{}", crate::cgroup::clean_path(path))).ok().map(Inside)
    }

    /// Of a path known to be clean.
    pub fn clean(path: &std::ffi::CStr) -> Inside {
        Inside(path.to_owned())
    }

    /// With the leading slash.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// For system calls.
    pub fn as_c_str(&self) -> &std::ffi::CStr {
        &self.0
    }

    /// Is it the root itself?
    pub fn is_root(&self) -> bool {
        self.0.as_bytes() == b"/"
    }

    /// Is it `dir` or below it?
    pub fn is_within(&self, dir: &str) -> bool {
        self.as_str().strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// A source that the parent opens and clones with open_tree(2), before the clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Path on the host.
    pub path: PathBuf,
    /// With what is mounted below it.
    pub recursive: bool,
    /// Attribute changes, in order, each recursive or not.
    pub changes: Vec<(bool, MountAttr)>,
    /// Ownership mapping, applied before the other changes.
    pub idmap: Option<IdMap>,
    /// It must be a procfs (a bind onto /proc), or a device node of this number (a bind instead of mknod).
    pub must_be: Option<MustBe>,
    /// Field of config.json that asks for it.
    pub field: String,
}

/// What the parent checks of a [`Tree`] after opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MustBe {
    /// A procfs.
    Proc,
    /// A device node: S_IFCHR or S_IFBLK, and its number.
    Node(u32, u64),
}

/// Where the mapping of an idmapped mount comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    /// Of all of the tree.
    pub recursive: bool,
    /// The user namespace that holds the mapping.
    pub source: IdMapSource,
}

/// The user namespace of an [`IdMap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMapSource {
    /// One made for these mappings.
    Mappings(Vec<IdMapping>, Vec<IdMapping>),
    /// The one that the container joins, by its path.
    Path(String),
}

/// A new file system instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMount {
    /// Where.
    pub dest: Inside,
    /// File system type, for fsopen(2).
    pub kind: CString,
    /// Parameters for fsconfig(2); without a value: a flag.
    pub params: Vec<(CString, Option<CString>)>,
    /// MOUNT_ATTR_* for fsmount(2).
    pub attr: u64,
    /// Later changes: (recursive, attributes and propagation).
    pub changes: Vec<(bool, MountAttr)>,
    /// tmpcopyup.
    pub copy_up: bool,
    /// The destination must be a real directory: no link in its path (proc, sysfs).
    pub strict: bool,
    /// On EPERM or EBUSY this tree is bound instead (sysfs and cgroup2 where the kernel does not allow a new instance).
    pub fallback: Option<usize>,
}

/// One system object that init must bring about.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the fields are what the variant's line says
pub enum Op {
    /// setns(2) into the namespace file that the parent opened at this index of [`Namespaces::joined`].
    Join { index: usize, kind: NamespaceKind, path: String },
    /// setns(2) into several namespaces of the process behind the target pidfd (`exec`).
    JoinProcess { flags: u64 },
    /// Wait until the parent has done what only it can do: id maps, cgroup, devices, hooks.
    WaitForParent,
    /// Become uid 0 and gid 0 of the new user namespace.
    BecomeRoot { set_groups: bool },
    /// unshare(2) of the time namespace; exec enters it.
    UnshareTime { offsets: Vec<u8> },
    /// unshare(2) of the cgroup namespace, once the process is in its cgroup.
    UnshareCgroup,
    /// The loopback device of the new network namespace comes up.
    Loopback,
    /// setsid(2).
    NewSession,
    /// A session keyring of its own (keyctl(2)).
    Keyring { name: CString, permissions: u32 },
    /// Nothing that is mounted from here on reaches the host: all mounts become slaves.
    Isolate,
    /// The root tree goes on top of `/`, or where the bundle has it.
    AttachRoot { at: CString },
    /// The root directory of a joined mount namespace.
    OpenRoot { path: CString },
    /// A new file system.
    Mount(Box<NewMount>),
    /// A cloned tree of the host, by index of [`Plan::trees`].
    Bind { dest: Inside, tree: usize, source: String },
    /// Change the attributes of what is mounted at `dest`.
    Remount { dest: Inside, changes: Vec<(bool, MountAttr)> },
    /// A device node.
    Node { path: Inside, kind: u32, mode: u32, device: u64, uid: u32, gid: u32 },
    /// A device node of the host, bound: where mknod(2) is not allowed.
    BindNode { path: Inside, tree: usize },
    /// A symbolic link, left alone if something is there.
    Link { path: Inside, target: CString },
    /// A directory, if it is not there.
    Directory { path: Inside },
    /// Open a pseudo terminal in the container's devpts, send the master, make the peer stdin, stdout, stderr and `/dev/console`.
    Console { size: Option<(u16, u16)>, bind: Option<Inside> },
    /// Tell the parent that the mounts are there, and wait while it runs the createContainer hooks.
    WaitForHooks,
    /// pivot_root(2) into the new root and drop the old one.
    Pivot,
    /// Move the new root onto `/` and chroot(2), where pivot_root is not possible (`--no-pivot`).
    MoveRoot,
    /// chroot(2) in a joined mount namespace.
    Chroot,
    /// Propagation of the root mount.
    RootPropagation { kind: u64, recursive: bool },
    /// The root mount becomes read-only.
    RootReadonly,
    /// A path becomes read-only, with all below it.
    ReadonlyPath { path: Inside },
    /// A path is covered by an empty directory or /dev/null.
    MaskPath { path: Inside },
    /// sethostname(2).
    Hostname { name: String },
    /// setdomainname(2).
    Domainname { name: String },
    /// A file below the host's /proc/sys, whose content belongs to our namespaces.
    Sysctl { path: CString, value: CString },
    /// A file of /proc/self: oom_score_adj, LSM labels.
    ProcSelf { file: CString, value: CString },
    /// Resource limits (prlimit(2)).
    Limits { limits: Vec<(u32, Limit)> },
    /// Scheduling policy.
    Scheduler { attr: SchedAttr },
    /// I/O priority.
    IoPriority { class: u32, priority: u32 },
    /// CPU affinity mask.
    Affinity { mask: Vec<u64> },
    /// NUMA policy.
    MemoryPolicy { mode: u32, nodes: Vec<u64> },
    /// Execution domain.
    Personality { value: u64 },
    /// Working directory. If only the user may enter it, a later step of the same kind does it.
    Chdir { path: CString, create: bool, last: bool },
    /// Look for the program, so that a missing one is an error of `create`.
    FindProgram,
    /// Close every descriptor but the parent's socket, the listener, the streams and the preserved ones: nothing of the host is
    /// within reach of whoever may look into us from here on.
    Release { keep_fds: u32 },
    /// Everything is prepared: say so and wait for `start`.
    WaitForStart,
    /// Owner of the standard streams.
    OwnStdio { uid: u32 },
    /// Install the system call filter.
    Seccomp,
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivileges,
    /// Drop from the bounding set what is not in the mask.
    Bounding { keep: u64, last_cap: u32 },
    /// Groups, gid and uid, keeping capabilities until the next step.
    Credentials { uid: u32, gid: u32, groups: Option<Vec<u32>>, umask: u32 },
    /// The four other capability sets.
    Capabilities { sets: Sets },
    /// SIGKILL when the parent dies: for hooks.
    DieWithParent,
    /// Close or mark every descriptor beyond the preserved ones; default signals.
    Disinherit { keep_fds: u32 },
    /// execve(2).
    Execute,
}

/// One step of init: what, and which field of config.json asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// As in `mounts[3] (/data)`.
    pub field: String,
    /// What to do.
    pub op: Op,
}

/// The program that init becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Where it may be, in order: `args[0]` itself, or one per directory of PATH.
    pub candidates: Vec<CString>,
    /// Arguments.
    pub argv: StringArray,
    /// Environment.
    pub envp: StringArray,
}

/// A compiled filter and how to install it.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Program.
    pub filter: Vec<SockFilter>,
    /// Flags for seccomp(2), NEW_LISTENER among them where there is a listener.
    pub flags: u32,
    /// Path of the agent's socket and opaque text.
    pub listener: Option<(String, String)>,
}

/// What init walks.
#[derive(Debug, Clone, PartialEq)]
pub struct InitPlan {
    /// In order.
    pub steps: Vec<Step>,
    /// The end of the walk.
    pub program: Program,
    /// System call filter.
    pub filter: Option<Filter>,
}

/// What the parent does between clone and GO.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Duties {
    /// Content of /proc/PID/uid_map.
    pub uid_map: Option<String>,
    /// Content of /proc/PID/gid_map.
    pub gid_map: Option<String>,
    /// Content of /proc/PID/oom_score_adj, where init could not write it.
    pub oom_score_adj: Option<i32>,
    /// prlimit(2) on the child: it has no CAP_SYS_RESOURCE of its own.
    pub limits: Vec<(u32, Limit)>,
    /// Content of /proc/PID/timens_offsets, where init could not write it.
    pub time_offsets: Option<Vec<u8>>,
    /// Host name and name inside of network devices to move.
    pub net_devices: Vec<(String, String)>,
}

/// The whole of a container's creation.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Container id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// Things that the specification wants said but not refused.
    pub warnings: Vec<String>,
    /// New and joined namespaces.
    pub namespaces: Namespaces,
    /// Sources for the parent to open.
    pub trees: Vec<Tree>,
    /// Is the process born in its cgroup by clone3?
    pub clone_into_cgroup: bool,
    /// Propagation given to the root tree when it is cloned.
    pub root_propagation: u64,
    /// Between clone and GO.
    pub duties: Duties,
    /// Init's part.
    pub init: InitPlan,
}

impl Plan {
    /// Must init wait for the parent at all? Without duties it walks through.
    pub fn waits(&self) -> bool {
        self.init.steps.iter().any(|s| matches!(s.op, Op::WaitForParent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_paths_are_clean() {
        for (given, clean) in
            [("/a//b/./c", "/a/b/c"), ("a/../../b", "/b"), ("/", "/"), ("", "/"), ("/..", "/"), ("/dev/", "/dev")]
        {
            assert_eq!(Inside::new(given).unwrap().as_str(), clean, "{given}");
        }
        assert!(Inside::new("/a\0b").is_none());
        assert!(Inside::new("/proc/sys").unwrap().is_within("/proc"));
        assert!(!Inside::new("/process").unwrap().is_within("/proc"));
    }
}
