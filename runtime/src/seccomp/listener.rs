//! Handing the listener of a filter with SCMP_ACT_NOTIFY to the seccomp agent (config-linux.md#containerprocessstate).

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send,
    sendmsg, socket_with, sockopt,
};
use serde::Serialize;

use crate::error::{Context, Error, Result};

/// How long an agent may leave its socket unread.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the agent is sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a, S> {
    oci_version: &'static str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a S,
}

/// Connects to the agent at `linux.seccomp.listenerPath` and sends it one container process state with the listener. `pid` is the
/// process that is under the filter, `state` the container's state (runtime.md#state): `creating` for its first process, `running`
/// for an exec.
///
/// # Errors
/// [`Error::System`] where the socket cannot be reached or the agent does not read for ten seconds.
pub fn send_listener(
    listener_path: &str,
    listener_metadata: &str,
    oci_version: &'static str,
    pid: i32,
    state: &impl Serialize,
    listener: BorrowedFd<'_>,
) -> Result<()> {
    const FIELD: &str = "linux.seccomp.listenerPath";
    let state = ContainerProcessState { oci_version, fds: ["seccompFd"], pid, metadata: listener_metadata, state };
    let text = serde_json::to_vec(&state).map_err(|e| Error::failed(FIELD, format!("container process state: {e}")))?;

    let what = || format!("connect({listener_path:?})");
    let address = SocketAddrUnix::new(listener_path).at(FIELD, what)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).at(FIELD, || "socket(AF_UNIX)".into())?;
    // Bounds connect(2) as well, which waits while the agent's queue is full.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))
        .at(FIELD, || "setsockopt(SO_SNDTIMEO)".into())?;
    connect(&socket, &address).at(FIELD, what).map_err(|e| e.hint("is the seccomp agent running?"))?;

    let what = || format!("sendmsg({listener_path:?}, {} bytes, seccompFd)", text.len());
    let descriptors = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Error::failed(FIELD, "no room for the descriptor"));
    }
    let sent = sendmsg(&socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL).at(FIELD, what)?;
    // A stream may take a part; the descriptor went with the first.
    let mut rest = &text[sent..];
    while !rest.is_empty() {
        let sent = send(&socket, rest, SendFlags::NOSIGNAL).at(FIELD, what)?;
        rest = &rest[sent..];
    }
    Ok(())
}
