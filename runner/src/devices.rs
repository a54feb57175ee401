//! Which devices of the machine a process may use, whatever nodes it finds or makes.
//!
//! A container may make device nodes (docker's capabilities have MKNOD, and what sets up a root
//! in a directory relies on it), and images bring some along. Neither gives it the device: the
//! kernel asks a small program that is attached to the process' control group of version 2
//! (`BPF_PROG_TYPE_CGROUP_DEVICE`) before a node is made or opened. As docker's, it lets every
//! node be made, and those be opened that every container has ([`standard`]) or that were asked for.
//!
//! The group is one of all processes that may use the same devices, below the caller's own, so
//! that limits of the caller's hold on. It is made once, and stays: `OWN-GROUP/cooper-devices-HASH`.
//! Processes are born in it, which costs next to nothing. A group of version 2 that a process has
//! for itself gets the program instead.
//!
//! In a user namespace nothing of this is needed: there no node can be made, and none be opened
//! on a file system that was mounted there. Where there is no such group (no version 2, a kernel
//! without these programs), a process loses the capability to make nodes, and its root file
//! system is mounted without devices ([`Guard::None`]).

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cgroup::{self, Cgroup};
use crate::spec::ProcessSpec;
use crate::sys;

/// What the names of groups for devices begin with.
pub(crate) const GROUP: &str = "cooper-devices-";

/// What a rule allows, as the kernel numbers it.
const MAKE: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Kind {
    Block,
    Character,
}

/// Allows the use of devices: `c 1:3 rwm`, as `--device-cgroup-rule` has it. `a` is of both
/// kinds, `*` any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceRule {
    kind: Option<Kind>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

/// What is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a rule for devices")]
pub struct NotADeviceRule;

impl FromStr for DeviceRule {
    type Err = NotADeviceRule;

    fn from_str(text: &str) -> Result<Self, NotADeviceRule> {
        let mut words = text.split(' ');
        let (Some(kind), Some(numbers), Some(access), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(NotADeviceRule);
        };
        let kind = match kind {
            "a" => None,
            "b" => Some(Kind::Block),
            "c" => Some(Kind::Character),
            _ => return Err(NotADeviceRule),
        };
        let (major, minor) = numbers.split_once(':').ok_or(NotADeviceRule)?;
        Ok(Self {
            kind,
            major: number(major)?,
            minor: number(minor)?,
            access: access_of(access).ok_or(NotADeviceRule)?,
        })
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            None => 'a',
            Some(Kind::Block) => 'b',
            Some(Kind::Character) => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        let letters = [(READ, 'r'), (WRITE, 'w'), (MAKE, 'm')];
        let mut letters = letters.iter().filter(|(bit, _)| self.access & bit != 0);
        letters.try_for_each(|(_, letter)| write!(f, "{letter}"))
    }
}

fn number(text: &str) -> Result<Option<u32>, NotADeviceRule> {
    match text {
        "*" => Ok(None),
        _ if !text.bytes().all(|byte| byte.is_ascii_digit()) => Err(NotADeviceRule),
        _ => text.parse().map(Some).map_err(|_| NotADeviceRule),
    }
}

/// Reads one to three of `rwm`.
fn access_of(letters: &str) -> Option<u8> {
    if !(1..=3).contains(&letters.len()) {
        return None;
    }
    letters.chars().try_fold(0, |access, letter| {
        Some(
            access
                | match letter {
                    'r' => READ,
                    'w' => WRITE,
                    'm' => MAKE,
                    _ => return None,
                },
        )
    })
}

impl DeviceRule {
    /// Returns the rules that allow the use (some of `rwm`) of the device at `path`, or of all
    /// below it if it is a directory; none if it is neither.
    pub fn of(path: &Path, access: &str) -> io::Result<Vec<Self>> {
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            let mut rules = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                // Links may lead anywhere, or nowhere.
                if !entry.file_type()?.is_symlink() {
                    rules.extend(Self::of(&entry.path(), access)?);
                }
            }
            return Ok(rules);
        }
        let kind = if metadata.file_type().is_block_device() {
            Kind::Block
        } else if metadata.file_type().is_char_device() {
            Kind::Character
        } else {
            return Ok(Vec::new());
        };
        Ok(vec![Self {
            kind: Some(kind),
            major: Some(rustix::fs::major(metadata.rdev())),
            minor: Some(rustix::fs::minor(metadata.rdev())),
            access: access_of(access).unwrap_or(MAKE | READ | WRITE),
        }])
    }
}

