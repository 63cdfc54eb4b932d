//! `rrun check`.

use super::Globals;
use super::args::{Args, Command, Example, Flag, Operand};
use super::explain::bundle_and_id;
use super::table::table;
use crate::check::{self, Finding, Verdict};
use crate::container::Wishes;
use crate::error::{Error, Result};

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "check",
    summary: "say what is wrong with a bundle, and what this host cannot do of it",
    about: "Nothing is run or changed. The exit code is 0 if `rrun run` could carry the bundle out here.\n\
            Verdicts: ok; warning (it runs, but not quite as asked, or is not sure); impossible (on this host); wrong.",
    flags: &[
        Flag::word("format", &["table", "json"], "form of the list (default: table)").short('f'),
        Flag::switch("quiet", "leave out what is ok").short('q'),
        Flag::text("name", "ID", "id that the container would get (default: the name of the bundle's directory)"),
    ],
    operands: &[Operand::Bundle],
    least: 1,
    most: 1,
    examples: &[
        Example { line: "rrun check bundle/", does: "before the first run" },
        Example { line: "rrun check --quiet --format json bundle/", does: "what stands in the way, for programs" },
    ],
    ..Command::EMPTY
};

/// Prints the findings.
///
/// # Errors
/// There is no bundle.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    let (bundle, name) = bundle_and_id(args.first(), args.text("name"))?;
    let wishes = Wishes { systemd: globals.systemd_cgroup, ..Wishes::default() };
    let mut findings = check::bundle(&bundle, &name, &wishes)?;
    let passes = check::passes(&findings);
    let summary = summary(&findings);
    if args.on("quiet") {
        findings.retain(|f| f.verdict != Verdict::Ok);
    }
    let text = if args.text("format") == Some("json") {
        serde_json::to_string(&findings).map_err(|e| Error::failed("check", e.to_string()))? + "\n"
    } else {
        let head = ["FIELD", "VERDICT", "TEXT"].map(str::to_string).to_vec();
        let row = |f: &Finding| vec![f.field.clone(), f.verdict.word().to_owned(), f.text.clone()];
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(findings.iter().map(row)).collect();
        format!("{}{summary}\n", table(&rows))
    };
    super::print(&text)?;
    Ok(i32::from(!passes))
}

fn summary(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count();
    let (wrong, impossible, warnings) = (count(Verdict::Wrong), count(Verdict::Impossible), count(Verdict::Warning));
    let can = if wrong + impossible == 0 { "rrun run can carry this out here" } else { "rrun run would refuse this" };
    format!("{can}: {wrong} wrong, {impossible} impossible, {warnings} warnings")
}
