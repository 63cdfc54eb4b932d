//! Mount options: the words of config.md#linux-mount-options and mount(8) into attributes, propagation and parameters.

use crate::sys::mount::MountAttr;

const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
/// The access time bits are one field with the values relatime (0), noatime and strictatime.
const ATIME: u64 = 0x70;
const RELATIME: u64 = 0x0;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;
/// MOUNT_ATTR_RDONLY of linux/mount.h.
pub const ATTR_RDONLY: u64 = RDONLY;
/// MOUNT_ATTR_IDMAP of linux/mount.h.
pub const ATTR_IDMAP: u64 = 0x10_0000;

/// What one option word does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Sets mount attributes.
    Set(u64),
    /// Clears them.
    Clear(u64),
    /// One value of the access time field.
    Atime(u64),
    /// A flag of the superblock, by its name for fsconfig(2).
    Superblock(&'static str),
    /// Propagation: `MS_*`, recursive or not.
    Propagation(u64, bool),
    Bind(bool),
    Remount,
    CopyUp,
    Idmap(bool),
    Nothing,
}

/// Every known word. `r` in front of an attribute word makes it recursive (config.md#linux-mount-options).
const WORDS: &[(&str, Word)] = &[
    ("async", Word::Superblock("async")),
    ("atime", Word::Atime(RELATIME)),
    ("bind", Word::Bind(false)),
    ("defaults", Word::Nothing),
    ("dev", Word::Clear(NODEV)),
    ("diratime", Word::Clear(NODIRATIME)),
    ("dirsync", Word::Superblock("dirsync")),
    ("exec", Word::Clear(NOEXEC)),
    ("idmap", Word::Idmap(false)),
    ("iversion", Word::Superblock("iversion")),
    ("lazytime", Word::Superblock("lazytime")),
    ("loud", Word::Nothing),
    ("mand", Word::Superblock("mand")),
    ("noatime", Word::Atime(NOATIME)),
    ("nodev", Word::Set(NODEV)),
    ("nodiratime", Word::Set(NODIRATIME)),
    ("noexec", Word::Set(NOEXEC)),
    ("noiversion", Word::Superblock("noiversion")),
    ("nolazytime", Word::Superblock("nolazytime")),
    ("nomand", Word::Superblock("nomand")),
    ("norelatime", Word::Atime(STRICTATIME)),
    ("nostrictatime", Word::Atime(RELATIME)),
    ("nosuid", Word::Set(NOSUID)),
    ("nosymfollow", Word::Set(NOSYMFOLLOW)),
    ("private", Word::Propagation(libc::MS_PRIVATE, false)),
    ("ratime", Word::Atime(RELATIME)),
    ("rbind", Word::Bind(true)),
    ("rdev", Word::Clear(NODEV)),
    ("rdiratime", Word::Clear(NODIRATIME)),
    ("relatime", Word::Atime(RELATIME)),
    ("remount", Word::Remount),
    ("rexec", Word::Clear(NOEXEC)),
    ("ridmap", Word::Idmap(true)),
    ("rnoatime", Word::Atime(NOATIME)),
    ("rnodev", Word::Set(NODEV)),
    ("rnodiratime", Word::Set(NODIRATIME)),
    ("rnoexec", Word::Set(NOEXEC)),
    ("rnorelatime", Word::Atime(STRICTATIME)),
    ("rnostrictatime", Word::Atime(RELATIME)),
    ("rnosuid", Word::Set(NOSUID)),
    ("rnosymfollow", Word::Set(NOSYMFOLLOW)),
    ("ro", Word::Set(RDONLY)),
    ("rprivate", Word::Propagation(libc::MS_PRIVATE, true)),
    ("rrelatime", Word::Atime(RELATIME)),
    ("rro", Word::Set(RDONLY)),
    ("rrw", Word::Clear(RDONLY)),
    ("rshared", Word::Propagation(libc::MS_SHARED, true)),
    ("rslave", Word::Propagation(libc::MS_SLAVE, true)),
    ("rstrictatime", Word::Atime(STRICTATIME)),
    ("rsuid", Word::Clear(NOSUID)),
    ("rsymfollow", Word::Clear(NOSYMFOLLOW)),
    ("runbindable", Word::Propagation(libc::MS_UNBINDABLE, true)),
    ("rw", Word::Clear(RDONLY)),
    ("shared", Word::Propagation(libc::MS_SHARED, false)),
    ("silent", Word::Nothing),
    ("slave", Word::Propagation(libc::MS_SLAVE, false)),
    ("strictatime", Word::Atime(STRICTATIME)),
    ("suid", Word::Clear(NOSUID)),
    ("symfollow", Word::Clear(NOSYMFOLLOW)),
    ("sync", Word::Superblock("sync")),
    ("tmpcopyup", Word::CopyUp),
    ("unbindable", Word::Propagation(libc::MS_UNBINDABLE, false)),
];

/// Attribute words that act on the whole tree. Their plain twins begin with `r` too (`ro`, `rw`, `relatime`): a list, not a prefix.
const RECURSIVE: &[&str] = &[
    "ratime",
    "rdev",
    "rdiratime",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "rrelatime",
    "rro",
    "rrw",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
];

/// The options of one mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Attributes of the mount itself.
    pub attr: MountAttr,
    /// Attributes of the mount and all below it.
    pub recursive: MountAttr,
    /// Propagation changes in order: `MS_*`, recursive.
    pub propagation: Vec<(u64, bool)>,
    /// A bind mount; `Some(true)`: with what is mounted below the source.
    pub bind: Option<bool>,
    /// Change an existing mount.
    pub remount: bool,
    /// Copy what the destination holds into the new tmpfs.
    pub copy_up: bool,
    /// An idmapped mount; `Some(true)`: all of the tree.
    pub idmap: Option<bool>,
    /// Superblock flags, by their fsconfig(2) names.
    pub superblock: Vec<&'static str>,
    /// Parameters of the file system: `size=1k` split at the first `=`.
    pub data: Vec<(String, Option<String>)>,
}

