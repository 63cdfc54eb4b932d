//! What init gets as descriptors: the root tree, bind sources, namespace files.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::duties::write;
use crate::error::{Context as _, Error, Result};
use crate::init::OpenTree;
use crate::mount::options::ATTR_IDMAP;
use crate::plan::namespaces::map_text;
use crate::plan::{IdMapSource, MustBe, Plan, Tree};
use crate::spec::config::{IdMapping, NamespaceKind};
use crate::sys::clone::{CloneArgs, clone3};
use crate::sys::mount::{MountAttr, mount_setattr};
use crate::sys::process::{close, exit_now};

/// Everything opened for one container.
pub(super) struct Opened {
    /// The root tree; None in a joined mount namespace.
    pub root: Option<OwnedFd>,
    /// Sources.
    pub trees: Vec<OpenTree>,
    /// Namespace files.
    pub namespaces: Vec<OwnedFd>,
}

impl Opened {
    /// Opens all that the plan names.
    pub fn open(plan: &Plan) -> Result<Opened> {
        let mut namespaces = Vec::with_capacity(plan.namespaces.joined.len());
        for joined in &plan.namespaces.joined {
            let fd = rustix::fs::open(&joined.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            namespaces.push(fd.at(&joined.field, || format!("open({:?})", joined.path))?);
        }
        let root = if plan.namespaces.is_new(NamespaceKind::Mount) { Some(root_tree(plan)?) } else { None };
        let mut idmaps = IdMaps::default();
        let trees = plan.trees.iter().map(|t| open_tree(t, &mut idmaps)).collect::<Result<Vec<_>>>()?;
        Ok(Opened { root, trees, namespaces })
    }
}

/// Opens every source of a plan as [`super::create`] would, and closes it again: for `rrun check`.
pub fn try_sources(plan: &Plan) -> Vec<Result<()>> {
    let mut idmaps = IdMaps::default();
    plan.trees.iter().map(|tree| open_tree(tree, &mut idmaps).map(drop)).collect()
}

/// Opens the root file system's directory.
///
/// # Errors
/// It is absent, a file or a symbolic link.
pub fn open_rootfs(path: &Path) -> Result<OwnedFd> {
    let field = || format!("root.path ({})", path.display());
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).at(field(), || format!("open({path:?})"))?;
    match FileType::from_raw_mode(rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH).at(field(), || "fstat".into())?.st_mode) {
        FileType::Directory => Ok(fd),
        FileType::Symlink => Err(Error::config(field(), "is a symbolic link; name the directory itself")),
        _ => Err(Error::config(field(), "is not a directory")),
    }
}

fn root_tree(plan: &Plan) -> Result<OwnedFd> {
    let dir = open_rootfs(&plan.rootfs)?;
    let field = format!("root.path ({})", plan.rootfs.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(&dir, c"", flags).map_err(|errno| {
        let error = Error::system(&field, format!("open_tree({:?})", plan.rootfs), errno);
        if errno == Errno::PERM { error.hint("rrun needs CAP_SYS_ADMIN: run it as root") } else { error }
    })?;
    let attr = MountAttr { propagation: plan.root_propagation, ..MountAttr::default() };
    mount_setattr(tree.as_fd(), c"", true, &attr).at(field, || "mount_setattr(propagation)".into())?;
    Ok(tree)
}

fn open_tree(tree: &Tree, idmaps: &mut IdMaps) -> Result<OpenTree> {
    let call = |name: &str| format!("{name}({:?})", tree.path);
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if tree.recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let fd = rustix::mount::open_tree(CWD, &tree.path, flags).at(&tree.field, || call("open_tree"))?;
    let stat = rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH).at(&tree.field, || call("fstat"))?;
    match tree.must_be {
        None => {}
        Some(MustBe::Proc) => {
            let magic = rustix::fs::fstatfs(&fd).at(&tree.field, || call("fstatfs"))?.f_type;
            if magic != libc::PROC_SUPER_MAGIC {
                return Err(Error::config(
                    &tree.field,
                    format!("source {:?} is not a procfs; nothing else may cover /proc", tree.path),
                ));
            }
        }
        Some(MustBe::Node(kind, device)) if stat.st_mode & libc::S_IFMT == kind && stat.st_rdev == device => {}
        Some(MustBe::Node(_, device)) => {
            let wanted = format!("{}:{}", libc::major(device), libc::minor(device));
            let problem = format!("{:?} on the host is not the device {wanted}, and a user namespace cannot make one", tree.path);
            return Err(Error::config(&tree.field, problem));
        }
    }
    if let Some(idmap) = &tree.idmap {
        let userns = idmaps.get(&idmap.source, &tree.field)?;
        let attr = MountAttr { set: ATTR_IDMAP, userns_fd: userns.as_raw_fd() as u64, ..MountAttr::default() };
        mount_setattr(fd.as_fd(), c"", idmap.recursive, &attr).map_err(|errno| {
            let error = Error::system(&tree.field, call("mount_setattr(idmap)"), errno);
            if errno == Errno::INVAL { error.hint("this file system cannot be idmapped") } else { error }
        })?;
    }
    for (recursive, attr) in &tree.changes {
        mount_setattr(fd.as_fd(), c"", *recursive, attr).at(&tree.field, || call("mount_setattr"))?;
    }
    Ok(OpenTree { fd, is_dir: FileType::from_raw_mode(stat.st_mode) == FileType::Directory })
}

/// User namespaces that hold the mappings of idmapped mounts, one per mapping.
#[derive(Default)]
struct IdMaps {
    made: Vec<(IdMapSource, OwnedFd)>,
}

impl IdMaps {
    fn get(&mut self, source: &IdMapSource, field: &str) -> Result<BorrowedFd<'_>> {
        if let Some(at) = self.made.iter().position(|(s, _)| s == source) {
            return Ok(self.made[at].1.as_fd());
        }
        let fd = match source {
            IdMapSource::Path(path) => {
                rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at(field, || format!("open({path:?})"))?
            }
            IdMapSource::Mappings(uids, gids) => mapping_namespace(uids, gids, field)?,
        };
        self.made.push((source.clone(), fd));
        Ok(self.made[self.made.len() - 1].1.as_fd())
    }
}

/// A user namespace with these maps. A process must exist to make one; it ends at once, the descriptor keeps the namespace.
fn mapping_namespace(uids: &[IdMapping], gids: &[IdMapping], field: &str) -> Result<OwnedFd> {
    let proc = super::open_proc()?;
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(field, || "pipe2".into())?;
    let args = CloneArgs { flags: libc::CLONE_NEWUSER as u64, cgroup: None };
    let (pid, pidfd) = clone3(&args, || {
        // Wait until the parent closes its end: by then it has what it wants.
        close(theirs.as_raw_fd());
        let _ = rustix::io::read(&ours, &mut [0u8]);
        exit_now(0)
    })
    .at(field, || "clone3(CLONE_NEWUSER)".into())?;
    let made = write(proc.as_fd(), pid, "uid_map", map_text(uids).as_bytes(), field)
        .and_then(|()| write(proc.as_fd(), pid, "gid_map", map_text(gids).as_bytes(), field))
        .and_then(|()| {
            let path = format!("{pid}/ns/user");
            rustix::fs::openat(&proc, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .at(field, || format!("open(\"/proc/{path}\")"))
        });
    drop(theirs);
    let _ = rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), rustix::process::WaitIdOptions::EXITED);
    made
}
