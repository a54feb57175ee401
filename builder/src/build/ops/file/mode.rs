//! `--chmod`: an octal mode or a symbolic one (`u=rwX,go=rX`), as chmod(1) reads it.
//!
//! Symbolic modes need the file's present mode and kind (`X` is execute only where
//! something may already execute or search), so a parsed [`ModeChange`] is applied to
//! each entry. Symbolic links have no mode of their own and are left alone by callers.

use thiserror::Error;

/// A `--chmod` value that is neither octal nor symbolic.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "invalid --chmod value `{value}`: expected an octal mode such as 0755 or a symbolic one such as u=rwX,go=rX"
)]
pub struct InvalidMode {
    /// The value as it was written.
    pub value: String,
}

/// A change of file modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModeChange {
    /// Every entry gets these twelve bits.
    Absolute(u32),
    /// Clauses applied in order.
    Symbolic(Vec<Clause>),
}

/// One `[ugoa…][+-=][rwxXst…]` clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    who: Who,
    op: Operator,
    perms: Vec<Perm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Who {
    user: bool,
    group: bool,
    other: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Perm {
    Read,
    Write,
    Execute,
    ExecuteIfAny,
    SetId,
    Sticky,
    CopyUser,
    CopyGroup,
    CopyOther,
}

impl ModeChange {
    /// Parses a `--chmod` value.
    pub(super) fn parse(value: &str) -> Result<Self, InvalidMode> {
        let invalid = || InvalidMode {
            value: value.to_owned(),
        };
        if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
            let bits = u32::from_str_radix(value, 8).map_err(|_| invalid())?;
            return if bits <= 0o7777 {
                Ok(Self::Absolute(bits))
            } else {
                Err(invalid())
            };
        }
        let mut clauses = Vec::new();
        for part in value.split(',') {
            parse_clauses(part, &mut clauses).ok_or_else(invalid)?;
        }
        Ok(Self::Symbolic(clauses))
    }

    /// Returns the new mode of an entry that has `mode` now.
    pub(super) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Absolute(bits) => *bits,
            Self::Symbolic(clauses) => clauses
                .iter()
                .fold(mode, |mode, clause| clause.apply(mode, is_dir)),
        }
    }
}

fn parse_clauses(part: &str, out: &mut Vec<Clause>) -> Option<()> {
    let ops = |c: char| matches!(c, '+' | '-' | '=');
    let split = part.find(ops)?;
    let (who, mut rest) = part.split_at(split);
    let who = parse_who(who)?;
    while let Some(op) = rest.chars().next() {
        let op = match op {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return None,
        };
        let tail = &rest[1..];
        let end = tail.find(ops).unwrap_or(tail.len());
        let perms = tail[..end]
            .chars()
            .map(parse_perm)
            .collect::<Option<Vec<_>>>()?;
        out.push(Clause { who, op, perms });
        rest = &tail[end..];
    }
    Some(())
}

fn parse_who(text: &str) -> Option<Who> {
    if text.is_empty() {
        return Some(Who {
            user: true,
            group: true,
            other: true,
        });
    }
    let mut who = Who {
        user: false,
        group: false,
        other: false,
    };
    for c in text.chars() {
        match c {
            'u' => who.user = true,
            'g' => who.group = true,
            'o' => who.other = true,
            'a' => {
                who = Who {
                    user: true,
                    group: true,
                    other: true,
                }
            }
            _ => return None,
        }
    }
    Some(who)
}

fn parse_perm(c: char) -> Option<Perm> {
    Some(match c {
        'r' => Perm::Read,
        'w' => Perm::Write,
        'x' => Perm::Execute,
        'X' => Perm::ExecuteIfAny,
        's' => Perm::SetId,
        't' => Perm::Sticky,
        'u' => Perm::CopyUser,
        'g' => Perm::CopyGroup,
        'o' => Perm::CopyOther,
        _ => return None,
    })
}

impl Clause {
    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let classes = [
            (self.who.user, 6, 0o4000),
            (self.who.group, 3, 0o2000),
            (self.who.other, 0, 0),
        ];
        let everyone = self.who.user && self.who.group && self.who.other;
        let mut mask = 0;
        let mut bits = 0;
        for (on, shift, set_id) in classes {
            if !on {
                continue;
            }
            mask |= (0o7 << shift) | if is_dir { 0 } else { set_id };
            for perm in &self.perms {
                bits |= perm.bits(mode, is_dir, shift, set_id);
            }
        }
        if everyone || self.who.other {
            if self.perms.contains(&Perm::Sticky) {
                bits |= 0o1000;
            }
            mask |= if is_dir { 0 } else { 0o1000 };
        }
        match self.op {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => (mode & !mask) | bits,
        }
    }
}

impl Perm {
    fn bits(self, mode: u32, is_dir: bool, shift: u32, set_id: u32) -> u32 {
        let class = |from: u32| ((mode >> from) & 0o7) << shift;
        match self {
            Self::Read => 0o4 << shift,
            Self::Write => 0o2 << shift,
            Self::Execute => 0o1 << shift,
            Self::ExecuteIfAny if is_dir || mode & 0o111 != 0 => 0o1 << shift,
            Self::ExecuteIfAny | Self::Sticky => 0,
            Self::SetId => set_id,
            Self::CopyUser => class(6),
            Self::CopyGroup => class(3),
            Self::CopyOther => class(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_apply_as_chmod_does() {
        let rows: &[(&str, u32, bool, u32)] = &[
            ("0640", 0o755, false, 0o640),
            ("1777", 0o600, false, 0o1777),
            ("755", 0o600, true, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("g=u", 0o740, false, 0o770),
            ("u+s", 0o755, false, 0o4755),
            ("+t", 0o755, true, 0o1755),
            ("u=rw,g+w-x", 0o751, false, 0o661),
        ];
        for (text, mode, is_dir, expected) in rows {
            let change = ModeChange::parse(text).expect("row parses");
            assert_eq!(
                change.apply(*mode, *is_dir),
                *expected,
                "{text} on {mode:o}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "999", "77777", "rwx", "u", "z+x", "u+q"] {
            assert_eq!(
                ModeChange::parse(text),
                Err(InvalidMode {
                    value: text.to_owned()
                })
            );
        }
    }
}
