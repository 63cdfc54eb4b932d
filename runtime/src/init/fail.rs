//! How a step of init fails: which call, which errno; said in words by the parent.

use rustix::io::Errno;

macro_rules! calls {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// The system call that failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)] // each is the call of its name
        pub enum Call { $($variant),* }

        /// Names of the calls, by their number.
        pub const NAMES: &[&str] = &[$($name),*];
    };
}

calls! {
    Setns = "setns", Unshare = "unshare", Setresuid = "setresuid", Setresgid = "setresgid", Setgroups = "setgroups",
    Setsid = "setsid", Keyctl = "keyctl", MountSetattr = "mount_setattr", OpenTree = "open_tree", MoveMount = "move_mount",
    Fsopen = "fsopen", Fsconfig = "fsconfig", Fsmount = "fsmount", Openat2 = "openat2", Mkdirat = "mkdirat", Mknodat = "mknodat",
    Symlinkat = "symlinkat", Fchmod = "fchmod", Fchown = "fchown", Write = "write", Read = "read", Statx = "statx",
    PivotRoot = "pivot_root", Umount = "umount2", Chroot = "chroot", Chdir = "chdir", Getcwd = "getcwd",
    Sethostname = "sethostname", Setdomainname = "setdomainname", Prlimit = "prlimit", SchedSetattr = "sched_setattr",
    IoprioSet = "ioprio_set", SchedSetaffinity = "sched_setaffinity", SetMempolicy = "set_mempolicy", Personality = "personality",
    Seccomp = "seccomp", Prctl = "prctl", Capset = "capset", Execve = "execve", OpenPty = "open(/dev/pts/ptmx)",
    TtyIoctl = "ioctl", Dup = "dup3", Accept = "accept4", Recv = "recvmsg", Send = "sendmsg", CloseRange = "close_range",
    Unlinkat = "unlinkat", CopyUp = "copy (tmpcopyup)", NetIoctl = "ioctl(SIOCSIFFLAGS, lo)", Find = "look up",
}

/// A failed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fail {
    /// Which call.
    pub call: Call,
    /// What the kernel said.
    pub errno: Errno,
    /// Which parameter of the step.
    pub arg: u16,
}

/// Result of a step.
pub type Done<T = ()> = Result<T, Fail>;

/// Names the call of a failed system call.
pub trait By<T> {
    /// See the trait.
    fn by(self, call: Call) -> Done<T>;
}

impl<T> By<T> for Result<T, Errno> {
    fn by(self, call: Call) -> Done<T> {
        self.map_err(|errno| Fail { call, errno, arg: 0 })
    }
}
