//! The bundle's `config.json`: the types of the file, and reading it with errors that name line, field and expectation.

pub mod config;
pub mod resources;
pub mod seccomp;

use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;

use crate::error::{Context as _, Error, Result};
pub use config::Config;
pub use resources::Resources;

/// Larger files are refused: nobody writes 16 MiB of configuration by intent.
const MAX_BYTES: u64 = 16 << 20;

impl Config {
    /// Reads `config.json` of a bundle.
    ///
    /// # Errors
    /// The file is absent, not a regular file, too large, or not what the specification says; then line, column and field.
    pub fn read(bundle: &Path) -> Result<Config> {
        let path = bundle.join("config.json");
        let text = read_bounded(&path, "bundle")?;
        parse(&text, &path.display().to_string())
    }
}

/// Reads a whole file or pipe of bounded size: what a flag names, `/dev/fd/63` among it.
///
/// # Errors
/// It cannot be opened or read, or has more than 16 MiB.
pub fn read_flag(path: &Path, flag: &str) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).at(flag, || format!("open({path:?})"))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).at(flag, || format!("read({path:?})"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::config(flag, format!("{path:?} has more than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Reads a whole regular file of bounded size.
///
/// # Errors
/// It cannot be opened, is no regular file, or is larger than 16 MiB.
pub fn read_bounded(path: &Path, field: &str) -> Result<Vec<u8>> {
    use std::io::Read;
    // O_NONBLOCK: a FIFO in its place must not hang us.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).at(field, || format!("open({path:?})"))?;
    let stat = rustix::fs::fstat(&fd).at(field, || format!("fstat({path:?})"))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Error::config(field, format!("{path:?} is not a regular file")));
    }
    if stat.st_size as u64 > MAX_BYTES {
        return Err(Error::config(field, format!("{path:?} has {} bytes; {MAX_BYTES} are allowed", stat.st_size)));
    }
    let mut bytes = Vec::with_capacity(stat.st_size as usize + 1);
    std::fs::File::from(fd).take(MAX_BYTES + 1).read_to_end(&mut bytes).at(field, || format!("read({path:?})"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::config(field, format!("{path:?} grows while it is read")));
    }
    Ok(bytes)
}

/// Parses JSON; on failure once more, slower, to say where.
///
/// # Errors
/// Names the file, the field, what was expected, line and column.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], file: &str) -> Result<T> {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Ok(_) => return Err(Error::config(file, "there is something after the end of the JSON value")),
        Err(error) => error,
    };
    let path = error.path().to_string();
    let field = if path == "." { file.to_owned() } else { format!("{file}: {path}") };
    Err(Error::config(field, error.inner().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        parse::<Config>(json.as_bytes(), "config.json").unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_field_is_named_with_its_line_and_expectation() {
        let e = error("{\n \"ociVersion\": \"1.0.2\",\n \"process\": {\"args\": [\"a\", 5]}\n}");
        assert_eq!(e, "config.json: process.args[1]: invalid type: integer `5`, expected a string at line 3 column 28");
        let e = error(r#"{"ociVersion":"1.0.2","linux":{"resources":{"memory":{"limit":18446744073709551615}}}}"#);
        assert!(e.starts_with("config.json: linux.resources.memory.limit: invalid value"), "{e}");
        let e = error(r#"{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"net"}]}}"#);
        assert!(e.contains("linux.namespaces[0].type") && e.contains("expected one of"), "{e}");
    }

    #[test]
    fn broken_json_says_where() {
        assert_eq!(error("{\"ociVersion\": "), "config.json: ociVersion: EOF while parsing a value at line 1 column 15");
        assert!(error("").contains("EOF while parsing"));
        assert!(error("{} x").contains("trailing characters") || error("{} x").contains("missing field"));
    }

    #[test]
    fn unknown_fields_and_nulls_are_ignored() {
        let config: Config = parse(br#"{"ociVersion":"1.0.2","vm":{"x":1},"mounts":null,"process":{"args":["a"],"cwd":"/","env":null,"commandLine":"x"}}"#, "f").unwrap();
        assert!(config.mounts.is_empty());
        assert_eq!(config.process.unwrap().args, ["a"]);
    }
}
