//! One container's directory. Everything in it is reached through its descriptor.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, flock, fstat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use serde::Deserialize;

use super::root::{DIRECTORY, StateRoot};
use super::{State, VERSION};
use crate::error::{Context, Error, Result};
use crate::spec::config::Config;

/// The socket that init listens on until it is started.
pub const START_SOCKET: &str = "start.sock";

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
/// Bytes of state.json that are read at most: annotations are the only part without a bound of its own.
const LARGEST_STATE: u64 = 16 << 20;
/// Bytes of config.json that are read at most.
const LARGEST_CONFIG: u64 = 16 << 20;
/// How long to wait for another rrun that works on the same container.
const PATIENCE: Duration = Duration::from_secs(10);
/// Directories inside a container's directory that removal descends into.
const DEEPEST: u32 = 4;

/// The directory of one container, opened.
#[derive(Debug, Clone)]
pub struct Dir {
    root: StateRoot,
    fd: Arc<OwnedFd>,
    id: String,
}

/// The right to change a container, until it is dropped.
///
/// The lock is given back by LOCK_UN and not by closing: a child that was cloned meanwhile has the same open file, and would
/// keep the lock as long as it does not close it.
#[derive(Debug)]
pub struct Lock(Arc<OwnedFd>);

impl Drop for Lock {
    fn drop(&mut self) {
        // The descriptor is open and has the lock: nothing can go wrong that could be mended.
        let _ = flock(&*self.0, FlockOperation::Unlock);
    }
}

impl Dir {
    pub(super) fn new(root: StateRoot, fd: OwnedFd, id: &str) -> Dir {
        Dir { root, fd: Arc::new(fd), id: id.to_string() }
    }

