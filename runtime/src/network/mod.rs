//! `linux.netDevices` (config-linux.md#network-devices): devices of the host's, moved into the container's network namespace.
//!
//! A device keeps its permanent addresses of global scope with their flags, and is up afterwards. It is never moved back: when the
//! namespace dies, the kernel returns physical devices to the host and removes virtual ones.

mod netlink;

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rustix::io::Errno;

use crate::error::{Context as _, Error, Result};
use netlink::{Connection, Message};

// linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NEW_IFINDEX: u16 = 49;
// linux/if_addr.h
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_F_PERMANENT: u32 = 0x80;
/// What somebody has set: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN, STABLE_PRIVACY. The others the kernel finds
/// out by itself.
const IFA_F_SETTABLE: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400 | 0x800;

const IFF_UP: u32 = libc::IFF_UP as u32;

/// Moves devices, by their names on the host and inside, into a network namespace.
///
/// The calling process has one thread: it enters that namespace for a moment.
///
/// # Errors
/// A device that is not there, before any is moved; a name that is taken inside; what the kernel refuses.
pub fn move_devices(devices: &[(String, String)], namespace: BorrowedFd<'_>) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let mut host = Connection::open().at("linux.netDevices", || "socket(AF_NETLINK)".into())?;
    let found = devices.iter().map(|(name, _)| find(&mut host, name)).collect::<Result<Vec<_>>>()?;
    let mut inside =
        Connection::open_in(namespace).at("linux.netDevices", || "socket(AF_NETLINK) in the container's namespace".into())?;
    for ((name, new), index) in devices.iter().zip(found) {
        let field = format!("linux.netDevices.{name}");
        let kept = addresses(&mut host, index).at(&field, || "RTM_GETADDR".into())?;
        let index = move_one(&mut host, &mut inside, (name, new), index, namespace)?;
        for address in kept {
            let with_index = Message { head: [&address.head[..4], &index.to_ne_bytes()].concat(), ..address };
            inside.request(with_index, NLM_F_CREATE | NLM_F_EXCL).at(&field, || format!("RTM_NEWADDR({new})"))?;
        }
        let up = Message::link(libc::RTM_NEWLINK, index, IFF_UP, IFF_UP, Vec::new());
        inside.request(up, 0).at(&field, || format!("RTM_NEWLINK({new}, up)"))?;
    }
    Ok(())
}

fn name_attribute(name: &str) -> (u16, Vec<u8>) {
    (IFLA_IFNAME, [name.as_bytes(), b"\0"].concat())
}

/// Index of a device on the host.
fn find(host: &mut Connection, name: &str) -> Result<u32> {
    let field = format!("linux.netDevices.{name}");
    let ask = Message::link(libc::RTM_GETLINK, 0, 0, 0, vec![name_attribute(name)]);
    let answers = match host.request(ask, 0) {
        Err(Errno::NODEV) => return Err(Error::config(field, "there is no such network device on the host")),
        other => other.at(&field, || format!("RTM_GETLINK({name})"))?,
    };
    answers.first().and_then(|a| a.number(4)).ok_or_else(|| Error::failed(field, "the kernel describes it without an index"))
}

/// Requests that would give a device the addresses that it has and that are meant to last.
fn addresses(host: &mut Connection, index: u32) -> Result<Vec<Message>, Errno> {
    let ask = Message { kind: libc::RTM_GETADDR, head: vec![0; 8], attributes: Vec::new() };
    Ok(host.dump(&ask)?.iter().filter(|a| a.number(4) == Some(index)).filter_map(lasting).collect())
}

