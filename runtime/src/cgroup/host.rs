//! Which hierarchies this host has, and where the caller stands in them.

use super::file;
use super::path::{self, Inner};
use crate::error::{Context, Error, Result};

/// Where cgroup file systems are by convention (systemd's file-hierarchy, and what every runtime assumes).
pub(crate) const ROOT: &str = "/sys/fs/cgroup";
/// `f_type` of cgroup2 (statfs(2)).
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// What kind of host this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// cgroup2 alone, at /sys/fs/cgroup.
    V2,
    /// v1 hierarchies and a cgroup2 tree beside them.
    Hybrid,
    /// v1 hierarchies only.
    V1,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Layout::V2 => "v2",
            Layout::Hybrid => "hybrid",
            Layout::V1 => "v1",
        })
    }
}

/// A mounted v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Mount point.
    pub mount: String,
    /// What is bound to it: `cpu`, `cpuacct`, `name=systemd` ... Co-mounted controllers share one.
    pub controllers: Vec<String>,
    /// The caller's cgroup, seen from the mount point; no leading slash.
    pub own: String,
}

/// The cgroup2 tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unified {
    /// Mount point.
    pub mount: String,
    /// The caller's cgroup, seen from the mount point; no leading slash.
    pub own: String,
}

/// The host's hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// cgroup2, if mounted.
    pub unified: Option<Unified>,
    /// Mounted v1 hierarchies, in the order of /proc/self/cgroup; empty on a v2 host.
    pub legacy: Vec<Hierarchy>,
}

impl Host {
    /// Looks: one statfs and /proc/self/cgroup on a v2 host, mountinfo too on others.
    ///
    /// # Errors
    /// No cgroup file system is mounted, or /proc cannot be read.
    pub fn detect() -> Result<Self> {
        const STEP: &str = "cgroup";
        let own = file::read_piece("/proc/self/cgroup").at(STEP, || "read(\"/proc/self/cgroup\")".into())?;
        let v2 = rustix::fs::statfs(ROOT).is_ok_and(|s| s.f_type == CGROUP2_MAGIC);
        if v2 {
            return Ok(Self::v2(&own));
        }
        let mounts = file::read("/proc/self/mountinfo").at(STEP, || "read(\"/proc/self/mountinfo\")".into())?;
        let host = Self::parse(&mounts, &own);
        if host.unified.is_none() && host.legacy.is_empty() {
            return Err(Error::unsupported("cgroup", format!("no cgroup file system is mounted: mount cgroup2 at {ROOT}")));
        }
        Ok(host)
    }

    /// The mounts as mountinfo has them, whatever is at /sys/fs/cgroup: for saying where a controller is.
    pub(crate) fn detect_v1() -> Result<Self> {
        let own = file::read_piece("/proc/self/cgroup").at("cgroup", || "read(\"/proc/self/cgroup\")".into())?;
        let mounts = file::read("/proc/self/mountinfo").at("cgroup", || "read(\"/proc/self/mountinfo\")".into())?;
        Ok(Self::parse(&mounts, &own))
    }

    /// A host with cgroup2 at /sys/fs/cgroup.
    fn v2(own: &str) -> Self {
        let own = own.lines().find_map(|l| l.strip_prefix("0::")).unwrap_or("/");
        Host { unified: Some(Unified { mount: ROOT.into(), own: path::clean(own) }), legacy: Vec::new() }
    }

    /// From the text of /proc/self/mountinfo and /proc/self/cgroup (proc(5), cgroups(7)).
    pub(crate) fn parse(mountinfo: &str, own: &str) -> Self {
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        let mut host = Host { unified: None, legacy: Vec::new() };
        for line in own.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(names), Some(own)) = (fields.next(), fields.next(), fields.next()) else { continue };
            if names.is_empty() {
                let found = mounts.iter().find(|m| m.v2);
                host.unified = found.map(|m| Unified { mount: m.point.clone(), own: m.seen(own) });
                continue;
            }
            let controllers: Vec<String> = names.split(',').map(str::to_owned).collect();
            if let Some(m) = mounts.iter().find(|m| !m.v2 && m.options.contains(&controllers[0])) {
                host.legacy.push(Hierarchy { mount: m.point.clone(), controllers, own: m.seen(own) });
            }
        }
        host
    }

    /// What kind of host this is.
    pub fn layout(&self) -> Layout {
        match (&self.unified, self.legacy.is_empty()) {
            (Some(_), true) => Layout::V2,
            (Some(_), false) => Layout::Hybrid,
            (None, _) => Layout::V1,
        }
    }

    /// Mount point of the v1 hierarchy that `controller` is bound to.
    pub fn bound_to_v1(&self, controller: &str) -> Option<&str> {
        self.legacy.iter().find(|h| h.controllers.iter().any(|c| c == controller)).map(|h| h.mount.as_str())
    }

    /// Controllers of the cgroup2 tree, one read; what `rrun check` and `features` show.
    ///
    /// # Errors
    /// `cgroup.controllers` cannot be read.
    pub fn v2_controllers(&self) -> Result<Vec<String>> {
        let Some(u) = &self.unified else { return Ok(Vec::new()) };
        let file = format!("{}/cgroup.controllers", u.mount);
        let text = file::read(&file).at("cgroup", || format!("read({file:?})"))?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// The container's path in the cgroup2 tree. A relative one starts at the parent of the caller's cgroup: that one
    /// holds processes (at least the caller), so that the kernel would enable no controller below it.
    pub(crate) fn unified_path(&self, inner: &Inner) -> Option<(String, String)> {
        let u = self.unified.as_ref()?;
        Some((
            u.mount.clone(),
            match inner {
                Inner::Absolute(p) => p.clone(),
                Inner::Relative(p) => path::join(u.own.rsplit_once('/').map_or("", |(parent, _)| parent), p),
            },
        ))
    }
}

