//! `rrun list`.

use super::Globals;
use super::args::{Args, Command, Example, Flag};
use super::state::Shown;
use super::table::table;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::state::StateRoot;

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "list",
    summary: "list the containers under the state root",
    about: "A container whose state cannot be read is left out and warned about.",
    flags: &[
        Flag::word("format", &["table", "json"], "form of the list (default: table)").short('f'),
        Flag::switch("quiet", "print the ids only").short('q'),
    ],
    examples: &[
        Example { line: "rrun list", does: "a table" },
        Example { line: "rrun list --format json", does: "the same for programs" },
        Example { line: "rrun --root /run/other list -q", does: "the ids under another state root" },
    ],
    ..Command::EMPTY
};

/// Prints the list.
///
/// # Errors
/// If the state root cannot be read, or does not exist although it was named.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    let shown = containers(globals)?;
    let text = if args.on("quiet") {
        shown.iter().map(|c| format!("{}\n", c.id)).collect()
    } else if args.text("format") == Some("json") {
        serde_json::to_string(&shown).map_err(|e| Error::failed("list", e.to_string()))? + "\n"
    } else {
        let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_string).to_vec();
        let row = |c: &Shown| {
            let pid = c.pid.to_string();
            vec![c.id.clone(), pid, c.status.to_string(), c.bundle.clone(), c.created.clone(), c.owner.clone()]
        };
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(shown.iter().map(row)).collect();
        table(&rows)
    };
    super::print(&text)?;
    Ok(0)
}

fn containers(globals: &Globals) -> Result<Vec<Shown>> {
    let root = match StateRoot::open(&globals.root)? {
        Some(root) => root,
        // The default root appears with the first container.
        None if !globals.root_given => return Ok(Vec::new()),
        None => return Err(Error::config("--root", format!("{:?} does not exist", globals.root))),
    };
    let mut shown = Vec::new();
    for id in root.list()? {
        match Container::open(&root, &id).and_then(|container| Shown::of(&container)) {
            Ok(one) => shown.push(one),
            // Deleted since the directory was read.
            Err(Error::NotFound { .. }) => {}
            Err(e) => globals.log.warn(&e.to_string()),
        }
    }
    Ok(shown)
}
