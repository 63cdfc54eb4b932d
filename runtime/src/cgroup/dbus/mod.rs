//! A D-Bus client, as much of one as the systemd driver needs: a blocking connection to the system bus, method calls,
//! and the signals that come meanwhile (D-Bus specification 0.43, "Message Protocol").
//!
//! Our own, because the crates bring threads (zbus) or second versions of crates that we have (rustbus: nix, syn,
//! thiserror, bitflags), and the wire format is this small. Nothing of it runs unless `--systemd-cgroup` is given.

mod wire;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use wire::{ERROR, METHOD_CALL, METHOD_RETURN, Reader, SIGNAL, marshal, pad, parse};
pub(crate) use wire::{Message, Value};

use crate::error::{Context, Error, Result};

const STEP: &str = "systemd";
/// Where the system bus listens (the specification's default address).
pub(crate) const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// Longest message that is read; the bus itself allows 128 MiB, answers to us are small.
const LONGEST: usize = 1 << 20;
/// Most signals kept while a reply is awaited.
const MOST_SIGNALS: usize = 1024;

/// Why a call failed: the bus' or the service's own error.
#[derive(Debug, Clone)]
pub(crate) struct CallError {
    /// `org.freedesktop.systemd1.UnitExists`.
    pub(crate) name: String,
    /// In words.
    pub(crate) text: String,
}

/// A connection to the system bus.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: UnixStream,
    serial: u32,
    end: Instant,
    /// Bytes read and not yet used.
    buffer: Vec<u8>,
    signals: Vec<Message>,
}

/// A method of an object of a service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method<'a> {
    pub(crate) service: &'a str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) name: &'a str,
}