    /// The container.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A path to a file in it that is short enough for a unix socket address (108 bytes), valid in this process while `self` is.
    pub fn short_path(&self, name: &str) -> String {
        format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd())
    }

    /// Waits for the right to change the container: at most ten seconds, while another rrun has it. Reading needs no lock.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it was deleted meanwhile, [`Error::Failed`] if the other one does not finish.
    pub fn lock(&self) -> Result<Lock> {
        self.lock_within(PATIENCE)
    }

    /// [`Dir::lock`] with another patience.
    ///
    /// # Errors
    /// Those of [`Dir::lock`].
    pub fn lock_within(&self, patience: Duration) -> Result<Lock> {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(1);
        // flock(2) has no time-out, and an alarm would disturb whoever links the library.
        let lock = loop {
            match flock(&*self.fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break Lock(self.fd.clone()),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() >= deadline => {
                    let problem = format!("another rrun has been working on it for {} s; try again", patience.as_secs());
                    return Err(Error::failed(format!("container {:?}", self.id), problem));
                }
                Err(Errno::WOULDBLOCK) => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
                Err(e) => return Err(Error::system("state", format!("flock({:?})", self.path("")), e)),
            }
        };
        // Whoever had the lock before may have deleted the directory, and another may have taken its name.
        if self.is_current()? { Ok(lock) } else { Err(Error::NotFound { id: self.id.clone() }) }
    }

    fn is_current(&self) -> Result<bool> {
        let mine = fstat(&*self.fd).at("state", || format!("fstat({:?})", self.path("")))?;
        match statat(self.root.fd(), &self.id, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) => Ok((now.st_dev, now.st_ino) == (mine.st_dev, mine.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(Error::system("state", format!("stat({:?})", self.path("")), e)),
        }
    }

    /// Writes state.json: whoever reads it sees the old one or the new one. For holders of the lock.
    ///
    /// # Errors
    /// If it cannot be written; the old one stays.
    pub fn write(&self, state: &State) -> Result<()> {
        let bytes = serde_json::to_vec(state).map_err(|e| Error::failed(STATE, e.to_string()))?;
        self.replace(STATE, &bytes)
    }

    /// Writes the copy of the config.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_config(&self, bytes: &[u8]) -> Result<()> {
        self.replace(CONFIG, bytes)
    }

    /// Reads state.json.
    ///
    /// # Errors
    /// If it is damaged or of another version, or if `create` was interrupted before it wrote one.
    pub fn read(&self) -> Result<State> {
        self.try_read()?.ok_or_else(|| {
            let problem = "create or delete was interrupted; rrun delete --force removes what is left";
            Error::failed(format!("container {:?}", self.id), problem)
        })
    }

    /// Reads state.json; `None` if there is none, as `create` is about to write it or was interrupted before it did.
    ///
    /// # Errors
    /// If it is damaged or of another version.
    pub fn try_read(&self) -> Result<Option<State>> {
        let Some(bytes) = self.bytes(STATE, LARGEST_STATE)? else { return Ok(None) };
        let damaged = |problem: String| Error::failed(format!("container {:?}", self.id), format!("{STATE}: {problem}"));
        let state: State = match serde_json::from_slice(&bytes) {
            Ok(state) => state,
            Err(e) => return Err(other_version(&bytes).unwrap_or_else(|| damaged(e.to_string()))),
        };
        if state.version != VERSION {
            return Err(other_version(&bytes).unwrap_or_else(|| damaged("has no version".to_string())));
        }
        if state.id != self.id {
            return Err(damaged(format!("is of {:?}", state.id)));
        }
        Ok(Some(state))
    }

    /// Reads the copy of the config.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn config(&self) -> Result<Config> {
        let step = || format!("container {:?}", self.id);
        let bytes = self.bytes(CONFIG, LARGEST_CONFIG)?;
        let bytes = bytes.ok_or_else(|| Error::failed(step(), format!("{CONFIG}: is missing from its state directory")))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::failed(step(), format!("{CONFIG}: {e}")))
    }

    /// Removes the directory with all that is in it. state.json goes last: interrupted, it can be done again. For holders of the
    /// lock; the lock is good for nothing afterwards.
    ///
    /// # Errors
    /// If something cannot be removed; what is gone already is no error.
    pub fn remove(&self) -> Result<()> {
        self.empty(self.fd(), Some(STATE), DEEPEST)?;
        self.unlink(self.fd(), STATE, AtFlags::empty())?;
        self.unlink(self.root.fd().as_fd(), &self.id, AtFlags::REMOVEDIR)
    }

    fn empty(&self, dir: BorrowedFd<'_>, keep: Option<&str>, depth: u32) -> Result<()> {
        let call = || format!("getdents({:?})", self.path(""));
        for entry in rustix::fs::Dir::read_from(dir).at("state", call)? {
            let entry = entry.at("state", call)?;
            let name = entry.file_name();
            if name == c"." || name == c".." || keep.is_some_and(|k| name.to_bytes() == k.as_bytes()) {
                continue;
            }
            if entry.file_type() == FileType::Directory && depth > 0 {
                let open = openat(dir, name, DIRECTORY, Mode::empty());
                let below = open.at("state", || format!("open({name:?})"))?;
                self.empty(below.as_fd(), None, depth - 1)?;
                self.unlink(dir, name, AtFlags::REMOVEDIR)?;
            } else {
                self.unlink(dir, name, AtFlags::empty())?;
            }
        }
        Ok(())
    }

    fn unlink(&self, dir: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy + std::fmt::Debug, flags: AtFlags) -> Result<()> {
        match unlinkat(dir, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::system(format!("container {:?}", self.id), format!("unlink({name:?})"), e)),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(&self.id).join(name)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = format!(".{name}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let opened = openat(&*self.fd, &temporary, flags, mode).at("state", || format!("open({:?})", self.path(&temporary)));
        let mut file = File::from(opened?);
        let written =
            file.write_all(bytes).at("state", || format!("write({:?}, {} bytes)", self.path(&temporary), bytes.len())).and_then(
                |()| renameat(&*self.fd, &temporary, &*self.fd, name).at("state", || format!("rename({:?})", self.path(name))),
            );
        if written.is_err() {
            let _ = unlinkat(&*self.fd, &temporary, AtFlags::empty());
        }
        written
    }

    fn bytes(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let call = |what: &str| format!("{what}({:?})", self.path(name));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&*self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::system("state", call("open"), e)),
        };
        let stat = fstat(&file).at("state", || call("fstat"))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || size > most {
            let problem = format!("{name}: is no regular file of at most {most} bytes");
            return Err(Error::failed(format!("container {:?}", self.id), problem));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
        file.take(most).read_to_end(&mut bytes).at("state", || call("read"))?;
        Ok(Some(bytes))
    }
}

