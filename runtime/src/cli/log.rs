//! Errors, warnings and debug lines: for people one line on stderr, for callers a log file in the form that runc writes
//! (logrus text or JSON), whose last error containerd and podman read.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use serde::Serialize;

use crate::error::{Context, Result};
use crate::state::time::Timestamp;

/// Where lines go.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: &'a str,
}

impl Log {
    /// Opens the log. Without `path` everything goes to stderr.
    ///
    /// # Errors
    /// If the file can be neither opened nor made.
    pub fn open(path: Option<&str>, json: bool, debug: bool) -> Result<Log> {
        let file = match path {
            Some(path) => {
                let opened = OpenOptions::new().create(true).append(true).mode(0o644).open(path);
                Some(opened.at("--log", || format!("open({path:?})"))?)
            }
            None => None,
        };
        Ok(Log { file, json, debug })
    }

    /// An error: to the log file and to stderr.
    pub fn error(&self, text: &str) {
        self.file_line("error", text);
        self.stderr_line("error", "", text);
    }

    /// A warning: to the log file, and to stderr only if there is none, so that callers which take stderr for the error
    /// find nothing else there.
    pub fn warn(&self, text: &str) {
        self.quiet_line("warning", "warning: ", text);
    }

    /// A line of `--debug`; the text is built only if it is wanted.
    pub fn debug(&self, text: impl FnOnce() -> String) {
        if self.debug {
            let text = text();
            if self.file.is_some() {
                self.file_line("debug", &text);
            } else {
                // In the form of a log file: it is for whoever reads logs.
                let _ = std::io::stderr().write_all(render(self.json, "debug", &text, &Timestamp::now().seconds()).as_bytes());
            }
        }
    }

    /// Whether `--debug` is on.
    pub fn debugs(&self) -> bool {
        self.debug
    }

    fn quiet_line(&self, level: &str, prefix: &str, text: &str) {
        if self.file.is_some() {
            self.file_line(level, text);
        } else {
            self.stderr_line(level, prefix, text);
        }
    }

    fn file_line(&self, level: &str, text: &str) {
        if let Some(mut file) = self.file.as_ref() {
            let line = render(self.json, level, text, &Timestamp::now().seconds());
            // There is nowhere left to report a failing log to but stderr, which gets every error anyway.
            let _ = file.write_all(line.as_bytes());
        }
    }

    fn stderr_line(&self, level: &str, prefix: &str, text: &str) {
        let line = if self.json && self.file.is_none() {
            render(true, level, text, &Timestamp::now().seconds())
        } else {
            format!("rrun: {prefix}{}\n", one_line(text))
        };
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// A line in logrus' form, with its newline: one write, so that lines of concurrent processes do not mix.
fn render(json: bool, level: &str, msg: &str, time: &str) -> String {
    if json {
        let mut line = serde_json::to_string(&Line { level, msg, time }).unwrap_or_default();
        line.push('\n');
        return line;
    }
    format!("time=\"{time}\" level={level} msg={}\n", quoted(msg))
}

/// As Go's strconv.Quote does, which logrus uses in its text form.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Control bytes out of paths and ids must not forge a second line on a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_form_of_logrus() {
        let t = "2026-11-21T07:23:58Z";
        assert_eq!(
            render(true, "error", "a \"b\"\nc", t),
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\\nc\",\"time\":\"2026-11-21T07:23:58Z\"}\n"
        );
        assert_eq!(
            render(false, "error", "a \"b\"\nc\u{1b}", t),
            "time=\"2026-11-21T07:23:58Z\" level=error msg=\"a \\\"b\\\"\\nc\\u001b\"\n"
        );
        assert_eq!(one_line("a\nb\u{1b}[2J"), "a b [2J");
    }

    #[test]
    fn the_file_is_appended_to_and_debug_lines_come_only_when_asked_for() {
        let path = std::env::temp_dir().join(format!("rrun-log-{}", std::process::id()));
        let name = path.to_str().unwrap();
        Log::open(Some(name), true, false).unwrap().warn("first");
        let log = Log::open(Some(name), true, true).unwrap();
        log.debug(|| "second".to_string());
        Log::open(Some(name), true, false).unwrap().debug(|| unreachable!("built although nobody reads it"));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0]["level"].as_str(), lines[0]["msg"].as_str()), (Some("warning"), Some("first")));
        assert_eq!((lines[1]["level"].as_str(), lines[1]["msg"].as_str()), (Some("debug"), Some("second")));
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error_naming_it() {
        let e = Log::open(Some("/nonexistent/dir/log"), false, false).unwrap_err();
        assert_eq!(e.to_string(), "--log: open(\"/nonexistent/dir/log\"): no such file or directory");
    }
}
