//! From `linux.seccomp` to a BPF program.
//!
//! What a profile means is what runc and libseccomp make of it (config-linux.md says little):
//! - a name that an architecture lacks is left out there; one that is unknown everywhere is a warning;
//! - an entry whose action is the default's is left out; conditions of an entry are joined by "and", but by "or" when two are on
//!   the same argument; entries for one call by "or", see `order`; an entry without conditions beats those with; of two
//!   entries without, the first counts;
//! - 32-bit ABIs, x32 among them, compare the low 32 bits of argument and value;
//! - socket and IPC calls are also ruled where they come as `socketcall` and `ipc`;
//! - the machine's own architecture is always ruled; calls of one that is not listed end the thread (`SCMP_ACT_KILL`);
//! - unless the default lets calls through, those with numbers above the highest that the profile names for the architecture get
//!   ENOSYS, so that a program sees a kernel of the profile's age and not a refusal ([`Options::enosys`]).
//!
//! Otherwise than there: an errno where none goes is an error, as the specification wants; architectures of other machines may be
//! listed whatever their byte order, their calls cannot come; without x32 in the list all numbers from 2^30 on end the thread,
//! where runc answers ENOSYS from 2^31 on. And where libseccomp 2.5 compares the wrong word (see tests/seccomp-oracle), we do not.
//!
//! The way of it: `profile` checks, `order` sorts the rules of one call, this file turns them into nodes of a `graph` and
//! numbers into ranges, `search` makes the search over those, `emit` writes the program.

mod arch;
mod emit;
mod features;
mod graph;
mod listener;
mod multiplex;
mod names;
mod numbers;
mod order;
mod profile;
mod search;

use std::borrow::Cow;

pub use arch::Arch;
pub use features::{Features, features, flag_names};
pub use listener::send_listener;

use crate::error::{Error, Result};
use crate::spec::seccomp::Seccomp;
pub use crate::sys::seccomp::SockFilter;
use graph::{Facts, Graph, Id, Op, Test, Word};
use profile::{Call, Compare, Condition, Profile, Rule};
use search::Ranges;

/// What to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The instructions, 4096 at most.
    pub filter: Vec<SockFilter>,
    /// Flags of seccomp(2), `SECCOMP_FILTER_FLAG_NEW_LISTENER` among them where `uses_notify`.
    pub flags: u32,
    /// Whether loading it returns a listener, to be sent to `listenerPath` ([`send_listener`]).
    pub uses_notify: bool,
    /// What is suspicious in the profile but no error, one line each.
    pub warnings: Vec<String>,
}

/// What the meaning of a profile depends on besides itself.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The architecture of the kernel.
    pub native: Arch,
    /// ENOSYS for numbers above the highest of the profile, as runc does and libseccomp alone does not.
    pub enosys: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { native: Arch::NATIVE, enosys: true }
    }
}

/// Compiles `linux.seccomp` for this machine.
///
/// # Errors
/// [`Error::Config`] with the field's path: an unknown action, operator, architecture or flag, an errno out of range or where none
/// goes, NOTIFY where it cannot work, contradicting rules, a filter of more than 4096 instructions.
pub fn compile(section: &Seccomp) -> Result<Program> {
    compile_for(section, Options::default())
}

/// Compiles `linux.seccomp`; see [`compile`].
pub fn compile_for(section: &Seccomp, options: Options) -> Result<Program> {
    let profile = profile::parse(section)?;
    let mut graph = Graph::new();
    let root = Compiler { profile: &profile, options, graph: &mut graph, facts: Facts::new() }.architectures()?;
    let filter = emit::emit(&graph, root, options.native.big_endian());
    if filter.len() > emit::MAX_INSTRUCTIONS {
        let problem = format!(
            "a filter of {} instructions; the kernel takes {} at most: use fewer entries with args, or fewer architectures",
            filter.len(),
            emit::MAX_INSTRUCTIONS
        );
        return Err(Error::config("linux.seccomp.syscalls", problem));
    }
    let uses_notify = profile.flags & crate::sys::seccomp::FLAG_NEW_LISTENER != 0;
    Ok(Program { filter, flags: profile.flags, uses_notify, warnings: profile.warnings })
}

/// The number of a system call, as `seccomp_data.nr` has it; none where the architecture lacks it.
pub fn number(name: &str, arch: Arch) -> Option<u32> {
    arch.number(names::lookup(name)?)
}

/// What an architecture does with one number.
struct Point {
    number: u32,
    node: Id,
}

/// One rule for one number.
struct Said {
    number: u32,
    // Among all that is said, in the order of the profile.
    place: usize,
    // Of the profile, or beyond it of the operations of multiplexing calls.
    rule: usize,
    name: u16,
}

struct Compiler<'a> {
    profile: &'a Profile,
    options: Options,
    graph: &'a mut Graph,
    facts: Facts,
}

