//! Steps on the finished tree: sysctls, read-only and masked paths.

use std::ffi::CString;

use super::namespaces::Namespaces;
use super::{Inside, Op, Step};
use crate::error::{Error, Result};
use crate::spec::config::{Linux, NamespaceKind};

/// `linux.sysctl`, each checked against the namespaces that the container really has.
///
/// # Errors
/// A parameter that would change the host, or a name that is not one (CVE-2022-0811, CVE-2022-0532).
pub fn sysctls(linux: &Linux, namespaces: &Namespaces, steps: &mut Vec<Step>) -> Result<()> {
    for (name, value) in &linux.sysctl {
        let field = format!("linux.sysctl.{name}");
        // sysctl(8): the first separator decides which of `.` and `/` separates; the other then stands for itself.
        let path: String = match name.find(['.', '/']) {
            Some(at) if name.as_bytes()[at] == b'/' => name.clone(),
            _ => name
                .chars()
                .map(|c| {
                    if c == '.' {
                        '/'
                    } else if c == '/' {
                        '.'
                    } else {
                        c
                    }
                })
                .collect(),
        };
        if path.is_empty() || path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return Err(Error::config(field, "is not the name of a kernel parameter"));
        }
        let needs = owner(&path);
        match needs {
            Some(kind) if namespaces.has(kind) => {}
            Some(kind) => {
                let problem = format!("would change the host: add a {} namespace to linux.namespaces", kind.name());
                return Err(Error::config(field, problem));
            }
            None => return Err(Error::config(field, "is not a parameter of any namespace: it would change the host")),
        }
        if path == "kernel/hostname" {
            return Err(Error::config(field, "use the field hostname instead"));
        }
        let c = |text: &str| CString::new(text).map_err(|_| Error::config(field.clone(), "holds a NUL byte"));
        let op = Op::Sysctl { path: c(&path)?, value: c(value)? };
        steps.push(Step { field, op });
    }
    Ok(())
}

/// The namespace that a kernel parameter belongs to.
fn owner(path: &str) -> Option<NamespaceKind> {
    const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    if path.starts_with("net/") {
        return Some(NamespaceKind::Network);
    }
    if path.starts_with("fs/mqueue/") || path.strip_prefix("kernel/").is_some_and(|rest| IPC.contains(&rest)) {
        return Some(NamespaceKind::Ipc);
    }
    match path {
        "kernel/hostname" | "kernel/domainname" => Some(NamespaceKind::Uts),
        _ if path.starts_with("user/") => Some(NamespaceKind::User),
        _ => None,
    }
}

/// `linux.readonlyPaths` and `linux.maskedPaths`.
///
/// # Errors
/// A path that is not absolute.
pub fn covered_paths(linux: &Linux, steps: &mut Vec<Step>) -> Result<()> {
    let mut cover = |name: &str, paths: &[String], op: fn(Inside) -> Op| {
        for (i, path) in paths.iter().enumerate() {
            if paths[..i].contains(path) {
                continue; // once is enough
            }
            let field = format!("linux.{name}[{i}] ({path})");
            match Inside::new(path).filter(|p| path.starts_with('/') && !p.is_root()) {
                Some(path) => steps.push(Step { field, op: op(path) }),
                None => return Err(Error::config(field, "is not an absolute path below /")),
            }
        }
        Ok(())
    };
    cover("readonlyPaths", &linux.readonly_paths, |path| Op::ReadonlyPath { path })?;
    cover("maskedPaths", &linux.masked_paths, |path| Op::MaskPath { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sysctl: &str, namespaces: &str) -> Result<Vec<Step>> {
        let l: Linux = serde_json::from_str(&format!(r#"{{"sysctl":{sysctl},"namespaces":{namespaces}}}"#)).unwrap();
        let mut steps = Vec::new();
        sysctls(&l, &Namespaces::read(&l).unwrap(), &mut steps).map(|()| steps)
    }

    #[test]
    fn sysctls_belong_to_namespaces() {
        let net = r#"[{"type":"network"}]"#;
        let steps = check(r#"{"net.ipv4.ip_forward":"1"}"#, net).unwrap();
        assert!(matches!(&steps[0].op, Op::Sysctl { path, .. } if path.to_str() == Ok("net/ipv4/ip_forward")));
        let steps = check(r#"{"net/ipv4/conf/eno2.100/rp_filter":"1"}"#, net).unwrap();
        assert!(matches!(&steps[0].op, Op::Sysctl { path, .. } if path.to_str() == Ok("net/ipv4/conf/eno2.100/rp_filter")));
        assert!(check(r#"{"net.ipv4.ip_forward":"1"}"#, "[]").unwrap_err().to_string().contains("add a network namespace"));
        assert!(check(r#"{"kernel.panic":"1"}"#, net).unwrap_err().to_string().contains("would change the host"));
        assert!(check(r#"{"net.ipv4/../../kernel/core_pattern":"1"}"#, net).is_err());
        assert!(check(r#"{"net..ipv4":"1"}"#, net).is_err());
        assert!(check(r#"{"kernel.hostname":"x"}"#, r#"[{"type":"uts"}]"#).is_err());
    }
}
