//! Docker's default system-call filter as a compact BPF program.
//!
//! The kernel runs the program once for every number when it is installed (to cache which
//! are always allowed), so its depth decides what a container start costs: a linear list takes
//! over a millisecond, a binary search over ranges a tenth of one.
//!
//! Differences from docker's: the x32 ABI is denied, and so are i386's `socketcall` (through it
//! the address family cannot be checked) and 32-bit ARM programs on aarch64.

mod table;

use crate::sys::Instruction;
use table::SYSCALLS;

/// The system call does not exist on the architecture.
const NONE: u32 = u32::MAX;

/// What decides over a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Allow,
    /// Allowed to those with any of these capabilities in their bounding set.
    Caps(u64),
    /// No AF_ALG, no AF_VSOCK.
    Socket,
    /// No new namespaces without `CAP_SYS_ADMIN`.
    Clone,
    /// Its flags are behind a pointer: without `CAP_SYS_ADMIN` it does not exist, and C libraries
    /// then use `clone`.
    Clone3,
    /// Only execution domains of Linux itself.
    Personality,
}

/// What the filter does with a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Allow,
    Errno(i32),
    Socket,
    Clone,
    Personality,
}

const NAMESPACE_FLAGS: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// `PER_LINUX`, `PER_LINUX32`, `UNAME26`, both, and the query of the current one.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, u32::MAX];

const SYS_ADMIN: u64 = 1 << crate::caps::Capability::SYS_ADMIN.number();

/// Returns the filter for a process with these capabilities in its bounding set.
pub(crate) fn default_filter(capabilities: u64) -> Vec<Instruction> {
    let mut program = vec![load(ARCH_OFFSET)];
    for (arch, number) in ARCHITECTURES {
        let mut body = vec![load(NUMBER_OFFSET)];
        search(&segments(*number, capabilities), &mut body);
        // Falls through to the body of a matching architecture, or jumps over it: bodies
        // are longer than the 8-bit offsets of a conditional jump.
        program.push(jump(BPF_JEQ, *arch, 1, 0));
        program.push(jump_over(&body));
        program.extend(body);
    }
    program.push(result(Action::Errno(libc::EPERM)));
    program
}

type NumberOf = fn(&table::Row) -> u32;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: &[(u32, NumberOf)] = &[(0xc000_003e, |row| row.1), (0x4000_0003, |row| row.2)];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: &[(u32, NumberOf)] = &[(0xc000_00b7, |row| row.3)];

fn action(rule: Rule, capabilities: u64) -> Action {
    match rule {
        Rule::Allow => Action::Allow,
        Rule::Caps(any) if capabilities & any != 0 => Action::Allow,
        Rule::Clone | Rule::Clone3 if capabilities & SYS_ADMIN != 0 => Action::Allow,
        Rule::Caps(_) => Action::Errno(libc::EPERM),
        Rule::Clone3 => Action::Errno(libc::ENOSYS),
        Rule::Clone => Action::Clone,
        Rule::Socket => Action::Socket,
        Rule::Personality => Action::Personality,
    }
}

/// Returns ranges of numbers with the same action, each from its start to the next one's.
fn segments(number: NumberOf, capabilities: u64) -> Vec<(u32, Action)> {
    let denied = Action::Errno(libc::EPERM);
    let mut known: Vec<(u32, Action)> = SYSCALLS
        .iter()
        .map(|row| (number(row), action(row.4, capabilities)))
        .filter(|(number, _)| *number != NONE)
        .collect();
    known.sort_by_key(|(number, _)| *number);
    let mut segments = Vec::new();
    let mut next = 0;
    for (number, action) in known {
        if number > next {
            push(&mut segments, next, denied);
        }
        push(&mut segments, number, action);
        next = number + 1;
    }
    push(&mut segments, next, denied);
    segments
}

fn push(segments: &mut Vec<(u32, Action)>, start: u32, action: Action) {
    if segments.last().is_none_or(|(_, last)| *last != action) {
        segments.push((start, action));
    }
}

