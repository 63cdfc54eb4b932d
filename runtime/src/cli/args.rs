//! The command line: flags and commands declared in static tables, and one parser over them.
//!
//! From the same tables come the help texts ([`super::help`]) and the shell completion ([`super::completion`]), so that the
//! three cannot disagree. The conventions are runc's: `--flag value`, `--flag=value`, `-b DIR`, also `-root DIR` with one
//! dash, `--switch=false`; the last of two equal flags counts. Flags may stand behind the first operand, save where the rest
//! belongs to another program (`exec`, `ps`, `kill`); `--` ends the flags.

use crate::error::{Error, Result};

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing, or `=true` / `=false`.
    Switch,
    /// Any text. The name is what help shows; `DIR` and `FILE` guide completion.
    Text(&'static str),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number that fits an i64.
    Number(&'static str),
}

/// One flag of a command.
#[derive(Debug)]
pub struct Flag {
    /// Long name, without dashes.
    pub long: &'static str,
    /// One-letter form.
    pub short: Option<char>,
    /// What it takes.
    pub takes: Takes,
    /// Each occurrence adds a value.
    pub many: bool,
    /// Accepted, but shown neither in help nor in completion.
    pub hidden: bool,
    /// One or two sentences, without a full stop at the end.
    pub help: &'static str,
}

impl Flag {
    const fn new(long: &'static str, takes: Takes, help: &'static str) -> Self {
        Flag { long, short: None, takes, many: false, hidden: false, help }
    }

    /// A flag without a value.
    pub const fn switch(long: &'static str, help: &'static str) -> Self {
        Flag::new(long, Takes::Switch, help)
    }

    /// A flag with a text.
    pub const fn text(long: &'static str, value: &'static str, help: &'static str) -> Self {
        Flag::new(long, Takes::Text(value), help)
    }

    /// A flag with one of a few words.
    pub const fn word(long: &'static str, words: &'static [&'static str], help: &'static str) -> Self {
        Flag::new(long, Takes::Word(words), help)
    }

    /// A flag with a whole number.
    pub const fn number(long: &'static str, value: &'static str, help: &'static str) -> Self {
        Flag::new(long, Takes::Number(value), help)
    }

    /// Gives it a one-letter form.
    pub const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// Lets it be given more than once.
    pub const fn many(mut self) -> Self {
        self.many = true;
        self
    }

    /// Hides it.
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// How help names what it takes.
    pub fn value_name(&self) -> Option<String> {
        match self.takes {
            Takes::Switch => None,
            Takes::Text(name) | Takes::Number(name) => Some(name.to_string()),
            Takes::Word(words) => Some(words.join("|")),
        }
    }
}

/// What the operands of a command are, for the usage line and completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// The id of an existing container.
    Container,
    /// Anything else.
    Other(&'static str),
    /// A bundle's directory.
    Bundle,
    /// The name of a signal.
    Signal,
}

impl Operand {
    /// Its name in the usage line.
    pub const fn name(self) -> &'static str {
        match self {
            Operand::Container => "container-id",
            Operand::Bundle => "bundle",
            Operand::Signal => "signal",
            Operand::Other(name) => name,
        }
    }
}

/// One line of a command's "Examples".
#[derive(Debug)]
pub struct Example {
    /// As typed.
    pub line: &'static str,
    /// What it does.
    pub does: &'static str,
}

/// One command.
#[derive(Debug)]
pub struct Command {
    /// As typed.
    pub name: &'static str,
    /// One line for the overview.
    pub summary: &'static str,
    /// Paragraphs, already wrapped.
    pub about: &'static str,
    /// Its flags; `--help` is added by the parser.
    pub flags: &'static [Flag],
    /// What may follow.
    pub operands: &'static [Operand],
    /// Fewest operands.
    pub least: usize,
    /// Most operands.
    pub most: usize,
    /// Everything behind the first operand is an operand, whatever it looks like.
    pub stops: bool,
    /// Not in the overview.
    pub hidden: bool,
    /// For `--help`.
    pub examples: &'static [Example],
}

impl Command {
    /// An empty command, for `..Command::EMPTY` in the tables.
    pub const EMPTY: Command = Command {
        name: "",
        summary: "",
        about: "",
        flags: &[],
        operands: &[],
        least: 0,
        most: 0,
        stops: false,
        hidden: false,
        examples: &[],
    };

    fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().find(|f| f.long == name || is_short(f, name))
    }
}

