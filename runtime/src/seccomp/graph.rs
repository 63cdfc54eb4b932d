//! A filter as a graph of 32-bit tests: every node asks one thing of one word of `struct seccomp_data` and goes on to one of two
//! nodes made before it, so there are no loops; equal nodes are one node, so equal rules of many system calls are one piece of code.

/// A node, or a verdict.
pub type Id = u32;

/// A 32-bit word of `struct seccomp_data` (seccomp(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word(u8);

impl Word {
    /// `nr`.
    pub const NR: Word = Word(0);
    /// `arch`.
    pub const ARCH: Word = Word(1);

    /// The low half of an argument, 0 to 5.
    pub const fn low(arg: u8) -> Word {
        Word(2 + 2 * arg)
    }

    /// The high half of an argument, 0 to 5.
    pub const fn high(arg: u8) -> Word {
        Word(3 + 2 * arg)
    }

    /// Offset in bytes.
    pub const fn offset(self, big_endian: bool) -> u32 {
        // nr, arch, instruction_pointer (8 bytes), then the arguments, 8 bytes each.
        match self.0 {
            0 | 1 => self.0 as u32 * 4,
            n => 16 + ((n - 2) as u32 ^ big_endian as u32) * 4,
        }
    }
}

/// How a word is compared with the constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `word & mask == k`
    Eq,
    /// `word > k`
    Gt,
    /// `word >= k`
    Ge,
    /// `word & k != 0`
    Set,
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// Asked of this word.
    pub word: Word,
    /// How.
    pub op: Op,
    /// All ones but for [`Op::Eq`].
    pub mask: u32,
    /// Compared with this.
    pub k: u32,
}

impl Test {
    /// Without a mask.
    pub const fn new(word: Word, op: Op, k: u32) -> Test {
        Test { word, op, mask: u32::MAX, k }
    }

    fn holds(self, value: u32) -> bool {
        match self.op {
            Op::Eq => value & self.mask == self.k,
            Op::Gt => value > self.k,
            Op::Ge => value >= self.k,
            Op::Set => value & self.k != 0,
        }
    }
}

/// A node of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The filter's answer: `SECCOMP_RET_*` with its data.
    Return(u32),
    /// A question and where each answer leads.
    Ask(Test, Id, Id),
}

/// What earlier tests on the way here have answered.
pub type Facts = Vec<(Test, bool)>;

/// The answer to a test where the facts imply it.
fn implied(facts: &[(Test, bool)], test: Test) -> Option<bool> {
    let (mut low, mut high) = (0, u32::MAX);
    for &(fact, answer) in facts.iter().filter(|(fact, _)| fact.word == test.word) {
        if fact == test {
            return Some(answer);
        }
        // A false answer that leaves nothing cannot have been given: such tests are never made.
        match (fact.op, answer) {
            (Op::Eq, true) if fact.mask == u32::MAX => (low, high) = (fact.k, fact.k),
            (Op::Gt, true) => low = low.max(fact.k.saturating_add(1)),
            (Op::Gt, false) => high = high.min(fact.k),
            (Op::Ge, true) => low = low.max(fact.k),
            (Op::Ge, false) => high = high.min(fact.k.saturating_sub(1)),
            _ => {}
        }
    }
    match test.op {
        _ if low == high => Some(test.holds(low)),
        Op::Eq if test.mask == u32::MAX && (test.k < low || test.k > high) => Some(false),
        Op::Gt if low > test.k => Some(true),
        Op::Gt if high <= test.k => Some(false),
        Op::Ge if low >= test.k => Some(true),
        Op::Ge if high < test.k => Some(false),
        _ => None,
    }
}

/// The nodes.
pub struct Graph {
    nodes: Vec<Node>,
    // Open hash of node ids, `EMPTY` where free; never more than half full.
    slots: Vec<Id>,
}

const EMPTY: Id = Id::MAX;

impl Graph {
    /// Without nodes.
    pub fn new() -> Graph {
        Graph { nodes: Vec::with_capacity(512), slots: vec![EMPTY; 1024] }
    }

    /// All nodes; a node leads only to smaller ids.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A verdict.
    pub fn verdict(&mut self, value: u32) -> Id {
        self.unique(Node::Return(value))
    }

    /// A question, left out where the facts or its two ways make it idle.
    pub fn ask(&mut self, mut test: Test, mut yes: Id, mut no: Id, facts: &[(Test, bool)]) -> Id {
        if test.op == Op::Eq && test.mask != u32::MAX {
            test.k &= test.mask;
            // One instruction instead of two, and the word stays in the accumulator.
            if test.k == 0 {
                test = Test::new(test.word, Op::Set, test.mask);
                (yes, no) = (no, yes);
            } else if test.mask.is_power_of_two() {
                test = Test::new(test.word, Op::Set, test.mask);
            }
        }
        if yes == no || (test.op == Op::Set && test.k == 0) {
            return no;
        }
        match implied(facts, test) {
            Some(true) => yes,
            Some(false) => no,
            None => self.unique(Node::Ask(test, yes, no)),
        }
    }