/// The error for a state.json of another version of rrun.
fn other_version(bytes: &[u8]) -> Option<Error> {
    #[derive(Deserialize)]
    struct Only {
        version: u64,
    }
    let found = serde_json::from_slice::<Only>(bytes).ok()?.version;
    (found != u64::from(VERSION)).then(|| {
        let why = format!("this rrun reads version {VERSION}; use the one that created the container");
        Error::unsupported(format!("{STATE} of version {found}"), why)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::tests::{Scratch, state};
    use super::*;
    use crate::error::Kind;

    #[test]
    fn state_and_config_are_read_as_they_were_written() {
        let scratch = Scratch::new();
        let (dir, _lock) = scratch.root().create("x").unwrap();
        assert_eq!(dir.try_read().unwrap(), None);
        assert!(dir.read().unwrap_err().to_string().contains("interrupted"));
        let mut s = state("x");
        dir.write(&s).unwrap();
        s.init = Some(s.creator);
        s.cgroup = serde_json::json!({"path": "/a"});
        dir.write(&s).unwrap();
        assert_eq!(dir.read().unwrap(), s);

        assert!(dir.config().unwrap_err().to_string().contains("config.json: is missing"));
        let config = crate::cli::spec::default(true);
        dir.write_config(&serde_json::to_vec(&config).unwrap()).unwrap();
        assert_eq!(dir.config().unwrap(), config);
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["config.json", "state.json"], "no temporary file is left");
    }

    #[test]
    fn a_damaged_or_foreign_state_is_said_to_be_so() {
        let scratch = Scratch::new();
        let (dir, _lock) = scratch.root().create("x").unwrap();
        let message = |text: &str| {
            dir.replace(STATE, text.as_bytes()).unwrap();
            dir.read().unwrap_err().to_string()
        };
        assert!(message("").starts_with("container \"x\": state.json: EOF"));
        assert!(message("{\"version\": 1}").contains("missing field"));
        let other = "state.json of version 2: not supported: this rrun reads version 1; use the one that created the container";
        assert_eq!(message("{\"version\": 2, \"new\": {}}"), other);
        let text = serde_json::to_string(&state("x")).unwrap();
        assert_eq!(message(&text.replace("\"version\":1", "\"version\":2")), other);
        assert!(message(&text.replace("\"id\":\"x\"", "\"id\":\"y\"")).contains("is of \"y\""));
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let scratch = Scratch::new();
        let (dir, _lock) = scratch.root().create("x").unwrap();
        let path = dir.path(CONFIG);
        symlink("/etc/passwd", &path).unwrap();
        assert!(dir.config().unwrap_err().errno() == Some(Errno::LOOP));
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(dir.config().unwrap_err().to_string().contains("no regular file"));
        std::fs::remove_file(&path).unwrap();
        File::create(&path).unwrap().set_len(LARGEST_CONFIG + 1).unwrap();
        assert!(dir.config().unwrap_err().to_string().contains("at most 16777216 bytes"));
    }

    #[test]
    fn one_at_a_time_may_change_a_container() {
        let scratch = Scratch::new();
        let root = scratch.root();
        let (dir, lock) = root.create("x").unwrap();
        let second = root.load("x").unwrap();
        let e = second.lock_within(Duration::from_millis(5)).unwrap_err();
        assert!(e.to_string().contains("another rrun has been working on it"), "{e}");
        drop(lock);
        let lock = second.lock().unwrap();
        assert!(dir.lock_within(Duration::ZERO).is_err());
        drop(lock);
        assert!(dir.lock_within(Duration::ZERO).is_ok());
    }

    #[test]
    fn the_lock_is_given_back_although_a_child_still_has_the_directory_open() {
        let scratch = Scratch::new();
        let root = scratch.root();
        let (dir, lock) = root.create("x").unwrap();
        let in_a_child = dir.fd().try_clone_to_owned().unwrap();
        drop((dir, lock));
        assert!(root.load("x").unwrap().lock_within(Duration::ZERO).is_ok());
        drop(in_a_child);
    }

    #[test]
    fn who_waited_for_a_deleted_container_finds_out() {
        let scratch = Scratch::new();
        let root = scratch.root();
        let (dir, lock) = root.create("x").unwrap();
        let waiting = root.load("x").unwrap();
        let waiter = std::thread::spawn(move || waiting.lock().map(|_| ()));
        dir.remove().unwrap();
        let (_again, _its_lock) = root.create("x").unwrap();
        drop(lock);
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), Kind::NotFound, "the new one of that name is another");
    }

    #[test]
    fn removal_takes_everything_follows_nothing_and_can_be_repeated() {
        let scratch = Scratch::new();
        let root = scratch.root();
        let (dir, _lock) = root.create("x").unwrap();
        dir.write(&state("x")).unwrap();
        let outside = scratch.0.join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "").unwrap();
        symlink(&outside, dir.path("link")).unwrap();
        std::fs::create_dir_all(dir.path("notify/deeper")).unwrap();
        std::fs::write(dir.path("notify/deeper/file"), "").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.short_path(START_SOCKET)).unwrap();

        // As if it had been interrupted: the container can still be loaded.
        dir.empty(dir.fd(), Some(STATE), DEEPEST).unwrap();
        assert!(root.load("x").unwrap().read().is_ok());
        dir.remove().unwrap();
        assert!(outside.join("kept").exists());
        assert_eq!(root.list().unwrap(), Vec::<String>::new());
        assert_eq!(root.load("x").unwrap_err().kind(), Kind::NotFound);
    }
}
