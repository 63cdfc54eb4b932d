//! Container ids.

use std::path::Path;

use crate::error::{Context, Error, Result};

/// Longest id, in characters. A directory has the id as its name, so that the kernel's own limit is 255 (NAME_MAX).
pub const LONGEST: usize = 1024;

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.')
}

/// Accepts what runc accepts: ASCII letters, digits and `_+-.`, but neither `.` nor `..`; 1 to 1024 characters.
///
/// # Errors
/// [`Error::Config`] that says what is wrong.
pub fn check(id: &str) -> Result<()> {
    let wrong = |problem: String| Err(Error::config("container id", problem));
    let length = id.chars().count();
    if id.is_empty() {
        return wrong("is empty".into());
    }
    if length > LONGEST {
        return wrong(format!("has {length} characters; at most {LONGEST} are allowed"));
    }
    if let Some(bad) = id.chars().find(|c| !allowed(*c)) {
        return wrong(format!("{id:?} contains {bad:?}; allowed are letters, digits and _ + - ."));
    }
    if id == "." || id == ".." {
        return wrong(format!("{id:?} is the name of a directory; choose another"));
    }
    Ok(())
}

/// An id for a bundle that was given none: the directory's name and six random hexadecimal digits.
///
/// # Errors
/// If the kernel gives no random bytes.
pub fn generate(bundle: &Path) -> Result<String> {
    let mut bytes = [0u8; 3];
    let flags = rustix::rand::GetRandomFlags::empty();
    rustix::rand::getrandom(&mut bytes, flags).at("container id", || "getrandom(3 bytes)".to_string())?;
    Ok(compose(bundle, bytes))
}

fn compose(bundle: &Path, random: [u8; 3]) -> String {
    let name = bundle.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
    let name: String = name.chars().filter(|c| allowed(*c)).take(64).collect();
    let name = name.trim_start_matches(['.', '-', '+']);
    let name = if name.is_empty() { "rrun" } else { name };
    format!("{name}-{:02x}{:02x}{:02x}", random[0], random[1], random[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_runc_takes_are_taken() {
        for id in ["a", "A_b+c-d.9", "...", "-x", &"a".repeat(1024)] {
            assert_eq!(check(id), Ok(()), "{id}");
        }
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        let message = |id: &str| check(id).unwrap_err().to_string();
        assert_eq!(message(""), "container id: is empty");
        assert_eq!(message("a/b"), "container id: \"a/b\" contains '/'; allowed are letters, digits and _ + - .");
        assert_eq!(message(&"a".repeat(1025)), "container id: has 1025 characters; at most 1024 are allowed");
        for id in [".", "..", "../x", "a b", "a\n", "\u{e9}", "a\0b", "a:b"] {
            assert!(check(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn generated_ids_are_valid_whatever_the_directory_is_called() {
        assert_eq!(compose(Path::new("/srv/web 1"), [0, 0x1f, 0xff]), "web1-001fff");
        assert_eq!(compose(Path::new("/"), [1, 2, 3]), "rrun-010203");
        for dir in ["/x/..", "/x/--", "/x/\u{e9}", &format!("/x/{}", "a".repeat(255))] {
            assert_eq!(check(&generate(Path::new(dir)).unwrap()), Ok(()), "{dir}");
        }
        let dir = Path::new("/x/y");
        assert!((0..8).map(|_| generate(dir).unwrap()).collect::<std::collections::BTreeSet<_>>().len() > 1);
    }
}
