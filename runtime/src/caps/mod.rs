//! Capability sets: names into bit masks (capabilities(7)).

use std::str::FromStr;

use crate::spec::config::Capabilities;

/// The five sets as bit masks; bit n is capability number n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// Bounding set.
    pub bounding: u64,
    /// Effective set.
    pub effective: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Inheritable set.
    pub inheritable: u64,
    /// Ambient set.
    pub ambient: u64,
}

/// The bit of a capability; the name with or without `CAP_`, in any case.
pub fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    caps::Capability::from_str(&full).ok().map(|c| 1 << c.index())
}

/// Names of the capabilities in a mask, by number.
pub fn names(mask: u64) -> Vec<String> {
    let mut all: Vec<_> = caps::all().into_iter().filter(|c| mask & (1 << c.index()) != 0).collect();
    all.sort_by_key(|c| c.index());
    all.into_iter().map(|c| c.to_string()).collect()
}

/// Reads `process.capabilities`. What is unknown, or not in `grantable`, is left out with a warning: the specification says that
/// a runtime must log it and should not fail (config.md#linux-process).
pub fn sets(asked: &Capabilities, grantable: u64, warnings: &mut Vec<String>) -> Sets {
    let mut mask = |field: &str, names: &[String]| {
        names.iter().fold(0, |mask, name| match bit(name) {
            Some(bit) if grantable & bit != 0 => mask | bit,
            Some(_) => {
                warnings.push(format!("process.capabilities.{field}: {name} cannot be granted here: rrun itself lacks it"));
                mask
            }
            None => {
                warnings.push(format!("process.capabilities.{field}: unknown capability {name:?} ignored"));
                mask
            }
        })
    };
    Sets {
        bounding: mask("bounding", &asked.bounding),
        effective: mask("effective", &asked.effective),
        permitted: mask("permitted", &asked.permitted),
        inheritable: mask("inheritable", &asked.inheritable),
        ambient: mask("ambient", &asked.ambient),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits() {
        assert_eq!(bit("CAP_CHOWN"), Some(1));
        assert_eq!(bit("net_admin"), Some(1 << 12));
        assert_eq!(bit("CAP_NO_SUCH"), None);
        assert_eq!(names(1 | 1 << 21), ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
    }

    #[test]
    fn what_cannot_be_granted_is_left_out_with_a_warning() {
        let asked = Capabilities { effective: vec!["CAP_CHOWN".into(), "CAP_KILL".into(), "CAP_X".into()], ..Default::default() };
        let mut warnings = Vec::new();
        let sets = sets(&asked, 1, &mut warnings);
        assert_eq!(sets.effective, 1);
        assert_eq!(warnings.len(), 2);
        assert!(warnings[1].contains("CAP_X"));
    }
}