/// Permanent, and of global scope.
fn lasting(address: &Message) -> Option<Message> {
    let word = address.attribute(IFA_FLAGS).and_then(|v| v.try_into().ok()).map(u32::from_ne_bytes);
    let [family, prefix, short, scope] = *address.head.first_chunk::<4>()?;
    let flags = word.unwrap_or(u32::from(short));
    if flags & IFA_F_PERMANENT == 0 || scope != libc::RT_SCOPE_UNIVERSE {
        return None;
    }
    let keep = [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_RT_PRIORITY];
    let mut attributes: Vec<_> = address.attributes.iter().filter(|(kind, _)| keep.contains(kind)).cloned().collect();
    attributes.push((IFA_FLAGS, (flags & IFA_F_SETTABLE).to_ne_bytes().to_vec()));
    Some(Message { kind: libc::RTM_NEWADDR, head: vec![family, prefix, 0, scope, 0, 0, 0, 0], attributes })
}

/// One request moves and renames, so that its name on the host is in nobody's way inside, and the kernel takes it down for that by
/// itself: where it refuses, the device stays as it was. Gives its index inside.
fn move_one(
    host: &mut Connection,
    inside: &mut Connection,
    (name, new): (&str, &str),
    index: u32,
    namespace: BorrowedFd<'_>,
) -> Result<u32> {
    let field = format!("linux.netDevices.{name}");
    // Asked first: the kernel finds out only after the move, and the device would stay there.
    let taken = Message::link(libc::RTM_GETLINK, 0, 0, 0, vec![name_attribute(new)]);
    match inside.request(taken, 0) {
        Err(Errno::NODEV) => {}
        Ok(_) => {
            let problem = format!(
                "the container's network namespace already has a device {new:?}; a name that ends in %d gets a free number"
            );
            return Err(Error::config(field, problem));
        }
        Err(errno) => return Err(Error::system(field, format!("RTM_GETLINK({new})"), errno)),
    }
    let there = inside.dump(&Message::link(libc::RTM_GETLINK, 0, 0, 0, Vec::new())).at(&field, || "RTM_GETLINK".into())?;
    let taken: Vec<u32> = there.iter().filter_map(|l| l.number(4)).collect();
    // Chosen by us, as the name may be a template (eth%d) whose outcome nobody tells.
    let free = if taken.contains(&index) { taken.iter().max().map_or(1, |last| last + 1) } else { index };
    let attributes = vec![
        name_attribute(new),
        (IFLA_NET_NS_FD, namespace.as_raw_fd().to_ne_bytes().to_vec()),
        (IFLA_NEW_IFINDEX, free.to_ne_bytes().to_vec()),
    ];
    match host.request(Message::link(libc::RTM_NEWLINK, index, 0, 0, attributes), 0) {
        Ok(_) => Ok(free),
        Err(errno) => {
            let error = Error::system(field, format!("RTM_NEWLINK({name} -> {new} in the container's network namespace)"), errno);
            Err(if errno == Errno::INVAL {
                error.hint("this device belongs to its network namespace and cannot be moved")
            } else {
                error
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_permanent_global_addresses_are_kept_with_what_was_set() {
        let address = |flags: u32, scope: u8| Message {
            kind: libc::RTM_NEWADDR,
            head: vec![libc::AF_INET as u8, 24, 0x80, scope, 9, 0, 0, 0],
            attributes: vec![
                (IFA_LOCAL, vec![10, 0, 0, 1]),
                (3, b"eth0:1\0".to_vec()),
                (6, vec![0; 16]),
                (IFA_FLAGS, flags.to_ne_bytes().to_vec()),
            ],
        };
        let kept = lasting(&address(0x80 | 0x200 | 0x01, 0)).unwrap();
        assert_eq!(kept.head, [libc::AF_INET as u8, 24, 0, 0, 0, 0, 0, 0]);
        assert_eq!(kept.attributes, [(IFA_LOCAL, vec![10, 0, 0, 1]), (IFA_FLAGS, 0x200u32.to_ne_bytes().to_vec())]);
        assert_eq!(lasting(&address(0x80, 253)), None, "of the link alone");
        assert_eq!(lasting(&address(0x200, 0)), None, "not permanent");
        let short = Message { attributes: Vec::new(), ..address(0, 0) };
        assert!(lasting(&short).is_some(), "flags in the fixed header, as of old");
    }
}
