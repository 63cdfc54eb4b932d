//! `mounts` of config.json into steps for init and trees for the parent.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use super::options::{ATTR_RDONLY, Options};
use crate::error::{Error, Result};
use crate::plan::{Facts, IdMap, IdMapSource, Inside, MustBe, Namespaces, NewMount, Op, Step, Tree};
use crate::spec::config::{Config, Linux, Mount, NamespaceKind};
use crate::sys::mount::MountAttr;

/// The container's cgroups, as a cgroup mount shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupView {
    /// v2: directory of the container's cgroup.
    pub v2: Option<PathBuf>,
    /// v1: one per hierarchy.
    pub v1: Vec<V1View>,
    /// Does clone3 put the process there (v2 with cgroupfs)?
    pub clone_into: bool,
}

/// One v1 hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct V1View {
    /// Name of its directory: `cpu,cpuacct`.
    pub name: String,
    /// Its mount option: `cpu,cpuacct`, or `name=systemd`.
    pub option: String,
    /// Directory of the container's cgroup in it.
    pub path: PathBuf,
}

/// Files below /proc that may be bound over: they show the machine's load, and nothing trusts them (as in runc).
const PROC_FILES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// File systems whose superblock is the kernel's own: `ro` is a matter of the mount alone.
const KERNEL_FS: &[&str] = &["proc", "sysfs", "tmpfs", "ramfs", "devpts", "mqueue", "cgroup", "cgroup2"];

/// Collects what `mounts` becomes.
pub struct Builder<'a> {
    /// Bundle directory: relative sources count from it.
    pub bundle: &'a Path,
    /// The file.
    pub config: &'a Config,
    /// Its Linux section.
    pub linux: &'a Linux,
    /// Namespaces.
    pub namespaces: &'a Namespaces,
    /// Facts of the host.
    pub facts: &'a Facts,
    /// cgroups of the container.
    pub cgroup: &'a CgroupView,
    /// Propagation that binds get before their own options: MS_SLAVE, MS_PRIVATE or 0.
    pub base_propagation: u64,
    /// Trees so far.
    pub trees: Vec<Tree>,
    /// Steps so far.
    pub steps: Vec<Step>,
    /// Steps for when /dev is filled.
    pub late: Vec<Step>,
}

