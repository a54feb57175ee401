//! Filters of docker's profiles: JSON documents that name system calls and what is done with them.
//!
//! Of several rules for one system call, one without conditions on arguments decides alone, the
//! first of them; else the first one whose conditions hold, in the order of the profile; else the
//! default. A rule that says what the default says is none. Names that this kernel's table does not
//! know are passed over, as docker does.
//!
//! Differences: numbers of the x32 ABI, and architectures that the profile does not name, fail with
//! EPERM; notifications to a listener are refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::bpf::{
    BPF_JEQ, BPF_JGE, BPF_JGT, Part, RETURN_ALLOW, RETURN_ERRNO, RETURN_KILL_PROCESS,
    RETURN_KILL_THREAD, RETURN_LOG, RETURN_TRACE, RETURN_TRAP, and, argument, assemble, jump, load,
    ret,
};
use super::table::SYSCALLS;
use super::{ARCHITECTURES, NONE};
use crate::caps::Capability;
use crate::sys::Instruction;

/// Numbers from here on are the x32 ABI's: those of x86_64 once more, past a filter that names
/// what it denies.
const X32: u32 = 0x4000_0000;

/// Longest program that the kernel takes.
const LIMIT: usize = 4096;

/// Go's name of this architecture, which conditions of a profile use, and that of its own filter.
#[cfg(target_arch = "x86_64")]
const NATIVE: (&str, &str) = ("amd64", "SCMP_ARCH_X86_64");
#[cfg(target_arch = "aarch64")]
const NATIVE: (&str, &str) = ("arm64", "SCMP_ARCH_AARCH64");

/// The name of the 32-bit architecture whose programs run here too.
const COMPAT: &str = "SCMP_ARCH_X86";

/// A profile as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: Verdict,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<ArchMap>,
    #[serde(default)]
    syscalls: Vec<Calls>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

/// Rules that share everything but the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Calls {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    name: Option<String>,
    action: Verdict,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

/// When a rule counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// What is done with a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Verdict {
    /// It is executed.
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    /// It fails.
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    /// It ends the thread.
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    /// It ends the process.
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    /// It raises SIGSYS.
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    /// It is left to a tracer.
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    /// It is executed and logged.
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
}

/// A condition on an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    /// What the masked argument is to be, for [`Comparison::MaskedEqual`].
    #[serde(default)]
    value_two: u64,
    op: Comparison,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Comparison {
    /// Other than the value.
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    /// Below it.
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    /// Below it or equal.
    #[serde(rename = "SCMP_CMP_LE")]
    LessEqual,
    /// Equal.
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    /// Above it or equal.
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterEqual,
    /// Above it.
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// Equal to the second value in the bits of the first.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// A rule has `name` and `names`, or neither.
    #[error("rule {number} of the profile has to have either name or names")]
    Names {
        /// The rule, from 1.
        number: usize,
    },
    /// A condition names an argument that system calls do not have.
    #[error("argument {index} of a condition: system calls have six, from 0")]
    Index {
        /// The argument.
        index: u32,
    },
    /// An error number is out of range.
    #[error("error number {number} is above 4095")]
    Errno {
        /// The number.
        number: u32,
    },
    /// The kernel would not take the program.
    #[error("the profile comes to {length} instructions, and the kernel takes {LIMIT}")]
    Long {
        /// The length.
        length: usize,
    },
}

impl Profile {
    /// Checks what the form alone does not say.
    pub fn check(&self) -> Result<(), ProfileError> {
        for (index, calls) in self.syscalls.iter().enumerate() {
            if calls.name.is_some() != calls.names.is_empty() {
                return Err(ProfileError::Names { number: index + 1 });
            }
            let mut args = calls.args.iter().flatten();
            if let Some(wrong) = args.find(|argument| argument.index > 5) {
                return Err(ProfileError::Index { index: wrong.index });
            }
        }
        let numbers = self.syscalls.iter().map(|calls| calls.errno_ret);
        let mut numbers = numbers.chain([self.default_errno_ret]).flatten();
        if let Some(number) = numbers.find(|number| *number > 4095) {
            return Err(ProfileError::Errno { number });
        }
        // The most rules count with all capabilities, or with none.
        let lengths = [u64::MAX, 0].map(|capabilities| self.filter(capabilities).len());
        match lengths.into_iter().find(|length| *length > LIMIT) {
            Some(length) => Err(ProfileError::Long { length }),
            None => Ok(()),
        }
    }

