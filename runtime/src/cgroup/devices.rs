//! Device rules (config-linux.md#allowed-device-list): read, completed with the defaults, and turned into what each
//! hierarchy understands: a program on cgroup2 ([`super::bpf`]), allow and deny lines on v1.
//!
//! The meaning is the same on both: for each access (read, write, mknod) to a device, the last rule that names both
//! decides; where no rule does, access is denied. v1 keeps a default and a list of exceptions to it, so that some lists
//! cannot be said there ("all of major 8, but not 8:0"): those are refused, as runc refuses them.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};
use crate::spec::config::Device;
use crate::spec::resources::DeviceRule;

/// mknod(2), as in BPF_DEVCG_ACC_MKNOD.
pub(crate) const MKNOD: u8 = 1;
/// Reading, as in BPF_DEVCG_ACC_READ.
pub(crate) const READ: u8 = 2;
/// Writing, as in BPF_DEVCG_ACC_WRITE.
pub(crate) const WRITE: u8 = 4;
/// All of them.
pub(crate) const ALL: u8 = MKNOD | READ | WRITE;

/// Character or block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Block,
    Char,
}

/// Which devices a rule names; None: all numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Devices {
    pub kind: Kind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
}

impl Devices {
    /// Every device that `other` names.
    fn covers(&self, other: &Devices) -> bool {
        let wider = |a: Option<u32>, b: Option<u32>| a.is_none() || a == b;
        self.kind == other.kind && wider(self.major, other.major) && wider(self.minor, other.minor)
    }

    /// Some device that `other` names.
    fn meets(&self, other: &Devices) -> bool {
        let common = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && common(self.major, other.major) && common(self.minor, other.minor)
    }
}

impl fmt::Display for Devices {
    /// `c 1:*`, as in devices.allow.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let kind = if self.kind == Kind::Char { 'c' } else { 'b' };
        write!(f, "{kind} {}:{}", number(self.major), number(self.minor))
    }
}

/// A rule, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub allow: bool,
    /// None: both kinds.
    pub kind: Option<Kind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Of [`ALL`]; never 0.
    pub access: u8,
    /// Config field; empty: one of the defaults.
    pub field: String,
}

impl Rule {
    /// Every access to every device.
    pub(crate) fn is_everything(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }

    fn devices(&self) -> impl Iterator<Item = Devices> {
        let kinds = match self.kind {
            Some(Kind::Char) => &[Kind::Char][..],
            Some(Kind::Block) => &[Kind::Block],
            None => &[Kind::Char, Kind::Block],
        };
        kinds.iter().map(|kind| Devices { kind: *kind, major: self.major, minor: self.minor })
    }
}

/// Path of the node (empty: none), kind, major and minor number, access.
type DefaultRule = (&'static str, char, Option<u32>, Option<u32>, u8);

/// Default rules after those of the configuration, as runc has them: what `linux.devices` does not list itself.
const DEFAULTS: [DefaultRule; 11] = [
    // A node that cannot be opened harms nobody, and images are unpacked inside containers.
    ("", 'c', None, None, MKNOD),
    ("", 'b', None, None, MKNOD),
    ("/dev/null", 'c', Some(1), Some(3), ALL),
    ("/dev/random", 'c', Some(1), Some(8), ALL),
    ("/dev/full", 'c', Some(1), Some(7), ALL),
    ("/dev/tty", 'c', Some(5), Some(0), ALL),
    ("/dev/zero", 'c', Some(1), Some(5), ALL),
    ("/dev/urandom", 'c', Some(1), Some(9), ALL),
    // Pseudo-terminals: /dev/pts/N and /dev/ptmx.
    ("", 'c', Some(136), None, ALL),
    ("", 'c', Some(5), Some(2), ALL),
    // /dev/net/tun: what starts containers often cannot give rules of its own.
    ("", 'c', Some(10), Some(200), ALL),
];

/// Reads the rules and adds the defaults for what `listed` (`linux.devices`) does not name.
///
/// # Errors
/// A type, number or access that there is not, by its field.
pub(crate) fn rules(given: &[DeviceRule], listed: &[Device], prefix: &str) -> Result<Vec<Rule>> {
    let mut rules = Vec::with_capacity(given.len() + DEFAULTS.len());
    for (i, rule) in given.iter().enumerate() {
        rules.push(read(rule, format!("{prefix}devices[{i}]"))?);
    }
    for (path, kind, major, minor, access) in DEFAULTS {
        if path.is_empty() || !listed.iter().any(|d| d.path == path) {
            let kind = Some(if kind == 'c' { Kind::Char } else { Kind::Block });
            rules.push(Rule { allow: true, kind, major, minor, access, field: String::new() });
        }
    }
    Ok(rules)
}

fn read(rule: &DeviceRule, field: String) -> Result<Rule> {
    let kind = match rule.kind.as_deref() {
        None | Some("a" | "") => None,
        Some("c") => Some(Kind::Char),
        Some("b") => Some(Kind::Block),
        Some(other) => return Err(Error::config(format!("{field}.type"), format!("{other:?} is none of a, b, c"))),
    };
    let number = |name: &str, n: Option<i64>| match n {
        None | Some(-1) => Ok(None),
        Some(n) => match u32::try_from(n) {
            Ok(n) => Ok(Some(n)),
            Err(_) => Err(Error::config(format!("{field}.{name}"), format!("{n} is no device number (-1 is all)"))),
        },
    };
    let (major, minor) = (number("major", rule.major)?, number("minor", rule.minor)?);
    let mut access = 0;
    for c in rule.access.as_deref().unwrap_or("rwm").chars() {
        access |= match c {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            // Once meant "all" in v1's own type field, and written here by mistake since; runc passes over it, too.
            'a' => 0,
            _ => return Err(Error::config(format!("{field}.access"), format!("{c:?} is none of r, w, m"))),
        };
    }
    if access == 0 {
        return Err(Error::config(format!("{field}.access"), "empty: give any of r, w, m"));
    }
    Ok(Rule { allow: rule.allow, kind, major, minor, access, field })
}

/// What a v1 devices cgroup can hold: a default, and exceptions to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Exceptions {
    pub default_allow: bool,
    pub list: BTreeMap<Devices, u8>,
}

