//! Which rule of a system call goes first where several have conditions.
//!
//! With equal actions the order does not matter: a call is decided when any rule matches. Otherwise it is libseccomp's, which
//! keeps the rules of a call as a tree of comparisons. Siblings are ordered by higher argument (high word before low), then
//! equality (EQ, NE, MASKED_EQ) before LE and LT before GE and GT, then by value, larger first (smaller first for LE and LT);
//! comparisons that are the same one are one node, whose children come from all the rules that share it. A rule whose conditions
//! are the beginning of another's shadows that one. Where libseccomp refuses a pair of rules, so do we: with different actions
//! they must not have the same conditions, and one with fewer must not come after the more special one; but rules that a third
//! one makes idle do not count.

use super::profile::{Compare, Condition, Rule};
use crate::error::{Error, Result};

/// A comparison of one word: what libseccomp has as a node.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Step {
    // 2 * argument, + 1 for the high word.
    word: u8,
    node: Kind,
    mask: u32,
    value: u32,
}

/// The comparisons that libseccomp tells apart; the others are these with their ways exchanged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Eq,
    Masked,
    Gt,
    Ge,
}

/// The comparisons of a condition, one after the other.
fn steps(c: &Condition, wide: bool) -> impl Iterator<Item = Step> {
    let node = match c.compare {
        Compare::Eq | Compare::Ne => Kind::Eq,
        Compare::MaskedEq => Kind::Masked,
        Compare::Gt | Compare::Le => Kind::Gt,
        Compare::Ge | Compare::Lt => Kind::Ge,
    };
    // Of two words libseccomp first asks whether the high one is greater, for GE too.
    let high_node = if node == Kind::Ge { Kind::Gt } else { node };
    let high = Step { word: 2 * c.arg + 1, node: high_node, mask: (c.mask >> 32) as u32, value: (c.value >> 32) as u32 };
    let low = Step { word: 2 * c.arg, node, mask: c.mask as u32, value: c.value as u32 };
    wide.then_some(high).into_iter().chain([low])
}

/// Greater goes first.
fn rank(step: &Step, compare: Compare) -> (u8, u8, u32) {
    match compare {
        Compare::Eq | Compare::Ne | Compare::MaskedEq => (step.word, 3, step.value),
        Compare::Le | Compare::Lt => (step.word, 2, u32::MAX - step.value),
        Compare::Ge | Compare::Gt => (step.word, 1, step.value),
    }
}

/// A rule on its way down the tree.
struct Path<'a> {
    rule: &'a Rule,
    seq: usize,
    steps: Vec<(Step, Compare)>,
}

/// Rules in the order in which they are tried: `rules` is in the order of the profile, each with at least one condition. Rules
/// that can never be reached are left out.
///
/// # Errors
/// Where rules with different actions have the same conditions, or one with fewer conditions comes after a more special one.
pub fn ordered<'a>(rules: &[&'a Rule], wide: bool, name: &str) -> Result<Vec<&'a Rule>> {
    if let [only] = rules {
        return Ok(vec![only]);
    }
    let mut paths: Vec<Path> = rules
        .iter()
        .enumerate()
        .map(|(seq, &rule)| Path {
            rule,
            seq,
            steps: rule.conditions.iter().flat_map(|c| steps(c, wide).map(|step| (step, c.compare))).collect(),
        })
        .collect();
    let mut found = Vec::with_capacity(rules.len());
    level(&mut paths, 0, rules, name, &mut found)?;
    Ok(found)
}

/// Orders paths that are equal in their first `depth` steps.
fn level<'a>(paths: &mut [Path<'a>], depth: usize, all: &[&Rule], name: &str, found: &mut Vec<&'a Rule>) -> Result<()> {
    // A rule that ends here shadows all that begin with its conditions.
    let mut ends: Vec<usize> = Vec::new();
    let mut live: Vec<usize> = Vec::with_capacity(paths.len());
    let (ended, longer): (Vec<usize>, Vec<usize>) = (0..paths.len()).partition(|&i| paths[i].steps.len() == depth);
    for i in ended.into_iter().chain(longer) {
        let path = &paths[i];
        match ends.iter().map(|&end| &paths[end]).find(|end| path.rule.conditions.starts_with(&end.rule.conditions)) {
            Some(by) => {
                let refused = path.steps.len() == depth || by.seq > path.seq;
                if refused
                    && by.rule.action != path.rule.action
                    && ![by, path].iter().any(|p| idle(p.rule, &all[..by.seq.max(path.seq)]))
                {
                    return Err(contradiction(by.rule, path.rule, name));
                }
                continue;
            }
            None if path.steps.len() == depth => ends.push(i),
            None => {}
        }
        live.push(i);
    }
    live.sort_unstable_by_key(|&i| paths[i].seq);
    // Those that end here go first; what else shares this node takes its other way.
    let mut groups: Vec<(Step, Compare, Vec<usize>)> = Vec::new();
    for i in live {
        let Some(&(step, compare)) = paths[i].steps.get(depth) else {
            found.push(paths[i].rule);
            continue;
        };
        // As libseccomp walks the siblings: join an equal one, go before the first that is less.
        let at = groups.iter().position(|(s, c, _)| *s == step || rank(s, *c) < rank(&step, compare));
        match at {
            Some(at) if groups[at].0 == step => groups[at].2.push(i),
            Some(at) => groups.insert(at, (step, compare, vec![i])),
            None => groups.push((step, compare, vec![i])),
        }
    }
    for (_, _, members) in groups {
        if let [only] = members[..] {
            found.push(paths[only].rule);
            continue;
        }
        let mut below: Vec<Path> = members
            .iter()
            .map(|&i| Path { rule: paths[i].rule, seq: paths[i].seq, steps: std::mem::take(&mut paths[i].steps) })
            .collect();
        level(&mut below, depth + 1, all, name, found)?;
    }
    Ok(())
}

/// Whether one of these has the same action and asks for less.
fn idle(rule: &Rule, among: &[&Rule]) -> bool {
    among.iter().any(|other| {
        other.action == rule.action
            && other.conditions.len() < rule.conditions.len()
            && other.conditions.iter().all(|c| rule.conditions.contains(c))
    })
}

fn contradiction(a: &Rule, b: &Rule, name: &str) -> Error {
    let (first, second) = (a.entry.min(b.entry), a.entry.max(b.entry));
    let problem = if a.conditions == b.conditions {
        format!("contradicts linux.seccomp.syscalls[{first}]: another action for {name} under the same conditions. Remove one")
    } else {
        format!(
            "contradicts linux.seccomp.syscalls[{first}]: another action for {name}, whose conditions include this entry's. Put \
             this entry before it, or make the conditions exclude each other"
        )
    };
    Error::config(format!("linux.seccomp.syscalls[{second}]"), problem)
}