/// Appends a binary search over `segments` for the number in the accumulator.
fn search(segments: &[(u32, Action)], program: &mut Vec<Instruction>) {
    let [_, _, ..] = segments else {
        return segments
            .iter()
            .for_each(|(_, action)| act(*action, program));
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

fn act(action: Action, program: &mut Vec<Instruction>) {
    match action {
        Action::Allow | Action::Errno(_) => program.push(result(action)),
        Action::Socket => {
            let families = [libc::AF_ALG as u32, libc::AF_VSOCK as u32];
            first_argument_among(
                &families,
                Action::Errno(libc::EPERM),
                Action::Allow,
                program,
            );
        }
        Action::Personality => {
            let denied = Action::Errno(libc::EPERM);
            first_argument_among(&PERSONALITIES, Action::Allow, denied, program);
        }
        Action::Clone => program.extend([
            load(ARGUMENT_OFFSET),
            jump(BPF_JSET, NAMESPACE_FLAGS, 1, 0),
            result(Action::Allow),
            result(Action::Errno(libc::EPERM)),
        ]),
    }
}

/// The arguments checked here are all of type int or of flags in the lower half; the kernel
/// ignores the upper one.
fn first_argument_among(
    values: &[u32],
    if_so: Action,
    otherwise: Action,
    program: &mut Vec<Instruction>,
) {
    program.push(load(ARGUMENT_OFFSET));
    for (index, value) in values.iter().enumerate() {
        program.push(jump(BPF_JEQ, *value, (values.len() - index) as u8, 0));
    }
    program.extend([result(otherwise), result(if_so)]);
}

const BPF_LD_W_ABS: u16 = 0x20;
const BPF_JMP: u16 = 0x05;
const BPF_JA: u16 = 0x00;
const BPF_JEQ: u16 = 0x10;
const BPF_JGE: u16 = 0x30;
const BPF_JSET: u16 = 0x40;
const BPF_RET: u16 = 0x06;

/// Offsets in `struct seccomp_data`; the argument's is that of its lower half.
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
const ARGUMENT_OFFSET: u32 = 16;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

fn load(offset: u32) -> Instruction {
    Instruction {
        code: BPF_LD_W_ABS,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

fn jump(kind: u16, value: u32, jt: u8, jf: u8) -> Instruction {
    Instruction {
        code: BPF_JMP | kind,
        jt,
        jf,
        k: value,
    }
}

fn jump_over(instructions: &[Instruction]) -> Instruction {
    Instruction {
        code: BPF_JMP | BPF_JA,
        jt: 0,
        jf: 0,
        k: instructions.len() as u32,
    }
}

fn result(action: Action) -> Instruction {
    let k = match action {
        Action::Errno(errno) => RETURN_ERRNO | errno as u32,
        _ => RETURN_ALLOW,
    };
    Instruction {
        code: BPF_RET,
        jt: 0,
        jf: 0,
        k,
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::caps::{CapSet, Capability};

    const NATIVE: u32 = 0xc000_003e;
    const COMPAT: u32 = 0x4000_0003;

    /// Runs a filter as the kernel would; returns the result and the instructions it took.
    fn run(program: &[Instruction], arch: u32, number: u32, argument: u32) -> (u32, usize) {
        let (mut pc, mut accumulator) = (0, 0);
        for steps in 1.. {
            let i = program[pc];
            pc += 1;
            let taken = match i.code {
                BPF_LD_W_ABS => {
                    accumulator = [number, arch, 0, 0, argument][i.k as usize / 4];
                    continue;
                }
                BPF_RET => return (i.k, steps),
                code if code == BPF_JMP | BPF_JA => {
                    pc += i.k as usize;
                    continue;
                }
                code if code == BPF_JMP | BPF_JEQ => accumulator == i.k,
                code if code == BPF_JMP | BPF_JGE => accumulator >= i.k,
                code if code == BPF_JMP | BPF_JSET => accumulator & i.k != 0,
                code => panic!("unknown code {code}"),
            };
            pc += usize::from(if taken { i.jt } else { i.jf });
        }
        unreachable!()
    }

    fn expected(action: Action, argument: u32) -> u32 {
        let allowed = match action {
            Action::Allow => true,
            Action::Errno(errno) => return RETURN_ERRNO | errno as u32,
            Action::Socket => ![38, 40].contains(&argument),
            Action::Clone => argument & 0x7e02_0000 == 0,
            Action::Personality => PERSONALITIES.contains(&argument),
        };
        if allowed {
            RETURN_ALLOW
        } else {
            RETURN_ERRNO | 1
        }
    }

    #[test]
    fn every_number_gets_the_action_of_the_table() {
        for caps in [CapSet::docker(), CapSet::empty(), CapSet::all()] {
            let program = default_filter(caps.bits());
            for (arch, number_of) in ARCHITECTURES {
                for number in (0..600).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                    let row = SYSCALLS
                        .iter()
                        .find(|row| number_of(row) == number && number != NONE);
                    let denied = Action::Errno(libc::EPERM);
                    let action = row.map_or(denied, |row| action(row.4, caps.bits()));
                    for argument in [0, 2, 8, 38, 40, 0x11, 0x1000_0000, 0x2_0000, u32::MAX] {
                        let (result, steps) = run(&program, *arch, number, argument);
                        assert_eq!(
                            result,
                            expected(action, argument),
                            "{arch:x} {number} {argument}"
                        );
                        assert!(steps <= 24, "{steps} steps for {number}");
                    }
                }
            }
            assert_eq!(run(&program, 0xc000_00b7, 63, 0).0, RETURN_ERRNO | 1);
        }
    }

    #[test]
    fn known_numbers_fare_as_in_docker() {
        let program = default_filter(CapSet::docker().bits());
        let native = |number: i64, argument| run(&program, NATIVE, number as u32, argument).0;
        let eperm = RETURN_ERRNO | libc::EPERM as u32;
        assert_eq!(native(libc::SYS_read, 0), RETURN_ALLOW);
        assert_eq!(native(libc::SYS_mount, 0), eperm);
        assert_eq!(native(libc::SYS_unshare, 0), eperm);
        assert_eq!(native(libc::SYS_keyctl, 0), eperm);
        assert_eq!(native(libc::SYS_io_uring_setup, 0), eperm);
        assert_eq!(native(libc::SYS_chroot, 0), RETURN_ALLOW);
        assert_eq!(
            native(libc::SYS_clone3, 0),
            RETURN_ERRNO | libc::ENOSYS as u32
        );
        assert_eq!(native(libc::SYS_socket, libc::AF_VSOCK as u32), eperm);
        assert_eq!(native(libc::SYS_socket, libc::AF_INET as u32), RETURN_ALLOW);
        assert_eq!(run(&program, COMPAT, 4, 0).0, RETURN_ALLOW, "write of i386");
        assert_eq!(run(&program, COMPAT, 102, 0).0, eperm, "socketcall of i386");
    }

    #[test]
    fn capabilities_unlock_their_calls() {
        let admin = default_filter(CapSet::docker().with(Capability::SYS_ADMIN).bits());
        assert_eq!(
            run(&admin, NATIVE, libc::SYS_mount as u32, 0).0,
            RETURN_ALLOW
        );
        assert_eq!(
            run(&admin, NATIVE, libc::SYS_clone3 as u32, 0).0,
            RETURN_ALLOW
        );
        assert_eq!(
            run(&admin, NATIVE, libc::SYS_reboot as u32, 0).0,
            RETURN_ERRNO | 1
        );
    }

    #[test]
    fn the_table_names_each_number_once() {
        for (_, number_of) in ARCHITECTURES {
            let mut numbers: Vec<u32> = SYSCALLS
                .iter()
                .map(number_of)
                .filter(|number| *number != NONE)
                .collect();
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), count);
        }
    }

    #[test]
    fn the_program_fits_the_kernels_limit() {
        assert!(default_filter(CapSet::docker().bits()).len() < 4096);
    }
}