impl Options {
    /// Reads the words in order; a later one wins. Unknown words are parameters of the file system. One entry may hold several,
    /// separated by commas, as mount(8) accepts them.
    pub fn parse(words: &[String]) -> Options {
        let mut options = Options::default();
        // A comma inside of a value cannot be told from a separator; existing runtimes join all words with commas anyway.
        for word in words.iter().flat_map(|w| w.split(',')).filter(|w| !w.is_empty()) {
            options.add(word);
        }
        options
    }

    fn add(&mut self, word: &str) {
        let Ok(at) = WORDS.binary_search_by(|(name, _)| (*name).cmp(word)) else {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (word, None),
            };
            self.data.push((key.to_owned(), value));
            return;
        };
        let recursive = RECURSIVE.contains(&word);
        let attr = if recursive { &mut self.recursive } else { &mut self.attr };
        match WORDS[at].1 {
            Word::Set(bits) => {
                attr.set |= bits;
                attr.clear &= !bits;
            }
            Word::Clear(bits) => {
                attr.clear |= bits;
                attr.set &= !bits;
            }
            Word::Atime(value) => {
                attr.set = attr.set & !ATIME | value;
                attr.clear |= ATIME; // mount_setattr(2): the whole field is cleared to set a value
            }
            Word::Superblock(name) => self.superblock.push(name),
            Word::Propagation(kind, recursive) => self.propagation.push((kind, recursive)),
            Word::Bind(recursive) => self.bind = Some(recursive || self.bind == Some(true)),
            Word::Remount => self.remount = true,
            Word::CopyUp => self.copy_up = true,
            Word::Idmap(recursive) => self.idmap = Some(recursive),
            Word::Nothing => {}
        }
    }

    /// Is it to be read-only?
    pub fn read_only(&self) -> bool {
        (self.attr.set | self.recursive.set) & RDONLY != 0
    }
}

/// Every word that [`Options::parse`] knows, in order, for `rrun features`.
pub fn known() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(word, _)| *word)
}

/// An attribute mask in the words of mount(8), for `rrun explain`.
pub fn attr_words(attr: u64) -> String {
    let mut words = Vec::new();
    let named = [(RDONLY, "ro"), (NOSUID, "nosuid"), (NODEV, "nodev"), (NOEXEC, "noexec"), (NODIRATIME, "nodiratime")];
    words.extend(named.iter().filter(|(bit, _)| attr & bit != 0).map(|(_, word)| *word));
    match attr & ATIME {
        NOATIME => words.push("noatime"),
        STRICTATIME => words.push("strictatime"),
        _ => {}
    }
    if attr & NOSYMFOLLOW != 0 {
        words.push("nosymfollow");
    }
    if attr & ATTR_IDMAP != 0 {
        words.push("idmap");
    }
    words.join(",")
}

/// A propagation type in the words of mount(8).
pub fn propagation_word(kind: u64, recursive: bool) -> &'static str {
    match (kind, recursive) {
        (libc::MS_PRIVATE, false) => "private",
        (libc::MS_PRIVATE, true) => "rprivate",
        (libc::MS_SLAVE, false) => "slave",
        (libc::MS_SLAVE, true) => "rslave",
        (libc::MS_SHARED, false) => "shared",
        (libc::MS_SHARED, true) => "rshared",
        (_, false) => "unbindable",
        (_, true) => "runbindable",
    }
}

/// The propagation that `linux.rootfsPropagation` names, or None for an unknown word.
pub fn propagation(word: &str) -> Option<(u64, bool)> {
    let at = WORDS.binary_search_by(|(name, _)| (*name).cmp(word)).ok()?;
    match WORDS[at].1 {
        Word::Propagation(kind, recursive) => Some((kind, recursive)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Options {
        Options::parse(&words.iter().map(|w| w.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(WORDS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(RECURSIVE.iter().all(|w| WORDS.iter().any(|(name, _)| name == w)));
    }

    #[test]
    fn later_words_win() {
        assert_eq!(parse(&["ro", "rw"]).attr, MountAttr { clear: RDONLY, ..MountAttr::default() });
        assert_eq!(parse(&["rw", "ro"]).attr, MountAttr { set: RDONLY, ..MountAttr::default() });
        let atime = parse(&["noatime", "strictatime"]).attr;
        assert_eq!((atime.set, atime.clear), (STRICTATIME, ATIME));
    }

    #[test]
    fn recursive_words_act_on_the_tree_only() {
        let o = parse(&["rbind", "rro", "nosuid"]);
        assert_eq!((o.attr.set, o.recursive.set, o.bind), (NOSUID, RDONLY, Some(true)));
        let o = parse(&["ro", "relatime"]);
        assert_eq!((o.attr.set, o.recursive.set), (RDONLY, 0));
    }

    #[test]
    fn unknown_words_are_data() {
        let o = parse(&["size=64k", "newinstance", "lowerdir=/a=b,mode=0755"]);
        let data: Vec<_> = o.data.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        assert_eq!(data, [("size", Some("64k")), ("newinstance", None), ("lowerdir", Some("/a=b")), ("mode", Some("0755"))]);
    }

    #[test]
    fn propagation_words() {
        assert_eq!(propagation("rslave"), Some((libc::MS_SLAVE, true)));
        assert_eq!(propagation("ro"), None);
        for word in ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"] {
            let (kind, recursive) = propagation(word).unwrap();
            assert_eq!(propagation_word(kind, recursive), word);
        }
    }
}