/// Returns what every process may do: make nodes, and use null, zero, full, random, urandom, tty,
/// console and terminals.
fn standard() -> impl Iterator<Item = DeviceRule> {
    let rule = |kind, major, minor, access| DeviceRule {
        kind,
        major,
        minor,
        access,
    };
    let any = MAKE | READ | WRITE;
    let character = Some(Kind::Character);
    let used = [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(1)),
        (5, Some(2)),
        (136, None),
    ];
    let used = used.map(|(major, minor)| rule(character, Some(major), minor, any));
    [rule(None, None, None, MAKE)].into_iter().chain(used)
}

/// Instructions of the kernel's machine, each with a register on the left.
mod code {
    pub(super) const LOAD: u8 = 0x61;
    pub(super) const COPY: u8 = 0xbc;
    pub(super) const AND: u8 = 0x54;
    pub(super) const SHIFT_RIGHT: u8 = 0x74;
    pub(super) const JUMP_UNLESS_EQUAL: u8 = 0x55;
    pub(super) const SET: u8 = 0xb7;
    pub(super) const EXIT: u8 = 0x95;
}

/// Returns an instruction: its code, two registers, an offset and a number.
fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> [u8; 8] {
    let [low, high] = offset.to_ne_bytes();
    let [a, b, c, d] = number.to_ne_bytes();
    let registers = if cfg!(target_endian = "little") {
        to | from << 4
    } else {
        to << 4 | from
    };
    [code, registers, low, high, a, b, c, d]
}

/// Returns the program that allows what `rules` allow and nothing else.
///
/// The kernel hands over (in register 1) the address of three numbers: what is asked for (access
/// above, kind below), major and minor. What is returned in register 0 is whether it is allowed.
fn program(rules: impl IntoIterator<Item = DeviceRule>) -> Vec<[u8; 8]> {
    let [result, input, kind_is, access, major_is, minor_is] = [0, 1, 2, 3, 4, 5];
    let mut program = vec![
        instruction(code::LOAD, kind_is, input, 0, 0),
        instruction(code::COPY, access, kind_is, 0, 0),
        instruction(code::AND, kind_is, 0, 0, 0xffff),
        instruction(code::SHIFT_RIGHT, access, 0, 0, 16),
        instruction(code::LOAD, major_is, input, 4, 0),
        instruction(code::LOAD, minor_is, input, 8, 0),
    ];
    for rule in rules {
        let mut tests = Vec::new();
        if let Some(kind) = rule.kind {
            let number = match kind {
                Kind::Block => 1,
                Kind::Character => 2,
            };
            tests.push((kind_is, number));
        }
        tests.extend(rule.major.map(|major| (major_is, major)));
        tests.extend(rule.minor.map(|minor| (minor_is, minor)));
        let beyond = (MAKE | READ | WRITE) & !rule.access;
        let mut block = Vec::new();
        if beyond != 0 {
            // The input has been read: its register is free.
            block.push(instruction(code::COPY, input, access, 0, 0));
            block.push(instruction(code::AND, input, 0, 0, i32::from(beyond)));
            tests.insert(0, (input, 0));
        }
        // Each test leads behind the two instructions that allow.
        let count = tests.len() as i16;
        block.extend(tests.into_iter().zip(0..).map(|((register, number), at)| {
            let rest = count - at + 1;
            let number = number as i32;
            instruction(code::JUMP_UNLESS_EQUAL, register, 0, rest, number)
        }));
        block.push(instruction(code::SET, result, 0, 0, 1));
        block.push(instruction(code::EXIT, 0, 0, 0, 0));
        program.extend(block);
    }
    program.push(instruction(code::SET, result, 0, 0, 0));
    program.push(instruction(code::EXIT, 0, 0, 0, 0));
    program
}

/// What keeps a process from devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Guard {
    /// It needs none: it may use all, or could use none anyway.
    Needless,
    /// The directory of the group that it is born in.
    Group(PathBuf),
    /// There is none to be had.
    None,
}

/// The guards of a process that starts others.
#[derive(Debug, Default)]
pub(crate) struct Guards(Mutex<HashMap<Vec<DeviceRule>, Guard>>);