fn is_short(flag: &Flag, name: &str) -> bool {
    let mut letters = name.chars();
    flag.short.is_some() && letters.next() == flag.short && letters.next().is_none()
}

/// A parsed command line of one command.
#[derive(Debug, Clone)]
pub struct Args {
    command: &'static Command,
    values: Vec<(&'static str, String)>,
    /// The operands, in order.
    pub operands: Vec<String>,
    /// `--help` was among the flags.
    pub help: bool,
}

impl Args {
    fn values<'a, 'n>(&'a self, long: &'n str) -> impl DoubleEndedIterator<Item = &'a str> + use<'a, 'n> {
        debug_assert!(self.command.flag(long).is_some(), "{}: no flag {long:?} in its table", self.command.name);
        self.values.iter().filter(move |(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    pub fn on(&self, long: &str) -> bool {
        self.values(long).next_back() == Some("true")
    }

    /// Whether a flag was given at all, be it with an empty value.
    pub fn given(&self, long: &str) -> bool {
        self.values(long).next().is_some()
    }

    /// The text of a flag; an empty one counts as absent, as in runc.
    pub fn text(&self, long: &str) -> Option<&str> {
        self.values(long).next_back().filter(|v| !v.is_empty())
    }

    /// The number of a flag.
    pub fn number(&self, long: &str) -> Option<i64> {
        self.values(long).next_back().and_then(|v| v.parse().ok())
    }

    /// All values of a repeatable flag, in order.
    pub fn all<'a, 'n>(&'a self, long: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.values(long)
    }

    /// All values of a repeatable number flag, in order.
    pub fn numbers<'a, 'n>(&'a self, long: &'n str) -> impl Iterator<Item = i64> + use<'a, 'n> {
        self.values(long).filter_map(|v| v.parse().ok())
    }

    /// The first operand; the parser has checked that a command which asks for it has it.
    pub fn first(&self) -> &str {
        self.operands.first().map_or("", String::as_str)
    }

    /// The command these belong to.
    pub fn command(&self) -> &'static Command {
        self.command
    }
}

/// Parses the flags that stand before the command and gives back the rest, which begins with the command's name.
///
/// # Errors
/// [`Error::Config`] names the flag.
pub fn parse_globals(globals: &'static Command, words: &[String]) -> Result<(Args, Vec<String>)> {
    let mut args = parse_flags(globals, None, words)?;
    let rest = std::mem::take(&mut args.operands);
    Ok((args, rest))
}

/// Parses what follows a command's name. `globals` serves to say that a flag stands on the wrong side of the command.
///
/// # Errors
/// [`Error::Config`] names the flag, or says how many operands are wanted.
pub fn parse(command: &'static Command, globals: &'static Command, words: &[String]) -> Result<Args> {
    let args = parse_flags(command, Some(globals), words)?;
    let count = args.operands.len();
    if args.help || (command.least..=command.most).contains(&count) {
        return Ok(args);
    }
    let wanted = match (command.least, command.most) {
        (0, 0) => "no arguments".to_string(),
        (least, most) if least == most => format!("exactly {least} argument{}", plural(least)),
        (least, _) if count < least => format!("at least {least} argument{}", plural(least)),
        (_, most) => format!("at most {most} argument{}", plural(most)),
    };
    let problem = format!("takes {wanted} ({}), not {count}; see rrun {} --help", usage(command), command.name);
    Err(Error::config(command.name, problem))
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// The operands as the usage line shows them: `<container-id> [signal]`.
pub fn usage(command: &Command) -> String {
    let shown: Vec<String> = command
        .operands
        .iter()
        .enumerate()
        .map(|(i, o)| if i < command.least { format!("<{}>", o.name()) } else { format!("[{}]", o.name()) })
        .collect();
    if shown.is_empty() { "none".to_string() } else { shown.join(" ") }
}

fn parse_flags(command: &'static Command, globals: Option<&'static Command>, words: &[String]) -> Result<Args> {
    let mut args = Args { command, values: Vec::new(), operands: Vec::new(), help: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            args.operands.extend(words.cloned());
            return Ok(args);
        }
        let Some(body) = word.strip_prefix('-').filter(|b| !b.is_empty()) else {
            args.operands.push(word.clone());
            // The globals stop at the command's name.
            if command.stops || globals.is_none() {
                args.operands.extend(words.cloned());
                return Ok(args);
            }
            continue;
        };
        let body = body.strip_prefix('-').unwrap_or(body);
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let Some(flag) = command.flag(name) else {
            if name == "help" || name == "h" {
                args.help = true;
                continue;
            }
            return Err(unknown(command, globals, word, name));
        };
        let value = match (flag.takes, inline) {
            (Takes::Switch, None) => "true".to_string(),
            (Takes::Switch, Some(value)) => boolean(flag, value)?.to_string(),
            (_, Some(value)) => value.to_string(),
            (_, None) => {
                let missing = || Error::config(format!("--{}", flag.long), "needs a value");
                words.next().ok_or_else(missing)?.clone()
            }
        };
        check(flag, &value)?;
        args.values.push((flag.long, value));
    }
    Ok(args)
}

/// The spellings of Go's strconv.ParseBool, which callers of runc rely on.
fn boolean(flag: &Flag, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::config(format!("--{}", flag.long), format!("{value:?} is neither true nor false"))),
    }
}

