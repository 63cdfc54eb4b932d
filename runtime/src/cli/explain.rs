//! `rrun explain`: the Plan in words, in the order in which `create`, `start` and `delete` would carry it out.

use std::path::Path;

use serde::Serialize;

use super::Globals;
use super::args::{Args, Command, Example, Flag, Operand};
use super::globals::absolute;
use super::table::table;
use crate::container::{Prepared, Wishes, prepare};
use crate::error::{Error, Result};
use crate::fingerprint::fingerprint;
use crate::plan::{Filter, Op, Program};
use crate::seccomp::{self, SockFilter};
use crate::spec::Config;
use crate::spec::config::{Hook, Hooks};
use crate::state::id;

/// The table of this command.
pub static COMMAND: Command = Command {
    name: "explain",
    summary: "print step by step what running a bundle would do",
    about: "Nothing is run or changed. Each line says who does it (parent: the command create or run; init: the process\n\
            that becomes the program; start; delete), which field of config.json asks for it, and what is done.",
    flags: &[
        Flag::word("format", &["table", "json"], "form of the list (default: table)").short('f'),
        Flag::text("name", "ID", "id of the container (default: the name of the bundle's directory)"),
        Flag::switch("no-pivot", "as in `rrun run`"),
        Flag::switch("no-new-keyring", "as in `rrun run`"),
    ],
    operands: &[Operand::Bundle],
    least: 1,
    most: 1,
    examples: &[
        Example { line: "rrun explain bundle/", does: "namespaces, mounts, limits and filters, in their order" },
        Example { line: "rrun explain --format json bundle/", does: "the same for programs" },
    ],
    ..Command::EMPTY
};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Counts from 1.
    pub n: usize,
    /// `parent`, `init`, `start` or `delete`.
    pub who: &'static str,
    /// Field of config.json, or the stage.
    pub field: String,
    /// What is done.
    pub what: String,
}

/// Prints the steps; warnings go to the log, as `run` sends them there.
///
/// # Errors
/// Those that `run` would give before it makes anything.
pub fn run(globals: &Globals, args: &Args) -> Result<i32> {
    let (bundle, name) = bundle_and_id(args.first(), args.text("name"))?;
    let wishes = Wishes {
        systemd: globals.systemd_cgroup,
        no_pivot: args.on("no-pivot"),
        no_new_keyring: args.on("no-new-keyring"),
        ..Wishes::default()
    };
    let prepared = prepare(Config::read(&bundle)?, &bundle, &name, &wishes)?;
    prepared.plan.warnings.iter().for_each(|w| globals.log.warn(w));
    let lines = lines(&prepared, &globals.root);
    let text = if args.text("format") == Some("json") {
        serde_json::to_string(&lines).map_err(|e| Error::failed("explain", e.to_string()))? + "\n"
    } else {
        let head = ["STEP", "WHO", "FIELD", "WHAT"].map(str::to_string).to_vec();
        let row = |l: &Line| vec![l.n.to_string(), l.who.to_owned(), l.field.clone(), l.what.clone()];
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(lines.iter().map(row)).collect();
        table(&rows)
    };
    super::print(&text)?;
    Ok(0)
}

/// The bundle's absolute path, and an id that stays the same from call to call: `--name`, or the directory's name.
pub(super) fn bundle_and_id(bundle: &str, name: Option<&str>) -> Result<(std::path::PathBuf, String)> {
    let bundle = absolute(Path::new(bundle))?;
    if let Some(name) = name {
        id::check(name)?;
        return Ok((bundle, name.to_owned()));
    }
    let directory = bundle.file_name().and_then(|n| n.to_str()).filter(|n| id::check(n).is_ok());
    let name = directory.unwrap_or("container").to_owned();
    Ok((bundle, name))
}