    /// The node that is reached from `id` when its first questions are already answered.
    pub fn after(&self, mut id: Id, facts: &[(Test, bool)]) -> Id {
        while let Node::Ask(test, yes, no) = self.nodes[id as usize] {
            match implied(facts, test) {
                Some(true) => id = yes,
                Some(false) => id = no,
                None => break,
            }
        }
        id
    }

    fn unique(&mut self, node: Node) -> Id {
        let mut slot = self.slot(node);
        while self.slots[slot] != EMPTY {
            if self.nodes[self.slots[slot] as usize] == node {
                return self.slots[slot];
            }
            slot = (slot + 1) % self.slots.len();
        }
        let id = self.nodes.len() as Id;
        self.nodes.push(node);
        self.slots[slot] = id;
        if self.nodes.len() * 2 > self.slots.len() {
            self.grow();
        }
        id
    }

    fn grow(&mut self) {
        let size = self.slots.len() * 2;
        self.slots.clear();
        self.slots.resize(size, EMPTY);
        for id in 0..self.nodes.len() {
            let mut slot = self.slot(self.nodes[id]);
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) % size;
            }
            self.slots[slot] = id as Id;
        }
    }

    fn slot(&self, node: Node) -> usize {
        let mix = |h: u64, v: u64| (h ^ v).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let hash = match node {
            Node::Return(value) => mix(1, value.into()),
            Node::Ask(test, yes, no) => mix(
                mix(u64::from(test.k) << 32 | u64::from(test.mask), u64::from(yes) << 32 | u64::from(no)),
                u64::from(test.word.0) << 8 | test.op as u64,
            ),
        };
        (hash >> 20) as usize % self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_nodes_are_one_and_idle_questions_none() {
        let mut g = Graph::new();
        let (a, b) = (g.verdict(1), g.verdict(2));
        assert_eq!(g.verdict(1), a);
        let test = Test::new(Word::low(0), Op::Eq, 7);
        let n = g.ask(test, a, b, &[]);
        assert_eq!(g.ask(test, a, b, &[]), n);
        assert_eq!(g.ask(test, a, a, &[]), a);
        assert_eq!(g.ask(test, a, b, &[(test, true)]), a);
        assert_eq!(g.ask(Test::new(Word::low(0), Op::Ge, 0), a, b, &[]), a);
        assert_eq!(g.ask(Test::new(Word::low(0), Op::Gt, u32::MAX), a, b, &[]), b);
        assert_eq!(g.ask(Test { mask: 0, ..test }, a, b, &[]), a);
        assert_eq!(g.after(n, &[(Test::new(Word::low(0), Op::Gt, 7), true)]), b);
        assert_eq!(g.after(n, &[(Test::new(Word::low(1), Op::Gt, 7), true)]), n);
    }

    #[test]
    fn what_facts_imply_is_true_of_every_value_that_meets_them() {
        let ops = [Op::Eq, Op::Gt, Op::Ge, Op::Set];
        let values = [0, 1, 2, 3, u32::MAX - 1, u32::MAX];
        let tests: Vec<Test> = ops
            .iter()
            .flat_map(|&op| values.map(|k| Test::new(Word::low(0), op, k)))
            .chain(values.map(|k| Test { mask: 3, ..Test::new(Word::low(0), Op::Eq, k & 3) }))
            .collect();
        let samples = [0, 1, 2, 3, 4, 5, 7, 8, 0x8000_0000, u32::MAX - 2, u32::MAX - 1, u32::MAX];
        let mut decided = 0;
        for &a in &tests {
            for &b in &tests {
                for &test in &tests {
                    for answers in [(true, true), (true, false), (false, true), (false, false)] {
                        let Some(said) = implied(&[(a, answers.0), (b, answers.1)], test) else { continue };
                        for v in samples.into_iter().filter(|&v| a.holds(v) == answers.0 && b.holds(v) == answers.1) {
                            assert_eq!(test.holds(v), said, "{a:?} {b:?} {answers:?} {test:?} {v:#x}");
                            decided += 1;
                        }
                    }
                }
            }
        }
        assert!(decided > 1000);
    }

    #[test]
    fn the_table_grows() {
        let mut g = Graph::new();
        let ids: Vec<Id> = (0..5000).map(|v| g.verdict(v)).collect();
        assert!((0..5000).all(|v| g.verdict(v) == ids[v as usize]));
    }
}