fn check(flag: &Flag, value: &str) -> Result<()> {
    let problem = match flag.takes {
        Takes::Number(_) if value.parse::<i64>().is_err() => format!("{value:?} is not a whole number"),
        Takes::Word(words) if !words.contains(&value) && !value.is_empty() => {
            format!("{value:?} is not one of {}", words.join(", "))
        }
        _ => return Ok(()),
    };
    Err(Error::config(format!("--{}", flag.long), problem))
}

fn unknown(command: &Command, globals: Option<&Command>, word: &str, name: &str) -> Error {
    let word = word.split('=').next().unwrap_or(word);
    let of = if globals.is_some() { format!("rrun {}", command.name) } else { "rrun".to_string() };
    if globals.is_some_and(|g| g.flags.iter().any(|f| f.long == name)) {
        return Error::config(word, format!("is a flag of rrun itself: put it before {}", command.name));
    }
    let names = command.flags.iter().filter(|f| !f.hidden).map(|f| f.long);
    let hint = match nearest(name, names) {
        Some(near) => format!("did you mean --{near}?"),
        None if globals.is_some() => format!("see rrun {} --help", command.name),
        None => "see rrun --help".to_string(),
    };
    Error::config(word, format!("is not a flag of {of}; {hint}"))
}

/// The candidate that a mistyped word most likely stands for.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates.map(|c| (distance(word, c), c)).filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