/// All steps of a container's life.
pub fn lines(prepared: &Prepared, root: &Path) -> Vec<Line> {
    let mut out = Lines::default();
    let plan = &prepared.plan;
    let none = Hooks::default();
    let hooks = prepared.config.hooks.as_ref().unwrap_or(&none);

    out.add(
        "parent",
        "create",
        format!("make {} for the container's state, with config.json", root.join(&prepared.id).display()),
    );
    // systemd makes a scope for a process that exists.
    let systemd = prepared.cgroup.cgroup().unit.is_some();
    if !systemd {
        out.cgroup(prepared);
    }
    for (field, what) in plan.steps_before_clone() {
        out.add("parent", &field, what);
    }
    if systemd {
        out.cgroup(prepared);
    } else if !prepared.cgroup.complete_at_clone() {
        out.add("parent", "linux.cgroupsPath", "put init into its cgroup where clone3 did not".into());
    }
    for step in &plan.init.steps {
        out.add("init", &step.field, words(&step.op, prepared));
        match &step.op {
            Op::WaitForParent => {
                for (field, what) in plan.duty_steps() {
                    out.add("parent", &field, what);
                }
                out.hooks("parent", "prestart", &hooks.prestart, "in our namespaces");
                out.hooks("parent", "createRuntime", &hooks.create_runtime, "in our namespaces");
            }
            Op::WaitForHooks => out.hooks("parent", "createContainer", &hooks.create_container, "in the container's namespaces"),
            Op::WaitForStart => out.hooks("start", "startContainer", &hooks.start_container, "as exec would run it"),
            Op::Execute => out.program(&plan.init.program),
            _ => {}
        }
    }
    out.hooks("start", "poststart", &hooks.poststart, "in our namespaces");
    out.hooks("delete", "poststop", &hooks.poststop, "in our namespaces");
    out.0
}

/// A step of init in words, with what only the whole Plan knows.
fn words(op: &Op, prepared: &Prepared) -> String {
    let plan = &prepared.plan;
    match op {
        Op::Mount(mount) => match mount.fallback.and_then(|i| plan.trees.get(i)) {
            Some(tree) => format!("{op}; where the kernel refuses that: bind {}", tree.path.display()),
            None => op.to_string(),
        },
        Op::Seccomp => {
            plan.init.filter.as_ref().map_or_else(|| op.to_string(), |filter| format!("{op}: {}", filter_words(filter)))
        }
        _ => op.to_string(),
    }
}

/// Size, fingerprint (to tell two filters of one size apart), flags and listener.
fn filter_words(filter: &Filter) -> String {
    let word = |i: &SockFilter| u64::from(i.code) << 48 | u64::from(i.jt) << 40 | u64::from(i.jf) << 32 | u64::from(i.k);
    let hash = fingerprint(filter.filter.iter().map(word));
    let mut text = format!("{} instructions, fingerprint {hash:016x}", filter.filter.len());
    for flag in seccomp::flag_names(filter.flags) {
        text.push_str(&format!(", {flag}"));
    }
    if let Some((path, metadata)) = &filter.listener {
        text.push_str(&format!(", listener to {path} with {metadata:?}"));
    }
    text
}

#[derive(Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn add(&mut self, who: &'static str, field: &str, what: String) {
        self.0.push(Line { n: self.0.len() + 1, who, field: field.to_owned(), what });
    }

    fn cgroup(&mut self, prepared: &Prepared) {
        for line in prepared.cgroup.to_string().lines() {
            let (what, field) = line.split_once("  # ").unwrap_or((line, "linux.cgroupsPath"));
            self.add("parent", field, what.trim().to_owned());
        }
    }

    fn hooks(&mut self, who: &'static str, kind: &str, hooks: &[Hook], place: &str) {
        for (i, hook) in hooks.iter().enumerate() {
            let mut what = format!("run {}", hook.path);
            if !hook.args.is_empty() {
                what.push_str(&format!(" with {:?}", hook.args));
            }
            if !hook.env.is_empty() {
                what.push_str(&format!(" environment {:?}", hook.env));
            }
            what.push_str(&format!(" {place}"));
            what.push_str(&hook.timeout.map_or_else(String::new, |s| format!(", for {s} s at most")));
            self.add(who, &format!("hooks.{kind}[{i}]"), what);
        }
    }

    fn program(&mut self, program: &Program) {
        let text = |c: &std::ffi::CString| c.to_string_lossy().into_owned();
        let candidates: Vec<String> = program.candidates.iter().map(text).collect();
        self.add("init", "process.args[0]", format!("the program: {}", candidates.join(", or ")));
        let args: Vec<String> = program.argv.strings().iter().map(text).collect();
        self.add("init", "process.args", format!("its arguments: {args:?}"));
        for variable in program.envp.strings() {
            self.add("init", "process.env", format!("its environment: {}", text(variable)));
        }
    }
}
