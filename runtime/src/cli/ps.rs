//! `rrun ps`.

use std::process::Command as Program;

use super::Globals;
use super::args::{Args, Command, Example, Flag, Operand};
use crate::container::Container;
use crate::error::{Error, Result, words};

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "ps",
    summary: "list the processes of a container",
    about: "The table comes from ps(1), which is given what follows the container's id (default: -ef); it has to print\n\
            a PID column. JSON is the list of the processes' numbers on the host, and needs no ps.",
    flags: &[Flag::word("format", &["table", "json"], "form of the list (default: table)").short('f')],
    operands: &[Operand::Container, Operand::Other("ps-argument...")],
    least: 1,
    most: usize::MAX,
    stops: true,
    examples: &[
        Example { line: "rrun ps web", does: "as ps -ef" },
        Example { line: "rrun ps web -o pid,rss,args", does: "with other columns" },
        Example { line: "rrun ps --format json web", does: "for programs" },
    ],
    ..Command::EMPTY
};

/// Prints the list.
///
/// # Errors
/// If there is no such container, or ps fails.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    let pids = Container::load(&globals.root, args.first())?.processes()?;
    if args.text("format") == Some("json") {
        let text = serde_json::to_string(&pids).map_err(|e| Error::failed("ps", e.to_string()))? + "\n";
        super::print(&text)?;
        return Ok(0);
    }
    let given = args.operands.get(1..).filter(|given| !given.is_empty());
    let given = given.map_or_else(|| vec!["-ef".to_string()], <[String]>::to_vec);
    let output = Program::new("ps").args(&given).output();
    let output = output.map_err(|e| {
        let errno = rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO);
        Error::failed("ps", format!("exec(\"ps\"): {} (install procps, or use --format json)", words(errno)))
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::failed("ps", format!("ps {}: {}: {}", given.join(" "), output.status, text.trim())));
    }
    super::print(&only(&String::from_utf8_lossy(&output.stdout), &pids)?)?;
    Ok(0)
}

/// The heading, and those lines whose PID is among `pids`.
fn only(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Error::config("ps", "its output has no PID column; add pid to -o"))?;
    let mut out = format!("{heading}\n");
    for line in lines.filter(|l| !l.trim().is_empty()) {
        let field = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: i32 = field.parse().map_err(|_| Error::failed("ps", format!("{field:?} in its PID column is no number")))?;
        if pids.contains(&pid) {
            out.push_str(line);
            out.push('\n');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_their_pid() {
        let table = "UID   PID  PPID CMD\nroot    1     0 init 7\nroot    7     1 sh\n\nroot   17     7 sleep 7\n";
        assert_eq!(only(table, &[7]).unwrap(), "UID   PID  PPID CMD\nroot    7     1 sh\n");
        assert_eq!(only(table, &[]).unwrap(), "UID   PID  PPID CMD\n");
        assert!(only("CMD\nsh\n", &[1]).unwrap_err().to_string().contains("no PID column"));
        assert!(only("CMD PID\na b 1\n", &[1]).unwrap_err().to_string().contains("\"b\" in its PID column"));
    }
}
