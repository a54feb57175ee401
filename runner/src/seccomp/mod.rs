//! System-call filters as compact BPF programs: docker's default one, and those of profiles.
//!
//! The kernel runs the program once for every number when it is installed (to cache which
//! are always allowed), so its depth decides what a container start costs: a linear list takes
//! over a millisecond, a binary search over ranges a tenth of one.
//!
//! Differences from docker's: the x32 ABI is denied, and so are i386's `socketcall` (through it
//! the address family cannot be checked) and 32-bit ARM programs on aarch64.

mod bpf;
mod profile;
mod table;

pub use profile::{Profile, ProfileError};

use crate::sys::Instruction;
use bpf::{
    BPF_JEQ, BPF_JSET, Part, RETURN_ALLOW, RETURN_ERRNO, argument, assemble, jump, load, ret,
};
use table::SYSCALLS;

/// The system call does not exist on the architecture.
const NONE: u32 = u32::MAX;

/// What decides over a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Allow,
    Deny,
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
    let denied = body(Action::Errno(libc::EPERM));
    let parts = ARCHITECTURES.iter().map(|(arch, number)| {
        let calls = SYSCALLS.iter().map(|row| {
            let action = action(row.4, capabilities);
            (number(row), body(action))
        });
        Part::new(*arch, calls.filter(|(number, _)| *number != NONE), &denied)
    });
    assemble(&parts.collect::<Vec<_>>(), &denied)
}

type NumberOf = fn(&table::Row) -> u32;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: &[(u32, NumberOf)] = &[(0xc000_003e, |row| row.1), (0x4000_0003, |row| row.2)];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: &[(u32, NumberOf)] = &[(0xc000_00b7, |row| row.3)];

fn action(rule: Rule, capabilities: u64) -> Action {
    match rule {
        Rule::Allow => Action::Allow,
        Rule::Deny => Action::Errno(libc::EPERM),
        Rule::Caps(any) if capabilities & any != 0 => Action::Allow,
        Rule::Clone | Rule::Clone3 if capabilities & SYS_ADMIN != 0 => Action::Allow,
        Rule::Caps(_) => Action::Errno(libc::EPERM),
        Rule::Clone3 => Action::Errno(libc::ENOSYS),
        Rule::Clone => Action::Clone,
        Rule::Socket => Action::Socket,
        Rule::Personality => Action::Personality,
    }
}

/// Returns the instructions for one action, the system call's number being in the accumulator.
fn body(action: Action) -> Vec<Instruction> {
    let denied = Action::Errno(libc::EPERM);
    match action {
        Action::Allow => vec![ret(RETURN_ALLOW)],
        Action::Errno(errno) => vec![ret(RETURN_ERRNO | errno as u32)],
        Action::Socket => {
            let families = [libc::AF_ALG as u32, libc::AF_VSOCK as u32];
            first_argument_among(&families, denied, Action::Allow)
        }
        Action::Personality => first_argument_among(&PERSONALITIES, Action::Allow, denied),
        Action::Clone => [
            vec![load(argument(0)), jump(BPF_JSET, NAMESPACE_FLAGS, 1, 0)],
            body(Action::Allow),
            body(denied),
        ]
        .concat(),
    }
}

/// The arguments checked here are all of type int or of flags in the lower half; the kernel
/// ignores the upper one.
fn first_argument_among(values: &[u32], if_so: Action, otherwise: Action) -> Vec<Instruction> {
    let mut program = vec![load(argument(0))];
    for (index, value) in values.iter().enumerate() {
        program.push(jump(BPF_JEQ, *value, (values.len() - index) as u8, 0));
    }
    program.extend([body(otherwise), body(if_so)].concat());
    program
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::caps::{CapSet, Capability};

    const NATIVE: u32 = 0xc000_003e;
    const COMPAT: u32 = 0x4000_0003;

    fn run(program: &[Instruction], arch: u32, number: u32, argument: u32) -> (u32, usize) {
        bpf::testing::run(program, arch, number, &[u64::from(argument)])
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
