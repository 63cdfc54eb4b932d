//! Attributes, credentials and the end of the walk.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::Walk;
use super::fail::{By, Call, Done, Fail};
use super::protocol::{Kind, Message};
use crate::caps::Sets;
use crate::sys;
use crate::sys::process::{Limit, dup_onto, prctl};

/// A session keyring of the container's own. Kernels without keyrings, and outer seccomp profiles, answer ENOSYS or EPERM: it is
/// one wall of several.
pub(super) fn keyring(name: &CStr, permissions: u32) -> Done {
    match sys::process::join_session_keyring(name) {
        Ok(_) if permissions == 0 => Ok(()),
        Ok(key) => match sys::process::set_key_permissions(key, permissions) {
            Ok(()) | Err(Errno::ACCESS) => Ok(()),
            Err(errno) => Err(errno).by(Call::Keyctl),
        },
        Err(Errno::NOSYS | Errno::PERM | Errno::DQUOT) => Ok(()),
        Err(errno) => Err(errno).by(Call::Keyctl),
    }
}

/// Resource limits of ourselves.
pub(super) fn limits(limits: &[(u32, Limit)]) -> Done {
    for (resource, limit) in limits {
        sys::process::prlimit(0, *resource, Some(limit)).map_err(|errno| Fail {
            call: Call::Prlimit,
            errno,
            arg: *resource as u16,
        })?;
    }
    Ok(())
}

/// CPU affinity; the kernel keeps it within the cpuset. EINVAL: none of the CPUs is in it.
pub(super) fn affinity(mask: &[u64]) -> Done {
    sys::process::set_affinity(mask).by(Call::SchedSetaffinity)
}

/// The standard streams belong to the user, so that it can reopen them (/dev/stderr).
pub(super) fn own_stdio(uid: u32) -> Done {
    for number in 0..3 {
        // SAFETY: 0 to 2 are open: our caller's main opens what is missing, and `dup_stdio` replaces them.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let Ok(stat) = rustix::fs::fstat(fd) else { continue };
        let is_null = stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3);
        if is_null || stat.st_uid == uid {
            continue;
        }
        match rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None) {
            // Not mapped, read-only, or not a file that has an owner: then it stays whose it is.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::OPNOTSUPP | Errno::OVERFLOW) => {}
            Err(errno) => return Err(errno).by(Call::Fchown),
        }
    }
    Ok(())
}

/// Drops what is not asked from the bounding set.
pub(super) fn bounding(keep: u64, last_cap: u32) -> Done {
    for cap in (0..=last_cap).filter(|cap| keep & (1 << cap) == 0) {
        prctl(libc::PR_CAPBSET_DROP, cap.into(), 0).map_err(|errno| Fail { call: Call::Prctl, errno, arg: cap as u16 })?;
    }
    Ok(())
}

/// Groups, gid, uid, umask. Capabilities survive the change of uid until [`capabilities`] sets them.
pub(super) fn credentials(uid: u32, gid: u32, groups: Option<&[u32]>, umask: u32) -> Done {
    prctl(libc::PR_SET_SECUREBITS, 0, 0).or_else(ignore_perm).by(Call::Prctl)?;
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).by(Call::Prctl)?;
    if let Some(groups) = groups {
        match sys::process::set_groups(groups) {
            Err(Errno::PERM) if groups.is_empty() => {} // /proc/PID/setgroups says deny
            other => other.by(Call::Setgroups)?,
        }
    }
    sys::process::set_gid(gid).by(Call::Setresgid)?;
    sys::process::set_uid(uid).by(Call::Setresuid)?;
    rustix::process::umask(Mode::from_raw_mode(umask));
    Ok(())
}

fn ignore_perm(errno: Errno) -> Result<i64, Errno> {
    if errno == Errno::PERM { Ok(0) } else { Err(errno) }
}

/// The effective, permitted, inheritable and ambient sets.
pub(super) fn capabilities(sets: &Sets) -> Done {
    sys::process::capset(sets.effective, sets.permitted, sets.inheritable).by(Call::Capset)?;
    prctl(libc::PR_SET_KEEPCAPS, 0, 0).by(Call::Prctl)?;
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).by(Call::Prctl)?;
    for cap in (0..64u64).filter(|cap| sets.ambient & (1 << cap) != 0) {
        let raise = libc::PR_CAP_AMBIENT_RAISE as u64;
        prctl(libc::PR_CAP_AMBIENT, raise, cap).map_err(|errno| Fail { call: Call::Prctl, errno, arg: cap as u16 })?;
    }
    Ok(())
}

