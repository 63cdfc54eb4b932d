//! Help texts, made from the tables.

use super::args::{Command, Flag};

/// Columns that flags and commands get before their description starts on a line of its own.
const COLUMN: usize = 30;
/// Width that descriptions are wrapped to.
const WIDTH: usize = 100;

/// The overview: `rrun --help`.
pub fn overview(globals: &Command, commands: &[&Command]) -> String {
    let mut out =
        format!("rrun - {}\n\nUsage: rrun [flags] <command> [flags] [arguments]\n\n{}\n\n", globals.summary, globals.about);
    out.push_str("Commands:\n");
    for command in commands.iter().filter(|c| !c.hidden) {
        entry(&mut out, command.name, command.summary);
    }
    flags(&mut out, "Flags", globals);
    examples(&mut out, globals);
    out.push_str("\n`rrun <command> --help` shows a command's flags and examples.\n");
    out
}

/// One command: `rrun delete --help`.
pub fn command(command: &Command) -> String {
    let mut out = format!("rrun {} - {}\n\nUsage: rrun {} [flags]", command.name, command.summary, command.name);
    if !command.operands.is_empty() {
        out.push(' ');
        out.push_str(&super::args::usage(command));
    }
    out.push_str("\n\n");
    if !command.about.is_empty() {
        out.push_str(command.about);
        out.push('\n');
    }
    flags(&mut out, "Flags", command);
    examples(&mut out, command);
    out
}

fn flags(out: &mut String, title: &str, command: &Command) {
    out.push_str(&format!("\n{title}:\n"));
    for flag in command.flags.iter().filter(|f| !f.hidden) {
        entry(out, &spelled(flag), flag.help);
    }
    entry(out, "-h, --help", "show this text");
}

fn spelled(flag: &Flag) -> String {
    let short = flag.short.map_or("    ".to_string(), |s| format!("-{s}, "));
    let value = flag.value_name().map_or(String::new(), |v| format!(" {v}"));
    format!("{short}--{}{value}", flag.long)
}

fn examples(out: &mut String, command: &Command) {
    if command.examples.is_empty() {
        return;
    }
    out.push_str("\nExamples:\n");
    for example in command.examples {
        out.push_str(&format!("  {}\n      {}\n", example.line, example.does));
    }
}

fn entry(out: &mut String, left: &str, right: &str) {
    let mut line = format!("  {left}");
    if line.chars().count() > COLUMN - 2 {
        out.push_str(&line);
        out.push('\n');
        line.clear();
    }
    for word in right.split_whitespace() {
        let used = line.chars().count();
        if used > COLUMN && used + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line.clear();
        }
        let used = line.chars().count();
        line.push_str(&" ".repeat(if used < COLUMN { COLUMN - used } else { 1 }));
        line.push_str(word);
    }
    out.push_str(line.trim_end());
    out.push('\n');
}
