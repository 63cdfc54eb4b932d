//! `rrun check`: what is wrong with a bundle, and what this host cannot do of it, without running it.
//!
//! Two halves. [`peel`] asks the code that `run` itself would ask ([`crate::container::prepare`]), again and again, each time with
//! what it refused taken out: so every refusal is found, in its own words, and no second set of rules can drift from the first.
//! What is left can be prepared, and [`host`], [`mounts`] and the cgroup's outlook ask the kernel for what only it knows: sources,
//! file systems, namespaces, controllers, programs. Nothing that is made for that outlives the call.

mod files;
mod host;
mod mounts;
mod peel;

use std::path::Path;

use serde::Serialize;

use crate::container::{Prepared, Wishes};
use crate::error::{Error, Kind, Result};
use crate::spec::read_bounded;
use peel::Peeler;

/// What is said of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It will be done.
    Ok,
    /// It will be done in part, or may fail.
    Warning,
    /// The bundle is right, and this host cannot do it.
    Impossible,
    /// The bundle is wrong.
    Wrong,
}

impl Verdict {
    /// As in the table.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Impossible => "impossible",
            Verdict::Wrong => "wrong",
        }
    }
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Field of config.json, or `host`.
    pub field: String,
    /// Verdict.
    pub verdict: Verdict,
    /// Why, or what will be done.
    pub text: String,
}

impl Finding {
    /// Of an error: a wrong field is wrong, anything else is beyond this host, but for files that are not there.
    fn of(error: &Error) -> Finding {
        use rustix::io::Errno;
        let text = error.to_string();
        let (field, verdict) = match error {
            Error::Config { field, .. } => (field.clone(), Verdict::Wrong),
            Error::Unsupported { what, .. } => (what.clone(), Verdict::Impossible),
            Error::System { step, errno, .. } => {
                let absent = matches!(*errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL);
                (step.clone(), if absent { Verdict::Wrong } else { Verdict::Impossible })
            }
            Error::Failed { step, .. } => (step.clone(), Verdict::Impossible),
            Error::Hook { hook, .. } => (hook.clone(), Verdict::Wrong),
            Error::CommandNotFound { .. } | Error::CommandNotExecutable { .. } => ("process.args[0]".to_owned(), Verdict::Wrong),
            // Not of a check.
            Error::NotFound { .. } | Error::AlreadyExists { .. } | Error::WrongState { .. } | Error::Reported { .. } => {
                (String::new(), Verdict::Impossible)
            }
        };
        let rest = text.strip_prefix(&field).map_or(&*text, |rest| rest.trim_start_matches(": "));
        let rest = rest.strip_prefix("not supported: ").filter(|_| error.kind() == Kind::Unsupported).unwrap_or(rest);
        Finding { text: rest.to_owned(), field, verdict }
    }
}

/// Collects findings.
#[derive(Debug, Default)]
struct Report(Vec<Finding>);

impl Report {
    fn add(&mut self, field: impl Into<String>, verdict: Verdict, text: impl Into<String>) {
        self.0.push(Finding { field: field.into(), verdict, text: text.into() });
    }

    /// What a check of one thing gave: good news, or an error.
    fn outcome(&mut self, field: &str, outcome: Result<String>) {
        match outcome {
            Ok(text) => self.add(field, Verdict::Ok, text),
            Err(error) => self.0.push(Finding { field: field.to_owned(), ..Finding::of(&error) }),
        }
    }
}

/// Everything that can be said of a bundle here, in the order of config.json as far as it has one.
///
/// # Errors
/// There is no config.json to be read at all.
pub fn bundle(bundle: &Path, id: &str, wishes: &Wishes) -> Result<Vec<Finding>> {
    let path = bundle.join("config.json");
    let bytes = read_bounded(&path, "bundle")?;
    let mut report = Report::default();
    let facts = crate::plan::Facts::gather();
    host::machine(&mut report, &facts);
    let mut peeler = match Peeler::new(&bytes) {
        Ok(peeler) => peeler,
        Err(finding) => {
            report.0.push(finding);
            return Ok(report.0);
        }
    };
    let prepared = peeler.run(bundle, id, wishes);
    let refused = peeler.take_findings();
    if let Some(prepared) = prepared {
        let mut found = Report::default();
        whole(&mut found, &prepared, &facts);
        for finding in &mut found.0 {
            finding.field = peeler.original(&finding.field);
        }
        // A good word for what was refused before would be about what took its place.
        found.0.retain(|f| f.verdict != Verdict::Ok || !refused.iter().any(|r| about_the_same(&r.field, &f.field)));
        report.0.extend(refused);
        report.0.append(&mut found.0);
    } else {
        report.0.extend(refused);
    }
    Ok(report.0)
}

/// Checks of a bundle that can be prepared.
fn whole(report: &mut Report, prepared: &Prepared, facts: &crate::plan::Facts) {
    for warning in &prepared.plan.warnings {
        let (field, text) = warning.split_once(": ").unwrap_or(("config.json", warning));
        report.add(field, Verdict::Warning, text);
    }
    files::root_and_program(report, prepared);
    host::process(report, &prepared.config, prepared, facts);
    mounts::check(report, prepared);
    host::linux(report, &prepared.config, prepared);
    for (field, outcome) in prepared.cgroup.outlook() {
        report.outcome(&field, outcome);
    }
    files::hooks(report, prepared);
}

/// Is one field the other, or a part of it?
fn about_the_same(a: &str, b: &str) -> bool {
    let path = |f: &str| f.split(" (").next().unwrap_or_default().to_owned();
    let (a, b) = (path(a), path(b));
    let part_of =
        |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    part_of(&a, &b) || part_of(&b, &a)
}

/// Could `run` carry the bundle out?
pub fn passes(findings: &[Finding]) -> bool {
    findings.iter().all(|f| f.verdict <= Verdict::Warning)
}
