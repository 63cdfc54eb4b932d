//! From the verdicts of single system call numbers to a search over ranges of numbers.

use super::graph::{Graph, Id, Op, Test, Word};

/// Numbers from `first` up to the next range's first have this answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First number.
    pub first: u32,
    /// What is done with them.
    pub node: Id,
}

/// All 2^32 numbers in order, neighbours with equal answers joined.
#[derive(Debug, Default)]
pub struct Ranges(Vec<Range>);

impl Ranges {
    /// Answers for the numbers from `first` on, until the next call; `first` never decreases, and the first call has 0.
    pub fn from(&mut self, first: u32, node: Id) {
        if self.0.last().is_some_and(|last| last.first == first) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|last| last.node != node) {
            self.0.push(Range { first, node });
        }
    }

    /// Answers for one number; those after it have `rest`.
    pub fn one(&mut self, number: u32, node: Id, rest: Id) {
        self.from(number, node);
        if let Some(next) = number.checked_add(1) {
            self.from(next, rest);
        }
    }

    /// Answers for number 0, whatever was said of it.
    pub fn zero(&mut self, node: Id) {
        let had = self.0[0].node;
        if self.0.get(1).is_none_or(|next| next.first > 1) {
            self.0.insert(1, Range { first: 1, node: had });
        }
        self.0[0].node = node;
    }

    fn single(&self, i: usize) -> bool {
        self.end(i) == u64::from(self.0[i].first) + 1
    }

    fn end(&self, i: usize) -> u64 {
        self.0.get(i + 1).map_or(1 << 32, |next| next.first.into())
    }
}

// A leaf of the search is up to this many tests for equality in a row.
const ROW: usize = 3;

/// Some neighbouring ranges that a row of tests for equality tells apart: all but single numbers go to `rest`.
#[derive(Debug, Clone, Copy)]
struct Leaf {
    from: usize,
    to: usize,
    rest: Id,
}

/// The search over the ranges.
pub fn search(graph: &mut Graph, ranges: &Ranges) -> Id {
    let leaves = leaves(ranges);
    let mut before = Vec::with_capacity(leaves.len() + 1);
    let mut sum = 0;
    before.push(0);
    for leaf in &leaves {
        sum += (leaf.from..leaf.to).map(|i| weight(ranges, i)).sum::<u64>();
        before.push(sum);
    }
    split(graph, ranges, &leaves, &before)
}

/// How often a range is asked for, roughly: the kernel evaluates the filter for every number once when it is attached and
/// remembers which are always allowed, so that only refused calls and those with argument rules come here again.
fn weight(ranges: &Ranges, i: usize) -> u64 {
    (ranges.end(i) - u64::from(ranges.0[i].first)).min(32)
}

/// Cuts the ranges into leaves so that the whole search has the fewest instructions: one per number in a leaf, one per cut.
fn leaves(ranges: &Ranges) -> Vec<Leaf> {
    let n = ranges.0.len();
    // For the first j ranges: instructions, and where their last leaf begins and what its rest is.
    let mut best: Vec<(usize, usize, Id)> = Vec::with_capacity(n + 1);
    best.push((0, 0, 0));
    for j in 1..=n {
        let mut choice = (usize::MAX, 0, 0);
        // Odd or even ranges of a leaf are its rest.
        for rest in [j.checked_sub(1), j.checked_sub(2)].into_iter().flatten().map(|i| ranges.0[i].node) {
            let mut row = 0;
            for i in (0..j).rev() {
                if ranges.0[i].node != rest {
                    if !ranges.single(i) || row == ROW {
                        break;
                    }
                    row += 1;
                }
                let cost = best[i].0 + row + 1;
                if cost < choice.0 {
                    choice = (cost, i, rest);
                }
            }
        }
        best.push(choice);
    }
    let mut leaves = Vec::with_capacity(n);
    let mut to = n;
    while to > 0 {
        let (_, from, rest) = best[to];
        leaves.push(Leaf { from, to, rest });
        to = from;
    }
    leaves.reverse();
    leaves
}

/// A balanced tree over leaves; `before[i]` is the weight of all leaves before `i`.
fn split(graph: &mut Graph, ranges: &Ranges, leaves: &[Leaf], before: &[u64]) -> Id {
    if let [leaf] = leaves {
        return row(graph, ranges, *leaf);
    }
    let middle = before[0].midpoint(before[leaves.len()]);
    let cut = before.partition_point(|&w| w < middle).clamp(1, leaves.len() - 1);
    // The cut whose halves differ least.
    let cut = if cut > 1 && middle - before[cut - 1] < before[cut].abs_diff(middle) { cut - 1 } else { cut };
    let above = split(graph, ranges, &leaves[cut..], &before[cut..]);
    let below = split(graph, ranges, &leaves[..cut], &before[..=cut]);
    let first = ranges.0[leaves[cut].from].first;
    graph.ask(Test::new(Word::NR, Op::Ge, first), above, below, &[])
}

fn row(graph: &mut Graph, ranges: &Ranges, leaf: Leaf) -> Id {
    let mut node = leaf.rest;
    for range in ranges.0[leaf.from..leaf.to].iter().rev().filter(|range| range.node != leaf.rest) {
        node = graph.ask(Test::new(Word::NR, Op::Eq, range.first), range.node, node, &[]);
    }
    node
}
