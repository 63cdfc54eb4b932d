//! The directory that holds one directory per container.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, fstat, mkdirat, openat};
use rustix::io::Errno;

use super::dir::{Dir, Lock};
use super::id;
use crate::error::{Context, Error, Result};

/// The state root, opened.
#[derive(Debug, Clone)]
pub struct StateRoot {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl StateRoot {
    /// Opens the state root, and makes it (0700) if it is not there: for `create` and `run`.
    ///
    /// # Errors
    /// If it cannot be made or opened, or if others could write to it.
    pub fn make(path: &Path) -> Result<StateRoot> {
        if let Some(root) = StateRoot::open(path)? {
            return Ok(root);
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.at("--root", || format!("mkdir({path:?}, 0700)"))?;
        StateRoot::open(path)?.ok_or_else(|| Error::failed("--root", format!("{path:?} vanished")))
    }

    /// Opens the state root; `None` if it is not there.
    ///
    /// # Errors
    /// If it cannot be opened, or if others could write to it: they could make us believe in any container.
    pub fn open(path: &Path) -> Result<Option<StateRoot>> {
        // The path to the root is the operator's and may lead over links.
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        let fd = match openat(CWD, path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::system("--root", format!("open({path:?})"), e)),
        };
        let stat = fstat(&fd).at("--root", || format!("fstat({path:?})"))?;
        let me = rustix::process::geteuid().as_raw();
        if stat.st_uid != me && stat.st_uid != 0 {
            let problem = format!("{path:?} belongs to uid {}, who could forge containers; use another directory", stat.st_uid);
            return Err(Error::config("--root", problem));
        }
        if stat.st_mode & 0o022 != 0 {
            let mode = stat.st_mode & 0o7777;
            let problem = format!("{path:?} has mode {mode:o}, so that others could forge containers; make it 700");
            return Err(Error::config("--root", problem));
        }
        Ok(Some(StateRoot { fd: Arc::new(fd), path: path.to_path_buf() }))
    }

    /// Opens the directory of a container under the state root at `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, and those of [`StateRoot::open`] and [`id::check`].
    pub fn find(path: &Path, id: &str) -> Result<Dir> {
        id::check(id)?;
        match StateRoot::open(path)? {
            Some(root) => root.load(id),
            None => Err(Error::NotFound { id: id.to_string() }),
        }
    }

    /// Makes the directory of a new container, 0700, and locks it. It is empty: write [`super::State`] before anything is made
    /// that would have to be removed.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if there is one, however incomplete.
    pub fn create(&self, id: &str) -> Result<(Dir, Lock)> {
        id::check(id)?;
        let call = || format!("mkdir(\"{}/{id}\", 0700)", self.path.display());
        match mkdirat(&*self.fd, id, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(Error::AlreadyExists { id: id.to_string() }),
            Err(Errno::NAMETOOLONG) => {
                let hint = format!("the id has {} characters and names a directory; this file system allows 255", id.len());
                return Err(Error::system("container id", call(), Errno::NAMETOOLONG).hint(hint));
            }
            Err(e) => return Err(Error::system("state", call(), e)),
        }
        let dir = self.load(id)?;
        let lock = dir.lock()?;
        Ok((dir, lock))
    }

    /// Opens the directory of a container.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub fn load(&self, id: &str) -> Result<Dir> {
        id::check(id)?;
        match openat(&*self.fd, id, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Dir::new(self.clone(), fd, id)),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Err(Error::NotFound { id: id.to_string() }),
            Err(e) => Err(Error::system("state", format!("open(\"{}/{id}\")", self.path.display()), e)),
        }
    }

    /// The ids of all containers, sorted, those without a readable state.json too. What is no directory or has a name that no
    /// container can have is not ours and left out.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(&self) -> Result<Vec<String>> {
        let call = || format!("getdents({:?})", self.path);
        let mut ids = Vec::new();
        for entry in rustix::fs::Dir::read_from(self.fd.as_fd()).at("--root", call)? {
            let entry = entry.at("--root", call)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let directory = matches!(entry.file_type(), rustix::fs::FileType::Directory | rustix::fs::FileType::Unknown);
            if directory && id::check(name).is_ok() {
                ids.push(name.to_string());
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Its descriptor.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::super::tests::Scratch;
    use super::*;
    use crate::error::Kind;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    /// CVE-2021-41103, CVE-2024-25621: state that other users can look into.
    #[test]
    fn cve_2021_41103_cve_2024_25621_directories_are_for_their_owner_alone() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a/b");
        let root = StateRoot::make(&path).unwrap();
        let (dir, lock) = root.create("x").unwrap();
        dir.write(&super::super::tests::state("x")).unwrap();
        dir.write_config(b"{}").unwrap();
        drop(lock);
        assert_eq!((mode(&scratch.0.join("a")), mode(&path), mode(&path.join("x"))), (0o700, 0o700, 0o700));
        assert_eq!((mode(&path.join("x/state.json")), mode(&path.join("x/config.json"))), (0o600, 0o600));
    }

    #[test]
    fn a_root_that_others_could_write_to_is_refused() {
        let scratch = Scratch::new();
        let path = scratch.0.join("wide");
        std::fs::create_dir(&path).unwrap();
        for bits in [0o770, 0o707, 0o1777] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
            let e = StateRoot::make(&path).unwrap_err();
            assert!(e.to_string().contains(&format!("has mode {bits:o}")), "{e}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(StateRoot::make(&path).is_ok());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            assert!(StateRoot::make(&path).unwrap_err().to_string().contains("belongs to uid 65534"));
        }
    }

    #[test]
    fn an_id_is_taken_once() {
        let scratch = Scratch::new();
        let root = scratch.root();
        let first = root.create("x").unwrap();
        assert_eq!(root.create("x").unwrap_err().kind(), Kind::AlreadyExists);
        drop(first);
        assert_eq!(root.create("x").unwrap_err().kind(), Kind::AlreadyExists);
        assert_eq!(root.load("y").unwrap_err().kind(), Kind::NotFound);
        assert_eq!(StateRoot::find(Path::new("/nonexistent/rrun"), "x").unwrap_err().kind(), Kind::NotFound);
        for bad in ["../x", "", ".", "a/b"] {
            assert_eq!(root.create(bad).unwrap_err().kind(), Kind::Config, "{bad:?}");
            assert_eq!(root.load(bad).unwrap_err().kind(), Kind::Config, "{bad:?}");
        }
        let long = "a".repeat(300);
        assert!(root.create(&long).unwrap_err().to_string().contains("the id has 300 characters"));
        assert_eq!(root.load(&long).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn links_are_not_followed_and_strangers_not_listed() {
        let scratch = Scratch::new();
        let root = scratch.root();
        let elsewhere = scratch.0.join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, root.path().join("link")).unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        std::fs::create_dir(root.path().join("not an id")).unwrap();
        drop(root.create("b").unwrap());
        drop(root.create("a").unwrap());
        assert_eq!(root.list().unwrap(), ["a", "b"]);
        assert!(root.load("link").is_err() && root.load("file").is_err());
    }
}
