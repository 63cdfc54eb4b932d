//! Where `linux.cgroupsPath` points: lexical, so that nothing in it can climb out of the hierarchy.

use crate::error::{Error, Result};

/// Config field of every error here.
const FIELD: &str = "linux.cgroupsPath";

/// `path` with `.`, `..` and double slashes resolved lexically; what climbs above the start is dropped, as runc drops it.
/// The result has no leading slash.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A cgroup path of the cgroupfs driver: below the root of each hierarchy, or below the caller's own cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inner {
    /// From the root of the hierarchy; no leading slash.
    Absolute(String),
    /// From the caller's cgroup (v1) or its parent (v2); no leading slash.
    Relative(String),
}

/// Reads `linux.cgroupsPath`; absent or empty: the container's id, relative, as runc does.
///
/// # Errors
/// A NUL byte or a newline (no file name of cgroupfs has one), a name that is too long, or a path that ends at the root.
pub(crate) fn inner(cgroups_path: Option<&str>, id: &str) -> Result<Inner> {
    let given = cgroups_path.unwrap_or("");
    check(given)?;
    if given.is_empty() {
        // Not even a strange id may name the caller's own cgroup, or one above it.
        return match clean(id) {
            name if name.is_empty() || name.contains('/') => Err(Error::config("id", format!("{id:?} is no name for a cgroup"))),
            name => Ok(Inner::Relative(name)),
        };
    }
    let cleaned = clean(given);
    if cleaned.is_empty() {
        let problem = format!("{given:?} is the root of the hierarchy: name a cgroup below it");
        return Err(Error::config(FIELD, problem));
    }
    Ok(if given.starts_with('/') { Inner::Absolute(cleaned) } else { Inner::Relative(cleaned) })
}

/// Refuses what cannot be a cgroup path at all.
fn check(path: &str) -> Result<()> {
    if path.contains(['\0', '\n']) {
        return Err(Error::config(FIELD, format!("{path:?} has a NUL byte or a newline in it")));
    }
    if let Some(long) = path.split('/').find(|p| p.len() > 255) {
        let problem =
            format!("the name {:?}... has {} bytes: the most is 255", long.chars().take(20).collect::<String>(), long.len());
        return Err(Error::config(FIELD, problem));
    }
    if path.len() > 3800 {
        return Err(Error::config(FIELD, format!("{} bytes: the most is 3800", path.len())));
    }
    Ok(())
}

/// What the systemd driver makes of `linux.cgroupsPath` (runc, docs/systemd.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitName {
    /// Parent slice, as in `user-1000.slice`.
    pub slice: String,
    /// Name of the unit, `prefix-name.scope`.
    pub unit: String,
    /// Path of the unit in the hierarchy; no leading slash.
    pub path: String,
}

/// Reads `slice:prefix:name`; absent or empty: `:runc:ID`, which tools look for.
///
/// # Errors
/// Not three parts, or a slice that is no slice.
pub(crate) fn unit(cgroups_path: Option<&str>, id: &str) -> Result<UnitName> {
    let given = cgroups_path.unwrap_or("");
    check(given)?;
    let (slice, prefix, name) = if given.is_empty() {
        ("", "runc", id)
    } else {
        let parts: Vec<&str> = given.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            let problem = format!("{given:?} is not slice:prefix:name, which --systemd-cgroup needs");
            return Err(Error::config(FIELD, problem));
        };
        (slice, prefix, name)
    };
    if name.is_empty() || name.contains('/') || prefix.contains('/') {
        let problem = format!("{given:?}: the unit's prefix {prefix:?} and name {name:?} must make a unit name");
        return Err(Error::config(FIELD, problem));
    }
    if name.ends_with(".slice") {
        return Err(Error::config(FIELD, format!("{name:?}: a slice holds no processes; give the name of a scope")));
    }
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    let unit = format!("{prefix}-{name}.scope");
    // systemd.unit(5), "Unit names"; a quote would also end the match rule that the name goes into.
    if unit.len() > 255 || !unit.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b)) {
        return Err(Error::config(FIELD, format!("{unit:?} is not the name of a systemd unit")));
    }
    let path = join(&expand_slice(slice)?, &unit);
    Ok(UnitName { slice: if slice == "-" { "-.slice".into() } else { slice.to_owned() }, unit, path })
}

