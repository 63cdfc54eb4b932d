//! Which container and which bundle `rrun run` means.

use std::path::{Path, PathBuf};

use super::args::Args;
use super::globals::{absolute, clean};
use crate::error::{Error, Result};
use crate::state::id;

/// What `run` is to run, and under which id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The container's id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
}

/// Reads the one operand of `run`, which is runc's `<container-id>` or our `<bundle>`.
///
/// The rule, in this order:
/// 1. With `--bundle` it is the id, as in runc.
/// 2. With `--name`, or with a `/` in it, or as `.` or `..`, it is a bundle: no id can look so.
/// 3. If the working directory holds a config.json, it is an id and the bundle is the working directory, as in runc.
/// 4. If it names a directory with a config.json, it is a bundle.
/// 5. Otherwise it is an id and the working directory the bundle, which then has no config.json: that is the error reported.
///
/// The id of a bundle is `--name`, or else made from the directory's name and six random hexadecimal digits.
///
/// # Errors
/// If the flags contradict each other, or the id is not valid.
pub fn of_run(args: &Args) -> Result<Target> {
    let here = absolute(Path::new("."))?;
    let has_config = |dir: &Path| dir.join("config.json").exists();
    resolve(args.first(), args.text("name"), args.text("bundle"), &here, has_config)
}

fn resolve(
    operand: &str,
    name: Option<&str>,
    bundle: Option<&str>,
    here: &Path,
    has_config: impl Fn(&Path) -> bool,
) -> Result<Target> {
    if bundle.is_some() && name.is_some() {
        let problem = "goes with a bundle as the argument, not with --bundle: there the argument is the id";
        return Err(Error::config("--name", problem));
    }
    let looks_like_a_path = operand.contains('/') || operand == "." || operand == "..";
    let is_bundle =
        bundle.is_none() && (name.is_some() || looks_like_a_path || (!has_config(here) && has_config(&here.join(operand))));
    let target = if is_bundle {
        let bundle = clean(&here.join(operand));
        let id = name.map_or_else(|| id::generate(&bundle), |n| Ok(n.to_string()))?;
        Target { id, bundle }
    } else {
        Target { id: operand.to_string(), bundle: bundle.map_or_else(|| here.to_path_buf(), |b| clean(&here.join(b))) }
    };
    id::check(&target.id)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In /w, with bundles at those of `bundles`.
    fn at(operand: &str, name: Option<&str>, bundle: Option<&str>, bundles: &[&str]) -> Result<Target> {
        resolve(operand, name, bundle, Path::new("/w"), |dir| bundles.iter().any(|b| clean(dir) == Path::new(b)))
    }

    #[test]
    fn with_bundle_the_argument_is_the_id_as_in_runc() {
        let t = at("web", None, Some("b/"), &["/w/b", "/w/web"]).unwrap();
        assert_eq!((t.id.as_str(), t.bundle.as_path()), ("web", Path::new("/w/b")));
        assert!(at("b/", None, Some("b"), &[]).unwrap_err().to_string().contains("contains '/'"));
        assert!(at("b", Some("web"), Some("b"), &[]).unwrap_err().to_string().starts_with("--name: "));
    }

    #[test]
    fn a_slash_a_dot_or_a_name_make_it_a_bundle() {
        let t = at("../x/b/", None, None, &["/w"]).unwrap();
        assert_eq!(t.bundle, Path::new("/x/b"));
        assert!(t.id.starts_with("b-") && t.id.len() == 8, "{}", t.id);
        let t = at(".", None, None, &["/w"]).unwrap();
        assert_eq!(t.bundle, Path::new("/w"));
        let t = at("b", Some("web"), None, &["/w"]).unwrap();
        assert_eq!((t.id.as_str(), t.bundle.as_path()), ("web", Path::new("/w/b")));
        assert!(at("b/", Some("a b"), None, &[]).unwrap_err().to_string().starts_with("container id: "));
    }

    #[test]
    fn a_plain_word_is_an_id_where_there_is_a_bundle_here_and_else_a_bundle_if_it_is_one() {
        let t = at("web", None, None, &["/w", "/w/web"]).unwrap();
        assert_eq!((t.id.as_str(), t.bundle.as_path()), ("web", Path::new("/w")));
        let t = at("web", None, None, &["/w/web"]).unwrap();
        assert_eq!(t.bundle, Path::new("/w/web"));
        assert!(t.id.starts_with("web-"));
        let t = at("web", None, None, &[]).unwrap();
        assert_eq!((t.id.as_str(), t.bundle.as_path()), ("web", Path::new("/w")));
    }
}
