//! `rrun completion bash|zsh|fish`: completion scripts, made from the tables.

use super::Globals;
use super::args::{Args, Command, Example, Flag, Operand, Takes};
use crate::error::Result;

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "completion",
    summary: "print a completion script for a shell",
    about: "The script completes commands, flags, their words, bundles and the ids of existing containers.",
    operands: &[Operand::Other("bash|zsh|fish")],
    least: 1,
    most: 1,
    examples: &[
        Example { line: "rrun completion bash > /etc/bash_completion.d/rrun", does: "for every bash of this machine" },
        Example { line: "rrun completion zsh > ~/.zfunc/_rrun", does: "for zsh, with ~/.zfunc in fpath" },
        Example { line: "rrun completion fish > ~/.config/fish/completions/rrun.fish", does: "for fish" },
    ],
    ..Command::EMPTY
};

/// Prints the script.
///
/// # Errors
/// If the shell is none of the three.
pub fn run(_: &Globals, args: &Args) -> Result<i32> {
    let commands: Vec<&Command> = super::commands().filter(|c| !c.hidden).collect();
    let script = match args.first() {
        "bash" => bash(&super::GLOBALS, &commands),
        "zsh" => zsh(&super::GLOBALS, &commands),
        "fish" => fish(&super::GLOBALS, &commands),
        other => return Err(crate::Error::config("completion", format!("{other:?} is not one of bash, zsh, fish"))),
    };
    super::print(&script)?;
    Ok(0)
}

/// What completes a value.
enum Values {
    Files,
    Directories,
    Words(String),
    Nothing,
}

fn values(flag: &Flag) -> Values {
    match flag.takes {
        Takes::Text("DIR") => Values::Directories,
        Takes::Text("FILE" | "FILE|-" | "SOCKET") => Values::Files,
        Takes::Word(words) => Values::Words(words.join(" ")),
        Takes::Switch | Takes::Text(_) | Takes::Number(_) => Values::Nothing,
    }
}

fn visible(command: &Command) -> impl Iterator<Item = &'static Flag> {
    command.flags.iter().filter(|f| !f.hidden)
}

/// All spellings of a flag that takes a value, as bash and zsh patterns: `--bundle|-b`.
fn spellings(flag: &Flag) -> String {
    flag.short.map_or(format!("--{}", flag.long), |s| format!("--{}|-{s}", flag.long))
}

const SIGNALS: &str = "TERM KILL INT HUP QUIT USR1 USR2 STOP CONT WINCH";

fn operand_words(command: &Command) -> (bool, bool, Option<String>) {
    let containers = command.operands.contains(&Operand::Container);
    let bundles = command.operands.contains(&Operand::Bundle);
    let words = command.operands.iter().find_map(|o| match o {
        Operand::Signal => Some(SIGNALS.to_string()),
        Operand::Other(name) if name.contains('|') => Some(name.replace('|', " ")),
        _ => None,
    });
    (containers, bundles, words)
}

fn bash_case(out: &mut String, indent: &str, flag: &Flag) {
    let reply = match values(flag) {
        Values::Files => "COMPREPLY=($(compgen -f -- \"$cur\")); return".to_string(),
        Values::Directories => "COMPREPLY=($(compgen -d -- \"$cur\")); return".to_string(),
        Values::Words(words) => format!("COMPREPLY=($(compgen -W '{words}' -- \"$cur\")); return"),
        Values::Nothing if flag.takes != Takes::Switch => "return".to_string(),
        Values::Nothing => return,
    };
    out.push_str(&format!("{indent}{}) {reply} ;;\n", spellings(flag)));
}

fn bash(globals: &Command, commands: &[&Command]) -> String {
    let names: Vec<&str> = commands.iter().map(|c| c.name).collect();
    let valued: Vec<String> = visible(globals).filter(|f| f.takes != Takes::Switch).map(spellings).collect();
    let mut out = String::from("# bash completion for rrun\n_rrun() {\n");
    out.push_str("    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd= root=() i\n");
    out.push_str("    COMPREPLY=()\n    for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${COMP_WORDS[i]} in\n");
    out.push_str("            --root) root=(--root \"${COMP_WORDS[i+1]}\"); ((i++)) ;;\n");
    out.push_str(&format!("            {}) ((i++)) ;;\n            -*) ;;\n", valued.join("|")));
    out.push_str("            *) cmd=${COMP_WORDS[i]}; break ;;\n        esac\n    done\n    case $cmd in\n");
    out.push_str("        '')\n            case $prev in\n");
    for flag in visible(globals) {
        bash_case(&mut out, "                ", flag);
    }
    out.push_str("            esac\n");
    out.push_str(&format!(
        "            COMPREPLY=($(compgen -W '{} {}' -- \"$cur\")) ;;\n",
        names.join(" "),
        long_flags(globals)
    ));
    for command in commands {
        out.push_str(&format!("        {})\n            case $prev in\n", command.name));
        for flag in visible(command) {
            bash_case(&mut out, "                ", flag);
        }
        out.push_str("            esac\n            if [[ $cur == -* ]]; then\n");
        out.push_str(&format!("                COMPREPLY=($(compgen -W '{}' -- \"$cur\"))\n", long_flags(command)));
        let (containers, bundles, words) = operand_words(command);
        if containers || bundles || words.is_some() {
            out.push_str("            else\n                COMPREPLY=(");
            if containers {
                out.push_str("$(compgen -W \"$(rrun \"${root[@]}\" list --quiet 2>/dev/null)\" -- \"$cur\") ");
            }
            if bundles {
                out.push_str("$(compgen -d -- \"$cur\") ");
            }
            if let Some(words) = words {
                out.push_str(&format!("$(compgen -W '{words}' -- \"$cur\") "));
            }
            out.push_str(")\n");
        }
        out.push_str("            fi ;;\n");
    }
    out.push_str("    esac\n}\ncomplete -o filenames -F _rrun rrun\n");
    out
}