    /// Returns the filter for a process with these capabilities in its bounding set.
    pub(crate) fn filter(&self, capabilities: u64) -> Vec<Instruction> {
        let default = self.default_action.result(self.default_errno_ret);
        let otherwise = [ret(default)];
        let mut rules: BTreeMap<&str, Vec<&Calls>> = BTreeMap::new();
        for calls in self
            .syscalls
            .iter()
            .filter(|calls| calls.counts(capabilities))
        {
            if calls.action.result(calls.errno_ret) == default {
                continue;
            }
            for name in calls.names.iter().chain(&calls.name) {
                rules.entry(name).or_default().push(calls);
            }
        }
        let denied = [ret(RETURN_ERRNO | libc::EPERM as u32)];
        let part = |(arch, number): &(u32, super::NumberOf)| {
            let known = SYSCALLS.iter().filter_map(|row| {
                let body = body(rules.get(row.0)?, default);
                Some((number(row), body))
            });
            let calls = known.filter(|(number, _)| *number != NONE);
            Part::new(*arch, calls, &otherwise)
        };
        let (native, compat) = ARCHITECTURES.split_first().expect("the table is not empty");
        let native = part(native).ending(X32, &denied);
        let compat = compat.iter().filter(|_| self.covers(COMPAT)).map(part);
        let parts: Vec<_> = std::iter::once(native).chain(compat).collect();
        assemble(&parts, &denied)
    }

    fn covers(&self, architecture: &str) -> bool {
        let native = |map: &&ArchMap| map.architecture == NATIVE.1;
        let mapped = self.arch_map.iter().find(native);
        let mapped = mapped.and_then(|map| map.sub_architectures.as_ref());
        let mut all = self
            .architectures
            .iter()
            .chain(mapped.into_iter().flatten());
        all.any(|name| name == architecture)
    }
}

impl Calls {
    /// Tells whether the rules are meant for processes with these capabilities here.
    fn counts(&self, capabilities: u64) -> bool {
        let held = |name: &String| {
            let known = name.parse::<Capability>();
            known.is_ok_and(|one| capabilities & (1 << one.number()) != 0)
        };
        let here = |name: &String| name == NATIVE.0;
        let included = self.includes.as_ref().is_none_or(|only| {
            only.caps.iter().all(held)
                && (only.arches.is_empty() || only.arches.iter().any(here))
                && only
                    .min_kernel
                    .as_deref()
                    .is_none_or(crate::kernel::is_at_least)
        });
        let excluded = self.excludes.as_ref().is_some_and(|not| {
            not.caps.iter().any(held)
                || not.arches.iter().any(here)
                || not
                    .min_kernel
                    .as_deref()
                    .is_some_and(crate::kernel::is_at_least)
        });
        included && !excluded
    }
}

impl Verdict {
    fn result(self, errno: Option<u32>) -> u32 {
        match self {
            Self::Allow => RETURN_ALLOW,
            Self::Errno => RETURN_ERRNO | errno.unwrap_or(libc::EPERM as u32),
            Self::KillThread => RETURN_KILL_THREAD,
            Self::KillProcess => RETURN_KILL_PROCESS,
            Self::Trap => RETURN_TRAP,
            Self::Trace => RETURN_TRACE | errno.unwrap_or(libc::EPERM as u32),
            Self::Log => RETURN_LOG,
        }
    }
}

/// Returns what is done with one system call.
fn body(rules: &[&Calls], default: u32) -> Vec<Instruction> {
    let conditions = |calls: &Calls| calls.args.iter().flatten().copied().collect::<Vec<_>>();
    let sure = rules.iter().find(|calls| conditions(calls).is_empty());
    if let Some(calls) = sure {
        return vec![ret(calls.action.result(calls.errno_ret))];
    }
    let mut program = Vec::new();
    for calls in rules {
        let result = calls.action.result(calls.errno_ret);
        let all = conditions(calls);
        let twice =
            |one: &Argument| all.iter().filter(|other| other.index == one.index).count() > 1;
        if all.iter().any(twice) {
            // Two conditions on one argument are alternatives.
            for one in all {
                program.extend(rule(&[one], result));
            }
        } else {
            program.extend(rule(&all, result));
        }
    }
    program.push(ret(default));
    program
}

/// Returns instructions that return `result` if all conditions hold, and are passed otherwise.
fn rule(conditions: &[Argument], result: u32) -> Vec<Instruction> {
    let mut program = vec![ret(result)];
    for condition in conditions.iter().rev() {
        let mut test = condition.test(program.len() as u8);
        test.extend(program);
        program = test;
    }
    program
}

