//! Classic BPF: the instructions that filters use, and putting a filter together.

use crate::sys::Instruction;

const BPF_LD_W_ABS: u16 = 0x20;
const BPF_AND: u16 = 0x54;
const BPF_JMP: u16 = 0x05;
const BPF_JA: u16 = 0x00;
pub(super) const BPF_JEQ: u16 = 0x10;
pub(super) const BPF_JGT: u16 = 0x20;
pub(super) const BPF_JGE: u16 = 0x30;
pub(super) const BPF_JSET: u16 = 0x40;
const BPF_RET: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

pub(super) const RETURN_KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const RETURN_KILL_THREAD: u32 = 0;
pub(super) const RETURN_TRAP: u32 = 0x0003_0000;
pub(super) const RETURN_ERRNO: u32 = 0x0005_0000;
pub(super) const RETURN_TRACE: u32 = 0x7ff0_0000;
pub(super) const RETURN_LOG: u32 = 0x7ffc_0000;
pub(super) const RETURN_ALLOW: u32 = 0x7fff_0000;

/// The filter of one architecture: what is done from each number on, to that of the next.
#[derive(Debug)]
pub(super) struct Part {
    arch: u32,
    segments: Vec<(u32, Vec<Instruction>)>,
}

impl Part {
    /// Returns the filter for `calls`, each a number and what is done there; `otherwise` is done
    /// with all others.
    pub(super) fn new(
        arch: u32,
        calls: impl Iterator<Item = (u32, Vec<Instruction>)>,
        otherwise: &[Instruction],
    ) -> Self {
        let mut calls: Vec<_> = calls.collect();
        calls.sort_by_key(|(number, _)| *number);
        let mut part = Self {
            arch,
            segments: Vec::new(),
        };
        let mut next = 0;
        for (number, body) in calls {
            if number > next {
                part.push(next, otherwise);
            }
            part.push(number, &body);
            next = number + 1;
        }
        part.push(next, otherwise);
        part
    }

    /// Does `body` with all numbers from `start` on, which is behind those that were given.
    pub(super) fn ending(mut self, start: u32, body: &[Instruction]) -> Self {
        self.push(start, body);
        self
    }

    fn push(&mut self, start: u32, body: &[Instruction]) {
        if self.segments.last().is_none_or(|(_, last)| last != body) {
            self.segments.push((start, body.to_vec()));
        }
    }
}

/// Returns the filter of all architectures; `otherwise` is done with those of others.
pub(super) fn assemble(parts: &[Part], otherwise: &[Instruction]) -> Vec<Instruction> {
    let mut program = vec![load(ARCH_OFFSET)];
    for part in parts {
        let mut body = vec![load(NUMBER_OFFSET)];
        search(&part.segments, &mut body);
        // Falls through to the body of a matching architecture, or jumps over it: bodies
        // are longer than the 8-bit offsets of a conditional jump.
        program.push(jump(BPF_JEQ, part.arch, 1, 0));
        program.push(jump_over(&body));
        program.extend(body);
    }
    program.extend_from_slice(otherwise);
    program
}

/// Appends a binary search over `segments` for the number in the accumulator.
fn search(segments: &[(u32, Vec<Instruction>)], program: &mut Vec<Instruction>) {
    let [_, _, ..] = segments else {
        return segments
            .iter()
            .for_each(|(_, body)| program.extend_from_slice(body));
    };
    let (below, above) = segments.split_at(segments.len() / 2);
    let mut left = Vec::new();
    search(below, &mut left);
    let start = above[0].0;
    if let Ok(length) = u8::try_from(left.len()) {
        program.push(jump(BPF_JGE, start, length, 0));
    } else {
        program.push(jump(BPF_JGE, start, 0, 1));
        program.push(jump_over(&left));
    }
    program.extend(left);
    search(above, program);
}

/// Returns the offset of the lower half of an argument; the upper one follows.
pub(super) fn argument(index: u32) -> u32 {
    ARGUMENTS_OFFSET + 8 * index
}

fn plain(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

pub(super) fn load(offset: u32) -> Instruction {
    plain(BPF_LD_W_ABS, offset)
}

pub(super) fn and(mask: u32) -> Instruction {
    plain(BPF_AND, mask)
}

pub(super) fn jump(kind: u16, value: u32, jt: u8, jf: u8) -> Instruction {
    Instruction {
        code: BPF_JMP | kind,
        jt,
        jf,
        k: value,
    }
}

fn jump_over(instructions: &[Instruction]) -> Instruction {
    plain(BPF_JMP | BPF_JA, instructions.len() as u32)
}

pub(super) fn ret(value: u32) -> Instruction {
    plain(BPF_RET, value)
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Runs a filter as the kernel would; returns the result and the instructions it took.
    pub(in crate::seccomp) fn run(
        program: &[Instruction],
        arch: u32,
        number: u32,
        arguments: &[u64],
    ) -> (u32, usize) {
        let mut data = vec![number, arch, 0, 0];
        data.extend((0..6).flat_map(|index| {
            let value: u64 = arguments.get(index).copied().unwrap_or_default();
            [value as u32, (value >> 32) as u32]
        }));
        let (mut pc, mut accumulator) = (0, 0);
        for steps in 1.. {
            let i = program[pc];
            pc += 1;
            let taken = match i.code {
                BPF_LD_W_ABS => {
                    accumulator = data[i.k as usize / 4];
                    continue;
                }
                BPF_AND => {
                    accumulator &= i.k;
                    continue;
                }
                BPF_RET => return (i.k, steps),
                code if code == BPF_JMP | BPF_JA => {
                    pc += i.k as usize;
                    continue;
                }
                code if code == BPF_JMP | BPF_JEQ => accumulator == i.k,
                code if code == BPF_JMP | BPF_JGT => accumulator > i.k,
                code if code == BPF_JMP | BPF_JGE => accumulator >= i.k,
                code if code == BPF_JMP | BPF_JSET => accumulator & i.k != 0,
                code => panic!("unknown code {code}"),
            };
            pc += usize::from(if taken { i.jt } else { i.jf });
        }
        unreachable!()
    }
}