impl Builder<'_> {
    /// All of `mounts`, in order.
    ///
    /// # Errors
    /// The first entry that is not valid, by its field.
    pub fn mounts(&mut self) -> Result<()> {
        for (i, mount) in self.config.mounts.iter().enumerate() {
            let field = format!("mounts[{i}] ({})", mount.destination);
            self.mount(mount, field)?;
        }
        Ok(())
    }

    fn mount(&mut self, mount: &Mount, field: String) -> Result<()> {
        let Some(dest) = Inside::new(&mount.destination).filter(|_| !mount.destination.is_empty()) else {
            return Err(Error::config(field, "destination is empty or holds a NUL byte"));
        };
        let options = Options::parse(&mount.options);
        let kind = mount.kind.as_deref().unwrap_or("");
        let bind = options.bind.is_some() || kind == "bind";
        if dest.is_root() && !options.remount {
            return Err(Error::config(field, "destination is / : use root.path for the root file system"));
        }
        check_proc(&dest, &field, kind, bind)?;
        if !bind && (options.idmap.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty()) {
            return Err(Error::config(field, "idmapped mounts are for binds only: use type bind"));
        }
        if options.copy_up && kind != "tmpfs" {
            return Err(Error::config(field, "tmpcopyup is for tmpfs only"));
        }
        if options.remount {
            let changes = changes(&options, 0);
            self.steps.push(Step { field, op: Op::Remount { dest, changes } });
            return Ok(());
        }
        if bind {
            return self.bind(mount, &options, dest, field);
        }
        match kind {
            "" => Err(Error::config(field, "type is absent and options do not say bind")),
            "cgroup" => self.cgroup(&options, dest, field),
            _ => self.new_mount(kind, mount.source.as_deref(), &options, dest, field),
        }
    }

    fn bind(&mut self, mount: &Mount, options: &Options, dest: Inside, field: String) -> Result<()> {
        let Some(source) = mount.source.as_deref().filter(|s| !s.is_empty()) else {
            return Err(Error::config(field, "source is absent; a bind needs a path on the host"));
        };
        if source.contains('\0') {
            return Err(Error::config(field, "source holds a NUL byte"));
        }
        let data: Vec<_> = options.data.iter().map(|(k, _)| k.as_str()).collect();
        if !data.is_empty() {
            return Err(Error::config(field, format!("options {data:?}: a bind cannot have options of a file system")));
        }
        let idmap = self.idmap(mount, options, &field)?;
        let must_be = (dest.as_str() == "/proc").then_some(MustBe::Proc);
        let tree = Tree {
            path: self.bundle.join(source),
            recursive: options.bind == Some(true),
            changes: changes(options, self.base_propagation),
            idmap,
            must_be,
            field: field.clone(),
        };
        let tree = self.add_tree(tree);
        self.steps.push(Step { field, op: Op::Bind { dest, tree, source: source.to_owned() } });
        Ok(())
    }

    fn idmap(&self, mount: &Mount, options: &Options, field: &str) -> Result<Option<IdMap>> {
        let own = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
        if options.idmap.is_none() && !own {
            return Ok(None);
        }
        let recursive = options.idmap == Some(true);
        let source = if own {
            IdMapSource::Mappings(mount.uid_mappings.clone(), mount.gid_mappings.clone())
        } else if let Some(joined) = self.namespaces.joined(NamespaceKind::User) {
            IdMapSource::Path(joined.path.clone())
        } else {
            IdMapSource::Mappings(self.linux.uid_mappings.clone(), self.linux.gid_mappings.clone())
        };
        if let IdMapSource::Mappings(uids, gids) = &source
            && (uids.is_empty() || gids.is_empty())
        {
            let problem = "idmap needs uidMappings and gidMappings, in this mount or in linux";
            return Err(Error::config(field, problem));
        }
        Ok(Some(IdMap { recursive, source }))
    }

    fn new_mount(&mut self, kind: &str, source: Option<&str>, options: &Options, dest: Inside, field: String) -> Result<()> {
        let c = |text: &str| CString::new(text).map_err(|_| Error::config(field.clone(), format!("{text:?} holds a NUL byte")));
        let mut params = Vec::new();
        if let Some(source) = source.filter(|s| !s.is_empty()) {
            params.push((c("source")?, Some(c(source)?)));
        }
        for flag in &options.superblock {
            params.push((c(flag)?, None));
        }
        if options.attr.set & ATTR_RDONLY != 0 && !KERNEL_FS.contains(&kind) {
            params.push((c("ro")?, None));
        }
        for (key, value) in &options.data {
            params.push((c(key)?, value.as_deref().map(c).transpose()?));
        }
        if !self.linux.mount_label.is_empty() {
            if !self.facts.selinux {
                return Err(Error::unsupported("linux.mountLabel", "this kernel has no SELinux; remove the label"));
            }
            if !["proc", "sysfs", "mqueue", "cgroup", "cgroup2"].contains(&kind) {
                params.push((c("context")?, Some(c(&self.linux.mount_label)?)));
            }
        }
        // A fresh sysfs needs a network namespace owned by our user namespace; the host's is bound where that is missing.
        let fallback = (kind == "sysfs" && self.namespaces.has(NamespaceKind::User)).then(|| {
            self.add_tree(Tree {
                path: "/sys".into(),
                recursive: true,
                changes: changes(options, libc::MS_SLAVE),
                idmap: None,
                must_be: None,
                field: field.clone(),
            })
        });
        let mut options = options.clone();
        if dest.as_str() == "/dev" && options.attr.set & ATTR_RDONLY != 0 {
            // Once its nodes and mount points are made.
            options.attr.set &= !ATTR_RDONLY;
            let changes = vec![(false, MountAttr { set: ATTR_RDONLY, ..MountAttr::default() })];
            self.late.push(Step { field: field.clone(), op: Op::Remount { dest: dest.clone(), changes } });
        }
        let mount = NewMount {
            strict: kind == "proc" || kind == "sysfs",
            kind: c(kind)?,
            params,
            attr: options.attr.set,
            changes: changes(&Options { attr: MountAttr::default(), ..options }, 0),
            copy_up: options.copy_up,
            dest,
            fallback,
        };
        self.steps.push(Step { field, op: Op::Mount(Box::new(mount)) });
        Ok(())
    }

    /// `type: cgroup` shows the container its own cgroups, in the form of the host's hierarchy.
    fn cgroup(&mut self, options: &Options, dest: Inside, field: String) -> Result<()> {
        let own_namespace = self.namespaces.has(NamespaceKind::Cgroup);
        if let Some(path) = &self.cgroup.v2 {
            let source = if own_namespace { path.clone() } else { PathBuf::from("/sys/fs/cgroup") };
            self.new_mount("cgroup2", Some("cgroup"), options, dest, field.clone())?;
            // Without a cgroup namespace of its own in a user namespace the kernel refuses; then the container's directory is bound.
            if self.namespaces.has(NamespaceKind::User) {
                let tree = self.add_tree(Tree {
                    path: source,
                    recursive: true,
                    changes: changes(options, libc::MS_SLAVE),
                    idmap: None,
                    must_be: None,
                    field,
                });
                if let Some(Step { op: Op::Mount(mount), .. }) = self.steps.last_mut() {
                    mount.fallback = Some(tree);
                }
            }
            return Ok(());
        }
        let writable = Options { attr: MountAttr { set: options.attr.set & !ATTR_RDONLY, ..options.attr }, ..options.clone() };
        let tmpfs = Options { data: vec![("mode".into(), Some("755".into()))], ..writable.clone() };
        self.new_mount("tmpfs", Some("tmpfs"), &tmpfs, dest.clone(), field.clone())?;
        for view in self.cgroup.v1.clone() {
            let inside = |name: &str| Inside::new(&format!("{}/{name}", dest.as_str())).unwrap_or_else(|| dest.clone());
            let field = format!("{field}: {}", view.name);
            if own_namespace {
                let data = view.option.split(',').map(|o| match o.split_once('=') {
                    Some((k, v)) => (k.to_owned(), Some(v.to_owned())),
                    None => (o.to_owned(), None),
                });
                let mut options = Options { data: data.collect(), ..options.clone() };
                if view.option.starts_with("name=") {
                    options.data.insert(0, ("none".into(), None));
                }
                self.new_mount("cgroup", Some("cgroup"), &options, inside(&view.name), field)?;
            } else {
                let tree = self.add_tree(Tree {
                    path: view.path.clone(),
                    recursive: false,
                    changes: changes(options, libc::MS_SLAVE),
                    idmap: None,
                    must_be: None,
                    field: field.clone(),
                });
                let source = view.path.display().to_string();
                self.steps.push(Step { field, op: Op::Bind { dest: inside(&view.name), tree, source } });
            }
            if view.name.contains(',') {
                for part in view.name.split(',') {
                    let target = CString::new(view.name.clone()).unwrap_or_default();
                    self.steps.push(Step { field: view.name.clone(), op: Op::Link { path: inside(part), target } });
                }
            }
        }
        if options.read_only() {
            let changes = vec![(false, MountAttr { set: ATTR_RDONLY, ..MountAttr::default() })];
            self.steps.push(Step { field, op: Op::Remount { dest, changes } });
        }
        Ok(())
    }

    /// Adds a tree and returns its index.
    pub fn add_tree(&mut self, tree: Tree) -> usize {
        self.trees.push(tree);
        self.trees.len() - 1
    }
}