impl Argument {
    /// Returns a test that jumps over `rest` instructions behind it if the condition does not hold.
    fn test(self, rest: u8) -> Vec<Instruction> {
        use Comparison as Is;
        let (low, high) = (self.value as u32, (self.value >> 32) as u32);
        let halves = [load(argument(self.index) + 4), load(argument(self.index))];
        let [load_high, load_low] = halves;
        match self.op {
            Is::Equal | Is::MaskedEqual => {
                let masked = self.op == Is::MaskedEqual;
                let wanted = if masked { self.value_two } else { self.value };
                let mask = if masked { self.value } else { u64::MAX };
                vec![
                    load_high,
                    and((mask >> 32) as u32),
                    jump(BPF_JEQ, (wanted >> 32) as u32, 0, rest + 3),
                    load_low,
                    and(mask as u32),
                    jump(BPF_JEQ, wanted as u32, 0, rest),
                ]
            }
            Is::NotEqual => vec![
                load_high,
                jump(BPF_JEQ, high, 0, 2),
                load_low,
                jump(BPF_JEQ, low, rest, 0),
            ],
            Is::Greater | Is::GreaterEqual => {
                let last = if self.op == Is::Greater {
                    BPF_JGT
                } else {
                    BPF_JGE
                };
                vec![
                    load_high,
                    jump(BPF_JGT, high, 3, 0),
                    jump(BPF_JEQ, high, 0, rest + 2),
                    load_low,
                    jump(last, low, 0, rest),
                ]
            }
            Is::Less | Is::LessEqual => {
                let last = if self.op == Is::Less {
                    BPF_JGE
                } else {
                    BPF_JGT
                };
                vec![
                    load_high,
                    jump(BPF_JGT, high, rest + 3, 0),
                    jump(BPF_JEQ, high, 0, 2),
                    load_low,
                    jump(last, low, rest, 0),
                ]
            }
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::bpf::testing::run;
    use super::*;
    use crate::caps::CapSet;

    const AMD64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;
    const EPERM: u32 = RETURN_ERRNO | 1;

    fn rules(action: Verdict, syscalls: Vec<Calls>) -> Profile {
        Profile {
            default_action: action,
            default_errno_ret: None,
            architectures: Vec::new(),
            arch_map: Vec::new(),
            syscalls,
        }
    }

    fn calls(names: &[&str], action: Verdict, args: &[Argument]) -> Calls {
        Calls {
            names: names.iter().map(ToString::to_string).collect(),
            name: None,
            action,
            errno_ret: None,
            args: Some(args.to_vec()),
            includes: None,
            excludes: None,
        }
    }

    fn result(profile: &Profile, number: i64, arguments: &[u64]) -> u32 {
        let filter = profile.filter(CapSet::docker().bits());
        run(&filter, AMD64, number as u32, arguments).0
    }

    #[test]
    fn each_comparison_holds_for_all_64_bits() {
        use Comparison as Is;
        let value = 0x1_0000_0005;
        let others = [
            0,
            4,
            5,
            6,
            value - 1,
            value,
            value + 1,
            0x2_0000_0000,
            u64::MAX,
        ];
        for op in [
            Is::NotEqual,
            Is::Less,
            Is::LessEqual,
            Is::Equal,
            Is::GreaterEqual,
            Is::Greater,
            Is::MaskedEqual,
        ] {
            let condition = Argument {
                index: 2,
                value,
                value_two: 5,
                op,
            };
            let rule = calls(&["read"], Verdict::Trap, &[condition]);
            let profile = rules(Verdict::Allow, vec![rule]);
            for other in others {
                let holds = match op {
                    Is::NotEqual => other != value,
                    Is::Less => other < value,
                    Is::LessEqual => other <= value,
                    Is::Equal => other == value,
                    Is::GreaterEqual => other >= value,
                    Is::Greater => other > value,
                    Is::MaskedEqual => other & value == 5,
                };
                let expected = if holds { RETURN_TRAP } else { RETURN_ALLOW };
                let found = result(&profile, libc::SYS_read, &[9, 9, other]);
                assert_eq!(found, expected, "{op:?} {other:x}");
            }
        }
    }

    #[test]
    fn conditions_on_several_arguments_hold_together_and_on_one_alone() {
        let equal = |index, value| Argument {
            index,
            value,
            value_two: 0,
            op: Comparison::Equal,
        };
        let both = calls(&["read"], Verdict::Trap, &[equal(0, 1), equal(1, 2)]);
        let either = calls(&["write"], Verdict::Trap, &[equal(0, 1), equal(0, 2)]);
        let profile = rules(Verdict::Allow, vec![both, either]);
        let found = |number, arguments: &[u64]| result(&profile, number, arguments) == RETURN_TRAP;
        assert!(found(libc::SYS_read, &[1, 2]));
        assert!(!found(libc::SYS_read, &[1, 3]) && !found(libc::SYS_read, &[2, 2]));
        assert!(found(libc::SYS_write, &[1]) && found(libc::SYS_write, &[2]));
        assert!(!found(libc::SYS_write, &[3]));
    }

    #[test]
    fn a_rule_without_conditions_decides_alone() {
        let one = Argument {
            index: 0,
            value: 1,
            value_two: 0,
            op: Comparison::Equal,
        };
        let profile = rules(
            Verdict::Errno,
            vec![
                calls(&["read"], Verdict::Trap, &[one]),
                calls(&["read"], Verdict::Allow, &[]),
                calls(&["read"], Verdict::Log, &[]),
                calls(&["write", "no_such_call"], Verdict::Errno, &[]),
            ],
        );
        assert_eq!(result(&profile, libc::SYS_read, &[1]), RETURN_ALLOW);
        assert_eq!(result(&profile, libc::SYS_write, &[]), EPERM);
        assert_eq!(result(&profile, libc::SYS_close, &[]), EPERM);
    }

    #[test]
    fn what_the_profile_does_not_cover_is_denied() {
        let profile = rules(Verdict::Allow, Vec::new());
        let filter = profile.filter(0);
        assert_eq!(run(&filter, AMD64, 1, &[]).0, RETURN_ALLOW);
        assert_eq!(run(&filter, AMD64, 600, &[]).0, RETURN_ALLOW);
        assert_eq!(run(&filter, AMD64, X32, &[]).0, EPERM);
        assert_eq!(run(&filter, AMD64, X32 + 5, &[]).0, EPERM);
        assert_eq!(run(&filter, I386, 4, &[]).0, EPERM);
        let both = Profile {
            arch_map: vec![ArchMap {
                architecture: "SCMP_ARCH_X86_64".into(),
                sub_architectures: Some(vec!["SCMP_ARCH_X86".into()]),
            }],
            ..profile
        };
        assert_eq!(run(&both.filter(0), I386, 4, &[]).0, RETURN_ALLOW);
    }

    #[test]
    fn rules_count_with_capabilities_architectures_and_kernels() {
        let condition = |caps: &[&str], arches: &[&str], kernel: Option<&str>| Condition {
            caps: caps.iter().map(ToString::to_string).collect(),
            arches: arches.iter().map(ToString::to_string).collect(),
            min_kernel: kernel.map(str::to_owned),
        };
        let only = |includes| Calls {
            includes: Some(includes),
            ..calls(&["read"], Verdict::Allow, &[])
        };
        let not = |excludes| Calls {
            excludes: Some(excludes),
            ..calls(&["read"], Verdict::Allow, &[])
        };
        for (rule, expected) in [
            (only(condition(&["CAP_CHOWN"], &[], None)), true),
            (
                only(condition(&["CAP_CHOWN", "CAP_SYS_ADMIN"], &[], None)),
                false,
            ),
            (only(condition(&[], &["arm64", "amd64"], None)), true),
            (only(condition(&[], &["arm64"], None)), false),
            (only(condition(&[], &[], Some("4.8"))), true),
            (only(condition(&[], &[], Some("400.8"))), false),
            (not(condition(&["CAP_SYS_ADMIN"], &[], None)), true),
            (not(condition(&["CAP_CHOWN"], &[], None)), false),
            (not(condition(&[], &["amd64"], None)), false),
        ] {
            let profile = rules(Verdict::Errno, vec![rule.clone()]);
            let found = result(&profile, libc::SYS_read, &[]) == RETURN_ALLOW;
            assert_eq!(found, expected, "{rule:?}");
        }
    }

    #[test]
    fn what_the_form_does_not_say_is_checked() {
        let far = Argument {
            index: 6,
            value: 0,
            value_two: 0,
            op: Comparison::Equal,
        };
        let profile = |rule| rules(Verdict::Allow, vec![rule]).check();
        assert_eq!(profile(calls(&["read"], Verdict::Errno, &[])), Ok(()));
        let index = ProfileError::Index { index: 6 };
        assert_eq!(
            profile(calls(&["read"], Verdict::Errno, &[far])),
            Err(index)
        );
        let names = ProfileError::Names { number: 1 };
        assert_eq!(profile(calls(&[], Verdict::Errno, &[])), Err(names));
        let errno = Calls {
            errno_ret: Some(4096),
            ..calls(&["read"], Verdict::Errno, &[])
        };
        assert_eq!(profile(errno), Err(ProfileError::Errno { number: 4096 }));
    }
}