/// Makes sure that the working directory is inside of the root (CVE-2024-21626).
fn verify_cwd() -> Done {
    let mut buffer = [0u8; 4096];
    match sys::process::getcwd(&mut buffer) {
        Ok(_) if buffer[0] == b'/' => Ok(()),
        // "(unreachable)", or removed meanwhile.
        Ok(_) | Err(Errno::NOENT) => Err(Fail { call: Call::Getcwd, errno: Errno::XDEV, arg: 0 }),
        Err(errno) => Err(errno).by(Call::Getcwd),
    }
}

impl Walk<'_> {
    /// Enters the working directory. root may not be let in where the user is (NFS): then it is tried again as the user.
    pub(super) fn chdir(&mut self, path: &CStr, last: bool) -> Done {
        if last && !self.chdir_later {
            return Ok(());
        }
        match rustix::process::chdir(path) {
            Err(Errno::ACCESS) if !last => {
                self.chdir_later = true;
                return Ok(());
            }
            other => other.by(Call::Chdir)?,
        }
        verify_cwd()
    }

    /// Looks for the program the way execvp(3) does. ENOENT: nowhere; EACCES: found, but not executable.
    pub(super) fn find_program(&mut self) -> Done {
        let mut best = Errno::NOENT;
        for (index, path) in self.plan.program.candidates.iter().enumerate() {
            match rustix::fs::statat(rustix::fs::CWD, path.as_c_str(), AtFlags::empty()) {
                Ok(stat) => {
                    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0 {
                        self.program = index;
                        return Ok(());
                    }
                    best = Errno::ACCESS;
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(Errno::ACCESS) => {
                    // Not for root's eyes: the user may see it.
                    self.program = index;
                    return Ok(());
                }
                Err(errno) => best = errno,
            }
        }
        Err(best).by(Call::Find)
    }

    /// Installs the filter; a notification descriptor is fetched by the other side before we go on.
    pub(super) fn seccomp(&mut self) -> Done {
        let Some(filter) = &self.plan.filter else { return Ok(()) };
        let listener = sys::seccomp::load(&filter.filter, filter.flags).by(Call::Seccomp)?;
        if let Some(listener) = listener {
            let mut message = Message::new(Kind::Seccomp);
            message.arg = std::os::fd::AsRawFd::as_raw_fd(&listener) as u16;
            self.send_message(&message)?;
            self.receive(Kind::Go)?;
        }
        Ok(())
    }

    /// Nothing of ours or of our caller's reaches the program: standard streams, default signals, no other descriptors.
    pub(super) fn disinherit(&mut self, keep_fds: u32) -> Done {
        if let Some(stdio) = &self.context.stdio {
            for (number, fd) in stdio.iter().enumerate() {
                dup_onto(*fd, number as i32).by(Call::Dup)?;
            }
        }
        sys::process::keep_open(3, keep_fds).by(Call::CloseRange)?;
        sys::process::close_from(3 + keep_fds as i32, true).by(Call::CloseRange)?;
        prctl(libc::PR_SET_PDEATHSIG, 0, 0).by(Call::Prctl)?;
        prctl(libc::PR_SET_THP_DISABLE, 0, 0).by(Call::Prctl)?;
        sys::signal::reset_all();
        // Once more, after everything of ours is closed; where the user must enter it first, that step looks.
        if self.chdir_later { Ok(()) } else { verify_cwd() }
    }

    /// The end: execve(2). The other candidates are tried where the user sees less than root did.
    pub(super) fn execute(&mut self) -> Done {
        let program = &self.plan.program;
        let mut worst = Errno::NOENT;
        for path in program.candidates.iter().skip(self.program) {
            match sys::process::execve(path, &program.argv, &program.envp) {
                Errno::NOENT | Errno::NOTDIR if worst == Errno::NOENT => {}
                Errno::ACCESS => worst = Errno::ACCESS,
                errno => return Err(errno).by(Call::Execve),
            }
        }
        Err(worst).by(Call::Execve)
    }
}