/// Attribute changes of a mount in order: base propagation, its own attributes, recursive ones, its own propagation.
fn changes(options: &Options, base: u64) -> Vec<(bool, MountAttr)> {
    let mut all = Vec::new();
    if base != 0 {
        all.push((true, MountAttr { propagation: base, ..MountAttr::default() }));
    }
    if !options.attr.is_empty() {
        all.push((false, options.attr));
    }
    if !options.recursive.is_empty() {
        all.push((true, options.recursive));
    }
    for (kind, recursive) in &options.propagation {
        all.push((*recursive, MountAttr { propagation: *kind, ..MountAttr::default() }));
    }
    all
}

/// /proc is what tells the container, and us, the truth about processes: nothing but a procfs goes there (CVE-2019-16884).
fn check_proc(dest: &Inside, field: &str, kind: &str, bind: bool) -> Result<()> {
    if dest.as_str() == "/proc" {
        if kind == "proc" || bind {
            return Ok(());
        }
        return Err(Error::config(field, format!("type {kind:?} on /proc: only proc, or a bind of one, may go there")));
    }
    if dest.is_within("/proc") && !PROC_FILES.contains(&dest.as_str()) {
        return Err(Error::config(
            field,
            "destination is inside /proc, which only linux.maskedPaths and readonlyPaths may cover",
        ));
    }
    Ok(())
}