/// `a-b.slice` -> `a.slice/a-b.slice` (systemd.slice(5)); `-` and `-.slice` are the root, the empty path.
///
/// # Errors
/// A name that is no slice: slashes, an empty component, another suffix.
pub(crate) fn expand_slice(slice: &str) -> Result<String> {
    if slice == "-" || slice == "-.slice" {
        return Ok(String::new());
    }
    let bad = || Error::config(FIELD, format!("{slice:?} is not the name of a slice (such as user-1000.slice)"));
    let name = slice.strip_suffix(".slice").filter(|n| !n.is_empty() && !n.contains('/')).ok_or_else(bad)?;
    let mut path = String::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(bad());
        }
        prefix.push_str(part);
        path = join(&path, &format!("{prefix}.slice"));
        prefix.push('-');
    }
    Ok(path)
}

/// `a` and `b` with one slash between, either may be empty.
pub(crate) fn join(a: &str, b: &str) -> String {
    match (a.trim_matches('/'), b.trim_matches('/')) {
        ("", b) => b.to_owned(),
        (a, "") => a.to_owned(),
        (a, b) => format!("{a}/{b}"),
    }
}

/// `mount/path/file`, where `path` may be empty.
pub(crate) fn full(mount: &str, path: &str, file: &str) -> String {
    if path.is_empty() { format!("{mount}/{file}") } else { format!("{mount}/{path}/{file}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_climbs_out() {
        let table = [
            ("/a/b", Inner::Absolute("a/b".into())),
            ("a/b", Inner::Relative("a/b".into())),
            ("/../../a", Inner::Absolute("a".into())),
            ("../../../../etc", Inner::Relative("etc".into())),
            ("/a/./b//../c/", Inner::Absolute("a/c".into())),
            ("a/../../b", Inner::Relative("b".into())),
        ];
        for (path, expected) in table {
            assert_eq!(inner(Some(path), "id").unwrap(), expected, "{path}");
        }
        assert_eq!(inner(None, "id").unwrap(), Inner::Relative("id".into()));
        assert_eq!(inner(Some(""), "id").unwrap(), Inner::Relative("id".into()));
    }

    #[test]
    fn paths_that_cannot_be() {
        for path in ["/", "..", "/a/..", "a\0b", "a\nb"] {
            let e = inner(Some(path), "id").unwrap_err().to_string();
            assert!(e.starts_with("linux.cgroupsPath: "), "{path:?}: {e}");
        }
        for id in ["..", ".", "", "a/b"] {
            assert!(inner(None, id).unwrap_err().to_string().starts_with("id: "), "{id:?}");
        }
        assert!(inner(Some(&"x".repeat(256)), "id").is_err());
        assert!(inner(Some(&"x".repeat(255)), "id").is_ok());
    }

    #[test]
    fn units() {
        let u = unit(None, "abc").unwrap();
        assert_eq!(
            (u.slice.as_str(), u.unit.as_str(), u.path.as_str()),
            ("system.slice", "runc-abc.scope", "system.slice/runc-abc.scope")
        );
        let u = unit(Some("user-1000-x.slice:crio:abc"), "id").unwrap();
        assert_eq!(u.path, "user.slice/user-1000.slice/user-1000-x.slice/crio-abc.scope");
        let u = unit(Some("-::abc"), "id").unwrap();
        assert_eq!((u.slice.as_str(), u.path.as_str()), ("-.slice", "-abc.scope"));
        for bad in [
            "/a/b",
            "a:b",
            "a:b:c",
            "a--b.slice:p:n",
            ".slice:p:n",
            "x/y.slice:p:n",
            "-a.slice:p:n",
            "system.slice:p:",
            "system.slice:p:a/b",
        ] {
            let e = unit(Some(bad), "id").unwrap_err().to_string();
            assert!(e.starts_with("linux.cgroupsPath: "), "{bad}: {e}");
        }
    }
}
