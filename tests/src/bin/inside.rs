//! A small static program that tests copy into a container, for what busybox cannot do.
//!
//!     inside notify LINE...     sends the lines to the datagram socket in NOTIFY_SOCKET
//!     inside write PATH TEXT    opens the file for writing without making it, writes, and says what happened
//!     inside read PATH          opens the file and prints how much was read, or the error

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::net::UnixDatagram;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["notify", lines @ ..] => std::env::var("NOTIFY_SOCKET")
            .map_err(std::io::Error::other)
            .and_then(|path| UnixDatagram::unbound()?.send_to(lines.join("\n").as_bytes(), path))
            .map(|_| "sent".to_owned()),
        ["write", path, text] => OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut f| f.write_all(text.as_bytes()))
            .map(|()| "written".to_owned()),
        ["read", path] => fs::read(path).map(|bytes| format!("{} bytes", bytes.len())),
        _ => Err(std::io::Error::other("usage: inside notify|write|read ...")),
    };
    match result {
        Ok(said) => println!("{said}"),
        Err(e) => println!("error: {e}"),
    }
}