/// One cgroup mount of mountinfo.
struct Mount {
    point: String,
    root: String,
    v2: bool,
    options: Vec<String>,
}

impl Mount {
    /// `36 35 98:0 /root /point rw,noatime master:1 - type source super,options`
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let kind = right.next()?;
        if kind != "cgroup" && kind != "cgroup2" {
            return None;
        }
        let options = right.nth(1).unwrap_or("").split(',').map(str::to_owned).collect();
        let mut left = left.split(' ').skip(3);
        let root = unescape(left.next()?);
        let point = unescape(left.next()?);
        Some(Mount { point, root, v2: kind == "cgroup2", options })
    }

    /// `own`, a path from the hierarchy's root, as seen from this mount; outside of it: the mount itself. (In a container
    /// without a cgroup namespace, /proc/self/cgroup shows the host's path and the mount only a part of the tree.)
    fn seen(&self, own: &str) -> String {
        let (own, root) = (path::clean(own), path::clean(&self.root));
        if root.is_empty() {
            return own;
        }
        match own.strip_prefix(&root) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/').to_owned(),
            _ => String::new(),
        }
    }
}

/// Undoes mountinfo's octal escapes (`\040` is a space).
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let code = (bytes[i] == b'\\').then(|| text.get(i + 1..i + 4).and_then(|o| u8::from_str_radix(o, 8).ok())).flatten();
        match code {
            Some(c) => {
                out.push(c);
                i += 4;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 30 0:23 / /sys rw - sysfs sysfs rw
30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /mnt/with\\040space rw - cgroup cgroup rw,memory
35 30 0:31 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
";

    #[test]
    fn hybrid_hosts() {
        let own = "5:pids:/docker/abc/sub\n4:memory:/user/x\n3:cpu,cpuacct:/\n2:freezer:/\n1:name=systemd:/a.service\n0::/a/b.service\n";
        let host = Host::parse(HYBRID, own);
        assert_eq!(host.layout(), Layout::Hybrid);
        assert_eq!(host.unified, Some(Unified { mount: "/sys/fs/cgroup/unified".into(), own: "a/b.service".into() }));
        let seen: Vec<(&str, &str)> = host.legacy.iter().map(|h| (h.mount.as_str(), h.own.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("/sys/fs/cgroup/pids", "sub"),
                ("/mnt/with space", "user/x"),
                ("/sys/fs/cgroup/cpu,cpuacct", ""),
                ("/sys/fs/cgroup/systemd", "a.service"),
            ]
        );
        assert_eq!(host.bound_to_v1("cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(host.bound_to_v1("freezer"), None, "a hierarchy that is not mounted cannot be used");
        assert_eq!(host.bound_to_v1("cp"), None);
        let (mount, path) = host.unified_path(&Inner::Relative("id".into())).unwrap();
        assert_eq!((mount.as_str(), path.as_str()), ("/sys/fs/cgroup/unified", "a/id"));
    }

    #[test]
    fn v2_hosts() {
        let host = Host::v2("0::/system.slice/x.service\n");
        assert_eq!(host.layout(), Layout::V2);
        assert_eq!(host.unified_path(&Inner::Relative("id".into())).unwrap().1, "system.slice/id");
        assert_eq!(host.unified_path(&Inner::Absolute("a/id".into())).unwrap().1, "a/id");
        assert_eq!(Host::v2("0::/\n").unified_path(&Inner::Relative("id".into())).unwrap().1, "id");
        // Seen from inside a cgroup namespace, a process outside of its root.
        assert_eq!(Host::v2("0::/../other\n").unified_path(&Inner::Relative("id".into())).unwrap().1, "id");
    }

    #[test]
    fn a_mount_that_shows_another_part_of_the_tree() {
        let host = Host::parse(HYBRID, "5:pids:/docker/abcd\n");
        assert_eq!(host.legacy[0].own, "", "/docker/abcd is not below /docker/abc");
    }

    #[test]
    fn this_host_has_cgroups() {
        let host = Host::detect().unwrap();
        let mount = host.unified.as_ref().map(|u| u.mount.clone()).or(host.legacy.first().map(|h| h.mount.clone())).unwrap();
        assert!(std::path::Path::new(&mount).join("cgroup.procs").exists(), "{mount}");
    }
}