impl Compiler<'_> {
    /// The whole filter: first the architecture, the machine's own before others.
    fn architectures(&mut self) -> Result<Id> {
        let native = self.options.native;
        let mut listed = vec![native];
        listed.extend(self.profile.architectures.iter().filter(|&&arch| arch != native && native.runs(arch)));

        let mut audits = Vec::with_capacity(listed.len());
        for arch in &listed {
            if !audits.contains(&arch.audit()) {
                audits.push(arch.audit());
            }
        }
        let mut node = self.graph.verdict(profile::RET_KILL_THREAD);
        for &audit in audits.iter().rev() {
            let abis: Vec<Arch> = listed.iter().copied().filter(|arch| arch.audit() == audit).collect();
            let numbers = self.numbers(&abis)?;
            node = self.graph.ask(Test::new(Word::ARCH, Op::Eq, audit), numbers, node, &[]);
        }
        Ok(node)
    }

    /// All numbers of the ABIs that share an `AUDIT_ARCH_*`.
    fn numbers(&mut self, abis: &[Arch]) -> Result<Id> {
        let default = self.graph.verdict(self.profile.default);
        let bad = self.graph.verdict(profile::RET_KILL_THREAD);
        let mut ranges = Ranges::default();
        if abis[0].audit() != Arch::X86_64.audit() {
            self.abi(abis[0], 0, &mut ranges)?;
        } else {
            match abis.contains(&Arch::X86_64) {
                true => self.abi(Arch::X86_64, 0, &mut ranges)?,
                false => ranges.from(0, bad),
            }
            match abis.contains(&Arch::X32) {
                true => self.abi(Arch::X32, arch::X32_BIT, &mut ranges)?,
                false => {
                    ranges.from(arch::X32_BIT, bad);
                    // A tracer's "skip this call", which the kernel then shows to the filter.
                    ranges.from(u32::MAX, default);
                }
            }
        }
        Ok(search::search(self.graph, &ranges))
    }

    /// The numbers of one ABI, from `first` on.
    fn abi(&mut self, arch: Arch, first: u32, ranges: &mut Ranges) -> Result<()> {
        let default = self.graph.verdict(self.profile.default);
        let (points, highest) = self.points(arch)?;
        ranges.from(first, default);
        let lets_through =
            matches!(self.profile.default & 0xffff_0000, profile::RET_ALLOW | profile::RET_LOG | profile::RET_TRACE);
        let highest = highest.filter(|_| self.options.enosys && !lets_through);
        let enosys = self.graph.verdict(profile::RET_ERRNO | libc::ENOSYS as u32);
        for point in points {
            ranges.one(point.number, point.node, default);
        }
        if let Some(highest) = highest {
            if arch == Arch::S390x {
                // Its kernel shows calls whose numbers it does not know as number 0.
                ranges.zero(enosys);
            }
            ranges.from(highest + 1, enosys);
        }
        Ok(())
    }

    /// What the profile says of the numbers of an ABI, in order; the highest number whose name it mentions.
    fn points(&mut self, arch: Arch) -> Result<(Vec<Point>, Option<u32>)> {
        let profile = self.profile;
        let mut said: Vec<Said> = Vec::with_capacity(profile.calls.len() + 32);
        let mut of_operations: Vec<Rule> = Vec::new();
        let mut highest = 0;
        for &Call { name, rules } in &profile.calls {
            let direct = arch.number(name);
            let multiplexed = multiplex::multiplexed(arch, name);
            // libseccomp gives calls that can also be multiplexed no number of their own there, and so runc does not see them.
            highest = direct.filter(|_| multiplexed.is_none()).map_or(highest, |number| number.max(highest));
            for rule in rules.0..rules.1 {
                if let Some((number, operation)) = multiplexed {
                    said.push(Said { number, place: said.len(), rule: profile.rules.len() + of_operations.len(), name });
                    of_operations.push(multiplex::of_operation(&profile.rules[rule], operation));
                }
                if let Some(number) = direct {
                    said.push(Said { number, place: said.len(), rule, name });
                }
            }
        }
        said.sort_unstable_by_key(|said| (said.number, said.place));

        let default = self.graph.verdict(profile.default);
        let mut points = Vec::with_capacity(said.len());
        let mut of_one: Vec<&Rule> = Vec::new();
        for same in said.chunk_by(|a, b| a.number == b.number) {
            of_one.clear();
            of_one.extend(same.iter().map(|said| match said.rule.checked_sub(profile.rules.len()) {
                None => &profile.rules[said.rule],
                Some(i) => &of_operations[i],
            }));
            let node = self.rules(&of_one, arch.wide(), names::at(same[0].name), default)?;
            points.push(Point { number: same[0].number, node });
        }
        Ok((points, (highest != 0).then_some(highest)))
    }

    /// The rules of one number, in the order of the profile.
    fn rules(&mut self, said: &[&Rule], wide: bool, name: &str, default: Id) -> Result<Id> {
        if said[0].conditions.is_empty() {
            return Ok(self.graph.verdict(said[0].action));
        }
        let mut conditional: Vec<Cow<Rule>> = Vec::with_capacity(said.len());
        // What the ABI compares of a condition; one without bits is always met.
        let words = if wide { u64::MAX } else { u32::MAX.into() };
        for &rule in said {
            conditional.push(match wide && rule.conditions.iter().all(|c| c.mask != 0) {
                true => Cow::Borrowed(rule),
                false => {
                    let cut = |c: &Condition| Condition { mask: c.mask & words, value: c.value & words, ..*c };
                    let conditions = rule.conditions.iter().map(cut).filter(|c| c.mask != 0).collect();
                    Cow::Owned(Rule { conditions, ..*rule })
                }
            });
        }
        if let Some(always) = conditional.iter().find(|rule| rule.conditions.is_empty()) {
            return Ok(self.graph.verdict(always.action));
        }
        let conditional: Vec<&Rule> = conditional.iter().map(AsRef::as_ref).collect();
        let ordered = order::ordered(&conditional, wide, name)?;
        let mut node = default;
        for rule in ordered.into_iter().rev() {
            let action = self.graph.verdict(rule.action);
            self.facts.clear();
            node = self.conditions(&rule.conditions, wide, action, node);
        }
        Ok(node)
    }

    /// All of these hold: `met`; otherwise `unmet`.
    fn conditions(&mut self, conditions: &[Condition], wide: bool, met: Id, unmet: Id) -> Id {
        let [first, rest @ ..] = conditions else { return met };
        let known = self.facts.len();
        if matches!(first.compare, Compare::Eq | Compare::MaskedEq) {
            // There is one way only to the rest, so it can rely on this one.
            let (high, low) = equalities(first);
            self.facts.extend([(high, true), (low, true)].into_iter().skip(usize::from(!wide)));
        }
        let met = self.conditions(rest, wide, met, unmet);
        self.facts.truncate(known);
        match first.compare {
            Compare::Eq | Compare::MaskedEq => self.equal(first, wide, met, unmet),
            Compare::Ne => self.equal(first, wide, unmet, met),
            Compare::Ge | Compare::Gt => self.greater(first, wide, met, unmet),
            Compare::Lt | Compare::Le => self.greater(first, wide, unmet, met),
        }
    }

    fn equal(&mut self, c: &Condition, wide: bool, yes: Id, no: Id) -> Id {
        let (high, low) = equalities(c);
        let other_high = self.given(&[(high, false)], no);
        if wide {
            self.facts.push((high, true));
        }
        let (yes, other_low) = (self.given(&[(low, true)], yes), self.given(&[(low, false)], no));
        let node = self.graph.ask(low, yes, other_low, &self.facts);
        if !wide {
            return node;
        }
        self.facts.pop();
        self.graph.ask(high, node, other_high, &self.facts)
    }

    /// Also for LT and LE, which are its opposites.
    fn greater(&mut self, c: &Condition, wide: bool, yes: Id, no: Id) -> Id {
        let op = if matches!(c.compare, Compare::Gt | Compare::Le) { Op::Gt } else { Op::Ge };
        let low = Test::new(Word::low(c.arg), op, c.value as u32);
        if !wide {
            let (yes, no) = (self.given(&[(low, true)], yes), self.given(&[(low, false)], no));
            return self.graph.ask(low, yes, no, &self.facts);
        }
        let above = Test::new(Word::high(c.arg), Op::Gt, (c.value >> 32) as u32);
        let equal = Test { op: Op::Eq, ..above };
        let (yes_above, no_below) = (self.given(&[(above, true)], yes), self.given(&[(above, false), (equal, false)], no));
        self.facts.extend([(above, false), (equal, true)]);
        let (yes, no) = (self.given(&[(low, true)], yes), self.given(&[(low, false)], no));
        let node = self.graph.ask(low, yes, no, &self.facts);
        self.facts.pop();
        let node = self.graph.ask(equal, node, no_below, &self.facts);
        self.facts.pop();
        self.graph.ask(above, yes_above, node, &self.facts)
    }

    /// Where to go on when these are known as well.
    fn given(&mut self, more: &[(Test, bool)], to: Id) -> Id {
        let known = self.facts.len();
        self.facts.extend_from_slice(more);
        let node = self.graph.after(to, &self.facts);
        self.facts.truncate(known);
        node
    }
}

/// The two halves of EQ, NE and MASKED_EQ.
fn equalities(c: &Condition) -> (Test, Test) {
    let high = Test { word: Word::high(c.arg), op: Op::Eq, mask: (c.mask >> 32) as u32, k: (c.value >> 32) as u32 };
    let low = Test { word: Word::low(c.arg), op: Op::Eq, mask: c.mask as u32, k: c.value as u32 };
    (high, low)
}

#[cfg(test)]
mod machine;
#[cfg(test)]
mod tests;