/// Levenshtein distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    static GLOBALS: Command = Command {
        name: "rrun",
        flags: &[
            Flag::text("root", "DIR", "state"),
            Flag::switch("debug", "more"),
            Flag::word("log-format", &["text", "json"], "form"),
        ],
        ..Command::EMPTY
    };
    static EXEC: Command = Command {
        name: "exec",
        flags: &[
            Flag::text("env", "NAME=VALUE", "environment").short('e').many(),
            Flag::switch("tty", "terminal").short('t'),
            Flag::number("preserve-fds", "N", "descriptors"),
            Flag::switch("secret", "hidden").hidden(),
        ],
        operands: &[Operand::Container, Operand::Other("command")],
        least: 1,
        most: usize::MAX,
        stops: true,
        ..Command::EMPTY
    };
    static DELETE: Command = Command {
        name: "delete",
        flags: &[Flag::switch("force", "force").short('f')],
        operands: &[Operand::Container],
        least: 1,
        most: 1,
        ..Command::EMPTY
    };

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_string).collect()
    }

    fn parsed(command: &'static Command, line: &str) -> Args {
        parse(command, &GLOBALS, &words(line)).unwrap()
    }

    fn refused(command: &'static Command, line: &str) -> String {
        parse(command, &GLOBALS, &words(line)).unwrap_err().to_string()
    }

    #[test]
    fn values_come_behind_a_space_or_an_equals_sign_and_with_one_dash_too() {
        for line in ["--root /x list", "--root=/x list", "-root /x list", "-root=/x list"] {
            let (args, rest) = parse_globals(&GLOBALS, &words(line)).unwrap();
            assert_eq!(args.text("root"), Some("/x"), "{line}");
            assert_eq!(rest, ["list"], "{line}");
        }
        let (args, _) = parse_globals(&GLOBALS, &["--root=/a b=c".to_string()]).unwrap();
        assert_eq!(args.text("root"), Some("/a b=c"));
    }

    #[test]
    fn what_follows_the_container_id_of_exec_belongs_to_the_program() {
        let args = parsed(&EXEC, "-e A=1 --env=B=2 -t box ls -l --tty=false");
        assert_eq!(args.operands, ["box", "ls", "-l", "--tty=false"]);
        assert_eq!(args.all("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert!(args.on("tty"));
        let args = parsed(&EXEC, "-t -- -box ls");
        assert_eq!(args.operands, ["-box", "ls"]);
    }

    #[test]
    fn elsewhere_flags_may_follow_the_operand() {
        let args = parsed(&DELETE, "box --force");
        assert!(args.on("force"));
        assert_eq!(args.first(), "box");
        assert!(!parsed(&DELETE, "-f box --force=false").on("force"), "the last one counts");
        assert!(!parsed(&DELETE, "box").given("force"));
    }

    #[test]
    fn numbers_words_and_booleans_are_checked() {
        assert_eq!(parsed(&EXEC, "--preserve-fds -1 box").number("preserve-fds"), Some(-1));
        assert_eq!(refused(&EXEC, "--preserve-fds x box"), "--preserve-fds: \"x\" is not a whole number");
        assert_eq!(refused(&EXEC, "--tty=maybe box"), "--tty: \"maybe\" is neither true nor false");
        assert_eq!(refused(&EXEC, "--env"), "--env: needs a value");
        let e = parse_globals(&GLOBALS, &words("--log-format xml list")).unwrap_err();
        assert_eq!(e.to_string(), "--log-format: \"xml\" is not one of text, json");
    }

    #[test]
    fn an_unknown_flag_is_named_and_the_nearest_suggested() {
        assert_eq!(refused(&DELETE, "--forse box"), "--forse: is not a flag of rrun delete; did you mean --force?");
        assert_eq!(refused(&DELETE, "--zzz=1 box"), "--zzz: is not a flag of rrun delete; see rrun delete --help");
        assert_eq!(refused(&DELETE, "box --debug"), "--debug: is a flag of rrun itself: put it before delete");
        let e = parse_globals(&GLOBALS, &words("-rot /x list")).unwrap_err();
        assert_eq!(e.to_string(), "-rot: is not a flag of rrun; did you mean --root?");
        assert!(!refused(&EXEC, "--secrey box").contains("--secret?"), "hidden flags are not offered");
        assert!(parsed(&EXEC, "--secret box").on("secret"));
    }

    #[test]
    fn operands_are_counted() {
        assert_eq!(refused(&DELETE, ""), "delete: takes exactly 1 argument (<container-id>), not 0; see rrun delete --help");
        assert!(refused(&DELETE, "a b").contains("not 2"));
        assert!(refused(&EXEC, "").contains("at least 1 argument (<container-id> [command])"));
        assert!(parsed(&DELETE, "--help").help, "help needs no operand");
    }

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("lits", ["exec", "list"].into_iter()), None, "two changes in four letters are too many");
        assert_eq!(nearest("delet", ["delete", "state"].into_iter()), Some("delete"));
        assert_eq!(nearest("qqqq", ["delete", "state"].into_iter()), None);
    }
}
