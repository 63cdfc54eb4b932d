//! What `rrun features` says of seccomp.

use super::{arch, profile};
use crate::sys::seccomp as sys;

/// The lists of features.md#seccomp, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// `SCMP_ACT_*` that the running kernel has.
    pub actions: Vec<&'static str>,
    /// `SCMP_CMP_*`.
    pub operators: Vec<&'static str>,
    /// `SCMP_ARCH_*` that a profile may list; calls can only come from those that this machine runs.
    pub archs: Vec<&'static str>,
    /// `SECCOMP_FILTER_FLAG_*` that a profile may list.
    pub known_flags: Vec<&'static str>,
    /// Those that the running kernel has.
    pub supported_flags: Vec<&'static str>,
}

/// Asks the kernel. A kernel without seccomp has no actions.
pub fn features() -> Features {
    // The kernel knows WAIT_KILLABLE_RECV only together with a listener.
    let flag_available = |bit| match bit {
        sys::FLAG_WAIT_KILLABLE_RECV => sys::flags_available(bit | sys::FLAG_NEW_LISTENER),
        bit => sys::flags_available(bit),
    };
    let supported = profile::FLAGS.iter().filter(|(_, bit)| flag_available(*bit));
    Features {
        actions: profile::ACTIONS.iter().filter(|(_, action)| sys::action_available(*action)).map(|(name, _)| *name).collect(),
        operators: profile::OPERATORS.iter().map(|(name, _)| *name).collect(),
        archs: arch::NAMES.iter().map(|(name, _)| *name).collect(),
        known_flags: profile::FLAGS.iter().map(|(name, _)| *name).collect(),
        supported_flags: supported.map(|(name, _)| *name).collect(),
    }
}

/// The names of the bits of a filter's flags, the listener's among them.
pub fn flag_names(flags: u32) -> Vec<&'static str> {
    let listener = ("SECCOMP_FILTER_FLAG_NEW_LISTENER", sys::FLAG_NEW_LISTENER);
    profile::FLAGS.iter().chain([&listener]).filter(|(_, bit)| flags & bit != 0).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_names() {
        assert_eq!(flag_names(0), [""; 0]);
        assert_eq!(
            flag_names(sys::FLAG_LOG | sys::FLAG_NEW_LISTENER),
            ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_NEW_LISTENER"]
        );
    }

    #[test]
    fn this_kernel_has_what_the_project_needs() {
        let f = features();
        assert_eq!(f.actions.len(), 9, "{:?}", f.actions);
        assert_eq!(f.operators.len(), 7);
        assert!(f.archs.contains(&"SCMP_ARCH_X32"));
        assert_eq!(f.known_flags, f.supported_flags, "Linux 6.1 has all flags");
        for list in [&f.actions, &f.operators, &f.archs, &f.known_flags] {
            assert!(list.is_sorted());
        }
    }
}
