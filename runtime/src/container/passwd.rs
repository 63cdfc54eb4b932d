//! HOME from the image's /etc/passwd, for processes whose environment has none (runc's users rely on it).

use std::io::Read;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Larger files are not read (CVE-2026-47262).
const MAX_BYTES: u64 = 10 << 20;

/// The home directory of `uid`, read by descriptor inside of the root. None: no such line, no such file, or not a path that
/// can stand in an environment (CVE-2022-4318).
pub fn home(root: BorrowedFd<'_>, uid: u32) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(root, c"etc/passwd", flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG || stat.st_size as u64 > MAX_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    find(&bytes, uid)
}

fn find(passwd: &[u8], uid: u32) -> Option<String> {
    passwd.split(|b| *b == b'\n').find_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let mut fields = line.split(':');
        let (id, home) = (fields.nth(2)?, fields.nth(2)?);
        // A whole number or nothing: what does not parse must never count as 0 (CVE-2026-30892).
        let matches = id.parse::<u32>().is_ok_and(|id| id == uid);
        (matches && home.starts_with('/') && !home.contains(|c: char| c.is_control())).then(|| home.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_found_by_number_only() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nbad:x:abc:0::/bad:\nuser:x:1000:1000::/home/user:/bin/sh\nrel:x:5:5::rel:/x\nshort:x:7\n";
        assert_eq!(find(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(find(passwd, 1000).as_deref(), Some("/home/user"));
        for uid in [5, 7, 9] {
            assert_eq!(find(passwd, uid), None);
        }
        assert_eq!(find(b"x:x:1:1::/a\tb:/bin/sh\n", 1), None);
    }
}
