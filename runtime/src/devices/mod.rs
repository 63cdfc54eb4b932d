//! Device nodes: the default ones and `linux.devices`. (Device rules are the cgroup's.)

use crate::error::{Error, Result};
use crate::mount::plan::Builder;
use crate::plan::{Inside, MustBe, Op, Step, Tree};
use crate::spec::config::{Device, NamespaceKind};

/// Default device nodes (config-linux.md#default-devices): path, major, minor.
pub const DEFAULT: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that programs expect in /dev (config-linux.md#default-devices and runtime-linux.md#dev-symbolic-links).
const LINKS: [(&str, &std::ffi::CStr); 6] = [
    ("/dev/fd", c"/proc/self/fd"),
    ("/dev/stdin", c"/proc/self/fd/0"),
    ("/dev/stdout", c"/proc/self/fd/1"),
    ("/dev/stderr", c"/proc/self/fd/2"),
    ("/dev/core", c"/proc/kcore"),
    ("/dev/ptmx", c"pts/ptmx"),
];

/// The steps that fill /dev.
///
/// # Errors
/// A node of an unknown type or with a number out of range.
pub fn steps(b: &mut Builder<'_>) -> Result<()> {
    // A bound /dev is its owner's to fill.
    let bound = |m: &crate::spec::config::Mount| {
        m.destination.trim_end_matches('/') == "/dev"
            && (m.kind.as_deref() == Some("bind") || m.options.iter().any(|o| o == "bind" || o == "rbind"))
    };
    if b.config.mounts.iter().any(bound) {
        return Ok(());
    }
    let in_userns = b.namespaces.has(NamespaceKind::User);
    for (path, major, minor) in DEFAULT {
        if b.linux.devices.iter().any(|d| d.path == path) {
            continue;
        }
        let field = format!("default device ({path})");
        node(b, in_userns, field, path, libc::S_IFCHR, 0o666, libc::makedev(major as u32, minor as u32), 0, 0)?;
    }
    for (i, device) in b.linux.devices.iter().enumerate() {
        let field = format!("linux.devices[{i}] ({})", device.path);
        let (kind, number) = kind_and_number(device, &field)?;
        let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
        node(b, in_userns, field, &device.path, kind, mode, number, device.uid.unwrap_or(0), device.gid.unwrap_or(0))?;
    }
    for (path, target) in LINKS {
        if let Some(path) = Inside::new(path) {
            b.steps.push(Step { field: "default links in /dev".into(), op: Op::Link { path, target: target.to_owned() } });
        }
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn node(
    b: &mut Builder<'_>,
    bind: bool,
    field: String,
    path: &str,
    kind: u32,
    mode: u32,
    device: u64,
    uid: u32,
    gid: u32,
) -> Result<()> {
    let Some(inside) = Inside::new(path).filter(|p| path.starts_with('/') && !p.is_root()) else {
        return Err(Error::config(field, "path is not an absolute path"));
    };
    let op = if bind && kind != libc::S_IFIFO {
        // mknod(2) of devices is refused outside of the first user namespace.
        let tree = Tree {
            path: path.into(),
            recursive: false,
            changes: Vec::new(),
            idmap: None,
            must_be: Some(MustBe::Node(kind, device)),
            field: field.clone(),
        };
        Op::BindNode { path: inside, tree: b.add_tree(tree) }
    } else {
        Op::Node { path: inside, kind, mode, device, uid, gid }
    };
    b.steps.push(Step { field, op });
    Ok(())
}

/// S_IF* and device number of a node.
fn kind_and_number(device: &Device, field: &str) -> Result<(u32, u64)> {
    let kind = match device.kind.as_str() {
        "c" | "u" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        "p" => return Ok((libc::S_IFIFO, 0)),
        other => return Err(Error::config(format!("{field}.type"), format!("{other:?} is not one of c, b, u, p"))),
    };
    match (u32::try_from(device.major), u32::try_from(device.minor)) {
        (Ok(major), Ok(minor)) if major < 1 << 12 && minor < 1 << 20 => Ok((kind, libc::makedev(major, minor))),
        _ => Err(Error::config(field, format!("{}:{} is not a device number", device.major, device.minor))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_checked() {
        let device = |kind: &str, major, minor| Device {
            path: "/dev/x".into(),
            kind: kind.into(),
            major,
            minor,
            file_mode: None,
            uid: None,
            gid: None,
        };
        assert_eq!(kind_and_number(&device("u", 1, 3), "f").unwrap(), (libc::S_IFCHR, 0x103));
        assert!(kind_and_number(&device("c", -1, 3), "f").is_err());
        assert!(kind_and_number(&device("x", 1, 3), "f").unwrap_err().to_string().contains("one of c, b, u, p"));
    }
}