impl Connection {
    /// Connects and says hello; everything on this connection together may take `timeout`.
    ///
    /// # Errors
    /// No bus, or it does not take us.
    pub(crate) fn open(path: &str, timeout: Duration) -> Result<Self> {
        let socket = UnixStream::connect(path)
            .at(STEP, || format!("connect({path:?})"))
            .map_err(|e| e.hint("--systemd-cgroup needs systemd and its D-Bus system bus"))?;
        let mut c = Connection { socket, serial: 0, end: Instant::now() + timeout, buffer: Vec::new(), signals: Vec::new() };
        // The kernel tells the bus who we are (SO_PEERCRED); the uid is repeated in hexadecimal letters. Sent in one piece
        // with the greeting, without waiting for the answer in between.
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|b| format!("{b:02x}")).collect();
        c.write(format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").as_bytes())?;
        let hello = c.send(bus("Hello"), &[])?;
        let line = c.line()?;
        if !line.starts_with("OK") {
            return Err(Error::failed(STEP, format!("{path}: the bus refuses us: {line}")));
        }
        c.reply(hello)?.map_err(|e| e.at("Hello"))?;
        Ok(c)
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// Outer: the connection. Inner: the service's answer.
    pub(crate) fn call(&mut self, method: Method<'_>, arguments: &[Value]) -> Result<Result<Vec<Value>, CallError>> {
        let serial = self.send(method, arguments)?;
        self.reply(serial)
    }

    /// Asks for signals that match `rule`.
    ///
    /// # Errors
    /// As for [`Connection::call`].
    pub(crate) fn add_match(&mut self, rule: &str) -> Result<()> {
        self.call(bus("AddMatch"), &[Value::str(rule)])?.map(drop).map_err(|e| e.at("AddMatch"))
    }

    /// Waits for the first signal for which `wanted` has an answer, those that came before included.
    ///
    /// # Errors
    /// The time is over, or the connection is.
    pub(crate) fn signal<T>(&mut self, wanted: impl Fn(&Message) -> Option<T>) -> Result<T> {
        if let Some(found) = self.signals.drain(..).find_map(|m| wanted(&m)) {
            return Ok(found);
        }
        loop {
            let message = self.receive()?;
            if message.kind == SIGNAL
                && let Some(found) = wanted(&message)
            {
                return Ok(found);
            }
        }
    }

    fn send(&mut self, m: Method<'_>, arguments: &[Value]) -> Result<u32> {
        self.serial += 1;
        let mut body = Vec::new();
        arguments.iter().for_each(|a| marshal(a, &mut body));
        let field = |code, value: Value| Value::Struct(vec![Value::Byte(code), value.variant()]);
        let mut fields = vec![
            field(1, Value::Path(m.path.into())),
            field(2, Value::str(m.interface)),
            field(3, Value::str(m.name)),
            field(6, Value::str(m.service)),
        ];
        if !arguments.is_empty() {
            fields.push(field(8, Value::Signature(arguments.iter().map(Value::signature).collect())));
        }
        let mut out = vec![b'l', METHOD_CALL, 0, 1];
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(self.serial.to_le_bytes());
        marshal(&Value::Array("(yv)".into(), fields), &mut out);
        pad(&mut out, 8);
        out.extend(body);
        self.write(&out)?;
        Ok(self.serial)
    }

    fn reply(&mut self, serial: u32) -> Result<Result<Vec<Value>, CallError>> {
        loop {
            let message = self.receive()?;
            match message.kind {
                METHOD_RETURN if message.reply_to == serial => return Ok(Ok(message.body)),
                ERROR if message.reply_to == serial => {
                    let text = message.body.first().and_then(Value::as_str).unwrap_or_default().to_owned();
                    return Ok(Err(CallError { name: message.error, text }));
                }
                SIGNAL if self.signals.len() < MOST_SIGNALS => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// The next message, of whatever kind.
    fn receive(&mut self) -> Result<Message> {
        self.fill(16)?;
        let head = Reader { bytes: &self.buffer, at: 4 }.u32().zip(Reader { bytes: &self.buffer, at: 12 }.u32());
        let bad = || Error::failed(STEP, "the bus sent a message that is not well-formed");
        let (body, fields) = head.ok_or_else(bad)?;
        if self.buffer[0] != b'l' || body as usize > LONGEST || fields as usize > LONGEST {
            return Err(bad());
        }
        let start = (16 + fields as usize).next_multiple_of(8);
        let total = start + body as usize;
        self.fill(total)?;
        let message = parse(&self.buffer[..total], start).ok_or_else(bad)?;
        self.buffer.drain(..total);
        Ok(message)
    }

    /// Reads until `n` bytes are buffered.
    fn fill(&mut self, n: usize) -> Result<()> {
        let mut chunk = [0u8; 4096];
        while self.buffer.len() < n {
            let left = self.left()?;
            self.socket.set_read_timeout(Some(left)).at(STEP, || "setsockopt(SO_RCVTIMEO)".into())?;
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(Error::failed(STEP, "the bus closed the connection")),
                Ok(n) => self.buffer.extend(&chunk[..n]),
                // Interrupted, or the time is over: left() decides.
                Err(e) if matches!(e.kind(), std::io::ErrorKind::Interrupted | std::io::ErrorKind::WouldBlock) => {}
                Err(e) => return Err(e).at(STEP, || "read(bus)".into()),
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).take(at).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.buffer.len() > 4096 {
                return Err(Error::failed(STEP, "the bus sent an endless line"));
            }
            self.fill(self.buffer.len() + 1)?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.left()?;
        self.socket.set_write_timeout(Some(left)).at(STEP, || "setsockopt(SO_SNDTIMEO)".into())?;
        self.socket.write_all(bytes).at(STEP, || "write(bus)".into())
    }

    fn left(&self) -> Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Error::failed(STEP, "no answer over D-Bus in time")) } else { Ok(left) }
    }
}

impl CallError {
    /// As our error; `call` names what was asked.
    pub(crate) fn at(self, call: &str) -> Error {
        Error::failed(STEP, format!("{call}: {} ({})", self.text, self.name))
    }
}

/// A method of the bus itself.
fn bus(name: &str) -> Method<'_> {
    Method { service: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus", name }
}
