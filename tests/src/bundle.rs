//! Bundles for tests: a directory of their own, a root file system made from Debian's static busybox, and a config.json that tests adjust.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::host::{kill_cgroup, unique};

/// Programs that test containers call; all are busybox under another name.
const APPLETS: &str = "awk cat chmod chown cp cut date dd df dirname echo env expr false find grep head hostname id ip kill ln ls mkdir mknod mkfifo mount \
                       mv nc nproc ping printf ps pwd readlink renice rm rmdir sed seq setsid sh sleep sort stat stty sync tail tee test timeout touch tr \
                       true tty umount uname usleep wc which whoami xargs yes";

/// A bundle in a unique temporary directory, removed with everything in it when dropped.
pub struct Bundle {
    dir: PathBuf,
    /// What `write` puts into config.json.
    pub config: Value,
    /// Identifier for the container of this bundle: nobody else uses it.
    pub id: String,
}

impl Bundle {
    /// A bundle whose container runs `sh -c SCRIPT` in a busybox root file system.
    pub fn sh(script: &str) -> Self {
        let mut bundle = Self::empty();
        bundle.fill_rootfs();
        bundle.config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        bundle
    }

    /// A bundle whose container runs until it is killed.
    pub fn sleeper() -> Self {
        // A shell that handles TERM: process 1 of a pid namespace ignores signals that it has no handler for.
        Self::sh("trap 'exit 0' TERM; while :; do sleep 1000 & wait; done")
    }

    /// A bundle with a configuration and an empty root file system.
    pub fn empty() -> Self {
        let id = unique();
        let dir = std::env::temp_dir().join(&id);
        fs::create_dir(&dir)
            .and_then(|()| fs::create_dir(dir.join("rootfs")))
            .unwrap_or_else(|e| panic!("mkdir {}: {e}", dir.display()));
        // Users other than root enter it in some tests.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("chmod of the bundle");
        let config = default_config(&id);
        Bundle { dir, config, id }
    }

    fn fill_rootfs(&self) {
        let root = self.rootfs();
        for sub in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr/bin", "var"] {
            fs::create_dir_all(root.join(sub)).expect("directories of the root file system");
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("chmod of tmp");
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
        let busybox = busybox.expect("no /bin/busybox on this machine: apt-get install busybox-static");
        fs::copy(busybox, root.join("bin/busybox")).expect("copy of busybox");
        for applet in APPLETS.split_whitespace() {
            symlink("busybox", root.join("bin").join(applet)).expect("link to busybox");
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")
            .expect("etc/passwd");
        fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n").expect("etc/group");
    }

    /// The bundle's directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The root file system's directory.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Sets the value at a JSON pointer ("/linux/resources/pids/limit"), making the objects on the way.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.put(pointer, value);
        self
    }

    /// The same as `set`, on a borrowed bundle.
    pub fn put(&mut self, pointer: &str, value: impl Into<Value>) {
        let mut at = &mut self.config;
        for name in pointer.split('/').skip(1) {
            at = match at {
                Value::Array(items) => {
                    let index: usize = name.parse().unwrap_or_else(|_| panic!("{pointer}: {name} is not an index"));
                    items.get_mut(index).unwrap_or_else(|| panic!("{pointer}: no element {index}"))
                }
                _ => {
                    if !at.is_object() {
                        *at = json!({});
                    }
                    &mut at[name]
                }
            };
        }
        *at = value.into();
    }

    /// Appends to the array at a JSON pointer, making it where it is not there.
    pub fn push(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut items = self.config.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        items.push(value.into());
        self.put(pointer, items);
        self
    }

    /// Removes the member at a JSON pointer.
    pub fn without(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
        if let Some(object) = self.config.pointer_mut(parent).and_then(Value::as_object_mut) {
            object.remove(name);
        }
        self
    }

    /// Adds a mount.
    pub fn mount(self, destination: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        self.push("/mounts", json!({"destination": destination, "type": kind, "source": source, "options": options}))
    }

    /// Removes the namespace of this type, or replaces it by one joined at `path`.
    pub fn namespace(mut self, kind: &str, path: Option<&str>) -> Self {
        let list = self.config["linux"]["namespaces"].as_array_mut().expect("list of namespaces");
        list.retain(|n| n["type"] != kind);
        if let Some(path) = path {
            list.push(if path.is_empty() { json!({"type": kind}) } else { json!({"type": kind, "path": path}) });
        }
        self
    }

    /// A user namespace that maps `size` ids from 0 in the container to `host` outside.
    pub fn user_namespace(self, host: u32, size: u32) -> Self {
        let map = json!([{"containerID": 0, "hostID": host, "size": size}]);
        // The mapped root needs to get into its own root file system.
        chown_tree(&self.rootfs(), host);
        self.namespace("user", Some("")).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// The cgroup path that the configuration asks for.
    pub fn cgroup(&self) -> String {
        self.config.pointer("/linux/cgroupsPath").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Writes config.json and gives the bundle's path as a string, as the command line wants it.
    pub fn write(&self) -> &str {
        let text = serde_json::to_string_pretty(&self.config).expect("JSON");
        fs::write(self.dir.join("config.json"), text).expect("config.json");
        self.dir.to_str().expect("a path of ours is UTF-8")
    }
}

fn chown_tree(dir: &Path, id: u32) {
    std::os::unix::fs::lchown(dir, Some(id), Some(id)).expect("chown in the root file system");
    if dir.is_dir() && !dir.is_symlink() {
        for entry in fs::read_dir(dir).expect("reading the root file system") {
            chown_tree(&entry.expect("directory entry").path(), id);
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // Containers that still run go first, or they would write files while the directory is removed.
        let cgroup = self.cgroup();
        if cgroup.len() > 1 {
            kill_cgroup(&cgroup);
        }
        // A failing test may leave mounts in its bundle: they go first, so that nothing below them is removed.
        for _ in 0..100 {
            let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let inside =
                text.lines().filter_map(|line| line.split(' ').nth(4)).rfind(|point| Path::new(point).starts_with(&self.dir));
            let Some(point) = inside else { break };
            if rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH).is_err() {
                break;
            }
        }
        // A file that a test made immutable or a mount that is still there: the leak check at the end of the run reports it.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The configuration that tests start from: all namespaces but user and time, the usual mounts, a handful of capabilities, no terminal.
pub fn default_config(id: &str) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "tested",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
