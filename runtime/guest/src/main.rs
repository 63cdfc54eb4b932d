//! Prints what a process sees from inside a container: who it is, its namespaces, mounts, capabilities, seccomp mode, cgroup limits, network.
//!
//!     guest [--format table|json]
//!
//! It is the program of the bundle that `make run` makes: static, with nothing else in its root file system. Whatever the container does not
//! show (no /proc, no cgroup mount) is said to be unknown; it never fails for that.

mod report;
mod view;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let json = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["--format", "table"] | ["--format=table"] => false,
        ["--format", "json"] | ["--format=json"] => true,
        _ => {
            eprintln!("usage: guest [--format table|json]");
            return ExitCode::from(2);
        }
    };
    let view = view::everything();
    let text = if json { view.to_json() } else { view.to_table() };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