impl Guards {
    /// Returns the guard of a process of `spec`, which is to be in `cgroup` if it is given.
    pub(crate) fn of(&self, spec: &ProcessSpec, cgroup: Option<&Cgroup>) -> Guard {
        if spec.privileged {
            return Guard::Needless;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = known
            .entry(spec.devices.clone())
            .or_insert_with(|| guard(&spec.devices));
        // It leaves the one group for the other.
        let own = cgroup.and_then(Cgroup::directory_of_two);
        match (own, &*guard) {
            (Some(own), Guard::Group(_)) => match restrict(own, &rules(&spec.devices)) {
                Ok(()) => Guard::Group(own.to_owned()),
                Err(_) => Guard::None,
            },
            _ => guard.clone(),
        }
    }
}

fn rules(devices: &[DeviceRule]) -> Vec<[u8; 8]> {
    program(standard().chain(devices.iter().copied()))
}

fn guard(devices: &[DeviceRule]) -> Guard {
    let ids = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole: Vec<_> = ids.split_whitespace().collect();
    if whole != ["0", "0", "4294967295"] {
        return Guard::Needless;
    }
    let program = rules(devices);
    let mut hasher = DefaultHasher::new();
    program.hash(&mut hasher);
    let Some(own) = cgroup::own_of_two() else {
        return Guard::None;
    };
    let directory = own.join(format!("{GROUP}{:016x}", hasher.finish()));
    let made = match fs::create_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    };
    match made.and_then(|()| restrict(&directory, &program)) {
        Ok(()) => Guard::Group(directory),
        Err(_) => Guard::None,
    }
}

/// Attaches the program to the group at `directory`, unless it has one.
fn restrict(directory: &Path, program: &[[u8; 8]]) -> io::Result<()> {
    let group = File::open(directory)?;
    if sys::device_programs(group.as_fd())? == 0 {
        let program = sys::load_device_program(program)?;
        sys::attach_device_program(group.as_fd(), program.as_fd())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel does.
    fn allows(program: &[[u8; 8]], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let input = [access << 16 | kind, major, minor];
        let (mut registers, mut at) = ([0_u64; 6], 0_usize);
        loop {
            let [code, ab, low, high, a, b, c, d] = program[at];
            let (to, from) = (usize::from(ab & 15), usize::from(ab >> 4));
            let offset = i16::from_ne_bytes([low, high]);
            let number = i32::from_ne_bytes([a, b, c, d]);
            at += 1;
            match code {
                code::LOAD => registers[to] = u64::from(input[offset as usize / 4]),
                code::COPY => registers[to] = registers[from],
                code::AND => registers[to] &= number as u64,
                code::SHIFT_RIGHT => registers[to] >>= number,
                code::JUMP_UNLESS_EQUAL if registers[to] != number as u64 => {
                    at = (at as isize + isize::from(offset)) as usize;
                }
                code::JUMP_UNLESS_EQUAL => {}
                code::SET => registers[to] = number as u64,
                code::EXIT => return registers[0] == 1,
                other => panic!("no such instruction: {other:#x}"),
            }
        }
    }

    #[test]
    fn what_the_rules_allow_is_allowed_and_nothing_else() {
        let asked: Vec<DeviceRule> = ["b 8:1 r", "c 10:* rw", "a 7:7 rwm"]
            .map(|rule| rule.parse().expect("a rule"))
            .into();
        let with = rules(&asked);
        let without = rules(&[]);
        let (block, character) = (1, 2);
        let (make, read, write) = (1, 2, 4);
        for (kind, access, major, minor, always, asked) in [
            (character, read | write, 1, 3, true, true),
            (character, make, 1, 1, true, true),
            (character, read, 1, 1, false, false),
            (block, make, 254, 0, true, true),
            (block, read, 254, 0, false, false),
            (block, read, 1, 3, false, false),
            (character, read | write, 136, 77, true, true),
            (block, read, 8, 1, false, true),
            (block, write, 8, 1, false, false),
            (block, read | write, 8, 1, false, false),
            (block, read, 8, 2, false, false),
            (character, read | write, 10, 229, false, true),
            (character, read | write | make, 10, 229, false, false),
            (character, read, 7, 7, false, true),
            (block, write, 7, 7, false, true),
        ] {
            let found = [&without, &with].map(|one| allows(one, kind, access, major, minor));
            assert_eq!(found, [always, asked], "{kind} {access} {major}:{minor}");
        }
    }

    #[test]
    fn rules_are_a_kind_two_numbers_and_letters() {
        for (text, good) in [
            ("c 1:3 rwm", true),
            ("a *:* r", true),
            ("b 8:* mr", true),
            ("c 1:3", false),
            ("d 1:3 r", false),
            ("c 1 r", false),
            ("c +1:3 r", false),
            ("c 1:3 x", false),
            ("c 1:3 rwmr", false),
            ("c 1:3 r ", false),
            ("c  1:3 r", false),
        ] {
            assert_eq!(text.parse::<DeviceRule>().is_ok(), good, "{text:?}");
        }
        for text in ["c 1:3 rwm", "a *:* r", "b 8:* wm"] {
            let rule: DeviceRule = text.parse().expect("a rule");
            assert_eq!(rule.to_string(), text);
        }
    }
}
