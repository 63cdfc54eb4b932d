//! Requests to rtnetlink(7), one after the other. The framing is netlink-packet-core's: lengths written by hand have been a hole before
//! (CVE-2021-43784).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator,
};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::sys::clone::setns;

/// Larger than any part of a dump that the kernel makes (32 KiB).
const LARGEST: usize = 64 * 1024;
/// The dump was disturbed by a change (linux/netlink.h).
const NLM_F_DUMP_INTR: u16 = 0x10;
/// How often a dump is begun again that was interrupted by a change.
const ATTEMPTS: usize = 16;

/// A request or an answer: type, the fixed header of its kind, attributes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// RTM_*.
    pub(super) kind: u16,
    /// `struct ifinfomsg` or `struct ifaddrmsg`.
    pub(super) head: Vec<u8>,
    /// Type and value.
    pub(super) attributes: Vec<(u16, Vec<u8>)>,
}

impl Message {
    /// One of link: `flags` are changed where `change` says so.
    pub(super) fn link(kind: u16, index: u32, flags: u32, change: u32, attributes: Vec<(u16, Vec<u8>)>) -> Message {
        let mut head = vec![0; 4];
        head.extend([index, flags, change].iter().flat_map(|n| n.to_ne_bytes()));
        Message { kind, head, attributes }
    }

    /// A number of the fixed header.
    pub(super) fn number(&self, at: usize) -> Option<u32> {
        self.head.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
    }

    /// The value of an attribute.
    pub(super) fn attribute(&self, kind: u16) -> Option<&[u8]> {
        self.attributes.iter().find(|(k, _)| *k == kind).map(|(_, value)| &value[..])
    }

    fn nlas(&self) -> impl Iterator<Item = DefaultNla> {
        self.attributes.iter().map(|(kind, value)| DefaultNla::new(*kind, value.clone()))
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.head.len() + self.nlas().map(|nla| nla.buffer_len()).sum::<usize>()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (head, mut rest) = buffer.split_at_mut(self.head.len());
        head.copy_from_slice(&self.head);
        for nla in self.nlas() {
            let (this, others) = rest.split_at_mut(nla.buffer_len());
            nla.emit(this);
            rest = others;
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Message, DecodeError> {
        let length = if header.message_type == libc::RTM_NEWADDR { 8 } else { 16 };
        if payload.len() < length {
            return Err(DecodeError::buffer_too_small(payload.len(), length));
        }
        let attributes = NlasIterator::new(&payload[length..]).map(|nla| nla.map(|nla| (nla.kind(), nla.value().to_vec())));
        Ok(Message {
            kind: header.message_type,
            head: payload[..length].to_vec(),
            attributes: attributes.collect::<Result<_, _>>()?,
        })
    }
}

/// A socket in one network namespace.
pub(super) struct Connection {
    socket: OwnedFd,
    sequence: u32,
}

impl Connection {
    /// In our own namespace.
    pub(super) fn open() -> Result<Connection, Errno> {
        // NETLINK_ROUTE is protocol 0.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Connection { socket, sequence: 0 })
    }

    /// In another one. A socket belongs for ever to the namespace that it was made in, so this process goes there for that one call.
    pub(super) fn open_in(namespace: BorrowedFd<'_>) -> Result<Connection, Errno> {
        let own = rustix::fs::open(c"/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
        setns(namespace, libc::CLONE_NEWNET as u64)?;
        let connection = Connection::open();
        setns(own.as_fd(), libc::CLONE_NEWNET as u64)?;
        connection
    }

    /// Asks for something to be done, or for one object.
    pub(super) fn request(&mut self, message: Message, flags: u16) -> Result<Vec<Message>, Errno> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags).map(|(answers, _)| answers)
    }

    /// Asks for all objects of a kind.
    pub(super) fn dump(&mut self, message: &Message) -> Result<Vec<Message>, Errno> {
        for _ in 0..ATTEMPTS {
            let (answers, interrupted) = self.exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            if !interrupted {
                return Ok(answers);
            }
        }
        Err(Errno::AGAIN)
    }

    fn exchange(&mut self, message: Message, flags: u16) -> Result<(Vec<Message>, bool), Errno> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;

        let (mut answers, mut interrupted) = (Vec::new(), false);
        let mut room = vec![0; LARGEST];
        loop {
            let (length, actual) =
                rustix::io::retry_on_intr(|| rustix::net::recv(&self.socket, &mut room[..], RecvFlags::TRUNC))?;
            if actual > length {
                return Err(Errno::MSGSIZE);
            }
            let mut rest = &room[..length];
            while !rest.is_empty() {
                let answer = NetlinkMessage::<Message>::deserialize(rest).map_err(|_| Errno::BADMSG)?;
                let (header, payload) = answer.into_parts();
                let whole = (header.length as usize).next_multiple_of(4).max(16);
                rest = rest.get(whole..).unwrap_or_default();
                if header.sequence_number != self.sequence {
                    continue;
                }
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok((answers, interrupted)),
                        Some(code) => return Err(Errno::from_raw_os_error(code.get().saturating_neg())),
                    },
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(Errno::from_raw_os_error(done.code.saturating_neg()));
                    }
                    NetlinkPayload::Done(_) => return Ok((answers, interrupted)),
                    NetlinkPayload::Overrun(_) => return Err(Errno::NOBUFS),
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_framing() {
        let message = Message::link(libc::RTM_NEWLINK, 7, 1, 1, vec![(3, b"eth0\0".to_vec()), (28, 5u32.to_ne_bytes().to_vec())]);
        let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message.clone()));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        // 16 of the header, 16 of ifinfomsg, attributes padded to four.
        assert_eq!(bytes.len(), 16 + 16 + 12 + 8);
        let NetlinkPayload::InnerMessage(read) = NetlinkMessage::<Message>::deserialize(&bytes).unwrap().payload else {
            panic!()
        };
        assert_eq!(read, message);
        assert_eq!((read.number(4), read.attribute(3)), (Some(7), Some(&b"eth0\0"[..])));
        assert!(NetlinkMessage::<Message>::deserialize(&bytes[..40]).is_err(), "cut short");
    }

    #[test]
    fn the_kernel_answers() {
        let mut connection = Connection::open().unwrap();
        let all = connection.dump(&Message::link(libc::RTM_GETLINK, 0, 0, 0, Vec::new())).unwrap();
        assert!(all.iter().any(|m| m.attribute(3) == Some(b"lo\0")), "{all:?}");
        let missing = Message::link(libc::RTM_GETLINK, 0, 0, 0, vec![(3, b"rrun-nowhere\0".to_vec())]);
        assert_eq!(connection.request(missing, 0), Err(Errno::NODEV));
    }
}