impl Exceptions {
    /// Reduces rules to a default and exceptions.
    ///
    /// # Errors
    /// A rule takes a part out of an earlier, wider one.
    pub(crate) fn new(rules: &[Rule]) -> Result<Self> {
        let mut e = Exceptions::default();
        for rule in rules {
            if rule.is_everything() {
                e = Exceptions { default_allow: rule.allow, list: BTreeMap::new() };
                continue;
            }
            for devices in rule.devices() {
                if rule.allow == e.default_allow {
                    e.take_out(devices, rule)?;
                } else {
                    *e.list.entry(devices).or_default() |= rule.access;
                }
            }
        }
        Ok(e)
    }

    fn take_out(&mut self, devices: Devices, rule: &Rule) -> Result<()> {
        for (there, access) in &mut self.list {
            if devices.covers(there) {
                *access &= !rule.access;
            } else if devices.meets(there) && *access & rule.access != 0 {
                let verb = if rule.allow { "allow" } else { "deny" };
                let field = if rule.field.is_empty() { "the default rules" } else { &rule.field };
                let problem = format!(
                    "cannot {verb} {devices} {}: an earlier rule names {there}, and a v1 devices cgroup can take no part out \
                     of it: name the devices one by one",
                    letters(rule.access)
                );
                return Err(Error::config(field, problem));
            }
        }
        self.list.retain(|_, access| *access != 0);
        Ok(())
    }

    /// From `devices.list`. A cgroup that allows by default does not show its exceptions.
    pub(crate) fn parse(list: &str) -> Option<Self> {
        let mut e = Exceptions::default();
        for line in list.lines() {
            let (numbers, access) = line.rsplit_once(' ')?;
            let (kind, numbers) = numbers.split_once(' ')?;
            let (major, minor) = numbers.split_once(':')?;
            let number = |n: &str| if n == "*" { Some(None) } else { n.parse::<u32>().ok().map(Some) };
            let kind = match kind {
                "a" => return Some(Exceptions { default_allow: true, list: BTreeMap::new() }),
                "b" => Kind::Block,
                "c" => Kind::Char,
                _ => return None,
            };
            let access = access.chars().fold(0, |a, c| {
                a | [(b'r', READ), (b'w', WRITE), (b'm', MKNOD)].iter().find(|p| p.0 as char == c).map_or(0, |p| p.1)
            });
            *e.list.entry(Devices { kind, major: number(major)?, minor: number(minor)? }).or_default() |= access;
        }
        Some(e)
    }

    /// The writes that make `self` of `present`: true is for devices.allow. What is already so is not written, so that
    /// an update does not deny for a moment what stays allowed.
    pub(crate) fn writes_from(&self, present: &Exceptions) -> Vec<(bool, String)> {
        let mut writes = Vec::new();
        let none = BTreeMap::new();
        let mut before = &present.list;
        // What an allowing cgroup denies is not known: start anew.
        if present.default_allow || self.default_allow {
            writes.push((self.default_allow, "a".to_owned()));
            before = &none;
        }
        let of = |list: &BTreeMap<Devices, u8>, d: &Devices| list.get(d).copied().unwrap_or(0);
        for (devices, access) in before {
            let gone = access & !of(&self.list, devices);
            if gone != 0 {
                writes.push((self.default_allow, format!("{devices} {}", letters(gone))));
            }
        }
        for (devices, access) in &self.list {
            let new = access & !of(before, devices);
            if new != 0 {
                writes.push((!self.default_allow, format!("{devices} {}", letters(new))));
            }
        }
        writes
    }
}

/// `rwm`, in that order.
pub(crate) fn letters(access: u8) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].iter().filter(|(bit, _)| access & bit != 0).map(|(_, c)| c).collect()
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