fn long_flags(command: &Command) -> String {
    let mut flags: Vec<String> = visible(command).map(|f| format!("--{}", f.long)).collect();
    flags.push("--help".to_string());
    flags.join(" ")
}

/// Text inside zsh's single-quoted `[...]` descriptions.
fn zsh_text(text: &str) -> String {
    text.replace('\'', "'\\''").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:")
}

fn zsh_flag(flag: &Flag) -> String {
    let action = match values(flag) {
        Values::Files => ":file:_files".to_string(),
        Values::Directories => ":directory:_files -/".to_string(),
        Values::Words(words) => format!(":word:({words})"),
        Values::Nothing if flag.takes == Takes::Switch => String::new(),
        Values::Nothing => ":value: ".to_string(),
    };
    let star = if flag.many { "*" } else { "" };
    let equals = if flag.takes == Takes::Switch { "" } else { "=" };
    let help = zsh_text(flag.help);
    let long = format!("'{star}--{}{equals}[{help}]{action}'", flag.long);
    flag.short.map_or(long.clone(), |s| format!("'{star}-{s}[{help}]{action}' {long}"))
}

fn zsh(globals: &Command, commands: &[&Command]) -> String {
    let mut out = String::from("#compdef rrun\n_rrun_containers() {\n");
    out.push_str("    local -a ids\n    ids=(${(f)\"$(rrun ${opt_args[--root]:+--root} ${opt_args[--root]} list --quiet 2>/dev/null)\"})\n");
    out.push_str(
        "    _describe container ids\n}\n_rrun() {\n    local curcontext=$curcontext state line\n    typeset -A opt_args\n",
    );
    out.push_str("    _arguments -C \\\n");
    for flag in visible(globals) {
        out.push_str(&format!("        {} \\\n", zsh_flag(flag)));
    }
    out.push_str("        '--help[show help]' '1:command:->command' '*::argument:->argument'\n");
    out.push_str("    case $state in\n        command)\n            local -a commands\n            commands=(\n");
    for command in commands {
        out.push_str(&format!("                '{}:{}'\n", command.name, zsh_text(command.summary)));
    }
    out.push_str("            )\n            _describe command commands ;;\n        argument)\n            case $words[1] in\n");
    for command in commands {
        out.push_str(&format!("                {})\n                    _arguments", command.name));
        for flag in visible(command) {
            out.push_str(&format!(" \\\n                        {}", zsh_flag(flag)));
        }
        out.push_str(" \\\n                        '--help[show help]'");
        for (i, operand) in command.operands.iter().enumerate() {
            let action = match operand {
                Operand::Container => "_rrun_containers".to_string(),
                Operand::Bundle => "_files -/".to_string(),
                Operand::Signal => format!("({SIGNALS})"),
                Operand::Other(name) if name.contains('|') => format!("({})", name.replace('|', " ")),
                Operand::Other(_) => " ".to_string(),
            };
            out.push_str(&format!(" \\\n                        '{}:{}:{action}'", i + 1, zsh_text(operand.name())));
        }
        out.push_str(" ;;\n");
    }
    out.push_str("            esac ;;\n    esac\n}\n_rrun \"$@\"\n");
    out
}

fn fish_flag(condition: &str, flag: &Flag) -> String {
    let short = flag.short.map_or(String::new(), |s| format!(" -s {s}"));
    let takes = match values(flag) {
        Values::Files => " -r -F".to_string(),
        Values::Directories => " -x -a '(__fish_complete_directories)'".to_string(),
        Values::Words(words) => format!(" -x -a '{words}'"),
        Values::Nothing if flag.takes == Takes::Switch => String::new(),
        Values::Nothing => " -x".to_string(),
    };
    let help = flag.help.replace('\\', "\\\\").replace('\'', "\\'");
    format!("complete -c rrun -n '{condition}'{short} -l {}{takes} -d '{help}'\n", flag.long)
}

fn fish(globals: &Command, commands: &[&Command]) -> String {
    let names: Vec<&str> = commands.iter().map(|c| c.name).collect();
    let first = format!("not __fish_seen_subcommand_from {}", names.join(" "));
    let mut out = String::from("# fish completion for rrun\ncomplete -c rrun -f\n");
    for flag in visible(globals) {
        out.push_str(&fish_flag(&first, flag));
    }
    for command in commands {
        let summary = command.summary.replace('\'', "\\'");
        out.push_str(&format!("complete -c rrun -n '{first}' -a {} -d '{summary}'\n", command.name));
    }
    for command in commands {
        let condition = format!("__fish_seen_subcommand_from {}", command.name);
        for flag in visible(command) {
            out.push_str(&fish_flag(&condition, flag));
        }
        let (containers, bundles, words) = operand_words(command);
        if containers {
            out.push_str(&format!("complete -c rrun -n '{condition}' -a '(rrun list --quiet 2>/dev/null)'\n"));
        }
        if bundles {
            out.push_str(&format!("complete -c rrun -n '{condition}' -a '(__fish_complete_directories)'\n"));
        }
        if let Some(words) = words {
            out.push_str(&format!("complete -c rrun -n '{condition}' -a '{words}'\n"));
        }
    }
    out
}
