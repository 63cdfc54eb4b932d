//! `rrun spec`: a config.json to begin with, the one that `runc spec` writes.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::Globals;
use super::args::{Args, Command, Example, Flag};
use crate::error::{Context, Error, Result};
use crate::spec::config::{Capabilities, Config, Linux, Mount, Namespace, NamespaceKind, Process, Rlimit, Root, User};
use crate::spec::resources::{DeviceRule, Resources};

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "spec",
    summary: "write a config.json to begin with",
    about: "The file describes a container that runs `sh` on a terminal with a read-only root file system in rootfs/.\n\
            An existing config.json is never overwritten.",
    flags: &[
        Flag::text("bundle", "DIR", "where to write it (default: the working directory)").short('b'),
        Flag::switch("rootless", "not supported yet").hidden(),
    ],
    examples: &[
        Example { line: "rrun spec", does: "write config.json here" },
        Example { line: "rrun spec --bundle bundle", does: "write bundle/config.json" },
    ],
    ..Command::EMPTY
};

/// Writes the file.
///
/// # Errors
/// If there is one already, or it cannot be written.
pub fn run(_: &Globals, args: &Args) -> Result<i32> {
    if args.on("rootless") {
        return Err(Error::unsupported("--rootless", "this version runs as root only"));
    }
    let dir = args.text("bundle").unwrap_or(".");
    let path = Path::new(dir).join("config.json");
    // The unified hierarchy is the one where a cgroup namespace is cheap and shows only the container's own.
    let unified = rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|fs| fs.f_type == CGROUP2_SUPER_MAGIC);
    let mut text = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut text, serde_json::ser::PrettyFormatter::with_indent(b"\t"));
    serde::Serialize::serialize(&default(unified), &mut writer).map_err(|e| Error::failed("config.json", e.to_string()))?;

    let opened = OpenOptions::new().write(true).create_new(true).open(&path);
    if opened.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::AlreadyExists) {
        return Err(Error::failed(path.display().to_string(), "exists; remove it first"));
    }
    let mut file = opened.at("config.json", || format!("open({path:?})"))?;
    let written = file.write_all(&text).at("config.json", || format!("write({path:?}, {} bytes)", text.len()));
    if written.is_err() {
        // Half a file would be taken for one of the user's.
        let _ = std::fs::remove_file(&path);
    }
    written.map(|()| 0)
}

/// statfs(2).
const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| s.to_string()).collect()
}

/// The config that `runc spec` writes; `cgroup_namespace` is asked for where cgroup v2 is all there is.
pub fn default(cgroup_namespace: bool) -> Config {
    let capabilities = strings(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| Mount {
        destination: destination.into(),
        kind: Some(kind.into()),
        source: Some(source.into()),
        options: strings(options),
        ..Mount::default()
    };
    let mut kinds =
        vec![NamespaceKind::Pid, NamespaceKind::Network, NamespaceKind::Ipc, NamespaceKind::Uts, NamespaceKind::Mount];
    if cgroup_namespace {
        kinds.push(NamespaceKind::Cgroup);
    }
    Config {
        oci_version: super::features::OCI_VERSION_MAX.into(),
        process: Some(Process {
            terminal: true,
            user: User::default(),
            args: strings(&["sh"]),
            env: strings(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]),
            cwd: "/".into(),
            capabilities: Some(Capabilities {
                bounding: capabilities.clone(),
                effective: capabilities.clone(),
                permitted: capabilities,
                ..Capabilities::default()
            }),
            rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".into(), hard: 1024, soft: 1024 }],
            no_new_privileges: true,
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".into(), readonly: true }),
        hostname: Some("rrun".into()),
        mounts: vec![
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        linux: Some(Linux {
            resources: Some(Resources {
                devices: vec![DeviceRule { allow: false, access: Some("rwm".into()), ..DeviceRule::default() }],
                ..Resources::default()
            }),
            namespaces: kinds.into_iter().map(|kind| Namespace { kind, path: None }).collect(),
            masked_paths: strings(&[
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ]),
            readonly_paths: strings(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]),
            ..Linux::default()
        }),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;
    use crate::cli::{GLOBALS, globals, log::Log};

    fn spec(words: &[&str]) -> Result<i32> {
        let words: Vec<String> = words.iter().map(|w| w.to_string()).collect();
        let (none, _) = crate::cli::args::parse_globals(&GLOBALS, &[])?;
        let globals = globals::read(&none, Log::default()).map_err(|(_, e)| e)?;
        run(&globals, &parse(&COMMAND, &GLOBALS, &words)?)
    }

    #[test]
    fn the_file_reads_back_as_it_was_meant_and_is_not_overwritten() {
        let dir = std::env::temp_dir().join(format!("rrun-spec-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let name = dir.to_str().unwrap();
        assert_eq!(spec(&["--bundle", name]), Ok(0));
        let text = std::fs::read_to_string(dir.join("config.json")).unwrap();
        let again = spec(&["--bundle", name]).unwrap_err();
        let missing = spec(&["--bundle", &format!("{name}/no")]).unwrap_err();
        let kept = std::fs::read_to_string(dir.join("config.json")).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();

        let read: Config = serde_json::from_str(&text).unwrap();
        assert!(read == default(true) || read == default(false));
        assert_eq!(read.oci_version, "1.3.0");
        assert!(text.contains("\n\t\"process\": {"), "indented by tabs, as runc does");
        assert!(again.to_string().ends_with("config.json: exists; remove it first"));
        assert!(missing.to_string().contains("no such file or directory"));
        assert_eq!(kept, text);
    }

    #[test]
    fn rootless_is_refused() {
        assert!(spec(&["--rootless"]).unwrap_err().to_string().starts_with("--rootless: not supported"));
    }
}
