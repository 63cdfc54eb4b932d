//! From the graph of tests to classic BPF.
//!
//! The program is written from its last instruction to its first: a node is written after the nodes it leads to, so every jump
//! goes to a place that is already known. A conditional jump reaches 255 instructions; for what lies further a stepping stone is
//! written right behind it (a copy of the verdict, or a long jump), and serves all later jumps there too.

use super::graph::{Graph, Id, Node, Op, Word};
use crate::sys::seccomp::SockFilter;

/// `BPF_MAXINSNS` of <linux/bpf_common.h>.
pub const MAX_INSTRUCTIONS: usize = 4096;

// <linux/bpf_common.h>
const LD_W_ABS: u16 = 0x20;
const ALU_AND_K: u16 = 0x54;
const JMP_JA: u16 = 0x05;
const JMP_JEQ_K: u16 = 0x15;
const JMP_JGT_K: u16 = 0x25;
const JMP_JGE_K: u16 = 0x35;
const JMP_JSET_K: u16 = 0x45;
const RET_K: u16 = 0x06;

// How far a jump may go, less the two stepping stones that may come between.
const REACH: usize = 253;

/// What the accumulator holds: a word, and what of it.
type Accumulator = (Word, u32);

/// Where a node can be entered, counted from the program's end: at its load, at its mask, at its jump.
type Entries = [usize; 3];
const LOAD: usize = 0;
const MASK: usize = 1;
const JUMP: usize = 2;

#[derive(Clone, Copy, Default)]
struct Needs {
    reached: bool,
    load: bool,
    mask: bool,
}

/// Where to enter a node with this in the accumulator.
fn entry(node: Node, held: Accumulator) -> usize {
    match node {
        Node::Ask(test, ..) if held == (test.word, test.mask) => JUMP,
        Node::Ask(test, ..) if held == (test.word, u32::MAX) => MASK,
        _ => LOAD,
    }
}

/// The program that starts at `root`. It may be longer than [`MAX_INSTRUCTIONS`].
pub fn emit(graph: &Graph, root: Id, big_endian: bool) -> Vec<SockFilter> {
    let nodes = graph.nodes();
    let needs = needs(nodes, root);
    let mut entries = vec![[0; 3]; nodes.len()];
    let mut code: Vec<SockFilter> = Vec::with_capacity(512);

    for (id, &node) in nodes.iter().enumerate().filter(|&(id, _)| needs[id].reached) {
        let (test, yes, no) = match node {
            Node::Return(value) => {
                code.push(SockFilter { code: RET_K, jt: 0, jf: 0, k: value });
                entries[id] = [code.len(); 3];
                continue;
            }
            Node::Ask(test, yes, no) => (test, yes, no),
        };
        let held = (test.word, test.mask);
        stepping_stone(&mut code, nodes, &mut entries, yes, held);
        stepping_stone(&mut code, nodes, &mut entries, no, held);
        let here = code.len();
        let distance = |to: Id| (here - entries[to as usize][entry(nodes[to as usize], held)]) as u8;
        let (jt, jf) = (distance(yes), distance(no));
        let opcode = match test.op {
            Op::Eq => JMP_JEQ_K,
            Op::Gt => JMP_JGT_K,
            Op::Ge => JMP_JGE_K,
            Op::Set => JMP_JSET_K,
        };
        code.push(SockFilter { code: opcode, jt, jf, k: test.k });
        let jump = code.len();
        if needs[id].mask || needs[id].load && test.mask != u32::MAX {
            code.push(SockFilter { code: ALU_AND_K, jt: 0, jf: 0, k: test.mask });
        }
        let mask = code.len();
        if needs[id].load {
            code.push(SockFilter { code: LD_W_ABS, jt: 0, jf: 0, k: test.word.offset(big_endian) });
        }
        entries[id] = [code.len(), mask, jump];
    }
    code.reverse();
    code
}

/// Which nodes are reached from the root, and where the accumulator must be filled.
fn needs(nodes: &[Node], root: Id) -> Vec<Needs> {
    let mut needs = vec![Needs::default(); nodes.len()];
    needs[root as usize] = Needs { reached: true, load: true, mask: false };
    for id in (0..=root as usize).rev() {
        if let (true, Node::Ask(test, yes, no)) = (needs[id].reached, nodes[id]) {
            let held = (test.word, test.mask);
            for to in [yes, no] {
                let need = &mut needs[to as usize];
                need.reached = true;
                match entry(nodes[to as usize], held) {
                    LOAD => need.load = true,
                    MASK => need.mask = true,
                    _ => {}
                }
            }
        }
    }
    needs
}

/// Brings a target that is too far away into reach.
fn stepping_stone(code: &mut Vec<SockFilter>, nodes: &[Node], entries: &mut [Entries], to: Id, held: Accumulator) {
    let node = nodes[to as usize];
    let place = &mut entries[to as usize][entry(node, held)];
    let distance = code.len() - *place;
    if distance > REACH {
        code.push(match node {
            Node::Return(value) => SockFilter { code: RET_K, jt: 0, jf: 0, k: value },
            Node::Ask(..) => SockFilter { code: JMP_JA, jt: 0, jf: 0, k: distance as u32 },
        });
        *place = code.len();
    }
}
